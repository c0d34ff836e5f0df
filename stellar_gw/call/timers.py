"""The delayed calls of one call, by name, so that all of them end with it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from stellar_gw.patience import Patience


@define
class Timers:
    """At most one delayed call of each name."""

    clock: IReactorTime
    _running: dict[str, IDelayedCall | Patience] = field(factory=dict, init=False)

    def start(self, name: str, delay: float, fire: Callable[[], object]) -> None:
        """Call ``fire`` after ``delay`` seconds; a running timer of that name is replaced."""
        self.stop(name)
        self._running[name] = self.clock.callLater(delay, self._fired, name, fire)

    def give(self, name: str, seconds: float, fire: Callable[[], object]) -> None:
        """The same for what a media worker shall have told by then: it has that time, however this process fares."""
        self.stop(name)
        self._running[name] = Patience(self.clock, seconds, self._fired, name, fire)

    def _fired(self, name: str, fire: Callable[[], object]) -> None:
        del self._running[name]
        fire()

    def running(self, name: str) -> bool:
        return name in self._running

    def stop(self, name: str) -> None:
        if (timer := self._running.pop(name, None)) is not None:
            timer.cancel()

    def stop_all(self) -> None:
        for name in list(self._running):
            self.stop(name)
