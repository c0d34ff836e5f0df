"""An agent that fails, as its call sees it: connected anew, or something else for the caller, or the end."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from stellar_gw.call.events import CallNoted, CallStarted
from stellar_gw.call.record import CallRecord
from stellar_gw.control.messages import (
    AgentAsked,
    AgentFailed,
    AgentHangup,
    AgentLost,
    AgentResumed,
    Binding,
    Event,
    Played,
)
from stellar_gw.sip.events import ResponseReceived
from stellar_gw.sip.message import Response
from tests.configurations import CONFIGURATION, configuration
from tests.unit.test_call import CallCase

LOST_BYE = ("bye", 'Q.850;cause=41;text="agent lost"')


class FailureCase(CallCase):
    """
    :ivar environment, connector: what production and main-line have besides.
    """

    environment = ""
    connector = ""

    def setUp(self) -> None:
        super().setUp()
        folder = mkdtemp()
        self.addCleanup(rmtree, folder)
        self.sorry = str(Path(folder) / "sorry.wav")
        with wave.open(self.sorry, "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(1600))
        text = CONFIGURATION.replace('ws", variables', f'ws"{self.environment}, variables').replace(
            "provider: telnyx, agent: reception,", f"provider: telnyx, agent: reception,{self.connector}"
        )
        text = text.replace(
            "    agents:\n", '    transfers: {support: {to: "sip:200@198.51.100.20", method: refer}}\n    agents:\n', 1
        )
        self.calls = self.make_calls(configuration(text.replace("SORRY", self.sorry)))
        self.plane.listener = self.calls.heard

    def loses(self, code: str = "closed_1012", established: bool = True) -> None:
        (call_id,) = self.plane.calls
        failed = AgentFailed(generation=1, call=call_id, code=code, message=f"it was {code}", established=established)
        self.plane.say(failed)

    def noted(self) -> list[CallNoted]:
        return [event for event in self.events if isinstance(event, CallNoted)]

    def bound(self) -> list[Binding]:
        (call,) = self.plane.calls.values()
        return [each for request in call.bound for each in request.bindings]

    def known(self) -> CallRecord:
        """The record as it is by now."""
        (started,) = [event.record for event in self.events if isinstance(event, CallStarted)]
        return started

    def refuse_refer(self) -> None:
        refused = Response(603, "Decline", [("CSeq", "2 REFER")])
        self.calls.handle(ResponseReceived(self.signalling.tokens, refused))

    def fallen_back(self) -> tuple[str, str]:
        fallback = self.known().fallback
        assert fallback is not None
        return fallback["outcome"], fallback["reason"]

    def links(self) -> list[tuple[Any, ...]]:
        return [
            (link["attempt"], link["connect_ms"], link["lasted_ms"], link["failure"])
            for link in self.record().as_json()["agent_links"]
        ]


class ResumeTests(FailureCase):
    environment = ', resumes: true, filler: "SORRY"'

    def worker(self, make: Callable[..., Event], **fields: Any) -> None:
        (call_id,) = self.plane.calls
        self.plane.say(make(generation=1, call=call_id, **fields))

    def test_the_worker_may_connect_it_anew_and_the_call_stays_up(self) -> None:
        """The record has both links, the log says what the caller hears and for how long."""
        self.talk()
        self.said()
        (asked,) = self.plane.sessions
        self.assertEqual((asked.resumes, asked.filler), (True, self.sorry))
        self.worker(AgentLost, code="closed_1012", message="it was closed_1012")
        self.clock.advance(0.4)
        self.worker(AgentResumed, gap_ms=400.0)
        self.wait()
        self.assertEqual(self.said(), [])
        self.hang_up()
        self.settle()
        self.assertEqual((self.record().cause, self.record().agent_connect_ms), ("caller_hangup", 50.0))
        self.assertEqual(self.links(), [(1, 50.0, 930, "closed_1012"), (2, 400.0, 1000, "")])
        lost = f"it was closed_1012; connecting it anew, the caller hears {self.sorry}"
        self.assertEqual(
            [(event.kind, event.message) for event in self.noted()],
            [
                ("agent_lost", f"agent reception/production: {lost}"),
                ("agent_resumed", "agent reception/production is back after 400 ms"),
            ],
        )

    def test_where_it_does_not_come_back_the_call_ends_at_once(self) -> None:
        self.talk()
        self.said()
        self.worker(AgentLost, code="lost", message="it was lost")
        self.loses("refused")
        self.assertEqual(self.said(), [LOST_BYE])
        self.settle()
        self.assertEqual(self.links(), [(1, 50.0, 930, "lost"), (2, None, None, "refused")])

    def test_media_that_fail_in_the_worker_are_not_the_agents_fault(self) -> None:
        self.talk()
        self.said()
        self.loses("media_failure")
        self.assertEqual(self.said(), [("bye", 'Q.850;cause=41;text="media failure"')])
        self.settle()
        self.assertEqual(self.record().ended_by, "gateway")


class PromptTests(FailureCase):
    connector = ' fallback: {play: "SORRY"},'

    def test_a_prompt_is_played_when_the_agent_is_lost_and_then_comes_bye(self) -> None:
        self.talk()
        self.said()
        self.loses()
        self.wait()
        self.assertEqual(self.bound(), [Binding(leg="caller", source="file", file=self.sorry, once=True)])
        self.assertEqual(self.said(), [])
        self.plane.say(Played(generation=1, call=next(iter(self.plane.calls)), leg="caller"))
        self.assertEqual(self.said(), [LOST_BYE])
        self.settle()
        self.assertEqual(
            (self.record().cause, self.record().fallback),
            (
                "agent_lost",
                {"to": f"play {self.sorry}", "because": "agent_closed_1012", "outcome": "played", "reason": ""},
            ),
        )
        self.assertEqual(
            [(event.kind, event.message) for event in self.noted()],
            [("fallback", f"agent reception/production: it was closed_1012; fallback: play {self.sorry}")],
        )

    def test_a_call_that_still_rings_is_answered_for_it(self) -> None:
        """And it begins when the caller's ACK has come."""
        self.plane.agent = lambda _: None
        self.invite()
        self.wait()
        self.assertEqual([each[0] for each in self.said()], ["ring", "answer"])
        self.assertEqual(self.bound(), [])
        self.ack()
        self.wait()
        self.assertEqual([each.once for each in self.bound()], [True])
        self.plane.say(Played(generation=1, call=next(iter(self.plane.calls)), leg="caller"))
        self.settle()
        record = self.record()
        self.assertEqual((record.cause, record.status, record.reason), (
            "agent_unavailable", 200, "agent reception/production: connection refused"))  # fmt: skip

    def test_an_agent_lost_before_the_ack_leaves_a_call_that_falls_back_when_it_comes(self) -> None:
        self.invite()
        self.wait()
        self.loses()
        self.wait()
        self.assertEqual(self.bound(), [])
        self.ack()
        self.wait()
        self.assertEqual(len(self.bound()), 1)
        self.hang_up()
        self.settle()
        self.assertEqual(self.record().cause, "caller_hangup")

    def test_a_file_that_cannot_be_played_ends_the_call_with_the_reason(self) -> None:
        self.talk()
        self.loses()
        self.wait()
        self.plane.say(Played(generation=1, call=next(iter(self.plane.calls)), leg="caller", note="no WAV file"))
        self.settle()
        self.assertEqual(
            self.record().reason,
            f"agent reception/production: it was closed_1012; fallback play {self.sorry}: no WAV file",
        )

    def test_a_worker_that_is_lost_meanwhile_ends_it_too(self) -> None:
        self.talk()
        self.loses()
        self.wait()
        self.plane.lose()
        self.settle()
        self.assertEqual(self.record().cause, "worker_lost")


