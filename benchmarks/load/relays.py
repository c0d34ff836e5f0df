"""The two relays side by side: the same calls through our worker and through rtpengine, run after run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.threads import deferToThread

from benchmarks.load.generator import Measured, run
from benchmarks.load.report import Effort, say
from benchmarks.load.rtpengine import Rtpengine
from benchmarks.load.worker_end import WorkerEnd

OURS, PEER = "stellar-gw", "rtpengine"
GENERATOR_LATE = 2000
"""Microseconds at p99; beyond, it was the generator or another process that failed, not the relay."""
ATTEMPTS = 2
"""Of a run that went wrong, as other work on the machine may have disturbed it."""


class Relays:
    """Both relays, up and idle; each run sets its calls up and takes them down again."""

    def __init__(self, end: WorkerEnd, engine: Rtpengine) -> None:
        self._end = end
        self._engine = engine

    async def measure(self, which: str, calls: int, effort: Effort, *, secure: bool = False) -> Measured:
        """One run of one of them."""
        how: dict[str, Any] = {"seconds": effort.seconds, "warmup": effort.warmup}
        if which == OURS:
            legs = await self._end.bridge(calls, secure=secure)
            try:
                return await self._end.measure(legs, **how)
            finally:
                await self._end.release()
        legs = self._engine.set_up(calls, secure=secure)
        try:
            found: Measured = await deferToThread(run, legs, pids=(self._engine.pid,), **how)
            return found
        finally:
            self._engine.tear_down()


@define
class Comparison:
    """Runs of both relays with so many calls, in turns."""

    calls: int
    runs: dict[str, list[Measured]] = field(factory=lambda: {OURS: [], PEER: []})

    def costs(self, which: str) -> list[float]:
        """Microseconds of CPU per packet, run by run."""
        return [measured.us_per_packet for measured in self.runs[which]]

    def lost(self, which: str) -> int:
        return sum(measured.lost for measured in self.runs[which])


def sound(measured: Measured, longest_us: int) -> bool:
    """No packet was lost, and the 99th percentile came in time."""
    return measured.lost == 0 and measured.latency.p99 < longest_us


def describe(which: str, calls: int, measured: Measured) -> str:
    return (
        f"{which}, {calls} calls: {measured.us_per_packet:.2f} us per packet, {measured.load * 100:.0f} % of the core, "
        f"{measured.lost} lost, latency p50 {measured.latency.p50} p99 {measured.latency.p99} us"
    )


async def compare(relays: Relays, calls: int, effort: Effort, *, secure: bool = False) -> Comparison:
    """Alternate runs, so that what disturbs the machine disturbs both."""
    comparison = Comparison(calls)
    for number in range(effort.runs):
        for which in (OURS, PEER) if number % 2 == 0 else (PEER, OURS):
            measured = await relays.measure(which, calls, effort, secure=secure)
            say(f"run {number + 1}: {describe(which, calls, measured)}")
            comparison.runs[which].append(measured)
    return comparison


@define
class Capacity:
    """
    :ivar most: calls that one core carried, 0 if not even the first probe was sound.
    :ivar probes: calls and what was measured with them.
    :ivar bounded: by the generator or by the search's end, not by the relay.
    """

    most: int = 0
    probes: list[tuple[int, Measured]] = field(factory=list)
    bounded: bool = False


async def capacity(relays: Relays, which: str, sizes: Sequence[int], effort: Effort, longest_us: int) -> Capacity:
    """The largest of these sizes that is carried without loss and in time, by bisection."""
    found = Capacity()
    low, high = -1, len(sizes)
    while high - low > 1:
        middle = (low + high) // 2
        if await _carries(relays, which, sizes[middle], effort, longest_us, found):
            low = middle
        else:
            high = middle
    found.most = sizes[low] if low >= 0 else 0
    found.bounded = found.bounded or low == len(sizes) - 1
    return found


async def _carries(relays: Relays, which: str, calls: int, effort: Effort, longest_us: int, found: Capacity) -> bool:
    for _ in range(ATTEMPTS):
        measured = await relays.measure(which, calls, effort)
        say(describe(which, calls, measured))
        if sound(measured, longest_us):
            found.probes.append((calls, measured))
            return True
    found.probes.append((calls, measured))
    found.bounded = found.bounded or measured.generator_late.p99 > GENERATOR_LATE
    return False
