"""Digits as tones in the audio (ITU-T Q.23), found within the limits of ITU-T Q.24.

Every 5 ms the last 20 ms are looked at, under a Hamming window, at the eight frequencies (what Goertzel's algorithm
computes, here as one matrix product for all windows of a piece). A window *hints* at a digit where one frequency of
each group holds, together with the other, more than half of all energy, near enough to where it should be; it *shows*
the digit where they hold nearly all of it, loud enough and of like level. A digit is told when it is over, if four
windows in a row have shown it: no tone below 25 ms does that, and every one of 35 ms does. Its length is that of the
hints.

How far a frequency is off is read from the turn of its phase from one window to the next, which no window of 20 ms
could resolve. It also tells how much of the tone its filter has missed.
"""

from __future__ import annotations

from cmath import phase
from functools import lru_cache
from math import exp, log10, pi

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from stellar_gw.media.dtmf import Digit

ROWS = (697.0, 770.0, 852.0, 941.0)
COLUMNS = (1209.0, 1336.0, 1477.0, 1633.0)
KEYPAD = "123A456B789C*0#D"

WINDOW_MS = 20
HOP_MS = 5
DEVIATION = 0.0275
"""Of a frequency, relative: 1.5 % and 2 Hz must be accepted, 3.5 % must not."""
FORWARD_TWIST = 6.0
REVERSE_TWIST = 10.0
"""dB by which the column's tone may be louder, and weaker, than the row's; 4 and 8 must be accepted."""
FAINTEST = -30.0
"""dBm0, of each tone; -25 must be accepted."""
HINTS = 0.5
SHOWS = 0.9
"""Shares of the energy in the window; with noise 15 dB below the tones they hold 0.97."""
SHOWN = 4
"""Windows in a row: a tone of L ms makes L / 5 - 2 of them, or one less."""
BRIDGED = 4
"""Windows without a hint that do not end a digit: interruptions up to 10 ms make 2, pauses of 40 ms make 7."""

_0_DBM0 = 22302.0
"""The amplitude of a sine of 0 dBm0 in 16 bits: G.711's full scale, 32124 for mu-law, is +3.17 dBm0."""
_LOSS = 1.64
"""The filter's loss off its middle is exp(-1.64 x**2) in power, x in bins (1 / 20 ms) up to 0.8."""

_NEXT_TO_NOTHING = 1e-9

Samples = NDArray[np.float32]


@frozen(eq=False)
class _Filters:
    """What all detectors of one rate share.

    :ivar kernel: shape (window, 16): cosines of the eight frequencies, then sines.
    :ivar squares: the window function squared.
    :ivar gain: |X|**2 of a filter times this is the tone's energy in the window; :ivar amplitude: |X| times this.
    :ivar turn: what each frequency's phase turns from one window to the next, radians.
    """

    window: int
    hop: int
    kernel: Samples
    squares: Samples
    gain: float
    amplitude: float
    turn: tuple[float, ...]


@lru_cache(maxsize=8)
def _filters(rate: int) -> _Filters:
    window, hop = rate * WINDOW_MS // 1000, rate * HOP_MS // 1000
    shape = np.hamming(window)
    frequencies = np.array((*ROWS, *COLUMNS))
    phases = 2 * np.pi * np.arange(window)[:, None] * frequencies / rate
    kernel = np.concatenate((np.cos(phases), -np.sin(phases)), axis=1) * shape[:, None]
    return _Filters(
        window,
        hop,
        kernel.astype(np.float32),
        (shape * shape).astype(np.float32),
        float(2 * (shape * shape).sum() / shape.sum() ** 2),
        float(2 / shape.sum()),
        tuple(2 * pi * frequency * hop / rate for frequency in (*ROWS, *COLUMNS)),
    )


