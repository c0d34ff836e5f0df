"""What a UDP transport must do for an RTP leg: one suite over the poller, ``listenUDP`` and the one in memory."""

from __future__ import annotations

import socket
from errno import (
    EACCES,
    ECONNREFUSED,
    EHOSTDOWN,
    EHOSTUNREACH,
    EMSGSIZE,
    ENETUNREACH,
    ENONET,
    ENOPROTOOPT,
    ENOSPC,
    EOPNOTSUPP,
    EPROTO,
)
from typing import Any, cast

from twisted.internet import error
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from stellar_gw.media.workspace import Workspace
from stellar_gw.testing.datagram import DatagramNetwork
from stellar_gw.worker.intake import Passage
from stellar_gw.worker.poller import BATCH, GATHER, TURN, DatagramPoller

LOOPBACK = "127.0.0.1"
reactor: Any = installed_reactor


class Recorder(DatagramProtocol):
    """Keep what arrives; ``arrived(n)`` fires once n datagrams have."""

    noisy = False

    def __init__(self) -> None:
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self.life: list[str] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self.refused: Deferred[None] = Deferred()

    def startProtocol(self) -> None:
        self.life.append("started")

    def stopProtocol(self) -> None:
        self.life.append("stopped")

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.received.append((datagram, addr))
        for count, waiting in list(self._waiting):
            if len(self.received) >= count:
                self._waiting.remove((count, waiting))
                waiting.callback(None)

    def connectionRefused(self) -> None:
        if not self.refused.called:
            self.refused.callback(None)

    def arrived(self, count: int) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        if len(self.received) >= count:
            waiting.callback(None)
        else:
            self._waiting.append((count, waiting))
        waiting.addTimeout(10, reactor)
        return waiting


