"""What remains of a call: its detail record, and the records of calls that were not taken."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from attrs import define, field, frozen

_ALPHABET = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHJKMNPQRSTVWXYZ")
"""Crockford's base 32: nothing that is read wrong over a phone."""


def make_reference(key: bytes, *parts: str) -> str:
    """A refusal's reference: six characters, the same for every retransmission of a request."""
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    digest = hmac.new(key, text, hashlib.sha256).digest()
    return base64.b32encode(digest[:5])[:6].decode("ascii").translate(_ALPHABET)


def make_call_id(random: bytes) -> str:
    """Our own id of a call, from at least 8 random octets: ``c-`` and 12 characters."""
    return "c-" + base64.b32encode(random[:8])[:12].decode("ascii").translate(_ALPHABET)


@frozen(kw_only=True)
class RefusalRecord:
    """One refused request; ``line`` is what the operator reads.

    :ivar at: wall clock, seconds since 1970.
    """

    reference: str
    at: float
    status: int
    check: str
    reason: str
    fix: str
    source: str
    transport: str
    method: str
    uri: str
    from_uri: str
    username: str
    sip_call_id: str
    user_agent: str
    ladder: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return f"{self.reference} {self.status} {self.reason}. {self.fix}"

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": "refusal",
            "reference": self.reference,
            "at": round(self.at, 3),
            "status": self.status,
            "check": self.check,
            "reason": self.reason,
            "fix": self.fix,
            "source": self.source,
            "transport": self.transport,
            "method": self.method,
            "uri": self.uri,
            "from": self.from_uri,
            "username": self.username,
            "sip_call_id": self.sip_call_id,
            "user_agent": self.user_agent,
            "ladder": list(self.ladder),
        }


@define(kw_only=True)
class CallRecord:
    """One admitted inbound call, filled in as it goes; times are wall clock, seconds since 1970.

    ``answered`` is when our 200 went out, ``confirmed`` when its ACK came. ``duration`` counts from the latter (from
    the 200 where no ACK came), in seconds of a clock that nobody sets: the times of day may disagree with it.
    """

    call_id: str
    sip_call_id: str
    tenant: str
    connector: str
    agent: str
    environment: str
    version: str
    caller: str
    admitted: str
    source: str
    transport: str
    from_uri: str
    to_uri: str
    user_agent: str
    started: float
    ringing: float | None = None
    answered: float | None = None
    confirmed: float | None = None
    ended: float | None = None
    duration: float = 0.0
    codec: str = ""
    srtp: str = ""
    agent_connect_ms: float | None = None
    agent_links: list[dict[str, Any]] = field(factory=list)
    fallback: dict[str, Any] | None = None
    status: int = 0
    cause: str = ""
    ended_by: str = ""
    reason: str = ""
    reason_header: str = ""
    legs: list[dict[str, Any]] = field(factory=list)
    conversation: dict[str, Any] | None = None
    recording: dict[str, Any] | None = None
    transfers: list[dict[str, Any]] = field(factory=list)
    moves: list[dict[str, Any]] = field(factory=list)
    ladder: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The record as one JSON object; times to the millisecond, absent ones null."""
        return {
            "kind": "call",
            "call_id": self.call_id,
            "sip_call_id": self.sip_call_id,
            "tenant": self.tenant,
            "connector": self.connector,
            "agent": self.agent,
            "environment": self.environment,
            "version": self.version,
            "caller": self.caller,
            "admitted": self.admitted,
            "source": self.source,
            "transport": self.transport,
            "from": self.from_uri,
            "to": self.to_uri,
            "user_agent": self.user_agent,
            "started": _milliseconds(self.started),
            "ringing": _milliseconds(self.ringing),
            "answered": _milliseconds(self.answered),
            "confirmed": _milliseconds(self.confirmed),
            "ended": _milliseconds(self.ended),
            "duration": round(self.duration, 3),
            "codec": self.codec,
            "srtp": self.srtp,
            "agent_connect_ms": self.agent_connect_ms,
            "agent_links": self.agent_links,
            "fallback": self.fallback,
            "status": self.status,
            "cause": self.cause,
            "ended_by": self.ended_by,
            "reason": self.reason,
            "reason_header": self.reason_header,
            "legs": self.legs,
            "conversation": self.conversation,
            "recording": self.recording,
            "transfers": self.transfers,
            "moves": self.moves,
            "ladder": list(self.ladder),
        }


def _milliseconds(at: float | None) -> float | None:
    return None if at is None else round(at, 3)
