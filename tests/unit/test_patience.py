"""Waiting for another process: its time passes only while this one runs."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.patience import Patience, give

STEP = 0.125


class PatienceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.fired: list[str] = []

    def patience(self) -> Patience:
        return Patience(self.clock, 2.0, self.fired.append, "over")

    def test_over(self) -> None:
        """It fires once, when the time has passed and not before."""
        patience = self.patience()
        self.clock.pump([STEP] * 15)
        self.assertEqual((self.fired, patience.active()), ([], True))
        self.clock.pump([STEP] * 16)
        self.assertEqual((self.fired, patience.active(), self.clock.getDelayedCalls()), (["over"], False, []))

    def test_held_up(self) -> None:
        """Time in which this process was held up is added, whenever it was and however long."""
        for before, held in ((0, 60.0), (4, 2.1), (7, 1.9)):
            self.fired.clear()
            self.patience()
            self.clock.pump([STEP] * before)
            self.clock.advance(held)
            # A stretch that it fell into is counted from its beginning again.
            self.clock.pump([STEP] * (15 - before // 4 * 4))
            self.assertEqual(self.fired, [])
            self.clock.advance(STEP)
            self.assertEqual(self.fired, ["over"])

    def test_a_little_late(self) -> None:
        """A reactor that is never quite in time is not held up: the time ends nevertheless."""
        self.patience()
        self.clock.pump([0.55] * 4)
        self.assertEqual(self.fired, ["over"])

    def test_cancelled(self) -> None:
        """Nothing fires after, and nothing is left to; again, it is no error."""
        patience = self.patience()
        self.clock.advance(0.5)
        patience.cancel()
        patience.cancel()
        self.assertEqual((patience.active(), self.clock.getDelayedCalls(), self.fired), (False, [], []))

    def test_answers(self) -> None:
        """An answer in time is passed on as it is, and one that is awaited too long is cancelled."""
        answers: list[Deferred[str]] = [Deferred(), Deferred(), Deferred()]
        given = [give(self.clock, 2.0, answer) for answer in answers]
        answers[0].callback("yes")
        answers[1].errback(ZeroDivisionError())
        self.clock.pump([STEP] * 15)
        self.assertEqual(self.successResultOf(given[0]), "yes")
        self.failureResultOf(given[1], ZeroDivisionError)
        self.assertNoResult(given[2])
        self.clock.advance(STEP)
        self.failureResultOf(given[2], CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
