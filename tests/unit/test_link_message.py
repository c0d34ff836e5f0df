from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.message import BINARY, CONTINUATION, TEXT, Assembly, BrokenMessage, close_frame
from stellar_gw.agent.messages import Messages, Wire
from stellar_gw.agent.reading import Ration
from stellar_gw.dialects.contract import Frame


class AssemblyTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.booleans(), st.text(max_size=20), st.lists(st.integers(0, 20))), max_size=5))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_cut_anywhere(self, messages: list[tuple[bool, str, list[int]]]) -> None:
        """Messages cut into any fragments come out as they were."""
        assembly = Assembly(1000)
        for is_text, text, cuts in messages:
            data = text.encode()
            places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
            fragments = [data[start:end] for start, end in pairwise(places)]
            results = [
                assembly.add(
                    (TEXT if is_text else BINARY) if index == 0 else CONTINUATION,
                    index == len(fragments) - 1,
                    fragment,
                )
                for index, fragment in enumerate(fragments)
            ]
            self.assertEqual(results, [None] * (len(fragments) - 1) + [text if is_text else data])

    @given(st.lists(st.tuples(st.sampled_from([CONTINUATION, TEXT, BINARY]), st.booleans(), st.binary(max_size=9))))
    @settings(max_examples=300, derandomize=True, deadline=None)
    def test_any_frames(self, frames: list[tuple[int, bool, bytes]]) -> None:
        """Whatever frames come: messages within the limit, or an error with a close code."""
        assembly = Assembly(16)
        try:
            messages = [assembly.add(*frame) for frame in frames]
        except BrokenMessage as error:
            self.assertIn(error.close_code, (1002, 1007, 1009))
        else:
            self.assertTrue(all(message is None or len(message) <= 16 for message in messages))

    def test_empty_fragments_cost_nothing(self) -> None:
        """A message of a million empty fragments takes no room."""
        assembly = Assembly(1)
        assembly.add(BINARY, False, b"")
        for _ in range(1000):
            self.assertIsNone(assembly.add(CONTINUATION, False, b""))
        self.assertEqual(assembly.add(CONTINUATION, True, b"x"), b"x")


class CloseFrameTests(SynchronousTestCase):
    def test_every_code(self) -> None:
        """Of all codes, those that RFC 6455 7.4 and its registry let a peer send are taken."""
        taken = []
        for code in range(65536):
            try:
                taken.append(close_frame(code.to_bytes(2, "big"))[0])
            except BrokenMessage:
                pass
        self.assertEqual(taken, [1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)])
        self.assertEqual(close_frame(b""), (1005, ""))
        self.assertEqual(close_frame(b"\x03\xe8\xc3\xbc"), (1000, "ü"))
        self.assertRaises(BrokenMessage, close_frame, b"\x03")
        self.assertRaises(BrokenMessage, close_frame, b"\x03\xe8\xff")


class OverTests(SynchronousTestCase):
    def test_a_message_that_ends_the_link_and_then_raises(self) -> None:
        """It is logged, though there is no link any more to be ended for it."""

        def told(message: Frame) -> None:
            messages.over()
            raise ZeroDivisionError

        messages = Messages(cast(Any, None), told, Ration(), 1000)
        text = object()
        messages.go_by(Wire(lambda *_: None, text, object(), int, lambda frame: None))
        messages.sending = True
        whole = SimpleNamespace(fin=1, rsv1=0, rsv2=0, rsv3=0, msg_type=text, get_payload_as_utf8_text=lambda: "hello")
        messages.frame(None, whole)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
