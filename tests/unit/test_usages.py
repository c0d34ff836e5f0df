"""Events find the owner of their usage, responses whoever asked."""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.usages import Usages
from stellar_gw.sip.events import (
    Answered,
    Confirmed,
    Ended,
    Provisional,
    ProvisionalAcknowledged,
    RefreshDue,
    ReinviteRefused,
    Reoffered,
    RequestInDialog,
    ResponseReceived,
    Trying,
)
from stellar_gw.sip.message import Response
from tests.messages import invite, parsed
from tests.unit.fake_signalling import FakeSignalling


@define
class Owner:
    """Writes down what it is told."""

    told: list[str] = field(factory=list)

    def trying(self, event: Trying) -> None:
        self.told.append("trying")

    def provisional(self, event: Provisional) -> None:
        self.told.append("provisional")

    def answered(self, event: Answered) -> None:
        self.told.append("answered")

    def confirmed(self, event: Confirmed) -> None:
        self.told.append("confirmed")

    def provisional_acknowledged(self, event: ProvisionalAcknowledged) -> None:
        self.told.append("provisional_acknowledged")

    def reoffered(self, event: Reoffered) -> None:
        self.told.append("reoffered")

    def reinvite_refused(self, event: ReinviteRefused) -> None:
        self.told.append("reinvite_refused")

    def refresh_due(self, event: RefreshDue) -> None:
        self.told.append("refresh_due")

    def request_in_dialog(self, event: RequestInDialog) -> None:
        self.told.append("request_in_dialog")

    def ended(self, event: Ended) -> None:
        self.told.append("ended")


class UsagesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.signalling = FakeSignalling()
        self.usages = Usages(self.signalling)
        self.owner = Owner()

    def test_each_event_goes_to_the_owner_of_its_usage_until_that_has_ended(self) -> None:
        other, request, response = Owner(), parsed(invite()), Response(200, "OK")
        self.usages.own("a", self.owner)
        self.usages.own("b", other)
        for event in (
            Trying("a"),
            Provisional("a", response),
            Answered("a", response),
            Confirmed("a", request, b""),
            ProvisionalAcknowledged("a", request, b""),
            Reoffered("a", request),
            ReinviteRefused("a", None),
            RefreshDue("a"),
            RequestInDialog("a", 1, request),
            Ended("a", "bye", "remote"),
            Trying("a"),
        ):
            self.usages.handle(event)
        self.assertEqual(
            self.owner.told,
            [
                "trying",
                "provisional",
                "answered",
                "confirmed",
                "provisional_acknowledged",
                "reoffered",
                "reinvite_refused",
                "refresh_due",
                "request_in_dialog",
                "ended",
            ],
        )
        self.assertEqual((other.told, len(self.usages)), ([], 1))

    def test_a_response_goes_to_whoever_asked_and_once(self) -> None:
        heard: list[ResponseReceived] = []
        self.usages.ask("a", "OPTIONS", heard.append)
        self.usages.ask("a", "REFER", lambda event: self.fail("that one was not answered"), [("Refer-To", "<sip:b>")])
        self.usages.handle(ResponseReceived(1, None))
        self.usages.handle(ResponseReceived(1, None))
        self.assertEqual(heard, [ResponseReceived(1, None)])
        self.assertEqual(self.signalling.said, [("OPTIONS",), ("REFER", "Refer-To")])

    def test_what_nobody_owns_is_left_alone(self) -> None:
        self.usages.own("a", self.owner)
        self.usages.disown("a")
        self.usages.handle(Ended("a", "bye", "remote"))
        self.usages.handle(ResponseReceived(7, None))
        self.assertEqual((self.owner.told, len(self.usages)), ([], 0))
