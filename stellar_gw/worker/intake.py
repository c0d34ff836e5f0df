"""One turn of a worker's RTP sockets: a datagram of each that has some, and another, until there are none."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any, Protocol

from twisted.python.failure import Failure

from stellar_gw.media.latch import Address
from stellar_gw.media.workspace import USUAL, Workspace


class Passage:
    """A short way for what arrives at one socket, where that differs in nothing from what came before it.

    :ivar source: the latched address, for good.
    :ivar socket: where the packets come from; for whoever reads, as ``certain`` is.
    :ivar certain: they can come from ``source`` alone.
    """

    __slots__ = ("certain", "socket", "source")

    def __init__(self, source: Address) -> None:
        self.source = source
        self.certain = False
        self.socket: socket.socket

    def take(self, packet: memoryview, source: object) -> bool:
        """Deal with a datagram; False where it has to go the long way, and is as it was.

        :param source: None where it is certain.
        """
        raise NotImplementedError


class LongWay(Protocol):
    """What deals with everything (:class:`stellar_gw.worker.polled_transport.PolledTransport`)."""

    @property
    def socket(self) -> socket.socket: ...

    @property
    def certain(self) -> Address | None:
        """The only address that datagrams can come from."""

    def take(self, packet: memoryview, source: Any) -> object:
        """:param source: None where it is certain."""

    def not_read(self, reason: OSError) -> None:
        """The socket raised."""

    def fail(self, reason: Failure, what: str) -> None: ...


def take_turn(
    most: int,
    batch: int,
    epoll: select.epoll,
    passages: list[Passage | None],
    long_ways: list[LongWay | None],
    workspace: Workspace,
    between: Callable[[], None],
) -> None:
    """Take one datagram of each readable socket, and look again, until there are none or the turn is over.

    One each keeps a flooded port from delaying the others, and saves the read that only finds EAGAIN. Looking again
    costs less than another turn of the reactor, and under load more has come meanwhile.

    :param most: datagrams of the turn.
    :param batch: of one look, after which ``between`` is called.
    :param epoll: of all sockets; a datagram may bring about that it is closed.
    """
    left = most
    while left > 0 and not epoll.closed and (ready := epoll.poll(0, batch)):
        left -= len(ready)
        take_in(ready, passages, long_ways, workspace)
        between()


def take_in(
    ready: list[tuple[int, int]],
    passages: list[Passage | None],
    long_ways: list[LongWay | None],
    workspace: Workspace,
) -> None:
    """Read a datagram of each of these sockets, and have it dealt with.

    Where its source is known, the kernel is not asked for it: writing an address down in Python's way costs as much as
    passing the packet on. What is raised on the way ends that socket alone.

    :param ready: descriptors, and what they are ready for.
    :param passages: by descriptor, as ``long_ways`` are; None where a socket was closed by a datagram before.
    """
    whole, pieces = workspace.whole, workspace.pieces
    for fd, _ in ready:
        long_way = long_ways[fd]
        if long_way is None:
            continue
        passage = passages[fd]
        source: object = None
        try:
            if passage is not None:
                if passage.certain:
                    size = passage.socket.recv_into(whole)
                else:
                    size, source = passage.socket.recvfrom_into(whole)
            elif long_way.certain is not None:
                size = long_way.socket.recv_into(whole)
            else:
                size, source = long_way.socket.recvfrom_into(whole)
        except OSError as reason:
            long_way.not_read(reason)
            continue
        packet = pieces[size] if size < USUAL else workspace.piece(size)
        try:
            if passage is None or not passage.take(packet, source):
                long_way.take(packet, source)
        except Exception:
            long_way.fail(Failure(), "its protocol raised")
