"""All RTP sockets of a worker behind one descriptor of the reactor.

Every socket is registered in one ``select.epoll()``, and the reactor watches only the epoll's own descriptor
(epoll descriptors nest: epoll(7)). A packet then costs one ``recvfrom`` and no bookkeeping of the reactor.
Waking up for a packet costs more than passing it on, so where many come they are gathered: a turn that has read all
there is rests until :data:`GATHER` after its beginning.
To the protocols their transports (:mod:`stellar_gw.worker.polled_transport`) are Twisted's: :class:`IUDPTransport`,
shown by one suite of tests that also runs over ``reactor.listenUDP``.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet import error
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.between import Between, nothing
from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.intake import BEHIND, Backlog, LongWay, Passage, take_turn
from stellar_gw.worker.polled_transport import PolledTransport, PollerCounts, family_of

EXPEDITED_FORWARDING = 46
"""The code point of voice (RFC 3246, RFC 4594 4.1)."""
TURN = 256
"""Datagrams taken in one turn of the reactor, so that a flood never starves control."""
BATCH = 16
"""Those taken before a look at what else is due: less than a millisecond's work."""
GATHER = 0.001
"""Seconds: what a packet may wait for others to come."""
WORTH = 4
"""Datagrams in that time, from which on resting costs less than waking up for each."""
_COUNTED = 10 * GATHER
_READABLE = select.EPOLLIN
_SAY_AGAIN = 60.0
"""Seconds."""
_log = Logger()


class Reactor(Protocol):
    """What the poller needs of a reactor: parts of IReactorFDSet and IReactorTime."""

    def addReader(self, reader: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> Any: ...


@implementer(IReadDescriptor)
class DatagramPoller:
    """The worker's RTP sockets; one reader of the reactor from the first socket to :meth:`close`.

    :param dscp: code point of the IP header of everything sent, 0 to 63.
    :param now: seconds that never run backwards.
    :ivar workspace: where each datagram is received.
    :ivar between: between two batches of them.
    :ivar rest: told until when there is nothing to read yet, and returns then, or sooner; by default at once.
    """

    def __init__(
        self, reactor: Reactor, dscp: int = EXPEDITED_FORWARDING, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._reactor = reactor
        self._now = now
        self._backlog = Backlog()
        self._said = (-_SAY_AGAIN, 0)
        self.dscp = dscp
        self.counts = PollerCounts()
        self.workspace = Workspace()
        self.between: Between = nothing
        self.rest: Callable[[float], None] = _at_once
        self._taken, self._counted_since, self._gathers = 0, 0.0, False
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
        family = family_of(host)
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
            self._epoll.register(sock.fileno(), _READABLE)
        except BaseException:
            sock.close()
            raise
        return sock

    # --- for its transports (Reader) ------------------------------------------------------------

    def later(self, call: Callable[[], None]) -> None:
        self._reactor.callLater(0, call)

    def forget(self, transport: PolledTransport) -> None:
        if self._transports.get(transport.fileno()) is transport:
            del self._transports[transport.fileno()]
            self._long_ways[transport.fileno()] = self._passages[transport.fileno()] = None
            self._epoll.unregister(transport.fileno())

    def shorten(self, transport: PolledTransport, passage: Passage | None) -> None:
        if self._transports.get(transport.fileno()) is transport:
            self._passages[transport.fileno()] = passage

    # --- IReadDescriptor ------------------------------------------------------------------------

    def fileno(self) -> int:
        return -1 if self._epoll.closed else self._epoll.fileno()

    def logPrefix(self) -> str:
        return "rtp"

    def doRead(self) -> None:
        """Take what has come."""
        now, backlog = self._now(), self._backlog
        backlog.begins(now, self._transports)
        taken = take_turn(
            TURN, BATCH, self._epoll, self._passages, self._long_ways, self.workspace, self.between, backlog, now
        )
        if backlog.discarded != self._said[1]:
            self._say(now)
        if self._worth(taken, now) and not backlog.waits:
            self.rest(now + GATHER)

    def _worth(self, taken: int, now: float) -> bool:
        """Whether so many come that it is worth while to gather them; by what came in the last 10 ms and more."""
        self._taken += taken
        passed = now - self._counted_since
        if passed >= _COUNTED:
            self._gathers = self._taken * GATHER >= WORTH * passed
            self._taken, self._counted_since = 0, now
        return self._gathers

    def _say(self, now: float) -> None:
        """How many were discarded, now and then."""
        (said_at, said), discarded = self._said, self._backlog.discarded
        if now - said_at >= _SAY_AGAIN:
            self._said = now, discarded
            _log.warn(
                "more RTP than one core can carry, or a machine that stood still: {count} packets that had waited are "
                "passed over, after {ms:.0f} ms with no end of them",
                count=discarded - said,
                ms=BEHIND * 1000,
            )

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of us: at its end, or because the epoll itself failed."""
        self.close()

    def close(self) -> None:
        """Close every socket, then the epoll; may be repeated."""
        if self._epoll.closed:
            return
        for transport in list(self._transports.values()):
            transport.close()
        self._reactor.removeReader(self)
        self._epoll.close()


def _at_once(until: float) -> None:
    """Where nobody rests."""
