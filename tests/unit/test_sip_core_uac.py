"""Calls that go out: forks, early dialogs, CANCEL, digest, next hops, and requests inside the dialog."""

from __future__ import annotations

from attrs import evolve

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import (
    Answered,
    Ended,
    FlowNeeded,
    Provisional,
    ReinviteRefused,
    RequestInDialog,
    ResponseReceived,
    Trying,
    UsageId,
)
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request, Response, response_to
from stellar_gw.sip.values import parse_name_addr
from stellar_gw.testing.sip_peer import ANSWER, OFFER
from tests.unit.sip_case import PEER, TCP, TLS, UDP, US, CoreCase, Headers, flow, lines, request

US_ADDRESS, PEER_ADDRESS = parse_name_addr(f"<sip:600@{US}>"), parse_name_addr(f"<sip:ann@{PEER}>")
CREDENTIALS = ClientCredentials(username="gateway", password="secret", host=PEER)
CHALLENGE = 'Digest realm="acme", nonce="n1", algorithm=MD5, qop="auth"'


class CallCase(CoreCase):
    def call(self, on: Flow = UDP, uri: str = f"sip:ann@{PEER}", body: bytes = OFFER, **options: object) -> UsageId:
        """Call the peer; the INVITE is kept."""
        self.usage = self.core.invite(
            parse_name_addr(f"<{uri}>").uri,
            on,
            self.now,
            from_=US_ADDRESS,
            to=PEER_ADDRESS,
            body=body,
            **options,  # type: ignore[arg-type]  # as they come
        )
        [self.invite] = self.asked(self.sent())
        return self.usage

    @staticmethod
    def asked(messages: list[Request | Response]) -> list[Request]:
        return [message for message in messages if isinstance(message, Request)]

    def reply(
        self,
        status: int,
        tag: str | None = "t1",
        *,
        to: Request | None = None,
        headers: Headers = (),
        contact: str = f"<sip:ann@{PEER}:5060>",
        body: bytes = ANSWER,
        on: Flow = UDP,
    ) -> list[Request | Response]:
        """Let the peer answer our INVITE, or another request; return what we send then."""
        items = [("Contact", contact)] if contact and 100 < status < 300 else []
        response = response_to(to or self.invite, status, "", [*items, *headers], body, to_tag=tag)
        return self.receive(response.to_bytes(), on)

    def up(self, on: Flow = UDP, contact: str = f"<sip:ann@{PEER}:5060>", **options: object) -> UsageId:
        """A confirmed call."""
        usage = self.call(on, **options)  # type: ignore[arg-type]  # passed on as they come
        self.reply(200, contact=contact, on=on)
        self.events()
        return usage


