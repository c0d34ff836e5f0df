"""The way through an agent: RTP in, decoded, over a WebSocket to an echo in another process and back, coded, paced out.

``python -m benchmarks.agent_path``. CPU of the worker for each call and 20 ms, at 400 calls on one core; at 300 where
audio is coded anew, for 400 calls of 50 us fill a core. In the same run,
for comparison: the bare way, that is the same libraries and system calls with no gateway around them
(:mod:`benchmarks.load.bare_path`), and the built-in echo, which needs no link.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from statistics import median
from types import TracebackType
from typing import Any

from attrs import evolve, frozen
from twisted.internet.threads import deferToThread

from benchmarks.load import bare_path
from benchmarks.load.generator import Leg, Measured, run
from benchmarks.load.machine import PRIORITY, RELAY_CORE, with_us
from benchmarks.load.plot import bars
from benchmarks.load.report import Effort, Report, bench, milliseconds, say, spread, verdict
from benchmarks.load.worker_end import G722, PCMU, Agent, EchoAgents, WorkerEnd, WorkerEndError
from stellar_gw.control.messages import Codec

CALLS = 400
FEWER = 300
BEGINNING = 8
"""Seconds from the moment at which all calls begin at once until they count: nobody's calls do that, and a core that is
nearly full works for a while on what came meanwhile. Measured sooner, it is full whatever a call costs."""
OVERLOADED_US = 5000
"""A worker whose packets are further off at p99 has no time left: what it costs would be more if it had."""


@frozen(kw_only=True)
class Case:
    """
    :ivar link: ``ws``, ``wss``, or empty for the built-in echo.
    :ivar goal: microseconds for each call and 20 ms; None where there is none.
    :ivar calls: how many at once.
    :ivar bare: not the worker but the bare way.
    :ivar runs: at most.
    """

    name: str
    codec: Codec
    link: str
    goal: float | None = None
    calls: int = CALLS
    bare: bool = False
    runs: int = 5


CASES = (
    Case(name="PCMU, ws", codec=PCMU, link="ws", goal=35.0),
    Case(name="PCMU, wss", codec=PCMU, link="wss", goal=50.0),
    Case(name="G.722, ws at 16 kHz", codec=G722, link="ws", goal=60.0, calls=FEWER),
    Case(name="PCMU, built-in echo", codec=PCMU, link="", calls=FEWER, runs=3),
    Case(name="bare, PCMU, ws", codec=PCMU, link="ws", bare=True),
    Case(name="bare, PCMU, wss", codec=PCMU, link="wss", bare=True, runs=3),
)


async def work(reactor: Any, effort: Effort) -> Report:
    effort = evolve(effort, warmup=max(BEGINNING, effort.warmup))
    runs: dict[str, list[Measured]] = {case.name: [] for case in CASES}
    lost = dict.fromkeys(runs, 0)
    for number in range(effort.runs):
        for case in (each for each in CASES if number < each.runs):
            measured, missing = await (bare_run(case, effort) if case.bare else one_run(reactor, case, effort))
            runs[case.name].append(measured)
            lost[case.name] += missing
            say(
                f"run {number + 1}: {case.name}: {measured.us_per_packet:.1f} us, {measured.load * 100:.0f} % of the "
                f"core, {missing} lost, sent off by {milliseconds(measured.off.p99)} ms at p99"
            )
    return report(runs, lost)


def report(runs: dict[str, list[Measured]], lost: dict[str, int]) -> Report:
    """By the names of cases."""
    columns = (
        "CPU per call and 20 ms, us", "calls", "median", "to bare", "goal", "verdict", "packets lost",
        "load of the core", "off p99, ms",
    )  # fmt: skip
    made = Report("The way through an agent and back, on one core", columns)
    costs = {name: [measured.us_per_packet for measured in found] for name, found in runs.items()}
    for case in CASES:
        middle, bare = median(costs[case.name]), costs.get(f"bare, {case.name}")
        load = median(measured.load for measured in runs[case.name])
        off = median(measured.off.p99 for measured in runs[case.name])
        goal, met = ("", "") if case.goal is None else (f"{case.goal:g}", verdict(middle, case.goal, lost[case.name]))
        if off > OVERLOADED_US:
            met = "overloaded" if case.goal else ""
        made.row(
            case.name, str(case.calls), spread(costs[case.name]), f"{middle / median(bare):.2f}" if bare else "", goal,
            met, str(lost[case.name]), f"{load * 100:.0f} %", milliseconds(off),
        )  # fmt: skip
    made.plots["agent_path.svg"] = bars(
        "CPU per call and 20 ms",
        "us",
        [case.name for case in CASES],
        {
            "measured": [median(costs[case.name]) for case in CASES],
            "goal": [case.goal or 0.0 for case in CASES],
        },
    )
    made.notes.append(
        "Lost: packets of the generator that its agents did not bring back (PCMU over a link passes unchanged, so "
        "every packet is known by its content), or, where audio is coded anew, that the worker missed. Bare: the same "
        "libraries and system calls with no gateway around them, a floor for this machine. "
        "Overloaded: no time was left, and packets were sent late."
    )
    return made


async def one_run(
    reactor: Any, case: Case, effort: Effort, *, real_time: bool = True, recorded: bool = False
) -> tuple[Measured, int]:
    """A worker of its own, its calls, and how many packets went astray."""
    agents = EchoAgents(tls=case.link == "wss") if case.link else None
    with agents or nullcontext():
        if agents is None:
            agent = Agent(dialect="builtin", url="builtin:echo")
        else:
            agent = Agent(dialect="twilio" if case.codec == PCMU else "vonage", url=agents.url)
        async with WorkerEnd(reactor, real_time=real_time, environ=agents.trusted if agents else None) as end:
            legs = await end.converse(case.calls, agent, case.codec, recorded=recorded)
            unchanged = agents is not None and case.codec == PCMU
            measured = await end.measure(
                legs, seconds=effort.seconds, warmup=effort.warmup, opaque=not unchanged,
                payload_type=case.codec.payload_type,
            )  # fmt: skip
            missed = sum(leg.packets_lost for leg in await end.release())
            return measured, measured.lost if unchanged else missed


async def bare_run(case: Case, effort: Effort) -> tuple[Measured, int]:
    """The bare way in the worker's place."""
    with EchoAgents(tls=case.link == "wss") as agents, BarePath(agents, case.calls) as bare:
        measured: Measured = await deferToThread(
            run, bare.legs, pids=(bare.pid,), seconds=effort.seconds, warmup=effort.warmup
        )
        return measured, measured.lost


class BarePath:
    """:mod:`benchmarks.load.bare_path` in a process of its own, its calls up; a context manager.

    :ivar legs: of the generator.
    """

    def __init__(self, agents: EchoAgents, calls: int) -> None:
        self._command = [
            *with_us(), sys.executable, "-m", "benchmarks.load.bare_path", agents.url, "--calls", str(calls),
            "--core", str(RELAY_CORE), "--priority", str(PRIORITY),
        ]  # fmt: skip
        self._environ = {**os.environ, **agents.trusted}
        self.legs: list[Leg] = []

    def __enter__(self) -> BarePath:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=self._environ
        )
        assert self._process.stdout is not None
        ports = self._process.stdout.readline().split()
        if not ports:
            self.__exit__(None, None, None)
            raise WorkerEndError("the bare way did not start; its own words are above")
        self.legs = [
            Leg(host=bare_path.HOST, port=int(port), rtcp_port=0, origin=number) for number, port in enumerate(ports)
        ]
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

    @property
    def pid(self) -> int:
        return self._process.pid


if __name__ == "__main__":
    sys.exit(bench("agent_path", work))
