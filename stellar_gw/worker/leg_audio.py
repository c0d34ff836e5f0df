"""What a leg may be sent at its own pace, besides what an agent says: tones, files, another leg coded anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from stellar_gw.control.messages import Codec
from stellar_gw.dialects.contract import AudioFormat
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.codec import Encoder, codec_named
from stellar_gw.media.dejitter import Dejitter
from stellar_gw.media.jitter import Piece
from stellar_gw.media.resample import Resampler
from stellar_gw.media.source import Recording, Source, dtmf_tones
from stellar_gw.worker.caller_audio import CallerAudio

TONE_MS = 160
PAUSE_MS = 80
"""Of an audible digit; as long as a telephone event of ours."""
MAX_SOUND = 60
"""Seconds of audible digits that may wait."""


class LegAudio(Protocol):
    """Where the payloads of a leg's packets come from."""

    @property
    def sent_ms(self) -> int:
        """Milliseconds of an agent's audio that were put on the wire."""

    @property
    def sounding(self) -> bool:
        """Audible digits are under way."""

    def send_as(self, codec: Codec, encoder: Encoder | None = None) -> None:
        """Encode as this from now on; the same one again keeps its state.

        :param encoder: the codec's one that has encoded what the peer has heard so far; None: one of its own.
        :raise LocalProtocolError: we do not have the codec.
        """

    def sound(self, digits: str, duration_ms: int = TONE_MS) -> None:
        """Digits as their tones (ITU-T Q.23), for a peer without telephone events.

        :raise StellarError: if too much is waiting.
        """

    def give_up_tones(self) -> Recording | None:
        """What is left of audible digits that go before everything else; another audio sends it on."""

    def send_on(self, tones: Recording) -> None:
        """Send what another audio had left of its digits.

        :raise StellarError: if too much is waiting.
        """

    def payload(self, ms: int, *, sent: bool = True) -> bytes:
        """The next packet's payload.

        :param ms: its length, a multiple of 10.
        :param sent: whether it will be put on the wire; its time passes either way.
        """


def _at(rate: int, tones: Recording) -> Recording:
    """What is left of them at another rate."""
    if tones.rate == rate:
        return tones
    return Recording(Resampler(tones.rate, rate).resample(tones.rest), rate)


class _Coded:
    """PCM of some kind, encoded as the leg wants it; audible digits go before it."""

    sent_ms = 0

    def __init__(self) -> None:
        self._codec = ""
        self._encoder: Encoder | None = None
        self._rate = 8000
        self._tones: Recording | None = None

    @property
    def sounding(self) -> bool:
        return self._tones is not None

    def send_as(self, codec: Codec, encoder: Encoder | None = None) -> None:
        name = codec.name.upper()
        if name == self._codec:
            self._encoder = encoder or self._encoder
            return
        known = codec_named(name)
        if known is None:
            raise LocalProtocolError(f"no codec {name}")
        self._codec, self._encoder, self._rate = name, encoder or known.encoder(), known.rate
        if self._tones is not None:
            self._tones = _at(known.rate, self._tones)
        self._changed()

    def sound(self, digits: str, duration_ms: int = TONE_MS) -> None:
        if len(digits) * (duration_ms + PAUSE_MS) > 1000 * MAX_SOUND:
            raise LocalProtocolError(f"more than {MAX_SOUND} s of tones")
        before = b"" if self._tones is None else self._tones.rest
        pcm = before + dtmf_tones(digits, self._rate, duration_ms, PAUSE_MS)
        if len(pcm) > 2 * self._rate * MAX_SOUND:
            raise LocalProtocolError(f"more than {MAX_SOUND} s of tones are waiting")
        self._tones = Recording(pcm, self._rate)

    def give_up_tones(self) -> Recording | None:
        tones, self._tones = self._tones, None
        return tones

    def send_on(self, tones: Recording) -> None:
        self._tones = _at(self._rate, tones)

    def payload(self, ms: int, *, sent: bool = True) -> bytes:
        if self._encoder is None:
            raise LocalProtocolError("no codec is set")
        pcm = self._pcm(ms)
        if self._tones is not None:
            pcm = self._tones.take(self._rate * ms // 1000)
            if self._tones.ended:
                self._tones = None
        return self._encoder.silence(ms) if pcm is None else self._encoder.encode(pcm)

    def _changed(self) -> None:
        """There is another rate to be served."""

    def _pcm(self, ms: int) -> bytes | None:
        """The next ``ms`` at the codec's rate; None for silence."""
        raise NotImplementedError


class Silence(_Coded):
    """Nothing."""

    def _pcm(self, ms: int) -> bytes | None:
        return None


class Sound(_Coded):
    """A tone or a recording, over and over."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._resampler: Resampler | None = None
        self._ready = b""

    def _changed(self) -> None:
        self._resampler = None

    def _pcm(self, ms: int) -> bytes | None:
        source, resampler = self._source, self._resampler
        if source.ended:
            return None
        if resampler is None or resampler.rate_in != source.rate:
            resampler = self._resampler = Resampler(source.rate, self._rate)
            self._ready = b""
        octets = 2 * self._rate * ms // 1000
        while len(self._ready) < octets:  # rates such as 22050 Hz do not fill 10 ms evenly
            self._ready += resampler.resample(source.take(max(1, source.rate // 50)))
        pcm, self._ready = self._ready[:octets], self._ready[octets:]
        return pcm


class Recoded(_Coded):
    """Another leg's audio, decoded, put to our pace, and coded anew.

    :ivar active: the other leg's audio is coded anew at the moment, rather than passed on as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._codecs: tuple[Codec, ...] = ()
        self._heard: CallerAudio | None = None
        self._queue: Dejitter | None = None
        self.active = False

    @property
    def late(self) -> int:
        """Frames that had not come when their turn was."""
        return 0 if self._queue is None else self._queue.late

    def receive(self, codecs: Iterable[Codec]) -> None:
        """The other leg may send these from now on; a codec that stays keeps its state."""
        self._codecs = tuple(codecs)
        if self._heard is not None:
            self._heard.receive(self._codecs)

    def start(self) -> None:
        """The other leg's audio comes by :meth:`hear` from now on."""
        self.active = True
        self._changed()

    def stop(self) -> None:
        self.active = False
        self._heard = self._queue = None

    def hear(self, pieces: Sequence[Piece]) -> None:
        if self._heard is not None and self._queue is not None:
            for frame in self._heard.frames(pieces):
                self._queue.push(frame)

    def noise(self, payload: bytes) -> None:
        """Comfort noise of the other leg's came (RFC 3389)."""
        if self._heard is not None:
            self._heard.noise(payload)

    def _changed(self) -> None:
        if self.active:
            self._heard = CallerAudio(AudioFormat("pcm", self._rate), self._codecs)
            self._queue = Dejitter(self._rate)

    def _pcm(self, ms: int) -> bytes | None:
        return None if self._queue is None else self._queue.take(ms)
