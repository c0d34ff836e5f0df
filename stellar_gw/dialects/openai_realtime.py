"""OpenAI's Realtime API over WebSocket: the gateway is the client, and the model at the other end is the agent.

The event names are those of general availability (``response.output_audio.delta``, not ``response.audio.delta``).
The session is configured once, when the link opens. The caller's audio is appended as it comes; the model's own
speech detection finds the turns. When the caller interrupts, what is queued is thrown away, and the model is told
how much of each of its items was heard (``conversation.item.truncate``).

The tools of :mod:`stellar_gw.dialects.openai_tools` are carried out when the response that calls them is completed,
never when it is interrupted: the arguments of an interrupted call are "done" too, but cut short.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from attrs import frozen

from stellar_gw.dialects import openai_tools
from stellar_gw.dialects.context import Context
from stellar_gw.dialects.contract import (
    AGENT_ERROR,
    AgentEvent,
    Audio,
    AudioFormat,
    Clear,
    DialectPlugin,
    Facts,
    Frame,
    Malformed,
    Reply,
    SendDigits,
)
from stellar_gw.dialects.openai_events import (
    Arguments,
    Delta,
    Details,
    Error,
    Failure,
    Head,
    ItemEvent,
    RateLimits,
    ResponseEvent,
    SessionEvent,
)
from stellar_gw.dialects.openai_tools import ToolCall, ToolError
from stellar_gw.dialects.openai_turns import Turns
from stellar_gw.dialects.spoken import Spoken
from stellar_gw.dialects.template import fill_text
from stellar_gw.dialects.wire import encode, one_line, reason
from stellar_gw.errors import StellarError

MAX_CALLS: Final = 16
"""Tool calls that are open at a time."""
MAX_ID: Final = 256
"""Characters of an id that is kept."""
MAX_ARGUMENTS: Final = 8192
"""Characters of a tool call's arguments; none of ours takes a tenth of it, and what is cut off is no JSON."""

FORMATS: Final[Mapping[str, tuple[AudioFormat, dict[str, object]]]] = {
    "pcm": (AudioFormat("pcm", 24000), {"type": "audio/pcm", "rate": 24000}),
    "pcmu": (AudioFormat("mulaw", 8000), {"type": "audio/pcmu"}),
    "pcma": (AudioFormat("alaw", 8000), {"type": "audio/pcma"}),
}
CALLERS: Final = "caller"
"""The format that is the caller's own where the model knows it."""
RESUMED: Final = (
    "The connection to you broke in the middle of this call, and what was said before is lost to you. The caller is "
    "still there: say that you could not hear for a moment, and ask what was said last. Do not greet again."
)
TURN_DETECTION: Final = ("server_vad", "semantic_vad")
DTMF: Final = ("respond", "note", "ignore")


class OptionError(StellarError):
    """An option of the environment that makes no sense; one line."""


@frozen(kw_only=True)
class Options:
    """:ivar dtmf: what a digit of the caller's does: it is told and answered, told, or neither."""

    format: str = CALLERS
    voice: str = ""
    instructions: str = ""
    greeting: str = ""
    turn_detection: str = "server_vad"
    dtmf: str = "respond"


_head: Final = msgspec.json.Decoder(Head)


