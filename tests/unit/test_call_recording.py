"""Which calls are recorded, and what their records say of it."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.events import CallNoted
from stellar_gw.call.ports import WorkerFailed, WorkerLost
from stellar_gw.control import messages
from stellar_gw.service import pool_settings
from stellar_gw.testing.media_plane import FakeMediaPlane
from tests.configurations import CONFIGURATION, configuration
from tests.unit.test_call import CallCase as _CallCase

RECORDED = CONFIGURATION.replace('number: "+31201230000",', 'number: "+31201230000", record: true,')
UNKNOWN = "the media worker did not say what became of it; the file, if there is one, has the call's id in its name"


class _Refusing(FakeMediaPlane):
    """A worker that records nothing."""

    def ask(self, request: messages.Request) -> Deferred[messages.Reply]:
        if isinstance(request, messages.Record):
            return fail(WorkerFailed("internal", "no recorder"))
        return super().ask(request)


class _Listening(FakeMediaPlane):
    """:ivar asked: what the worker was asked, in order."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asked: list[str] = []

    def ask(self, request: messages.Request) -> Deferred[messages.Reply]:
        self.asked.append(type(request).__name__)
        return super().ask(request)


class _Silent(FakeMediaPlane):
    """A worker that never says what became of a recording."""

    def say(self, event: messages.Event | WorkerLost) -> None:
        if not isinstance(event, messages.RecordingEnded):
            super().say(event)


class RecordingTests(_CallCase):
    def setUp(self) -> None:
        super().setUp()
        self.use(FakeMediaPlane(self.clock))

    def use(self, plane: FakeMediaPlane, text: str = RECORDED) -> None:
        self.plane = plane
        self.calls = self.make_calls(configuration(text))
        plane.listener = self.calls.heard

    def ended(self, note: str = "", **fields: object) -> messages.RecordingEnded:
        (call_id,) = self.plane.calls
        return messages.RecordingEnded(
            generation=1, call=call_id, leg="caller", path="/r/a.wav", seconds=7.0, octets=224044, note=note
        )

    def notes(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, CallNoted)]

    def test_recorded(self) -> None:
        """The worker is asked before it hears of the answer, and the record waits for the end of the file."""
        plane = _Listening(self.clock)
        self.use(plane)
        self.talk()
        self.hang_up()
        self.settle()
        record = self.record()
        self.assertEqual(
            record.as_json()["recording"],
            {"path": f"/recordings/{record.call_id}.wav", "seconds": 1.0, "octets": 32044, "note": ""},
        )
        self.assertEqual(plane.asked, ["Allocate", "SetMedia", "StartAgent", "Record", "Answered", "Release"])
        self.assertEqual(self.notes(), [])

    def test_not_recorded(self) -> None:
        """A connector that does not ask for it is not recorded."""
        self.use(FakeMediaPlane(self.clock), CONFIGURATION)
        self.talk()
        (call,) = self.plane.calls.values()
        self.hang_up()
        self.settle()
        self.assertEqual((call.recorded, self.record().as_json()["recording"], self.notes()), (False, None, []))

    def test_never_answered(self) -> None:
        """A call that is given up before the answer has no recording."""
        self.invite()
        self.clock.pump([0.01] * 3)
        self.hang_up()
        self.settle()
        self.assertIsNone(self.record().recording)

    def test_ended_by_the_disk(self) -> None:
        """A recording that ends before its call is a line in the log at once, and the call goes on."""
        self.talk()
        (call,) = self.plane.calls.values()
        call.recorded = False  # so that nothing is told at the end
        self.plane.say(self.ended("it cannot be written: the disk is full"))
        self.assertEqual(self.notes(), ["recording: it cannot be written: the disk is full"])
        self.assertEqual(len(self.calls), 1)
        self.hang_up()
        self.settle()
        self.assertEqual(
            self.record().recording,
            {
                "path": "/r/a.wav",
                "seconds": 7.0,
                "octets": 224044,
                "note": "it cannot be written: the disk is full",
            },
        )

    def test_refused(self) -> None:
        """A worker that cannot record is no reason to end the call."""
        self.use(_Refusing(self.clock))
        self.talk()
        self.assertEqual((len(self.calls), len(self.notes())), (1, 1))
        self.hang_up()
        self.settle()
        record = self.record()
        assert record.recording is not None
        self.assertEqual((record.cause, record.recording["path"]), ("caller_hangup", ""))
        self.assertIn("no recorder", record.recording["note"])

    def test_overdue(self) -> None:
        """The record is written after 2 s, whatever the disk does."""
        self.use(_Silent(self.clock))
        self.talk()
        self.hang_up()
        self.wait()
        self.clock.pump([0.1] * 9)
        self.assertEqual(len(self.calls), 1)
        self.settle()
        note = "its file was not finished within 2 s"
        self.assertEqual(self.record().recording, {"path": "", "seconds": 0.0, "octets": 0, "note": note})
        self.assertEqual(self.notes(), [f"recording: {note}"])

    def test_held_up(self) -> None:
        """A gateway that is stopped while a file is finished reads what it was told meanwhile before it judges."""
        self.use(_Silent(self.clock))
        self.talk()
        said = self.ended()
        self.hang_up()
        self.clock.pump([0.1] * 5)
        self.clock.advance(2.15)
        self.calls.heard(said)
        self.settle()
        self.assertEqual(self.record().recording, {"path": "/r/a.wav", "seconds": 7.0, "octets": 224044, "note": ""})
        self.assertEqual(self.notes(), [])

    def test_lost_worker(self) -> None:
        """With the worker goes what it knew; the record says where to look."""
        self.talk()
        self.plane.lose()
        self.settle()
        record = self.record()
        self.assertEqual(
            (record.cause, record.recording),
            ("worker_lost", {"path": "", "seconds": 0.0, "octets": 0, "note": UNKNOWN}),
        )


class ConfigurationTests(SynchronousTestCase):
    def test_folder(self) -> None:
        """Recordings go below the records, or where the file says; only where a connector asks for them."""
        elsewhere = RECORDED.replace("limits:", "records: {directory: /var/r, recordings: /srv/calls}\nlimits:", 1)
        found = [
            (config.recording, config.records.recordings_folder, pool_settings(config, "/run/x").recordings)
            for config in map(configuration, (CONFIGURATION, RECORDED, elsewhere))
        ]
        default = "/var/lib/stellar-gw/recordings"
        self.assertEqual(
            found, [(False, default, default), (True, default, default), (True, "/srv/calls", "/srv/calls")]
        )
