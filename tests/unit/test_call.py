"""One call, its media plane and its signalling in memory: every way it can go."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.calls import Calls
from stellar_gw.call.events import CallEnded, CallEvent, CallNoted, CallRefused
from stellar_gw.call.record import CallRecord, RefusalRecord
from stellar_gw.config import Config
from stellar_gw.control import messages
from stellar_gw.sip.events import Confirmed, Ended, Reoffered, RequestInDialog, RequestReceived, ResponseReceived
from stellar_gw.sip.flow import Listener
from stellar_gw.testing.media_plane import FakeMediaPlane
from tests.configurations import CONFIGURATION, configuration
from tests.messages import OFFER, flow, invite, parsed
from tests.unit.fake_signalling import FakeSignalling

TELNYX = "192.76.120.10"
MAIN_LINE = "sip:+31201230000@sip.acme.example"


class CallCase(SynchronousTestCase):
    """A gateway without sockets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.signalling = FakeSignalling()
        self.plane = FakeMediaPlane(self.clock)
        self.events: list[CallEvent] = []
        self.calls = self.make_calls(configuration())
        self.plane.listener = self.calls.heard

    def make_calls(self, config: Config) -> Calls:
        return Calls(
            config,
            listeners={
                name: Listener(
                    name=name,
                    transport=each.transport,
                    bind=each.bind,
                    advertise=each.advertise,
                    media_advertise=each.media_advertise,
                )
                for name, each in config.listeners.items()
            },
            signalling=self.signalling,
            plane=self.plane,
            clock=self.clock,
            wall=lambda: 1000.0 + self.clock.seconds(),
            rng=_numbered(),
            tell=self.events.append,
        )

    # --- what a caller does ---------------------------------------------------------------------

    def invite(self, source: str = TELNYX, to: str = MAIN_LINE, call_id: str = "a1", body: bytes = OFFER) -> None:
        self.calls.handle(RequestReceived(parsed(invite(to, call_id=call_id, body=body)), flow(source)))

    def ack(self, body: bytes = b"", reinvite: bool = False, call_id: str = "a1") -> None:
        request = parsed(invite(MAIN_LINE, call_id=call_id, body=body))
        self.calls.handle(Confirmed(f"usage of {call_id}", request, body, reinvite))

    def inform(self, content_type: str, body: bytes, *headers: tuple[str, str]) -> None:
        """An INFO inside the dialog."""
        request = parsed(invite(MAIN_LINE, headers=(("Content-Type", content_type), *headers), body=b""))
        request.method, request.body = "INFO", body
        self.calls.handle(RequestInDialog("usage of a1", 9, request))

    def hang_up(self, call_id: str = "a1") -> None:
        self.calls.handle(Ended(f"usage of {call_id}", "bye", "remote"))

    def talk(self) -> None:
        """Set a call up."""
        self.invite()
        self.wait()
        self.ack()

    def wait(self, seconds: float = 1.0) -> None:
        """Let time pass, a second of it in steps (what is started in a step begins at its end)."""
        self.clock.pump([0.01] * 100)
        self.clock.advance(seconds - 1.0)

    # --- what comes of it -----------------------------------------------------------------------

    def said(self) -> list[tuple[object, ...]]:
        """What signalling was asked since the last look."""
        said, self.signalling.said = self.signalling.said, []
        return said

    def settle(self) -> None:
        """Let the worker answer, with nothing left running after."""
        self.wait()
        self.assertEqual(list(self.clock.getDelayedCalls()), [])
        self.assertEqual((len(self.calls), self.plane.calls), (0, {}))

    def record(self) -> CallRecord:
        (record,) = [event.record for event in self.events if isinstance(event, CallEnded)]
        return record

    def refusals(self) -> list[RefusalRecord]:
        self.clock.advance(0)
        return [event.record for event in self.events if isinstance(event, CallRefused)]


def _numbered() -> Callable[[int], bytes]:
    numbers = iter(range(1, 1 << 20))
    return lambda octets: next(numbers).to_bytes(octets, "little")


