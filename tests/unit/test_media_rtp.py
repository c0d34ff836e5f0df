"""RTP packets in and out (RFC 3550 5.1), and what else may come on their port."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.rtp import (
    RtpPacket,
    RtpSender,
    build_rtp,
    first_byte_kind,
    is_rtcp,
    parse_rtp,
    sequence_delta,
    timestamp_delta,
)

HEADER = bytes.fromhex("8000 1234 00001000 deadbeef")
packets = st.builds(
    RtpPacket,
    st.integers(0, 127),
    st.booleans(),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=400),
)


class ParsingTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """A packet's fields are read."""
        self.assertEqual(
            parse_rtp(bytes.fromhex("80e5 fffe fffffff0 00000001") + b"audio"),
            RtpPacket(101, True, 0xFFFE, 0xFFFFFFF0, 1, b"audio"),
        )

    def test_csrc_extension_and_padding(self) -> None:
        """CSRC list, header extension and padding are left out of the payload (RFC 3550 5.1, 5.3.1)."""
        csrc, extension = bytes(8), bytes.fromhex("bede0001 00000000")
        data = b"\xb2" + HEADER[1:] + csrc + extension + b"audio" + b"\x00\x00\x03"
        self.assertEqual(parse_rtp(data), RtpPacket(0, False, 0x1234, 0x1000, 0xDEADBEEF, b"audio"))

    def test_any_number_of_csrcs(self) -> None:
        """The CSRC list has the length that the first octet says, from 0 to 15."""
        found = [parse_rtp(bytes((0x80 | count,)) + HEADER[1:] + bytes(4 * count) + b"audio") for count in range(16)]
        self.assertEqual({packet and packet.payload for packet in found}, {b"audio"})

    def test_whole_payload_may_be_padding(self) -> None:
        """A packet of nothing but padding is valid, with an empty payload."""
        self.assertEqual(
            parse_rtp(b"\xa0" + HEADER[1:] + b"\x01"), RtpPacket(0, False, 0x1234, 0x1000, 0xDEADBEEF, b"")
        )

    def test_contradictions(self) -> None:
        """Another version, and lengths that lead out of the packet, make it no RTP."""
        cases = {
            "empty": b"",
            "short": HEADER[:11],
            "version 0": b"\x00" + HEADER[1:],
            "version 1": b"\x40" + HEADER[1:],
            "version 3": b"\xc0" + HEADER[1:],
            "CSRC list cut off": b"\x8f" + HEADER[1:] + bytes(59),
            "extension header cut off": b"\x90" + HEADER[1:] + bytes(3),
            "extension cut off": b"\x90" + HEADER[1:] + bytes.fromhex("00000001 000000"),
            "padding of 0": b"\xa0" + HEADER[1:] + b"\x00",
            "padding into the header": b"\xa0" + HEADER[1:] + b"\x02",
        }
        self.assertEqual({name: parse_rtp(data) for name, data in cases.items()}, dict.fromkeys(cases))

    def test_every_short_datagram(self) -> None:
        """Lengths 0 to 28 with every first octet never raise, and yield a packet of version 2 or nothing."""
        filler = random.Random(1)
        for size in range(29):
            for first in range(256):
                data = (bytes((first,)) + filler.randbytes(28))[:size]
                if parse_rtp(data) is not None:
                    self.assertEqual((data[0] >> 6, size >= 12), (2, True))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.binary(max_size=120))
    def test_any_octets(self, data: bytes) -> None:
        """No octets raise; what is read as a packet is within the datagram."""
        packet = parse_rtp(b"\xb3" + data)
        self.assertTrue(packet is None or (packet.payload in data and len(packet.payload) <= len(data) - 11))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(packets)
    def test_round_trip(self, packet: RtpPacket) -> None:
        """What is built is read back."""
        self.assertEqual(parse_rtp(build_rtp(packet)), packet)

    def test_repr_shows_no_audio(self) -> None:
        """A packet in a log is one short line."""
        self.assertEqual(
            repr(RtpPacket(0, True, 1, 2, 3, bytes(160))),
            "<RTP 0, marker, sequence number 1, timestamp 2, ssrc 00000003, 160 octets>",
        )


class DemultiplexingTests(SynchronousTestCase):
    def test_first_octet(self) -> None:
        """The ranges of RFC 7983 7."""
        kinds = [first_byte_kind(first) for first in range(256)]
        edges = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(kinds)) if a != b)]
        self.assertEqual(
            {edge: kinds[edge] for edge in edges},
            {0: "stun", 4: "other", 16: "zrtp", 20: "dtls", 64: "turn", 80: "other", 128: "rtp", 192: "other"},
        )

    def test_rtcp(self) -> None:
        """Second octets 192 to 223 are RTCP (RFC 5761 4); one octet alone is not."""
        found = [second for second in range(256) if is_rtcp(bytes((0x80, second)))]
        self.assertEqual((found, is_rtcp(b"\x80")), (list(range(192, 224)), False))


class ArithmeticTests(SynchronousTestCase):
    def test_wrap_around(self) -> None:
        """Differences are the short way round."""
        self.assertEqual(
            [
                sequence_delta(0, 0xFFFF),
                sequence_delta(0xFFFF, 0),
                sequence_delta(0x8000, 0),
                timestamp_delta(159, 0xFFFFFFFF),
                timestamp_delta(0xFFFFFFFF, 159),
            ],
            [1, -1, -0x8000, 160, -160],
        )


class SenderTests(SynchronousTestCase):
    def test_talkspurts(self) -> None:
        """The first packet and the first after a pause are marked; numbers and timestamps go on and wrap."""
        sender = RtpSender(7, 0xFFFF, 0xFFFFFFFF - 159, 0)
        sent = [sender.packet(b"one", 160), sender.packet(b"two", 160)]
        sender.skip(320)
        sender.payload_type = 8
        sent += [sender.packet(b"three", 160), sender.packet(b"four", 240, marker=True)]
        self.assertEqual(
            [parse_rtp(data) for data in sent],
            [
                RtpPacket(0, True, 0xFFFF, 0xFFFFFFFF - 159, 7, b"one"),
                RtpPacket(0, False, 0, 0, 7, b"two"),
                RtpPacket(8, True, 1, 480, 7, b"three"),
                RtpPacket(8, True, 2, 640, 7, b"four"),
            ],
        )
        self.assertEqual((sender.packets_sent, sender.octets_sent, sender.timestamp), (4, 15, 880))

    def test_event_between_audio(self) -> None:
        """A packet with a timestamp of its own takes a sequence number and leaves the media clock alone."""
        sender = RtpSender(7, 1, 800, 0)
        data = sender.packet_at(160, b"\x01\x8a\x03\x20", 101)
        self.assertEqual(parse_rtp(data), RtpPacket(101, False, 1, 160, 7, b"\x01\x8a\x03\x20"))
        self.assertEqual((sender.sequence_number, sender.timestamp, sender.octets_sent), (2, 800, 4))
