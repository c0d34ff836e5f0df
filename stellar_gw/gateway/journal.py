"""Appends records to JSON-lines files without ever holding up a call, and without losing one to a full disk.

Records wait in memory and a thread writes them; when writing fails they stay, are tried again every few
seconds, and health is degraded until they are down.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

MOST_WAITING = 10_000
RETRY = 5.0
"""Seconds."""
_BATCH = 500

_log = Logger()

Run = Callable[[Callable[[], None]], "Deferred[None]"]
"""Runs a function in a thread, as ``deferToThread`` does."""


@define
class Journal:
    """One file of records, one JSON object a line.

    :ivar path: its folder must exist; the file is made with mode 0640.
    :ivar lost: how many records were dropped because more than 10,000 waited.
    """

    path: Path
    _clock: IReactorTime
    _run: Run
    lost: int = field(default=0, init=False)
    failing: str = field(default="", init=False)
    """Why the last write failed; empty while all is well."""
    _waiting: deque[bytes] = field(factory=deque, init=False)
    _writing: Deferred[None] | None = field(default=None, init=False)
    _retry: IDelayedCall | None = field(default=None, init=False)
    _closing: bool = field(default=False, init=False)

    def __len__(self) -> int:
        """Records that are not on disk yet."""
        return len(self._waiting)

    def append(self, record: dict[str, Any]) -> None:
        """Keep a record; it is written soon."""
        if len(self._waiting) >= MOST_WAITING:
            self.lost += 1
            return
        self._waiting.append(msgspec.json.encode(record) + b"\n")
        if self._retry is None:
            self._write()

    async def close(self) -> None:
        """Write what waits, once more if it could not be written before; then nothing is retried."""
        self._closing = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._write()
        while self._writing is not None:
            ended: Deferred[None] = Deferred()
            self._writing.addBoth(ended.callback)
            await ended
        if self._waiting:
            _log.error("{count} records could not be written to {path}", count=len(self), path=str(self.path))

    def _write(self) -> None:
        if self._writing is not None or not self._waiting:
            return
        batch = [self._waiting[index] for index in range(min(_BATCH, len(self._waiting)))]
        writing = self._writing = self._run(lambda: _append(self.path, b"".join(batch)))
        writing.addCallbacks(lambda _: self._written(len(batch)), self._failed)

    def _written(self, count: int) -> None:
        self._writing = None
        for _ in range(count):
            self._waiting.popleft()
        if self.failing:
            _log.info("records are written to {path} again", path=str(self.path))
            self.failing = ""
        self._write()

    def _failed(self, failure: Failure) -> None:
        self._writing = None
        reason = failure.getErrorMessage()
        if reason != self.failing:
            self.failing = reason
            _log.error(
                "records cannot be written to {path}: {reason}. Calls go on, {count} records wait; make space "
                "or mend the folder's permissions",
                path=str(self.path),
                reason=reason,
                count=len(self._waiting),
            )
        if not self._closing:
            self._retry = self._clock.callLater(RETRY, self._again)

    def _again(self) -> None:
        self._retry = None
        self._write()


def _append(path: Path, data: bytes) -> None:
    """All of it or nothing: a part that was written before an error is taken back."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        before = os.fstat(descriptor).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(descriptor, data[written:])
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)
