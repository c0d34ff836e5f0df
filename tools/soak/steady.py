"""Two hundred calls at once, for as long as it takes: what the gateway holds must not grow."""

from __future__ import annotations

import shutil
import time

from attrs import define, field

from stellar_gw.testing.gateway_process import GatewayProcess, resident_octets
from stellar_gw.testing.ports import take_ports
from tools.soak.findings import Baseline, Findings, soaked
from tools.soak.load import check_records
from tools.soak.sipp import MISSING, Sipp, media_port, sip_port

CALLS = 200
TALK = 30.0
"""Seconds of each call: all of them are other ones twice a minute."""
SETTLED = 1 / 6
"""Of the run, after which nothing may grow: five minutes of thirty."""
MEDIA_PORTS = "40000-45999"
SAMPLE = 5.0
"""Seconds between two looks at memory."""
MOST = 4 << 20
"""Octets that a process may have gained since then: allocators round."""


@define
class Memory:
    """What each process of the gateway held, by its number, as time went on."""

    samples: dict[int, list[int]] = field(factory=dict)

    def look(self, gateway: GatewayProcess) -> None:
        for pid in (gateway.pid, *gateway.workers):
            self.samples.setdefault(pid, []).append(resident_octets(pid))

    def check(self, gateway: GatewayProcess, findings: Findings) -> str:
        """What each gained, in words."""
        told = []
        for pid, held in self.samples.items():
            name = "gateway" if pid == gateway.pid else f"worker {pid}"
            rest = held[int(len(held) * SETTLED) :]
            third = max(1, len(rest) // 3)
            grown = max(rest[-third:]) - max(rest[:third])
            told.append(f"{name} {held[-1] / 2**20:.1f} MiB, {grown / 2**20:+.1f} after the first {SETTLED:.0%}")
            findings.expect(grown <= MOST, f"{name} grew by {grown / 2**20:.1f} MiB: {_brief(held)}")
        return "; ".join(told)


def steady(seconds: float, findings: Findings) -> None:
    """Calls to the echo with RTP both ways, always 200 of them; each has one good record."""
    program = shutil.which("sipp")
    if program is None:
        findings.done.append(f"steady: left out, {MISSING}")
        return
    talk = min(TALK, max(2.0, seconds / 4))
    rate = CALLS / talk
    count = round(rate * max(seconds - talk, talk))
    block = take_ports()
    try:
        with soaked(findings, ports=MEDIA_PORTS) as gateway:
            memory = Memory()
            sipp = Sipp.begin(
                program, gateway, "steady", "-m", str(count), "-l", str(CALLS), "-r", f"{rate:.1f}",
                "-d", str(int(talk * 1000)), "-timeout", str(int(seconds + 120)), "-timeout_error",
                port=sip_port(block), media=media_port(block),
            )  # fmt: skip
            try:
                baseline = _watch(sipp, gateway, memory, count, seconds, findings)
                good = sipp.judge(count, findings)
            finally:
                sipp.stop()
            check_records(gateway, count, findings)
            grown = memory.check(gateway, findings)
            baseline.check(gateway, findings)
    finally:
        block.release()
    findings.done.append(f"steady: {good} calls, {CALLS} at a time, over {seconds:.0f} s; {grown}")


def _watch(
    sipp: Sipp, gateway: GatewayProcess, memory: Memory, count: int, seconds: float, findings: Findings
) -> Baseline:
    """Until all calls are over; what the gateway held once it had settled."""
    began = said = time.monotonic()
    deadline, baseline = began + seconds + 150, None
    while sipp.calling and time.monotonic() < deadline:
        time.sleep(min(SAMPLE, 1.0) if seconds < 150 else SAMPLE)
        memory.look(gateway)
        if baseline is None and time.monotonic() > began + seconds * SETTLED:
            baseline = Baseline.of(gateway)
        if time.monotonic() > said + 30:
            said = time.monotonic()
            held = ", ".join(f"{each[-1] / 2**20:.1f}" for each in memory.samples.values())
            findings.say(f"{sipp.good} of {count} calls; MiB held: {held}")
    return baseline or Baseline.of(gateway)


def _brief(held: list[int]) -> str:
    """Ten samples of many, in MiB."""
    step = max(1, len(held) // 10)
    return ", ".join(f"{each / 2**20:.1f}" for each in held[::step])
