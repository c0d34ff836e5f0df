"""What passes between the gateway and an agent, counted and dated by a dialect that tells on another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import define, field

from stellar_gw.dialects.contract import (
    AGENT_ERROR,
    AgentEvent,
    Ask,
    Audio,
    AudioFormat,
    Dialect,
    Facts,
    Frame,
    Hangup,
    Malformed,
    Mark,
    SendDigits,
)

KEPT = 5
"""Of each sort of message, that are kept word for word; the others are counted."""


@define
class Notes:
    """Of one call; moments are seconds of the clock handed in.

    :ivar messages: of the agent's; ``pieces`` of audio among its events.
    :ivar marks: set by the agent; ``played`` and ``cleared`` of them came back.
    :ivar clears: how often its audio was thrown away; the last time at ``cleared_at``, with ``discarded_ms`` to come.
    :ivar errors: what it reported of itself; ``malformed``: what followed no dialect.
    :ivar hung_up: it has asked for the call's end by a message.
    """

    messages: int = 0
    pieces: int = 0
    marks: int = 0
    played: int = 0
    cleared: int = 0
    clears: int = 0
    cleared_at: float = 0.0
    discarded_ms: int = 0
    error_count: int = 0
    errors: list[str] = field(factory=list)
    malformed_count: int = 0
    malformed: list[str] = field(factory=list)
    verbs: dict[str, int] = field(factory=dict)
    digits: str = ""
    hung_up: bool = False

    def heard(self, event: AgentEvent) -> None:
        match event:
            case Audio():
                self.pieces += 1
            case Mark():
                self.marks += 1
            case Hangup():
                self.hung_up = True
            case SendDigits(digits):
                self.digits = (self.digits + digits)[:64]
            case Ask(verb) if verb in self.verbs or len(self.verbs) < KEPT:
                self.verbs[verb] = self.verbs.get(verb, 0) + 1
            case Malformed(reason, code) if code == AGENT_ERROR:
                self.error_count += 1
                _keep(self.errors, reason)
            case Malformed(reason):
                self.malformed_count += 1
                _keep(self.malformed, reason)
            case _:
                pass


def _keep(texts: list[str], text: str) -> None:
    if len(texts) < KEPT and text not in texts:
        texts.append(text)


class WatchedDialect:
    """Another dialect, and :class:`Notes` of what it means."""

    def __init__(self, dialect: Dialect, notes: Notes, now: Callable[[], float]) -> None:
        self._dialect, self._notes, self._now = dialect, notes, now

    @property
    def audio_format(self) -> AudioFormat:
        return self._dialect.audio_format

    def opened(self) -> Sequence[Frame]:
        return self._dialect.opened()

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        return self._dialect.audio(payload, timestamp_ms)

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]:
        return self._dialect.digit(digit, duration_ms)

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        if cleared:
            self._notes.cleared += 1
        else:
            self._notes.played += 1
        return self._dialect.mark_reached(name, cleared=cleared, played_ms=played_ms)

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]:
        self._notes.clears += 1
        self._notes.cleared_at = self._now()
        self._notes.discarded_ms = discarded_ms
        return self._dialect.cleared(played_ms, discarded_ms)

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        return self._dialect.told(kind, detail)

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        return self._dialect.outcome(ask, state, final=final, detail=detail)

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        return self._dialect.complaint(malformed)

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        return self._dialect.stopped(cause, by, duration_ms=duration_ms, agent_audio_ms=agent_audio_ms)

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        self._notes.messages += 1
        events = self._dialect.received(frame)
        for event in events:
            self._notes.heard(event)
        return events