class InviteTests(CallCase):
    def test_request(self) -> None:
        """Everything an INVITE must carry, in order, and what the caller of it wants instead."""
        self.call(headers=[("X-A", "1"), ("Max-Forwards", "12")], route=[parse_name_addr(f"<sip:{PEER};lr>")])
        self.assertEqual(
            [name for name, _ in self.invite.headers],
            [
                "Via",
                "Route",
                "From",
                "To",
                "Call-ID",
                "CSeq",
                "Contact",
                "Allow",
                "Supported",
                "User-Agent",
                "X-A",
                "Max-Forwards",
                "Content-Type",
                "Content-Length",
            ],
        )
        self.assertRegex(str(self.invite.via), f"^SIP/2.0/UDP {US}:5060;rport;branch=z9hG4bK[0-9a-f]{{32}}$")
        self.assertEqual((str(self.invite.cseq), str(self.invite.uri)), ("1 INVITE", f"sip:ann@{PEER}"))

    def test_retransmissions(self) -> None:
        """Over UDP at 0.5, 1.5, 3.5 s and so on until a response; over TCP never."""
        self.call()
        self.assertEqual(lines(self.pass_time(4.0)), ["INVITE"] * 3)
        self.reply(100, None, body=b"")
        self.assertEqual((self.events(), self.pass_time(100.0)), ([Trying(self.usage)], []))
        self.call(TCP)
        self.assertEqual(self.pass_time(31.0), [])
        self.assertEqual(self.events(), [])
        self.pass_time(1.5)
        self.assertEqual(self.events(), [Ended(self.usage, "timeout", "local")])

    def test_refused(self) -> None:
        """The final response ends it; each copy of it is acknowledged, hop by hop."""
        self.call(route=[parse_name_addr(f"<sip:{PEER};lr>")])
        [ack] = self.asked(self.reply(486, body=b""))
        self.assertEqual(
            (ack.method, str(ack.via), ack.to.tag, str(ack.cseq), str(ack.uri), ack.headers.all("Route")),
            ("ACK", str(self.invite.via), "t1", "1 ACK", str(self.invite.uri), [f"<sip:{PEER};lr>"]),
        )
        [ended] = self.events()
        assert isinstance(ended, Ended) and ended.response is not None
        self.assertEqual((ended.cause, ended.by, ended.response.status), ("rejected", "remote", 486))
        self.assertEqual((self.reply(486, body=b""), self.events()), ([ack], []))

    def test_stray_responses_are_dropped(self) -> None:
        """Another branch, sent-by, number or method, or a second Via: not for us (8.1.3.3, 17.1.3, 18.1.2)."""
        self.call()
        wire = response_to(self.invite, 200, to_tag="t1").to_bytes()
        via = str(self.invite.via).encode()
        for old, new in (
            (b"z9hG4bK", b"z9hG4bKx"),
            (US.encode() + b":5060;rport", b"203.0.113.99:5060;rport"),
            (b"1 INVITE", b"2 INVITE"),
            (b"1 INVITE", b"1 OPTIONS"),
            (via, via + b"\r\nVia: SIP/2.0/UDP other"),
        ):
            self.assertEqual(self.receive(wire.replace(old, new, 1)), [])
        self.assertEqual((self.events(), self.core.counts["dropped stray response"]), ([], 5))

    def test_lost_connection_fails_it(self) -> None:
        """Its sender chose the way, and can choose another."""
        self.call(TCP)
        self.core.flow_lost(TCP, self.now)
        self.assertEqual(self.events(), [Ended(self.usage, "transport", "local")])
        self.assertTrue(self.core.idle)

    def test_another_try(self) -> None:
        """The same Call-ID and From tag, the next CSeq."""
        self.call()
        first = self.invite
        self.reply(488, body=b"")
        self.core.invite(
            first.uri, UDP, self.now, from_=first.from_, to=PEER_ADDRESS, call_id=first.call_id, sequence=2
        )
        [second] = self.asked(self.sent())
        self.assertEqual((second.call_id, second.from_, second.cseq.number), (first.call_id, first.from_, 2))

    def test_delayed_offer(self) -> None:
        """INVITE without SDP: the ACK is due, and carries our answer; copies of the 200 get it again."""
        usage = self.call(body=b"")
        self.assertEqual(self.reply(200, body=OFFER), [])
        self.assertEqual([type(event) for event in self.events()], [Answered])
        self.assertEqual(self.reply(200, body=OFFER), [])
        [ack] = self.do(self.core.ack, usage, ANSWER, self.now)
        self.assertEqual((lines([ack]), ack.body, ack.content_type), (["ACK"], ANSWER, "application/sdp"))
        self.assertEqual((self.reply(200, body=OFFER), self.events()), ([ack], []))

    def test_hanging_up_before_the_delayed_answer(self) -> None:
        usage = self.call(body=b"")
        self.reply(200, body=OFFER)
        self.assertEqual(lines(self.do(self.core.bye, usage, self.now)), ["ACK", "BYE"])

    def test_contact_is_missing(self) -> None:
        """A 200 without Contact: we go on where the INVITE went."""
        self.call()
        [ack] = self.asked(self.reply(200, contact=""))
        self.assertEqual(str(ack.uri), f"sip:ann@{PEER}")


