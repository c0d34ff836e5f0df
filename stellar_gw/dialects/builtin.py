"""The dialect of the built-in agents: 16 kHz PCM in binary messages, everything else as JSON text.

To the agent: ``start`` (with the parameters of :mod:`stellar_gw.dialects.context`), audio, ``digit``, ``mark``,
``cleared``, ``told`` and ``stop``, told apart by ``event``. From the agent: audio, ``mark``, ``clear``, ``digits``,
``transfer`` and ``hangup``, told apart by ``action``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from stellar_gw.dialects.context import Context, parameters
from stellar_gw.dialects.contract import (
    AgentEvent,
    Ask,
    Audio,
    AudioFormat,
    Clear,
    DialectPlugin,
    Facts,
    Frame,
    Hangup,
    Malformed,
    Mark,
    SendDigits,
)
from stellar_gw.dialects.wire import encode, reason

RATE: Final = 16000
"""Samples per second of the audio, both ways."""

BUILTIN_AGENTS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"echo": (), "tone": (), "greeting": ("file", "then"), "readback": (), "transfer": ("to", "method")}
)
"""The built-in agents by name, each with the options it knows."""


class Start(msgspec.Struct, frozen=True, tag_field="event", tag="start"):
    parameters: dict[str, str]


class Digit(msgspec.Struct, frozen=True, tag_field="event", tag="digit"):
    digit: str
    duration_ms: int


class MarkReached(msgspec.Struct, frozen=True, tag_field="event", tag="mark"):
    name: str
    cleared: bool
    played_ms: int


class Cleared(msgspec.Struct, frozen=True, tag_field="event", tag="cleared"):
    played_ms: int
    discarded_ms: int


class Told(msgspec.Struct, frozen=True, tag_field="event", tag="told"):
    kind: str
    detail: dict[str, str | int | float | bool]


class Stop(msgspec.Struct, frozen=True, tag_field="event", tag="stop"):
    cause: str
    by: str


ToAgent = Start | Digit | MarkReached | Cleared | Told | Stop


class DoMark(msgspec.Struct, frozen=True, tag_field="action", tag="mark"):
    name: str


class DoClear(msgspec.Struct, frozen=True, tag_field="action", tag="clear"):
    pass


class DoDigits(msgspec.Struct, frozen=True, tag_field="action", tag="digits"):
    digits: str


class DoHangup(msgspec.Struct, frozen=True, tag_field="action", tag="hangup"):
    after_playout: bool = True


class DoTransfer(msgspec.Struct, frozen=True, tag_field="action", tag="transfer"):
    to: str
    method: str = "auto"


FromAgent = DoMark | DoClear | DoDigits | DoHangup | DoTransfer

_from_agent: Final[Callable[[str], FromAgent]] = msgspec.json.Decoder(FromAgent).decode
_to_agent: Final[Callable[[str], ToAgent]] = msgspec.json.Decoder(ToAgent).decode


def to_agent(text: str) -> ToAgent:
    """Read, as the agent, what :class:`BuiltinDialect` wrote.

    :raise msgspec.MsgspecError: for anything else.
    """
    return _to_agent(text)


class BuiltinDialect:
    """A built-in agent's end of one call, on the gateway's side."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def audio_format(self) -> AudioFormat:
        return AudioFormat("pcm", RATE)

    def opened(self) -> Sequence[Frame]:
        return (encode(Start(parameters(self._context))),)

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        return (payload,)

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]:
        return (encode(Digit(digit, duration_ms)),)

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        return (encode(MarkReached(name, cleared, played_ms)),)

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]:
        return (encode(Cleared(played_ms, discarded_ms)),)

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        return (encode(Told(kind, dict(detail))),)

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        return ()

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        return ()

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        return (encode(Stop(cause, by)),)

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        if isinstance(frame, bytes):
            return (Audio(frame),) if frame else ()
        try:
            message = _from_agent(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return (Malformed(reason(error)),)
        match message:
            case DoMark(name):
                return (Mark(name),)
            case DoClear():
                return (Clear(),)
            case DoDigits(digits):
                return (SendDigits(digits),)
            case DoHangup(after_playout):
                return (Hangup(after_playout),)
            case DoTransfer(to, method):
                return (Ask("transfer", "transfer", (("to", to), ("method", method))),)


PLUGIN = DialectPlugin(name="builtin", make=lambda context, _: BuiltinDialect(context), schemes=("builtin",))
