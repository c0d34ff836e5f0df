"""Headers, and the structured values in them."""

from __future__ import annotations

import string

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.params import Params, Quoted
from stellar_gw.sip.uri import OtherUri, SipUri
from stellar_gw.sip.values import (
    CSeq,
    NameAddr,
    Via,
    parse_cseq,
    parse_name_addr,
    parse_name_addrs,
    parse_params,
    parse_tokens,
    parse_via,
    parse_vias,
    quote,
    split_list,
    unquote,
)

ALICE = SipUri(user="alice", host="example.com")
text_of_a_line = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=15)
tokens = st.text(string.ascii_letters + string.digits + "-.!%*_+`'~", min_size=1, max_size=10)
values = st.none() | text_of_a_line | text_of_a_line.map(Quoted)
header_params = st.lists(st.tuples(tokens, values), max_size=4).map(Params)
header_soup = st.text('sip:@;=<>"\\,. \tabz9/[]%\0\r\né\ufffd\udc80', max_size=40)


class HeadersTests(SynchronousTestCase):
    def test_names_fold(self) -> None:
        """Case and compact forms are one name (RFC 3261 7.3.3)."""
        headers = Headers([("v", "1"), ("VIA", "2"), ("x-FOO", "3"), ("X-Foo", "4"), ("k", "a")])
        self.assertEqual(
            (list(headers), headers.all("via"), headers.all("V"), headers.all("X-foo"), headers.first("Supported")),
            ([("Via", "1"), ("Via", "2"), ("x-FOO", "3"), ("X-Foo", "4"), ("Supported", "a")],
             ["1", "2"], ["1", "2"], ["3", "4"], "a"),
        )  # fmt: skip
        self.assertTrue("V" in headers and "via" in headers and "To" not in headers)
        self.assertEqual((headers.first("To"), headers.all("To"), len(headers)), (None, [], 5))

    def test_changes(self) -> None:
        """Lines are added at either end, replaced in place, and removed."""
        headers = Headers([("To", "t"), ("Via", "1"), ("From", "f"), ("Via", "2")])
        headers.prepend("v", "0")
        headers.replace("Via", "a", "b")
        headers.add("Route", "<r>")
        headers.remove("f")
        headers.replace("i", "id")
        self.assertEqual(list(headers), [("Via", "a"), ("Via", "b"), ("To", "t"), ("Route", "<r>"), ("Call-ID", "id")])
        headers.replace("via")
        self.assertEqual(list(headers), [("To", "t"), ("Route", "<r>"), ("Call-ID", "id")])

    def test_what_was_parsed_follows_changes(self) -> None:
        """A remembered value is forgotten when its header changes, and a copy shares nothing that changes."""
        headers = Headers([("Supported", "a")])
        copy = headers.copy()
        before = [each.parsed("supported", parse_tokens) for each in (headers, copy)]
        headers.add("k", "b")
        after = [each.parsed("supported", parse_tokens) for each in (headers, copy)]
        self.assertEqual((before, after), ([("a",), ("a",)], [("a", "b"), ("a",)]))

    def test_nothing_breaks_out(self) -> None:
        """CR, LF, NUL, names that are no tokens and lone surrogates are refused wherever they come in."""
        for name, value in (
            ("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\rb"), ("X", "\0"), ("X", "\ud800"), ("X Y", "a"), ("X:", "a"),
            ("", "a"), ("X\r\n", "a"), ("Ä", "a"), ("\u212aey", "a"),
        ):  # fmt: skip
            headers = Headers([("To", "x")])
            for change in (headers.add, headers.prepend, headers.replace):
                with self.assertRaises(LocalProtocolError):
                    change(name, value)
            with self.assertRaises(LocalProtocolError):
                Headers([(name, value)])
            self.assertEqual(list(headers), [("To", "x")])

    def test_repr_shows_no_values(self) -> None:
        """Credentials and numbers do not get into logs by way of repr."""
        self.assertEqual(repr(Headers([("Authorization", "secret")])), "Headers(Authorization)")


