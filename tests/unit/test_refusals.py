"""Each refusal has a reference for the caller and a record for the operator."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.admission.refusals import MOST_WAITING, Refusal, Refusals
from stellar_gw.call.events import CallEvent, CallRefused
from stellar_gw.call.record import RefusalRecord, make_call_id, make_reference
from tests.messages import flow, invite, parsed

WRONG = Refusal(status=401, check="wrong_password", reason="wrong password", fix="Mend it", username="freepbx-hq")
NONE = Refusal(status=401, check="no_credentials", reason="no credentials", fix="Send some")


class RefusalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[CallEvent] = []
        self.refusals = Refusals(
            key=b"k" * 16,
            agent="sip.acme.example",
            wall=lambda: 1234.5678,
            ladder=lambda call_id: (f"ladder of {call_id}",),
            tell=self.told.append,
            later=lambda act: act(),
        )

    def records(self) -> list[RefusalRecord]:
        return [event.record for event in self.told if isinstance(event, CallRefused)]

    def test_the_caller_learns_a_reference_and_nothing_else(self) -> None:
        headers = self.refusals.keep(WRONG, parsed(invite()), flow())
        (record,) = self.records()
        self.assertEqual(headers, [("Warning", f'399 sip.acme.example "ref {record.reference}"')])
        self.assertEqual(record.line, f"{record.reference} 401 wrong password. Mend it")
        self.assertEqual(
            record.as_json(),
            {
                "kind": "refusal",
                "reference": record.reference,
                "at": 1234.568,
                "status": 401,
                "check": "wrong_password",
                "reason": "wrong password",
                "fix": "Mend it",
                "source": "192.0.2.7",
                "transport": "udp",
                "method": "INVITE",
                "uri": "sip:600@sip.acme.example",
                "from": "sip:+31612345678@192.0.2.7",
                "username": "freepbx-hq",
                "sip_call_id": "a1",
                "user_agent": "",
                "ladder": ["ladder of a1"],
            },
        )

    def test_a_challenge_that_is_answered_leaves_no_record(self) -> None:
        self.refusals.challenge(NONE, parsed(invite()), flow(), 0.0)
        self.refusals.answered("a1")
        self.refusals.advance(100.0)
        self.assertEqual(self.told, [])

    def test_a_challenge_that_is_not_answered_becomes_a_record_after_32_s(self) -> None:
        self.refusals.challenge(NONE, parsed(invite()), flow(), 0.0)
        self.refusals.advance(31.9)
        self.assertEqual(self.told, [])
        self.refusals.advance(32.0)
        self.refusals.advance(64.0)
        self.assertEqual([record.reason for record in self.records()], ["unanswered: no credentials"])

    def test_a_challenge_answered_wrongly_leaves_one_record(self) -> None:
        self.refusals.challenge(NONE, parsed(invite()), flow(), 0.0)
        self.refusals.keep(WRONG, parsed(invite(cseq=2)), flow())
        self.refusals.advance(100.0)
        self.assertEqual([record.check for record in self.records()], ["wrong_password"])

    def test_a_request_that_comes_again_leaves_one_record(self) -> None:
        """A 401 is stateless: lost on the way, the same request is refused again, under the same reference."""
        first, again = (self.refusals.keep(WRONG, parsed(invite(cseq=2)), flow()) for _ in range(2))
        self.refusals.keep(WRONG, parsed(invite(cseq=3, branch="z9hG4bK3")), flow())
        self.assertEqual((first, len(self.records())), (again, 2))

    def test_a_flood_of_challenges_is_bounded(self) -> None:
        for number in range(MOST_WAITING + 10):
            self.refusals.challenge(NONE, parsed(invite(call_id=f"f{number}")), flow(), 0.0)
        self.refusals.advance(32.0)
        self.assertEqual(len(self.told), MOST_WAITING)

    def test_a_retransmission_has_the_same_reference_and_another_request_another(self) -> None:
        first, again, other = (
            self.refusals.challenge(NONE, parsed(data), flow(), 0.0)
            for data in (invite(), invite(), invite(branch="z9hG4bK2", cseq=2))
        )
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)


class ReferenceTests(SynchronousTestCase):
    def test_references_use_letters_that_are_not_misread(self) -> None:
        references = {make_reference(b"key", str(number)) for number in range(500)}
        self.assertGreater(len(references), 495)
        self.assertEqual(set("".join(references)) & set("ILOU"), set())
        self.assertEqual({len(reference) for reference in references}, {6})

    def test_call_ids_are_ours_and_unlike_references(self) -> None:
        self.assertEqual(make_call_id(bytes(8)), "c-000000000000")
        self.assertEqual(len({make_call_id(number.to_bytes(8, "little")) for number in range(256)}), 256)
