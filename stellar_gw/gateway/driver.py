"""Turns the SIP core by the reactor: one core, one timer, no re-entrance.

Bytes and time go inward; what comes out goes to the calls and to the flows:
core -> events -> calls -> effects -> core -> flows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from stellar_gw.gateway.ladder import Ladders
from stellar_gw.sip.checks import NOTHING_BESIDES, Besides
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.dialog import DialogKey
from stellar_gw.sip.events import Event, FlowNeeded, Token, UsageId
from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms, Way
from stellar_gw.sip.message import Request
from stellar_gw.sip.parser import MalformedMessage
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import NameAddr

HeaderItems = Iterable[tuple[str, str]]

KEEPALIVE = b"\r\n\r\n"

_log = Logger()


class EventTaker(Protocol):
    """Who takes the core's events."""

    def handle(self, event: Event) -> None: ...

    def banned(self, source: str) -> bool: ...

    def flow_lost(self, flow: Flow) -> None:
        """A connection is gone."""

    def keeps(self, flow: Flow) -> bool:
        """Whether calls may come on a flow at any time, so that it must not be closed."""


class FlowTable(Protocol):
    """The sockets, as the driver needs them."""

    def send(self, packet: bytes, flow: Flow) -> bool:
        """False where the flow is gone."""

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        """A flow to a URI, by its next hop."""

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        """As :class:`~stellar_gw.call.ports.Signalling` has it; the next two as well."""

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]: ...

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None: ...


