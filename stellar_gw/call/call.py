"""One inbound call: carries out its machine's effects on signalling, media and agent, and keeps its record.

The call knows no sockets: SIP comes as events of the core, media as messages of the worker, and time from
the clock that is handed in. It starts nothing that it does not also end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from stellar_gw.call.agent.agent import AgentLimits, start_agent
from stellar_gw.call.agent.asks import Asks, Told
from stellar_gw.call.agent.fallback import FallingBack
from stellar_gw.call.agent.links import AgentLinks
from stellar_gw.call.call_terms import DECISION_TIMEOUT, CallTimers, MakeTransfers, Refuse, Tell
from stellar_gw.call.endings import (
    MEDIA_FAILURE,
    agent_ending,
    conversation_numbers,
    leg_numbers,
    media_ending,
    offer_ending,
    reason_header,
    template_ending,
    undecided_ending,
)
from stellar_gw.call.events import CallAnswered, CallConfirmed, CallEnded, CallNoted, CallStarted
from stellar_gw.call.leg.caller import CallerLeg
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.machine import Effect, Ending, InboundCallMachine, Outbox
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.record import CallRecord
from stellar_gw.call.recording import CallRecording
from stellar_gw.call.succession import MakeLeg, Succession
from stellar_gw.call.timers import Timers
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.transfer.outcome import Outcome
from stellar_gw.call.transfer.referral import Referrals
from stellar_gw.call.transfer.transfers import TransferRequest
from stellar_gw.call.usages import Usages
from stellar_gw.control import messages
from stellar_gw.directory.records import Route
from stellar_gw.errors import RemoteProtocolError, StellarError
from stellar_gw.sip.events import UsageId
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request
from stellar_gw.sip.sdp import Direction


class Call:
    """One call from its admission to its record.

    :param media: our side of the caller's session description.
    :param usages: where the events of all usages come by.
    :param transfers: makes what transfers this call.
    :param wall: wall clock, seconds since 1970, for the record only.
    :param closed: called once, after the record was told.
    """

    def __init__(
        self,
        *,
        record: CallRecord,
        usage: UsageId,
        request: Request,
        flow: Flow,
        route: Route,
        media: LegMedia,
        signalling: Signalling,
        plane: MediaPlane,
        clock: IReactorTime,
        wall: Callable[[], float],
        timers: CallTimers,
        agent_limits: AgentLimits,
        usages: Usages,
        transfers: MakeTransfers,
        tell: Tell,
        refuse: Refuse,
        closed: Callable[[Call], None],
    ) -> None:
        self.record = record
        self._route, self._signalling, self._plane, self._wall = route, signalling, plane, wall
        self._settings, self._agent_limits = timers, agent_limits
        self._tell, self._refuse, self._closed = tell, refuse, closed
        self._timers = Timers(clock)
        self._clock = clock
        self._outbox = Outbox()
        self._machine = InboundCallMachine(self._outbox)
        self._running = self._held = False
        self._up_since: float | None = None
        self.leg = CallerLeg(
            self,
            call_id=record.call_id,
            usage=usage,
            request=request,
            flow=flow,
            media=media,
            signalling=signalling,
            plane=plane,
            usages=usages,
            timers=self._timers,
            probe_interval=timers.probe_interval,
            no_media_extended=timers.no_media_extended,
        )
        self._side = CallerSide(
            call_id=record.call_id,
            leg=self.leg,
            plane=plane,
            end=self._transfer_ends_it,
            left=self._agent_left,
            keep_leg=lambda numbers: record.legs.append(leg_numbers(numbers)),
        )
        self._transfers = transfers(self._side, record, self.note)
        self.succession = Succession(
            call_id=record.call_id,
            side=self._side,
            call=self,
            signalling=signalling,
            usages=usages,
            plane=plane,
            clock=clock,
            wall=wall,
            record=record.moves,
            lost=self._lost_caller,
        )
        self._referrals = Referrals(
            terms=self._transfers.referrals,
            succession=self.succession,
            usages=usages,
            busy=lambda: not self.movable,
            note=self.note,
        )
        self._lost: Ending | None = None
        self._links = AgentLinks(route=route, record=record, now=clock.seconds, note=self.note)
        self._fallback = FallingBack(
            call_id=record.call_id,
            wanted=route.connector.fallback,
            plane=plane,
            record=record,
            timers=self._timers,
            note=self.note,
            failed=self.give_up,
            transfer=self._transfer_to,
        )
        self._asks = Asks(
            call_id=record.call_id,
            answer=self._answer_for_agent,
            reject=self._reject_for_agent,
            transfers=lambda: self._transfers if record.answered is not None else None,
            send=plane.ask,
            note=self.note,
        )
        self._recording = CallRecording(
            wanted=route.connector.record, record=record, plane=plane, timers=self._timers, note=self.note
        )

    @property
    def call_id(self) -> str:
        return self.record.call_id

    @property
    def usage(self) -> UsageId:
        """Of the dialog with whoever is the caller by now."""
        return self._side.leg.usage

    @property
    def route(self) -> Route:
        return self._route

    @property
    def movable(self) -> bool:
        """Up, and not being transferred: somebody else may become its caller."""
        up = InboundCallMachine.state(self._machine) == "Up"
        return up and not self.succession.open and (self._transfers.bridging or not self._transfers.active)

    # --- what happens to it ---------------------------------------------------------------------

    def start(self) -> None:
        """Ask for ports; everything else follows."""
        self._tell(CallStarted(self.record))
        asked = self._plane.ask(messages.Allocate(request=0, call=self.call_id, version=self.leg.media.version))
        asked.addCallbacks(self._allocated, self.media_failed)

    def give_up(self, ending: Ending) -> None:
        """End the call from our side; without effect where it is ending already."""
        self._machine.give_up(ending)
        self._run()

    def leg_gone(self, ending: Ending, reason_header: str) -> None:
        if self.succession.outlives(ending):
            return
        self._transfers.caller_gone()
        self._machine.gone(ending)
        self.record.reason_header = reason_header or self.record.reason_header
        self._run()

    def leg_confirmed(self) -> None:
        self._machine.confirmed()
        self._run()

    def leg_agreed(self, codec: str, srtp: str) -> None:
        self.record.codec, self.record.srtp = codec, srtp

    def leg_turned(self, direction: Direction) -> None:
        self._transfers.caller_direction(direction)
        if self.record.answered is not None and self._side.agent_listens:
            held = direction in ("recvonly", "inactive")
            if held != self._held:  # there are several ways to be held
                self._held = held
                self._tell_agent("hold", {"state": "held" if held else "resumed"})

    def replace(self, make: MakeLeg, request: Request, reject: Callable[[int, str], None]) -> None:
        """Another INVITE, which is admitted, is to be the caller's; see :meth:`Succession.replace`."""
        ports = self._side.leg.ports
        assert ports is not None, "a call that is up has them"
        self.succession.replace(make, request, reject, ports)

    def leg_referred(self, request: Request, respond: Respond) -> None:
        self._referrals.asked(request, respond)

    def _lost_caller(self, ending: Ending) -> None:
        """The caller's dialog is over, and nobody came to be the caller instead."""
        self.leg_gone(ending, "")

    def leg_notified(self, request: Request, respond: Callable[[int], None]) -> None:
        self._transfers.notified(request, respond)

    def heard(self, event: messages.Event) -> None:
        """Something the worker says of this call."""
        if getattr(event, "leg", "caller") != "caller":
            self._transfers.heard(event)
            return
        match event:
            case messages.AgentReady():
                self._links.ready(event)
                if self._route.environment.agent_answers:
                    self._machine.asked()
                else:
                    self._machine.ready()
                self._run()
            case messages.AgentFailed():
                self._agent_failed(event)
            case messages.AgentHangup():
                self._agent_gone(Ending(cause=event.reason, by="agent"))
            case messages.AgentLost():
                self._links.lost(event)
            case messages.AgentResumed():
                self._links.resumed(event)
            case messages.Played():
                self._fallback.heard(event)
            case messages.AgentAsked():
                self._asks.heard(event)
            case messages.RecordingEnded():
                self._recording.ended(event)
            case _:
                self._side.leg.heard(event)

    def _agent_failed(self, event: messages.AgentFailed) -> None:
        self._links.failed(event)
        ending = agent_ending(event, self._route)
        self._lost = None if ending.cause == MEDIA_FAILURE else ending
        self._agent_gone(ending)

    def _agent_gone(self, ending: Ending) -> None:
        """It has hung up, or failed; a transfer that is under way goes on without it."""
        self._side.agent_listens = False
        if not self._transfers.agent_gone():
            self._end_or_fall_back(ending)

    def _end_or_fall_back(self, ending: Ending) -> None:
        """There is no agent for the caller, and none to come: is it the agent's fault?"""
        if self._lost is not None and self._route.connector.fallback and not self._fallback.begun:
            self._machine.fall_back(self._lost)
            self._run()
        else:
            self.give_up(ending)

    def _transfer_to(self, name: str) -> Deferred[Outcome]:
        done = self._transfers.transfer(TransferRequest(to=name), lambda state, detail: None)
        self._transfers.agent_gone()  # so that the caller hears it ringing
        return done

    def _transfer_ends_it(self, ending: Ending) -> None:
        """A transfer is over, and the call with it; one that failed may leave something to fall back on."""
        if ending.cause != "transfer_failed":
            self.give_up(ending)
        elif not self._fallback.begun:  # otherwise its own outcome says how the call ends
            self._end_or_fall_back(ending)

    def _agent_left(self) -> None:
        """Caller and target talk: the limits of a talk with an agent are none of theirs."""
        self._timers.stop("warning")
        self._timers.stop("limit")

    def asked(self, event: messages.AgentAsked, told: Told) -> None:
        """Something the agent asks for beside its link, as by an HTTP request.

        :param told: gets each outcome, the first perhaps at once.
        """
        self._asks.heard(event, told)

    def _answer_for_agent(self) -> bool:
        if InboundCallMachine.state(self._machine) != "Deciding":
            return False
        self._machine.answer()
        self._run()
        return True

    def _reject_for_agent(self, ending: Ending) -> bool:
        # An agent that is asked by webhook rejects while it is being connected.
        if InboundCallMachine.state(self._machine) not in ("Connecting", "Deciding"):
            return False
        self.give_up(ending)
        return True

    # --- how it goes on -------------------------------------------------------------------------

    def _run(self) -> None:
        """Carry out what the machine has asked for; what happens meanwhile waits its turn."""
        if self._running:
            return
        self._running = True
        try:
            while self._outbox.effects:
                self._EFFECTS[self._outbox.effects.pop(0)](self)
        finally:
            self._running = False

    def _allocated(self, reply: messages.Reply) -> None:
        assert isinstance(reply, messages.Allocated)
        try:
            self.leg.allocated(reply)
        except RemoteProtocolError as error:
            self.give_up(offer_ending(error, self.leg.media.terms))
            return
        self._machine.allocated()
        self._run()

    def media_failed(self, failure: Failure) -> None:
        """No worker can carry it: the whole gateway's affair, so 503 (upstream tries the next one)."""
        self.give_up(media_ending(failure.value))

    def _ring(self) -> None:
        self.leg.ring(early=self._early != "off")
        self.record.ringing = self._wall()

    def _start_agent(self) -> None:
        try:
            request = start_agent(
                self.leg.request,
                self.leg.flow,
                self._route,
                self.call_id,
                self.leg.media.codec,
                self._agent_limits,
                srtp=bool(self.leg.media.srtp),
            )
        except StellarError as error:
            self._lost = template_ending(error, self._route)
            self._agent_gone(self._lost)
            return
        self._links.begin()
        self.leg.agreement.agent_begins()
        self._plane.ask(request).addErrback(self.media_failed)
        source = self._early
        if source != "off":
            early = messages.Early(request=0, call=self.call_id, source=source)
            self._plane.ask(early).addErrback(self.media_failed)

    @property
    def _early(self) -> Literal["off", "ringback", "agent"]:
        """What the caller hears before the answer; nothing where its INVITE has no offer to be answered in a 183."""
        return "off" if self.leg.media.negotiated is None else self._route.connector.early_media

    def _await_decision(self) -> None:
        self._timers.start("decision", DECISION_TIMEOUT, self._undecided)

    def _undecided(self) -> None:
        stop = messages.StopAgent(request=0, call=self.call_id, cause="undecided")
        self._plane.ask(stop).addErrback(lambda _: None)  # a worker that is lost ends the call by itself
        self._lost = undecided_ending(DECISION_TIMEOUT, self._route)
        self._agent_gone(self._lost)

    def _answer(self) -> None:
        self._timers.stop("decision")
        self.leg.answer()
        self.record.answered = self._wall()
        self._up_since = self._clock.seconds()
        self.record.status = 200
        self._recording.begin()
        self._plane.ask(messages.Answered(request=0, call=self.call_id)).addErrback(self.media_failed)
        self._tell(CallAnswered(self.record))

    def _confirm(self) -> None:
        self.record.confirmed = self._wall()
        self._up_since = self._clock.seconds()
        settings = self._settings
        if settings.duration > 0:
            if settings.duration > settings.duration_warning:
                self._timers.start("warning", settings.duration - settings.duration_warning, self._warn)
            self._timers.start("limit", settings.duration, self._limit_reached)
        self._tell(CallConfirmed(self.record))

    def _fall_back(self) -> None:
        ending = self._outbox.ending
        assert ending is not None
        # Not from within a transfer that has just failed, which still counts as one under way.
        self._timers.start("fallback", 0.0, lambda: self._fallback.begin(ending))

    def _reject(self) -> None:
        ending = self._outbox.ending
        assert ending is not None
        headers = self._refuse(ending, self.leg.request, self.leg.flow)
        self.leg.reject(ending.status, ending.phrase, headers)
        self.record.status = ending.status

    def _bye(self) -> None:
        ending = self._outbox.ending
        assert ending is not None
        self._side.leg.bye([("Reason", reason_header(ending))])

    def _release(self) -> None:
        self._transfers.abandon()
        self.succession.abandon()
        self._side.leg.stop()
        self._timers.stop_all()
        self._links.over()
        ending = self._outbox.ending
        assert ending is not None
        self.record.cause, self.record.ended_by, self.record.reason = ending.cause, ending.by, ending.reason
        if self.record.ended is None:
            self.record.ended = self._wall()
            if self._up_since is not None:
                self.record.duration = self._clock.seconds() - self._up_since
        if not self.record.status:
            self.record.status = ending.status
        asked = self._plane.ask(messages.Release(request=0, call=self.call_id, cause=ending.cause, by=ending.by))
        asked.addCallback(self._keep_statistics)
        asked.addErrback(lambda _: None)  # a lost worker's numbers are lost with it; the record says the cause
        asked.addCallback(lambda _: self._recording.finish(self._released))

    def _keep_statistics(self, reply: messages.Reply) -> None:
        if isinstance(reply, messages.Released):
            self.record.legs[:0] = [leg_numbers(leg) for leg in reply.legs]  # those of transfers are there already
            if reply.conversation is not None:
                self.record.conversation = conversation_numbers(reply.conversation)
            self._recording.finishing = reply.recording

    def _released(self) -> None:
        self._machine.released()
        self._run()

    def _close(self) -> None:
        self.record.ladder = self._signalling.ladder(self.record.sip_call_id)
        for transfer in self.record.transfers:
            call_id = transfer["sip_call_id"]
            transfer["ladder"] = list(self._signalling.ladder(call_id)) if call_id else []
        self._tell(CallEnded(self.record))
        self._closed(self)

    # --- limits ---------------------------------------------------------------------------------

    def _warn(self) -> None:
        """The agent hears of the limit in time to say good-bye."""
        self._tell_agent("limit", {"seconds_left": f"{self._settings.duration_warning:g}"})

    def _tell_agent(self, kind: str, detail: dict[str, str]) -> None:
        self._plane.ask(messages.Tell(request=0, call=self.call_id, kind=kind, detail=detail)).addErrback(
            self.media_failed
        )

    def _limit_reached(self) -> None:
        limit = f"{self._settings.duration:g} s"
        self.give_up(Ending(cause="limit", by="gateway", reason=f"call reached its limit of {limit}"))

    def note(self, kind: str, message: str) -> None:
        self._tell(CallNoted(self.call_id, kind, message))

    _EFFECTS: dict[Effect, Callable[[Call], None]] = {
        Effect.RING: _ring,
        Effect.START_AGENT: _start_agent,
        Effect.AWAIT_DECISION: _await_decision,
        Effect.ANSWER: _answer,
        Effect.CONFIRM: _confirm,
        Effect.FALL_BACK: _fall_back,
        Effect.REJECT: _reject,
        Effect.BYE: _bye,
        Effect.RELEASE: _release,
        Effect.CLOSE: _close,
    }