class ForkTests(CallCase):
    """One INVITE, many answers (13.2.2.4)."""

    def test_early_dialogs(self) -> None:
        """One for each To tag; requests inside each of them are told."""
        usage = self.call()
        for tag in ("t1", "t2", "t1"):
            self.reply(180, tag, body=b"")
        self.assertEqual([type(event) for event in self.events()], [Provisional] * 3)
        self.assertEqual(self.core.counts["dialogs"], 2)
        for count, tag in enumerate(("t1", "t2")):
            self.receive(self.from_peer("INFO", tag, count + 1))
        self.assertEqual(
            [(type(event), getattr(event, "usage", "")) for event in self.events()], [(RequestInDialog, usage)] * 2
        )

    def from_peer(self, method: str, tag: str, cseq: int) -> bytes:
        return request(
            method,
            from_tag=tag,
            to_tag=self.invite.from_.tag or "",
            call_id=self.invite.call_id,
            cseq=cseq,
            branch=f"z9hG4bK{tag}{method}{cseq}",
        )

    def test_too_many_early_dialogs(self) -> None:
        self.call()
        for count in range(20):
            self.reply(180, f"t{count}", body=b"")
        self.assertEqual((len(self.events()), self.core.counts["dialogs"]), (16, 16))

    def test_second_answer(self) -> None:
        """Every 2xx is acknowledged, in its own dialog; all but the first are ended with BYE."""
        self.call()
        self.reply(180, "t1", body=b"")
        [ack1] = self.asked(self.reply(200, "t2"))
        ack2, bye2 = self.asked(self.reply(200, "t1", contact=f"<sip:other@{PEER}:5060>"))
        self.assertEqual(
            ([ack1.method, ack1.to.tag], [ack2.method, ack2.to.tag], [bye2.method, bye2.to.tag, str(bye2.uri)]),
            (["ACK", "t2"], ["ACK", "t1"], ["BYE", "t1", f"sip:other@{PEER}:5060"]),
        )
        self.assertEqual([type(event) for event in self.events()], [Provisional, Answered])
        self.assertEqual(self.reply(200, "t2"), [ack1])
        self.assertEqual(self.reply(200, "t1"), [ack2])
        self.reply(200, to=bye2, body=b"")
        self.assertEqual((self.events(), self.core.dialog(self.usage).remote_tag), ([], "t2"))
        self.assertEqual(self.core.counts["dialogs"], 1)

    def test_answer_after_the_end(self) -> None:
        """A fork that answers when the call is over already is acknowledged and ended, too."""
        usage = self.up()
        [bye] = self.asked(self.do(self.core.bye, usage, self.now))
        self.reply(200, to=bye, body=b"")
        self.events()
        self.assertEqual(lines(self.reply(200, "t2")), ["ACK", "BYE"])
        self.assertEqual(self.events(), [])

    def test_too_many_answers(self) -> None:
        self.call()
        sent = [self.reply(200, f"t{count}") for count in range(20)]
        self.assertEqual([len(each) for each in sent], [1] + [2] * 15 + [0] * 4)

    def test_late_answer(self) -> None:
        """64*T1 after the first 2xx nobody waits for more (timer M)."""
        self.up()
        self.pass_time(32.1)
        self.assertEqual(self.reply(200, "t2"), [])

    def test_bye_in_an_early_dialog(self) -> None:
        """Forbidden to a callee; answered, and that branch forgotten."""
        self.call()
        self.reply(180, "t1", body=b"")
        self.assertEqual(self.statuses(self.from_peer("BYE", "t1", 1)), [200])
        self.assertEqual(lines(self.reply(200, "t2")), ["ACK"])