class TransportContract:
    """The suite; a subclass says how to listen."""

    def listen(self: Any, protocol: DatagramProtocol, host: str = LOOPBACK, port: int = 0) -> Any:
        raise NotImplementedError

    def open(self: Any, protocol: DatagramProtocol, host: str = LOOPBACK, port: int = 0) -> Any:
        transport = self.listen(protocol, host, port)
        self.addCleanup(transport.stopListening)
        return transport

    def pair(self: Any) -> tuple[Recorder, Any, Recorder, Any]:
        a, b = Recorder(), Recorder()
        return a, self.open(a), b, self.open(b)

    @staticmethod
    def address(transport: Any) -> tuple[str, int]:
        host = transport.getHost()
        return host.host, host.port

    def test_interface(self: Any) -> None:
        """It provides IUDPTransport."""
        verifyObject(IUDPTransport, self.open(Recorder()))

    def test_start(self: Any) -> None:
        """Listening gives the protocol its transport and starts it, once."""
        protocol = Recorder()
        transport = self.open(protocol)
        self.assertIs(protocol.transport, transport)
        self.assertEqual(protocol.life, ["started"])

    def test_host(self: Any) -> None:
        """getHost names the address bound, with the port that port 0 became."""
        host = self.open(Recorder()).getHost()
        self.assertEqual((host.type, host.host), ("UDP", LOOPBACK))
        self.assertGreater(host.port, 1023)

    async def test_datagrams(self: Any) -> None:
        """Datagrams arrive whole, in order, with their sender's address; empty ones and large ones too."""
        _, sender, receiver, there = self.pair()
        sent = [b"one", b"", b"x" * 9000, b"last"]
        for datagram in sent:
            sender.write(datagram, self.address(there))
        await receiver.arrived(len(sent))
        self.assertEqual(receiver.received, [(datagram, self.address(sender)) for datagram in sent])

    async def test_ipv6(self: Any) -> None:
        """Over IPv6 addresses are host and port alone, without flow label and scope."""
        a, b = Recorder(), Recorder()
        sender, there = self.open(a, "::1"), self.open(b, "::1")
        sender.write(b"six", self.address(there))
        await b.arrived(1)
        self.assertEqual(b.received, [(b"six", ("::1", sender.getHost().port))])
        self.assertEqual(there.getHost().host, "::1")

    async def test_connected(self: Any) -> None:
        """A connected transport sends without an address, and a second connect is refused."""
        _, sender, receiver, there = self.pair()
        sender.connect(*self.address(there))
        sender.write(b"to whom it may concern", None)
        sender.write(b"and again", self.address(there))
        await receiver.arrived(2)
        self.assertEqual([datagram for datagram, _ in receiver.received], [b"to whom it may concern", b"and again"])
        self.assertRaises(RuntimeError, sender.connect, LOOPBACK, 9)

    async def test_refused(self: Any) -> None:
        """A connected protocol hears that nobody listens there; writing on does not raise."""
        nobody = self.listen(Recorder())
        address = self.address(nobody)
        await nobody.stopListening()
        protocol = Recorder()
        transport = self.open(protocol)
        transport.connect(*address)
        transport.write(b"anybody?", None)  # the second write is told what became of the first
        transport.write(b"still nobody?", None)
        protocol.refused.addTimeout(10, reactor)
        await protocol.refused

    def test_names(self: Any) -> None:
        """A host name is refused everywhere: to resolve it would block every call."""
        transport = self.open(Recorder())
        self.assertRaises(error.InvalidAddressError, transport.write, b"x", ("localhost", 9))
        self.assertRaises(error.InvalidAddressError, transport.connect, "localhost", 9)
        self.assertRaises(error.InvalidAddressError, self.listen, Recorder(), "localhost")

    def test_family(self: Any) -> None:
        """An IPv4 transport does not write to IPv6 addresses."""
        self.assertRaises(error.InvalidAddressError, self.open(Recorder()).write, b"x", ("::1", 9))

    def test_too_long(self: Any) -> None:
        """What fits into no datagram raises MessageLengthError."""
        transport = self.open(Recorder())
        self.assertRaises(error.MessageLengthError, transport.write, bytes(65508), self.address(transport))

    def test_taken(self: Any) -> None:
        """A port that is taken raises CannotListenError."""
        port = self.open(Recorder()).getHost().port
        self.assertRaises(error.CannotListenError, self.listen, Recorder(), LOOPBACK, port)

    async def test_stop(self: Any) -> None:
        """stopListening stops the protocol in a later turn, takes its transport and frees the port."""
        protocol = Recorder()
        transport = self.listen(protocol)
        port = transport.getHost().port
        stopped = transport.stopListening()
        self.assertEqual(protocol.life, ["started"])
        await stopped
        self.assertEqual((protocol.life, protocol.transport), (["started", "stopped"], None))
        self.open(Recorder(), LOOPBACK, port)

    async def test_stop_while_receiving(self: Any) -> None:
        """A protocol may stop its transport from datagramReceived, and still write until it is stopped."""

        class Last(Recorder):
            stopping: Any = None

            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                super().datagramReceived(datagram, addr)
                self.stopping = cast(Any, self.transport).stopListening()
                cast(Any, self.transport).write(b"bye", addr)

        last, peer = Last(), Recorder()
        transport = self.listen(last)
        from_peer = self.open(peer)
        address = self.address(transport)
        from_peer.write(b"1", address)
        from_peer.write(b"2", address)
        await peer.arrived(1)
        await last.stopping
        self.assertEqual((last.received[0], last.life[-1]), ((b"1", self.address(from_peer)), "stopped"))
        self.assertEqual(peer.received, [(b"bye", address)])


