"""The key presses that come to a port: as telephone events of any payload type, or told in other ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from stellar_gw.media.dtmf import Digit, DtmfReceiver
from stellar_gw.media.presses import Presses, Way
from stellar_gw.media.rtp import RtpPacket


class PortDigits:
    """
    :param told: hears of each press once, however many ways tell of it.
    :param now: seconds that never run backwards.
    :ivar pressing: telephone events came lately, of which one may not have ended.
    """

    def __init__(self, told: Callable[[Digit, Way], None], now: Callable[[], float]) -> None:
        self._told = told
        self._now = now
        self._events: dict[int, DtmfReceiver] = {}
        self._presses = Presses()
        self.pressing = False

    @property
    def digits(self) -> str:
        """All presses so far, in order."""
        return self._presses.digits

    @property
    def pending(self) -> bool:
        """An event is under way, whose end may have been lost."""
        return self.pressing and any(events.pending for events in self._events.values())

    def agreed(self, events: Mapping[int, int]) -> None:
        """Clocks of telephone events by payload type; what stays as it is goes on."""
        known = self._events
        self._events = {
            kind: same if (same := known.get(kind)) is not None and same.clock == clock else DtmfReceiver(clock)
            for kind, clock in events.items()
        }

    def received(self, packet: RtpPacket, now: float) -> bool:
        """Whether it was a telephone event."""
        events = self._events.get(packet.payload_type)
        if events is None:
            return False
        self.pressing = True
        for digit in events.received(packet, now):
            self.pressed(digit, "rfc4733")
        return True

    def advance(self, now: float) -> None:
        """Events whose ends were lost end by themselves."""
        for events in self._events.values():
            for digit in events.advance(now):
                self.pressed(digit, "rfc4733")
        self.pressing = any(events.pending for events in self._events.values())

    def pressed(self, digit: Digit, way: Way) -> None:
        """A press was told."""
        if self._presses.reported(digit.digit, digit.duration_ms, way, self._now()):
            self._told(digit, way)
