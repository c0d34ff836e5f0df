"""Calls written down: by what is in the file, and by what a bad disk does not do to the call."""

from __future__ import annotations

import base64
import errno
import io
import json
import os
import stat
import struct
import threading
import time
import wave
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import Any, BinaryIO

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.control.messages import Allocate, Answered, Done, Failed, Record, RecordingEnded, Release, bridge
from stellar_gw.media.codec import G722 as G722_CODEC
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.source import tone
from stellar_gw.media.wav import read_wav
from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.worker import recording as recording_module
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.recording import (
    RESERVE,
    SLOW,
    WAV_HEADER,
    Disk,
    Recorded,
    Recorder,
    Recording,
    _WholeFile,
    daemon_thread,
    open_new,
)
from stellar_gw.worker.tap import Sound, Tap
from tests.unit.worker_world import G722, PCMU, WALL, FakeLink, Phone, World, set_media, start_agent

NAME = "20231114T221320Z_c-1.wav"
"""WALL, and the call."""
QUIET, CALLER, AGENT = bytes(2), pcm_from_ulaw(b"\x42"), pcm_from_ulaw(b"\x21")
FULL = OSError(errno.ENOSPC, "No space left on device")


def channels(path: str) -> tuple[int, bytes, bytes]:
    """Rate, left and right of a finished file."""
    with wave.open(path) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (2, 2)
        pcm, rate = file.readframes(file.getnframes()), file.getframerate()
    left, right = ([pcm[at : at + 2] for at in range(side, len(pcm), 4)] for side in (0, 2))
    return rate, b"".join(left), b"".join(right)


def runs(pcm: bytes) -> list[tuple[bytes, int]]:
    """Samples, and how often each is there one after the other: short enough to be printed where it is wrong."""
    samples = (pcm[at : at + 2] for at in range(0, len(pcm), 2))
    return [(sample, sum(1 for _ in group)) for sample, group in groupby(samples)]


class Scratch(io.BytesIO):
    """A file that takes so many octets, as much of each piece as fits; what follows raises."""

    def __init__(self, room: int, error: OSError = FULL) -> None:
        super().__init__()
        self._room, self._error = room, error
        self.contents = b""

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._room:
            super().write(data[: self._room - self.tell()])
            raise self._error
        return super().write(data)

    def close(self) -> None:
        if not self.closed:
            self.contents = self.getvalue()
        super().close()


def clocks(now: Callable[[], float]) -> Clocks:
    return Clocks(now=now, wall=lambda: WALL, random=lambda: 0.5, number=lambda bits: 0)


def note(notes: list[str], recorded: Recorded) -> None:
    notes.append(recorded.note)


def disk(open_file: Callable[[str], BinaryIO] = open_new, free: int = 1 << 40) -> Disk:
    return Disk(open_file, lambda folder: free)


class RecordedCallCase(SynchronousTestCase):
    """A call to a Twilio agent, in a worker whose recorder has no thread."""

    def build(self, its_disk: Disk | None = None, **media: Any) -> None:
        self.folder = os.path.join(self.mktemp(), "recordings")
        self.world = World(disk=its_disk or disk(), recordings=self.folder)
        self.phone = Phone(self.world.network)
        self.rtp = self.world.ask(Allocate(request=1, call="c-1")).rtp_port
        self.world.ask(set_media(**media))
        self.world.ask(start_agent())
        self.link: FakeLink = self.world.connector.links[0]
        self.link.events.link_opened(2.0)
        self.stream = json.loads(self.link.take()[1])["streamSid"]

    def record(self) -> None:
        self.assertEqual(self.world.ask(Record(request=0, call="c-1")), Done(request=0))

    def answer(self) -> None:
        self.world.ask(Answered(request=0, call="c-1"))
        self.world.told()

    def release(self) -> list[messages.Event]:
        self.world.ask(Release(request=0, call="c-1"))
        self.world.recorder.work()
        return self.world.told()

    def agent_says(self, audio: bytes) -> None:
        frame = {"event": "media", "streamSid": self.stream, "media": {"payload": base64.b64encode(audio).decode()}}
        self.link.events.link_received(json.dumps(frame))

    def ticks(self, count: int, *, caller: bool = False, work: bool = True) -> None:
        for _ in range(count):
            if caller:
                self.phone.say(b"\x42" * 160, self.rtp)
                self.world.settle()
            self.world.tick()
            if work:
                self.world.recorder.work()

    def file(self) -> str:
        return os.path.join(self.folder, NAME)


