"""What every call is given: its limits, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from stellar_gw.call.events import CallEvent
from stellar_gw.call.machine import Ending
from stellar_gw.call.record import CallRecord
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.transfer.transfers import Transfers
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request

DECISION_TIMEOUT = 60.0
"""Seconds that an agent may let it ring before it answers or rejects."""

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
