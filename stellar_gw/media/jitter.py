"""Packets in order, and the gaps between them: the caller's audio on its way to the agent.

Nothing is delayed that came in order. A packet that came too early waits until those before it have come,
at most 60 ms; then they count as lost, and a gap as long as the timestamps say takes their place, which
:mod:`stellar_gw.media.concealment` fills.

A peer with silence suppression stops sending (RFC 3551 4.1), but what detects the end of speech behind us
needs to hear the pause. So 200 ms after the last audio silence begins to flow by the clock, and the next
timestamps are filled up to what has not been filled yet. After a mere stall of the network the late
packets, which are still in order, are passed on too: then the filled silence stays as an addition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from stellar_gw.media.rtp import RtpPacket, sequence_delta, timestamp_delta

WAIT = 0.06
"""Seconds that a packet waits for those before it."""
FILL_AFTER = 0.2
"""Seconds after the last audio until silence flows by the clock."""
MAX_GAP = 1.0
"""Seconds: a timestamp further ahead of all that was passed on or filled is a new start, not a gap."""
MAX_WAITING = 32
"""Packets; with more of them the first do not wait any longer."""
MAX_DROPOUT = 3000
MAX_MISORDER = 100
"""Sequence numbers further ahead or behind are a new start once a second packet confirms it (RFC 3550 A.1)."""

_HISTORY_MASK = (1 << 128) - 1


@frozen
class Gap:
    """Time without audio.

    :ivar samples: its length in units of the RTP clock.
    :ivar lost: packets were lost here; else nothing had been sent.
    """

    samples: int
    lost: bool


Piece = RtpPacket | Gap
"""A packet whose payload is due, or the time between two."""


class Reorder:
    """One leg's incoming stream, in order.

    Every packet of the leg comes in, telephone events and comfort noise too, because they share the
    sequence numbers; ``samples`` says how much audio each holds, 0 for these, and they are not passed on.

    :ivar lost: packets given up.
    :ivar late: packets dropped because their turn had passed.
    :ivar duplicates: packets dropped because they had come before.
    :ivar restarts: changes of SSRC, jumps of sequence numbers or timestamps.
    :ivar filled_samples: silence that flowed by the clock.
    """

    def __init__(self, clock: int = 8000) -> None:
        """:param clock: RTP clock rate in Hz."""
        self._clock = clock
        self._max_gap = int(MAX_GAP * clock)
        self._frame = clock // 50
        self.lost = 0
        self.late = 0
        self.duplicates = 0
        self.restarts = 0
        self.filled_samples = 0
        self._waiting: dict[int, tuple[RtpPacket, int, float]] = {}
        self.reset()

    def reset(self) -> None:
        """Forget the stream, e.g. when the peer goes on hold; the next packet is the first of a new one."""
        self._ssrc: int | None = None
        self._next = 0
        self._history = 0
        self._bad: int | None = None
        self._timestamp: int | None = None
        self._heard = 0.0
        self._filled = 0
        self._lost_before = False
        self._waiting.clear()

    def put(self, packet: RtpPacket, samples: int, now: float) -> list[Piece]:
        """A packet arrived.

        :param samples: the audio in it in units of the RTP clock, 0 for events and comfort noise.
        :return: what is due now, in order; each packet in it holds audio.
        """
        if packet.ssrc != self._ssrc:
            return self._change_source(packet, samples, now)
        if (
            packet.sequence_number == self._next
            and samples
            and packet.timestamp == self._timestamp
            and not self._waiting
        ):
            # What nearly every packet is: the next one, and nothing between it and the last.
            self._next = (self._next + 1) & 0xFFFF
            self._history = (self._history << 1 | 1) & _HISTORY_MASK
            self._bad = None
            self._timestamp = (self._timestamp + samples) & 0xFFFFFFFF
            self._heard = now
            self._filled = 0
            self._lost_before = False
            return [packet]
        out: list[Piece] = []
        step = sequence_delta(packet.sequence_number, self._next)
        if step == 0:
            self._pass(packet, samples, now, out)
            if self._waiting:
                self._pass_waiting(now, out)
        elif 0 < step < MAX_DROPOUT:
            self._wait(packet, samples, now)
        elif -MAX_MISORDER < step < 0:
            self._old(-step)
        elif packet.sequence_number == self._bad:
            self._flush(now, out)
            self._restart(packet)
            self._pass(packet, samples, now, out)
        else:
            self._bad = (packet.sequence_number + 1) & 0xFFFF
        if self._waiting:
            self._give_up(now, out)
        return out

    @property
    def waiting(self) -> bool:
        """Packets wait for those before them."""
        return bool(self._waiting)

    def ran(self, packets: int, sequence_number: int, timestamp: int, heard: float) -> None:
        """So many packets of the present source came, each next to the one before, and were passed on.

        :param sequence_number: of the last; :param timestamp: of what follows it; :param heard: when it came.
        """
        self._next = (sequence_number + 1) & 0xFFFF
        self._history = ((self._history << min(packets, 128)) | (1 << min(packets, 128)) - 1) & _HISTORY_MASK
        self._bad = None
        self._timestamp = timestamp & 0xFFFFFFFF
        self._heard = heard
        self._filled = 0
        self._lost_before = False

    def advance(self, now: float) -> Sequence[Piece]:
        """Time has passed: packets that have waited long enough, silence by the clock. Call it every 20 ms."""
        if not self._waiting and now - self._heard < FILL_AFTER:
            return ()
        out: list[Piece] = []
        if self._waiting:
            self._give_up(now, out)
        if self._timestamp is not None and now - self._heard >= FILL_AFTER:
            self._fill(now, out)
        return out

    def _change_source(self, packet: RtpPacket, samples: int, now: float) -> list[Piece]:
        out: list[Piece] = []
        if self._ssrc is not None:
            self._flush(now, out)
            self._restart(packet)
        self._ssrc = packet.ssrc
        self._next = packet.sequence_number
        self._pass(packet, samples, now, out)
        return out

    def _restart(self, packet: RtpPacket) -> None:
        self.restarts += 1
        self._next = packet.sequence_number
        self._history = 0
        # A new source's timestamps have nothing to do with the old one's: no gap between them.
        self._timestamp = None

    def _wait(self, packet: RtpPacket, samples: int, now: float) -> None:
        if packet.sequence_number in self._waiting:
            self.duplicates += 1
        else:
            self._waiting[packet.sequence_number] = (packet, samples, now)

    def _old(self, age: int) -> None:
        """A packet whose number has been passed, ``age`` before the next."""
        if self._history >> (age - 1) & 1:
            self.duplicates += 1
        else:
            self.late += 1

    def _give_up(self, now: float, out: list[Piece]) -> None:
        """Wait no longer for what is missing before the packets that have waited 60 ms."""
        while self._waiting:
            # Insertion order is the order of arrival, so the first has waited longest.
            oldest = next(iter(self._waiting.values()))[2]
            if now - oldest < WAIT and len(self._waiting) <= MAX_WAITING:
                return
            self._skip()
            self._pass_waiting(now, out)

    def _flush(self, now: float, out: list[Piece]) -> None:
        while self._waiting:
            self._skip()
            self._pass_waiting(now, out)

    def _skip(self) -> None:
        """Everything before the first waiting packet is lost."""
        missing = min((number - self._next) & 0xFFFF for number in self._waiting)
        self.lost += missing
        self._lost_before = True
        self._next = (self._next + missing) & 0xFFFF
        self._history = (self._history << missing) & _HISTORY_MASK

    def _pass_waiting(self, now: float, out: list[Piece]) -> None:
        while self._waiting and (waiting := self._waiting.pop(self._next, None)):
            self._pass(waiting[0], waiting[1], now, out)

    def _pass(self, packet: RtpPacket, samples: int, now: float, out: list[Piece]) -> None:
        """The packet's turn has come."""
        self._next = (packet.sequence_number + 1) & 0xFFFF
        self._history = (self._history << 1 | 1) & _HISTORY_MASK
        self._bad = None
        if not samples:
            return
        if self._timestamp is not None and packet.timestamp != self._timestamp:
            self._bridge(timestamp_delta(packet.timestamp, self._timestamp), out)
        self._timestamp = (packet.timestamp + samples) & 0xFFFFFFFF
        self._heard = now
        self._filled = 0
        self._lost_before = False
        out.append(packet)

    def _bridge(self, ahead: int, out: list[Piece]) -> None:
        """Timestamps have gone on by ``ahead`` since the last audio."""
        gap = ahead - self._filled
        if gap > self._max_gap or ahead < -self._max_gap:
            self.restarts += 1
        elif gap > 0:
            out.append(Gap(gap, self._lost_before))

    def _fill(self, now: float, out: list[Piece]) -> None:
        """Whole 20 ms of silence up to 60 ms ago."""
        elapsed = round((now - self._heard - WAIT) * self._clock)
        samples = elapsed // self._frame * self._frame - self._filled
        if samples > 0:
            self._filled += samples
            samples = min(samples, self._max_gap)
            self.filled_samples += samples
            out.append(Gap(samples, False))


class Framer:
    """Audio from pieces of any length to frames of one length (packets of 30 ms to frames of 20 ms).

    :ivar rest: what does not fill a frame yet.
    """

    __slots__ = (
        "octets",
        "rest",
    )

    def __init__(self, octets: int) -> None:
        """:param octets: length of a frame."""
        self.octets = octets
        self.rest = b""

    def push(self, audio: bytes) -> Iterable[bytes]:
        """The whole frames so far; the rest waits for the next piece."""
        octets = self.octets
        if not self.rest and len(audio) == octets:
            return (audio,)
        audio = self.rest + audio
        whole = len(audio) - len(audio) % octets
        self.rest = audio[whole:]
        return [audio[start : start + octets] for start in range(0, whole, octets)]