class FileTests(RecordedCallCase):
    def test_busy_loop(self) -> None:
        """While the loop has packets to send nothing is written, and what waits is when it has not."""
        self.build()
        self.record()
        self.answer()
        self.ticks(100, caller=True)
        recorder, now = self.world.recorder, self.world.clock.seconds
        before = os.path.getsize(self.file())
        for _ in range(20):
            recorder.idle(now() - 0.001)
            self.ticks(1, caller=True, work=False)
            recorder.idle(now() - 0.001)
            recorder.work()
        self.assertEqual(os.path.getsize(self.file()), before)
        recorder.idle(now() + 0.004)
        recorder.work()
        self.assertGreater(os.path.getsize(self.file()), before)

    def test_whole_call(self) -> None:
        """Caller left, agent right, from the answer to the end; the file is the group's to read."""
        self.build()
        self.record()
        self.answer()
        self.ticks(100)
        self.agent_says(b"\x21" * 1600)
        self.ticks(50, caller=True)
        told = self.release()
        self.assertEqual(
            told,
            [
                RecordingEnded(
                    generation=7, call="c-1", leg="caller", path=self.file(), seconds=3.0, octets=96000 + WAV_HEADER
                )
            ],
        )
        rate, left, right = channels(self.file())
        # What we send goes at the end of its 20 ms.
        self.assertEqual(
            (rate, runs(left), runs(right)),
            (8000, [(QUIET, 16000), (CALLER, 8000)], [(QUIET, 16160), (AGENT, 1600), (QUIET, 6240)]),
        )
        self.assertEqual(stat.S_IMODE(os.stat(self.file()).st_mode), 0o640)

    def test_never_answered(self) -> None:
        """A call that was never answered leaves no file, and nothing is said of it."""
        self.build()
        self.record()
        self.world.told()
        self.ticks(50, caller=True)
        self.assertEqual((self.release(), os.path.exists(self.folder)), ([], False))

    def test_not_asked(self) -> None:
        """Without being asked, nothing is recorded."""
        self.build()
        self.answer()
        self.ticks(100, caller=True)
        self.assertEqual((self.release(), os.path.exists(self.folder)), ([], False))

    def test_asked_twice(self) -> None:
        """Asking again, for the same leg or another, changes nothing."""
        self.build()
        self.record()
        self.answer()
        self.record()
        self.world.ask(Allocate(request=1, call="c-1", leg="target"))
        self.assertEqual(self.world.ask(Record(request=0, call="c-1", leg="target")), Done(request=0))
        self.ticks(100, caller=True)
        self.assertEqual([type(event) for event in self.release()], [RecordingEnded])
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_asked_in_the_middle(self) -> None:
        """A recording that is asked for during the call begins there."""
        self.build()
        self.answer()
        self.ticks(50, caller=True)
        self.record()
        self.ticks(25, caller=True)
        self.release()
        [name] = os.listdir(self.folder)
        self.assertEqual((name, len(channels(os.path.join(self.folder, name))[1])), ("20231114T221321Z_c-1.wav", 8000))

    def test_media_after_the_answer(self) -> None:
        """With a delayed offer the recording begins when media are agreed on."""
        self.folder = os.path.join(self.mktemp(), "recordings")
        self.world = World(disk=disk(), recordings=self.folder)
        self.phone = Phone(self.world.network)
        self.rtp = self.world.ask(Allocate(request=1, call="c-1")).rtp_port
        self.record()
        self.answer()
        self.ticks(10)
        self.world.ask(set_media())
        self.ticks(50, caller=True)
        self.release()
        self.assertEqual(channels(self.file())[1], CALLER * 8000)

    def test_unknown_leg(self) -> None:
        """A leg that is not there cannot be recorded."""
        self.build()
        refused = self.world.ask(Record(request=0, call="c-1", leg="nobody"))
        self.assertEqual(refused, Failed(request=0, code="bad_request", message="call c-1 has no leg nobody"))

    def test_ended_while_it_is_written(self) -> None:
        """A call that ends while the thread writes what was said up to a second ago is written to its end."""
        ends = [lambda: self.world.ask(Release(request=0, call="c-1"))]

        def free(folder: str) -> int:
            if ends:
                ends.pop()()
            return 1 << 40

        self.build(Disk(free=free))
        self.record()
        self.answer()
        self.ticks(100, caller=True, work=False)
        self.world.recorder.work()
        ended = [event for event in self.world.told() if isinstance(event, RecordingEnded)]
        self.assertEqual([(event.seconds, event.note) for event in ended], [(2.0, "")])
        self.assertEqual(len(channels(self.file())[1]), 2 * 16000)

    def test_hold(self) -> None:
        """What a caller says who is not listened to is not written down; its time passes."""
        self.build()
        self.record()
        self.answer()
        self.ticks(50, caller=True)
        self.world.ask(set_media(direction="sendonly"))
        self.ticks(50, caller=True)
        self.world.ask(set_media())
        self.ticks(50, caller=True)
        self.release()
        left = runs(channels(self.file())[1])
        self.assertEqual(left, [(CALLER, 8000), (QUIET, 8000), (CALLER, 8000)])

    def test_wide(self) -> None:
        """A caller on G.722 is recorded at 16 kHz, and stays so when it goes over to PCMU."""
        self.build(send=G722, receive=(G722, PCMU))
        self.record()
        self.answer()
        encoder = G722_CODEC.encoder()
        for number in range(100):
            self.phone.sender.payload_type = 9 if number < 50 else 0
            self.phone.say(encoder.encode(tone((440,), 16000, 20)) if number < 50 else b"\x42" * 160, self.rtp)
            self.world.settle()
            self.ticks(1)
        self.release()
        rate, left, right = channels(self.file())
        self.assertEqual((rate, len(left), len(right)), (16000, 64000, 64000))
        self.assertEqual(left[-3200:-640], CALLER * 1280)

    def test_bridged(self) -> None:
        """Of a bridge the recorded leg is left, whoever it is bridged to is right; packets passed on short ways too."""
        self.build()
        self.record()
        self.answer()
        target = Phone(self.world.network, ("198.51.100.9", 6000))
        ports = self.world.ask(Allocate(request=1, call="c-1", leg="target"))
        self.world.ask(set_media(leg="target", remote=target.address, remote_rtcp=("198.51.100.9", 6001)))
        self.world.ask(Answered(request=0, call="c-1", leg="target"))
        self.world.ask(bridge("c-1"))
        for _ in range(200):
            self.phone.say(b"\x42" * 160, self.rtp)
            target.say(b"\x21" * 160, ports.rtp_port)
            self.world.settle()
            self.ticks(1)
        self.release()
        _, left, right = channels(self.file())
        self.assertEqual((runs(left), runs(right)), ([(CALLER, 32000)], [(AGENT, 32000)]))

    def test_crash(self) -> None:
        """A file that was never finished can be read up to the last look, but the second in hand."""
        self.build()
        self.record()
        self.answer()
        self.ticks(250, caller=True)
        with open(self.file(), "rb") as file:
            recovered = read_wav(file.read())
        # Mono of both: the caller, and silence.
        self.assertEqual(
            (recovered.rate, {recovered.pcm[at : at + 2] for at in range(0, len(recovered.pcm), 2)}),
            (8000, {struct.pack("<h", -878)}),
        )
        self.assertEqual(recovered.seconds, 3.02)


