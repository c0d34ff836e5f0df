"""What audio holds, measured from the samples: level, tones, and whether it is what was sent.

PCM is signed 16-bit little-endian mono. The test phone and the tests judge calls by this, and nothing else
does: it is not fast enough for the audio path.
"""

from __future__ import annotations

import math

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Samples = NDArray[np.float64]

FLOOR_DBFS = -96.0
"""The level of digital silence: below the smallest step of 16 bits."""
_BLOCK_MS = 40
_TRAIL_MS = 300
_SECTIONS = 5
_MAX_DELAY_S = 2
_CERTAIN = 0.9
_MATCHES = 0.3
"""Correlation below which a best fit means nothing: noise against noise stays below 0.1."""


@frozen
class Tone:
    """The strongest steady frequency of a piece of audio.

    :ivar hertz: interpolated between the bins of the spectrum.
    :ivar share: of the audio's energy, 0 to 1; a clean sine through G.711 or G.722 has more than 0.95.
    """

    hertz: float
    share: float


@frozen
class Match:
    """Where a piece of what was sent came back.

    :ivar correlation: normalised, 0 to 1: 1 is the same wave form at any level.
    :ivar delay_ms: from sending to hearing; ``None`` where nothing matches, and where the piece repeats
        itself (a tone), so that many delays fit as well.
    """

    correlation: float
    delay_ms: float | None


def level_dbfs(pcm: bytes) -> float:
    """RMS level in decibels below full scale: a sine of full amplitude has -3.0, silence :data:`FLOOR_DBFS`."""
    samples = _samples(pcm)
    if not len(samples):
        return FLOOR_DBFS
    mean_square = float(np.mean(samples * samples))
    return max(FLOOR_DBFS, 10 * math.log10(mean_square)) if mean_square > 0 else FLOOR_DBFS


def dominant_tone(pcm: bytes, rate: int) -> Tone | None:
    """The strongest frequency from 50 Hz up; ``None`` for silence, or less than 40 ms of audio.

    :param rate: samples a second.
    """
    samples = _samples(pcm)
    if len(samples) < rate * _BLOCK_MS // 1000:
        return None
    power = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    bin_width = rate / len(samples)
    power[: int(50 / bin_width) + 1] = 0.0
    total = float(power.sum())
    if total <= 1e-9:
        return None
    peak = int(np.argmax(power))
    # A Hann window spreads a sine over its bin and the next on both sides; a wandering one over a few hertz.
    spread = max(2, round(4 / bin_width))
    share = float(power[max(0, peak - spread) : peak + spread + 1].sum()) / total
    return Tone((peak + _offset(power, peak)) * bin_width, share)


def tone_ms(pcm: bytes, rate: int, hertz: float, share: float = 0.8) -> int:
    """For how many milliseconds a tone was there: blocks of 40 ms in which it has most of the energy.

    Each block's power at ``hertz`` is what Goertzel's algorithm gives: one bin of its Fourier transform.

    :param share: of a block's energy that counts as the tone.
    """
    length = rate * _BLOCK_MS // 1000
    samples = _samples(pcm)
    blocks = samples[: len(samples) // length * length].reshape(-1, length)
    if not len(blocks):
        return 0
    wave = np.exp(-2j * math.pi * hertz / rate * np.arange(length))
    at_tone = 2 * np.abs(blocks @ wave) ** 2 / length
    energy = (blocks * blocks).sum(axis=1)
    audible = energy > length * 10 ** (-60 / 10)
    return int((audible & (at_tone >= share * energy)).sum()) * _BLOCK_MS


def find(sent: bytes, heard: bytes, rate: int, window_ms: int = 1000) -> Match:
    """Look for pieces of ``sent`` in ``heard``; both begin at the same moment.

    The loudest window of each fifth of ``sent`` is looked for, until one is found: a moment's disturbance
    in one of them says nothing of the call.

    :param window_ms: length of a window; all of ``sent`` where it is shorter.
    :return: the best match; correlation 0 where either is silent or ``heard`` is too short.
    """
    source, target = _samples(sent), _samples(heard)
    length = min(len(source), rate * window_ms // 1000)
    # What was sent at the very end may not have come back before the call ended.
    latest = len(target) - length - rate * _TRAIL_MS // 1000
    best = Match(0.0, None)
    if not length or latest < 0:
        return best
    energy = _window_energy(source, length)[: latest + 1]
    for section in np.array_split(np.arange(len(energy)), min(_SECTIONS, len(energy))):
        start = int(section[np.argmax(energy[section])])
        match = _find_piece(source[start : start + length], target[start : start + length + rate * _MAX_DELAY_S], rate)
        if match.correlation > best.correlation:
            best = match
        if best.correlation >= _CERTAIN:
            break
    return best


def _find_piece(piece: Samples, later: Samples, rate: int) -> Match:
    """One piece in what was heard from the moment it was sent."""
    length = len(piece)
    energy = float(np.dot(piece, piece))
    floor = length * 10 ** (FLOOR_DBFS / 10)
    if energy <= floor:
        return Match(0.0, None)
    scale = np.sqrt(energy * np.maximum(_window_energy(later, length), floor))
    score = _correlate(later, piece) / scale
    best = int(np.argmax(score))
    correlation = min(1.0, max(0.0, float(score[best])))
    certain = correlation >= _MATCHES and not _repeats(score, best, rate)
    return Match(correlation, best * 1000 / rate if certain else None)


def _samples(pcm: bytes) -> Samples:
    """-1 to 1; an odd last octet is dropped."""
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float64) / 32768


def _offset(power: Samples, peak: int) -> float:
    """Parabolic interpolation of a spectrum's peak on a logarithmic scale, in bins."""
    if not 0 < peak < len(power) - 1:
        return 0.0
    left, middle, right = (math.log(float(power[at]) + 1e-30) for at in (peak - 1, peak, peak + 1))
    bend = left - 2 * middle + right
    return 0.0 if bend == 0 else max(-0.5, min(0.5, 0.5 * (left - right) / bend))


def _window_energy(samples: Samples, length: int) -> Samples:
    """The energy of each window of ``length`` samples, by its first sample."""
    total = np.concatenate(([0.0], np.cumsum(samples * samples)))
    return total[length:] - total[:-length]


def _correlate(target: Samples, piece: Samples) -> Samples:
    """``sum(piece * target[lag:])`` for each lag at which the piece lies wholly within the target."""
    size = 1 << (len(target) + len(piece) - 1).bit_length()
    spectrum = np.fft.rfft(target, size) * np.conj(np.fft.rfft(piece, size))
    return np.fft.irfft(spectrum, size)[: len(target) - len(piece) + 1]


def _repeats(score: Samples, best: int, rate: int) -> bool:
    """Whether a lag more than 2 ms away fits nearly as well."""
    margin = rate * 2 // 1000
    others = np.concatenate((score[: max(0, best - margin)], score[best + margin + 1 :]))
    return bool(len(others)) and float(others.max()) > 0.9 * float(score[best])
