"""Waiting for another process of this machine, without taking one's own delay for the other's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

STRETCHES = 4
"""In which the time is counted."""
HELD_UP = 0.1
"""Seconds; a stretch that ends so late says that this very process was held up, and nothing about the other. It does
not count: what was asked may not even have left, or the answer may be waiting."""

T = TypeVar("T")


class Clock(Protocol):
    """Part of IReactorTime."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> IDelayedCall: ...


class Patience:
    """One delayed call, due when another process has had its time.

    A reactor's own comes first once a process that was stopped, or without CPU, goes on: before what lies in its
    sockets is read.

    :param seconds: the other's time; what passes while this process is held up comes on top.
    """

    def __init__(self, clock: Clock, seconds: float, fire: Callable[..., object], *args: Any) -> None:
        self._clock = clock
        self._stretch = seconds / STRETCHES
        self._left = STRETCHES
        self._fire, self._args = fire, args
        self._next()

    def active(self) -> bool:
        return self._timer.active()

    def cancel(self) -> None:
        """It fires no more; nothing where it has fired."""
        if self._timer.active():
            self._timer.cancel()

    def _next(self) -> None:
        self._due = self._clock.seconds() + self._stretch
        self._timer = self._clock.callLater(self._stretch, self._passed)

    def _passed(self) -> None:
        if self._clock.seconds() - self._due <= HELD_UP:
            self._left -= 1
        if self._left:
            self._next()
        else:
            self._fire(*self._args)


def give(clock: Clock, seconds: float, answer: Deferred[T]) -> Deferred[T]:
    """Cancel what has not fired when the other has had its time.

    :return: the same, for a chain.
    """
    patience = Patience(clock, seconds, answer.cancel)

    def answered(result: Any) -> Any:
        patience.cancel()
        return result

    return answer.addBoth(answered)
