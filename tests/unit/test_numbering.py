"""Numbers that cost more than a call, and what a prefix opens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.numbering import allowed, premium

digits = st.text("0123456789", max_size=12)


class NumberingTests(SynchronousTestCase):
    def test_what_is_expensive(self) -> None:
        cases = {
            "+31201234567": "",
            "+31900123456": "premium rate",
            "+12125550100": "",
            "+18765550100": "another country within +1",
            "+19005550100": "premium rate",
            "+447911123456": "",
            "+447011123456": "premium rate",
            "+881612345678": "satellite or international network",
            "+97912345678": "premium rate",
            "+80812345678": "international shared cost",
            "+80012345678": "",
            "+4990012345678": "premium rate",
            "+4930123456": "",
            "+33899123456": "premium rate",
            "+33800123456": "",
            "+353159912345": "premium rate",
            "+35311234567": "",
            "+390612345678": "",
            "+39899123456": "premium rate",
            "+": "",
        }
        self.assertEqual({number: premium(number) for number in cases}, cases)

    def test_what_a_prefix_opens(self) -> None:
        """An expensive range only to those who name it, or a part of it."""
        cases = {
            ("+31201234567", "+31"): True,
            ("+31201234567", "+3120"): True,
            ("+31201234567", "+3130"): False,
            ("+31900123456", "+31"): False,
            ("+31900123456", "+3190"): False,
            ("+31900123456", "+31900"): True,
            ("+31900123456", "+319001"): True,
            ("+18765550100", "+1"): False,
            ("+18765550100", "+1876"): True,
        }
        self.assertEqual({case: allowed(case[0], (case[1],)) for case in cases}, cases)
        self.assertFalse(allowed("+31201234567", ()))

    @given(digits, st.lists(digits, max_size=4))
    def test_nothing_is_allowed_that_no_prefix_begins(self, number: str, prefixes: list[str]) -> None:
        """And more prefixes never close what one of them opens."""
        told = allowed("+" + number, tuple("+" + each for each in prefixes))
        self.assertEqual(told, any(allowed("+" + number, ("+" + each,)) for each in prefixes))
        if told:
            self.assertTrue(any(number.startswith(each) for each in prefixes))