class ListTests(SynchronousTestCase):
    def test_commas_in_quotes_and_brackets_do_not_cut(self) -> None:
        """Items end at top-level commas only."""
        self.assertEqual(
            split_list(r'"a, \" b" <sip:x,y@z>;p="1,2" , <sip:c>,, d '),
            [r'"a, \" b" <sip:x,y@z>;p="1,2"', "<sip:c>", "d"],
        )
        self.assertEqual((split_list(""), split_list(" , "), split_list(" a ")), ([], [], ["a"]))

    def test_unbalanced(self) -> None:
        """A quote or bracket that is never closed is refused, if a comma makes it matter."""
        for value in ('a, "b', "a, <b", '"a, b\\"'):
            with self.assertRaises(RemoteProtocolError):
                split_list(value)

    def test_quoted_strings(self) -> None:
        """Quotes and backslashes are escaped; anything may be escaped."""
        self.assertEqual((quote('a"b\\c'), unquote(r'"\a\"\\"'), unquote("a")), (r'"a\"b\\c"', 'a"\\', "a"))
        for bad in ('"', '"a', '"a\\"', '"a"b', '"a"b"'):
            with self.assertRaises(RemoteProtocolError):
                unquote(bad)
        for bad in ("\r", "\n", "\0"):
            with self.assertRaises(LocalProtocolError):
                quote(bad)

    def test_tokens(self) -> None:
        """Lists of tokens come from all lines; what is no token is left out."""
        self.assertEqual(parse_tokens(["INVITE,ACK ,, BYE", " a b,<x>,100rel"]), ("INVITE", "ACK", "BYE", "100rel"))


class ParamsTests(SynchronousTestCase):
    def test_reading(self) -> None:
        """Names are case-insensitive, values unquoted, white space anywhere (RFC 4475 3.1.1.1)."""
        self.assertEqual(
            parse_params(';  Tag =  1;lr;text="a\\"b" ;received=2001:db8::9;x='),
            Params([("tag", "1"), ("lr", None), ("text", 'a"b'), ("received", "2001:db8::9"), ("x", "")]),
        )
        self.assertEqual(parse_params(""), Params())

    def test_reading_by_name(self) -> None:
        """A flag is there without a value; an absent parameter is not there."""
        params = parse_params(";LR;ob=")
        self.assertEqual(
            (params.get("lr"), params.get("ob"), params.get("x"), params.get("x", "d"), "Lr" in params, "x" in params),
            (None, "", None, "d", True, False),
        )

    def test_changes_make_new_ones(self) -> None:
        """A parameter is set in place, or taken out, and the original stays."""
        params = Params([("a", "1"), ("b", None)])
        changed = params.with_("A", "2").with_("c").without("B")
        self.assertEqual((params.to_header(), changed.to_header()), (";a=1;b", ";a=2;c"))
        self.assertEqual((hash(Params([("a", "1")])), len(changed)), (hash(Params([("A", "1")])), 2))

    def test_writing_quotes_what_must_be(self) -> None:
        """A value that is no token is quoted, and one that came in quotes leaves in quotes."""
        params = parse_params(';+sip.instance="<urn:uuid:1>";q="1"').with_("x", 'a"b').with_("h", "[::1]")
        self.assertEqual(params.to_header(), ';+sip.instance="<urn:uuid:1>";q="1";x="a\\"b";h=[::1]')
        for name, value in (("a b", "1"), ("", "1"), ("a", "\r\n")):
            with self.assertRaises(LocalProtocolError):
                Params([(name, value)]).to_header()

    def test_refused(self) -> None:
        """Stray separators, open quotes and two values for one name are refused (RFC 4475 3.1.2.1)."""
        for bad in (";", ";;a", ";a;", "a=1", ';a="', ";a=b c", ";a=<b>", ";a,b", ";=x", ";a=1;A=2", ";a;a=1"):
            with self.assertRaises(RemoteProtocolError, msg=bad):
                parse_params(bad)
        self.assertEqual(parse_params(";a=1;A=1"), Params([("a", "1")]))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(header_params)
    @example(Params([("a", Quoted("")), ("b", ""), ("c", '\\"')]))
    def test_what_we_write_reads_the_same(self, params: Params) -> None:
        """Any names and values survive being written and read."""
        self.assertEqual(parse_params(params.to_header()), params)


class NameAddrTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Display names quoted, bare and absent; parameters of the header and of the URI (RFC 3261 20.10)."""
        flag = Params([("unknownparam", None)])
        for text, address in {
            "<sip:alice@example.com>": NameAddr("", ALICE),
            "sip:alice@example.com": NameAddr("", ALICE),
            "sip:alice@example.com ;  tag = 1": NameAddr("", ALICE, Params([("tag", "1")])),
            '"Alice \\"A\\""  <sip:alice@example.com>;tag=1': NameAddr('Alice "A"', ALICE, Params([("tag", "1")])),
            '"Alice"<sip:alice@example.com>': NameAddr("Alice", ALICE),
            "Alice A. B<sip:alice@example.com>": NameAddr("Alice A. B", ALICE),
            "Bell, Alexander <sip:alice@example.com>;tag=43": NameAddr(
                "Bell, Alexander", ALICE, Params([("tag", "43")])
            ),
            "sip:alice@example.com;unknownparam": NameAddr("", ALICE, flag),
            "<sip:alice@example.com;unknownparam>": NameAddr("", SipUri(user="alice", host="example.com", params=flag)),
            'sip:alice@example.com;x="<"': NameAddr("", ALICE, Params([("x", "<")])),
            '"<sip:x@y>" <sip:alice@example.com>': NameAddr("<sip:x@y>", ALICE),
            "<http://www.example.com>;tag=3234233": NameAddr(
                "", OtherUri("http", "//www.example.com"), Params([("tag", "3234233")])
            ),
        }.items():
            self.assertEqual(parse_name_addr(text), address, text)

    def test_written_as_it_came(self) -> None:
        """A parsed address leaves as it came, unless it would come apart in a list; a tag makes it anew."""
        self.assertEqual(str(parse_name_addr("A. B<sip:a@b>;x")), "A. B<sip:a@b>;x")
        self.assertEqual(str(parse_name_addr("B, A <sip:a@b>")), '"B, A" <sip:a@b>')
        self.assertEqual(str(parse_name_addr("sip:a@b;x=1").with_tag("2")), "<sip:a@b>;x=1;tag=2")
        self.assertEqual(parse_name_addr("<sip:a@b>").with_tag("2").tag, "2")

    def test_refused(self) -> None:
        """What is no address, or might be two, is refused."""
        for bad in (
            "", "<>", "<sip:a@b", "sip:a@b>", "< sip:a@b >", '"a <sip:a@b>', '"a" sip:a@b', '"a" b <sip:a@b>', "a",
            "<sip:a@b> x", "<sip:a@b>,<sip:c@d>", "sip:a@b?Route=x", "sip:a,b@c", "<sip:a@b>;tag", "<sip:a@b>;tag=",
            "<sip:a@b>;tag=1;tag=2", "<sip:a@b>;;;;", 'Bob "B" <sip:a@b>', "a;b <sip:a@b>", "<sip:a@b>>",
        ):  # fmt: skip
            with self.assertRaises(RemoteProtocolError, msg=bad):
                parse_name_addr(bad)

    def test_lists(self) -> None:
        """Addresses come from several lines and several on a line, in order; ``*`` is none."""
        self.assertEqual(
            [str(address.uri) for address in parse_name_addrs(['<sip:a>, "x, y" <sip:b;lr>', "sip:c", "*"])],
            ["sip:a", "sip:b;lr", "sip:c"],
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(text_of_a_line, header_params.filter(lambda params: "tag" not in params))
    def test_what_we_write_reads_the_same(self, display: str, params: Params) -> None:
        """Any display name and parameters survive being written and read, alone and in a list."""
        address = NameAddr(display, ALICE, params)
        self.assertEqual(parse_name_addr(str(address)), address)
        self.assertEqual(parse_name_addrs([f"{address}, {address}"]), (address, address))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(header_soup)
    def test_anything_is_an_address_or_refused(self, soup: str) -> None:
        """No text raises anything but RemoteProtocolError, and what is accepted is written to mean the same."""
        try:
            address = parse_name_addr(soup)
        except RemoteProtocolError:
            return
        self.assertEqual(parse_name_addr(str(address)), address)
        if address.params.get("tag") is None:
            self.assertEqual(parse_name_addr(str(address.with_tag("1"))).with_tag("1"), address.with_tag("1"))


class ViaTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """White space, IPv6 with and without brackets, rport asked for and filled in."""
        via = parse_via(
            "SIP  /   2.0 /udp    [2001:DB8::9:1] : 5070  ; branch  =  z9hG4bK1;received=[2001:db8::9];rport=9"
        )
        self.assertEqual(
            (via.transport, via.host, via.port, via.branch, via.received, via.rport),
            ("UDP", "2001:db8::9:1", 5070, "z9hG4bK1", "2001:db8::9", 9),
        )
        asked = parse_via("SIP/2.0/TLS h;rport;received=2001:db8::9:255;branch=x")
        self.assertEqual(
            (asked.port, asked.rport, "rport" in asked.params, asked.received), (None, None, True, "2001:db8::9:255")
        )
        self.assertEqual(parse_via("SIP/2.0/UDP h"), Via("UDP", "h"))

    def test_filling_in_received(self) -> None:
        """A hop with more parameters is written from its parts (RFC 3581 4)."""
        via = parse_via("SIP/2.0/UDP h;branch=z9hG4bK1;rport")
        filled = Via(via.transport, via.host, via.port, via.params.with_("received", "2001:db8::1").with_("rport", "9"))
        self.assertEqual(str(filled), "SIP/2.0/UDP h;branch=z9hG4bK1;rport=9;received=2001:db8::1")

    def test_refused(self) -> None:
        """Other versions, broken hosts, and branches that identify nothing (RFC 4475 3.2.1)."""
        for bad in (
            "", "SIP/2.0/UDP", "SIP/7.0/UDP h", "SIP/2.0 UDP h", "SIP/2.0/UDP h:0", "SIP/2.0/UDP h:99999",
            "SIP/2.0/UDP [::x]",
            "SIP/2.0/UDP h;branch=z9hG4bK", "SIP/2.0/UDP h;branch", "SIP/2.0/UDP h;branch=", "SIP/2.0/UDP h;rport=x",
            "SIP/2.0/UDP 192.0.2.15;;,;,,", "SIP/2.0/UDP h x", "SIP/2.0/UDP h;branch=1;branch=2", "SIP/2.0/UDP a,b",
        ):  # fmt: skip
            with self.assertRaises(RemoteProtocolError, msg=bad):
                parse_via(bad)
        with self.assertRaises(LocalProtocolError):
            str(Via("U P", "h"))
        with self.assertRaises(LocalProtocolError):
            str(Via("UDP", "h;x"))

    def test_lists(self) -> None:
        """Hops come from several lines and several on a line, topmost first."""
        self.assertEqual(
            [via.host for via in parse_vias(["SIP/2.0/TCP a ;branch=1 , SIP / 2.0/UDP b", "SIP/2.0/UDP c"])],
            ["a", "b", "c"],
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(header_soup.map("SIP/2.0/UDP h".__add__) | header_soup)
    def test_anything_is_a_hop_or_refused(self, soup: str) -> None:
        """No text raises anything but RemoteProtocolError, and properties of what is accepted never raise."""
        try:
            vias = parse_vias([soup])
        except RemoteProtocolError:
            return
        for via in vias:
            self.assertEqual((parse_via(str(via)), via.rport, via.received), (via, via.rport, via.received))


class CSeqTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        """Up to 32 bits, leading zeros and any white space between (RFC 3261 20.16)."""
        self.assertEqual(
            [parse_cseq("0009 \t INVITE"), parse_cseq("4294967295 !x'~")],
            [CSeq(9, "INVITE"), CSeq(4294967295, "!x'~")],
        )
        self.assertEqual(str(CSeq(9, "INVITE")), "9 INVITE")
        for bad in ("", "1", "INVITE", "-1 A", "1A", "4294967296 A", "9" * 5000 + " A", "1 A B", "١ A", "1 Ä"):
            with self.assertRaises(RemoteProtocolError, msg=bad[:20]):
                parse_cseq(bad)
        self.assertEqual(parse_cseq("0" * 5000 + "1 A"), CSeq(1, "A"))
