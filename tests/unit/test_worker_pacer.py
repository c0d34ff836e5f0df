"""The pacer: who is ticked when, and what happens when the process was held up."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.worker.pacer import SLOW_SLOTS, Pacer


class Member:
    """Writes its ticks down in a common list, with the frames missed before."""

    def __init__(self, name: str, ticks: list[tuple[str, int]], then: Callable[[], None] = lambda: None) -> None:
        self._name, self._ticks, self._then = name, ticks, then
        self.failed = 0

    def tick(self, missed: int) -> None:
        self._ticks.append((self._name, missed))
        self._then()

    def tick_failed(self) -> None:
        self.failed += 1


class FakeTimer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")


class PacerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pacer = Pacer()
        self.ticks: list[tuple[str, int]] = []

    def member(self, name: str, then: Callable[[], None] = lambda: None) -> Member:
        member = Member(name, self.ticks, then)
        self.pacer.add(member)
        return member

    def names(self) -> str:
        names = "".join(name for name, _ in self.ticks)
        self.ticks.clear()
        return names

    def test_slots(self) -> None:
        """Members spread over the four slots, and each is ticked once in four slots."""
        for name in "abcdef":
            self.member(name)
        turns = []
        for _ in range(8):
            self.pacer.expired(1)
            turns.append(self.names())
        self.assertEqual(turns, ["ae", "bf", "c", "d"] * 2)

    def test_late(self) -> None:
        """Slots that come late are made up for, in order, with nothing missed."""
        for name in "abcd":
            self.member(name)
        self.pacer.expired(6)
        self.assertEqual(self.ticks, [(name, 0) for name in "abcdab"])
        self.assertEqual((self.pacer.late, self.pacer.skipped), (5, 0))

    def test_held_up(self) -> None:
        """After 10 s at most three frames and a bit are made up for; each member learns once how many are gone."""
        for name in "abcd":
            self.member(name)
        self.pacer.expired(2001)
        self.assertEqual(self.ticks, [(name, 497) for name in "abcd"] + [(name, 0) for name in "abcdabcda"])
        self.assertEqual(self.pacer.skipped, 4 * 497)
        self.ticks.clear()
        self.pacer.expired(1)
        self.assertEqual(self.ticks, [("b", 0)])

    def test_added_twice(self) -> None:
        """Adding a member again changes nothing."""
        member = self.member("a")
        self.pacer.add(member)
        self.pacer.expired(4)
        self.assertEqual((self.names(), len(self.pacer)), ("a", 1))

    def test_removed_by_another(self) -> None:
        """A member removed by one before it in the same slot is not ticked; one added then waits its turn."""
        members: list[Member] = []
        self.member("a", lambda: self.pacer.remove(members[3]))
        for name in "bcde":
            members.append(self.member(name))
        self.pacer.expired(4)
        self.assertEqual(self.names(), "abcd")

    def test_raising(self) -> None:
        """A member that raises is ticked no more and told so; the others go on."""

        def fail() -> None:
            raise ZeroDivisionError

        broken = self.member("a", fail)
        self.member("b")
        self.pacer.expired(8)
        self.assertEqual((self.names(), broken.failed), ("abb", 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_timer(self) -> None:
        """The timer runs only while there is somebody to tick."""
        timer = FakeTimer()
        self.pacer.run_by(timer)
        a, b = Member("a", self.ticks), Member("b", self.ticks)
        self.pacer.add(a)
        self.pacer.add(b)
        self.pacer.remove(a)
        self.pacer.remove(b)
        self.pacer.remove(b)
        self.pacer.add(a)
        self.assertEqual(timer.calls, ["start", "stop", "start"])

    def test_slow(self) -> None:
        """A slow member is ticked once in ten frames, whatever was missed, and spreads like the others."""
        slow = [Member(name, self.ticks) for name in "abc"]
        for member in slow:
            self.pacer.add(member, slow=True)
        for _ in range(2 * SLOW_SLOTS):
            self.pacer.expired(1)
        self.assertEqual(self.ticks, [("a", 0), ("b", 0), ("c", 0)] * 2)
        self.pacer.expired(2000)
        self.assertEqual((len(self.pacer), self.pacer.skipped, {missed for _, missed in self.ticks}), (3, 0, {0}))

    def test_from_slow_to_fast(self) -> None:
        """A member that needs its pace again is ticked in the very next slot, and then each 20 ms."""
        for name in "abc":
            self.member(name)
        self.pacer.expired(2)
        member = Member("x", self.ticks)
        self.pacer.add(member, slow=True)
        self.pacer.add(member)
        self.pacer.add(member)
        self.ticks.clear()
        self.pacer.expired(5)
        self.assertEqual((self.names(), len(self.pacer)), ("cxabcx", 4))

    def test_from_fast_to_slow(self) -> None:
        """A member that needs no pace any more is ticked no faster; removed, not at all."""
        member = self.member("a")
        self.pacer.add(member, slow=True)
        for _ in range(SLOW_SLOTS):
            self.pacer.expired(1)
        self.pacer.remove(member)
        for _ in range(SLOW_SLOTS):
            self.pacer.expired(1)
        self.assertEqual((self.names(), len(self.pacer)), ("a", 0))
