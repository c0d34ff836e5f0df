"""One UDP socket of a worker, among all that its poller reads; to its protocol it is a transport of Twisted."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Callable
from errno import (
    EACCES,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMSGSIZE,
    ENETUNREACH,
    ENONET,
    ENOPROTOOPT,
    EOPNOTSUPP,
    EPROTO,
)
from typing import Any, Protocol

from attrs import define
from twisted.internet import error
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.media.latch import Address
from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.intake import Passage

_libc = ctypes.CDLL(None, use_errno=True)
_UNSPEC = struct.pack("=H14x", socket.AF_UNSPEC)
"""A struct sockaddr of no address: ``connect`` to it dissolves a connection (connect(2)); Python's cannot."""
_LONGEST = 65507
"""Octets of a datagram over IPv4; what is shorter and too long all the same is so for somebody on the way."""
_TOLD = frozenset(
    (EACCES, EHOSTDOWN, EHOSTUNREACH, EMSGSIZE, ENETUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP, EPROTO)
)  # fmt: skip
"""What, besides ECONNREFUSED, the next use of a connected socket is told once an ICMP message has come (Linux:
net/ipv4/icmp.c, net/ipv6/icmp.c)."""
_log = Logger()


@define
class PollerCounts:
    """What went by unseen, over all sockets of the poller."""

    received: int = 0
    """Those that took a shortcut are not counted, nor are they in ``sent``."""
    sent: int = 0
    refused: int = 0
    """The peer's host said that nobody listens there, or somebody on the way that nothing gets there."""
    would_block: int = 0
    """EAGAIN: nothing there to read after all, or no room to send."""
    send_errors: int = 0
    """Any other refusal of the kernel to send (no route, firewall, no memory)."""
    failed: int = 0
    """Sockets closed because their protocol raised, or because reading them failed."""


class Reader(Protocol):
    """Whoever reads the sockets (:class:`stellar_gw.worker.poller.DatagramPoller`)."""

    @property
    def counts(self) -> PollerCounts: ...

    @property
    def workspace(self) -> Workspace:
        """Where each datagram is received."""

    def later(self, call: Callable[[], None]) -> None:
        """In a later turn of the reactor."""

    def forget(self, transport: PolledTransport) -> None:
        """Read its socket no more; always before it is closed, for its number is used again."""

    def shorten(self, transport: PolledTransport, passage: Passage | None) -> None:
        """Show what arrives at its socket to this one first; None: to nobody."""


def family_of(host: str) -> socket.AddressFamily:
    """:raise error.InvalidAddressError: for a host name: resolving one would block."""
    if isIPAddress(host):
        return socket.AF_INET
    if isIPv6Address(host):
        return socket.AF_INET6
    raise error.InvalidAddressError(host, "only numeric IPv4 and IPv6 addresses are accepted, not names")


