"""Digits as telephone events (RFC 4733), received through all kinds of loss, and sent."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.dtmf import DIGITS, Digit, DtmfReceiver, DtmfSender, are_digits
from stellar_gw.media.rtp import RtpPacket, RtpSender, parse_rtp


def report(code: int, timestamp: int, duration: int, end: bool = False, ssrc: int = 7) -> RtpPacket:
    payload = bytes((code, 0x8A if end else 0x0A)) + duration.to_bytes(2, "big")
    return RtpPacket(101, False, 0, timestamp & 0xFFFFFFFF, ssrc, payload)


def press(code: int, timestamp: int, duration: int = 800) -> list[RtpPacket]:
    """A whole key press: an update each 20 ms, the end three times."""
    updates = [report(code, timestamp, sent) for sent in range(160, duration, 160)]
    return updates + [report(code, timestamp, duration, end=True)] * 3


def receive(packets: Iterable[RtpPacket], receiver: DtmfReceiver | None = None) -> list[Digit]:
    """The digits of packets 20 ms apart, and of the silence after them."""
    receiver = receiver or DtmfReceiver()
    digits: list[Digit] = []
    now = 0.0
    for packet in packets:
        digits += receiver.received(packet, now)
        now += 0.02
    return digits + list(receiver.advance(now + 1.0))


class ReceiverTests(SynchronousTestCase):
    def test_all_keys(self) -> None:
        """Each of the sixteen codes is one digit, once, with its duration."""
        packets = [packet for code in range(16) for packet in press(code, 4000 * code)]
        self.assertEqual(receive(packets), [Digit(DIGITS[code], 100, 4000 * code) for code in range(16)])

    def test_reported_with_the_first_end_packet(self) -> None:
        """A digit is not held back for the repetitions of its end."""
        receiver = DtmfReceiver()
        at = [len(receiver.received(packet, 0.0)) for packet in press(5, 0)]
        self.assertEqual(at, [0, 0, 0, 0, 1, 0, 0])

    def test_only_one_end_packet_came(self) -> None:
        """Of all packets of an event one end packet is enough."""
        self.assertEqual(receive(press(3, 160)[-1:]), [Digit("3", 100, 160)])

    def test_end_lost(self) -> None:
        """Without its end a digit ends after 200 ms of quiet, not before, with what it had lasted."""
        receiver = DtmfReceiver()
        digits = [digit for packet in press(3, 160)[:-3] for digit in receiver.received(packet, 1.0)]
        self.assertEqual(
            (digits, receiver.advance(1.19), receiver.advance(1.21), receiver.advance(9.0)),
            ([], (), (Digit("3", 80, 160),), ()),
        )

    def test_end_lost_and_next_key(self) -> None:
        """The next event ends the one before, both digits come, also when the next is only an end."""
        self.assertEqual(receive(press(3, 160)[:2] + press(3, 2000)[-1:]), [Digit("3", 40, 160), Digit("3", 100, 2000)])

    def test_end_lost_and_other_key_or_source(self) -> None:
        """Another key, or another source's, ends the one under way."""
        began = press(3, 160)[:2]
        found = [receive([*began, other]) for other in (report(4, 320, 160, True), report(3, 160, 320, True, ssrc=8))]
        self.assertEqual(
            found, [[Digit("3", 40, 160), Digit("4", 20, 320)], [Digit("3", 40, 160), Digit("3", 40, 160)]]
        )

    def test_out_of_order(self) -> None:
        """Order within an event does not matter; an old event's packets after the next one began are ignored."""
        first, second = press(1, 0), press(2, 4000)
        packets = [first[2], first[0], first[4], first[1], second[1], first[3], second[0], first[5], *second[2:]]
        self.assertEqual(receive(packets), [Digit("1", 100, 0), Digit("2", 100, 4000)])

    def test_timestamp_wrap(self) -> None:
        """Events on both sides of the timestamp's wrap are two."""
        self.assertEqual(
            receive(press(1, 2**32 - 400) + press(1, 1600)), [Digit("1", 100, 2**32 - 400), Digit("1", 100, 1600)]
        )

    def test_new_source(self) -> None:
        """Another SSRC's event is another, whatever its timestamp."""
        other = [report(1, 0, 400, end=True, ssrc=8)]
        self.assertEqual(receive(press(1, 0) + other), [Digit("1", 100, 0), Digit("1", 50, 0)])

    def test_long_event(self) -> None:
        """A key held for 20 s comes in three segments and is one digit (2.5.1.3), their last packets lost or not."""
        full = 0xFFFF
        segments = [
            [report(9, 0, duration) for duration in (160, 60000, full)],
            [report(9, full, duration) for duration in (65, 60000, full)],
            [report(9, 2 * full, duration) for duration in (130, 28930)] + [report(9, 2 * full, 28930, end=True)] * 3,
        ]
        whole = [packet for segment in segments for packet in segment]
        lossy = segments[0][:2] + segments[1][:1] + segments[2][-1:]
        old = [*whole[:5], whole[2], *whole[5:7], whole[4], *whole[7:]]
        self.assertEqual([receive(packets) for packets in (whole, lossy, old)], [[Digit("9", 20000, 0)]] * 3)

    def test_long_event_at_its_own_clock(self) -> None:
        """At 48 kHz a segment lasts 1.4 s; timestamps may go on in the event's clock, or in that of G.711."""
        full = 0xFFFF
        for step in (full, full * 8000 // 48000, full * 8000 // 48000 + 1):
            packets = [report(9, place * step, full) for place in range(3)] + [report(9, 3 * step, 1395, end=True)]
            self.assertEqual(receive(packets, DtmfReceiver(48000)), [Digit("9", 4125, 0)])

    def test_not_digits(self) -> None:
        """Short payloads and other events are counted and end nothing."""
        receiver = DtmfReceiver()
        packets = [
            RtpPacket(101, False, 0, 0, 7, b""),
            RtpPacket(101, False, 0, 0, 7, b"\x01\x8a\x03"),
            report(16, 0, 800, end=True),
            report(255, 0, 800, end=True),
        ]
        self.assertEqual((receive(packets, receiver), receiver.malformed), ([], 4))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.integers(0, 15), max_size=6), st.integers(0, 2**32 - 1), st.integers(0, 2**31))
    def test_loss_duplication_and_order(self, codes: list[int], start: int, seed: int) -> None:
        """Three of four packets lost, others doubled or out of order: every key of which one came is one digit."""
        choose = random.Random(seed)
        arrivals: list[tuple[float, int, RtpPacket]] = []
        came: list[int] = []
        for place, code in enumerate(codes):
            kept = [(number, packet) for number, packet in enumerate(press(code, start + 4000 * place))]
            kept = [pair for pair in kept if choose.random() < 0.25]
            came += [code] * bool(kept)
            for number, packet in kept * choose.choice((1, 2)):
                arrivals.append((place * 25 + number + choose.random() * 4, place, packet))
        receiver = DtmfReceiver()
        digits: list[Digit] = []
        for at, _, packet in sorted(arrivals, key=lambda arrival: arrival[:2]):
            digits += receiver.advance(at * 0.02)
            digits += receiver.received(packet, at * 0.02)
        digits += receiver.advance(1e6)
        self.assertEqual([digit.digit for digit in digits], [DIGITS[code] for code in came])

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.tuples(st.binary(max_size=8), st.integers(0, 2**32 - 1), st.integers(0, 2)), max_size=40))
    def test_any_octets(self, packets: list[tuple[bytes, int, int]]) -> None:
        """Nothing raises, and there are never more digits than packets."""
        digits = receive(RtpPacket(101, False, 0, timestamp, ssrc, payload) for payload, timestamp, ssrc in packets)
        self.assertLessEqual(len(digits), len(packets))


