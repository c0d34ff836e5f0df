"""The phone's end of SIP: a core, its sockets and its timer, turned by the reactor."""

from __future__ import annotations

import socket
from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger

from stellar_gw.errors import StellarError
from stellar_gw.net.flows import Flows, NetReactor
from stellar_gw.net.reach import Reach
from stellar_gw.net.resolver import Resolver
from stellar_gw.net.sockets import peer_address
from stellar_gw.net.tls import ClientTls, ServerTls
from stellar_gw.phone.rtp import PhoneReactor
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import Event, FlowNeeded
from stellar_gw.sip.flow import Flow, Listener, Transport
from stellar_gw.sip.parser import MalformedMessage
from stellar_gw.sip.timers import Timers
from stellar_gw.sip.uri import Uri

NAME = "phone"
MAX_DATAGRAM = 65535

_log = Logger()


class EndpointReactor(NetReactor, PhoneReactor):
    """What a reactor must be able to do for the phone."""


class CannotOpen(StellarError):
    """The phone's own sockets cannot be opened; one line for people."""


def local_address(toward: str) -> str:
    """The address this host would use toward a numeric one; nothing is sent.

    :raise CannotOpen: there is no route.
    """
    family = socket.AF_INET6 if ":" in toward else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((toward, 9))
        except OSError as error:
            raise CannotOpen(f"no way to {toward}: {error.strerror or error}") from None
        host: str = probe.getsockname()[0]
        return host


class Endpoint:
    """One transport, bound to one local address; core and flows are its own.

    :ivar core: its verbs change nothing on the wire until :meth:`turn`; :attr:`now` is the time they want.
    :param handle: takes the core's events.
    :param watch: sees every message: its octets, the flow, whether we sent it.
    """

    def __init__(
        self,
        reactor: EndpointReactor,
        transport: Transport,
        host: str,
        resolver: Resolver,
        *,
        handle: Callable[[Event], None],
        watch: Callable[[bytes, Flow, bool], None],
        random: Callable[[int], bytes],
        client_tls: ClientTls | None = None,
        server_name: str = "",
        timers: Timers | None = None,
        user_agent: str = "stellar-gw-call",
    ) -> None:
        """:param server_name: what a TLS peer's certificate must carry; empty: the name that it is called by."""
        self._reactor, self._handle, self._watch = reactor, handle, watch
        self.transport: Transport = transport
        self.host = host
        self.listeners: dict[str, Listener] = {}
        self.core = SipCore(self.listeners, user_agent=user_agent, rng=random, timers=timers or Timers())
        self._flows = Flows(reactor, client_tls=client_tls)
        self._flows.owner = self
        self._reach = Reach(self._flows, resolver, reactor.seconds, server_name)
        self._port: IListeningPort | None = None
        self._wakeup: IDelayedCall | None = None
        self._turning = False
        self._stopped = False

    @property
    def now(self) -> float:
        return self._reactor.seconds()

    # --- sockets --------------------------------------------------------------------------------

    def open(self, port: int = 0, *, accept: bool = False, server_tls: ServerTls | None = None) -> None:
        """Open the UDP socket, or for TCP and TLS name ourselves; with ``accept`` listen there, too.

        :raise CannotOpen: the port is taken, or the address is not this host's.
        """
        listener = Listener(
            name=NAME,
            transport=self.transport,
            bind=(self.host, port),
            advertise=(self.host, port),
            media_advertise=self.host,
        )
        try:
            if self.transport == "udp":
                self._port = self._reactor.listenUDP(port, self._flows.udp(listener), self.host, MAX_DATAGRAM)
            elif accept:
                factory = self._flows.stream_factory(listener, server_tls)
                self._port = self._reactor.listenTCP(port, factory, 50, self.host)
            else:
                self._flows.client_only(listener)
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise CannotOpen(f"cannot open {self.transport} port {port} on {self.host}: {reason}") from None
        if self._port is not None:
            listener = evolve(listener, advertise=(self.host, peer_address(self._port.getHost())[1]))
        self.listeners[NAME] = listener

    @property
    def address(self) -> tuple[str, int]:
        """Where others reach us."""
        return self.listeners[NAME].advertise

    async def flow_to(self, uri: Uri) -> Flow:
        """A flow to a URI; fails with :class:`stellar_gw.net.flows.FlowFailed`."""
        flow = await self._reach.open_for(FlowNeeded(0, uri, NAME, None))
        if self._port is None:
            # Requests come back on the connection: its own end is the one address that is true.
            self.listeners[NAME] = evolve(self.listeners[NAME], advertise=flow.local)
        return flow

    def protection(self, flow: Flow) -> str:
        """TLS version and cipher suite of a flow; empty where there is no TLS."""
        return self._flows.protection(flow)

    def stop(self) -> Deferred[None]:
        """Close every socket."""
        self._stopped = True
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        await self._flows.stop()

    # --- from the sockets (FlowOwner) -----------------------------------------------------------

    def received(self, data: bytes, flow: Flow) -> None:
        self._watch(data, flow, False)
        self.core.receive(data, flow, self.now)
        self.turn()

    def malformed(self, error: MalformedMessage, flow: Flow) -> None:
        self.core.malformed(error, flow, self.now)
        self.turn()

    def flow_lost(self, flow: Flow) -> None:
        self.core.flow_lost(flow, self.now)
        self.turn()

    def uses(self, flow: Flow) -> bool:
        return self.core.uses(flow)

    # --- turning --------------------------------------------------------------------------------

    def turn(self) -> None:
        """Let out what the core has to say; call it after each of its verbs."""
        if self._turning or self._stopped:  # an effect below led back here: the loop goes on anyway
            return
        self._turning = True
        try:
            while self._step():
                pass
        finally:
            self._turning = False
        self._rearm()

    def _step(self) -> bool:
        packets = self.core.to_send()
        for packet, flow in packets:
            self._watch(packet, flow, True)
            if not self._flows.send(packet, flow):
                self.core.flow_lost(flow, self.now)
        event = self.core.next_event()
        if isinstance(event, FlowNeeded):
            self._open_for(event)
        elif event is not None:
            try:
                self._handle(event)
            except Exception:
                _log.failure("a call failed on {event}", event=type(event).__name__)
        return bool(packets) or event is not None

    def _open_for(self, needed: FlowNeeded) -> None:
        def opened(flow: Flow) -> None:
            self.core.flow_ready(needed.token, flow, self.now)
            self.turn()

        def failed(why: BaseException) -> None:
            self.core.flow_failed(needed.token, str(why), self.now)
            self.turn()

        self._reach.open_for(needed).addCallbacks(opened, lambda failure: failed(failure.value))

    def _rearm(self) -> None:
        due = self.core.next_timer()
        if self._wakeup is not None:
            self._wakeup.cancel()
            self._wakeup = None
        if due is not None and not self._stopped:
            self._wakeup = self._reactor.callLater(max(0.0, due - self.now), self._expire)

    def _expire(self) -> None:
        self._wakeup = None
        self.core.advance(self.now)
        self.turn()