class OpenAiRealtimeDialect:
    """One call's conversation with a model."""

    def __init__(self, context: Context, options: Options) -> None:
        self._context, self._options = context, options
        name = options.format if options.format != CALLERS else context.codec.lower()
        self._format, self._wire_format = FORMATS.get(name, FORMATS["pcm"])
        self._spoken = Spoken(self._format.width * self._format.rate // 1000)
        self._turns = Turns()
        self._names: dict[str, str] = {}
        self._calls: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._interrupted_by_us = False

    @property
    def audio_format(self) -> AudioFormat:
        return self._format

    # --- to the model ---------------------------------------------------------------------------

    def opened(self) -> Sequence[Frame]:
        options = self._options
        turn_detection = {"type": options.turn_detection, "create_response": True, "interrupt_response": True}
        output: dict[str, object] = {"format": self._wire_format}
        if options.voice:
            output["voice"] = options.voice
        session: dict[str, object] = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {"input": {"format": self._wire_format, "turn_detection": turn_detection}, "output": output},
            "tools": openai_tools.tools(self._context.transfers),
            "tool_choice": "auto",
        }
        if options.instructions:
            session["instructions"] = options.instructions
        frames: tuple[Frame, ...] = (encode({"type": "session.update", "session": session}),)
        begin = RESUMED if self._context.resumed else options.greeting
        if begin:
            frames += (_said("system", begin), *self._turns.want())
        return frames

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        encoded = b2a_base64(payload, newline=False).decode("ascii")
        return (f'{{"type":"input_audio_buffer.append","audio":"{encoded}"}}',)

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]:
        if self._options.dtmf == "ignore":
            return ()
        item = _said("user", f"The caller pressed {digit}")
        return (item, *self._turns.want()) if self._options.dtmf == "respond" else (item,)

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        return ()

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]:
        truncated = tuple(
            encode({"type": "conversation.item.truncate", "item_id": item, "content_index": 0, "audio_end_ms": heard})
            for item, heard in self._spoken.cleared(played_ms, discarded_ms)
        )
        return (*self._turns.interrupted(), *truncated)

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        """The gateway's own speech detection counts where it interrupts; then it does as the model's would, unless that
        follows."""
        if kind != "speech":
            return ()
        if detail["state"] == "started":
            self._interrupted_by_us = bool(detail["cleared"])
            if self._interrupted_by_us:
                self._turns.speech_started(self._spoken.items())
        elif self._interrupted_by_us:
            self._interrupted_by_us = False
            return (*self._turns.speech_stopped(), *self._turns.want())
        return ()

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        if not final or ask not in self._open:
            return ()
        tool = self._open.pop(ask)
        output = _output(ask, {**detail, "state": state})
        if tool == openai_tools.END or (tool == openai_tools.TRANSFER and state == "done"):
            return (output,)  # the caller is gone: there is nobody to speak to
        if openai_tools.DIGITS in self._open.values():
            return (output,)  # that one is answered at once, and then both are
        return (output, *self._turns.want())

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        return ()

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        return ()

    # --- from the model -------------------------------------------------------------------------

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        if not isinstance(frame, str):
            return (Malformed("binary message: Realtime events are JSON text"),)
        try:
            kind = _head.decode(frame).type
            if kind not in _EVENTS:
                return ()
            decoder, read = _EVENTS[kind]
            return tuple(read(self, decoder.decode(frame)))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return (Malformed(reason(error)),)

    def _session_updated(self, event: SessionEvent) -> Sequence[AgentEvent]:
        audio = event.session.audio
        detection = audio.input.turn_detection if audio and audio.input else None
        if detection is not None:
            self._turns.interrupts = detection.interrupt_response is not False
            self._turns.responds = detection.create_response is not False
        return ()

    def _speech_started(self, event: Head) -> Sequence[AgentEvent]:
        self._interrupted_by_us = False
        self._turns.speech_started(self._spoken.items())
        return (Clear(),)

    def _speech_stopped(self, event: Head) -> Sequence[AgentEvent]:
        return _reply(self._turns.speech_stopped())

    def _audio_delta(self, event: Delta) -> Sequence[AgentEvent]:
        if len(event.item_id) > MAX_ID or len(event.response_id) > MAX_ID:
            return (Malformed(f"an id has at most {MAX_ID} characters"),)
        if not event.delta or self._turns.silenced(event.response_id, event.item_id):
            return ()
        self._spoken.said(event.item_id, len(event.delta))
        return (Audio(event.delta),)

    def _audio_done(self, event: Head) -> Sequence[AgentEvent]:
        self._spoken.finished()
        return ()

    def _response_created(self, event: ResponseEvent) -> Sequence[AgentEvent]:
        self._calls.clear()
        self._names.clear()
        return _reply(self._turns.created((event.response.id or "")[:MAX_ID]))

    def _item_added(self, event: ItemEvent) -> Sequence[AgentEvent]:
        item = event.item
        if item.type == "function_call" and item.call_id and item.name and len(self._names) < MAX_CALLS:
            self._names[item.call_id[:MAX_ID]] = item.name[:MAX_ID]
        return ()

    def _arguments_done(self, event: Arguments) -> Sequence[AgentEvent]:
        if len(event.call_id) > MAX_ID or len(self._calls) >= MAX_CALLS:
            return (Malformed(f"a response has at most {MAX_CALLS} function calls, of ids up to {MAX_ID} characters"),)
        if event.name:
            self._names[event.call_id] = event.name[:MAX_ID]
        self._calls[event.call_id] = event.arguments[:MAX_ARGUMENTS]
        return ()

    def _response_done(self, event: ResponseEvent) -> Sequence[AgentEvent]:
        response = event.response
        self._spoken.finished()
        calls, self._calls = self._calls, {}
        events: list[AgentEvent] = []
        if response.status in ("failed", "incomplete"):
            details = response.status_details or Details()
            why = _told(details.error) if details.error else details.reason or "no reason given"
            events.append(Malformed(one_line(f"the response is {response.status}: {why}"), AGENT_ERROR))
        events += _reply(self._turns.done((response.id or "")[:MAX_ID]))
        if response.status in (None, "completed"):
            events += self._carried_out(
                [ToolCall(call, self._names.get(call, ""), arguments) for call, arguments in calls.items()]
            )
        self._names.clear()
        return events

    def _carried_out(self, calls: Sequence[ToolCall]) -> list[AgentEvent]:
        """The verbs; before them, at once, an answer to the calls that are none."""
        refusals: list[AgentEvent] = []
        verbs: list[AgentEvent] = []
        for call in calls:
            try:
                if len(self._open) >= MAX_CALLS:
                    raise ToolError("busy", f"{MAX_CALLS} calls are open already")
                verb = openai_tools.verb_of(call, self._context.transfers)
            except ToolError as error:
                output = _output(call.call_id, {"code": error.code, "message": error.message, "state": "failed"})
                refusals += (Malformed(one_line(f"function call: {error}"), error.code, call.call_id), Reply((output,)))
                continue
            self._open[call.call_id] = call.name
            if isinstance(verb, SendDigits):
                self._spoken.digits(len(verb.digits))
            verbs.append(verb)
        if refusals and not {openai_tools.DIGITS, openai_tools.END} & set(self._open.values()):
            # Otherwise the outcome of digits asks for a response, and after a good-bye none is wanted.
            refusals += _reply(self._turns.want())
        return refusals + verbs

    def _error(self, event: Error) -> Sequence[AgentEvent]:
        error = event.error
        self._turns.refused(error.event_id or "", error.code or "")
        return (Malformed(one_line(_told(error)), AGENT_ERROR),)

    def _rate_limits(self, event: RateLimits) -> Sequence[AgentEvent]:
        return tuple(
            Malformed(
                one_line(
                    f"rate limit: no {each.name or 'requests'} left of {each.limit or 0:g}, "
                    f"more in {each.reset_seconds or 0:g} s"
                ),
                AGENT_ERROR,
            )
            for each in event.rate_limits
            if each.remaining is not None and each.remaining <= 0
        )


