"""What an INVITE says of who calls, by whose word, and by which way."""

from __future__ import annotations

from attrs import asdict
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.context.context import MOST_OCTETS, bounded, make_context, number_of
from stellar_gw.call.context.provenance import MOST, MOST_HISTORY, Provenance, provenance_of
from tests.messages import flow, invite, parsed
from tests.unit.test_context import ROUTE

TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=120)


def said(*headers: tuple[str, str]) -> Provenance:
    return provenance_of(parsed(invite(headers=headers)), bounded, number_of)


class ProvenanceTests(SynchronousTestCase):
    def test_an_ordinary_call_says_nothing(self) -> None:
        self.assertEqual(said(), Provenance())

    def test_privacy(self) -> None:
        """Its words, in lower case, from every line (RFC 3323 4.2)."""
        self.assertEqual(said(("Privacy", "Header ; ID"), ("Privacy", "critical")).privacy, "header; id; critical")
        self.assertEqual(said(("Privacy", "none")).privacy, "none")

    def test_the_last_diversion_is_who_had_the_call(self) -> None:
        """Diversion's first value (RFC 5806 4), on one line or many; its reason in lower case."""
        first, second = (
            "<sip:+441632960288@198.51.100.80>;reason=No-Answer",
            "Desk <tel:+1-312-555-0199>;reason=user-busy",
        )
        for headers in ((("Diversion", f"{first}, {second}"),), (("Diversion", first), ("Diversion", second))):
            found = said(*headers)
            self.assertEqual(
                (found.diversion, found.diverted_from, found.diversion_reason),
                ((first, second), "+441632960288", "no-answer"),
            )

    def test_a_diversion_without_a_number_or_reason(self) -> None:
        found = said(("Diversion", "<sip:reception@pbx.example>"))
        self.assertEqual((found.diverted_from, found.diversion_reason), ("sip:reception@pbx.example", "unknown"))

    def test_history_info(self) -> None:
        """The last entry that the call has left for a reason (RFC 7044 5.1), by its cause's name (RFC 6044 7.3)."""
        teams = (
            "<sip:+12025550199@sip.pstnhub.example;user=phone?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%22>;index=1"
        )
        busy = "<sip:+31201230001@h?Reason=SIP%3Bcause%3D486&Privacy=none>;index=1.1"
        target = "<sip:+31201230002@h>;index=1.2;mp=1.1"
        for values, wanted in (
            ((teams,), ("+12025550199", "unconditional")),
            ((teams, busy, target), ("+31201230001", "user-busy")),
            ((target,), ("", "")),
        ):
            found = said(*(("History-Info", value) for value in values))
            self.assertEqual((found.diverted_from, found.diversion_reason), wanted)
            self.assertEqual(found.history_info, values)

    def test_verstat_wherever_it_stands(self) -> None:
        """In the asserted identity before From; as parameter of the URI, of its user part or of a tel URI."""
        for name, value in (
            ("P-Asserted-Identity", '"WIRELESS" <sip:+12015550159@192.0.2.113:5060;verstat=TN-Validation-Passed>'),
            ("P-Asserted-Identity", "<sip:+12015550159;verstat=TN-Validation-Passed@192.0.2.113;user=phone>"),
            ("P-Asserted-Identity", "<sip:a@h>, <tel:+12015550159;verstat=TN-Validation-Passed>"),
        ):
            self.assertEqual(said((name, value)).verstat, "TN-Validation-Passed", value)
        self.assertEqual(said(("P-Asserted-Identity", "<sip:a@h;verstat=no%20word>")).verstat, "")

    def test_attestation(self) -> None:
        values = ("A", "b", " C ", "D", "AB", "")
        self.assertEqual([said(("Attestation-Info", each)).attestation for each in values], ["A", "B", "C", "", "", ""])
        self.assertEqual(said(("P-Attestation-Indicator", "A")).attestation, "A")

    def test_a_token_is_whole_or_not_there(self) -> None:
        """One of more than 4,096 octets is left out: a signature that was cut proves nothing."""
        token = "e30." + "x" * 3000 + ".sig;info=<https://cert.example/1>;alg=ES256;ppt=shaken"
        self.assertEqual(said(("Identity", token)).identity, (token,))
        self.assertEqual(said(("y", token), ("Identity", "x" * 4097)).identity, (token,))

    def test_user_to_user(self) -> None:
        value = "56a390f3d2b7310023a2;encoding=hex;purpose=isdn-uui;content=isdn-uui"
        self.assertEqual(said(("User-to-User", value)).user_to_user, (value,))

    def test_it_reaches_the_agent(self) -> None:
        request = parsed(invite(headers=(("Diversion", "<tel:+31201230000>;reason=no-answer"), ("Privacy", "id"))))
        context = make_context(request, flow(), ROUTE, "c-1", codec="")
        self.assertEqual((context.privacy, context.diverted_from), ("id", "+31201230000"))

    @settings(max_examples=500, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["Diversion", "History-Info", "Privacy", "P-Asserted-Identity", "User-to-User", "Identity",
                     "Attestation-Info"]
                ),
                TEXT | st.sampled_from(["<sip:", "?Reason=SIP%3Bcause%3D302", '"', ">,<", ";verstat=", "%", "<tel:+"]),
            ),
            max_size=20,
        )
    )  # fmt: skip
    def test_anything_is_bounded_and_taken_calmly(self, headers: list[tuple[str, str]]) -> None:
        found = said(*headers)
        texts = [text for value in asdict(found).values() for text in ((value,) if isinstance(value, str) else value)]
        self.assertTrue(all(len(text) <= MOST_OCTETS for text in texts))
        self.assertLessEqual(max(len(found.diversion), len(found.user_to_user), len(found.identity)), MOST)
        self.assertLessEqual(len(found.history_info), MOST_HISTORY)
