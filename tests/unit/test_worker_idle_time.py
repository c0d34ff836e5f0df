"""A thread that shares the interpreter's lock with the loop works while that has nothing to send."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.worker.idle_time import PATIENCE, STALE, IdleTime


class IdleTimeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.idle = IdleTime(self.clock.seconds)

    def may(self, due_at: float = 100.0) -> tuple[bool, bool]:
        """Whether it may work, and whether it waits."""
        return self.idle.may_work(due_at), self.idle.waits

    def test_without_a_word(self) -> None:
        """Where the loop has never said anything there is all the time in the world."""
        self.assertEqual(self.may(), (True, False))

    def test_fits(self) -> None:
        """Work is done where the longest of late would fit before the loop sends again, and waits elsewhere."""
        self.idle.took(0.001)
        self.idle.took(0.0001)
        self.idle.until(100.003)
        self.assertEqual(self.may(), (True, False))
        self.clock.advance(0.0025)
        self.assertEqual(self.may(), (False, True))
        self.idle.until(100.008)
        self.assertEqual(self.may(), (True, False))

    def test_patience(self) -> None:
        """Where the loop is never idle, what has waited for a second is done, one piece in each slot."""
        self.idle.took(0.001)
        found = []
        for slot in range(3):
            self.clock.advance(0.005)
            self.idle.until(self.clock.seconds())
            due = 100.0 if slot == 0 else self.clock.seconds() - PATIENCE
            found.append([self.idle.may_work(due) for _ in range(3)])
        self.assertEqual(found, [[False] * 3, [True, False, False], [True, False, False]])

    def test_silent_loop(self) -> None:
        """A loop that says nothing any more sends nothing either."""
        self.idle.took(0.001)
        self.idle.until(100.0)
        self.assertEqual(self.may(), (False, True))
        self.clock.advance(STALE + 0.001)
        self.assertEqual(self.may(), (True, False))

    def test_one_long_piece(self) -> None:
        """A piece that once took long does not keep the others waiting for ever."""
        self.idle.took(1.0)
        for _ in range(200):
            self.idle.took(0.0001)
        self.idle.until(100.0002)
        self.assertEqual(self.may(), (True, False))
