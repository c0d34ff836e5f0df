"""The leg to a transfer's target, with signalling, media and time played: every way that dialing can go."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.leg.dial_failure import Attempt, reason_of
from stellar_gw.call.leg.dialing import Rungs
from stellar_gw.call.leg.listener import LegSurroundings
from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.call.leg.target import TargetLeg
from stellar_gw.call.target.rules import Ours
from stellar_gw.call.target.target import Target
from stellar_gw.call.usages import Usages
from stellar_gw.control import messages
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import Answered, Ended, Provisional, Reoffered, RequestInDialog, Trying
from stellar_gw.sip.flow import Listener, Way
from stellar_gw.sip.message import Request, Response, response_to
from stellar_gw.sip.params import Params
from stellar_gw.sip.sdp import parse_sdp
from stellar_gw.sip.uri import SipUri
from stellar_gw.testing.media_plane import FakeMediaPlane
from tests.messages import OFFER, invite, parsed
from tests.unit.fake_signalling import FakeSignalling, Invite
from tests.unit.targets import Listening, make_target

FIRST, SECOND = (Way(transport="udp", host=host, port=5060) for host in ("198.51.100.1", "198.51.100.2"))
LISTENER = Listener(
    name="udp",
    transport="udp",
    bind=("203.0.113.10", 5060),
    advertise=("203.0.113.10", 5060),
    media_advertise="203.0.113.99",
)
SIX = Listener(
    name="six",
    transport="udp",
    bind=("2001:db8::1", 5060),
    advertise=("2001:db8::1", 5060),
    media_advertise="2001:db8::99",
)
SDP = ("Content-Type", "application/sdp")


def response(status: int, body: bytes = b"", *headers: tuple[str, str], tag: str = "t1", sequence: int = 1) -> Response:
    request = parsed(invite(cseq=sequence))
    return response_to(request, status, "", [*headers, *([SDP] if body else [])], body, to_tag=tag)


class TargetLegCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.signalling, self.listening = Clock(), FakeSignalling(), Listening()
        self.signalling.ways = {"pbx.example": (FIRST,)}
        self.plane = FakeMediaPlane(self.clock, latency=0.0)
        self.usages = Usages(self.signalling)
        self.notes: list[tuple[str, str]] = []
        self.rungs = Rungs()
        self.plane.ask(messages.Allocate(request=0, call="c-1"))

    def make(self, target: Target | None = None, codec: str = "PCMA") -> TargetLeg:
        self.leg = TargetLeg(
            call_id="c-1",
            target=target or make_target(),
            codec_first=codec,
            extra_headers=[("X-Case", "17")],
            around=LegSurroundings(
                signalling=self.signalling,
                usages=self.usages,
                plane=self.plane,
                clock=self.clock,
                rng=bytes,
                listeners={"udp": LISTENER, "six": SIX},
                rungs=self.rungs,
            ),
            listener=self.listening,
            note=lambda kind, line: self.notes.append((kind, line)),
        )
        return self.leg

    def dial(self, target: Target | None = None, codec: str = "PCMA") -> TargetLeg:
        self.make(target, codec).dial()
        return self.leg

    # --- what the target does -------------------------------------------------------------------

    @property
    def invite(self) -> Invite:
        return self.signalling.invites[-1]

    def trying(self) -> None:
        self.usages.handle(Trying(self.invite.usage))

    def rings(self, status: int = 180, body: bytes = b"", tag: str = "t1") -> None:
        self.usages.handle(Provisional(self.invite.usage, response(status, body, tag=tag)))

    def answers(self, body: bytes = OFFER, tag: str = "t1") -> None:
        self.usages.handle(Answered(self.invite.usage, response(200, body, tag=tag)))

    def refuses(self, status: int, *headers: tuple[str, str]) -> None:
        sequence = self.invite.sequence
        final = response(status, b"", *headers, sequence=sequence)
        self.usages.handle(Ended(self.invite.usage, "rejected", "remote", response=final, sequence=sequence))

    def breaks(self, cause: str = "timeout") -> None:
        ended = Ended(self.invite.usage, "transport" if cause == "transport" else "timeout", "local")
        self.usages.handle(ended)

    def hangs_up(self, *headers: tuple[str, str]) -> None:
        self.usages.handle(Ended(self.invite.usage, "bye", "remote", self.request("BYE", *headers)))

    def request(self, method: str, *headers: tuple[str, str], body: bytes = b"") -> Request:
        request = parsed(invite(headers=headers, body=b""))
        request.method, request.body = method, body
        return request

    # --- what is looked at ----------------------------------------------------------------------

    def where(self) -> list[tuple[str, int, str]]:
        """Of each INVITE its address, CSeq and profile."""
        return [
            (each.flow.remote[0], each.sequence, parse_sdp(each.body).media[0].protocol)
            for each in self.signalling.invites
        ]

    def assert_nothing_left(self) -> None:
        self.assertEqual((len(self.usages), self.clock.getDelayedCalls()), (0, []))
        self.assertEqual(self.plane.calls["c-1"].legs, {"caller": 10000})

    def assert_failed(self, status: int, reason: str) -> None:
        self.assertEqual(
            [told for told in self.listening.told if told[0] != "ringing"],
            [("failed", status, reason), ("released",)],
        )
        self.assert_nothing_left()


class VersionTests(TargetLegCase):
    def test_ports_and_description_are_of_the_ways_ip_version(self) -> None:
        """Where an IPv6 address refuses, the same name's IPv4 address is offered IPv4, with ports of its own."""
        self.signalling.ways = {"pbx.example": (Way(transport="udp", host="2001:db8::7", port=5060), FIRST)}
        self.dial()
        self.refuses(503)
        offers = [parse_sdp(each.body) for each in self.signalling.invites]
        self.assertEqual(
            [(str(each.connection), str(each.origin.connection), each.media[0].port) for each in offers],
            [
                ("IN IP6 2001:db8::99", "IN IP6 2001:db8::99", 10004),
                ("IN IP4 203.0.113.99", "IN IP4 203.0.113.99", 10006),
            ],
        )
        self.assertEqual(self.plane.versions["c-1"], {"caller": 4, "target": 4})

    def test_an_answer_of_the_other_ip_version_cannot_be_used(self) -> None:
        self.dial()
        self.answers(OFFER.replace(b"IN IP4 192.0.2.7", b"IN IP6 2001:db8::7"))
        self.assert_failed(0, "not_acceptable")