class InbandDetector:
    """One stream's digits.

    :ivar rate: samples a second.
    """

    def __init__(self, rate: int = 8000) -> None:
        self.rate = rate
        self._filters = _filters(rate)
        self._rest: Samples = np.zeros(self._filters.window - self._filters.hop, np.float32)
        self._before: NDArray[np.complex64] = np.zeros(8, np.complex64)
        self._digit = ""
        self._windows = 0
        self._streak = 0
        self._shown = 0
        self._missed = 0

    def heard(self, pcm: bytes) -> list[Digit]:
        """The next piece of the stream, 16-bit PCM of any length; the digits that are over now."""
        filters = self._filters
        audio = np.concatenate((self._rest, np.frombuffer(pcm, "<i2", len(pcm) // 2)), dtype=np.float32)
        count = (len(audio) - filters.window) // filters.hop + 1
        if count < 1:
            self._rest = audio
            return []
        self._rest = audio[count * filters.hop :]
        digits: list[Digit] = []
        for digit, shown in self._look(audio, count):
            self._step(digit, shown, digits)
        return digits

    def _look(self, audio: Samples, count: int) -> list[tuple[str, bool]]:
        """What each window hints at, empty for nothing, and whether it shows it."""
        filters = self._filters
        nothing = [("", False)] * count
        if float(np.abs(audio).max()) < _0_DBM0 * 10 ** (FAINTEST / 20):
            self._before = np.zeros(8, np.complex64)
            return nothing
        windows = np.lib.stride_tricks.sliding_window_view(audio, filters.window)[:: filters.hop][:count]
        # BLAS takes no overlapping rows, so they are copied out first.
        windows = np.ascontiguousarray(windows)
        parts = windows @ filters.kernel
        spectrum = parts[:, :8] + 1j * parts[:, 8:]
        before = np.concatenate((self._before[None], spectrum[:-1]))
        self._before = spectrum[-1]
        squares = parts * parts
        power = squares[:, :8] + squares[:, 8:]
        total = (windows * windows) @ filters.squares + 1.0
        strongest = power[:, :4].max(axis=1) + power[:, 4:].max(axis=1)
        # Half of a tone's power is left at the edge of what counts as its frequency.
        if float((strongest / total).max()) * filters.gain < HINTS / 2:
            return nothing
        return [self._judge(spectrum[at], before[at], power[at], float(total[at])) for at in range(count)]

    def _judge(
        self, spectrum: NDArray[np.complex64], before: NDArray[np.complex64], power: Samples, total: float
    ) -> tuple[str, bool]:
        row, column = int(power[:4].argmax()), 4 + int(power[4:].argmax())
        energies = []
        for place, frequency in ((row, ROWS[row]), (column, COLUMNS[column - 4])):
            turned = phase(complex(spectrum[place] * before[place].conjugate())) - self._filters.turn[place]
            off = ((turned + pi) % (2 * pi) - pi) / (2 * pi * HOP_MS / 1000)
            if abs(off) > DEVIATION * frequency:
                return "", False
            energies.append(float(power[place]) * exp(_LOSS * (off * WINDOW_MS / 1000) ** 2) + _NEXT_TO_NOTHING)
        share = sum(energies) * self._filters.gain / total
        if share < HINTS:
            return "", False
        twist = 10 * log10(energies[1] / energies[0])
        level = 10 * log10(min(energies)) + 20 * log10(self._filters.amplitude / _0_DBM0)
        shows = share >= SHOWS and level >= FAINTEST and -REVERSE_TWIST <= twist <= FORWARD_TWIST
        return KEYPAD[4 * row + column - 4], shows

    def _step(self, digit: str, shown: bool, digits: list[Digit]) -> None:
        if digit != self._digit and (digit or self._missed >= BRIDGED):
            self._end(digits)
            self._digit = digit
        if not self._digit:
            return
        self._windows += 1
        if not digit:
            self._missed += 1
            self._streak = 0
            return
        self._missed = 0
        self._streak = self._streak + 1 if shown else 0
        self._shown = max(self._shown, self._streak)

    def _end(self, digits: list[Digit]) -> None:
        if self._shown >= SHOWN:
            digits.append(Digit(self._digit, (self._windows - self._missed) * HOP_MS, 0))
        self._digit = ""
        self._windows = self._streak = self._shown = self._missed = 0
