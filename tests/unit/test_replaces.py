"""Replaces and Refer-To toward us, read: whatever comes is a value or one kind of error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request
from stellar_gw.sip.refer import ReferTo, read_refer, sipfrag
from stellar_gw.sip.replaces import Replaces, parse_replaces, replaces_of
from stellar_gw.sip.uri import SipUri, parse_uri

TOKENS = st.text("abcXYZ019.!%*_+`'~-", min_size=1, max_size=40)


def request(*headers: tuple[str, str], method: str = "REFER") -> Request:
    return Request(method, SipUri(host="sip.acme.example"), Headers(headers), b"")


class ReplacesTests(SynchronousTestCase):
    def test_rfc_3891_examples(self) -> None:
        """Section 6.1: parameters in any order, early-only, tag 0 for a peer without tags."""
        values = {
            "98732@sip.example.com;from-tag=r33th4x0r;to-tag=ff87ff": Replaces(
                call_id="98732@sip.example.com", to_tag="ff87ff", from_tag="r33th4x0r"
            ),
            "12adf2f34456gs5;to-tag=12345;from-tag=54321": Replaces(
                call_id="12adf2f34456gs5", to_tag="12345", from_tag="54321"
            ),
            "87134@171.161.34.23;to-tag=24796;from-tag=0;early-only": Replaces(
                call_id="87134@171.161.34.23", to_tag="24796", from_tag="0", early_only=True
            ),
        }
        self.assertEqual({value: parse_replaces(value) for value in values}, values)
        self.assertEqual(parse_replaces("a;to-tag=b;from-tag=0").key, ("a", "b", ""))

    @given(TOKENS, TOKENS, TOKENS, st.booleans())
    def test_written_and_read(self, call_id: str, to_tag: str, from_tag: str, early: bool) -> None:
        value = Replaces(call_id=call_id, to_tag=to_tag, from_tag=from_tag, early_only=early)
        self.assertEqual(parse_replaces(str(value)), value)

    @given(st.text(max_size=60) | st.from_regex(r"[a-z@]{0,9}(;(to|from)-tag ?=?[^;]{0,9}){0,4}(;early-only)?"))
    def test_anything_else_is_one_error(self, text: str) -> None:
        try:
            value = parse_replaces(text)
        except RemoteProtocolError as error:
            self.assertEqual((error.status, error.reason.isascii()), (400, True))
        else:
            self.assertEqual(parse_replaces(str(value)), value)

    def test_one_only(self) -> None:
        """Two values, or Join beside it, are 400 (RFC 3891 3); none is none."""
        good = ("Replaces", "a;to-tag=b;from-tag=c")
        self.assertIsNone(replaces_of(request(method="INVITE")))
        for headers in ((good, good), (good, ("Join", "x;to-tag=y;from-tag=z"))):
            self.assertRaises(RemoteProtocolError, replaces_of, request(*headers, method="INVITE"))


class ReferToTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """With and without brackets, a display name, tel:, method, other parameters and headers, Replaces."""
        self.assertEqual(
            [
                read_refer(request(("Refer-To", value)))
                for value in (
                    '"Support" <sip:200@pbx.example;transport=tcp;user=phone;x-m=1?X-Evil=1>',
                    "sip:200@pbx.example",
                    "<tel:+31201234567>",
                    "<sip:200@pbx.example;method=invite?Replaces=c%3Bto-tag%3Da%3Bfrom-tag%3Db>",
                )
            ],
            [
                ReferTo(uri=parse_uri("sip:200@pbx.example;transport=tcp;user=phone")),
                ReferTo(uri=parse_uri("sip:200@pbx.example")),
                ReferTo(uri=parse_uri("tel:+31201234567")),
                ReferTo(uri=parse_uri("sip:200@pbx.example"), replaces=Replaces(call_id="c", to_tag="a", from_tag="b")),
            ],
        )

    @given(st.text(max_size=200), st.text(max_size=200))
    def test_anything_else_is_refused_with_a_status(self, value: str, by: str) -> None:
        try:
            sound = request(("Refer-To", value), ("Referred-By", by))
        except LocalProtocolError:  # nothing that a parser lets through
            return
        try:
            read_refer(sound)
        except RemoteProtocolError as error:
            self.assertIn(error.status, (400, 403))

    def test_sipfrag(self) -> None:
        self.assertEqual(
            (sipfrag(100), sipfrag(603, "Decline")), (b"SIP/2.0 100 Trying\r\n", b"SIP/2.0 603 Decline\r\n")
        )
