"""Records reach the disk, whatever the disk does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.gateway import journal
from stellar_gw.gateway.journal import Journal


def at_once(write: Callable[[], None]) -> Deferred[None]:
    return execute(write)


class JournalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "cdr.jsonl"

    def lines(self) -> list[object]:
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]

    def test_each_record_is_one_line_in_order(self) -> None:
        cdr = Journal(self.path, self.clock, at_once)
        cdr.append({"call_id": "c-1", "from": "line\nbreak"})
        cdr.append({"call_id": "c-2"})
        self.assertEqual(self.lines(), [{"call_id": "c-1", "from": "line\nbreak"}, {"call_id": "c-2"}])
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o640)

    def test_records_wait_while_they_cannot_be_written_and_come_in_order_after(self) -> None:
        """The folder is not there for a while: nothing is lost, and health says why meanwhile."""
        self.folder.rmdir()
        cdr = Journal(self.path, self.clock, at_once)
        for number in range(3):
            cdr.append({"n": number})
        self.assertEqual(len(cdr), 3)
        self.assertIn("No such file", cdr.failing)
        self.assertEqual(len(self.flushLoggedErrors()), 0)
        self.folder.mkdir()
        self.clock.advance(journal.RETRY)
        self.assertEqual(self.lines(), [{"n": 0}, {"n": 1}, {"n": 2}])
        self.assertEqual((len(cdr), cdr.failing), (0, ""))

    def test_a_slow_disk_holds_up_nobody(self) -> None:
        """While a write runs, records are taken; they are written by the next one."""
        running: list[tuple[Callable[[], None], Deferred[None]]] = []

        def slowly(write: Callable[[], None]) -> Deferred[None]:
            running.append((write, Deferred()))
            return running[-1][1]

        cdr = Journal(self.path, self.clock, slowly)
        cdr.append({"n": 0})
        cdr.append({"n": 1})
        self.assertEqual(len(running), 1)
        for write, done in running:
            write()
            done.callback(None)
        self.assertEqual(self.lines(), [{"n": 0}, {"n": 1}])

    def test_beyond_its_bound_records_are_counted_as_lost(self) -> None:
        self.patch(journal, "MOST_WAITING", 2)
        self.folder.rmdir()
        cdr = Journal(self.path, self.clock, at_once)
        for number in range(5):
            cdr.append({"n": number})
        self.assertEqual((len(cdr), cdr.lost), (2, 3))
        self.folder.mkdir()
        self.clock.advance(journal.RETRY)
        self.assertEqual(self.lines(), [{"n": 0}, {"n": 1}])

    def test_closing_writes_what_waits(self) -> None:
        self.folder.rmdir()
        cdr = Journal(self.path, self.clock, at_once)
        cdr.append({"n": 0})
        self.folder.mkdir()
        self.successResultOf(Deferred.fromCoroutine(cdr.close()))
        self.assertEqual(self.lines(), [{"n": 0}])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closing_gives_up_on_a_disk_that_stays_broken(self) -> None:
        self.folder.rmdir()
        cdr = Journal(self.path, self.clock, at_once)
        cdr.append({"n": 0})
        self.successResultOf(Deferred.fromCoroutine(cdr.close()))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(cdr), 1)
