"""One direction of a bridge: what one leg sends, on its way to another leg of the same call.

Where both have the codec, packets are passed on as they come, renumbered. Where they have not, the audio is decoded,
put in order, and coded anew at our own pace (:class:`stellar_gw.worker.leg_audio.Recoded`). The packets decide, for
a peer may change among its codecs at any of them. A leg that gets nothing because the other sends nothing is sent
silence, so that the way to it stays open and nobody takes the call for dead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from stellar_gw.control.messages import Codec
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Piece
from stellar_gw.media.latch import COMFORT_NOISE
from stellar_gw.media.presses import Way
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.splice import Splice
from stellar_gw.worker.leg import Leg
from stellar_gw.worker.leg_audio import Recoded
from stellar_gw.worker.shortcut import CLOCK, Exit

QUIET = 1.0
"""Seconds without a packet after which silence is sent."""
INFO_WAITS = 0.3
"""Seconds for which a digit told by SIP INFO waits: the same press may be on its way as telephone events, which pass by
themselves. Who has sent any tells every press by them, until it is agreed on anew."""
ALIKE = 25
"""Packets of the codec in common, one after the other, after which audio is passed on again rather than coded anew."""


Event = tuple[int, int]
"""A telephone event by its SSRC and timestamp."""


class Relay:
    """
    :param changed: called where the target begins or ceases to need our pace, or the source to be put in order.
    :ivar audio: what the target is sent while nothing is passed on.
    """

    def __init__(self, source: Leg, target: Leg, now: Callable[[], float], changed: Callable[[], None]) -> None:
        self.source = source
        self.target = target
        self.audio = Recoded()
        self._now = now
        self._changed = changed
        self._splice = Splice(target.port.sender, CLOCK, now())
        self._types: dict[int, int] = {}
        self._events: dict[int, int] = {}
        self._coded: frozenset[int] = frozenset()
        self._foreign_events: frozenset[int] = frozenset()
        self._untold = False
        self._passed: Event | None = None
        self._anew: Event | None = None
        self._begun: deque[int] = deque(maxlen=8)  # timestamps of events that the target has heard something of
        self._by_events = False
        self._held: tuple[float, Digit] | None = None
        self._alike = 0
        source.port.relays = (*source.port.relays, self)
        target.port.fed_by = source.port
        target.port.splice = self._splice
        target.relay = self
        target.port.take_the_long_way()
        self.agreed()

    def close(self) -> None:
        """Pass nothing on any more; the target's stream goes on where it is."""
        source, target = self.source.port, self.target.port
        source.take_the_long_way()
        held, self._held = self._held, None
        if held is not None:
            self.target.send_digits(held[1].digit, held[1].duration_ms)
        self._let_go(self._now())
        source.relays = tuple(relay for relay in source.relays if relay is not self)
        target.unfed()
        self.target.relay = None

    def agreed(self) -> None:
        """Offer and answer have changed something on one of the two legs."""
        self.source.port.take_the_long_way()
        theirs, ours = self.source.media, self.target.media
        self._types, self._events, self._coded = {}, {}, frozenset()
        self._by_events = False  # there may be another phone now
        if theirs is not None and ours is not None:
            self._types = {
                codec.payload_type: ours.send.payload_type for codec in theirs.receive if _same(codec, ours.send)
            }
            self._coded = frozenset(codec.payload_type for codec in theirs.receive) - self._types.keys()
            if ours.comfort_noise is not None:
                noises = (codec.payload_type for codec in theirs.noise_receive if codec.clock == CLOCK)
                for noise in {COMFORT_NOISE, *noises} - self._coded:
                    self._types.setdefault(noise, ours.comfort_noise)
            if ours.dtmf_send is not None:
                events = (codec for codec in theirs.dtmf_receive if codec.clock == ours.dtmf_send.clock)
                self._events = {codec.payload_type: ours.dtmf_send.payload_type for codec in events}
            self._foreign_events = frozenset(codec.payload_type for codec in theirs.dtmf_receive) - self._events.keys()
            self.audio.receive(theirs.receive)
        if self.audio.active and not self._coded:
            self._pass_on_again()

    # --- packets (port_contracts.Onward) --------------------------------------------------------------

    def forward(self, packet: RtpPacket, now: float) -> None:
        kind = packet.payload_type
        if kind in self._coded:
            self._alike = 0
            if not self.audio.active:
                self._code_anew(now)
            return
        destination = self.target.port.destination
        blocked = destination is None or self.target.sounding
        event = kind in self._events
        if event or kind in self._foreign_events:
            self._by_events = self._by_events or event
            event = self._passes(packet, possible=event and not blocked)
        if destination is None or blocked:
            self._leave(now)
            return
        if event:
            self._held = None
        ours = self._events[kind] if event else self._types.get(kind)
        if self.audio.active:
            if ours is not None and not event:
                self._alike += 1
                if self._alike >= ALIKE:
                    self._pass_on_again()
            if self.audio.active:
                return
        if ours is None:
            self._splice.skip(packet)
            return
        joined = self._splice.joined
        datagram = self._splice.rewrite(packet, ours, now, event=event)
        if datagram is not None:
            self.target.port.write(datagram, destination)
            if event and packet.timestamp not in self._begun:
                self._begun.append(packet.timestamp)
        if joined != self._splice.joined:
            self._changed()

    def _passes(self, packet: RtpPacket, *, possible: bool) -> bool:
        """Whether a packet of a telephone event is passed on: if the event's first was. Others are sent anew."""
        event = packet.ssrc, packet.timestamp
        if possible and event != self._anew:
            self._passed = event
            return True
        if event not in (self._passed, self._anew):
            self._anew, self._untold = event, True
        return False

    def shortcut(self, payload_type: int) -> tuple[Splice, tuple[int, int], Exit] | None:
        ours, destination = self._types.get(payload_type), self.target.port.destination
        if ours is None or destination is None or not self._splice.joined or self.target.sounding:
            return None
        if self.source.port.in_kernel or self._held is not None:
            return None
        return self._splice, (payload_type, ours), self.target.port.exit(destination)

    # --- audio coded anew -----------------------------------------------------------------------

    def hear(self, pieces: Sequence[Piece]) -> None:
        """The source's audio, in order."""
        if self.audio.active:
            self.audio.hear(pieces)

    def _code_anew(self, now: float) -> None:
        self.source.port.take_the_long_way()
        self._let_go(now)
        self.audio.start()
        # At once, so that this very packet is the first to be put in order.
        self.source.port.order(True)
        self._changed()

    def _pass_on_again(self) -> None:
        self._alike = 0
        self.audio.stop()
        self._changed()

    def pressed(self, digit: Digit, way: Way) -> None:
        """A digit of the source's: send it, where it does not pass as events."""
        untold, self._untold = self._untold, False
        if way == "rfc4733" and digit.timestamp in self._begun:
            return  # the target ends it by itself, if the rest did not pass
        if self.audio.active or untold or not self._events:
            self._send_held()
            self._send(digit)
        elif way == "info" and not self._by_events:
            self._send_held()
            self._held = self._now() + INFO_WAITS, digit
            self.source.port.take_the_long_way()

    def _send_held(self) -> None:
        """What waited has waited long enough."""
        if self._held is not None:
            digit, self._held = self._held[1], None
            self._send(digit)

    def _send(self, digit: Digit) -> None:
        self.target.send_digits(digit.digit, digit.duration_ms)
        self._leave(self._now())

    # --- for the target's pace ------------------------------------------------------------------

    @property
    def passing(self) -> bool:
        """Packets are passed on: the target needs no pace of ours."""
        return self._splice.joined

    def flows(self) -> bool:
        """The same, once it has been looked after: after a second of quiet it is not so any more."""
        splice = self._splice
        if self._held is not None and self._now() >= self._held[0]:
            self._send_held()
        if not splice.joined or self.source.port.in_kernel:
            return splice.joined
        now = self._now()
        self.source.port.settle()
        if now - splice.passed_at >= QUIET or self.target.sounding or self.target.port.destination is None:
            self._leave(now)
            return False
        return True

    def _leave(self, now: float) -> None:
        if self._splice.joined:
            self.source.port.take_the_long_way()
            self._let_go(now)
            self._changed()

    def _let_go(self, now: float) -> None:
        """What is sent is the target's own again, if it was not."""
        if self._splice.joined:
            self._splice.leave(now)
            self.target.followed()


def _same(codec: Codec, other: Codec) -> bool:
    return codec.name.upper() == other.name.upper() and codec.clock == other.clock
