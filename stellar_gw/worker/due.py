"""When the next thing is due, for whoever looks in the midst of other work; may be compiled (stellar_gw.compiled)."""

from __future__ import annotations

import math
from collections.abc import Callable


class Due:
    """
    :param do: does what is due; it sets :attr:`at` anew.
    :param now: seconds of the monotonic clock.
    :ivar at: by ``now``; infinity for never.
    """

    def __init__(self, do: Callable[[], None], now: Callable[[], float]) -> None:
        self._do = do
        self._now = now
        self._rested = -math.inf
        self.at = math.inf

    def look(self) -> None:
        """Do it now if its time has come; never from within it.

        Not sooner than as much time later as the last time took. Where what is due takes longer than there is, there
        is always something due, and whoever looks would never come to the end of his own work.
        """
        now = self._now()
        if now >= self.at and now >= self._rested:
            self._do()
            after = self._now()
            self._rested = after + (after - now)