class SetUpTests(CallCase):
    def test_a_call_rings_is_answered_when_its_agent_is_there_and_ends(self) -> None:
        self.invite()
        self.clock.pump([0.01] * 3)
        self.assertEqual(self.said(), [("ring",)])
        self.wait()
        (answer,) = self.said()
        self.assertEqual(answer[0], "answer")
        self.assertIn("m=audio 10000 RTP/AVP 9 0 8 101", answer)
        self.ack()
        self.wait(10.0)
        self.hang_up()
        self.settle()
        record = self.record()
        self.assertEqual(
            (record.cause, record.ended_by, record.status, record.codec, record.confirmed is not None),
            ("caller_hangup", "caller", 200, "G722", True),
        )
        self.assertEqual(record.as_json()["ladder"], ["the ladder"])
        self.assertEqual([(each.cause, each.by) for each in self.plane.released], [("caller_hangup", "caller")])
        self.assertEqual(len(self.plane.sessions), 1)

    def test_the_record_has_what_caller_and_agent_made_of_it(self) -> None:
        """Milliseconds, turns, and shares of the time that the agent heard the caller; null where there were none."""
        said = {"heard_ms": 10000, "agent_audio_ms": 5000, "caller_ms": 3000, "agent_ms": 4000, "both_ms": 500}
        times = {"p50_ms": 700, "p95_ms": 900, "max_ms": 950}
        shares = {"caller_share": 0.3, "agent_share": 0.4, "silence_share": 0.35}
        none = {"caller_share": None, "agent_share": None, "silence_share": None}
        found = []
        for numbers in ({**said, **times, "turns": 3, "barge_ins": 1, "malformed": 2}, {}):
            self.plane.conversation = messages.ConversationStatistics(**numbers)
            self.events.clear()
            self.talk()
            self.hang_up()
            self.settle()
            found.append(self.record().as_json()["conversation"])
        self.assertEqual(found[0], {**said, **times, **shares, "turns": 3, "barge_ins": 1, "malformed": 2})
        self.assertEqual(
            found[1],
            {**dict.fromkeys(said, 0), **dict.fromkeys(times), **none, "turns": 0, "barge_ins": 0, "malformed": 0},
        )

    def test_what_a_connector_says_of_digits_and_barge_in_goes_to_the_worker(self) -> None:
        said = 'identifier: "600", '
        told = []
        for more in ("", "dtmf: inband, ", "barge_in: tell, ", "barge_in: clear, "):
            self.setUp()
            self.calls = self.make_calls(configuration(CONFIGURATION.replace(said, said + more)))
            self.plane.listener = self.calls.heard
            self.invite(to="sip:600@sip.acme.example")
            self.wait()
            self.hang_up()
            self.settle()
            (session,) = self.plane.sessions
            told.append((session.inband, session.barge_in))
        self.assertEqual(told, [(False, "off"), (True, "off"), (False, "tell"), (False, "clear")])

    def test_a_call_without_an_agent_has_no_conversation(self) -> None:
        self.invite()
        self.calls.handle(Ended("usage of a1", "cancelled", "remote"))
        self.settle()
        self.assertIsNone(self.record().as_json()["conversation"])

    def test_the_worker_learns_what_was_agreed_on_before_the_agent_is_called(self) -> None:
        self.invite()
        self.clock.pump([0.002, 0.002])
        (call,) = self.plane.calls.values()
        (media,) = call.media
        self.assertEqual(
            (media.remote, media.remote_rtcp, media.signalling_host, media.send.name, media.direction),
            (("192.0.2.7", 40000), ("192.0.2.7", 40001), TELNYX, "G722", "sendrecv"),
        )
        assert call.agent is not None
        self.assertEqual(call.agent.context.codec, "G722")
        self.hang_up()
        self.settle()

    def test_the_worker_learns_every_way_of_digits_and_comfort_noise(self) -> None:
        """What the offer names, whatever its clock; to the peer itself goes noise of our codecs' clock alone."""
        rtpmaps = (b"a=rtpmap:97 telephone-event/48000\r\na=rtpmap:118 CN/16000\r\n", b"a=rtpmap:99 CN/8000\r\n")
        for more, noise in ((rtpmaps[0], None), (b"".join(rtpmaps), 99)):
            self.invite(body=OFFER.replace(b"8 101", b"8 101 97 118 99") + more)
            self.clock.pump([0.002, 0.002])
            (call,) = self.plane.calls.values()
            (media,) = call.media
            self.assertEqual(
                [(each.payload_type, each.clock) for each in media.dtmf_receive], [(101, 8000), (97, 48000)]
            )
            self.assertEqual((media.dtmf_send, media.comfort_noise), (media.dtmf_receive[0], noise))
            self.assertEqual(
                {(each.payload_type, each.clock) for each in media.noise_receive},
                {(118, 16000), (99, 8000)} if noise else {(118, 16000)},
            )
            self.hang_up()
            self.settle()

    def test_the_worker_learns_how_strictly_a_providers_media_is_latched(self) -> None:
        found = []
        for latch in ("strict", "any"):
            text = CONFIGURATION.replace("tenants: [acme]}", f"tenants: [acme], latch: {latch}}}")
            self.setUp()
            self.calls = self.make_calls(configuration(text))
            self.plane.listener = self.calls.heard
            self.invite()
            self.wait()
            found += [media.strict_latch for call in self.plane.calls.values() for media in call.media]
        self.assertEqual(found, [True, False])

    def test_an_invite_without_an_offer_gets_ours_and_the_ack_answers_it(self) -> None:
        """Delayed offer (RFC 3261 13.2.1): nothing is known of the caller's media before the ACK."""
        self.invite(body=b"")
        self.clock.pump([0.01] * 20)
        self.assertEqual([said[0] for said in self.said()], ["ring", "answer"])
        (call,) = self.plane.calls.values()
        self.assertEqual(call.media, [])
        self.ack(OFFER.replace(b"9 0 8 101", b"8 101"))
        self.wait()
        self.assertEqual([media.send.name for media in call.media], ["PCMA"])
        self.hang_up()
        self.settle()
        self.assertEqual(self.record().codec, "PCMA")

    def test_an_ack_without_the_answer_that_is_due_ends_the_call(self) -> None:
        self.invite(body=b"")
        self.clock.pump([0.01] * 20)
        self.said()
        self.ack(b"")
        self.assertEqual([said[0] for said in self.said()], ["bye"])
        self.settle()
        self.assertEqual(self.record().cause, "not_acceptable")

    def test_an_offer_that_nothing_fits_is_refused_with_488(self) -> None:
        self.invite(body=OFFER.replace(b"RTP/AVP 9 0 8 101", b"RTP/AVP 18"))
        self.wait()
        self.assertEqual(self.said(), [("reject", 488, "Warning")])
        self.assertEqual([(each.status, each.check) for each in self.refusals()], [(488, "session_description")])
        self.settle()
        self.assertEqual(self.plane.sessions, [])

    def test_a_merged_request_is_left_to_the_core(self) -> None:
        self.signalling.merged = True
        self.invite()
        self.assertEqual((len(self.calls), self.events), (0, []))


