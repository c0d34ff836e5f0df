"""What every agent dialect is to a call: a codec between wire messages and these events.

A dialect does no I/O and keeps no clock. The session hands it what happens on the call and sends the
frames it returns; the link hands it what the agent says and the session acts on the events it returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from attrs import field, frozen

Frame = str | bytes
"""One WebSocket message: text or binary."""


@frozen
class Audio:
    """Agent audio, in the dialect's own encoding and rate, any length."""

    payload: bytes = field(repr=lambda payload: f"{len(payload)} octets")


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
    """A verb for the gateway: ``transfer``, ``reject``, ``answer``, ``hold``, ``resume``."""

    verb: str
    ask: str = ""
    parameters: tuple[tuple[str, str], ...] = ()


@frozen
class Malformed:
    """A message that does not follow the dialect: counted, logged, never fatal by itself."""

    reason: str


AgentEvent = Audio | Mark | Clear | Hangup | SendDigits | Ask | Malformed


@frozen
class AudioFormat:
    """How a dialect carries audio, the same both ways.

    :ivar encoding: ``pcm`` (16-bit little-endian) or ``mulaw`` (G.711, rate 8000).
    """

    encoding: Literal["pcm", "mulaw"]
    rate: int


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

    def told(self, kind: str, detail: dict[str, str]) -> Sequence[Frame]:
        """Something the gateway wants the agent to know; nothing where the dialect has no word for it."""

    def stopped(self, cause: str, by: str) -> Sequence[Frame]:
        """The call is over: the dialect's last messages."""

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        """What an agent's message means; never raises."""
