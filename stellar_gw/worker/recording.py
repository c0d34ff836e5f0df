"""Calls recorded as stereo WAV files, by one thread for all calls of a worker.

The loop only puts packets into a tap's queue. Folders, files, decoding and writing are the thread's, which looks at
each recording once a second, so that a hundred packets share what a look costs. Whatever the disk does, the call does
not notice: a recording that cannot be written ends with a note, one whose disk is too slow does so too, and none begins
while the disk does not answer.

The thread asks for the loop's kind of scheduling: it holds the interpreter's lock at times, and a loop of real-time
priority must not wait for a thread that waits for everybody else. It works while the loop has nothing to send
(:mod:`stellar_gw.worker.idle_time`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO

from attrs import frozen
from twisted.logger import Logger

from stellar_gw.media.wav import MAX_RECORDING, WavWriter
from stellar_gw.worker.idle_time import PATIENCE, IdleTime
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.tap import Tap

TURN = 1.0
"""Seconds between two looks at a recording."""
SLOW = 5.0
"""Seconds without a turn after which packets that were dropped are the disk's fault, and no recording begins."""
TOO_SLOW = 60.0
"""Seconds without a turn that no recording survives: what it would have to make up for takes memory."""
RESERVE = 64 << 20
"""Octets that stay free on the disk, for records and logs."""
LOOK_AT_DISK = 10.0
"""Seconds between two looks at how much that is."""
MODE = 0o640
FRAME = 4
"""Octets of one sample of both channels."""
WAV_HEADER = 44
_CALL = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_log = Logger()


@frozen(kw_only=True)
class Recorded:
    """What became of a recording.

    :ivar path: of the file; empty where there is none.
    :ivar octets: of the file.
    :ivar missing: packets that are silence in it, because nobody could take them in time.
    :ivar note: why it ended before its call, or what is wrong with it; empty where nothing is.
    """

    path: str
    seconds: float
    octets: int
    missing: int
    note: str = ""


class _WholeFile(io.FileIO):
    """Unbuffered, so that what was written is known to be; a write is complete or raises."""

    def write(self, data: Any, /) -> int:
        view, done = memoryview(data), 0
        while done < len(view):
            written = super().write(view[done:])
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += written
        return done


def open_new(path: str) -> BinaryIO:
    """A file of mode 0640 that was not there before, whatever links somebody laid.

    :raise OSError: if it cannot be made.
    """
    os.makedirs(os.path.dirname(path), 0o750, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    os.fchmod(descriptor, MODE)
    return _WholeFile(descriptor, "wb")


def free_octets(folder: str) -> int:
    """How much an ordinary user may still write where the folder is.

    :raise OSError: if that cannot be found out.
    """
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@frozen
class Disk:
    """What recordings need of the operating system, so that a test can have its own."""

    open: Callable[[str], BinaryIO] = open_new
    free: Callable[[str], int] = free_octets


class Recording:
    """One call's file; made by :meth:`Recorder.begin`.

    :ivar stop_at: when the call ended, by the worker's clock; None while it goes on. The loop sets it.
    """

    def __init__(self, path: str, tap: Tap, disk: Disk, ended: Callable[[Recorded], None]) -> None:
        self._path = path
        self._tap = tap
        self._disk = disk
        self.ended = ended
        self.stop_at: float | None = None
        self._file: BinaryIO | None = None
        self._writer: WavWriter | None = None
        self._turned_at = tap.began
        self._looked_at = -LOOK_AT_DISK
        self._dropped = 0
        self._over = False

    @property
    def over(self) -> bool:
        return self._over

    def discard(self) -> None:
        """Keep nothing in memory for a disk that does not answer."""
        self._tap.close()

    # --- in the thread --------------------------------------------------------------------------

    def turn(self, now: float) -> Recorded | None:
        """Write what is there; what became of the recording, once it is over. Never raises."""
        if self._over:
            return None
        stop_at = self.stop_at  # what the loop says from here on is for the next turn, which it asks for
        try:
            note = self._write(now, stop_at)
        except OSError as reason:
            note = "the disk is full" if reason.errno == errno.ENOSPC else f"{reason.strerror or reason}"
            note = f"it cannot be written: {note}"
        except Exception:
            _log.failure("a recording failed")
            note = "it failed inside the gateway; the media worker's log says more"
        if note is None and stop_at is None:
            return None
        return self._finish(note or "")

    def _write(self, now: float, stop_at: float | None) -> str | None:
        """Why the recording must end, None where it need not."""
        if self._file is None:
            self._file = self._disk.open(self._path)
        if self._writer is None:
            self._writer = WavWriter(self._file, self._tap.rate, 2, MAX_RECORDING // FRAME * FRAME)
        paused, self._turned_at = now - self._turned_at, now
        dropped, self._dropped = self._tap.dropped - self._dropped, self._tap.dropped
        if paused > TOO_SLOW or (paused > SLOW and dropped):
            return f"the disk is too slow: for {paused:.0f} s nothing was written"
        sound = self._tap.read(now) if stop_at is None else self._tap.read(stop_at, last=True)
        self._writer.write(sound.pcm)
        if self._writer.full:
            return "a WAV file can hold no more"
        if now - self._looked_at >= LOOK_AT_DISK:
            self._looked_at = now
            if self._disk.free(os.path.dirname(self._path)) < RESERVE:
                return f"less than {RESERVE >> 20} MiB are free on the disk"
        return None

    def _finish(self, note: str) -> Recorded:
        """Put the header right and close the file; where it never got any audio, for a reason, there is none."""
        self._over = True
        self._tap.close()
        octets = 0 if self._writer is None else self._writer.octets
        keeps = self._writer is not None and bool(octets or not note)
        if self._file is not None:
            try:
                self._close(self._file, octets if keeps else None)
            except OSError as reason:
                note = note or f"it could not be finished: {reason.strerror or reason}"
        missing = self._tap.lost
        if missing and not note:
            note = f"{missing} packets are missing in it: they came faster than audio does"
        path, size = (self._path, octets + WAV_HEADER) if keeps else ("", 0)
        seconds = octets / FRAME / self._tap.rate
        return Recorded(path=path, seconds=round(seconds, 3), octets=size, missing=missing, note=note)

    def _close(self, file: BinaryIO, octets: int | None) -> None:
        """:param octets: of audio; None: take it away."""
        try:
            if octets is None or self._writer is None:
                os.unlink(self._path)
            else:
                file.truncate(WAV_HEADER + octets)  # half a sample may stand there
                self._writer.close()
        finally:
            file.close()


def _schedule_below(other: int) -> None:
    """Schedule this thread as another one is, whose SCHED_RESET_ON_FORK kept it from that, but after it.

    :param other: its id; a process's own is that of its main thread.
    """
    policy = os.sched_getscheduler(other) & ~os.SCHED_RESET_ON_FORK
    if policy == os.SCHED_FIFO:
        priority = max(1, os.sched_getparam(other).sched_priority - 1)
        with contextlib.suppress(OSError):  # then as before
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))


