"""What each dialect costs: the way through a worker to an agent that echoes and back, in every dialect of ours.

``python -m benchmarks.dialects``. CPU of the worker for each call and 20 ms, 200 calls of PCMU on one core, each
dialect in turn within every run, and beside it its ratio to Twilio's of the same run: what it costs to write and read
its messages, and to convert the caller's audio to what it carries.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from statistics import median
from typing import Any

from attrs import evolve, frozen

from benchmarks.agent_path import OVERLOADED_US
from benchmarks.load.generator import Measured
from benchmarks.load.plot import bars
from benchmarks.load.report import Effort, Report, bench, milliseconds, say, spread
from benchmarks.load.worker_end import PCMU, Agent, EchoAgents, WorkerEnd

CALLS = 200
RUNS, SECONDS, WARMUP = 3, 3, 1
"""At most, so that all of it takes three minutes."""


@frozen(kw_only=True)
class Case:
    """
    :ivar audio: what it carries, for people.
    :ivar options: of the dialect.
    """

    name: str
    dialect: str
    audio: str
    options: tuple[tuple[str, str], ...] = ()


CASES = (
    Case(name="twilio", dialect="twilio", audio="mu-law, base64"),
    Case(name="native", dialect="native", audio="PCM at 16 kHz", options=(("rate", "16000"),)),
    Case(name="native at 8 kHz", dialect="native", audio="PCM at 8 kHz", options=(("rate", "8000"),)),
    Case(name="vonage", dialect="vonage", audio="PCM at 16 kHz", options=(("rate", "16000"),)),
    Case(name="openai, pcmu", dialect="openai", audio="mu-law, base64", options=(("format", "pcmu"),)),
    Case(name="openai, pcm", dialect="openai", audio="PCM at 24 kHz, base64", options=(("format", "pcm"),)),
    Case(name="audiosocket", dialect="audiosocket", audio="PCM at 8 kHz, TCP"),
    Case(name="audiosocket at 16 kHz", dialect="audiosocket", audio="PCM at 16 kHz, TCP", options=(("rate", "16000"),)),
    Case(name="builtin", dialect="builtin", audio="PCM at 16 kHz, no link"),
)
BASE = CASES[0].name


async def work(reactor: Any, effort: Effort) -> Report:
    effort = evolve(
        effort,
        runs=min(effort.runs, RUNS),
        seconds=min(effort.seconds, SECONDS),
        warmup=min(effort.warmup, WARMUP),
    )
    runs: dict[str, list[Measured]] = {case.name: [] for case in CASES}
    missed = dict.fromkeys(runs, 0)
    for number in range(effort.runs):
        for case in CASES:
            measured, lost = await one_run(reactor, case, effort)
            runs[case.name].append(measured)
            missed[case.name] += lost
            say(
                f"run {number + 1}: {case.name}: {measured.us_per_packet:.1f} us, {measured.load * 100:.0f} % of the "
                f"core, sent off by {milliseconds(measured.off.p99)} ms at p99"
            )
    return report_of(runs, missed)


def report_of(runs: dict[str, list[Measured]], missed: dict[str, int]) -> Report:
    """By the names of cases."""
    report = Report(
        f"The dialects, {CALLS} calls of PCMU each, on one core",
        ("CPU per call and 20 ms, us", "audio", "median", "to Twilio's", "packets missed", "off p99, ms"),
    )
    full: list[str] = []
    costs = {name: [measured.us_per_packet for measured in found] for name, found in runs.items()}
    for case in CASES:
        ratio = median(ours / base for ours, base in zip(costs[case.name], costs[BASE], strict=True))
        off = median(measured.off.p99 for measured in runs[case.name])
        full += [case.name] * (off > OVERLOADED_US)
        report.row(
            case.name, case.audio, spread(costs[case.name]), "" if case.name == BASE else f"{ratio:.2f}",
            str(missed[case.name]), milliseconds(off),
        )  # fmt: skip
    if full:
        report.notes.append(
            f"No time was left for {', '.join(full)}, and packets left late: with time, these would cost more."
        )
    report.plots["dialects.svg"] = bars(
        "CPU per call and 20 ms", "us", list(costs), {"median": [median(values) for values in costs.values()]}
    )
    report.notes.append(
        "To Twilio's: the median of the ratios to Twilio's dialect in the same run. The built-in agent's own work, "
        "little for an echo, is in its figure; the other agents run in a process of their own. Missed: packets of the "
        "generator that the worker did not get."
    )
    return report


async def one_run(reactor: Any, case: Case, effort: Effort, *, real_time: bool = True) -> tuple[Measured, int]:
    """A worker of its own, its calls, and how many of their packets it missed."""
    builtin = case.dialect == "builtin"
    agents = None if builtin else EchoAgents(audiosocket=case.dialect == "audiosocket")
    with agents or nullcontext():
        url = agents.url if agents else "builtin:echo"
        agent = Agent(dialect=case.dialect, url=url, options=dict(case.options))
        async with WorkerEnd(reactor, real_time=real_time) as end:
            legs = await end.converse(CALLS, agent, PCMU)
            measured = await end.measure(
                legs, seconds=effort.seconds, warmup=effort.warmup, opaque=True, payload_type=PCMU.payload_type
            )
            return measured, sum(leg.packets_lost for leg in await end.release())


if __name__ == "__main__":
    sys.exit(bench("dialects", work))
