"""Whether somebody speaks."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.source import tone
from stellar_gw.media.speech import QUIETEST, SpeechDetector, level


def changes(levels: list[float]) -> list[tuple[int, str]]:
    """What is told, and at which frame."""
    detector = SpeechDetector()
    told = [(number, detector.heard(value)) for number, value in enumerate(levels)]
    return [(number, change) for number, change in told if change]


class SpeechTests(SynchronousTestCase):
    def test_speech_begins_with_its_third_frame_and_ends_400_ms_after_its_last(self) -> None:
        self.assertEqual(changes([-70.0] * 10 + [-20.0] * 50 + [-70.0] * 30), [(12, "started"), (79, "ended")])

    def test_the_end_is_dated_back_to_the_last_loud_frame(self) -> None:
        detector = SpeechDetector()
        for value in [-70.0] * 10 + [-20.0] * 50 + [-70.0] * 20:
            change = detector.heard(value)
        self.assertEqual((change, detector.quiet_ms), ("ended", 400))

    def test_a_pause_for_breath_is_no_end(self) -> None:
        self.assertEqual(changes([-20.0] * 20 + [-70.0] * 15 + [-20.0] * 20), [(2, "started")])

    def test_a_click_is_no_speech(self) -> None:
        self.assertEqual(changes([-70.0] * 10 + [-10.0] * 2 + [-70.0] * 50), [])

    def test_a_noisy_line_becomes_its_own_silence(self) -> None:
        """Noise at -45 dBFS is speech at most for a while; a voice 20 dB above it is found, and its end too."""
        noise = Random(1)
        line = [-45.0 + noise.uniform(-2, 2) for _ in range(1500)]
        voice = [value + 20.0 for value in line[:100]]
        told = changes(line + voice + line[:100])
        self.assertEqual(told[-2:], [(1502, "started"), (1619, "ended")])

    def test_what_is_very_quiet_is_no_speech(self) -> None:
        self.assertEqual(changes([-75.0] * 50 + [-55.0] * 50), [])

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.floats(-100, 0), max_size=300))
    def test_start_and_end_take_turns(self, levels: list[float]) -> None:
        told = [change for _, change in changes(levels)]
        self.assertEqual(told, ["started", "ended"] * (len(told) // 2) + ["started"] * (len(told) % 2))


class LevelTests(SynchronousTestCase):
    def test_levels(self) -> None:
        """Half of full scale is 6 dB down, whatever the frequency; silence has a floor."""
        self.assertEqual([level(b""), level(bytes(640))], [QUIETEST, QUIETEST])
        self.assertEqual(round(level(tone((440,), 8000, 100))), round(level(tone((880,), 8000, 100))))
        self.assertEqual(round(level(b"\xff\x3f" * 160), 1), -6.0)
