"""Calls that come in: the INVITE, its answers and their ACK, CANCEL, and requests inside the dialog."""

from __future__ import annotations

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.events import (
    Cancelled,
    Confirmed,
    Ended,
    Reoffered,
    RequestInDialog,
    RequestReceived,
    UsageId,
)
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request, Response
from stellar_gw.testing.sip_peer import ANSWER, OFFER
from tests.unit.sip_case import PEER, TCP, TLS, UDP, US, CoreCase, flow, invite, lines, request


class InviteTests(CoreCase):
    def test_retransmissions_are_absorbed(self) -> None:
        """INVITE again: the last provisional response again; the floor above is asked once."""
        usage = self.accepted()
        self.assertEqual(lines(self.receive(invite())), ["100 INVITE"])
        self.do(self.core.ring, usage, self.now)
        self.assertEqual(lines(self.receive(invite())), ["180 INVITE"])
        self.do(self.core.answer, usage, ANSWER, self.now)
        self.assertEqual((self.receive(invite()), self.events()), ([], []))

    def test_accepted_twice(self) -> None:
        """A copy that arrived while the first was being judged is no second call."""
        self.receive(invite())
        self.receive(invite())
        first, second = self.events()
        assert isinstance(first, RequestReceived) and isinstance(second, RequestReceived)
        self.assertIsNotNone(self.core.accept(first.request, UDP, self.now))
        self.sent()
        self.assertIsNone(self.core.accept(second.request, UDP, self.now))
        self.assertEqual(lines(self.sent()), ["100 INVITE"])

    def test_merged_requests(self) -> None:
        """The same INVITE by another way is 482 (8.2.2.2)."""
        self.accepted()
        self.receive(invite(branch="z9hG4bK-another"))
        [event] = self.events()
        assert isinstance(event, RequestReceived)
        self.assertIsNone(self.core.accept(event.request, UDP, self.now))
        self.assertEqual(lines(self.sent()), ["482 INVITE"])

    def test_success(self) -> None:
        """The 200 says where we are, what we do, and by which way it came, Record-Route in its order."""
        usage = self.accepted(
            headers=(("Record-Route", "<sip:p2.example;lr>, <sip:p1.example;lr>"), ("Record-Route", "<sip:p0.example>"))
        )
        [response] = self.do(self.core.answer, usage, ANSWER, self.now, headers=[("X-A", "1")])
        contact = response.contact
        assert contact is not None
        self.assertRegex(str(contact.uri), f"^sip:[0-9a-f]{{16}}@{US}:5060$")
        self.assertRegex(response.to.tag or "", "^[0-9a-f]{16}$")
        names = [name for name, _ in response.headers]
        self.assertEqual(
            (names, response.headers.all("Record-Route"), response.body),
            (
                [
                    "Via",
                    "Record-Route",
                    "Record-Route",
                    "From",
                    "To",
                    "Call-ID",
                    "CSeq",
                    "Server",
                    "Contact",
                    "Allow",
                    "Supported",
                    "X-A",
                    "Content-Type",
                    "Content-Length",
                ],
                ["<sip:p2.example;lr>, <sip:p1.example;lr>", "<sip:p0.example>"],
                ANSWER,
            ),
        )

    def test_contact_follows_the_transport(self) -> None:
        """The listener that the call came in on, its transport as a parameter; sips only for sips (RFC 5630)."""
        contacts = []
        for on, uri in ((TCP, f"sip:600@{US}"), (TLS, f"sip:600@{US}"), (TLS, f"sips:600@{US}")):
            usage = self.accepted(on, uri=uri, call_id=f"{on.id}{on.transport}{uri}")
            [response] = self.do(self.core.answer, usage, ANSWER, self.now)
            assert response.contact is not None
            contacts.append(str(response.contact.uri).replace(getattr(response.contact.uri, "user", ""), "x"))
        self.assertEqual(
            contacts, [f"sip:x@{US}:5060;transport=tcp", f"sip:x@{US}:5061;transport=tls", f"sips:x@{US}:5061"]
        )

    def test_success_is_repeated_until_its_ack(self) -> None:
        """The 200 goes out after 0.5, 1, 2, 4 and every 4 s, over TCP too, and stops at the ACK (13.3.1.4)."""
        for on in (UDP, TCP):
            call_id = on.transport
            _, tag = self.answered(on, call_id=call_id)
            times = []
            for _ in range(100):
                times += [round(self.now - 1000.0, 1)] * len(self.pass_time(0.1))
            self.assertEqual(times, [0.4, 1.4, 3.4, 7.4])
            self.receive(request("ACK", to_tag=tag, branch="z9hG4bK-a", call_id=call_id), on)
            self.assertEqual([type(event) for event in self.events()], [Confirmed])
            self.assertEqual(self.pass_time(60.0), [])
            self.now = 1000.0
            self.core = self.make_core()

    def test_lost_ack(self) -> None:
        """Without an ACK for 64*T1: BYE and the end."""
        usage, _ = self.answered()
        sent = lines(self.pass_time(32.1))
        self.assertEqual(sent, ["200 INVITE"] * 10 + ["BYE"])
        self.assertEqual(self.events(), [Ended(usage, "ack_timeout", "local")])

    def test_ack_with_the_branch_of_its_invite(self) -> None:
        """Some phone systems send it so; it is the dialog's all the same."""
        usage, tag = self.answered()
        self.receive(request("ACK", to_tag=tag, branch="z9hG4bK-c1-INVITE-1"))
        [event] = self.events()
        assert isinstance(event, Confirmed)
        self.assertEqual(event.usage, usage)

    def test_ack_of_another_number(self) -> None:
        _, tag = self.answered()
        self.receive(request("ACK", to_tag=tag, branch="z9hG4bK-a", cseq=7))
        self.assertEqual(self.events(), [])

    def test_delayed_offer(self) -> None:
        """INVITE without SDP: our 200 offers, the ACK answers."""
        _, tag = self.answered(body=b"")
        self.receive(request("ACK", to_tag=tag, branch="z9hG4bK-a", body=OFFER))
        [event] = self.events()
        assert isinstance(event, Confirmed)
        self.assertEqual((event.body, event.reinvite), (OFFER, False))

    def test_refusal_is_repeated_until_its_ack(self) -> None:
        """Over UDP a 486 goes out at 0, 0.5, 1.5 and 3.5 s (17.2.1, timer G); ACKs are absorbed."""
        usage = self.accepted()
        [refused] = self.do(self.core.reject, usage, 486, self.now, headers=[("Warning", '399 a "ref 1"')])
        self.assertEqual(self.events(), [Ended(usage, "rejected", "local")])
        self.assertEqual(refused.headers.first("Warning"), '399 a "ref 1"')
        self.assertEqual(lines(self.pass_time(4.0)), ["486 INVITE"] * 3)
        for _ in range(3):
            self.assertEqual(
                self.receive(request("ACK", to_tag=refused.to.tag or "", branch="z9hG4bK-c1-INVITE-1")), []
            )
        self.assertEqual(self.pass_time(60.0), [])
        self.assertTrue(self.core.idle)

    def test_refusal_that_nobody_acknowledges(self) -> None:
        usage = self.accepted()
        self.do(self.core.reject, usage, 486, self.now)
        self.assertEqual(lines(self.pass_time(40.0)), ["486 INVITE"] * 10)
        self.assertTrue(self.core.idle)

    def test_refusal_over_tcp_goes_out_once(self) -> None:
        usage = self.accepted(TCP)
        self.do(self.core.reject, usage, 486, self.now)
        self.assertEqual(self.pass_time(40.0), [])
        self.assertTrue(self.core.idle)

    def test_provisional_is_repeated_every_minute(self) -> None:
        """So that no proxy gives up on a call that rings long (13.3.1.1)."""
        usage = self.accepted()
        self.do(self.core.ring, usage, self.now, 183, "", [("X-A", "1")], OFFER)
        self.assertEqual(lines(self.pass_time(125.0)), ["183 INVITE"] * 2)
        self.do(self.core.answer, usage, ANSWER, self.now)
        self.assertNotIn("183 INVITE", lines(self.pass_time(31.0)))

    def test_hanging_up_before_answering(self) -> None:
        """bye() before our answer is 480: the caller has not given up."""
        usage = self.accepted()
        self.assertEqual(lines(self.do(self.core.bye, usage, self.now)), ["480 INVITE"])
        self.assertEqual(self.events(), [Ended(usage, "rejected", "local")])

    def test_verbs_after_the_end_are_ignored(self) -> None:
        """The event that says so may still be in the queue; but what could never be is a bug, and raises."""
        usage = self.accepted()
        self.receive(request("CANCEL", branch="z9hG4bK-c1-INVITE-1"))
        for verb in (self.core.answer, self.core.reinvite):
            self.assertEqual(self.do(verb, usage, ANSWER, self.now), [])
        self.core.ring(usage, self.now)
        self.core.bye(usage, self.now)
        self.core.reject(usage, 486, self.now)
        self.assertEqual(self.sent(), [])
        other = self.accepted(call_id="c2")
        self.assertRaises(LocalProtocolError, self.core.reinvite, other, OFFER, self.now)
        self.assertRaises(LocalProtocolError, self.core.reject, other, 200, self.now)
        self.assertRaises(LocalProtocolError, self.core.ring, other, self.now, 200)
        self.assertRaises(LocalProtocolError, self.core.answer, other, ANSWER, self.now, [("X-A", "1\r\nX-B: 2")])
        self.assertEqual(lines(self.do(self.core.answer, other, ANSWER, self.now)), ["200 INVITE"])


