"""Packets put in order, with silence in the gaps."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.jitter import Framer, Gap, Piece, Reorder
from stellar_gw.media.rtp import RtpPacket


def packet(number: int, ssrc: int = 7, timestamp: int | None = None, marker: bool = False) -> RtpPacket:
    """Packet ``number`` of a stream of 20 ms packets."""
    media = 160 * number if timestamp is None else timestamp
    return RtpPacket(0, marker, number & 0xFFFF, media & 0xFFFFFFFF, ssrc, b"")


def names(pieces: Iterable[Piece]) -> list[str]:
    """Pieces, short: sequence numbers, lost and silent samples."""
    return [
        str(piece.sequence_number)
        if isinstance(piece, RtpPacket)
        else f"{'lost' if piece.lost else 'silence'} {piece.samples}"
        for piece in pieces
    ]


def put(reorder: Reorder, numbers: Iterable[int], start: float = 0.0) -> list[str]:
    """These packets, 20 ms apart."""
    out: list[Piece] = []
    for place, number in enumerate(numbers):
        out += reorder.put(packet(number), 160, start + 0.02 * place)
    return names(out)


def counts(reorder: Reorder) -> dict[str, int]:
    return {name: getattr(reorder, name) for name in ("lost", "late", "duplicates", "restarts", "filled_samples")}


NOTHING = dict.fromkeys(("lost", "late", "duplicates", "restarts", "filled_samples"), 0)


class OrderTests(SynchronousTestCase):
    def test_in_order(self) -> None:
        """What comes in order is passed on at once, over the wraps of sequence number and timestamp."""
        reorder = Reorder()
        passed = [
            names(reorder.put(packet(65534 + n, timestamp=0xFFFFFF00 + 160 * n), 160, 0.02 * n)) for n in range(4)
        ]
        self.assertEqual((passed, counts(reorder)), ([["65534"], ["65535"], ["0"], ["1"]], NOTHING))

    def test_out_of_order(self) -> None:
        """A packet that came early waits for the one before it."""
        reorder = Reorder()
        self.assertEqual((put(reorder, [1, 3, 2, 5, 6, 4, 7]), counts(reorder)), (list("1234567"), NOTHING))

    def test_lost(self) -> None:
        """After 60 ms a missing packet is given up: silence of its length, then those that waited, at once."""
        reorder = Reorder()
        out = [names(reorder.put(packet(number), 160, at)) for number, at in ((1, 0.0), (4, 0.06), (5, 0.08))]
        early = names(reorder.advance(0.119))
        self.assertEqual(
            (out, early, names(reorder.advance(0.12)), counts(reorder)),
            ([["1"], [], []], [], ["lost 320", "4", "5"], NOTHING | {"lost": 2}),
        )

    def test_two_holes(self) -> None:
        """Each hole is waited for from the arrival of the first packet behind it."""
        reorder = Reorder()
        out = [names(reorder.put(packet(number), 160, at)) for number, at in ((1, 0.0), (3, 0.02), (5, 0.05))]
        out += [names(reorder.advance(at)) for at in (0.08, 0.10, 0.11)]
        self.assertEqual(out, [["1"], [], [], ["lost 160", "3"], [], ["lost 160", "5"]])

    def test_late_and_duplicate(self) -> None:
        """A packet whose turn has passed is dropped; one that came before is told apart from one that did not."""
        reorder = Reorder()
        out = put(reorder, [1, 3, 3, 4, 5, 6, 2, 5, 7])
        self.assertEqual(
            (out, counts(reorder)),
            (["1", "lost 160", "3", "4", "5", "6", "7"], NOTHING | {"lost": 1, "late": 1, "duplicates": 2}),
        )

    def test_flood_of_early_packets(self) -> None:
        """No more than 32 packets wait, however fast they come."""
        reorder = Reorder()
        out: list[str] = names(reorder.put(packet(0), 160, 0.0))
        for number in range(2, 2000, 2):
            out += names(reorder.put(packet(number), 160, 0.001))
        self.assertEqual((len(reorder._waiting), out[:5]), (32, ["0", "lost 160", "2", "lost 160", "4"]))

    def test_events_share_the_numbers(self) -> None:
        """Packets without audio keep the order but are not passed on; the time they took is silence."""
        reorder = Reorder()
        out = names(reorder.put(packet(1), 160, 0.0))
        for number in (2, 3, 4):
            out += names(reorder.put(packet(number, timestamp=320), 0, 0.02 * number))
        out += names(reorder.put(packet(5, timestamp=320 + 480), 160, 0.1))
        self.assertEqual((out, counts(reorder)), (["1", "silence 480", "5"], NOTHING))

    def test_ptime_may_change(self) -> None:
        """Packets of any length follow each other by their timestamps; a lost one has the length they say."""
        reorder = Reorder()
        out: list[str] = []
        for number, (timestamp, samples) in enumerate([(0, 160), (160, 240), (400, 80), (480, 480)]):
            out += names(reorder.put(packet(number, timestamp=timestamp), samples, 0.0))
        out += names(reorder.put(packet(5, timestamp=1200), 160, 0.1)) + names(reorder.advance(0.2))
        self.assertEqual((out, counts(reorder)), (["0", "1", "2", "3", "lost 240", "5"], NOTHING | {"lost": 1}))


class RestartTests(SynchronousTestCase):
    def test_new_ssrc(self) -> None:
        """Another SSRC is passed on at once, without a gap; what waited of the old one comes first."""
        reorder = Reorder()
        put(reorder, [1, 3])
        out = names(reorder.put(packet(500, ssrc=8, timestamp=2000), 160, 0.05))
        self.assertEqual((out, counts(reorder)), (["lost 160", "3", "500"], NOTHING | {"lost": 1, "restarts": 1}))

    def test_sequence_jump(self) -> None:
        """A stray number is dropped; a jump that the next packet confirms is a new start without a gap."""
        for far in (30000, 60000):
            reorder = Reorder()
            out = put(reorder, [1, far, 2, 3, far + 1, far + 2, far + 3])
            self.assertEqual(
                (out, counts(reorder)),
                (["1", "2", "3", str(far + 2), str(far + 3)], NOTHING | {"restarts": 1}),
            )

    def test_sequence_jump_with_timestamps_that_go_on(self) -> None:
        """The new start has no gap before it either where its timestamp would leave one."""
        reorder = Reorder()
        out = put(reorder, [1])
        for number, timestamp in ((30000, 1600), (30001, 1760), (30002, 1920)):
            out += names(reorder.put(packet(number, timestamp=timestamp), 160, 0.1))
        self.assertEqual((out, counts(reorder)), (["1", "30001", "30002"], NOTHING | {"restarts": 1}))

    def test_timestamp_jump(self) -> None:
        """A timestamp that leaps by more than a second, either way, is a new start, never minutes of silence."""
        for leap in (8161, 8000 * 300, 2**31 - 1, -(2**31) + 1, -9000):
            reorder = Reorder()
            out = put(reorder, [1, 2])
            out += names(reorder.put(packet(3, timestamp=480 + leap), 160, 0.04))
            out += names(reorder.put(packet(4, timestamp=640 + leap), 160, 0.06))
            self.assertEqual((out, counts(reorder)), (["1", "2", "3", "4"], NOTHING | {"restarts": 1}))

    def test_reset(self) -> None:
        """After a reset the next packet is the first of a new stream, and no silence flows before it."""
        reorder = Reorder()
        put(reorder, [1, 3])
        reorder.reset()
        self.assertEqual((names(reorder.advance(9.0)), put(reorder, [900, 901], 10.0)), ([], ["900", "901"]))


class SilenceSuppressionTests(SynchronousTestCase):
    def pause(self, seconds: float) -> tuple[list[str], Reorder]:
        """Packet 1, a pause in which nothing is sent, packet 2: what is passed on while the clock ticks."""
        reorder = Reorder()
        out: list[Piece] = list(reorder.put(packet(1), 160, 0.0))
        ticks = round(seconds / 0.02) + 1
        for tick in range(1, ticks):
            out += reorder.advance(0.02 * tick)
        samples = 160 * (1 + ticks)
        out += reorder.put(packet(2, timestamp=samples, marker=True), 160, 0.02 * ticks)
        return names(out), reorder

    def test_pause_flows_by_the_clock(self) -> None:
        """200 ms into a pause silence begins to flow, 60 ms behind the clock, and all of it adds up to the pause."""
        out, reorder = self.pause(1.0)
        self.assertEqual(
            (out, counts(reorder)),
            (
                ["1", "silence 1120", *["silence 160"] * 40, "silence 480", "2"],
                NOTHING | {"filled_samples": 8000 - 480},
            ),
        )

    def test_minutes(self) -> None:
        """A pause of three minutes is three minutes of silence, spread over them."""
        out, reorder = self.pause(180.0)
        silent = [int(name.split()[1]) for name in out if name.startswith("silence")]
        self.assertEqual((sum(silent), max(silent), counts(reorder)["restarts"]), (180 * 8000, 1120, 0))

    def test_short_pause(self) -> None:
        """Below 200 ms nothing flows by itself: the next timestamp says how long the pause was."""
        self.assertEqual(self.pause(0.16)[0], ["1", "silence 1280", "2"])

    def test_clock_that_did_not_tick(self) -> None:
        """A late tick yields a second of silence at most."""
        reorder = Reorder()
        put(reorder, [1])
        self.assertEqual(
            (names(reorder.advance(600.0)), names(reorder.advance(600.02))), (["silence 8000"], ["silence 160"])
        )

    def test_stall(self) -> None:
        """After a stall of the network the late packets are passed on whole: they are still in order."""
        reorder = Reorder()
        put(reorder, [1])
        stalled = [name for tick in range(2, 20) for name in names(reorder.advance(0.02 * tick))]
        burst = [name for number in range(2, 6) for name in names(reorder.put(packet(number), 160, 0.4))]
        self.assertEqual((sum(int(name.split()[1]) for name in stalled), burst), (2560, list("2345")))

    def test_digit_held_down(self) -> None:
        """While telephone events come the agent hears silence as it passes."""
        reorder = Reorder()
        put(reorder, [1])
        out: list[str] = []
        for tick in range(1, 51):
            out += names(reorder.put(packet(1 + tick, timestamp=320), 0, 0.02 * tick))
            out += names(reorder.advance(0.02 * tick))
        self.assertEqual(sum(int(name.split()[1]) for name in out), 940 * 8 // 160 * 160)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.integers(0, 0xFFFF),
        st.lists(st.tuples(st.sampled_from(["keep", "keep", "lose", "repeat"]), st.floats(0, 0.055)), max_size=80),
    )
    def test_any_loss_and_delay(self, first: int, fates: list[tuple[str, float]]) -> None:
        """Delays below 60 ms lose nothing: all that came is passed on in order, each lost packet is 20 ms silent."""
        arrivals = [(0.0, 0)]
        for number, (fate, delay) in enumerate(fates, 1):
            if fate != "lose":
                arrivals += [(0.02 * number + delay, number)] * (2 if fate == "repeat" else 1)
        reorder = Reorder()
        out: list[Piece] = []
        for at, number in sorted(arrivals):
            out += reorder.put(packet(first + number), 160, at)
        out += reorder.advance(arrivals[-1][0] + 9.0)
        came = {number for _, number in arrivals}
        expected: list[str] = []
        for number in range(max(came) + 1):
            if number in came:
                expected.append(str((first + number) & 0xFFFF))
            elif expected[-1].startswith("lost"):
                expected[-1] = f"lost {int(expected[-1].split()[1]) + 160}"
            else:
                expected.append("lost 160")
        # Silence by the clock after the last packet is another matter.
        spoken = [name for name in names(out) if not name.startswith("silence")]
        self.assertEqual((spoken, reorder.late, reorder.restarts), (expected, 0, 0))

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 0xFFFF) | st.integers(0, 40),
                st.integers(0, 0xFFFFFFFF) | st.integers(0, 16000),
                st.sampled_from([7, 7, 7, 8]),
                st.sampled_from([0, 160, 240]),
                st.floats(0, 0.1),
            ),
            max_size=80,
        )
    )
    def test_hostile_packets(self, arrivals: list[tuple[int, int, int, int, float]]) -> None:
        """Whatever comes: no packet twice, no gap above a second, no more than 32 waiting."""
        reorder = Reorder()
        now = 0.0
        passed = 0
        for number, timestamp, ssrc, samples, later in arrivals:
            now += later
            for piece in [*reorder.put(packet(number, ssrc, timestamp), samples, now), *reorder.advance(now)]:
                if isinstance(piece, Gap):
                    self.assertTrue(0 < piece.samples <= 8000)
                else:
                    passed += 1
            self.assertLessEqual(len(reorder._waiting), 32)
        self.assertLessEqual(passed, sum(samples > 0 for _, _, _, samples, _ in arrivals))


class FramerTests(SynchronousTestCase):
    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.lists(st.binary(max_size=50)))
    def test_frames(self, pieces: list[bytes]) -> None:
        """Pieces of any length become frames of one length, nothing lost but the rest."""
        framer = Framer(16)
        frames = [frame for piece in pieces for frame in framer.push(piece)]
        whole = b"".join(pieces)
        self.assertEqual(frames, [whole[at : at + 16] for at in range(0, len(whole) - 15, 16)])
