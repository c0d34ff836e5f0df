"""Binary PCM in Vonage's framing, and our own control messages as JSON on the same socket.

The agent is the WebSocket server. Audio is 16-bit little-endian PCM in binary messages, 20 ms each toward the
agent, of any length from it. Text messages are JSON objects: ``event`` from us, ``action`` from the agent, as
docs/agent-protocol.rst has them. ``vonage`` is the same without what plain Vonage agents do not know.

An agent's ``notify`` is its mark: it comes back with its payload when the audio before it has been put on the
wire, or was cleared. Each request with an ``id`` ends in exactly one ``call:done``, ``call:error`` or final
``call:transfer`` of that id, unless the call ends first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from stellar_gw.dialects.context import Context, facts, header_values, parameters
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
from stellar_gw.dialects.native_actions import (
    Action,
    AnswerAction,
    ClearAction,
    HangupAction,
    HoldAction,
    NotifyAction,
    RejectAction,
    ResumeAction,
    SendDtmfAction,
    TransferAction,
    decode,
    head_of,
)
from stellar_gw.dialects.wire import encode, reason
from stellar_gw.errors import StellarError

PROTOCOL: Final = "stellar/1"
RATES: Final = (8000, 16000, 24000)
MAX_ID: Final = 64
"""Characters of a request's id."""
MAX_PAYLOAD: Final = 4096
"""Octets of a notify's payload, which is kept until its audio has played."""
MAX_OPEN: Final = 64
"""Requests whose verb is remembered until their outcome."""
MAX_HEADERS: Final = 32
"""X-* headers of a transfer."""
MAX_TRANSFER: Final = 65_536
"""Characters of a transfer's target and headers, which the gateway is told of: more than it accepts of each."""


class OptionError(StellarError):
    """An option of the environment that makes no sense; one line."""


ACTIONS: Final = ("answer", "clear", "hangup", "hold", "notify", "reject", "resume", "send_dtmf", "transfer")


