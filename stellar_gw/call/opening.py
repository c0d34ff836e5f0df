"""How an admitted INVITE becomes a call: everything that a call is given at its beginning."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.admission.admission import Admitted
from stellar_gw.call.agent.agent import AgentLimits
from stellar_gw.call.call import Call
from stellar_gw.call.call_terms import CallTerms, CallTimers, Refuse, Tell
from stellar_gw.call.context.context import bounded
from stellar_gw.call.leg.caller import CallerLeg, CallerLegListener
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.leg.media_address import media_address
from stellar_gw.call.leg.srtp import srtp_terms
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.record import CallRecord
from stellar_gw.call.target.facts import facts_of
from stellar_gw.call.timers import Timers
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.transfer.transferring import Transferring
from stellar_gw.call.transfer.transfers import Transfers
from stellar_gw.call.usages import Usages
from stellar_gw.config import Config
from stellar_gw.directory.records import TrunkProvider
from stellar_gw.sip.events import UsageId
from stellar_gw.sip.flow import Flow, Listener, address_text
from stellar_gw.sip.message import Request


@frozen(kw_only=True)
class Opening:
    """What all calls are given alike.

    :ivar listeners: what each listener advertises, by name.
    :ivar wall: wall clock, seconds since 1970, for records only.
    :ivar rng: returns that many random octets.
    """

    listeners: Mapping[str, Listener]
    signalling: Signalling
    plane: MediaPlane
    usages: Usages
    clock: IReactorTime
    wall: Callable[[], float]
    rng: Callable[[int], bytes]
    transferring: Transferring
    refuse: Refuse
    closed: Callable[[str], None]

    def open(
        self, call_id: str, usage: UsageId, admitted: Admitted, request: Request, flow: Flow, config: Config, tell: Tell
    ) -> Call:
        """Make a call; it begins when it is started."""
        route = admitted.route
        facts = facts_of(request, flow, admitted, config, self.listeners.values())

        def transfers(side: CallerSide, record: CallRecord, note: Callable[[str, str], None]) -> Transfers:
            return self.transferring.of(side, facts, record, note)

        terms = CallTerms(
            record=self._record(call_id, admitted, request, flow),
            usage=usage,
            request=request,
            flow=flow,
            route=route,
            media=self._media(admitted, request, flow, config),
            signalling=self.signalling,
            plane=self.plane,
            clock=self.clock,
            wall=self.wall,
            timers=CallTimers(
                duration=route.tenant.limits.call_duration,
                duration_warning=config.timers.duration_warning,
                no_media_extended=config.timers.no_media_extended,
            ),
            agent_limits=AgentLimits(
                connect_timeout=config.agent.connect_timeout,
                ping_interval=config.agent.ping_interval,
                ping_timeout=config.agent.ping_timeout,
            ),
            usages=self.usages,
            transfers=transfers,
            tell=tell,
            refuse=self.refuse,
            closed=self.closed,
        )
        return Call(terms)

    def _media(self, admitted: Admitted, request: Request, flow: Flow, config: Config) -> LegMedia:
        caller = admitted.caller
        return LegMedia(
            session_id=int.from_bytes(self.rng(6), "big"),
            advertise=media_address(self.listeners[flow.listener], request),
            signalling_host=flow.remote[0],
            rng=self.rng,
            srtp=srtp_terms(config.media, caller, admitted.route.connector),
            secure=flow.secure,
            ice=caller.ice,
            strict_latch=isinstance(caller, TrunkProvider) and caller.strict_latch,
        )

    def leg(
        self,
        listener: CallerLegListener,
        call: Call,
        usage: UsageId,
        admitted: Admitted,
        request: Request,
        flow: Flow,
        config: Config,
    ) -> CallerLeg:
        """A leg for a call that is up: of an INVITE that replaces its caller's."""
        return CallerLeg(
            listener,
            call_id=call.call_id,
            usage=usage,
            request=request,
            flow=flow,
            media=self._media(admitted, request, flow, config),
            signalling=self.signalling,
            plane=self.plane,
            usages=self.usages,
            timers=Timers(self.clock),
            probe_interval=CallTimers().probe_interval,
            no_media_extended=config.timers.no_media_extended,
        )

    def _record(self, call_id: str, admitted: Admitted, request: Request, flow: Flow) -> CallRecord:
        route, caller = admitted.route, admitted.caller
        return CallRecord(
            call_id=call_id,
            sip_call_id=bounded(request.call_id),
            tenant=route.tenant.name,
            connector=route.connector.name,
            agent=route.agent,
            environment=route.environment.name,
            version=route.version,
            caller=caller.name if isinstance(caller, TrunkProvider) else caller.username,
            admitted=admitted.how,
            source=address_text(flow.remote),
            transport=flow.transport,
            from_uri=bounded(str(request.from_.uri)),
            to_uri=bounded(str(request.uri)),
            user_agent=bounded(request.headers.first("User-Agent") or ""),
            started=self.wall(),
        )
