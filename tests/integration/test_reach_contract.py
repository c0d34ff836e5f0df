"""What both keepers of the ways to peers do: the real one on loopback, and the one in the network in memory."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as StreamProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from stellar_gw.call.ports import NoWay
from stellar_gw.gateway.driver import FlowTable
from stellar_gw.net.answers import Answer, Kind
from stellar_gw.net.flows import Flows
from stellar_gw.net.reach import Reach
from stellar_gw.net.resolver import Resolver
from stellar_gw.net.sockets import peer_address
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Flow, Listener, Transport, Way
from stellar_gw.sip.uri import parse_uri
from stellar_gw.testing.network import Network
from stellar_gw.testing.reach import MemoryReach

reactor = cast(Any, _reactor)

HOST = "127.0.0.1"
PEERS = ("127.0.0.2", "127.0.0.3")
NAMES = {"sbc.example": PEERS}


class Owner:
    """Takes what comes in, and leaves it."""

    def received(self, data: bytes, flow: Flow) -> None: ...

    def malformed(self, error: object, flow: Flow) -> None: ...

    def flow_lost(self, flow: Flow) -> None: ...

    def uses(self, flow: Flow) -> bool:
        return True


class ReachContract(TestCase):
    """The contract.

    :ivar reach: has one UDP and one TCP listener at :data:`HOST`, and knows :data:`NAMES`.
    :ivar port: where both peers listen for TCP; nobody listens at the next one.
    """

    reach: FlowTable
    port: int

    def later(self, seconds: float) -> None:
        """Let so many seconds pass."""
        raise NotImplementedError

    async def ways(self, uri: str, tls_name: str = "", client_certificate: str = "") -> tuple[Way, ...]:
        return await self.reach.route(parse_uri(uri), tls_name=tls_name, client_certificate=client_certificate)

    async def test_an_address_is_its_own_way(self) -> None:
        """Transport and port are as the URI says, else UDP and the transport's own."""
        uris = ("sip:a@192.0.2.1", "sip:192.0.2.1:5070;transport=tcp", "sip:[2001:db8::1]")
        self.assertEqual(
            [(await self.ways(uri))[0] for uri in uris],
            [
                Way(transport="udp", host="192.0.2.1", port=5060),
                Way(transport="tcp", host="192.0.2.1", port=5070),
                Way(transport="udp", host="2001:db8::1", port=5060),
            ],
        )

    async def test_a_sips_uri_leads_to_tls_alone(self) -> None:
        """The certificate must carry the URI's host, or the name that is given; ours is shown where one is named."""
        way = Way(transport="tls", host="192.0.2.1", port=5061, server_name="192.0.2.1")
        named = Way(
            transport="tls",
            host="192.0.2.1",
            port=5061,
            server_name="sip.trunk.example",
            client_certificate="ours.pem",
        )
        again = await self.ways("sips:192.0.2.1;transport=tcp", "sip.trunk.example", "ours.pem")
        self.assertEqual((await self.ways("sips:a@192.0.2.1"), again), ((way,), (named,)))

    async def test_terms_of_tls_are_for_tls(self) -> None:
        """In the clear nobody is verified and nothing shown."""
        ways = await self.ways("sip:192.0.2.1", tls_name="sip.trunk.example", client_certificate="ours.pem")
        self.assertEqual(ways, (Way(transport="udp", host="192.0.2.1", port=5060),))

    async def test_nowhere(self) -> None:
        """A name that is not there, a number and an unknown transport fail, and say why."""
        for uri, why in (
            ("sip:none.example", "none.example has no address in DNS"),
            ("tel:+31201234567", "TelUri has no host to send to"),
            ("sip:192.0.2.1;transport=ws", "transport 'ws' is not spoken here"),
        ):
            error = await self.assertFailure(self.reach.route(parse_uri(uri)), NoWay)
            self.assertEqual(str(error), why)

    async def test_failed_ways_come_last_for_a_while(self) -> None:
        """A way that is marked moves behind the others, and back when its time is over."""
        uri = f"sip:sbc.example:{self.port};transport=tcp"
        first, second = await self.ways(uri)
        self.assertEqual((first.host, second.host), PEERS)
        self.reach.mark_failed(first, 30.0)
        self.assertEqual(await self.ways(uri), (second, first))
        self.later(30.0)
        self.assertEqual(await self.ways(uri), (first, second))

    async def test_a_way_that_does_not_open_has_failed(self) -> None:
        """Nobody listens there: it fails, names the way, and the way comes last."""
        first, second = await self.ways(f"sip:sbc.example:{self.port + 1};transport=tcp")
        error = await self.assertFailure(self.reach.open(first), NoWay)
        self.assertEqual(str(error), f"{PEERS[0]}:{self.port + 1} over TCP: connection refused: nothing listens there")
        self.assertEqual(await self.ways(f"sip:sbc.example:{self.port + 1};transport=tcp"), (second, first))

    async def test_what_is_open_is_used_again(self) -> None:
        """Two opens of one way share its connection; over UDP a flow is always the same."""
        for transport in ("udp", "tcp"):
            way = Way(transport=transport, host=PEERS[0], port=self.port)
            flow = await self.reach.open(way, transport)
            self.assertEqual((flow.transport, flow.listener, flow.remote), (transport, transport, (way.host, way.port)))
            self.assertEqual((await self.reach.open(way), self.reach.send(b"\r\n\r\n", flow)), (flow, True))

    async def test_no_listener(self) -> None:
        """What no listener of ours speaks cannot be opened."""
        error = await self.assertFailure(self.reach.open(Way(transport="tls", host=PEERS[0], port=1)), NoWay)
        self.assertEqual(str(error)[:15], "no TLS listener")

    async def test_inside_a_dialog(self) -> None:
        """The flow that is asked for goes to the first way that opens."""
        self.reach.mark_failed(Way(transport="tcp", host=PEERS[0], port=self.port))
        needed = FlowNeeded(1, parse_uri(f"sip:sbc.example:{self.port};transport=tcp"), "tcp", None)
        flow = await self.reach.open_for(needed)
        self.assertEqual(flow.remote, (PEERS[1], self.port))