class NativeDialect:
    """One call's conversation.

    :param rate: samples a second, both ways.
    :param ours: whether our own events are sent; plain Vonage agents do not know them.
    """

    def __init__(self, context: Context, rate: int, *, ours: bool = True) -> None:
        self._context, self._rate, self._ours = context, rate, ours
        self._heard_ms = 0
        self._verbs: OrderedDict[str, str] = OrderedDict()

    @property
    def audio_format(self) -> AudioFormat:
        return AudioFormat("pcm", self._rate)

    # --- to the agent ---------------------------------------------------------------------------

    def opened(self) -> Sequence[Frame]:
        head: dict[str, object] = {"event": "websocket:connected", "content-type": f"audio/l16;rate={self._rate}"}
        if not self._ours:
            # Vonage puts an application's own fields beside these two.
            return (encode({**parameters(self._context), **head}),)
        again = self._context.resumed
        call: dict[str, object] = {"id": self._context.call_id, "state": "answered" if again else "ringing"}
        call["resumed"] = again
        call |= {name: value for name, value in facts(self._context).items() if name != "call_id"}
        call |= {"tls": self._context.tls, "srtp": self._context.srtp}
        return (
            encode(
                {
                    **head,
                    "protocol": PROTOCOL,
                    "call": call,
                    "headers": header_values(self._context),
                    "variables": dict(self._context.variables),
                    "transfers": dict(self._context.transfers),
                }
            ),
        )

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        self._heard_ms = timestamp_ms + 20
        return (payload,)

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]:
        event: dict[str, object] = {"event": "websocket:dtmf", "digit": digit, "duration": duration_ms}
        if self._ours:
            event["at_ms"] = self._heard_ms
        return (encode(event),)

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        event: dict[str, object] = {"event": "websocket:notify", "payload": msgspec.Raw(name.encode())}
        if self._ours:
            event |= {"outcome": "cleared" if cleared else "played", "played_ms": played_ms}
        return (encode(event),)

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]:
        event: dict[str, object] = {"event": "websocket:cleared"}
        if self._ours:
            event |= {"played_ms": played_ms, "discarded_ms": discarded_ms}
        return (encode(event),)

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        return self._event(f"call:{kind}", **detail)

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        verb = self._verbs.get(ask, "") if ask else ""
        if final and ask:
            self._verbs.pop(ask, None)
        rest: dict[str, object] = {name: value for name, value in detail.items() if name != "message"}
        if "attempts" in rest:
            rest["attempts"] = msgspec.Raw(detail["attempts"].encode())
        if verb == "transfer" or not final:
            message = {"reason": detail["message"]} if "message" in detail else {}
            return self._event(f"call:{verb or 'progress'}", id=ask, state=state, final=final, **rest, **message)
        if state == "done":
            return self._event("call:done", id=ask, action=verb, **detail)
        return self._event(
            "call:error", id=ask, action=verb, code=detail.get("code", "failed"), message=detail.get("message", ""),
            fatal=False,
        )  # fmt: skip

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        return self._event("call:error", id=malformed.ask, code=malformed.code, message=malformed.reason, fatal=False)

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        return self._event("call:stop", cause=cause, by=by, duration_ms=duration_ms, agent_audio_ms=agent_audio_ms)

    def _event(self, name: str, **fields: object) -> Sequence[Frame]:
        return (encode({"event": name, **fields}),) if self._ours else ()

    # --- from the agent -------------------------------------------------------------------------

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        if isinstance(frame, bytes):
            return (Audio(frame),) if frame else ()
        try:
            action = decode(frame)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return (_complaint(frame, error),)
        if len(getattr(action, "id", "")) > MAX_ID:
            return (Malformed(f"an id has at most {MAX_ID} characters"),)
        return (self._event_of(action),)

    def _event_of(self, action: Action) -> AgentEvent:
        match action:
            case NotifyAction(payload):
                text = bytes(payload)
                if len(text) > MAX_PAYLOAD:
                    return Malformed(f"a notify's payload has at most {MAX_PAYLOAD} octets")
                return Mark(text.decode())
            case ClearAction():
                return Clear()
            case HangupAction(ask, when):
                return Hangup(when == "after_playout", self._noted(ask, "hangup"))
            case SendDtmfAction(digits, ask):
                return SendDigits(digits, self._noted(ask, "send_dtmf"))
            case AnswerAction(ask):
                return Ask("answer", self._noted(ask, "answer"))
            case RejectAction(ask, status, why):
                return Ask("reject", self._noted(ask, "reject"), (("status", str(status)), ("reason", why[:80])))
            case TransferAction():
                return self._transfer(action)
            case HoldAction(ask):
                return Ask("hold", self._noted(ask, "hold"))
            case ResumeAction(ask):
                return Ask("resume", self._noted(ask, "resume"))

    def _transfer(self, action: TransferAction) -> AgentEvent:
        if len(action.headers) > MAX_HEADERS:
            return Malformed(f"a transfer has at most {MAX_HEADERS} headers", ask=action.id)
        if len(action.to) + sum(len(name) + len(value) for name, value in action.headers.items()) > MAX_TRANSFER:
            return Malformed(f"a transfer has at most {MAX_TRANSFER} characters", ask=action.id)
        headers = tuple((f"header:{name}", value) for name, value in action.headers.items())
        plain = (("to", action.to), ("method", action.method), ("timeout_s", f"{action.timeout_s:g}"))
        return Ask("transfer", self._noted(action.id, "transfer"), (*plain, *headers))

    def _noted(self, ask: str, verb: str) -> str:
        if ask:
            self._verbs[ask] = verb
            if len(self._verbs) > MAX_OPEN:
                self._verbs.popitem(last=False)
        return ask


def _complaint(frame: str, error: Exception) -> Malformed:
    """What is wrong with a message, named by its action and id where those can be read."""
    try:
        head = head_of(frame)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Malformed(reason(error))
    ask = head.id if len(head.id) <= MAX_ID else ""
    if head.action not in ACTIONS:
        shown = head.action[:40].encode("ascii", "backslashreplace").decode()
        return Malformed(f"no action {shown!r}; there are {', '.join(ACTIONS)}", "unknown_action", ask)
    return Malformed(f"{head.action}: {reason(error)}", "malformed", ask)


def _rate(options: Mapping[str, str]) -> int:
    text = options.get("rate", "16000")
    if text not in map(str, RATES):
        raise OptionError(f"rate is {text[:20]!r}, must be {', '.join(map(str, RATES[:-1]))} or {RATES[-1]}")
    return int(text)


_OPTIONS = {"rate": "8000, 16000 or 24000: samples a second, both ways"}

PLUGIN = DialectPlugin(
    name="native", make=lambda context, options: NativeDialect(context, _rate(options)), options=_OPTIONS
)
VONAGE = DialectPlugin(
    name="vonage", make=lambda context, options: NativeDialect(context, _rate(options), ours=False), options=_OPTIONS
)
