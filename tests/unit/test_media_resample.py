"""Sampling rate conversion, measured: ripple, images and aliases, delay, and pieces of any length."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.resample import Resampler

RATES = (8000, 16000, 24000, 48000)
PAIRS = [(a, b) for a in RATES for b in RATES if a != b]
AMPLITUDE = 16000.0


def tone(rate: int, hertz: float, seconds: float) -> NDArray[np.float64]:
    places = np.arange(round(rate * seconds))
    return np.asarray(AMPLITUDE * np.sin(2 * np.pi * hertz * places / rate), np.float64)


def resample(signal: NDArray[np.float64], rate_in: int, rate_out: int) -> NDArray[np.float64]:
    pcm = np.rint(signal).astype("<i2").tobytes()
    return np.frombuffer(Resampler(rate_in, rate_out).resample(pcm), "<i2").astype(np.float64)


def measure(rate_in: int, rate_out: int, hertz: float) -> tuple[float, float]:
    """Gain of a tone and the power of all else beside it, both in dB of the tone."""
    out = resample(tone(rate_in, hertz, 1.0), rate_in, rate_out)[rate_out // 10 :]
    places = np.arange(len(out)) / rate_out
    basis = np.stack([np.sin(2 * np.pi * hertz * places), np.cos(2 * np.pi * hertz * places)], axis=1)
    found = np.linalg.lstsq(basis, out, rcond=None)[0]
    rest = float(np.sqrt(np.mean((out - basis @ found) ** 2))) + 1e-9
    level = float(np.hypot(*found)) + 1e-9
    return 20 * np.log10(level / AMPLITUDE), 20 * np.log10(rest * np.sqrt(2) / AMPLITUDE)


class QualityTests(SynchronousTestCase):
    def test_passband(self) -> None:
        """Up to 0.425 of the lower rate (3.4 kHz of 8) tones keep their level within 0.05 dB, 75 dB above all else."""
        bad = {}
        for pair in PAIRS:
            low = min(pair)
            for hertz in (50, 300, 1000, low * 0.2, low * 0.3, low * 0.41, low * 0.425):
                gain, rest = measure(*pair, hertz)
                if abs(gain) > 0.05 or rest > -75:
                    bad[(*pair, hertz)] = gain, rest
        self.assertEqual(bad, {})

    def test_aliases(self) -> None:
        """Going down, tones above 0.575 of the lower rate are 75 dB down."""
        bad = {}
        for pair in PAIRS:
            if pair[0] > pair[1]:
                low = pair[1]
                for hertz in (low * 0.576, low * 0.8, low * 0.95):
                    if hertz < pair[0] / 2:
                        out = resample(tone(pair[0], hertz, 0.5), *pair)[pair[1] // 10 :]
                        level = 20 * np.log10(np.sqrt(2 * np.mean(out**2)) / AMPLITUDE + 1e-9)
                        if level > -75:
                            bad[(*pair, hertz)] = level
        self.assertEqual(bad, {})

    def test_delay(self) -> None:
        """A pulse comes out below 3 ms later, where the resampler says it does."""
        delays = {}
        for pair in PAIRS:
            signal = np.zeros(pair[0] // 10)
            signal[pair[0] // 50] = 20000
            peak = int(np.argmax(resample(signal, *pair))) / pair[1] - 0.02
            delays[pair] = (abs(peak - Resampler(*pair).delay) <= 1 / min(pair), peak < 0.003)
        self.assertEqual(delays, dict.fromkeys(PAIRS, (True, True)))

    def test_constant(self) -> None:
        """A constant stays what it is, without ripple between the phases."""
        found = {pair: set(resample(np.full(pair[0] // 10, 12345.0), *pair)[pair[1] // 50 :]) for pair in PAIRS}
        self.assertEqual(found, {pair: {12345.0} for pair in PAIRS})

    def test_clipping(self) -> None:
        """Overshoot at full scale is clipped, never wrapped."""
        square = np.where(np.arange(16000) // 40 % 2, 32767.0, -32768.0)
        out = resample(square, 8000, 16000)[round(16000 * Resampler(8000, 16000).delay) :]
        expected = np.repeat(square, 2)[: len(out)]
        inner = np.abs(np.arange(len(out)) % 80 - 40) < 30
        self.assertEqual((out.max(), out.min()), (32767.0, -32768.0))
        self.assertTrue(np.all(np.abs(out - expected)[inner] < 12000))


class StreamTests(SynchronousTestCase):
    def test_frames_keep_their_length(self) -> None:
        """20 ms become 20 ms, every time."""
        lengths = {}
        for pair in PAIRS:
            resampler = Resampler(*pair)
            lengths[pair] = {len(resampler.resample(bytes(pair[0] // 25))) * 25 // pair[1] for _ in range(3)}
        self.assertEqual(lengths, {pair: {1} for pair in PAIRS})

    def test_same_rate(self) -> None:
        """Between equal rates nothing is touched or delayed."""
        resampler = Resampler(16000, 16000)
        self.assertEqual((resampler.resample(b"\x01\x02"), resampler.flush(), resampler.delay), (b"\x01\x02", b"", 0.0))

    @settings(max_examples=50, derandomize=True, deadline=None)
    @given(st.sampled_from([*PAIRS, (44100, 8000), (11025, 16000)]), st.lists(st.integers(0, 3000), max_size=12))
    def test_pieces(self, pair: tuple[int, int], lengths: list[int]) -> None:
        """However a stream is cut, the output is the same; only what fills no block is still to come."""
        noise = np.random.default_rng(1).integers(-20000, 20000, sum(lengths)).astype("<i2").tobytes()
        resampler = Resampler(*pair)
        place, out = 0, b""
        for length in lengths:
            out += resampler.resample(noise[2 * place : 2 * (place + length)])
            place += length
        whole = Resampler(*pair).resample(noise)
        a, b = (np.frombuffer(pcm, "<i2").astype(int) for pcm in (out, whole))
        # Sums in another order may round differently.
        self.assertEqual((len(a), bool(np.all(np.abs(a - b) <= 1))), (len(b), True))

    def test_flush(self) -> None:
        """Flushing brings out the end of the stream, and what follows starts anew."""
        resampler = Resampler(16000, 8000)
        signal = tone(16000, 1000, 0.1).round().astype("<i2").tobytes()
        out = resampler.resample(signal[:-30]) + resampler.flush()
        late = round(resampler.delay * 8000)
        heard = np.frombuffer(out, "<i2")[late + 50 : late + 750]
        self.assertLess(np.abs(heard - tone(8000, 1000, 0.1)[50:750]).max(), 20)
        self.assertEqual(resampler.resample(signal), Resampler(16000, 8000).resample(signal))

    def test_rates_that_do_not_fit(self) -> None:
        """Rates of nothing, and with a ratio of large numbers, are refused by name."""
        self.assertEqual(
            [str(self.assertRaises(ValueError, Resampler, *pair)) for pair in ((0, 8000), (44101, 48000))],
            [
                "cannot convert 0 Hz to 8000 Hz: rates are positive",
                "cannot convert 44101 Hz to 48000 Hz: their ratio is too uneven",
            ],
        )
