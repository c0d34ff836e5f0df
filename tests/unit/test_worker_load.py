"""When a worker gets no more calls: a long time too busy and late, and not for a moment's trouble."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.messages import Pong
from stellar_gw.gateway.worker_load import WorkerLoad


class Worker:
    """Says what it does, twice a second, for as long as it is run."""

    def __init__(self, limit: float = 0.9) -> None:
        self.load = WorkerLoad(limit)
        self.changes: list[tuple[float, bool]] = []
        self._pong = Pong(request=0, at=1000.0, worked=50.0, turns=0, late=0, skipped=0)
        self.load.told(self._pong)

    def run(self, seconds: float, busy: float, late: float = 0.0, turns: int = 100) -> bool:
        """:return: whether it is overloaded after that."""
        for _ in range(round(seconds * 2)):
            before = self._pong
            self._pong = Pong(
                request=0,
                at=before.at + 0.5,
                worked=before.worked + busy * 0.5,
                turns=before.turns + turns,
                late=before.late + round(turns * late),
                skipped=before.skipped + (1 if late else 0),
            )
            if self.load.told(self._pong):
                self.changes.append((self._pong.at - 1000.0, self.load.overloaded))
        return self.load.overloaded


class WorkerLoadTests(SynchronousTestCase):
    def test_averages(self) -> None:
        """Of some seconds: after a long time they are what it does all the time; the numbers are as it told them."""
        worker = Worker()
        self.assertEqual((worker.load.busy, worker.load.late), (0.0, 0.0))
        worker.run(60.0, busy=0.5, late=0.1)
        load = worker.load
        self.assertEqual((round(load.busy, 3), round(load.late, 3)), (0.5, 0.1))
        self.assertEqual((load.late_turns, load.skipped), (1200, 120))

    def test_too_many_calls(self) -> None:
        """Busy and late for some seconds: it gets no more, until it has long been a little less busy, or on time."""
        for busy, late in ((0.7, 0.2), (0.95, 0.0)):
            worker = Worker()
            self.assertFalse(worker.run(8.0, busy=0.95))
            self.assertTrue(worker.run(10.0, busy=0.97, late=0.2))
            self.assertTrue(worker.run(30.0, busy=0.88, late=0.01))
            self.assertTrue(worker.run(0.5, busy=busy, late=late))
            self.assertFalse(worker.run(20.0, busy=busy, late=late))
            self.assertEqual([overloaded for _, overloaded in worker.changes], [True, False])

    def test_one_of_both_is_no_overload(self) -> None:
        """A flood of packets is dealt with in what time is left; another process may take the core from it."""
        self.assertFalse(Worker().run(60.0, busy=1.0))
        self.assertFalse(Worker().run(60.0, busy=0.6, late=0.5))

    def test_a_moment_is_no_overload(self) -> None:
        """Half a second in which it could not keep up, at its start, or while nearly nothing is to be done."""
        worker = Worker()
        self.assertFalse(worker.run(0.5, busy=1.0, late=1.0))
        self.assertFalse(worker.run(20.0, busy=0.8))
        self.assertFalse(worker.run(0.5, busy=1.0, late=1.0))

    def test_before_it_said_anything(self) -> None:
        """That it worked all the time while it started is not counted, nor is a clock that stands."""
        load = WorkerLoad(0.9)
        first = Pong(request=0, at=5.0, worked=5.0, turns=0, late=0, skipped=0)
        self.assertEqual((load.told(first), load.told(first), load.busy), (False, False, 0.0))

    def test_no_turns(self) -> None:
        """A worker without calls has no turns, and none that is late."""
        worker = Worker()
        worker.run(60.0, busy=0.01, turns=0)
        self.assertEqual((round(worker.load.busy, 3), worker.load.late), (0.01, 0.0))

    def test_no_limit(self) -> None:
        self.assertFalse(Worker(limit=0.0).run(60.0, busy=1.0, late=1.0))
