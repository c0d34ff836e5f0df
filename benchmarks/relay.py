"""The relay against rtpengine: CPU per packet with 500 bridged calls, and the most calls that one core carries.

``python -m benchmarks.relay``. Both relays run in userspace on the same core with the same real-time priority; the
load generator has the other core. Everything is on: rewriting, RTCP, statistics.
"""

from __future__ import annotations

import sys
from math import isfinite
from statistics import median
from typing import Any

from attrs import evolve

from benchmarks.load.plot import bars, lines
from benchmarks.load.relays import OURS, PEER, Capacity, Comparison, Relays, capacity, compare
from benchmarks.load.report import Effort, Report, bench, milliseconds, say, spread, verdict
from benchmarks.load.rtpengine import Rtpengine
from benchmarks.load.worker_end import WorkerEnd

CALLS = 500
GOAL = 1.0
"""Of rtpengine's CPU per packet at most."""
MOST = 1000
"""Calls on one core: the goal."""
BEGINNING = 8
"""Seconds from the moment at which all calls begin at once until they count: nobody's calls do that, and each costs
more until both its phones are known for certain."""
LONGEST_US = 10_000
"""The 99th percentile of added latency may be so long."""
SIZES = range(400, 1601, 100)


async def work(reactor: Any, effort: Effort) -> Report:
    report = Report("Relay of plain RTP, PCMU, 20 ms packets", ("figure", OURS, PEER, "ratio", "goal", "verdict"))
    async with WorkerEnd(reactor) as end:
        with Rtpengine() as engine:
            relays = Relays(end, engine)
            compared = await compare(relays, CALLS, effort)
            costs(report, compared)
            if not effort.quick:
                say("the most calls on one core, without loss and with a p99 of added latency below 10 ms:")
                longer = evolve(effort, warmup=BEGINNING)
                most = {which: await capacity(relays, which, SIZES, longer, LONGEST_US) for which in (OURS, PEER)}
                capacities(report, most)
    return report


def costs(report: Report, compared: Comparison) -> None:
    ours, peer = compared.costs(OURS), compared.costs(PEER)
    ratio = median(ours) / median(peer)
    name = f"CPU per packet at {compared.calls} bridged calls, us"
    report.row(name, spread(ours), spread(peer), f"{ratio:.2f}", f"{GOAL:g}", verdict(ratio, GOAL))
    late = {which: median(run.latency.p99 for run in runs) for which, runs in compared.runs.items()}
    compared_latency = f"{late[OURS] / late[PEER]:.2f}" if isfinite(late[OURS]) and isfinite(late[PEER]) else ""
    report.row("added latency p99, ms", milliseconds(late[OURS]), milliseconds(late[PEER]), compared_latency, "", "")
    report.row("packets lost", str(compared.lost(OURS)), str(compared.lost(PEER)), "", "0", verdict_of_loss(compared))
    report.plots["relay.svg"] = bars(
        f"Relay, {compared.calls} bridged calls: CPU per packet",
        "us",
        [f"run {number + 1}" for number in range(len(ours))],
        {OURS: ours, PEER: peer},
    )


def verdict_of_loss(compared: Comparison) -> str:
    lost = compared.lost(OURS)
    return "met" if lost == 0 else f"missed: {lost} lost"


def capacities(report: Report, most: dict[str, Capacity]) -> None:
    words = {which: f"{found.most}{' or more' if found.bounded else ''}" for which, found in most.items()}
    ratio = most[OURS].most / max(1, most[PEER].most)
    met = "met" if most[OURS].most >= MOST else f"{'not shown' if most[OURS].bounded else 'missed'}: {words[OURS]}"
    report.row("calls on one core", words[OURS], words[PEER], f"{ratio:.2f}", str(MOST), met)
    report.notes.append(
        "A packet is one that came in and went out again. Calls on one core: the largest number of bridged calls, by "
        "bisection, that lost nothing and whose p99 of added latency stayed below 10 ms; a probe that fails is "
        f"tried once more; measured {BEGINNING} s after all calls began at once. "
        '"Or more" says that the search or the generator ended it, not the relay.'
    )
    series = {
        which: [(float(calls), min(run.latency.p99 / 1000, 50.0)) for calls, run in found.probes]
        for which, found in most.items()
    }
    report.plots["relay-capacity.svg"] = lines(
        "Relay on one core: added latency p99 (cut at 50 ms)", "ms", "bridged calls", series, LONGEST_US / 1000
    )


if __name__ == "__main__":
    sys.exit(bench("relay", work))
