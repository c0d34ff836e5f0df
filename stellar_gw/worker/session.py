"""One call in a worker: its legs, its agent, and what happens between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from stellar_gw.agent.link import LinkLimits, Target
from stellar_gw.control.messages import (
    AgentAsked,
    AgentFailed,
    AgentHangup,
    AgentLost,
    AgentReady,
    AgentResumed,
    AgentTurned,
    Allocated,
    Binding,
    ConversationStatistics,
    DigitReceived,
    Event,
    LegStatistics,
    Played,
    Pressed,
    SetMedia,
    StartAgent,
)
from stellar_gw.dialects.contract import Ask
from stellar_gw.dialects.registry import make_dialect
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.dtmf import Digit, are_digits
from stellar_gw.media.jitter import Piece
from stellar_gw.media.presses import Way
from stellar_gw.worker.conversation import Conversation
from stellar_gw.worker.leg import Leg
from stellar_gw.worker.leg_events import LegEvents
from stellar_gw.worker.leg_recording import LegRecording
from stellar_gw.worker.offload import Offload
from stellar_gw.worker.pacer import FRAME, SLOW_FRAME
from stellar_gw.worker.quality import QualityWatch
from stellar_gw.worker.resumption import WITHIN, Resumption
from stellar_gw.worker.speaking import Speaking
from stellar_gw.worker.surroundings import Surroundings
from stellar_gw.worker.upward import upward
from stellar_gw.worker.wiring import Wiring

MOST_ASKS = 64
"""Of one link that wait for their outcome; the oldest is forgotten first."""
_log = Logger()


class MediaSession:
    """A call from its first leg to its release. Commands may be repeated; the second time changes nothing.

    :ivar legs: by name.
    """

    def __init__(self, call: str, surroundings: Surroundings) -> None:
        self._call = call
        self._around = surroundings
        self._now = surroundings.now
        self._conversation: Conversation | None = None
        self._agent_leg = ""
        self._agent_ended = False
        self._ringing = ""
        self._asks: dict[str, None] = {}
        self._request: StartAgent | None = None
        self._resumption = Resumption(False, surroundings.now)
        self._answered: set[str] = set()
        self._up_since: float | None = None
        self._slow = False
        self.legs: dict[str, Leg] = {}
        self._in_turn: tuple[tuple[str, Leg], ...] = ()
        self._speaking: Speaking | None = None
        self._quality = QualityWatch()
        self._recording = LegRecording(call, surroundings, self._answered)
        self._offload = Offload(surroundings.fast_path, surroundings.now)
        self._wiring = Wiring(
            self.legs, surroundings.sounds, surroundings.now, upward(self._keep_pace), upward(self._played)
        )

    # --- commands -------------------------------------------------------------------------------

    def allocate(self, name: str, version: int) -> Allocated | None:
        """A leg with a pair of ports; None where none is left.

        :param version: of IP; 0: any. A leg of the other one is opened anew, unless it is up.
        :raise LocalProtocolError: if there is no address of that version.
        """
        leg = self.legs.get(name)
        if leg is not None and version not in (0, leg.version) and name not in self._answered:
            self.release_leg(name, "", "")
            leg = None
        if leg is None:
            leg = self._around.ports.open(name, version, LegEvents(self, name))
            if leg is None:
                return None
            self.legs[name] = leg
            self._speaking = None
            self._in_turn = tuple(self.legs.items())
            self._keep_pace()
        return Allocated(
            request=0,
            rtp_port=leg.ports[0],
            rtcp_port=leg.ports[1],
            cname=leg.port.rtcp.reports.cname,
            ssrc=leg.port.sender.ssrc,
        )

    def set_media(self, media: SetMedia) -> None:
        """:raise LocalProtocolError: if there is no such leg, or we cannot do what was negotiated."""
        leg = self._leg(media.leg)
        leg.set_media(media)
        self._wiring.agreed(media.leg)
        self._recording.look()
        self._hear(self._wiring.heard_by_agent)

    def start_agent(self, request: StartAgent) -> None:
        """:raise StellarError: if there is no such leg or dialect."""
        leg = self._leg(request.leg)
        if self._conversation is not None:
            return
        self._conversation = self._converse(request, request.connect_timeout)
        self._agent_leg = leg.name
        self._resumption = Resumption(request.resumes, self._around.now)
        self._request = request
        self._wiring.start_agent(leg.name, self._conversation.audio)
        self._hear(leg.name)

    def _converse(self, request: StartAgent, patience: float) -> Conversation:
        """An agent on the way; one that has been here before goes on where it was.

        :raise StellarError: if there is no such dialect.
        """
        dialect = make_dialect(request.dialect, request.context, request.options)
        tones = upward(self._toned) if request.inband else None
        conversation = Conversation(
            self._call, dialect, self, self._around.now, tones, request.barge_in, before=self._conversation
        )
        if request.leg in self._answered:
            conversation.answered()
        target = Target(
            url=request.url.value,
            options=dict(request.options),
            headers=tuple((name, value.value) for name, value in request.headers),
        )
        limits = LinkLimits(
            connect_timeout=patience,
            ping_interval=request.ping_interval,
            ping_timeout=request.ping_timeout,
        )
        conversation.connect(self._around.connector, target, limits)
        return conversation

    def _resume_agent(self, code: str, message: str) -> None:
        """Its link broke, and it can take up the call: connect it again; the caller hears something meanwhile."""
        request = self._request
        assert request is not None, "an agent that was there was started"
        self.emit(partial(AgentLost, code=code, message=message))
        self._asks.clear()
        again = replace(request, context=replace(request.context, resumed=True))
        self._conversation = self._converse(again, WITHIN)
        self._wiring.replace_agent(self._conversation.audio)
        self._wiring.fill(request.filler)
        self._hear(self._wiring.heard_by_agent)

    def _hear(self, name: str) -> None:
        """The agent hears this leg, which may have other codecs now."""
        leg = self.legs.get(name)
        if self._conversation is not None and leg is not None and leg.media is not None:
            self._conversation.caller.receive(leg.media.receive)
            leg.port.take_the_long_way()

    def stop_agent(self, cause: str, by: str) -> None:
        """The agent leaves, the legs stay."""
        self._stop_agent(cause, by)
        self._wiring.stop_agent()

    def rebind(self, bindings: Sequence[Binding]) -> None:
        """:raise StellarError: if it makes no sense; nothing has changed then."""
        self._wiring.bind(bindings)
        self._hear(self._wiring.heard_by_agent)

    def answered(self, name: str) -> None:
        """The leg's dialog is up: audio flows both ways, and something is sent every 20 ms.

        :raise LocalProtocolError: if there is no such leg.
        """
        leg = self._leg(name)
        if name in self._answered:
            return
        self._answered.add(name)
        if self._up_since is None:
            self._up_since = self._around.now()
        leg.port.answered()
        if self._ringing == name:
            self._ringing = ""
            self._wiring.fill(None)
        self._recording.look()
        self._around.pacer.add(self, slow=self._slow)
        if self._conversation is not None and name == self._agent_leg:
            self._conversation.answered()

    def early(self, name: str, *, ringback: bool) -> None:
        """The leg hears something while its dialog is not up yet; nobody hears it.

        :param ringback: a ringing tone until the answer, instead of what the agent says.
        :raise LocalProtocolError: if there is no such leg.
        """
        self._leg(name)
        if name in self._answered:
            return
        if ringback and self._wiring.hears_agent == name:
            self._ringing = name
            self._wiring.ring()
        self._around.pacer.add(self, slow=self._slow)

    def outcome(self, ask: str, state: str, final: bool, detail: dict[str, str]) -> None:
        """What became of an ask; nothing where a link asked that is gone."""
        if self._conversation is None or (ask and ask not in self._asks):
            return
        if final:
            self._asks.pop(ask, None)
        self._conversation.outcome(ask, state, final, detail)

    def informed(self, request: Pressed) -> None:
        """A press that signalling told.

        :raise LocalProtocolError: if there is no such leg, or the digit is none.
        """
        if len(request.digit) != 1 or not are_digits(request.digit):
            raise LocalProtocolError("digit is one of 0-9, *, #, A-D")
        self._leg(request.leg).port.pressed(Digit(request.digit.upper(), max(0, request.duration_ms), 0), "info")

    def _toned(self, digit: Digit) -> None:
        """The agent's caller pressed a key that was found in the audio."""
        leg = self.legs.get(self._wiring.heard_by_agent)
        if leg is not None:
            leg.port.pressed(digit, "inband")

    def record(self, name: str) -> None:
        """Write down what the leg says and hears, from its answer on.

        :raise LocalProtocolError: if there is no such leg.
        """
        self._recording.want(self._leg(name))

    @property
    def finishing(self) -> bool:
        """A recording has ended with its leg, and what became of it will be told."""
        return self._recording.finishing

    @property
    def conversation(self) -> ConversationStatistics | None:
        """What the caller and the agent made of it; None without an agent."""
        return None if self._conversation is None else self._conversation.statistics

    def counted(self) -> Deferred[None] | None:
        """Fires when all is counted that the kernel has passed on, which ends with this; None where it is."""
        return self._offload.settled()

    def tell(self, kind: str, detail: dict[str, str]) -> None:
        if self._conversation is not None:
            self._conversation.told(kind, detail)

    def release_leg(self, name: str, cause: str, by: str) -> tuple[LegStatistics, ...]:
        """Close one leg; with the agent's leg goes the agent."""
        leg = self.legs.pop(name, None)
        if leg is None:
            return ()
        self._speaking = None
        self._in_turn = tuple(self.legs.items())
        if name == self._agent_leg:
            self._stop_agent(cause, by)
        self._wiring.remove(name)
        self._answered.discard(name)
        statistics = leg.statistics()
        self._recording.stop(leg)
        self._around.ports.close(leg)
        if not self.legs:
            self._around.pacer.remove(self)
        return (statistics,)

    def release(self, cause: str, by: str) -> tuple[LegStatistics, ...]:
        """End it all: the agent is told, every port closed."""
        self._stop_agent(cause, by)
        self._around.pacer.remove(self)
        return tuple(each for name in list(self.legs) for each in self.release_leg(name, cause, by))

    def _stop_agent(self, cause: str, by: str) -> None:
        self._agent_ended = True
        if self._conversation is not None:
            up_since = self._up_since
            duration = 0.0 if up_since is None else self._around.now() - up_since
            self._conversation.stop(cause, by, round(duration * 1000))

    def _leg(self, name: str) -> Leg:
        leg = self.legs.get(name)
        if leg is None:
            raise LocalProtocolError(f"call {self._call} has no leg {name}")
        return leg

    # --- every 20 ms (Paced) --------------------------------------------------------------------

    def tick(self, missed: int) -> None:
        now, speaking = self._now(), self._speaking
        if speaking is not None and not missed and speaking.tick(now):
            return
        self._speaking = None
        conversation, told = self._conversation, self._wiring.hears_agent
        if now >= self._quality.due:
            self._look_at_quality(now)
        if self._slow and self._at_ease(now):
            if conversation is not None:
                conversation.muted(round(SLOW_FRAME * 1000))
            return
        for name, leg in self._in_turn:
            if leg.tick(missed) and name == told and conversation is not None:
                conversation.played()
        if conversation is not None and not told:
            conversation.muted(round((SLOW_FRAME if self._slow else FRAME) * 1000))

        if len(self._in_turn) == 1 and conversation is not None and told == self._in_turn[0][0]:
            self._speaking = self._in_turn[0][1].speaking(self._quality.due, conversation.played)

    def _at_ease(self, now: float) -> bool:
        """Every leg is."""
        for _, leg in self._in_turn:
            if not leg.port.at_ease(now):
                return False
        if self._offload.wanted:
            self._offload.at_ease([leg.port for _, leg in self._in_turn])
        return True

    def _look_at_quality(self, now: float) -> None:
        leg = self.legs.get(self._wiring.heard_by_agent)
        changed = self._quality.look(None if leg is None else leg.statistics(), now)
        if changed is not None and self._conversation is not None:
            self._conversation.told("quality", changed)

    def _keep_pace(self) -> None:
        """Ten times slower while no leg needs packets of ours."""
        slow = self._wiring.bridged
        if slow != self._slow:
            self._slow = slow
            if self._answered:
                self._around.pacer.add(self, slow=slow)

    def tick_failed(self) -> None:
        self.failed("its audio could not be sent")

    # --- what the legs tell ---------------------------------------------------------------------

    def heard(self, leg: str, pieces: Sequence[Piece]) -> None:
        if leg == self._wiring.heard_by_agent and self._conversation is not None:
            self._conversation.hear(pieces)
        self._wiring.heard(leg, pieces)

    def straight(self, leg: str, payload_type: int) -> Callable[[bytes], None] | None:
        """The way of a leg's packets to the agent, until :meth:`_hear` says otherwise."""
        if leg != self._wiring.heard_by_agent or self._conversation is None:
            return None
        return self._conversation.straight(payload_type)

    def noise(self, leg: str, payload: bytes) -> None:
        if leg == self._wiring.heard_by_agent and self._conversation is not None:
            self._conversation.caller.noise(payload)
        self._wiring.noise(leg, payload)

    def pressed(self, leg: str, digit: Digit, way: Way) -> None:
        if leg == self._wiring.heard_by_agent and self._conversation is not None:
            self._conversation.pressed(digit)
        if way != "inband":  # what was found in the audio goes on in the audio
            self._wiring.pressed(leg, digit, way)
        self.emit(partial(DigitReceived, leg=leg, digit=digit.digit, duration_ms=digit.duration_ms, way=way))

    def failed(self, what: str) -> None:
        """Something of ours broke: this call cannot go on, the others do."""
        _log.error("{call}: the media failed: {what}", call=self._call, what=what)
        self.agent_failed("media_failure", f"the media of the call failed inside the gateway: {what}", established=True)
        self._stop_agent("media_failure", "gateway")

    def emit(self, event: Callable[..., Event]) -> None:
        self._around.tell(self._call, event)

    def _played(self, leg: str, note: str) -> None:
        self.emit(partial(Played, leg=leg, note=note))

    # --- what the agent wants (ConversationListener) --------------------------------------------

    def agent_ready(self, connect_ms: float) -> None:
        if self._resumption.under_way:
            self._wiring.fill(None)
            self.emit(partial(AgentResumed, gap_ms=round(self._resumption.done(), 1)))
        else:
            self.emit(partial(AgentReady, connect_ms=connect_ms))

    def agent_failed(self, code: str, message: str, *, established: bool) -> None:
        if self._agent_ended:
            return
        resumption = self._resumption
        if established and code != "media_failure" and resumption.begins(message):
            self._resume_agent(code, message)
        else:
            if resumption.under_way:
                established, message = True, f"{resumption.why}; and it could not be connected again: {message}"
            self._agent_ended = True
            self.emit(partial(AgentFailed, code=code, message=message, established=established))

    def agent_hangup(self) -> None:
        if not self._agent_ended:
            self._agent_ended = True
            self.emit(AgentHangup)

    def agent_asked(self, ask: Ask) -> None:
        if ask.ask:
            self._asks[ask.ask] = None
            if len(self._asks) > MOST_ASKS:
                del self._asks[next(iter(self._asks))]
        self.emit(partial(AgentAsked, ask=ask.ask, verb=ask.verb, parameters=dict(ask.parameters)))

    def agent_turned(self, seconds: float) -> None:
        self.emit(partial(AgentTurned, wait_ms=round(seconds * 1000, 1)))

    def send_digits(self, digits: str, to: str = "") -> str:
        leg = self.legs.get(to or self._wiring.hears_agent)
        refused = f"no leg {to}" if to else "nobody hears the agent"
        refused = refused if leg is None else leg.send_digits(digits)
        if refused:
            _log.warn("{call}: the agent's digits are not sent: {refused}", call=self._call, refused=refused)
        return refused