class CancelTests(CallCase):
    def test_cancel(self) -> None:
        """The same branch, Request-URI, To and number as the INVITE (9.1), with a Reason if one is given."""
        usage = self.call(route=[parse_name_addr(f"<sip:{PEER};lr>")])
        self.reply(180, body=b"")
        [cancel] = self.asked(self.do(self.core.cancel, usage, self.now, headers=[("Reason", "SIP;cause=200")]))
        self.assertEqual(
            [(name, value) for name, value in cancel.headers if name != "Content-Length"],
            [
                ("Via", str(self.invite.via)),
                ("Max-Forwards", "70"),
                ("Route", f"<sip:{PEER};lr>"),
                ("From", str(self.invite.from_)),
                ("To", str(self.invite.to)),
                ("Call-ID", self.invite.call_id),
                ("CSeq", "1 CANCEL"),
                ("Reason", "SIP;cause=200"),
            ],
        )
        self.reply(200, to=cancel, body=b"")
        self.assertEqual(lines(self.reply(487, body=b"")), ["ACK"])
        ended = self.events()[-1]
        assert isinstance(ended, Ended) and ended.response is not None
        self.assertEqual((ended.cause, ended.by, ended.response.status), ("cancelled", "local", 487))

    def test_answer_crosses_it(self) -> None:
        """ACK, then BYE; the call was never up."""
        usage = self.call()
        self.reply(180, body=b"")
        self.do(self.core.cancel, usage, self.now)
        self.assertEqual(lines(self.reply(200)), ["ACK", "BYE"])
        self.assertEqual(
            [(event.cause, event.by) for event in self.events() if isinstance(event, Ended)], [("cancelled", "local")]
        )

    def test_answer_was_faster(self) -> None:
        """Told to cancel what is answered, the core hangs up."""
        usage = self.up()
        self.assertEqual(lines(self.do(self.core.cancel, usage, self.now)), ["BYE"])
        self.assertEqual(self.events(), [Ended(usage, "bye", "local")])

    def test_bye_while_calling(self) -> None:
        """Ended at once, CANCEL when it may go, and nothing told later."""
        usage = self.call()
        self.assertEqual(self.do(self.core.bye, usage, self.now), [])
        self.assertEqual(self.events(), [Ended(usage, "cancelled", "local")])
        self.assertEqual(lines(self.reply(100, None, body=b"")), ["CANCEL"])
        self.reply(180, body=b"")
        self.reply(487, body=b"")
        self.assertEqual(self.events(), [])
        self.pass_time(100.0)
        self.assertTrue(self.core.idle)

    def test_challenge_after_it(self) -> None:
        """A call that is being cancelled is not tried again with credentials."""
        usage = self.call(credentials=CREDENTIALS)
        self.core.cancel(usage, self.now)
        self.assertEqual(lines(self.reply(401, headers=(("WWW-Authenticate", CHALLENGE),), body=b"")), ["ACK"])
        [ended] = self.events()
        assert isinstance(ended, Ended)
        self.assertEqual(ended.cause, "cancelled")

    def test_nobody_there(self) -> None:
        usage = self.call()
        self.core.cancel(usage, self.now)
        self.pass_time(33.0)
        self.assertEqual(self.events(), [Ended(usage, "cancelled", "local")])
        self.assertTrue(self.core.idle)


