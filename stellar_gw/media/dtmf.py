"""Digits as telephone events, received and sent (RFC 4733)."""

from __future__ import annotations

import struct
from collections import deque
from itertools import groupby

from attrs import define, frozen

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.rtp import RtpPacket, RtpSender, timestamp_delta

DIGITS = "0123456789*#ABCD"
"""By event code (RFC 4733 3.2)."""

TIMEOUT = 0.2
"""Seconds without a report after which an event whose end was lost counts as ended: updates come every 20 to 50 ms."""
MAX_DURATION = 0xFFFF
AUDIO_CLOCK = 8000
"""RTP clock rate of all our audio codecs in Hz."""
MIN_PAUSE_MS = 40
"""Between two digits, at least: what their receivers need to tell them apart (ITU-T Q.24)."""
_END = 0x80
_PAYLOAD = struct.Struct("!BBH")


@frozen
class Digit:
    """One key press that has ended.

    :ivar timestamp: RTP timestamp of its beginning.
    """

    digit: str
    duration_ms: int
    timestamp: int


@define
class _Event:
    """The event being received; ``earlier`` is the length of its finished segments (RFC 4733 2.5.1.3)."""

    ssrc: int
    code: int
    began: int
    timestamp: int
    heard: float
    duration: int = 0
    earlier: int = 0


class DtmfReceiver:
    """Key presses from packets of which any may be lost, repeated or out of order.

    An event is known by its SSRC and timestamp; marker bits are not needed. It has ended with a packet
    that says so, with the next event, or after 200 ms without a report.

    :ivar malformed: packets too short, or with a code that is no digit.
    """

    def __init__(self, clock: int = 8000) -> None:
        """:param clock: RTP clock rate of the telephone-event payload type in Hz."""
        self.clock = clock
        self._segments = _segments(clock)
        self._event: _Event | None = None
        self._last: tuple[int, int] | None = None
        self.malformed = 0

    @property
    def pending(self) -> bool:
        """An event has begun, and not ended yet: :meth:`advance` is needed."""
        return self._event is not None

    def count_in(self, clock: int) -> None:
        """Packets come by a payload type of another clock rate from now on; the event under way goes on in it."""
        before, self.clock = self.clock, clock
        self._segments = _segments(clock)
        event = self._event
        if event is not None:
            event.duration = event.duration * clock // before
            event.earlier = event.earlier * clock // before

    def received(self, packet: RtpPacket, now: float) -> tuple[Digit, ...]:
        """A packet of the telephone-event payload type; the digits that it brings to their end, at most two."""
        if len(packet.payload) < 4:
            self.malformed += 1
            return ()
        code, flags, duration = _PAYLOAD.unpack_from(packet.payload)
        if code >= len(DIGITS):
            self.malformed += 1
            return ()
        ended: list[Digit] = []
        event = self._event
        if event is not None and not self._continues(event, packet, code):
            if self._is_old(packet):
                return ()
            ended.append(self._end(event))
            event = None
        if event is None:
            if self._is_old(packet):
                return ()
            event = self._event = _Event(packet.ssrc, code, packet.timestamp, packet.timestamp, now)
            self._last = (packet.ssrc, packet.timestamp)
        event.heard = now
        event.duration = max(event.duration, duration)
        if flags & _END:
            ended.append(self._end(event))
        return tuple(ended)

    def advance(self, now: float) -> tuple[Digit, ...]:
        """Time has passed: the digit whose end never came. Call it every 20 ms or so."""
        if self._event is None or now - self._event.heard < TIMEOUT:
            return ()
        return (self._end(self._event),)

    def _continues(self, event: _Event, packet: RtpPacket, code: int) -> bool:
        """Whether the packet is of this event; a new segment of it is taken up."""
        if packet.ssrc != event.ssrc or code != event.code:
            return False
        ahead = timestamp_delta(packet.timestamp, event.timestamp)
        if ahead == 0:
            return True
        if not any(abs(ahead - length) <= 1 for length in self._segments):
            return False
        event.earlier += MAX_DURATION
        event.timestamp = packet.timestamp
        event.duration = 0
        self._last = (packet.ssrc, packet.timestamp)
        return True

    def _is_old(self, packet: RtpPacket) -> bool:
        """Whether the packet belongs to the last event known, or to one before it."""
        if self._last is None or self._last[0] != packet.ssrc:
            return False
        ahead = timestamp_delta(packet.timestamp, self._last[1])
        return -10 * self.clock < ahead <= 0

    def _end(self, event: _Event) -> Digit:
        self._event = None
        milliseconds = (event.earlier + event.duration) * 1000 // self.clock
        return Digit(DIGITS[event.code], milliseconds, event.began)


def _segments(clock: int) -> tuple[int, int]:
    """How far the timestamps of two segments of one event may lie apart.

    Durations are in units of the event's clock, timestamps often in those of the audio that the stream also carries.
    """
    return MAX_DURATION, MAX_DURATION * AUDIO_CLOCK // clock


def are_digits(text: str) -> bool:
    """Whether :meth:`DtmfSender.send` takes the text."""
    return bool(text) and all(digit in DIGITS for digit in text.upper())


@define
class _Sending:
    """The event being sent.

    :ivar timestamp: of its beginning; :ivar duration: all of it, in units of the event's clock, as are the next two.
    :ivar elapsed: of the event so far; :ivar earlier: of its finished segments.
    :ivar repeats: packets sent since it ended; :ivar closing: those that the last segment's end still needs.
    """

    code: int
    timestamp: int
    duration: int
    elapsed: int = 0
    earlier: int = 0
    repeats: int = 0
    closing: int = 0