def daemon_thread(run: Callable[[], None]) -> threading.Thread:
    """A thread that does not keep the process from ending, should the disk never answer again."""

    def scheduled() -> None:
        _schedule_below(os.getpid())
        run()

    thread = threading.Thread(target=scheduled, name="recorder", daemon=True)
    thread.start()
    return thread


@frozen
class _Due:
    at: float
    recording: Recording


class Recorder:
    """All recordings of a worker. What is public is for the loop; :meth:`work` is what the thread does.

    :ivar folder: where files go; empty: nowhere, so that nothing is recorded.
    """

    def __init__(
        self,
        clocks: Clocks,
        tell: Callable[[Callable[[], None]], object],
        thread: Callable[[Callable[[], None]], threading.Thread | None] = daemon_thread,
        disk: Disk | None = None,
    ) -> None:
        """:param tell: has a function called in the loop."""
        self._clocks = clocks
        self._tell = tell
        self._make_thread = thread
        self._disk = disk or Disk()
        self._thread: threading.Thread | None = None
        self._started = False
        self._asked: deque[_Due] = deque()
        self._due: deque[_Due] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._turning_since: float | None = None
        self._idle = IdleTime(clocks.now)
        self.folder = ""

    # --- in the loop ----------------------------------------------------------------------------

    def begin(self, call: str, tap: Tap, ended: Callable[[Recorded], None]) -> Recording | None:
        """Write down what the tap takes in, from when it was made; None where that is not possible.

        :param call: part of the file's name.
        :param ended: called in the loop, once, whatever happens.
        """
        refused = self._refusal(call)
        if refused:
            tap.close()
            nothing = Recorded(path="", seconds=0.0, octets=0, missing=0, note=refused)
            self._tell(partial(ended, nothing))
            return None
        named = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clocks.wall()))
        recording = Recording(os.path.join(self.folder, f"{named}_{call}.wav"), tap, self._disk, ended)
        self._ask(recording)
        if not self._started:
            self._started = True
            self._thread = self._make_thread(self._run)
        return recording

    def end(self, recording: Recording, at: float) -> None:
        """The call is over since ``at``; what is still to be written will be. May be repeated."""
        if recording.stop_at is not None or recording.over:
            return
        recording.stop_at = at
        if self._stalled():
            recording.discard()
        self._ask(recording)

    def idle(self, until: float) -> None:
        """The loop sends nothing before; called after each of its slots."""
        self._idle.until(until)
        if self._idle.waits:
            self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """End all recordings, and the thread; wait for that so many seconds at most."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _refusal(self, call: str) -> str:
        if not self.folder:
            return "no folder for recordings is configured"
        if _CALL.fullmatch(call) is None:
            return "the call's id cannot be the name of a file"
        if self._closing:
            return "the media worker is ending"
        if self._stalled():
            return f"the disk has not answered for {SLOW:g} s"
        return ""

    def _stalled(self) -> bool:
        since = self._turning_since
        return since is not None and self._clocks.now() - since > SLOW

    def _ask(self, recording: Recording) -> None:
        self._asked.append(_Due(self._clocks.now(), recording))
        self._wake.set()

    # --- in the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            wait = self.work()
            self._wake.wait(wait)
            self._wake.clear()
        self._finish_all()

    def work(self) -> float | None:
        """Look at the recordings whose turn it is; seconds until the next one, None where there is none."""
        while self._asked:
            if not self._idle.may_work(self._asked[0].at):
                return PATIENCE
            self._turn(self._asked.popleft().recording)
        while self._due and self._due[0].at <= self._clocks.now():
            if not self._idle.may_work(self._due[0].at):
                return PATIENCE
            self._turn(self._due.popleft().recording)
            if self._asked:  # those who wait for an end come first
                return 0.0
        return max(0.0, self._due[0].at - self._clocks.now()) if self._due else None

    def _turn(self, recording: Recording) -> None:
        if recording.over:
            return
        now = self._turning_since = self._clocks.now()
        began = time.thread_time()
        recorded = recording.turn(now)
        self._idle.took(time.thread_time() - began)
        self._turning_since = None
        if recorded is not None:
            self._tell(partial(recording.ended, recorded))
        else:
            self._due.append(_Due(now + TURN, recording))

    def _finish_all(self) -> None:
        for recording in (due.recording for due in (*self._asked, *self._due)):
            if recording.stop_at is None:
                recording.stop_at = self._clocks.now()
            self._turn(recording)
        self._asked.clear()
        self._due.clear()
