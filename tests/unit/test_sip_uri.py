"""URIs: RFC 3261 19.1, RFC 3966, and what peers really send."""

from __future__ import annotations

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.params import NO_PARAMS, Params
from stellar_gw.sip.uri import OtherUri, SipUri, TelUri, in_to, parse_uri

texts = st.text(st.characters(codec="utf-8"), max_size=12)
names = texts.filter(bool)
hosts = st.sampled_from(["example.com", "192.0.2.1", "2001:db8::1", "under_score.example"])
params = st.lists(st.tuples(names, st.none() | texts), max_size=4).map(Params)
uri_soup = st.text('sip:@;=?&%40[]<>"\\,. \0\r\na1é', max_size=30)
uris = st.builds(
    SipUri,
    scheme=st.sampled_from(["sip", "sips"]),
    user=names,
    password=st.none() | texts,
    host=hosts,
    port=st.none() | st.integers(1, 65535),
    params=params,
    headers=st.lists(st.tuples(names, texts), max_size=3).map(tuple),
)


class SipUriTests(SynchronousTestCase):
    def test_every_part(self) -> None:
        """A URI with everything in it comes apart as RFC 3261 19.1.1 says."""
        self.assertEqual(
            parse_uri("SIPS:alice:secret%21@Atlanta.Example.COM:5061;transport=TCP;lr?Subject=a%20b&priority=urgent"),
            SipUri(
                scheme="sips", user="alice", password="secret!", host="atlanta.example.com", port=5061,
                params=Params([("transport", "TCP"), ("lr", None)]),
                headers=(("Subject", "a b"), ("priority", "urgent")),
            ),
        )  # fmt: skip

    def test_examples_of_the_rfc(self) -> None:
        """The URIs of RFC 3261 19.1.3 and RFC 4475 are read as they are explained there."""
        for text, uri in {
            "sip:alice@atlanta.com": SipUri(user="alice", host="atlanta.com"),
            "sip:alice:secretword@atlanta.com;transport=tcp": SipUri(
                user="alice", password="secretword", host="atlanta.com", params=Params([("transport", "tcp")])
            ),
            "sip:+1-212-555-1212:1234@gateway.com;user=phone": SipUri(
                user="+1-212-555-1212", password="1234", host="gateway.com", params=Params([("user", "phone")])
            ),
            "sip:atlanta.com;method=REGISTER?to=alice%40atlanta.com": SipUri(
                host="atlanta.com", params=Params([("method", "REGISTER")]), headers=(("to", "alice@atlanta.com"),)
            ),
            "sip:alice;day=tuesday@atlanta.com": SipUri(user="alice;day=tuesday", host="atlanta.com"),
            "sip:sips%3Auser%40example.com@example.net": SipUri(user="sips:user@example.com", host="example.net"),
            "sip:user;par=u%40example.net@example.com": SipUri(user="user;par=u@example.net", host="example.com"),
            "sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31": SipUri(
                user="caller", host="host5.example.net", params=Params([("lr", None), ("name", "value%41")])
            ),
            "sip:null-%00-null@example.com": SipUri(user="null-\0-null", host="example.com"),
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com":
            SipUri(
                user="1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
                password="&it+has=1,weird!*pas$wo~d_too.(doesn't-it)", host="example.com",
            ),
            "sip:[2001:db8::10]": SipUri(host="2001:db8::10"),
            "sip:[2001:db8::10]:5070": SipUri(host="2001:db8::10", port=5070),
            "sip:[2001:db8::10:5070]": SipUri(host="2001:db8::10:5070"),
            "sip:user@[2001:db8::192.0.2.1]": SipUri(user="user", host="2001:db8::192.0.2.1"),
        }.items():  # fmt: skip
            self.assertEqual(parse_uri(text), uri)
            self.assertEqual(parse_uri(evolve(uri).__str__()), uri)

    def test_habits_of_phone_systems(self) -> None:
        """Feature codes and names outside ASCII are users, though RFC 3261 wants them escaped."""
        self.assertEqual(parse_uri("sip:*21#@pbx"), SipUri(user="*21#", host="pbx"))
        self.assertEqual(parse_uri("sip:jürgen@pbx"), SipUri(user="jürgen", host="pbx"))
        self.assertEqual(str(SipUri(user="*21#", host="pbx")), "sip:*21%23@pbx")
        self.assertEqual(str(SipUri(user="jürgen", host="pbx")), "sip:j%C3%BCrgen@pbx")

    def test_written_as_it_came(self) -> None:
        """A parsed URI is written octet by octet; a changed one is written from its parts."""
        uri = parse_uri("SIP:%61lice@ATLANTA.com;LR")
        assert isinstance(uri, SipUri)
        self.assertEqual(str(uri), "SIP:%61lice@ATLANTA.com;LR")
        self.assertEqual(str(evolve(uri, port=5070)), "sip:alice@atlanta.com:5070;lr")

    def test_refused(self) -> None:
        """What has no reading, or two, is refused."""
        for text in (
            "", "sip:", "sip", ":", "sip:@host", "sip:a@", "sip:a@b@c", "sip:a b@c", "sip:a@b c", "<sip:a@b>",
            "sip:a@b>",
            "sip:a@b:", "sip:a@b:0", "sip:a@b:65536", "sip:a@b:port", "sip:2001:db8::10", "sip:[2001:db8::10",
            "sip:a@[2001:db8:::192.0.2.1]", "sip:a@[]", "sip:a@[fe80::1%25eth0]", "sip:%4@b", "sip:%zz@b",
            "sip:a@b;x=%",
            "sip:a@b;;", "sip:a@b;", "sip:a@b;=x", "sip:a@b;x=1;X=2", "sip:a@b?", "sip:a@b?=x", "sip:a\0@b",
            "sip:a\r\n@b",
            "sip:a@b;x=\u0000", "tel:", "tel:+", "tel:x", "tel:+1;x=1;x=2", "tel:+1 2", "1scheme:x", "http:",
            "sip:a@bü",
        ):  # fmt: skip
            with self.assertRaises(RemoteProtocolError, msg=repr(text)):
                parse_uri(text)

    def test_a_repeated_parameter_has_one_value(self) -> None:
        """The same parameter twice is let through where both say the same."""
        self.assertEqual(
            parse_uri("sip:a@b;user=phone;User=phone"),
            SipUri(user="a", host="b", params=Params([("user", "phone")])),
        )

    def test_hosts_cannot_break_out(self) -> None:
        """A host or scope of ours that is none is a bug of ours, and is never written."""
        for host in ("", "a b", "a>", "a\r\nX: y", "a;lr", "2001:db8::zz", "fe80::1%eth0", "ü"):
            with self.assertRaises(LocalProtocolError, msg=repr(host)):
                str(SipUri(host=host))

    def test_passwords_stay_out_of_repr(self) -> None:
        """What a log shows of a URI has no password."""
        self.assertNotIn("secret", repr(SipUri(user="a", password="secret", host="b")))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(uris)
    @example(SipUri(user='\r\n\0%<>"@:', host="b", params=Params([(";=\r\n", "?&@")]), headers=(("\0", "\r\n"),)))
    def test_what_we_write_reads_the_same(self, uri: SipUri) -> None:
        """Any parts survive being written and read, and nothing gets out of its place."""
        text = str(uri)
        self.assertTrue(text.isascii() and text.isprintable() and " " not in text, text)
        self.assertEqual(parse_uri(text), uri)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given((st.text(max_size=30) | uri_soup).map("sip:".__add__))
    def test_anything_is_a_uri_or_refused(self, text: str) -> None:
        """No text raises anything but RemoteProtocolError, and what is accepted has one meaning."""
        try:
            uri = parse_uri(text)
        except RemoteProtocolError:
            return
        self.assertEqual(str(uri), text)
        if isinstance(uri, SipUri):
            self.assertEqual(parse_uri(str(evolve(uri))), uri)


