"""Both directions of a call on one time line: packets as they came and went, to stereo PCM without holes.

A sender's clock is not ours, and the network delays each packet by its own time; a talkspurt may follow a pause
that the timestamps tell nothing of. So a packet's place is told by its timestamp, and the two are held together by
the packets that came soonest: of a stream's packets that are there, the one with the least delay says where its
timestamps lie on our clock. Small corrections are of one sample a packet, which nobody hears; anything beyond 20 ms
is set right at once. That needs packets from the future: whoever reads stays about a second behind. Packets that follow
each other to the sample, which nearly all do, are decoded together.

Times are seconds since the line's beginning, by our clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import accumulate

import msgspec
import numpy as np

from stellar_gw.media.codec import CLOCK, CODECS, Codec, Decoder, codec_named
from stellar_gw.media.resample import Resampler
from stellar_gw.media.rtp import RtpPacket

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


class _Pending(msgspec.Struct, frozen=True, gc=False):
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
        # Of the packet put last.
        self._ssrc: int | None = None
        self._timestamp = self._units = 0
        self._at = 0.0
        self._stream = 0
        self._placed_stream = -1
        self._sources: deque[int] = deque(maxlen=MAX_PENDING)  # streams that another SSRC than the one before began
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
        self.put_all(((packet, at),))

    def put_all(self, arrivals: Iterable[tuple[RtpPacket, float]]) -> None:
        """Packets, and when each came, or went.

        Done for every packet of every call that is recorded: what they share is kept at hand.
        """
        codecs, pending, per_unit, rate = self._codecs, self._pending, self._per_unit, self._rate
        ssrc, timestamp, units, before, stream = self._ssrc, self._timestamp, self._units, self._at, self._stream
        largest = pending[-1].units if pending else 0
        for packet, at in arrivals:
            codec, payload = codecs.get(packet.payload_type), packet.payload
            if codec is None or not payload:
                continue
            if len(pending) >= MAX_PENDING:
                self.dropped += 1
                continue
            new = packet.timestamp
            step = ((new - timestamp + 0x80000000) & 0xFFFFFFFF) - 0x80000000  # timestamp_delta, written out
            timestamp = new
            if packet.ssrc == ssrc and -NEW_STREAM <= step / CLOCK - (at - before) <= NEW_STREAM:
                units += step
                if units < largest:
                    self._disordered = True
            else:
                stream += 1
                if packet.ssrc != ssrc:
                    self._sources.append(stream)
                ssrc, units = packet.ssrc, timestamp
            largest, before = units, at
            pending.append(_Pending(stream, units, at * rate - units * per_unit, codec, payload))
        self._ssrc, self._timestamp, self._units, self._at, self._stream = ssrc, timestamp, units, before, stream

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
        tolerance, per_unit, placed = TOLERANCE * self._rate, self._per_unit, self._placed_stream
        following: list[bytes] = []
        codec: Codec | None = None
        cursor = -1  # where the next packet follows on, if it can be decoded with the last
        done, left = 0, len(pending)
        for packet, least in zip(pending, _least_after(pending), strict=True):
            if packet.stream != placed or not -tolerance <= least - self._offset <= tolerance:
                self._correct(packet, least, left)
                if packet.stream != placed and self._is_another(packet.stream):
                    if codec is not None and following:
                        self._follow(codec, following)
                        following = []
                    codec, cursor = None, -1
                    self._forget()
                placed = packet.stream
            place = round(packet.units * per_unit + self._offset)
            if place >= end:
                break
            done += 1
            left -= 1
            if place == cursor and packet.codec is codec:
                following.append(packet.payload)
                cursor += round(len(packet.payload) * per_unit)
                continue
            if codec is not None and following:
                self._follow(codec, following)
                following = []
            codec = packet.codec
            self._write(packet, place)
            cursor = self._start + len(self._pcm) // 2 if codec.rate == self._rate else -1
        if codec is not None and following:
            self._follow(codec, following)
        del pending[:done]

    def _is_another(self, stream: int) -> bool:
        """Whether another source than the one before began with it, or with one that was never placed."""
        sources, another = self._sources, False
        while sources and sources[0] <= stream:
            sources.popleft()
            another = True
        return another

    def _forget(self) -> None:
        """Another source's encoder has most likely begun anew, and so the decoder does."""
        self._decoders = {name: each for name, each in self._decoders.items() if not CODECS[name].remembers}

    def _correct(self, packet: _Pending, least: float, left: int) -> None:
        """Say anew where timestamps lie, by the least lateness of those from this packet on."""
        error = least - self._offset
        if packet.stream != self._placed_stream:
            self._placed_stream = packet.stream
            self._offset = least
        elif abs(error) > STEP * self._rate:
            if error < 0 or left >= EVIDENCE or error > STALL * self._rate:
                self._offset = least
        elif abs(error) > TOLERANCE * self._rate:
            self._offset += 1.0 if error > 0 else -1.0

    def _write(self, packet: _Pending, place: int) -> None:
        cursor = self._start + len(self._pcm) // 2
        if place + len(packet.payload) * self._per_unit <= cursor:
            return  # a duplicate, or far too late
        decoder, resampler = self._decoder(packet.codec)
        pcm = resampler.resample(decoder.decode(packet.payload))
        gap = place - cursor
        if gap < 0:
            pcm = pcm[-2 * gap :]
        elif 0 < gap <= _FEW and self._pcm:
            self._pcm += self._pcm[-2:] * gap
        elif gap:
            self._pcm += bytes(2 * gap)
        self._pcm += pcm

    def _follow(self, codec: Codec, payloads: list[bytes]) -> None:
        """These go on where the line ends, at its own rate."""
        self._pcm += self._decoder(codec)[0].decode(b"".join(payloads))

    def _decoder(self, codec: Codec) -> tuple[Decoder, Resampler]:
        found = self._decoders.get(codec.name)
        if found is None:
            decoder = codec.decoder()
            found = self._decoders[codec.name] = decoder, Resampler(decoder.rate, self._rate)
        return found


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
        return _stereo(self.left.read(until), self.right.read(until))


def _stereo(left: bytes, right: bytes) -> bytes:
    """Two signals of one length, sample by sample in turn: in a sixteenth of ``audioop``'s time."""
    both = np.empty((len(left) // 2, 2), np.int16)
    both[:, 0] = np.frombuffer(left, np.int16)
    both[:, 1] = np.frombuffer(right, np.int16)
    return both.tobytes()
