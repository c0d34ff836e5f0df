"""When a leg counts as dead, and alive again."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.liveness import Back, Liveness, Lost


def watch(leg: Liveness, start: int, end: int) -> list[tuple[int, Lost | Back]]:
    """What a check each second says."""
    return [(second, change) for second in range(start, end) if (change := leg.check(float(second))) is not None]


class LivenessTests(SynchronousTestCase):
    def test_never_any_media(self) -> None:
        """30 s without any packet, counted from the answer, are a loss, told once."""
        leg = Liveness(0.0)
        leg.restart(10.0)
        self.assertEqual(watch(leg, 10, 200), [(40, Lost(False, 30.0))])

    def test_media_stops(self) -> None:
        """30 s after the last packet, RTP or RTCP, it is lost; the next one is its return, and it may be lost again."""
        leg = Liveness(0.0)
        leg.heard(5.0)
        found = watch(leg, 5, 50)
        leg.heard(50.0)
        found += watch(leg, 50, 100)
        self.assertEqual(found, [(35, Lost(True, 30.0)), (50, Back()), (80, Lost(True, 30.0))])

    def test_steady_media(self) -> None:
        """As long as something comes every 29 s nothing is said."""
        leg = Liveness(0.0)
        found = []
        for start in range(0, 2900, 29):
            leg.heard(float(start))
            found += watch(leg, start, start + 29)
        self.assertEqual(found, [])

    def test_hold(self) -> None:
        """On hold the limit is an hour; the end of the hold gives 30 s to begin."""
        leg = Liveness(0.0)
        leg.heard(0.0)
        leg.hold(True, 20.0)
        found = watch(leg, 20, 3600)
        leg.hold(True, 3600.0)
        leg.hold(False, 3610.0)
        self.assertEqual((found, watch(leg, 3610, 3700)), ([], [(3640, Lost(True, 30.0))]))

    def test_hold_that_never_ends(self) -> None:
        """An hour of hold without a packet is a loss."""
        leg = Liveness(0.0)
        leg.hold(True, 100.0)
        self.assertEqual(watch(leg, 100, 8000), [(3700, Lost(False, 3600.0))])

    def test_hold_after_a_loss(self) -> None:
        """A leg that was lost and goes on hold is no longer lost."""
        leg = Liveness(0.0)
        found = watch(leg, 0, 40)
        leg.hold(True, 40.0)
        self.assertEqual(found + watch(leg, 40, 100), [(30, Lost(False, 30.0)), (40, Back())])

    def test_own_limits(self) -> None:
        """Both limits can be set."""
        leg = Liveness(0.0, limit=2.0, hold_limit=4.0)
        found = watch(leg, 0, 3)
        leg.hold(True, 3.0)
        self.assertEqual(found + watch(leg, 3, 9), [(2, Lost(False, 2.0)), (3, Back()), (7, Lost(False, 4.0))])