class DigestTests(CallCase):
    def challenge(self, value: str = CHALLENGE, to: Request | None = None, status: int = 401) -> list[Request]:
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        return self.asked(self.reply(status, to=to, headers=((name, value),), body=b""))

    def test_answered_once(self) -> None:
        """ACK, then the INVITE again: same Call-ID and From tag, next CSeq, other branch; a second 401 is final."""
        usage = self.call(credentials=CREDENTIALS)
        first = self.invite
        ack, again = self.challenge()
        self.assertEqual(
            (
                ack.method,
                again.call_id,
                again.from_,
                again.cseq.number,
                again.body,
                again.to.tag,
                again.via.branch != first.via.branch,
            ),
            ("ACK", first.call_id, first.from_, 2, OFFER, None, True),
        )
        self.assertIn('username="gateway"', again.headers.first("Authorization") or "")
        self.assertEqual(lines(list(self.challenge(CHALLENGE.replace("n1", "n2"), again))), ["ACK"])
        [ended] = self.events()
        assert isinstance(ended, Ended)
        self.assertEqual((ended.usage, ended.cause, ended.by), (usage, "rejected", "remote"))

    def test_stale(self) -> None:
        """A nonce that has only grown old is replaced, three times at most."""
        self.call(credentials=CREDENTIALS)
        _, again = self.challenge()
        numbers = []
        for _ in range(5):
            sent = self.challenge(CHALLENGE + ", stale=true", again)
            if len(sent) == 2:
                again = sent[1]
                numbers.append(again.cseq.number)
        self.assertEqual(numbers, [3, 4, 5])

    def test_ack_carries_the_credentials(self) -> None:
        """Those of its INVITE, as nobody can challenge an ACK (22.1)."""
        self.call(credentials=CREDENTIALS)
        _, again = self.challenge(status=407)
        [ack] = self.asked(self.reply(200, to=again))
        self.assertEqual(ack.headers.first("Proxy-Authorization"), again.headers.first("Proxy-Authorization"))
        self.assertIsNotNone(ack.headers.first("Proxy-Authorization"))

    def test_requests_inside_the_dialog(self) -> None:
        """BYE and re-INVITE of a call that we began are answered for, too."""
        usage = self.up(credentials=CREDENTIALS)
        self.core.reinvite(usage, OFFER, self.now)
        [reinvite] = self.asked(self.sent())
        _, again = self.challenge(to=reinvite)
        self.assertEqual(("Authorization" in again.headers, again.cseq.number, again.to.tag), (True, 3, "t1"))
        self.assertEqual(lines(self.reply(200, to=again)), ["ACK"])
        [bye] = self.asked(self.do(self.core.bye, usage, self.now))
        [bye_again] = self.challenge(to=bye)
        self.assertEqual(("Authorization" in bye_again.headers, bye_again.cseq.number), (True, 5))

    def test_strongest_first_in_their_order(self) -> None:
        """The first challenge that we speak, in header order (RFC 8760 2.4)."""
        self.call(credentials=CREDENTIALS)
        values = (
            'Digest realm="acme", nonce="a", algorithm=FOO',
            'Digest realm="acme", nonce="b", algorithm=SHA-256, qop="auth"',
            CHALLENGE,
        )
        _, again = self.asked(self.reply(401, headers=tuple(("WWW-Authenticate", value) for value in values), body=b""))
        self.assertIn("algorithm=SHA-256", again.headers.first("Authorization") or "")

    def test_passwords_do_not_leak(self) -> None:
        """Another realm, another host, another scheme: no digest of ours is shown (CVE-2021-41158)."""
        for credentials, value in (
            (evolve(CREDENTIALS, realm="acme"), CHALLENGE.replace("acme", "evil")),
            (evolve(CREDENTIALS, host="sip.other.example"), CHALLENGE),
            (CREDENTIALS, 'Basic realm="acme"'),
            (CREDENTIALS, "Digest nonce=1"),
            (None, CHALLENGE),
        ):
            self.call(credentials=credentials)
            self.assertEqual(lines(list(self.challenge(value))), ["ACK"])

    def test_calls_that_came_in_show_nothing(self) -> None:
        """401 and 407 to our BYE, re-INVITE or INFO in the peer's call are final."""
        for status in (401, 407):
            for method in ("INFO", "INVITE", "BYE"):
                usage, _ = self.confirmed(call_id=f"{status}{method}")
                if method == "BYE":
                    self.core.bye(usage, self.now)
                elif method == "INVITE":
                    self.core.reinvite(usage, OFFER, self.now)
                else:
                    self.core.request_in(usage, method, self.now)
                [ours] = self.asked(self.sent())
                self.assertEqual(
                    [each.method for each in self.challenge(to=ours, status=status)],
                    ["ACK"] if method == "INVITE" else [],
                )

    def test_outside_any_call(self) -> None:
        token = self.core.request(
            "OPTIONS", PEER_ADDRESS.uri, UDP, self.now, from_=US_ADDRESS, to=PEER_ADDRESS, credentials=CREDENTIALS
        )
        [options] = self.asked(self.sent())
        [again] = self.challenge(to=options)
        self.reply(200, to=again, body=b"")
        [event] = self.events()
        assert isinstance(event, ResponseReceived) and event.response is not None
        self.assertEqual((event.token, event.response.status, again.cseq.number), (token, 200, 2))

    def test_repr_keeps_the_password(self) -> None:
        self.assertNotIn("secret", repr(CREDENTIALS))


