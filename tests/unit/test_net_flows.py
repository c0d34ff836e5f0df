"""Opening flows: shared, cancelled, refused, late. A MemoryReactorClock stands for the network."""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.flows import FlowFailed, Flows, NetReactor
from stellar_gw.sip.flow import Flow, Listener, Way
from tests.unit.test_net_stream import OPTIONS, TCP, Owner, Peer, StreamCase

UDP = Listener(
    name="udp", transport="udp", bind=("127.0.0.1", 5060), advertise=("127.0.0.1", 5060), media_advertise="127.0.0.1"
)


def tcp(host: str, port: int = 5060) -> Way:
    return Way(transport="tcp", host=host, port=port)


class OpenTests(StreamCase):
    def connect(self, number: int = 0, host: str = "198.51.100.2") -> Peer:
        """Let the connection attempt of that number succeed."""
        factory = self.reactor.tcpClients[number][2]
        peer = Peer(host, 5060)
        protocol = factory.buildProtocol(peer.getPeer())
        assert protocol is not None
        protocol.makeConnection(peer)
        return peer

    def refuse(self, number: int = 0) -> None:
        factory, connector = self.reactor.tcpClients[number][2], self.reactor.connectors[number]
        factory.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))

    def why(self, failed: Deferred[Flow]) -> str:
        return str(self.failureResultOf(failed, FlowFailed).value)

    def test_two_who_want_the_same_share_it(self) -> None:
        """Opens of one target make one connection, before and after it is up; another target makes its own."""
        first = self.flows.open(tcp("198.51.100.2"), "tcp")
        second = self.flows.open(tcp("198.51.100.2"), "tcp")
        self.connect()
        third = self.flows.open(tcp("198.51.100.2"), "tcp")
        flow = Flow(1, "tcp", "tcp", ("127.0.0.1", 5060), ("198.51.100.2", 5060))
        self.assertEqual([self.successResultOf(each) for each in (first, second, third)], [flow] * 3)
        self.flows.open(tcp("198.51.100.2", 5070), "tcp")
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_the_listeners_address_is_used(self) -> None:
        """Connections of ours leave from the listener's address, so that a peer's firewall knows us."""
        self.flows.open(tcp("198.51.100.2"), "tcp")
        host, port, _, _, bind = self.reactor.tcpClients[0]
        self.assertEqual((host, port, bind), ("198.51.100.2", 5060, ("127.0.0.1", 0)))

    def test_a_connection_that_the_peer_opened_is_reused(self) -> None:
        """Over TCP, a peer that connected from the very address is reached on its connection."""
        stream, _ = self.accept(host="192.0.2.7", port=5060)
        self.assertEqual(self.successResultOf(self.flows.open(tcp("192.0.2.7"))), stream.flow)

    def test_a_lost_connection_is_made_anew(self) -> None:
        """After a loss the owner has been told, and the next open connects again with a new id."""
        opened = self.flows.open(tcp("198.51.100.2"))
        self.connect()
        first = self.successResultOf(opened)
        self.flows._streams[first.id].connectionLost(Failure(ConnectionDone()))
        again = self.flows.open(tcp("198.51.100.2"))
        self.connect(1)
        self.assertEqual((self.owner.lost, self.successResultOf(again).id), ([1], 2))

    def test_our_own_connection_need_not_hear_anything(self) -> None:
        """A connection of ours stays for the idle time even if the peer says nothing."""
        self.flows.open(tcp("198.51.100.2"))
        peer = self.connect()
        self.reactor.advance(599)
        self.assertEqual(peer.state, "open")
        self.reactor.advance(2)
        self.assertEqual(peer.state, "closed")

    def test_refused(self) -> None:
        """A refused connection fails all who wait, in words, and leaves nothing behind."""
        waiting = [self.flows.open(tcp("198.51.100.2")) for _ in range(2)]
        self.refuse()
        self.assertEqual(
            [self.why(each) for each in waiting],
            ["198.51.100.2:5060 over TCP: connection refused: nothing listens there"] * 2,
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_late(self) -> None:
        """No connection within ten seconds is a failure; one that comes up afterwards is closed."""
        opened = self.flows.open(tcp("198.51.100.2"))
        self.reactor.advance(10.1)
        self.assertEqual(self.why(opened), "198.51.100.2:5060 over TCP: no connection within 10 s")

    def test_one_who_gives_up(self) -> None:
        """Cancelling one wish leaves the others theirs."""
        first, second = (self.flows.open(tcp("198.51.100.2")) for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.connect()
        self.assertEqual(self.successResultOf(second).id, 1)

    def test_all_give_up(self) -> None:
        """When nobody waits any more the attempt ends."""
        opened = self.flows.open(tcp("198.51.100.2"))
        opened.cancel()
        self.failureResultOf(opened, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        again = self.flows.open(tcp("198.51.100.2"))
        self.connect(1)
        self.assertEqual(self.successResultOf(again).remote, ("198.51.100.2", 5060))

    def test_no_listener_for_it(self) -> None:
        """Without a listener of the transport and family there is no Via to send with; the error says what to add."""
        self.assertEqual(
            [
                self.why(self.flows.open(Way(transport="tls", host="198.51.100.2", port=5061))),
                self.why(self.flows.open(tcp("2001:db8::1", 1))),
            ],
            [
                "no TLS listener for IPv4 to reach 198.51.100.2 from: add one to listeners",
                "no TCP listener for IPv6 to reach 2001:db8::1 from: add one to listeners",
            ],
        )

    def test_stopping(self) -> None:
        """stop() fails what is being opened, and whoever asks later."""
        opened = self.flows.open(tcp("198.51.100.2"))
        self.successResultOf(self.flows.stop())
        self.assertEqual(
            (self.why(opened), self.why(self.flows.open(tcp("198.51.100.2")))),
            ("198.51.100.2:5060 over TCP: the gateway is stopping", "the gateway is stopping"),
        )


class FlowIdTests(SynchronousTestCase):
    def test_udp_flows_are_the_same_way_again(self) -> None:
        """Over UDP a flow to a peer is equal whenever it is made, and never equal to a connection."""
        made = []
        for _ in range(2):
            flows = Flows(cast(NetReactor, MemoryReactorClock()))
            flows.owner = Owner()
            protocol = flows.udp(UDP)
            flows.stream_factory(TCP)
            made += [
                protocol.flow_to(("192.0.2.7", 5060)),
                self.successResultOf(flows.open(Way(transport="udp", host="192.0.2.7", port=5060))),
            ]
        self.assertEqual(len(set(made)), 1)
        self.assertLess(made[0].id, 0)

    def test_unknown_flows_are_gone(self) -> None:
        """Sending on a flow of a listener or connection that is not there is False."""
        flows = Flows(cast(NetReactor, MemoryReactorClock()))
        address = ("192.0.2.7", 5060)
        self.assertEqual(
            [flows.send(OPTIONS, Flow(7, name, "x", address, address)) for name in ("udp", "tcp", "tls")],
            [False] * 3,
        )
