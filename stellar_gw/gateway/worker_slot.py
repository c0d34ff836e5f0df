"""One place in the pool: a number, a slice of ports, and the process that holds both now.

A process is up from the moment it has said Hello and taken its configuration until it leaves a ping without
an answer, closes its channel or exits. That the process still runs is no sign of life. One that is not up any more
is killed, and another takes its place once its ports are free, that is, once it has really ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from stellar_gw.control.messages import Configure, Drain, Hello, Ping, Pong, Reply
from stellar_gw.gateway.channel import WorkerChannel
from stellar_gw.gateway.pool_settings import PoolSettings
from stellar_gw.gateway.worker_load import WorkerLoad
from stellar_gw.gateway.worker_process import Spawner, WorkerProcess, spawn
from stellar_gw.patience import Clock, Patience

SOUND = 10.0
"""Seconds after which a worker that fell had not failed at the start, and is replaced without delay."""
_log = Logger()


class SlotReactor(Clock, Spawner, Protocol):
    """What a slot needs of a reactor: IReactorTime and IReactorProcess."""


class SlotOwner(Protocol):
    """Whom a slot tells what becomes of it."""

    def up(self, slot: WorkerSlot) -> None: ...

    def lost(self, slot: WorkerSlot, calls: tuple[str, ...], reason: str) -> None:
        """It counts no longer, and what it carried is gone; another process may be up later."""

    def ended(self, slot: WorkerSlot) -> None:
        """Its last process has ended, and none takes its place (:meth:`WorkerSlot.drain`)."""


class WorkerSlot:
    """
    :ivar channel: to the process that is attached, None while there is none.
    :ivar up: whether it can be asked.
    :ivar calls: what it carries.
    :ivar load: of the present process.
    :ivar replaced: how often another process took over.
    """

    def __init__(
        self,
        reactor: SlotReactor,
        settings: PoolSettings,
        owner: SlotOwner,
        number: int,
        ports: tuple[int, int],
        next_generation: Callable[[], int],
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._owner = owner
        self._next_generation = next_generation
        self._process: WorkerProcess | None = None
        self._lost = True
        self._draining = False
        self._started = 0.0
        self._failures = 0
        self._timer: IDelayedCall | Patience | None = None
        self.number = number
        self.ports = ports
        self.generation = 0
        self.channel: WorkerChannel | None = None
        self.up = False
        self.calls: set[str] = set()
        self.load = WorkerLoad(settings.max_load)
        self.replaced = 0

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """0 where nothing runs."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        self.generation = generation = self._next_generation()
        self._started = self._reactor.seconds()
        self._lost = False
        settings = self._settings
        self.load = WorkerLoad(settings.max_load)
        try:
            process = spawn(
                self._reactor,
                settings.command.line(settings.socket, self.number, generation),
                settings.command.environment,
                self._exited,
            )
        except OSError as reason:
            self._lose(f"it cannot be started: {reason}")
            return
        if self._lost:  # it ended so soon that we heard of it in there, and another start waits already
            return
        self._process = process
        self._give(settings.start_timeout, self._lose, f"it did not say Hello within {settings.start_timeout:g} s")

    def attach(self, channel: WorkerChannel, hello: Hello) -> bool:
        """Whether Hello came from our own process; then it is configured."""
        if self._lost or self.channel is not None or (self.generation, self.pid) != (hello.generation, hello.pid):
            return False
        self.channel = channel
        Deferred.fromCoroutine(self._configure(channel)).addErrback(
            lambda reason: self.cut(channel, f"it could not be configured: {reason.getErrorMessage()}")
        )
        return True

    def cut(self, channel: WorkerChannel, reason: str) -> None:
        """The channel is closed, or shall be: if it is the present one, the worker is lost."""
        if self.channel is channel:
            self._lose(reason)

    def drain(self) -> None:
        """Let it end with its last call; nothing takes its place."""
        self._draining = True
        if self.channel is not None:
            if self.up:
                self.channel.ask(Drain(request=0), self._settings.request_timeout).addErrback(lambda _: None)
        elif self._process is not None:
            self._process.kill()  # nothing to lose yet
        else:
            self._wait(None)
            self._owner.ended(self)

    def kill(self, why: str) -> None:
        if self._process is not None:
            _log.warn("media worker {worker} {why}: killed", worker=self.number, why=why)
            self._process.kill()

    def _wait(self, delay: float | None, then: Callable[..., object] = id, *args: Any) -> None:
        """A slot waits for one thing at a time: Hello, the next ping, its process's end, or its replacement."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if delay is None else self._reactor.callLater(delay, then, *args)

    def _give(self, seconds: float, then: Callable[..., object], *args: Any) -> None:
        """The same, where the process has so long for it, whatever holds this one up."""
        self._wait(None)
        self._timer = Patience(self._reactor, seconds, then, *args)

    async def _configure(self, channel: WorkerChannel) -> None:
        settings = self._settings
        await channel.ask(
            Configure(
                request=0,
                bind=settings.bind,
                ports=self.ports,
                dscp=settings.dscp,
                quarantine=settings.quarantine,
                recordings=settings.recordings,
                no_media=settings.no_media,
                no_media_on_hold=settings.no_media_on_hold,
                fast_path=settings.fast_path,
            ),
            settings.request_timeout,
        )
        if self.channel is not channel:
            return
        self.up = True
        _log.info(
            "media worker {worker} is up (pid {pid}, ports {first} to {last})",
            worker=self.number,
            pid=self.pid,
            first=self.ports[0],
            last=self.ports[1] - 1,
        )
        self._wait(settings.ping_interval, self._ping, channel)
        if self._draining:
            self.drain()
        self._owner.up(self)

    def _ping(self, channel: WorkerChannel) -> None:
        settings = self._settings

        def answered(reply: Reply) -> None:
            if self.channel is channel:
                if isinstance(reply, Pong) and self.load.told(reply):
                    self._tell_load()
                self._wait(settings.ping_interval, self._ping, channel)

        def silent(reason: Failure) -> None:
            self.cut(channel, f"it left a ping unanswered ({reason.getErrorMessage()})")

        channel.ask(Ping(request=0), settings.ping_timeout).addCallbacks(answered, silent)

    def _tell_load(self) -> None:
        load = self.load
        if load.overloaded:
            _log.warn(
                "media worker {worker} has all that it can carry: with {count} calls it works {busy:.0%} of the time, "
                "and {late:.0%} of its turns are late; it gets no new calls",
                worker=self.number,
                count=len(self.calls),
                busy=load.busy,
                late=load.late,
            )
        else:
            _log.info(
                "media worker {worker} takes calls again: with {count} it works {busy:.0%} of the time",
                worker=self.number,
                count=len(self.calls),
                busy=load.busy,
            )

    def _exited(self, how: str) -> None:
        self._process = None
        if self._lost:
            self._replace()
        else:
            self._lose(f"it ended with {how}")

    def _lose(self, reason: str) -> None:
        """It counts no longer, whatever its process may still do."""
        if self._lost:
            return
        self._lost, self.up = True, False
        self._wait(None)
        sound = self._reactor.seconds() - self._started >= SOUND
        self._failures = 0 if sound else self._failures + 1
        channel, self.channel = self.channel, None
        if channel is not None:
            channel.abort(reason)
        calls, self.calls = tuple(sorted(self.calls)), set()
        expected = self._draining and not calls
        if not expected:
            _log.error(
                "media worker {worker} is lost, with {count} calls: {reason}",
                worker=self.number,
                count=len(calls),
                reason=reason,
            )
        if self._process is None:
            self._replace()
        elif expected:  # drained: it closes its channel before it exits
            self._give(self._settings.stop_timeout, self.kill, "has drained but does not end")
        else:
            self._process.kill()
        self._owner.lost(self, calls, reason)

    def _replace(self) -> None:
        """The old process has ended, and its ports are free."""
        self._wait(None)
        if self._draining:
            self._owner.ended(self)
            return
        first, longest = self._settings.backoff
        delay = min(first * 2.0 ** min(self._failures - 1, 30), longest) if self._failures else 0.0
        self.replaced += 1
        if delay:
            _log.warn("media worker {worker} is started again in {delay:g} s", worker=self.number, delay=delay)
        self._wait(delay, self.start)
