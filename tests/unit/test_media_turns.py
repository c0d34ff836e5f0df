"""Who speaks when, and how long the caller waits."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.turns import MOST_TURNS, TurnNumbers, Turns

LOUD = 12000


class Told:
    """Writes down what is told, and when, in milliseconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.told: list[tuple[int, str]] = []

    def _note(self, what: str) -> None:
        self.told.append((round(self._clock.seconds() * 1000), what))

    def speech_started(self) -> None:
        self._note("started")

    def speech_ended(self, quiet_ms: int) -> None:
        self._note(f"ended {quiet_ms} ago")

    def turned(self, seconds: float) -> None:
        self._note(f"turn of {seconds * 1000:.0f}")


class TurnsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.listener = Told(self.clock)
        self.turns = Turns(self.clock.seconds, self.listener)

    def go(self, ms: int, *, caller: bool = False, agent: bool = False) -> None:
        """So much time passes; each 20 ms a frame of the caller's comes, and then one of the agent's leaves."""
        for _ in range(ms // 20):
            self.clock.advance(0.02)
            self.turns.heard(LOUD if caller else 0)
            if agent:
                self.turns.sounded(20)

    def told(self) -> list[str]:
        return [what for _, what in self.listener.told]


class TurnsTests(TurnsTestCase):
    def test_an_answer(self) -> None:
        """The turn is from the caller's last loud frame to the agent's first sound."""
        self.go(500)
        self.go(1000, caller=True)
        self.go(700)
        self.go(1000, agent=True)
        self.assertEqual(self.listener.told, [(560, "started"), (1900, "ended 400 ago"), (2220, "turn of 720")])
        self.assertEqual(
            self.turns.numbers,
            TurnNumbers(turns=1, p50_ms=720, p95_ms=720, max_ms=720, caller_ms=1000, agent_ms=1000),
        )

    def test_a_greeting_is_no_answer(self) -> None:
        """What the agent says before the caller has spoken, and what it adds to an answer, are no turns."""
        self.go(1000, agent=True)
        self.go(600)
        self.go(500, caller=True)
        self.go(500)
        self.go(300, agent=True)
        self.go(600)
        self.go(300, agent=True)
        self.assertEqual(self.told(), ["started", "ended 400 ago", "turn of 520"])

    def test_a_quick_answer(self) -> None:
        """An answer after a silence that is no stop between syllables ends the caller's speech at once."""
        self.go(1000, caller=True)
        self.go(280)
        self.go(60, agent=True)
        self.assertEqual(self.told(), ["started", "turn of 300", "ended 300 ago"])
        self.go(1000, agent=True)
        self.assertEqual(len(self.told()), 3)

    def test_a_very_quick_answer(self) -> None:
        """One that comes at once counts when it is sure that the caller does not go on."""
        self.go(1000, caller=True)
        self.go(80)
        self.go(240, agent=True)
        self.assertEqual(self.told(), ["started"])
        self.go(80, agent=True)
        self.assertEqual(self.told(), ["started", "turn of 100", "ended 400 ago"])

    def test_an_agent_that_talks_into_it(self) -> None:
        """A sound of the agent's during the caller's speech is no answer to it, and no interruption by the caller."""
        self.go(1000, caller=True)
        self.go(200, caller=True, agent=True)
        self.go(300, caller=True)
        self.go(1000)
        self.go(100, agent=True)
        self.assertEqual(self.told(), ["started", "ended 400 ago", "turn of 1020"])
        self.assertEqual((self.turns.numbers.barge_ins, self.turns.numbers.both_ms), (0, 200))

    def test_a_barge_in(self) -> None:
        """The caller interrupts; the agent stops, hears the end, and answers: one turn, one barge-in."""
        self.go(1000, agent=True)
        self.go(200, caller=True, agent=True)
        self.turns.broke_off()
        self.go(800, caller=True)
        self.go(500)
        self.go(500, agent=True)
        self.assertEqual(self.told(), ["started", "ended 400 ago", "turn of 520"])
        self.assertEqual(
            self.turns.numbers,
            TurnNumbers(
                turns=1, p50_ms=520, p95_ms=520, max_ms=520, caller_ms=1000, agent_ms=1700, both_ms=160, barge_ins=1
            ),
        )

    def test_talking_into_an_answer(self) -> None:
        """A caller that goes on into a quick answer has interrupted it."""
        self.go(1000, caller=True)
        self.go(280)
        self.go(100, agent=True)
        self.go(200, agent=True, caller=True)
        self.assertEqual(self.told(), ["started", "turn of 300", "ended 300 ago", "started"])
        self.assertEqual(self.turns.numbers.barge_ins, 1)

    def test_an_agent_that_does_not_stop(self) -> None:
        """Who goes on through the caller's words answers when it makes a new beginning."""
        self.go(500, agent=True)
        self.go(500, caller=True, agent=True)
        self.go(1000, agent=True)
        self.assertEqual(self.told(), ["started", "ended 400 ago"])
        self.go(300)
        self.go(100, agent=True)
        self.assertEqual(self.told(), ["started", "ended 400 ago", "turn of 1320"])

    def test_a_click_after_the_end_changes_nothing(self) -> None:
        self.go(1000, caller=True)
        self.go(500)
        self.go(20, caller=True)
        self.go(480)
        self.go(20, agent=True)
        self.assertEqual(self.told()[-1], "turn of 1020")

    def test_packets_of_60_ms(self) -> None:
        """Frames that come three at a time are as long as if they came one by one."""
        for _ in range(20):
            self.clock.advance(0.06)
            for _ in range(3):
                self.turns.heard(LOUD)
        self.assertEqual(self.turns.numbers.caller_ms, 1200)

    def test_the_quantiles(self) -> None:
        """The median, the value that one turn in twenty exceeds, and the longest; only so many are kept."""
        waits = [20 * (number % 100 + 1) for number in range(200)]
        Random(1).shuffle(waits)
        for wait in waits:
            self.go(100, caller=True)
            self.go(480 + wait)
            self.go(20, agent=True)
            self.go(600)
        numbers = self.turns.numbers
        self.assertEqual((numbers.turns, numbers.p50_ms, numbers.p95_ms, numbers.max_ms), (200, 1500, 2400, 2500))
        self.assertGreater(MOST_TURNS, 200)

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.one_of(st.tuples(st.booleans(), st.booleans(), st.integers(1, 60)), st.just((None, None, 0))),
            max_size=40,
        )
    )
    def test_whatever_they_do(self, parts: list[tuple[bool | None, bool | None, int]]) -> None:
        """Speech starts and ends in turn, turns are no more than speeches and never negative, sums stay in bounds."""
        self.setUp()
        for caller, agent, frames in parts:
            if caller is None:
                self.turns.broke_off()
            else:
                self.go(20 * frames, caller=caller, agent=bool(agent))
        told = [what.split()[0] for what in self.told()]
        speeches = [what for what in told if what != "turn"]
        self.assertEqual(speeches, (["started", "ended"] * len(speeches))[: len(speeches)])
        self.assertNotIn("-", "".join(self.told()))
        numbers, passed = self.turns.numbers, round(self.clock.seconds() * 1000)
        self.assertLessEqual(numbers.turns, told.count("started"))
        self.assertLessEqual(numbers.p50_ms, numbers.p95_ms)
        self.assertLessEqual(numbers.p95_ms, numbers.max_ms)
        self.assertLessEqual(numbers.both_ms, min(numbers.caller_ms, numbers.agent_ms) + 200)
        self.assertLessEqual(max(numbers.caller_ms, numbers.agent_ms), passed + 1)
