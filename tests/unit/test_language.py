"""Accept-Language, read and looked up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.language import detect_language, language_ranges


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

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.text())
    def test_any_text_gives_languages_of_the_agent(self, header: str) -> None:
        self.assertIn(detect_language(header, ("nl", "en")), ("nl", "en"))
