"""Two workers against one: what a second one costs in CPU per relayed packet.

``python -m benchmarks.two_workers``. On two cores the second worker shares the generator's, below it in priority.
One worker carries as many calls as each of the two, so that both situations batch alike, and does so on the one core
and on the other in turns: their mean is what two are compared with, for the cores are not equally busy.
"""

from __future__ import annotations

import sys
from statistics import median
from typing import Any

from benchmarks.load.machine import LOAD_CORE, RELAY_CORE
from benchmarks.load.plot import bars
from benchmarks.load.report import Effort, Report, bench, say, spread, verdict
from benchmarks.load.worker_end import WorkerEnd

CALLS = 200
"""Of each worker."""
GOAL = 1.10
ALONE, BESIDE, BOTH = "one worker, a core of its own", "one worker, the generator's core", "two workers, one on each"
KINDS = {ALONE: (RELAY_CORE,), BESIDE: (LOAD_CORE,), BOTH: (RELAY_CORE, LOAD_CORE)}


async def work(reactor: Any, effort: Effort) -> Report:
    report = Report(
        f"Two workers against one, {CALLS} bridged calls each",
        ("CPU per packet, us", "median", "ratio", "goal", "verdict", "packets lost"),
    )
    costs: dict[str, list[float]] = {name: [] for name in KINDS}
    lost = dict.fromkeys(KINDS, 0)
    for number in range(effort.runs):
        for name, cores in KINDS.items():
            async with WorkerEnd(reactor, cores) as end:
                legs = await end.bridge(CALLS * len(cores))
                measured = await end.measure(legs, seconds=effort.seconds, warmup=effort.warmup)
            costs[name].append(measured.us_per_packet)
            lost[name] += measured.lost
            say(f"run {number + 1}: {name}: {measured.us_per_packet:.2f} us per packet, {measured.lost} lost")
    ratio = median(costs[BOTH]) / ((median(costs[ALONE]) + median(costs[BESIDE])) / 2)
    for name in (ALONE, BESIDE):
        report.row(name, spread(costs[name]), "", "", "", str(lost[name]))
    report.row(
        BOTH, spread(costs[BOTH]), f"{ratio:.2f}", f"{GOAL:g}", verdict(ratio, GOAL, lost[BOTH]), str(lost[BOTH])
    )
    report.plots["two_workers.svg"] = bars(
        f"CPU per packet, {CALLS} bridged calls for each worker", "us", list(costs),
        {"median": [median(values) for values in costs.values()]},
    )  # fmt: skip
    return report


if __name__ == "__main__":
    sys.exit(bench("two_workers", work))
