"""Reading and writing session descriptions (RFC 8866)."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.sdp import (
    MAX_FORMATS,
    MAX_MEDIA,
    Connection,
    MediaDescription,
    Origin,
    Rtpmap,
    SessionDescription,
    parse_host,
    parse_sdp,
)

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"

WHOLE = (
    b"v=0\r\no=alice 2890844526 2890844527 IN IP4 host.example.com\r\ns=A call\r\ni=about it\r\n"
    b"u=http://example.com\r\ne=a@example.com\r\np=+1 201\r\nc=IN IP4 192.0.2.1\r\nb=AS:64\r\nt=0 0\r\n"
    b"r=604800 3600 0\r\na=sendonly\r\nm=audio 49170/2 RTP/AVP 0 97 101\r\ni=voice\r\nc=IN IP6 2001:DB8::1\r\n"
    b"b=TIAS:64000\r\na=rtpmap:97 iLBC/8000\r\na=rtpmap:101 Telephone-Event/8000/1\r\na=ptime:20\r\na=recvonly\r\n"
    b"m=video 0 RTP/AVP 31\r\n"
)
PARSED = SessionDescription(
    origin=Origin("alice", "2890844526", "2890844527", Connection("host.example.com")),
    name="A call",
    connection=Connection("192.0.2.1"),
    bandwidths=("AS:64",),
    times=("0 0",),
    attributes=(("sendonly", None),),
    media=(
        MediaDescription(
            kind="audio",
            port=49170,
            port_count=2,
            protocol="RTP/AVP",
            formats=("0", "97", "101"),
            connection=Connection("2001:db8::1"),
            bandwidths=("TIAS:64000",),
            attributes=(
                ("rtpmap", "97 iLBC/8000"),
                ("rtpmap", "101 Telephone-Event/8000/1"),
                ("ptime", "20"),
                ("recvonly", None),
            ),
        ),
        MediaDescription(kind="video", port=0, protocol="RTP/AVP", formats=("31",)),
    ),
)
SHORT = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 9 RTP/AVP 0\r\n"


def refusal(body: bytes) -> tuple[int, str]:
    """The status and the reason of a refused description."""
    try:
        parse_sdp(body)
    except RemoteProtocolError as error:
        return error.status, error.reason
    return 0, "accepted"


class ReadingTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """Every part that an exchange needs is read, the others are dropped."""
        self.assertEqual(parse_sdp(WHOLE), PARSED)

    def test_line_ends(self) -> None:
        """LF for CRLF, blank lines at the end and a last line without its newline change nothing."""
        variants = [WHOLE.replace(b"\r\n", b"\n"), WHOLE + b"\r\n\r\n", WHOLE.removesuffix(b"\r\n"), b"\r\n" + WHOLE]
        self.assertEqual([parse_sdp(body) for body in variants], [PARSED] * 4)

    def test_missing_s_and_t(self) -> None:
        """RFC 4475 3.1.2.17 and its like: no s= and no t= still is a description."""
        body = b"v=0\no=m 1 1 IN IP4 192.0.2.1\nc=IN IP4 192.0.2.1\nm=audio 49217 RTP/AVP 0 12"
        self.assertEqual(
            parse_sdp(body),
            SessionDescription(
                origin=Origin("m", "1", "1", Connection("192.0.2.1")),
                name="",
                connection=Connection("192.0.2.1"),
                times=(),
                media=(MediaDescription(kind="audio", port=49217, protocol="RTP/AVP", formats=("0", "12")),),
            ),
        )

    def test_origin_is_read_from_the_right(self) -> None:
        """User names with blanks, none at all, and nonsense addresses occur in o= and harm nobody."""
        lines = [b"o=My PBX 12 13 IN IP4 192.0.2.1", b"o=12 13 IN IP4 192.0.2.1", b"o=u 12 13 IN IP4 ???"]
        self.assertEqual(
            [parse_sdp(SHORT.replace(b"o=- 1 1 IN IP4 192.0.2.1", line)).origin for line in lines],
            [
                Origin("My PBX", "12", "13", Connection("192.0.2.1")),
                Origin("-", "12", "13", Connection("192.0.2.1")),
                Origin("u", "12", "13", Connection("0.0.0.0")),
            ],
        )

    def test_hosts(self) -> None:
        """Addresses are made canonical, mapped IPv4 unfolded; names stay; anything else is nothing."""
        texts = ["192.0.2.1", "2001:DB8:0::1", "[2001:db8::1]", "::ffff:192.0.2.2", "fe80::1%eth0", "224.2.1.1/127/3",
                 "pbx.example.com", "under_score", "999.1.1.1", "1.2.3", "", "a b", "-x", "x" * 256,
                 "é.example"]  # fmt: skip
        self.assertEqual(
            [parse_host(text) for text in texts],
            ["192.0.2.1", "2001:db8::1", "2001:db8::1", "192.0.2.2", "fe80::1", "224.2.1.1",
             "pbx.example.com", "under_score", None, None, None, None, None, None, None],
        )  # fmt: skip

    def test_rtpmaps(self) -> None:
        """Names are folded to upper case; the first of two holds; what makes no sense is left out."""
        lines = [b"a=rtpmap:101 telephone-event/8000", b"a=rtpmap: 9 g722 / 8000 /1", b"a=rtpmap:9 opus/48000/2",
                 b"a=rtpmap:128 x/8000", b"a=rtpmap:5", b"a=rtpmap"]  # fmt: skip
        media = parse_sdp(SHORT + b"\r\n".join(lines)).media[0]
        self.assertEqual(media.rtpmaps, {101: Rtpmap(101, "TELEPHONE-EVENT", 8000), 9: Rtpmap(9, "G722", 8000)})

    def test_payload_types(self) -> None:
        """Formats that are no payload types, or come twice, are passed over."""
        media = parse_sdp(SHORT.replace(b"AVP 0", b"AVP 8 * 0 8 128 0001 -1 101")).media[0]
        self.assertEqual(media.payload_types, (8, 0, 101))

    def test_direction(self) -> None:
        """The m-line's own direction, else the session's, else sendrecv (RFC 8866 6.7)."""
        session = PARSED
        plain = SessionDescription(origin=PARSED.origin, media=PARSED.media)
        self.assertEqual(
            [session.direction_of(session.media[0]), session.direction_of(session.media[1]),
             plain.direction_of(plain.media[1])],
            ["recvonly", "sendonly", "sendrecv"],
        )  # fmt: skip

    def test_unspecified(self) -> None:
        """0.0.0.0 and :: ask that nothing be sent; an address and a name do not."""
        hosts = ["0.0.0.0", "::", "192.0.2.1", "pbx.example.com"]
        self.assertEqual([Connection(host).unspecified for host in hosts], [True, True, False, False])


class RefusalTests(SynchronousTestCase):
    def test_reasons(self) -> None:
        """Each malformed description is refused with 400 and a reason that says where and what."""
        cases = {
            b"": "SDP body is empty",
            b"\r\n \r\n": "SDP body is empty",
            b"o=- 1 1 IN IP4 192.0.2.1\r\n": "SDP must begin with v=0",
            b"v=1\r\n": "SDP must begin with v=0",
            b"v=0\r\ns=-\r\n": "SDP has no o= line",
            SHORT + b"v=0\r\n": "SDP line 7: a second v=",
            SHORT + b"x=1\r\n": "SDP line 7: not of the form letter=value with a known letter",
            SHORT + b"m =video 1 RTP/AVP 31\r\n": "SDP line 7: not of the form letter=value with a known letter",
            SHORT + b"a=fmtp:101 0-\x0015\r\n": "SDP line 7: a NUL or a bare carriage return",
            SHORT + b"a=x\ra=y\r\n": "SDP line 7: a NUL or a bare carriage return",
            SHORT + b"t=0 0\r\n": "SDP line 7: t= does not belong below a media line",
            SHORT + b"a=\r\n": "SDP line 7: a= has a malformed attribute name",
            SHORT + b"c=IN IP4\r\n": "SDP line 7: c= must be: IN IP4|IP6 address",
            SHORT + b"c=ATM IP4 192.0.2.1\r\n": "SDP line 7: c= must be: IN IP4|IP6 address",
            SHORT + b"c=IN IP4 1.2.3\r\n": "SDP line 7: c= has no address or domain name",
            SHORT + b"m=audio\r\n": "SDP line 7: m= must be: media port protocol format ...",
            SHORT + b"m=audio 65536 RTP/AVP 0\r\n": "SDP line 7: m= must be: media port protocol format ...",
            SHORT + b"m=audio -1 RTP/AVP 0\r\n": "SDP line 7: m= must be: media port protocol format ...",
            SHORT + b"m=audio 1 RTP//AVP 0\r\n": "SDP line 7: m= must be: media port protocol format ...",
            SHORT + b"m=audio 1 RTP/AVP\r\n": "SDP line 7: m= names no format",
            SHORT + b'm=audio 1 RTP/AVP "0"\r\n': "SDP line 7: m= has a malformed format",
            SHORT.replace(b"s=-", b"s=-\r\ns=-"): "SDP line 4: s= comes twice",
            SHORT.replace(b"o=- 1 1 IN IP4 192.0.2.1", b"o=1 1 IP4"): (
                "SDP line 2: o= must be: username session-id version IN IP4|IP6 address"
            ),
        }
        self.assertEqual({body: refusal(body) for body in cases}, {body: (400, why) for body, why in cases.items()})

    def test_limits(self) -> None:
        """At the limits a description is taken; one beyond them is 488."""
        media = b"m=audio 1 RTP/AVP 0\r\n"
        formats = b" ".join(b"%d" % number for number in range(MAX_FORMATS - 1))
        padding = b"a=x:" + b"y" * (65536 - len(SHORT) - 6) + b"\r\n"
        self.assertEqual(
            [refusal(body) for body in (
                SHORT + media * (MAX_MEDIA - 1), SHORT + media * MAX_MEDIA,
                SHORT.replace(b"AVP 0", b"AVP 0 " + formats), SHORT.replace(b"AVP 0", b"AVP 0 1 " + formats),
                SHORT + padding, SHORT + padding + b"\n",
            )],
            [
                (0, "accepted"), (488, "SDP with more than 16 media lines"),
                (0, "accepted"), (488, "SDP line 6: more than 32 formats"),
                (0, "accepted"), (488, "SDP longer than 65536 octets"),
            ],
        )  # fmt: skip

    def test_a_stream_refused_without_formats(self) -> None:
        """``m=video 0 RTP/AVP`` of sloppy peers is taken, and has a format when it is echoed."""
        media = parse_sdp(SHORT + b"m=video 0 RTP/AVP\r\n").media[1]
        self.assertEqual(media, MediaDescription(kind="video", port=0, protocol="RTP/AVP", formats=("0",)))


class WritingTests(SynchronousTestCase):
    def test_text(self) -> None:
        """What is written is strict: CRLF after every line, s= never empty, families as the addresses are."""
        description = SessionDescription(
            origin=Origin("-", "7", "1", Connection("2001:db8::1")), name="", connection=Connection("sbc.example.com")
        )
        self.assertEqual(
            description.to_bytes(),
            b"v=0\r\no=- 7 1 IN IP6 2001:db8::1\r\ns=-\r\nc=IN IP4 sbc.example.com\r\nt=0 0\r\n",
        )

    def test_what_is_kept_comes_back(self) -> None:
        """Parsing what was written gives what was parsed before."""
        self.assertEqual(parse_sdp(PARSED.to_bytes()), PARSED)

    def test_no_injection(self) -> None:
        """A value with a line break is our own bug and never goes out."""
        evil = SessionDescription(origin=PARSED.origin, attributes=(("tool", "x\r\na=sendonly"),))
        self.assertRaises(LocalProtocolError, evil.to_bytes)


class VectorTests(SynchronousTestCase):
    def test_rfc_5118(self) -> None:
        """The SDP of RFC 5118 4.6, 4.8 and 4.9: IPv6, both families in one description, and mapped IPv4."""
        folder = VECTORS / "rfc5118"
        if not folder.exists():
            raise SkipTest(f"{folder} is absent")
        found = {}
        for name in ("ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"):
            sdp = parse_sdp((folder / name).read_bytes().partition(b"\r\n\r\n")[2])
            found[name] = [(media.kind, sdp.connection_of(media)) for media in sdp.media]
        six, mapped = Connection("2001:db8::20"), Connection("192.0.2.2")
        self.assertEqual(
            found,
            {
                "ipv6-in-sdp": [("audio", six), ("video", six)],
                "mult-ip-in-sdp": [("audio", Connection("192.0.2.1")), ("video", Connection("2001:db8::1"))],
                "ipv4-mapped-ipv6": [("audio", mapped), ("video", mapped)],
            },
        )

    def test_rfc_4475(self) -> None:
        """Every description in the torture messages is read, with audio at the port that is there."""
        folder = VECTORS / "rfc4475"
        if not folder.exists():
            raise SkipTest(f"{folder} is absent")
        ports = set()
        for path in sorted(folder.glob("*.dat")):
            body = path.read_bytes().partition(b"\r\n\r\n")[2]
            # dblreq's body ends with its Content-Length; what follows it is another message
            if body.startswith(b"v=0") and path.stem != "dblreq":
                ports.add(parse_sdp(body).media[0].port)
        self.assertEqual(ports, {49217})


_tokens = st.text("abcXYZ019-._*", min_size=1, max_size=8)
_values = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=20).map(str.strip)
_connections = st.sampled_from(["192.0.2.1", "0.0.0.0", "2001:db8::1", "pbx.example.com"]).map(Connection)
_attributes = st.lists(st.tuples(_tokens.map(str.lower), _values), max_size=4).map(tuple)
_media = st.builds(
    MediaDescription,
    kind=_tokens.map(str.lower),
    port=st.integers(0, 65535),
    port_count=st.integers(1, 99),
    protocol=_tokens,
    formats=st.lists(_tokens, min_size=1, max_size=5).map(tuple),
    connection=st.none() | _connections,
    bandwidths=st.lists(_tokens, max_size=2).map(tuple),
    attributes=_attributes,
)
_sessions = st.builds(
    SessionDescription,
    origin=st.builds(Origin, _tokens, _tokens, _tokens, _connections),
    name=_tokens,
    connection=st.none() | _connections,
    bandwidths=st.lists(_tokens, max_size=2).map(tuple),
    times=st.lists(_tokens, max_size=2).map(tuple),
    attributes=_attributes,
    media=st.lists(_media, max_size=3).map(tuple),
)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(_sessions)
    def test_round_trip(self, session: SessionDescription) -> None:
        """Any description that can be written is read back the same."""
        self.assertEqual(parse_sdp(session.to_bytes()), session)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.data())
    def test_mutations(self, data: st.DataObject) -> None:
        """Whatever octets come, the outcome is a description that can be written again, or 400 or 488."""
        body = bytearray(WHOLE)
        for _ in range(data.draw(st.integers(1, 6))):
            at = data.draw(st.integers(0, len(body) - 1))
            length = data.draw(st.integers(0, 8))
            body[at : at + length] = data.draw(st.binary(max_size=8))
        try:
            session = parse_sdp(bytes(body))
        except RemoteProtocolError as error:
            self.assertIn(error.status, (400, 488))
        else:
            parse_sdp(session.to_bytes())