class AgentTests(CallCase):
    def test_an_agent_that_is_not_there_is_480_with_a_record(self) -> None:
        self.plane.agent = lambda _: None
        self.invite()
        self.wait()
        self.assertEqual(self.said(), [("ring",), ("reject", 480, "Warning")])
        self.settle()
        self.assertEqual([(each.status, each.check) for each in self.refusals()], [(480, "agent_refused")])
        self.assertIn("agent reception/production: connection refused", self.refusals()[0].line)
        self.assertEqual((self.record().cause, self.record().status), ("agent_unavailable", 480))

    def test_an_agent_that_hangs_up_ends_the_call_with_bye(self) -> None:
        self.talk()
        self.said()
        (call_id,) = self.plane.calls
        self.plane.say(messages.AgentHangup(generation=1, call=call_id))
        self.assertEqual(self.said(), [("bye", 'Q.850;cause=16;text="agent hangup"')])
        self.settle()
        self.assertEqual((self.record().cause, self.record().ended_by), ("agent_hangup", "agent"))

    def test_an_agent_whose_link_breaks_ends_the_call_with_its_cause(self) -> None:
        self.talk()
        self.said()
        (call_id,) = self.plane.calls
        self.plane.say(
            messages.AgentFailed(
                generation=1, call=call_id, code="closed_1011", message="closed with 1011", established=True
            )
        )
        self.assertEqual(self.said(), [("bye", 'Q.850;cause=41;text="agent lost"')])
        self.settle()
        self.assertEqual(self.record().reason, "agent reception/production: closed with 1011")


