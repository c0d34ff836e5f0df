"""The kernel fast path against our own relay: what comes up to user space, how long packets take, what both cost.

``python -m benchmarks.fast_path``, as root. Gateway and phones are network namespaces joined by a veth pair; both legs
of every call are in the phones' one, so that each packet passes the pair twice. Worker and helper have one core, the
load generator the other. Over a veth pair the kernel does its part for a packet in the name of the process that sent
it, so that the cost of a packet is what worker, helper and generator use together.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.internet.threads import deferToThread

from benchmarks.load.generator import Measured, address_of
from benchmarks.load.generator import run as run_generator
from benchmarks.load.machine import LOAD_CORE, RELAY_CORE, pin, with_us
from benchmarks.load.plot import bars
from benchmarks.load.report import Effort, Report, bench, milliseconds, say, spread, verdict
from benchmarks.load.worker_end import PORTS, WorkerEnd, WorkerEndError
from stellar_gw.testing.namespaces import GATEWAY, PHONE, Machines, unavailable

KERNEL, USER = "kernel", "user space"
CALLS = 400
LATENCY_MS = 0.1
"""Added latency at p99 at most."""
SETTLE = 5
"""Seconds until every bridge is in the kernel."""
MARGIN = 0.5
"""Seconds at either end of a run's span that are left out where something else than the generator counts."""


@frozen(kw_only=True)
class Run:
    """
    :ivar measured: by the generator.
    :ivar datagrams: that came up to any socket of the gateway's, in ``seconds``.
    """

    measured: Measured
    datagrams: int
    seconds: float

    @property
    def packets(self) -> float:
        """So many were sent meanwhile."""
        return self.measured.sent / self.measured.seconds * self.seconds

    @property
    def us_per_packet(self) -> float:
        """CPU of all who had to do with it."""
        return (sum(self.measured.cpu_seconds) + self.measured.generator_cpu) * 1e6 / max(1, self.measured.sent)


@define
class Span:
    """What comes up in the gateway's namespace between two looks."""

    machines: Machines
    _looks: list[tuple[float, int]] = field(factory=list)

    def begin(self) -> None:
        self._looks = [(time.monotonic(), self._received())]

    def end(self) -> None:
        self._looks.append((time.monotonic(), self._received()))

    @property
    def found(self) -> tuple[int, float]:
        """Datagrams and seconds.

        :raise WorkerEndError: a look failed.
        """
        if len(self._looks) != 2:
            raise WorkerEndError("what came up to user space could not be counted")
        (began, before), (ended, after) = self._looks
        return after - before, ended - began

    def _received(self) -> int:
        """UDP's InDatagrams and those that found no room (RFC 4113), of the gateway's namespace."""
        lines = self.machines.run("gateway", "cat", "/proc/net/snmp").splitlines()
        names, values = (line.split() for line in lines if line.startswith("Udp:"))
        counted = dict(zip(names, values, strict=True))
        return int(counted["InDatagrams"]) + int(counted["RcvbufErrors"])


