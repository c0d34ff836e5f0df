"""How many calls there are, and whose; which limit the next one would exceed."""

from __future__ import annotations

from collections import Counter

from attrs import define, field, frozen

from stellar_gw.call.admission.admission import Admitted
from stellar_gw.call.admission.refusals import Refusal
from stellar_gw.directory.records import TrunkProvider
from stellar_gw.sip.flow import Flow


@frozen
class _Place:
    tenant: str
    unconfirmed_of: str
    """The provider whose call over UDP is not acknowledged yet; its source may be forged until then."""


@define
class Capacity:
    """The places that are taken, counted as they come and go."""

    _places: dict[str, _Place] = field(factory=dict, init=False)
    _of_tenant: Counter[str] = field(factory=Counter, init=False)
    _unconfirmed: Counter[str] = field(factory=Counter, init=False)

    def __len__(self) -> int:
        return len(self._places)

    def full(self, admitted: Admitted, flow: Flow, most: int) -> Refusal | None:
        """The limit that an admitted call would exceed: 503 for the whole gateway's, 480 for anybody's own.

        :param most: calls of the whole gateway, 0 for any number.
        """
        if 0 < most <= len(self._places):
            return Refusal(
                status=503,
                check="gateway_calls",
                reason=f"the gateway carries {most} calls already",
                fix="Raise limits.calls, or add a gateway",
            )
        tenant = admitted.route.tenant
        if 0 < tenant.limits.calls <= self._of_tenant[tenant.name]:
            return Refusal(
                status=480,
                check="tenant_calls",
                reason=f"tenant {tenant.name} has {tenant.limits.calls} calls already",
                fix="Raise limits.calls of the tenant",
            )
        provider = admitted.caller
        if not isinstance(provider, TrunkProvider) or flow.reliable:
            return None
        waiting = self._unconfirmed[provider.name]
        if waiting < provider.unconfirmed_calls:
            return None
        return Refusal(
            status=480,
            check="unconfirmed_calls",
            reason=f"{waiting} calls of provider {provider.name} over UDP are not acknowledged",
            fix=f"Their source may be forged. Use TLS or TCP, or raise unconfirmed_calls ({provider.where})",
        )

    def take(self, call_id: str, admitted: Admitted) -> None:
        self._places[call_id] = _Place(admitted.route.tenant.name, "")
        self._of_tenant[admitted.route.tenant.name] += 1

    def answered(self, call_id: str, admitted: Admitted, flow: Flow) -> None:
        """Our 200 went out; over UDP the caller has yet to prove that it is where its packets say it is."""
        if isinstance(admitted.caller, TrunkProvider) and not flow.reliable and call_id in self._places:
            self._places[call_id] = _Place(self._places[call_id].tenant, admitted.caller.name)
            self._unconfirmed[admitted.caller.name] += 1

    def confirmed(self, call_id: str) -> None:
        place = self._places.get(call_id)
        if place is not None and place.unconfirmed_of:
            self._places[call_id] = _Place(place.tenant, "")
            _less(self._unconfirmed, place.unconfirmed_of)

    def release(self, call_id: str) -> None:
        self.confirmed(call_id)
        place = self._places.pop(call_id)
        _less(self._of_tenant, place.tenant)


def _less(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