class OldClientTests(CoreCase):
    """RFC 2543: no magic cookie, matching by the whole request (17.2.3)."""

    def test_refused(self) -> None:
        usage = self.accepted(branch="", from_tag="")
        self.assertEqual(lines(self.receive(invite(branch="", from_tag=""))), ["100 INVITE"])
        [refused] = self.do(self.core.reject, usage, 486, self.now)
        stray = request("ACK", branch="", from_tag="", to_tag="wrong")
        self.receive(stray)
        self.assertEqual(lines(self.pass_time(0.6)), ["486 INVITE"])
        self.receive(request("ACK", branch="", from_tag="", to_tag=refused.to.tag or ""))
        self.assertEqual(self.pass_time(60.0), [])

    def test_answered(self) -> None:
        usage, tag = self.answered(branch="", from_tag="")
        self.receive(request("ACK", branch="", from_tag="", to_tag=tag))
        self.assertEqual([type(event) for event in self.events()], [Confirmed])
        self.assertEqual(self.statuses(request("BYE", branch="", from_tag="", to_tag=tag, cseq=2)), [200])
        [event] = self.events()
        assert isinstance(event, Ended)
        self.assertEqual((event.usage, event.cause), (usage, "bye"))

    def test_cancelled(self) -> None:
        self.accepted(branch="")
        self.assertEqual(lines(self.receive(request("CANCEL", branch=""))), ["200 CANCEL", "487 INVITE"])


