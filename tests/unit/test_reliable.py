"""Reliable provisional responses as a UAS, message by message, and their headers."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import Confirmed, Ended, ProvisionalAcknowledged, RequestInDialog
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Response, response_to
from stellar_gw.sip.reliable import RAck, Received, rack_of, rseq_of
from stellar_gw.testing.sip_peer import ANSWER, OFFER
from tests.messages import invite as plain_invite
from tests.messages import parsed
from tests.unit.sip_case import LISTENERS, CoreCase, lines, request

METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "PRACK")
DEMAND = (("Require", "100rel"),)


class HeaderTests(SynchronousTestCase):
    def test_rack(self) -> None:
        known = {
            "7 2 INVITE": RAck(7, 2, "INVITE"),
            " 7  2 invite ": RAck(7, 2, "INVITE"),
            "7 INVITE": None,
            "7 2": None,
            "": None,
            "-7 2 INVITE": None,
            "99999999999 2 INVITE": None,
        }
        self.assertEqual({value: rack_of(parsed(plain_invite(headers=(("RAck", value),)))) for value in known}, known)

    def test_rseq_counts_only_where_100rel_is_required(self) -> None:
        def number(status: int, *headers: tuple[str, str]) -> int | None:
            return rseq_of(response_to(parsed(plain_invite()), status, "", headers))

        self.assertEqual(number(180, *DEMAND, ("RSeq", "7")), 7)
        wrong: list[tuple[int, list[tuple[str, str]]]] = [
            (180, [("RSeq", "7")]),
            (200, [*DEMAND, ("RSeq", "7")]),
            (100, [*DEMAND, ("RSeq", "7")]),
            (180, [*DEMAND]),
            (180, [*DEMAND, ("RSeq", "0")]),
            (180, [*DEMAND, ("RSeq", "2147483648")]),
        ]
        self.assertEqual([number(status, *headers) for status, headers in wrong], [None] * 6)

    @given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=40))
    def test_no_value_raises(self, value: str) -> None:
        request = parsed(plain_invite())
        response = response_to(request, 180, "", DEMAND)
        request.headers = Headers.sound([("RAck", value)])
        response.headers = Headers.sound([*DEMAND, ("RSeq", value)])
        rack, rseq = rack_of(request), rseq_of(response)
        self.assertTrue(rack is None or str(rack).count(" ") == 2)
        self.assertTrue(rseq is None or 0 < rseq < 2**31)

    def test_each_is_taken_once_and_in_order(self) -> None:
        received = Received()
        self.assertEqual([received.takes(number) for number in (7, 7, 9, 8, 8, 9, 7)],
                         [True, False, False, True, False, True, False])  # fmt: skip


class UasCase(CoreCase):
    def make_core(self, max_transactions: int = 100) -> SipCore:
        able = Capabilities(allow=METHODS, supported=("100rel",))
        return SipCore(
            LISTENERS, user_agent="gateway", rng=Random(1).randbytes, max_transactions=max_transactions, able=able
        )

    def ring(self, body: bytes = ANSWER) -> tuple[str, Response]:
        """A caller that demands it is rung at; the usage and our 180."""
        usage = self.accepted(headers=DEMAND)
        [response] = self.do(self.core.ring, usage, self.now, body=body)
        assert isinstance(response, Response)
        return usage, response

    def prack(self, ringing: Response, body: bytes = b"", number: int = 0, cseq: int = 2) -> list[str]:
        """What our core sends upon a PRACK."""
        rack = f"{number or int(ringing.headers.first('RSeq') or '0')} 1 INVITE"
        tag = ringing.to.tag or ""
        return lines(
            self.receive(
                request(
                    "PRACK",
                    to_tag=tag,
                    cseq=cseq,
                    branch=f"z9hG4bK-p{cseq}",
                    headers=(("RAck", rack),),
                    body=body,
                    content_type="application/sdp",
                )
            )
        )


class UasTests(UasCase):
    def test_it_is_repeated_until_its_prack(self) -> None:
        usage, ringing = self.ring()
        self.assertEqual(
            (ringing.headers.first("Require"), ringing.body, lines(self.pass_time(7.6))),
            ("100rel", ANSWER, ["180 INVITE"] * 4),
        )
        self.assertEqual(self.prack(ringing), ["200 PRACK"])
        self.assertEqual(self.pass_time(32.0), [])
        [answer] = self.do(self.core.answer, usage, b"", self.now)
        self.assertEqual(lines([answer]), ["200 INVITE"])

    def test_an_answer_waits_for_the_prack(self) -> None:
        usage, ringing = self.ring()
        self.assertEqual(self.do(self.core.answer, usage, b"", self.now), [])
        self.assertEqual(self.prack(ringing), ["200 PRACK", "200 INVITE"])

    def test_without_a_prack_the_call_is_refused_after_32_s(self) -> None:
        usage, _ = self.ring()
        sent = lines(self.pass_time(32.1))
        self.assertEqual(sent[-1], "504 INVITE")
        self.assertEqual(
            [each for each in self.events() if isinstance(each, Ended)], [Ended(usage, "ack_timeout", "local")]
        )
        self.pass_time(100.0)
        self.assertTrue(self.core.idle)

    def test_a_prack_of_something_else_is_refused(self) -> None:
        usage, ringing = self.ring()
        self.assertEqual(self.prack(ringing, number=5), ["481 PRACK"])
        self.assertEqual(self.prack(ringing, cseq=3), ["200 PRACK"])
        self.assertEqual(self.prack(ringing, cseq=4), ["481 PRACK"])
        second = self.do(self.core.ring, usage, self.now)[0]
        numbers = [int(each.headers.first("RSeq") or "0") for each in (ringing, second)]
        self.assertEqual(numbers[1], numbers[0] + 1)

    def test_one_at_a_time(self) -> None:
        usage, _ = self.ring()
        self.assertEqual(self.do(self.core.ring, usage, self.now), [])

    def test_an_offerless_invite_gets_our_offer_and_its_prack_the_answer(self) -> None:
        usage, ringing = self.offerless()
        self.assertEqual((ringing.body, self.prack(ringing, ANSWER)), (OFFER, ["200 PRACK"]))
        [told] = self.events()
        assert isinstance(told, ProvisionalAcknowledged)
        self.assertEqual((told.usage, told.body), (usage, ANSWER))
        [answer] = self.do(self.core.answer, usage, b"", self.now)
        self.receive(request("ACK", to_tag=answer.to.tag or "", branch="z9hG4bK-ack"))
        [confirmed] = self.events()
        assert isinstance(confirmed, Confirmed)
        self.assertEqual(confirmed.body, b"")

    def offerless(self) -> tuple[str, Response]:
        usage = self.accepted(headers=DEMAND, body=b"")
        [response] = self.do(self.core.ring, usage, self.now, body=OFFER)
        assert isinstance(response, Response)
        return usage, response

    def test_an_offer_in_the_prack_is_answered_by_whoever_answers_offers(self) -> None:
        usage, ringing = self.ring()
        self.do(self.core.answer, usage, b"", self.now)
        self.assertEqual(self.prack(ringing, OFFER), [])
        [told] = self.events()
        assert isinstance(told, RequestInDialog)
        sent = self.do(self.core.respond_in, told.token, 200, self.now, body=ANSWER)
        self.assertEqual(lines(sent), ["200 PRACK", "200 INVITE"])
        self.assertEqual(sent[0].body, ANSWER)

    def test_a_caller_that_leaves_meanwhile_leaves_nothing(self) -> None:
        for answered in (False, True):
            usage, _ = self.ring()
            if answered:
                self.core.answer(usage, b"", self.now)
            sent = self.receive(request("CANCEL", branch="z9hG4bK-c1-INVITE-1"))
            self.assertEqual(lines(sent), ["200 CANCEL", "487 INVITE"])
            self.pass_time(100.0)
            self.assertTrue(self.core.idle)
            self.setUp()

    def test_whoever_only_can_is_rung_at_as_it_is_wished(self) -> None:
        for wish, expected in ((True, "100rel"), (False, None)):
            self.setUp()
            usage = self.accepted(headers=(("Supported", "100rel"),))
            [ringing] = self.do(self.core.ring, usage, self.now, body=ANSWER, reliably=wish)
            self.assertEqual(ringing.headers.first("Require"), expected)
