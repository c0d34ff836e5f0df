"""Trunks that ask us by OPTIONS whether we are there, and one that stops: it may send its calls elsewhere, too."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.events import TrunkChanged
from stellar_gw.call.timers import Timers

SILENT_FOR = 3
"""Of its own intervals, after which a trunk that asked is told of."""
SHORTEST, LONGEST = 20.0, 600.0
"""Seconds that an interval is taken for."""


class Asked:
    """
    A trunk's interval is the longer of its last two; one that is not known yet counts as ten minutes.
    """

    def __init__(self, clock: IReactorTime, tell: Callable[[TrunkChanged], None]) -> None:
        self._clock, self._tell = clock, tell
        self._timers = Timers(clock)
        self._last: dict[str, tuple[float, float]] = {}

    def heard(self, trunk: str) -> None:
        """OPTIONS came from a trunk.

        :param trunk: a provider's name, so that there are only as many as the configuration has.
        """
        now = self._clock.seconds()
        at, before = self._last.get(trunk, (now - LONGEST, LONGEST))
        gap = min(LONGEST, max(SHORTEST, now - at))
        self._last[trunk] = now, gap
        silence = SILENT_FOR * max(gap, before)
        if not self._timers.running(trunk):
            self._tell(TrunkChanged(trunk, "asks", True, "asks by OPTIONS whether the gateway is there"))
        self._timers.start(trunk, silence, lambda: self._silent(trunk, silence))

    def stop(self) -> None:
        self._timers.stop_all()

    def _silent(self, trunk: str, seconds: float) -> None:
        why = f"has not asked by OPTIONS for {seconds:.0f} s; it may have stopped to send calls"
        self._tell(TrunkChanged(trunk, "asks", False, why))