class Driver:
    """Owns the core; the calls use it as their :class:`~stellar_gw.call.ports.Signalling`."""

    def __init__(self, core: SipCore, clock: IReactorTime, flows: FlowTable) -> None:
        self._core, self._clock, self._flows = core, clock, flows
        self._takers: EventTaker | None = None
        self._ladders = Ladders()
        self._wakeup: IDelayedCall | None = None
        self._wakeup_at: float | None = None
        self._soon: IDelayedCall | None = None
        self._turning = False
        self.turns = 0
        """Counts up with every turn; a watchdog looks whether it still moves."""

    def connect(self, taker: EventTaker) -> None:
        """Say who takes the events; before the first message."""
        self._takers = taker

    def stop(self) -> None:
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = self._wakeup_at = None
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    # --- from the sockets -----------------------------------------------------------------------

    def received(self, data: bytes, flow: Flow) -> None:
        """One datagram, or one framed message of a stream."""
        if self._taker.banned(flow.remote[0]):
            return
        now = self._clock.seconds()
        self._ladders.note(data, flow, received=True, now=now)
        self._core.receive(data, flow, now)
        self._turn()

    def malformed(self, error: MalformedMessage, flow: Flow) -> None:
        """A stream whose framing is lost; it is closed when what the core answers has gone out."""
        self._core.malformed(error, flow, self._clock.seconds())
        self._turn()

    def flow_lost(self, flow: Flow) -> None:
        self._core.flow_lost(flow, self._clock.seconds())
        self._taker.flow_lost(flow)
        self._turn()

    def uses(self, flow: Flow) -> bool:
        """Whether a dialog, a transaction or a registration lives on a flow."""
        return self._core.uses(flow) or self._taker.keeps(flow)

    def poke(self) -> None:
        """Turn once, whether there is anything to do or not: shows that the loop is not stuck."""
        self._turn()

    # --- from the calls (Signalling) ------------------------------------------------------------

    def respond(self, request: Request, flow: Flow, status: int, reason: str = "", headers: HeaderItems = ()) -> None:
        self._core.respond(request, flow, status, reason, headers)
        self._turn()

    def accept(
        self,
        request: Request,
        flow: Flow,
        tcp_above: int = 0,
        tls: TlsTerms = ANY_PEER,
        besides: Besides = NOTHING_BESIDES,
    ) -> UsageId | None:
        now = self._clock.seconds()
        usage = self._core.accept(request, flow, now, tcp_above=tcp_above, tls=tls, besides=besides)
        self._turn()
        return usage

    def find(self, key: DialogKey) -> UsageId | Literal["early", "over", "unknown"]:
        return self._core.find(key)

    def ring(self, usage: UsageId, status: int = 180, body: bytes = b"") -> None:
        self._core.ring(usage, self._clock.seconds(), status, body=body)
        self._turn()

    def answer(self, usage: UsageId, body: bytes, headers: HeaderItems = ()) -> None:
        self._core.answer(usage, body, self._clock.seconds(), headers)
        self._turn()

    def reject(self, usage: UsageId, status: int, reason: str = "", headers: HeaderItems = ()) -> None:
        self._core.reject(usage, status, self._clock.seconds(), reason, headers)
        self._turn()

    def bye(self, usage: UsageId, headers: HeaderItems = ()) -> None:
        self._core.bye(usage, self._clock.seconds(), headers)
        self._turn()

    def invite(
        self,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: HeaderItems = (),
        body: bytes = b"",
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
        besides: Besides = NOTHING_BESIDES,
    ) -> UsageId:
        usage = self._core.invite(
            uri,
            flow,
            self._clock.seconds(),
            from_=from_,
            to=to,
            headers=headers,
            body=body,
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
            besides=besides,
        )
        self._turn_soon()
        return usage

    def sequence(self, usage: UsageId) -> int:
        return self._core.sequence(usage)

    def cancel(self, usage: UsageId, headers: HeaderItems = ()) -> None:
        self._core.cancel(usage, self._clock.seconds(), headers)
        self._turn()

    def ack(self, usage: UsageId, body: bytes) -> None:
        self._core.ack(usage, body, self._clock.seconds())
        self._turn()

    def reinvite(self, usage: UsageId, body: bytes, headers: HeaderItems = ()) -> None:
        self._core.reinvite(usage, body, self._clock.seconds(), headers)
        self._turn()

    def glare_delay(self, usage: UsageId) -> float:
        return self._core.glare_delay(usage)

    def request_in(
        self, usage: UsageId, method: str, headers: HeaderItems = (), body: bytes = b"", content_type: str = ""
    ) -> Token:
        token = self._core.request_in(usage, method, self._clock.seconds(), headers, body, content_type)
        self._turn_soon()
        return token

    def request(
        self,
        method: str,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: HeaderItems = (),
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
    ) -> Token:
        token = self._core.request(
            method,
            uri,
            flow,
            self._clock.seconds(),
            from_=from_,
            to=to,
            headers=headers,
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
        )
        self._turn_soon()
        return token

    def keep_alive(self, flow: Flow) -> bool:
        return self._flows.send(KEEPALIVE, flow)

    def respond_in(
        self, token: Token, status: int, reason: str = "", headers: HeaderItems = (), body: bytes = b""
    ) -> None:
        self._core.respond_in(token, status, self._clock.seconds(), reason, headers, body)
        self._turn()

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        return self._flows.route(uri, tls_name=tls_name, client_certificate=client_certificate)

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        return self._flows.open(way, listener)

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None:
        self._flows.mark_failed(way, seconds)

    def set_available(self, available: bool) -> None:
        self._core.available = available

    def ladder(self, call_id: str) -> tuple[str, ...]:
        return self._ladders.lines(call_id)

    # --- the turn -------------------------------------------------------------------------------

    @property
    def _taker(self) -> EventTaker:
        assert self._takers is not None, "connect() comes first"
        return self._takers

    def _turn_soon(self) -> None:
        """Once our caller knows the id of what it has begun: an event of it would find nobody before that."""
        if self._soon is None:
            self._soon = self._clock.callLater(0, self._turn_at_last)

    def _turn_at_last(self) -> None:
        self._soon = None
        self._turn()

    def _turn(self) -> None:
        if self._turning:  # an effect below led back here: the loop goes on anyway
            return
        self._turning = True
        try:
            self._pump()
        finally:
            self._turning = False
        self.turns += 1
        self._rearm()

    def _pump(self) -> None:
        """Until the core has nothing more to say; sending can lose a flow, which is an event again."""
        core, now = self._core, self._clock.seconds()
        while True:
            packets = core.to_send()
            for packet, flow in packets:
                self._ladders.note(packet, flow, received=False, now=now)
                if not self._flows.send(packet, flow):
                    core.flow_lost(flow, now)
            event = core.next_event()
            if event is not None:
                self._dispatch(event)
            elif not packets:
                return

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, FlowNeeded):
            self._open(event)
            return
        try:
            self._taker.handle(event)
        except Exception:
            # One call's fault must not cost the others theirs; the core has already moved on.
            _log.failure("a call failed on {event}", event=type(event).__name__)

    def _open(self, needed: FlowNeeded) -> None:
        def opened(flow: Flow) -> None:
            self._core.flow_ready(needed.token, flow, self._clock.seconds())
            self._turn()

        def failed(why: BaseException) -> None:
            self._core.flow_failed(needed.token, str(why), self._clock.seconds())
            self._turn()

        self._flows.open_for(needed).addCallbacks(opened, lambda failure: failed(failure.value))

    def _rearm(self) -> None:
        due = self._core.next_timer()
        if due == self._wakeup_at and self._wakeup is not None:
            return
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        self._wakeup_at = due
        if due is not None:
            self._wakeup = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._expire)

    def _expire(self) -> None:
        self._wakeup = self._wakeup_at = None
        self._core.advance(self._clock.seconds())
        self._turn()
