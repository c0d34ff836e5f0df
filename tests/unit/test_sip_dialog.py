"""Dialogs as data, bodies, names and next hops: the plain parts of the core."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.body import MAX_PARTS, accepts_sdp, is_identity, is_readable, sdp_body
from stellar_gw.sip.dialog import dialog_as_uac, dialog_as_uas, is_out_of_order, refresh, way
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Message, Request, response_to
from stellar_gw.sip.names import Names
from stellar_gw.sip.uri import parse_uri
from stellar_gw.sip.values import NameAddr, parse_name_addr
from stellar_gw.sip.wire import Wire, by_transport_of, serves
from stellar_gw.testing.sip_peer import ANSWER, OFFER
from tests.unit.sip_case import LISTENERS, PEER, TCP, TLS, UDP, US, flow, invite
from tests.unit.transaction_case import sound


def routes(*uris: str) -> tuple[NameAddr, ...]:
    return tuple(parse_name_addr(f"<{uri}>") for uri in uris)


class DialogTests(SynchronousTestCase):
    INVITE = sound(invite(cseq=7, headers=(("Record-Route", "<sip:a;lr>, <sip:b;lr>"), ("Record-Route", "<sip:c;lr>"))))

    def test_as_uas(self) -> None:
        """12.1.1."""
        dialog = dialog_as_uas(self.INVITE, UDP, "ours")
        self.assertEqual(
            (
                dialog.key,
                [str(route.uri) for route in dialog.route_set],
                str(dialog.remote_target),
                str(dialog.local_uri),
                str(dialog.remote_uri),
                dialog.local_sequence,
                dialog.remote_sequence,
                dialog.secure,
                dialog.tls,
            ),
            (
                ("c1", "ours", "f1"),
                ["sip:a;lr", "sip:b;lr", "sip:c;lr"],
                f"sip:ann@{PEER}:5060",
                f"sip:600@{US}",
                f"sip:ann@{PEER}",
                0,
                7,
                False,
                False,
            ),
        )

    def test_as_uac(self) -> None:
        """12.1.2: seen from the other side, and the route set reversed."""
        response = response_to(self.INVITE, 200, headers=[("Contact", "<sip:x@y>")], to_tag="theirs")
        dialog = dialog_as_uac(self.INVITE, response, TCP)
        self.assertEqual(
            (
                dialog.key,
                [str(route.uri) for route in dialog.route_set],
                str(dialog.remote_target),
                dialog.local_sequence,
                dialog.remote_sequence,
            ),
            (("c1", "f1", "theirs"), ["sip:c;lr", "sip:b;lr", "sip:a;lr"], "sip:x@y", 7, None),
        )

    def test_secure(self) -> None:
        """Secure only if the Request-URI was sips and it came over TLS; bound to TLS if it came over TLS."""
        sips = sound(invite(uri=f"sips:600@{US}"))
        self.assertEqual(
            [
                (dialog.secure, dialog.tls)
                for dialog in (
                    dialog_as_uas(sips, TLS, "t"),
                    dialog_as_uas(sips, TCP, "t"),
                    dialog_as_uas(self.INVITE, TLS, "t"),
                )
            ],
            [(True, True), (False, False), (False, True)],
        )

    def test_without_contact(self) -> None:
        """RFC 2543: back to where From says."""
        self.assertEqual(str(dialog_as_uas(sound(invite(contact="")), UDP, "t").remote_target), f"sip:ann@{PEER}")

    def test_refresh(self) -> None:
        """The target changes, the route set never does."""
        dialog = dialog_as_uas(self.INVITE, UDP, "ours")
        before = dialog.route_set
        refresh(dialog, sound(invite(contact="<sip:new@host>", headers=(("Record-Route", "<sip:z;lr>"),))))
        self.assertEqual((str(dialog.remote_target), dialog.route_set), ("sip:new@host", before))
        refresh(dialog, sound(invite(contact="")))
        self.assertEqual(str(dialog.remote_target), "sip:new@host")

    def test_order(self) -> None:
        """Lower is too late, the same method and number is a copy, another method with that number is let pass."""
        dialog = dialog_as_uas(self.INVITE, UDP, "ours")
        outcomes = {number: is_out_of_order(dialog, sound(invite(cseq=number))) for number in (6, 7, 8, 2**32 - 1)}
        self.assertEqual(outcomes, {6: True, 7: True, 8: False, 2**32 - 1: False})
        bye = Request("BYE", self.INVITE.uri, [("CSeq", "7 BYE")])
        self.assertFalse(is_out_of_order(dialog, bye))

    def test_ways(self) -> None:
        """Request-URI, Route and next hop: without a route, by loose routers, by a strict one."""
        target = parse_uri("sip:x@t;method=BYE?a=b")
        self.assertEqual(
            [
                (str(uri), route, str(hop))
                for uri, route, hop in (
                    way(target, ()),
                    way(target, routes("sip:p;lr", "sip:q")),
                    way(target, routes("sip:p", "sip:q;lr")),
                )
            ],
            [
                ("sip:x@t", [], "sip:x@t;method=BYE?a=b"),
                ("sip:x@t", ["<sip:p;lr>", "<sip:q>"], "sip:p;lr"),
                ("sip:p", ["<sip:q;lr>", "<sip:x@t;method=BYE?a=b>"], "sip:p"),
            ],
        )


class NextHopTests(SynchronousTestCase):
    def test_serves(self) -> None:
        """Private addresses always, the peer's own, and nothing else; sips only over TLS."""
        for hop, on, expected in (
            ("sip:192.0.2.7", UDP, True),
            ("sip:192.0.2.7:5062", UDP, False),
            ("sip:192.0.2.7:5062", TCP, True),
            ("sip:192.0.2.7;transport=tcp", UDP, False),
            ("sip:192.0.2.7;transport=udp", TCP, False),
            ("sip:192.0.2.7", TLS, True),
            ("sips:192.0.2.7", TLS, True),
            ("sips:192.0.2.7", TCP, False),
            ("sip:10.0.0.1;transport=tcp", UDP, True),
            ("sips:10.0.0.1", UDP, False),
            ("sip:203.0.113.1", UDP, False),
            ("sip:172.31.255.255", UDP, True),
            ("sip:172.32.0.1", UDP, False),
            ("sip:100.127.0.1", UDP, True),
            ("sip:[fe80::1]", UDP, True),
            ("sip:[2001:db8::1]", UDP, False),
            ("sip:[::ffff:10.0.0.1]", UDP, True),
            ("sip:[::ffff:192.0.2.7]", UDP, True),
            ("sip:pbx.local", UDP, False),
            ("tel:+31", UDP, False),
        ):
            self.assertEqual(serves(on, parse_uri(hop)), expected, f"{hop} by {on.transport}")
        six = Flow(3, "udp", "udp", ("2001:db8::9", 5060), ("2001:db8::1", 5060))
        self.assertTrue(serves(six, parse_uri("sip:[2001:DB8:0::1]")))

    def test_transport_of_a_new_flow(self) -> None:
        """That of the old one where the target names none; TLS is not left even if it names another."""
        for hop, on, expected in (
            ("sip:a", UDP, "sip:a"),
            ("sip:a", TCP, "sip:a;transport=tcp"),
            ("sip:a;transport=udp", TCP, "sip:a;transport=udp"),
            ("sip:a;transport=udp", TLS, "sip:a;transport=tls"),
            ("sips:a", TLS, "sips:a"),
            ("tel:+31", TLS, "tel:+31"),
        ):
            self.assertEqual(str(by_transport_of(parse_uri(hop), on)), expected)


