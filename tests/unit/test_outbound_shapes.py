"""What a file may say of calls that leave: next hops, caller IDs, allowed targets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.directory.outbound_shapes import CallerId, NextHop, TargetPattern
from stellar_gw.loading.rules import Rule
from stellar_gw.sip.uri import SipUri, parse_uri

texts = st.one_of(
    st.text(max_size=30),
    st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "sip:", "sips:", "tel:", "+31", "*.", "SIP:"]),
        st.sampled_from(["", "a@", "a:b@", "20", "*.", "%40@"]),
        st.sampled_from(["pbx.example", "10.0.0.1", "[::1]", "::1", "EXAMPLE.com.", "a..b", "1.2.3", "-a.example"]),
        st.sampled_from(["", ":5060", ":0", ";transport=tls", ";transport=x", ";lr", "?X=1", "\r\n"]),
    ),
)


def read(rule: Rule, text: str) -> object:
    try:
        return rule.read(text)
    except ValueError:
        return None


class RuleTests(SynchronousTestCase):
    def test_next_hops(self) -> None:
        """A host with port and transport, and nothing that names a user or hides another host."""
        for text in ("sip:pbx.example", "sips:pbx.example:5071", "sip:[2001:db8::1]:5060;transport=TCP", "sip:a.b;lr"):
            self.assertEqual(read(NextHop(), text), parse_uri(text))
        for text in ("pbx.example", "sip:a@b", "sip:b?X=1", "sip:b;maddr=c", "sip:b;transport=ws", "tel:+31", ""):
            self.assertIsNone(read(NextHop(), text), text)

    def test_allowed_targets(self) -> None:
        """As they are compared later: hosts in lower case, addresses in their usual spelling."""
        cases = {
            "+31": "+31",
            "+": None,
            "31": None,
            "+0": None,
            "PBX.example": "pbx.example",
            "*.PBX.example": "*.pbx.example",
            "*.example": None,
            "*": None,
            "*.": None,
            "*.0.0.1": None,
            "10.0.0.1": "10.0.0.1",
            "[2001:DB8::1]": "2001:db8::1",
            "::ffff:10.0.0.1": "10.0.0.1",
            "sip:pbx.example": None,
        }
        self.assertEqual({text: read(TargetPattern(), text) for text in cases}, cases)

    @given(texts)
    def test_whatever_a_file_says(self, text: str) -> None:
        """Is a value that reads the same again, or an error in one line."""
        for rule in (NextHop(), CallerId(), TargetPattern()):
            try:
                value = rule.read(text)
            except ValueError as error:
                self.assertNotIn("\n", str(error))
                continue
            self.assertEqual(rule.read(str(value)), value)
            if isinstance(value, SipUri):
                self.assertEqual((value.user, value.password, value.headers), (None, None, ()))
