"""Every way to a peer: connections by id, UDP sockets by listener; sends, opens, and tells of losses."""

from __future__ import annotations

from itertools import count
from typing import Protocol

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocol,
    IProtocolFactory,
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.protocols.tls import TLSMemoryBIOFactory

from stellar_gw.call.ports import NoWay
from stellar_gw.net.gate import Admitted, Gate, Makes
from stellar_gw.net.reasons import failed_because
from stellar_gw.net.sockets import peer_address
from stellar_gw.net.stream import SipStream, StreamLimits
from stellar_gw.net.tls import ClientTls, ServerName, ServerTls, TlsError
from stellar_gw.net.udp import SipUdp
from stellar_gw.sip.flow import Flow, Listener, Transport, Way, address_text
from stellar_gw.sip.parser import MalformedMessage

WILDCARDS = ("0.0.0.0", "::")


class NetReactor(IReactorTCP, IReactorTime):
    """What a reactor must be able to do for streams."""


class FlowFailed(NoWay):
    """A flow could not be opened; one line that says why, for people."""


class FlowOwner(Protocol):
    """Who takes what comes in: the driver of the SIP core."""

    def received(self, data: bytes, flow: Flow) -> None:
        """One datagram, or one framed message of a stream."""

    def malformed(self, error: MalformedMessage, flow: Flow) -> None:
        """A stream whose framing is lost; what answers it must be sent before this returns."""

    def flow_lost(self, flow: Flow) -> None: ...

    def uses(self, flow: Flow) -> bool:
        """Whether a dialog or transaction lives on a flow."""


@define(eq=False)
class _Attempt:
    """A connection being opened, and who waits for it."""

    way: Way
    waiters: list[Deferred[Flow]] = field(factory=list)
    connecting: Deferred[IProtocol] | None = None
    stream: SipStream | None = None
    alarm: IDelayedCall | None = None


