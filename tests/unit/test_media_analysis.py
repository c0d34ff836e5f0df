"""What the test phone measures in audio."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import FLOOR_DBFS, Match, dominant_tone, find, level_dbfs, tone_ms
from stellar_gw.media.codec import CODECS


def sine(hertz: float, ms: int, rate: int, amplitude: float = 0.5) -> bytes:
    time = np.arange(rate * ms // 1000) / rate
    return (np.sin(2 * np.pi * hertz * time) * amplitude * 32767).astype("<i2").tobytes()


def noise(ms: int, rate: int, seed: int = 1) -> bytes:
    return (np.random.default_rng(seed).normal(0, 3000, rate * ms // 1000)).astype("<i2").tobytes()


class LevelTests(SynchronousTestCase):
    def test_levels(self) -> None:
        """A full sine has -3 dBFS, half of it -9, and silence the floor; nothing is silence too."""
        found = [
            level_dbfs(pcm) for pcm in (sine(440, 500, 8000, 1.0), sine(440, 500, 8000, 0.5), bytes(800), b"", b"x")
        ]
        self.assertEqual([round(level, 1) for level in found], [-3.0, -9.0, FLOOR_DBFS, FLOOR_DBFS, FLOOR_DBFS])


class ToneTests(SynchronousTestCase):
    def test_through_each_codec(self) -> None:
        """A tone is found within 1 Hz, with nearly all the energy, after each codec there is."""
        found = {}
        for name, codec in CODECS.items():
            pcm = codec.decoder().decode(codec.encoder().encode(sine(440, 1000, codec.rate)))
            tone = dominant_tone(pcm, codec.rate)
            assert tone is not None
            found[name] = (abs(tone.hertz - 440) < 1, tone.share > 0.95, tone_ms(pcm, codec.rate, 440) >= 960)
        self.assertEqual(found, dict.fromkeys(CODECS, (True, True, True)))

    def test_other_frequencies_do_not_count(self) -> None:
        """A tone of 540 Hz, noise, and silence are no 440 Hz."""
        found = [tone_ms(pcm, 8000, 440) for pcm in (sine(540, 1000, 8000), noise(1000, 8000), bytes(16000), b"")]
        self.assertEqual(found, [0, 0, 0, 0])

    def test_the_tone_s_part_of_a_call_is_measured(self) -> None:
        """A second of silence, half a second of tone, a second of noise: 0.5 s of tone."""
        pcm = bytes(16000) + sine(440, 520, 8000) + noise(1000, 8000)
        self.assertEqual(tone_ms(pcm, 8000, 440), 520)

    def test_noise_has_no_dominant_tone(self) -> None:
        """No frequency of noise has much of its energy; silence and too little audio have no frequency."""
        tone = dominant_tone(noise(1000, 8000), 8000)
        assert tone is not None
        self.assertLess(tone.share, 0.1)
        self.assertEqual([dominant_tone(pcm, 8000) for pcm in (bytes(16000), sine(440, 30, 8000), b"")], [None] * 3)


class MatchTests(SynchronousTestCase):
    def test_delay_and_level(self) -> None:
        """What comes back 123 ms later, quieter and after other sounds, is found where it is."""
        sent = bytes(8000) + noise(1500, 8000)
        echo = (np.frombuffer(sent, "<i2") // 4).astype("<i2").tobytes()
        match = find(sent, bytes(2 * 8 * 123) + echo + bytes(8000), 8000)
        self.assertEqual((round(match.correlation, 2), match.delay_ms), (1.0, 123.0))

    def test_a_disturbance_does_not_hide_an_echo(self) -> None:
        """The first half comes back with a hole in it that shifts what follows; the second half is found whole."""
        sent = noise(5000, 8000)
        heard = sent[:8000] + bytes(3200) + sent[8000:] + bytes(8000)
        match = find(sent, heard, 8000)
        self.assertEqual((round(match.correlation, 2), match.delay_ms), (1.0, 200.0))

    def test_other_sounds_do_not_match(self) -> None:
        """Other noise hardly correlates; silence, nothing, and too little do not at all."""
        self.assertLess(find(noise(2000, 8000), noise(2000, 8000, seed=2), 8000).correlation, 0.1)
        cases = [(noise(2000, 8000), bytes(32000)), (bytes(32000), noise(2000, 8000)), (b"", b""),
                 (noise(2000, 8000), noise(500, 8000))]  # fmt: skip
        self.assertEqual([find(sent, heard, 8000) for sent, heard in cases], [Match(0.0, None)] * 4)

    def test_a_tone_has_no_one_delay(self) -> None:
        """A tone matches itself at every period: found, but its delay is unknown."""
        match = find(sine(440, 2000, 8000), bytes(1600) + sine(440, 2000, 8000), 8000)
        self.assertEqual((round(match.correlation, 2), match.delay_ms), (1.0, None))
