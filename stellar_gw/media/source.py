"""Audio on demand: silence, tones, audible DTMF, recordings. All of it 16-bit PCM, mono."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from math import pi, sin
from typing import Protocol

from stellar_gw.media.comfort_noise import ComfortNoise

_ROWS = (697, 770, 852, 941)
_COLUMNS = (1209, 1336, 1477, 1633)
_KEYPAD = "123A456B789C*0#D"
RAMP_MS = 2
"""Tones of limited length begin and end with a ramp, so that they do not click."""


class Source(Protocol):
    """One stream of audio."""

    @property
    def rate(self) -> int:
        """Samples a second."""

    @property
    def ended(self) -> bool:
        """There is nothing left but silence."""

    def take(self, samples: int) -> bytes:
        """The next ``samples`` samples; silence after the end."""


def dtmf_frequencies(digit: str) -> tuple[int, int]:
    """The low and the high frequency of a key in Hz (ITU-T Q.23).

    :raise ValueError: it is not one of ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``.
    """
    if len(digit) != 1:
        raise ValueError("a key is one character")
    row, column = divmod(_KEYPAD.index(digit.upper()), 4)
    return _ROWS[row], _COLUMNS[column]


@lru_cache(maxsize=64)
def _second(frequencies: tuple[int, ...], rate: int, level: float) -> bytes:
    """One second of tones; whole Hz, so the next second is the same."""
    amplitude = 32767 * 10 ** (level / 20)
    steps = [2 * pi * frequency / rate for frequency in frequencies]
    values = (sum(sin(step * place) for step in steps) * amplitude for place in range(rate))
    return array("h", [max(-32768, min(32767, round(value))) for value in values]).tobytes()


def tone(frequencies: Sequence[int], rate: int, ms: int, level: float = -13.0) -> bytes:
    """PCM of tones sounding together, with ramps at both ends.

    :param frequencies: whole Hz.
    :param level: of each, in dB relative to a sine of full scale.
    """
    second = _second(tuple(frequencies), rate, level)
    octets = 2 * (rate * ms // 1000)
    samples = array("h", (second * (octets // len(second) + 1))[:octets])
    ramp = min(rate * RAMP_MS // 1000, len(samples) // 2)
    for place in range(ramp):
        samples[place] = samples[place] * place // ramp
        samples[-1 - place] = samples[-1 - place] * place // ramp
    return samples.tobytes()


def dtmf_tones(digits: str, rate: int, tone_ms: int = 120, pause_ms: int = 80, level: float = -13.0) -> bytes:
    """PCM of keys pressed one after the other (ITU-T Q.23), a pause after each.

    :raise ValueError: a character that is no key.
    """
    pause = bytes(2 * (rate * pause_ms // 1000))
    return b"".join(tone(dtmf_frequencies(digit), rate, tone_ms, level) + pause for digit in digits)


class Silence:
    """Nothing, for ever."""

    ended = True

    def __init__(self, rate: int) -> None:
        self.rate = rate

    def take(self, samples: int) -> bytes:
        return bytes(2 * samples)


class Noise:
    """Comfort noise, for ever."""

    ended = False

    def __init__(self, rate: int, level: int) -> None:
        """:param level: -dBov."""
        self.rate = rate
        self._noise = ComfortNoise()
        self._noise.received(bytes((level,)))

    def take(self, samples: int) -> bytes:
        return self._noise.take(samples)


class Recording:
    """PCM that is there already, once or for ever."""

    def __init__(self, pcm: bytes, rate: int, repeat: bool = False) -> None:
        self.rate = rate
        self._pcm = pcm[: len(pcm) - len(pcm) % 2]
        self._repeat = repeat and bool(self._pcm)
        self._place = 0

    @property
    def ended(self) -> bool:
        return not self._repeat and self._place >= len(self._pcm)

    @property
    def rest(self) -> bytes:
        """What this round has left."""
        return self._pcm[self._place :]

    def take(self, samples: int) -> bytes:
        octets = 2 * samples
        piece = self._pcm[self._place : self._place + octets]
        self._place += len(piece)
        while self._repeat and len(piece) < octets:
            more = self._pcm[: octets - len(piece)]
            self._place = len(more)
            piece += more
        return piece + bytes(octets - len(piece))


class Tone(Recording):
    """Tones sounding together for ever, without a seam: whole Hz repeat every second."""

    def __init__(self, frequencies: Sequence[int], rate: int, level: float = -13.0) -> None:
        """:param level: of each, in dB relative to a sine of full scale."""
        super().__init__(_second(tuple(frequencies), rate, level), rate, repeat=True)