class BadDiskTests(RecordedCallCase):
    def sent(self, its_disk: Disk | None, *, work: bool = True) -> tuple[list[bytes], list[messages.Event]]:
        """All that a call of 12 s sends, and what is told meanwhile; without a disk it is not recorded."""
        self.build(its_disk)
        if its_disk is not None:
            self.record()
        self.answer()
        self.agent_says(b"\x21" * 32000)
        self.ticks(600, caller=True, work=work)
        told = self.world.told()
        return list(self.phone.datagrams), told

    def ended(self, **fields: Any) -> RecordingEnded:
        return RecordingEnded(generation=7, call="c-1", leg="caller", **fields)

    def test_recording_changes_nothing(self) -> None:
        """A recorded call sends the very packets at the very times that it sends without."""
        plain, _ = self.sent(None)
        recorded, _ = self.sent(disk())
        self.assertEqual(recorded, plain)

    def test_full(self) -> None:
        """A full disk ends the recording with a note, at once; what was written whole is kept, and the call goes on."""
        files = [Scratch(100_000)]
        plain, _ = self.sent(None)
        sent, told = self.sent(disk(lambda path: files[0]))
        kept = files[0].contents
        seconds = read_wav(kept).seconds
        note = "it cannot be written: the disk is full"
        self.assertEqual(told, [self.ended(path=self.file(), seconds=seconds, octets=len(kept), note=note)])
        self.assertTrue(2.8 <= seconds < 3.13, seconds)  # another second had no room
        self.assertEqual((sent, self.release()), (plain, []))

    def test_no_room_at_all(self) -> None:
        """Where not even a header can be written, no file stays."""
        made: list[str] = []

        def open_full(path: str) -> BinaryIO:
            open_new(path).close()
            made.append(path)
            return Scratch(0)

        _, told = self.sent(disk(open_full))
        self.assertEqual(
            told, [self.ended(path="", seconds=0.0, octets=0, note="it cannot be written: the disk is full")]
        )
        self.assertEqual((made, os.listdir(self.folder)), ([self.file()], []))

    def test_cannot_be_opened(self) -> None:
        """A folder that may not be written to, and a file that is there already, are said in the system's words."""
        for number, words in ((errno.EACCES, "Permission denied"), (errno.EEXIST, "File exists")):

            def refuse(path: str, number: int = number) -> BinaryIO:
                raise OSError(number, os.strerror(number))

            _, told = self.sent(disk(refuse))
            self.assertEqual(told, [self.ended(path="", seconds=0.0, octets=0, note=f"it cannot be written: {words}")])

    def test_last_reserve(self) -> None:
        """Recordings leave the last 64 MiB of a disk to the records."""
        free = [RESERVE]

        _, told = self.sent(Disk(open_new, lambda folder: free[0]))
        self.assertEqual(told, [])
        free[0] -= 1
        self.ticks(600, caller=True)
        [event] = self.world.told()
        assert isinstance(event, RecordingEnded)
        self.assertEqual(event.note, "less than 64 MiB are free on the disk")
        self.assertEqual(len(channels(self.file())[1]), event.seconds * 16000)

    def test_no_reserve_at_all(self) -> None:
        """Where the last 64 MiB are touched already no file stays: one of no audio for each call would take them."""
        _, told = self.sent(disk(free=RESERVE - 1))
        note = "less than 64 MiB are free on the disk"
        self.assertEqual(told, [self.ended(path="", seconds=0.0, octets=0, note=note)])
        self.assertEqual(os.listdir(self.folder), [])

    def test_too_slow(self) -> None:
        """A disk so slow that packets had to be dropped ends the recording, and does not hold up the call."""
        plain, _ = self.sent(None)
        sent, told = self.sent(disk(), work=False)
        self.assertEqual((sent, told), (plain, []))
        self.ticks(200, caller=True, work=False)
        self.world.recorder.work()
        [event] = self.world.told()
        assert isinstance(event, RecordingEnded)
        self.assertEqual(
            (event.path, event.missing, event.note),
            ("", 100, "the disk is too slow: for 16 s nothing was written"),
        )
        self.assertEqual(os.listdir(self.folder), [])

    def test_stalled(self) -> None:
        """While the disk does not answer no recording begins, and a call that ends does not wait for it, in memory."""
        ended: list[messages.Event] = []
        waiting: list[int] = []

        def open_slowly(path: str) -> BinaryIO:
            """The thread hangs in here, and the loop goes on."""
            self.world.clock.advance(SLOW + 1)
            self.world.ask(Allocate(request=1, call="c-2"))
            self.world.ask(set_media("c-2"))
            self.world.ask(Record(request=0, call="c-2"))
            self.world.ask(Answered(request=0, call="c-2"))
            tap = self.world.carrier._sessions["c-1"]._recording._tap
            assert tap is not None
            waiting.append(len(tap))
            self.world.ask(Release(request=0, call="c-1"))
            waiting.append(len(tap))
            ended.extend(self.world.told())
            return open_new(path)

        self.build(disk(open_slowly))
        self.record()
        self.answer()
        self.ticks(50, caller=True)
        refused = RecordingEnded(
            generation=7, call="c-2", leg="caller", path="", seconds=0.0, octets=0,
            note="the disk has not answered for 5 s",
        )  # fmt: skip
        self.assertIn(refused, ended)
        self.assertEqual((waiting[0] > 0, waiting[1]), (True, 0))
        self.assertEqual(os.listdir(self.folder), [NAME])

    def test_no_folder(self) -> None:
        """A worker that was given no folder records nothing, and says so."""
        self.build()
        self.world.recorder.folder = ""
        self.record()
        self.world.ask(Answered(request=0, call="c-1"))
        self.assertEqual(
            self.world.told()[-1],
            self.ended(path="", seconds=0.0, octets=0, note="no folder for recordings is configured"),
        )

    def test_gateways_call_ids_only(self) -> None:
        """A call's id that is no plain word never becomes a path."""
        for call in ("../../etc/passwd", "c/1", "", ".c", "c" * 65):
            told: list[str] = []
            recorder = Recorder(clocks(lambda: 0.0), lambda tell: tell(), lambda run: None)
            recorder.folder = self.mktemp()
            begun = recorder.begin(call, Tap(set_media(), 0.0), partial(note, told))
            self.assertEqual((begun, told), (None, ["the call's id cannot be the name of a file"]))

    def test_not_finished(self) -> None:
        """A file whose header could not be put right at the end is kept, and the note says so."""

        class Unfinished(Scratch):
            def truncate(self, size: int | None = None, /) -> int:
                raise OSError(errno.EIO, "Input/output error")

        _, told = self.sent(disk(lambda path: Unfinished(1 << 20)))
        [event] = [*told, *self.release()]
        assert isinstance(event, RecordingEnded)
        self.assertEqual((event.path, event.note), (self.file(), "it could not be finished: Input/output error"))

    def test_fault_of_ours(self) -> None:
        """Whatever goes wrong in the thread ends that recording with a note, and the log says more."""

        def fails(*_: object, **__: object) -> Sound:
            raise ZeroDivisionError

        self.patch(Tap, "read", fails)
        _, told = self.sent(disk())
        note = "it failed inside the gateway; the media worker's log says more"
        self.assertEqual(told, [self.ended(path="", seconds=0.0, octets=0, note=note)])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nobody_listens_any_more(self) -> None:
        """A leg whose recording has ended early is tapped no longer: the kernel may have its bridge."""
        self.sent(disk(lambda path: Scratch(100_000)))
        self.assertEqual(self.world.carrier._sessions["c-1"].legs["caller"].port.taps, ())

    def test_nothing_to_wait_for(self) -> None:
        """Another leg's end, and one whose recording is over, have no recording that is still to be told of."""
        for its_disk, finishing in ((disk(), True), (disk(lambda path: Scratch(100_000)), False)):
            self.sent(its_disk)
            self.world.ask(Allocate(request=1, call="c-1", leg="target"))
            released = [
                self.world.ask(Release(request=0, call="c-1", leg=leg)).recording for leg in ("target", "caller")
            ]
            self.assertEqual(released, [False, finishing])


