"""Whether somebody speaks."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import product
from math import ceil
from pathlib import Path
from random import Random
from unittest import SkipTest

import numpy as np
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.codec import CODECS
from stellar_gw.media.pcm import pcm_from_alaw, pcm_from_ulaw, rms, rms_of_ulaw, ulaw_from_pcm
from stellar_gw.media.source import dtmf_tones, tone
from stellar_gw.media.speech import FRAME_MS, FULL_SCALE, SpeechDetector, amplitude

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
FEW_MS = 20
VOICES = ("en", "en-us+f3", "nl", "de+f2", "fr", "es+m3", "it+f4", "pt", "pl+m5", "sv")
SENTENCES = (
    "Hello, I would like to change my appointment.",
    "Yes.",
    "No, that is not what I meant, could you please repeat the question for me?",
    "My number is four seven one one.",
    "Thank you very much, good bye.",
)
Samples = NDArray[np.float64]


def changes(amplitudes: list[float]) -> list[tuple[int, str]]:
    """What is told, and at which frame."""
    detector = SpeechDetector()
    told = [(number, detector.heard(value)) for number, value in enumerate(amplitudes)]
    return [(number, change) for number, change in told if change]


def levels(*parts: tuple[float, int]) -> list[float]:
    """Amplitudes of so many frames at each level in dBFS."""
    return [amplitude(level) for level, count in parts for _ in range(count)]


def spoken(pcm: bytes, rate: int) -> list[tuple[int, int]]:
    """When somebody speaks, in ms: each time's beginning and end."""
    detector, found, began = SpeechDetector(), [], -1
    step = 2 * rate * FRAME_MS // 1000
    for start in range(0, len(pcm) - step + 1, step):
        change = detector.heard(rms(pcm[start : start + step]))
        now = (start // step + 1) * FRAME_MS
        if change == "started":
            began = now - 60
        elif change:
            found.append((began, now - detector.quiet_ms))
            began = -1
    return found if began < 0 else [*found, (began, len(pcm) // 2 * 1000 // rate)]


def coded(pcm: bytes, name: str) -> bytes:
    """There and back through a codec."""
    codec = CODECS[name]
    encoder, decoder, step = codec.encoder(), codec.decoder(), codec.pcm_octets(FRAME_MS)
    frames = (pcm[start : start + step] for start in range(0, len(pcm) - step + 1, step))
    return b"".join(decoder.decode(encoder.encode(frame)) for frame in frames)


def pcm_of(samples: Samples) -> bytes:
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2").tobytes()


class DetectorTests(SynchronousTestCase):
    def test_speech_begins_with_its_third_frame_and_ends_400_ms_after_its_last(self) -> None:
        self.assertEqual(changes(levels((-70, 10), (-20, 50), (-70, 30))), [(12, "started"), (79, "ended")])

    def test_the_end_is_dated_back_to_the_last_loud_frame(self) -> None:
        detector = SpeechDetector()
        for value in levels((-70, 10), (-20, 50), (-70, 20)):
            change = detector.heard(value)
        self.assertEqual((change, detector.quiet_ms), ("ended", 400))

    def test_a_pause_for_breath_is_no_end(self) -> None:
        self.assertEqual(changes(levels((-20, 20), (-70, 15), (-20, 20))), [(2, "started")])

    def test_a_click_is_no_speech(self) -> None:
        self.assertEqual(changes(levels((-70, 10), (-10, 2), (-70, 50), (-10, 2), (-70, 50))), [])

    def test_a_noisy_line_becomes_its_own_silence(self) -> None:
        """Noise that comes up to -40 dBFS is speech for some seconds at most; a voice 20 dB above it is found."""
        noise = Random(1)
        line = [amplitude(-40 + noise.uniform(-2, 2)) for _ in range(1500)]
        voice = [value * 10 for value in line[:100]]
        told = changes([*levels((-70, 100)), *line, *voice, *line[:100]])
        self.assertLess(told[1][0], 600)
        self.assertEqual(told[2:], [(1602, "started"), (1719, "ended")])

    def test_a_line_that_is_noisy_from_the_beginning_is_silent_at_once(self) -> None:
        self.assertEqual(changes(levels((-30, 500))), [])

    def test_a_lost_packet_in_noise_is_no_silence(self) -> None:
        """Two frames of digital silence do not make the noise after them speech."""
        self.assertEqual(changes(levels((-40, 500), (-100, 2), (-40, 500))), [])

    def test_what_is_very_quiet_is_no_speech(self) -> None:
        self.assertEqual(changes(levels((-75, 50), (-55, 50))), [])

    def test_who_is_interrupted_may_begin_anew(self) -> None:
        detector = SpeechDetector()
        for value in levels((-70, 10), (-20, 50), (-70, 10)):
            detector.heard(value)
        detector.interrupted()
        self.assertEqual([detector.heard(amplitude(-20)) for _ in range(4)], ["", "", "started", ""])

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.floats(0, FULL_SCALE), max_size=300))
    def test_start_and_end_take_turns(self, amplitudes: list[float]) -> None:
        told = [change for _, change in changes(amplitudes)]
        self.assertEqual(told, ["started", "ended"] * (len(told) // 2) + ["started"] * (len(told) % 2))


class SoundTests(SynchronousTestCase):
    """What docs/media.rst says about it."""

    def test_voices(self) -> None:
        """Every sentence of ten voices is found, through either codec and 20 dB above noise, its end to 120 ms."""
        if shutil.which("espeak-ng") is None:
            raise SkipTest("espeak-ng is not there")
        chance = np.random.default_rng(1)
        for voice in VOICES:
            said = [speech(voice, sentence) for sentence in SENTENCES]
            pause = np.zeros(3 * RATE // 2)
            line = np.concatenate([part for each in said for part in (pause, each)] + [pause])
            ends = np.cumsum([1500 + len(each) * 1000 / RATE for each in said])
            for codec, noise in (("G722", 0.0), ("G722", -40.0), ("PCMU", 0.0), ("PCMU", -40.0)):
                noisy = line + chance.normal(0, amplitude(noise) if noise else 0, len(line))
                pcm, rate = (pcm_of(noisy), RATE) if codec == "G722" else (pcm_of(noisy[::2]), 8000)
                found = spoken(coded(pcm, codec), rate)
                for end, each in zip(ends, said, strict=True):
                    mine = [times for times in found if end - len(each) * 1000 / RATE < times[1] < end + 40]
                    self.assertGreaterEqual(len(mine), 1, (voice, codec, noise))
                    self.assertLessEqual(abs(mine[-1][1] - end), 150 if noise else 120)
                self.assertLessEqual(len(found), len(said) + (1 if noise else 0), (voice, codec, noise))

    def test_how_well(self) -> None:
        """The page's figures are those of 50 sentences at two levels, by two codecs, with noise and without."""
        if shutil.which("espeak-ng") is None:
            raise SkipTest("espeak-ng is not there")
        sentences = {voice: [speech(voice, sentence) for sentence in SENTENCES] for voice in VOICES}
        quiet, far, near = (found_in(sentences, below) for below in (0.0, 20.0, 10.0))
        page = re.sub(r"\s+", " ", (ROOT / "docs" / "media.rst").read_text("utf-8"))
        times = r"begins (\d+) ms late, ends (\d+) ms early at most"
        rows = (
            (f"within {FEW_MS} ms for nine in ten; {times}", (quiet.late, quiet.early)),
            (rf"all found, (\d+) % in pieces; {times}", (far.pieces, far.late, far.early)),
            (
                rf"(\d+) % not found, (\d+) % in pieces; {times}",
                (ceil(near.missed), near.pieces, near.late, near.early),
            ),
        )
        for row, measured in rows:
            found = re.search(row, page)
            said = [] if found is None else [int(number) for number in found.groups()]
            self.assertEqual(len(said), len(measured), row)
            # As good as it is, or a little worse.
            wrong = [(says, is_) for says, is_ in zip(said, measured, strict=True) if not is_ <= says <= 1.25 * is_ + 1]
            self.assertEqual(wrong, [], (row, measured))
        self.assertEqual((quiet.missed, quiet.pieces, quiet.others, far.missed, far.others), (0, 0, 0, 0, 0))
        self.assertGreaterEqual(quiet.within, 0.9)

    def test_no_voices(self) -> None:
        """Noise of any level from the beginning, hum, clicks, and the idle noise of either law are no speech."""
        chance, count = np.random.default_rng(2), 30 * 8000
        lines = {f"noise {level}": pcm_of(chance.normal(0, amplitude(level), count)) for level in range(-60, -24, 5)}
        lines["hum"] = pcm_of(np.sin(np.arange(count) * 2 * np.pi * 50 / 8000) * amplitude(-32))
        clicks = np.zeros(count)
        for start in range(0, count, 8000):
            clicks[start : start + 80] = chance.normal(0, 8000, 80)
        lines["clicks"] = pcm_of(clicks)
        lines["mu-law"] = pcm_from_ulaw(bytes((0x7E, 0xFE)) * (count // 2))
        lines["A-law"] = pcm_from_alaw(bytes((0xD5, 0x55)) * (count // 2))
        self.assertEqual({name: spoken(pcm, 8000) for name, pcm in lines.items()}, {name: [] for name in lines})

    def test_tones_are_taken_for_speech(self) -> None:
        """Digits as tones, and the pauses between them, are one piece of speech: energy tells no more."""
        pause = bytes(8000)
        self.assertEqual(spoken(pause + dtmf_tones("4711", 8000, 160, 80) + pause, 8000), [(500, 1380)])


@frozen
class FoundSpeech:
    """Of all sentences; times are rounded up to 10 ms.

    :ivar missed, pieces: percent that were not found, and that were found in several pieces.
    :ivar within: the share of beginnings and ends that lie within :data:`FEW_MS`.
    :ivar others: what was taken for speech, and is none.
    """

    missed: float
    pieces: int
    late: int
    early: int
    within: float
    others: int


def found_in(sentences: dict[str, list[Samples]], below: float) -> FoundSpeech:
    """:param below: dB from the speech down to white noise; 0 for none."""
    chance = np.random.default_rng(1)
    begins: list[float] = []
    ends: list[float] = []
    count = pieces = others = 0
    for level, (voice, codec) in product((-20.0, -30.0), product(VOICES, ("G722", "PCMU"))):
        said = [each * 10 ** ((level + 20) / 20) for each in sentences[voice]]
        pause = np.zeros(3 * RATE // 2)
        line = np.concatenate([part for each in said for part in (pause, each)] + [pause])
        if below:
            line = line + chance.normal(0, amplitude(level - below), len(line))
        pcm, rate = (pcm_of(line), RATE) if codec == "G722" else (pcm_of(line[::2]), 8000)
        found = spoken(coded(pcm, codec), rate)
        others += len(found)
        at = 0.0
        for each in said:
            began, ended = at + 1500, at + 1500 + len(each) * 1000 / RATE
            mine = [times for times in found if times[1] > began - 100 and times[0] < ended + 600]
            at, count, others = ended, count + 1, others - len(mine)
            pieces += len(mine) > 1
            if mine:
                begins.append(mine[0][0] - began)
                ends.append(mine[-1][1] - ended)
    errors = np.abs(np.array([*begins, *ends]))
    return FoundSpeech(
        missed=100 * (count - len(begins)) / count,
        pieces=round(100 * pieces / count),
        late=10 * ceil(max(begins) / 10),
        early=10 * ceil(-min(ends) / 10),
        within=float(np.mean(errors <= FEW_MS)),
        others=others,
    )


class AmplitudeTests(SynchronousTestCase):
    def test_amplitudes(self) -> None:
        """Half of full scale is 6 dB down, whatever the frequency, and in mu-law, too."""
        self.assertEqual((rms(b""), rms(bytes(640))), (0, 0))
        self.assertEqual(rms(b"\xff\x3f" * 160), round(amplitude(-6.0206)) - 1)
        low, high = (rms(tone((hertz,), 8000, 100)) for hertz in (440, 880))
        self.assertLessEqual(abs(low - high), 2)
        pcm = tone((440,), 8000, 100)
        self.assertLessEqual(abs(rms_of_ulaw(ulaw_from_pcm(pcm)) - rms(pcm)), rms(pcm) / 50)


def speech(voice: str, sentence: str) -> Samples:
    """What a voice says, at -20 dBFS, without the silence around it."""
    command = ["espeak-ng", "-v", voice, "--stdout", sentence]
    wav = subprocess.run(command, capture_output=True, check=True).stdout[44:]
    samples = np.frombuffer(wav[: len(wav) // 2 * 2], "<i2").astype(np.float64)
    places = np.arange(int(len(samples) * RATE / 22050)) * 22050 / RATE
    resampled = np.interp(places, np.arange(len(samples)), samples)
    loud = np.flatnonzero(np.abs(resampled) > np.abs(resampled).max() * 0.03)
    kept = resampled[loud[0] : loud[-1] + 1]
    return np.asarray(kept * amplitude(-20) / np.sqrt(np.mean(kept**2)))
