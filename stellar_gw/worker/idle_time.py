"""When a thread may work without the loop's missing the interpreter's lock.

Every packet that the loop sends lets go of that lock for a moment, and a thread that waits for it takes it then, for
as long as it likes: with 200 recorded calls packets left many milliseconds late. So the loop says after each slot until
when it has nothing to send, and the thread does in that time what fits into it. Of what has waited too long, one piece
is done in each slot nevertheless.
"""

from __future__ import annotations

import math
from collections.abc import Callable

PATIENCE = 1.0
"""Seconds; work that has waited so long is done even where the loop is never idle, a piece in each slot."""
STALE = 0.1
"""Seconds after which the loop's word is of no account: it has nothing to send at all."""
_DECAY = 0.98
_LONGEST = 0.002


class IdleTime:
    """Times are seconds of a clock that does not run backwards.

    :ivar waits: the thread would work, and may not.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = math.inf
        self._longest = 0.0
        self._forced = False
        self.waits = False

    def until(self, at: float) -> None:
        """The loop sends nothing before."""
        self._until = at
        self._forced = False

    def may_work(self, due_at: float) -> bool:
        """Whether there is time for a piece of work like those before, which was due then."""
        now = self._now()
        if now + self._longest <= self._until or now > self._until + STALE:
            self.waits = False
        elif now - due_at >= PATIENCE and not self._forced:
            self._forced = True
            self.waits = False
        else:
            self.waits = True
        return not self.waits

    def took(self, seconds: float) -> None:
        """So long the lock was held for the last piece, at most."""
        self._longest = min(_LONGEST, max(seconds, self._longest * _DECAY))
