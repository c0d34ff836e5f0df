"""Statistics of what was received (RFC 3550 A.1, A.3, A.8)."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.reception import Reception
from stellar_gw.media.rtcp import ReportBlock, SenderReport
from stellar_gw.media.rtp import RtpPacket


def packet(number: int, ssrc: int = 7, timestamp: int | None = None) -> RtpPacket:
    """Packet ``number`` of a stream of 20 ms packets, sequence and timestamp modulo their sizes."""
    media = 160 * number if timestamp is None else timestamp
    return RtpPacket(0, False, number & 0xFFFF, media & 0xFFFFFFFF, ssrc, bytes(160))


def receive(numbers: Iterable[int], ssrc: int = 7, into: Reception | None = None) -> Reception:
    """A reception after these packets, each arriving when it was sent."""
    reception = into or Reception()
    for number in numbers:
        reception.received(packet(number, ssrc), 0.02 * number)
    return reception


def totals(reception: Reception) -> dict[str, int]:
    return {
        name: getattr(reception, name) for name in ("packets", "expected", "lost", "late", "duplicates", "restarts")
    }


class CountingTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        """Before the first packet there is nothing to report."""
        reception = Reception()
        self.assertEqual((totals(reception), reception.report_block(1.0)), (dict.fromkeys(totals(reception), 0), None))

    def test_clean(self) -> None:
        """Packets in order, over two wraps of the sequence number: none lost, no jitter."""
        reception = receive(range(65530, 65530 + 140000))
        self.assertEqual(
            (totals(reception), round(reception.jitter_ms, 6), reception.octets, reception.report_block(9.0)),
            (
                {"packets": 140000, "expected": 140000, "lost": 0, "late": 0, "duplicates": 0, "restarts": 0},
                0.0,
                140000 * 160,
                ReportBlock(7, 0, 0, 65530 + 139999, 0),
            ),
        )

    def test_loss_late_and_duplicate(self) -> None:
        """A gap is loss, filled later it is not; repeated packets count as received, but make up for no loss."""
        reception = receive([1, 2, 3, 6, 5, 7, 7, 6, 10])
        self.assertEqual(
            totals(reception), {"packets": 9, "expected": 10, "lost": 3, "late": 1, "duplicates": 2, "restarts": 0}
        )
        self.assertEqual(reception.report_block(9.0), ReportBlock(7, 25, 1, 10, 0))

    def test_report_blocks_speak_of_the_interval(self) -> None:
        """The fraction lost is since the last block, the count since the beginning; silence gives no block (6.4)."""
        reception = receive([1, 2, 3, 4])
        blocks = [reception.report_block(1.0), reception.report_block(2.0)]
        blocks.append(receive([6, 8], into=reception).report_block(3.0))
        blocks.append(receive([9, 10], into=reception).report_block(4.0))
        self.assertEqual(
            [block and (block.fraction_lost, block.packets_lost) for block in blocks], [(0, 0), None, (128, 2), (0, 2)]
        )

    def test_duplicates_make_the_count_negative(self) -> None:
        """More packets than expected: a negative count, no fraction (A.3)."""
        block = receive([1, 2, 2, 2, 3]).report_block(1.0)
        self.assertEqual(block, ReportBlock(7, 0, -2, 3, 0))

    def test_probation(self) -> None:
        """A lone packet counts for nothing but its arrival; two in sequence make a source (A.1)."""
        reception = receive([5])
        alone = totals(reception), reception.report_block(1.0)
        receive([900, 901, 902], into=reception)
        self.assertEqual(
            (alone, totals(reception)),
            (
                ({"packets": 1, "expected": 0, "lost": 0, "late": 0, "duplicates": 0, "restarts": 0}, None),
                {"packets": 4, "expected": 3, "lost": 0, "late": 0, "duplicates": 0, "restarts": 0},
            ),
        )

    def test_duplicate_in_probation(self) -> None:
        """A first packet that came twice is still the first of its sequence."""
        self.assertEqual(
            totals(receive([5, 5, 6])),
            {"packets": 3, "expected": 2, "lost": 0, "late": 0, "duplicates": 1, "restarts": 0},
        )

    def test_new_ssrc(self) -> None:
        """Another SSRC starts its own counts; totals go on, loss within each source only."""
        reception = receive([1, 2, 4])
        receive([5000, 5001, 5003], ssrc=8, into=reception)
        block = reception.report_block(200.0)
        self.assertEqual(
            (totals(reception), block and (block.ssrc, block.packets_lost, block.highest_sequence)),
            ({"packets": 6, "expected": 8, "lost": 2, "late": 0, "duplicates": 0, "restarts": 1}, (8, 1, 5003)),
        )

    def test_events_of_another_ssrc(self) -> None:
        """Telephone events of an SSRC of their own, beside the audio, are counted, and say nothing of its loss."""
        reception = receive([1, 2])
        for number in (3, 4, 6, 7, 9):
            reception.received(packet(900 + number, 8, timestamp=77), 0.02 * number, event=True)
            receive([number], into=reception)
        self.assertEqual(
            totals(reception), {"packets": 12, "expected": 9, "lost": 2, "late": 0, "duplicates": 0, "restarts": 0}
        )
        self.assertEqual(reception.report_block(1.0), ReportBlock(7, 56, 2, 9, 0))

    def test_events_first(self) -> None:
        """Before any audio they are the source, as good as any."""
        reception = Reception()
        for number in (1, 2, 3):
            reception.received(packet(number, 8, timestamp=77), 0.02 * number, event=True)
        receive([5000, 5001, 5002], into=reception)
        self.assertEqual((reception.ssrc, reception.expected, reception.lost), (7, 6, 0))

    def test_jump_needs_confirmation(self) -> None:
        """One stray sequence number is ignored; two in a row far away are a restart (A.1)."""
        stray = totals(receive([1, 2, 40000, 3, 4]))
        restarted = totals(receive([1, 2, 40000, 40001, 40002]))
        self.assertEqual(
            (stray, restarted),
            (
                {"packets": 5, "expected": 4, "lost": 0, "late": 0, "duplicates": 0, "restarts": 0},
                {"packets": 5, "expected": 5, "lost": 0, "late": 0, "duplicates": 0, "restarts": 1},
            ),
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.integers(0, 0xFFFF),
        st.lists(st.tuples(st.sampled_from(["keep", "lose", "repeat"]), st.integers(0, 8)), min_size=3, max_size=120),
    )
    def test_any_loss_and_order(self, first: int, fates: list[tuple[str, int]]) -> None:
        """Whatever is lost, repeated or up to 8 out of order: unique packets plus lost ones are all that was sent."""
        sent = [(number + delay, number, fate) for number, (fate, delay) in enumerate(fates) if fate != "lose"]
        arrivals = [n for _, n, fate in sorted(sent) for _ in range(2 if fate == "repeat" else 1)]
        reception = receive([first, first + 1, *(first + 2 + number for number in arrivals)])
        unique = 2 + len(set(arrivals))
        highest = 2 + max(arrivals, default=-1) + 1
        self.assertEqual(
            totals(reception) | {"late": 0},
            {
                "packets": 2 + len(arrivals),
                "expected": highest,
                "lost": highest - unique,
                "late": 0,
                "duplicates": len(arrivals) - len(set(arrivals)),
                "restarts": 0,
            },
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 2)), max_size=60))
    def test_any_packets(self, arrivals: list[tuple[int, int, int]]) -> None:
        """Hostile numbers raise nothing, and reports stay within their fields."""
        reception = Reception()
        for place, (number, timestamp, ssrc) in enumerate(arrivals):
            reception.received(packet(number, ssrc, timestamp), place * 0.02)
            if place % 5 == 0 and (block := reception.report_block(place * 0.02)) is not None:
                self.assertEqual(len(block.encode()), 24)
        self.assertTrue(0 <= reception.lost <= reception.expected)


class RunTests(SynchronousTestCase):
    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(st.integers(0, 0xFFFF), st.lists(st.integers(1, 300), min_size=1, max_size=5), st.integers(0, 200))
    @example(0xFFF0, [100], 5)
    def test_counted_together(self, first: int, runs: list[int], late: int) -> None:
        """Packets counted in runs count as if each had been shown, for what comes late or twice after them, too."""
        single, together = receive([first, first + 1]), receive([first, first + 1])
        number = first + 1
        for length in runs:
            for _ in range(length):
                number += 1
                single.received(packet(number), 0.0, event=True)
            together.ran(length, 0, together.jitter, together.transit or 0.0)
            for each in (single, together):
                each.received(packet(number - late), 0.0, event=True)
                each.received(packet(number + 2), 0.0, event=True)
            number += 2
        self.assertEqual(totals(single), totals(together))
        self.assertEqual((single.next, single.report_block(0.0)), (together.next, together.report_block(0.0)))

    def test_no_number_is_next(self) -> None:
        """Before a source is proven no number is the next."""
        self.assertEqual([receive(numbers).next for numbers in ([], [7], [7, 8], [0xFFFE, 0xFFFF])], [None, None, 9, 0])


class JitterTests(SynchronousTestCase):
    def test_formula(self) -> None:
        """J += (|D| - J) / 16 with D the change of transit time (A.8), here 5 ms and 5 ms back."""
        reception = Reception()
        for number, late in ((1, 0.0), (2, 0.005), (3, 0.0)):
            reception.received(packet(number), number * 0.02 + late)
        first = 40 / 16
        self.assertAlmostEqual(reception.jitter_ms, (first + (40 - first) / 16) / 8)

    def test_timestamp_wrap(self) -> None:
        """Timestamps may wrap without a jump of the jitter."""
        reception = Reception()
        for number in range(4):
            reception.received(packet(number, timestamp=0xFFFFFF00 + 160 * number), number * 0.02)
        self.assertAlmostEqual(reception.jitter_ms, 0.0)

    def test_events_do_not_count(self) -> None:
        """The packets of a telephone event share a timestamp, and say nothing about jitter."""
        reception = receive([1, 2])
        for number in (3, 4, 5):
            reception.received(packet(number, timestamp=480), number * 0.02, event=True)
        receive([6], into=reception)
        self.assertEqual((round(reception.jitter_ms, 6), reception.packets), (0.0, 6))

    def test_jumps_do_not_count(self) -> None:
        """Timestamps that begin anew (other music on hold), or that stood still on hold, are no jitter of seconds,
        whether the sequence numbers go on or begin anew, too."""
        for numbers in (3, 40000):
            for timestamp, at in ((900_000, 0.06), (-900_000, 0.06), (1 << 31, 0.06), (480, 5.0)):
                reception = receive([1, 2])
                for place in range(3):
                    later = packet(numbers + place, timestamp=timestamp + 160 * place)
                    reception.received(later, at + 0.02 * place)
                reception.received(packet(numbers + 3, timestamp=timestamp + 480), at + 0.06 + 0.016)
                self.assertAlmostEqual(reception.jitter_ms, 1.0, msg=f"{numbers} {timestamp}")


class SenderReportTests(SynchronousTestCase):
    def test_last_sr_and_delay(self) -> None:
        """A block names the sender report it answers and how long ago that came; another source's is ignored."""
        reception = receive([1, 2])
        reception.sender_report(SenderReport(7, 0x11112222_33334444, 0, 0, 0), 5.0)
        reception.sender_report(SenderReport(8, 0x99999999_99999999, 0, 0, 0), 6.0)
        block = reception.report_block(6.5)
        self.assertEqual(block, ReportBlock(7, 0, 0, 2, 0, 0x22223333, 3 * 32768))
        receive([1, 2], ssrc=9, into=reception)
        self.assertEqual(reception.report_block(7.0), ReportBlock(9, 0, 0, 2, 0))