class IceTests(TargetLegCase):
    def offered(self) -> dict[str, str | None]:
        """The ICE attributes of our offer."""
        offer = parse_sdp(self.invite.body)
        return {name: value for name, value in (*offer.attributes, *offer.media[0].attributes) if "ice" in name}

    def test_our_offer_to_a_system_that_does_ice(self) -> None:
        """It names a lite agent's candidates; where the answer has credentials the worker is told ours."""
        self.dial(make_target(ice=True))
        offered = self.offered()
        self.assertEqual(list(offered), ["ice-lite", "ice-options", "ice-ufrag", "ice-pwd"])
        self.assertEqual(
            list(parse_sdp(self.invite.body).media[0].values("candidate")),
            [f"1 {part} UDP {2130706432 - part} 203.0.113.99 {10001 + part} typ host" for part in (1, 2)],
        )
        self.answers(OFFER + b"a=ice-ufrag:full\r\na=ice-pwd:" + b"p" * 22 + b"\r\n")
        (media,) = self.plane.calls["c-1"].media
        self.assertEqual(media.ice, messages.Ice(str(offered["ice-ufrag"]), str(offered["ice-pwd"])))

    def test_an_answer_without_ice(self) -> None:
        """Then the address that it describes is latched, as ever."""
        self.dial(make_target(ice=True))
        self.answers()
        (media,) = self.plane.calls["c-1"].media
        self.assertEqual((media.ice, media.remote), (None, ("192.0.2.7", 40000)))

    def test_not_wanted(self) -> None:
        self.dial()
        self.assertEqual(self.offered(), {})


class LatchTests(TargetLegCase):
    def test_a_system_whose_media_comes_from_where_it_says(self) -> None:
        """The worker is told to latch it strictly, or is not."""
        for strict in (True, False):
            self.setUp()
            self.dial(make_target(strict_latch=strict))
            self.answers()
            self.assertEqual([media.strict_latch for media in self.plane.calls["c-1"].media], [strict])


