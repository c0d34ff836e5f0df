"""The Realtime server's events, as far as they matter to a call; whatever else they hold is passed over."""

from __future__ import annotations

import msgspec


class Head(msgspec.Struct, frozen=True):
    type: str


class Delta(msgspec.Struct, frozen=True):
    item_id: str
    delta: bytes
    """msgspec reads it from base64 (RFC 4648 section 4) and refuses anything else."""
    response_id: str = ""


class Failure(msgspec.Struct, frozen=True):
    message: str | None = None
    type: str | None = None
    code: str | None = None
    event_id: str | None = None


class Error(msgspec.Struct, frozen=True):
    error: Failure


class Details(msgspec.Struct, frozen=True):
    reason: str | None = None
    error: Failure | None = None


class Response(msgspec.Struct, frozen=True):
    id: str | None = None
    status: str | None = None
    status_details: Details | None = None


class ResponseEvent(msgspec.Struct, frozen=True):
    response: Response


class Item(msgspec.Struct, frozen=True):
    type: str = ""
    call_id: str | None = None
    name: str | None = None


class ItemEvent(msgspec.Struct, frozen=True):
    item: Item


class Arguments(msgspec.Struct, frozen=True):
    call_id: str
    arguments: str
    name: str | None = None


class Limit(msgspec.Struct, frozen=True):
    name: str | None = None
    limit: float | None = None
    remaining: float | None = None
    reset_seconds: float | None = None


class RateLimits(msgspec.Struct, frozen=True):
    rate_limits: list[Limit]


class TurnDetection(msgspec.Struct, frozen=True):
    create_response: bool | None = None
    interrupt_response: bool | None = None


class Input(msgspec.Struct, frozen=True):
    turn_detection: TurnDetection | None = None


class SessionAudio(msgspec.Struct, frozen=True):
    input: Input | None = None


class Session(msgspec.Struct, frozen=True):
    audio: SessionAudio | None = None


class SessionEvent(msgspec.Struct, frozen=True):
    session: Session
