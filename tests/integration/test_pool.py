"""The pool against real processes: killed, stopped, stubborn, orphaned, broken from the start."""

from __future__ import annotations

import os
import signal
import site
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

import stellar_gw
from stellar_gw.call.ports import WorkerFailed, WorkerLost
from stellar_gw.control import messages
from stellar_gw.control.messages import Allocate, Answered, Release
from stellar_gw.errors import StellarError
from stellar_gw.gateway.pool import WorkerPool
from stellar_gw.gateway.worker_process import WorkerCommand, worker_environment
from stellar_gw.testing.ports import free_ports
from tests.integration.worker_support import (
    PoolTestCase,
    RtpPeer,
    is_running,
    kill,
    reactor,
    runtime_folder,
    start_agent,
    until,
)

GATEWAY = """
import sys
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from stellar_gw.control.messages import Allocate
from stellar_gw.gateway.pool import WorkerPool
from tests.integration.worker_support import PoolSettings, quiet_command
low, high, runtime = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
pool = WorkerPool(reactor, PoolSettings(workers=1, ports=(low, high), bind=("127.0.0.1",), runtime=runtime,
                  command=quiet_command("--orphan-time", "0.5")), print)
async def run():
    await pool.start()
    await pool.ready()
    await pool.ask(Allocate(request=0, call="c-1"))
    print(pool.describe()[0].pid, flush=True)
reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run()))
reactor.callLater(60, reactor.stop)
reactor.run()
"""


async def failure(answer: Deferred[Any]) -> str:
    """The code that a request fails with."""
    try:
        await answer
    except WorkerFailed as reason:
        return reason.code
    return "none"


def read(folder: str, name: str) -> str:
    return Path(folder, name).read_text()


def names(folder: str) -> list[str]:
    return os.listdir(folder)


