"""Whatever arrives on a media port raises nothing: every header bit, every short length, 100,000 random packets."""

from __future__ import annotations

import random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.media.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    build_rtcp,
    parse_rtcp,
)
from stellar_gw.media.rtp import RtpSender, parse_rtp
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.rtp_port import RtpPort
from tests.unit.test_worker_rtp_port import Heard
from tests.unit.worker_world import EVENTS, G722, PCMA, PCMU, PHONE, set_media

LONGEST = 28
"""Octets: a sender report without blocks, or RTP with four CSRCs."""
RANDOM = 100_000
RTCP = (PHONE[0], PHONE[1] + 1)


def rtp() -> bytes:
    return RtpSender(7, 100, 8000, 0).packet(b"\x55" * 160, 160)


def rtcp() -> bytes:
    blocks = (ReportBlock(9, 3, 4, 5, 6, 7, 8),)
    report = SenderReport(7, 1 << 40, 8000, 10, 1600, blocks)
    return build_rtcp(report, ReceiverReport(7, blocks), SourceDescription(7, "somebody@example"), Goodbye((7,)))


def every_first_two_octets() -> list[bytes]:
    """All 65,536, in front of bodies that mean something as RTP and as RTCP."""
    body = bytes((0, 6, 0, 1, 2, 3, 4, 5, 6, 7, 0xBE, 0xDE, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2))
    return [bytes((first, second)) + body for first in range(256) for second in range(256)]


def short_ones() -> list[bytes]:
    """Each length from 0 to 28 with each first octet, and with each second octet that RTP and RTCP tell apart."""
    seconds = (0, 8, 9, 13, 101, 127, 128, 191, *range(192, 224), 229)
    fill = bytes(range(LONGEST))
    firsts = (*range(0, 256, 16), 0x81, 0x82, 0x8F, 0x91, 0xA1, 0xB1, 0xBF)
    heads = [bytes((first, second)) for first in firsts for second in seconds]
    found = [head[:length] + fill[2:length] for head in heads for length in range(LONGEST + 1)]
    return found + [bytes((first,)) * length for first in range(256) for length in range(LONGEST + 1)]


def flipped() -> list[bytes]:
    """Whole packets with each single bit of theirs turned over, and each of their beginnings."""
    found = []
    for packet in (rtp(), rtcp()):
        found += [packet[:length] for length in range(len(packet))]
        for bit in range(8 * len(packet)):
            octets = bytearray(packet)
            octets[bit // 8] ^= 1 << bit % 8
            found.append(bytes(octets))
    return found


def random_ones() -> list[bytes]:
    """Lengths as they come; half of them begin like RTP, or like RTCP."""
    choose = random.Random(20261123)
    heads = (b"", b"", b"\x80", b"\x80\x65", b"\x81\xc8\x00\x06", b"\x80\xca")
    return [choose.choice(heads) + choose.randbytes(choose.randrange(64)) for _ in range(RANDOM)]


class ParserTests(SynchronousTestCase):
    def test_rtp_and_rtcp(self) -> None:
        """Every datagram is read or refused; of what is read, a payload is never longer than its packet."""
        read = {"rtp": 0, "rtcp": 0}
        datagrams = [*every_first_two_octets(), *short_ones(), *flipped(), *random_ones()]
        for datagram in datagrams:
            packet = parse_rtp(datagram)
            if packet is not None:
                read["rtp"] += 1
                if len(packet.payload) > len(datagram) - 12:
                    self.fail(datagram.hex())
            read["rtcp"] += parse_rtcp(datagram) is not None
        self.assertTrue(10_000 < read["rtp"] < len(datagrams) / 2 and 500 < read["rtcp"] < 10_000, read)


class PortTests(SynchronousTestCase):
    def make(self, *, mux: bool) -> None:
        self.clock = Clock()
        chance = random.Random(7)
        self.heard = Heard()
        self.port = RtpPort(
            self.heard,
            Clocks(now=self.clock.seconds, wall=self.clock.seconds, random=lambda: 0.5, number=chance.getrandbits),
        )
        wide = messages.Codec(name="telephone-event", payload_type=97, clock=48000)
        noise = messages.Codec(name="CN", payload_type=118, clock=16000)
        self.port.negotiated(
            set_media(receive=(PCMU, PCMA, G722), dtmf_receive=(EVENTS, wide), noise_receive=(noise,), rtcp_mux=mux)
        )
        self.port.answered()

    def feed(self, datagrams: list[bytes]) -> tuple[int, int]:
        """Every datagram to both ports, a tick each 50; how many were received as RTP, and how many rejected."""
        for number, datagram in enumerate(datagrams):
            self.port.datagramReceived(datagram, PHONE)
            self.port.rtcp.datagramReceived(datagram, RTCP)
            if number % 50 == 0:
                self.clock.advance(0.02)
                self.port.advance()
        counted = self.port.statistics("caller", "PCMU", 0)
        return counted.packets_received, counted.packets_rejected

    def test_header_bits(self) -> None:
        """All first two octets, short packets, and whole ones with a bit turned: nothing raises, all are counted."""
        datagrams = [*every_first_two_octets()[::3], *short_ones(), *flipped()]
        for mux in (True, False):
            self.make(mux=mux)
            received, rejected = self.feed(datagrams)
            seen = received, rejected, len(datagrams)
            self.assertTrue(received > 2000 and rejected > 20_000 and received + rejected <= 2 * len(datagrams), seen)
        self.assertNotEqual(self.heard.pieces, [])

    def test_random_packets(self) -> None:
        """100,000 random packets raise nothing, and the port goes on: what comes next is heard, from the third packet
        on at the latest, for it might be one of many sources."""
        self.make(mux=True)
        received, rejected = self.feed(random_ones())
        self.assertTrue(received > 10_000 and rejected > 10_000, (received, rejected))
        self.heard.pieces.clear()
        sender = RtpSender(0x5EED, 100, 8000, 0)
        for _ in range(5):
            self.port.datagramReceived(sender.packet(b"\x55" * 160, 160), PHONE)
            self.clock.advance(0.02)
            self.port.advance()
        heard = [piece.payload for piece in self.heard.pieces if not hasattr(piece, "lost")]
        self.assertEqual(heard[-3:], [b"\x55" * 160] * 3)
