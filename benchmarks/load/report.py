"""What a benchmark says: a Markdown table and plots in ``benchmarks/results/``, the same on the terminal."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from math import isinf
from pathlib import Path
from statistics import median
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError

from benchmarks.load.awake import awake
from benchmarks.load.generator import GeneratorError, build
from benchmarks.load.machine import (
    LOAD_CORE,
    RELAY_CORE,
    TakenError,
    TooSmallError,
    alone,
    check_cores,
    describe,
    others_share,
    real_time_permitted,
)
from benchmarks.load.rtpengine import RtpengineError
from benchmarks.load.worker_end import WorkerEndError, run_with_reactor
from stellar_gw.compiled import usable
from stellar_gw.testing.processes import unwind_on_sigterm

RESULTS = Path(__file__).resolve().parents[1] / "results"
CAUTION = "The machine was busy with other work at the start: take these figures with caution."
BUSY = 0.1
"""Part of the cores' time from which on the results say that the machine was not ours alone."""


TOLD_TO_END = 128 + signal.SIGTERM
"""The exit status of a benchmark that was."""


@frozen(kw_only=True)
class Effort:
    """How much a benchmark does.

    :ivar runs: of each figure, of which the median counts.
    :ivar seconds: measured in each run.
    :ivar warmup: seconds before them.
    """

    runs: int
    seconds: int
    warmup: int
    quick: bool


FULL = Effort(runs=5, seconds=3, warmup=2, quick=False)
QUICK = Effort(runs=1, seconds=2, warmup=1, quick=True)


@define
class Report:
    """
    :ivar rows: cells of the table's rows.
    :ivar notes: sentences below the table.
    :ivar plots: SVG by file name.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(factory=list)
    notes: list[str] = field(factory=list)
    plots: dict[str, str] = field(factory=dict)

    def row(self, *cells: str) -> None:
        self.rows.append(cells)

    def table(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def markdown(self) -> str:
        pictures = "".join(f"\n![{name.removesuffix('.svg')}]({name})\n" for name in self.plots)
        notes = "".join(f"\n- {note}" for note in self.notes)
        return f"# {self.title}\n\n{self.table()}{pictures}{notes}\n"


def say(words: str) -> None:
    """Progress, a line each."""
    print(f"  {words}", flush=True)


def verdict(value: float, goal: float, lost: int = 0) -> str:
    """Whether a figure that should be small is small enough; an infinite one is of nothing measured.

    :param lost: packets, without which it would be greater.
    """
    if isinf(value):
        return "missed: nothing came back"
    if lost:
        return f"missed: {lost} lost"
    if value <= goal:
        return "met"
    percent = f"{(value / goal - 1) * 100:.0f}"
    return f"missed by {'less than 1' if percent == '0' else percent} %"


def milliseconds(us: float) -> str:
    """A time for the table."""
    return "none came" if isinf(us) else f"{us / 1000:.2f}"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and the most in brackets."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def bench(name: str, work: Callable[[Any, Effort], Awaitable[Report]]) -> int:
    """A benchmark's main: run it, print and write what it found; the exit status.

    :param name: of its files in ``benchmarks/results/``.
    """
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}")
    parser.add_argument("--quick", action="store_true", help="one short run of each figure, nothing written")
    effort = QUICK if parser.parse_args().quick else FULL
    unwind_on_sigterm()
    try:
        check_cores()
        build()

        async def measured(reactor: Any) -> Report:
            return await work(reactor, effort)

        with alone(say):
            others, began = others_share(), time.monotonic()
            with awake((RELAY_CORE, LOAD_CORE)) as how:
                report = run_with_reactor(measured)
    except (GeneratorError, RtpengineError, TakenError, TooSmallError, WorkerEndError) as reason:
        sys.stderr.write(f"{name}: {reason}\n")
        return 2
    except CancelledError:
        sys.stderr.write(f"{name}: told to end, nothing is written\n")
        return TOLD_TO_END
    runs = "compiled" if usable()[0] else "interpreted"
    report.notes.append(
        f"{time.strftime('%Y-%m-%d')}, {describe()}; other work took {others:.0%} of both cores before. "
        f"Media workers run {runs}. {how}. "
        "Absolute times are this machine's; ratios travel better."
    )
    if not real_time_permitted():
        report.notes.append("SCHED_FIFO is not permitted here: workers, peers and the generator ran without it.")
    if others > BUSY:
        report.notes.append(CAUTION)
    sys.stdout.write("\n" + report.table() + "".join(f"- {note}\n" for note in report.notes))
    sys.stdout.write(f"({time.monotonic() - began:.0f} s)\n")
    if not effort.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(report.markdown(), encoding="utf-8")
        for file, picture in report.plots.items():
            (RESULTS / file).write_text(picture, encoding="utf-8")
    return 0