class InToTests(SynchronousTestCase):
    def test_table_1(self) -> None:
        """What RFC 3261 19.1.1 allows in To and From is kept, all the rest left out."""
        uri = parse_uri(
            "sip:a:b@example.com:5070;user=phone;method=INVITE;maddr=192.0.2.1;ttl=1;transport=udp;lr;x=1?y=2"
        )
        assert isinstance(uri, SipUri)
        self.assertEqual(str(in_to(uri)), "sip:a:b@example.com;user=phone;x=1")


class OtherSchemeTests(SynchronousTestCase):
    def test_telephone_numbers(self) -> None:
        """Visual separators do not belong to the number; parameters are kept (RFC 3966)."""
        self.assertEqual(parse_uri("tel:+1-201-(555).0123"), TelUri("+12015550123"))
        self.assertEqual(
            parse_uri("tel:7042;phone-context=example.com"), TelUri("7042", Params([("phone-context", "example.com")]))
        )
        self.assertEqual(str(parse_uri("tel:+1-201-555-0123")), "tel:+1-201-555-0123")
        self.assertEqual(str(TelUri("+12015550123", NO_PARAMS)), "tel:+12015550123")
        with self.assertRaises(LocalProtocolError):
            str(TelUri("+1;x"))

    def test_unknown_schemes_are_kept(self) -> None:
        """A URI of another scheme is passed on as it came."""
        for text, uri in {
            "nobodyKnowsThisScheme:totallyopaquecontent": OtherUri("nobodyKnowsThisScheme", "totallyopaquecontent"),
            "soap.beep://192.0.2.103:3002": OtherUri("soap.beep", "//192.0.2.103:3002"),
            "urn:service:sos": OtherUri("urn", "service:sos"),
        }.items():
            self.assertEqual((parse_uri(text), str(uri)), (uri, text))
        with self.assertRaises(LocalProtocolError):
            str(OtherUri("urn", "x>\r\n"))
