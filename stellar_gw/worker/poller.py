"""All RTP sockets of a worker behind one descriptor of the reactor.

Every socket is registered in one ``select.epoll()``, and the reactor watches only the epoll's own descriptor
(epoll descriptors nest: epoll(7)). A packet then costs one ``recvfrom`` and no bookkeeping of the reactor.
To the protocols the transports here are Twisted's: :class:`IUDPTransport`, shown by one suite of tests that
also runs over ``reactor.listenUDP``.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable
from errno import EMSGSIZE
from typing import Any, Protocol

from attrs import define
from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.intake import LongWay, Passage, take_turn

Address = tuple[str, int]

EXPEDITED_FORWARDING = 46
"""The code point of voice (RFC 3246, RFC 4594 4.1)."""
TURN = 256
"""Datagrams taken in one turn of the reactor, so that a flood never starves control."""
BATCH = 16
"""Those taken before a look at what else is due: less than a millisecond's work."""
_READABLE = select.EPOLLIN
_libc = ctypes.CDLL(None, use_errno=True)
_UNSPEC = struct.pack("=H14x", socket.AF_UNSPEC)
"""A struct sockaddr of no address: ``connect`` to it dissolves a connection (connect(2)); Python's cannot."""
_log = Logger()


class Reactor(Protocol):
    """What the poller needs of a reactor: parts of IReactorFDSet and IReactorTime."""

    def addReader(self, reader: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> Any: ...


@define
class PollerCounts:
    """What went by unseen, over all sockets of the poller."""

    received: int = 0
    """Those that took a shortcut are not counted, nor are they in ``sent``."""
    sent: int = 0
    refused: int = 0
    """ECONNREFUSED: the peer's host said that nobody listens there."""
    would_block: int = 0
    """EAGAIN: nothing there to read after all, or no room to send."""
    send_errors: int = 0
    """Any other refusal of the kernel to send (no route, firewall, no memory)."""
    failed: int = 0
    """Sockets closed because their protocol raised, or because reading them failed."""


def _nothing() -> None:
    """What is done between batches where nothing is to be done."""


def _family(host: str) -> socket.AddressFamily:
    """:raise error.InvalidAddressError: for a host name: resolving one would block."""
    if isIPAddress(host):
        return socket.AF_INET
    if isIPv6Address(host):
        return socket.AF_INET6
    raise error.InvalidAddressError(host, "only numeric IPv4 and IPv6 addresses are accepted, not names")


@implementer(IUDPTransport)
class PolledTransport:
    """One UDP socket of a :class:`DatagramPoller`; made by :meth:`DatagramPoller.listen`.

    What the kernel refuses to send is counted and forgotten, as if the network had lost it.

    :ivar connected: the only address it sends to and hears from, None for any.
    :ivar certain: the same, once nothing is left in the socket that came from elsewhere before it was connected.
    :ivar socket: for those who send without :meth:`write`; what it raises goes to :meth:`not_sent`.
    """

    def __init__(self, poller: DatagramPoller, sock: socket.socket, protocol: DatagramProtocol) -> None:
        self._poller = poller
        self.socket = sock
        self._fd = sock.fileno()
        self._family = sock.family
        self.connected: Address | None = None
        self.certain: Address | None = None
        self._passage: Passage | None = None
        self._bound = sock.getsockname()
        self._checked: Address | None = None
        self._stopped: list[Deferred[None]] = []
        self._closed = False
        self.protocol = protocol

    def write(self, packet: bytes, addr: Address | None = None) -> None:
        """:raise error.MessageLengthError: if no datagram can be that long.
        :raise error.InvalidAddressError: if ``addr`` is a name, or of the other address family.
        """
        if self._closed:
            return
        counts = self._poller.counts
        try:
            if self.connected is not None:
                if addr is not None and addr != self.connected:
                    raise error.InvalidAddressError(addr[0], f"the transport is connected to {self.connected}")
                self.socket.send(packet)
            else:
                if addr is None:
                    raise error.InvalidAddressError("None", "a transport that is not connected needs an address")
                if addr != self._checked:
                    self._check(addr)
                self.socket.sendto(packet, addr)
        except OSError as reason:
            if reason.errno == EMSGSIZE:
                raise error.MessageLengthError(f"{len(packet)} octets do not fit into a datagram") from None
            self.not_sent(reason)
        else:
            counts.sent += 1

    def not_sent(self, reason: OSError) -> None:
        """The kernel refused to send: count it, and say so once."""
        counts = self._poller.counts
        if isinstance(reason, BlockingIOError):
            counts.would_block += 1
        elif isinstance(reason, ConnectionRefusedError):
            counts.refused += 1
            if self.connected is not None:
                self._guarded_refusal()
        else:
            counts.send_errors += 1
            if counts.send_errors == 1:
                _log.warn(
                    "{host} cannot send: {reason}; more of these are only counted",
                    host=self.getHost(),
                    reason=str(reason),
                )

    def _check(self, addr: Address) -> None:
        if _family(addr[0]) != self._family:
            raise error.InvalidAddressError(addr[0], f"not of the address family of {self.getHost().host}")
        self._checked = addr

    def connect(self, host: str, port: int) -> None:
        """From now on send to, and receive from, this address alone.

        :raise RuntimeError: if it is connected already.
        :raise error.InvalidAddressError: if ``host`` is not numeric, or of the other address family.
        """
        if self.connected is not None:
            raise RuntimeError("already connected")
        self._check((host, port))
        self.socket.connect((host, port))
        self.connected = (host, port)

    def disconnect(self) -> None:
        """Send to and receive from any address again; nothing where it was not connected."""
        if self.connected is None:
            return
        self.connected = self.certain = None
        if self._passage is not None:
            self._passage.certain = False
        if self._closed:
            return
        try:
            if _libc.connect(self._fd, _UNSPEC, len(_UNSPEC)) < 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            if self.socket.getsockname() != self._bound:  # the kernel had chosen the port, and takes it back
                self.socket.bind(self._bound)
        except OSError:
            self.fail(Failure(), "its connection could not be dissolved")

    def getHost(self) -> IPv4Address | IPv6Address:
        name = self.socket.getsockname()
        if self._family == socket.AF_INET:
            return IPv4Address("UDP", name[0], name[1])
        return IPv6Address("UDP", name[0], name[1])

    def stopListening(self) -> Deferred[None]:
        """Read nothing more, at once; the socket is closed and ``stopProtocol`` called in a later turn.

        :return: fires when that has happened; each call returns one of its own.
        """
        if self._closed:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        if len(self._stopped) == 1:
            self._poller.forget(self)
            self._poller.reactor.callLater(0, self.close)
        return done

    def setBroadcastAllowed(self, enabled: bool) -> None:
        raise NotImplementedError("RTP is never broadcast here")

    def getBroadcastAllowed(self) -> bool:
        raise NotImplementedError("RTP is never broadcast here")

    # --- for the poller -------------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """Where its packets are while a passage takes them."""
        return self._poller.workspace

    def fileno(self) -> int:
        return self._fd

    def take(self, packet: memoryview, source: Any) -> bool:
        """Hand a datagram on to the protocol.

        :param source: None where it can only be :attr:`connected`.
        """
        self._poller.counts.received += 1
        if source is None:
            source = self.connected
        elif len(source) != 2:  # IPv6 adds flow label and scope
            source = source[:2]
        if self.connected is None:
            self.protocol.datagramReceived(bytes(packet), source)
            return True
        datagram = bytes(packet)
        if self.certain is None:
            self._make_certain()
        if source == self.connected:  # else it had been queued before connect()
            self.protocol.datagramReceived(datagram, source)
        return True

    def _make_certain(self) -> None:
        """Once the socket is found empty, the kernel has looked at the source of all that is to come."""
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self.certain = self.connected
        except OSError as reason:
            self.not_read(reason)

    def not_read(self, reason: OSError) -> None:
        """``recvfrom_into`` raised."""
        counts = self._poller.counts
        if isinstance(reason, BlockingIOError):
            counts.would_block += 1
        elif isinstance(reason, ConnectionRefusedError):
            counts.refused += 1
            if self.connected is not None:
                self._guarded_refusal()
        else:
            self.fail(Failure(reason), "cannot be read")

    def shorten(self, passage: Passage | None) -> None:
        """Let a passage take what it can; None: nobody but the protocol."""
        self._passage = passage
        if passage is not None:
            passage.socket = self.socket
            passage.certain = self.certain == passage.source
        self._poller.shorten(self, passage)

    def _guarded_refusal(self) -> None:
        try:
            self.protocol.connectionRefused()
        except Exception:
            self.fail(Failure(), "its protocol raised")

    def fail(self, reason: Failure, what: str) -> None:
        if self._closed:
            return
        _log.failure("{host} is closed: {what}", reason, host=self.getHost(), what=what)
        self._poller.counts.failed += 1
        self.stopListening()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._poller.forget(self)
        self.socket.close()
        try:
            self.protocol.doStop()
        except Exception:
            _log.failure("a protocol raised while it was stopped")
        for done in self._stopped:
            done.callback(None)


@implementer(IReadDescriptor)
class DatagramPoller:
    """The worker's RTP sockets; one reader of the reactor from the first socket to :meth:`close`.

    :param dscp: code point of the IP header of everything sent, 0 to 63.
    :ivar workspace: where each datagram is received.
    :ivar between: called between two batches of them; does what cannot wait for the end of the turn. Must not raise.
    """

    def __init__(self, reactor: Reactor, dscp: int = EXPEDITED_FORWARDING) -> None:
        self.reactor = reactor
        self.dscp = dscp
        self.counts = PollerCounts()
        self.workspace = Workspace()
        self.between: Callable[[], None] = _nothing
        self._epoll = select.epoll()
        self._transports: dict[int, PolledTransport] = {}
        # By descriptor, which are small numbers: a look at a list is a look at one place in memory.
        self._long_ways: list[LongWay | None] = []
        self._passages: list[Passage | None] = []
        reactor.addReader(self)

    def __len__(self) -> int:
        """How many sockets are read."""
        return len(self._transports)

    def listen(self, protocol: DatagramProtocol, host: str, port: int) -> PolledTransport:
        """Bind a socket and start its protocol.

        :param host: numeric IPv4 or IPv6 address.
        :param port: 0 for any.
        :raise error.CannotListenError: if the address cannot be bound.
        :raise error.InvalidAddressError: if ``host`` is a name.
        """
        family = _family(host)
        try:
            sock = self._bind(family, host, port)
        except OSError as reason:
            raise error.CannotListenError(host, port, reason) from reason
        transport = PolledTransport(self, sock, protocol)
        try:
            protocol.makeConnection(transport)
        except BaseException:
            sock.close()
            raise
        self._transports[sock.fileno()] = transport
        more = sock.fileno() + 1 - len(self._long_ways)
        self._long_ways += [None] * more
        self._passages += [None] * more
        self._long_ways[sock.fileno()] = transport
        self._epoll.register(sock.fileno(), _READABLE)
        return transport

    def _bind(self, family: socket.AddressFamily, host: str, port: int) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            if family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, self.dscp << 2)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, self.dscp << 2)
            sock.bind((host, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def forget(self, transport: PolledTransport) -> None:
        """Read the transport's socket no more; always before it is closed, for its number is used again."""
        if self._transports.get(transport.fileno()) is transport:
            del self._transports[transport.fileno()]
            self._long_ways[transport.fileno()] = self._passages[transport.fileno()] = None
            self._epoll.unregister(transport.fileno())

    def shorten(self, transport: PolledTransport, passage: Passage | None) -> None:
        """Show what arrives at the transport's socket to this one first; None: to nobody."""
        if self._transports.get(transport.fileno()) is transport:
            self._passages[transport.fileno()] = passage

    # --- IReadDescriptor ------------------------------------------------------------------------

    def fileno(self) -> int:
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        return "rtp"

    def doRead(self) -> None:
        """Take what has come."""
        take_turn(TURN, BATCH, self._epoll, self._passages, self._long_ways, self.workspace, self.between)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of us: at its end, or because the epoll itself failed."""
        self.close()

    def close(self) -> None:
        """Close every socket, then the epoll; may be repeated."""
        if self._epoll.closed:
            return
        for transport in list(self._transports.values()):
            transport.close()
        self.reactor.removeReader(self)
        self._epoll.close()
