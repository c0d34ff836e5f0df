"""How far from their time packets are sent: calls with agents, alone and beside a process that wants the core.

``python -m benchmarks.pacing``. 400 calls, and 300, which leave the worker some time. Each packet's distance from its
stream's own 20 ms grid, by the kernel's time stamps; with SCHED_FIFO, as a worker asks for it, and with ordinary
scheduling.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from math import isfinite
from statistics import median
from typing import Any

from attrs import evolve, frozen

from benchmarks.agent_path import CALLS, CASES, FEWER, one_run
from benchmarks.load.generator import Measured
from benchmarks.load.machine import RELAY_CORE, with_us
from benchmarks.load.plot import bars
from benchmarks.load.report import Effort, Report, bench, milliseconds, say, verdict

GOAL_MS = 1.5
RECORDED = 200
"""Calls that are all written down, beside as many that are not."""
HUNGRY = "while True: pass"


@contextlib.contextmanager
def competitor(wanted: bool) -> Iterator[None]:
    """A process of ordinary priority that never rests, on the worker's core."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([*with_us(), sys.executable, "-c", HUNGRY], stdin=subprocess.DEVNULL)
    try:
        os.sched_setaffinity(process.pid, {RELAY_CORE})
        yield
    finally:
        process.kill()
        process.wait()


@frozen(kw_only=True)
class Case:
    """
    :ivar beside: a process of ordinary priority wants the core, too.
    :ivar aimed: it has a goal, and so as many runs as a benchmark has.
    """

    calls: int
    real_time: bool = True
    beside: bool = False
    recorded: bool = False
    aimed: bool = False

    @property
    def name(self) -> str:
        return f"{self.calls}{' recorded' if self.recorded else ''}"

    @property
    def scheduling(self) -> str:
        return "SCHED_FIFO" if self.real_time else "ordinary"

    @property
    def company(self) -> str:
        return "beside" if self.beside else "alone"


Found = dict[Case, list[tuple[Measured, int]]]
"""What each case's runs have measured, and how many packets were lost in them."""


def cases(*, quick: bool) -> list[Case]:
    kinds = [(real_time, beside) for real_time in (True, False) for beside in (False, True)]
    found = [
        Case(calls=calls, real_time=real_time, beside=beside, aimed=real_time and calls == CALLS)
        for calls in ((CALLS,) if quick else (CALLS, FEWER))
        for real_time, beside in kinds
    ]
    return [*found, *(Case(calls=RECORDED, recorded=recorded) for recorded in (False, True))]


async def work(reactor: Any, effort: Effort) -> Report:
    found: Found = {case: [] for case in cases(quick=effort.quick)}
    for number in range(effort.runs):
        for case in found if number == 0 else [each for each in found if each.aimed]:
            with competitor(case.beside):
                measured, lost = await one_run(
                    reactor,
                    evolve(CASES[0], calls=case.calls),
                    effort,
                    real_time=case.real_time,
                    recorded=case.recorded,
                )
            say(
                f"run {number + 1}: {case.name} calls, {case.scheduling}, {case.company}: p99 "
                f"{milliseconds(measured.off.p99)} ms, {lost} of {measured.sent} lost, {measured.load * 100:.0f} % load"
            )
            found[case].append((measured, lost))
    return report(found)


def report(found: Found) -> Report:
    columns = (
        "calls", "scheduling", "competing process", "runs", "off p50, ms", "off p99, ms", "most, ms", "lost",
        "load of the core", "goal p99", "verdict",
    )  # fmt: skip
    made = Report("Pacing of calls with agents over ws", columns)
    names, late = [], []
    for case, runs in found.items():
        p50, p99 = (median(getattr(measured.off, name) for measured, _ in runs) for name in ("p50", "p99"))
        most = max(measured.off.max for measured, _ in runs)
        sent, lost = sum(measured.sent for measured, _ in runs), sum(lost for _, lost in runs)
        goal, met = (f"{GOAL_MS:g} ms", verdict(p99 / 1000, GOAL_MS)) if case.aimed else ("", "")
        made.row(
            case.name, case.scheduling, "yes" if case.beside else "no", str(len(runs)), milliseconds(p50),
            milliseconds(p99), milliseconds(most), f"{lost} of {sent}",
            f"{median(measured.load for measured, _ in runs) * 100:.0f} %", goal, met,
        )  # fmt: skip
        if isfinite(p99) and not case.recorded and case.calls != RECORDED:
            names.append(f"{case.name} {case.scheduling.removeprefix('SCHED_')}, {case.company}")
            late.append(p99 / 1000)
    made.plots["pacing.svg"] = bars(
        "Distance of sent packets from their grid, p99", "ms", names, {"p99": late}, GOAL_MS
    )
    made.notes.append(
        "The competitor is one busy loop of ordinary priority on the worker's core. Without real-time scheduling it "
        "takes half of the core, so a worker that needs more loses time, and audio, for good. Of several runs, which "
        "took turns, the medians of p50, p99 and load, the most of all, and all that were lost."
    )
    return made


if __name__ == "__main__":
    sys.exit(bench("pacing", work))
