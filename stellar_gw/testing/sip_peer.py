"""A SIP peer on a core of its own, in the network in memory: phone, trunk or phone system of a story."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall

from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import Ended, Event, FlowNeeded, RequestReceived, Token, UsageId
from stellar_gw.sip.flow import Address, Flow, Listener, Transport
from stellar_gw.sip.framing import StreamFramer
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.params import NO_PARAMS, Params
from stellar_gw.sip.parser import MalformedMessage, parse_message
from stellar_gw.sip.timers import Timers
from stellar_gw.sip.uri import SipUri, TelUri
from stellar_gw.sip.values import NameAddr
from stellar_gw.sip.wire import DEFAULT_PORTS
from stellar_gw.testing.network import Network, Stream

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 40000 RTP/AVP 9 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
ANSWER = (
    b"v=0\r\no=- 2 1 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\n"
    b"m=audio 50000 RTP/AVP 9 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)

Script = Callable[["SipPeer", Event], None]


def answers(peer: SipPeer, event: Event) -> None:
    """The friendliest script: ring, and answer at once."""
    if isinstance(event, RequestReceived):
        usage = peer.core.accept(event.request, event.flow, peer.now)
        if usage is not None:
            peer.core.ring(usage, peer.now)
            peer.core.answer(usage, ANSWER, peer.now)


class SipPeer:
    """One user agent with one UDP socket, or one TCP port, at ``host``.

    :ivar events: all that its core has told, in order.
    :ivar heard: every message that arrived, in order.
    :ivar said: every message that was sent, in order.
    :param script: called with each event; after it, and after :meth:`turn`, everything goes out.
    """

    def __init__(
        self,
        network: Network,
        host: str,
        *,
        script: Script = lambda peer, event: None,
        port: int = 5060,
        transport: Transport = "udp",
        timers: Timers = Timers(),  # noqa: B008 - frozen
        able: Capabilities = Capabilities(),  # noqa: B008 - frozen
        seed: int = 0,
    ) -> None:
        self.network, self.host, self.port, self.script = network, host, port, script
        self.listener = Listener(
            name=transport, transport=transport, bind=(host, port), advertise=(host, port), media_advertise=host
        )
        random = Random(f"{host}:{port}:{seed}")
        self.core = SipCore(
            {transport: self.listener}, user_agent=f"peer {host}", rng=random.randbytes, timers=timers, able=able
        )
        self.events: list[Event] = []
        self.heard: list[bytes] = []
        self.said: list[bytes] = []
        self._flows: dict[Address, Flow] = {}
        self._streams: dict[Flow, Stream] = {}
        self._next_flow = 0
        self._turning = False
        self._wakeup: IDelayedCall | None = None
        if transport == "udp":
            self._socket = network.bind((host, port), lambda data, source: self._receive(data, self.flow_to(source)))
        else:
            network.listen((host, port), self._accepted)

    @property
    def now(self) -> float:
        return self.network.clock.seconds()

    # Verbs; anything else is asked of the core, and turn() called

    def uri(self, user: str = "600") -> SipUri:
        """Its address, for others to call."""
        params = NO_PARAMS if self.listener.transport == "udp" else Params([("transport", self.listener.transport)])
        return SipUri(user=user, host=self.host, port=self.port, params=params)

    def call(
        self,
        callee: SipPeer,
        body: bytes = OFFER,
        *,
        credentials: ClientCredentials | None = None,
        flow: Flow | None = None,
    ) -> UsageId:
        """Call another peer."""
        return self.call_uri(callee.uri(), flow or self.flow_to((callee.host, callee.port)), body, credentials)

    def call_uri(
        self,
        uri: SipUri | TelUri,
        flow: Flow,
        body: bytes = OFFER,
        credentials: ClientCredentials | None = None,
    ) -> UsageId:
        usage = self.core.invite(
            uri,
            flow,
            self.now,
            from_=NameAddr("", self.uri("caller")),
            to=NameAddr("", uri),
            body=body,
            credentials=credentials,
        )
        self.turn()
        return usage

    def bye(self, usage: UsageId) -> None:
        self.core.bye(usage, self.now)
        self.turn()

    def cancel(self, usage: UsageId) -> None:
        self.core.cancel(usage, self.now)
        self.turn()

    def options(self, peer: SipPeer) -> Token:
        token = self.core.request(
            "OPTIONS",
            peer.uri(),
            self.flow_to((peer.host, peer.port)),
            self.now,
            from_=NameAddr("", self.uri("ping")),
            to=NameAddr("", peer.uri()),
        )
        self.turn()
        return token

    # What there is to see

    def told(self, kind: type[Event]) -> list[Event]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def endings(self, usage: UsageId) -> list[tuple[str, str]]:
        """Cause and by of every Ended of a usage; there must be one at most."""
        return [(event.cause, event.by) for event in self.events if isinstance(event, Ended) and event.usage == usage]

    def ladder(self) -> list[str]:
        """What was said, by method or status: ``INVITE``, ``100``, ``ACK``."""
        return [brief(data) for data in self.said]

    # Flows

    def flow_to(self, address: Address) -> Flow:
        """A UDP flow, or a connection that is up or is made for it.

        :raise ConnectionRefusedError: nobody listens there.
        """
        flow = self._flows.get(address)
        if flow is not None:
            return flow
        if self.listener.transport == "udp":
            return self._new_flow((self.host, self.port), address)
        stream = self.network.connect(self.host, address)
        if stream is None:
            raise ConnectionRefusedError(f"nobody listens at {address}")
        return self._use(stream)

    def cut(self, flow: Flow) -> None:
        """Close a connection."""
        self._streams[flow].close()
        self._lost(flow)

    def _new_flow(self, local: Address, remote: Address) -> Flow:
        self._next_flow += 1
        flow = Flow(self._next_flow, self.listener.transport, self.listener.name, local, remote)
        self._flows[remote] = flow
        return flow

    def _accepted(self, stream: Stream) -> None:
        self._use(stream)

    def _use(self, stream: Stream) -> Flow:
        flow = self._new_flow(stream.local, stream.remote)
        self._streams[flow] = stream
        framer = StreamFramer()

        def received(data: bytes) -> None:
            for item in framer.feed(data):
                if isinstance(item, bytes):
                    self._receive(item, flow)
                elif isinstance(item, MalformedMessage):
                    self.core.malformed(item, flow, self.now)
                    self.turn()
                    self.cut(flow)

        stream.received, stream.lost = received, lambda: self._lost(flow)
        return flow

    def _lost(self, flow: Flow) -> None:
        self._streams.pop(flow, None)
        if self._flows.get(flow.remote) is flow:
            del self._flows[flow.remote]
        self.core.flow_lost(flow, self.now)
        self.turn()

    # Turning

    def _receive(self, data: bytes, flow: Flow) -> None:
        self.heard.append(data)
        self.core.receive(data, flow, self.now)
        self.turn()

    def turn(self) -> None:
        """Let out what the core has to say."""
        if self._turning:
            return
        self._turning = True
        try:
            while self._step():
                pass
        finally:
            self._turning = False
        self._rearm()

    def _step(self) -> bool:
        packets = self.core.to_send()
        for data, flow in packets:
            self._send(data, flow)
        event = self.core.next_event()
        if isinstance(event, FlowNeeded):
            self._find(event)
        elif event is not None:
            self.events.append(event)
            self.script(self, event)
        return bool(packets) or event is not None

    def _send(self, data: bytes, flow: Flow) -> None:
        self.said.append(data)
        if flow.transport == "udp":
            self._socket.send(data, flow.remote)
        elif flow not in self._streams or not self._streams[flow].send(data):
            self.core.flow_lost(flow, self.now)

    def _find(self, needed: FlowNeeded) -> None:
        """Find a way to a numeric address; to a name there is only the fallback."""
        uri, why = needed.uri, "not resolvable"
        flow = needed.fallback
        if isinstance(uri, SipUri) and uri.host.replace(".", "").isdigit():
            try:
                flow = self.flow_to((uri.host, uri.port or DEFAULT_PORTS[self.listener.transport]))
            except ConnectionRefusedError as error:
                flow, why = None, str(error)
        if flow is not None:
            self.core.flow_ready(needed.token, flow, self.now)
        else:
            self.core.flow_failed(needed.token, why, self.now)

    def _rearm(self) -> None:
        if self._wakeup is not None and self._wakeup.active():
            self._wakeup.cancel()
        due = self.core.next_timer()
        self._wakeup = None
        if due is not None:
            self._wakeup = self.network.clock.callLater(max(0.0, due - self.now), self._expire)

    def _expire(self) -> None:
        self.core.advance(self.now)
        self.turn()


def brief(data: bytes) -> str:
    """A message by its method or status."""
    message: Request | Response = parse_message(data, stream=False)
    return message.method if isinstance(message, Request) else f"{message.status} {message.cseq.method}"


class Spy:
    """A SIP peer without a core, for what no core would ever send: raw messages out of a UDP socket.

    :ivar heard: every datagram that arrived, in order.
    """

    def __init__(self, network: Network, host: str, port: int = 5060) -> None:
        self.heard: deque[bytes] = deque()
        self._socket = network.bind((host, port), lambda data, source: self.heard.append(data))

    def send(self, data: bytes, to: Address) -> None:
        self._socket.send(data, to)