class PoolTests(PoolTestCase):
    async def test_start(self) -> None:
        """Workers come up with disjoint slices, on a socket that nobody else can open; ready is told at once then."""
        pool = await self.start_pool(2)
        await pool.ready()
        low, high = self.settings.ports
        first, second = pool.describe()
        self.assertEqual(
            [(worker.up, worker.calls, worker.ports, worker.replaced) for worker in (first, second)],
            [(True, 0, (low, low + 20), 0), (True, 0, (low + 20, high), 0)],
        )
        self.assertEqual(stat.S_IMODE(os.stat(self.settings.runtime).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(self.settings.socket).st_mode), 0o600)

    async def test_least_loaded(self) -> None:
        """New calls go to the worker with the fewest, in its slice of ports; a call's legs stay together."""
        pool: Any = await self.start_pool(2)
        low = self.settings.ports[0]
        slices: dict[str, list[int]] = {}
        for call, leg in (("a", "caller"), ("b", "caller"), ("a", "target"), ("c", "caller"), ("d", "caller")):
            allocated = await pool.ask(Allocate(request=0, call=call, leg=leg))
            slices.setdefault(call, []).append((allocated.rtp_port - low) // 20)
        self.assertEqual({len(set(places)) for places in slices.values()}, {1})
        self.assertEqual(sorted(places[0] for places in slices.values()), [0, 0, 1, 1])
        self.assertEqual([worker.calls for worker in pool.describe()], [2, 2])

    async def test_idempotent(self) -> None:
        """Allocating and releasing again give the same answers; a released call cannot be told anything."""
        pool: Any = await self.start_pool()
        first = await pool.ask(Allocate(request=0, call="c-1"))
        again = await pool.ask(Allocate(request=0, call="c-1"))
        self.assertEqual((first.rtp_port, first.ssrc), (again.rtp_port, again.ssrc))
        released = await pool.ask(Release(request=0, call="c-1"))
        self.assertEqual([leg.leg for leg in released.legs], ["caller"])
        self.assertEqual(await failure(pool.ask(Release(request=0, call="c-1"))), "unknown_call")

    async def test_no_ports(self) -> None:
        """When one worker's ports are gone the next takes the call; when all are, the refusal says so."""
        pool: Any = await self.start_pool(2, ports=free_ports(8))
        for number in range(4):
            await pool.ask(Allocate(request=0, call=f"c-{number}"))
        self.assertEqual(await failure(pool.ask(Allocate(request=0, call="c-4"))), "no_ports")
        self.assertEqual([worker.calls for worker in pool.describe()], [2, 2])

    async def talk(self, pool: WorkerPool, call: str) -> None:
        peer = RtpPeer(self)
        await pool.ask(Allocate(request=0, call=call))
        await pool.ask(peer.media(call))
        await pool.ask(Answered(request=0, call=call))

    async def hold_up(self, pool: WorkerPool, number: int) -> None:
        """Have a worker send, and stop it for half of the time, until it says that it cannot keep up."""
        pid = pool.describe()[number].pid
        for _ in range(100):
            if pool.describe()[number].load.overloaded:
                return
            for signal_ in (signal.SIGSTOP, signal.SIGCONT):
                os.kill(pid, signal_)
                await deferLater(reactor, 0.05)
        self.fail("it is not overloaded")

    async def test_overloaded(self) -> None:
        """A worker that works more than it may, and is late, gets no more calls; with none left the refusal says so."""
        pool: Any = await self.start_pool(2, max_load=0.0001)
        await self.talk(pool, "a")
        await self.hold_up(pool, 0)
        await self.talk(pool, "b")
        await pool.ask(Allocate(request=0, call="c"))
        self.assertEqual([worker.calls for worker in pool.describe()], [1, 2])
        await self.hold_up(pool, 1)
        self.assertEqual(await failure(pool.ask(Allocate(request=0, call="d"))), "overloaded")
        await pool.ask(Allocate(request=0, call="a", leg="target"))
        self.assertEqual([worker.calls for worker in pool.describe()], [1, 2])
        self.assertGreater(min(worker.load.late_turns for worker in pool.describe()), 0)

    async def test_killed(self) -> None:
        """kill -9: its calls are told within 2 s, the other worker's live, a new process takes number and slice."""
        pool: Any = await self.start_pool(2)
        for call in ("a", "b", "c", "d"):
            await pool.ask(Allocate(request=0, call=call))
        before = pool.describe()[0]
        kill(before.pid)
        began = reactor.seconds()
        lost = await self.event(WorkerLost)
        self.assertLess(reactor.seconds() - began, 2)
        self.assertEqual((len(lost.calls), len(self.events)), (2, 1))
        for call in "abcd":
            expected = "unknown_call" if call in lost.calls else "none"
            self.assertEqual(await failure(pool.ask(messages.Answered(request=0, call=call))), expected)
        await until(lambda: pool.describe()[0].up)
        after = pool.describe()[0]
        self.assertEqual((after.ports, after.replaced, after.calls), (before.ports, 1, 0))
        self.assertNotEqual((after.pid, after.generation), (before.pid, before.generation))
        await pool.ask(Allocate(request=0, call="e"))

    async def test_killed_with_request(self) -> None:
        """A request that the worker dies on fails at once, not by its timeout."""
        pool: Any = await self.start_pool(request_timeout=50.0)
        await pool.ask(Allocate(request=0, call="c-1"))
        pid = pool.describe()[0].pid
        kill(pid, signal.SIGSTOP)
        answer = pool.ask(messages.Answered(request=0, call="c-1"))
        kill(pid)
        self.assertEqual(await failure(answer), "lost")

    async def test_stopped(self) -> None:
        """A worker that hangs (SIGSTOP) is found within 2 s, by a ping without an answer; killed, and replaced."""
        pool: Any = await self.start_pool()
        await pool.ask(Allocate(request=0, call="c-1"))
        pid = pool.describe()[0].pid
        kill(pid, signal.SIGSTOP)
        began = reactor.seconds()
        lost = await self.event(WorkerLost)
        self.assertLess(reactor.seconds() - began, 2.2)  # 2 s, and what this process took to notice
        self.assertEqual((lost.calls, "ping" in lost.message), (("c-1",), True))
        await until(lambda: not is_running(pid))
        await until(lambda: pool.describe()[0].up)

    async def test_timeout(self) -> None:
        """A request that is not answered in time fails as such; an allocation is then taken back."""
        pool: Any = await self.start_pool(request_timeout=0.3, ping_interval=30.0)
        pid = pool.describe()[0].pid
        kill(pid, signal.SIGSTOP)
        self.assertEqual(await failure(pool.ask(Allocate(request=0, call="c-1"))), "timeout")
        kill(pid, signal.SIGCONT)
        channel = pool._slots[0].channel
        listing = messages.ListCalls(request=0)
        while (await channel.ask(listing, 5.0)).calls:
            pass
        self.assertEqual([worker.calls for worker in pool.describe()], [0])

    async def test_gateway_held_up(self) -> None:
        """If it was the gateway that hung, answers that wait in the socket still count: nobody is killed."""
        pool: Any = await self.start_pool(ping_interval=0.05, ping_timeout=0.2)
        pid = pool.describe()[0].pid
        await pool.ask(Allocate(request=0, call="c-1"))
        for _ in range(3):
            await until(lambda: pool._slots[0].channel.outstanding == 1)
            subprocess.run(["sleep", "0.4"], check=True)  # blocks this process, as a stall would
        await pool.ask(Release(request=0, call="c-1"))
        self.assertEqual((pool.describe()[0].pid, self.events), (pid, []))

    async def test_broken_from_the_start(self) -> None:
        """A command that ends at once is tried again with growing delays, and nobody spins."""
        pool: Any = self.make_pool(command=WorkerCommand(arguments=("/bin/false",)), backoff=(0.1, 10.0))
        self.addCleanup(lambda: Deferred.fromCoroutine(pool.stop()))
        await pool.start()
        self.assertEqual(await failure(pool.ask(Allocate(request=0, call="c-1"))), "no_worker")
        began = reactor.seconds()
        await until(lambda: pool.describe()[0].replaced >= 4)
        # 0.1 + 0.2 + 0.4 s lie between the four.
        self.assertGreater(reactor.seconds() - began, 0.7)

    async def test_never_says_hello(self) -> None:
        """A process that does not say Hello in time is killed and replaced."""
        pool: Any = self.make_pool(
            command=WorkerCommand(arguments=("/bin/sh", "-c", "exec sleep 1000")), start_timeout=0.3
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(pool.stop()))
        await pool.start()
        pid = pool.describe()[0].pid
        await until(lambda: pool.describe()[0].replaced == 1)
        self.assertFalse(is_running(pid))

    async def test_stop(self) -> None:
        """Stopping ends every worker and releases what calls are left; the socket is gone."""
        pool: Any = await self.start_pool(2)
        await pool.ask(Allocate(request=0, call="c-1"))
        pids = [worker.pid for worker in pool.describe()]
        await pool.stop()
        self.assertEqual([is_running(pid) for pid in pids], [False, False])
        self.assertEqual((self.events, names(self.settings.runtime)), ([], []))
        self.assertEqual(await failure(pool.ask(Allocate(request=0, call="c-2"))), "draining")

    async def test_stop_stubborn(self) -> None:
        """A worker that does not end in time is killed."""
        pool: Any = await self.start_pool(stop_timeout=0.3, request_timeout=0.2, ping_interval=30.0)
        pid = pool.describe()[0].pid
        kill(pid, signal.SIGSTOP)
        await pool.stop()
        self.assertFalse(is_running(pid))

    async def test_drain(self) -> None:
        """Draining refuses new calls, lets those there are go on, and ends each worker with its last."""
        pool: Any = await self.start_pool(2)
        await pool.ask(Allocate(request=0, call="c-1"))
        pool.drain()
        self.assertEqual(await failure(pool.ask(Allocate(request=0, call="c-2"))), "draining")
        await until(lambda: sum(worker.pid > 0 for worker in pool.describe()) == 1)
        await pool.ask(Allocate(request=0, call="c-1", leg="target"))
        await pool.ask(Release(request=0, call="c-1"))
        await until(lambda: not any(worker.pid for worker in pool.describe()))
        self.assertEqual(self.events, [])

    async def test_sigterm(self) -> None:
        """A worker that is sent SIGTERM ends with its last call, and another takes its place; SIGINT does nothing."""
        pool: Any = await self.start_pool()
        await pool.ask(Allocate(request=0, call="c-1"))
        pid = pool.describe()[0].pid
        kill(pid, signal.SIGINT)
        kill(pid, signal.SIGTERM)
        await until(lambda: "c-1" in pool._carriers)
        self.assertEqual(await failure(pool.ask(messages.Answered(request=0, call="c-1"))), "none")
        await pool.ask(Release(request=0, call="c-1"))
        await until(lambda: pool.describe()[0].up and pool.describe()[0].pid != pid)
        self.assertEqual(self.events, [])

    async def test_agents_are_told(self) -> None:
        """An event comes with its call and reaches the listener."""
        pool: Any = await self.start_pool()
        peer = RtpPeer(self)
        await pool.ask(Allocate(request=0, call="c-1"))
        await pool.ask(peer.media("c-1"))
        await pool.ask(start_agent("c-1", "builtin:nobody"))
        failed = await self.event(messages.AgentFailed)
        self.assertEqual((failed.call, failed.code), ("c-1", "invalid_url"))


class OrphanTests(PoolTestCase):
    def _gateway(self, runtime: str) -> tuple[subprocess.Popen[str], int]:
        """A gateway process with one worker that carries a call; the worker's pid."""
        low, high = free_ports(4)
        gateway = subprocess.Popen(
            [sys.executable, "-c", GATEWAY, str(low), str(high), runtime],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert gateway.stdout is not None
        self.addCleanup(gateway.wait)
        self.addCleanup(gateway.stdout.close)
        self.addCleanup(gateway.kill)
        return gateway, int(gateway.stdout.readline())

    async def test_gateway_killed(self) -> None:
        """kill -9 of the gateway: its worker ends by itself once the orphan time has passed, call or no call."""
        gateway, worker = self._gateway(runtime_folder(self))
        gateway.kill()
        gateway.wait()
        self.assertTrue(is_running(worker))
        await until(lambda: not is_running(worker))

    async def test_found_by_another(self) -> None:
        """A worker that outlived its gateway and finds the next one is sent home, its calls ended."""
        runtime = runtime_folder(self)
        gateway, worker = self._gateway(runtime)
        gateway.kill()
        gateway.wait()
        await self.start_pool(runtime=runtime)
        await until(lambda: not is_running(worker))
        self.assertEqual(self.events, [])

    async def test_second_gateway(self) -> None:
        """A gateway whose runtime folder another one uses does not start."""
        await self.start_pool()
        other = WorkerPool(reactor, self.settings, print)
        try:
            await other.start()
        except StellarError as reason:
            self.assertIn("another gateway", str(reason))
        else:
            self.fail("two gateways on one socket")


class EnvironmentTests(PoolTestCase):
    async def test_not_inherited(self) -> None:
        """A worker reads nothing, and knows neither systemd's socket nor its watchdog."""
        folder = runtime_folder(self)
        script = (
            f'cat > "{folder}/in"; env > "{folder}/env"; ls -l /proc/self/fd > "{folder}/fd"; mv "{folder}/fd" '
            f'"{folder}/done"; exec sleep 1000'
        )
        self.patch(
            os,
            "environ",
            {**os.environ, "NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "KEPT": "yes"},
        )
        pool: Any = self.make_pool(command=WorkerCommand(arguments=("/bin/sh", "-c", script)))
        self.addCleanup(lambda: Deferred.fromCoroutine(pool.stop()))
        await pool.start()
        await until(Path(folder, "done").exists)
        environment = read(folder, "env").splitlines()
        self.assertEqual(
            [line for line in environment if line.startswith(("NOTIFY", "WATCHDOG", "KEPT"))], ["KEPT=yes"]
        )
        self.assertEqual(read(folder, "in"), "")

    def test_package_found(self) -> None:
        """A worker finds a package that is not installed, and PYTHONPATH never names what is installed."""
        root = str(Path(stellar_gw.__file__).parent.parent)
        found = [
            worker_environment(ours).get("PYTHONPATH")
            for ours in ({}, {"PYTHONPATH": "/x"}, {"PYTHONPATH": f"/x{os.pathsep}{root}"})
        ]
        self.assertEqual(found, [root, f"{root}{os.pathsep}/x", f"/x{os.pathsep}{root}"])
        self.patch(site, "getsitepackages", lambda: [root])
        environment = worker_environment({"HOME": "/root"})
        self.assertEqual(environment, {"HOME": "/root", "OPENBLAS_NUM_THREADS": "1"})

    def test_too_few_ports(self) -> None:
        """A range that holds fewer pairs than there are workers is refused before anything starts."""
        self.assertRaises(StellarError, self.make_pool, 3, ports=(20000, 20004))

    async def test_long_path(self) -> None:
        """A runtime folder whose path is too long for a socket is refused with what to do."""
        pool = self.make_pool(runtime="/tmp/" + "x" * 120)
        try:
            await pool.start()
        except StellarError as reason:
            self.assertIn("shorter runtime folder", str(reason))
        else:
            self.fail("it listens")