class Bench:
    """Both namespaces, the helper, and a worker with or without it."""

    def __init__(self, reactor: Any, effort: Effort, calls: int) -> None:
        self._reactor = reactor
        self._effort = effort
        self._calls = calls
        self._sockets = -(-2 * calls // 40) * 40
        self.machines = Machines()
        self._helper: subprocess.Popen[bytes] | None = None
        self._socket = f"/run/sgw-bench-{time.time_ns()}.sock"

    def start_helper(self) -> int:
        first, end = PORTS
        command = [
            *with_us(), *self.machines.command("gateway"), sys.executable, "-m", "stellar_gw.fastpath.main",
            "--socket", self._socket, "--ports", f"{first}-{end - 1}",
        ]  # fmt: skip
        self._helper = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        for _ in range(500):
            if Path(self._socket).exists():
                pin(self._helper.pid, RELAY_CORE)
                return self._helper.pid
            time.sleep(0.01)
        raise WorkerEndError("the helper of the fast path does not start")

    def close(self) -> None:
        if self._helper is not None:
            self._helper.terminate()
            try:
                self._helper.wait(10)
            except subprocess.TimeoutExpired:
                self._helper.kill()
                self._helper.wait()
        self.machines.close()

    async def run(self, which: str) -> Run:
        """One run with a worker of its own."""
        phone = partial(address_of, host=PHONE["a"], sockets=self._sockets)
        end = WorkerEnd(
            self._reactor,
            host=GATEWAY["a"],
            prefix=self.machines.command("gateway"),
            fast_path=self._socket if which == KERNEL else "",
            phone=phone,
        )
        async with end:
            legs = [evolve(leg, rtcp_port=0) for leg in await end.bridge(self._calls)]
            span = Span(self.machines)
            warmup = self._effort.warmup + SETTLE
            seconds = max(3, self._effort.seconds)
            self._reactor.callLater(warmup + MARGIN, span.begin)
            self._reactor.callLater(warmup + seconds - MARGIN, span.end)
            pids = (*end.pids, *([self._helper.pid] if which == KERNEL and self._helper is not None else []))
            measured: Measured = await deferToThread(
                run_generator,
                legs,
                pids=pids,
                seconds=seconds,
                warmup=warmup,
                cpu=LOAD_CORE,
                host=PHONE["a"],
                sockets=self._sockets,
                prefix=self.machines.command("a"),
            )
            await end.release()
        datagrams, lasted = span.found
        return Run(measured=measured, datagrams=datagrams, seconds=lasted)


async def work(reactor: Any, effort: Effort) -> Report:
    why = unavailable()
    if why:
        raise WorkerEndError(why)
    calls = 100 if effort.quick else CALLS
    bench = Bench(reactor, effort, calls)
    runs: dict[str, list[Run]] = {KERNEL: [], USER: []}
    try:
        bench.start_helper()
        for number in range(effort.runs):
            for which in (KERNEL, USER) if number % 2 == 0 else (USER, KERNEL):
                run = await bench.run(which)
                say(
                    f"run {number + 1}, {which}: {run.datagrams} of {run.packets:.0f} packets came up, "
                    f"{run.measured.lost} lost, "
                    f"latency p50 {run.measured.latency.p50} p99 {run.measured.latency.p99} us, "
                    f"worker and helper {run.measured.load:.1%} of their core, {run.us_per_packet:.2f} us per packet"
                )
                runs[which].append(run)
    finally:
        bench.close()
    return report(calls, runs)


def report(calls: int, runs: dict[str, list[Run]]) -> Report:
    found = Report(
        f"Fast path: {calls} bridged calls of plain PCMU, 20 ms packets",
        ("figure", KERNEL, USER, "ratio", "goal", "verdict"),
    )
    kernel, user = runs[KERNEL], runs[USER]
    up = sum(run.datagrams for run in kernel)
    share = [
        f"{sum(run.datagrams for run in each)} of {sum(run.packets for run in each):.0f}" for each in (kernel, user)
    ]
    found.row("packets that came up to user space", *share, "", "0", "met" if not up else f"missed: {up}")
    for name, goal in (("p99", LATENCY_MS), ("p50", None)):
        late = [median(getattr(run.measured.latency, name) for run in each) / 1000 for each in (kernel, user)]
        aim = ("", "") if goal is None else (f"{goal:g}", verdict(late[0], goal))
        found.row(f"added latency {name}, ms", *(milliseconds(1000 * each) for each in late), _ratio(*late), *aim)
    lost = [sum(run.measured.lost for run in each) for each in (kernel, user)]
    found.row("packets lost", *map(str, lost), "", "0", "met" if not lost[0] else f"missed: {lost[0]}")
    loads = [[run.measured.load * 100 for run in each] for each in (kernel, user)]
    costs = [[run.us_per_packet for run in each] for each in (kernel, user)]
    for name, figures in (
        ("worker's and helper's share of their core, %", loads),
        ("CPU of worker, helper and generator per packet, us", costs),
    ):
        found.row(name, *map(spread, figures), _ratio(*map(median, figures)), "", "")
    found.plots["fast_path.svg"] = bars(
        f"Fast path, {calls} bridged calls: CPU of worker, helper and generator per packet",
        "us",
        [f"run {number + 1}" for number in range(len(costs[0]))],
        dict(zip((KERNEL, USER), costs, strict=True)),
    )
    found.notes.append(
        "Packets that came up are datagrams that the gateway's kernel gave to any socket. A packet is one that came in "
        "and went out again; the generator's part of its cost, sending and receiving it, is in both columns."
    )
    return found


def _ratio(kernel: float, user: float) -> str:
    """Empty where either was not measured, or is nothing."""
    return f"{kernel / user:.2f}" if isfinite(kernel) and isfinite(user) and user else ""


if __name__ == "__main__":
    sys.exit(bench("fast_path", work))
