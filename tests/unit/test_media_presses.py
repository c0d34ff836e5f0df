"""One press told in several ways is one digit; two presses told the same way are two."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.presses import MAX_DIGITS, MAX_RECENT, Presses, Way

EVENT: Way = "rfc4733"
INFO: Way = "info"
TONE: Way = "inband"


def tell(*reports: tuple[float, str, Way], duration: int = 160) -> tuple[str, int]:
    """The digits counted, and how many reports were of a press known already."""
    presses = Presses()
    for now, digit, way in reports:
        presses.reported(digit, duration, way, now)
    return presses.digits, presses.doubled


class PressTests(SynchronousTestCase):
    def test_one_way_alone(self) -> None:
        """However fast the same key is pressed, one way's reports are presses of their own."""
        self.assertEqual(
            [tell(*((0.1 * place, "5", way) for place in range(4))) for way in (EVENT, INFO, TONE)], [("5555", 0)] * 3
        )

    def test_told_by_all_ways(self) -> None:
        """An event, an INFO and the tone in the audio are one press, in any order."""
        orders = [(EVENT, INFO, TONE), (TONE, EVENT, INFO), (INFO, TONE, EVENT)]
        self.assertEqual(
            [tell(*((1 + place / 5, "5", way) for place, way in enumerate(order))) for order in orders], [("5", 2)] * 3
        )

    def test_the_same_key_twice(self) -> None:
        """Two fast presses told in two ways are two, whether the reports alternate or come in a row."""
        alternating = [(0.0, "5", EVENT), (0.05, "5", INFO), (0.3, "5", EVENT), (0.35, "5", INFO)]
        in_a_row = [(0.0, "5", EVENT), (0.3, "5", EVENT), (0.5, "5", INFO), (0.9, "5", INFO)]
        self.assertEqual([tell(*alternating), tell(*in_a_row)], [("55", 2)] * 2)

    def test_a_report_is_lost(self) -> None:
        """Where one way lost a press the other one tells it, before or after one that both tell."""
        first = [(0.0, "5", INFO), (1.0, "5", EVENT), (1.05, "5", INFO)]
        last = [(0.0, "5", EVENT), (0.05, "5", INFO), (1.0, "5", INFO)]
        self.assertEqual([tell(*first), tell(*last)], [("55", 1)] * 2)

    def test_other_digits(self) -> None:
        """Another digit is another press, and told out of order each finds its own."""
        mixed = [(0.0, "1", EVENT), (0.2, "2", EVENT), (0.4, "2", INFO), (0.5, "1", INFO), (0.6, "3", INFO)]
        self.assertEqual(tell(*mixed), ("123", 2))

    def test_too_far_apart(self) -> None:
        """More than 2 s after the end of a press the same digit is a new one."""
        presses = Presses()
        found = [
            presses.reported("5", 100, way, now)
            for now, way in ((10.0, EVENT), (12.05, INFO), (20.0, EVENT), (22.2, INFO))
        ]
        self.assertEqual((found, presses.digits), ([True, False, True, True], "555"))

    def test_a_long_press(self) -> None:
        """A key held for 5 s is told by INFO at its pressing, by events at its release: once."""
        presses = Presses()
        found = presses.reported("9", 0, INFO, 1.0), presses.reported("9", 5000, EVENT, 6.1)
        self.assertEqual((found, presses.digits), ((True, False), "9"))

    def test_bounded(self) -> None:
        """What is kept of a flood is bounded: the digits, and the presses that wait for another report."""
        presses = Presses()
        told = [presses.reported("5", 0, INFO, 0.0) for _ in range(1000)]
        doubles = [presses.reported("5", 0, EVENT, 0.0) for _ in range(1000)]
        self.assertEqual((all(told), len(presses.digits), doubles.count(False)), (True, MAX_DIGITS, MAX_RECENT))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text("0123456789*#", max_size=12), st.integers(0, 2**31), st.floats(0.1, 3.0))
    def test_any_two_ways(self, keys: str, seed: int, gap: float) -> None:
        """Presses told in two ways, each way in order and up to 0.3 s late, one report of a press lost: all once."""
        choose = random.Random(seed)
        reports: list[tuple[float, str, Way]] = []
        for way in (EVENT, INFO):
            late = 0.0
            for place, key in enumerate(keys):
                late = max(place * gap + choose.random() * 0.3, late)
                if place % 3 != (0 if way == EVENT else 1) or gap < 2.5:
                    reports.append((late, key, way))
        digits, _ = tell(*sorted(reports, key=lambda report: report[0]))
        self.assertEqual(sorted(digits), sorted(keys))
