"""The heap of timers: in order, at their time, and none left behind."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.timers import Alarm, TimerHeap, Timers


class TimerHeapTests(SynchronousTestCase):
    def test_order(self) -> None:
        """By time, and among equals in the order they were started."""
        heap, fired = TimerHeap(), []
        for delay, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
            heap.start(delay, lambda name=name: fired.append(name))
        self.assertEqual(heap.next(), 1.0)
        heap.now = 2.5
        heap.fire()
        self.assertEqual((fired, heap.next(), len(heap)), (["a", "b", "c"], 3.0, 1))

    def test_stopped(self) -> None:
        """A stopped one never fires, however often it is stopped."""
        heap = TimerHeap()
        alarm = heap.start(1.0, self.fail)
        heap.stop(alarm)
        heap.stop(alarm)
        heap.now = 5.0
        heap.fire()
        self.assertEqual((heap.next(), len(heap)), (None, 0))

    def test_started_while_firing(self) -> None:
        """One that is due at once fires in the same turn."""
        heap, fired = TimerHeap(), []
        heap.start(1.0, lambda: heap.start(0.0, lambda: fired.append("second")))
        heap.now = 1.0
        heap.fire()
        self.assertEqual((fired, len(heap)), (["second"], 0))

    def test_random_starts_and_stops(self) -> None:
        """Of 5,000 timers exactly those fire that were not stopped, each at its time, and memory is given back."""
        heap, dice = TimerHeap(), Random(1)
        running: dict[int, Alarm] = {}
        expected: dict[int, float] = {}
        fired: dict[int, float] = {}
        for number in range(5000):
            running[number] = heap.start(dice.uniform(0, 32), lambda number=number: fired.update({number: heap.now}))
            expected[number] = running[number].at
            if dice.random() < 0.8:
                victim = dice.choice(list(running))
                if victim not in fired:
                    del expected[victim]
                heap.stop(running.pop(victim))
            heap.now += 0.001
            heap.fire()
            running = {each: alarm for each, alarm in running.items() if each not in fired}
        self.assertEqual(len(heap), len(running))
        self.assertLess(len(heap._heap), 2 * len(running) + 70)
        heap.now += 100.0
        heap.fire()
        self.assertEqual((set(fired), len(heap)), (set(expected), 0))

    def test_durations(self) -> None:
        """RFC 3261 table 4."""
        timers = Timers()
        self.assertEqual((timers.timeout, timers.d, Timers(t1=1.0).timeout, Timers(t1=0.1).d), (32.0, 32.0, 64.0, 32.0))
        self.assertRaises(ValueError, Timers, t1=0.0)