class AskTests(CallCase):
    """What the agent asks before and after the answer."""

    text = CONFIGURATION.replace("dialect: twilio,", "dialect: native, answer: agent,")

    def ring(self) -> str:
        """A call whose agent is there and has not decided."""
        self.calls = self.make_calls(configuration(self.text))
        self.plane.listener = self.calls.heard
        self.invite()
        self.wait()
        self.assertEqual(self.said(), [("ring",)])
        (call_id,) = self.plane.calls
        return call_id

    def ask(self, verb: str, **parameters: str) -> None:
        (call_id,) = self.plane.calls
        self.plane.say(
            messages.AgentAsked(generation=1, call=call_id, ask=f"{verb}-1", verb=verb, parameters=parameters)
        )
        self.clock.advance(0.01)

    def outcomes(self) -> list[tuple[str, str, str]]:
        (call,) = self.plane.calls.values()
        return [(each.ask, each.state, each.detail.get("code", "")) for each in call.outcomes]

    def test_the_call_rings_until_the_agent_answers(self) -> None:
        self.ring()
        self.ask("answer")
        self.assertEqual([said[0] for said in self.said()], ["answer"])
        self.ask("answer")
        self.ask("reject", status="486")
        self.assertEqual(
            self.outcomes(),
            [("answer-1", "done", ""), ("answer-1", "failed", "already_answered"),
             ("reject-1", "failed", "already_answered")],
        )  # fmt: skip
        self.ack()
        self.hang_up()
        self.settle()

    def test_early_media(self) -> None:
        """The connector's wish: 183 with our answer, which the 200 repeats, and the worker is told what to play."""
        for source in ("ringback", "agent"):
            self.setUp()
            text = self.text.replace('number: "+31201230000",', f'number: "+31201230000", early_media: {source},')
            self.calls = self.make_calls(configuration(text))
            self.plane.listener = self.calls.heard
            self.invite()
            self.wait()
            (ring,) = self.said()
            self.assertEqual(ring[:2], ("ring", 183))
            (call,) = self.plane.calls.values()
            self.assertEqual([(each.leg, each.source) for each in call.early], [("caller", source)])
            self.assertFalse(call.answered)
            self.ask("answer")
            (answer,) = self.said()
            self.assertEqual((answer[0], answer[1:]), ("answer", ring[2:]))
            self.ack()
            self.hang_up()
            self.settle()

    def test_no_early_media_without_an_offer(self) -> None:
        """There is nothing to be answered in a 183 (RFC 3261 13.2.1): 180."""
        self.text = self.text.replace('number: "+31201230000",', 'number: "+31201230000", early_media: ringback,')
        self.calls = self.make_calls(configuration(self.text))
        self.plane.listener = self.calls.heard
        self.invite(body=b"")
        self.wait()
        self.assertEqual(self.said(), [("ring",)])
        (call,) = self.plane.calls.values()
        self.assertEqual(call.early, [])
        self.hang_up()
        self.settle()

    def test_the_agent_rejects_with_a_status_of_its_own(self) -> None:
        self.ring()
        self.ask("reject", status="301")
        self.assertEqual(self.outcomes(), [("reject-1", "failed", "bad_status")])
        self.ask("reject", status="486", reason="Closed until Monday")
        self.assertEqual(self.said(), [("reject", 486, "Warning")])
        self.settle()
        self.assertEqual((self.record().cause, self.record().status), ("agent_rejected", 486))

    def test_an_agent_that_does_not_decide_is_given_up_after_a_minute(self) -> None:
        self.ring()
        self.clock.advance(59.1)
        self.assertEqual(self.said(), [("reject", 480, "Warning")])
        self.settle()
        self.assertEqual([each.check for each in self.refusals()], ["agent_undecided"])

    def test_what_cannot_be_before_the_answer_is_said_so(self) -> None:
        self.ring()
        for verb in ("transfer", "hold", "resume", "levitate"):
            self.ask(verb)
        self.assertEqual(
            [code for _, _, code in self.outcomes()],
            ["not_answered", "not_answered", "not_answered", "unknown_action"],
        )
        self.hang_up()
        self.settle()


