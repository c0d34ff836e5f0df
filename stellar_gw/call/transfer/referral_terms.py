"""What a REFER toward us may come to, as a call is given it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from stellar_gw.call.leg.listener import LegListener
from stellar_gw.call.leg.target import TargetLeg
from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.target.target import Target
from stellar_gw.call.transfer.ports import Headers
from stellar_gw.sip.uri import Uri

ChooseReferred = Callable[[Uri, Uri], Target | TargetRefused]
"""What the URI of a Refer-To comes to; the other is who we are in the caller's dialog."""
MakeReferredLeg = Callable[[Target, Headers, LegListener], TargetLeg]
"""A leg on the caller's ports."""


@frozen(kw_only=True)
class ReferralTerms:
    """What following REFERs needs of the gateway.

    :ivar follow: whether that is done for this caller at all.
    :ivar begin: counts an attempt, or says why there may be none; ``end`` is called when it is over.
    """

    follow: bool
    choose: ChooseReferred
    make_leg: MakeReferredLeg
    begin: Callable[[], TargetRefused | None]
    end: Callable[[], None]


def _nowhere(*_: object) -> TargetRefused:
    return TargetRefused("declined", "refer is not set for this caller")


def _no_leg(target: Target, headers: Headers, listener: LegListener) -> TargetLeg:
    raise AssertionError("no REFER is followed here")


NOT_FOLLOWED = ReferralTerms(follow=False, choose=_nowhere, make_leg=_no_leg, begin=lambda: None, end=lambda: None)
