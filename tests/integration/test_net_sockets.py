"""Real sockets on loopback: what comes in on every transport, hostile connections, names, and full tables."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.protocol import DatagramProtocol, Protocol
from twisted.names import dns
from twisted.names.authority import FileAuthority
from twisted.names.server import DNSServerFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from stellar_gw.config import ListenerConfig
from stellar_gw.errors import ConfigError
from stellar_gw.net.flows import FlowFailed, Flows
from stellar_gw.net.listen import Listening, listen
from stellar_gw.net.lookup import DnsLookup
from stellar_gw.net.resolver import Resolver, Unresolvable
from stellar_gw.net.stream import StreamLimits
from stellar_gw.net.tls import ClientTls
from stellar_gw.sip.flow import Address, Flow, Transport, Way
from stellar_gw.sip.parser import MalformedMessage
from stellar_gw.sip.uri import parse_uri
from stellar_gw.testing.certificates import Authority

ROOT = Path(__file__).resolve().parent.parent.parent


def message(call_id: str, transport: str = "TCP") -> bytes:
    return (
        f"OPTIONS sip:gw@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1;branch=z9hG4bK{call_id}\r\n"
        f"From: <sip:a@b>;tag=1\r\nTo: <sip:gw@127.0.0.1>\r\nCall-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def way(transport: Transport, address: Address, server_name: str = "") -> Way:
    return Way(transport=transport, host=address[0], port=address[1], server_name=server_name)


class Echo:
    """An owner that sends back whatever comes, and lets a test wait for a number of messages or losses."""

    def __init__(self, answers: bool = True) -> None:
        self.flows: Flows | None = None
        self._answers = answers
        self.received_: list[tuple[bytes, Flow]] = []
        self.lost: list[Flow] = []
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def when(self, condition: Callable[[], bool]) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiting.append((condition, waiter))
        self._look()
        return waiter

    def lost_over(self, transport: str) -> Deferred[None]:
        return self.when(lambda: any(flow.transport == transport for flow in self.lost))

    def received_of(self, call_id: str) -> Deferred[None]:
        return self.when(lambda: any(f"Call-ID: {call_id}\r".encode() in data for data, _ in self.received_))

    def _look(self) -> None:
        for entry in [entry for entry in self._waiting if entry[0]()]:
            self._waiting.remove(entry)
            entry[1].callback(None)

    def received(self, data: bytes, flow: Flow) -> None:
        assert self.flows is not None
        self.received_.append((data, flow))
        if self._answers:
            self.flows.send(data, flow)
        self._look()

    def malformed(self, error: MalformedMessage, flow: Flow) -> None:
        assert self.flows is not None
        self.flows.send(f"SIP/2.0 {error.status} No\r\nContent-Length: 0\r\n\r\n".encode(), flow)

    def flow_lost(self, flow: Flow) -> None:
        self.lost.append(flow)
        self._look()

    def uses(self, flow: Flow) -> bool:
        return False


class Client(Protocol):
    """Collects what a stream brings, until its end."""

    transport: Any

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[bytes] = Deferred()
        self._wanted: tuple[int, Deferred[bytes]] | None = None

    def octets(self, count: int) -> Deferred[bytes]:
        waiter: Deferred[bytes] = Deferred()
        self._wanted = (count, waiter)
        self.dataReceived(b"")
        return waiter

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self._wanted is not None and len(self.data) >= self._wanted[0]:
            waiter, self._wanted = self._wanted[1], None
            waiter.callback(self.data)

    def connectionLost(self, reason: Failure | None = None) -> None:
        if not self.ended.called:
            self.ended.callback(self.data)


class SocketsCase(TestCase):
    """A table of flows with one listener of each transport, on free ports of 127.0.0.1."""

    timeout = 60
    limits = StreamLimits()

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.certificate, self.ca = Authority.create().write(self.folder, "127.0.0.1", "gw.example")
        self.owner = Echo()
        self.flows = self.table(self.owner)
        self.listening = self.listen(self.flows)

    def table(self, owner: Echo) -> Flows:
        flows = Flows(
            self.reactor, limits=self.limits, client_tls=ClientTls(self.reactor.seconds, ca_file=str(self.ca))
        )
        flows.owner = owner
        owner.flows = flows
        self.addCleanup(flows.stop)
        return flows

    def listen(self, flows: Flows, host: str = "127.0.0.1") -> Listening:
        listening = listen(self.reactor, flows, [self.config(name, host) for name in ("udp", "tcp", "tls")])
        self.addCleanup(listening.stop)
        return listening

    def config(self, transport: str, host: str = "127.0.0.1", port: int = 0) -> ListenerConfig:
        return ListenerConfig(
            name=transport,
            transport=cast(Transport, transport),
            bind=(host, port),
            advertise=(host, 0),
            media_advertise=host,
            certificate=str(self.certificate) if transport == "tls" else "",
        )

    def bound(self, name: str) -> Address:
        return self.listening.listeners[name].bind

    async def client(self, name: str = "tcp") -> Client:
        if name != "tls":
            return await self.plain(name)
        trust = ClientTls(self.reactor.seconds, ca_file=str(self.ca)).connection_to("127.0.0.1")
        return await self.connect(wrapClientTLS(trust, TCP4ClientEndpoint(self.reactor, *self.bound(name))))

    async def plain(self, name: str) -> Client:
        """A TCP connection, even to the TLS listener."""
        return await self.connect(TCP4ClientEndpoint(self.reactor, *self.bound(name)))

    async def connect(self, endpoint: Any) -> Client:
        client: Client = await connectProtocol(endpoint, Client())
        self.addCleanup(client.transport.abortConnection)
        return client

    def inside(self, coroutine: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(coroutine)


class TransportsTests(SocketsCase):
    def test_streams(self) -> Deferred[None]:
        """Over TCP and TLS messages come in whole, answers go out on the same connection, a loss is told."""

        async def scene() -> None:
            for name in ("tcp", "tls"):
                client = await self.client(name)
                sent = message("a") + message("b")
                client.transport.write(sent)
                self.assertEqual(await client.octets(len(sent)), sent)
                client.transport.loseConnection()
                await self.owner.lost_over(name)
            self.assertEqual([flow.transport for _, flow in self.owner.received_], ["tcp"] * 2 + ["tls"] * 2)
            self.assertEqual(self.owner.received_[0][1].local, self.bound("tcp"))

        return self.inside(scene())

    def test_udp(self) -> Deferred[None]:
        """Over UDP the largest datagram comes in whole, and the answer goes where the socket says it came from."""

        async def scene() -> None:
            peer = Datagrams()
            port = self.reactor.listenUDP(0, peer, interface="127.0.0.1", maxPacketSize=65535)
            self.addCleanup(port.stopListening)
            big = b"M" * 65507
            peer.transport.write(big, self.bound("udp"))
            self.assertEqual(await peer.next(), (big, self.bound("udp")))
            ((_, flow),) = self.owner.received_
            self.assertEqual(flow.remote, ("127.0.0.1", port.getHost().port))

        return self.inside(scene())

    def test_class_of_service(self) -> Deferred[None]:
        """Every socket marks its packets CS3, accepted connections too, TLS or not."""

        async def scene() -> None:
            marks = {}
            for name in ("tcp", "tls"):
                client = await self.client(name)
                client.transport.write(message(name))
                await client.octets(1)
                stream = self.flows._streams[self.owner.received_[-1][1].id]
                transport: Any = stream.transport
                inner = getattr(transport, "transport", transport)
                marks[name] = [
                    inner.getHandle().getsockopt(*option)
                    for option in (
                        (socket.IPPROTO_IP, socket.IP_TOS),
                        (socket.IPPROTO_TCP, socket.TCP_NODELAY),
                        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    )
                ]
            udp: Any = self.flows._udp["udp"].transport
            marks["udp"] = [udp.getHandle().getsockopt(socket.IPPROTO_IP, socket.IP_TOS)]
            self.assertEqual(marks, {"tcp": [24 << 2, 1, 1], "tls": [24 << 2, 1, 1], "udp": [24 << 2]})

        return self.inside(scene())

    def test_flows_of_our_own(self) -> Deferred[None]:
        """Two tables reach each other over every transport; TLS verifies the name, and reuse makes one connection."""

        async def scene() -> None:
            other = Echo(answers=False)
            flows = self.table(other)
            self.listen(flows)
            for name in ("tcp", "tls"):
                opened = await gatherResults([flows.open(way(name, self.bound(name))) for _ in range(3)])
                self.assertEqual(len(set(opened)), 1)
                self.assertTrue(flows.send(message(name), opened[0]))
                await self.owner.received_of(name)
            udp = await flows.open(way("udp", self.bound("udp")))
            flows.send(message("udp"), udp)
            await self.owner.received_of("udp")
            self.assertEqual(len(self.owner.received_), 3)
            with self.assertRaises(FlowFailed) as raised:
                await flows.open(way("tls", self.bound("tls"), "other.example"))
            self.assertIn("its certificate is not for other.example", str(raised.exception))

        return self.inside(scene())

    def test_failures_of_our_own(self) -> Deferred[None]:
        """A closed port, and a peer that speaks no TLS, are told apart."""

        async def scene() -> None:
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                with self.assertRaises(FlowFailed) as refused:
                    await self.flows.open(way("tcp", closed.getsockname()))
            self.assertIn("connection refused: nothing listens there", str(refused.exception))
            with self.assertRaises(FlowFailed) as no_tls:
                await self.flows.open(way("tls", self.bound("tcp")))
            self.assertIn(f"127.0.0.1:{self.bound('tcp')[1]} over TLS: ", str(no_tls.exception))

        return self.inside(scene())

    def test_framing_lost(self) -> Deferred[None]:
        """A negative Content-Length gets 400, then the end of the connection (RELIABILITY A3)."""

        async def scene() -> None:
            for name in ("tcp", "tls"):
                client = await self.client(name)
                client.transport.write(message("a").replace(b"Length: 0", b"Length: -1"))
                self.assertEqual(await client.ended, b"SIP/2.0 400 No\r\nContent-Length: 0\r\n\r\n")

        return self.inside(scene())


class Datagrams(DatagramProtocol):
    transport: Any

    def __init__(self) -> None:
        self._next: Deferred[tuple[bytes, Address]] = Deferred()

    def next(self) -> Deferred[tuple[bytes, Address]]:
        return self._next

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self._next.callback((datagram, addr))


class SlowPeersTests(SocketsCase):
    """Slow-loris, at a twentieth of the real limits."""

    limits = StreamLimits(setup=0.5)

    def test_silent_trickling_and_stalled(self) -> Deferred[None]:
        """500 connections that say nothing, little, or no TLS all end; an honest peer is served meanwhile."""

        async def scene() -> None:
            silent = await gatherResults([Deferred.fromCoroutine(self.client("tcp")) for _ in range(250)])
            trickling = await gatherResults([Deferred.fromCoroutine(self.client("tcp")) for _ in range(125)])
            stalled = await gatherResults([Deferred.fromCoroutine(self.plain("tls")) for _ in range(125)])
            for client in trickling:
                client.transport.write(message("slow")[:20])
            for client in stalled:
                client.transport.write(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
            honest = await self.client("tls")
            honest.transport.write(message("honest"))
            self.assertEqual(await honest.octets(len(message("honest"))), message("honest"))
            await gatherResults([client.ended for client in (*silent, *trickling, *stalled)])
            self.assertEqual([flow.transport for _, flow in self.owner.received_], ["tls"])

        return self.inside(scene())

    def test_tls_peer_that_never_answers(self) -> Deferred[None]:
        """A connection of ours to a peer that accepts and then says nothing is given up in time."""

        async def scene() -> None:
            with socket.socket() as mute:
                mute.bind(("127.0.0.1", 0))
                mute.listen()
                with self.assertRaises(FlowFailed) as raised:
                    await self.flows.open(way("tls", mute.getsockname()))
                self.assertIn("no connection within 0.5 s", str(raised.exception))

        return self.inside(scene())

    def test_peer_that_does_not_read(self) -> Deferred[None]:
        """A peer that floods us and never reads the answers loses its connection, not our memory."""

        async def scene() -> None:
            client = await self.client("tcp")
            client.transport.pauseProducing()
            client.transport.write(message("flood") * 100_000)
            await self.owner.lost_over("tcp")
            self.assertEqual(len(self.flows._streams), 0)

        return self.inside(scene())


class ListenTests(SocketsCase):
    def test_in_use(self) -> None:
        """Every listener that cannot open is named with what to do, and the others are closed again."""
        taken = [self.config(name, port=self.bound(name)[1]) for name in ("udp", "tcp")]
        free = self.config("tls")
        error = self.assertRaises(ConfigError, listen, self.reactor, self.flows, [free, *taken])
        self.assertEqual(
            [problem.partition(" by another")[0] for problem in error.problems],
            [f":0: listeners.{name}: {self.bound(name)[1]}/{name} on 127.0.0.1 is in use" for name in ("udp", "tcp")],
        )

    def test_foreign_address(self) -> None:
        """An address that this host does not have is said to be one."""
        error = self.assertRaises(ConfigError, listen, self.reactor, self.flows, [self.config("udp", "192.0.2.1")])
        self.assertIn("192.0.2.1 is no address of this host", str(error))

    def test_certificate_missing(self) -> None:
        """A TLS listener without its file is an error that names the file."""
        self.certificate.unlink()
        error = self.assertRaises(ConfigError, listen, self.reactor, self.flows, [self.config("tls")])
        self.assertIn("tls.pem: No such file or directory", str(error))

    def test_both_families_on_one_port(self) -> Deferred[None]:
        """An IPv4 and an IPv6 listener may have the same port."""

        async def scene() -> None:
            if not _has_ipv6_loopback():
                raise SkipTest("this machine has no IPv6 loopback address")
            port = self.bound("udp")[1]
            both = listen(self.reactor, self.flows, [self.config("udp", "::1", port)])
            self.assertEqual(both.listeners["udp"].bind, ("::1", port))
            await both.stop()

        return self.inside(scene())


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class NamesTests(SocketsCase):
    def test_names(self) -> Deferred[None]:
        """Names are asked of a real name server: addresses, aliases, and names that are not."""

        async def scene() -> None:
            factory = DNSServerFactory(authorities=[Zone("")])
            protocol = dns.DNSDatagramProtocol(factory)
            port = self.reactor.listenUDP(0, protocol, interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            lookup = DnsLookup(self.reactor, servers=[("127.0.0.1", port.getHost().port)], hosts=os.devnull)
            resolver = Resolver(self.reactor, lookup)
            found = await resolver.ways(parse_uri("sip:sbc.gw.example;transport=tcp"))
            self.assertEqual(found, tuple(Way(transport="tcp", host=host, port=5060) for host in ("127.0.0.9", "::9")))
            self.assertEqual(await resolver.addresses("trunk.gw.example"), ("127.0.0.9", "::9"))
            with self.assertRaises(Unresolvable) as raised:
                await resolver.ways(parse_uri("sip:none.gw.example"))
            self.assertEqual(str(raised.exception), "none.gw.example has no address in DNS")

        return self.inside(scene())

    def test_hosts_file(self) -> Deferred[None]:
        """/etc/hosts comes first, so that what an administrator wrote there holds."""

        async def scene() -> None:
            hosts = self.folder / "hosts"
            hosts.write_text("127.0.0.8 pbx.example pbx\n::8 pbx.example\n")
            lookup = DnsLookup(self.reactor, servers=[("127.0.0.1", 1)], hosts=str(hosts))
            addresses = await Resolver(self.reactor, lookup).addresses("pbx.example")
            self.assertEqual(addresses, ("127.0.0.8", "::8"))

        return self.inside(scene())


class Zone(FileAuthority):
    """A zone that is written down here."""

    def loadFile(self, filename: str) -> None:
        soa = dns.Record_SOA(mname=b"ns.gw.example", rname=b"root.gw.example", serial=1, minimum=60, ttl=60)
        self.soa: Any = (b"gw.example", soa)
        self.records: Any = {
            b"gw.example": [soa],
            b"sbc.gw.example": [dns.Record_A("127.0.0.9", 60), dns.Record_AAAA("::9", 60)],
            b"trunk.gw.example": [dns.Record_CNAME(b"sbc.gw.example", 60)],
        }


class DescriptorsTests(TestCase):
    timeout = 60

    def test_no_descriptors_left(self) -> None:
        """With every descriptor in use, new connections do not make the process spin; it serves again after."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.full_of_descriptors"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=50,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        cpu, served = done.stdout.split()
        self.assertLess(float(cpu), 0.05)
        self.assertEqual(served, "served")