class CancelTests(CoreCase):
    CANCEL = request("CANCEL", branch="z9hG4bK-c1-INVITE-1", headers=(("Reason", "SIP;cause=200"),))

    def test_before_the_answer(self) -> None:
        """200 to the CANCEL, 487 to the INVITE, both with the same To tag; the CANCEL again gets its 200 again."""
        usage = self.accepted()
        first, second = self.receive(self.CANCEL)
        self.assertEqual((lines([first, second]), first.to.tag == second.to.tag), (["200 CANCEL", "487 INVITE"], True))
        cancelled, ended = self.events()
        assert isinstance(cancelled, Cancelled) and isinstance(ended, Ended) and ended.request is not None
        self.assertEqual(
            (cancelled.usage, cancelled.reinvite, ended.cause, ended.by, ended.request.headers.first("Reason")),
            (usage, False, "cancelled", "remote", "SIP;cause=200"),
        )
        self.assertEqual(lines(self.receive(self.CANCEL)), ["200 CANCEL"])
        self.pass_time(100.0)
        self.assertTrue(self.core.idle)

    def test_after_the_answer(self) -> None:
        """200, and nothing else: the call is up, or refused already (9.2)."""
        self.answered()
        self.assertEqual(lines(self.receive(self.CANCEL)), ["200 CANCEL"])
        self.assertEqual(self.events(), [])
        self.core = self.make_core()
        self.do(self.core.reject, self.accepted(), 486, self.now)
        self.events()
        self.assertEqual(lines(self.receive(self.CANCEL)), ["200 CANCEL"])
        self.assertEqual(self.events(), [])

    def test_of_nothing(self) -> None:
        self.assertEqual(lines(self.receive(self.CANCEL)), ["481 CANCEL"])
        self.assertTrue(self.core.idle)

    def test_of_a_request_that_cannot_be_cancelled(self) -> None:
        """An INFO being served is not harmed; the CANCEL is answered."""
        _, tag = self.confirmed()
        self.receive(request("INFO", to_tag=tag, cseq=2, branch="z9hG4bK-info"))
        self.assertEqual(
            lines(self.receive(request("CANCEL", to_tag=tag, cseq=2, branch="z9hG4bK-info"))), ["200 CANCEL"]
        )


