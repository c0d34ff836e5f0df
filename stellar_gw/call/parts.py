"""What a call is made of, and how the parts are joined.

What they tell each other goes down from part to part, or by the call's course; only legs, and what moves the call from
one leg to another, call back to the call. So a call that lets go of its parts leaves no circle behind.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from stellar_gw.call.agent.agent import TellAgent, tell_agent
from stellar_gw.call.agent.agent_side import AgentSide
from stellar_gw.call.agent.asks import Asks
from stellar_gw.call.agent.fallback import FallingBack
from stellar_gw.call.agent.limit import TalkLimit
from stellar_gw.call.agent.links import AgentLinks
from stellar_gw.call.agent.loss import AgentLoss
from stellar_gw.call.call_terms import CallTerms
from stellar_gw.call.completion import Completion
from stellar_gw.call.course import Course
from stellar_gw.call.endings import leg_numbers
from stellar_gw.call.leg.caller import CallerLeg, CallerLegListener
from stellar_gw.call.recording import CallRecording
from stellar_gw.call.succession import Succession
from stellar_gw.call.timers import Timers
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.transfer.outcome import Outcome
from stellar_gw.call.transfer.referral import Referrals
from stellar_gw.call.transfer.transfers import TransferRequest, Transfers


class Whole(CallerLegListener, Protocol):
    """The call that they are the parts of."""

    @property
    def movable(self) -> bool:
        """Somebody else may become its caller."""


@frozen(kw_only=True)
class Parts:
    """
    :ivar leg: of the INVITE; ``side.leg`` is that of whoever is the caller by now.
    :ivar timers: all of them end with the call.
    """

    leg: CallerLeg
    side: CallerSide
    transfers: Transfers
    succession: Succession
    referrals: Referrals
    agent: AgentSide
    limit: TalkLimit
    recording: CallRecording
    completion: Completion
    timers: Timers


def make_parts(call: Whole, terms: CallTerms, course: Course) -> Parts:
    timers = Timers(terms.clock)
    leg = _leg(call, terms, timers)
    limit = _limit(terms, course, timers)
    loss = AgentLoss(course=course, route=terms.route, record=terms.record)
    side = CallerSide(
        call_id=terms.call_id,
        leg=leg,
        plane=terms.plane,
        end=loss.transfer_ends_it,
        left=limit.lift,
        keep_leg=lambda numbers: terms.record.legs.append(leg_numbers(numbers)),
    )
    transfers = terms.transfers(side, terms.record, terms.note)
    succession = Succession(
        call_id=terms.call_id,
        side=side,
        call=call,
        signalling=terms.signalling,
        usages=terms.usages,
        plane=terms.plane,
        clock=terms.clock,
        wall=terms.wall,
        record=terms.record.moves,
        lost=partial(call.leg_gone, reason_header=""),
    )
    recording = CallRecording(
        wanted=terms.route.connector.record,
        record=terms.record,
        plane=terms.plane,
        timers=timers,
        note=terms.note,
    )
    return Parts(
        leg=leg,
        side=side,
        transfers=transfers,
        succession=succession,
        referrals=Referrals(
            terms=transfers.referrals,
            succession=succession,
            usages=terms.usages,
            busy=lambda: not call.movable,
            note=terms.note,
        ),
        agent=_agent(terms, course, timers, side, transfers, loss),
        limit=limit,
        recording=recording,
        completion=Completion(
            record=terms.record,
            recording=recording,
            signalling=terms.signalling,
            plane=terms.plane,
            clock=terms.clock,
            wall=terms.wall,
            released=course.released,
        ),
        timers=timers,
    )


def _leg(call: CallerLegListener, terms: CallTerms, timers: Timers) -> CallerLeg:
    return CallerLeg(
        call,
        call_id=terms.call_id,
        usage=terms.usage,
        request=terms.request,
        flow=terms.flow,
        media=terms.media,
        signalling=terms.signalling,
        plane=terms.plane,
        usages=terms.usages,
        timers=timers,
        probe_interval=terms.timers.probe_interval,
        no_media_extended=terms.timers.no_media_extended,
    )


def _limit(terms: CallTerms, course: Course, timers: Timers) -> TalkLimit:
    return TalkLimit(
        longest=terms.timers.duration,
        warning=terms.timers.duration_warning,
        timers=timers,
        tell=_tell_agent(terms, course),
        give_up=course.give_up,
    )


def _tell_agent(terms: CallTerms, course: Course) -> TellAgent:
    return partial(tell_agent, terms.plane, terms.call_id, course.media_failed)


def _agent(
    terms: CallTerms, course: Course, timers: Timers, side: CallerSide, transfers: Transfers, loss: AgentLoss
) -> AgentSide:
    record = terms.record

    def transfer_to(name: str) -> Deferred[Outcome]:
        done = transfers.transfer(TransferRequest(to=name), lambda state, detail: None)
        transfers.agent_gone()  # so that the caller hears it ringing
        return done

    return AgentSide(
        call_id=terms.call_id,
        route=terms.route,
        limits=terms.agent_limits,
        course=course,
        side=side,
        transfers=transfers,
        plane=terms.plane,
        timers=timers,
        tell=_tell_agent(terms, course),
        links=AgentLinks(route=terms.route, record=record, now=terms.clock.seconds, note=terms.note),
        loss=loss,
        fallback=FallingBack(
            call_id=terms.call_id,
            wanted=terms.route.connector.fallback,
            plane=terms.plane,
            record=record,
            timers=timers,
            note=terms.note,
            failed=course.give_up,
            transfer=transfer_to,
        ),
        asks=Asks(
            call_id=terms.call_id,
            answer=course.answer,
            reject=course.reject,
            transfers=lambda: transfers if record.answered is not None else None,
            send=terms.plane.ask,
            note=terms.note,
        ),
    )
