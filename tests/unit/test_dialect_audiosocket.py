"""Asterisk's AudioSocket, frame by frame."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.audiosocket import RateError, call_uuid
from stellar_gw.dialects.contract import Audio, AudioFormat, Hangup, Malformed, SendDigits
from stellar_gw.dialects.registry import make_dialect
from tests.unit.call_contexts import CONTEXT


class AudioSocketTests(SynchronousTestCase):
    def test_the_published_frames_to_the_octet(self) -> None:
        """UUID 0x01, audio 0x10, digit 0x03, hang-up 0x00; two octets of length, big-endian."""
        dialect = make_dialect("audiosocket", CONTEXT, {})
        self.assertEqual(dialect.audio_format, AudioFormat("pcm", 8000))
        self.assertEqual(
            [
                *dialect.opened(),
                *dialect.audio(b"\1\2" * 160, 0),
                *dialect.digit("#", 160),
                *dialect.stopped("caller_hangup", "caller"),
            ],
            [
                b"\x01\x00\x10" + call_uuid("c-7K3F2Q").bytes,
                b"\x10\x01\x40" + b"\1\2" * 160,
                b"\x03\x00\x01#",
                b"\x00\x00\x00",
            ],
        )

    def test_a_call_has_one_uuid_and_another_call_another(self) -> None:
        self.assertEqual(call_uuid("c-1"), call_uuid("c-1"))
        self.assertNotEqual(call_uuid("c-1"), call_uuid("c-2"))
        self.assertEqual(call_uuid("c-1").version, 5)

    def test_rates_have_types_of_their_own(self) -> None:
        kinds = [make_dialect("audiosocket", CONTEXT, {"rate": rate}).audio(b"", 0) for rate in ("16000", "24000")]
        self.assertEqual(kinds, [(b"\x12\x00\x00",), (b"\x13\x00\x00",)])
        self.assertRaises(RateError, make_dialect, "audiosocket", CONTEXT, {"rate": "44100"})

    def test_what_an_agent_may_say(self) -> None:
        dialect = make_dialect("audiosocket", CONTEXT, {})
        frames = [b"\x10\x00\x02ab", b"\x10\x00\x00", b"\x00\x00\x00", b"\x03\x00\x015"]
        self.assertEqual(
            [dialect.received(frame) for frame in frames],
            [(Audio(b"ab"),), (), (Hangup(after_playout=True),), (SendDigits("5"),)],
        )
        for frame in (b"\x12\x00\x02ab", b"\xff\x00\x01\x02", b"\x44\x00\x00", b"\x10", "text"):
            (event,) = dialect.received(frame)
            self.assertIsInstance(event, Malformed)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.binary(max_size=100))
    def test_anything_is_taken_calmly(self, frame: bytes) -> None:
        self.assertLessEqual(len(make_dialect("audiosocket", CONTEXT, {}).received(frame)), 1)