class Reconnecting:
    """What the workers' transports can besides."""

    async def test_disconnected(self: Any) -> None:
        """A connected transport hears its one peer alone; once disconnected it hears everybody, and sends anywhere."""
        receiver, to, friend, from_friend = self.pair()
        stranger = Recorder()
        from_stranger = self.open(stranger)
        to.connect(*self.address(from_friend))
        from_stranger.write(b"unheard", self.address(to))
        from_friend.write(b"1", self.address(to))
        await receiver.arrived(1)
        to.disconnect()
        to.disconnect()
        from_stranger.write(b"2", self.address(to))
        await receiver.arrived(2)
        to.write(b"3", self.address(from_stranger))
        await stranger.arrived(1)
        to.connect(*self.address(from_stranger))
        to.write(b"4")
        await stranger.arrived(2)
        heard = [(b"1", self.address(from_friend)), (b"2", self.address(from_stranger))]
        self.assertEqual((receiver.received, friend.received, to.connected), (heard, [], self.address(from_stranger)))

    async def test_disconnected_wildcard(self: Any) -> None:
        """The port stays bound when a connection of a socket on all addresses is dissolved."""
        receiver, friend = Recorder(), Recorder()
        to, from_friend = self.open(receiver, "0.0.0.0"), self.open(friend)
        port = to.getHost().port
        to.connect(*self.address(from_friend))
        to.disconnect()
        self.assertEqual(to.getHost().port, port)


class ListenUdpContractTests(TransportContract, TestCase):
    def listen(self, protocol: DatagramProtocol, host: str = LOOPBACK, port: int = 0) -> Any:
        return reactor.listenUDP(port, protocol, host, maxPacketSize=65535)

    # listenUDP reads on after stopListening within the same turn, so the second datagram may arrive: its own business
    async def test_stop_while_receiving(self) -> None:
        """A protocol may stop its transport from datagramReceived, and still write until it is stopped."""

        class Last(Recorder):
            stopping: Any = None

            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                super().datagramReceived(datagram, addr)
                if self.stopping is None:
                    self.stopping = cast(Any, self.transport).stopListening()
                    cast(Any, self.transport).write(b"bye", addr)

        last, peer = Last(), Recorder()
        transport = self.listen(last)
        from_peer = self.open(peer)
        address = self.address(transport)
        from_peer.write(b"1", address)
        await peer.arrived(1)
        await last.stopping
        self.assertEqual((last.life[-1], peer.received), ("stopped", [(b"bye", address)]))


class MemoryContractTests(Reconnecting, TransportContract, TestCase):
    def setUp(self) -> None:
        self.network = DatagramNetwork(reactor)

    def listen(self, protocol: DatagramProtocol, host: str = LOOPBACK, port: int = 0) -> Any:
        return self.network.listen(protocol, host, port)


class PollerContractTests(Reconnecting, TransportContract, TestCase):
    def setUp(self) -> None:
        self.poller = DatagramPoller(reactor)
        self.addCleanup(self.poller.close)

    def listen(self, protocol: DatagramProtocol, host: str = LOOPBACK, port: int = 0) -> Any:
        return self.poller.listen(protocol, host, port)


ICMP_ERRORS = (
    ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENONET, ENOPROTOOPT, EMSGSIZE, EPROTO, EACCES, EOPNOTSUPP
)  # fmt: skip
"""What an ICMP message may make of the next use of a connected socket (Linux: net/ipv4/icmp.c, net/ipv6/icmp.c)."""


class Told:
    """A socket whose next use is told what an ICMP message said."""

    def __init__(self, kernel: socket.socket, number: int) -> None:
        self._kernel = kernel
        self._numbers = [number]

    def __getattr__(self, name: str) -> Any:
        if name in ("recv_into", "recvfrom_into", "recv", "send", "sendto") and self._numbers:
            return self._raise
        return getattr(self._kernel, name)

    def _raise(self, *_: object) -> None:
        raise OSError(self._numbers.pop(), "an ICMP message")


class Noted(Passage):
    """Takes everything, and notes the sources that it was told of."""

    def __init__(self, source: tuple[str, int], workspace: Workspace, *, perishable: bool = True) -> None:
        super().__init__(source, perishable)
        self._workspace = workspace
        self.taken: list[tuple[bytes, object]] = []

    def take(self, octets: int, source: object) -> bool:
        self.taken.append((bytes(self._workspace.piece(octets)), source))
        return True


