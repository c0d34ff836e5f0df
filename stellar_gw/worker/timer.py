"""The pacer's clock: a timerfd, because the loop's own timers round to whole milliseconds (timerfd_create(2))."""

from __future__ import annotations

import ctypes
import math
import os
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.worker.due import Due

_CLOCK_MONOTONIC = 1
_EXPIRATIONS = struct.Struct("@Q")
_log = Logger()


class Reactor(Protocol):
    """Part of IReactorFDSet."""

    def addReader(self, reader: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def _timespec(seconds: float) -> _Timespec:
    whole, fraction = divmod(round(seconds * 1e9), 1_000_000_000)
    return _Timespec(whole, fraction)


class _LibcTimer:
    """timerfd by way of the C library; Python has it from 3.13 on."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")

    def set(self, interval: float) -> None:
        """The first expiry after ``interval`` seconds, then one each; 0 disarms."""
        spec = _Itimerspec(_timespec(interval), _timespec(interval))
        if self._libc.timerfd_settime(self.descriptor, 0, ctypes.byref(spec), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")


if sys.version_info >= (3, 13):

    class _OsTimer:
        """timerfd by way of :mod:`os`."""

        def __init__(self) -> None:
            self.descriptor = os.timerfd_create(_CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

        def set(self, interval: float) -> None:
            os.timerfd_settime(self.descriptor, initial=interval, interval=interval)

    make_timer: Callable[[], Any] = _OsTimer
else:
    make_timer = _LibcTimer


@implementer(IReadDescriptor)
class SlotTimer:
    """Calls ``expired(count)``, where ``count`` is the number of intervals passed since the last call.

    The kernel keeps the deadlines: they lie at whole intervals from the start, however late we are called. Whoever does
    much between two turns of the loop calls :meth:`look` now and then: a loop that was held up for a moment has a
    hundred packets to deal with, and what is due would come after them all.

    :param now: seconds of the monotonic clock.
    :ivar look: calls ``expired`` now if an interval has passed (:meth:`stellar_gw.worker.due.Due.look`).
    """

    def __init__(
        self,
        reactor: Reactor,
        interval: float,
        expired: Callable[[int], None],
        timer: Callable[[], Any] = make_timer,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reactor = reactor
        self._interval = interval
        self._expired = expired
        self._now = now
        self._due = Due(self.doRead, now)
        self.look: Callable[[], None] = self._due.look
        self._timer = timer()
        self._descriptor: int = self._timer.descriptor
        reactor.addReader(self)

    def start(self) -> None:
        if self._descriptor >= 0:
            self._timer.set(self._interval)
            self._due.at = self._now() + self._interval

    def stop(self) -> None:
        if self._descriptor >= 0:
            self._timer.set(0.0)
            self._due.at = math.inf

    def rest(self, until: float) -> None:
        """Do nothing until then, or until an interval has passed, and tell that; other threads may work meanwhile.

        :param until: by ``now``.
        """
        seconds = min(until, self._due.at) - self._now()
        if seconds > 0.0:
            time.sleep(seconds)
        self.look()

    def close(self) -> None:
        """Give the descriptor back; may be repeated."""
        if self._descriptor < 0:
            return
        self._reactor.removeReader(self)
        self._due.at = math.inf
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    @property
    def due(self) -> float:
        """When the next interval has passed for certain, by ``now``; infinity while it does not run."""
        return self._due.at

    # --- IReadDescriptor ------------------------------------------------------------------------

    def fileno(self) -> int:
        return self._descriptor

    def logPrefix(self) -> str:
        return "pacer"

    def doRead(self) -> None:
        try:
            expirations = os.read(self._descriptor, _EXPIRATIONS.size)
        except BlockingIOError:  # stopped, or looked at, meanwhile
            return
        (count,) = _EXPIRATIONS.unpack(expirations)
        # The deadlines lie on a grid, which the soonest of our calls shows.
        due = self._due
        due.at = min(self._now(), due.at + (count - 1) * self._interval) + self._interval
        try:
            self._expired(count)
        except Exception:
            # If it went on to the reactor, that would take the timer from every call.
            _log.failure("a turn of the pacer failed")

    def connectionLost(self, reason: Failure) -> None:
        self.close()
