"""The phone: places calls, and takes those that come in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.net.lookup import DnsLookup
from stellar_gw.net.resolver import Resolver
from stellar_gw.net.tls import ClientTls, ServerTls
from stellar_gw.phone.call import PhoneCall, Surroundings
from stellar_gw.phone.endpoint import Endpoint, EndpointReactor
from stellar_gw.phone.ladder import Rung, call_id_in
from stellar_gw.phone.outgoing import OutgoingCall
from stellar_gw.phone.plan import AnswerPlan, CallPlan
from stellar_gw.phone.report import CallReport
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.events import Confirmed, Event, FlowNeeded, Pinged, RequestReceived, ResponseReceived
from stellar_gw.sip.flow import Flow, Transport
from stellar_gw.sip.timers import Timers

_log = Logger()


class IncomingCall(PhoneCall):
    """180 for a while, then the plan's final status; 200 with an answer, or with an offer if there was none."""

    def __init__(self, around: Surroundings, plan: AnswerPlan, received: RequestReceived) -> None:
        request = received.request
        super().__init__(around, plan, str(request.uri), received.flow.transport)
        self._plan, self._offer = plan, sdp_body(request)
        self.request = request
        self.call_id = request.call_id
        self._signalling_host = received.flow.remote[0]

    def start(self) -> None:
        """The usage is open: judge the offer, ring, answer."""
        if self._offer:
            try:
                self.offers.receive_offer(self._offer, self.local)
            except RemoteProtocolError as error:
                self.problem = f"the call was refused: {error.reason}"
                self._refuse(error.status)
                return
        self._core.ring(self.usage, self._now)
        self._later(self._plan.ring_for, self._decide)
        self._endpoint.turn()

    def _decide(self) -> None:
        if self._plan.status != 200:
            self._refuse(self._plan.status)
            return
        self._status, self._reason = 200, "OK"
        body = self.offers.answer(self.local).answer if self._offer else self.offers.make_offer(self.local)
        self._core.answer(self.usage, body, self._now)
        self._update()
        self._endpoint.turn()

    def _refuse(self, status: int) -> None:
        self._status = status
        self._core.reject(self.usage, status, self._now)
        self._endpoint.turn()

    def _confirmed(self, event: Confirmed) -> None:
        answered_ms = self._since_began_ms
        super()._confirmed(event)
        if not event.reinvite and "answered" not in self._times:
            self.up(answered_ms)


class Phone:
    """A phone on one transport and one local address.

    :ivar incoming: fires each time with a call that was taken; replace it to look at them.
    """

    def __init__(
        self,
        reactor: EndpointReactor,
        transport: Transport,
        host: str,
        *,
        client_tls: ClientTls | None = None,
        server_name: str = "",
        on_rung: Callable[[Rung], None] = lambda _: None,
        answer: AnswerPlan | None = None,
        timers: Timers | None = None,
        random: Callable[[int], bytes] = os.urandom,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """
        :param host: the numeric local address; see :func:`stellar_gw.phone.endpoint.local_address`.
        :param answer: take calls by this plan; ``None``: refuse them with 480.
        """
        self._lookup = DnsLookup(reactor)
        self._answer = answer
        self.endpoint = Endpoint(
            reactor,
            transport,
            host,
            Resolver(reactor, self._lookup),
            handle=self._handle,
            watch=self._watch,
            random=random,
            client_tls=client_tls,
            server_name=server_name,
            timers=timers,
        )
        self._around = Surroundings(reactor=reactor, endpoint=self.endpoint, random=random, wall=wall, on_rung=on_rung)
        self._calls: dict[str, PhoneCall] = {}
        self._by_call_id: dict[str, PhoneCall] = {}
        self.incoming: Callable[[PhoneCall], None] = lambda _: None

    @property
    def address(self) -> tuple[str, int]:
        """Where others reach the phone, once it is open."""
        return self.endpoint.address

    @property
    def calls(self) -> tuple[PhoneCall, ...]:
        """Those that have not ended."""
        return tuple(self._by_call_id.values())

    def open(self, port: int = 0, *, server_tls: ServerTls | None = None) -> None:
        """Open the sockets; for TCP and TLS a port of its own only where the phone takes calls.

        :raise CannotOpen: a socket cannot be opened.
        """
        self.endpoint.open(port, accept=self._answer is not None, server_tls=server_tls)

    def place(self, plan: CallPlan) -> PhoneCall:
        """Place a call; look at its ``answered`` and ``ended``.

        :raise PlanError: a recording cannot be written.
        :raise NoPorts: no UDP ports are free.
        """
        call = OutgoingCall(self._around, plan)
        self._by_call_id[call.call_id] = call
        call.ended.addCallback(self._forget, call)
        Deferred.fromCoroutine(self._start(call))
        return call

    async def _start(self, call: OutgoingCall) -> None:
        try:
            await call.start()
        except Exception as error:
            _log.failure("a call could not be placed")
            call.problem = f"the phone itself failed: {type(error).__name__}: {error}"
            call.finish("transport", "local")

    def stop(self) -> Deferred[None]:
        """Hang up, wait a moment for the answers to it, and close the sockets."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        calls = self.calls
        for call in calls:
            call.hang_up()
        await DeferredList([call.ended for call in calls])
        self._lookup.stop()
        await self.endpoint.stop()

    # --- events ---------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._take(event)
        elif not isinstance(event, ResponseReceived | FlowNeeded | Pinged):
            usage = event.usage
            call = self._calls.get(usage) or next((each for each in self.calls if each.usage == usage), None)
            if call is not None:
                self._calls[usage] = call
                call.handle(event)

    def _take(self, received: RequestReceived) -> None:
        core, now = self.endpoint.core, self.endpoint.now
        if self._answer is None or received.request.method != "INVITE":
            status = 480 if received.request.method == "INVITE" else 405
            core.respond(received.request, received.flow, status)
            return
        usage = core.accept(received.request, received.flow, now)
        if usage is None:
            return
        call = IncomingCall(self._around, self._answer, received)
        call.usage = usage
        self._calls[usage] = call
        self._by_call_id[call.call_id] = call
        call.ended.addCallback(self._forget, call)
        call.start()
        self.incoming(call)

    def _forget(self, report: CallReport, call: PhoneCall) -> CallReport:
        self._calls.pop(call.usage, None)
        self._by_call_id.pop(call.call_id, None)
        return report

    def _watch(self, packet: bytes, flow: Flow, sent: bool) -> None:
        call = self._by_call_id.get(call_id_in(packet))
        if call is not None:
            call.saw(packet, flow, sent)
