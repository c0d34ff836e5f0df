"""Tones, keys, silence and recordings on demand."""

from __future__ import annotations

import cmath
import math
from array import array
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.source import Recording, Silence, Source, Tone, dtmf_frequencies, dtmf_tones, tone

KEYS = "0123456789*#ABCD"


def level(pcm: bytes, rate: int, hertz: float) -> float:
    """Level of one frequency in dB of a full-scale sine."""
    samples = array("h", pcm)
    whole = sum(value * cmath.exp(-2j * math.pi * hertz * place / rate) for place, value in enumerate(samples))
    return 20 * math.log10(2 * abs(whole) / len(samples) / 32767 + 1e-9)


class ToneTests(SynchronousTestCase):
    def test_continuous(self) -> None:
        """A tone has its frequency and level, and no seam, over several seconds."""
        source = Tone((440,), 8000, level=-20.0)
        pcm = b"".join(source.take(160) for _ in range(150))
        samples = array("h", pcm)
        steps = max(abs(b - a) for a, b in pairwise(samples))
        self.assertEqual((round(level(pcm, 8000, 440), 1), source.ended), (-20.0, False))
        self.assertLess(steps, 32767 * 0.1 * 2 * math.pi * 440 / 8000 + 2)

    def test_limited(self) -> None:
        """A tone of limited length begins and ends softly, and is as long as asked."""
        samples = array("h", tone((1000,), 16000, 1530))
        steady = array("h", Tone((1000,), 16000).take(24480))
        ramp = [value * place // 32 for place, value in enumerate(steady[:32])]
        end = [value * place // 32 for place, value in enumerate(reversed(steady[-32:]))]
        self.assertEqual(list(samples), [*ramp, *steady[32:-32], *reversed(end)])

    def test_loud_tones_are_clipped(self) -> None:
        """Tones that add up to more than full scale do not wrap."""
        samples = array("h", Tone((100, 300, 500), 8000, level=0.0).take(8000))
        self.assertEqual((max(samples), min(samples)), (32767, -32768))

    def test_shorter_than_its_ramps(self) -> None:
        """Tones of 0 and 1 ms are no error."""
        self.assertEqual((tone((440,), 8000, 0), len(tone((440,), 8000, 1))), (b"", 16))


class KeyTests(SynchronousTestCase):
    def test_frequencies(self) -> None:
        """The sixteen keys of ITU-T Q.23, letters in any case."""
        self.assertEqual(
            {key: dtmf_frequencies(key) for key in ("1", "5", "9", "*", "0", "#", "a", "D")},
            {
                "1": (697, 1209),
                "5": (770, 1336),
                "9": (852, 1477),
                "*": (941, 1209),
                "0": (941, 1336),
                "#": (941, 1477),
                "a": (697, 1633),
                "D": (941, 1633),
            },
        )
        self.assertEqual(len({dtmf_frequencies(key) for key in KEYS}), 16)

    def test_not_a_key(self) -> None:
        """Other characters, none and several are refused."""
        for text in ("x", "", "12", " "):
            self.assertRaises(ValueError, dtmf_frequencies, text)

    def test_tones(self) -> None:
        """Each key sounds with both of its frequencies at the level asked for, followed by its pause."""
        pcm = dtmf_tones("19", 8000, tone_ms=100, pause_ms=50, level=-10.0)
        first, second = pcm[:1600], pcm[2400:4000]
        levels = [
            level(first, 8000, 697),
            level(first, 8000, 1209),
            level(second, 8000, 852),
            level(second, 8000, 1477),
        ]
        self.assertEqual((len(pcm), pcm[1600:2400], [round(db) for db in levels]), (4800, bytes(800), [-10] * 4))
        self.assertLess(max(level(first, 8000, 852), level(second, 8000, 697)), -30)


class RecordingTests(SynchronousTestCase):
    def test_once(self) -> None:
        """A recording ends in silence and says so."""
        source: Source = Recording(b"\x01\x02\x03\x04\x05\x06\x07", 8000)
        taken = [(source.take(2), source.ended) for _ in range(3)]
        self.assertEqual(
            taken, [(b"\x01\x02\x03\x04", False), (b"\x05\x06\x00\x00", True), (b"\x00\x00\x00\x00", True)]
        )

    def test_for_ever(self) -> None:
        """A repeated recording begins again in the middle of a frame, also where it is shorter than one."""
        source = Recording(b"\x01\x02\x03\x04\x05\x06", 8000, repeat=True)
        taken = [source.take(2), source.take(2), source.take(8)]
        self.assertEqual(
            (taken, source.ended),
            (
                [
                    b"\x01\x02\x03\x04",
                    b"\x05\x06\x01\x02",
                    b"\x03\x04\x05\x06\x01\x02\x03\x04\x05\x06\x01\x02\x03\x04\x05\x06",
                ],
                False,
            ),
        )

    def test_nothing(self) -> None:
        """Nothing repeated is silence, and so is silence."""
        sources: list[Source] = [Recording(b"", 8000, repeat=True), Silence(8000)]
        self.assertEqual(
            [(source.take(2), source.ended, source.rate) for source in sources], [(bytes(4), True, 8000)] * 2
        )