class WireTests(SynchronousTestCase):
    def test_users_of_a_flow(self) -> None:
        """A connection is in use until its last user lets go; a lost one no more, and it is forgotten with them."""
        wire = Wire()
        wire.hold(TCP, 1)
        wire.hold(TCP, 2)
        wire.hold(UDP, 1)
        wire.release(TCP, 1)
        self.assertEqual((wire.uses(TCP), wire.uses(UDP), wire.is_lost(TCP)), (True, False, False))
        self.assertEqual((wire.lose(TCP), wire.uses(TCP), wire.is_lost(TCP)), ([2], False, True))
        wire.release(TCP, 2)
        self.assertEqual((wire.is_lost(TCP), wire.lose(TCP)), (False, []))

    def test_tokens_are_answered_once(self) -> None:
        """A second answer, and one to a token never given, do nothing."""
        wire = Wire()
        told: list[object] = []
        wire.need(parse_uri("sip:a"), UDP, told.append, told.append)
        [event] = wire.events
        token = getattr(event, "token", 0)
        wire.flow_ready(token, UDP)
        wire.flow_failed(token, "late")
        wire.flow_failed(token + 1, "never asked")
        self.assertEqual((told, wire.waiting), ([UDP], 0))


class NamesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.names = Names(LISTENERS, Random(1).randbytes)

    def test_own_branches(self) -> None:
        """Known again by a keyed hash; others' of the same shape are not."""
        branch = self.names.branch()
        self.assertRegex(branch, "^z9hG4bK[0-9a-f]{32}$")
        other = Names(LISTENERS, Random(2).randbytes)
        self.assertEqual(
            [
                self.names.is_own_branch(each)
                for each in (branch, other.branch(), branch[:-1] + "é", branch + "0", None, "", branch.upper())
            ],
            [True, False, False, False, False, False, False],
        )

    def test_unknown_listener(self) -> None:
        stranger = Flow(1, "udp", "nowhere", (US, 1), (PEER, 1))
        self.assertRaises(LocalProtocolError, self.names.via, stranger, "z9hG4bKx")

    def test_stateless_tags(self) -> None:
        """The same for the same request, another for another."""
        tags = [
            self.names.stateless_tag(sound(data))
            for data in (
                invite(),
                invite(),
                invite(call_id="x"),
                invite(cseq=2),
                invite(branch="z9hG4bKy"),
                invite(from_tag="z"),
            )
        ]
        self.assertEqual((tags[0] == tags[1], len(set(tags))), (True, 5))

    def test_via_and_contact_of_ipv6(self) -> None:
        listeners = {
            "udp": LISTENERS["udp"].__class__(
                name="udp", transport="udp", bind=("::", 5060), advertise=("2001:db8::1", 5060), media_advertise="::1"
            )
        }
        names = Names(listeners, Random(1).randbytes)
        self.assertEqual(
            (str(names.via(flow(), "z9hG4bKx")), str(names.contact(flow(), "u"))),
            ("SIP/2.0/UDP [2001:db8::1]:5060;rport;branch=z9hG4bKx", "sip:u@[2001:db8::1]:5060"),
        )