class DialogTests(CoreCase):
    def test_bye(self) -> None:
        """200, and the end; the BYE again gets its 200 again; after that the dialog is unknown."""
        usage, tag = self.confirmed()
        bye = request("BYE", to_tag=tag, cseq=2)
        self.assertEqual(self.statuses(bye), [200])
        [event] = self.events()
        assert isinstance(event, Ended) and event.request is not None
        self.assertEqual((event.usage, event.cause, event.by, event.request.method), (usage, "bye", "remote", "BYE"))
        self.assertEqual(self.statuses(bye), [200])
        self.assertEqual(self.statuses(request("BYE", to_tag=tag, cseq=3)), [481])
        self.assertEqual(self.statuses(request("INFO", to_tag=tag, cseq=4)), [481])

    def test_bye_before_our_answer(self) -> None:
        """The INVITE that is open gets 487 (15.1.2)."""
        usage = self.accepted()
        tag = self.core.dialog(usage).local_tag
        self.assertEqual(lines(self.receive(request("BYE", to_tag=tag, cseq=2))), ["200 BYE", "487 INVITE"])

    def test_sequence_numbers(self) -> None:
        """Lower than before, or the same again: 500; a gap is fine (12.2.2)."""
        _, tag = self.confirmed(cseq=10)
        self.assertEqual(self.statuses(request("OPTIONS", to_tag=tag, cseq=20)), [200])
        self.assertEqual(self.statuses(request("OPTIONS", to_tag=tag, cseq=15)), [500])
        self.assertEqual(self.statuses(request("OPTIONS", to_tag=tag, cseq=20, branch="z9hG4bK-other")), [500])
        self.assertEqual(self.statuses(request("BYE", to_tag=tag, cseq=20)), [200])

    def test_requests_for_the_floor_above(self) -> None:
        """INFO is told and answered; again, it gets the same answer again without being told."""
        usage, tag = self.confirmed()
        info = request("INFO", to_tag=tag, cseq=2, body=b"Signal=5", content_type="application/dtmf-relay")
        self.assertEqual(self.receive(info), [])
        [event] = self.events()
        assert isinstance(event, RequestInDialog)
        self.assertEqual((event.usage, event.request.body), (usage, b"Signal=5"))
        self.assertEqual(self.receive(info), [])
        [answer] = self.do(self.core.respond_in, event.token, 200, self.now, headers=[("X-A", "1")])
        self.assertEqual(self.receive(info), [answer])
        self.assertEqual((self.do(self.core.respond_in, event.token, 500, self.now), self.events()), ([], []))

    def test_unanswered_requests_end_with_the_call(self) -> None:
        """487 to what the floor above has not answered (15.1.2); its answer later is ignored."""
        _, tag = self.confirmed()
        self.receive(request("INFO", to_tag=tag, cseq=2))
        [event] = self.events()
        assert isinstance(event, RequestInDialog)
        self.assertEqual(lines(self.receive(request("BYE", to_tag=tag, cseq=3))), ["200 BYE", "487 INFO"])
        self.assertEqual(self.do(self.core.respond_in, event.token, 200, self.now), [])

    def test_too_many_unanswered_requests(self) -> None:
        _, tag = self.confirmed()
        statuses = [self.statuses(request("INFO", to_tag=tag, cseq=2 + count)) for count in range(10)]
        self.assertEqual(statuses, [[]] * 8 + [[500]] * 2)

    def test_methods_that_are_not_done(self) -> None:
        _, tag = self.confirmed()
        self.assertEqual(
            [self.statuses(request(method, to_tag=tag, cseq=9)) for method in ("UPDATE", "PRACK", "REFER", "FOO")],
            [[405], [405], [405], [501]],
        )

    def test_tls_holds_for_the_dialogs_life(self) -> None:
        """A request inside a dialog that began over TLS is 403 over anything else."""
        _, tag = self.confirmed(TLS)
        self.assertEqual(self.statuses(request("BYE", to_tag=tag, cseq=2), UDP), [403])
        self.assertEqual(self.statuses(request("BYE", to_tag=tag, cseq=3), TLS), [200])