@implementer(IUDPTransport)
class PolledTransport:
    """One UDP socket; made by :meth:`stellar_gw.worker.poller.DatagramPoller.listen`.

    What the kernel refuses to send is counted and forgotten, as if the network had lost it.

    :ivar connected: the only address it sends to and hears from, None for any.
    :ivar certain: the same, once nothing is left in the socket that came from elsewhere before it was connected.
    :ivar socket: for those who send without :meth:`write`; what it raises goes to :meth:`not_sent`.
    """

    def __init__(self, reader: Reader, sock: socket.socket, protocol: DatagramProtocol) -> None:
        self._reader = reader
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
        counts = self._reader.counts
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
            if reason.errno == EMSGSIZE and len(packet) > _LONGEST:
                raise error.MessageLengthError(f"{len(packet)} octets do not fit into a datagram") from None
            self.not_sent(reason)
        else:
            counts.sent += 1

    def not_sent(self, reason: OSError) -> None:
        """The kernel refused to send: count it, and say so once."""
        if self._passes(reason):
            return
        counts = self._reader.counts
        counts.send_errors += 1
        if counts.send_errors == 1:
            _log.warn(
                "{host} cannot send: {reason}; more of these are only counted",
                host=self._bound[:2],  # the socket may be closed
                reason=str(reason),
            )

    def _passes(self, reason: OSError) -> bool:
        """Whether it says nothing of this socket, which is counted; a peer's refusal is told to the protocol."""
        counts = self._reader.counts
        if isinstance(reason, BlockingIOError):
            counts.would_block += 1
        elif isinstance(reason, ConnectionRefusedError):
            counts.refused += 1
            if self.connected is not None:
                self._guarded_refusal()
        else:
            return False
        return True

    def _check(self, addr: Address) -> None:
        if family_of(addr[0]) != self._family:
            raise error.InvalidAddressError(addr[0], f"not of the address family of {self.getHost().host}")
        self._checked = addr

    def connect(self, host: str, port: int) -> None:
        """From now on send to, and receive from, this address alone.

        :raise RuntimeError: if it is connected already.
        :raise error.InvalidAddressError: if ``host`` is not numeric, or of the other address family.
        :raise OSError: the kernel has no way there; then it is as it was.
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

    def make_certain(self) -> None:
        """Ask for sources no longer, if that is clear: once the socket is found empty after it was connected, the
        kernel has looked at the source of all that is to come. Nothing where that was found before."""
        if self.connected is None or self.certain is not None or self._closed:
            return
        try:
            self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self.certain = self.connected
            if self._passage is not None:
                self._passage.certain = self.certain == self._passage.source
        except OSError as reason:
            self.not_read(reason)

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
            self._reader.forget(self)
            self._reader.later(self.close)
        return done

    def setBroadcastAllowed(self, enabled: bool) -> None:
        raise NotImplementedError("RTP is never broadcast here")

    def getBroadcastAllowed(self) -> bool:
        raise NotImplementedError("RTP is never broadcast here")

    # --- for the reader -------------------------------------------------------------------------

    @property
    def workspace(self) -> Workspace:
        """Where its packets are while a passage takes them."""
        return self._reader.workspace

    def fileno(self) -> int:
        return self._fd

    def take(self, packet: memoryview, source: Any) -> bool:
        """Hand a datagram on to the protocol.

        :param source: None where it can only be :attr:`connected`.
        """
        self._reader.counts.received += 1
        if source is None:
            source = self.connected
        elif len(source) != 2:  # IPv6 adds flow label and scope
            source = source[:2]
        if self.connected is None:
            self.protocol.datagramReceived(bytes(packet), source)
            return True
        datagram = bytes(packet)
        self.make_certain()
        if source == self.connected:  # else it had been queued before connect()
            self.protocol.datagramReceived(datagram, source)
        return True

    def not_read(self, reason: OSError) -> None:
        """``recvfrom_into`` raised."""
        if self._passes(reason):
            return
        if reason.errno in _TOLD:  # of what was sent, by anybody: no reason to hear no more
            self._reader.counts.refused += 1
        else:
            self.fail(Failure(reason), "cannot be read")

    def shorten(self, passage: Passage | None) -> None:
        """Let a passage take what it can; None: nobody but the protocol."""
        self._passage = passage
        if passage is not None:
            passage.socket = self.socket
            passage.certain = self.certain == passage.source
        self._reader.shorten(self, passage)

    def _guarded_refusal(self) -> None:
        try:
            self.protocol.connectionRefused()
        except Exception:
            self.fail(Failure(), "its protocol raised")

    def fail(self, reason: Failure, what: str) -> None:
        if self._closed:
            return
        _log.failure("{host} is closed: {what}", reason, host=self.getHost(), what=what)
        self._reader.counts.failed += 1
        self.stopListening()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._reader.forget(self)
        self.socket.close()
        try:
            self.protocol.doStop()
        except Exception:
            _log.failure("a protocol raised while it was stopped")
        for done in self._stopped:
            done.callback(None)
