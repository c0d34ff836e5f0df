"""docs/media.rst promises no more than what is measured, and nothing that has become worse."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from attrs import fields
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.console.twilio_record import MOST_ENDED
from stellar_gw.gateway.ladder import Ladders
from stellar_gw.gateway.pool_settings import PoolSettings
from stellar_gw.gateway.worker_load import LATE
from stellar_gw.media.comfort_noise import LOUDEST
from stellar_gw.media.concealment import FULL_MS, JOIN_MS, PAUSE_MS, SILENT_MS
from stellar_gw.media.jitter import FILL_AFTER, WAIT
from stellar_gw.media.presses import WINDOW
from stellar_gw.media.resample import Resampler
from stellar_gw.media.speech import END_MS, FULL_SCALE, LEAST, MARGIN, START_MS
from stellar_gw.media.turns import TAKEN_MS
from stellar_gw.worker.offload import AGAIN
from stellar_gw.worker.relay import INFO_WAITS
from stellar_gw.worker.rtp_port import LONGEST_PAYLOAD
from stellar_gw.worker.tap import CAPACITY
from tests.unit.test_media_resample import AMPLITUDE, PAIRS, measure, resample, tone

PAGE = Path(__file__).resolve().parents[2] / "docs" / "media.rst"
PASSED = (50.0, 300.0, 1000.0, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.41, 0.425)
"""Hz, and shares of the lower rate."""
STOPPED = (0.576, 0.6, 0.7, 0.8, 0.95, 1.2, 1.45)
"""Shares of the lower rate."""


def promised() -> dict[tuple[int, int], tuple[float, ...]]:
    """The table: ripple, rest, aliases (NaN for none), delay by the two rates in kHz."""
    found = {}
    for line in PAGE.read_text("utf-8").splitlines():
        cells = line.split()
        if len(cells) == 6 and cells[0].isdigit():
            numbers = [float("nan") if cell == "-" else float(cell) for cell in cells[2:]]
            found[int(cells[0]), int(cells[1])] = tuple(numbers)
    return found


def measured(pair: tuple[int, int]) -> tuple[float, ...]:
    low = min(pair)
    passed = [measure(*pair, hertz if hertz >= 1 else low * hertz) for hertz in PASSED]
    gains = [gain for gain, _ in passed]
    aliases = float("nan")
    if pair[0] > pair[1]:
        outs = [resample(tone(pair[0], low * hertz, 0.5), *pair) for hertz in STOPPED if low * hertz < pair[0] / 2]
        levels = [np.sqrt(2 * np.mean(out[pair[1] // 10 :] ** 2)) for out in outs]
        aliases = 20 * np.log10(max(levels) / AMPLITUDE)
    pulse = np.zeros(pair[0] // 10)
    pulse[pair[0] // 50] = 20000
    delay = 1000 * (int(np.argmax(resample(pulse, *pair))) / pair[1] - 0.02)
    return max(gains) - min(gains), max(rest for _, rest in passed), aliases, delay


def dbfs(value: float) -> float:
    return float(20 * np.log10(value / FULL_SCALE))


class ResamplingTests(SynchronousTestCase):
    def test_the_table(self) -> None:
        """Each figure is as good as measured or a little worse: at most 0.002 dB, 3 dB and 0.1 ms."""
        page = promised()
        self.assertEqual(set(page), {(a // 1000, b // 1000) for a, b in PAIRS})
        wrong = {}
        for a, b in PAIRS:
            said, is_so = page[a // 1000, b // 1000], measured((a, b))
            slack = [says - is_ for says, is_ in zip(said, is_so, strict=True)]
            allowed = (0.002, 3.0, 3.0, 0.1)
            if any(not -1e-9 <= each <= most for each, most in zip(slack, allowed, strict=True) if each == each):
                wrong[a, b] = said, is_so
        self.assertEqual(wrong, {})

    def test_limits(self) -> None:
        """Every conversion's delay is below 3 ms, its ripple below 0.01 dB, images and aliases 75 dB down."""
        page = promised().values()
        self.assertTrue(all(ripple < 0.01 and rest <= -75 and delay < 3 for ripple, rest, _, delay in page))
        self.assertTrue(all(not aliases > -75 for _, _, aliases, _ in page))

    def test_nothing_else_waits(self) -> None:
        """Any multiple of 10 ms goes in and comes out whole."""
        for a, b in PAIRS:
            resampler = Resampler(a, b)
            for ms in (10, 20, 30, 40, 50, 60):
                self.assertEqual(len(resampler.resample(bytes(2 * a * ms // 1000))), 2 * b * ms // 1000, (a, b, ms))


class ConstantTests(SynchronousTestCase):
    def test_what_the_page_says_in_passing(self) -> None:
        """Lengths, levels and windows on the page are those of the code."""
        page = re.sub(r"\s+", " ", PAGE.read_text("utf-8"))
        said = (
            f"any length up to {LONGEST_PAYLOAD // 8} ms",
            f"within {WAIT * 1000:g} ms of their successors",
            f"at full level for {FULL_MS} ms and fading to silence at {SILENT_MS} ms",
            f"into the first {JOIN_MS} ms of what comes next",
            f"audio fades within {PAUSE_MS} ms, and {FILL_AFTER * 1000:g} ms later",
            f"never louder than -{LOUDEST} dBov",
            f"lie within {WINDOW:g} s",
            f"Speech is what stands {dbfs(MARGIN * FULL_SCALE):.0f} dB above the line's noise and above "
            f"{dbfs(LEAST):.0f} dBFS, {START_MS} ms long; it has ended after {END_MS} ms without, or when the agent "
            f"answers after {TAKEN_MS} ms",
            f"is sent on as an event {INFO_WAITS:g} to 0.5 s later",
            f"asked again, in {AGAIN[0]:g} s at first, in {AGAIN[1]:g} s at last",
            f"Where it works {(fields(PoolSettings).max_load.default or 0) * 100:g} % of the time (``limits: load``) "
            f"*and* {LATE * 100:g} % of the turns are late",
            f"which is bounded: {CAPACITY:,} packets of both directions",
            f"keeps the last {fields(Ladders).most.default:,} calls' ladders and {MOST_ENDED:,} records",
        )
        self.assertEqual([each for each in said if each not in page], [])
