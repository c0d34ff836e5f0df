"""The caller's audio on its way to the agent: pieces of RTP to 20 ms frames of the dialect's own format."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from stellar_gw.control.messages import Codec
from stellar_gw.dialects.contract import AudioFormat
from stellar_gw.media.codec import CLOCK, G711, Decoder, codec_named
from stellar_gw.media.codec import Codec as AudioCodec
from stellar_gw.media.concealment import KEPT, Concealment
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.inband import InbandDetector
from stellar_gw.media.jitter import Framer, Gap, Piece
from stellar_gw.media.resample import Resampler

FRAME_MS = 20

Listener = Callable[[bytes, int], None]
"""Is handed all audio as 16-bit PCM before it is converted, what stands in for lost audio too, with its rate."""


def _nobody(pcm: bytes, rate: int) -> None:
    pass


class _Path:
    """From one payload type's payload to the dialect's format; stateful, as codec and filter are."""

    def __init__(self, decoder: Decoder, audio_format: AudioFormat, listen: Listener) -> None:
        self._audio = Concealment(decoder, CLOCK)
        self._resampler = Resampler(decoder.rate, audio_format.rate)
        g711 = G711.get(audio_format.encoding)
        self._compress = None if g711 is None else g711.encoder().encode
        self._listen = listen

    def payload(self, payload: bytes) -> bytes:
        return self._finish(self._audio.decode(payload))

    def gap(self, gap: Gap) -> bytes:
        return self._finish(self._audio.conceal(gap.samples) if gap.lost else self._audio.pause(gap.samples))

    def noise(self, payload: bytes) -> None:
        self._audio.noise(payload)

    def _finish(self, pcm: bytes) -> bytes:
        self._listen(pcm, self._audio.rate)
        pcm = self._resampler.resample(pcm)
        return pcm if self._compress is None else self._compress(pcm)


class _Untouched:
    """G.711 to a dialect that speaks the same: not a bit is changed but where something was lost."""

    def __init__(self, codec: AudioCodec, listen: Listener) -> None:
        self._decode, self._encode = codec.decoder().decode, codec.encoder().encode
        self._audio = Concealment(codec.decoder(), CLOCK)
        self._kept: deque[bytes] = deque(maxlen=KEPT)
        self._interrupted = False
        self._listen = listen

    def payload(self, payload: bytes) -> bytes:
        self._kept.append(payload)
        if self._interrupted:
            self._interrupted = False
            return self._finish(self._audio.decode(payload))
        if self._listen is not _nobody:
            self._listen(self._decode(payload), CLOCK)
        return payload

    def gap(self, gap: Gap) -> bytes:
        if not self._interrupted:
            for payload in self._kept:
                self._audio.decode(payload)
        self._interrupted = True
        self._kept.clear()
        return self._finish(self._audio.conceal(gap.samples) if gap.lost else self._audio.pause(gap.samples))

    def noise(self, payload: bytes) -> None:
        self._audio.noise(payload)

    def _finish(self, pcm: bytes) -> bytes:
        self._listen(pcm, CLOCK)
        return self._encode(pcm)


class TonesHeard:
    """Looks for digits in audio whose rate may change with its codec.

    :param told: called with each digit that is over.
    """

    def __init__(self, told: Callable[[Digit], None]) -> None:
        self._told = told
        self._detector: InbandDetector | None = None

    def __call__(self, pcm: bytes, rate: int) -> None:
        if self._detector is None or self._detector.rate != rate:
            self._detector = InbandDetector(rate)
        for digit in self._detector.heard(pcm):
            self._told(digit)


class CallerAudio:
    """One leg's audio in frames of 20 ms, whatever the packets' length, and whichever codec they use.

    :param codecs: those the peer may send; others, and those that we do not have, are passed over.
    """

    def __init__(self, audio_format: AudioFormat, codecs: Iterable[Codec] = (), listen: Listener | None = None) -> None:
        self._listen = listen or _nobody
        self._format = audio_format
        self._framer = Framer(audio_format.width * audio_format.rate * FRAME_MS // 1000)
        self._paths: dict[int, _Path | _Untouched] = {}
        self._names: dict[int, str] = {}
        self._ssrc: int | None = None
        self._current: _Path | _Untouched | None = None
        self.receive(codecs)

    def receive(self, codecs: Iterable[Codec]) -> None:
        """The peer may send these from now on; a codec that stays keeps its state, by another number too."""
        names = {codec.payload_type: codec.name.upper() for codec in codecs}
        known = {self._names[kind]: path for kind, path in self._paths.items() if self._names[kind] != names.get(kind)}
        self._paths = {kind: path for kind, path in self._paths.items() if self._names[kind] == names.get(kind)}
        for kind, name in names.items():
            codec = codec_named(name)
            if kind in self._paths or codec is None:
                continue
            if name in known:
                self._paths[kind] = known.pop(name)
            else:
                untouched = codec is G711.get(self._format.encoding) and self._format.rate == CLOCK
                self._paths[kind] = (
                    _Untouched(codec, self._listen) if untouched else _Path(codec.decoder(), self._format, self._listen)
                )
        self._names = names
        self._choose()

    def _choose(self) -> None:
        """The path of what is missing is that of the packet before, or the first."""
        if self._current not in self._paths.values():
            self._current = next(iter(self._paths.values()), None)

    def _begin(self, ssrc: int) -> None:
        """A source's first packet: its encoder is another, and has most likely begun anew, so the decoder does, too."""
        another, self._ssrc = self._ssrc is not None, ssrc
        if not another:
            return
        for kind, name in self._names.items():
            codec = codec_named(name)
            if codec is not None and codec.remembers:
                self._paths[kind] = _Path(codec.decoder(), self._format, self._listen)
        self._choose()

    def noise(self, payload: bytes) -> None:
        """Comfort noise came (RFC 3389): pauses sound like this from now on."""
        for path in self._paths.values():
            path.noise(payload)

    def straight(self, payload_type: int) -> Callable[[bytes], Iterable[bytes]] | None:
        """What :meth:`frames` does with one packet of this type after another, given its payload, until
        :meth:`receive`; None for a type that is passed over."""
        path = self._paths.get(payload_type)
        if path is None:
            return None
        framer, octets, convert = self._framer, self._framer.octets, path.payload

        def frames(payload: bytes) -> Iterable[bytes]:
            audio = convert(payload)
            return (audio,) if len(audio) == octets and not framer.rest else framer.push(audio)

        return frames

    def frames(self, pieces: Sequence[Piece]) -> Iterable[bytes]:
        """The frames that are whole now."""
        if len(pieces) == 1 and not isinstance(pieces[0], Gap):
            packet = pieces[0]
            if packet.ssrc != self._ssrc:
                self._begin(packet.ssrc)
            path = self._paths.get(packet.payload_type)
            if path is None:
                return ()
            self._current = path
            return self._framer.push(path.payload(packet.payload))
        frames: list[bytes] = []
        for piece in pieces:
            if isinstance(piece, Gap):
                if self._current is not None:
                    frames.extend(self._framer.push(self._current.gap(piece)))
                continue
            if piece.ssrc != self._ssrc:
                self._begin(piece.ssrc)
            path = self._paths.get(piece.payload_type)
            if path is not None:
                self._current = path
                frames.extend(self._framer.push(path.payload(piece.payload)))
        return frames