class OwnTimeTests(SynchronousTestCase):
    """The recorder alone: no call, and its thread is the test."""

    def setUp(self) -> None:
        self.now = 0.0
        self.looked: list[str] = []
        self.notes: list[str] = []

    def make(self, thread: Callable[[Callable[[], None]], threading.Thread | None] = lambda run: None) -> Recorder:
        recorder = Recorder(clocks(lambda: self.now), lambda tell: tell(), thread, disk(self.open))
        recorder.folder = self.mktemp()
        return recorder

    def open(self, path: str) -> BinaryIO:
        """Whenever something is written to it, that is noted."""
        looked, call = self.looked, path.rpartition("_")[2].removesuffix(".wav")

        class Noting(io.BytesIO):
            def write(self, data: Any, /) -> int:
                looked.append(call)
                return super().write(data)

        return Noting()

    def begin(self, recorder: Recorder, call: str) -> Recording:
        recording = recorder.begin(call, Tap(set_media(), self.now), partial(note, self.notes))
        assert recording is not None
        return recording

    def test_a_minute(self) -> None:
        """A recording that nobody looked at for a minute ends, though nobody said anything."""
        recorder = self.make()
        self.begin(recorder, "c-1")
        found = []
        for pause in (0.0, 59.0, 61.0):
            self.now += pause
            recorder.work()
            found.append(list(self.notes))
        self.assertEqual(found, [[], [], ["the disk is too slow: for 61 s nothing was written"]])

    def test_full_file(self) -> None:
        """A WAV file counts its octets in 32 bits: what it can hold is kept."""
        self.patch(recording_module, "MAX_RECORDING", 4 * 8000 + 3)
        recorder = self.make()
        recording = self.begin(recorder, "c-1")
        for _ in range(4):
            recorder.work()
            self.now += 1.0
        self.assertEqual((self.notes, recording.over), (["a WAV file can hold no more"], True))

    def test_ends_come_first(self) -> None:
        """A call that has ended does not wait until all others have been looked at."""
        recorder = self.make()
        first, _, last = (self.begin(recorder, call) for call in ("c-1", "c-2", "c-3"))
        recorder.work()
        self.now = 1.0
        self.looked.clear()
        self.patch(first, "turn", lambda now: recorder.end(last, now))
        waits = []
        while not self.notes or "c-2" not in self.looked:
            waits.append(recorder.work())
        self.assertEqual((waits[0], list(dict.fromkeys(self.looked))), (0.0, ["c-3", "c-2"]))

    def test_what_a_look_takes(self) -> None:
        """Where the loop sends before a look like the last one would have ended, the next one waits."""
        self.patch(recording_module, "PATIENCE", 600.0)
        times = iter(range(100))
        self.patch(time, "thread_time", lambda: 0.0015 * next(times))
        recorder = self.make()
        self.begin(recorder, "c-1")
        recorder.work()
        self.looked.clear()
        found = []
        self.begin(recorder, "c-2")
        for free in (0.001, 0.002):
            recorder.idle(free)
            found.append((recorder.work() == 600.0, "c-2" in self.looked))
        self.assertEqual(found, [(True, False), (False, True)])

    def test_the_loop_wakes_the_thread(self) -> None:
        """A thread that may not work does as soon as the loop says that it has time, and not a second later."""
        self.patch(recording_module, "PATIENCE", 600.0)
        waiting = threading.Event()
        recorder = self.make(daemon_thread)
        work = recorder.work

        def watched() -> float | None:
            wait = work()
            if wait == 600.0:
                waiting.set()
            return wait

        recorder.work = watched  # type: ignore[method-assign]
        recorder.idle(-0.05)
        self.begin(recorder, "c-1")
        self.addCleanup(recorder.close)
        self.assertTrue(waiting.wait(10.0))
        self.assertEqual(self.looked, [])
        recorder.idle(1.0)
        self.assertTrue(wait_until(lambda: bool(self.looked), 10.0))


