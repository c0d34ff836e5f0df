"""The ways to peers in the network in memory, as the driver of the SIP core needs them; names come from a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed

from stellar_gw.call.ports import NoWay
from stellar_gw.net.failing import Failing
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Address, Flow, Listener, TlsTerms, Transport, Way
from stellar_gw.sip.framing import StreamFramer
from stellar_gw.sip.hosts import numeric
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.wire import DEFAULT_PORTS
from stellar_gw.testing.network import Network, Socket, Stream

_TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls")


class FlowUser(Protocol):
    """Who takes what comes in: the driver of the SIP core."""

    def received(self, data: bytes, flow: Flow) -> None: ...

    def flow_lost(self, flow: Flow) -> None: ...


class MemoryReach:
    """Sockets of listeners in a network in memory, and routes from a table.

    :param names: what leads where, in order: host of a URI to addresses. A host that is not there does not exist.
    :ivar owner: takes what comes in; set before the first message.
    :ivar opened: every way that was opened, in order.
    """

    owner: FlowUser

    def __init__(
        self, network: Network, listeners: Iterable[Listener], names: Mapping[str, Sequence[Address]] | None = None
    ) -> None:
        self.names = dict(names or {})
        self.opened: list[Way] = []
        self._network = network
        self._failing = Failing(network.clock.seconds)
        self._listeners = {each.name: each for each in listeners}
        self._sockets: dict[str, Socket] = {}
        self._streams: dict[Flow, Stream] = {}
        self._next_flow = 0
        for listener in self._listeners.values():
            if listener.transport == "udp":
                self._bind(listener)
            else:
                self._listen(listener)

    def send(self, packet: bytes, flow: Flow) -> bool:
        """False where the flow is gone."""
        if flow.transport != "udp":
            stream = self._streams.get(flow)
            return stream is not None and stream.send(packet)
        self._sockets[flow.listener].send(packet, flow.remote)
        return True

    def cut(self, flow: Flow) -> None:
        """Close a connection."""
        self._streams[flow].close()
        self._lost(flow)

    # --- routes ---------------------------------------------------------------------------------

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        """As :class:`~stellar_gw.call.ports.Signalling` has it, by the table."""
        if not isinstance(uri, SipUri):
            return fail(NoWay(f"{type(uri).__name__} has no host to send to"))
        default: Transport = "tls" if uri.secure else "udp"
        asked = (uri.params.get("transport") or default).lower()
        transport = next((each for each in _TRANSPORTS if each == ("tls" if uri.secure else asked)), None)
        if transport is None:
            return fail(NoWay(f"transport {asked!r} is not spoken here"))
        address = numeric(uri.host)
        places = self.names.get(uri.host, ()) if address is None else [(address, DEFAULT_PORTS[transport])]
        if not places:
            return fail(NoWay(f"{uri.host} has no address in DNS"))
        secure = transport == "tls"
        ways = [
            Way(
                transport=transport,
                host=host,
                port=uri.port or port,
                server_name=(tls_name or uri.host) if secure else "",
                client_certificate=client_certificate if secure else "",
            )
            for host, port in places
        ]
        return succeed(self._failing.last(ways))

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        """A flow to a way; to a port that nobody listens at there is none."""
        self.opened.append(way)
        names = [listener, *self._listeners]
        ours = next((self._listeners[name] for name in names if self._speaks(name, way.transport)), None)
        if ours is None:
            return fail(NoWay(f"no {way.transport.upper()} listener to reach {way.host} from"))
        remote = (way.host, way.port)
        if way.transport == "udp":
            return succeed(self._udp_flow(ours, remote))
        for flow in self._streams:
            if flow.remote == remote and flow.transport == way.transport and flow.tls == way.tls:
                return succeed(flow)
        stream = self._network.connect(ours.bind[0], remote)
        if stream is None:
            self.mark_failed(way)
            return fail(NoWay(f"{way}: connection refused: nothing listens there"))
        return succeed(self._use(stream, ours, way.tls))

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None:
        self._failing.mark(way, seconds)

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        """The first way that opens; the fallback, if it lives, where none does."""
        return Deferred.fromCoroutine(self._open_for(needed))

    async def _open_for(self, needed: FlowNeeded) -> Flow:
        tls, fallback, failures = needed.tls, needed.fallback, []
        if fallback is not None and fallback.transport != "udp" and fallback not in self._streams:
            fallback = None
        try:
            ways = await self.route(needed.uri, tls_name=tls.server_name, client_certificate=tls.client_certificate)
        except NoWay:
            if fallback is not None:
                return fallback
            raise
        for way in ways:
            try:
                return await self.open(way, needed.listener)
            except NoWay as error:
                failures.append(str(error))
        if fallback is not None:
            return fallback
        raise NoWay("; ".join(failures))

    # --- sockets --------------------------------------------------------------------------------

    def _speaks(self, listener: str, transport: Transport) -> bool:
        ours = self._listeners.get(listener)
        return ours is not None and ours.transport == transport

    def _bind(self, listener: Listener) -> None:
        def received(data: bytes, source: Address) -> None:
            self.owner.received(data, self._udp_flow(listener, source))

        self._sockets[listener.name] = self._network.bind(listener.bind, received)

    def _listen(self, listener: Listener) -> None:
        def accepted(stream: Stream) -> None:
            self._use(stream, listener, TlsTerms())

        self._network.listen(listener.bind, accepted)

    def _udp_flow(self, listener: Listener, remote: Address) -> Flow:
        """The same way is the same flow: its id is made of what it joins."""
        number = -abs(hash((listener.name, remote))) - 1
        return Flow(number, "udp", listener.name, listener.bind, remote)

    def _use(self, stream: Stream, listener: Listener, tls: TlsTerms) -> Flow:
        self._next_flow += 1
        flow = Flow(self._next_flow, listener.transport, listener.name, stream.local, stream.remote, tls)
        self._streams[flow] = stream
        framer = StreamFramer()

        def received(data: bytes) -> None:
            for item in framer.feed(data):
                if isinstance(item, bytes):
                    self.owner.received(item, flow)

        stream.received, stream.lost = received, lambda: self._lost(flow)
        return flow

    def _lost(self, flow: Flow) -> None:
        if self._streams.pop(flow, None) is not None:
            self.owner.flow_lost(flow)