class NextHopTests(CallCase):
    """Where requests inside a dialog go: on their flow while it leads there, else the way is asked for."""

    def after(self, contact: str, on: Flow = UDP) -> FlowNeeded | None:
        """A call whose peer shows this Contact, and our BYE in it: what the core asks, None if it just sends."""
        self.core = self.make_core()
        usage, _ = self.confirmed(on, contact=contact)
        sent = self.do(self.core.bye, usage, self.now)
        if sent:
            self.assertEqual((lines(sent), self.flows), (["BYE"], [on]))
            return None
        return self.needed()

    def test_peer_itself(self) -> None:
        """Its own address; on a connection whatever its port, as a client's is not the one it listens on."""
        self.assertIsNone(self.after(f"<sip:x@{PEER}:5060>"))
        self.assertIsNone(self.after(f"<sip:x@{PEER}>"))
        self.assertIsNone(self.after(f"<sip:x@{PEER}:5090>", TCP))
        self.assertIsNone(self.after(f"<sip:x@{PEER}:5090;transport=TCP>", TCP))
        mapped = flow(host="::ffff:192.0.2.7")
        self.assertIsNone(self.after(f"<sip:x@{PEER}:5060>", mapped))

    def test_private_addresses(self) -> None:
        """Behind address translation: only the flow leads there."""
        for host in ("10.1.2.3", "172.16.0.9:5080", "192.168.1.20", "100.64.1.1", "127.0.0.1", "[fd00::1]"):
            self.assertIsNone(self.after(f"<sip:x@{host}>"), host)

    def test_elsewhere(self) -> None:
        """Another public address, another port, a name, another transport: the way is asked for."""
        for contact in (
            "<sip:x@198.51.100.77>",
            f"<sip:x@{PEER}:5099>",
            "<sip:x@pbx.example>",
            f"<sip:x@{PEER};transport=tcp>",
        ):
            needed = self.after(contact)
            assert needed is not None
            self.assertEqual((f"<{needed.uri}>", needed.fallback, needed.listener), (contact, UDP, "udp"))

    def test_answer_is_remembered(self) -> None:
        """Asked once for a target; the next request goes the same way."""
        usage, _ = self.confirmed(contact="<sip:x@pbx.example>")
        self.core.request_in(usage, "INFO", self.now)
        new = flow(host="198.51.100.77")
        sent = self.do(self.core.flow_ready, self.needed().token, new, self.now)
        self.assertEqual((lines(sent), self.flows), (["INFO"], [new]))
        self.do(self.core.bye, usage, self.now)
        self.assertEqual(self.flows, [new])

    def test_no_way(self) -> None:
        """Whatever was to go is told to have failed, and nothing is left."""
        usage, _ = self.confirmed(contact="<sip:x@pbx.example>")
        token = self.core.request_in(usage, "INFO", self.now)
        self.core.flow_failed(self.needed().token, "unresolvable", self.now)
        self.assertEqual(self.events(), [ResponseReceived(token, None)])
        self.core.reinvite(usage, OFFER, self.now)
        self.core.flow_failed(self.needed().token, "unresolvable", self.now)
        self.assertEqual(self.events(), [ReinviteRefused(usage, None)])
        self.core.bye(usage, self.now)
        ended, needed = self.core.next_event(), self.core.next_event()
        assert isinstance(ended, FlowNeeded) and isinstance(needed, Ended)
        self.core.flow_failed(ended.token, "unresolvable", self.now)
        self.pass_time(60.0)
        self.assertTrue(self.core.idle, self.core.counts)

    def test_lost_connection(self) -> None:
        """By the transport that it was, the flow itself no fallback any more."""
        usage, _ = self.confirmed(TCP)
        self.core.flow_lost(TCP, self.now)
        self.core.bye(usage, self.now)
        needed = self.needed()
        self.assertEqual((str(needed.uri), needed.fallback), (f"sip:ann@{PEER}:5060;transport=tcp", None))

    def test_tls_is_never_left(self) -> None:
        """A TLS dialog asks for TLS whatever Contact says, and takes no other flow."""
        usage, _ = self.confirmed(TLS, contact="<sip:x@pbx.example;transport=udp>")
        token = self.core.request_in(usage, "INFO", self.now)
        needed = self.needed()
        self.assertEqual(str(needed.uri), "sip:x@pbx.example;transport=tls")
        self.assertEqual(self.do(self.core.flow_ready, needed.token, UDP, self.now), [])
        self.assertEqual(self.events(), [ResponseReceived(token, None)])

    def test_connection_that_breaks_under_a_request(self) -> None:
        """Inside a dialog it is sent again on a new one, once."""
        usage, _ = self.confirmed(TCP)
        self.do(self.core.bye, usage, self.now)
        self.core.flow_lost(TCP, self.now)
        needed = self.needed()
        new = flow("tcp", number=9)
        self.assertEqual(lines(self.do(self.core.flow_ready, needed.token, new, self.now)), ["BYE"])
        self.core.flow_lost(new, self.now)
        self.assertEqual((self.events(), self.core.counts["dialogs"]), ([], 0))


