"""Descriptors read straight from the loop, for the two that are read thousands of times a second.

Twisted's asyncio reactor calls each reader through its logging context, which costs 2 us a turn. The poller and the
pacer's timer catch and log what goes wrong in them themselves, so they can do without.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall


class Timers(Protocol):
    """Part of IReactorTime."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> IDelayedCall: ...


class DirectReaders:
    """The part of a reactor that the poller and the timer need."""

    def __init__(self, loop: AbstractEventLoop, timers: Timers) -> None:
        self._loop = loop
        self._descriptors: dict[Any, int] = {}
        self.callLater = timers.callLater

    def addReader(self, reader: Any) -> None:
        if reader not in self._descriptors:
            self._descriptors[reader] = descriptor = reader.fileno()
            self._loop.add_reader(descriptor, reader.doRead)

    def removeReader(self, reader: Any) -> None:
        descriptor = self._descriptors.pop(reader, None)
        if descriptor is not None:
            self._loop.remove_reader(descriptor)
