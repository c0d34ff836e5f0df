"""UDP in memory: a transport that passes the same tests as a real one, and a network to join two of them."""

from __future__ import annotations

from typing import Protocol

from attrs import define, field
from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from zope.interface import implementer

from stellar_gw.media.workspace import Workspace

Address = tuple[str, int]
LARGEST_PAYLOAD = 65507
"""65535 less the IPv4 and UDP headers."""


class Shortcut(Protocol):
    """Takes packets before the protocol sees them (:class:`stellar_gw.worker.shortcut.Shortcut`)."""

    def take(self, octets: int, source: Address) -> bool:
        """Whether it has dealt with the packet in the workspace, which it may change where it is."""


@implementer(IUDPTransport)
class MemoryTransport:
    """One socket of a :class:`DatagramNetwork`.

    :ivar connected: the only address it sends to and hears from, None for any.
    :ivar certain: the same, once it was asked after it was connected.
    :ivar written: every datagram sent, with its destination, in order.
    """

    def __init__(self, network: DatagramNetwork, protocol: DatagramProtocol, host: str, port: int) -> None:
        self._network = network
        self._host = host
        self._port = port
        self.connected: Address | None = None
        self.certain: Address | None = None
        self._stopped: list[Deferred[None]] = []
        self._stopping = False
        self._closed = False
        self._shortcut: Shortcut | None = None
        self.protocol = protocol
        self.written: list[tuple[bytes, Address]] = []

    def write(self, packet: bytes, addr: Address | None = None) -> None:
        if self._closed:
            return
        if self.connected is not None:
            if addr is not None and addr != self.connected:
                raise error.InvalidAddressError(addr[0], f"the transport is connected to {self.connected}")
            addr = self.connected
        if addr is None:
            raise error.InvalidAddressError("None", "a transport that is not connected needs an address")
        self._check(addr[0])
        if len(packet) > LARGEST_PAYLOAD:
            raise error.MessageLengthError(f"{len(packet)} octets do not fit into a datagram")
        self.written.append((packet, addr))
        self._network.carry(packet, (self._host, self._port), addr)

    def _check(self, host: str) -> None:
        if not isIPAddress(host) and not isIPv6Address(host):
            raise error.InvalidAddressError(host, "only numeric addresses are accepted, not names")
        if isIPv6Address(host) != isIPv6Address(self._host):
            raise error.InvalidAddressError(host, f"not of the address family of {self._host}")

    def connect(self, host: str, port: int) -> None:
        if self.connected is not None:
            raise RuntimeError("already connected")
        self._check(host)
        self.connected = (host, port)

    def shorten(self, shortcut: Shortcut | None) -> None:
        """As the workers' transports: what a shortcut takes does not reach the protocol."""
        self._shortcut = shortcut

    @property
    def workspace(self) -> Workspace:
        """As the workers' transports have it: what a shortcut finds its packets in."""
        return self._network.workspace

    @property
    def socket(self) -> MemoryTransport:
        """As the workers' transports have it: what their quick packets leave by."""
        return self

    def send(self, data: memoryview | bytes, /) -> int:
        self.write(bytes(data))
        return len(data)

    def sendto(self, data: memoryview | bytes, address: Address, /) -> int:
        self.write(bytes(data), address)
        return len(data)

    def not_sent(self, reason: OSError) -> None:
        raise reason  # memory never refuses

    def disconnect(self) -> None:
        """Any address again; not part of IUDPTransport, but of what the workers' transports have."""
        self.connected = self.certain = None

    def make_certain(self) -> None:
        """Sources need no asking any more; nothing is ever left in memory from before."""
        self.certain = self.connected

    def getHost(self) -> IPv4Address | IPv6Address:
        kind = IPv6Address if isIPv6Address(self._host) else IPv4Address
        return kind("UDP", self._host, self._port)

    def stopListening(self) -> Deferred[None]:
        if self._closed:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        if not self._stopping:
            self._stopping = True
            self._network.sockets.pop((self._host, self._port), None)
            self._network.clock.callLater(0, self._close)
        return done

    def setBroadcastAllowed(self, enabled: bool) -> None:
        raise NotImplementedError("RTP is never broadcast here")

    def getBroadcastAllowed(self) -> bool:
        raise NotImplementedError("RTP is never broadcast here")

    def deliver(self, packet: bytes, source: Address) -> None:
        if self._stopping or self.connected not in (None, source):
            return
        self.workspace.put(packet)
        if self._shortcut is None or not self._shortcut.take(len(packet), source):
            self.protocol.datagramReceived(packet, source)

    def refuse(self) -> None:
        """The destination's host says that nobody listens there; only connected sockets hear of it."""
        if self.connected is not None and not self._stopping:
            self.protocol.connectionRefused()

    def _close(self) -> None:
        self._closed = True
        self.protocol.doStop()
        for done in self._stopped:
            done.callback(None)


@define
class DatagramNetwork:
    """Sockets by address; datagrams arrive in a later turn of the clock, in the order sent.

    It has the poller's ``listen``, so it can take its place. Loss and reordering are left to
    ``stellar_gw.testing.network``, which whole calls run over.

    :ivar delay: seconds under way.
    """

    clock: IReactorTime
    delay: float = 0.0
    sockets: dict[Address, MemoryTransport] = field(factory=dict)
    workspace: Workspace = field(factory=Workspace)
    _next_port: int = 49152

    def listen(self, protocol: DatagramProtocol, host: str, port: int) -> MemoryTransport:
        """:raise error.CannotListenError: if the address is taken."""
        if not isIPAddress(host) and not isIPv6Address(host):
            raise error.InvalidAddressError(host, "only numeric addresses are accepted, not names")
        if port == 0:
            port, self._next_port = self._next_port, self._next_port + 1
        if (host, port) in self.sockets:
            raise error.CannotListenError(host, port, OSError(98, "Address already in use"))
        transport = MemoryTransport(self, protocol, host, port)
        self.sockets[host, port] = transport
        protocol.makeConnection(transport)
        return transport

    def carry(self, packet: bytes, source: Address, destination: Address) -> None:
        self.clock.callLater(self.delay, self._arrive, packet, source, destination)

    def _arrive(self, packet: bytes, source: Address, destination: Address) -> None:
        there, here = self.sockets.get(destination), self.sockets.get(source)
        if there is not None:
            there.deliver(packet, source)
        elif here is not None:
            here.refuse()
