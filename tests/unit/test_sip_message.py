"""Requests and responses as objects: typed properties, writing, answering."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import REASONS, Request, Response, response_to
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.uri import OtherUri, SipUri, TelUri, Uri, parse_uri
from stellar_gw.sip.values import CSeq

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP proxy.example.com;branch=z9hG4bK2\r\n"
    b"v: SIP/2.0/UDP client.example.com:5060;branch=z9hG4bK1;received=192.0.2.1\r\n"
    b"Record-Route: <sip:proxy.example.com;lr>\r\n"
    b"Record-Route: <sip:edge.example.com;lr>\r\n"
    b"Max-Forwards: 070\r\n"
    b"From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n"
    b"To: Bob <sip:bob@biloxi.example.com>\r\n"
    b"Call-ID: 3848276298220188511@atlanta.example.com\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Timestamp: 54\r\n"
    b"m: <sip:alice@client.example.com;transport=tcp>, <sip:alice@other.example.com>\r\n"
    b"Allow: INVITE, ACK\r\n"
    b"Allow: BYE\r\n"
    b"k: 100rel,timer\r\n"
    b"Require: x\r\n"
    b"Route: <sip:edge.example.com;lr>\r\n"
    b"Content-Type: Application/SDP;charset=utf-8\r\n"
    b"Content-Length: 3\r\n"
    b"\r\n"
    b"v=0"
)

lines = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\0") | st.sampled_from("\udc80\udcff"), max_size=20
)
names = st.text(string.ascii_letters + string.digits + "-.!%*_+`'~", max_size=10).map("X-".__add__)
extra_headers = st.lists(st.tuples(names, lines), max_size=5)
tokens = st.text(string.ascii_letters + string.digits + "-.!%*_+`'~", min_size=1, max_size=8)
uris: st.SearchStrategy[Uri] = st.one_of(
    st.builds(SipUri, user=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8), host=st.just("192.0.2.1")),
    st.builds(TelUri, number=st.just("+12015550123")),
    st.builds(OtherUri, scheme=st.just("urn"), rest=st.just("service:sos")),
)


def invite() -> Request:
    message = parse_message(INVITE, stream=False)
    assert isinstance(message, Request)
    return message


class TypedPropertyTests(SynchronousTestCase):
    def test_all(self) -> None:
        """Every typed property says what the headers say."""
        request = invite()
        self.assertEqual(
            (
                request.method, str(request.uri), [via.host for via in request.vias], request.via.transport,
                request.from_.display, request.from_.tag, request.to.tag, request.call_id, request.cseq,
                [str(each.uri) for each in request.contacts], str(request.contact),
                [str(each) for each in request.route], [str(each) for each in request.record_route],
                request.max_forwards, request.content_type, request.allow, request.supported, request.require,
                request.body,
            ),
            (
                "INVITE", "sip:bob@biloxi.example.com", ["proxy.example.com", "client.example.com"], "TCP",
                "Alice", "9fxced76sl", None, "3848276298220188511@atlanta.example.com", CSeq(1, "INVITE"),
                ["sip:alice@client.example.com;transport=tcp", "sip:alice@other.example.com"],
                "<sip:alice@client.example.com;transport=tcp>",
                ["<sip:edge.example.com;lr>"], ["<sip:proxy.example.com;lr>", "<sip:edge.example.com;lr>"],
                70, "application/sdp", ("INVITE", "ACK", "BYE"), ("100rel", "timer"), ("x",),
                b"v=0",
            ),
        )  # fmt: skip

    def test_absent(self) -> None:
        """What need not be there is empty; what must be there raises."""
        request = Request("OPTIONS", parse_uri("sip:h"))
        self.assertEqual(
            (request.vias, request.contacts, request.contact, request.route, request.record_route,
             request.max_forwards, request.content_type, request.allow, request.supported, request.require),
            ((), (), None, (), (), None, "", (), (), ()),
        )  # fmt: skip
        for name in ("via", "from_", "to", "call_id", "cseq"):
            with self.assertRaises(RemoteProtocolError):
                getattr(request, name)

    def test_they_follow_the_headers(self) -> None:
        """A changed header changes what is read from it, and nothing else is read again."""
        request = invite()
        from_ = request.from_
        request.headers.replace("CSeq", "2 INVITE")
        self.assertEqual(request.cseq, CSeq(2, "INVITE"))
        self.assertIs(request.from_, from_)

    def test_the_top_via_is_filled_in(self) -> None:
        """``received`` and ``rport`` go into the top Via, the others stay (RFC 3581 4)."""
        request = invite()
        request.replace_via(
            parse_message(INVITE.replace(b"=z9hG4bK2", b"=z9hG4bK2;received=192.0.2.9"), stream=False).via
        )
        self.assertEqual(
            (request.headers.all("Via"), request.via.received),
            (["SIP/2.0/TCP proxy.example.com;branch=z9hG4bK2;received=192.0.2.9",
              "SIP/2.0/UDP client.example.com:5060;branch=z9hG4bK1;received=192.0.2.1"], "192.0.2.9"),
        )  # fmt: skip


class WritingTests(SynchronousTestCase):
    def test_content_length_is_ours(self) -> None:
        """Content-Length is written once, last and right, whatever the headers say."""
        request = Request(
            "OPTIONS", parse_uri("sip:h"), [("l", "9"), ("To", "<sip:h>"), ("Content-Length", "8")], b"ab"
        )
        self.assertEqual(request.to_bytes(), b"OPTIONS sip:h SIP/2.0\r\nTo: <sip:h>\r\nContent-Length: 2\r\n\r\nab")

    def test_an_empty_reason_is_written(self) -> None:
        """The space before an empty reason phrase is there (RFC 3261 25.1 Status-Line)."""
        self.assertEqual(Response(100).to_bytes(), b"SIP/2.0 100 \r\nContent-Length: 0\r\n\r\n")

    def test_octets_pass_unchanged(self) -> None:
        """UTF-8 and what is no UTF-8 leave as the octets they came as."""
        data = INVITE.replace(b"From: Alice", b'From: "\xff\xc3\xa9"').replace(b"070\r\n", b"70\r\nSubject: \xfe\r\n")
        self.assertIn(b'From: "\xff\xc3\xa9" <', parse_message(data, stream=True).to_bytes())
        self.assertIn(b"Subject: \xfe\r\n", parse_message(data, stream=True).to_bytes())

    def test_start_lines_cannot_be_broken(self) -> None:
        """A method, URI, status or reason that would break the start line is refused."""
        uri = parse_uri("sip:h")
        for message in (
            Request("A B", uri), Request("", uri), Request("A\r\nX:", uri), Request("A", OtherUri("urn", "a b")),
            Request("A", OtherUri("urn", "\r\n")), Request("A", SipUri(host="a b")), Response(99), Response(700),
            Response(200, "a\r\nb"), Response(200, "\0"), Response(200, "\ud800"),
            Request("A", OtherUri("urn", "\ud800")),
        ):  # fmt: skip
            with self.assertRaises(LocalProtocolError):
                message.to_bytes()

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(tokens, uris, extra_headers, st.binary(max_size=40))
    def test_requests_read_the_same(self, method: str, uri: Uri, headers: list[tuple[str, str]], body: bytes) -> None:
        """Any request that we can write, our parser reads as the same, and writes as the same octets."""
        base = [(name, value) for name, value in invite().headers if name not in ("CSeq", "Content-Length")]
        request = Request(method, uri, Headers([("CSeq", f"7 {method}"), *headers, *base]), body)
        written = request.to_bytes()
        read = parse_message(written, stream=True)
        self.assertEqual((read.to_bytes(), read.body), (written, body))
        assert isinstance(read, Request)
        self.assertEqual((read.method, read.uri), (method, uri))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.integers(100, 699), lines, extra_headers, st.binary(max_size=40), st.none() | tokens)
    def test_responses_read_the_same(
        self, status: int, reason: str, headers: list[tuple[str, str]], body: bytes, to_tag: str | None
    ) -> None:
        """Any response that we can write, our parser reads as the same."""
        response = response_to(invite(), status, reason, headers, body, to_tag)
        written = response.to_bytes()
        read = parse_message(written, stream=True)
        self.assertEqual((read.to_bytes(), read.body, read.to.tag), (written, body, to_tag))
        assert isinstance(read, Response)
        self.assertEqual(read.status, status)


class ResponseToTests(SynchronousTestCase):
    def test_what_is_copied(self) -> None:
        """Via, From, To, Call-ID, CSeq and Timestamp are copied in order, the tag added (RFC 3261 8.2.6.2)."""
        self.assertEqual(
            response_to(invite(), 486, to_tag="x", headers=[("Warning", '399 gw "ref 1"')]).to_bytes(),
            b"SIP/2.0 486 Busy Here\r\n"
            b"Via: SIP/2.0/TCP proxy.example.com;branch=z9hG4bK2\r\n"
            b"Via: SIP/2.0/UDP client.example.com:5060;branch=z9hG4bK1;received=192.0.2.1\r\n"
            b"From: Alice <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n"
            b"To: Bob <sip:bob@biloxi.example.com>;tag=x\r\n"
            b"Call-ID: 3848276298220188511@atlanta.example.com\r\n"
            b"CSeq: 1 INVITE\r\n"
            b"Timestamp: 54\r\n"
            b'Warning: 399 gw "ref 1"\r\n'
            b"Content-Length: 0\r\n\r\n",
        )

    def test_record_route_forms_dialogs(self) -> None:
        """Record-Route goes into 101 to 299 of INVITE only, in order (RFC 3261 12.1.1)."""
        both = ["<sip:proxy.example.com;lr>", "<sip:edge.example.com;lr>"]
        bye = invite()
        bye.method = "BYE"
        self.assertEqual(
            [response_to(invite(), status).headers.all("Record-Route") for status in (100, 180, 200, 302, 486)]
            + [response_to(bye, 200).headers.all("Record-Route")],
            [[], both, both, [], [], []],
        )

    def test_a_tag_that_is_there_stays(self) -> None:
        """Inside a dialog To keeps the tag it has, brackets or not."""
        request = invite()
        request.headers.replace("To", "sip:b@h;tag=1")
        self.assertEqual(response_to(request, 200, to_tag="2").headers.first("To"), "sip:b@h;tag=1")
        request.headers.replace("To", "sip:b@h")
        self.assertEqual(response_to(request, 200, to_tag="2").to.tag, "2")
        with self.assertRaises(LocalProtocolError):
            response_to(request, 200, to_tag="a;b")

    def test_reasons(self) -> None:
        """Every status has its phrase, another may be given, and unknown ones have none."""
        request = invite()
        self.assertEqual(
            [
                response_to(request, 404).reason,
                response_to(request, 404, "Gone").reason,
                response_to(request, 299).reason,
            ],
            [REASONS[404], "Gone", ""],
        )

    def test_equality(self) -> None:
        """Messages are equal when they say the same; where Content-Length stands says nothing."""
        other = invite()
        other.headers.remove("Content-Length")
        self.assertEqual(other, invite())
        other.body = b""
        self.assertNotEqual(other, invite())
        self.assertEqual((repr(invite()), repr(Response(200))), (
            "<Request INVITE, 18 headers, 3 octets>", "<Response 200, 0 headers, 0 octets>",
        ))  # fmt: skip
