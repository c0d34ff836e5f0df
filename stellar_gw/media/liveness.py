"""When a leg counts as dead: no RTP and no RTCP for too long."""

from __future__ import annotations

from attrs import frozen

INACTIVITY = 30.0
"""Seconds without RTP and RTCP."""
HOLD = 3600.0
"""The same while the peer is on hold and need not send."""


@frozen
class Lost:
    """:ivar ever: whether anything had come before; :ivar seconds: since then, or since the start."""

    ever: bool
    seconds: float


@frozen
class Back:
    """Media came again after :class:`Lost`."""


class Liveness:
    """One leg's life; every time is seconds of one clock that does not run backwards."""

    def __init__(self, now: float, limit: float = INACTIVITY, hold_limit: float = HOLD) -> None:
        self._limit = limit
        self._hold_limit = hold_limit
        self._since = now
        self._ever = False
        self._lost = False
        self._held = False

    def heard(self, now: float) -> None:
        """An RTP or RTCP packet of the peer's arrived."""
        self._since = now
        self._ever = True

    @property
    def lost(self) -> bool:
        """What :meth:`check` said last."""
        return self._lost

    def hold(self, held: bool, now: float) -> None:
        """The peer needs not send (our direction is sendonly or inactive), or must again.

        A change starts the time anew: whoever comes back from hold has the whole limit to begin.
        """
        if held != self._held:
            self._held = held
            self._since = now

    def restart(self, now: float) -> None:
        """The call has been answered: only now is media owed."""
        self._since = now

    def check(self, now: float) -> Lost | Back | None:
        """What has changed: each loss is reported once, and so is its end."""
        seconds = now - self._since
        silent = seconds >= (self._hold_limit if self._held else self._limit)
        if silent == self._lost:
            return None
        self._lost = silent
        return Lost(self._ever, seconds) if silent else Back()
