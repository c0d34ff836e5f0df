"""One stream for the receiver, whatever streams it is made of."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.rtp import RtpPacket, RtpSender, parse_rtp, sequence_delta, timestamp_delta
from stellar_gw.media.splice import Splice

OURS = 0x0A0A0A0A
AUDIO = b"\x55" * 160


def packet(
    number: int, timestamp: int, ssrc: int = 1, payload: bytes = AUDIO, marker: bool = False, payload_type: int = 0
) -> RtpPacket:
    return RtpPacket(payload_type, marker, number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)


class SpliceTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.sender = RtpSender(OURS, 500, 100_000, 0)
        self.splice = Splice(self.sender)

    def passed(self, theirs: RtpPacket, now: float, payload_type: int = 0, event: bool = False) -> RtpPacket | None:
        datagram = self.splice.rewrite(theirs, payload_type, now, event=event)
        return None if datagram is None else parse_rtp(datagram)

    def numbers(self, theirs: RtpPacket, now: float, event: bool = False) -> tuple[int, int, bool] | None:
        ours = self.passed(theirs, now, event=event)
        return None if ours is None else (ours.sequence_number, ours.timestamp, ours.marker)


class JoiningTests(SpliceTestCase):
    def test_goes_on(self) -> None:
        """The first packet is our next, marked; those after it keep their distances from it."""
        passed = [self.passed(packet(7, 9000), 0.0, 96), self.passed(packet(8, 9160), 0.02, 96)]
        self.assertEqual(
            passed, [RtpPacket(96, True, 500, 100_000, OURS, AUDIO), RtpPacket(96, False, 501, 100_160, OURS, AUDIO)]
        )

    def test_after_ours(self) -> None:
        """Our own packets, theirs, and ours again are one stream: by one number and by the time that passed."""
        own = parse_rtp(self.sender.packet(AUDIO, 160))
        theirs = [self.numbers(packet(7 + place, 9000 + 160 * place), 1.0 + 0.02 * place) for place in range(3)]
        self.splice.leave(1.1)
        after = parse_rtp(self.sender.packet(AUDIO, 160))
        assert own is not None and after is not None
        self.assertEqual((own.sequence_number, own.timestamp), (500, 100_000))
        self.assertEqual(theirs, [(501, 100_160, True), (502, 100_320, False), (503, 100_480, False)])
        # The last of theirs came at 1.04 s, 60 ms before.
        self.assertEqual((after.sequence_number, after.timestamp, after.marker), (504, 100_960, True))

    def test_left_early(self) -> None:
        """Whoever leaves at once still begins behind the packet that was passed on last."""
        self.numbers(packet(7, 9000), 1.0)
        self.splice.leave(1.001)
        self.assertEqual(self.sender.timestamp, 100_160)

    def test_wrap_around(self) -> None:
        """Numbers and timestamps of both streams go over their ends."""
        self.sender.sequence_number, self.sender.timestamp = 0xFFFF, 0xFFFFFF9C
        seen = [self.numbers(packet(0xFFFE + place, 0xFFFFFFF0 + 160 * place), 0.02 * place) for place in range(4)]
        self.assertEqual(seen, [(0xFFFF, 0xFFFFFF9C, True), (0, 60, False), (1, 220, False), (2, 380, False)])

    def test_counts(self) -> None:
        """What is passed on is ours, in our reports too."""
        for place in range(3):
            self.numbers(packet(7 + place, 160 * place), 0.02 * place)
        self.assertEqual((self.sender.packets_sent, self.sender.octets_sent), (3, 480))

    def test_ran(self) -> None:
        """Packets passed on elsewhere by the same offsets count, and the stream goes on behind them."""
        self.numbers(packet(0xFFFD, 0), 0.0)
        self.splice.ran(5, 800, 800, 0.1)
        self.assertEqual((self.sender.packets_sent, self.sender.octets_sent), (6, 960))
        self.assertEqual(self.numbers(packet(3, 960), 0.12), (506, 100_960, False))


class DisorderTests(SpliceTestCase):
    def test_loss(self) -> None:
        """What was lost on the way to us is missing in ours too."""
        self.numbers(packet(7, 0), 0.0)
        self.assertEqual(self.numbers(packet(10, 480), 0.06), (503, 100_480, False))

    def test_reordered(self) -> None:
        """A late packet goes to its own place, and does not move what comes next."""
        self.numbers(packet(7, 0), 0.0)
        seen = [self.numbers(packet(number, 160 * (number - 7)), 0.03) for number in (9, 8, 10)]
        self.assertEqual(seen, [(502, 100_320, False), (501, 100_160, False), (503, 100_480, False)])
        self.assertEqual(self.sender.sequence_number, 504)

    def test_from_before(self) -> None:
        """A packet from before the beginning would get a number that another had: it is dropped."""
        self.numbers(packet(7, 1600), 0.0)
        self.numbers(packet(8, 1760), 0.02)
        self.assertEqual([self.numbers(packet(number, 0), 0.03) for number in (6, 5, 8)], [None, None, None])

    def test_other_source(self) -> None:
        """Another SSRC goes on by one number and by the time since the last packet, marked."""
        self.numbers(packet(7, 0), 0.0)
        self.assertEqual(self.numbers(packet(30000, 77777, ssrc=2), 0.5), (501, 104_000, True))
        self.assertEqual(self.numbers(packet(30001, 77937, ssrc=2), 0.52), (502, 104_160, False))

    def test_jump(self) -> None:
        """A jump of numbers counts once a second packet confirms it (RFC 3550 A.1)."""
        self.numbers(packet(7, 0), 0.0)
        seen = [self.numbers(packet(number, 160), 0.02) for number in (40000, 50000, 50001, 50002)]
        self.assertEqual(seen, [None, None, (501, 100_160, True), (502, 100_160, False)])

    def test_timestamps_anew(self) -> None:
        """Timestamps that jump, ahead or back, are taken for a new start; ours go on by the time that passed."""
        for jump in (1_000_000, -1_000_000):
            self.setUp()
            self.numbers(packet(7, 5_000_000), 0.0)
            self.assertEqual(self.numbers(packet(8, 5_000_000 + jump), 0.04), (501, 100_320, True))
            self.assertEqual(self.numbers(packet(9, 5_000_160 + jump), 0.06), (502, 100_480, False))
            self.assertEqual(self.numbers(packet(7, 5_000_000), 0.06), None)

    def test_silence(self) -> None:
        """After silence that was not sent the timestamp has gone on by it, in ours too."""
        self.numbers(packet(7, 0), 0.0)
        self.assertEqual(self.numbers(packet(8, 24_000, marker=True), 3.0), (501, 124_000, True))

    def test_stall(self) -> None:
        """Packets that the network held up keep their timestamps."""
        self.numbers(packet(7, 0), 0.0)
        seen = [self.numbers(packet(8 + place, 160 + 160 * place), 3.0) for place in range(3)]
        self.assertEqual(seen, [(501, 100_160, False), (502, 100_320, False), (503, 100_480, False)])

    def test_skipped(self) -> None:
        """What is not passed on does not look lost; what comes late then might have any number, and is dropped."""
        self.numbers(packet(7, 0), 0.0)
        self.splice.skip(packet(8, 160, payload_type=13))
        self.assertEqual(self.numbers(packet(9, 320), 0.04), (501, 100_320, False))
        self.assertEqual(self.numbers(packet(7, 0), 0.05), None)

    def test_skipped_out_of_turn(self) -> None:
        """Of what is skipped out of turn nothing changes."""
        self.splice.skip(packet(8, 160))
        self.numbers(packet(7, 0), 0.0)
        for other in (packet(12, 160), packet(8, 160, ssrc=9)):
            self.splice.skip(other)
        self.assertEqual(self.numbers(packet(8, 160), 0.02), (501, 100_160, False))


class HasteTests(SpliceTestCase):
    def through(self, octets: int, seconds: float, every: float, start: float = 0.0, event: bool = False) -> int:
        """How many of the packets are passed on that come so often in so many seconds."""
        before = self.sender.packets_sent
        for place in range(round(seconds / every)):
            number = round(start / every) + place
            at = start + every * place
            theirs = packet(number, 100 if event else octets * number, payload=bytes(octets))
            self.splice.rewrite(theirs, 0, at, event=event)
        return self.sender.packets_sent - before

    def test_flood(self) -> None:
        """Of audio that comes ten times as fast as time passes 5 s go ahead of it, and then what time lets."""
        self.assertIn(self.through(160, 10.0, 0.002), range(750, 770))

    def test_round_and_round(self) -> None:
        """Nor does what holds little go round and round where two bridges are joined at both ends: events, noise."""
        self.assertIn(self.through(4, 10.0, 0.0005, event=True), range(5900, 6200))
        self.setUp()
        self.assertIn(self.through(1, 10.0, 0.0005), range(5900, 6200))

    def test_fast_clock(self) -> None:
        """A phone whose clock is a percent fast is heard for as long as it likes."""
        self.assertEqual(self.through(160, 3600.0, 0.02 / 1.01), round(3600 / (0.02 / 1.01)))

    def test_twice(self) -> None:
        """A network that brings each packet once more, behind the next, costs none of them; but what is late does not
        go round and round either."""
        self.numbers(packet(0, 0), 0.0)
        for number in range(1, 6000):
            self.assertIsNotNone(self.numbers(packet(number, 160 * number), 0.02 * number))
            self.assertIsNotNone(self.numbers(packet(number - 1, 160 * number - 160), 0.02 * number))
        before = self.sender.packets_sent
        for place in range(100_000):
            self.splice.rewrite(packet(5990, 160 * 5990), 0, 120.0 + 0.0001 * place)
        self.assertIn(self.sender.packets_sent - before, range(30_000, 70_000))

    def test_stall(self) -> None:
        """What the network has held up for ten seconds passes all at once."""
        self.through(160, 1.0, 0.02)
        before = self.sender.packets_sent
        for number in range(50, 550):
            self.splice.rewrite(packet(number, 160 * number), 0, 11.0)
        self.assertEqual(self.sender.packets_sent - before, 500)

    def test_ran(self) -> None:
        """Packets that passed elsewhere count as well."""
        self.numbers(packet(0, 0), 0.0)
        self.splice.ran(500, 80000, 80000, 1.0)
        self.assertEqual(self.numbers(packet(501, 80160), 1.02), None)
        self.assertIsNotNone(self.numbers(packet(750, 120000), 6.0))


class EventTests(SpliceTestCase):
    def event(self, number: int, timestamp: int, now: float) -> tuple[int, int, bool] | None:
        return self.numbers(packet(number, timestamp, payload=b"\x05\x0a\x00\xa0", payload_type=101), now, event=True)

    def test_one_timestamp(self) -> None:
        """All packets of an event keep one timestamp, however long it takes, and the audio goes on behind it."""
        self.numbers(packet(7, 0), 0.0)
        seen = [self.event(8 + place, 160, 0.02 + 0.05 * place) for place in range(100)]
        self.assertEqual({each[1] for each in seen if each}, {100_160})
        self.assertEqual(self.numbers(packet(108, 40_160), 5.02), (601, 140_160, False))

    def test_beside_audio(self) -> None:
        """An event whose packets come between audio disturbs neither's timestamps."""
        seen = [
            self.numbers(packet(7, 0), 0.0),
            self.event(8, 160, 0.02),
            self.numbers(packet(9, 160), 0.02),
            self.event(10, 160, 0.04),
            self.numbers(packet(11, 320), 0.04),
        ]
        self.assertEqual([each[1] for each in seen if each], [100_000, 100_160, 100_160, 100_160, 100_320])

    def test_of_another_source_beside_audio(self) -> None:
        """Where events have an SSRC of their own, audio that goes on beside them keeps its pace, and so do they."""
        audio, events = [], []
        for place in range(10):
            audio.append(self.numbers(packet(7 + place, 160 * place), 0.02 * place))
            event = packet(90 + place, 77, ssrc=2, payload=b"\x05\x0a\x00\xa0", payload_type=101)
            events.append(self.numbers(event, 0.02 * place + 0.005 * (place % 3), event=True))
        self.assertEqual([each[1] for each in audio if each], [100_000 + 160 * place for place in range(10)])
        self.assertEqual({each[1] for each in events if each}, {100_000})

    def test_interrupted(self) -> None:
        """An event that stalls, so that our stream has gone on alone meanwhile, goes on as the same event: its receiver
        counts one press. One with another timestamp is another press."""
        seen = [self.numbers(packet(7, 0), 0.0), self.event(8, 160, 0.02)]
        self.splice.leave(1.5)
        self.sender.packet(AUDIO, 160)
        seen += [self.event(9, 160, 1.52), self.event(10, 160, 1.54), self.event(11, 1440, 1.7)]
        self.assertEqual(
            seen,
            [
                (500, 100_000, True), (501, 100_160, False),
                (503, 100_160, True), (504, 100_160, False), (505, 113_440, False),
            ],
        )  # fmt: skip

    def test_event_first(self) -> None:
        """A stream may begin with an event."""
        self.assertEqual(self.event(8, 160, 0.0), (500, 100_000, True))
        self.assertEqual(self.numbers(packet(9, 480), 0.04), (501, 100_320, False))


class AnyStreamTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(-5, 300),
                st.sampled_from([160, 160, 160, 0, -160, 8000, 2**31, -(2**20)]),
                st.sampled_from([1, 1, 1, 2]),
                st.floats(0.0, 2.0),
                st.booleans(),
                st.sampled_from([False, False, True]),
            ),
            max_size=40,
        )
    )
    def test_numbers_never_repeat(self, moves: list[tuple[int, int, int, float, bool, bool]]) -> None:
        """Whatever comes, no number is used twice, and audio ahead of all others is later than they are, or equal."""
        sender = RtpSender(OURS, 65500, 0xFFFFFF00, 0)
        splice = Splice(sender)
        number, timestamp, now = 100, 0, 0.0
        used: list[RtpPacket] = []
        latest = 0xFFFFFF00
        seen: set[tuple[int, int]] = set()
        for step, later, ssrc, passed, leaves, event in moves:
            number, timestamp, now = number + step, timestamp + later, now + passed
            if leaves:
                splice.leave(now)
                seen.clear()
            datagram = splice.rewrite(packet(number, timestamp, ssrc), 0, now, event=event)
            ours = None if datagram is None else parse_rtp(datagram)
            if ours is None:
                continue
            repeated = (ssrc, number & 0xFFFF) in seen  # a duplicate, which only its number can tell
            seen.add((ssrc, number & 0xFFFF))
            ahead = not used or sequence_delta(ours.sequence_number, used[-1].sequence_number) > 0
            if ahead and not repeated and not event:
                self.assertGreaterEqual(timestamp_delta(ours.timestamp, latest), 0)
                latest = ours.timestamp
            if not repeated:
                self.assertNotIn(ours.sequence_number, [each.sequence_number for each in used[-100:]])
            if ahead:
                used.append(ours)
