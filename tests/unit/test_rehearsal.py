"""A rehearsal with agents in memory, who are as they should be, or as they are."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.contract import Frame
from stellar_gw.phone.plan import playable
from stellar_gw.rehearsal.findings import Finding, exit_status
from stellar_gw.rehearsal.plan import Expectations, Plan
from stellar_gw.rehearsal.report import as_json, finding_lines, origin, verdict
from stellar_gw.terminal import Palette
from tests.unit.rehearsal_stage import CONTEXT, SECOND, Agent, Polite, Stage

GOOD = [("connect", "ok"), ("greeting", "ok"), ("turn", "ok"), ("interruption", "ok"), ("digits", "ok"),
        ("messages", "ok"), ("pace", "ok"), ("marks", "ok"), ("hang-up", "ok"), ("drop", "ok")]  # fmt: skip


def plain(text: str) -> Finding:
    return Finding(check=text, state="ok", said="")


class GoodAgentTests(SynchronousTestCase):
    def test_an_agent_as_it_should_be(self) -> None:
        """Everything is tried and good, the wait for its answer is what it is; it outlives a cut connection."""
        stage = Stage(lambda number: Polite())
        self.assertEqual(stage.play(), GOOD)
        line = stage.rehearsal.line
        assert line is not None
        # It speaks with the 15th quiet frame; the caller's codec holds some of the last word back.
        self.assertTrue(all(0.27 <= seconds <= 0.36 for seconds in line.turns[:1]), line.turns)
        self.assertEqual(stage.said("greeting"), "after 20 ms, 0.5 s long")
        self.assertRegex(stage.said("interruption"), r"^cleared 1[0-9]0 ms after .* 0\.[3-7] s thrown away$")
        self.assertEqual(stage.said("marks"), "1 set: 1 played")
        first, cut, last = stage.agents
        self.assertEqual([each["event"] for each in first.told], ["connected", "start", "mark", "dtmf", "stop"])
        self.assertEqual([each.aborted for each in stage.agents], [False, True, False])
        self.assertNotIn("stop", [each["event"] for each in cut.told])
        self.assertEqual([each["event"] for each in last.told], ["connected", "start", "stop"])
        self.assertEqual(exit_status(stage.found), 0)

    def test_each_call_is_one_of_its_own(self) -> None:
        """URL, headers and context are filled from each call."""
        stage = Stage(lambda number: Polite())
        stage.play(url="ws://a.example/{call_id}", headers=(("X-From", "{from}"),))
        self.assertEqual(
            [(target.url, target.headers) for target in stage.targets],
            [(f"ws://a.example/c-rehearsal-{number}", (("X-From", "sip:a@b.c"),)) for number in (1, 2, 3)],
        )

    def test_what_is_not_wanted_is_left_out(self) -> None:
        stage = Stage(lambda number: Polite())
        found = stage.play(digits="", interrupt=False, drop=False, prompts=(playable("tone:440"),) * 2)
        left = ("interruption", "digits", "drop", "turn")
        wanted = [each for each in GOOD if each[0] not in left]
        wanted[2:2] = [("turn 1", "ok"), ("turn 2", "ok")]
        self.assertEqual((found, len(stage.agents)), (wanted, 1))


class BadAgentTests(SynchronousTestCase):
    def fails(self, agent: type[Agent], **plan: Any) -> tuple[dict[str, str], int]:
        """Checks that are not ``ok``, and the exit status."""
        self.stage = Stage(lambda number: agent())
        found = self.stage.play(drop=False, **plan)
        strict = plan.get("expect", Expectations()).strict
        return {check: state for check, state in found if state != "ok"}, exit_status(self.stage.found, strict=strict)

    def test_one_that_says_nothing(self) -> None:
        self.assertEqual(self.fails(Agent), ({"greeting": "none", "turn": "fail", "interruption": "none"}, 1))
        self.assertEqual(self.stage.said("turn"), "no answer within 10 s")
        expect = Expectations(greeting=True, clear=True, tone=660.0, echo=True)
        wrong = {"greeting": "fail", "turn": "fail", "interruption": "fail", "echo": "fail", "tone": "fail"}
        self.assertEqual(self.fails(Agent, expect=expect), (wrong, 1))

    def test_one_that_takes_long(self) -> None:
        """An answer later than is allowed fails; without a limit two seconds are worth a warning."""
        expect = Expectations(turn_ms=250)
        self.assertEqual(self.fails(Polite, expect=expect), ({"turn": "fail"}, 1))

        class Slow(Polite):
            def audio(self, pcm: bytes) -> None:
                self.quiet -= 0.875 if self.quiet > 1 else 0  # type: ignore[assignment]
                super().audio(pcm)

        self.assertEqual(self.fails(Slow, interrupt=False)[0], {"turn": "warn"})

    def test_one_that_cannot_be_interrupted(self) -> None:
        class Stubborn(Polite):
            clears = False

            def speak(self, seconds: float) -> None:
                super().speak(min(1.0, seconds))
                super().speak(min(1.0, seconds))

        self.assertEqual(self.fails(Stubborn), ({"interruption": "none"}, 0))
        self.assertEqual(self.stage.said("interruption"), "it went on speaking")
        self.assertEqual(self.fails(Stubborn, expect=Expectations(clear=True)), ({"interruption": "fail"}, 1))

    def test_one_that_the_gateway_silences(self) -> None:
        """``barge_in: clear``: the gateway itself throws away what a stubborn agent has yet to say."""

        class Stubborn(Polite):
            clears = False

        self.assertEqual(self.fails(Stubborn, barge_in="clear", expect=Expectations(clear=True)), ({}, 0))
        self.assertRegex(self.stage.said("interruption"), r"^cleared \d+ ms after the caller began to speak")

    def test_one_whose_link_fails(self) -> None:
        """The line says what the caller was doing, and what to mend; it has an exit status of its own."""

        class Crashing(Polite):
            def audio(self, pcm: bytes) -> None:
                super().audio(pcm)
                if self.loud == 20:
                    self.link.ends("closed_1011")

        self.assertEqual(self.fails(Crashing), ({"link": "fail"}, 4))
        self.assertEqual(self.stage.said("link"), "it was closed_1011, in the caller's turn")
        self.assertIn("close with code 1000", self.stage.found[-1].mend)

    def test_one_that_is_not_there(self) -> None:
        def refuse(number: int) -> Agent:
            raise ConnectionRefusedError("refused")

        stage = Stage(refuse)
        self.assertEqual((stage.play(), exit_status(stage.found)), ([("connect", "fail")], 3))

    def test_one_that_does_not_outlive_a_cut_connection(self) -> None:
        def once(number: int) -> Agent:
            if number == 2:
                raise ConnectionRefusedError("refused")
            return Polite()

        stage = Stage(once)
        self.assertEqual(stage.play(), [*GOOD[:-1], ("drop", "fail")])
        self.assertEqual(stage.said("drop"), "after a cut connection the next call was not taken: it was refused")

    def test_one_that_talks_rubbish(self) -> None:
        """Counted and told; fatal only where warnings are."""

        class Babbling(Polite):
            def started(self) -> None:
                super().started()
                for frame in ("", "null", '{"event":"x"}', *['{"event":"media"}'] * 500):
                    self.link.deliver(frame)

        self.assertEqual(self.fails(Babbling), ({"messages": "warn"}, 0))
        self.assertRegex(self.stage.said("messages"), r"^503 of \d+ follow no dialect: ")
        self.assertEqual(self.fails(Babbling, expect=Expectations(strict=True)), ({"messages": "warn"}, 1))

    def test_one_that_floods(self) -> None:
        class Flooding(Polite):
            def started(self) -> None:
                for _ in range(400):
                    self.speak(1.0)

        self.assertEqual(self.fails(Flooding), ({"link": "fail"}, 4))
        self.assertRegex(self.stage.said("link"), "300 s of audio ahead")

    def test_one_that_sends_its_audio_late(self) -> None:
        """Audio that runs out time and again is a warning."""

        class Late(Agent):
            frames = 0

            def audio(self, pcm: bytes) -> None:
                self.frames += 1
                if self.frames % 5 == 0:
                    self.speak(0.04)

        found, _ = self.fails(Late, interrupt=False)
        self.assertEqual((found["pace"], found["turn"]), ("warn", "none"))

    def test_one_that_hangs_up_too_soon(self) -> None:
        class Hasty(Polite):
            def started(self) -> None:
                self.speak(0.5)
                self.link.clock.callLater(0.1, self.link.ends, "closed_1000", clean=True)

        self.assertEqual(self.fails(Hasty), ({"hang-up": "fail"}, 1))
        self.assertEqual(self.stage.said("hang-up"), "the agent hung up while it was to greet the caller")
        self.assertEqual(self.fails(Hasty, expect=Expectations(hangup=True)), ({}, 0))

    def test_one_that_does_not_hang_up(self) -> None:
        found = self.fails(Polite, expect=Expectations(hangup=True))
        self.assertEqual(found, ({"hang-up": "fail"}, 1))

    def test_one_that_does_not_close(self) -> None:
        """The gateway's close is not answered within a second."""
        stage = Stage(lambda number: Polite(), polite=False)
        stage.play(drop=False)
        self.assertEqual([(each.check, each.state) for each in stage.found][-1], ("hang-up", "warn"))


