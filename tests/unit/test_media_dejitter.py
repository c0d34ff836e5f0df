"""Audio in bursts, taken at a steady pace."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.dejitter import CALM, LONGEST_MS, MAX_MS, Dejitter

FRAME = 320
QUIET = bytes(FRAME)


def frame(number: int) -> bytes:
    return bytes([number & 0xFF or 1]) * FRAME


class DejitterTests(SynchronousTestCase):
    def test_begins_with_two(self) -> None:
        """It begins once 40 ms are there, and then loses nothing."""
        queue = Dejitter(8000)
        taken = []
        for number in range(1, 6):
            queue.push(frame(number))
            taken.append(queue.take(20))
        self.assertEqual(taken, [QUIET, frame(1), frame(2), frame(3), frame(4)])

    def test_jitter(self) -> None:
        """A packet that is 20 ms late, and then two at once, are not heard as such."""
        queue = Dejitter(8000)
        taken = []
        for pushed in ((1, 2), (3,), (), (4, 5), (6,)):
            for number in pushed:
                queue.push(frame(number))
            taken.append(queue.take(20))
        self.assertEqual((taken, queue.late), ([frame(number) for number in range(1, 6)], 0))

    def test_late(self) -> None:
        """Where nothing is left silence is sent, and the next beginning waits for 60 ms."""
        queue = Dejitter(8000)
        queue.push(frame(1) + frame(2))
        self.assertEqual([queue.take(20) for _ in range(3)], [frame(1), frame(2), QUIET])
        queue.push(frame(3) + frame(4))
        self.assertEqual((queue.take(20), queue.late), (QUIET, 1))
        queue.push(frame(5))
        self.assertEqual([queue.take(20) for _ in range(3)], [frame(3), frame(4), frame(5)])

    def test_part_of_a_frame(self) -> None:
        """What is there is not kept back for what is missing."""
        queue = Dejitter(8000)
        queue.push(frame(1) + frame(2) + b"\x01" * 100)
        self.assertEqual([queue.take(20) for _ in range(3)], [frame(1), frame(2), b"\x01" * 100 + bytes(220)])

    def test_never_waits_long(self) -> None:
        """However bad it gets, 120 ms are enough to begin."""
        queue = Dejitter(16000)
        for _ in range(20):
            queue.push(bytes(32 * LONGEST_MS))
            while queue.depth_ms:
                queue.take(20)
            queue.take(20)
        self.assertEqual((queue.late, queue.depth_ms), (20, 0))

    def test_piled_up(self) -> None:
        """What was never needed in ten seconds is cut, 20 ms at a time, down to 20 ms."""
        queue = Dejitter(8000)
        queue.push(frame(1) * 6)
        depths = []
        for _ in range(5 * CALM):
            queue.push(frame(1))
            queue.take(20)
            depths.append(queue.depth_ms)
        self.assertEqual((depths[CALM - 2], depths[-1], queue.cut_ms, queue.late), (120, 20, 100, 0))

    def test_flood(self) -> None:
        """Of a flood only the end is kept."""
        queue = Dejitter(8000)
        for number in range(100):
            queue.push(frame(number))
            self.assertLessEqual(queue.depth_ms, MAX_MS)

    def test_clear(self) -> None:
        """After clearing it begins anew."""
        queue = Dejitter(8000)
        queue.push(frame(1) * 3)
        queue.take(20)
        queue.clear()
        queue.push(frame(2))
        self.assertEqual((queue.take(20), queue.depth_ms), (QUIET, 20))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.integers(0, 900), max_size=60), st.sampled_from([10, 20, 30, 60]))
    def test_any_bursts(self, bursts: list[int], ms: int) -> None:
        """Every take is as long as asked, and nothing comes out that did not go in."""
        queue = Dejitter(8000)
        pushed = taken = 0
        for octets in bursts:
            queue.push(b"\x01" * (2 * octets))
            pushed += 2 * octets
            piece = queue.take(ms)
            taken += piece.count(1)
            self.assertEqual(len(piece), 16 * ms)
        self.assertLessEqual(taken + 16 * queue.cut_ms, pushed)
