"""The delayed calls of one call, by name, so that all of them end with it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime


@define
class Timers:
    """At most one delayed call of each name."""

    clock: IReactorTime
    _running: dict[str, IDelayedCall] = field(factory=dict, init=False)

    def start(self, name: str, delay: float, fire: Callable[[], object]) -> None:
        """Call ``fire`` after ``delay`` seconds; a running timer of that name is replaced."""
        self.stop(name)

        def fired() -> None:
            del self._running[name]
            fire()

        self._running[name] = self.clock.callLater(delay, fired)

    def running(self, name: str) -> bool:
        return name in self._running

    def stop(self, name: str) -> None:
        if (timer := self._running.pop(name, None)) is not None:
            timer.cancel()

    def stop_all(self) -> None:
        for name in list(self._running):
            self.stop(name)
