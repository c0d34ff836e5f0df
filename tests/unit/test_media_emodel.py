"""The E-model's figures (ITU-T G.107, G.107.1)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.emodel import Quality, delay_impairment, mos_of, quality


def rounded(found: Quality) -> tuple[float, float, str]:
    return round(found.r, 1), round(found.mos, 2), found.scale


class QualityTests(SynchronousTestCase):
    def test_perfect_calls(self) -> None:
        """Default values give 93.2 and a MOS of 4.41; G.722 has 116 of 129 on the wideband scale."""
        self.assertEqual(
            {codec: rounded(quality(codec, 0.0, 50.0)) for codec in ("PCMU", "PCMA", "G722")},
            {"PCMU": (93.2, 4.41, "narrowband"), "PCMA": (93.2, 4.41, "narrowband"), "G722": (116.0, 4.34, "wideband")},
        )

    def test_loss(self) -> None:
        """Ie,eff by hand for 2 % of loss: 95 * 2 / (2 + 4.3) = 30.16, for G.722 13 + 82 * 2 / 6.3 = 39.03."""
        self.assertEqual(
            [rounded(quality(codec, 0.02, 0.0)) for codec in ("PCMU", "PCMA", "G722")],
            [(63.0, 3.26, "narrowband")] * 2 + [(90.0, 3.58, "wideband")],
        )

    def test_delay(self) -> None:
        """Idd is nothing up to 100 ms, and by hand 14.76 for 300 ms, 24.5 for 400 ms (X = 2)."""
        by_hand = 25 * (65 ** (1 / 6) - 3 * (1 + (2 / 3) ** 6) ** (1 / 6) + 2)
        self.assertEqual(
            [round(delay_impairment(ms), 2) for ms in (0, 100, 300, 400)], [0.0, 0.0, 14.76, round(by_hand, 2)]
        )

    def test_worse_is_never_better(self) -> None:
        """Quality falls with loss and with delay, and stays between 1 and 4.5."""
        for codec in ("PCMU", "G722"):
            by_loss = [quality(codec, percent / 100, 80.0).mos for percent in range(101)]
            by_delay = [quality(codec, 0.0, float(ms)).mos for ms in range(0, 2000, 10)]
            for figures in (by_loss, by_delay):
                self.assertEqual(figures, sorted(figures, reverse=True))
                self.assertTrue(min(figures) >= 1.0 and max(figures) <= 4.5)

    def test_bounds(self) -> None:
        """Loss is taken as a fraction of 0 to 1; codecs without known impairment are an error."""
        self.assertEqual(
            (quality("PCMU", -1.0, 0.0), quality("PCMU", 7.0, 0.0)),
            (quality("PCMU", 0.0, 0.0), quality("PCMU", 1.0, 0.0)),
        )
        self.assertRaises(KeyError, quality, "opus", 0.0, 0.0)

    def test_mos_scale(self) -> None:
        """Annex B: 1 at and below 0, 4.5 at and above 100, never below 1 between; 50 gives 2.58, 80 gives 4.02."""
        self.assertEqual(
            [round(mos_of(r), 2) for r in (-5.0, 0.0, 3.0, 50.0, 80.0, 100.0, 120.0)],
            [1.0, 1.0, 1.0, 2.58, 4.02, 4.5, 4.5],
        )
