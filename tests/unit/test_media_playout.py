"""The queue of agent audio: bounded, exact, with marks."""

from __future__ import annotations

from time import process_time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.playout import MAX_MARKS, Cleared, Encoding, Playout, PlayoutFlood


class FrameTests(SynchronousTestCase):
    def test_pieces_become_frames(self) -> None:
        """Pieces of any length leave as frames of one, the last filled up with silence; only audio counts as played."""
        playout = Playout("pcm", 8000)
        for piece in (b"\x01\x02\x03", b"\x04", b"", b"\x05\x06\x07\x08\x09\x0a"):
            playout.push(piece)
        frames = [playout.take(4) for _ in range(4)]
        self.assertEqual(frames, [b"\x01\x02\x03\x04", b"\x05\x06\x07\x08", b"\x09\x0a\x00\x00", b"\x00\x00\x00\x00"])
        self.assertEqual((playout.played_samples, playout.padded_samples, playout.empty), (5, 3, True))

    def test_short_pieces_are_joined(self) -> None:
        """An agent that sends its audio octet by octet takes no more memory for it than one that does not."""
        playout = Playout("mulaw", 8000)
        sent = bytes(range(250)) * 400
        for octet in sent:
            playout.push(bytes([octet]))
        self.assertLess(len(playout._pieces), 30)
        self.assertEqual(b"".join(playout.take(160) for _ in range(len(sent) // 160)), sent)

    def test_odd_octet_waits(self) -> None:
        """Half a sample is not played before its other half has come."""
        playout = Playout("pcm", 8000)
        playout.push(b"\x01")
        before = playout.empty, playout.take(2)
        playout.push(b"\x02")
        self.assertEqual((before, playout.take(2)), ((True, b"\x00\x00"), b"\x01\x02"))

    def test_mulaw(self) -> None:
        """Of mu-law every octet is a sample, and silence is 0xFF."""
        playout = Playout("mulaw", 8000)
        playout.push(b"\x01\x02\x03")
        self.assertEqual((playout.take(2), playout.take(2), playout.played_samples), (b"\x01\x02", b"\x03\xff", 3))

    def test_alaw(self) -> None:
        """Of A-law, too; its silence is 0xD5."""
        playout = Playout("alaw", 8000)
        playout.push(b"\x01\x02\x03")
        self.assertEqual((playout.take(2), playout.take(2), playout.played_samples), (b"\x01\x02", b"\x03\xd5", 3))

    def test_milliseconds(self) -> None:
        """Times are whole milliseconds of audio at the queue's rate."""
        figures = {}
        formats: list[tuple[Encoding, int]] = [("pcm", 8000), ("pcm", 24000), ("mulaw", 8000)]
        for encoding, rate in formats:
            playout = Playout(encoding, rate)
            second = rate * (2 if encoding == "pcm" else 1)
            playout.push(bytes(second))
            playout.take(second // 50)
            figures[encoding, rate] = playout.played_ms, playout.queued_ms
        self.assertEqual(figures, dict.fromkeys(formats, (20, 980)))

    def test_half_a_sample_cannot_be_taken(self) -> None:
        """A frame of an odd length is our own mistake."""
        self.assertRaises(LocalProtocolError, Playout("pcm", 8000).take, 3)


class BoundTests(SynchronousTestCase):
    def test_capacity(self) -> None:
        """4 MiB or 5 minutes, whichever is less."""
        self.assertEqual(
            [Playout("pcm", 24000).capacity, Playout("pcm", 16000).capacity, Playout("mulaw", 8000).capacity],
            [4 << 20, 4 << 20, 300 * 8000],
        )

    def test_flood(self) -> None:
        """What would exceed it is refused whole, and what was queued stays."""
        playout = Playout("mulaw", 8000)
        playout.push(bytes(300 * 8000 - 1))
        error = self.assertRaises(PlayoutFlood, playout.push, b"ab")
        self.assertEqual(
            (str(error), playout.queued_ms),
            ("the agent is more than 300 s of audio ahead: send no faster than it is played", 299999),
        )
        playout.push(b"a")
        self.assertEqual(playout.queued_ms, 300000)

    def test_marks(self) -> None:
        """4,096 marks may be pending, and 1 MiB of their names."""
        playout = Playout("pcm", 8000)
        for number in range(MAX_MARKS):
            playout.mark(str(number))
        self.assertRaises(PlayoutFlood, playout.mark, "x")
        playout.reached()
        playout.mark("y" * (1 << 20))
        self.assertRaises(PlayoutFlood, playout.mark, "x")
        playout.reached()
        playout.mark("x")
        self.assertEqual(playout.reached(), ("x",))

    def test_time_is_linear(self) -> None:
        """Emptying a full queue by small frames costs no more per frame than emptying one of a sixteenth."""

        def per_frame(octets: int) -> float:
            playout = Playout("pcm", 16000)
            playout.push(bytes(octets))
            frames = octets // 64
            began = process_time()
            for _ in range(frames):
                playout.take(64)
            return (process_time() - began) / frames

        small = min(per_frame(1 << 18) for _ in range(3))
        self.assertLess(min(per_frame(1 << 22) for _ in range(2)), 5 * small)


class MarkTests(SynchronousTestCase):
    def test_reached_with_the_audio_before(self) -> None:
        """A mark is reached when the last sample before it has been taken, each once and in order."""
        playout = Playout("pcm", 8000)
        playout.mark("first")
        playout.push(bytes(6))
        playout.mark("second")
        playout.mark("third")
        playout.push(bytes(4))
        playout.mark("fourth")
        reached = [playout.reached()]
        for _ in range(4):
            playout.take(4)
            reached.append(playout.reached())
        self.assertEqual(reached, [("first",), (), ("second", "third"), ("fourth",), ()])

    def test_behind_half_a_sample(self) -> None:
        """A mark behind half a sample does not wait for the other half."""
        playout = Playout("pcm", 8000)
        playout.push(bytes(3))
        playout.mark("m")
        playout.take(2)
        self.assertEqual(playout.reached(), ("m",))


class ClearTests(SynchronousTestCase):
    def test_clear(self) -> None:
        """Clearing says what was played and what was not, and gives the pending marks back."""
        playout = Playout("pcm", 8000)
        playout.push(bytes(1600))
        playout.mark("early")
        playout.push(bytes(1600))
        playout.mark("late")
        playout.mark("later")
        for _ in range(6):
            playout.take(320)
        self.assertEqual(playout.clear(), Cleared(120, 80, ("late", "later")))
        self.assertEqual(
            (playout.reached(), playout.take(4), playout.clear()), (("early",), bytes(4), Cleared(120, 0, ()))
        )

    def test_next_piece_starts_with_a_whole_sample(self) -> None:
        """Half a sample is thrown away with the rest."""
        playout = Playout("pcm", 8000)
        playout.push(b"\x01\x02\x03")
        playout.clear()
        playout.push(b"\x04\x05")
        self.assertEqual(playout.take(2), b"\x04\x05")

    def test_marks_after_a_clear(self) -> None:
        """A mark that follows a clear waits for the audio after it alone."""
        playout = Playout("pcm", 8000)
        playout.push(bytes(1000))
        playout.clear()
        playout.push(bytes(320))
        playout.mark("m")
        reached = [playout.reached()]
        playout.take(320)
        self.assertEqual([*reached, playout.reached()], [(), ("m",)])


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.binary(max_size=40).map(lambda audio: ("push", audio))
            | st.integers(0, 10).map(lambda frames: ("take", frames))
            | st.just(("mark", None))
            | st.just(("clear", None)),
            max_size=60,
        )
    )
    def test_against_a_list(self, steps: list[tuple[str, bytes | int | None]]) -> None:
        """Frames, counts and marks are those of a plain list of octets and marks."""
        playout = Playout("pcm", 1000)
        waiting: list[int | str] = []
        played = pushed = marks = 0
        for step, value in steps:
            if isinstance(value, bytes):
                playout.push(value)
                waiting += value
                pushed += len(value)
            elif step == "take":
                for _ in range(int(value or 0)):
                    expected = bytearray()
                    reached: list[str] = []
                    whole = sum(isinstance(item, int) for item in waiting) // 2 * 2
                    while waiting and (isinstance(waiting[0], str) or (len(expected) < 4 and whole)):
                        item = waiting.pop(0)
                        if isinstance(item, str):
                            reached.append(item)
                        else:
                            expected.append(item)
                            whole -= 1
                    played += len(expected)
                    frame = bytes(expected) + bytes(4 - len(expected))
                    self.assertEqual((playout.take(4), playout.played_samples), (frame, played // 2))
                    self.assertEqual(playout.reached(), tuple(reached))
            elif step == "mark":
                if sum(isinstance(item, int) for item in waiting) % 2 == 0:
                    marks += 1
                    playout.mark(str(marks))
                    waiting.append(str(marks))
            else:
                # Marks with nothing before them have been reached already.
                while waiting and isinstance(waiting[0], str):
                    waiting.pop(0)
                octets = sum(isinstance(item, int) for item in waiting)
                names = tuple(item for item in waiting if isinstance(item, str))
                self.assertEqual(playout.clear(), Cleared(played // 2, octets // 2, names))
                playout.reached()
                waiting = []
