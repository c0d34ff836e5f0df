"""Digits by SIP INFO: what is understood, and what the rest is answered with."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.info import DTMF, DTMF_RELAY, Info, read_info
from stellar_gw.sip.message import Request
from tests.messages import parsed


def info(content_type: str, body: bytes, *headers: str) -> Request:
    """An INFO as it comes from the wire."""
    lines = [
        "INFO sip:600@203.0.113.10 SIP/2.0",
        "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK7",
        "From: <sip:ann@192.0.2.7>;tag=f1",
        "To: <sip:600@203.0.113.10>;tag=t1",
        "Call-ID: a1",
        "CSeq: 2 INFO",
        "Max-Forwards: 70",
        *headers,
        *([f"Content-Type: {content_type}"] if content_type else []),
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return parsed("\r\n".join(lines).encode() + body)


def digits(content_type: str, *bodies: bytes) -> list[tuple[str, int]]:
    """What each body says was pressed, and for how long."""
    found = [read_info(info(content_type, body)) for body in bodies]
    return [(each.digit, each.duration_ms) if each.status == 200 else (str(each.status), 0) for each in found]


class DigitTests(SynchronousTestCase):
    def test_dtmf_relay(self) -> None:
        """Signal and Duration, a line each, in any order and spacing, with any line ends."""
        self.assertEqual(
            digits(
                DTMF_RELAY,
                b"Signal=5\r\nDuration=160\r\n",
                b"Signal= #\r\nDuration= 250\r\n",
                b"duration=90\nsignal = *",
                b"Signal=d\r\n",
                b"Signal=0\rDuration=40",
                b"Signal=7\r\nDuration=99999999",
                b"Signal=7\r\nDuration=long",
            ),
            [("5", 160), ("#", 250), ("*", 90), ("D", 160), ("0", 160), ("7", 60000), ("7", 160)],
        )

    def test_dtmf(self) -> None:
        """The digit alone; the other type's text under this one's name is read too."""
        self.assertEqual(
            digits(DTMF, b"5", b" #\r\n", b"a\n", b"*\0", b"Signal=5\r\nDuration=80"),
            [("5", 160), ("#", 160), ("A", 160), ("*", 160), ("5", 80)],
        )

    def test_event_codes(self) -> None:
        """Some write 10 to 15 for *, #, A to D (RFC 4733 3.2)."""
        bodies = [b"Signal=%d" % code for code in range(17)]
        self.assertEqual("".join(digit for digit, _ in digits(DTMF_RELAY, *bodies)), "0123456789*#ABCD")

    def test_content_type_in_other_spelling(self) -> None:
        """Case and parameters of the content type do not matter."""
        self.assertEqual(digits("Application/DTMF-Relay ; charset=utf-8", b"Signal=5"), [("5", 160)])


class AnswerTests(SynchronousTestCase):
    def test_nothing_pressed(self) -> None:
        """A hook flash, an INFO without a body, and a body that may be ignored are accepted and mean nothing."""
        optional = "Content-Disposition: signal; handling = optional"
        found = [
            read_info(info(DTMF_RELAY, b"Signal=16\r\nDuration=100")),
            read_info(info(DTMF, b"!")),
            read_info(info("", b"")),
            read_info(info("application/x-broadsoft", b"event flash", optional)),
        ]
        self.assertEqual(found, [Info(200)] * 4)

    def test_other_bodies(self) -> None:
        """A body of another type gets 415 with what we take (RFC 3261 21.4.13)."""
        refusal = Info(415, headers=(("Accept", "application/dtmf-relay, application/dtmf"),))
        types = ("application/media_control+xml", "text/plain", "", "application/dtmf-relays")
        self.assertEqual([read_info(info(each, b"Signal=5")) for each in types], [refusal] * 4)

    def test_info_packages(self) -> None:
        """An Info Package gets 469 and an empty Recv-Info (RFC 6086 4.2.2), whatever it carries."""
        refusal = Info(469, headers=(("Recv-Info", ""),))
        found = [read_info(info(DTMF, body, "Info-Package: conference")) for body in (b"5", b"")]
        self.assertEqual(found, [refusal] * 2)

    def test_malformed(self) -> None:
        """A body that names no digit is a bad request."""
        bodies = (b"Signal=", b"Signal=55", b"Signal=x", b"Duration=160", b"\0\xff", b"Signal:5", b"Signal=17")
        refusal = Info(400, "The body names no digit")
        self.assertEqual([read_info(info(DTMF_RELAY, body)) for body in bodies], [refusal] * 7)
        self.assertEqual([read_info(info(DTMF, body)) for body in (b"x", b"5 5", b"\r\n")], [refusal] * 3)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.sampled_from((DTMF, DTMF_RELAY, "multipart/mixed", "")),
        st.lists(st.sampled_from((b"Signal", b"=", b"5", b" ", b"\r", b"\n", b"Duration", b"\0", b"16")) | st.binary()),
    )
    def test_anything(self, content_type: str, pieces: list[bytes]) -> None:
        """Nothing raises; a press is one digit with a length, everything else none."""
        found = read_info(info(content_type, b"".join(pieces)))
        self.assertIn(found.status, (200, 400, 415))
        self.assertTrue(found.digit in "0123456789*#ABCD" and len(found.digit) <= 1 and 0 <= found.duration_ms <= 60000)

    def test_long_bodies(self) -> None:
        """Long runs of anything are read in no time: only the first 1,024 octets count."""
        for octet in (b" ", b"\t", b"\0", b"\r", b"s"):
            for media in (DTMF, DTMF_RELAY):
                for head in (b"Signal=", b"Signal", b"Duration=", b""):
                    self.assertIn(read_info(info(media, head + octet * 60000 + b"x")).status, (400, 200))
