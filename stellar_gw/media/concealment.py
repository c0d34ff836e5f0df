"""What stands in for lost audio: its last pitch period over again, fading to silence within 60 ms.

The way of ITU-T G.711 Appendix I, on PCM of any rate and so behind any of our codecs, with two differences. Nothing
is held back, so the seam with what has been passed on already is smoothed after it and not before. And one period is
repeated throughout, for what is meant to hear this cuts out longer losses anyway.

At the first seam the repetition is moved up to where the audio stopped, and the difference dies away within a quarter
of a period. At the last one the repetition goes on for 4 ms into the audio that has come, the one fading out, the
other in. Nothing is ever longer than the gap.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from stellar_gw.media.codec import Decoder
from stellar_gw.media.comfort_noise import ComfortNoise

Samples = NDArray[np.float32]

FULL_MS = 10
"""For so long the repetition keeps its level, ..."""
SILENT_MS = 60
"""... and here it has faded away (G.711 Appendix I, I.2.7)."""
JOIN_MS = 4
"""Of audio after a gap that is mixed with the repetition."""
PAUSE_MS = 4
"""In which audio that simply stopped, because the peer sends nothing, fades away."""
_SHORTEST_MS, _LONGEST_MS = 5, 15
"""Pitch periods: 200 to 66 Hz."""
_COMPARED_MS = 20
KEPT = 5
"""Pieces of audio that are kept: 50 ms, where they are as short as can be."""


class Concealment:
    """One decoder's concealment: it sees all audio that came, and is asked for what did not.

    :ivar rate: PCM samples a second.
    """

    def __init__(self, decoder: Decoder, clock: int = 8000) -> None:
        """:param clock: RTP clock rate in Hz, in which gaps are measured."""
        self.rate = decoder.rate
        self._decoder = decoder
        self._clock = clock
        self._ms = decoder.rate // 1000
        self._kept: deque[bytes] = deque(maxlen=KEPT)
        self._noise = ComfortNoise()
        self._repetition: _Repetition | None = None

    def decode(self, payload: bytes) -> bytes:
        """PCM of a payload that came; after a loss its beginning is joined to what stood in."""
        pcm = self._decoder.decode(payload)
        if self._repetition is not None:
            pcm = self._join(self._repetition, pcm)
            self._repetition = None
        if pcm:
            self._kept.append(pcm)
        return pcm

    def conceal(self, samples: int) -> bytes:
        """PCM in place of ``samples`` of the RTP clock that were lost."""
        count = samples * self.rate // self._clock
        if self._repetition is None:
            if not self._kept:
                return self._noise.take(count)
            self._repetition = _Repetition(b"".join(self._kept), self._ms)
        pcm = _pcm(self._repetition.take(count))
        # The next loss may come soon: what stood in is then part of what was heard.
        self._kept.append(pcm)
        return pcm

    def pause(self, samples: int) -> bytes:
        """PCM for ``samples`` of the RTP clock in which the peer sent nothing, or comfort noise."""
        count = samples * self.rate // self._clock
        noise = self._noise.take(count)
        repetition = self._repetition
        if repetition is None and self._kept:
            repetition = _Repetition(b"".join(self._kept), self._ms)
        self._kept.clear()
        self._repetition = None
        fading = min(count, PAUSE_MS * self._ms)
        if repetition is None or not fading:
            return noise
        return _pcm(repetition.take(fading) * _ramp(fading)[::-1]) + noise[2 * fading :]

    def noise(self, payload: bytes) -> None:
        """Comfort noise came (RFC 3389): pauses sound like this from now on."""
        self._noise.received(payload)

    def _join(self, repetition: _Repetition, pcm: bytes) -> bytes:
        length = min(JOIN_MS * self._ms, len(pcm) // 2)
        rising = _ramp(length)
        came = np.frombuffer(pcm, "<i2", length)
        return _pcm(came * rising + repetition.take(length) * (1 - rising)) + pcm[2 * length :]


class _Repetition:
    """The last pitch period of what was heard, for ever, fading.

    :ivar _place: samples taken so far.
    """

    def __init__(self, heard: bytes, ms: int) -> None:
        """:param heard: PCM; where it is too short to find a period in, 5 ms of it are repeated."""
        past = np.frombuffer(heard, "<i2").astype(np.float32)[-(_LONGEST_MS + _COMPARED_MS) * ms :]
        period = min(_pitch_period(past, ms), len(past))
        quarter = min(period // 4, len(past) - period)
        cycle = past[-period:].copy()
        if quarter:
            # The end of the period leads on to its beginning, as what came before that did.
            rising = _ramp(quarter)
            cycle[-quarter:] = cycle[-quarter:] * (1 - rising) + past[-period - quarter : -period] * rising
        self._cycle = cycle
        self._step = float(past[-1] - (past[-period - 1] if quarter else cycle[0]))
        self._step_length = max(1, period // 4)
        self._full, self._silent = FULL_MS * ms, SILENT_MS * ms
        self._place = 0

    def take(self, count: int) -> Samples:
        places = np.arange(self._place, self._place + count)
        self._place = min(self._place + count, 1 << 40)
        faded = np.clip((self._silent - places) / (self._silent - self._full), 0, 1).astype(np.float32)
        step = self._step * np.clip(1 - (places + 1) / self._step_length, 0, 1).astype(np.float32)
        return np.asarray((self._cycle[places % len(self._cycle)] + step) * faded, np.float32)


def _pitch_period(past: Samples, ms: int) -> int:
    """The lag, of those from 5 to 15 ms, at which the last 20 ms are most like themselves; in samples."""
    shortest, longest, compared = _SHORTEST_MS * ms, _LONGEST_MS * ms, _COMPARED_MS * ms
    if len(past) < longest + compared:
        return shortest
    last = past[-compared:]
    before = np.lib.stride_tricks.sliding_window_view(past[:-shortest], compared)
    # Row 0 lies the longest lag back.
    likeness = before @ last
    energy = np.einsum("ij,ij->i", before, before) + np.float32(1)
    score = np.maximum(likeness, 0) * np.maximum(likeness, 0) / energy
    return longest - int(np.argmax(score))


def _ramp(length: int) -> Samples:
    """From 0 to 1, without either."""
    return (np.arange(1, length + 1, dtype=np.float32)) / np.float32(length + 1)


def _pcm(samples: Samples) -> bytes:
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()
