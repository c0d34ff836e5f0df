"""Where the stream of call events goes: the journals, and the log that an operator reads."""

from __future__ import annotations

from collections import Counter

from twisted.logger import Logger

from stellar_gw.call.events import (
    AuthenticationFailed,
    CallAnswered,
    CallConfirmed,
    CallEnded,
    CallEvent,
    CallNoted,
    CallRefused,
    CallStarted,
    TrunkChanged,
)
from stellar_gw.call.record import CallRecord
from stellar_gw.gateway.journal import Journal
from stellar_gw.gateway.log import security_line

ORDINARY = ("transfer", "agent_resumed")
"""Kinds of notes that are told for the story they are part of: nothing is to be done about them."""
_log = Logger()


class Reporter:
    """Takes every call event.

    :ivar counts: how many of each, and refusals by the check that failed; for metrics.
    """

    def __init__(self, calls: Journal, refusals: Journal) -> None:
        self._calls, self._refusals = calls, refusals
        self.counts: Counter[str] = Counter()

    def tell(self, event: CallEvent) -> None:
        """Keep and log one event; nothing of a caller's is ever formatted as a template."""
        self.counts[type(event).__name__] += 1
        match event:
            case CallStarted(record):
                _log.info(
                    "call {call_id} from {from_uri} ({source}) to {to_uri}: {admitted}, connector {connector}, "
                    "agent {agent} {environment} {version}",
                    **_fields(record),
                )
            case CallAnswered(record):
                codec = record.codec or "the codec comes with the ACK"
                _log.debug("call {call_id} answered, {codec}", call_id=record.call_id, codec=codec)
            case CallConfirmed(record):
                _log.debug("call {call_id} confirmed", call_id=record.call_id)
            case CallNoted(call_id, kind, message):
                told = _log.info if kind in ORDINARY else _log.warn
                told("call {call_id}: {message}", call_id=call_id, kind=kind, message=message)
            case CallEnded(record):
                self._calls.append(record.as_json())
                self._ended(record)
            case CallRefused(record):
                self.counts[f"refused_{record.check}"] += 1
                self._refusals.append(record.as_json())
                _log.warn("{line}", line=record.line, reference=record.reference, check=record.check)
            case TrunkChanged(trunk, what, up, message):
                say = _log.info if up else _log.warn
                say("trunk {trunk}: {message}", trunk=trunk, message=message, what=what)
            case AuthenticationFailed():
                _log.warn("{line}", line=security_line(event), source=event.source)

    def _ended(self, record: CallRecord) -> None:
        because = f": {record.reason}" if record.reason else ""
        say = _log.info if record.cause in ("caller_hangup", "agent_hangup", "cancelled", "limit") else _log.warn
        say(
            "call {call_id} ended: {cause} by {by}{because}",
            call_id=record.call_id,
            cause=record.cause,
            by=record.ended_by,
            because=because,
        )


def _fields(record: CallRecord) -> dict[str, str]:
    return {
        "call_id": record.call_id,
        "from_uri": record.from_uri,
        "source": record.source,
        "to_uri": record.to_uri,
        "admitted": record.admitted,
        "connector": record.connector,
        "agent": record.agent,
        "environment": record.environment,
        "version": record.version,
    }
