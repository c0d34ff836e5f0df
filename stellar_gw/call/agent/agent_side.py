"""A call's agent, from its connection to its end: what becomes of it, what it asks for, and what comes in its place."""

from __future__ import annotations

from attrs import define, field

from stellar_gw.call.agent.agent import AgentLimits, TellAgent, early_media, start_agent
from stellar_gw.call.agent.asks import Asks
from stellar_gw.call.agent.fallback import FallingBack
from stellar_gw.call.agent.links import AgentLinks
from stellar_gw.call.agent.loss import AgentLoss
from stellar_gw.call.course import Course
from stellar_gw.call.endings import MEDIA_FAILURE, agent_ending, template_ending, undecided_ending
from stellar_gw.call.leg.caller import CallerLeg
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import MediaPlane
from stellar_gw.call.timers import Timers
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.transfer.transfers import Transfers
from stellar_gw.control import messages
from stellar_gw.directory.records import Route
from stellar_gw.errors import StellarError
from stellar_gw.sip.sdp import Direction

DECISION_TIMEOUT = 60.0
"""Seconds that an agent may let it ring before it answers or rejects."""


@define(kw_only=True)
class AgentSide:
    """The counterpart of :class:`~stellar_gw.call.transfer.caller_side.CallerSide`.

    :ivar tell: tells the agent.
    """

    call_id: str
    route: Route
    limits: AgentLimits
    course: Course
    side: CallerSide
    transfers: Transfers
    plane: MediaPlane
    timers: Timers
    tell: TellAgent
    links: AgentLinks
    loss: AgentLoss
    fallback: FallingBack
    asks: Asks
    _held: bool = field(default=False, init=False)

    # --- what the call does with it -------------------------------------------------------------

    def connect(self, leg: CallerLeg) -> None:
        """:param leg: of the INVITE, which the agent is told of."""
        try:
            request = start_agent(
                leg.request,
                leg.flow,
                self.route,
                self.call_id,
                leg.media.codec,
                self.limits,
                srtp=bool(leg.media.srtp),
            )
        except StellarError as error:
            self._lose(template_ending(error, self.route))
            return
        self.links.begin()
        leg.agreement.agent_begins()
        self.plane.ask(request).addErrback(self.course.media_failed)
        source = early_media(self.route, leg)
        if source != "off":
            early = messages.Early(request=0, call=self.call_id, source=source)
            self.plane.ask(early).addErrback(self.course.media_failed)

    def await_decision(self) -> None:
        self.timers.start("decision", DECISION_TIMEOUT, self._undecided)

    def decided(self) -> None:
        self.timers.stop("decision")

    def _undecided(self) -> None:
        stop = messages.StopAgent(request=0, call=self.call_id, cause="undecided")
        self.plane.ask(stop).addErrback(lambda _: None)  # a worker that is lost ends the call by itself
        self._lose(undecided_ending(DECISION_TIMEOUT, self.route))

    def fall_back(self, ending: Ending) -> None:
        """Begin with what the connector has in its place."""
        # Not from within a transfer that has just failed, which still counts as one under way.
        self.timers.start("fallback", 0.0, lambda: self.fallback.begin(ending))

    def tell_turned(self, direction: Direction) -> None:
        """The caller's side lets us do something else from now on."""
        held = direction in ("recvonly", "inactive")
        if self.side.agent_listens and held != self._held:  # there are several ways to be held
            self._held = held
            self.tell("hold", {"state": "held" if held else "resumed"})

    # --- what becomes of it ---------------------------------------------------------------------

    def heard(self, event: messages.Event) -> bool:
        """Something the worker says; whether it is the agent's affair."""
        match event:
            case messages.AgentReady():
                self.links.ready(event)
                if self.route.environment.agent_answers:
                    self.course.asked()
                else:
                    self.course.ready()
            case messages.AgentFailed():
                self._failed(event)
            case messages.AgentHangup():
                self._gone(Ending(cause=event.reason, by="agent"))
            case messages.AgentLost():
                self.links.lost(event)
            case messages.AgentResumed():
                self.links.resumed(event)
            case messages.Played():
                self.fallback.heard(event)
            case messages.AgentAsked():
                self.asks.heard(event)
            case _:
                return False
        return True

    def _failed(self, event: messages.AgentFailed) -> None:
        if self.side.agent_listens:  # else its link has ended before
            self.links.failed(event)
        ending = agent_ending(event, self.route)
        if ending.cause == MEDIA_FAILURE:  # there is nothing left that a transfer could go on with
            self.side.agent_listens = False
            self.course.give_up(ending)
        else:
            self.loss.fault = ending
            self._gone(ending)

    def _lose(self, fault: Ending) -> None:
        self.loss.fault = fault
        self._gone(fault)

    def _gone(self, ending: Ending) -> None:
        """It has hung up, or failed; a transfer that is under way goes on without it."""
        self.side.agent_listens = False
        if not self.transfers.agent_gone():
            self.loss.end_or_fall_back(ending)