def ticks(sender: DtmfSender, rtp: RtpSender, limit: int = 5000) -> list[list[bytes]]:
    """What is sent in each tick until audio goes on."""
    sent: list[list[bytes]] = []
    while len(sent) < limit and (datagrams := sender.tick(rtp)) is not None:
        sent.append(datagrams)
    return sent


def describe(sent: Iterable[Iterable[bytes]]) -> list[tuple[bool, int, int, str]]:
    """Marker, sequence number, timestamp and payload of each packet."""
    packets = [parse_rtp(data) for datagrams in sent for data in datagrams]
    return [(p.marker, p.sequence_number, p.timestamp, p.payload.hex()) for p in packets if p is not None]


class SenderTests(SynchronousTestCase):
    def test_one_digit(self) -> None:
        """The first packet is marked, updates follow each 20 ms, the end comes three times; all have one timestamp."""
        sender, rtp = DtmfSender(101), RtpSender(7, 10, 1000, 0)
        sender.send("5", duration_ms=60, pause_ms=80)
        sent = ticks(sender, rtp)
        self.assertEqual(
            describe(sent),
            [
                (True, 10, 1000, "050a00a0"),
                (False, 11, 1000, "050a0140"),
                (False, 12, 1000, "058a01e0"),
                (False, 13, 1000, "058a01e0"),
                (False, 14, 1000, "058a01e0"),
            ],
        )
        self.assertEqual(([len(datagrams) for datagrams in sent], rtp.timestamp), ([1] * 5 + [0] * 2, 1000 + 7 * 160))

    def test_busy(self) -> None:
        """The sender is busy from the queueing of a digit to the end of the pause after it."""
        sender, rtp = DtmfSender(101), RtpSender(7, 0, 0, 0)
        found = [sender.busy]
        sender.send("5", duration_ms=40, pause_ms=20)
        for _ in range(6):
            found.append(sender.busy)
            sender.tick(rtp)
        self.assertEqual(found, [False, *[True] * 4, False, False])

    def test_received_as_sent(self) -> None:
        """A sequence of digits arrives as it was queued, in capitals, at the times it was sent."""
        sender, rtp, receiver = DtmfSender(101), RtpSender(7, 65530, 2**32 - 800, 0), DtmfReceiver()
        sender.send("12*#")
        sender.send("dd")
        packets = [parse_rtp(data) for datagrams in ticks(sender, rtp) for data in datagrams]
        digits = receive([packet for packet in packets if packet is not None], receiver)
        # Each takes 160 ms of tone and 80 ms of pause, in which its end is repeated.
        starts = [(2**32 - 800 + 8 * 240 * place) & 0xFFFFFFFF for place in range(6)]
        self.assertEqual(digits, [Digit(digit, 160, at) for digit, at in zip("12*#DD", starts, strict=True)])
        self.assertEqual((sender.busy, sender.tick(rtp)), (False, None))

    def test_long_digit(self) -> None:
        """A tone above 8.19 s is sent in segments, each one's last packet three times and without the end bit."""
        sender, rtp = DtmfSender(101), RtpSender(7, 0, 0, 0)
        sender.send("1", duration_ms=9000, pause_ms=0)
        sent = describe(ticks(sender, rtp))
        boundary = [packet[2:] for packet in sent if packet[3] == "010affff" or (packet[2] and packet[3][4:] < "0200")]
        self.assertEqual(
            boundary,
            [
                *[(0, "010affff"), (0xFFFF, "010a0041")],
                *[(0, "010affff"), (0xFFFF, "010a00e1")],
                *[(0, "010affff"), (0xFFFF, "010a0181")],
            ],
        )
        self.assertEqual([packet[0] for packet in sent].count(True), 1)
        packets = [RtpPacket(101, m, n, t, 7, bytes.fromhex(payload)) for m, n, t, payload in sent]
        self.assertEqual(receive(packets), [Digit("1", 9000, 0)])

    def test_clear(self) -> None:
        """Clearing forgets the digits that wait and ends the one under way as it must be ended."""
        sender, rtp = DtmfSender(101), RtpSender(7, 0, 0, 0)
        sender.send("123", duration_ms=1000)
        first = [data for _ in range(3) for data in sender.tick(rtp) or ()]
        sender.clear()
        packets = [parse_rtp(data) for data in [*first, *(d for each in ticks(sender, rtp) for d in each)]]
        self.assertEqual(receive([p for p in packets if p]), [Digit("1", 60, 0)])

    def test_durations_and_gaps(self) -> None:
        """A digit lasts what was asked for to the millisecond, 40 ms at least, and so does the pause after it."""
        found = {}
        for duration, pause in ((160, 80), (50, 30), (90, 100), (10, 0), (133, 45)):
            sender, rtp = DtmfSender(101), RtpSender(7, 0, 0, 0)
            sender.send("77", duration, pause)
            digits = receive(p for data in ticks(sender, rtp) for d in data if (p := parse_rtp(d)))
            found[(duration, pause)] = [digit.duration_ms for digit in digits], digits[1].timestamp // 8
        # The second digit begins with the first tick of 20 ms that leaves the first one, and its pause, their time.
        self.assertEqual(
            found,
            {
                (160, 80): ([160, 160], 240),
                (50, 30): ([50, 50], 100),
                (90, 100): ([90, 90], 200),
                (10, 0): ([40, 40], 80),
                (133, 45): ([133, 133], 200),
            },
        )

    def test_other_clock_rates(self) -> None:
        """Durations are in the payload type's clock, timestamps in the stream's; a long digit's segments too."""
        found = {}
        for clock in (8000, 16000, 32000, 44100, 48000):
            sender, rtp, receiver = DtmfSender(97, clock), RtpSender(7, 0, 800, 0), DtmfReceiver(clock)
            sender.send("5", 160, 80)
            sender.send("9", 9000, 80)
            sent = ticks(sender, rtp)
            packets = [p for data in sent for d in data if (p := parse_rtp(d))]
            segments = sorted({packet.timestamp for packet in packets if packet.payload[0] == 9})
            found[clock] = receive(packets, receiver), packets[0].payload.hex(), segments
        began = 800 + 240 * 8
        self.assertEqual(
            found,
            {
                clock: (
                    [Digit("5", 160, 800), Digit("9", 9000, began)],
                    f"050a{clock // 50:04x}",
                    [began + place * 0xFFFF * 8000 // clock for place in range(9 * clock // 0xFFFF + 1)],
                )
                for clock in found
            },
        )

    def test_another_clock_in_its_midst(self) -> None:
        """A digit that is under way when another clock is agreed on stays one, even where that cannot say how long it
        has lasted; then it ends."""
        for before, after in ((8000, 48000), (8000, 16000), (48000, 8000)):
            for ms in (100, 1000, 5000, 8400):
                sender, rtp, receiver = DtmfSender(97, before), RtpSender(7, 0, 800, 0), DtmfReceiver(before)
                sender.send("5", 9000)
                first = [data for _ in range(ms // 20) for data in sender.tick(rtp) or ()]
                digits = [digit for data in first for digit in receiver.received(parse_rtp(data) or report(0, 0, 0), 0)]
                sender.agreed(96, after)
                receiver.count_in(after)
                sender.send("6")
                digits += receive((p for data in ticks(sender, rtp) for d in data if (p := parse_rtp(d))), receiver)
                self.assertEqual([digit.digit for digit in digits], ["5", "6"], (before, after, ms))
                cut = 5000 if ms == 5000 and after > before else 9000
                self.assertEqual(digits[0].duration_ms, cut, (before, after, ms))

    def test_waiting(self) -> None:
        """What has not begun, in order, those of one length together; in milliseconds by any clock."""
        sender, rtp = DtmfSender(101), RtpSender(7, 0, 0, 0)
        sender.send("12" * 100, 160)
        sender.send("3", 50)
        sender.send("4", 160)
        sender.tick(rtp)
        sender.agreed(97, 48000)
        self.assertEqual(sender.waiting, [("2" + "12" * 99, 160), ("3", 50), ("4", 160)])

    def test_what_can_be_sent(self) -> None:
        """Other characters and more than 256 digits are refused; nothing of them is queued."""
        sender, full = DtmfSender(101), DtmfSender(101)
        self.assertRaises(LocalProtocolError, sender.send, "12x")
        self.assertRaises(LocalProtocolError, sender.send, "1" * 257)
        full.send("1" * 256)
        self.assertRaises(LocalProtocolError, full.send, "1")
        self.assertEqual(
            (sender.busy, [text for text in ("", "0", "*#aD", "1 2", "\u0661", "12w") if are_digits(text)]),
            (False, ["0", "*#aD"]),
        )