class ReinviteTests(CoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.usage, self.tag = self.confirmed()

    def reinvite(self, cseq: int, **parts: object) -> bytes:
        return invite(to_tag=self.tag, cseq=cseq, **parts)  # type: ignore[arg-type]  # passed on as they come

    def test_answered(self) -> None:
        """100 at once, our 200 until its ACK; the new Contact is the target from then on."""
        sent = self.receive(self.reinvite(2, contact=f"<sip:new@{PEER}:5060>"))
        self.assertEqual(lines(sent), ["100 INVITE"])
        [event] = self.events()
        assert isinstance(event, Reoffered)
        self.assertEqual(event.usage, self.usage)
        self.assertEqual(lines(self.do(self.core.answer, self.usage, ANSWER, self.now)), ["200 INVITE"])
        self.assertEqual(lines(self.pass_time(1.0)), ["200 INVITE"])
        self.receive(request("ACK", to_tag=self.tag, cseq=2, branch="z9hG4bK-a"))
        [confirmed] = self.events()
        assert isinstance(confirmed, Confirmed)
        self.assertEqual((confirmed.reinvite, confirmed.body, self.pass_time(9.0)), (True, b"", []))
        self.assertEqual(str(self.core.dialog(self.usage).remote_target), f"sip:new@{PEER}:5060")

    def test_without_offer(self) -> None:
        """The offer is ours, the answer comes in the ACK."""
        self.receive(self.reinvite(2, body=b""))
        self.do(self.core.answer, self.usage, OFFER, self.now)
        self.events()
        self.receive(request("ACK", to_tag=self.tag, cseq=2, branch="z9hG4bK-a", body=ANSWER))
        [confirmed] = self.events()
        assert isinstance(confirmed, Confirmed)
        self.assertEqual((confirmed.reinvite, confirmed.body), (True, ANSWER))

    def test_refused(self) -> None:
        """488, and the call goes on where it was."""
        self.receive(self.reinvite(2, contact=f"<sip:new@{PEER}:5060>"))
        self.assertEqual(lines(self.do(self.core.reject, self.usage, 488, self.now)), ["488 INVITE"])
        self.receive(request("ACK", to_tag=self.tag, cseq=2, branch="z9hG4bK-c1-INVITE-2"))
        self.events()
        self.assertEqual(
            (self.pass_time(40.0), str(self.core.dialog(self.usage).remote_target)), ([], f"sip:ann@{PEER}:5060")
        )

    def test_second_before_the_first_is_answered(self) -> None:
        """500 with Retry-After of 0 to 10 s (14.2)."""
        self.receive(self.reinvite(2))
        [_, response] = [None, *self.receive(self.reinvite(3))]
        assert isinstance(response, Response)
        self.assertEqual(response.status, 500)
        self.assertIn(int(response.headers.first("Retry-After") or "x"), range(11))

    def test_while_ours_is_open(self) -> None:
        """491 (14.2)."""
        self.do(self.core.reinvite, self.usage, OFFER, self.now)
        self.assertEqual(lines(self.receive(self.reinvite(2))), ["491 INVITE"])

    def test_before_the_ack(self) -> None:
        """491: the exchange before it is not over."""
        _, tag = self.answered(call_id="c2")
        self.assertEqual(lines(self.receive(invite(to_tag=tag, cseq=2, call_id="c2"))), ["491 INVITE"])

    def test_before_our_answer(self) -> None:
        usage = self.accepted(call_id="c2")
        tag = self.core.dialog(usage).local_tag
        self.assertEqual(lines(self.receive(invite(to_tag=tag, cseq=2, call_id="c2"))), ["500 INVITE"])

    def test_cancelled(self) -> None:
        """487, the call goes on, and an answer that comes too late is ignored."""
        self.receive(self.reinvite(2))
        self.events()
        sent = self.receive(request("CANCEL", to_tag=self.tag, cseq=2, branch="z9hG4bK-c1-INVITE-2"))
        self.assertEqual(lines(sent), ["200 CANCEL", "487 INVITE"])
        [event] = self.events()
        assert isinstance(event, Cancelled)
        self.assertTrue(event.reinvite)
        self.assertEqual(self.do(self.core.answer, self.usage, ANSWER, self.now), [])

    def test_hanging_up_with_one_open(self) -> None:
        """The peer's offer gets 487, then BYE goes out."""
        self.receive(self.reinvite(2))
        self.assertEqual(lines(self.do(self.core.bye, self.usage, self.now)), ["487 INVITE", "BYE"])

    def test_hung_up_with_one_open(self) -> None:
        self.receive(self.reinvite(2))
        self.assertEqual(lines(self.receive(request("BYE", to_tag=self.tag, cseq=3))), ["200 BYE", "487 INVITE"])

    def test_lost_ack_of_a_reinvite(self) -> None:
        """As for the first: BYE after 64*T1 (14.2)."""
        self.receive(self.reinvite(2))
        self.do(self.core.answer, self.usage, ANSWER, self.now)
        self.events()
        self.assertEqual(lines(self.pass_time(32.1))[-1], "BYE")
        self.assertEqual(self.events(), [Ended(self.usage, "ack_timeout", "local")])

    def test_body_that_cannot_be_read(self) -> None:
        self.assertEqual(self.statuses(self.reinvite(2, content_type="text/plain")), [415])
        self.assertEqual(self.events(), [])


class LostFlowTests(CoreCase):
    """Connections break; responses find another way (18.2.2), requests too."""

    def lost(self) -> UsageId:
        usage = self.accepted(TCP, via=f"SIP/2.0/TCP {PEER}:5090")
        self.assertTrue(self.core.uses(TCP))
        self.core.flow_lost(TCP, self.now)
        self.assertFalse(self.core.uses(TCP))
        return usage

    def test_response_goes_to_the_via(self) -> None:
        """To the address it came from, at the port that its Via names."""
        usage = self.lost()
        self.assertEqual(self.do(self.core.ring, usage, self.now), [])
        needed = self.needed()
        self.assertEqual((str(needed.uri), needed.fallback), (f"sip:{PEER}:5090;transport=tcp", None))
        self.assertEqual(self.do(self.core.answer, usage, ANSWER, self.now), [])
        new = flow("tcp", port=5090, number=9)
        sent = self.do(self.core.flow_ready, needed.token, new, self.now)
        self.assertEqual((lines(sent), self.flows), (["180 INVITE", "200 INVITE"], [new, new]))
        self.assertTrue(self.core.uses(new))

    def test_no_way_back(self) -> None:
        """Nobody can be told; the call is over."""
        usage = self.lost()
        self.do(self.core.reject, usage, 486, self.now)
        self.core.flow_failed(self.needed().token, "refused", self.now)
        self.assertTrue(self.core.idle)

    def test_no_way_back_before_the_answer(self) -> None:
        usage = self.lost()
        self.do(self.core.ring, usage, self.now)
        self.core.flow_failed(self.needed().token, "refused", self.now)
        self.assertEqual(self.events(), [Ended(usage, "transport", "local")])
        self.assertTrue(self.core.idle)

    def test_abandoned_connections(self) -> None:
        """An INVITE over TCP and a closed connection, a hundred times: nothing is left once they are answered."""
        core = self.core = self.make_core(max_transactions=1000)
        usages = []
        for number in range(100):
            on = Flow(100 + number, "tcp", "tcp", (US, 5060), (PEER, 2000 + number))
            usages.append(self.accepted(on, call_id=f"c{number}"))
            core.flow_lost(on, self.now)
        for usage in usages:
            core.answer(usage, ANSWER, self.now)
            core.flow_failed(self.needed().token, "refused", self.now)
        self.assertEqual({event.cause for event in self.events() if isinstance(event, Ended)}, {"transport"})
        self.pass_time(33.0)
        self.assertTrue(core.idle, core.counts)

    def test_peer_comes_back_on_another_connection(self) -> None:
        """Its request inside the dialog shows where it is now; the next one of ours goes there."""
        usage, tag = self.confirmed(TCP)
        self.core.flow_lost(TCP, self.now)
        new = flow("tcp", port=40077, number=9)
        self.assertEqual(self.statuses(request("OPTIONS", to_tag=tag, cseq=2), new), [200])
        sent = self.do(self.core.bye, usage, self.now)
        self.assertEqual((lines(sent), self.flows), (["BYE"], [new]))
        assert isinstance(sent[0], Request)
        self.assertEqual(str(sent[0].uri), f"sip:ann@{PEER}:5060")