class Native(Agent):
    """Speaks the native dialect; ``frames`` are what it says first."""

    frames: tuple[dict[str, Any], ...] = ()

    def hears(self, frame: Frame) -> None:
        if isinstance(frame, str):
            self.told.append(json.loads(frame))
            if self.told[-1]["event"] == "websocket:connected":
                for each in self.frames:
                    self.link.deliver(json.dumps(each))


class AskingTests(SynchronousTestCase):
    def ask(self, *frames: dict[str, Any], **plan: Any) -> list[dict[str, Any]]:
        """What the agent was told of what it asked for."""
        agent = type("Asking", (Native,), {"frames": frames})
        self.stage = Stage(lambda number: agent())
        self.found = self.stage.play(dialect="native", drop=False, interrupt=False, greeting=1.0, patience=2.0, **plan)
        return [each for each in self.stage.agents[0].told if each.get("id")]

    def test_answer(self) -> None:
        """The agent answers where it is its part; once, and not where it is the gateway's."""
        ask = {"action": "answer", "id": "a"}
        told = self.ask(ask, {**ask, "id": "b"}, answer="agent")
        self.assertEqual([(each["id"], each["event"]) for each in told], [("a", "call:done"), ("b", "call:error")])
        self.assertIn(("answer", "ok"), self.found)
        self.assertEqual(self.ask(ask)[0]["code"], "already_answered")

    def test_no_answer(self) -> None:
        self.ask(answer="agent")
        self.assertEqual(self.found[-1], ("answer", "fail"))

    def test_reject(self) -> None:
        told = self.ask({"action": "reject", "id": "r", "status": 486, "reason": "Closed"}, answer="agent")
        self.assertEqual([each["event"] for each in told], ["call:done"])
        self.assertEqual((self.found[-1], self.stage.said("answer")),
                         (("answer", "fail"), "the agent rejected the call with 486 Closed"))  # fmt: skip

    def test_transfers(self) -> None:
        """What is not named is unknown; what is named comes to what the rehearsal says."""
        ask = {"action": "transfer", "id": "t", "to": "sales"}
        context = msgspec.structs.replace(CONTEXT, transfers={"sales": "orders"})
        (unknown,) = self.ask({**ask, "to": "billing"}, context=context)
        self.assertEqual((unknown["state"], unknown["code"]), ("failed", "unknown_transfer"))
        (busy,) = self.ask(ask, context=context)
        self.assertEqual((busy["state"], busy["code"]), ("failed", "busy"))
        told = self.ask(ask, context=context, transfer="done")
        self.assertEqual([(each["state"], each["final"]) for each in told], [("ringing", False), ("done", True)])
        self.assertEqual(self.found[-1], ("transfer", "ok"))
        self.assertEqual(self.stage.agents[0].told[-1]["cause"], "transferred")


class ReportTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """One line a check, and one with what to mend; an agent's words cannot draw on the terminal."""
        finding = Finding(check="link", state="fail", said="it said \x1b[2J" + "x" * 1000, mend="mend it")
        said, mend = finding_lines(finding, Palette(coloured=False))
        self.assertEqual((len(said), said[:36]), (523, "  FAIL  link           it said ?[2Jx"))
        self.assertEqual(mend, "                       mend  mend it")

    def test_verdict(self) -> None:
        warned = [plain("a"), Finding(check="pace", state="warn", said="")]
        self.assertEqual(
            [verdict(warned, strict=False), verdict(warned, strict=True), verdict([plain("a")], strict=True)],
            ["OK: 1 checks, look at: pace", "FAILED: pace (1 checks were good)", "OK: 1 checks"],
        )

    def test_json(self) -> None:
        """Everything is there, and nothing that the URL may hide."""
        stage = Stage(lambda number: Polite())
        stage.play(drop=False)
        plan = Plan(url="ws://a.example/x?key=hush", dialect="twilio", context=CONTEXT)
        found = json.loads(as_json(plan, stage.found, stage.rehearsal.line))
        self.assertEqual((found["exit"], found["agent"], found["dialect"]), (0, "ws://a.example", "twilio"))
        self.assertEqual([each["check"] for each in found["checks"]], [check for check, _ in GOOD[:-1]])
        self.assertEqual((len(found["turn_ms"]), found["conversation"]["turns"]), (3, 3))
        self.assertEqual(found["notes"]["marks"], 1)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text(max_size=40), st.text(min_size=8, max_size=20))
    def test_no_part_of_a_url_that_may_be_secret_is_shown(self, path: str, secret: str) -> None:
        for url in (f"wss://u:{secret}@agent.example:8443/{path}", f"wss://agent.example/{path}?key={secret}"):
            self.assertNotIn(secret, origin(url))

    def test_origins(self) -> None:
        urls = ("ws://[::1]:80/x", "wss://u:p@h/x?y", "builtin:echo", "audiosocket://h:9092", "ws://h:x/", "")
        self.assertEqual(
            [origin(url) for url in urls],
            ["ws://[::1]:80", "wss://h", "builtin:echo", "audiosocket://h:9092", "ws:...", ":"],
        )


class SpeechTests(SynchronousTestCase):
    def test_what_is_heard_is_what_was_said(self) -> None:
        """A tone and the echo are recognised in what the caller hears, in each codec."""

        class Echo(Agent):
            def hears(self, frame: Frame) -> None:
                super().hears(frame)
                message = json.loads(frame)
                if message["event"] == "media":
                    self.say("media", media={"payload": message["media"]["payload"]})

        class Humming(Polite):
            clears = False

        for codec in ("G722", "PCMU", "PCMA"):
            stage = Stage(lambda number: Echo())
            found = stage.play(drop=False, codec=codec, expect=Expectations(echo=True))
            self.assertIn(("echo", "ok"), found, codec)
            stage = Stage(lambda number: Humming())
            found = stage.play(drop=False, codec=codec, expect=Expectations(tone=660.0))
            self.assertIn(("tone", "ok"), found, codec)
        self.assertEqual(len(SECOND), 8000)
