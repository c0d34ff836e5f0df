"""REFER toward us (RFC 3515, RFC 5589 as the transferee): the call's phone system wants it to go on with another.

Followed only where the caller's ``refer`` says so, and only to where the tenant's transfers may lead. We call the
target by the ports of the leg that sent the REFER; when it answers, it is the caller. Until then the caller and its
agent, or whoever it is bridged to, talk on, even if nobody hears them any more: phone systems like to hang up as soon
as the REFER is accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from stellar_gw.call.leg.dial_failure import DialFailure
from stellar_gw.call.leg.dialled import DialledLeg
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.machine import Ending
from stellar_gw.call.succession import Succession
from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.target.target import Target
from stellar_gw.call.transfer.notifier import Notifier
from stellar_gw.call.transfer.ports import Headers
from stellar_gw.call.transfer.referral_terms import ReferralTerms
from stellar_gw.call.usages import Usages
from stellar_gw.control import messages
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip import replaces
from stellar_gw.sip.events import RequestInDialog, UsageId
from stellar_gw.sip.headers import Headers as HeaderTable
from stellar_gw.sip.message import Request
from stellar_gw.sip.refer import ReferTo, read_refer
from stellar_gw.sip.sdp import Direction
from stellar_gw.sip.values import NameAddr

_STATUSES = {
    "bad_target": 400,
    "loop": 403,
    "no_route": 403,
    "not_allowed": 403,
    "private_target": 403,
    "unknown_transfer": 403,
    "too_many_hops": 483,
    "transfer_active": 491,
}
"""What answers a REFER whose target is refused; the limits of transfers are 603."""


@define(kw_only=True)
class Referrals:
    """Those of one call.

    :ivar busy: whether a transfer of the agent's is under way.
    :ivar note: a kind and a line for the operator.
    """

    terms: ReferralTerms
    succession: Succession
    usages: Usages
    busy: Callable[[], bool]
    note: Callable[[str, str], None]
    _referred: set[UsageId] = field(factory=set, init=False)

    def asked(self, request: Request, respond: Respond) -> None:
        """A REFER came in the dialog of the caller; it is answered, and perhaps followed."""
        if not self.terms.follow:
            respond(603, "", ())
            return
        try:
            asked = read_refer(request)
        except RemoteProtocolError as error:
            respond(error.status, error.reason, ())
            return
        refused = self._refused(asked)
        if isinstance(refused, TargetRefused):
            status = _STATUSES.get(refused.code, 603)
            self.note("refer_refused", f"REFER to {asked.uri} refused with {status}: {refused.message}")
            respond(status, "", ())
            return
        usage = self.succession.side.leg.usage
        event_id = request.cseq.number if usage in self._referred else None
        self._referred.add(usage)
        respond(202, "", [("Refer-Sub", "false")] if asked.silent else ())
        notifier = None if asked.silent else Notifier(self.usages, usage, event_id)
        Referral(refused, self._headers(asked, request), self, notifier).start()

    def _refused(self, asked: ReferTo) -> Target | TargetRefused:
        """The target, or why there is none."""
        if self.succession.open or self.busy():
            return TargetRefused("transfer_active", "the call is being moved already")
        target = self.terms.choose(asked.uri, self.succession.side.leg.local_uri)
        if isinstance(target, TargetRefused):
            return target
        if target.method != "invite":
            return TargetRefused("no_route", f"{target.told} is reached by REFER only")
        return self.terms.begin() or target

    @staticmethod
    def _headers(asked: ReferTo, request: Request) -> Headers:
        """Who sends us (RFC 3892 2.2), and whose place we take there (RFC 3891, RFC 5589 7.1)."""
        by = asked.referred_by or str(NameAddr("", request.from_.uri))
        headers = [("Referred-By", by)]
        if asked.replaces is not None:
            headers += [("Replaces", str(asked.replaces)), ("Require", replaces.TAG)]
        return tuple(HeaderTable(headers))


class Referral:
    """One that is followed; implements :class:`~stellar_gw.call.leg.listener.LegListener`."""

    def __init__(self, target: Target, headers: Headers, around: Referrals, notifier: Notifier | None) -> None:
        self._target, self._around, self._notifier = target, around, notifier
        self._succession = around.succession
        self._leg = around.terms.make_leg(target, headers, self)
        self._entry: dict[str, Any] = {}
        self._standing = self._over = False

    def start(self) -> None:
        self._entry = self._succession.attempt(self, self._target.uri, self._leg.sip_call_id)
        self._tell(100)
        self._leg.dial()

    def _tell(self, status: int, phrase: str = "") -> None:
        if self._notifier is not None:
            self._notifier.tell(status, phrase)

    # --- Pretender ------------------------------------------------------------------------------

    def caller_gone(self) -> None:
        """Whoever sent us has hung up; whom we are to talk to may still answer."""
        self._succession.side.leg.mute()
        if self._notifier is not None:
            self._notifier.end()

    def abandon(self) -> None:
        self._close()
        self._leg.give_up('Q.850;cause=16;text="the call is over"')

    def _close(self) -> None:
        if not self._over:
            self._over = True
            self._around.terms.end()

    # --- LegListener ----------------------------------------------------------------------------

    def ringing(self, status: int, early_media: bool) -> None:
        self._tell(status)

    def answered(self) -> None:
        if self._over:
            return
        self._close()
        self._standing = True
        self._tell(200)
        self._succession.succeed(DialledLeg(target=self._leg, usages=self._around.usages), self._entry)

    def failed(self, failure: DialFailure) -> None:
        if self._over:
            return
        self._close()
        self._tell(failure.status if failure.status >= 300 else 503)
        self._succession.fail(self._entry, failure.phrase or failure.reason)

    def ended(self, by: str, cause: str, reason_header: str) -> None:
        if self._standing:
            hung_up = cause == "target_hangup"
            ending = Ending(
                status=487,
                cause="caller_hangup" if hung_up else cause,
                by="caller" if hung_up else "gateway",
                reason="" if hung_up else f"the dialog with {self._target.told} was lost",
            )
            self._succession.call.leg_gone(ending, reason_header)

    def direction_changed(self, direction: Direction) -> None:
        if self._standing:
            self._succession.call.leg_turned(direction)

    def digit(self, event: messages.DigitReceived) -> None:
        """The worker tells the agent by itself."""

    def asked(self, event: RequestInDialog, respond: Respond) -> bool:
        """NOTIFY and REFER are the call's, as with any caller."""
        if not self._standing:
            return False
        if event.request.method == "NOTIFY":
            self._succession.call.leg_notified(event.request, lambda status: respond(status, "", ()))
            return True
        if event.request.method == "REFER":
            self._succession.call.leg_referred(event.request, respond)
            return True
        return False

    def released(self, numbers: messages.LegStatistics | None) -> None:
        """Its ports are the call's, which has the numbers."""
