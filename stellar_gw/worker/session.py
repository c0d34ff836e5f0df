"""One call in a worker: its legs, its agent, and what happens between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from stellar_gw.control.messages import (
    Allocated,
    Binding,
    DigitReceived,
    Event,
    LegStatistics,
    Played,
    Pressed,
    SetMedia,
    StartAgent,
)
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.dtmf import Digit, are_digits
from stellar_gw.media.jitter import Piece
from stellar_gw.media.presses import Way
from stellar_gw.worker.call_agent import CallAgent
from stellar_gw.worker.conversation import Conversation
from stellar_gw.worker.leg import Leg
from stellar_gw.worker.leg_events import LegEvents
from stellar_gw.worker.leg_recording import LegRecording
from stellar_gw.worker.offload import Offload
from stellar_gw.worker.pacer import FRAME, SLOW_FRAME
from stellar_gw.worker.quality import QualityWatch
from stellar_gw.worker.speaking import Speaking
from stellar_gw.worker.surroundings import Surroundings
from stellar_gw.worker.upward import upward
from stellar_gw.worker.wiring import Wiring

_log = Logger()


class MediaSession:
    """A call from its first leg to its release. Commands may be repeated; the second time changes nothing.

    :ivar legs: by name.
    :ivar agent: its agent, from before the start on.
    """

    def __init__(self, call: str, surroundings: Surroundings) -> None:
        self._call = call
        self._around = surroundings
        self._now = surroundings.now
        self._ringing = ""
        self._answered: set[str] = set()
        self._up_since: float | None = None
        self._slow = False
        self.legs: dict[str, Leg] = {}
        self._in_turn: tuple[tuple[str, Leg], ...] = ()
        self._quality = QualityWatch()
        self._judged_for: Conversation | None = None
        self._recording = LegRecording(call, surroundings, self._answered)
        self._offload = Offload(surroundings.fast_path, surroundings.now)
        self._wiring = Wiring(
            self.legs, surroundings.sounds, surroundings.now, upward(self._keep_pace), upward(self._played)
        )
        self.agent = CallAgent(call, surroundings, self.legs, self._answered, self._wiring)

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
            for other in self.legs.values():
                other.port.take_the_long_way()
            self.legs[name] = leg
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
        self.agent.hears(self._wiring.heard_by_agent)

    def start_agent(self, request: StartAgent) -> None:
        """:raise StellarError: if there is no such leg or dialect."""
        self._leg(request.leg)
        self.agent.start(request)

    def stop_agent(self, cause: str, by: str) -> None:
        """The agent leaves, the legs stay."""
        self._stop_agent(cause, by)
        self._wiring.stop_agent()

    def rebind(self, bindings: Sequence[Binding]) -> None:
        """:raise StellarError: if it makes no sense; nothing has changed then."""
        self._wiring.bind(bindings)
        self.agent.hears(self._wiring.heard_by_agent)

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
            self._wiring.answered()
        self._recording.look()
        self._around.pacer.add(self, slow=self._slow)
        self.agent.answered(name)

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

    def informed(self, request: Pressed) -> None:
        """A press that signalling told.

        :raise LocalProtocolError: if there is no such leg, or the digit is none.
        """
        if len(request.digit) != 1 or not are_digits(request.digit):
            raise LocalProtocolError("digit is one of 0-9, *, #, A-D")
        self._leg(request.leg).port.pressed(Digit(request.digit.upper(), max(0, request.duration_ms), 0), "info")

    def record(self, name: str) -> None:
        """Write down what the leg says and hears, from its answer on.

        :raise LocalProtocolError: if there is no such leg.
        """
        self._recording.want(self._leg(name))

    @property
    def finishing(self) -> bool:
        """A recording has ended with its leg, and what became of it will be told."""
        return self._recording.finishing

    def counted(self) -> Deferred[None] | None:
        """Fires when all is counted that the kernel has passed on, which ends with this; None where it is."""
        return self._offload.settled()

    def release_leg(self, name: str, cause: str, by: str) -> tuple[LegStatistics, ...]:
        """Close one leg; with the agent's leg goes the agent."""
        leg = self.legs.pop(name, None)
        if leg is None:
            return ()
        self._in_turn = tuple(self.legs.items())
        if name == self.agent.leg:
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
        up_since = self._up_since
        duration = 0.0 if up_since is None else self._now() - up_since
        self.agent.stop(cause, by, round(duration * 1000))

    def _leg(self, name: str) -> Leg:
        leg = self.legs.get(name)
        if leg is None:
            raise LocalProtocolError(f"call {self._call} has no leg {name}")
        return leg

    # --- every 20 ms (Paced) --------------------------------------------------------------------

    def tick(self, missed: int) -> Speaking | None:
        now = self._now()
        conversation, told = self.agent.conversation, self._wiring.hears_agent
        if now >= self._quality.due:
            self._look_at_quality(now)
        if self._slow and self._at_ease(now):
            if conversation is not None:
                conversation.muted(round(SLOW_FRAME * 1000))
            return None
        for name, leg in self._in_turn:
            if leg.tick(missed) and name == told and conversation is not None:
                conversation.played()
        if conversation is not None and not told:
            conversation.muted(round((SLOW_FRAME if self._slow else FRAME) * 1000))

        if len(self._in_turn) == 1 and conversation is not None and told == self._in_turn[0][0]:
            return self._in_turn[0][1].speaking(self._quality.due, conversation.played)
        return None

    def _at_ease(self, now: float) -> bool:
        """Every leg is."""
        for _, leg in self._in_turn:
            if not leg.port.at_ease(now):
                return False
        if self._offload.wanted:
            self._offload.at_ease([leg.port for _, leg in self._in_turn])
        return True

    def _look_at_quality(self, now: float) -> None:
        if self._judged_for is not self.agent.conversation:  # a new link knows nothing of what an old one was told
            self._judged_for, self._quality = self.agent.conversation, QualityWatch()
        leg = self.legs.get(self._wiring.heard_by_agent)
        changed = self._quality.look(None if leg is None else leg.statistics(), now)
        if changed is not None:
            self.agent.tell("quality", changed)

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
        conversation = self.agent.conversation
        if conversation is not None and leg == self._wiring.heard_by_agent:
            conversation.hear(pieces)
        self._wiring.heard(leg, pieces)

    def straight(self, leg: str, payload_type: int) -> Callable[[bytes], None] | None:
        """The way of a leg's packets to the agent, until :meth:`CallAgent.hears` says otherwise."""
        conversation = self.agent.conversation
        if conversation is None or leg != self._wiring.heard_by_agent:
            return None
        return conversation.straight(payload_type)

    def noise(self, leg: str, payload: bytes) -> None:
        conversation = self.agent.conversation
        if conversation is not None and leg == self._wiring.heard_by_agent:
            conversation.caller.noise(payload)
        self._wiring.noise(leg, payload)

    def pressed(self, leg: str, digit: Digit, way: Way) -> None:
        conversation = self.agent.conversation
        if conversation is not None and leg == self._wiring.heard_by_agent:
            conversation.pressed(digit)
        if way != "inband":  # what was found in the audio goes on in the audio
            self._wiring.pressed(leg, digit, way)
        self.emit(partial(DigitReceived, leg=leg, digit=digit.digit, duration_ms=digit.duration_ms, way=way))

    def failed(self, what: str) -> None:
        """Something of ours broke: this call cannot go on, the others do."""
        _log.error("{call}: the media failed: {what}", call=self._call, what=what)
        why = f"the media of the call failed inside the gateway: {what}"
        self.agent.media_failed(why)
        self._stop_agent("media_failure", "gateway")

    def emit(self, event: Callable[..., Event]) -> None:
        self._around.tell(self._call, event)

    def _played(self, leg: str, note: str) -> None:
        self.emit(partial(Played, leg=leg, note=note))
