"""A call as its transfers see it: the caller's leg, and whether an agent is still there."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from twisted.internet.defer import Deferred

from stellar_gw.call.leg.standing import StandingLeg
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import MediaPlane
from stellar_gw.call.transfer.ports import Headers
from stellar_gw.control.messages import Direction, LegStatistics, Reply, Request, StopAgent
from stellar_gw.sip.events import ResponseReceived
from stellar_gw.sip.message import Response
from stellar_gw.sip.refer import UNSUBSCRIBE
from stellar_gw.sip.uri import Uri

NO_CALL = (408, 481)
"""What a REFER is answered with where perhaps the call is no more, and perhaps REFER is all that is not known."""


@define(kw_only=True)
class CallerSide:
    """Implements :class:`stellar_gw.call.transfer.ports.Caller`.

    :ivar leg: the caller's, whoever that is by now.
    :ivar end: ends the call from our side.
    :ivar left: called when the agent has been sent away, and the call goes on without it.
    :ivar keep_leg: keeps what a leg that is gone came to.
    """

    call_id: str
    leg: StandingLeg
    plane: MediaPlane
    end: Callable[[Ending], None]
    left: Callable[[], None]
    keep_leg: Callable[[LegStatistics], None]
    agent_listens: bool = True

    @property
    def local_uri(self) -> Uri:
        return self.leg.local_uri

    @property
    def far(self) -> Direction:
        return self.leg.far

    def refer(self, headers: Headers, heard: Callable[[Response | None], None]) -> None:
        def answered(event: ResponseReceived) -> None:
            if event.response is None or event.response.status in NO_CALL:
                # Is there a call at all? 481 to this ends it (RFC 5057 5.1), and nobody need be called then.
                self.leg.ask("OPTIONS", lambda _: heard(event.response))
            else:
                heard(event.response)

        self.leg.ask("REFER", answered, headers)

    def unsubscribe(self) -> None:
        self.leg.ask("SUBSCRIBE", lambda event: None, UNSUBSCRIBE)

    def offer(self, direction: Direction) -> Deferred[bool]:
        return self.leg.offer(direction)

    def dismiss_agent(self) -> None:
        self.agent_listens = False
        stop = StopAgent(request=0, call=self.call_id, cause="transferred")
        self.plane.ask(stop).addErrback(lambda _: None)  # a worker that is lost ends the call by itself
        self.left()

    def ask(self, request: Request) -> Deferred[Reply]:
        return self.plane.ask(request)