class PollerTests(TestCase):
    """What the poller promises beyond the interface."""

    def setUp(self) -> None:
        self.poller = DatagramPoller(reactor)
        self.addCleanup(self.poller.close)
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.peer.close)
        self.peer.bind((LOOPBACK, 0))

    def open(self, protocol: Recorder | None = None) -> Any:
        return self.poller.listen(protocol or Recorder(), LOOPBACK, 0)

    def send(self, data: bytes, to: Any) -> None:
        self.peer.sendto(data, (LOOPBACK, to.getHost().port))

    def test_between(self) -> None:
        """What is due elsewhere is looked at after every 16 datagrams, and may close the poller."""
        sockets = [self.open() for _ in range(2 * BATCH + 4)]
        for transport in sockets:
            self.send(b"1", transport)
        taken: list[int] = []
        self.poller.between = lambda: taken.append(self.poller.counts.received)
        self.poller.doRead()
        self.assertEqual(taken, [16, 32, 36])
        self.send(b"2", sockets[0])
        self.send(b"2", sockets[1])
        self.poller.between = self.poller.close
        self.poller.doRead()
        self.assertEqual(self.poller.counts.received, 38)

    def gatherer(self) -> tuple[DatagramPoller, list[float], list[float], Any]:
        """A poller with a clock of its own, when it rests until when, and a socket of it."""
        now, rested = [10.0], list[float]()
        poller = DatagramPoller(reactor, now=lambda: now[0])
        self.addCleanup(poller.close)
        poller.rest = rested.append
        return poller, now, rested, poller.listen(Recorder(), LOOPBACK, 0)

    def test_gathered(self) -> None:
        """Where more than four packets come in a millisecond, a turn rests until a millisecond after its beginning;
        where fewer do, never."""
        poller, now, rested, transport = self.gatherer()
        expected: list[float] = []
        for a_ms in (5, 3, 6):
            for turn in range(100):
                now[0] += GATHER / 2
                for _ in range(a_ms // 2 if turn % 2 else a_ms - a_ms // 2):
                    self.send(b"x", transport)
                poller.doRead()
                expected.append(now[0] + GATHER)
                if turn == 50:
                    rested.clear()
                    expected.clear()
            self.assertEqual(rested, expected if a_ms > 4 else [])

    def test_no_rest(self) -> None:
        """While there is more to read, however many come."""
        poller, now, rested, first = self.gatherer()
        second = poller.listen(Recorder(), LOOPBACK, 0)
        seen = []
        for _ in range(4):
            now[0] += 0.02
            for transport in (first, second):
                for _ in range(TURN // 2 + 10):
                    self.send(b"x", transport)
            poller.doRead()
            before = len(rested)
            poller.doRead()
            seen.append((before, len(rested)))
        self.assertEqual(seen, [(0, 0), (0, 1), (1, 2), (2, 3)])

    def test_turn(self) -> None:
        """A turn takes one datagram of each readable socket, and at most 256 in all."""
        sockets = [self.open() for _ in range(TURN + 4)]
        for transport in sockets:
            self.send(b"1", transport)
            self.send(b"2", transport)
        taken = []
        for _ in range(5):
            before = self.poller.counts.received
            self.poller.doRead()
            taken.append(self.poller.counts.received - before)
        self.assertEqual(taken, [256, 256, 8, 0, 0])
        self.assertEqual({len(t.protocol.received) for t in sockets}, {2})

    async def test_raising_protocol(self) -> None:
        """A protocol that raises loses its own socket; the others go on, and the error is logged."""

        class Broken(Recorder):
            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                raise ZeroDivisionError(datagram)

        broken, sound = self.open(Broken()), self.open()
        self.send(b"x", broken)
        self.send(b"y", sound)
        self.poller.doRead()
        self.assertEqual([datagram for datagram, _ in sound.protocol.received], [b"y"])
        self.assertEqual((len(self.poller), self.poller.counts.failed), (1, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await broken.stopListening()
        self.assertEqual(broken.protocol.life, ["started", "stopped"])

    def test_stale_descriptor(self) -> None:
        """A socket closed by an earlier datagram of the same batch is not read, nor is its number's new owner."""

        class Closes(Recorder):
            def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
                super().datagramReceived(datagram, addr)
                for other in others:
                    if other is not self.transport:
                        other.close()
                opened.append(poller.listen(Recorder(), LOOPBACK, 0))

        poller = self.poller
        opened: list[Any] = []
        others = [self.open(Closes()) for _ in range(4)]
        for transport in others:
            self.send(b"x", transport)
        poller.doRead()
        self.assertEqual(sorted(len(t.protocol.received) for t in others), [0, 0, 0, 1])
        self.assertEqual([t.protocol.received for t in opened], [[]])
        self.assertEqual(len(poller), 2)

    def test_descriptor_reused(self) -> None:
        """Closing a socket forgets its number before the kernel gives it to the next."""
        first = self.open()
        number = first.fileno()
        first.close()
        second = self.open()
        self.assertEqual(second.fileno(), number)
        first.close()
        self.send(b"for the second", second)
        self.poller.doRead()
        self.assertEqual(len(second.protocol.received), 1)

    def test_queued_before_connect(self) -> None:
        """A datagram queued from elsewhere before connect() is not delivered after it."""
        transport = self.open()
        self.send(b"early", transport)
        transport.connect(LOOPBACK, 9)
        self.poller.doRead()
        self.assertEqual((self.poller.counts.received, transport.protocol.received), (1, []))

    def test_certain(self) -> None:
        """The kernel is asked for sources until all is read that came before connect(), and after disconnect()."""
        transport, stranger = self.open(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(stranger.close)
        address = transport.getHost().host, transport.getHost().port
        peer = self.peer.getsockname()
        stranger.sendto(b"early", address)
        self.peer.sendto(b"1", address)
        transport.connect(*peer)
        self.peer.sendto(b"2", address)
        stranger.sendto(b"late", address)
        before = transport.certain
        self.poller.doRead()
        certain = transport.certain
        self.peer.sendto(b"3", address)
        self.poller.doRead()
        transport.disconnect()
        stranger.sendto(b"4", address)
        self.poller.doRead()
        heard = [(b"1", peer), (b"2", peer), (b"3", peer), (b"4", (address[0], stranger.getsockname()[1]))]
        self.assertEqual((before, certain, transport.certain), (None, peer, None))
        self.assertEqual(transport.protocol.received, [(data, source) for data, source in heard])

    def test_certain_later(self) -> None:
        """A passage that began while more was in the socket is spared the sources, too, once it was found empty."""
        transport, address = self.open(), self.peer.getsockname()
        transport.connect(*address)
        self.send(b"1", transport)
        self.send(b"2", transport)
        passage = Noted(address, self.poller.workspace)
        transport.protocol.datagramReceived = lambda datagram, addr: transport.shorten(passage)
        self.poller.doRead()
        transport.make_certain()
        self.send(b"3", transport)
        self.poller.doRead()
        self.assertEqual(passage.taken, [(b"2", address), (b"3", None)])

    def test_certain_of_nothing(self) -> None:
        """Before it is connected, while something is left, and once it is closed, a socket is certain of no source."""
        transport = self.open()
        transport.make_certain()
        transport.connect(*self.peer.getsockname())
        self.send(b"1", transport)
        transport.make_certain()
        found = transport.certain
        self.poller.doRead()
        transport.disconnect()
        transport.connect(*self.peer.getsockname())
        transport.close()
        transport.make_certain()
        self.assertEqual((found, transport.certain), (None, None))

    def test_write_refused(self) -> None:
        """ECONNREFUSED is counted, and neither raises nor closes."""
        free = self.open()
        port = free.getHost().port
        free.close()
        transport = self.open()
        transport.connect(LOOPBACK, port)
        for _ in range(3):
            transport.write(b"x")
        self.poller.doRead()
        self.assertGreaterEqual(self.poller.counts.refused, 1)
        self.assertEqual(transport.protocol.life, ["started"])

    def test_icmp(self) -> None:
        """Whatever hosts and routers say of a connected socket's packets (a firewall's "host prohibited", a path that
        takes only shorter ones), by reading or by writing, ends nothing: anybody can send such words."""
        self.peer.settimeout(10)
        for number in ICMP_ERRORS:
            transport = self.open()
            transport.connect(*self.peer.getsockname())
            kernel = transport.socket
            transport.socket = Told(kernel, number)
            self.send(b"1", transport)
            self.poller.doRead()
            transport.socket = Told(kernel, number)
            transport.write(b"2")
            transport.write(b"3")
            told = transport.protocol
            self.assertEqual((told.received, told.life), ([(b"1", self.peer.getsockname())], ["started"]), number)
            self.assertEqual(self.peer.recv(100), b"3")
        self.assertEqual(self.poller.counts.failed, 0)

    def test_unroutable(self) -> None:
        """What the kernel refuses to send is counted as lost, logged once, and raises nothing."""
        transport = self.open()
        for _ in range(3):
            transport.write(b"x", (LOOPBACK, 0))
        self.assertEqual((self.poller.counts.send_errors, self.poller.counts.sent), (3, 0))

    def test_write_after_close(self) -> None:
        """After it is closed a transport writes nothing and can be stopped again."""
        transport = self.open()
        transport.close()
        transport.write(b"x", self.peer.getsockname())
        self.assertEqual((self.poller.counts.sent, self.successResultOf(transport.stopListening())), (0, None))

    def test_one_watch_too_many(self) -> None:
        """Where the kernel watches no further socket (epoll(7), max_user_watches) none is left open, and the caller is
        told as of an address that cannot be bound."""

        class Full:
            def register(self, *_: object) -> None:
                raise OSError(ENOSPC, "No space left on device")

        protocol, epoll = Recorder(), self.poller._epoll
        self.poller._epoll = cast(Any, Full())
        try:
            self.assertRaises(error.CannotListenError, self.open, protocol)
        finally:
            self.poller._epoll = epoll
        self.assertEqual((len(self.poller), protocol.life), (0, []))

    def test_short_way_after_close(self) -> None:
        """Who still sends by its socket, closed meanwhile, is told so as of any refusal: its name is not asked for."""
        transport = self.open()
        transport.close()
        try:
            transport.socket.send(b"x")
        except OSError as reason:
            transport.not_sent(reason)
        self.assertEqual(self.poller.counts.send_errors, 1)

    def test_dscp(self) -> None:
        """Everything sent carries the code point asked for: expedited forwarding, or what is configured."""
        marked = DatagramPoller(reactor, dscp=10)
        self.addCleanup(marked.close)
        v4, v6 = self.open(), self.poller.listen(Recorder(), "::1", 0)
        other = marked.listen(Recorder(), LOOPBACK, 0)
        self.assertEqual(
            [
                v4.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2,
                v6.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) >> 2,
                other.socket.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2,
            ],
            [46, 46, 10],
        )

    def test_broadcast(self) -> None:
        """RTP is never broadcast: asking raises."""
        transport = self.open()
        self.assertRaises(NotImplementedError, transport.setBroadcastAllowed, True)
        self.assertRaises(NotImplementedError, transport.getBroadcastAllowed)

    def test_close(self) -> None:
        """Closing the poller closes its sockets, stops their protocols, and may be repeated."""
        protocols = [Recorder(), Recorder()]
        for protocol in protocols:
            self.open(protocol)
        self.poller.close()
        self.poller.close()
        self.assertEqual([protocol.life for protocol in protocols], [["started", "stopped"]] * 2)
        self.assertEqual((len(self.poller), self.poller.fileno()), (0, -1))
