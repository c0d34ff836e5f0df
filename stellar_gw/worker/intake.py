"""One turn of a worker's RTP sockets: a datagram of each that has some, and another, until there are none.

A worker that was held up for a while, or has as many calls as it can carry, finds ever more in its sockets than it gets
to, and all of it would be passed on, ever later: it would be behind for good, for what comes late costs no less than
what comes in time. So once there has been more for :data:`BEHIND` seconds without a break, each socket is emptied at
once, and what has waited for long is lost, as it would be in the network: nobody can play it any more, and reading it
costs a tenth of passing it on.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, Final, Protocol

from twisted.python.failure import Failure

from stellar_gw.media.latch import Address
from stellar_gw.media.workspace import Workspace

BEHIND: Final = 0.3
"""Seconds without a moment at which nothing was left to read; a core that is at work 97 % of its time finds one in
less."""
KEPT: Final = 10
"""The last datagrams of a socket that are passed on all the same: 200 ms as most phones send them."""
MOST_TURNS: Final = 32
"""Of those before them, the most at which a key press begins or ends."""
MOST_WAITING: Final = 1000
"""Datagrams that are read of one socket at once."""


class Passage:
    """A short way for what arrives at one socket, where that differs in nothing from what came before it.

    :ivar source: the latched address, for good.
    :ivar socket: where the packets come from; for whoever reads, as ``certain`` is.
    :ivar certain: they can come from ``source`` alone.
    :ivar perishable: what has waited for long may be given up. That is so of what is only passed on: an agent would
        rather hear late what a caller says than not at all, and a gap has to be filled for it, which costs more.
    """

    __slots__ = ("certain", "perishable", "socket", "source")

    def __init__(self, source: Address, perishable: bool = False) -> None:
        self.source = source
        self.perishable = perishable
        self.certain = False
        self.socket: socket.socket

    def take(self, octets: int, source: object) -> bool:
        """Deal with the datagram of so many octets that is in the workspace; False where it has to go the long way, and
        is as it was.

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

    def make_certain(self) -> None:
        """Nothing may be left of what came before it was connected."""

    def take(self, packet: memoryview, source: Any) -> object:
        """:param source: None where it is certain."""

    def not_read(self, reason: OSError) -> None:
        """The socket raised."""

    def fail(self, reason: Failure, what: str) -> None: ...


class Backlog:
    """What there is to read that was not read yet.

    :ivar discarded: datagrams that had waited for too long.
    """

    __slots__ = ("_began", "_since", "_to_empty", "discarded")

    def __init__(self) -> None:
        self._since = -1.0
        self._began = -1.0
        self._to_empty: set[int] = set()
        self.discarded = 0

    def begins(self, now: float, sockets: Iterable[int]) -> None:
        """A turn begins. Where there has been more than was read for long, each socket is to be emptied, once: looking
        whether there is more costs too much for every packet.

        :param now: seconds.
        :param sockets: descriptors of those that are read.
        """
        if self._since >= 0.0:
            if now - self._began > BEHIND:  # nobody looked: that says nothing of how much there is
                self._since = now
            elif now - self._since > BEHIND:
                self._to_empty = set(sockets)
                self._since = now
        self._began = now

    @property
    def waits(self) -> bool:
        """The last turn left something."""
        return self._since >= 0.0

    @property
    def catching_up(self) -> bool:
        """There may be sockets that are to be emptied."""
        return bool(self._to_empty)

    def empties(self, socket: int) -> bool:
        """Whether this one is, which it will then have been."""
        if socket not in self._to_empty:
            return False
        self._to_empty.remove(socket)
        return True

    def left(self, now: float) -> None:
        """A turn is over, and there is more to read."""
        if self._since < 0.0:
            self._since = now

    def over(self) -> None:
        """Nothing is left to read."""
        self._since = -1.0
        if self._to_empty:
            self._to_empty = set()


