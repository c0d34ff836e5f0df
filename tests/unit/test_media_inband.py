"""Digits as tones in the audio, by the limits of ITU-T Q.24, and what is not to be taken for one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.media.codec import G722, PCMA, PCMU
from stellar_gw.media.inband import COLUMNS, KEYPAD, ROWS, InbandDetector
from stellar_gw.media.source import dtmf_tones

Samples = NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[2]
_0_DBM0 = 22302.0


def tone(
    digit: str, ms: float, *, level: float = -10.0, twist: float = 0.0, off: tuple[float, float] = (0, 0), seed: int = 0
) -> Samples:
    """A key at 8 kHz.

    :param level: of the row's tone in dBm0; :param twist: dB by which the column's is louder.
    :param off: relative error of row and column.
    """
    row, column = divmod(KEYPAD.index(digit), 4)
    at = np.arange(round(8 * ms)) / 8000
    low, high = np.random.default_rng(seed).uniform(0, 2 * np.pi, 2)
    first = np.sin(2 * np.pi * ROWS[row] * (1 + off[0]) * at + low)
    second = np.sin(2 * np.pi * COLUMNS[column] * (1 + off[1]) * at + high)
    return np.asarray(_0_DBM0 * 10 ** (level / 20) * (first + 10 ** (twist / 20) * second), np.float64)


def quiet(ms: float) -> Samples:
    return np.zeros(round(8 * ms))


def pcm(*pieces: Samples) -> bytes:
    """Through G.711, as everything comes."""
    clipped = np.clip(np.rint(np.concatenate(pieces)), -32768, 32767).astype("<i2").tobytes()
    return PCMU.decoder().decode(PCMU.encoder().encode(clipped))


def found(audio: bytes, rate: int = 8000, piece: int = 160) -> str:
    """The digits, told in pieces of so many samples, with 100 ms of silence after them."""
    detector = InbandDetector(rate)
    audio += bytes(rate // 5)
    pieces = [audio[at : at + 2 * piece] for at in range(0, len(audio), 2 * piece)]
    return "".join(digit.digit for each in pieces for digit in detector.heard(each))


def share(**how: object) -> float:
    """Of 48 presses, three of each key at different moments, those that are found and nothing else."""
    good = 0
    for seed in range(48):
        digit = KEYPAD[seed % 16]
        sound = tone(digit, seed=seed, **how)  # type: ignore[arg-type]
        good += found(pcm(quiet(seed * 0.7), sound, quiet(60))) == digit
    return good / 48


class AcceptedTests(SynchronousTestCase):
    def test_what_must_be_accepted(self) -> None:
        """40 ms, and even 35; 1.5 % and 2 Hz off either way; 0 to -25 dBm0; 4 dB of twist forward, 8 dB reverse."""
        cases: dict[str, float] = {
            "35 ms": share(ms=35),
            "40 ms": share(ms=40),
            "loudest": share(ms=40, level=0),
            "faintest": share(ms=40, level=-25),
            "forward twist": share(ms=40, level=-14, twist=4),
            "reverse twist": share(ms=40, twist=-8),
        }
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                off = row * (0.015 + 2 / 697), column * (0.015 + 2 / 1209)
                cases[f"off by {row}, {column}"] = share(ms=40, off=off)
        self.assertEqual(cases, dict.fromkeys(cases, 1.0))

    def test_every_key_fast(self) -> None:
        """Keys of 40 ms with pauses of 40 ms, each as often as it is pressed, at 8 and 16 kHz and in each codec."""
        keys = KEYPAD + "55500##"
        heard = {}
        for codec in (PCMU, PCMA, G722):
            payload = codec.encoder().encode(dtmf_tones(keys, codec.rate, 40, 40))
            heard[codec.name] = found(codec.decoder().decode(payload), codec.rate, codec.rate // 50)
        self.assertEqual(heard, dict.fromkeys(heard, keys))

    def test_noise(self) -> None:
        """Noise 15 dB below either tone hides none."""
        good = 0
        for seed in range(48):
            sound = np.concatenate([quiet(20 + seed * 0.7), tone(KEYPAD[seed % 16], 40, seed=seed), quiet(60)])
            noise = np.random.default_rng(seed).normal(0, _0_DBM0 * 10 ** (-25 / 20) / np.sqrt(2), len(sound))
            good += found(pcm(sound + noise)) == KEYPAD[seed % 16]
        self.assertEqual(good, 48)

    def test_interruptions(self) -> None:
        """A gap of up to 10 ms in a long press does not make two of it; 40 ms do."""
        for gap in (1, 5, 10):
            for before in (41, 60, 78):
                sound = tone("5", before + gap + 60)
                sound[8 * before : 8 * (before + gap)] = 0
                self.assertEqual(found(pcm(sound)), "5", (gap, before))
        for pause in (40, 41.3, 43):
            self.assertEqual(found(pcm(tone("5", 60), quiet(pause), tone("5", 60))), "55", pause)

    def test_without_a_pause(self) -> None:
        """Another key right after the one before is another digit."""
        self.assertEqual(found(pcm(tone("1", 80), tone("2", 80), tone("D", 80))), "12D")

    def test_lengths(self) -> None:
        """A press is told when it is over, with its length."""
        detector = InbandDetector()
        told = []
        for length in (40, 65, 100, 500, 3000):
            told += [digit.duration_ms - length for digit in detector.heard(pcm(tone("9", length), quiet(60)))]
        self.assertEqual([abs(off) <= 10 for off in told], [True] * 5, told)


class RefusedTests(SynchronousTestCase):
    def test_what_must_not_be_accepted(self) -> None:
        """23 ms, and even 25; a frequency 3.5 % off; below -35 dBm0; a twist that no telephone has; one tone alone."""
        cases = {
            "23 ms": share(ms=23),
            "25 ms": share(ms=25),
            "row high": share(ms=100, off=(0.035, 0)),
            "row low": share(ms=100, off=(-0.035, 0)),
            "column high": share(ms=100, off=(0, 0.035)),
            "column low": share(ms=100, off=(0, -0.035)),
            "faint": share(ms=100, level=-35),
            "forward twist": share(ms=100, level=-20, twist=12),
            "reverse twist": share(ms=100, twist=-15),
            "one tone": share(ms=100, level=-60, twist=50),
        }
        self.assertEqual(cases, dict.fromkeys(cases, 0.0))

    def test_other_tones(self) -> None:
        """Dial tone, busy, ringback, fax, and two tones of one group are no digits."""
        at = np.arange(8000) / 8000
        pairs = ((350, 440), (480, 620), (440, 480), (425, 425), (1100, 1100), (2100, 2100), (697, 770), (1209, 1336),
                 (941, 1100), (800, 1209))  # fmt: skip
        sounds = {pair: sum(6000 * np.sin(2 * np.pi * hertz * at) for hertz in pair) for pair in pairs}
        heard = {pair: found(pcm(np.asarray(sound))) for pair, sound in sounds.items()}
        self.assertEqual(heard, dict.fromkeys(pairs, ""))

    def test_noise(self) -> None:
        """A minute of noise, white and low, at any level, is no digit."""
        noise = np.random.default_rng(7).normal(0, 1, 8000 * 60) * np.repeat(10 ** np.linspace(1, 4, 60), 8000)
        low = np.convolve(noise, np.hanning(9) / 4, "same")
        self.assertEqual((found(pcm(noise)), found(pcm(low))), ("", ""))

    def test_vowels(self) -> None:
        """Voices whose harmonics lie on the frequencies of keys (134.4 Hz: the 7th and the 9th) press none."""
        at = np.arange(4000) / 8000
        sounds = []
        for pitch in np.arange(80, 320, 2.4):
            peaks = np.random.default_rng(int(pitch)).uniform(300, 2500, 3)
            harmonics = np.arange(1, int(3400 / pitch))
            gains = np.exp(-(((harmonics * pitch)[:, None] - peaks) ** 2) / 150**2).sum(axis=1) + 0.02
            waves = np.sin(2 * np.pi * pitch * np.outer(harmonics, at) + (harmonics**2)[:, None])
            sounds.append(np.asarray(4000 * gains @ waves))
        self.assertEqual(found(pcm(*sounds)), "")

    def test_synthetic_speech(self) -> None:
        """Talk-off: voices that read for minutes press no key; the ITU's speech does not either."""
        if shutil.which("espeak-ng") is None:
            raise SkipTest("espeak-ng is not there")
        text = (ROOT / "docs" / "agents.rst").read_text("utf-8")[:2500]
        for voice in ("en", "en+f3", "de+m7"):
            command = ["espeak-ng", "-v", voice, "--stdout", text]
            said = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout[44:]
            self.assertGreater(len(said), 2 * 22050 * 60)
            # 22050 Hz to 8000 near enough: what is above 4 kHz folds, which makes no speech purer.
            samples = np.frombuffer(said, "<i2").astype(np.float64)
            places = np.arange(0, len(samples) - 1, 22050 / 8000)
            self.assertEqual(found(pcm(np.interp(places, np.arange(len(samples)), samples))), "", voice)

    def test_itu_speech(self) -> None:
        """The ITU's speech file for G.722 presses no key."""
        path = ROOT.parent / "shared" / "vectors" / "g722-openitu" / "inpsp.bin"
        if not path.exists():
            raise SkipTest(f"{path} is not there")
        self.assertEqual(found(path.read_bytes(), 16000, 320), "")


class StreamTests(SynchronousTestCase):
    def test_pieces(self) -> None:
        """However the audio is cut, the same is found."""
        audio = pcm(*(each for digit in "4711" for each in (tone(digit, 50), quiet(45))))
        self.assertEqual([found(audio, piece=piece) for piece in (1, 39, 80, 240, 8000)], ["4711"] * 5)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.lists(st.binary(max_size=700), max_size=8), st.sampled_from((8000, 16000)))
    def test_any_octets(self, pieces: list[bytes], rate: int) -> None:
        """Nothing raises, whatever comes, odd lengths too."""
        detector = InbandDetector(rate)
        for piece in pieces:
            self.assertLessEqual(len(detector.heard(piece)), 1 + len(piece) // 320)
