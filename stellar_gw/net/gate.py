"""Who may open a connection: how many from one source, how many in all; and the lines that are said about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, ServerFactory
from twisted.logger import Logger

from stellar_gw.net.sockets import peer_address
from stellar_gw.net.stream import SipStream, StreamLimits
from stellar_gw.sip.hosts import source_of

log = Logger()

LINES_A_MINUTE = 30
"""Log lines about connections that failed, from all sources; the rest is counted."""


class Gate:
    """Counts connections by source.

    :ivar counts: what happened to connections, by name; for metrics.
    :param seconds: the monotonic clock.
    """

    def __init__(self, limits: StreamLimits, seconds: Callable[[], float]) -> None:
        self._limits, self._seconds = limits, seconds
        self.counts: Counter[str] = Counter()
        self.closed = False
        self._sources: Counter[str] = Counter()
        self._all = 0
        self._minute, self._lines = 0, 0

    @property
    def full(self) -> bool:
        return self._all >= self._limits.total

    def admits(self, host: str) -> bool:
        """Whether one more connection from an address is taken; a refusal is counted, and said."""
        source = source_of(host)
        if self.closed:
            return False
        if self.full:
            self.counts["refused_total"] += 1
            self.say(
                "connection from {host} refused: {open} are open, the most there may be", host=host, open=self._all
            )
            return False
        if self._sources[source] >= self._limits.per_source:
            self.counts["refused_source"] += 1
            self.say("connection refused: {source} has {open} open", source=source, open=self._sources[source])
            return False
        return True

    def entered(self, host: str) -> None:
        self._all += 1
        self._sources[source_of(host)] += 1
        self.counts["opened"] += 1

    def left(self, host: str) -> None:
        source = source_of(host)
        self._all -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        self.counts["lost"] += 1

    def say(self, form: str, **fields: object) -> None:
        """One line about a stranger's failure, unless there were many this minute already."""
        minute = int(self._seconds() // 60)
        if minute != self._minute:
            if self._lines > LINES_A_MINUTE:
                log.info("{count} more lines about connections left out", count=self._lines - LINES_A_MINUTE)
            self._minute, self._lines = minute, 0
        self._lines += 1
        if self._lines <= LINES_A_MINUTE:
            log.info(form, **fields)


class Makes(Factory[SipStream]):
    """A factory of nothing but protocols."""

    noisy = False

    def __init__(self, made: Callable[[], SipStream]) -> None:
        self._made = made

    def buildProtocol(self, addr: IAddress | None) -> SipStream:
        return self._made()


class Admitted(ServerFactory):
    """In front of everything, TLS too: a connection beyond a limit costs an accept and a close."""

    noisy = False

    def __init__(self, admits: Callable[[str], bool], inner: IProtocolFactory) -> None:
        self._admits, self._inner = admits, inner

    def buildProtocol(self, addr: IAddress | None) -> SipStream | None:
        if addr is None or not self._admits(peer_address(addr)[0]):
            return None  # Twisted closes the connection
        # Under TLS it is the wrapper around a SipStream; Twisted asks for an IProtocol, whatever its class.
        return cast("SipStream | None", self._inner.buildProtocol(addr))