class AnsweredTests(TargetLegCase):
    def test_a_call_from_the_wish_to_the_hang_up(self) -> None:
        self.dial()
        self.trying()
        self.rings()
        self.answers()
        self.assertEqual(self.listening.told, [("ringing", 180, False), ("answered",)])
        (media,) = self.plane.calls["c-1"].media
        self.assertEqual((media.leg, media.remote, media.send.name), ("target", ("192.0.2.7", 40000), "G722"))
        self.assertEqual((self.leg.up, self.leg.codec, self.plane.calls["c-1"].up), (True, "G722", {"target"}))
        self.hangs_up(("Reason", "Q.850;cause=16"))
        self.assertEqual(
            self.listening.told[2:], [("ended", "target", "target_hangup", "Q.850;cause=16"), ("released",)]
        )
        self.assertEqual(self.listening.numbers, [messages.LegStatistics(leg="target", codec="G722")])
        self.assert_nothing_left()

    def test_numbers_that_come_late(self) -> None:
        """They are waited for as long as the pool waits for its worker."""
        self.dial()
        self.answers()
        self.plane.latency = 3.0
        self.hangs_up()
        self.clock.advance(3.0)
        self.assertEqual(self.listening.numbers, [messages.LegStatistics(leg="target", codec="G722")])
        self.assert_nothing_left()

    def test_the_invite_carries_who_we_are_what_the_agent_gave_and_the_callers_codec_first(self) -> None:
        credentials = ClientCredentials(username="gw", password="secret", host="pbx.example")
        self.dial(make_target(credentials=credentials, max_forwards=41))
        sent = self.invite
        self.assertEqual(
            sent.headers,
            {
                "P-Asserted-Identity": "<sip:+31612345678@sip.acme.example>",
                "X-Case": "17",
                "Max-Forwards": "41",
            },
        )
        self.assertEqual((str(sent.uri), sent.credentials), ("sip:700@pbx.example", credentials))
        self.assertTrue(str(sent.from_).startswith("<sip:+31201230000@sip.acme.example>;tag="))
        lines = sent.body.split(b"\r\n")
        self.assertIn(b"m=audio 10002 RTP/AVP 8 9 0 101", lines)
        self.assertIn(b"c=IN IP4 203.0.113.99", lines)

    def test_to_says_who_and_not_how_to_get_there(self) -> None:
        """RFC 3261 19.1.1; and it stays, wherever the call is sent on to (8.1.3.4)."""
        self.signalling.ways["mobile.example"] = (SECOND,)
        uri = SipUri(
            user="700", host="pbx.example", port=5070, params=Params([("transport", "tcp"), ("user", "phone")])
        )
        self.dial(make_target(redirects=True, uri=uri))
        self.refuses(302, ("Contact", "<sip:2@mobile.example>"))
        self.assertEqual(
            [(str(sent.uri), str(sent.to)) for sent in self.signalling.invites],
            [
                ("sip:700@pbx.example:5070;transport=tcp;user=phone", "<sip:700@pbx.example;user=phone>"),
                ("sip:2@mobile.example", "<sip:700@pbx.example;user=phone>"),
            ],
        )

    def test_early_media_is_in_force_before_the_answer(self) -> None:
        self.dial()
        self.rings(183, OFFER)
        self.rings(180)
        self.assertEqual(self.listening.told, [("ringing", 183, True), ("ringing", 180, False)])
        self.assertEqual(len(self.plane.calls["c-1"].media), 1)
        self.answers(OFFER)
        self.assertEqual(len(self.plane.calls["c-1"].media), 1)
        self.leg.give_up()
        self.assert_nothing_left()

    def test_the_fork_that_answers_is_the_one_that_is_heard(self) -> None:
        self.dial()
        self.rings(183, OFFER, "t1")
        self.rings(183, OFFER.replace(b"40000", b"40100"), "t2")
        self.answers(b"", "t1")
        self.assertEqual([each.remote[1] for each in self.plane.calls["c-1"].media], [40000, 40100, 40000])

    def test_a_target_that_answers_on_hold_is_told_of_after_the_answer(self) -> None:
        self.dial()
        self.answers(OFFER.replace(b"sendrecv", b"inactive"))
        self.assertEqual(self.listening.told, [("answered",), ("direction", "inactive")])

    def test_an_answer_that_cannot_be_used_is_hung_up_on(self) -> None:
        self.dial()
        self.answers(OFFER.replace(b"9 0 8 101", b"18"))
        self.assertEqual(self.signalling.said[-1], ("bye", 'Q.850;cause=88;text="the answer cannot be used"'))
        self.assert_failed(0, "not_acceptable")

    def test_a_200_without_any_answer_is_hung_up_on(self) -> None:
        self.dial()
        self.answers(b"")
        self.assertEqual(self.signalling.said[-1][0], "bye")
        self.assert_failed(0, "not_acceptable")


