"""One UDP socket: what is a message, what a keepalive, and what sending can run into."""

from __future__ import annotations

import errno

from twisted.internet.address import IPv4Address
from twisted.internet.error import MessageLengthError
from twisted.internet.testing import FakeDatagramTransport
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.sockets import fold
from stellar_gw.net.udp import REMEMBERED, SipUdp
from stellar_gw.sip.flow import Flow, address_text
from tests.unit.test_net_flows import UDP

PEER = ("192.0.2.7", 5062)


class Wire(FakeDatagramTransport):
    """Writes down what is sent, or raises what the kernel would."""

    fault: Exception | None = None

    def getHost(self) -> IPv4Address:
        return IPv4Address("UDP", "127.0.0.1", 5060)

    def write(self, packet: bytes, addr: tuple[str, int] | None = None) -> None:
        if self.fault is not None:
            raise self.fault
        super().write(packet, addr)


class SipUdpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.messages: list[tuple[bytes, Flow]] = []
        self.udp = SipUdp(UDP, lambda data, flow: self.messages.append((data, flow)), dscp=24)
        self.wire = Wire()
        self.udp.makeConnection(self.wire)

    def test_datagrams_are_messages(self) -> None:
        """A datagram is handed on as it is, with the flow of the socket's peer address."""
        self.udp.datagramReceived(b"OPTIONS\0", PEER)
        ((data, flow),) = self.messages
        self.assertEqual(
            (data, flow.transport, flow.listener, flow.local, flow.remote),
            (b"OPTIONS\0", "udp", "udp", ("127.0.0.1", 5060), PEER),
        )

    def test_keepalives_are_not(self) -> None:
        """White space, NULs, nothing at all and STUN are no messages; only a double CRLF is answered."""
        stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
        for keepalive in (b"", b"\0", b"\0\0\0\0", b"\r\n", b" \r\n", stun, b"\r\n" * 30_000):
            self.udp.datagramReceived(keepalive, PEER)
        self.assertEqual((self.messages, self.wire.written), ([], []))
        self.udp.datagramReceived(b"\r\n\r\n", PEER)
        self.assertEqual((self.messages, self.wire.written), ([], [(b"\r\n", PEER)]))

    def test_memory_is_bounded(self) -> None:
        """A flood from many sources does not grow the table of flows without end."""
        for number in range(REMEMBERED * 2 + 5):
            self.udp.datagramReceived(b"x", (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 5060))
        self.assertLessEqual(len(self.udp._flows), REMEMBERED)

    def test_send(self) -> None:
        """Loss on our side is loss like any other; what can never arrive is said."""
        faults: list[Exception | None] = [
            None,
            OSError(errno.EAGAIN, "full"),
            OSError(errno.ENOBUFS, "full"),
            OSError(errno.ENETUNREACH, "unreachable"),
            OSError(errno.EPERM, "filtered"),
            MessageLengthError("message too long"),
        ]
        sent = []
        for fault in faults:
            self.wire.fault = fault
            sent.append(self.udp.send(b"x", PEER))
        self.assertEqual(sent, [True, True, True, False, False, False])


class AddressTests(SynchronousTestCase):
    def test_folded(self) -> None:
        """An IPv4 address inside IPv6 is written as IPv4; others stay."""
        self.assertEqual(
            [fold(host) for host in ("::ffff:192.0.2.1", "::ffff:c000:201", "192.0.2.1", "2001:db8::1", "::ffff:x")],
            ["192.0.2.1", "192.0.2.1", "192.0.2.1", "2001:db8::1", "::ffff:x"],
        )

    def test_text(self) -> None:
        """IPv6 addresses with a port stand in brackets."""
        self.assertEqual(
            [address_text(("::1", 5060)), address_text(("192.0.2.1", 5060))], ["[::1]:5060", "192.0.2.1:5060"]
        )
