"""Offers and answers inside a dialog that is up, and what they say of the far side."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.leg.agreement import Agreement
from stellar_gw.call.leg.exchanges import Exchanges
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.call.timers import Timers
from stellar_gw.control import messages
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.events import Answered, Confirmed, ReinviteRefused, Reoffered, RequestInDialog
from stellar_gw.sip.message import Response, response_to
from stellar_gw.testing.media_plane import FakeMediaPlane
from tests.messages import OFFER, invite, parsed
from tests.unit.fake_signalling import FakeSignalling


def answer(direction: str = "sendrecv", port: int = 40000) -> bytes:
    return OFFER.replace(b"a=sendrecv", f"a={direction}".encode()).replace(b"40000", str(port).encode())


def answered(body: bytes = OFFER) -> Answered:
    return Answered("u", response_to(parsed(invite()), 200, "", [("Content-Type", "application/sdp")], body), True)


def refused(status: int, *headers: tuple[str, str]) -> ReinviteRefused:
    return ReinviteRefused("u", response_to(parsed(invite()), status, "", headers, b""))


def make_media(codecs: tuple[str, ...] = ("PCMA", "G722", "PCMU")) -> LegMedia:
    media = LegMedia(
        leg="target",
        session_id=7,
        advertise="203.0.113.10",
        signalling_host="192.0.2.7",
        rng=bytes,
        srtp=SrtpTerms(),
        secure=False,
        codecs=codecs,
    )
    media.allocated(messages.Allocated(request=0, rtp_port=12000, rtcp_port=12001, cname="c", ssrc=1))
    return media


class ForkTests(SynchronousTestCase):
    """The answers to an INVITE of ours."""

    def test_our_offer_lists_the_codec_that_is_wanted_first(self) -> None:
        self.assertIn(b"m=audio 12000 RTP/AVP 8 9 0 101\r\n", make_media().call())

    def test_each_fork_answers_the_same_offer_and_the_last_one_heard_is_in_force(self) -> None:
        media = make_media()
        media.call()
        self.assertTrue(media.read_early("a", answer(port=41000)))
        self.assertFalse(media.read_early("a", answer(port=41000)))
        self.assertTrue(media.read_early("b", answer(port=42000)))
        self.assertEqual(media.set_media("c").remote[1], 42000)
        self.assertTrue(media.read_final("a", answer(port=41000)))
        self.assertEqual((media.set_media("c").remote[1], media.awaits_answer), (41000, False))

    def test_a_200_without_an_answer_takes_that_of_its_own_183(self) -> None:
        media = make_media()
        media.call()
        media.read_early("a", answer(port=41000))
        media.read_early("b", answer(port=42000))
        self.assertTrue(media.read_final("a", b""))
        self.assertEqual(media.set_media("c").remote[1], 41000)

    def test_a_200_without_any_answer_is_refused(self) -> None:
        media = make_media()
        media.call()
        media.read_early("a", answer(port=41000))
        with self.assertRaises(RemoteProtocolError):
            media.read_final("b", b"")

    def test_an_early_answer_that_cannot_be_used_changes_nothing(self) -> None:
        media = make_media()
        media.call()
        with self.assertRaises(RemoteProtocolError):
            media.read_early("a", OFFER.replace(b"9 0 8 101", b"18"))
        self.assertIsNone(media.negotiated)
        self.assertTrue(media.read_final("a", answer(port=41000)))


class ExchangesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.signalling = Clock(), FakeSignalling()
        self.plane = FakeMediaPlane(self.clock, latency=0.0)
        self.plane.ask(messages.Allocate(request=0, call="c", leg="target"))
        self.media = make_media()
        self.notes: list[tuple[str, str]] = []
        self.unusable: list[str] = []
        self.far: list[str] = []
        agreement = Agreement(
            call_id="c",
            media=self.media,
            plane=self.plane,
            failed=lambda failure: failure.raiseException(),
            note=self.note,
            keep=lambda codec, suite: None,
        )
        self.exchanges = Exchanges(
            "u",
            media=self.media,
            agreement=agreement,
            signalling=self.signalling,
            timers=Timers(self.clock),
            note=self.note,
            unusable=self.unusable.append,
            changed=self.far.append,
        )
        self.media.call()
        self.media.read_final("t", OFFER)
        self.exchanges.agreed()

    def note(self, kind: str, line: str) -> None:
        self.notes.append((kind, line))

    def reoffer(self, body: bytes) -> None:
        self.exchanges.reoffered(Reoffered("u", parsed(invite(body=body))))

    def ack(self, body: bytes = b"") -> None:
        self.exchanges.confirmed(Confirmed("u", parsed(invite(body=body)), body, reinvite=True))

    def said(self) -> list[tuple[object, ...]]:
        said, self.signalling.said = self.signalling.said, []
        return said

    def directions(self) -> list[str]:
        """As the worker was told them."""
        return [media.direction for media in self.plane.calls["c"].media]


class PeersOfferTests(ExchangesCase):
    def test_each_style_of_hold_is_told_and_its_end_too(self) -> None:
        """sendonly, inactive, and 0.0.0.0 of RFC 2543; a session refresh between them changes nothing."""
        nowhere = OFFER.replace(b"c=IN IP4 192.0.2.7", b"c=IN IP4 0.0.0.0")
        for body in (answer("sendonly"), answer("sendonly"), OFFER, answer("inactive"), OFFER, nowhere, OFFER):
            self.reoffer(body)
            self.ack()
        self.assertEqual(self.far, ["recvonly", "sendrecv", "inactive", "sendrecv", "recvonly", "sendrecv"])

    def test_an_offerless_reinvite_gets_our_offer_and_its_ack_the_answer(self) -> None:
        self.reoffer(b"")
        self.assertEqual([said[0] for said in self.said()], ["answer"])
        self.ack(answer("sendonly", 43000))
        self.assertEqual((self.far, self.plane.calls["c"].media[-1].remote[1]), (["recvonly"], 43000))

    def test_an_ack_without_the_answer_that_it_owes_ends_the_call(self) -> None:
        self.reoffer(b"")
        self.ack()
        self.assertEqual(self.unusable, ["answer in ACK: there is no answer to our offer"])

    def test_a_hold_from_over_there_shows_while_we_hold_ourselves(self) -> None:
        self.exchanges.offer("sendonly")
        self.exchanges.answered(answered(answer("recvonly")))
        self.assertEqual((self.far, self.directions()), ([], ["sendrecv", "sendonly"]))
        self.reoffer(answer("sendonly"))
        self.ack()
        self.reoffer(answer("sendrecv"))
        self.ack()
        self.assertEqual((self.far, self.directions()[2:]), (["recvonly", "sendrecv"], ["inactive", "sendonly"]))


class UpdateTests(ExchangesCase):
    """Offers that come in an UPDATE (RFC 3311)."""

    def update(self, body: bytes) -> None:
        request = parsed(invite(body=body))
        request.method = "UPDATE"
        self.exchanges.updated(RequestInDialog("u", 5, request))

    def test_it_is_answered_like_a_reinvite(self) -> None:
        self.update(answer("sendonly", 43000))
        self.assertEqual(self.said(), [("respond_in", 200, "m=audio 12000 RTP/AVP 8 9 0 101")])
        self.assertEqual((self.far, self.plane.calls["c"].media[-1].remote[1]), (["recvonly"], 43000))

    def test_while_an_offer_of_ours_is_open_it_is_glare(self) -> None:
        self.exchanges.offer("sendonly")
        self.said()
        self.update(OFFER)
        self.assertEqual(self.said(), [("respond_in", 491)])

    def test_what_cannot_be_used_changes_nothing(self) -> None:
        self.update(OFFER.replace(b"9 0 8 101", b"18"))
        self.assertEqual((self.said(), self.directions()), ([("respond_in", 488)], ["sendrecv"]))


class OurOfferTests(ExchangesCase):
    def hold(self, wish: str = "sendonly") -> Deferred[bool]:
        return self.exchanges.offer("sendonly" if wish == "sendonly" else "sendrecv")

    def test_hold_and_resume(self) -> None:
        held = self.hold()
        self.assertNoResult(held)
        self.exchanges.answered(answered(answer("recvonly")))
        self.assertTrue(self.successResultOf(held))
        resumed = self.hold("sendrecv")
        self.exchanges.answered(answered())
        self.assertTrue(self.successResultOf(resumed))
        self.assertEqual(self.said(), [("reinvite", "a=sendonly"), ("reinvite", "a=sendrecv")])
        self.assertEqual((self.directions(), self.far), (["sendrecv", "sendonly", "sendrecv"], []))

    def test_what_is_wanted_meanwhile_goes_out_once_the_exchange_is_over(self) -> None:
        held, resumed = self.hold(), self.hold("sendrecv")
        self.assertEqual(self.said(), [("reinvite", "a=sendonly")])
        self.exchanges.answered(answered(answer("recvonly")))
        self.assertEqual(self.said(), [("reinvite", "a=sendrecv")])
        self.exchanges.answered(answered())
        self.assertEqual((self.successResultOf(held), self.successResultOf(resumed)), (True, True))

    def test_it_waits_for_the_ack_of_an_offerless_reinvite(self) -> None:
        self.reoffer(b"")
        self.said()
        self.hold()
        self.assertEqual(self.said(), [])
        self.ack(OFFER)
        self.assertEqual(self.said(), [("reinvite", "a=sendonly")])

    def test_glare_is_tried_again_until_it_goes_through(self) -> None:
        held = self.hold()
        for _ in range(3):
            self.exchanges.refused(refused(491))
            self.reoffer(OFFER)
            self.ack()
            self.clock.advance(2.5)
        self.assertNoResult(held)
        self.exchanges.answered(answered(answer("recvonly")))
        self.assertTrue(self.successResultOf(held))
        self.assertEqual([said for said in self.said() if said[0] == "reinvite"], [("reinvite", "a=sendonly")] * 4)

    def test_a_peer_that_is_busy_with_an_offer_says_when(self) -> None:
        self.hold()
        self.said()
        self.exchanges.refused(refused(500, ("Retry-After", "4")))
        self.clock.advance(3.9)
        self.assertEqual(self.said(), [])
        self.clock.advance(0.2)
        self.assertEqual(self.said(), [("reinvite", "a=sendonly")])

    def test_glare_without_end_is_given_up(self) -> None:
        held = self.hold()
        for _ in range(6):
            self.assertNoResult(held)
            self.exchanges.refused(refused(491))
            self.clock.advance(2.5)
        self.assertFalse(self.successResultOf(held))

    def test_a_refusal_leaves_everything_as_it_was(self) -> None:
        held = self.hold()
        self.exchanges.refused(refused(488))
        self.assertFalse(self.successResultOf(held))
        self.assertEqual(self.notes, [("reinvite_failed", "our re-INVITE was refused: 488")])
        self.reoffer(OFFER)
        self.assertEqual(self.directions(), ["sendrecv", "sendrecv"])

    def test_an_answer_that_cannot_be_used_leaves_everything_as_it_was(self) -> None:
        held = self.hold()
        self.exchanges.answered(answered(b""))
        self.assertFalse(self.successResultOf(held))
        self.assertEqual((self.directions(), [kind for kind, _ in self.notes]), (["sendrecv"], ["reinvite_failed"]))

    def test_the_end_of_the_dialog_answers_whoever_waits(self) -> None:
        held, resumed = self.hold(), self.hold("sendrecv")
        self.exchanges.refused(ReinviteRefused("u", Response(491, "")))
        self.exchanges.stop()
        self.assertEqual((self.successResultOf(held), self.successResultOf(resumed)), (False, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])