class UndecidedTests(FailureCase):
    environment = ", answer: agent"
    connector = ' fallback: {play: "SORRY"},'

    def test_an_agent_that_does_not_decide_is_stopped_and_the_caller_gets_the_fallback(self) -> None:
        self.invite()
        self.wait(61.0)
        self.wait()
        (call,) = self.plane.calls.values()
        self.assertEqual(call.agent_stopped and call.agent_stopped.cause, "undecided")
        self.assertEqual([each[0] for each in self.said()], ["ring", "answer"])
        self.hang_up()
        self.settle()


class TransferTests(FailureCase):
    connector = " fallback: support,"

    def test_the_caller_is_transferred_and_hears_it_ringing(self) -> None:
        self.talk()
        self.said()
        self.loses()
        self.wait()
        tone = Binding(leg="caller", source="tone", tone="ringback")
        self.assertEqual((self.bound()[0], self.said()[0][0]), (tone, "REFER"))
        (transfer,) = self.known().transfers
        self.assertEqual((transfer["target"], self.fallen_back()), ("support", ("", "")))
        self.hang_up()
        self.settle()
        self.assertEqual((self.record().cause, self.fallen_back()), ("caller_hangup", ("", "")))

    def test_one_that_fails_ends_the_call_with_both_reasons(self) -> None:
        self.talk()
        self.loses()
        self.wait()
        self.said()
        self.refuse_refer()
        self.wait()
        self.assertEqual(self.said(), [LOST_BYE])
        self.settle()
        why = "transfer support failed: REFER 603 (Decline). Allow REFER in the phone system, or a fallback by INVITE"
        self.assertEqual(
            (self.record().cause, self.record().reason, self.fallen_back()),
            (
                "agent_lost",
                f"agent reception/production: it was closed_1012; fallback transfer support: {why}",
                ("failed", why),
            ),
        )

    def test_before_the_answer_the_caller_is_answered_for_it(self) -> None:
        self.plane.agent = lambda _: None
        self.invite()
        self.wait()
        self.ack()
        self.wait()
        self.assertEqual([each[0] for each in self.said()], ["ring", "answer", "REFER"])
        self.hang_up()
        self.settle()


