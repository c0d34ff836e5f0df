"""Twilio Media Streams: JSON text both ways, mu-law in base64, the agent being the WebSocket server.

What an agent receives, in this order: ``connected``, ``start``, then ``media`` every 20 ms, ``dtmf``, ``mark``,
and ``stop`` at the end. What it may send: ``media`` with any length of audio, ``mark``, ``clear``. It hangs up by
closing the socket. Numbers are strings but for ``sampleRate`` and ``channels``.

``customParameters`` carry the call's whole context by the names of :mod:`stellar_gw.dialects.context`. The sids
are Twilio's in shape and derived from our own ids, so the same call always has the same ones.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stellar_gw.dialects.context import Context, parameters
from stellar_gw.dialects.contract import (
    AgentEvent,
    Audio,
    AudioFormat,
    Clear,
    DialectPlugin,
    Facts,
    Frame,
    Malformed,
    Mark,
)
from stellar_gw.dialects.twilio_frames import MarkIn, MediaIn, decode
from stellar_gw.dialects.wire import encode, reason

PARAMETER: Final = "parameter:"
"""Before the name of a ``<Parameter>`` of a webhook's TwiML, among the options of the call's dialect."""
MAX_MARK: Final = 4096
"""Characters in a mark's name; marks are kept until their audio has played."""


def account_sid(tenant: str) -> str:
    """``AC`` and 32 hexadecimal digits: of agents that have no ``account_sid`` of their own."""
    return "AC" + _digest("account", tenant)


def call_sid(call_id: str) -> str:
    """``CA`` and 32 hexadecimal digits."""
    return "CA" + _digest("call", call_id)


def stream_sid(call_id: str) -> str:
    """``MZ`` and 32 hexadecimal digits."""
    return "MZ" + _digest("stream", call_id)


def _digest(kind: str, name: str) -> str:
    return hashlib.sha256(f"{kind}\0{name}".encode(errors="replace")).hexdigest()[:32]


class TwilioDialect:
    """Media Streams for one call.

    :param options: ``account_sid``; where the agent gave its stream by TwiML, the parameters that it wants back.
    """

    def __init__(self, context: Context, options: Mapping[str, str] | None = None) -> None:
        options = options or {}
        self._context = context
        self._parameters = {
            name.removeprefix(PARAMETER): value for name, value in options.items() if name.startswith(PARAMETER)
        }
        self._account_sid = options.get("account_sid") or account_sid(context.tenant)
        self._call_sid = call_sid(context.call_id)
        self._stream_sid = stream_sid(context.call_id)
        self._sequence_number = 0
        self._chunk = 0
        # Everything of a media message that does not change: one is sent every 20 ms.
        self._media = f'","streamSid":"{self._stream_sid}","media":{{"track":"inbound","chunk":"'

    @property
    def audio_format(self) -> AudioFormat:
        return AudioFormat("mulaw", 8000)

    def opened(self) -> Sequence[Frame]:
        start = {
            "streamSid": self._stream_sid,
            "accountSid": self._account_sid,
            "callSid": self._call_sid,
            "tracks": ["inbound"],
            "customParameters": {**parameters(self._context), **self._parameters},
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        }
        return (
            encode({"event": "connected", "protocol": "Call", "version": "1.0.0"}),
            self._message("start", start),
        )

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        self._sequence_number += 1
        self._chunk += 1
        encoded = b2a_base64(payload, newline=False).decode("ascii")
        return (
            f'{{"event":"media","sequenceNumber":"{self._sequence_number}{self._media}{self._chunk}'
            f'","timestamp":"{timestamp_ms}","payload":"{encoded}"}}}}',
        )

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]:
        return (self._message("dtmf", {"track": "inbound_track", "digit": digit}),)

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        """The same echo whether it played or was cleared: Twilio tells no difference."""
        return (self._message("mark", {"name": name}),)

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]:
        return ()

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        return ()

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        return ()

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        return ()

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        return (self._message("stop", {"accountSid": self._account_sid, "callSid": self._call_sid}),)

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        if not isinstance(frame, str):
            return (Malformed("binary message: Media Streams are JSON text"),)
        try:
            message = decode(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return (Malformed(reason(error)),)
        if message.stream_sid != self._stream_sid:
            return (Malformed("streamSid is not this stream's (it is in the start message)"),)
        if isinstance(message, MediaIn):
            payload = message.media.payload
            return (Audio(payload),) if payload else ()
        if isinstance(message, MarkIn):
            name = message.mark.name
            return (Mark(name),) if len(name) <= MAX_MARK else (Malformed(f"mark name over {MAX_MARK} characters"),)
        return (Clear(),)

    def _message(self, event: str, body: object) -> str:
        self._sequence_number += 1
        return encode(
            {
                "event": event,
                "sequenceNumber": str(self._sequence_number),
                "streamSid": self._stream_sid,
                event: body,
            }
        )


PLUGIN = DialectPlugin(
    name="twilio",
    make=TwilioDialect,
    schemes=("ws", "wss", "http", "https"),
    options={"account_sid": "AC and 32 hexadecimal digits, what the agent takes for its account"},
)
