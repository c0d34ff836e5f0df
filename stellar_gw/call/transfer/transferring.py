"""What the transfers of all calls share: their limits, and the ways to targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.leg.dialing import Rungs
from stellar_gw.call.leg.listener import LegListener, LegSurroundings
from stellar_gw.call.leg.target import TargetLeg
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.record import CallRecord
from stellar_gw.call.target.facts import CallFacts, besides_of
from stellar_gw.call.target.referred import choose_referred_target
from stellar_gw.call.target.target import Target, TargetRefused, choose_target
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.transfer.limits import TransferLimits
from stellar_gw.call.transfer.ports import CallingLeg, Headers
from stellar_gw.call.transfer.referral_terms import ReferralTerms
from stellar_gw.call.transfer.transfer import Surroundings
from stellar_gw.call.transfer.transfers import Transfers
from stellar_gw.call.usages import Usages
from stellar_gw.config import Config
from stellar_gw.sip.flow import Listener
from stellar_gw.sip.uri import Uri

Note = Callable[[str, str], None]


class Transferring:
    """
    :param config: the one in force.
    :param rng: returns that many random octets.
    """

    def __init__(
        self,
        *,
        config: Callable[[], Config],
        listeners: Mapping[str, Listener],
        signalling: Signalling,
        plane: MediaPlane,
        usages: Usages,
        clock: IReactorTime,
        wall: Callable[[], float],
        rng: Callable[[int], bytes],
    ) -> None:
        self._config, self._listeners = config, listeners
        self._signalling, self._plane, self._usages = signalling, plane, usages
        self._clock, self._wall, self._rng = clock, wall, rng
        self._limits = TransferLimits()
        self._rungs = Rungs()

    def of(
        self,
        caller: CallerSide,
        facts: CallFacts,
        record: CallRecord,
        note: Note,
    ) -> Transfers:
        """The transfers of one call; calls of ours leave by the listener that it came by, where they can."""

        def facts_now() -> CallFacts:
            """Somebody else may be the caller by now."""
            leg = caller.leg
            flow = leg.flow
            hops = sum(each["result"] == "moved" for each in record.moves)
            return evolve(
                facts,
                allow=leg.allow,
                source=flow.remote,
                transport=flow.transport,
                max_forwards=facts.max_forwards - hops,
            )

        def choose(wanted: str, method: str | None) -> Target | TargetRefused:
            return choose_target(wanted, method, facts_now(), self._config().directory)

        def choose_referred(uri: Uri, ours: Uri) -> Target | TargetRefused:
            return choose_referred_target(uri, ours, facts_now(), self._config().directory)

        def make_referred_leg(target: Target, headers: Headers, listener: LegListener) -> TargetLeg:
            return TargetLeg(
                call_id=record.call_id,
                leg="caller",
                target=target,
                codec_first=caller.leg.codec,
                extra_headers=headers,
                around=self._surroundings(),
                listener=listener,
                signalling_listener=caller.leg.flow.listener,
                note=note,
                ports=caller.leg.ports,
                version=caller.leg.version,
                besides=besides_of(facts.caller),
            )

        def make_leg(target: Target, headers: Headers, listener: LegListener) -> CallingLeg:
            return TargetLeg(
                call_id=record.call_id,
                target=target,
                codec_first=caller.leg.codec,
                extra_headers=headers,
                around=self._surroundings(),
                listener=listener,
                signalling_listener=caller.leg.flow.listener,
                note=note,
            )

        return Transfers(
            around=Surroundings(
                caller=caller,
                make_leg=make_leg,
                clock=self._clock,
                wall=self._wall,
                note=note,
                hold=facts.caller.hold,
            ),
            choose=choose,
            begin=lambda: self._limits.begin(record.call_id, facts.tenant, self._clock.seconds()),
            end=lambda: self._limits.end(record.call_id),
            record=record.transfers,
            referrals=ReferralTerms(
                follow=facts.caller.refer,
                choose=choose_referred,
                make_leg=make_referred_leg,
                begin=lambda: self._limits.begin(record.call_id, facts.tenant, self._clock.seconds()),
                end=lambda: self._limits.end(record.call_id),
            ),
            music=self._config().media.hold_music,
            hold_direction=facts.caller.hold,
        )

    def _surroundings(self) -> LegSurroundings:
        return LegSurroundings(
            signalling=self._signalling,
            usages=self._usages,
            plane=self._plane,
            clock=self._clock,
            rng=self._rng,
            listeners=self._listeners,
            rungs=self._rungs,
            no_media_extended=self._config().timers.no_media_extended,
        )

    def forget(self, call_id: str) -> None:
        """A call is over."""
        self._limits.forget(call_id)
