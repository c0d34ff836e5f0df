"""Connections that carry SIP: framing, deadlines, bounds. No sockets: a Clock and string transports."""

from __future__ import annotations

from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.flows import Flows, NetReactor
from stellar_gw.net.stream import SipStream, StreamLimits
from stellar_gw.sip.flow import Flow, Listener
from stellar_gw.sip.parser import MalformedMessage

TCP = Listener(
    name="tcp", transport="tcp", bind=("127.0.0.1", 5060), advertise=("127.0.0.1", 5060), media_advertise="127.0.0.1"
)
OPTIONS = (
    b"OPTIONS sip:gw@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.7;branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\n"
    b"To: <sip:gw@127.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class Owner:
    """Writes down what it is told; answers framing errors with ``answer``."""

    def __init__(self) -> None:
        self.flows: Flows | None = None
        self.messages: list[bytes] = []
        self.errors: list[str] = []
        self.lost: list[int] = []
        self.used: set[int] = set()
        self.answer = b"SIP/2.0 400 Bad Request\r\n\r\n"

    def received(self, data: bytes, flow: Flow) -> None:
        self.messages.append(data)

    def malformed(self, error: MalformedMessage, flow: Flow) -> None:
        self.errors.append(error.reason)
        assert self.flows is not None
        self.flows.send(self.answer, flow)

    def flow_lost(self, flow: Flow) -> None:
        self.lost.append(flow.id)

    def uses(self, flow: Flow) -> bool:
        return flow.id in self.used


class Peer(StringTransport):
    """The transport of one accepted connection, which notes how it was closed."""

    def __init__(self, host: str = "192.0.2.7", port: int = 40000) -> None:
        super().__init__(IPv4Address("TCP", "127.0.0.1", 5060), IPv4Address("TCP", host, port))
        self.aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    @property
    def state(self) -> str:
        return "aborted" if self.aborted else "closed" if self.disconnecting else "open"


class StreamCase(SynchronousTestCase):
    """A table of flows with one TCP listener, on fake time."""

    limits = StreamLimits()

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.owner = Owner()
        self.flows = self.owner.flows = Flows(cast(NetReactor, self.reactor), limits=self.limits)
        self.flows.owner = self.owner
        self.factory = self.flows.stream_factory(TCP)

    def accept(self, host: str = "192.0.2.7", port: int = 40000) -> tuple[SipStream, Peer]:
        peer = Peer(host, port)
        stream = self.factory.buildProtocol(peer.getPeer())
        assert stream is not None
        stream.makeConnection(peer)
        return stream, peer

    def lose(self, stream: SipStream) -> None:
        stream.connectionLost(Failure(ConnectionDone()))


class FramingTests(StreamCase):
    def test_messages_are_handed_on_whole(self) -> None:
        """However the octets come, each message is handed on once and whole, with its flow."""
        stream, _ = self.accept()
        for octet in OPTIONS + OPTIONS:
            stream.dataReceived(bytes([octet]))
        stream.dataReceived(OPTIONS * 3)
        self.assertEqual(self.owner.messages, [OPTIONS] * 5)
        self.assertEqual(
            stream.flow,
            Flow(1, "tcp", "tcp", local=("127.0.0.1", 5060), remote=("192.0.2.7", 40000)),
        )

    def test_double_crlf_is_answered(self) -> None:
        """A double CRLF gets a CRLF at once (RFC 5626 4.4.1), and is no message."""
        stream, peer = self.accept()
        stream.dataReceived(b"\r\n\r\n")
        self.assertEqual((peer.value(), self.owner.messages), (b"\r\n", []))

    def test_framing_error_is_answered_then_closed(self) -> None:
        """A Content-Length that cannot be gets its 400 out, then the connection closes; what follows is ignored."""
        stream, peer = self.accept()
        stream.dataReceived(OPTIONS + OPTIONS.replace(b"Length: 0", b"Length: five") + OPTIONS)
        stream.dataReceived(OPTIONS)
        self.assertEqual(self.owner.messages, [OPTIONS])
        self.assertEqual(len(self.owner.errors), 1)
        self.assertEqual((peer.value(), peer.state), (self.owner.answer, "closed"))

    def test_close_that_does_not_end_is_cut(self) -> None:
        """A peer that does not take the close has its connection aborted five seconds later."""
        stream, peer = self.accept()
        stream.dataReceived(b"GARBAGE\r\n\r\n")
        self.reactor.advance(4.9)
        self.assertEqual(peer.state, "closed")
        self.reactor.advance(0.2)
        self.assertEqual(peer.state, "aborted")

    def test_sends_until_closed(self) -> None:
        """A flow takes packets until it is lost; then False says so, and the owner is told once."""
        stream, peer = self.accept()
        self.assertTrue(self.flows.send(b"one", stream.flow))
        self.lose(stream)
        self.assertEqual((self.flows.send(b"two", stream.flow), peer.value()), (False, b"one"))
        self.assertEqual((self.owner.lost, self.reactor.getDelayedCalls()), ([1], []))


class DeadlineTests(StreamCase):
    def test_silent_connection(self) -> None:
        """A connection that says nothing is aborted after ten seconds."""
        _, peer = self.accept()
        self.reactor.advance(9.9)
        self.assertEqual(peer.state, "open")
        self.reactor.advance(0.2)
        self.assertEqual(peer.state, "aborted")

    def test_one_octet_a_second(self) -> None:
        """Octets that trickle in do not move the deadline of the first message, nor do keepalives."""
        for octets in (OPTIONS, b"\r\n" * 50):
            stream, peer = self.accept()
            for octet in octets[:9]:
                stream.dataReceived(bytes([octet]))
                self.reactor.advance(1.0)
            self.assertEqual(peer.state, "open")
            self.reactor.advance(1.1)
            self.assertEqual(peer.state, "aborted")

    def test_partial_message_after_the_first(self) -> None:
        """A message once begun is whole within ten seconds, or the connection is aborted, used or not."""
        stream, peer = self.accept()
        self.owner.used = {stream.flow.id}
        stream.dataReceived(OPTIONS)
        self.reactor.advance(300)
        stream.dataReceived(OPTIONS[:20])
        self.reactor.advance(5)
        stream.dataReceived(OPTIONS[20:40])
        self.reactor.advance(4.9)
        self.assertEqual(peer.state, "open")
        self.reactor.advance(0.2)
        self.assertEqual(peer.state, "aborted")

    def test_each_message_has_its_own_ten_seconds(self) -> None:
        """Messages that are begun in the chunk that ends the one before are timed from there."""
        stream, peer = self.accept()
        stream.dataReceived(OPTIONS + OPTIONS[:10])
        for _ in range(5):
            self.reactor.advance(9)
            stream.dataReceived(OPTIONS[10:] + OPTIONS[:10])
        self.assertEqual((peer.state, len(self.owner.messages)), ("open", 6))

    def test_idle_after_speaking(self) -> None:
        """A connection that has spoken stays 600 s from its last message or keepalive, then is closed."""
        stream, peer = self.accept()
        stream.dataReceived(OPTIONS)
        self.reactor.advance(599)
        stream.dataReceived(b"\r\n\r\n")
        self.reactor.advance(599)
        self.assertEqual(peer.state, "open")
        self.reactor.advance(2)
        self.assertEqual(peer.state, "closed")

    def test_idle_while_a_dialog_uses_it(self) -> None:
        """While a dialog uses its flow a silent connection stays; it closes at the next look after that."""
        stream, peer = self.accept()
        stream.dataReceived(OPTIONS)
        self.owner.used = {stream.flow.id}
        self.reactor.pump([600.0] * 5)
        self.assertEqual(peer.state, "open")
        self.owner.used = set()
        self.reactor.advance(600)
        self.assertEqual(peer.state, "closed")


class UnreadTests(StreamCase):
    def test_peer_that_does_not_read_much(self) -> None:
        """Beyond 256 KiB that a peer leaves unread its connection is aborted, and the flow is gone."""
        stream, peer = self.accept()
        stream.pauseProducing()
        packet = b"x" * 65536
        sent = [self.flows.send(packet, stream.flow) for _ in range(6)]
        self.assertEqual((sent, peer.state), ([True] * 4 + [False] * 2, "aborted"))

    def test_peer_that_does_not_read_for_long(self) -> None:
        """A peer that reads nothing for 30 s loses its connection; one that reads again keeps it."""
        (slow, slow_peer), (better, better_peer) = self.accept(), self.accept(port=40001)
        for stream in (slow, better):
            stream.dataReceived(OPTIONS)
            stream.pauseProducing()
        self.reactor.advance(29)
        better.resumeProducing()
        self.reactor.advance(2)
        self.assertEqual((slow_peer.state, better_peer.state), ("aborted", "open"))

    def test_pings_are_no_way_around_the_bound(self) -> None:
        """Pongs count as unread too."""
        stream, peer = self.accept()
        stream.pauseProducing()
        stream.dataReceived(b"\r\n\r\n" * 140_000)
        self.assertEqual(peer.state, "aborted")


class GateTests(StreamCase):
    limits = StreamLimits(per_source=3, total=5)

    def refused(self, host: str) -> bool:
        return self.factory.buildProtocol(IPv4Address("TCP", host, 1)) is None

    def test_connections_of_one_source(self) -> None:
        """A source has at most so many connections; others are not affected; a lost one makes room."""
        streams = [self.accept(port=number)[0] for number in range(40000, 40003)]
        self.assertEqual((self.refused("192.0.2.7"), self.refused("192.0.2.8")), (True, False))
        self.lose(streams[0])
        self.assertFalse(self.refused("192.0.2.7"))
        self.assertEqual(self.flows.gate.counts, {"opened": 3, "refused_source": 1, "lost": 1})

    def test_connections_of_all(self) -> None:
        """All sources together have at most so many."""
        for number in range(5):
            self.accept(host=f"192.0.2.{number}")
        self.assertTrue(self.refused("198.51.100.1"))

    def test_ipv6_neighbours_are_one_source(self) -> None:
        """Addresses of one IPv6 /64 share one count, for its owner can use any of them."""
        for number in range(3):
            self.flows.gate.entered(f"2001:db8::{number}")
        self.assertEqual(
            (self.flows.gate.admits("2001:db8::ffff"), self.flows.gate.admits("2001:db8:0:1::1")), (False, True)
        )

    def test_many_refusals_are_few_lines(self) -> None:
        """A flood of refused connections writes thirty lines a minute, and one that counts the rest."""
        with capturedLogs() as events:
            for _ in range(3):
                self.accept()
            for _ in range(1000):
                self.refused("192.0.2.7")
            self.assertEqual(len(events), 30)
            self.reactor.advance(60)
            self.refused("192.0.2.7")
        self.assertEqual(
            [formatEvent(event) for event in events[29:]],
            [
                "connection refused: 192.0.2.7 has 3 open",
                "970 more lines about connections left out",
                "connection refused: 192.0.2.7 has 3 open",
            ],
        )

    def test_stopping_closes_all(self) -> None:
        """stop() closes what is open, takes nothing new, and fires when the last connection has gone."""
        stream, peer = self.accept()
        stopped = self.flows.stop()
        self.assertEqual((peer.state, self.refused("192.0.2.9")), ("closed", True))
        self.assertNoResult(stopped)
        self.lose(stream)
        self.assertEqual((self.successResultOf(stopped), self.reactor.getDelayedCalls()), (None, []))
