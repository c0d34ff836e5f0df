"""The key presses that come to a port: as telephone events of any payload type, or told in other ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stellar_gw.media.dtmf import Digit, DtmfReceiver
from stellar_gw.media.presses import Presses, Way
from stellar_gw.media.rtp import RtpPacket

RATE, BURST = 25, 256
"""Presses a second, and at once, that are told: twice as fast as keys can be told apart (ITU-T Q.24). The gateway,
which is one process for all calls, hears of each."""


class PortDigits:
    """
    :param told: hears of each press once, however many ways tell of it.
    :param now: seconds that never run backwards.
    :ivar pressing: telephone events came lately, of which one may not have ended.
    """

    def __init__(self, told: Callable[[Digit, Way], None], now: Callable[[], float]) -> None:
        self._told = told
        self._now = now
        self._clocks: Mapping[int, int] = {}
        self._events = DtmfReceiver()  # one for all payload types: an event under way may change its own
        self._presses = Presses()
        self._room, self._counted_at = float(BURST), now()
        self.pressing = False

    @property
    def digits(self) -> str:
        """All presses so far, in order."""
        return self._presses.digits

    @property
    def pending(self) -> bool:
        """An event is under way, whose end may have been lost."""
        return self.pressing and self._events.pending

    def agreed(self, events: Mapping[int, int]) -> None:
        """Clocks of telephone events by payload type."""
        self._clocks = events

    def received(self, packet: RtpPacket, now: float) -> bool:
        """Whether it was a telephone event."""
        clock, events = self._clocks.get(packet.payload_type), self._events
        if clock is None:
            return False
        self.pressing = True
        if clock != events.clock:
            events.count_in(clock)
        for digit in events.received(packet, now):
            self.pressed(digit, "rfc4733")
        return True

    def advance(self, now: float) -> None:
        """Events whose ends were lost end by themselves."""
        for digit in self._events.advance(now):
            self.pressed(digit, "rfc4733")
        self.pressing = self._events.pending

    def pressed(self, digit: Digit, way: Way) -> None:
        """A press was told; nothing where nobody could press so fast."""
        now = self._now()
        self._room, self._counted_at = min(BURST, self._room + (now - self._counted_at) * RATE), now
        if self._room >= 1 and self._presses.reported(digit.digit, digit.duration_ms, way, now):
            self._room -= 1
            self._told(digit, way)
