"""The agent's audio on its way to the caller: a queue in the dialect's format, payloads of the caller's codec out."""

from __future__ import annotations

from stellar_gw.control.messages import Codec
from stellar_gw.dialects.contract import AudioFormat
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.codec import CLOCK, G711, Encoder, codec_named
from stellar_gw.media.pcm import PEAKS
from stellar_gw.media.playout import Playout
from stellar_gw.media.resample import Resampler
from stellar_gw.media.source import Recording, dtmf_tones
from stellar_gw.worker.leg_audio import PAUSE_MS, TONE_MS

SILENT = 104
"""Peak of samples, 50 dB below full scale: what is no louder is not to be heard."""


class AgentAudio:
    """
    :ivar sounding: whether audible digits hold up everything else: never, they are queued with the agent's words.
    :ivar playout: what the agent has sent and nobody has heard yet.
    :ivar sent_ms: milliseconds of the agent's audio that were put on the wire.
    :ivar sounded_ms: of packets taken with something to be heard in them; whoever looks at it sets it back.
    """

    sounding = False

    __slots__ = (
        "_codec",
        "_encoder",
        "_format",
        "_g711",
        "_octets_per_second",
        "_peak",
        "_resampler",
        "_sent_octets",
        "_spoke",
        "_to_pcm",
        "playout",
        "sounded_ms",
    )

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._octets_per_second = audio_format.width * audio_format.rate
        self._g711 = G711.get(audio_format.encoding)
        self._to_pcm = None if self._g711 is None else self._g711.decoder().decode
        self._codec = ""
        self._encoder: Encoder | None = None
        self._resampler: Resampler | None = None
        self._spoke = False
        self._sent_octets = 0
        self._peak = PEAKS[audio_format.encoding]
        self.sounded_ms = 0
        self.playout = Playout(audio_format.encoding, audio_format.rate)

    @property
    def sent_ms(self) -> int:
        return self._sent_octets * 1000 // self._octets_per_second

    def send_as(self, codec: Codec, encoder: Encoder | None = None) -> None:
        """Encode as this from now on; the same one again keeps its state.

        :param encoder: the codec's one that has encoded what the peer has heard so far; None: one of its own.
        :raise LocalProtocolError: we do not have the codec.
        """
        name = codec.name.upper()
        if name == self._codec:
            if self._encoder is not None:
                self._encoder = encoder or self._encoder
            return
        known = codec_named(name)
        if known is None:
            raise LocalProtocolError(f"no codec {name}")
        self._codec = name
        untouched = known is self._g711 and self._format.rate == CLOCK
        self._encoder = None if untouched else encoder or known.encoder()
        self._resampler = None if untouched else Resampler(self._format.rate, known.rate)

    def sound(self, digits: str, duration_ms: int = TONE_MS) -> None:
        """Queue digits as their tones (ITU-T Q.23), for a peer without telephone events.

        :raise PlayoutFlood: if the queue is too full for them; none of them is queued.
        """
        self._queue(dtmf_tones(digits, self._format.rate, duration_ms, PAUSE_MS))

    def give_up_tones(self) -> None:
        """Nothing: digits are part of what the agent says, and are muted with it."""

    def send_on(self, tones: Recording) -> None:
        """Queue what another audio had left of its digits.

        :raise PlayoutFlood: if the queue is full.
        """
        self._queue(Resampler(tones.rate, self._format.rate).resample(tones.rest))

    def _queue(self, pcm: bytes) -> None:
        self.playout.push(pcm if self._g711 is None else self._g711.encoder().encode(pcm))

    def pass_time(self, ms: int) -> None:
        """Nobody hears the agent: what it says in this time is gone."""
        if not self.playout.empty:
            self.playout.take(self._octets_per_second * ms // 1000)

    def payload(self, ms: int, *, sent: bool = True) -> bytes:
        """The next packet's payload: the agent's audio, silence where there is none.

        :param ms: its length, a multiple of 10.
        :param sent: whether it will be put on the wire; its time passes either way.
        """
        queue = self.playout
        # The frame after the last one still carries what the filter held back.
        if self._encoder is not None and not self._spoke and queue.empty:
            return self._encoder.silence(ms)  # cheaper than taking, converting and coding zeros
        before = queue.taken
        frame = queue.take(self._octets_per_second * ms // 1000)
        said = queue.taken - before
        if said and sent:
            self._sent_octets += said
            if self._peak(frame) > SILENT:
                self.sounded_ms += ms
        if self._encoder is None or self._resampler is None:
            return frame
        self._spoke = said > 0
        pcm = frame if self._to_pcm is None else self._to_pcm(frame)
        return self._encoder.encode(self._resampler.resample(pcm))
