"""Our media workers under test: real processes, driven over their control channel as the gateway drives them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from benchmarks.load.generator import Leg, Measured, address_of, run
from benchmarks.load.machine import LOAD_CORE, PRIORITY, RELAY_CORE, pin, with_us
from stellar_gw.control import messages
from stellar_gw.control.messages import (
    Allocate,
    Allocated,
    Answered,
    CallContext,
    Codec,
    LegStatistics,
    Record,
    Release,
    Released,
    Reply,
    Request,
    Secret,
    SetMedia,
    SrtpKey,
    StartAgent,
    bridge,
)
from stellar_gw.gateway.pool import WorkerPool
from stellar_gw.gateway.pool_settings import PoolSettings
from stellar_gw.gateway.worker_process import WorkerCommand, worker_environment
from stellar_gw.testing.certificates import Authority

HOST = "127.0.0.41"
PORTS = (10000, 60000)
AT_ONCE = 100
"""Calls that are set up side by side."""
PCMU = Codec(name="PCMU", payload_type=0)
G722 = Codec(name="G722", payload_type=9)
EVENTS = Codec(name="TELEPHONE-EVENT", payload_type=101)
SUITE = "AES_CM_128_HMAC_SHA1_80"
QUIET = "import sys; sys.stderr = open('/dev/null', 'w'); from stellar_gw.worker.main import main; main()"
_T = TypeVar("_T")


class WorkerEndError(Exception):
    """The workers did not do what was asked; the message says what."""


@frozen(kw_only=True)
class Agent:
    """Whom calls talk with.

    :ivar url: ``ws://``, ``wss://`` or ``builtin:``.
    """

    dialect: str
    url: str
    options: Mapping[str, str] = {}


class WorkerEnd:
    """Workers, each on a core of its own, and the calls they carry; an asynchronous context manager.

    :param cores: one for each worker.
    :param real_time: have them ask for SCHED_FIFO, as they do by themselves, above others on this machine.
    :param environ: added to the workers' environment.
    :param host: that they bind.
    :param prefix: what their command begins with, to run elsewhere.
    :param fast_path: socket of the kernel fast path's helper; empty for none.
    :param phone: the address of a leg's phone, by its number.
    """

    def __init__(
        self,
        reactor: Any,
        cores: Sequence[int] = (RELAY_CORE,),
        *,
        real_time: bool = True,
        environ: Mapping[str, str] | None = None,
        host: str = HOST,
        prefix: Sequence[str] = (),
        fast_path: str = "",
        phone: Callable[[int], tuple[str, int]] = address_of,
    ) -> None:
        self._reactor = reactor
        self._cores = cores
        self._folder = tempfile.mkdtemp(prefix="sgw-bench-")
        self._numbers = count()
        self._calls: list[str] = []
        self._host = host
        self._phone = phone
        options = ("--priority", str(PRIORITY if real_time else 0))
        self._settings = PoolSettings(
            workers=len(cores),
            ports=PORTS,
            bind=(host,),
            fast_path=fast_path,
            recordings=str(Path(self._folder) / "recordings"),
            runtime=self._folder,
            quarantine=0.1,
            # A worker that is loaded to its limit on purpose is not to be replaced for it, nor spared.
            max_load=0.0,
            ping_timeout=60.0,
            request_timeout=60.0,
            command=WorkerCommand(
                arguments=(*prefix, sys.executable, "-c", QUIET),
                options=options,
                environment={**worker_environment(os.environ), **(environ or {})},
            ),
        )
        self._events: list[Any] = []
        self._pool = WorkerPool(reactor, self._settings, self._events.append)

    async def __aenter__(self) -> WorkerEnd:
        try:
            await self._pool.start()
            for _ in range(1000):
                if all(worker.up for worker in self._pool.describe()):
                    break
                await deferLater(self._reactor, 0.01)
            else:
                raise WorkerEndError("the workers are not up within 10 s; their log may say why")
            for pid, core in zip(self.pids, self._cores, strict=True):
                pin(pid, core)
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        await self._pool.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.pid for worker in self._pool.describe())

    # --- calls ----------------------------------------------------------------------------------

    async def bridge(self, calls: int, *, secure: bool = False) -> list[Leg]:
        """Set up so many calls of two legs, bound to each other; the generator's legs of them.

        :param secure: the first leg of each is SRTP, the second plain.
        """

        async def one(number: int) -> list[Leg]:
            call = self._name()
            keys = (_key(number, 1), _key(number, 2)) if secure else None
            first = await self._leg(call, "caller", 2 * number, PCMU, 2 * number + 1, keys)
            second = await self._leg(call, "target", 2 * number + 1, PCMU, 2 * number)
            await self._ask(Answered(request=0, call=call))
            await self._ask(bridge(call))
            return [first, second]

        return [leg for pair in await self._by_batches(calls, one) for leg in pair]

    async def converse(self, calls: int, agent: Agent, codec: Codec = PCMU, *, recorded: bool = False) -> list[Leg]:
        """Set up so many calls with this agent; the generator's legs of them.

        :param recorded: write all of them down.

        :raise WorkerEndError: an agent was not reached.
        """
        self._events.clear()

        async def one(number: int) -> Leg:
            call = self._name()
            leg = await self._leg(call, "caller", number, codec, number)
            start = StartAgent(
                request=0, call=call, dialect=agent.dialect, url=Secret(agent.url), options=dict(agent.options),
                context=_context(call), connect_timeout=20.0, ping_interval=20.0, ping_timeout=20.0,
            )  # fmt: skip
            await self._ask(start)
            if recorded:
                await self._ask(Record(request=0, call=call))
            await self._ask(Answered(request=0, call=call))
            return leg

        legs = await self._by_batches(calls, one)
        for _ in range(3000):
            failed = [event for event in self._events if isinstance(event, messages.AgentFailed)]
            if failed:
                raise WorkerEndError(f"an agent was not reached: {failed[0].message}")
            if sum(isinstance(event, messages.AgentReady) for event in self._events) == calls:
                return legs
            await deferLater(self._reactor, 0.01)
        raise WorkerEndError("not every agent was reached within 30 s")

    async def release(self) -> list[LegStatistics]:
        """End every call; what the workers counted, by leg."""
        calls, self._calls = self._calls, []

        async def one(number: int) -> tuple[LegStatistics, ...]:
            released = await self._ask(Release(request=0, call=calls[number]))
            return released.legs if isinstance(released, Released) else ()

        found = await self._by_batches(len(calls), one)
        await deferLater(self._reactor, 0.3)  # ports rest for a while
        return [leg for legs in found for leg in legs]

    async def measure(self, legs: Sequence[Leg], **how: Any) -> Measured:
        """Run the generator with these legs; see :func:`benchmarks.load.generator.run`."""
        measured: Measured = await deferToThread(run, legs, pids=self.pids, **how)
        return measured

    def _name(self) -> str:
        call = f"bench-{next(self._numbers)}"
        self._calls.append(call)
        return call

    async def _leg(
        self,
        call: str,
        name: str,
        number: int,
        codec: Codec,
        origin: int,
        keys: tuple[bytes, bytes] | None = None,
    ) -> Leg:
        """One leg, and its generator's end: leg ``number``, which hears ``origin``."""
        allocated = await self._ask(Allocate(request=0, call=call, leg=name))
        assert isinstance(allocated, Allocated)
        host, port = self._phone(number)
        media = SetMedia(
            request=0, call=call, leg=name, remote=(host, port), remote_rtcp=(host, port + 1), send=codec,
            receive=(codec,), dtmf_send=EVENTS, dtmf_receive=(EVENTS,),
            srtp_send=SrtpKey(SUITE, keys[1]) if keys else None,
            srtp_receive=SrtpKey(SUITE, keys[0]) if keys else None,
        )  # fmt: skip
        await self._ask(media)
        return Leg(host=self._host, port=allocated.rtp_port, rtcp_port=allocated.rtcp_port, origin=origin, keys=keys)

    def _ask(self, request: Request) -> Deferred[Reply]:
        return self._pool.ask(request)

    async def _by_batches(self, number: int, one: Callable[[int], Any]) -> list[Any]:
        done: list[Any] = []
        for first in range(0, number, AT_ONCE):
            batch = [Deferred.fromCoroutine(one(each)) for each in range(first, min(number, first + AT_ONCE))]
            done += await gatherResults(batch, consumeErrors=True)
        return done