def message(content_type: str, body: bytes, **headers: str) -> Message:
    return Message(
        [
            *([("Content-Type", content_type)] if content_type else []),
            *((name.replace("_", "-"), value) for name, value in headers.items()),
        ],
        body,
    )


def multipart(*parts: tuple[str, bytes], boundary: str = "x") -> bytes:
    pieces = [
        f"--{boundary}\r\n".encode() + (f"Content-Type: {kind}\r\n".encode() if kind else b"") + b"\r\n" + body
        for kind, body in parts
    ]
    return b"preamble\r\n" + b"\r\n".join(pieces) + f"\r\n--{boundary}--\r\nepilogue".encode()


class BodyTests(SynchronousTestCase):
    def test_plain(self) -> None:
        self.assertEqual(
            [
                sdp_body(each)
                for each in (
                    message("application/sdp", OFFER),
                    message("Application/SDP;charset=utf-8", OFFER),
                    message("text/plain", OFFER),
                    message("", OFFER),
                    message("application/sdp", b""),
                )
            ],
            [OFFER, OFFER, b"", b"", b""],
        )

    def test_multipart(self) -> None:
        """The first part that is SDP, its own line break not taken; two levels deep."""
        for kind in ("mixed", "alternative", "related"):
            body = multipart(("text/plain", b"hello"), ("application/sdp", OFFER), ("application/sdp", ANSWER))
            self.assertEqual(sdp_body(message(f'multipart/{kind}; boundary="x"', body)), OFFER)
        inner = multipart(("application/sdp", OFFER), boundary="y")
        self.assertEqual(
            sdp_body(message("multipart/mixed;boundary=x", multipart(("multipart/alternative;boundary=y", inner)))),
            OFFER,
        )

    def test_multipart_without_sdp(self) -> None:
        """No SDP in it, no boundary, one that is never there, too deep, too many parts before it."""
        deep = OFFER
        for boundary in "abc":
            deep = multipart(
                (f"multipart/mixed;boundary={chr(ord(boundary) - 1)}" if boundary > "a" else "application/sdp", deep),
                boundary=boundary,
            )
        many = multipart(*[("text/plain", b"")] * MAX_PARTS, ("application/sdp", OFFER))
        for content_type, body in (
            ("multipart/mixed;boundary=x", multipart(("text/plain", b"hello"), ("", b"x"))),
            ("multipart/mixed", multipart(("application/sdp", OFFER))),
            ("multipart/mixed;boundary=other", multipart(("application/sdp", OFFER))),
            ("multipart/mixed;boundary=c", deep),
            ("multipart/mixed;boundary=x", many),
        ):
            self.assertEqual(sdp_body(message(content_type, body)), b"", content_type)
            self.assertFalse(is_readable(message(content_type, body)))

    def test_what_may_be_ignored(self) -> None:
        optional = message("image/png", b"x", Content_Disposition="icon; handling = OPTIONAL")
        self.assertEqual((is_readable(optional), sdp_body(optional)), (True, b""))

    def test_encodings(self) -> None:
        self.assertEqual(
            [is_identity(message("", b"", Content_Encoding=value)) for value in ("identity", "gzip", "identity, gzip")],
            [True, False, False],
        )
        self.assertTrue(is_identity(message("", b"")))

    def test_accept(self) -> None:
        self.assertTrue(accepts_sdp(message("", b"")))
        self.assertFalse(accepts_sdp(message("", b"", Accept="")))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.text(max_size=40),
        st.binary(max_size=200),
        st.lists(
            st.sampled_from(
                [
                    b"\r\n--x\r\n",
                    b"--x",
                    b"--",
                    b"Content-Type: application/sdp",
                    b"\r\n\r\n",
                    b"\r\n",
                    b"\r",
                    b"\0",
                    b"v=0",
                ]
            ),
            max_size=20,
        ),
    )
    def test_anything(self, kind: str, tail: bytes, pieces: list[bytes]) -> None:
        """No body raises, and what is found is a part of it."""
        body = b"".join(pieces) + tail
        for content_type in ("multipart/mixed;boundary=x", "application/sdp"):
            found = sdp_body(message(content_type, body))
            self.assertIn(found, body)
        try:
            odd = message(f"multipart/mixed;boundary={kind}", body)
        except LocalProtocolError:
            return  # no such header can come: the parser lets no line break or NUL in
        self.assertIn(sdp_body(odd), body)