class RouteTests(CallCase):
    def test_route_set_as_uas(self) -> None:
        """Record-Route in its order, loose routing: the target stays the Request-URI (12.1.1, 12.2.1.1)."""
        usage, _ = self.confirmed(
            headers=(("Record-Route", f"<sip:{PEER};lr>, <sip:p1.example;lr>"), ("Record-Route", "<sip:p2.example;lr>"))
        )
        [bye] = self.asked(self.do(self.core.bye, usage, self.now))
        self.assertEqual(
            (str(bye.uri), bye.headers.all("Route")),
            (f"sip:ann@{PEER}:5060", [f"<sip:{PEER};lr>", "<sip:p1.example;lr>", "<sip:p2.example;lr>"]),
        )

    def test_route_set_as_uac(self) -> None:
        """Record-Route reversed, that of the 2xx and not of the 1xx before it (12.1.2, 13.2.2.4)."""
        self.call()
        self.reply(180, body=b"", headers=(("Record-Route", "<sip:old.example;lr>"),))
        record: Headers = (("Record-Route", f"<sip:p2.example;lr>, <sip:p1.example;lr>, <sip:{PEER};lr>"),)
        [ack] = self.asked(self.reply(200, headers=record))
        self.assertEqual(
            (str(ack.uri), ack.headers.all("Route")),
            (f"sip:ann@{PEER}:5060", [f"<sip:{PEER};lr>", "<sip:p1.example;lr>", "<sip:p2.example;lr>"]),
        )

    def test_strict_router(self) -> None:
        """It finds itself in the Request-URI, and the target at the end of the route."""
        usage, _ = self.confirmed(headers=(("Record-Route", f"<sip:{PEER};x=1>, <sip:p1.example;lr>"),))
        [bye] = self.asked(self.do(self.core.bye, usage, self.now))
        self.assertEqual(
            (str(bye.uri), bye.headers.all("Route")),
            (f"sip:{PEER};x=1", ["<sip:p1.example;lr>", f"<sip:ann@{PEER}:5060>"]),
        )

    def test_headers_in_a_contact_are_no_headers(self) -> None:
        """``?Route=`` in a target is left out of the Request-URI (19.1.1)."""
        usage, _ = self.confirmed(contact=f"<sip:x@{PEER}:5060;method=REFER?Route=%3Csip:evil%3E>")
        [bye] = self.asked(self.do(self.core.bye, usage, self.now))
        self.assertEqual((str(bye.uri), bye.headers.all("Route")), (f"sip:x@{PEER}:5060", []))


class RequestTests(CallCase):
    """Requests inside a dialog, and what their answers mean for the call (RFC 5057)."""

    def ask(self, method: str = "INFO", **options: object) -> tuple[int, Request]:
        token = self.core.request_in(self.usage, method, self.now, **options)  # type: ignore[arg-type]  # as they come
        [ours] = self.asked(self.sent())
        return token, ours

    def setUp(self) -> None:
        super().setUp()
        self.up()

    def test_answered(self) -> None:
        token, info = self.ask(body=b"Signal=1", content_type="application/dtmf-relay", headers=[("X-A", "1")])
        self.assertEqual(
            (info.cseq.number, info.body, info.content_type, info.headers.first("X-A"), info.to.tag),
            (2, b"Signal=1", "application/dtmf-relay", "1", "t1"),
        )
        self.reply(200, to=info, body=b"")
        [event] = self.events()
        assert isinstance(event, ResponseReceived) and event.response is not None
        self.assertEqual((event.token, event.response.status), (token, 200))

    def test_other_refusals_harm_nothing(self) -> None:
        for status in (405, 489, 500, 503, 603):
            _, info = self.ask()
            self.reply(status, to=info, body=b"")
        self.assertEqual([type(event) for event in self.events()], [ResponseReceived] * 5)

    def test_dialog_is_gone(self) -> None:
        """481 and 408 end the call, with a BYE in case the peer has it after all (12.2.1.2)."""
        for status in (481, 408):
            _, options = self.ask("OPTIONS")
            self.assertEqual(lines(self.reply(status, to=options, body=b"")), ["BYE"])
            response, ended = self.events()
            assert isinstance(response, ResponseReceived) and isinstance(ended, Ended)
            self.assertEqual((ended.cause, ended.by), ("dialog_gone", "remote"))
            self.up()

    def test_gone_subscription_is_no_gone_call(self) -> None:
        _, notify = self.ask("NOTIFY")
        self.reply(481, to=notify, body=b"")
        self.assertEqual([type(event) for event in self.events()], [ResponseReceived])

    def test_timed_out(self) -> None:
        """Nobody answered for 64*T1: the peer is gone."""
        token, _ = self.ask("OPTIONS")
        sent = lines(self.pass_time(32.1))
        self.assertEqual(sent, ["OPTIONS"] * 10 + ["BYE"])
        self.assertEqual(self.events(), [ResponseReceived(token, None), Ended(self.usage, "timeout", "local")])

    def test_call_ends_meanwhile(self) -> None:
        """Each token has its answer before Ended."""
        token, info = self.ask()
        self.core.bye(self.usage, self.now)
        self.assertEqual(self.events(), [ResponseReceived(token, None), Ended(self.usage, "bye", "local")])
        self.reply(200, to=info, body=b"")
        self.assertEqual(self.events(), [])

    def test_after_the_end(self) -> None:
        self.core.bye(self.usage, self.now)
        self.events()
        token = self.core.request_in(self.usage, "INFO", self.now)
        self.assertEqual(self.events(), [ResponseReceived(token, None)])

    def test_methods_with_verbs_of_their_own(self) -> None:
        for method in ("INVITE", "ACK", "BYE", "CANCEL"):
            self.assertRaises(LocalProtocolError, self.core.request_in, self.usage, method, self.now)


