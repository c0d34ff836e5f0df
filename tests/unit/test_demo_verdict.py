"""The demonstration's verdict can fail: what was not heard, or not recorded, is said."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.source import Tone
from stellar_gw.media.wav import WavWriter, read_wav
from stellar_gw.phone.report import CallReport
from tools.demo_calls import SCENES, SPEECH
from tools.demo_verdict import RATE, Sound, faults_of, heard_of

SPOKEN, TRUNK, TRANSFERRED, REFUSED = SCENES
REFUSAL = {"reference": "7K3F2S", "reason": "wrong password", "fix": "set the same"}


class HeardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def wav(self, name: str, pcm: bytes) -> Path:
        path = self.folder / name
        with path.open("wb") as file:
            writer = WavWriter(file, RATE)
            writer.write(pcm)
            writer.close()
        return path

    def tone(self, hertz: int, seconds: float) -> bytes:
        return Tone((hertz,), RATE).take(round(RATE * seconds))

    def test_speech_that_came_back(self) -> None:
        """Speech is found, and how much later it came back."""
        speech = read_wav(SPEECH.read_bytes()).at(RATE)[: 4 * RATE * 2]
        sent = self.wav("sent", speech + bytes(RATE * 2))
        heard = self.wav("heard", bytes(RATE // 10 * 2) + speech + bytes(RATE * 2))
        self.assertEqual(
            heard_of(SPOKEN, sent, heard, echo=True), Sound(good=True, text="the speech back after 100 ms, 100% alike")
        )

    def test_put_through(self) -> None:
        """The person hears the speech from where it joined in, the phone the person's tone for most of the call."""
        speech = read_wav(SPEECH.read_bytes()).at(RATE)[: 4 * RATE * 2]
        sent, later = self.wav("sent", speech), self.wav("person", speech[4 * RATE :] + bytes(RATE))
        other = self.wav("other", self.tone(880, 2.0) + bytes(RATE))
        back = [self.wav(f"back{hertz}", self.tone(440, 2.0) + self.tone(hertz, 4.0)) for hertz in (660, 440)]
        self.assertEqual([heard_of(TRANSFERRED, sent, each, echo=False).good for each in (later, other)], [True, False])
        self.assertEqual([heard_of(TRANSFERRED, sent, each, echo=True).good for each in back], [True, False])

    def test_something_else_came_back(self) -> None:
        """A tone is not the speech that was sent, nor is silence."""
        sent = self.wav("sent", read_wav(SPEECH.read_bytes()).at(RATE))
        for other in (self.tone(880, 5.0), bytes(5 * RATE * 2)):
            self.assertFalse(heard_of(SPOKEN, sent, self.wav("heard", other), echo=True).good)

    def test_tone(self) -> None:
        """A tone must be there for most of the call; else it is said what was there instead."""
        sent = self.wav("sent", self.tone(440, 4.0))
        heard = [
            self.tone(440, 4.0),
            self.tone(440, 1.0) + bytes(3 * RATE * 2),
            self.tone(880, 4.0),
            bytes(4 * RATE * 2),
        ]
        sounds = [heard_of(TRUNK, sent, self.wav("heard", pcm), echo=False) for pcm in heard]
        self.assertEqual(
            sounds,
            [
                Sound(good=True, text="440 Hz, 4.0 of 4.0 s"),
                Sound(good=False, text="440 Hz for 1.0 of 4.0 s only, mostly 440 Hz"),
                Sound(good=False, text="440 Hz for 0.0 of 4.0 s only, mostly 880 Hz"),
                Sound(good=False, text="440 Hz for 0.0 of 4.0 s only, silence"),
            ],
        )  # fmt: skip

    def test_no_recording(self) -> None:
        """A recording that is not there was not heard."""
        sent = self.wav("sent", self.tone(440, 1.0))
        self.assertFalse(heard_of(TRUNK, sent, self.folder / "none", echo=False).good)


class FaultTests(SynchronousTestCase):
    refused = CallReport(to="x", transport="tcp", status=401, reason="Unauthorized", reference="7K3F2S")

    def test_a_refusal_as_it_must_be(self) -> None:
        """A refusal with its reference and its record has no faults."""
        self.assertEqual(list(faults_of(REFUSED, self.refused, REFUSAL, None, None)), [])

    def test_refusals_that_are_not(self) -> None:
        """A wrong password that is let in, a refusal without a record, and one of another reference are faults."""
        self.assertEqual(
            [
                list(faults_of(REFUSED, evolve(self.refused, status=200, reason="OK"), REFUSAL, None, None)),
                list(faults_of(REFUSED, self.refused, {}, None, None)),
                list(faults_of(REFUSED, evolve(self.refused, reference=""), REFUSAL, None, None)),
            ],
            [
                ["status 401 was to come: 200 OK"],
                ["the gateway wrote no record of it"],
                ["its Warning has the reference none, the record 7K3F2S"],
            ],
        )

    def test_a_call_without_audio(self) -> None:
        """An answered call of which neither end heard anything has a fault for each, and one for its media."""
        report = CallReport(to="x", transport="udp", status=200, reason="OK", answered_ms=10.0)
        record = {"admitted": TRUNK.admitted, "ended_by": "agent", "legs": []}
        self.assertEqual(
            list(faults_of(TRUNK, report, record, None, Sound(good=False, text="silence"))),
            ["no audio was agreed on", "the agent heard nothing", "the phone heard silence"],
        )

    def test_a_call_that_went_another_way(self) -> None:
        """TLS that was not spoken is a fault, and what refused the call is said with what to do."""
        report = CallReport(to="x", transport="tls", status=0, problem="no way there", fix="start it")
        plain = CallReport(to="x", transport="tls", status=200, answered_ms=10.0)
        self.assertEqual(
            [list(faults_of(SPOKEN, each, {}, None, None)) for each in (report, plain)],
            [
                ["status 200 was to come: no way there", "what to do: start it"],
                ["it went over tls", "the gateway wrote no record of it"],
            ],
        )
