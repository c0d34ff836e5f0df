"""A call's recording as the gateway knows it: asked for with the answer, and what the worker says became of it."""

from __future__ import annotations

from collections.abc import Callable

from stellar_gw.call.ports import MediaPlane
from stellar_gw.call.record import CallRecord
from stellar_gw.call.timers import Timers
from stellar_gw.control.messages import Record, RecordingEnded

FINISH_TIMEOUT = 2.0
"""Seconds a worker may take over the end of a file; then the record is written without it."""
_UNKNOWN = "the media worker did not say what became of it; the file, if there is one, has the call's id in its name"

Note = Callable[[str, str], None]


class CallRecording:
    """
    :param wanted: whether the call is to be recorded.
    :param note: tells the operator, by kind and line.
    :ivar finishing: the worker has released the call, and is still writing its end.
    """

    def __init__(self, *, wanted: bool, record: CallRecord, plane: MediaPlane, timers: Timers, note: Note) -> None:
        self._wanted = wanted
        self._record = record
        self._plane = plane
        self._timers = timers
        self._note = note
        self._go_on: Callable[[], None] | None = None
        self.finishing = False

    def begin(self) -> None:
        """The call is being answered; that it cannot be recorded is no reason to end it."""
        if not self._wanted:
            return
        self._keep("", note=_UNKNOWN)
        asked = self._plane.ask(Record(request=0, call=self._record.call_id))
        asked.addErrback(lambda failure: self._failed(str(failure.value)))

    def ended(self, event: RecordingEnded) -> None:
        """The worker says what became of it: at the end of the call, or before."""
        self.finishing = False
        self._keep(event.path, event.seconds, event.octets, event.note)
        if event.note:
            self._note("recording", f"recording: {event.note}")
        self._continue()

    def finish(self, go_on: Callable[[], None]) -> None:
        """The call is released: go on once the end of the file is known, at once where none is awaited."""
        self._go_on = go_on
        if self.finishing:
            self._timers.give("recording", FINISH_TIMEOUT, self._overdue)
        else:
            self._continue()

    def _overdue(self) -> None:
        self.finishing = False
        self._failed(f"its file was not finished within {FINISH_TIMEOUT:g} s")
        self._continue()

    def _failed(self, why: str) -> None:
        self._keep("", note=why)
        self._note("recording", f"recording: {why}")

    def _continue(self) -> None:
        go_on, self._go_on = self._go_on, None
        if go_on is not None:
            self._timers.stop("recording")
            go_on()

    def _keep(self, path: str, seconds: float = 0.0, octets: int = 0, note: str = "") -> None:
        self._record.recording = {"path": path, "seconds": seconds, "octets": octets, "note": note}
