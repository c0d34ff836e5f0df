"""A link to an AudioSocket server: whole frames over TCP (type, two octets of length, payload).

AudioSocket has no handshake and no ping: the link is open when TCP is, and an agent that does not read what it is
sent for as long as a ping and its answer may take is taken for dead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IConsumer, IDelayedCall, IProtocol, IPushProducer, IReactorTime, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.agent.link import Link, LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.agent.reading import MANY, MOST, Rota
from stellar_gw.dialects.audiosocket import HEADER
from stellar_gw.dialects.contract import Frame
from stellar_gw.patience import Patience

SCHEME = "audiosocket:"
PORT = 9092
"""Where AudioSocket servers listen by custom."""
LAST = 2048
"""Frames that are dealt with in one go when the connection ends: more than what was read can hold of audio."""


class TcpConnector:
    """Opens links to ``audiosocket://host:port``.

    :param reactor: the worker's.
    :param rota: shared with other connectors; by default one of its own.
    """

    def __init__(self, reactor: IReactorTime, rota: Rota | None = None) -> None:
        self._reactor = reactor
        self._rota = rota or Rota(reactor.callLater)

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        link = _TcpLink(self._reactor, events, limits, self._rota)
        link.begin(target.url)
        return link


@implementer(IPushProducer)
class _TcpLink(Protocol):
    """One conversation with one agent."""

    log = Logger()
    transport: ITCPTransport

    def __init__(self, reactor: IReactorTime, events: LinkEvents, limits: LinkLimits, rota: Rota) -> None:
        self._reactor, self._events, self._limits, self._rota = reactor, events, limits, rota
        self._origin = ""
        self._began = reactor.seconds()
        self._opened = self._over = False
        self._buffer = bytearray()
        self._alarm: IDelayedCall | Patience | None = None
        self._connecting: Deferred[IProtocol] | None = None

    # --- for the conversation (Link) ------------------------------------------------------------

    def send(self, frame: Frame) -> None:
        if self._opened and not self._over and isinstance(frame, bytes):
            self.transport.write(frame)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """What was sent before still goes out; the connection is cut after ``close_timeout``."""
        if self._over:
            return
        was_open = self._opened
        self._end("cancelled", "the gateway closed the link")
        if was_open:
            # A transport with a producer would wait for it for ever.
            cast(IConsumer, self.transport).unregisterProducer()
            self.transport.loseConnection()
            self._alarm = self._reactor.callLater(self._limits.close_timeout, self._linger_over)
        elif self._connecting is not None:
            self._connecting.cancel()

    def _linger_over(self) -> None:
        self._alarm = None
        self.transport.abortConnection()

    def abort(self) -> None:
        was_open = self._opened
        self._end("cancelled", "the gateway closed the link")
        if was_open:
            self.transport.abortConnection()
        elif self._connecting is not None:
            self._connecting.cancel()

    # --- connecting -----------------------------------------------------------------------------

    def begin(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or PORT
        except ValueError:
            host, port = "", 0
        if not host:
            self._end("invalid_url", "an AudioSocket agent's url is audiosocket://host:port")
            return
        self._origin = f"audiosocket://{host}:{port}"
        self._alarm = self._reactor.callLater(self._limits.connect_timeout, self._late)
        endpoint = HostnameEndpoint(self._reactor, host, port, timeout=self._limits.connect_timeout)
        self._connecting = endpoint.connect(Factory.forProtocol(lambda: self))
        self._connecting.addErrback(self._not_connected)

    def _late(self) -> None:
        self._alarm = None
        self._end("timeout", f"{self._origin} could not be connected within {self._limits.connect_timeout:g} s")
        if self._connecting is not None:
            self._connecting.cancel()

    def _not_connected(self, failure: Failure) -> None:
        if failure.check(DNSLookupError):
            self._end("dns", f"{self._origin}: the host name does not resolve")
        elif failure.check(ConnectionRefusedError):
            self._end("refused", f"{self._origin} refused the connection; is the agent running there?")
        elif failure.check(ConnectError):
            self._end("refused", f"{self._origin} cannot be reached ({failure.getErrorMessage()})")
        else:
            self._end("internal", f"{self._origin}: unexpected {type(failure.value).__name__} while connecting")

    def connectionMade(self) -> None:
        if self._over:  # given up meanwhile: leave no connection behind
            self.transport.abortConnection()
            return
        self._stop_alarm()
        self._opened = True
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        cast(IConsumer, self.transport).registerProducer(self, True)
        self._tell(lambda: self._events.link_opened((self._reactor.seconds() - self._began) * 1000))

    # --- while it is up -------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """At most 64 KiB at a time; one that says very much has to wait for its turn."""
        self._buffer += data
        if (self._take(MANY) or len(data) >= MOST) and not self._over:
            cast(IPushProducer, self.transport).pauseProducing()
            self._rota.wait(self._read_on)
        self._rota.between()

    def _read_on(self) -> None:
        if self._over:
            return
        if self._take(MANY):
            self._rota.wait(self._read_on)
        else:
            cast(IPushProducer, self.transport).resumeProducing()

    def _take(self, most: int) -> bool:
        """Hand on so many frames at most; whether that many were there."""
        buffer, at = self._buffer, 0
        while len(buffer) - at >= HEADER.size and most and not self._over:
            length = HEADER.size + int.from_bytes(buffer[at + 1 : at + 3], "big")
            if len(buffer) - at < length:
                break
            whole = bytes(buffer[at : at + length])
            at += length
            most -= 1
            self._tell(partial(self._events.link_received, whole))
        del buffer[:at]
        return not most

    def pauseProducing(self) -> None:
        """The agent does not read."""
        if self._alarm is None and not self._over:
            patience = self._limits.ping_interval + self._limits.ping_timeout
            self._alarm = Patience(self._reactor, patience, self._unread, patience)

    def resumeProducing(self) -> None:
        self._stop_alarm()

    def stopProducing(self) -> None:
        """The transport is going; ``connectionLost`` tells."""

    def _unread(self, patience: float) -> None:
        self._alarm = None
        self._end("unresponsive", f"{self._origin} has not read for {patience:g} s")
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_alarm()
        self._take(LAST)  # a hang-up frame may be waiting for its turn
        self._end("lost", f"{self._origin} cut the connection without a hang-up frame")

    # --- the end --------------------------------------------------------------------------------

    def _end(self, code: str, message: str) -> None:
        if self._over:
            return
        self._over = True
        self._stop_alarm()
        closed = LinkClosed(code, message, self._opened)
        self._reactor.callLater(0, lambda: self._events.link_closed(closed))

    def _stop_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _tell(self, step: Callable[[], None]) -> None:
        """An exception ends this link and no other."""
        try:
            step()
        except Exception:
            self.log.failure("what an agent said could not be dealt with")
            self._end("internal", "the gateway failed on what its agent said; see its log")
            self.transport.abortConnection()
