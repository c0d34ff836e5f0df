"""RTCP compound packets and their timing (RFC 3550 6)."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpSchedule,
    SenderReport,
    SourceDescription,
    build_rtcp,
    middle_32,
    ntp_time,
    parse_rtcp,
    transmission_interval,
)

u32 = st.integers(0, 0xFFFFFFFF)
blocks = st.builds(ReportBlock, u32, st.integers(0, 255), st.integers(-0x800000, 0x7FFFFF), u32, u32, u32, u32)
reports = st.builds(
    SenderReport, u32, st.integers(0, 2**64 - 1), u32, u32, u32, st.lists(blocks, max_size=31).map(tuple)
) | st.builds(ReceiverReport, u32, st.lists(blocks, max_size=31).map(tuple))
descriptions = st.builds(
    SourceDescription, u32, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=255)
)
goodbyes = st.builds(Goodbye, st.lists(u32, max_size=31).map(tuple), st.text("abc ", max_size=255))
RR = bytes.fromhex("80c9 0001 00000001")


class CompoundTests(SynchronousTestCase):
    def test_sender_report_octets(self) -> None:
        """A sender report with a block, a CNAME and a goodbye, octet by octet (6.4.1, 6.5, 6.6)."""
        data = build_rtcp(
            SenderReport(1, 0x83AA7E80_80000000, 160, 2, 320, (ReportBlock(9, 64, -1, 0x10002, 5, 0x7E808000, 65536),)),
            SourceDescription(1, "a@b"),
            Goodbye((1,), "bye"),
        )
        self.assertEqual(
            data.hex(" ", 4),
            "81c8000c 00000001 83aa7e80 80000000 000000a0 00000002 00000140"
            " 00000009 40ffffff 00010002 00000005 7e808000 00010000"
            " 81ca0003 00000001 01036140 62000000"
            " 81cb0002 00000001 03627965",
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(reports, descriptions, goodbyes)
    def test_round_trip(
        self, report: SenderReport | ReceiverReport, description: SourceDescription, goodbye: Goodbye
    ) -> None:
        """What is built is read back, whatever the values."""
        self.assertEqual(parse_rtcp(build_rtcp(report, description, goodbye)), (report, description, goodbye))

    def test_report_comes_first(self) -> None:
        """A compound packet that begins with anything but a report is not built, and not read (6.1)."""
        self.assertRaises(LocalProtocolError, build_rtcp, Goodbye((1,)))
        self.assertRaises(LocalProtocolError, build_rtcp)
        self.assertIsNone(parse_rtcp(Goodbye((1,)).encode()))

    def test_too_many_blocks(self) -> None:
        """More report blocks than the count field holds are our own mistake."""
        self.assertRaises(LocalProtocolError, ReceiverReport(1, (ReportBlock(1, 0, 0, 0, 0),) * 32).encode)

    def test_unknown_types_are_skipped(self) -> None:
        """APP and extended reports between known packets do no harm."""
        data = RR + bytes.fromhex("80cc 0002 00000001 6e616d65") + bytes.fromhex("80cf 0001 00000001")
        self.assertEqual(parse_rtcp(data + Goodbye((1,)).encode()), (ReceiverReport(1), Goodbye((1,))))

    def test_padding_of_the_last(self) -> None:
        """Padding is taken off the last packet (6.4.1), where it may be."""
        goodbye = bytes.fromhex("a1cb 0002 00000001 00000004")
        self.assertEqual(parse_rtcp(RR + goodbye), (ReceiverReport(1), Goodbye((1,))))
        self.assertIsNone(parse_rtcp(RR + goodbye + RR))
        self.assertEqual(parse_rtcp(RR + bytes.fromhex("a0cb 0001 00000004")), (ReceiverReport(1), Goodbye(())))

    def test_smallest(self) -> None:
        """A receiver report without blocks is a whole packet, though it names nobody."""
        self.assertEqual(parse_rtcp(RR), (ReceiverReport(1),))

    def test_description_with_several_items(self) -> None:
        """Items before and after the CNAME are skipped; a chunk without one has an empty name."""
        chunks = bytes.fromhex("00000001 0201 78 0103 612e62 0300 0000 00000002 0000 0000")
        data = RR + bytes((0x82, 202, 0, len(chunks) // 4)) + chunks
        self.assertEqual(parse_rtcp(data), (ReceiverReport(1), SourceDescription(1, "a.b"), SourceDescription(2, "")))

    def test_contradictions(self) -> None:
        """Checks of A.2, and parts longer than their packet, drop the whole datagram."""
        cases = {
            "empty": b"",
            "7 octets": RR[:7],
            "version 1": b"\x40" + RR[1:],
            "first padded": b"\xa0" + RR[1:],
            "RTP": bytes.fromhex("8000 0001 00000001"),
            "length too long": bytes.fromhex("80c9 0002 00000001"),
            "length too short": bytes.fromhex("80c9 0000 00000001"),
            "rest of 1 octet": RR + b"\x80",
            "second of version 0": RR + bytes.fromhex("00cb 0000"),
            "block cut off": bytes.fromhex("81c9 0001 00000001"),
            "sender info cut off": bytes.fromhex("80c8 0001 00000001"),
            "SDES item cut off": RR + bytes.fromhex("81ca 0002 00000001 01ff 6161"),
            "SDES chunk missing": RR + bytes.fromhex("82ca 0002 00000001 00000000"),
            "BYE sources missing": RR + bytes.fromhex("82cb 0001 00000001"),
            "BYE reason cut off": RR + bytes.fromhex("81cb 0002 00000001 ff616161"),
            "padding of 0": RR + bytes.fromhex("a0cb 0001 00000000"),
            "padding not of words": RR + bytes.fromhex("a0cb 0001 00000003"),
            "padding over the header": RR + bytes.fromhex("a0cb 0001 00000008"),
        }
        self.assertEqual({name: parse_rtcp(data) for name, data in cases.items()}, dict.fromkeys(cases))

    def test_every_short_datagram(self) -> None:
        """Lengths 0 to 28 with every first octet and each known type never raise (AST-2017-008)."""
        filler = random.Random(1)
        accepted = 0
        for size in range(29):
            for first in range(256):
                for packet_type in (200, 201, 202, 203, 204):
                    data = bytes((first, packet_type, 0, max(0, size // 4 - 1))) + filler.randbytes(28)
                    accepted += parse_rtcp(data[:size]) is not None
        self.assertGreater(accepted, 0)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 255), st.integers(199, 207), st.binary(max_size=40)), max_size=8))
    def test_any_octets(self, parts: list[tuple[int, int, bytes]]) -> None:
        """Well-framed nonsense never raises."""
        data = RR
        for first, packet_type, body in parts:
            body += bytes(-len(body) % 4)
            data += bytes((first & 0x3F | 0x80, packet_type)) + (len(body) // 4).to_bytes(2, "big") + body
        result = parse_rtcp(data)
        self.assertTrue(result is None or result[0] == ReceiverReport(1))


class RoundTripTimeTests(SynchronousTestCase):
    def test_figure_2(self) -> None:
        """The example of RFC 3550 6.4.1, figure 2: 6.125 s."""
        block = ReportBlock(1, 0, 0, 0, 0, last_sr=0xB7052000, delay_since_last_sr=0x00054000)
        self.assertEqual(block.round_trip(0xB710_80000000), 6.125)

    def test_nothing_to_measure(self) -> None:
        """A block without a sender report, or one whose delay exceeds the time passed, gives none."""
        now = ntp_time(1000.0)
        early = ReportBlock(1, 0, 0, 0, 0, last_sr=middle_32(now), delay_since_last_sr=65536)
        self.assertEqual((ReportBlock(1, 0, 0, 0, 0).round_trip(now), early.round_trip(now)), (None, None))

    def test_ntp_time(self) -> None:
        """1970 is 2208988800 seconds after 1900; the fraction has 32 bits (RFC 3550 4)."""
        self.assertEqual(ntp_time(0.5), 0x83AA7E80_80000000)


class TimingTests(SynchronousTestCase):
    def test_two_parties(self) -> None:
        """A call's reports come 2.05 to 6.16 s apart, the first after half of that (6.2, 6.3.1)."""

        def interval(initial: bool, uniform: float) -> float:
            return round(transmission_interval(2, 2, 400.0, True, 128.0, initial, lambda: uniform), 3)

        self.assertEqual(
            [interval(True, 0.0), interval(True, 1.0), interval(False, 0.0), interval(False, 1.0)],
            [1.026, 3.078, 2.052, 6.156],
        )

    def test_senders_share_a_quarter(self) -> None:
        """Where few send, they share a quarter of the bandwidth and the others the rest (6.3.1)."""
        compensation = 1.21828

        def interval(we_sent: bool) -> float:
            seconds = transmission_interval(100, 2, 100.0, we_sent, 200.0, False, lambda: 0.5, 1.0)
            return round(seconds * compensation, 6)

        self.assertEqual([interval(True), interval(False)], [16.0, round(98 * 200 / 75, 6)])

    def test_schedule(self) -> None:
        """Each report sent makes the next one due; large ones slow it down."""
        schedule = RtcpSchedule(lambda: 0.5)
        due = [schedule.due]
        schedule.start(100.0)
        due.append(schedule.due)
        schedule.sent(100, 103.0)
        due.append(schedule.due)
        schedule.sent(60000, 200.0)
        due.append(schedule.due)
        schedule.received(60000)
        schedule.sent(60000, 300.0)
        due.append(schedule.due)
        # The average size goes a sixteenth of the way each time: 128, 3872, 10672 octets for two, at 400 a second.
        self.assertEqual([round(time) for time in due[1:]], [102, 107, 216, 344])
        self.assertEqual(due[0], float("inf"))
