"""Targets of transfers for tests, and a listener that writes down what a leg tells it."""

from __future__ import annotations

from typing import Any

from attrs import define, evolve, field

from stellar_gw.call.leg.dial_failure import DialFailure
from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.call.target.target import Target
from stellar_gw.control import messages
from stellar_gw.sip.sdp import Direction
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr

SALES = SipUri(user="700", host="pbx.example")


def make_target(**changes: Any) -> Target:
    """``sip:700@pbx.example`` by INVITE, plain RTP."""
    target = Target(
        name="sales",
        told="sales",
        uri=SALES,
        refer_to=SALES,
        method="invite",
        fallback=False,
        from_=NameAddr("", SipUri(user="+31201230000", host="sip.acme.example")),
        identity=(("P-Asserted-Identity", "<sip:+31612345678@sip.acme.example>"),),
        srtp=SrtpTerms(),
        private=True,
    )
    return evolve(target, **changes)


@define
class Listening:
    """A :class:`~stellar_gw.call.leg.listener.LegListener`.

    :ivar told: what was told, in order; :ivar failures: whole.
    """

    told: list[tuple[object, ...]] = field(factory=list)
    failures: list[DialFailure] = field(factory=list)
    numbers: list[messages.LegStatistics | None] = field(factory=list)

    def ringing(self, status: int, early_media: bool) -> None:
        self.told.append(("ringing", status, early_media))

    def answered(self) -> None:
        self.told.append(("answered",))

    def failed(self, failure: DialFailure) -> None:
        self.told.append(("failed", failure.status, failure.reason))
        self.failures.append(failure)

    def ended(self, by: str, cause: str, reason_header: str) -> None:
        self.told.append(("ended", by, cause, reason_header))

    def direction_changed(self, direction: Direction) -> None:
        self.told.append(("direction", direction))

    def digit(self, event: messages.DigitReceived) -> None:
        self.told.append(("digit", event.digit))

    def asked(self, event: object, respond: object) -> bool:
        return False

    def released(self, numbers: messages.LegStatistics | None) -> None:
        self.told.append(("released",))
        self.numbers.append(numbers)

    @property
    def outcomes(self) -> list[object]:
        """Those of which there must be exactly one, and the end and the release after them."""
        return [told[0] for told in self.told if told[0] in ("answered", "failed", "ended", "released")]