class TransferUnderWayTests(FailureCase):
    connector = ' fallback: {play: "SORRY"},'

    def ask_for_transfer(self) -> None:
        (call_id,) = self.plane.calls
        parameters = {"to": "support"}
        self.plane.say(AgentAsked(generation=1, call=call_id, ask="t1", verb="transfer", parameters=parameters))
        self.wait()

    def test_it_goes_on_without_its_agent_and_where_it_fails_the_caller_falls_back(self) -> None:
        self.talk()
        self.ask_for_transfer()
        self.loses()
        self.wait()
        self.assertIsNone(self.known().fallback)
        self.refuse_refer()
        self.wait()
        self.assertEqual(self.bound()[-1], Binding(leg="caller", source="file", file=self.sorry, once=True))
        self.plane.say(Played(generation=1, call=next(iter(self.plane.calls)), leg="caller"))
        self.settle()
        self.assertEqual((self.record().cause, self.fallen_back()), ("agent_lost", ("played", "")))

    def test_an_agent_that_hung_up_has_left_its_caller_to_the_transfer(self) -> None:
        """Nothing failed that the connector has something for."""
        self.talk()
        self.ask_for_transfer()
        self.plane.say(AgentHangup(generation=1, call=next(iter(self.plane.calls))))
        self.refuse_refer()
        self.settle()
        self.assertEqual((self.record().cause, self.record().fallback), ("transfer_failed", None))

    def test_media_that_fail_end_the_call_with_its_transfer(self) -> None:
        """There is nothing left that it could go on with; the agent's own link ended well where it had left before."""
        self.talk()
        self.ask_for_transfer()
        self.plane.say(AgentHangup(generation=1, call=next(iter(self.plane.calls))))
        self.said()
        self.loses("media_failure")
        self.assertEqual(self.said(), [("bye", 'Q.850;cause=41;text="media failure"')])
        self.settle()
        self.assertEqual((self.record().cause, self.record().fallback), ("media_failure", None))
        self.assertEqual([link[3] for link in self.links()], [""])
