"""One inbound call: carries out its machine's effects on signalling, media and agent, and keeps its record.

The call knows no sockets: SIP comes as events of the core, media as messages of the worker, and time from
the clock that is handed in. It starts nothing that it does not also end. What it is made of is ``parts.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from stellar_gw.call.agent.agent import early_media
from stellar_gw.call.agent.asks import Told, too_late
from stellar_gw.call.call_terms import CallTerms
from stellar_gw.call.course import Course
from stellar_gw.call.endings import offer_ending, reason_header
from stellar_gw.call.events import CallAnswered, CallConfirmed, CallEnded, CallStarted
from stellar_gw.call.leg.caller import CallerLeg
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.machine import Effect, Ending
from stellar_gw.call.parts import make_parts
from stellar_gw.call.succession import MakeLeg
from stellar_gw.control import messages
from stellar_gw.directory.records import Route
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.events import UsageId
from stellar_gw.sip.message import Request
from stellar_gw.sip.sdp import Direction


class Call:
    """One call from its admission to its record."""

    def __init__(self, terms: CallTerms) -> None:
        self._terms = terms
        self.record = terms.record
        self._course = Course(lambda effect: self._EFFECTS[effect](self))
        self._parts = make_parts(self, terms, self._course)

    @property
    def call_id(self) -> str:
        return self.record.call_id

    @property
    def leg(self) -> CallerLeg:
        """Of the INVITE."""
        return self._parts.leg

    @property
    def usage(self) -> UsageId:
        """Of the dialog with whoever is the caller by now."""
        return self._parts.side.leg.usage

    @property
    def route(self) -> Route:
        return self._terms.route

    @property
    def movable(self) -> bool:
        """Up, and not being transferred: somebody else may become its caller."""
        transfers = self._parts.transfers
        free = transfers.bridging or not transfers.active
        return self._course.state == "Up" and not self._parts.succession.open and free

    # --- what happens to it ---------------------------------------------------------------------

    def start(self) -> None:
        """Ask for ports; everything else follows."""
        self._terms.tell(CallStarted(self.record))
        version = self.leg.media.version
        asked = self._terms.plane.ask(messages.Allocate(request=0, call=self.call_id, version=version))
        asked.addCallbacks(self._allocated, self.media_failed)

    def _allocated(self, reply: messages.Reply) -> None:
        assert isinstance(reply, messages.Allocated)
        if self._course.closed:  # a first worker had no room, and the call ended before the second one answered
            return
        try:
            self.leg.allocated(reply)
        except RemoteProtocolError as error:
            self.give_up(offer_ending(error, self.leg.media.terms))
        else:
            self._course.allocated()

    def give_up(self, ending: Ending) -> None:
        """End the call from our side; without effect where it is ending already."""
        self._course.give_up(ending)

    def media_failed(self, failure: Failure) -> None:
        """See :meth:`Course.media_failed`."""
        self._course.media_failed(failure)

    def note(self, kind: str, message: str) -> None:
        self._terms.note(kind, message)

    def heard(self, event: messages.Event) -> None:
        """Something the worker says of this call."""
        if getattr(event, "leg", "caller") != "caller":
            self._parts.transfers.heard(event)
        elif isinstance(event, messages.RecordingEnded):
            self._parts.recording.ended(event)
        elif not self._parts.agent.heard(event):
            self._parts.side.leg.heard(event)

    def asked(self, event: messages.AgentAsked, told: Told) -> None:
        """Something the agent asks for beside its link, as by an HTTP request.

        :param told: gets each outcome, the first perhaps at once.
        """
        if self._course.closed:
            told(too_late(event))
        else:
            self._parts.agent.asks.heard(event, told)

    # --- what happens to its caller -------------------------------------------------------------

    def leg_gone(self, ending: Ending, reason_header: str) -> None:
        if self._parts.succession.outlives(ending):
            return
        self._parts.transfers.caller_gone()
        self.record.reason_header = reason_header or self.record.reason_header
        self._course.gone(ending)

    def leg_confirmed(self) -> None:
        self._course.confirmed()

    def leg_agreed(self, codec: str, srtp: str) -> None:
        self.record.codec, self.record.srtp = codec, srtp

    def leg_turned(self, direction: Direction) -> None:
        self._parts.transfers.caller_direction(direction)
        if self.record.answered is not None:
            self._parts.agent.tell_turned(direction)

    def leg_notified(self, request: Request, respond: Callable[[int], None]) -> None:
        self._parts.transfers.notified(request, respond)

    def leg_referred(self, request: Request, respond: Respond) -> None:
        self._parts.referrals.asked(request, respond)

    def replace(self, make: MakeLeg, request: Request, reject: Callable[[int, str], None]) -> None:
        """Another INVITE, which is admitted, is to be the caller's; see :meth:`Succession.replace`."""
        ports = self._parts.side.leg.ports
        assert ports is not None, "a call that is up has them"
        self._parts.succession.replace(make, request, reject, ports)

    # --- how it goes on -------------------------------------------------------------------------

    def _ring(self) -> None:
        self.leg.ring(early=early_media(self.route, self.leg) != "off")
        self.record.ringing = self._terms.wall()

    def _start_agent(self) -> None:
        self._parts.agent.connect(self.leg)

    def _await_decision(self) -> None:
        self._parts.agent.await_decision()

    def _answer(self) -> None:
        self._parts.agent.decided()
        self.leg.answer()
        self.record.answered = self._terms.wall()
        self._parts.completion.counts()
        self.record.status = 200
        self._parts.recording.begin()
        self._terms.plane.ask(messages.Answered(request=0, call=self.call_id)).addErrback(self.media_failed)
        self._terms.tell(CallAnswered(self.record))

    def _confirm(self) -> None:
        self.record.confirmed = self._terms.wall()
        self._parts.completion.counts()
        self._parts.limit.begin()
        self._terms.tell(CallConfirmed(self.record))

    def _fall_back(self) -> None:
        self._parts.agent.fall_back(self._course.ending)

    # --- how it ends ----------------------------------------------------------------------------

    def _reject(self) -> None:
        ending = self._course.ending
        headers = self._terms.refuse(ending, self.leg.request, self.leg.flow)
        self.leg.reject(ending.status, ending.phrase, headers)
        self.record.status = ending.status

    def _bye(self) -> None:
        self._parts.side.leg.bye([("Reason", reason_header(self._course.ending))])

    def _release(self) -> None:
        parts = self._parts
        parts.transfers.abandon()
        parts.succession.abandon()
        parts.side.leg.stop()
        parts.timers.stop_all()
        parts.agent.links.over()
        parts.completion.begin(self._course.ending)

    def _close(self) -> None:
        self._parts.completion.draw_ladders()
        self._terms.tell(CallEnded(self.record))
        self._terms.closed(self.call_id)
        del self._parts  # which call back to it: without this circle it is freed at once

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