class FloodTests(RecordedCallCase):
    def test_flood(self) -> None:
        """A peer that sends more than audio loses that, and its recording goes on, with a note."""
        self.build()
        self.record()
        self.answer()
        for _ in range(5):
            for _ in range(2000):
                self.phone.say(b"\x42" * 160, self.rtp)
            self.ticks(25)
        [event] = self.release()
        assert isinstance(event, RecordingEnded)
        self.assertEqual((event.path, event.seconds), (self.file(), 2.5))
        self.assertGreater(event.missing, 5 * 400)
        self.assertEqual(event.note, f"{event.missing} packets are missing in it: they came faster than audio does")


class OpenTests(SynchronousTestCase):
    def test_half_written(self) -> None:
        """A write that the system does in part goes on with the rest, and is an error once nothing more is taken."""
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.set_blocking(writer, False)
        file = _WholeFile(writer, "wb")
        self.addCleanup(file.close)
        self.assertEqual(file.write(bytes(1000)), 1000)
        refused = self.assertRaises(OSError, file.write, bytes(1 << 20))
        self.assertEqual(refused.errno, errno.ENOSPC)

    def test_nothing_is_overwritten(self) -> None:
        """A file that is there, and a link that somebody laid, are not written to."""
        folder = self.mktemp()
        os.makedirs(folder)
        there, link = os.path.join(folder, "there"), os.path.join(folder, "link")
        with open(there, "w") as file:
            file.write("mine")
        os.symlink(os.path.join(folder, "elsewhere"), link)
        for path in (there, link):
            self.assertRaises(FileExistsError, open_new, path)
        self.assertEqual(sorted(os.listdir(folder)), ["link", "there"])

    def test_mode(self) -> None:
        """Whatever the umask: 0640."""
        for mask in (0, 0o077):
            before = os.umask(mask)
            try:
                path = os.path.join(self.mktemp(), "new.wav")
                open_new(path).close()
            finally:
                os.umask(before)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)


