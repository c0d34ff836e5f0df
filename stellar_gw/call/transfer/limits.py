"""How often callers may be transferred: one transfer of a call at a time, three in all, so many an hour of a tenant.

An agent is a language model that strangers talk to: what it may spend of its tenant's money has bounds.
"""

from __future__ import annotations

from collections import deque

from attrs import define, field

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.directory.records import Tenant

MOST_ATTEMPTS = 3
"""Of one call; a target that refuses is an attempt, one that is not even tried is none."""
HOUR = 3600.0


@define
class _CallTransfers:
    attempts: int = 0
    active: bool = False


@define
class TransferLimits:
    """The attempts of all calls; the time is handed in."""

    _calls: dict[str, _CallTransfers] = field(factory=dict, init=False)
    _hours: dict[str, deque[float]] = field(factory=dict, init=False)

    def begin(self, call_id: str, tenant: Tenant, now: float) -> TargetRefused | None:
        """Count an attempt, or say why there is none to be.

        :param now: seconds of a clock that only goes forward.
        """
        call = self._calls.get(call_id) or _CallTransfers()
        if call.active:
            return TargetRefused("transfer_active", "a transfer of this call is under way; wait for its outcome")
        if call.attempts >= MOST_ATTEMPTS:
            return TargetRefused(
                "too_many_attempts", f"this call has been tried to be transferred {MOST_ATTEMPTS} times"
            )
        most = tenant.limits.transfers_per_hour
        tried = self._tried(tenant.name, now)
        if most and len(tried) >= most:
            return TargetRefused("tenant_limit", f"{most} transfers were tried within an hour, which is the limit")
        if most:
            tried.append(now)
            self._hours[tenant.name] = tried
        call.attempts += 1
        call.active = True
        self._calls[call_id] = call
        return None

    def end(self, call_id: str) -> None:
        """The call's transfer has come to its outcome; its attempt stays counted."""
        if (call := self._calls.get(call_id)) is not None:
            call.active = False

    def forget(self, call_id: str) -> None:
        """The call is over."""
        self._calls.pop(call_id, None)

    def _tried(self, tenant: str, now: float) -> deque[float]:
        """When the attempts of the last hour were; older ones are dropped."""
        tried = self._hours.pop(tenant, None) or deque()
        while tried and tried[0] <= now - HOUR:
            tried.popleft()
        if tried:
            self._hours[tenant] = tried
        return tried
