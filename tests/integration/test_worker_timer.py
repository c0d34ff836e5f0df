"""The pacer's timer against the kernel's clock."""

from __future__ import annotations

import math
import os
import time
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from stellar_gw.worker.timer import SlotTimer, _LibcTimer, make_timer

reactor: Any = installed_reactor


class Counted:
    """A timer of the kernel's that runs when a test says so: what it counts is read in the same way."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def set(self, interval: float) -> None:
        pass

    def expire(self, count: int) -> None:
        os.eventfd_write(self.descriptor, count)


class SlotTimerTests(TestCase):
    async def _count(self, slots: int, make: Any) -> tuple[int, float]:
        """Run until ``slots`` have expired; how many were told, in how many seconds."""
        done: Deferred[None] = Deferred()
        told = 0

        def expired(count: int) -> None:
            nonlocal told
            told += count
            if told >= slots and not done.called:
                done.callback(None)

        timer = SlotTimer(reactor, 0.005, expired, make)
        self.addCleanup(timer.close)
        timer.start()
        began = time.monotonic()
        done.addTimeout(10, reactor)
        await done
        took = time.monotonic() - began
        timer.stop()
        return told, took

    async def test_absolute(self) -> None:
        """Expirations told together with those between them amount to the time passed, by either way to the kernel."""
        for make in (make_timer, _LibcTimer):
            told, took = await self._count(40, make)
            self.assertApproximates(told * 0.005, took, 0.006)

    async def test_held_up(self) -> None:
        """When the process was busy for 30 ms, the next turn is told of all the slots that passed."""
        done: Deferred[int] = Deferred()

        def expired(count: int) -> None:
            if not done.called:
                done.callback(count)

        timer = SlotTimer(reactor, 0.005, expired)
        self.addCleanup(timer.close)
        timer.start()
        until = time.monotonic() + 0.032
        while time.monotonic() < until:
            pass
        done.addTimeout(10, reactor)
        self.assertGreaterEqual(await done, 6)

    def test_look(self) -> None:
        """Asked in the middle of other work, it tells what has passed, once; the loop's turn then has none to tell."""
        told: list[int] = []
        now = 100.0
        kernel = Counted()
        timer = SlotTimer(reactor, 0.005, told.append, lambda: kernel, now=lambda: now)
        self.addCleanup(timer.close)
        timer.look()
        timer.start()
        self.assertAlmostEqual(timer.due, 100.005)
        kernel.expire(2)
        now = 100.004  # by this clock nothing has passed
        timer.look()
        self.assertEqual(told, [])
        now = 100.013
        timer.look()
        self.assertEqual(told, [2])
        self.assertAlmostEqual(timer.due, 100.015)
        timer.look()
        timer.doRead()
        kernel.expire(1)
        now = 100.0151
        timer.look()
        self.assertEqual(told, [2, 1])
        self.assertAlmostEqual(timer.due, 100.020)
        kernel.expire(1)
        timer.stop()
        now = 200.0
        timer.look()
        self.assertEqual((told, timer.due), ([2, 1], math.inf))

    def test_look_where_too_much_is_due(self) -> None:
        """Where each turn takes longer than an interval, whoever looks has at least half of the time for himself."""
        clock, kernel, began = Clock(), Counted(), []

        def expired(count: int) -> None:
            began.append(clock.seconds())
            clock.advance(0.010)
            kernel.expire(2)

        timer = SlotTimer(reactor, 0.005, expired, lambda: kernel, now=clock.seconds)
        self.addCleanup(timer.close)
        timer.start()
        kernel.expire(1)
        for _ in range(100):
            clock.advance(0.001)
            timer.look()
        self.assertEqual([round(at * 1000) for at in began], [*range(5, 5 + 20 * 10, 20)])
        kernel.expire(1)
        timer.doRead()
        self.assertEqual(len(began), 11)

    def test_failure(self) -> None:
        """What a turn raises is logged, and the timer stays with the reactor."""

        def fail(count: int) -> None:
            raise ZeroDivisionError

        timer = SlotTimer(reactor, 0.001, fail)
        self.addCleanup(timer.close)
        timer.start()
        until = time.monotonic() + 0.005
        while time.monotonic() < until:
            pass
        timer.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn(timer, reactor.getReaders())

    def test_close(self) -> None:
        """Closed, it is with the reactor no more, and starting, stopping and closing it do nothing."""
        timer = SlotTimer(reactor, 0.005, print)
        timer.close()
        timer.close()
        timer.start()
        timer.stop()
        self.assertNotIn(timer, reactor.getReaders())

    def test_rest(self) -> None:
        """Until it is told, unless an interval passes before, of which it tells; not at all where that time is over."""
        told: list[int] = []
        timer = SlotTimer(reactor, 0.04, told.append)
        self.addCleanup(timer.close)
        rested = []
        for running, seconds in ((False, 0.02), (False, -1.0), (True, 10.0)):
            if running:
                timer.start()
            began = time.monotonic()
            timer.rest(began + seconds)
            rested.append(time.monotonic() - began)
        self.assertTrue(0.02 <= rested[0] < 5 and rested[1] < 0.02 and 0.03 <= rested[2] < 5, rested)
        self.assertEqual(told, [1])