def _reply(frames: tuple[Frame, ...]) -> tuple[AgentEvent, ...]:
    return (Reply(frames),) if frames else ()


def _said(role: str, text: str) -> str:
    content = [{"type": "input_text", "text": text}]
    return encode({"type": "conversation.item.create", "item": {"type": "message", "role": role, "content": content}})


def _output(call_id: str, result: Mapping[str, str]) -> str:
    item = {"type": "function_call_output", "call_id": call_id, "output": encode(dict(sorted(result.items())))}
    return encode({"type": "conversation.item.create", "item": item})


def _told(error: Failure) -> str:
    """An error as its sender words it: code, then message."""
    return f"{error.code or error.type or 'error'}: {error.message or 'no message'}"


_Read = Callable[[OpenAiRealtimeDialect, Any], Sequence[AgentEvent]]
_ours = OpenAiRealtimeDialect
_item, _response, _any = map(msgspec.json.Decoder, (ItemEvent, ResponseEvent, Head))
_EVENTS: Final[Mapping[str, tuple[msgspec.json.Decoder[Any], _Read]]] = {
    "session.updated": (msgspec.json.Decoder(SessionEvent), _ours._session_updated),
    "input_audio_buffer.speech_started": (_any, _ours._speech_started),
    "input_audio_buffer.speech_stopped": (_any, _ours._speech_stopped),
    "response.created": (_response, _ours._response_created),
    "response.output_item.added": (_item, _ours._item_added),
    "response.output_item.done": (_item, _ours._item_added),
    "response.output_audio.delta": (msgspec.json.Decoder(Delta), _ours._audio_delta),
    "response.output_audio.done": (_any, _ours._audio_done),
    "response.function_call_arguments.done": (msgspec.json.Decoder(Arguments), _ours._arguments_done),
    "response.done": (_response, _ours._response_done),
    "error": (msgspec.json.Decoder(Error), _ours._error),
    "rate_limits.updated": (msgspec.json.Decoder(RateLimits), _ours._rate_limits),
}
"""Everything else (transcripts, what we have added ourselves, what is new) says nothing that a call needs."""


def _make(context: Context, options: Mapping[str, str]) -> OpenAiRealtimeDialect:
    chosen = {name: options[name] for name in _OPTIONS if options.get(name)}
    for name, known in (("format", (CALLERS, *FORMATS)), ("turn_detection", TURN_DETECTION), ("dtmf", DTMF)):
        if chosen.get(name, known[0]) not in known:
            raise OptionError(f"{name} is '{one_line(chosen[name])[:20]}', must be {', '.join(known)}")
    for name in ("instructions", "greeting"):
        if name in chosen:
            chosen[name] = fill_text(chosen[name], context)
    return OpenAiRealtimeDialect(context, Options(**chosen))


_OPTIONS: Final = {
    "instructions": "what the model is to do; a template",
    "greeting": "how it is to begin, a template; absent: it waits for the caller",
    "voice": "a voice of the model's",
    "format": "caller (pcmu or pcma where the caller speaks it, else pcm), pcm (24 kHz), pcmu or pcma",
    "turn_detection": "server_vad or semantic_vad",
    "dtmf": "respond, note or ignore: what a digit of the caller's does",
}

PLUGIN = DialectPlugin(name="openai", make=_make, options=_OPTIONS)
