"""One TCP or TLS connection that carries SIP (RFC 3261 18.3, RFC 5626 4.4.1), and how long it may live.

Theory of operation. A connection has one deadline at a time, and what it is for:

    connected --TLS--> handshake ----> first message ----> idle <---> partial message
                       10 s            10 s                600 s      10 s

A deadline that passes aborts the connection, except *idle*: then the core is asked whether a dialog or
transaction uses the flow. Octets do not move a deadline, only whole messages do, so a peer that sends one
octet a second wins nothing. Until the first message is whole, keepalives do not help either. A connection
of our own counts as one that has spoken.
"""

from __future__ import annotations

from typing import Protocol as TypingProtocol
from typing import cast

from attrs import frozen
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.net.reasons import lost_because
from stellar_gw.net.sockets import mark, peer_address
from stellar_gw.net.tls import ServerName, TlsError
from stellar_gw.sip.flow import ANY_PEER, Flow, Listener, TlsTerms
from stellar_gw.sip.framing import PONG, Ping, StreamFramer
from stellar_gw.sip.parser import MalformedMessage


@frozen(kw_only=True)
class StreamLimits:
    """Times in seconds, sizes in octets.

    :ivar setup: for connecting, the TLS handshake, the first message, and any message once begun: each.
    :ivar idle: without a message or keepalive; asked again this often while the flow is used.
    :ivar linger: between a close that lets the last answer out, and an abort.
    :ivar stalled: how long a peer may leave unread what we sent.
    :ivar unread: how much of it may wait, beyond the kernel's buffer.
    :ivar per_source: connections of one address (of one /64 for IPv6); ``total`` of all, ours included.
    """

    setup: float = 10.0
    idle: float = 600.0
    linger: float = 5.0
    stalled: float = 30.0
    unread: int = 1 << 18
    per_source: int = 600
    total: int = 4000


class StreamTransport(ITCPTransport, IConsumer):
    """What a TCP connection offers, with TLS on top or not."""

    def getHandle() -> object:
        """The socket, or OpenSSL's connection."""


class StreamOwner(TypingProtocol):
    """Who keeps the connections."""

    def stream_made(self, stream: SipStream) -> int:
        """A connection is up (TLS: not yet shaken hands); returns its flow id."""

    def stream_ready(self, stream: SipStream) -> None:
        """A connection of ours may be used; for TLS the peer's name has been verified."""

    def stream_received(self, data: bytes, flow: Flow) -> None: ...

    def stream_malformed(self, error: MalformedMessage, flow: Flow) -> None:
        """Framing is lost; whatever answers this is sent before the method returns."""

    def stream_closing(self, stream: SipStream) -> None:
        """Nothing can be sent any more; :meth:`stream_lost` follows."""

    def stream_lost(self, stream: SipStream, why: str) -> None: ...

    def flow_in_use(self, flow: Flow) -> bool: ...