class ThreadTests(RecordedCallCase):
    """With a thread of its own, and a real disk."""

    def descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def test_many(self) -> None:
        """Two hundred calls recorded and ended leave as many whole files, and no thread, descriptor or tap."""
        threads, descriptors = set(threading.enumerate()), self.descriptors()
        told: list[Callable[[], None]] = []
        # The call's time runs far ahead of the thread's, which must not take that for a slow disk.
        recorder = Recorder(clocks(lambda: 0.0), told.append)
        folder = self.mktemp()
        world = World(quarantine=0.0, recorder=recorder, recordings=folder)
        phone = Phone(world.network)
        for number in range(200):
            call = f"c-{number}"
            port = world.ask(Allocate(request=1, call=call)).rtp_port
            for request in (set_media(call), Record(request=0, call=call), Answered(request=0, call=call)):
                world.ask(request)
            for _ in range(10):
                phone.say(b"\x42" * 160, port)
                world.tick()
            world.ask(Release(request=0, call=call))
        recorder.close(30.0)
        for tell in told:
            tell()
        ended = [event for event in world.told() if isinstance(event, RecordingEnded)]
        self.assertEqual({(event.seconds, event.octets, event.note) for event in ended}, {(0.2, 6444, "")})
        self.assertEqual(sorted(event.path for event in ended), sorted(self.files(folder)))
        self.assertEqual((len(ended), set(threading.enumerate()) - threads), (200, set()))
        self.assertLessEqual(self.descriptors(), descriptors)  # an earlier test's may go meanwhile, like its threads
        self.assertEqual(recorder.begin("c-x", Tap(set_media(), 0.0), lambda recorded: None), None)

    def test_worker_ends(self) -> None:
        """Recordings of a worker that ends in the middle of calls are finished."""
        recorder = Recorder(clocks(lambda: 3.0), lambda tell: tell())
        recorder.folder = folder = self.mktemp()
        notes: list[str] = []
        for number in range(3):
            recorder.begin(f"c-{number}", Tap(set_media(), 1.0), partial(note, notes))
        recorder.close(30.0)
        self.assertEqual(([channels(path)[1] for path in self.files(folder)], notes), ([QUIET * 16000] * 3, [""] * 3))

    def test_scheduling(self) -> None:
        """Beside a loop of real-time priority the thread has one just below; beside another it has none."""
        found: list[tuple[int, int]] = []

        def look() -> None:
            found.append((os.sched_getscheduler(0), os.sched_getparam(0).sched_priority))

        daemon_thread(look).join(30.0)
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
        except OSError as reason:
            raise SkipTest(f"SCHED_FIFO is denied here: {reason.strerror}") from None
        try:
            daemon_thread(look).join(30.0)
        finally:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        self.assertEqual(found, [(os.SCHED_OTHER, 0), (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 9)])

    def files(self, folder: str) -> Iterable[str]:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
