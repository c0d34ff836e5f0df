"""X-* headers of transfers: what an agent may give along, and that nothing else comes of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.transfer.headers import MOST, MOST_OCTETS, asked_headers, checked, embedded
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.uri import SipUri, TelUri, parse_uri
from stellar_gw.sip.values import NameAddr, parse_name_addr

TARGET = SipUri(user="200", host="198.51.100.20")
OURS = (
    ("Via", "SIP/2.0/UDP 203.0.113.10:5060;branch=z9hG4bK1"),
    ("Max-Forwards", "69"),
    ("From", "<sip:a@203.0.113.10>;tag=1"),
    ("To", "<sip:200@198.51.100.20>"),
    ("Call-ID", "c1"),
    ("Contact", "<sip:gw@203.0.113.10>"),
)

# What would break out, if anything did: line ends and what some take for them, the signs that part a URI, a header
# and a list, escapes, quotes, text that is longer in octets than in characters; and, last, what is always refused.
PIECES = (
    "%0d%0a", "%00", "%", "%2", "&", "?", "=", ";", ",", ":", "<", ">", '"', "\\", "@", "/", " ", "+", "*", "'",
    "é", "\u202e",
    "\ufeff", "\u00a0", "😀", "Via: x", "X-Other=1", "&X-Evil=1", "?X-Evil=1", ">;tag=2", '"<sip:x@y>', "SIP/2.0",
    "a", "Z",
    "0", "-", "(", ")", "x" * 400, "\r\n", "\n", "\r", "\0", "\t", "\x0b", "\x7f", "\x85", "\u2028", "\udc80", "\ud800",
    "\r\nVia: SIP/2.0/UDP evil",
)  # fmt: skip
SOUND = PIECES.index("\r\n")
NAMES = (
    "X-Case-Id", "x-n", "X-A", "X-b-", "X--", "X-0", "X-" + "a" * 64, "X-Nö", "X-", "Via", "X-A: y", "X-A\r\nVia",
    "X-A B",
    "", "X-" + "a" * 65,
)  # fmt: skip
"""Seven sound ones first."""


def case(choices: bytes) -> list[tuple[str, str]]:
    """Headers as a row of octets chooses them, four for each: quicker to draw by thousands than text.

    Three of four are sound, so that what is sent is looked at more often than what is refused.
    """
    found = []
    for start in range(0, len(choices) - 3, 4):
        name, *value = choices[start : start + 4]
        sound = name < 0xF0
        names, pieces = (7, SOUND) if sound else (len(NAMES), len(PIECES))
        chosen = NAMES[(start // 4 if sound else name) % names]
        found.append((chosen, "".join(PIECES[each % pieces] for each in value)))
    return found


headers = st.binary(min_size=4, max_size=28).map(case)


def reread(method: str, items: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The headers that a peer reads from a request of ours, the common ones left out."""
    sent = Request(
        method=method, uri=TARGET, headers=Headers((*OURS, ("CSeq", f"1 {method}"), *items, ("Content-Length", "0")))
    )
    message = parse_message(sent.to_bytes(), stream=False)
    assert isinstance(message, Request)
    common = {"Via", "Max-Forwards", "From", "To", "Call-ID", "CSeq", "Contact", "Content-Length"}
    first = [name for name, _ in message.headers if name in common]
    assert len(first) == len(common), first
    return tuple((name, value) for name, value in message.headers if name not in common)


class InjectionTests(SynchronousTestCase):
    @settings(max_examples=10_000, deadline=None)
    @given(headers)
    def test_what_is_sent_is_read_as_what_was_given(self, given_headers: list[tuple[str, str]]) -> None:
        """On INVITE, on REFER, and inside Refer-To: the same headers, and no other, or nothing is sent at all."""
        kept = checked(given_headers)
        if isinstance(kept, TargetRefused):
            self.assertEqual((kept.code, kept.message.isprintable()), ("bad_headers", True))
            return
        self.assertEqual([name for name, _ in kept], [name for name, _ in given_headers])
        self.assertEqual([value for _, value in kept], [value.strip(" \t") for _, value in given_headers])
        self.assertEqual(reread("INVITE", kept), kept)
        target = embedded(TARGET, kept)
        if isinstance(target, TargetRefused):
            return
        refer_to = ("Refer-To", str(NameAddr("", target)))
        self.assertEqual(reread("REFER", (refer_to, *kept)), (refer_to, *kept))
        read = parse_name_addr(refer_to[1])
        self.assertEqual((read.display, len(read.params)), ("", 0))
        self.assertEqual(read.uri, SipUri(user="200", host="198.51.100.20", headers=kept))


class HeaderTests(SynchronousTestCase):
    def message(self, *given_headers: tuple[str, str]) -> str:
        refused = checked(given_headers)
        assert isinstance(refused, TargetRefused)
        return refused.message

    def test_what_is_refused(self) -> None:
        """Each with what would do."""
        cases = {
            (("Via", "x"),): "'Via' is no name of a header; write X- and 1 to 64 letters, digits or hyphens",
            (
                ("X-A\r\nVia", "x"),
            ): "'X-A??Via' is no name of a header; write X- and 1 to 64 letters, digits or hyphens",
            (("X-A", "x"), ("x-a", "y")): "x-a comes twice; case does not matter in header names",
            (("X-A", "x\r\nVia: y"),): "X-A must be one line of text without control characters",
            (("X-A", "é" * 513),): "X-A is longer than 1024 octets",
            tuple((f"X-{number}", "v") for number in range(33)): "a transfer has at most 32 headers",
        }
        for given_headers, message in cases.items():
            self.assertEqual(self.message(*given_headers), message)

    def test_what_may_just_be(self) -> None:
        """32 headers of 1,024 octets each, of which white space at the ends is none."""
        most = tuple((f"X-{number}", "é" * (MOST_OCTETS // 2)) for number in range(MOST))
        self.assertEqual(checked(most), most)
        self.assertEqual(checked([("X-A", " v ")]), (("X-A", "v"),))
        self.assertEqual(checked([("X-" + "a" * 64, "")]), (("X-" + "a" * 64, ""),))
        self.assertEqual(reread("INVITE", most), most)

    def test_headers_of_an_ask(self) -> None:
        """They stand among its parameters."""
        asked = {"to": "support", "header:X-Summary": "Refund", "timeout_s": "30", "header:X-Case": "4711"}
        self.assertEqual(asked_headers(asked), (("X-Summary", "Refund"), ("X-Case", "4711")))
        self.assertEqual(asked_headers({"to": "support"}), ())

    def test_in_refer_to(self) -> None:
        """Escaped as a URI's headers; a tel URI has none; 8,192 octets are the most that anybody reads."""
        uri = parse_uri("sip:200@198.51.100.20;transport=tcp")
        assert isinstance(uri, SipUri)
        self.assertEqual(
            str(embedded(uri, (("X-A", "1 & 2"), ("X-B", "ü")))),
            "sip:200@198.51.100.20;transport=tcp?X-A=1%20%26%202&X-B=%C3%BC",
        )
        self.assertEqual(str(embedded(TelUri("+31201234567"), (("X-A", "1"),))), "tel:+31201234567")
        self.assertIs(embedded(uri, ()), uri)
        self.assertEqual(
            embedded(uri, tuple((f"X-{number}", "é" * 500) for number in range(3))),
            TargetRefused("bad_headers", "the headers make a Refer-To of 9062 octets, and 8192 is the most"),
        )
