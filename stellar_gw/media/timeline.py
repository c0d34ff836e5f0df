"""Both directions of a call on one time line: packets as they came and went, to stereo PCM without holes.

A sender's clock is not ours, and the network delays each packet by its own time; a talkspurt may follow a pause
that the timestamps tell nothing of. So a packet's place is told by its timestamp, and the two are held together by
the packets that came soonest: of a stream's packets that are there, the one with the least delay says where its
timestamps lie on our clock. Small corrections are of one sample a packet, which nobody hears; anything beyond 20 ms
is set right at once. That needs packets from the future: whoever reads stays about a second behind.

Times are seconds since the line's beginning, by our clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate

from attrs import define

from stellar_gw.media.codec import CLOCK, Codec, Decoder, codec_named
from stellar_gw.media.pcm import stereo_from_mono
from stellar_gw.media.resample import Resampler
from stellar_gw.media.rtp import RtpPacket, timestamp_delta

LOOK_AHEAD = 1.0
"""Seconds that a reader stays behind, so that what is late has come, and delay can be told from a pause."""
MAX_PENDING = 1500
"""Packets of one direction that wait to be read: 15 s of 10 ms each."""
NEW_STREAM = 1.0
"""Seconds by which timestamps may run ahead of, or behind, the time that passed between two packets."""
STEP = 0.02
"""Seconds; a greater error is set right at once."""
TOLERANCE = 0.002
"""Seconds; a smaller one stays."""
EVIDENCE = 5
"""Packets needed to believe in a delay that has grown; with fewer left it may be one packet's own."""
STALL = 0.2
"""Seconds; nobody's delay grows by so much without a pause before it."""
_FEW = 4
"""Samples that are filled by repeating the last one."""


@define(slots=True, eq=False)
class _Pending:
    """:ivar units: the timestamp, unwrapped; ``late``: when it came, less its timestamp, in samples."""

    stream: int
    units: int
    late: float
    codec: Codec
    payload: bytes


class Track:
    """One direction.

    :ivar dropped: packets not kept because too many waited.
    """

    def __init__(self, rate: int) -> None:
        """:param rate: of the PCM, samples a second."""
        self._rate = rate
        self._per_unit = rate / CLOCK
        self._codecs: dict[int, Codec] = {}
        self._decoders: dict[str, tuple[Decoder, Resampler]] = {}
        self._pending: list[_Pending] = []
        self._disordered = False
        self._last: tuple[int, int, int, float] | None = None  # SSRC, timestamp, unwrapped, when
        self._stream = 0
        self._placed_stream = -1
        self._offset = 0.0
        self._start = 0
        self._pcm = bytearray()
        self.dropped = 0

    def negotiated(self, names: Mapping[int, str]) -> None:
        """Payload types and their codecs, from the next packet on; of those that are not here no audio is heard."""
        codecs = {kind: codec_named(name) for kind, name in names.items()}
        self._codecs = {kind: codec for kind, codec in codecs.items() if codec is not None}

    def put(self, packet: RtpPacket, at: float) -> None:
        """A packet that came, or went, at this time."""
        codec = self._codecs.get(packet.payload_type)
        if codec is None or not packet.payload:
            return
        if len(self._pending) >= MAX_PENDING:
            self.dropped += 1
            return
        units = packet.timestamp
        if self._last is not None:
            ssrc, timestamp, before, when = self._last
            step = timestamp_delta(packet.timestamp, timestamp)
            if packet.ssrc == ssrc and abs(step / CLOCK - (at - when)) <= NEW_STREAM:
                units = before + step
            else:
                self._stream += 1
        self._last = (packet.ssrc, packet.timestamp, units, at)
        late = at * self._rate - units * self._per_unit
        pending = self._pending
        if pending and (units < pending[-1].units or self._stream != pending[-1].stream):
            self._disordered = True
        pending.append(_Pending(self._stream, units, late, codec, packet.payload))

    def read(self, until: float) -> bytes:
        """The PCM from the end of the last read to this time; what comes for it later is left out."""
        end = max(self._start, round(until * self._rate))
        self._place(end)
        missing = 2 * (end - self._start) - len(self._pcm)
        if missing > 0:
            self._pcm += bytes(missing)
        octets = 2 * (end - self._start)
        pcm = bytes(self._pcm[:octets])
        del self._pcm[:octets]
        self._start = end
        return pcm

    def _place(self, end: int) -> None:
        """Decode the packets that begin before ``end``, each to its place."""
        pending = self._pending
        if self._disordered:
            self._disordered = False
            pending.sort(key=lambda each: (each.stream, each.units))
        least = _least_after(pending)
        done = 0
        for index, packet in enumerate(pending):
            left = len(pending) - index
            place = self._place_of(packet, least[index], left)
            if place >= end:
                break
            done += 1
            self._write(packet, place)
        del pending[:done]

    def _place_of(self, packet: _Pending, least: float, left: int) -> int:
        """Where a packet belongs, in samples, by the least lateness of those from it on."""
        error = least - self._offset
        if packet.stream != self._placed_stream:
            self._placed_stream = packet.stream
            self._offset = least
        elif abs(error) > STEP * self._rate:
            if error < 0 or left >= EVIDENCE or error > STALL * self._rate:
                self._offset = least
        elif abs(error) > TOLERANCE * self._rate:
            self._offset += 1.0 if error > 0 else -1.0
        return round(packet.units * self._per_unit + self._offset)

    def _write(self, packet: _Pending, place: int) -> None:
        cursor = self._start + len(self._pcm) // 2
        if place + len(packet.payload) * self._per_unit <= cursor:
            return  # a duplicate, or far too late
        name = packet.codec.name
        if name not in self._decoders:
            decoder = packet.codec.decoder()
            self._decoders[name] = decoder, Resampler(decoder.rate, self._rate)
        decoder, resampler = self._decoders[name]
        pcm = resampler.resample(decoder.decode(packet.payload))
        gap = place - cursor
        if gap < 0:
            pcm = pcm[-2 * gap :]
        elif 0 < gap <= _FEW and self._pcm:
            self._pcm += self._pcm[-2:] * gap
        elif gap:
            self._pcm += bytes(2 * gap)
        self._pcm += pcm


def _least_after(pending: list[_Pending]) -> list[float]:
    """For each packet, the least lateness of it and those of its stream that follow."""
    least = [each.late for each in pending]
    if not pending or pending[0].stream == pending[-1].stream:
        return list(accumulate(reversed(least), min))[::-1]
    for index in range(len(pending) - 2, -1, -1):
        if pending[index].stream == pending[index + 1].stream and least[index + 1] < least[index]:
            least[index] = least[index + 1]
    return least


class Timeline:
    """:ivar left, right: the two directions."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.left = Track(rate)
        self.right = Track(rate)

    @property
    def dropped(self) -> int:
        return self.left.dropped + self.right.dropped

    def read(self, until: float) -> bytes:
        """Stereo PCM from the end of the last read to this time."""
        return stereo_from_mono(self.left.read(until), self.right.read(until))