def _key(number: int, way: int) -> bytes:
    return bytes((number * 17 + way * 101 + place * 29) % 256 for place in range(30))


def _context(call: str) -> CallContext:
    return CallContext(
        call_id=call, tenant="bench", connector="600", agent="echo", environment="production", version="1",
        from_uri="sip:+31612345678@pbx.example",
    )  # fmt: skip


class EchoAgents:
    """The echoing agents in a process of their own, on the load's core; a context manager.

    :ivar url: where they listen.
    :ivar trusted: environment in which their certificate is trusted.
    """

    def __init__(self, *, tls: bool = False, audiosocket: bool = False) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sgw-agent-"))
        self._words = ["--core", str(LOAD_CORE), "--priority", str(PRIORITY)]
        self.trusted: dict[str, str] = {}
        if audiosocket:
            self._words.append("--audiosocket")
        if tls:
            authority = Authority.create()
            (self._folder / "ca.pem").write_bytes(authority.pem())
            (self._folder / "agent.pem").write_bytes(authority.issue("127.0.0.1"))
            self._words += ["--certificate", str(self._folder / "agent.pem")]
            self.trusted = {"SSL_CERT_FILE": str(self._folder / "ca.pem")}
        self.url = ""

    def __enter__(self) -> EchoAgents:
        command = [*with_us(), sys.executable, "-m", "benchmarks.load.echo_agent", *self._words]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().removeprefix("listening on ").strip()
        if not self.url:
            self.__exit__(None, None, None)
            raise WorkerEndError("the echoing agents did not start; their own words are above")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def run_with_reactor(work: Callable[[Any], Awaitable[_T]]) -> _T:
    """Run a coroutine under Twisted's reactor, which ends with it; its result, or what it raised.

    :raise CancelledError: this process was told to end; the coroutine has ended what it had begun.
    """
    results: list[_T] = []
    failures: list[Failure] = []
    told: list[bool] = []

    def main(reactor: Any) -> Deferred[None]:
        over: Deferred[None] = Deferred()

        async def both() -> None:
            await deferLater(reactor, 0)  # from here on a signal is the reactor's
            results.append(await work(reactor))

        def done(failure: Failure | None) -> None:
            if failure is not None:
                failures.append(failure)
            over.callback(None)

        def stop() -> Deferred[None]:
            if not over.called:
                told.append(True)
                working.cancel()
            return over

        working = Deferred.fromCoroutine(both()).addBoth(done)
        reactor.addSystemEventTrigger("before", "shutdown", stop)
        return working

    try:
        react(main, ())
    except SystemExit:
        pass
    if told or not (results or failures):
        raise CancelledError  # however what it waited for has put that
    if failures:
        failures[0].raiseException()
    return results[0]
