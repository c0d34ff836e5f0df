"""Ways that failed a moment ago: tried last for a while, never left out (RFC 3263 4.3)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from stellar_gw.sip.flow import Way

REMEMBERED = 1024
"""Ways kept; the oldest is forgotten first."""


class Failing:
    """
    :param seconds: the monotonic clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._until: OrderedDict[Way, float] = OrderedDict()

    def mark(self, way: Way, seconds: float) -> None:
        """Way down the list for so long; a shorter mark takes nothing off a longer one."""
        until = max(self._until.pop(way, 0.0), self._seconds() + seconds)
        self._until[way] = until
        while len(self._until) > REMEMBERED:
            self._until.popitem(last=False)

    def marked(self, way: Way) -> bool:
        until = self._until.get(way)
        if until is None:
            return False
        if until <= self._seconds():
            del self._until[way]
            return False
        return True

    def last(self, ways: Iterable[Way]) -> tuple[Way, ...]:
        """The same ways, the marked ones behind the others, each group in its own order."""
        return tuple(sorted(ways, key=self.marked))