class Flows:
    """The table of flows.

    :ivar owner: set once, before the first listener opens.
    :ivar gate: who may connect; its ``counts`` are for metrics.
    """

    owner: FlowOwner

    def __init__(
        self,
        reactor: NetReactor,
        *,
        limits: StreamLimits | None = None,
        client_tls: ClientTls | None = None,
        dscp: int = 24,
    ) -> None:
        self._reactor = reactor
        self._limits = limits or StreamLimits()
        self._client_tls = client_tls
        self._dscp = dscp
        self.gate = Gate(self._limits, reactor.seconds)
        self._listeners: dict[str, Listener] = {}
        self._udp: dict[str, SipUdp] = {}
        self._streams: dict[int, SipStream] = {}
        self._ids = count(1)
        self._reusable: dict[Way, int] = {}
        self._way_of: dict[int, Way] = {}
        self._attempts: dict[Way, _Attempt] = {}
        self._attempt_of: dict[SipStream, _Attempt] = {}
        self._stopped: Deferred[None] | None = None

    # --- listeners ------------------------------------------------------------------------------

    def udp(self, listener: Listener) -> SipUdp:
        """The protocol of a UDP socket, for ``listenUDP``."""
        self._listeners[listener.name] = listener
        protocol = self._udp[listener.name] = SipUdp(listener, self.stream_received, self._dscp)
        return protocol

    def stream_factory(self, listener: Listener, tls: ServerTls | None = None) -> Admitted:
        """The factory of a TCP or TLS port, for ``listenTCP``.

        :param tls: needed for a TLS listener.
        """
        self._listeners[listener.name] = listener

        def made() -> SipStream:
            return SipStream(self, listener, self._reactor, self._limits, self._dscp)

        inner: IProtocolFactory = Makes(made)
        if listener.transport == "tls":
            if tls is None:
                raise ValueError(f"listener {listener.name} is TLS and has no certificate")
            inner = TLSMemoryBIOFactory(tls, False, inner, self._reactor)
        return Admitted(self.gate.admits, inner)

    def client_only(self, listener: Listener) -> None:
        """Name a listener that has no port of its own, for connections that only go out."""
        self._listeners[listener.name] = listener

    # --- sending --------------------------------------------------------------------------------

    def send(self, packet: bytes, flow: Flow) -> bool:
        """Whether the packet is on its way; False: the flow is gone, or never was."""
        if flow.transport == "udp":
            udp = self._udp.get(flow.listener)
            return udp is not None and udp.send(packet, flow.remote)
        stream = self._streams.get(flow.id)
        return stream is not None and stream.send(packet)

    def alive(self, flow: Flow) -> bool:
        if flow.transport == "udp":
            return flow.listener in self._udp
        stream = self._streams.get(flow.id)
        return stream is not None and not stream.closing

    def protection(self, flow: Flow) -> str:
        """What protects a flow, such as ``TLSv1.3 TLS_AES_256_GCM_SHA384``; empty: nothing does."""
        stream = self._streams.get(flow.id) if flow.secure else None
        return "" if stream is None else stream.protection

    # --- opening --------------------------------------------------------------------------------

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        """A flow to a peer: one that is open already, or a new connection.

        Ways that differ in the name that is verified, or in what we show, never share a connection.

        :param listener: whose Via and Contact to use; another of the same transport where it has not that one.
        :return: fails with :class:`FlowFailed`. Cancelling it gives up only this caller's wish.
        """
        try:
            ours = self._listener_for(way.transport, listener, way.host)
        except FlowFailed as error:
            return fail(error)
        if way.transport == "udp":
            return succeed(self._udp[ours.name].flow_to((way.host, way.port)))
        way = _key(way)
        stream = self._existing(way)
        if stream is not None:
            return succeed(stream.flow)
        waiter: Deferred[Flow] = Deferred(lambda waiter: self._give_up(way, waiter))
        attempt = self._attempts.get(way)
        if attempt is not None:
            attempt.waiters.append(waiter)
        else:
            self._connect(way, ours, waiter)
        return waiter

    def speaks(self, transport: Transport, version: int) -> bool:
        """Whether a listener can reach peers by a transport and an IP version."""
        return any(
            each.transport == transport and (":" in each.bind[0]) == (version == 6) for each in self._listeners.values()
        )

    def _listener_for(self, transport: Transport, wanted: str, host: str) -> Listener:
        """The wanted one first, then the others in the order they were opened."""
        if self._stopped is not None:
            raise FlowFailed("the gateway is stopping")
        names = [wanted, *self._listeners]
        for listener in (self._listeners[name] for name in names if name in self._listeners):
            if listener.transport == transport and (":" in listener.bind[0]) == (":" in host):
                return listener
        family = "IPv6" if ":" in host else "IPv4"
        raise FlowFailed(f"no {transport.upper()} listener for {family} to reach {host} from: add one to listeners")

    def _existing(self, way: Way) -> SipStream | None:
        stream = self._streams.get(self._reusable.get(way, 0))
        return stream if stream is not None and stream.ready and not stream.closing else None

    def _reuse(self, way: Way, number: int) -> None:
        self._reusable[way] = number
        self._way_of[number] = way

    def _connect(self, way: Way, listener: Listener, waiter: Deferred[Flow]) -> None:
        name: ServerName | None = None
        if way.transport == "tls":
            if self._client_tls is None:
                waiter.errback(FlowFailed(f"{way}: TLS connections of our own are not set up"))
                return
            try:
                name = self._client_tls.connection_to(way.server_name, way.client_certificate)
            except TlsError as error:
                waiter.errback(FlowFailed(f"{way}: {error}"))
                return
        if self.gate.full:
            waiter.errback(FlowFailed(f"{way}: {len(self._streams)} connections are open already"))
            return
        attempt = self._attempts[way] = _Attempt(way, [waiter])
        stream = attempt.stream = SipStream(
            self, listener, self._reactor, self._limits, self._dscp, outbound=True, server_name=name, tls=way.tls
        )
        self._attempt_of[stream] = attempt
        host, port = way.host, way.port
        bind = None if listener.bind[0] in WILDCARDS else (listener.bind[0], 0)
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = kind(self._reactor, host, port, self._limits.setup, bind)
        if name is not None:
            endpoint = wrapClientTLS(name, endpoint)
        # One time limit over connecting and the handshake, so that the next target gets its turn.
        attempt.alarm = self._reactor.callLater(self._limits.setup, self._late, attempt)
        attempt.connecting = endpoint.connect(Makes(lambda: stream))
        attempt.connecting.addErrback(lambda failure: self._attempt_failed(attempt, failed_because(failure)))

    def _late(self, attempt: _Attempt) -> None:
        self._abandon(attempt, f"no connection within {self._limits.setup:g} s")

    def _give_up(self, way: Way, waiter: Deferred[Flow]) -> None:
        """A caller cancelled; the last one's leaving ends the attempt."""
        attempt = self._attempts.get(way)
        if attempt is None or waiter not in attempt.waiters:
            return
        attempt.waiters.remove(waiter)
        if not attempt.waiters:
            self._abandon(attempt, "given up")

    def _abandon(self, attempt: _Attempt, why: str) -> None:
        self._attempt_failed(attempt, why)
        if attempt.stream is not None and attempt.stream.transport is not None:
            attempt.stream.abort(why)
        elif attempt.connecting is not None:
            attempt.connecting.cancel()

    def _end_attempt(self, attempt: _Attempt) -> list[Deferred[Flow]]:
        """Forget it; returns who waited, and the second time nobody."""
        if self._attempts.get(attempt.way) is not attempt:
            return []
        del self._attempts[attempt.way]
        if attempt.stream is not None:
            del self._attempt_of[attempt.stream]
        if attempt.alarm is not None and attempt.alarm.active():
            attempt.alarm.cancel()
        waiters, attempt.waiters = attempt.waiters, []
        return waiters

    def _attempt_failed(self, attempt: _Attempt, why: str) -> None:
        for waiter in self._end_attempt(attempt):
            waiter.errback(FlowFailed(f"{attempt.way}: {why}"))

    # --- what streams tell (StreamOwner) --------------------------------------------------------

    def stream_made(self, stream: SipStream) -> int:
        number = next(self._ids)
        self._streams[number] = stream
        remote = peer_address(stream.transport.getPeer())
        self.gate.entered(remote[0])
        if stream.transport_name == "tcp" and not stream.outbound:
            self._reuse(Way(transport="tcp", host=remote[0], port=remote[1]), number)
        return number

    def stream_ready(self, stream: SipStream) -> None:
        attempt = self._attempt_of.get(stream)
        if attempt is None:
            stream.close("nobody waits for it any more")
            return
        self._reuse(attempt.way, stream.flow.id)
        for waiter in self._end_attempt(attempt):
            waiter.callback(stream.flow)

    def stream_received(self, data: bytes, flow: Flow) -> None:
        self.owner.received(data, flow)

    def stream_malformed(self, error: MalformedMessage, flow: Flow) -> None:
        self.gate.counts["malformed"] += 1
        self.owner.malformed(error, flow)

    def stream_closing(self, stream: SipStream) -> None:
        way = self._way_of.pop(stream.flow.id, None)
        if way is not None and self._reusable.get(way) == stream.flow.id:
            del self._reusable[way]

    def stream_lost(self, stream: SipStream, why: str) -> None:
        flow = stream.flow
        del self._streams[flow.id]
        self.gate.left(flow.remote[0])
        attempt = self._attempt_of.get(stream)
        if attempt is not None:
            self._attempt_failed(attempt, why)
        elif stream.ready:
            self.owner.flow_lost(flow)
        if not stream.ready and not stream.outbound:
            self.gate.counts["handshake_failed"] += 1
            self.gate.say("no TLS with {peer}: {why}", peer=address_text(flow.remote), why=why)
        if self._stopped is not None and not self._streams and not self._stopped.called:
            self._stopped.callback(None)

    def flow_in_use(self, flow: Flow) -> bool:
        return self.owner.uses(flow)

    # --- the end --------------------------------------------------------------------------------

    def stop(self) -> Deferred[None]:
        """Close every connection; fires when all are gone, which takes ``limits.linger`` at most."""
        if self._stopped is not None:
            return self._stopped
        self._stopped = Deferred()
        self.gate.closed = True
        for attempt in list(self._attempts.values()):
            self._abandon(attempt, "the gateway is stopping")
        for stream in list(self._streams.values()):
            stream.close("the gateway is stopping")
        if not self._streams and not self._stopped.called:
            self._stopped.callback(None)
        return self._stopped


def _key(way: Way) -> Way:
    """What two opens of one connection have in common."""
    if way.transport != "tls":
        return evolve(way, server_name="", client_certificate="")
    return evolve(way, server_name=(way.server_name or way.host).lower())
