"""SIPp as a phone system that calls all the time."""

from __future__ import annotations

import shutil
import time
from collections import Counter

from stellar_gw.testing.gateway_process import GatewayProcess, cpu_seconds
from stellar_gw.testing.ports import PortBlock, take_ports
from tools.soak.findings import Baseline, Findings, soaked
from tools.soak.sipp import MISSING, Sipp, media_port, sip_port

RATE = 20
"""Calls a second."""
TALK_MS = 3000
MEDIA_PLACE = 4
"""Beyond those of the other runs' SIPps, of which four are side by side."""
WARM = 100
"""Calls after which memory is looked at for the first time."""


def load(seconds: float, findings: Findings) -> None:
    """Calls of three seconds with echoed RTP, at a steady rate: none fails, each has one good record."""
    program = shutil.which("sipp")
    if program is None:
        findings.done.append(f"load: left out, {MISSING}")
        return
    count = max(1, int(RATE * seconds))
    block = take_ports()
    try:
        with soaked(findings) as gateway:
            first = run(program, gateway, block, "warm", WARM, findings)
            baseline = Baseline.of(gateway)
            used = cpu_seconds(gateway.pid)
            good = run(program, gateway, block, "load", count, findings)
            used = cpu_seconds(gateway.pid) - used
            check_records(gateway, first + good, findings)
            baseline.check(gateway, findings)
    finally:
        block.release()
    findings.done.append(f"load: {good} calls at {RATE} a second, {used / max(1, good) * 1000:.2f} ms CPU each")


def run(program: str, gateway: GatewayProcess, block: PortBlock, name: str, count: int, findings: Findings) -> int:
    """Some calls; how many were good."""
    limit = count / RATE + TALK_MS / 1000 + 30
    sipp = Sipp.begin(
        program, gateway, name, "-m", str(count), "-r", str(RATE), "-d", str(TALK_MS), "-timeout", str(int(limit)),
        "-timeout_error", "-trace_err", "-error_file", "errors.log",
        port=sip_port(block), media=media_port(block, MEDIA_PLACE),
    )  # fmt: skip
    deadline, said = time.monotonic() + limit + 10, time.monotonic()
    try:
        while sipp.calling and time.monotonic() < deadline:
            time.sleep(0.2)
            if time.monotonic() > said + 10:
                said = time.monotonic()
                findings.say(f"{sipp.good} of {count} calls, {sipp.failed} failed")
        good = sipp.judge(count, findings)
    finally:
        sipp.stop()
    return good


def check_records(gateway: GatewayProcess, count: int, findings: Findings) -> None:
    records = gateway.wait_for_records(count, timeout=20.0)
    outcomes = Counter((record["status"], record["cause"]) for record in records)
    findings.expect(outcomes == {(200, "caller_hangup"): count}, f"records of {count} calls: {dict(outcomes)}")
    lossy = sum(1 for record in records for leg in record["legs"] if leg["packets_lost"])
    findings.expect(lossy <= count // 100, f"{lossy} of {count} calls lost packets")
