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
from typing import Any

from attrs import evolve

from benchmarks.agent_path import CALLS, CASES, FEWER, one_run
from benchmarks.load.machine import RELAY_CORE
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
    process = subprocess.Popen([sys.executable, "-c", HUNGRY], stdin=subprocess.DEVNULL)
    try:
        os.sched_setaffinity(process.pid, {RELAY_CORE})
        yield
    finally:
        process.kill()
        process.wait()


async def work(reactor: Any, effort: Effort) -> Report:
    columns = (
        "calls", "scheduling", "competing process", "off p50, ms", "off p99, ms", "most, ms", "lost",
        "load of the core", "goal p99", "verdict",
    )  # fmt: skip
    report = Report("Pacing of calls with agents over ws", columns)
    names, found = [], []
    kinds = [(real_time, beside) for real_time in (True, False) for beside in (False, True)]
    for calls in (CALLS,) if effort.quick else (CALLS, FEWER):
        for real_time, beside in kinds:
            with competitor(beside):
                measured, lost = await one_run(reactor, evolve(CASES[0], calls=calls), effort, real_time=real_time)
            p50, p99, most = map(milliseconds, (measured.off.p50, measured.off.p99, measured.off.max))
            scheduling, company = "SCHED_FIFO" if real_time else "ordinary", "beside" if beside else "alone"
            share = f"{lost} of {measured.sent}"
            say(f"{calls} calls, {scheduling}, {company}: p99 {p99} ms, {share} lost, {measured.load * 100:.0f} % load")
            aimed = real_time and calls == CALLS
            goal, met = (f"{GOAL_MS:g} ms", verdict(measured.off.p99 / 1000, GOAL_MS)) if aimed else ("", "")
            report.row(
                str(calls), scheduling, "yes" if beside else "no", p50, p99, most, share,
                f"{measured.load * 100:.0f} %", goal, met,
            )  # fmt: skip
            if isfinite(measured.off.p99):
                names.append(f"{calls} {scheduling.removeprefix('SCHED_')}, {company}")
                found.append(measured.off.p99 / 1000)
    for recorded in (False, True):
        measured, lost = await one_run(reactor, evolve(CASES[0], calls=RECORDED), effort, recorded=recorded)
        p50, p99, most = map(milliseconds, (measured.off.p50, measured.off.p99, measured.off.max))
        name = f"{RECORDED} recorded" if recorded else str(RECORDED)
        say(f"{name} calls: p99 {p99} ms, {lost} of {measured.sent} lost, {measured.load * 100:.0f} % load")
        report.row(
            name,
            "SCHED_FIFO",
            "no",
            p50,
            p99,
            most,
            f"{lost} of {measured.sent}",
            f"{measured.load * 100:.0f} %",
            "",
            "",
        )
    report.plots["pacing.svg"] = bars(
        "Distance of sent packets from their grid, p99", "ms", names, {"p99": found}, GOAL_MS
    )
    report.notes.append(
        "The competitor is one busy loop of ordinary priority on the worker's core. Without real-time scheduling it "
        "takes half of the core, so a worker that needs more loses time, and audio, for good. One run of each."
    )
    return report


if __name__ == "__main__":
    sys.exit(bench("pacing", work))
