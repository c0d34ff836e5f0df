"""Offer and answer (RFC 3264): what is agreed, what is refused, and what a dialog remembers."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.offer_answer import Codec, LocalMedia, Negotiated, OfferAnswer, answer, make_offer, read_answer
from stellar_gw.sip.sdp import parse_sdp

PLATFORMS = Path(__file__).resolve().parents[2].parent / "shared" / "platforms"
LOCAL = LocalMedia(address="203.0.113.10", port=14022)
G722, PCMU, PCMA = (Codec(name=name, payload_type=number) for name, number in (("G722", 9), ("PCMU", 0), ("PCMA", 8)))
EVENT = Codec(name="TELEPHONE-EVENT", payload_type=101)


def offer(*lines: str, session: str = "c=IN IP4 192.0.2.1", version: int = 1) -> bytes:
    """A peer's description: the session's lines, then those given."""
    head = f"v=0\r\no=- 5 {version} IN IP4 192.0.2.1\r\ns=-\r\n{session}\r\nt=0 0\r\n"
    return (head + "\r\n".join(lines) + "\r\n").encode()


def agree(*lines: str, session: str = "c=IN IP4 192.0.2.1", local: LocalMedia = LOCAL) -> Negotiated:
    return answer(parse_sdp(offer(*lines, session=session)), local)


def refusal(*lines: str, session: str = "c=IN IP4 192.0.2.1", local: LocalMedia = LOCAL) -> tuple[int, str]:
    try:
        agree(*lines, session=session, local=local)
    except RemoteProtocolError as error:
        return error.status, error.reason
    return 0, "accepted"


class AnswerTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """An Asterisk offer: G.722 leads, opus is left out, of two telephone-events the one at 8000 Hz is answered."""
        negotiated = agree(
            "m=audio 17022 RTP/AVP 0 9 8 107 115 101",
            "a=rtpmap:9 G722/8000",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:107 opus/48000/2",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-16",
            "a=rtpmap:115 telephone-event/48000",
            "a=ptime:20",
            "a=maxptime:60",
            "a=sendrecv",
        )
        self.assertEqual(
            negotiated,
            Negotiated(
                answer=(
                    b"v=0\r\no=- 1 1 IN IP4 203.0.113.10\r\ns=stellar-gw\r\nc=IN IP4 203.0.113.10\r\nt=0 0\r\n"
                    b"m=audio 14022 RTP/AVP 9 0 8 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n"
                    b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
                    b"a=ptime:20\r\na=sendrecv\r\n"
                ),
                remote=("192.0.2.1", 17022),
                remote_rtcp=("192.0.2.1", 17023),
                send=G722,
                receive=(G722, PCMU, PCMA),
                dtmf_send=EVENT,
                dtmf_receive=(EVENT, evolve(EVENT, payload_type=115, clock=48000)),
            ),
        )

    def test_static_payload_types_need_no_rtpmap(self) -> None:
        """0, 8 and 9 mean PCMU, PCMA and G722 without an rtpmap (RFC 3551 6); PCMA leads PCMU as offered."""
        self.assertEqual(agree("m=audio 4000 RTP/AVP 8 0 9").receive, (G722, PCMA, PCMU))

    def test_dynamic_payload_types(self) -> None:
        """The same codecs under other numbers and spellings, and a static number given another meaning."""
        negotiated = agree(
            "m=audio 4000 RTP/AVP 0 98 99 100",
            "a=rtpmap:0 speex/8000",
            "a=rtpmap:98 g722/8000/1",
            "a=rtpmap:99 Pcma/8000",
            "a=rtpmap:100 TELEPHONE-EVENT/8000",
        )
        self.assertEqual(
            (negotiated.send, negotiated.receive, negotiated.dtmf_send),
            (
                evolve(G722, payload_type=98),
                (evolve(G722, payload_type=98), evolve(PCMA, payload_type=99)),
                evolve(EVENT, payload_type=100),
            ),
        )

    def test_our_first_codec_leads(self) -> None:
        """What we want most is used where it is offered; the rest keeps the offer's order."""
        orders = [("PCMU", "G722", "PCMA"), ("PCMA",), ("G722", "PCMU")]
        self.assertEqual(
            [agree("m=audio 4000 RTP/AVP 8 9 0", local=evolve(LOCAL, codecs=codecs)).receive for codecs in orders],
            [(PCMU, PCMA, G722), (PCMA,), (G722, PCMU)],
        )

    def test_other_m_lines_are_refused_in_place(self) -> None:
        """RFC 3264 6: as many m-lines as offered, port 0 on those not taken, protocol and formats kept."""
        lines = agree(
            "m=video 6024 RTP/AVP 107 34",
            "m=audio 4000 RTP/SAVP 0",
            "m=audio 4002 RTP/AVP 0",
            "m=audio 4004 RTP/AVP 0",
            "m=application 5070 UDP/BFCP *",
            "m=image 0 udptl t38",
        ).answer.decode()
        self.assertEqual(
            [line for line in lines.split("\r\n") if line.startswith("m=")],
            [
                "m=video 0 RTP/AVP 107 34",
                "m=audio 0 RTP/SAVP 0",
                "m=audio 14022 RTP/AVP 0",
                "m=audio 0 RTP/AVP 0",
                "m=application 0 UDP/BFCP *",
                "m=image 0 udptl t38",
            ],
        )

    def test_direction_table(self) -> None:
        """RFC 3264 6.1: the answer's direction for each offered one and each wish of ours."""
        offered = ("sendrecv", "sendonly", "recvonly", "inactive")
        table = {
            wanted: [
                agree("m=audio 4000 RTP/AVP 0", f"a={theirs}", local=evolve(LOCAL, direction=wanted)).direction
                for theirs in offered
            ]
            for wanted in ("sendrecv", "sendonly", "recvonly", "inactive")
        }
        self.assertEqual(
            table,
            {
                "sendrecv": ["sendrecv", "recvonly", "sendonly", "inactive"],
                "sendonly": ["sendonly", "inactive", "sendonly", "inactive"],
                "recvonly": ["recvonly", "recvonly", "inactive", "inactive"],
                "inactive": ["inactive"] * 4,
            },
        )

    def test_direction_is_written(self) -> None:
        """The answer says the direction it means, at the m-line, also where the offer said it for the session."""
        negotiated = agree("m=audio 4000 RTP/AVP 0", session="c=IN IP4 192.0.2.1\r\nt=0 0\r\na=sendonly")
        self.assertIn(b"\r\na=recvonly\r\n", negotiated.answer)

    def test_hold_by_address(self) -> None:
        """``c=0.0.0.0`` (RFC 3264 8.4) and ``c=::`` are holds: we listen, and send nothing."""
        four = agree("m=audio 4000 RTP/AVP 0", session="c=IN IP4 0.0.0.0")
        six = agree("m=audio 4000 RTP/AVP 0", "a=inactive", session="c=IN IP6 ::")
        self.assertEqual(
            [(held.direction, held.remote) for held in (four, six)],
            [("recvonly", ("0.0.0.0", 4000)), ("inactive", ("0.0.0.0", 4000))],
        )

    def test_addresses(self) -> None:
        """The m-line's c= wins; mapped IPv4 is IPv4; a name is an unknown host, which is no hold."""
        cases = [
            agree("m=audio 4000 RTP/AVP 0", "c=IN IP4 198.51.100.7"),
            agree("m=audio 4000 RTP/AVP 0", session="c=IN IP6 ::ffff:192.0.2.2"),
            agree("m=audio 4000 RTP/AVP 0", session="c=IN IP4 media.example.com"),
            agree("m=audio 4000 RTP/AVP 0", "c=IN IP6 2001:db8::7", local=evolve(LOCAL, address="2001:db8::1")),
        ]
        self.assertEqual(
            [(case.remote, case.remote_rtcp, case.direction) for case in cases],
            [
                (("198.51.100.7", 4000), ("198.51.100.7", 4001), "sendrecv"),
                (("192.0.2.2", 4000), ("192.0.2.2", 4001), "sendrecv"),
                (("0.0.0.0", 4000), ("0.0.0.0", 4001), "sendrecv"),
                (("2001:db8::7", 4000), ("2001:db8::7", 4001), "sendrecv"),
            ],
        )

    def test_alternative_addresses(self) -> None:
        """Of one stream by IPv4 and by IPv6 (RFC 4091) ours is taken, the other refused; the group is not answered."""
        found = {
            address: agree(
                "a=group:ANAT 1 2",
                "m=audio 4000 RTP/AVP 0",
                "c=IN IP6 2001:db8::7",
                "a=mid:1",
                "m=audio 4002 RTP/AVP 0",
                "c=IN IP4 192.0.2.7",
                "a=mid:2",
                local=evolve(LOCAL, address=address),
            )
            for address in ("203.0.113.10", "2001:db8::1")
        }
        self.assertEqual(
            [(agreed.remote, [media.port for media in parse_sdp(agreed.answer).media]) for agreed in found.values()],
            [(("192.0.2.7", 4002), [0, 14022]), (("2001:db8::7", 4000), [14022, 0])],
        )
        self.assertEqual([b"group" in agreed.answer for agreed in found.values()], [False, False])

    def test_rtcp_of_the_other_ip_version(self) -> None:
        """A leg's sockets are of one version: an RTCP address of the other counts as absent, its port does not."""
        agreed = agree("m=audio 4000 RTP/AVP 0", "a=rtcp:4009 IN IP6 2001:db8::7")
        self.assertEqual(agreed.remote_rtcp, ("192.0.2.1", 4009))

    def test_ipv6_is_written(self) -> None:
        """Our own IPv6 address goes out as IP6 in o= and c=."""
        negotiated = agree("m=audio 4000 RTP/AVP 0", session="c=IN IP6 2001:db8::7",
                           local=evolve(LOCAL, address="2001:DB8::1"))  # fmt: skip
        self.assertEqual(
            [line for line in negotiated.answer.split(b"\r\n") if line[:1] in b"oc"][:2],
            [b"o=- 1 1 IN IP6 2001:db8::1", b"c=IN IP6 2001:db8::1"],
        )

    def test_rtcp(self) -> None:
        """RTCP goes to a=rtcp (RFC 3605) where it makes sense, else to the next port."""
        values = ["a=rtcp:53020", "a=rtcp:53020 IN IP4 198.51.100.9", "a=rtcp:0", "a=rtcp:x", "a=rtcp:70000",
                  "a=rtcp:53020 IN IP4 ???", "a=rtcp"]  # fmt: skip
        self.assertEqual(
            [agree("m=audio 4000 RTP/AVP 0", value).remote_rtcp for value in values],
            [("192.0.2.1", 53020), ("198.51.100.9", 53020), *[("192.0.2.1", 4001)] * 3, ("192.0.2.1", 53020),
             ("192.0.2.1", 4001)],
        )  # fmt: skip

    def test_rtcp_mux(self) -> None:
        """rtcp-mux (RFC 5761 5.1.1) is accepted where offered, and only there."""
        muxed = agree("m=audio 4000 RTP/AVP 0", "a=rtcp:4001", "a=rtcp-mux")
        plain = agree("m=audio 4000 RTP/AVP 0", local=evolve(LOCAL, rtcp_mux=True))
        self.assertEqual(
            [(case.rtcp_mux, case.remote_rtcp, b"a=rtcp-mux" in case.answer) for case in (muxed, plain)],
            [(True, ("192.0.2.1", 4000), True), (False, ("192.0.2.1", 4001), False)],
        )

    def test_our_rtcp_port(self) -> None:
        """a=rtcp is written where our RTCP port is not the next one."""
        local = evolve(LOCAL, rtcp_port=15000)
        self.assertIn(b"\r\na=rtcp:15000\r\n", agree("m=audio 4000 RTP/AVP 0", local=local).answer)

    def test_packet_times(self) -> None:
        """ptime and maxptime are honoured in whole steps of 10 ms from 10 to 60, and the answer asks for the same."""
        cases: list[tuple[str, ...]] = [(), ("a=ptime:30",), ("a=ptime:10",), ("a=ptime:200",), ("a=ptime:5",),
                                        ("a=ptime:25",), ("a=maxptime:10",), ("a=ptime:40", "a=maxptime:20"),
                                        ("a=ptime:x", "a=maxptime:-1"), ("a=ptime:30.0",)]  # fmt: skip
        found = [agree("m=audio 4000 RTP/AVP 0", *lines) for lines in cases]
        self.assertEqual([case.ptime for case in found], [20, 30, 10, 60, 10, 20, 10, 20, 20, 30])
        self.assertEqual([f"\r\na=ptime:{case.ptime}\r\n".encode() in case.answer for case in found], [True] * 10)

    def test_feedback_profile(self) -> None:
        """RTP/AVPF is answered as RTP/AVPF, its feedback attributes are left out (RFC 4585 4)."""
        negotiated = agree("m=audio 4000 RTP/AVPF 0", "a=rtcp-fb:* nack", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x")
        self.assertEqual(
            negotiated.answer.partition(b"m=")[2],
            b"audio 14022 RTP/AVPF 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n",
        )

    def test_no_telephone_event(self) -> None:
        """Without a telephone-event, or where we want none, no digits are agreed on."""
        unwanted = agree("m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000",
                         local=evolve(LOCAL, telephone_event=False))  # fmt: skip
        cases = [unwanted, agree("m=audio 4000 RTP/AVP 0"), agree("m=audio 4 RTP/AVP 0 101", "a=rtpmap:101 CN/8000")]
        self.assertEqual([(case.dtmf_send, case.dtmf_receive) for case in cases], [(None, ())] * 3)

    def test_telephone_events_of_other_clock_rates(self) -> None:
        """The one that fits our codecs is answered, another where none does; all are understood, none comes twice."""
        teams = ("m=audio 4000 RTP/AVP 97 0 102 101 96 97", "a=rtpmap:97 telephone-event/16000",
                 "a=rtpmap:102 telephone-event/0", "a=rtpmap:101 telephone-event/8000",
                 "a=rtpmap:96 telephone-event/48000/2")  # fmt: skip
        wide = ("m=audio 4000 RTP/AVP 0 115", "a=rtpmap:115 telephone-event/48000")
        found = [agree(*lines) for lines in (teams, wide)]
        at_16, at_48 = evolve(EVENT, payload_type=97, clock=16000), evolve(EVENT, payload_type=115, clock=48000)
        self.assertEqual(
            [(case.dtmf_send, case.dtmf_receive) for case in found], [(EVENT, (EVENT, at_16)), (at_48, (at_48,))]
        )
        answers = [case.answer.decode().split("\r\n") for case in found]
        self.assertEqual(
            [[line for line in lines if "m=" in line or "event" in line] for lines in answers],
            [["m=audio 14022 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/8000"],
             ["m=audio 14022 RTP/AVP 0 115", "a=rtpmap:115 telephone-event/48000"]],
        )  # fmt: skip

    def test_comfort_noise(self) -> None:
        """Comfort noise is understood by each number that the offer names, and is not in the answer."""
        found = agree("m=audio 4000 RTP/AVP 0 13 118 19 106", "a=rtpmap:118 CN/16000", "a=rtpmap:106 cn/32000/1")
        self.assertEqual(
            [(codec.name, codec.payload_type, codec.clock) for codec in found.noise_receive],
            [("CN", 13, 8000), ("CN", 118, 16000), ("CN", 19, 8000), ("CN", 106, 32000)],
        )
        self.assertIn(b"m=audio 14022 RTP/AVP 0\r\n", found.answer)


class RefusalTests(SynchronousTestCase):
    def test_reasons(self) -> None:
        """488 says what was offered and what is needed."""
        needed = "needed is one of G722, PCMU, PCMA at 8000 Hz"
        self.assertEqual(
            [
                refusal("m=audio 4000 RTP/AVP 18 3 107", "a=rtpmap:107 opus/48000/2"),
                refusal("m=audio 4000 RTP/SAVP 0"),
                refusal("m=audio 4000 UDP/TLS/RTP/SAVPF 0"),
                refusal("m=audio 4000 TCP/MRCPv2 1"),
                refusal("m=video 4000 RTP/AVP 31"),
                refusal(),
                refusal("m=audio 0 RTP/AVP 0"),
                refusal("m=audio 4000 RTP/AVP 0", session="c=IN IP4 224.2.1.1/127"),
                refusal("m=audio 4000 RTP/AVP 0", session="b=AS:64"),
                refusal("m=audio 4000 RTP/AVP 0", session="c=IN IP6 2001:db8::1"),
                refusal("m=audio 4000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"),
                refusal("m=audio 4000 RTP/AVP 8", local=evolve(LOCAL, codecs=("G722", "PCMU"))),
            ],
            [
                (488, f"the audio formats offered are G729, GSM, OPUS/48000; {needed}"),
                (488, "the audio offered is RTP/SAVP, SRTP is off here; needed is RTP/AVP"),
                (488, "the audio offered is UDP/TLS/RTP/SAVPF, DTLS-SRTP is not spoken here; needed is RTP/AVP, "
                      "or RTP/SAVP with a=crypto"),
                (488, "the audio offered is TCP/MRCPv2; needed is RTP/AVP"),
                (488, "no audio stream is offered, one is needed"),
                (488, "no audio stream is offered, one is needed"),
                (488, "the audio stream is offered with port 0"),
                (488, "the audio stream is multicast; needed is a unicast address"),
                (488, "the audio stream has no c= line"),
                (488, "audio address is IPv6; needed is IPv4"),
                (488, f"the audio formats offered are TELEPHONE-EVENT/8000; {needed}"),
                (488, "the audio formats offered are PCMA; needed is one of G722, PCMU at 8000 Hz"),
            ],
        )  # fmt: skip

    def test_a_reason_is_bounded(self) -> None:
        """Thirty-two formats with long names make one short line."""
        names = [f"a=rtpmap:{number} {'X' * 60}/90000" for number in range(96, 128)]
        status, reason = refusal("m=audio 4000 RTP/AVP " + " ".join(str(number) for number in range(96, 128)), *names)
        self.assertEqual((status, len(reason) < 400, "and 24 more" in reason), (488, True, True))


class OfferTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """Our offer names every codec in our order and one telephone-event."""
        self.assertEqual(
            make_offer(evolve(LOCAL, rtcp_mux=True), session_id=77).to_bytes(),
            b"v=0\r\no=- 77 1 IN IP4 203.0.113.10\r\ns=stellar-gw\r\nc=IN IP4 203.0.113.10\r\nt=0 0\r\n"
            b"m=audio 14022 RTP/AVP 9 0 8 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n"
            b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"
            b"a=rtcp-mux\r\na=sendrecv\r\n",
        )

    def test_answer_with_lines_we_did_not_offer(self) -> None:
        """A UCM answers with refused video and BFCP lines besides; only ours counts."""
        reply = offer(
            "m=audio 22118 RTP/AVP 8 101",
            "a=rtpmap:8 PCMA/8000",
            "a=ptime:30",
            "a=rtpmap:101 telephone-event/8000",
            "m=video 0 RTP/AVP 31",
            "m=application 0 UDP/BFCP *",
        )
        self.assertEqual(
            read_answer(make_offer(LOCAL), parse_sdp(reply)),
            Negotiated(
                remote=("192.0.2.1", 22118),
                remote_rtcp=("192.0.2.1", 22119),
                send=PCMA,
                receive=(G722, PCMU, PCMA),
                dtmf_send=EVENT,
                dtmf_receive=(EVENT,),
                ptime=30,
            ),
        )

    def test_payload_types_may_differ_by_direction(self) -> None:
        """We send with the answer's numbers, and the peer with ours (RFC 3264 6.1); its own for events harm nothing."""
        reply = offer("m=audio 4000 RTP/AVP 97 96", "a=rtpmap:97 PCMU/8000", "a=rtpmap:96 telephone-event/8000")
        negotiated = read_answer(make_offer(evolve(LOCAL, codecs=("PCMU",))), parse_sdp(reply))
        self.assertEqual(
            (negotiated.send, negotiated.receive, negotiated.dtmf_send, negotiated.dtmf_receive),
            (evolve(PCMU, payload_type=97), (PCMU,), evolve(EVENT, payload_type=96),
             (EVENT, evolve(EVENT, payload_type=96))),
        )  # fmt: skip

    def test_what_an_answer_names_besides(self) -> None:
        """Events and comfort noise that we did not offer are understood, unless their number means something else."""
        reply = offer("m=audio 4000 RTP/AVP 0 8 9 13 96 101", "a=rtpmap:8 telephone-event/16000", "a=rtpmap:9 CN/8000",
                      "a=rtpmap:96 telephone-event/48000", "a=rtpmap:101 telephone-event/8000")  # fmt: skip
        offers = [make_offer(evolve(LOCAL, telephone_event=wanted)) for wanted in (True, False)]
        found = [read_answer(ours, parse_sdp(reply)) for ours in offers]
        at_48 = evolve(EVENT, payload_type=96, clock=48000)
        self.assertEqual([(case.dtmf_send, case.dtmf_receive) for case in found], [(EVENT, (EVENT, at_48)), (None, ())])
        self.assertEqual([[codec.payload_type for codec in case.noise_receive] for case in found], [[13]] * 2)

    def test_one_port_for_both_only_where_we_offered_it(self) -> None:
        """An answer with rtcp-mux to an offer without it (RFC 5761 5.1.1) changes no port."""
        reply = parse_sdp(offer("m=audio 4000 RTP/AVP 0", "a=rtcp-mux"))
        found = [read_answer(make_offer(evolve(LOCAL, rtcp_mux=wanted)), reply) for wanted in (True, False)]
        self.assertEqual([(case.rtcp_mux, case.remote_rtcp[1]) for case in found], [(True, 4000), (False, 4001)])

    def test_payload_types_stay_what_they_are(self) -> None:
        """An event format of another clock rate is offered again by its number, ours beside it (RFC 3264 8.3.2)."""
        state = OfferAnswer(5)
        state.receive_offer(offer("m=audio 4000 RTP/AVP 0 101", "a=rtpmap:101 telephone-event/16000"))
        state.answer(LOCAL)
        lines = state.make_offer(LOCAL).decode().split("\r\n")
        self.assertEqual(
            [line for line in lines if "m=" in line or "event" in line],
            ["m=audio 14022 RTP/AVP 9 0 8 96 101", "a=rtpmap:96 telephone-event/8000",
             "a=rtpmap:101 telephone-event/16000"],
        )  # fmt: skip

    def test_direction_is_cut_to_our_offer(self) -> None:
        """An answer cannot give more than we offered, whatever it says."""
        ours = make_offer(evolve(LOCAL, direction="sendonly"))
        directions = ["sendrecv", "recvonly", "sendonly", "inactive"]
        self.assertEqual(
            [read_answer(ours, parse_sdp(offer("m=audio 4 RTP/AVP 0", f"a={name}"))).direction for name in directions],
            ["sendonly", "sendonly", "inactive", "inactive"],
        )

    def test_answers_that_cannot_be_used(self) -> None:
        """An answer that leaves nothing to talk with is refused with a reason."""
        reasons = []
        for lines in (
            ["m=audio 0 RTP/AVP 0"],
            ["m=video 9 RTP/AVP 31"],
            [],
            ["m=audio 9 RTP/SAVP 0"],
            ["m=audio 9 RTP/AVP 18"],
            ["m=audio 9 RTP/AVP 0", "c=IN IP6 2001:db8::1"],
        ):
            with self.assertRaises(RemoteProtocolError) as caught:
                read_answer(make_offer(LOCAL), parse_sdp(offer(*lines)))
            reasons.append((caught.exception.status, caught.exception.reason))
        self.assertEqual(
            reasons,
            [
                (488, "the answer refuses the audio stream (port 0)"),
                (488, "the answer does not name our audio stream"),
                (488, "the answer does not name our audio stream"),
                (488, "the answer's audio is RTP/SAVP, offered was RTP/AVP"),
                (488, "the answer takes none of the formats we offered but G729"),
                (488, "the answer's audio address is IPv6; needed is IPv4"),
            ],
        )


def origin(sdp: bytes) -> str:
    return sdp.decode().split("\r\n")[1]


class DialogTests(SynchronousTestCase):
    def test_an_unchanged_reoffer_is_answered_the_same(self) -> None:
        """A session refresh by the same offer gets the same answer, octet for octet (RFC 3264 8)."""
        state, body = OfferAnswer(9), offer("m=audio 4000 RTP/AVP 0 8")
        answers = []
        for _ in range(2):
            state.receive_offer(body, LOCAL)
            answers.append(state.answer(LOCAL).answer)
        self.assertEqual((answers[0], origin(answers[1])), (answers[1], "o=- 9 1 IN IP4 203.0.113.10"))

    def test_the_version_moves_only_with_a_change(self) -> None:
        """Hold, hold again, resume, and a refresh of ours: versions 1, 2, 2, 3, 3, and 4 when we change the codecs."""
        state, seen = OfferAnswer(9), []
        for name in ("sendrecv", "sendonly", "sendonly", "sendrecv"):
            state.receive_offer(offer("m=audio 4000 RTP/AVP 9 0 8 101", f"a={name}",
                                      "a=rtpmap:101 telephone-event/8000"), LOCAL)  # fmt: skip
            seen.append(origin(state.answer(LOCAL).answer))
        for local in (LOCAL, evolve(LOCAL, codecs=("PCMU",))):
            seen.append(origin(state.make_offer(local)))
            state.receive_answer(offer("m=audio 4000 RTP/AVP 0"))
        self.assertEqual(seen, [f"o=- 9 {version} IN IP4 203.0.113.10" for version in (1, 2, 2, 3, 3, 4)])

    def test_our_reoffer_keeps_every_m_line_and_number(self) -> None:
        """RFC 3264 8: the places of refused lines, the profile and the payload types in use stay."""
        state = OfferAnswer(9)
        state.receive_offer(
            offer("m=video 5000 RTP/AVP 31", "m=audio 4000 RTP/AVPF 98 96", "a=rtpmap:98 G722/8000",
                  "a=rtpmap:96 telephone-event/8000", "a=rtcp-mux"), LOCAL)  # fmt: skip
        state.answer(LOCAL)
        self.assertEqual(
            state.make_offer(evolve(LOCAL, direction="sendonly")).partition(b"m=")[2],
            b"video 0 RTP/AVP 31\r\nm=audio 14022 RTP/AVPF 98 0 8 96\r\na=rtpmap:98 G722/8000\r\n"
            b"a=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:96 telephone-event/8000\r\n"
            b"a=fmtp:96 0-15\r\na=ptime:20\r\na=rtcp-mux\r\na=sendonly\r\n",
        )

    def test_one_exchange_at_a_time(self) -> None:
        """An offer that crosses ours is 491, one on top of an unanswered one 500; our own would be our bug."""
        body, ours, theirs = offer("m=audio 4000 RTP/AVP 0"), OfferAnswer(1), OfferAnswer(2)
        ours.make_offer(LOCAL)
        theirs.receive_offer(body, LOCAL)
        statuses = []
        for state in (ours, theirs):
            with self.assertRaises(RemoteProtocolError) as caught:
                state.receive_offer(body, LOCAL)
            statuses.append(caught.exception.status)
            self.assertRaises(LocalProtocolError, state.make_offer, LOCAL)
        self.assertEqual((statuses, ours.pending, theirs.pending), ([491, 500], "local", "remote"))

    def test_a_refused_exchange_changes_nothing(self) -> None:
        """After a bad offer, a refused one, a withdrawn one and a bad answer, the session is as it was."""
        state, body = OfferAnswer(1), offer("m=audio 4000 RTP/AVP 0")
        state.receive_offer(body, LOCAL)
        before = state.answer(LOCAL)
        local = state.local
        self.assertRaises(RemoteProtocolError, state.receive_offer, offer("m=audio 4000 RTP/AVP 18"), LOCAL)
        state.receive_offer(offer("m=audio 4002 RTP/AVP 8"), LOCAL)
        state.refuse()
        state.make_offer(evolve(LOCAL, direction="inactive"))
        state.withdraw()
        state.make_offer(evolve(LOCAL, direction="inactive"))
        self.assertRaises(RemoteProtocolError, state.receive_answer, b"v=1")
        self.assertEqual((state.negotiated, state.local, state.pending), (before, local, "none"))

    def test_answers_and_offers_out_of_place_are_our_bugs(self) -> None:
        """Answering nothing raises LocalProtocolError."""
        self.assertRaises(LocalProtocolError, OfferAnswer(1).answer, LOCAL)
        self.assertRaises(LocalProtocolError, OfferAnswer(1).receive_answer, offer("m=audio 4000 RTP/AVP 0"))

    def test_a_stream_removed_and_taken_up_again(self) -> None:
        """Port 0 inside a call ends the stream without ending the call (RFC 3264 8.2); it can come back."""
        state, seen = OfferAnswer(1), []
        for port in (4000, 0, 4000):
            state.receive_offer(offer(f"m=audio {port} RTP/AVP 0"), LOCAL)
            negotiated = state.answer(LOCAL)
            line = negotiated.answer.decode().split("\r\n")[5]
            seen.append((line, negotiated.direction, negotiated.remote))
        self.assertEqual(
            seen,
            [
                ("m=audio 14022 RTP/AVP 0", "sendrecv", ("192.0.2.1", 4000)),
                ("m=audio 0 RTP/AVP 0", "inactive", ("192.0.2.1", 0)),
                ("m=audio 14022 RTP/AVP 0", "sendrecv", ("192.0.2.1", 4000)),
            ],
        )

    def test_ports_may_be_allocated_between_offer_and_answer(self) -> None:
        """An offer is judged before we have a port, and answered with it."""
        state = OfferAnswer(1)
        state.receive_offer(offer("m=audio 4000 RTP/AVP 0"), evolve(LOCAL, port=0))
        self.assertIn(b"\r\nm=audio 14022 RTP/AVP 0\r\n", state.answer(LOCAL).answer)

    def test_forks(self) -> None:
        """Each dialog of a forked INVITE reads its own answer to the one offer."""
        first = OfferAnswer(1)
        first.make_offer(LOCAL)
        second = first.fork()
        found = [state.receive_answer(offer(f"m=audio {port} RTP/AVP 0")).remote[1]
                 for state, port in ((first, 4000), (second, 5000))]  # fmt: skip
        self.assertEqual(found, [4000, 5000])

    def test_both_ends_agree(self) -> None:
        """Two of us: what one sends, the other receives."""
        caller, called = OfferAnswer(1), OfferAnswer(2)
        called.receive_offer(caller.make_offer(LOCAL), LOCAL)
        there = called.answer(evolve(LOCAL, port=15000, codecs=("PCMA", "PCMU")))
        here = caller.receive_answer(there.answer)
        self.assertEqual(
            (there.send, there.remote, here.send, here.remote),
            (PCMA, ("203.0.113.10", 14022), PCMA, ("203.0.113.10", 15000)),
        )


class PlatformTests(SynchronousTestCase):
    def test_samples(self) -> None:
        """What each supported phone system offers is answered with these codecs; with SRTP off, its SRTP is 488."""
        if not PLATFORMS.exists():
            raise SkipTest(f"{PLATFORMS} is absent")
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(PLATFORMS.glob("*.txt")):
            body = path.read_bytes().partition(b"\r\n\r\n")[2]
            if not body or path.stem.endswith("-ack"):
                continue
            try:
                negotiated = answer(parse_sdp(body), LOCAL)
            except RemoteProtocolError as error:
                found[path.stem] = (error.status, error.reason.partition(";")[0])
            else:
                digits = negotiated.dtmf_send.payload_type if negotiated.dtmf_send else None
                found[path.stem] = (negotiated.send.name, negotiated.remote, digits, negotiated.ptime)
        srtp = (488, "the audio offered is RTP/SAVP, SRTP is off here")
        self.assertEqual(
            found,
            {
                "8x8": ("PCMU", ("192.0.2.67", 26418), 101, 20),
                "avaya-ip-office": ("PCMA", ("198.51.100.80", 46754), 101, 20),
                "bandwidth": ("PCMU", ("192.0.2.114", 23844), 101, 20),
                "freepbx-asterisk": ("G722", ("198.51.100.20", 17022), 101, 20),
                "mitel-mivoice-business": ("G722", ("198.51.100.91", 50412), 101, 20),
                "mitel-mxone": srtp,
                "ringcentral": srtp,
                "teams-direct-routing": srtp,
                "twilio": srtp,
                "vonage": ("G722", ("192.0.2.89", 30764), 101, 20),
                "voxbone": ("PCMA", ("192.0.2.107", 18144), 101, 20),
                "webex-calling-direct": srtp,
            },
        )

    def test_delayed_offer(self) -> None:
        """A UCM's answer in the ACK is read against our offer in the 200."""
        path = PLATFORMS / "cucm-delayed-offer-ack.txt"
        if not path.exists():
            raise SkipTest(f"{path} is absent")
        state = OfferAnswer(1)
        state.make_offer(LOCAL)
        negotiated = state.receive_answer(path.read_bytes().partition(b"\r\n\r\n")[2])
        self.assertEqual((negotiated.send, negotiated.remote), (G722, ("198.51.100.62", 22118)))


_lines = st.sampled_from(
    ["m=audio 4000 RTP/AVP 0 8 9 101", "m=audio 0 RTP/AVP 0", "m=audio 4000 RTP/SAVP 0", "m=audio 65535 RTP/AVP 9",
     "m=video 1 RTP/AVP 31", "m=audio 9/4 RTP/AVPF 96", "a=rtpmap:96 PCMU/8000", "a=rtpmap:101 telephone-event/8000",
     "a=sendonly", "a=recvonly", "a=inactive", "a=ptime:0", "a=ptime:99999", "a=maxptime:1", "a=rtcp:1 IN IP6 ::",
     "a=rtcp-mux", "c=IN IP4 0.0.0.0", "c=IN IP4 x.example", "c=IN IP6 ::ffff:1.2.3.4", "a=rtcp:65535 IN IP4 a.b"]
)  # fmt: skip


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(_lines, max_size=12), st.lists(_lines, max_size=12))
    def test_any_exchange(self, first: list[str], second: list[str]) -> None:
        """Any offer is refused with 400 or 488 or answered line for line, and what we then offer reads back."""
        state = OfferAnswer(3)
        for version, lines in enumerate((first, second), 1):
            body = offer(*lines, version=version)
            try:
                state.receive_offer(body, LOCAL)
            except RemoteProtocolError as error:
                self.assertIn(error.status, (400, 488))
                continue
            negotiated = state.answer(LOCAL)
            ours, theirs = parse_sdp(negotiated.answer), parse_sdp(body)
            self.assertEqual(
                [(line.kind, line.protocol) for line in ours.media],
                [(line.kind, line.protocol) for line in theirs.media],
            )
            self.assertTrue(10 <= negotiated.ptime <= 60)
            self.assertIn(negotiated.send, negotiated.receive)
            self.assertEqual(len(parse_sdp(state.make_offer(LOCAL)).media), len(theirs.media))
            state.withdraw()


class OfferAgainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = OfferAnswer(7)
        self.state.receive_offer(
            offer("m=video 9 RTP/AVP 96", "m=audio 40000 RTP/AVP 8 101", "a=rtpmap:101 telephone-event/8000")
        )
        self.answer = self.state.answer(LOCAL).answer

    def test_what_is_in_force_is_repeated_to_its_version(self) -> None:
        self.assertEqual(self.state.offer_again(LOCAL), self.answer)

    def test_only_the_direction_changes_and_the_version_with_it(self) -> None:
        held = self.state.offer_again(evolve(LOCAL, direction="sendonly"))
        expected = self.answer.replace(b"a=sendrecv", b"a=sendonly").replace(b"o=- 7 1 ", b"o=- 7 2 ")
        self.assertEqual(held, expected)

    def test_after_a_refusal_versions_go_on(self) -> None:
        self.state.offer_again(evolve(LOCAL, direction="sendonly"))
        self.state.withdraw()
        self.assertEqual(self.state.offer_again(LOCAL), self.answer.replace(b"o=- 7 1 ", b"o=- 7 3 "))

    def test_without_anything_in_force_everything_is_offered(self) -> None:
        self.assertEqual(OfferAnswer(7).offer_again(LOCAL), OfferAnswer(7).make_offer(LOCAL))

    def test_one_exchange_at_a_time(self) -> None:
        self.state.offer_again(LOCAL)
        with self.assertRaises(LocalProtocolError):
            self.state.offer_again(LOCAL)
