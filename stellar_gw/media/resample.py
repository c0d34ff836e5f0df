"""Sampling rate conversion: a polyphase FIR, stateful, with a delay of 2.25 ms or less.

The prototype is a sinc under a Kaiser window. Its transition band lies around half the lower rate, 0.425 to
0.575 of it at 8 kHz: what telephony carries (up to 3.4 kHz of 4) passes, its images and aliases are 80 dB down.

The filter runs as one matrix product for each call. A row of the left matrix holds the input that one block
of output depends on, the right matrix the taps of all its phases; for 20 ms between 8 and 16 kHz that is
(8, 56) times (56, 40). So input is taken in blocks of about 2.5 ms, and what does not fill one waits.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd

import numpy as np
from attrs import frozen
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Samples = NDArray[np.float32]

ATTENUATION = 80.0
"""dB, of images and aliases."""
_BLOCK_SECONDS = 0.0025
_MAX_FACTOR = 1024


@frozen(eq=False)
class _Filter:
    """What all resamplers between two rates share.

    :ivar taps: input samples that an output sample depends on.
    :ivar block_in, block_out: samples of a block.
    :ivar matrix: shape (block_in + taps - 1, block_out).
    :ivar delay: seconds.
    """

    taps: int
    block_in: int
    block_out: int
    matrix: Samples
    delay: float


def _half_length(low_rate: int) -> int:
    """Samples at the lower rate on each side of the filter's middle: 2.25 ms at 8 kHz, 2 ms at 16 kHz."""
    return 18 if low_rate <= 8000 else 32


@lru_cache(maxsize=64)
def _design(rate_in: int, rate_out: int) -> _Filter:
    """The matrix whose product with a block's input is its output."""
    if rate_in == rate_out:
        return _Filter(1, 1, 1, np.ones((1, 1), np.float32), 0.0)
    common = gcd(rate_in, rate_out)
    up, down = rate_out // common, rate_in // common
    if up > _MAX_FACTOR or down > _MAX_FACTOR:
        raise ValueError(f"cannot convert {rate_in} Hz to {rate_out} Hz: their ratio is too uneven")
    low = min(rate_in, rate_out)
    half = _half_length(low) * up * rate_in // low
    place = np.arange(-half, half + 1)
    # Kaiser's formula for the window that reaches the attenuation.
    window = np.kaiser(2 * half + 1, 0.1102 * (ATTENUATION - 8.7))
    cutoff = low / (rate_in * up)
    prototype = np.sinc(place * cutoff) * window
    taps = -(-(2 * half + 1) // up)
    phases = np.zeros((taps * up,))
    phases[: 2 * half + 1] = prototype
    # Row p holds the taps of phase p, the newest input's first; each passes a constant unchanged.
    bank = phases.reshape(taps, up).T
    bank = bank / bank.sum(axis=1, keepdims=True)
    repeat = max(1, round(_BLOCK_SECONDS * rate_in / down))
    block_in, block_out = repeat * down, repeat * up
    matrix = np.zeros((block_in + taps - 1, block_out), np.float32)
    for output in range(block_out):
        newest = output * down // up + taps - 1
        phase = output * down % up
        matrix[newest - taps + 1 : newest + 1, output] = bank[phase][::-1]
    return _Filter(taps, block_in, block_out, matrix, half / (rate_in * up))


class Resampler:
    """One stream's conversion of 16-bit PCM between two rates, e.g. of 8, 16, 24 and 48 kHz."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        """:raise ValueError: a rate is not positive, or the two have no ratio of numbers up to 1024."""
        if rate_in < 1 or rate_out < 1:
            raise ValueError(f"cannot convert {rate_in} Hz to {rate_out} Hz: rates are positive")
        self.rate_in = rate_in
        self.rate_out = rate_out
        self._filter = _design(rate_in, rate_out)
        self._rest = b""
        self._plan: _Plan | None = None

    @property
    def delay(self) -> float:
        """Seconds by which the output lags the input, blocks not counted."""
        return self._filter.delay

    def resample(self, pcm: bytes) -> bytes:
        """The next piece of the stream; 20 ms become 20 ms.

        :param pcm: any whole number of samples; where it does not fill blocks, the rest is kept for the next piece.
        :return: the output of all whole blocks, clipped to 16 bits.
        """
        if self.rate_in == self.rate_out:
            return pcm
        if self._rest:
            pcm = self._rest + pcm
            self._rest = b""
        octets = 2 * self._filter.block_in
        over = len(pcm) % octets
        if over:
            self._rest = pcm[-over:]
            pcm = pcm[:-over]
        second = 2 * self.rate_in - 2 * self.rate_in % octets + octets
        if len(pcm) <= second:
            return self._run(pcm) if pcm else b""
        return b"".join(self._run(pcm[start : start + second]) for start in range(0, len(pcm), second))

    def _run(self, pcm: bytes) -> bytes:
        plan = self._plan
        if plan is None or plan.octets != len(pcm):
            history = None if plan is None else plan.history()
            plan = self._plan = _Plan(self._filter, len(pcm), history)
        return plan.run(pcm)

    def flush(self) -> bytes:
        """The end of the stream: what is still in the filter, filled up with silence; then start anew."""
        if self.rate_in == self.rate_out:
            return b""
        tail = self._filter.taps + self._filter.block_in
        rest = self.resample(bytes(2 * (tail - tail % self._filter.block_in + self._filter.block_in)))
        self._plan = None
        self._rest = b""
        return rest


class _Plan:
    """The arrays for pieces of one length; the last ``taps`` - 1 input samples stay in front of the next."""

    def __init__(self, design: _Filter, octets: int, history: Samples | None) -> None:
        self.octets = octets
        self._matrix = design.matrix
        self._before = design.taps - 1
        count = octets // 2
        rows = count // design.block_in
        self._input: Samples = np.zeros(self._before + count, np.float32)
        if history is not None:
            self._input[-self._before :] = history
        step = self._input.strides[0]
        width = design.matrix.shape[0]
        self._windows = as_strided(self._input, (rows, width), (design.block_in * step, step))
        self._rows: Samples = np.empty((rows, width), np.float32)
        self._output: Samples = np.empty((rows, design.block_out), np.float32)

    def history(self) -> Samples:
        return self._input[-self._before :]

    def run(self, pcm: bytes) -> bytes:
        held, before = self._input, self._before
        held[:before] = held[-before:]
        held[before:] = np.frombuffer(pcm, "<i2")
        output = self._output
        # BLAS takes no overlapping rows, so they are copied out first.
        np.copyto(self._rows, self._windows)
        np.dot(self._rows, self._matrix, out=output)
        np.rint(output, out=output)
        np.minimum(output, 32767, out=output)
        np.maximum(output, -32768, out=output)
        return output.astype("<i2").tobytes()
