"""Frames of the control channel: one msgpack document each (the length before it is the transport's).

Both directions are strict: a frame is a message of its own direction with fields of their declared types,
or it is a :class:`FrameError`. Fields that are not known are passed over, so that the two sides may differ
by a release.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from stellar_gw.control.messages import (
    MAX_FRAME,
    AgentAsked,
    AgentFailed,
    AgentHangup,
    AgentLost,
    AgentReady,
    AgentResumed,
    AgentTurned,
    Allocate,
    Allocated,
    Answered,
    Configure,
    DigitReceived,
    Done,
    Drain,
    Early,
    Failed,
    Hello,
    ListCalls,
    Listing,
    MediaBack,
    MediaLost,
    Message,
    OneWayAudio,
    Outcome,
    Ping,
    Played,
    Pong,
    Pressed,
    Rebind,
    Record,
    RecordingEnded,
    Release,
    Released,
    SendDigits,
    SetMedia,
    StartAgent,
    StopAgent,
    Tell,
)
from stellar_gw.errors import LocalProtocolError, StellarError

ToWorker = (
    Configure | Ping | ListCalls | Drain | Allocate | SetMedia | Release | StartAgent | StopAgent | Rebind | Answered
    | Early | Pressed | Record | SendDigits | Tell | Outcome
)  # fmt: skip
ToGateway = (
    Hello | Done | Pong | Failed | Listing | Allocated | Released | AgentReady | AgentFailed | AgentHangup
    | AgentLost | AgentResumed | AgentAsked | AgentTurned | MediaLost | MediaBack | OneWayAudio | Played
    | RecordingEnded | DigitReceived
)  # fmt: skip


Directed = TypeVar("Directed", ToWorker, ToGateway)


class FrameError(StellarError):
    """A frame that is no message of its direction.

    :ivar reason: one line; names types and fields, never values.
    :ivar request: the id that the frame asks by, where that much could be read: it is answered by Failed.
    """

    def __init__(self, reason: str, request: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.request = request


class _Envelope(msgspec.Struct, frozen=True):
    request: int


_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_to_gateway: msgspec.msgpack.Decoder[ToGateway] = msgspec.msgpack.Decoder(ToGateway)
_envelope = msgspec.msgpack.Decoder(_Envelope)


def encode(message: Message) -> bytes:
    """:raise LocalProtocolError: if the message is longer than the other side accepts, or cannot be written."""
    try:
        frame = _encoder.encode(message)
    except (TypeError, ValueError, OverflowError) as reason:
        raise LocalProtocolError(f"{type(message).__name__} cannot be encoded: {reason}") from None
    if len(frame) > MAX_FRAME:
        raise LocalProtocolError(f"{type(message).__name__} of {len(frame)} octets is longer than {MAX_FRAME}")
    return frame


def decode_for_worker(frame: bytes) -> ToWorker:
    """:raise FrameError: if the frame is no request."""
    return _decode(_to_worker, frame)


def decode_for_gateway(frame: bytes) -> ToGateway:
    """:raise FrameError: if the frame is neither Hello, nor a reply, nor an event."""
    return _decode(_to_gateway, frame)


def _decode(decoder: msgspec.msgpack.Decoder[Directed], frame: bytes) -> Directed:
    if len(frame) > MAX_FRAME:
        raise FrameError(f"a frame of {len(frame)} octets is longer than {MAX_FRAME}")
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, ValueError, RecursionError) as reason:
        raise FrameError(_without_values(reason), _request_of(frame)) from None


def _without_values(reason: Exception) -> str:
    """msgspec names expected and found types, and of values only tags and words: those are cut out."""
    return re.sub(r"value '.*'", "value", str(reason), flags=re.DOTALL)


def _request_of(frame: bytes) -> int | None:
    try:
        return _envelope.decode(frame).request
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
