"""What every call is given: its limits, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.agent.agent import AgentLimits
from stellar_gw.call.events import CallEvent, CallNoted
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.record import CallRecord
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.transfer.transfers import Transfers
from stellar_gw.call.usages import Usages
from stellar_gw.directory.records import Route
from stellar_gw.sip.events import UsageId
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request

Tell = Callable[[CallEvent], None]
MakeTransfers = Callable[[CallerSide, CallRecord, Callable[[str, str], None]], Transfers]
"""From the call's side, its record, and what takes notes."""
Refuse = Callable[[Ending, Request, Flow], list[tuple[str, str]]]
"""Keeps the record of a refusal and returns the headers that go with it."""


@frozen(kw_only=True)
class CallTimers:
    """Seconds; see ``TimersConfig``."""

    duration: float = 7200.0
    duration_warning: float = 60.0
    no_media_extended: float = 300.0
    probe_interval: float = 30.0


@frozen(kw_only=True)
class CallTerms:
    """Of one call.

    :ivar usage: of the INVITE, which ``request`` is, and came on ``flow``.
    :ivar media: our side of the caller's session description.
    :ivar usages: where the events of all usages come by.
    :ivar transfers: makes what transfers this call.
    :ivar wall: wall clock, seconds since 1970, for the record only.
    :ivar closed: called once with the call's id, after the record was told.
    """

    record: CallRecord
    usage: UsageId
    request: Request
    flow: Flow
    route: Route
    media: LegMedia
    signalling: Signalling
    plane: MediaPlane
    clock: IReactorTime
    wall: Callable[[], float]
    timers: CallTimers
    agent_limits: AgentLimits
    usages: Usages
    transfers: MakeTransfers
    tell: Tell
    refuse: Refuse
    closed: Callable[[str], None]

    @property
    def call_id(self) -> str:
        return self.record.call_id

    def note(self, kind: str, message: str) -> None:
        """Tell the operator something of this call."""
        self.tell(CallNoted(self.call_id, kind, message))
