"""The agent's side of a call: a link, a dialect on it, the caller's audio out and the agent's audio in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from attrs import asdict
from twisted.logger import Logger

from stellar_gw.agent.link import Connector, Link, LinkClosed, LinkLimits, Target
from stellar_gw.control.messages import BargeIn, ConversationStatistics
from stellar_gw.dialects.contract import (
    AGENT_ERROR,
    AgentEvent,
    Ask,
    Audio,
    Clear,
    Dialect,
    Facts,
    Frame,
    Hangup,
    Malformed,
    Mark,
    Reply,
    SendDigits,
)
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Piece
from stellar_gw.media.pcm import AMPLITUDES
from stellar_gw.media.playout import PlayoutFlood
from stellar_gw.media.speech import START_MS
from stellar_gw.media.turns import Turns
from stellar_gw.worker.agent_audio import AgentAudio
from stellar_gw.worker.caller_audio import FRAME_MS, CallerAudio, TonesHeard

LOGGED = 5
"""Malformed messages of one agent that get a line each; the rest is counted."""
COMPLAINTS = 100
"""Malformed messages of one agent that get an answer each; one that sends nothing else learns no more."""
POLICY_VIOLATION = 1008
"""Close code for an agent that breaks the rules (RFC 6455 7.4.1)."""
_log = Logger()


class ConversationListener(Protocol):
    """Whom a conversation tells what the agent wants. After ``agent_failed`` or ``agent_hangup`` nothing comes."""

    def agent_ready(self, connect_ms: float) -> None: ...
    def agent_failed(self, code: str, message: str, *, established: bool) -> None: ...
    def agent_hangup(self) -> None: ...
    def agent_asked(self, ask: Ask) -> None: ...
    def agent_turned(self, seconds: float) -> None: ...

    def send_digits(self, digits: str) -> str:
        """To the caller; why not, empty where it is done."""


class _Nobody:
    """Whom a conversation tells that is over: it does not keep its call."""

    def agent_ready(self, connect_ms: float) -> None: ...
    def agent_failed(self, code: str, message: str, *, established: bool) -> None: ...
    def agent_hangup(self) -> None: ...
    def agent_asked(self, ask: Ask) -> None: ...
    def agent_turned(self, seconds: float) -> None: ...
    def speech_started(self) -> None: ...
    def speech_ended(self, quiet_ms: int) -> None: ...
    def turned(self, seconds: float) -> None: ...

    def send_digits(self, digits: str) -> str:
        return "the call is over"


_NOBODY = _Nobody()


class Conversation:
    """One call's agent; implements :class:`stellar_gw.agent.link.LinkEvents` and
    :class:`stellar_gw.media.turns.TurnListener`.

    Until the call is answered the caller is not heard, and what the agent says is queued.

    :ivar audio: the agent's, for the caller's leg to take.
    :ivar caller: the caller's, in the dialect's format.
    :ivar malformed: messages that did not follow the dialect.
    """

    def __init__(
        self,
        call: str,
        dialect: Dialect,
        listener: ConversationListener,
        now: Callable[[], float],
        tones: Callable[[Digit], None] | None = None,
        barge_in: BargeIn = "off",
        before: Conversation | None = None,
    ) -> None:
        """
        :param now: seconds that never run backwards.
        :param tones: told each digit found in the caller's audio; None: they are not looked for.
        :param before: the one that this takes up; its numbers go on.
        :param barge_in: what becomes of the caller's speech: see :class:`~stellar_gw.control.messages.StartAgent`.
        """
        self._call = call
        self._dialect = dialect
        self._listener = listener
        self._link: Link | None = None
        self._open = False
        self._over = False
        self._answered = False
        self._leaving = False
        self._leaving_ask = ""
        self._frames_sent: int = 0 if before is None else before._frames_sent
        self._barge_in = barge_in
        self._turns: Turns = Turns(now, self) if before is None else before._turns.told_to(self)
        self._amplitude = AMPLITUDES[dialect.audio_format.encoding]
        self._sent_before_ms = 0 if before is None else before.agent_audio_ms
        self.audio = AgentAudio(dialect.audio_format)
        self._queue = self.audio.playout
        self.caller = CallerAudio(dialect.audio_format, listen=None if tones is None else TonesHeard(tones))
        self.malformed: int = 0 if before is None else before.malformed

    @property
    def agent_audio_ms(self) -> int:
        """Of the agent's that were put on the wire, all its links together."""
        return self._sent_before_ms + self.audio.sent_ms

    def connect(self, connector: Connector, target: Target, limits: LinkLimits) -> None:
        self._link = connector.connect(target, self, limits)

    def answered(self) -> None:
        self._answered = True
        self._leave_when_played()

    # --- what happens on the call ---------------------------------------------------------------

    def hear(self, pieces: Sequence[Piece]) -> None:
        """The caller's audio."""
        if self._open and self._answered:
            self._pass_on(self.caller.frames(pieces))

    def straight(self, payload_type: int) -> Callable[[bytes], None] | None:
        """What :meth:`hear` does with one packet of this type after another, given its payload, until the caller's
        codecs change; None for a type that is passed over."""
        frames = self.caller.straight(payload_type)
        if frames is None:
            return None

        write, heard, amplitude = self._dialect.audio, self._turns.heard, self._amplitude

        def hear(payload: bytes) -> None:
            link = self._link
            if link is None or not self._open or not self._answered:
                return
            for frame in frames(payload):  # what _pass_on does, written out: it is done for each call and 20 ms
                sent = self._frames_sent
                for message in write(frame, sent * FRAME_MS):
                    link.send(message)
                self._frames_sent = sent + 1
                heard(amplitude(frame))

        return hear

    def _pass_on(self, frames: Iterable[bytes]) -> None:
        link = self._link
        if link is None:
            return
        for frame in frames:
            for message in self._dialect.audio(frame, self._frames_sent * FRAME_MS):
                link.send(message)
            self._frames_sent += 1
            self._turns.heard(self._amplitude(frame))

    def pressed(self, digit: Digit) -> None:
        if self._open:
            self._send(self._dialect.digit(digit.digit, digit.duration_ms))

    def told(self, kind: str, detail: Facts) -> None:
        if self._open:
            self._send(self._dialect.told(kind, detail))

    def played(self) -> None:
        """A packet has been sent, and what was taken for it has been heard: see which marks that reached."""
        audio, queue = self.audio, self._queue
        if audio.sounded_ms:
            self._turns.sounded(audio.sounded_ms)
            audio.sounded_ms = 0
        if queue.marks:
            for name in queue.reached():
                self._send(self._dialect.mark_reached(name, cleared=False, played_ms=queue.played_ms))
        if self._leaving:
            self._leave_when_played()

    def muted(self, ms: int) -> None:
        """Nobody hears the agent. Time passes for it all the same: what it says is gone, and its marks return."""
        if not self._queue.empty:
            self.audio.pass_time(ms)
            self.played()

    def outcome(self, ask: str, state: str, final: bool, detail: dict[str, str]) -> None:
        """What the gateway made of an ask."""
        if self._open:
            self._send(self._dialect.outcome(ask, state, final=final, detail=detail))

    def stop(self, cause: str, by: str, duration_ms: int = 0) -> None:
        """The call is over: tell the agent, and close the link.

        :param duration_ms: since the answer.
        """
        self._over = True
        self._listener = _NOBODY
        self._turns.told_to(_NOBODY)
        if self._open:
            heard = self.agent_audio_ms
            self._send(self._dialect.stopped(cause, by, duration_ms=duration_ms, agent_audio_ms=heard))
        self._open = False
        link, self._link = self._link, None
        if link is not None:
            link.close()
        if self.malformed > LOGGED:
            _log.warn(
                "{call}: {count} messages of the agent were malformed or errors", call=self._call, count=self.malformed
            )

    def _send(self, frames: Sequence[Frame]) -> None:
        if self._link is not None:
            for frame in frames:
                self._link.send(frame)

    # --- who speaks when (TurnListener) ---------------------------------------------------------

    def speech_started(self) -> None:
        if self._barge_in == "off":
            return
        clear = self._barge_in == "clear" and not self._queue.empty
        self._speech("started", START_MS, clear)
        if clear:
            self._clear()

    def speech_ended(self, quiet_ms: int) -> None:
        if self._barge_in != "off":
            self._speech("ended", quiet_ms, False)

    def _speech(self, state: str, ago_ms: int, cleared: bool) -> None:
        at_ms = max(0, self._frames_sent * FRAME_MS - ago_ms)
        played_ms = self._queue.played_ms
        self.told("speech", {"state": state, "at_ms": at_ms, "played_ms": played_ms, "cleared": cleared})

    def turned(self, seconds: float) -> None:
        self._listener.agent_turned(seconds)

    @property
    def statistics(self) -> ConversationStatistics:
        return ConversationStatistics(
            heard_ms=self._frames_sent * FRAME_MS,
            agent_audio_ms=self.agent_audio_ms,
            malformed=self.malformed,
            **asdict(self._turns.numbers),
        )

    # --- what the link tells (LinkEvents) -------------------------------------------------------

    def link_opened(self, connect_ms: float) -> None:
        if self._over:
            return
        self._open = True
        self._send(self._dialect.opened())
        self._listener.agent_ready(connect_ms)

    def link_received(self, frame: Frame) -> None:
        for event in self._dialect.received(frame):
            if self._over or (self._leaving and not isinstance(event, Clear)):
                return
            try:
                if type(event) is Audio:
                    self._queue.push(event.payload)
                else:
                    self._obey(event)
            except PlayoutFlood as reason:
                self._fail("flood", str(reason), established=True)

    def link_closed(self, closed: LinkClosed) -> None:
        self._open = False
        self._link = None
        if self._over or self._leaving:
            return
        if closed.clean:
            self._leaving = True
            self._leave_when_played()
        else:
            self._over = True
            self._queue.clear()  # half a sentence, and then nobody who finishes it
            self._listener.agent_failed(closed.code, closed.message, established=closed.established)

    # --- what the agent wants -------------------------------------------------------------------

    def _obey(self, event: AgentEvent) -> None:
        """Anything but audio."""
        queue = self._queue
        match event:
            case Mark():
                queue.mark(event.name)
                if self._answered and queue.empty:
                    self.played()  # nothing is before it
            case Clear():
                self._clear()
            case Hangup():
                if not event.after_playout:
                    queue.clear()
                self._leaving, self._leaving_ask = True, event.ask
                self._leave_when_played()
            case SendDigits():
                refused = self._listener.send_digits(event.digits)
                if event.ask:
                    detail = {"code": "bad_digits", "message": refused} if refused else {}
                    self.outcome(event.ask, "failed" if refused else "done", True, detail)
            case Ask():
                self._listener.agent_asked(event)
            case Reply():
                self._send(event.frames)
            case Malformed():
                self.malformed += 1
                if self.malformed <= COMPLAINTS and self._open:
                    self._send(self._dialect.complaint(event))
                if self.malformed <= LOGGED:
                    what = "the agent reports" if event.code == AGENT_ERROR else "the agent's message is malformed"
                    _log.warn("{call}: {what}: {reason}", call=self._call, what=what, reason=event.reason)

    def _clear(self) -> None:
        queue = self._queue
        self.played()  # marks reached already come first
        cleared = queue.clear()
        self._turns.broke_off()
        for name in cleared.marks:
            self._send(self._dialect.mark_reached(name, cleared=True, played_ms=cleared.played_ms))
        self._send(self._dialect.cleared(cleared.played_ms, cleared.discarded_ms))
        self._leave_when_played()

    def _leave_when_played(self) -> None:
        """The agent has hung up: the call ends when what it said has been heard.

        What it said before the answer waits for the answer, which its coming has brought about: agents that say
        one sentence and close do so within milliseconds.
        """
        if self._leaving and not self._over and self._queue.empty:
            if self._leaving_ask:
                self.outcome(self._leaving_ask, "done", True, {})
            self._over = True
            self._listener.agent_hangup()

    def _fail(self, code: str, message: str, *, established: bool) -> None:
        self._over = True
        self._open = False
        link, self._link = self._link, None
        if link is not None:
            link.close(POLICY_VIOLATION, code)
        self._queue.clear()
        self._listener.agent_failed(code, message, established=established)
