"""What stands in for lost audio: its level, its seams, its length, and what follows it."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import FLOOR_DBFS, level_dbfs
from stellar_gw.media.codec import CODECS, G722, PCMU, Codec
from stellar_gw.media.concealment import JOIN_MS, Concealment

Samples = NDArray[np.float64]
FRAME = 160
"""Octets of 20 ms of any of our codecs, and units of their clock."""


def voice(rate: int, pitch: float = 137.0, seconds: float = 1.0) -> Samples:
    """A vowel: fourteen harmonics."""
    at = np.arange(round(rate * seconds)) / rate
    return np.asarray(sum(np.sin(2 * np.pi * pitch * k * at + k) * 6000 / k for k in range(1, 15)), np.float64)


def gliding(rate: int, first: float, last: float) -> Samples:
    """A second of three harmonics; the first in Hz at its beginning and end."""
    at = np.arange(rate) / rate
    turns = first * at + (last - first) * at * at / 2
    return np.asarray(sum(np.sin(2 * np.pi * k * turns + k) * 8000 / k**2 for k in (1, 2, 3)), np.float64)


class Plain:
    """A decoder of what is PCM already."""

    rate = 8000

    def decode(self, payload: bytes) -> bytes:
        return payload

    def silence(self, ms: int) -> bytes:
        return bytes(16 * ms)


def tone(rate: int) -> Samples:
    return np.asarray(10000 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate), np.float64)


def payloads(codec: Codec, signal: Samples) -> list[bytes]:
    """Frames of 20 ms."""
    octets = codec.encoder().encode(np.clip(np.rint(signal), -32768, 32767).astype("<i2").tobytes())
    return [octets[at : at + FRAME] for at in range(0, len(octets), FRAME)]


def samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def heard(codec: Codec, frames: list[bytes], lost: set[int]) -> list[Samples]:
    """Each frame as it is heard where some are lost."""
    concealment = Concealment(codec.decoder())
    return [
        samples(concealment.conceal(FRAME) if place in lost else concealment.decode(frame))
        for place, frame in enumerate(frames)
    ]


def rms(frame: Samples) -> float:
    return float(np.sqrt(np.mean(frame * frame)))


class LevelTests(SynchronousTestCase):
    def test_one_packet(self) -> None:
        """In place of one lost packet of 20 ms a vowel or a tone goes on, 12 dB and more above the error."""
        poor = {}
        for codec in CODECS.values():
            for signal in (voice(codec.rate), tone(codec.rate)):
                frames = payloads(codec, signal)
                whole, gapped = heard(codec, frames, set()), heard(codec, frames, {20})
                error = 20 * np.log10(rms(whole[20]) / rms(whole[20] - gapped[20]))
                if error < 12:
                    poor[codec.name, float(signal[1])] = error
        self.assertEqual(poor, {})

    def test_fade(self) -> None:
        """Full for 10 ms, then fading, silent from 60 ms on, for as long as the gap lasts."""
        for codec in CODECS.values():
            concealment = Concealment(codec.decoder())
            for frame in payloads(codec, voice(codec.rate))[:10]:
                level = level_dbfs(concealment.decode(frame))
            pieces = [level_dbfs(concealment.conceal(FRAME // 2)) - level for _ in range(8)]
            # In the middle of the ms 10 to 60 the fade is at 0.9, 0.7, 0.5, 0.3 and 0.1.
            expected = [0.0, *(20 * np.log10(share) for share in (0.9, 0.7, 0.5, 0.3, 0.1))]
            self.assertEqual([abs(a - b) < 3 for a, b in zip(pieces, expected, strict=False)], [True] * 6, pieces)
            self.assertEqual([piece + level for piece in pieces[6:]], [FLOOR_DBFS] * 2)

    def test_every_other_packet(self) -> None:
        """Where every other packet is lost the level holds: what stood in counts as heard."""
        frames = heard(PCMU, payloads(PCMU, voice(8000)), set(range(11, 50, 2)))
        levels = [rms(frame) for frame in frames[11:]]
        self.assertTrue(min(levels) > 0.8 * rms(frames[5]), levels)


class SeamTests(SynchronousTestCase):
    def test_no_steps(self) -> None:
        """Neither where a gap begins, nor in it, nor where it ends, does the wave step further than it did before."""
        steps = {}
        for codec in (PCMU, CODECS["PCMA"]):
            for pitch in (70.0, 137.0, 190.0, 300.0):
                for count in (1, 2, 3, 5):
                    frames = payloads(codec, voice(codec.rate, pitch))
                    whole = np.concatenate(heard(codec, frames, set()))
                    gapped = np.concatenate(heard(codec, frames, set(range(20, 20 + count))))
                    allowed = 1.05 * np.abs(np.diff(whole)).max()
                    if np.abs(np.diff(gapped)).max() > allowed:
                        steps[codec.name, pitch, count] = float(np.abs(np.diff(gapped)).max() / allowed)
        self.assertEqual(steps, {})

    def test_no_kinks_in_smooth_voices(self) -> None:
        """Nor does a smooth voice, growing louder and of rising or falling pitch, so that no period is like another.

        Without a codec's noise even a small step stands out, as a kink: a large second difference.
        """
        kinks = {}
        for first, last in ((90.0, 150.0), (140.0, 240.0), (200.0, 110.0), (137.0, 137.0)):
            for growth in (-1.5, 0.0, 1.5):
                signal = gliding(8000, first, last) * np.exp(growth * np.arange(8000) / 8000)
                frames = [np.rint(signal[at : at + 160]).astype("<i2").tobytes() for at in range(0, 8000, 160)]
                for start in range(10, 40, 3):
                    concealment = Concealment(Plain())
                    pieces = [
                        concealment.conceal(160) if start <= place < start + 3 else concealment.decode(frame)
                        for place, frame in enumerate(frames[: start + 6])
                    ]
                    around = slice(160 * (start - 2), None)
                    smooth = np.abs(np.diff(signal[around][: 160 * 8], 2)).max()
                    kink = np.abs(np.diff(samples(b"".join(pieces))[around], 2)).max()
                    kinks[first, growth, start] = float(kink / smooth)
        self.assertLess(max(kinks.values()), 3.0, max(kinks, key=lambda case: kinks[case]))

    def test_no_clicks_in_tones(self) -> None:
        """A tone is lost, replaced and taken up again without a step at its seams, at 8 and at 16 kHz."""
        for codec in CODECS.values():
            frames = payloads(codec, tone(codec.rate))
            largest = 10000 * 2 * np.pi * 440 / codec.rate
            gapped = np.concatenate(heard(codec, frames, {20, 25, 26, 33, 34, 35, 36, 37}))
            self.assertLess(np.abs(np.diff(gapped[codec.rate // 10 :])).max(), 1.25 * largest, codec.name)

    def test_the_end_alone_is_mixed(self) -> None:
        """What came after a gap is untouched but for its first 4 ms."""
        frames = payloads(PCMU, voice(8000))
        whole, gapped = heard(PCMU, frames, set()), heard(PCMU, frames, {20, 21})
        changed = [place for place in range(22, 50) if not np.array_equal(whole[place], gapped[place])]
        self.assertEqual(changed, [22])
        self.assertTrue(np.array_equal(whole[22][8 * JOIN_MS :], gapped[22][8 * JOIN_MS :]))


class PauseTests(SynchronousTestCase):
    def test_where_the_peer_sends_nothing(self) -> None:
        """Audio that stops fades away in 4 ms; then there is silence, and what comes next is untouched."""
        concealment = Concealment(PCMU.decoder())
        frames = payloads(PCMU, gliding(8000, 140, 140))
        before = [samples(concealment.decode(frame)) for frame in frames[:10]]
        pause, after = samples(concealment.pause(800)), samples(concealment.decode(frames[20]))
        seam = np.concatenate([before[-1], pause])
        self.assertLessEqual(np.abs(np.diff(seam)).max(), np.abs(np.diff(np.concatenate(before))).max())
        self.assertEqual((len(pause), bool(pause[8 * 4 :].any())), (800, False))
        self.assertTrue(np.array_equal(after, samples(PCMU.decoder().decode(frames[20]))))

    def test_comfort_noise(self) -> None:
        """After comfort noise pauses have its level, from the first sample on where nothing fades."""
        concealment = Concealment(G722.decoder())
        concealment.noise(b"\x37")
        self.assertEqual(round(level_dbfs(concealment.pause(8000))), -55)

    def test_loss_in_comfort_noise(self) -> None:
        """Where a packet is lost after a pause of comfort noise, that goes on: there is nothing else to repeat."""
        concealment = Concealment(PCMU.decoder())
        concealment.decode(payloads(PCMU, tone(8000))[0])
        concealment.noise(b"\x37")
        concealment.pause(800)
        self.assertEqual(round(level_dbfs(concealment.conceal(8000))), -55)

    def test_before_any_audio(self) -> None:
        """Where nothing was heard yet there is nothing to repeat."""
        for codec in CODECS.values():
            concealment = Concealment(codec.decoder())
            octets = 2 * 240 * codec.rate // 8000
            self.assertEqual((concealment.conceal(240), concealment.pause(240)), (bytes(octets),) * 2)


class LengthTests(SynchronousTestCase):
    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(st.sampled_from(list(CODECS.values())), st.integers(0, 2**31), st.integers(1, 20))
    def test_never_longer(self, codec: Codec, seed: int, count: int) -> None:
        """Whatever comes in whatever pieces, each has its length, and is no louder than 16 bits."""
        choose = random.Random(seed)
        concealment = Concealment(codec.decoder())
        for _ in range(count):
            units = choose.choice((0, 1, 7, 40, 80, 160, 240, 480, 1600, 8000))
            what = choose.choice((concealment.conceal, concealment.pause, None))
            pcm = what(units) if what else concealment.decode(choose.randbytes(units))
            self.assertEqual(len(pcm), 2 * units * codec.rate // 8000)
