"""The way through an agent: RTP in, decoded, over a WebSocket to an echo in another process and back, coded, paced out.

``python -m benchmarks.agent_path``. 400 calls on one core; CPU of the worker for each call and 20 ms. The built-in
echo, which needs no link, stands beside them: the difference is what the link costs.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from statistics import median
from typing import Any

from attrs import evolve, frozen

from benchmarks.load.generator import Measured
from benchmarks.load.plot import bars
from benchmarks.load.report import Effort, Report, bench, say, spread, verdict
from benchmarks.load.worker_end import G722, PCMU, Agent, EchoAgents, WorkerEnd
from stellar_gw.control.messages import Codec

CALLS = 400


@frozen(kw_only=True)
class Case:
    """
    :ivar link: ``ws``, ``wss``, or empty for the built-in echo.
    :ivar goal: microseconds for each call and 20 ms; None where there is none.
    """

    name: str
    codec: Codec
    link: str
    goal: float | None = None


CASES = (
    Case(name="PCMU, ws", codec=PCMU, link="ws", goal=35.0),
    Case(name="PCMU, wss", codec=PCMU, link="wss", goal=50.0),
    Case(name="G.722, built-in echo at 16 kHz", codec=G722, link="", goal=60.0),
    Case(name="PCMU, built-in echo at 16 kHz", codec=PCMU, link=""),
)


async def work(reactor: Any, effort: Effort) -> Report:
    columns = ("worker CPU per call and 20 ms, us", "median", "goal", "verdict", "packets lost", "load of the core")
    report = Report(f"The way through an agent and back, {CALLS} calls on one core", columns)
    effort = evolve(effort, runs=min(effort.runs, 3))
    runs: dict[str, list[Measured]] = {case.name: [] for case in CASES}
    lost = dict.fromkeys(runs, 0)
    for number in range(effort.runs):
        for case in CASES:
            measured, missing = await one_run(reactor, case, effort)
            runs[case.name].append(measured)
            lost[case.name] += missing
            say(
                f"run {number + 1}: {case.name}: {measured.us_per_packet:.1f} us, {measured.load * 100:.0f} % of the "
                f"core, {missing} lost, sent off by {measured.off.p99} us at p99"
            )
    for case in CASES:
        values = [measured.us_per_packet for measured in runs[case.name]]
        load = median(measured.load for measured in runs[case.name])
        goal, met = ("", "") if case.goal is None else (f"{case.goal:g}", verdict(median(values), case.goal))
        report.row(case.name, spread(values), goal, met, str(lost[case.name]), f"{load * 100:.0f} %")
    report.plots["agent_path.svg"] = bars(
        f"Worker CPU per call and 20 ms, {CALLS} calls",
        "us",
        [case.name.replace("built-in echo at", "built-in,") for case in CASES],
        {"measured": [median(m.us_per_packet for m in runs[case.name]) for case in CASES],
         "goal": [case.goal or 0.0 for case in CASES]},
    )  # fmt: skip
    report.notes.append(
        "Lost: packets of the generator that its agents did not bring back (PCMU over a link passes unchanged, so "
        "every packet is known by its content), or, where audio is coded anew, that the worker missed."
    )
    return report


async def one_run(
    reactor: Any, case: Case, effort: Effort, calls: int = CALLS, *, real_time: bool = True
) -> tuple[Measured, int]:
    """A worker of its own, its calls, and how many packets went astray."""
    agents = EchoAgents(tls=case.link == "wss") if case.link else None
    with agents or nullcontext():
        agent = Agent(dialect="twilio", url=agents.url) if agents else Agent(dialect="builtin", url="builtin:echo")
        async with WorkerEnd(reactor, real_time=real_time, environ=agents.trusted if agents else None) as end:
            legs = await end.converse(calls, agent, case.codec)
            opaque = not agents
            measured = await end.measure(
                legs, seconds=effort.seconds, warmup=effort.warmup, opaque=opaque,
                payload_type=case.codec.payload_type,
            )  # fmt: skip
            missed = sum(leg.packets_lost for leg in await end.release())
            return measured, missed if opaque else measured.lost


if __name__ == "__main__":
    sys.exit(bench("agent_path", work))
