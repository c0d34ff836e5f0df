"""What a call takes of a worker's memory, beyond the idle worker: with an agent over ws, and bridged.

``python -m benchmarks.memory``. Resident memory while the audio flows, less that of a worker that has carried a few
calls before, so that what is loaded once does not count.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.load.generator import Leg
from benchmarks.load.plot import bars
from benchmarks.load.report import Effort, Report, bench, say, verdict
from benchmarks.load.worker_end import G722, PCMU, Agent, EchoAgents, WorkerEnd
from stellar_gw.testing.gateway_process import resident_octets

CALLS = 400
FIRST = 5
"""Calls that load whatever is loaded once."""
GOAL_KIB = 150.0

SetUp = Callable[[WorkerEnd, int], Awaitable[list[Leg]]]


async def work(reactor: Any, effort: Effort) -> Report:
    report = Report(
        f"Memory of a worker, {CALLS} calls", ("a call", "KiB each", "idle worker, MiB", "goal, KiB", "verdict")
    )
    found: dict[str, float] = {}
    with EchoAgents() as agents:
        talking = Agent(dialect="twilio", url=agents.url)
        builtin = Agent(dialect="builtin", url="builtin:echo")
        kinds: dict[str, tuple[SetUp, bool]] = {
            "PCMU, agent over ws": (lambda end, calls: end.converse(calls, talking, PCMU), False),
            "G.722, built-in echo": (lambda end, calls: end.converse(calls, builtin, G722), True),
            "bridged, plain RTP": (lambda end, calls: end.bridge(calls), False),
            "bridged, SRTP to plain": (lambda end, calls: end.bridge(calls, secure=True), False),
        }
        for name, (set_up, opaque) in kinds.items():
            idle, each = await one_kind(reactor, set_up, effort, opaque)
            say(f"{name}: {each:.0f} KiB a call, idle worker {idle:.1f} MiB")
            report.row(name, f"{each:.0f}", f"{idle:.1f}", f"{GOAL_KIB:g}", verdict(each, GOAL_KIB))
            found[name] = each
    report.plots["memory.svg"] = bars(
        "Resident memory of a worker for each call", "KiB", list(found), {"a call": list(found.values())}, GOAL_KIB
    )
    return report


async def one_kind(reactor: Any, set_up: SetUp, effort: Effort, opaque: bool) -> tuple[float, float]:
    """MiB of the worker without calls, KiB of each call while it is up."""
    payload_type = G722.payload_type if opaque else PCMU.payload_type
    async with WorkerEnd(reactor) as end:

        async def loaded(calls: int) -> int:
            legs = await set_up(end, calls)
            await end.measure(legs, seconds=effort.seconds, warmup=1, opaque=opaque, payload_type=payload_type)
            return resident_octets(end.pids[0])

        await loaded(FIRST)
        await end.release()
        idle = resident_octets(end.pids[0])
        return idle / (1 << 20), (await loaded(CALLS) - idle) / CALLS / 1024


if __name__ == "__main__":
    sys.exit(bench("memory", work))
