"""Whether a media worker has all it can carry, by what it says of itself with every answer to a ping.

One that has too many calls is of no use to any of them: every packet of each is late. So it gets no more. That it works
nearly all the time is no sign of that by itself, since a flood of packets is dealt with in what time is left; nor are
late packets, since a machine may be held up for a moment. Both together are.
"""

from __future__ import annotations

import math

from stellar_gw.control.messages import Pong

WINDOW = 4.0
"""Seconds over which both are averaged."""
LATE = 0.02
"""The share of a worker's turns, of 5 ms each, that begin a whole turn late or more."""
BUSY_STILL, LATE_STILL = 0.95, 0.25
"""The parts of either limit, of which one must be undercut before it takes calls again."""


class WorkerLoad:
    """Of one worker's process.

    :ivar busy: the share of its time that it works, 0 to 1.
    :ivar late: the share of its turns that come late.
    :ivar late_turns: their number since its start; ``skipped``: frames of calls that were never sent, for they were too
        late.
    :ivar overloaded: whether it should get no more calls.
    """

    def __init__(self, limit: float) -> None:
        """:param limit: of ``busy``; 0 for none."""
        self._limit = limit or math.inf
        self._last: Pong | None = None
        self.busy = 0.0
        self.late = 0.0
        self.late_turns = 0
        self.skipped = 0
        self.overloaded = False

    def told(self, pong: Pong) -> bool:
        """Take in what it says; whether ``overloaded`` has changed.

        What it has done until it first says something is no sign: it has just been started.
        """
        last, self._last = self._last, pong
        self.late_turns, self.skipped = pong.late, pong.skipped
        if last is None or (elapsed := pong.at - last.at) <= 0.0:
            return False
        weight = 1.0 - math.exp(-elapsed / WINDOW)
        turns = pong.turns - last.turns
        late = (pong.late - last.late) / turns if turns > 0 else 0.0
        self.busy += weight * (min((pong.worked - last.worked) / elapsed, 1.0) - self.busy)
        self.late += weight * (late - self.late)
        was, busy, late = self.overloaded, self._limit, LATE
        if was:
            busy, late = busy * BUSY_STILL, late * LATE_STILL
        self.overloaded = self.busy >= busy and self.late >= late
        return self.overloaded is not was


__all__ = ["BUSY_STILL", "LATE", "LATE_STILL", "WINDOW", "WorkerLoad"]
