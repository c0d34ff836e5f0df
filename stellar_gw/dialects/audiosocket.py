"""Asterisk's AudioSocket: frames of type, length and payload over TCP, the agent being the server.

The gateway sends the call's UUID first, then signed linear audio every 20 ms and a frame for each digit. The agent
sends audio of the same type, any length a frame, and hangs up by a frame of type 0. There are no marks and no clear.
(Asterisk, ``res_audiosocket.h`` and the protocol's own page.)
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from stellar_gw.dialects.context import Context
from stellar_gw.dialects.contract import (
    AgentEvent,
    Audio,
    AudioFormat,
    DialectPlugin,
    Facts,
    Frame,
    Hangup,
    Malformed,
    SendDigits,
)
from stellar_gw.errors import StellarError

HEADER: Final = struct.Struct(">BH")
"""Type, and octets of payload."""
HANGUP, IDENTIFIER, DTMF, ERROR = 0x00, 0x01, 0x03, 0xFF
AUDIO: Final = {8000: 0x10, 16000: 0x12, 24000: 0x13}
"""Rate to the type of its frames; 16-bit little-endian PCM."""
_RATES: Final = {kind: rate for rate, kind in AUDIO.items()}
NAMESPACE: Final = uuid.UUID("7c1d3a56-4a56-5a6e-9f0e-1f3a0a5f0c11")
"""Of the UUIDs that stand for our call ids."""


class RateError(StellarError):
    """An option of the environment that makes no sense; one line."""


def call_uuid(call_id: str) -> uuid.UUID:
    """The same call always has the same one (RFC 9562 5.5)."""
    return uuid.uuid5(NAMESPACE, call_id)


def frame(kind: int, payload: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(payload)) + payload


class AudioSocketDialect:
    """One call's end of an AudioSocket; each frame of the link is a whole AudioSocket frame."""

    def __init__(self, context: Context, rate: int) -> None:
        self._context, self._rate = context, rate
        self._audio = AUDIO[rate]

    @property
    def audio_format(self) -> AudioFormat:
        return AudioFormat("pcm", self._rate)

    def opened(self) -> Sequence[Frame]:
        return (frame(IDENTIFIER, call_uuid(self._context.call_id).bytes),)

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        return (HEADER.pack(self._audio, len(payload)) + payload,)

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]:
        return (frame(DTMF, digit.encode("ascii")),)

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        return ()

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]:
        return ()

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        return ()

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        return ()

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        return ()

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        return (frame(HANGUP),)

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        if isinstance(frame, str) or len(frame) < HEADER.size:
            return (Malformed("not a frame of AudioSocket"),)
        kind, payload = frame[0], frame[HEADER.size :]
        if kind == self._audio:
            return (Audio(payload),) if payload else ()
        if kind == HANGUP:
            return (Hangup(after_playout=True),)
        if kind == DTMF:
            return (SendDigits(payload.decode("ascii", "replace")),)
        if kind in _RATES:
            return (Malformed(f"audio at {_RATES[kind]} Hz (type 0x{kind:02x}), this call's is {self._rate} Hz"),)
        if kind == ERROR:
            return (Malformed(f"the agent reports error {payload[:8].hex() or 'without a code'}"),)
        return (Malformed(f"frame of unknown type 0x{kind:02x}"),)


def _make(context: Context, options: Mapping[str, str]) -> AudioSocketDialect:
    rate = options.get("rate", "8000")
    if rate not in map(str, AUDIO):
        raise RateError(f"rate is {rate[:20]!r}, must be 8000, 16000 or 24000")
    return AudioSocketDialect(context, int(rate))


PLUGIN = DialectPlugin(
    name="audiosocket",
    make=_make,
    schemes=("audiosocket",),
    options={"rate": "8000, 16000 or 24000: samples a second, both ways"},
)
