"""One source of audio at a time, however many send."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.one_source import FORGOTTEN, IN_A_ROW, MOST_BESIDE, OneSource


def taken(sources: str, source: OneSource | None = None, every: float = 0.02, start: float = 0.0) -> str:
    """Those of these packets, one letter for each by its source, that are heard; a space is a moment without one."""
    one = source or OneSource()
    moments = enumerate(sources)
    return "".join(each for place, each in moments if each != " " and one.takes(ord(each), start + every * place))


class OneSourceTests(SynchronousTestCase):
    def test_followed_at_once(self) -> None:
        """A new source is heard from its first packet on, and what comes late of the one before is not."""
        again = "b" * round(FORGOTTEN / 0.02)
        self.assertEqual(taken("aaaababab" + again + "cccc"), "aaaabbb" + again + "cccc")

    def test_beside(self) -> None:
        """Of two beside each other the later is heard, and nothing of the other."""
        self.assertEqual(taken("aaaa" + "ba" * 500), "aaaa" + "b" * 500)

    def test_three_beside(self) -> None:
        """So of three, whose order changes."""
        self.assertEqual(taken("aaaa" + "baccab" * 100), "aaaa" + "b" * 200)

    def test_one_packet_each_of_many(self) -> None:
        """Strays of ever new sources cost no more than a few packets in each half a second."""
        one, heard = OneSource(), 0
        for place in range(1000):
            heard += one.takes(7, 0.02 * place)
            one.takes(1000 + place, 0.02 * place + 0.01)
        self.assertGreater(heard, 900)

    def test_the_faster(self) -> None:
        """Of two that send packets of different length the faster is heard, and it stays so."""
        self.assertEqual(taken("aaaa" + "baaaaa" * 100), "aaaabaaa" + "aaaaa" * 99)

    def test_the_other_ends(self) -> None:
        """A source beside is taken up with its third packet after the last of the one that was heard."""
        self.assertEqual(taken("aaaa" + "ba" * 10 + "aaaa"), "aaaa" + "b" * 10 + "aaa")

    def test_a_lone_packet(self) -> None:
        """A stray packet costs two of those that go on."""
        self.assertEqual(taken("aaaabaaaa"), "aaaabaa")

    def test_a_source_that_comes_back(self) -> None:
        """After half a second of its own silence a source is followed at once, as a new one is."""
        again = round(FORGOTTEN / 0.02)
        self.assertEqual(taken("aa" + "b" * again + "aa"), "aa" + "b" * again + "aa")
        self.assertEqual(taken("aa" + "b" * (again - 5) + "aaaa"), "aa" + "b" * (again - 5) + "aa")
        self.assertEqual(taken("aab" + " " * again + "aa"), "aabaa")

    def test_nothing_grows(self) -> None:
        """However many there are, few are remembered, and none once one has been alone for a while."""
        one = OneSource()
        for ssrc in range(1000):
            one.takes(ssrc, 0.001 * ssrc)
        self.assertEqual((len(one._beside), one.alone), (MOST_BESIDE, False))
        taken("z" * 30, one, start=1.0)
        self.assertEqual((one._beside, one.alone), ({}, True))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.sampled_from("abcd"), max_size=200))
    def test_never_more_than_time(self, order: list[str]) -> None:
        """Of up to four that each send when they like, what is heard changes sources only where the one before has
        missed as many turns as prove another, but for each one's first packet."""
        one, present, missed, seen = OneSource(), "", 0, set()
        for place, each in enumerate(order):
            heard = one.takes(ord(each), 0.001 * place)
            if each == present:
                self.assertTrue(heard)
                missed = 0
            elif heard:
                self.assertTrue(each not in seen or missed >= IN_A_ROW - 1, (order, place))
                present, missed = each, 0
            else:
                missed += 1
            seen.add(each)
