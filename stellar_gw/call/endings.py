"""How each thing that can end a call reads: in SIP, in the record, and to the operator."""

from __future__ import annotations

from typing import Any

import msgspec

from stellar_gw.call.context.context import bounded
from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.call.leg.target_machine import LegEnding
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import WorkerFailed
from stellar_gw.control.messages import AgentFailed, ConversationStatistics, LegStatistics
from stellar_gw.directory.records import Route
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.events import Ended
from stellar_gw.sip.srtp import SrtpRefused

_DIALOG = {
    ("bye", "remote"): ("caller_hangup", "caller", ""),
    ("cancelled", "remote"): ("cancelled", "caller", "caller hung up before the answer"),
    ("ack_timeout", "local"): ("ack_timeout", "gateway", "our 200 was never acknowledged; check the route back to us"),
    ("timeout", "local"): ("dialog_lost", "gateway", "the phone system no longer answers"),
    ("transport", "local"): ("dialog_lost", "gateway", "no way to the phone system is left"),
    ("expired", "local"): ("dialog_lost", "gateway", "the session was not refreshed in time (RFC 4028)"),
    ("dialog_gone", "local"): ("dialog_lost", "gateway", "the phone system no longer knows the call"),
}


def dialog_ending(event: Ended) -> Ending:
    """A usage that the core has ended."""
    known = _DIALOG.get((event.cause, event.by)) or _DIALOG.get((event.cause, "local"))
    cause, by, reason = known or (event.cause, "caller" if event.by == "remote" else "gateway", "")
    return Ending(status=487, cause=cause, by=by, reason=reason)


def target_ending(event: Ended) -> LegEnding:
    """The dialog with a transfer's target that the core has ended."""
    if event.cause == "bye" and event.by == "remote":
        said = event.request.headers.first("Reason") if event.request is not None else ""
        return LegEnding(by="target", cause="target_hangup", reason_header=bounded(said or ""))
    return LegEnding(by="gateway", cause="ack_timeout" if event.cause == "ack_timeout" else "dialog_lost")


MEDIA_FAILURE = "media_failure"
"""A worker's word for a failure that is not the agent's, and the cause of such a call's end."""


def agent_ending(event: AgentFailed, route: Route) -> Ending:
    """An agent that is not there, or no longer (480 and not 503: upstream would blacklist all of us)."""
    if event.code == MEDIA_FAILURE:
        return Ending(
            status=500,
            cause=MEDIA_FAILURE,
            by="gateway",
            reason=event.message,
            check=event.code,
            fix="See the media worker's lines in the log",
        )
    name = f"{route.agent}/{route.environment.name}"
    return Ending(
        status=route.connector.unavailable_status,
        phrase=route.connector.unavailable_reason,
        cause="agent_lost" if event.established else "agent_unavailable",
        by="agent",
        reason=f"agent {name}: {event.message}",
        check=f"agent_{event.code}",
        fix=_AGENT_FIXES.get(event.code, f"Look at the agent's own log ({route.environment.where})"),
    )


_AGENT_FIXES = {
    "timeout": "Is the agent running, and reachable from here within agent.connect_timeout?",
    "refused": "Start the agent, or correct its url",
    "dns": "Correct the host name in the agent's url",
    "tls": "Give the agent a certificate that names its host and is signed by a known authority",
    "http_401": "Correct the Authorization header in the environment's headers",
    "http_403": "Correct the Authorization header in the environment's headers",
    "http_404": "Correct the path in the agent's url",
    "invalid_url": "An agent's url begins with ws:// or wss://",
}


def template_ending(error: Exception, route: Route) -> Ending:
    """A URL or header that cannot be filled in from this call."""
    return Ending(
        status=route.connector.unavailable_status,
        cause="agent_unavailable",
        by="gateway",
        reason=f"agent {route.agent}/{route.environment.name}: {error}",
        check="agent_template",
        fix=f"Mend url and headers of the environment ({route.environment.where})",
    )


def undecided_ending(seconds: float, route: Route) -> Ending:
    """An agent that was to answer or reject, and did neither."""
    return Ending(
        status=route.connector.unavailable_status,
        phrase=route.connector.unavailable_reason,
        cause="agent_unavailable",
        by="agent",
        reason=f"agent {route.agent}/{route.environment.name} neither answered nor rejected within {seconds:g} s",
        check="agent_undecided",
        fix=f"Send answer or reject, or set answer: gateway ({route.environment.where})",
    )


def media_ending(error: BaseException | None) -> Ending:
    """A worker that cannot carry the call; 503, since that is the whole gateway's state."""
    code = error.code if isinstance(error, WorkerFailed) else "internal"
    return Ending(
        status=503,
        retry_after=5,
        cause=_MEDIA_CAUSES.get(code, "media_failure"),
        by="gateway",
        reason=f"media: {error}",
        check=code,
        fix=_MEDIA_FIXES.get(code, "See the media worker's lines in the log"),
    )


_MEDIA_CAUSES = {"no_ports": "no_ports", "overloaded": "overloaded", "lost": "worker_lost"}
"""A request that dies with its worker fails before the news of the worker's death."""
_MEDIA_FIXES = {
    "no_ports": "Widen media.ports",
    "overloaded": "Add cores and media.workers, or a gateway; docs/media.rst says what a core carries",
    "no_descriptors": "Raise LimitNOFILE= in the unit, or ulimit -n",
}


def offer_ending(error: RemoteProtocolError, srtp: SrtpTerms) -> Ending:
    """An offer that cannot be answered."""
    if isinstance(error, SrtpRefused):
        reason, fix = srtp.explain(error)
        return Ending(
            status=error.status, cause="not_acceptable", by="gateway", reason=reason, check=f"srtp_{error.why}", fix=fix
        )
    return Ending(
        status=error.status,
        cause="not_acceptable",
        by="gateway",
        reason=error.reason,
        check="session_description",
        fix="Allow G.722, PCMU or PCMA over RTP/AVP in the phone system",
    )


def reason_header(ending: Ending) -> str:
    """A Reason header for our BYE (RFC 3326): Q.850 cause 16 for a normal end, 41 for a failure of ours."""
    normal = ending.cause in ("agent_hangup", "caller_hangup", "limit", "shutdown", "transferred", "target_hangup")
    return f'Q.850;cause={16 if normal else 41};text="{ending.cause.replace("_", " ")}"'


def leg_numbers(leg: LegStatistics) -> dict[str, Any]:
    """A leg's statistics as they stand in the record."""
    numbers: dict[str, Any] = msgspec.to_builtins(leg)
    numbers["jitter_ms"] = round(leg.jitter_ms, 2)
    numbers["remote_loss"] = round(leg.remote_loss, 4)
    numbers["round_trip_ms"] = None if leg.round_trip_ms < 0 else round(leg.round_trip_ms, 1)
    return numbers


def conversation_numbers(said: ConversationStatistics) -> dict[str, Any]:
    """A conversation's statistics as they stand in the record: with shares of the time that the agent heard the caller,
    and null for the times of turns that there were not."""
    numbers: dict[str, Any] = msgspec.to_builtins(said)
    if not said.turns:
        numbers |= dict.fromkeys(("p50_ms", "p95_ms", "max_ms"))
    silence = max(0, said.heard_ms - said.caller_ms - said.agent_ms + said.both_ms)
    for name, ms in (("caller", said.caller_ms), ("agent", said.agent_ms), ("silence", silence)):
        numbers[f"{name}_share"] = round(min(1.0, ms / said.heard_ms), 3) if said.heard_ms else None
    return numbers