class MemoryReachTests(ReachContract):
    """The network in memory."""

    port = 5060

    def setUp(self) -> None:
        self.network = Network(Clock())
        for host in PEERS:
            self.network.listen((host, self.port), lambda stream: None)
        names = {name: [(host, 5060) for host in hosts] for name, hosts in NAMES.items()}
        memory = self.reach = MemoryReach(self.network, listeners((HOST, 5060)), names)
        memory.owner = Owner()

    def later(self, seconds: float) -> None:
        self.network.run(seconds)


class RealReachTests(ReachContract):
    """Sockets on loopback."""

    def setUp(self) -> None:
        self._late = 0.0
        self.port = self._peers()
        flows = Flows(reactor)
        flows.owner = Owner()
        for listener in listeners((HOST, 0)):
            if listener.transport == "udp":
                self._stop_later(reactor.listenUDP(0, flows.udp(listener), HOST))
            else:
                flows.client_only(listener)
        self.addCleanup(flows.stop)
        self.reach = Reach(flows, Resolver(reactor, lookup), lambda: reactor.seconds() + self._late)

    def _peers(self) -> int:
        """Both listen at one port, and the next is free."""
        for _ in range(100):
            first = reactor.listenTCP(0, Factory.forProtocol(StreamProtocol), interface=PEERS[0])
            self._stop_later(first)
            port = peer_address(first.getHost())[1]
            try:
                self._stop_later(reactor.listenTCP(port, Factory.forProtocol(StreamProtocol), interface=PEERS[1]))
            except OSError:
                continue
            return port
        raise AssertionError("no port is free")

    def _stop_later(self, port: Any) -> None:
        self.addCleanup(lambda: maybeDeferred(port.stopListening))

    def later(self, seconds: float) -> None:
        self._late += seconds


def listeners(bind: tuple[str, int]) -> list[Listener]:
    transports: tuple[Transport, ...] = ("udp", "tcp")
    return [Listener(name=each, transport=each, bind=bind, advertise=bind, media_advertise=HOST) for each in transports]


def lookup(name: str, kind: Kind) -> Deferred[Answer]:
    return succeed(Answer(NAMES.get(name, ()) if kind == "A" else (), 60.0))


del ReachContract  # trial would run it by itself
