"""Who speaks when, caller or agent, and how long the caller waits for an answer.

Theory of operation. The caller's side is heard as it comes, every 20 ms, by :mod:`stellar_gw.media.speech`; the agent's
as its packets leave. A turn is the time from the end of the caller's speech (the arrival of its last loud frame) to
the agent's first sound after that, which is on the wire when we are told of it. The agent makes a new beginning
after :data:`PAUSE` without a sound, or after what it had queued was thrown away.

An answer that comes before the caller's silence is long enough to be sure of its end ends that speech, where the
silence was no mere stop between two syllables. One that comes sooner still counts only if the caller does not go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Final, Protocol

from attrs import frozen

from stellar_gw.media.speech import START_MS, SpeechDetector

PAUSE: Final = 0.2
"""Seconds without a sound of the agent's after which the next one is a new beginning."""
TAKEN_MS: Final = 200
"""Of the caller's silence, after which whoever speaks has taken the turn."""
JOINED: Final = 0.4
"""Seconds: shorter pauses in what one side says belong to it."""
NEVER: Final = float("-inf")
MOST_TURNS: Final = 10_000
"""Whose times are kept; more of them are counted."""


class TurnListener(Protocol):
    """Whom :class:`Turns` tells, as it happens."""

    def speech_started(self) -> None:
        """The caller has begun to speak, :data:`~stellar_gw.media.speech.START_MS` ago."""

    def speech_ended(self, quiet_ms: int) -> None:
        """The caller has ceased to speak, so long ago."""

    def turned(self, seconds: float) -> None:
        """The agent has answered."""


@frozen(kw_only=True)
class TurnNumbers:
    """A conversation in numbers; milliseconds.

    :ivar turns: how many answers there were; the others are 0 where there was none.
    :ivar caller_ms, agent_ms: in which they spoke; ``both_ms``: at the same time.
    :ivar barge_ins: how often the caller began to speak while the agent was to be heard.
    """

    turns: int = 0
    p50_ms: int = 0
    p95_ms: int = 0
    max_ms: int = 0
    caller_ms: int = 0
    agent_ms: int = 0
    both_ms: int = 0
    barge_ins: int = 0


class Turns:
    """One conversation.

    :param now: seconds that never run backwards.
    :ivar caller: the caller's side.
    """

    __slots__ = (
        "_agent",
        "_barge_ins",
        "_both",
        "_caller",
        "_early",
        "_heard_at",
        "_listener",
        "_longest",
        "_now",
        "_owed",
        "_sounded_at",
        "_times",
        "_turns",
        "caller",
    )

    def __init__(self, now: Callable[[], float], listener: TurnListener) -> None:
        self._now = now
        self._listener = listener
        self._heard_at = self._sounded_at = NEVER
        self._owed = False
        self._early = NEVER
        self._times: list[float] = []
        self._turns = self._barge_ins = 0
        self._longest = 0.0
        self._caller = self._agent = self._both = 0.0
        self.caller = SpeechDetector()

    def told_to(self, listener: TurnListener) -> Turns:
        """The same conversation, told to another from now on: what the agent had begun to say is over."""
        self._listener = listener
        self.broke_off()
        return self

    # --- the caller -----------------------------------------------------------------------------

    def heard(self, amplitude: float) -> None:
        """The amplitude of the caller's next 20 ms."""
        caller = self.caller
        change = caller.heard(amplitude)
        if caller.quiet_ms:
            if change:
                self._ended()
        elif caller.speaking:
            now = self._now()
            if change:
                self._started(now)
            else:
                self._caller += now - self._heard_at
                self._early = NEVER
            self._heard_at = now

    def _started(self, now: float) -> None:
        self._caller += START_MS / 1000
        self._owed = True
        if now - self._sounded_at < PAUSE + START_MS / 1000:
            self._barge_ins += 1
        self._listener.speech_started()

    def _ended(self) -> None:
        if self._early > NEVER:
            self._turn(self._early)
        self._listener.speech_ended(self.caller.quiet_ms)

    # --- the agent ------------------------------------------------------------------------------

    def sounded(self, ms: int) -> None:
        """So much of the agent's audio has just left, with something to be heard in it."""
        now = self._now()
        gap = now - self._sounded_at
        said = gap if gap < JOINED else ms / 1000
        self._agent += said
        self._sounded_at = now
        if now - self._heard_at < PAUSE and self.caller.speaking:
            self._both += said
        if self._owed and gap > PAUSE:
            self._began(now)

    def broke_off(self) -> None:
        """What the agent had yet to say was thrown away."""
        self._sounded_at = NEVER

    def _began(self, now: float) -> None:
        """The agent owes an answer, and makes a new beginning."""
        caller = self.caller
        if not caller.speaking:
            self._turn(now)
        elif caller.quiet_ms < TAKEN_MS:
            self._early = now
        else:
            caller.interrupted()
            self._turn(now)
            self._listener.speech_ended(caller.quiet_ms)

    def _turn(self, answered_at: float) -> None:
        self._owed = False
        self._early = NEVER
        seconds = answered_at - self._heard_at
        self._turns += 1
        self._longest = max(self._longest, seconds)
        if len(self._times) < MOST_TURNS:
            self._times.append(seconds)
        self._listener.turned(seconds)

    # --- what it comes to -----------------------------------------------------------------------

    @property
    def numbers(self) -> TurnNumbers:
        times = sorted(self._times)
        return TurnNumbers(
            turns=self._turns,
            p50_ms=_ms(_quantile(times, 0.5)),
            p95_ms=_ms(_quantile(times, 0.95)),
            max_ms=_ms(self._longest),
            caller_ms=_ms(self._caller),
            agent_ms=_ms(self._agent),
            both_ms=_ms(self._both),
            barge_ins=self._barge_ins,
        )


def _quantile(times: Sequence[float], share: float) -> float:
    """The least of them that so large a share does not exceed; 0 of none."""
    return times[ceil(share * len(times)) - 1] if times else 0.0


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