class EndTests(CallCase):
    def test_why_the_caller_gave_up_is_kept(self) -> None:
        """The Reason of a CANCEL or a BYE (RFC 3326), as it came, is in the record."""
        request = parsed(invite(headers=(("Reason", 'SIP;cause=200;text="Call completed elsewhere"'),)))
        for cause in ("cancelled", "bye"):
            self.setUp()
            self.invite()
            if cause == "bye":
                self.wait()
                self.ack()
            self.calls.handle(Ended("usage of a1", cause, "remote", request))
            self.settle()
            self.assertEqual(self.record().reason_header, 'SIP;cause=200;text="Call completed elsewhere"')

    def test_a_caller_who_gives_up_while_it_rings_leaves_nothing(self) -> None:
        """At every moment of the set-up."""
        for moment in range(6):
            self.events.clear()
            self.invite()
            self.clock.pump([0.01] * moment)
            self.calls.handle(Ended("usage of a1", "cancelled", "remote"))
            self.settle()
            self.assertEqual((self.record().cause, self.record().status), ("cancelled", 487))
            self.said()

    def test_a_200_that_is_never_acknowledged_is_in_the_record(self) -> None:
        self.invite()
        self.wait()
        self.calls.handle(Ended("usage of a1", "ack_timeout", "local"))
        self.settle()
        self.assertEqual((self.record().cause, self.record().confirmed), ("ack_timeout", None))

    def test_the_agent_is_warned_a_minute_before_a_call_reaches_its_limit(self) -> None:
        self.talk()
        (call,) = self.plane.calls.values()
        self.said()
        self.clock.advance(7139.0)
        self.assertEqual(call.told, [])
        self.clock.advance(1.0)
        self.clock.advance(0.1)
        self.assertEqual([(each.kind, each.detail) for each in call.told], [("limit", {"seconds_left": "60"})])
        self.clock.advance(60.0)
        self.assertEqual([said[0] for said in self.said()], ["bye"])
        self.settle()
        self.assertEqual(self.record().cause, "limit")

    def test_a_worker_that_dies_ends_its_calls_and_their_records_are_written(self) -> None:
        self.talk()
        self.invite(call_id="b1")
        self.clock.advance(0.002)
        self.said()
        self.plane.lose()
        self.assertEqual(
            sorted(said[:2] for said in self.said()), [("bye", 'Q.850;cause=41;text="worker lost"'), ("reject", 503)]
        )
        self.settle()
        causes = [event.record.cause for event in self.events if isinstance(event, CallEnded)]
        self.assertEqual(causes, ["worker_lost", "worker_lost"])

    def test_a_worker_that_dies_while_it_is_asked_is_the_cause_too(self) -> None:
        """A request that fails because the worker died comes before the news of its death."""
        self.invite()
        for _ in range(1000):
            if any(said[0] == "answer" for said in self.said()):
                break
            self.clock.advance(0.001)
        self.plane.lose()
        self.settle()
        (record,) = [event.record for event in self.events if isinstance(event, CallEnded)]
        self.assertEqual((record.cause, record.ended_by), ("worker_lost", "gateway"))

    def test_numbers_that_come_late(self) -> None:
        """How long a worker may take is its pool's affair, which knows who was held up; the record waits for that."""
        found = []
        for answered in (True, False):
            self.setUp()
            self.talk()
            self.plane.latency = 3.0
            self.hang_up()
            self.clock.advance(2.9)
            self.assertEqual(len(self.calls), 1)
            if not answered:
                self.plane.lose()
            self.settle()
            found.append([leg["leg"] for leg in self.record().as_json()["legs"]])
        self.assertEqual(found, [["caller"], []])

    def test_no_ports_left_is_503_with_retry_after(self) -> None:
        self.plane.ports = 0
        self.invite()
        self.wait()
        self.assertEqual(self.said(), [("reject", 503, "Retry-After", "Warning")])
        self.settle()

    def test_workers_that_carry_all_they_can_are_503_with_retry_after(self) -> None:
        """The record says so, and what to do."""
        self.plane.overloaded = True
        self.invite()
        self.wait()
        self.assertEqual(self.said(), [("reject", 503, "Retry-After", "Warning")])
        record = self.record().as_json()
        self.assertEqual((record["cause"], record["ended_by"]), ("overloaded", "gateway"))

    def test_draining_refuses_new_calls_and_waits_for_the_others(self) -> None:
        self.talk()
        drained = self.calls.drain()
        self.said()
        self.invite(call_id="b1")
        self.assertEqual(self.said(), [("respond", 503, "Retry-After", "Warning")])
        self.assertNoResult(drained)
        self.hang_up()
        self.settle()
        self.successResultOf(drained)