class RefusedTests(TargetLegCase):
    def test_each_status_has_its_word(self) -> None:
        words = {
            486: "busy", 600: "busy", 603: "declined", 408: "no_answer", 480: "unreachable", 404: "not_found",
            604: "not_found", 410: "not_found", 484: "not_found", 403: "rejected", 401: "rejected", 407: "rejected",
            402: "rejected", 607: "rejected", 488: "not_acceptable", 415: "not_acceptable", 302: "redirected",
            500: "unreachable", 503: "unreachable", 580: "unreachable",
        }  # fmt: skip
        self.assertEqual({status: reason_of(status) for status in words}, words)

    def test_a_refusal_ends_it_and_tells_what_was_tried(self) -> None:
        self.dial()
        self.rings()
        self.refuses(486)
        self.assert_failed(486, "busy")
        (failure,) = self.listening.failures
        self.assertEqual(
            (failure.phrase, failure.attempts),
            (
                "486 Busy Here",
                (Attempt(way="198.51.100.1:5060 over UDP", offer="plain", outcome="486 Busy Here"),),
            ),
        )

    def test_nobody_answers_in_time(self) -> None:
        self.dial()
        self.rings()
        self.clock.advance(29.9)
        self.assertEqual(self.listening.outcomes, [])
        self.clock.advance(0.2)
        self.assertEqual(self.signalling.said[-1], ("bye", 'Q.850;cause=19;text="no answer"'))
        self.assert_failed(0, "no_answer")

    def test_given_up_while_it_rings(self) -> None:
        self.dial()
        self.rings()
        self.leg.give_up('Q.850;cause=16;text="caller hung up"')
        self.leg.give_up()
        self.assertEqual(self.signalling.said[-1], ("bye", 'Q.850;cause=16;text="caller hung up"'))
        self.assert_failed(0, "given_up")

    def test_given_up_before_anything_is_sent(self) -> None:
        self.make()
        self.leg.give_up()
        self.assert_failed(0, "given_up")
        self.assertEqual(self.signalling.said, [])

    def test_given_up_while_a_port_is_asked_for(self) -> None:
        self.plane.latency = 0.01
        self.dial()
        self.leg.give_up()
        self.clock.advance(1.0)
        self.assert_failed(0, "given_up")
        self.assertEqual(self.signalling.invites, [])

    def test_there_are_no_ports(self) -> None:
        self.plane.ports = 1
        self.dial()
        self.assert_failed(0, "media")

    def test_the_worker_dies_while_a_port_is_asked_for(self) -> None:
        self.plane.latency = 0.01
        self.plane.listener = lambda event: None
        self.dial()
        self.plane.lose()
        self.clock.advance(3.0)
        self.assertEqual(self.listening.told, [("failed", 0, "worker_lost"), ("released",)])

    def test_the_worker_dies_while_it_rings(self) -> None:
        """Whoever listens hears of the worker's end, and gives the leg up; no numbers come of it."""
        self.plane.listener = lambda event: self.leg.give_up(cause="worker_lost")
        self.dial()
        self.rings()
        self.plane.lose()
        self.assertEqual(self.signalling.said[-1][0], "bye")
        self.assertEqual(
            (self.listening.told[1:], self.listening.numbers), ([("failed", 0, "worker_lost"), ("released",)], [None])
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WaysTests(TargetLegCase):
    def setUp(self) -> None:
        super().setUp()
        self.signalling.ways = {"pbx.example": (FIRST, SECOND)}

    def test_four_seconds_of_silence_lead_to_the_next_way(self) -> None:
        self.dial()
        self.clock.advance(3.9)
        self.assertEqual(len(self.signalling.invites), 1)
        self.clock.advance(0.2)
        self.assertEqual(self.where(), [("198.51.100.1", 1, "RTP/AVP"), ("198.51.100.2", 2, "RTP/AVP")])
        first, second = self.signalling.invites
        self.assertEqual((first.call_id, first.from_), (second.call_id, second.from_))
        self.assertEqual((self.signalling.failed, ("bye",) in self.signalling.said), ([FIRST], True))
        self.answers()
        self.assertEqual(self.listening.told, [("answered",)])

    def test_a_next_hop_that_has_the_invite_is_waited_for(self) -> None:
        self.dial()
        self.trying()
        self.clock.advance(20.0)
        self.assertEqual((len(self.signalling.invites), self.signalling.failed), (1, []))

    def test_the_last_way_is_waited_for(self) -> None:
        self.dial()
        self.clock.advance(4.1)
        self.clock.advance(20.0)
        self.assertEqual((len(self.signalling.invites), self.listening.outcomes), (2, []))
        self.breaks()
        self.assert_failed(0, "unreachable")

    def test_503_leads_to_the_next_way(self) -> None:
        self.dial()
        self.refuses(503)
        self.assertEqual(self.where()[1], ("198.51.100.2", 2, "RTP/AVP"))
        self.refuses(503)
        self.assert_failed(503, "unreachable")
        self.assertEqual(self.signalling.failed, [FIRST, SECOND])

    def test_a_way_that_cannot_be_opened_is_passed_over(self) -> None:
        self.signalling.closed = {FIRST}
        self.dial()
        self.assertEqual(self.where(), [("198.51.100.2", 1, "RTP/AVP")])

    def test_a_broken_connection_leads_to_the_next_way_unless_it_rings_already(self) -> None:
        self.dial()
        self.breaks("transport")
        self.rings()
        self.breaks("transport")
        self.assertEqual([place for place, *_ in self.where()], ["198.51.100.1", "198.51.100.2"])
        self.assert_failed(0, "unreachable")

    def test_no_way_at_all(self) -> None:
        self.signalling.ways = {}
        self.dial()
        self.assert_failed(0, "unreachable")
        self.assertEqual(self.listening.failures[0].phrase, "sip:700@pbx.example leads nowhere")

    def test_addresses_where_no_transfer_may_go_are_not_tried(self) -> None:
        private = Way(transport="udp", host="10.0.0.7", port=5060)
        self.signalling.ways = {"pbx.example": (private, SECOND)}
        self.dial(make_target(private=False))
        self.assertEqual(self.where(), [("198.51.100.2", 1, "RTP/AVP")])

    def test_a_name_that_leads_to_ourselves_only_is_not_called(self) -> None:
        ours = Ours(hosts=frozenset({"198.51.100.1", "198.51.100.2"}), ports=frozenset({5060}))
        self.dial(make_target(ours=ours))
        self.assert_failed(0, "not_allowed")

    def test_the_next_hop_is_looked_up_and_the_uri_stays(self) -> None:
        self.signalling.ways = {"proxy.example": (SECOND,)}
        self.dial(make_target(next_hop=SipUri(host="proxy.example")))
        self.assertEqual((str(self.invite.uri), self.invite.flow.remote[0]), ("sip:700@pbx.example", "198.51.100.2"))


class LadderTests(TargetLegCase):
    def profiles(self) -> list[tuple[str, bool]]:
        return [(parse_sdp(each.body).media[0].protocol, b"a=crypto" in each.body) for each in self.signalling.invites]

    def test_srtp_steps_down_as_its_policy_allows(self) -> None:
        self.dial(make_target(srtp=SrtpTerms(mode="opportunistic", offer="savp")))
        self.refuses(488)
        self.refuses(488)
        self.assertEqual(self.profiles(), [("RTP/SAVP", True), ("RTP/AVP", True), ("RTP/AVP", False)])
        self.assertEqual([sequence for _, sequence, _ in self.where()], [1, 2, 3])
        self.assertEqual(len({(each.call_id, each.from_) for each in self.signalling.invites}), 1)
        self.refuses(488)
        self.assert_failed(488, "not_acceptable")
        self.assertEqual([each.offer for each in self.listening.failures[0].attempts], ["savp", "avp", "plain"])

    def test_what_a_target_took_is_offered_first_next_time(self) -> None:
        target = make_target(srtp=SrtpTerms(mode="opportunistic", offer="savp"))
        self.dial(target)
        self.refuses(488)
        self.refuses(488)
        self.answers()
        self.hangs_up()
        self.signalling.invites.clear()
        self.dial(target)
        self.assertEqual(self.profiles(), [("RTP/AVP", False)])
        self.refuses(488)
        self.assertEqual(self.profiles()[1:], [("RTP/SAVP", True)])
        self.leg.give_up()
        self.clock.advance(3601.0)
        self.signalling.invites.clear()
        self.dial(target)
        self.assertEqual(self.profiles(), [("RTP/SAVP", True)])

    def test_required_srtp_never_descends(self) -> None:
        terms = SrtpTerms(mode="required", offer="savp", without_tls=True)
        self.dial(make_target(srtp=terms))
        self.refuses(488)
        self.assertEqual(self.profiles(), [("RTP/SAVP", True)])
        self.assert_failed(488, "not_acceptable")

    def test_required_srtp_takes_no_plain_answer(self) -> None:
        self.dial(make_target(srtp=SrtpTerms(mode="required", offer="avp", without_tls=True)))
        self.answers(OFFER)
        self.assert_failed(0, "not_acceptable")

    def test_required_srtp_sends_no_keys_in_clear(self) -> None:
        self.dial(make_target(srtp=SrtpTerms(mode="required", offer="savp")))
        self.assertEqual(self.signalling.invites, [])
        self.assert_failed(0, "not_acceptable")

    def test_plain_rtp_has_no_ladder(self) -> None:
        self.dial()
        self.refuses(488)
        self.assertEqual(self.profiles(), [("RTP/AVP", False)])
        self.assert_failed(488, "not_acceptable")


class RedirectedTests(TargetLegCase):
    def test_it_is_followed_once_to_the_contact_that_is_wanted_most(self) -> None:
        self.signalling.ways["mobile.example"] = (SECOND,)
        self.dial(make_target(redirects=True))
        self.refuses(302, ("Contact", "<sip:1@desk.example>;q=0.5, <sip:2@mobile.example?X-A=b>;q=0.9"))
        self.assertEqual(str(self.invite.uri), "sip:2@mobile.example")
        self.assertEqual(self.where()[1], ("198.51.100.2", 2, "RTP/AVP"))
        self.refuses(302, ("Contact", "<sip:3@desk.example>"))
        self.assert_failed(302, "redirected")

    def test_it_is_not_followed_unless_that_is_allowed(self) -> None:
        self.dial()
        self.refuses(302, ("Contact", "<sip:2@mobile.example>"))
        self.assert_failed(302, "redirected")

    def test_it_is_never_followed_to_ourselves_in_a_circle_or_to_what_is_no_sip_uri(self) -> None:
        ours = Ours(hosts=frozenset({"sip.acme.example"}), ports=frozenset({5060}))
        for contact in ("<sip:600@sip.acme.example>", "<sip:700@pbx.example>", "<tel:+31201234567>", "*", "<<"):
            self.listening.told.clear()
            self.dial(make_target(redirects=True, ours=ours))
            self.refuses(302, ("Contact", contact))
            self.assert_failed(302, "redirected")

    def test_never_to_a_number_that_costs_more_than_what_was_dialled(self) -> None:
        self.dial(make_target(redirects=True))
        self.refuses(302, ("Contact", "<sip:+31900123456@pbx.example>, <sip:+31201234567@pbx.example>;q=0.1"))
        self.assertEqual(str(self.invite.uri), "sip:+31201234567@pbx.example")

    def test_never_to_such_a_number_however_it_is_written(self) -> None:
        self.dial(make_target(redirects=True))
        self.refuses(302, ("Contact", "<sip:0031-900-123456@pbx.example>, <sip:+31900123456@pbx.example>"))
        self.assert_failed(302, "redirected")

    def test_never_to_a_private_address_because_the_way_has_one(self) -> None:
        """A trunk provider may be within; where it sends us may not."""
        inside = Way(transport="udp", host="10.0.0.7", port=5060)
        self.signalling.ways = {"pbx.example": (inside,), "desk.example": (inside,)}
        self.dial(make_target(redirects=True, private=False, private_hop=True))
        self.assertEqual(self.invite.flow.remote[0], "10.0.0.7")
        self.refuses(302, ("Contact", "<sip:2@desk.example>"))
        self.assert_failed(0, "not_allowed")

    def test_never_from_sips_to_sip(self) -> None:
        uri = SipUri(scheme="sips", user="700", host="pbx.example")
        self.dial(make_target(redirects=True, uri=uri))
        self.refuses(302, ("Contact", "<sip:2@mobile.example>"))
        self.assert_failed(302, "redirected")

    def test_within_the_same_system_its_proxy_serves(self) -> None:
        self.signalling.ways = {"proxy.example": (FIRST,)}
        self.dial(make_target(redirects=True, next_hop=SipUri(host="proxy.example")))
        self.refuses(302, ("Contact", "<sip:701@pbx.example>"))
        self.assertEqual((str(self.invite.uri), self.invite.flow.remote[0]), ("sip:701@pbx.example", "198.51.100.1"))


class MidCallTests(TargetLegCase):
    def setUp(self) -> None:
        super().setUp()
        self.dial()
        self.answers()
        self.listening.told.clear()
        self.signalling.said.clear()

    def reoffers(self, body: bytes) -> None:
        self.usages.handle(Reoffered(self.invite.usage, parsed(invite(body=body))))

    def test_its_reinvites_are_answered_and_only_a_change_of_direction_is_told(self) -> None:
        for direction in (b"sendrecv", b"sendonly", b"sendonly", b"sendrecv"):
            self.reoffers(OFFER.replace(b"sendrecv", direction))
        self.assertEqual([said[0] for said in self.signalling.said], ["answer"] * 4)
        self.assertEqual(self.listening.told, [("direction", "recvonly"), ("direction", "sendrecv")])

    def test_we_hold_it(self) -> None:
        held = self.leg.hold()
        answer = response(200, OFFER.replace(b"sendrecv", b"recvonly"))
        self.usages.handle(Answered(self.invite.usage, answer, reinvite=True))
        self.assertTrue(self.successResultOf(held))
        self.assertEqual(self.plane.calls["c-1"].media[-1].direction, "sendonly")

    def test_holding_what_is_not_up_comes_to_nothing(self) -> None:
        self.hangs_up()
        self.assertFalse(self.successResultOf(self.leg.hold()))

    def test_digits_are_told_and_those_by_info_go_to_the_worker(self) -> None:
        request = self.request("INFO", ("Content-Type", "application/dtmf-relay"), body=b"Signal=5\r\nDuration=250\r\n")
        self.usages.handle(RequestInDialog(self.invite.usage, 9, request))
        self.leg.heard(messages.DigitReceived(generation=1, call="c-1", leg="target", digit="5", duration_ms=250))
        self.assertEqual((self.signalling.said, self.listening.told), ([("respond_in", 200)], [("digit", "5")]))
        self.assertEqual([(each.leg, each.digit) for each in self.plane.calls["c-1"].pressed], [("target", "5")])

    def test_other_requests_are_refused(self) -> None:
        for method in ("NOTIFY", "MESSAGE"):
            self.usages.handle(RequestInDialog(self.invite.usage, 9, self.request(method)))
        self.assertEqual(self.signalling.said, [("respond_in", 481), ("respond_in", 405)])

    def test_we_hang_up(self) -> None:
        self.leg.bye([("Reason", "SIP;cause=200"), ("X-Why", "done")])
        self.assertEqual(self.signalling.said, [("bye", "SIP;cause=200", "done")])
        self.assertEqual(self.listening.told, [("ended", "gateway", "given_up", "SIP;cause=200"), ("released",)])
        self.assert_nothing_left()

    def test_the_dialog_is_gone(self) -> None:
        self.usages.handle(Ended(self.invite.usage, "dialog_gone", "remote"))
        self.assertEqual(self.listening.told, [("ended", "gateway", "dialog_lost", ""), ("released",)])

    def test_no_media_at_all_ends_it(self) -> None:
        lost = messages.MediaLost(generation=1, call="c-1", leg="target", seconds=30.0, ever=False)
        self.leg.heard(lost)
        self.assertEqual([told[:3] for told in self.listening.told][:1], [("ended", "gateway", "no_media")])
        self.assert_nothing_left()

    def test_media_that_pauses_is_asked_after(self) -> None:
        lost = messages.MediaLost(generation=1, call="c-1", leg="target", seconds=30.0, ever=True)
        self.leg.heard(lost)
        self.assertEqual(self.signalling.said, [("OPTIONS",)])
        self.leg.heard(messages.MediaBack(generation=1, call="c-1", leg="target"))
        self.assertEqual(self.listening.told, [])

    def test_what_the_worker_cannot_do_ends_it(self) -> None:
        self.plane.calls["c-1"].legs.pop("target")
        self.reoffers(OFFER)
        self.assertEqual([told[:3] for told in self.listening.told][:1], [("ended", "gateway", "media")])


class BoundsTests(SynchronousTestCase):
    def test_only_so_many_places_are_remembered(self) -> None:
        rungs = Rungs()
        for number in range(1500):
            rungs.keep(f"host{number}:", "plain", 0.0)
        self.assertEqual((rungs.recall("host499:", 1.0), rungs.recall("host1499:", 1.0)), (None, "plain"))