class DtmfSender:
    """Digits sent in place of audio, one packet a tick of 20 ms, the last of each event three times.

    Durations are in units of the payload type's clock. Timestamps are in those of the stream, whose clock is that of
    the audio, also where a peer knows no telephone-event of that rate.

    :ivar busy: digits, or the pause after one, are still to be sent.
    """

    MAX_PENDING = 256

    def __init__(self, payload_type: int, clock: int = AUDIO_CLOCK, volume: int = 10) -> None:
        """
        :param clock: of the payload type, in Hz.
        :param volume: power level in -dBm0, 0 to 63.
        """
        self.payload_type = payload_type
        self.clock = clock
        self._volume = volume & 0x3F
        self._pending: deque[tuple[int, int, int]] = deque()
        self._sending: _Sending | None = None
        self._pause = 0

    def send(self, digits: str, duration_ms: int = 160, pause_ms: int = 80) -> None:
        """Queue digits.

        :param digits: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D`` in any case.
        :param duration_ms: of each, at least 40.
        :param pause_ms: without tone after each, at least 40; the repetitions of its end take place in it.
        :raise LocalProtocolError: another character (see :func:`are_digits`), or more than 256 digits pending.
        """
        if digits and not are_digits(digits):
            raise LocalProtocolError("digits may be 0-9, *, #, A-D only")
        if len(self._pending) + len(digits) > self.MAX_PENDING:
            raise LocalProtocolError(f"more than {self.MAX_PENDING} digits are waiting to be sent")
        duration = max(40, duration_ms) * self.clock // 1000
        pause = max(MIN_PAUSE_MS, pause_ms) * AUDIO_CLOCK // 1000
        self._pending.extend((DIGITS.index(digit), duration, pause) for digit in digits.upper())

    def clear(self) -> None:
        """Forget what is queued; the event under way is ended properly."""
        self._pending.clear()
        if self._sending is not None:
            self._sending.duration = min(self._sending.duration, self._sending.elapsed)

    def agreed(self, payload_type: int, clock: int) -> None:
        """The peer knows events by other numbers now: what waits, and the event under way, go on in these."""
        before, self.payload_type, self.clock = self.clock, payload_type, clock
        if clock == before:
            return
        self._pending = deque((code, duration * clock // before, pause) for code, duration, pause in self._pending)
        event = self._sending
        if event is not None:
            event.duration = event.duration * clock // before
            event.elapsed = event.elapsed * clock // before
            event.earlier = event.earlier * clock // before
            event.closing = 0
            if event.elapsed - event.earlier > MAX_DURATION:
                # More than these units can say of one segment; another segment would be another press: it ends.
                event.elapsed = event.duration = event.earlier + MAX_DURATION

    @property
    def waiting(self) -> list[tuple[str, int]]:
        """The digits that have not begun, those of one length together, and how many milliseconds each is to last."""
        runs = groupby(self._pending, key=lambda waiting: waiting[1])
        return [("".join(DIGITS[code] for code, *_ in run), units * 1000 // self.clock) for units, run in runs]

    @property
    def busy(self) -> bool:
        return self._sending is not None or self._pause > 0 or bool(self._pending)

    def tick(self, sender: RtpSender, samples: int = 160) -> list[bytes] | None:
        """What to send in this tick instead of audio; the sender's media clock has then moved by ``samples``.

        :param samples: in units of the stream's clock.
        :return: None where there is nothing to do: send audio.
        """
        if self._sending is None and self._pause > 0:
            self._pause -= samples
            sender.skip(samples)
            return []
        if self._sending is None:
            if not self._pending:
                return None
            code, duration, self._pause = self._pending.popleft()
            self._sending = _Sending(code, sender.timestamp, duration)
        datagrams = self._report(self._sending, sender, samples)
        sender.skip(samples)
        return datagrams

    def _report(self, event: _Sending, sender: RtpSender, samples: int) -> list[bytes]:
        """This tick's packets of the event (RFC 4733 2.5.1)."""
        first = event.elapsed == 0
        datagrams: list[bytes] = []
        if event.repeats == 0:
            event.elapsed = min(event.elapsed + samples * self.clock // AUDIO_CLOCK, event.duration)
            if event.elapsed - event.earlier > MAX_DURATION:
                # The segment is full: it ends without the end bit, and the next begins where it ends (2.5.1.3).
                event.earlier += MAX_DURATION
                event.closing = 3
        else:
            self._pause -= samples
        if event.closing:
            event.closing -= 1
            datagrams.append(self._packet(event, sender, event.earlier - MAX_DURATION, MAX_DURATION, False, False))
        ended = event.elapsed >= event.duration
        datagrams.append(self._packet(event, sender, event.earlier, event.elapsed - event.earlier, ended, first))
        if ended:
            event.repeats += 1
            if event.repeats == 3:
                self._sending = None
        return datagrams

    def _packet(
        self, event: _Sending, sender: RtpSender, earlier: int, duration: int, ended: bool, marker: bool
    ) -> bytes:
        payload = _PAYLOAD.pack(event.code, (_END if ended else 0) | self._volume, duration)
        timestamp = event.timestamp + earlier * AUDIO_CLOCK // self.clock
        return sender.packet_at(timestamp, payload, self.payload_type, marker)
