"""What every agent dialect is to a call: a codec between wire messages and these events.

A dialect does no I/O and keeps no clock. The session hands it what happens on the call and sends the
frames it returns; the link hands it what the agent says and the session acts on the events it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec
from attrs import field, frozen

from stellar_gw.dialects.context import Context

Frame = str | bytes
"""One WebSocket message: text or binary."""
Facts = Mapping[str, str | int | float | bool]


class Audio(msgspec.Struct, frozen=True, gc=False):
    """Agent audio, in the dialect's own encoding and rate, any length.

    A msgspec struct, because one is made for every message of audio.
    """

    payload: bytes

    def __repr__(self) -> str:
        return f"Audio({len(self.payload)} octets)"


@frozen
class Mark:
    """Tell me when all audio before this point has been put on the wire."""

    name: str


@frozen
class Clear:
    """Throw away the audio not yet sent; pending marks return (Twilio: echoed)."""


@frozen
class Hangup:
    """End the call, at once or when the queued audio has been sent."""

    after_playout: bool = False
    ask: str = ""


@frozen
class SendDigits:
    digits: str
    ask: str = ""


@frozen
class Ask:
    """A verb for the gateway: ``transfer``, ``reject``, ``answer``, ``hold``, ``resume``.

    Each ends in exactly one final :meth:`Dialect.outcome` of the same ``ask``, unless the call ends first.
    """

    verb: str
    ask: str = ""
    parameters: tuple[tuple[str, str], ...] = ()


AGENT_ERROR = "agent_error"
"""The code of a message that is in order, and tells of an error at the agent's side."""


@frozen
class Malformed:
    """A message that does not follow the dialect: counted, logged, answered by a complaint, never fatal by itself.

    :ivar code: a stable word, such as ``malformed``, ``unknown_action`` or :data:`AGENT_ERROR`.
    :ivar ask: the agent's own id of the request, where it has one.
    """

    reason: str
    code: str = "malformed"
    ask: str = ""


@frozen
class Reply:
    """Frames to send back at once, for a dialect whose protocol answers a message by a message."""

    frames: tuple[Frame, ...]


AgentEvent = Audio | Mark | Clear | Hangup | SendDigits | Ask | Malformed | Reply


@frozen
class AudioFormat:
    """How a dialect carries audio, the same both ways.

    :ivar encoding: ``pcm`` (16-bit little-endian), ``mulaw`` or ``alaw`` (G.711, rate 8000).
    """

    encoding: Literal["pcm", "mulaw", "alaw"]
    rate: int

    @property
    def width(self) -> int:
        """Octets of a sample."""
        return 2 if self.encoding == "pcm" else 1


class Dialect(Protocol):
    """One agent's dialect for one call. Each method returns the frames to send, in order."""

    @property
    def audio_format(self) -> AudioFormat: ...

    def opened(self) -> Sequence[Frame]:
        """The link is up: the dialect's opening messages."""

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        """20 ms of the caller's audio, ``timestamp_ms`` after the first."""

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]: ...

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        """All audio before the mark has been sent, or was cleared."""

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]: ...

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        """Something the gateway wants the agent to know; nothing where the dialect has no word for it.

        :param kind: ``limit`` (the call's end is near), ``srtp`` (the caller's audio is encrypted, or no longer),
            ``speech`` (the caller begins or ceases to speak), ``quality`` (the caller's connection), ...
        """

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        """What became of an ask.

        :param state: ``done`` or ``failed`` at the end; anything else on the way there.
        :param detail: for a failure ``code`` and ``message``; for a transfer its ``method`` and the like.
        """

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        """Tell the agent that a message of its made no sense; nothing where the dialect has no word for it."""

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        """The call is over: the dialect's last messages.

        :param duration_ms: since the answer.
        :param agent_audio_ms: of the agent's audio that was put on the wire.
        """

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        """What an agent's message means; never raises."""


@frozen(kw_only=True)
class DialectPlugin:
    """A dialect as the configuration and the workers find it.

    One that is not ours is named by an entry point of the group ``stellar_gw.dialects``: ``name = module:attribute``.

    :ivar make: a dialect for one call, from its context and its agent's options; raises :class:`StellarError` for
        options that make no sense.
    :ivar schemes: of the URLs that its agents may have.
    :ivar options: the options it knows, each with what it must be, in words.
    """

    name: str
    make: Callable[[Context, Mapping[str, str]], Dialect]
    schemes: tuple[str, ...] = ("ws", "wss")
    options: Mapping[str, str] = field(factory=dict)