@implementer(IHandshakeListener, IPushProducer)
class SipStream(Protocol):
    """Frame what comes in, bound what goes out, and close what does not behave.

    :ivar flow: once connected.
    :ivar outbound: whether the connection is ours.
    :ivar ready: whether the connection is set up, TLS included.
    """

    flow: Flow
    transport: StreamTransport

    def __init__(
        self,
        owner: StreamOwner,
        listener: Listener,
        clock: IReactorTime,
        limits: StreamLimits,
        dscp: int,
        *,
        outbound: bool = False,
        server_name: ServerName | None = None,
        tls: TlsTerms = ANY_PEER,
    ) -> None:
        self._owner, self._listener, self._clock, self._limits, self._dscp = owner, listener, clock, limits, dscp
        self.outbound, self._server_name, self._tls = outbound, server_name, tls
        self.transport_name = listener.transport
        self._framer = StreamFramer()
        self.ready = False
        self.closing = False
        self._spoken = outbound
        self._partial = False
        self._blocked: IDelayedCall | None = None
        self._unread = 0
        self._why = ""
        self._deadline = 0.0
        self._deadline_for = ""
        self._alarm: IDelayedCall | None = None

    # --- set-up ---------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        local, remote = peer_address(self.transport.getHost()), peer_address(self.transport.getPeer())
        mark(self.transport, self._dscp)
        self.flow = Flow(
            id=self._owner.stream_made(self),
            transport=self._listener.transport,
            listener=self._listener.name,
            local=local,
            remote=remote,
            tls=self._tls,
        )
        self.transport.registerProducer(self, True)
        if self.transport_name == "tls":
            self._expect("TLS handshake", self._limits.setup)
        else:
            self._set_up()

    @property
    def protection(self) -> str:
        """TLS version and cipher suite, by their names; empty where there is no TLS."""
        if self.transport_name != "tls":
            return ""
        connection = cast(SSL.Connection, self.transport.getHandle())
        return f"{connection.get_protocol_version_name()} {connection.get_cipher_name() or ''}".rstrip()

    def handshakeCompleted(self) -> None:
        if self._server_name is not None:
            connection = cast(SSL.Connection, self.transport.getHandle())
            try:
                self._server_name.verify(connection)
            except TlsError as error:
                self.abort(str(error))
                return
        self._set_up()

    def _set_up(self) -> None:
        self.ready = True
        if self.outbound:
            self._expect("idle", self._limits.idle)
            self._owner.stream_ready(self)
        else:
            self._expect("first message", self._limits.setup)

    # --- in -------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        whole = False
        for item in self._framer.feed(data):
            if self.closing:  # by what an item before led to
                return
            if isinstance(item, bytes):
                whole = self._spoken = True
                self._owner.stream_received(item, self.flow)
            elif isinstance(item, Ping):
                self._write(PONG)
            elif isinstance(item, MalformedMessage):
                self._owner.stream_malformed(item, self.flow)
                self.close("framing lost: " + item.reason)
        self._progressed(whole)

    def _progressed(self, whole: bool) -> None:
        """Choose the deadline after a chunk, ``whole`` if a message ended in it."""
        began = self._framer.partial and (whole or not self._partial)
        self._partial = self._framer.partial
        if self.closing or not self._spoken:
            return
        if began:
            self._expect("rest of a message", self._limits.setup)
        elif not self._partial:
            self._expect("idle", self._limits.idle)

    # --- out ------------------------------------------------------------------------------------

    def send(self, packet: bytes) -> bool:
        """Whether the packet is on its way; False: this flow is gone."""
        if self.closing or not self.ready:
            return False
        self._write(packet)
        return not self.closing

    def _write(self, data: bytes) -> None:
        if self._blocked is not None:
            self._unread += len(data)
            if self._unread > self._limits.unread:
                self.abort(f"the peer left {self._unread} octets unread")
                return
        self.transport.write(data)

    def pauseProducing(self) -> None:
        if self._blocked is None and not self.closing:
            self._unread = 0
            self._blocked = self._clock.callLater(
                self._limits.stalled, self.abort, f"the peer read nothing for {self._limits.stalled:g} s"
            )

    def resumeProducing(self) -> None:
        if self._blocked is not None:
            if self._blocked.active():
                self._blocked.cancel()
            self._blocked = None

    def stopProducing(self) -> None:
        """The connection is going; connectionLost says so too."""

    # --- deadlines ------------------------------------------------------------------------------

    def _expect(self, what: str, seconds: float) -> None:
        """Set the deadline. A later one leaves the alarm as it is: moving it at every message costs more."""
        self._deadline_for = what
        self._deadline = self._clock.seconds() + seconds
        if self._alarm is None:
            self._alarm = self._clock.callLater(seconds, self._expired)
        elif self._alarm.getTime() > self._deadline:
            self._alarm.reset(seconds)

    def _expired(self) -> None:
        self._alarm = None
        left = self._deadline - self._clock.seconds()
        if left > 0:
            self._alarm = self._clock.callLater(left, self._expired)
        elif self._deadline_for != "idle":
            self.abort(f"no {self._deadline_for} in time")
        elif self._owner.flow_in_use(self.flow):
            self._expect("idle", self._limits.idle)
        else:
            self.close("idle")

    # --- the end --------------------------------------------------------------------------------

    def close(self, why: str) -> None:
        """Let out what was written, then close; abort if that takes long."""
        if self.closing:
            return
        self._leave(why)
        self._expect("end of the connection", self._limits.linger)
        # While a producer is registered, Twisted waits for it instead of closing.
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def abort(self, why: str) -> None:
        """Close at once; what was not sent is lost."""
        if not self.closing:
            self._leave(why)
        self._quiet()
        self.transport.abortConnection()

    def _leave(self, why: str) -> None:
        self.closing = True
        self._why = why
        self.resumeProducing()
        self._owner.stream_closing(self)

    def _quiet(self) -> None:
        self.resumeProducing()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.closing:
            self._leave(lost_because(reason))
        self._quiet()
        self._owner.stream_lost(self, self._why)
