"""RTP ports: even ones, cut into slices, taken at random, given back into quarantine."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Protocol

from stellar_gw.errors import LocalProtocolError

QUARANTINE = 5.0
"""Seconds in which packets of the last call may still arrive."""


class Random(Protocol):
    """The part of :class:`random.Random` that choosing takes."""

    def randrange(self, stop: int, /) -> int: ...


def cut(low: int, high: int, parts: int) -> tuple[tuple[int, int], ...]:
    """Cut the ports ``low`` to ``high`` - 1 into disjoint slices of whole RTP/RTCP pairs, as equal as can be.

    :raise ValueError: there is less than one pair for each part, or the range is not one of UDP ports.
    """
    first = low + low % 2
    pairs = (high - first) // 2
    if not 1 <= low < high <= 65536:
        raise ValueError(f"RTP ports {low} to {high - 1} are no range of UDP ports: both must lie in 1 to 65535")
    if parts < 1 or pairs < parts:
        raise ValueError(f"RTP ports {low} to {high - 1} hold {pairs} pairs, {parts} workers need one or more each")
    edges = [first + 2 * (pairs * part // parts) for part in range(parts + 1)]
    return tuple(pairwise(edges))


class PortSlice:
    """The RTP ports of one worker; RTCP has the odd port above (RFC 3550 11).

    Chosen at random, because a port that can be guessed is a port that can be sprayed.
    """

    def __init__(self, low: int, high: int, random: Random, quarantine: float = QUARANTINE) -> None:
        """:param low: first port; :param high: the port after the last."""
        self._free = list(range(low + low % 2, high - 1, 2))
        self._random = random
        self._quarantine = quarantine
        self._resting: deque[tuple[float, int]] = deque()
        self._taken: set[int] = set()

    @property
    def free(self) -> int:
        """Ports that can be taken, but for those whose quarantine has ended since the last call of :meth:`take`."""
        return len(self._free)

    @property
    def taken(self) -> int:
        return len(self._taken)

    def take(self, now: float) -> int | None:
        """An RTP port; None where all are taken or resting."""
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])
        if not self._free:
            return None
        place = self._random.randrange(len(self._free))
        port = self._free[place]
        self._free[place] = self._free[-1]
        self._free.pop()
        self._taken.add(port)
        return port

    def give_back(self, port: int, now: float) -> None:
        """The port's sockets are closed, or could not be bound; it rests before it is taken again.

        :raise LocalProtocolError: the port is not taken: giving back twice would hand it out twice.
        """
        if port not in self._taken:
            raise LocalProtocolError(f"RTP port {port} is given back but not taken")
        self._taken.remove(port)
        self._resting.append((now + self._quarantine, port))
