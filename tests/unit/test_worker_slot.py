"""What a slot, and the pool of slots, take for a worker's delay."""

from __future__ import annotations

from typing import Any, cast

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.messages import VERSION, Done, Hello, Reply, Request
from stellar_gw.gateway.channel import WorkerChannel
from stellar_gw.gateway.pool import WorkerPool
from stellar_gw.gateway.pool_settings import PoolSettings
from stellar_gw.gateway.worker_process import WorkerProcess
from stellar_gw.gateway.worker_slot import WorkerSlot

PID = 4711


@define
class FakeProcess:
    """:ivar killed: how often."""

    pid: int = PID
    killed: int = 0

    def signalProcess(self, name: str) -> None:
        self.killed += 1


class FakeReactor(Clock):
    """A clock that starts nothing: :attr:`process` is what it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.process = FakeProcess()

    def spawnProcess(self, protocol: WorkerProcess, *args: Any, **keywords: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(cast(Any, self.process))

    def listenUNIX(self, *args: Any, **keywords: Any) -> Any:
        raise NotImplementedError


@define
class Willing:
    """A channel to a worker that does what it is asked."""

    aborted: list[str] = field(factory=list)

    def ask(self, request: Request, timeout: float) -> Deferred[Reply]:
        return succeed(Done(request=1))

    def abort(self, reason: str) -> None:
        self.aborted.append(reason)


class HeldUpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.settings = PoolSettings(
            workers=1, ports=(10000, 10100), bind=("127.0.0.1",), runtime="/nowhere", start_timeout=4.0
        )
        self.pool = WorkerPool(self.reactor, self.settings, lambda event: None, generation=6)
        (self.slot,) = self.pool._slots
        self.slot.start()

    def attach(self) -> WorkerChannel:
        """Whatever was said meanwhile is read now: Hello."""
        channel = cast(WorkerChannel, Willing())
        self.assertTrue(self.slot.attach(channel, Hello(version=VERSION, worker=0, generation=7, pid=PID)))
        return channel

    def late(self, seconds: float) -> None:
        self.reactor.pump([seconds / 8] * 8)

    def test_hello(self) -> None:
        """A worker whose Hello lies in the socket of a gateway that was held up is not late; one that says none is."""
        found = []
        for wait in (self.reactor.advance, self.late):
            wait(self.settings.start_timeout)
            found.append(self.reactor.process.killed)
        self.assertEqual(found, [0, 1])

    def drained(self) -> WorkerSlot:
        channel = self.attach()
        self.slot.drain()
        self.slot.cut(channel, "it closed the control channel")
        return self.slot

    def test_drained(self) -> None:
        """A drained worker is killed where it does not end, not where the gateway has not noticed yet."""
        slot, found = self.drained(), []
        for wait in (self.reactor.advance, self.late):
            wait(self.settings.stop_timeout)
            found.append(self.reactor.process.killed)
        self.reactor.protocol.processExited(Failure(ProcessDone(0)))
        self.assertEqual((found, slot.running, self.reactor.getDelayedCalls()), ([0, 1], False, []))

    def test_stopped(self) -> None:
        """Nor when the whole pool is stopped."""
        self.attach()
        stopped = Deferred.fromCoroutine(self.pool.stop())
        found = []
        for wait in (self.reactor.advance, self.late):
            wait(self.settings.stop_timeout)
            found.append(self.reactor.process.killed)
        self.reactor.protocol.processExited(Failure(ProcessDone(0)))
        self.successResultOf(stopped)
        self.assertEqual(found, [0, 1])
