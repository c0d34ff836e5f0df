"""A leg hears a file once, and the gateway when it is over."""

from __future__ import annotations

import wave
from typing import Any

from stellar_gw.control.messages import Binding, Done, Failed, Played, Rebind
from stellar_gw.media.source import tone
from tests.unit.test_worker_session import CallTestCase

QUIET = b"\xff" * 160


class PromptTests(CallTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.set_up().ends()
        self.world.told()

    def wav(self, hertz: int, ms: int = 1000) -> str:
        path: str = self.mktemp()
        with wave.open(path, "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(tone((hertz,), 8000, ms))
        return path

    def play(self, file: str) -> Any:
        binding = Binding(leg="caller", source="file", file=file, once=True)
        return self.world.ask(Rebind(request=0, call="c-1", bindings=(binding,)))

    def test_a_file_once(self) -> None:
        """Told when it has been heard to its end; silence after it."""
        self.assertEqual(self.play(self.wav(440, 200)), Done(request=0))
        self.world.tick(10)
        self.assertEqual(self.world.told(), [])
        self.world.tick(5)
        self.assertEqual(self.world.told(), [Played(generation=7, call="c-1", leg="caller")])
        self.assertEqual([payload == QUIET for payload in self.payloads()], [False] * 10 + [True] * 5)

    def test_a_file_that_is_none(self) -> None:
        """It is found out when it is read, and told."""
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"RIFFxxxxWAVE")
        self.assertEqual(self.play(path), Done(request=0))
        self.world.tick(2)
        (event,) = self.world.told()
        assert isinstance(event, Played)
        self.assertIn("WAV", event.note)
        self.flushLoggedErrors()

    def test_a_file_that_is_not_there(self) -> None:
        reply = self.play("/nowhere.wav")
        assert isinstance(reply, Failed)
        self.assertEqual(
            (reply.code, reply.message), ("bad_request", "the sound file /nowhere.wav cannot be read: "
             "No such file or directory"))  # fmt: skip

    def test_nobody_is_told_of_a_file_that_was_cut_short(self) -> None:
        self.play(self.wav(440, 200))
        self.world.tick(3)
        silence = Rebind(request=0, call="c-1", bindings=(Binding(leg="caller", source="silence"),))
        self.world.ask(silence)
        self.world.tick(20)
        self.assertEqual(self.world.told(), [])