class MidCallTests(CallCase):
    def test_hold_and_resume_are_answered_and_told_to_the_worker(self) -> None:
        self.talk()
        (call,) = self.plane.calls.values()
        self.said()
        for direction in (b"sendonly", b"sendrecv"):
            body = OFFER.replace(b"sendrecv", direction)
            self.calls.handle(Reoffered("usage of a1", parsed(invite(MAIN_LINE, body=body))))
            self.wait()
        self.assertEqual([media.direction for media in call.media], ["sendrecv", "recvonly", "sendrecv"])
        versions = [line for said in self.said() for line in said if str(line).startswith("o=")]
        self.assertEqual([str(line).split()[2] for line in versions], ["2", "3"])
        self.hang_up()
        self.settle()

    def test_a_reinvite_without_an_offer_is_offered_ours_again(self) -> None:
        self.talk()
        (call,) = self.plane.calls.values()
        self.said()
        self.calls.handle(Reoffered("usage of a1", parsed(invite(MAIN_LINE, body=b""))))
        self.assertEqual([said[0] for said in self.said()], ["answer"])
        self.ack(OFFER.replace(b"40000", b"40100"), reinvite=True)
        self.wait()
        self.assertEqual([media.remote[1] for media in call.media], [40000, 40100])
        self.hang_up()
        self.settle()

    def test_a_reinvite_that_nothing_fits_keeps_the_call_as_it_is(self) -> None:
        self.talk()
        (call,) = self.plane.calls.values()
        self.said()
        self.calls.handle(Reoffered("usage of a1", parsed(invite(MAIN_LINE, body=OFFER.replace(b"9 0 8 101", b"18")))))
        self.assertEqual(self.said(), [("reject", 488)])
        self.assertEqual(len(call.media), 1)
        self.hang_up()
        self.settle()

    def test_requests_that_no_feature_takes_are_refused(self) -> None:
        self.talk()
        self.said()
        for method in ("NOTIFY", "REFER", "MESSAGE"):
            request = parsed(invite(MAIN_LINE))
            request.method = method
            self.calls.handle(RequestInDialog("usage of a1", 9, request))
        self.assertEqual(self.said(), [("respond_in", status) for status in (481, 603, 405)])
        self.hang_up()
        self.settle()

    def test_digits_by_info_are_answered_and_told_to_the_worker(self) -> None:
        self.talk()
        (call,) = self.plane.calls.values()
        self.said()
        self.inform("application/dtmf-relay", b"Signal=5\r\nDuration=250\r\n")
        self.inform("application/dtmf", b"#")
        self.assertEqual(self.said(), [("respond_in", 200)] * 2)
        self.wait()
        self.assertEqual(
            [(each.leg, each.digit, each.duration_ms) for each in call.pressed],
            [("caller", "5", 250), ("caller", "#", 160)],
        )
        self.hang_up()
        self.settle()

    def test_other_infos_are_answered_as_they_ask_for_and_mean_nothing(self) -> None:
        self.talk()
        (call,) = self.plane.calls.values()
        self.said()
        self.inform("application/dtmf", b"!")
        self.inform("application/dtmf", b"what?")
        self.inform("application/media_control+xml", b"<media_control/>")
        self.inform("application/dtmf", b"5", ("Info-Package", "conference"))
        self.assertEqual(
            self.said(),
            [("respond_in", 200), ("respond_in", 400), ("respond_in", 415, "Accept"), ("respond_in", 469, "Recv-Info")],
        )
        self.wait()
        self.assertEqual(call.pressed, [])
        self.hang_up()
        self.settle()

    def test_a_digit_that_no_worker_takes_is_a_line_for_the_operator(self) -> None:
        self.talk()
        self.plane.calls.clear()
        self.inform("application/dtmf", b"5")
        self.wait()
        notes = [event.kind for event in self.events if isinstance(event, CallNoted)]
        self.assertEqual((notes, len(self.calls)), (["digit_lost"], 1))
        self.hang_up()
        self.settle()

    def test_a_caller_who_is_never_heard_is_let_go(self) -> None:
        self.talk()
        (call_id,) = self.plane.calls
        self.said()
        self.plane.say(messages.MediaLost(generation=1, call=call_id, leg="caller", seconds=30.0, ever=False))
        self.assertEqual([said[0] for said in self.said()], ["bye"])
        self.settle()
        self.assertEqual(self.record().cause, "no_media")

    def test_a_caller_who_falls_silent_is_asked_and_kept_while_it_answers(self) -> None:
        self.talk()
        (call_id,) = self.plane.calls
        self.said()
        self.plane.say(messages.MediaLost(generation=1, call=call_id, leg="caller", seconds=30.0, ever=True))
        self.calls.handle(ResponseReceived(1, None))
        self.clock.advance(30.0)
        self.assertEqual(self.said(), [("OPTIONS",), ("OPTIONS",)])
        self.plane.say(messages.MediaBack(generation=1, call=call_id, leg="caller"))
        self.clock.advance(1000.0)
        self.assertEqual(self.said(), [])
        self.hang_up()
        self.settle()

    def test_one_way_audio_is_a_line_for_the_operator(self) -> None:
        self.talk()
        (call_id,) = self.plane.calls
        self.plane.say(
            messages.OneWayAudio(
                generation=1, call=call_id, leg="caller", local="203.0.113.11:10000", remote="192.0.2.7:40000"
            )
        )
        notes = [event.message for event in self.events if isinstance(event, CallNoted)]
        self.assertEqual(len(notes), 1)
        self.assertIn("no RTP after 5 s on 203.0.113.11:10000; SDP said 192.0.2.7:40000", notes[0])
        self.hang_up()
        self.settle()


class RefusedTests(CallCase):
    def test_a_stranger_is_challenged_without_any_state(self) -> None:
        self.invite("203.0.113.99")
        self.assertEqual(self.said(), [("respond", 401, "WWW-Authenticate", "Warning")])
        self.assertEqual((len(self.calls), self.events, self.plane.calls), (0, [], {}))

    def test_a_provider_that_dials_nothing_of_ours_gets_404_and_a_record(self) -> None:
        self.invite(to="sip:+31999@sip.acme.example")
        self.assertEqual(self.said(), [("reject", 404, "Warning")])
        self.assertEqual([(each.status, each.check) for each in self.refusals()], [(404, "unknown")])

    def test_a_flood_from_a_stranger_is_dropped_without_an_answer(self) -> None:
        for number in range(500):
            self.invite("203.0.113.99", call_id=f"f{number}")
        self.assertEqual(len(self.said()), 400)
