"""Tones that repeat: what they are written as, and what they sound like."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.cadence import MAX_MS, NAMED, CadenceError, cadence


class CadenceTests(SynchronousTestCase):
    def test_ringback(self) -> None:
        """Ringback is a second of 425 Hz and four of silence (ITU-T E.180)."""
        pcm = cadence("ringback", 8000)
        heard = dominant_tone(pcm[:16000], 8000)
        assert heard is not None
        self.assertApproximates(heard.hertz, 425, 2)
        self.assertEqual((len(pcm), pcm[16000:]), (80000, bytes(64000)))

    def test_two_frequencies(self) -> None:
        """Frequencies of one part sound together, parts one after the other."""
        pcm = cadence("440+480/200,0/100,1000/200", 8000)
        heard = dominant_tone(pcm[-3200:], 8000)
        assert heard is not None
        self.assertApproximates(heard.hertz, 1000, 3)
        self.assertEqual((len(pcm), pcm[3200:4800]), (8000, bytes(1600)))

    def test_names(self) -> None:
        """Every name can be had at the rates of our codecs."""
        for name in NAMED:
            self.assertEqual(len(cadence(name, 16000)), 2 * len(cadence(name, 8000)))

    def test_refused(self) -> None:
        """What is none is refused, and the refusal says what one is."""
        refused = (
            "", "nonsense", "440", "440/", "/200", "440/0", "0/0", "-1/200", "440/1e3", "440/20001", "20/200",
            "9000/200",
            "440+450+460+470+480/200", ",".join(["440/100"] * 17), "440/\u0661", "440/200,", "0+440/100",
        )  # fmt: skip
        for text in refused:
            with self.assertRaises(CadenceError, msg=text) as caught:
                cadence(text, 8000)
            self.assertIn("440+480/2000,0/4000", str(caught.exception))

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(st.text(alphabet="0123456789+/, .abringck-", max_size=40))
    def test_any_text(self, text: str) -> None:
        """Any text is a cadence of 20 s at most, or refused."""
        try:
            pcm = cadence(text, 8000)
        except CadenceError:
            return
        self.assertTrue(0 < len(pcm) <= 16 * MAX_MS)
