"""Accept-Language, read and looked up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.context.language import detect_language, language_ranges


class LanguageTests(SynchronousTestCase):
    def test_ranges_come_best_first_and_equals_in_the_headers_order(self) -> None:
        self.assertEqual(
            language_ranges("da, en-GB;q=0.8, en;q=0.7, nl ;q=0.8, fr;q=0, *;q=0.1"), ("da", "en-GB", "nl", "en", "*")
        )

    def test_what_cannot_be_read_is_left_out(self) -> None:
        self.assertEqual(
            language_ranges("nl-NL, ;;, q=1, toolonglanguage, en;q=2.5, de;q=0.12345, fr"), ("nl-NL", "fr")
        )

    def test_without_languages_of_the_agent_the_callers_best_counts(self) -> None:
        self.assertEqual(detect_language("en;q=0.7, nl-NL", ()), "nl-NL")
        self.assertEqual(detect_language("*", ()), "")

    def test_a_regional_range_finds_its_language(self) -> None:
        """RFC 4647 3.4: nl-NL, then nl; zh-Hant-x-a loses the single letter with what follows it."""
        self.assertEqual(detect_language("fr-CA, nl-NL;q=0.9", ("en", "nl")), "nl")
        self.assertEqual(detect_language("zh-Hant-x-a", ("zh-Hant", "en")), "zh-Hant")

    def test_the_agents_first_language_answers_where_nothing_fits(self) -> None:
        self.assertEqual(detect_language("ja", ("nl", "en")), "nl")
        self.assertEqual(detect_language("", ("nl", "en")), "nl")

    def test_a_range_is_cut_from_its_end_until_something_fits(self) -> None:
        """The example of RFC 4647 3.4, step by step; what it says last is the default."""
        wanted, steps = "zh-Hant-CN-x-private1-private2", (
            "zh-Hant-CN-x-private1-private2", "zh-Hant-CN-x-private1", "zh-Hant-CN", "zh-Hant", "zh")  # fmt: skip
        for number in range(len(steps)):
            self.assertEqual(detect_language(wanted, ("en", *reversed(steps[number:]))), steps[number])
        self.assertEqual(detect_language(wanted, ("en", "zh-Hant-CN-x", "zh-Hans")), "en")

    def test_a_range_is_no_longer_than_it_is(self) -> None:
        """Lookup, not filtering: nl does not find nl-BE, but nl-be does, as the agent spells it."""
        self.assertEqual(detect_language("nl, fr;q=0.5", ("nl-BE", "fr")), "fr")
        self.assertEqual(detect_language("NL-be", ("en", "nl-BE")), "nl-BE")

    def test_the_first_range_that_finds_something_wins_over_better_matches_of_later_ones(self) -> None:
        self.assertEqual(detect_language("de-CH-1996, en-GB;q=0.9", ("en-GB", "de")), "de")

    def test_a_wildcard_says_nothing(self) -> None:
        """RFC 4647 3.4: skipped; the default stands for it."""
        self.assertEqual(detect_language("*, en;q=0.1", ("nl", "en")), "en")
        self.assertEqual(detect_language("*", ("nl", "en")), "nl")

    def test_a_language_that_is_refused_is_no_default(self) -> None:
        """q=0 is "not acceptable" (RFC 2616 14.4); where everything is, the agent's first has to do."""
        self.assertEqual(detect_language("nl;q=0", ("nl-BE", "nl", "en")), "en")
        self.assertEqual(detect_language("ja, *;q=0.1, nl;q=0.000", ("nl", "en")), "en")
        self.assertEqual(detect_language("nl;q=0, en;q=0", ("nl", "en")), "nl")

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text())
    def test_any_text_gives_languages_of_the_agent(self, header: str) -> None:
        self.assertIn(detect_language(header, ("nl", "en")), ("nl", "en"))