def take_turn(
    most: int,
    batch: int,
    epoll: select.epoll,
    passages: list[Passage | None],
    long_ways: list[LongWay | None],
    workspace: Workspace,
    between: Callable[[], None],
    backlog: Backlog,
    now: float,
) -> int:
    """Take one datagram of each readable socket, and look again, until there are none or the turn is over.

    One each keeps a flooded port from delaying the others, and saves the read that only finds EAGAIN. Looking again
    costs less than another turn of the reactor, and under load more has come meanwhile.

    :param most: datagrams of the turn.
    :param batch: of one look, after which ``between`` is called.
    :param epoll: of all sockets; a datagram may bring about that it is closed.
    :param backlog: that the turn has begun with.
    :param now: seconds of a clock that does not run backwards.
    :return: how many were taken.
    """
    left = most
    while left > 0 and not epoll.closed:
        ready = epoll.poll(0, batch)
        if not ready:
            backlog.over()
            return most - left
        if backlog.catching_up:
            left -= catch_up(ready, passages, long_ways, workspace, between, backlog)
        else:
            left -= len(ready)
            take_in(ready, passages, long_ways, workspace)
            between()
    if not epoll.closed and epoll.poll(0, 1):
        backlog.left(now)
    else:
        backlog.over()
    return most - left


def catch_up(
    ready: list[tuple[int, int]],
    passages: list[Passage | None],
    long_ways: list[LongWay | None],
    workspace: Workspace,
    between: Callable[[], None],
    backlog: Backlog,
) -> int:
    """Empty those of these sockets that are to be, and have the last of what waited in each dealt with.

    Those without a short way are read as ever: what is to be believed of them is found out from all that comes.

    :param between: called after each socket.
    :return: how many datagrams that is worth; reading one costs an eighth of dealing with it.
    """
    worth = 0
    for fd, event in ready:
        long_way, passage = long_ways[fd], passages[fd]
        if long_way is None:
            continue
        if passage is None or not passage.perishable or not backlog.empties(fd):
            take_in([(fd, event)], passages, long_ways, workspace)
            worth += 1
        else:
            waited, last = _last(long_way, passage, workspace)
            worth += waited // 8 + len(last)
            backlog.discarded += waited - len(last)
            long_way.make_certain()
            for datagram, source in last:
                long_way = long_ways[fd]
                if long_way is None:
                    break
                workspace.put(datagram)
                _deal(passages[fd], long_way, len(datagram), workspace, source)
        between()
    return worth


def _last(long_way: LongWay, passage: Passage, workspace: Workspace) -> tuple[int, list[tuple[bytes, object]]]:
    """How many datagrams wait in a socket, and the last of them; the peer's in order, then those of others, which it
    may have moved to, or which are of ICE."""
    certain, peer, whole = passage.certain, passage.source, workspace.whole
    waiting: list[bytes] = []
    others: list[tuple[bytes, object]] = []
    source: Any = None
    try:
        for _ in range(MOST_WAITING):
            if certain:
                size = long_way.socket.recv_into(whole)
            else:
                size, source = long_way.socket.recvfrom_into(whole)
                if source[:2] != peer:
                    others.append((bytes(whole[:size]), source))
                    continue
            waiting.append(bytes(whole[:size]))
    except BlockingIOError:
        pass
    except OSError as reason:
        long_way.not_read(reason)
    last: list[tuple[bytes, object]] = [(datagram, peer) for datagram in _worth_hearing(waiting)]
    return len(waiting) + len(others), last + others[-KEPT:]


def _worth_hearing(waiting: list[bytes]) -> list[bytes]:
    """The last of a peer's datagrams; and of those before them the last at which a key press begins or ends: where
    payload type or marker changes, or whether the timestamp stands still, as it does in a press (RFC 4733 2.2, 2.5.1).
    """
    first = len(waiting) - KEPT
    if first <= 0:
        return waiting
    kinds = [(waiting[0][1:2], False)]
    kinds += [(each[1:2], each[4:8] == before[4:8]) for before, each in pairwise(waiting)]
    turns = [
        number
        for number in range(first)
        if kinds[number] != kinds[number + 1] or (number > 0 and kinds[number] != kinds[number - 1])
    ]
    return [waiting[number] for number in turns[-MOST_TURNS:]] + waiting[first:]


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
    whole = workspace.whole
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
        _deal(passage, long_way, size, workspace, source)


def _deal(passage: Passage | None, long_way: LongWay, octets: int, workspace: Workspace, source: object) -> None:
    try:
        if passage is None or not passage.take(octets, source):
            long_way.take(workspace.piece(octets), source)
    except Exception:
        long_way.fail(Failure(), "its protocol raised")
