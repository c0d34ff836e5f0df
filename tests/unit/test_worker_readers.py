"""Descriptors read straight from the loop."""

from __future__ import annotations

import asyncio
import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.worker.readers import DirectReaders


class Reader:
    """One end of a pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self.read: list[bytes] = []

    def fileno(self) -> int:
        return self._end.fileno()

    def doRead(self) -> None:
        self.read.append(self._end.recv(100))


class DirectReadersTests(SynchronousTestCase):
    def test_read_until_removed(self) -> None:
        """A reader is called while there is something to read, added twice or not, and not once it is removed."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        reader, readers = Reader(near), DirectReaders(loop, Clock())
        readers.addReader(reader)
        readers.addReader(reader)
        for word in (b"one", b"two"):
            far.send(word)
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0))
        readers.removeReader(reader)
        readers.removeReader(reader)
        far.send(b"three")
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(reader.read, [b"one", b"two"])

    def test_later(self) -> None:
        """What shall happen later is left to the reactor."""
        clock, loop = Clock(), asyncio.new_event_loop()
        self.addCleanup(loop.close)
        done: list[str] = []
        DirectReaders(loop, clock).callLater(1.0, done.append, "done")
        clock.advance(1.0)
        self.assertEqual(done, ["done"])
