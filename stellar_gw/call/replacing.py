"""INVITE with Replaces (RFC 3891): which call it means, and how it becomes that call's caller."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attrs import define, field

from stellar_gw.call.admission.admission import Admitted, Over, Refused
from stellar_gw.call.call import Call
from stellar_gw.call.context.context import bounded
from stellar_gw.call.opening import Opening
from stellar_gw.call.ports import Signalling
from stellar_gw.config import Config
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.events import UsageId
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request
from stellar_gw.sip.replaces import TAG, replaces_of

MOST_OVER = 1_000
"""Calls of which is remembered whose they were; of any other nobody is told that it is over."""


@define(kw_only=True)
class Replacing:
    """
    :ivar call_of: the call whose caller's dialog a usage is; None for any other.
    """

    signalling: Signalling
    opening: Opening
    call_of: Callable[[UsageId], Call | None]
    _over: dict[str, str] = field(factory=dict, init=False)

    def find(self, request: Request) -> Call | Over | Refused | None:
        """The call that an INVITE wants to take over, or why there is none; None where it wants no such thing."""
        try:
            wanted = replaces_of(request)
        except RemoteProtocolError as error:
            return _refused(error.status, "replaces_malformed", error.reason)
        if wanted is None:
            return None
        found = self.signalling.find(wanted.key)
        tenant = self._over.get(bounded(wanted.call_id))
        if found == "over" and tenant is not None:
            told = _refused(603, "replaces_over", "the call that it wants to replace is over")
            return Over(tenant=tenant, told=told)
        call = self.call_of(found)
        if call is None:
            return _refused(481, "replaces_unknown", "there is no call of a caller that it could replace")
        return call

    def closed(self, call: Call) -> None:
        """A call has ended; each of its callers' dialogs may still be asked for."""
        tenant = call.route.tenant.name
        for sip_call_id in (call.record.sip_call_id, *(move["sip_call_id"] for move in call.record.moves)):
            # Whoever takes another tenant's Call-ID learns nothing by that.
            self._over[sip_call_id] = tenant if self._over.get(sip_call_id, tenant) == tenant else ""
            if len(self._over) > MOST_OVER:
                del self._over[next(iter(self._over))]

    @staticmethod
    def hindered(call: Call, request: Request) -> Refused | None:
        """Why a call that an admitted INVITE may take over cannot be; asked last, so that no other tenant learns it."""
        wanted = replaces_of(request)
        if wanted is not None and wanted.early_only:
            return _refused(486, "replaces_answered", "the call that it wants to replace is answered already")
        if not call.movable:
            return _refused(491, "replaces_busy", "the call that it wants to replace is being moved or ended")
        return None

    def begin(
        self, call: Call, usage: UsageId, admitted: Admitted, request: Request, flow: Flow, config: Config
    ) -> None:
        """Have an INVITE that is accepted take the place of the caller's dialog."""

        def reject(status: int, reason: str) -> None:
            self.signalling.reject(usage, status, reason)

        leg = partial(
            self.opening.leg, call=call, usage=usage, admitted=admitted, request=request, flow=flow, config=config
        )
        call.replace(leg, request, reject)


def demanded(request: Request) -> bool:
    """Whether it is to be refused by whoever does not do it (RFC 3261 8.2.2.3)."""
    return TAG in {each.lower() for each in request.require}


def _refused(status: int, check: str, reason: str) -> Refused:
    return Refused(
        status=status, check=check, reason=reason, fix="Nothing to do, unless it goes on: see both calls in its ladder"
    )
