"""RTP ports lent at random, in slices, with a rest between two calls."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.ports import PortSlice, cut


class CutTests(SynchronousTestCase):
    def test_slices(self) -> None:
        """Slices begin with even ports, touch without overlapping, and differ by one pair at most."""
        self.assertEqual(cut(10001, 10017, 3), ((10002, 10006), (10006, 10010), (10010, 10016)))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.integers(1, 65535), st.integers(1, 65536), st.integers(-1, 40))
    def test_any_range(self, low: int, high: int, parts: int) -> None:
        """Every pair of the range is in exactly one slice, or there are too few and the error says so."""
        try:
            slices = cut(low, high, parts)
        except ValueError as error:
            self.assertTrue(str(error).startswith(f"RTP ports {low} to {high - 1} "))
            self.assertTrue(parts < 1 or (high - low - low % 2) // 2 < parts)
            return
        rng = random.Random(1)
        taken = []
        for each in slices:
            ports = PortSlice(*each, rng)
            taken.append([ports.take(0.0) for _ in range((each[1] - each[0]) // 2 + 1)])
            self.assertIsNone(taken[-1].pop())
        expected = list(range(low + low % 2, high - 1, 2))
        self.assertEqual(sorted(port for ports in taken for port in ports if port), expected)
        self.assertLessEqual(max(map(len, taken)) - min(map(len, taken)), 1)

    def test_errors(self) -> None:
        """A range that is none, and one too small for its workers, are named."""
        self.assertEqual(
            [str(self.assertRaises(ValueError, cut, *args)) for args in ((0, 10, 1), (20, 70000, 1), (11, 14, 2))],
            [
                "RTP ports 0 to 9 are no range of UDP ports: both must lie in 1 to 65535",
                "RTP ports 20 to 69999 are no range of UDP ports: both must lie in 1 to 65535",
                "RTP ports 11 to 13 hold 1 pairs, 2 workers need one or more each",
            ],
        )


class PortSliceTests(SynchronousTestCase):
    def test_exhausted(self) -> None:
        """When all are taken there is none, until one has rested for 5 s."""
        ports = PortSlice(10000, 10006, random.Random(1))
        taken = {ports.take(0.0) for _ in range(3)}
        none = ports.take(0.0)
        ports.give_back(10002, 10.0)
        found = none, ports.take(14.9), ports.take(15.0), ports.take(100.0)
        self.assertEqual((taken, found), ({10000, 10002, 10004}, (None, None, 10002, None)))

    def test_only_whole_pairs(self) -> None:
        """Ports are even, and neither they nor the RTCP ports above them leave the slice."""
        ports = PortSlice(10001, 10007, random.Random(1))
        self.assertEqual(({ports.take(0.0) for _ in range(2)}, ports.take(0.0)), ({10002, 10004}, None))

    def test_random(self) -> None:
        """Ports come in no order, each as likely as any other."""
        first = [PortSlice(10000, 10020, random.Random(seed)).take(0.0) for seed in range(2000)]
        shares = [first.count(port) for port in range(10000, 10020, 2)]
        self.assertTrue(min(shares) > 140 and max(shares) < 260, shares)

    def test_given_back_twice(self) -> None:
        """Giving back what is not taken is our own mistake, not a second copy of the port."""
        ports = PortSlice(10000, 10004, random.Random(1))
        port = ports.take(0.0)
        assert port is not None
        ports.give_back(port, 0.0)
        self.assertRaises(LocalProtocolError, ports.give_back, port, 0.0)
        self.assertRaises(LocalProtocolError, ports.give_back, 9, 0.0)

    def test_ten_thousand_calls(self) -> None:
        """After 10,000 calls on ten ports none is missing, and none was reused within its rest."""
        ports = PortSlice(10000, 10020, random.Random(1))
        rested: dict[int, float] = {}
        early: list[int] = []
        now = 0.0
        for _ in range(10000):
            now += 0.6
            port = ports.take(now)
            assert port is not None
            if now - rested.get(port, -9.0) < 5.0:
                early.append(port)
            ports.give_back(port, now)
            rested[port] = now
        ports.take(now + 5.0)
        self.assertEqual((early, ports.taken + ports.free, ports.taken), ([], 10, 1))
