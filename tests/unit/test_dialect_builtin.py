from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.dialects.builtin import (
    BuiltinDialect,
    Cleared,
    Digit,
    DoClear,
    DoDigits,
    DoHangup,
    DoMark,
    MarkReached,
    Start,
    Stop,
    Told,
    to_agent,
)
from stellar_gw.dialects.contract import Audio, AudioFormat, Clear, Frame, Hangup, Malformed, Mark, SendDigits
from stellar_gw.dialects.wire import encode
from tests.unit.call_contexts import CONTEXT, PARAMETERS


class BuiltinDialectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dialect = BuiltinDialect(CONTEXT)

    def test_to_the_agent(self) -> None:
        """The agent reads back exactly what the gateway said; audio passes as it is."""
        said = [
            *self.dialect.opened(),
            *self.dialect.digit("5", 120),
            *self.dialect.mark_reached("m", cleared=True, played_ms=40),
            *self.dialect.cleared(40, 20),
            *self.dialect.told("limit", {"seconds": "60"}),
            *self.dialect.stopped("caller_hangup", "caller"),
        ]
        self.assertEqual(
            [to_agent(frame) for frame in said if isinstance(frame, str)],
            [
                Start(PARAMETERS),
                Digit("5", 120),
                MarkReached("m", True, 40),
                Cleared(40, 20),
                Told("limit", {"seconds": "60"}),
                Stop("caller_hangup", "caller"),
            ],
        )
        self.assertEqual(list(self.dialect.audio(b"\x01\x02", 20)), [b"\x01\x02"])
        self.assertEqual(self.dialect.audio_format, AudioFormat("pcm", 16000))

    def test_from_the_agent(self) -> None:
        """Each of the agent's actions is its event."""
        frames: list[Frame] = [
            b"\x01\x02", b"", encode(DoMark("m")), encode(DoClear()), encode(DoDigits("12#")),
            encode(DoHangup()), encode(DoHangup(after_playout=False)),
        ]  # fmt: skip
        self.assertEqual(
            [event for frame in frames for event in self.dialect.received(frame)],
            [Audio(b"\x01\x02"), Mark("m"), Clear(), SendDigits("12#"), Hangup(True), Hangup(False)],
        )

    @given(st.text())
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_anything(self, text: str) -> None:
        """Text that is no action is one Malformed."""
        self.assertEqual([type(event) for event in self.dialect.received(text)], [Malformed])