class OfferTests(CallCase):
    """Our re-INVITEs."""

    def setUp(self) -> None:
        super().setUp()
        self.up()
        self.core.reinvite(self.usage, OFFER, self.now)
        [self.reinvite] = self.asked(self.sent())

    def test_answered(self) -> None:
        """The 2xx may bring another target; its ACK goes there."""
        [ack] = self.asked(self.reply(200, to=self.reinvite, contact=f"<sip:new@{PEER}:5060>"))
        self.assertEqual((str(ack.cseq), str(ack.uri)), ("2 ACK", f"sip:new@{PEER}:5060"))
        [event] = self.events()
        assert isinstance(event, Answered)
        self.assertTrue(event.reinvite)
        self.assertEqual((self.reply(200, to=self.reinvite), self.events()), ([ack], []))

    def test_refused(self) -> None:
        self.assertEqual(lines(self.reply(488, to=self.reinvite, body=b"")), ["ACK"])
        [event] = self.events()
        assert isinstance(event, ReinviteRefused) and event.response is not None
        self.assertEqual(event.response.status, 488)

    def test_one_at_a_time(self) -> None:
        """While one is open another is refused here, as the peer would: 491 (14.1)."""
        self.assertEqual(self.do(self.core.reinvite, self.usage, OFFER, self.now), [])
        [event] = self.events()
        assert isinstance(event, ReinviteRefused) and event.response is not None
        self.assertEqual(event.response.status, 491)

    def test_gone(self) -> None:
        """481 to a re-INVITE ends the call (14.1)."""
        self.assertEqual(lines(self.reply(481, to=self.reinvite, body=b"")), ["ACK", "BYE"])
        self.assertEqual([type(event) for event in self.events()], [ReinviteRefused, Ended])

    def test_timed_out(self) -> None:
        self.assertEqual(lines(self.pass_time(32.1)), ["INVITE"] * 6 + ["BYE"])
        self.assertEqual(self.events(), [ReinviteRefused(self.usage, None), Ended(self.usage, "timeout", "local")])

    def test_never_decided(self) -> None:
        """Ringing for three minutes: CANCEL; 64*T1 later it is forgotten, and the call goes on."""
        self.reply(180, to=self.reinvite, body=b"")
        self.assertEqual(lines(self.pass_time(180.0)), ["CANCEL"])
        self.events()
        self.pass_time(33.0)
        self.assertEqual(self.events(), [ReinviteRefused(self.usage, None)])
        self.core.reinvite(self.usage, OFFER, self.now)
        self.assertEqual(lines(self.sent()), ["INVITE"])

    def test_answered_after_the_end(self) -> None:
        """We have hung up; the late 2xx is acknowledged all the same, and nothing is told."""
        self.core.bye(self.usage, self.now)
        self.events()
        self.sent()
        self.assertEqual(lines(self.reply(200, to=self.reinvite)), ["ACK"])
        self.assertEqual(self.events(), [])

    def test_delays_after_glare(self) -> None:
        """2.1 to 4 s for the owner of the Call-ID, 0 to 2 s for the other (14.1)."""
        other, _ = self.confirmed(call_id="c2")
        ours = [self.core.glare_delay(self.usage) for _ in range(200)]
        theirs = [self.core.glare_delay(other) for _ in range(200)]
        self.assertTrue(2.1 <= min(ours) < 2.2 < 3.9 < max(ours) <= 4.0, ours)
        self.assertTrue(0.0 <= min(theirs) < 0.1 < 1.9 < max(theirs) <= 2.0, theirs)
