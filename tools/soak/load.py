"""SIPp as a phone system that calls all the time."""

from __future__ import annotations

import csv
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

from stellar_gw.media.pcm import ulaw_from_pcm
from stellar_gw.media.source import Tone
from stellar_gw.testing.gateway_process import GatewayProcess, cpu_seconds
from stellar_gw.testing.ports import take_ports
from tools.soak.findings import CALLER, ROOT, Baseline, Findings, soaked

RATE = 20
"""Calls a second."""
TALK_MS = 3000
WARM = 100
"""Calls after which memory is looked at for the first time."""


def load(seconds: float, findings: Findings) -> None:
    """Calls of three seconds with echoed RTP, at a steady rate: none fails, each has one good record."""
    program = shutil.which("sipp")
    if program is None:
        findings.done.append("load: left out, SIPp is not installed (Debian: apt install sip-tester)")
        return
    count = max(1, int(RATE * seconds))
    block = take_ports()
    try:
        with soaked(findings) as gateway:
            first = run(program, gateway, block.first, WARM, findings)
            baseline = Baseline.of(gateway)
            used = cpu_seconds(gateway.pid)
            good = run(program, gateway, block.first + 1, count, findings)
            used = cpu_seconds(gateway.pid) - used
            check_records(gateway, first + good, findings)
            baseline.check(gateway, findings)
    finally:
        block.release()
    findings.done.append(f"load: {good} calls at {RATE} a second, {used / max(1, good) * 1000:.2f} ms CPU each")


def run(program: str, gateway: GatewayProcess, port: int, count: int, findings: Findings) -> int:
    """Some calls; how many were good."""
    folder = gateway.folder / f"sipp-{port}"
    folder.mkdir()
    (folder / "tone.pcmu").write_bytes(ulaw_from_pcm(Tone((440,), 8000).take(8000)))
    limit = count / RATE + TALK_MS / 1000 + 30
    command = [
        program, "-sf", str(ROOT / "tests/integration/sipp/caller.xml"), "-i", CALLER, "-mi", CALLER, "-p", str(port),
        "-mp", str(port - port % 500 + 100), "-s", "600", "-m", str(count), "-r", str(RATE), "-d", str(TALK_MS),
        "-nostdin", "-timeout", str(int(limit)), "-timeout_error", "-trace_stat", "-stf", "stat.csv", "-fd", "1",
        "-trace_err", "-error_file", "errors.log", f"127.0.0.1:{gateway.ports['udp']}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline, said = time.monotonic() + limit + 10, time.monotonic()
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.2)
        if time.monotonic() > said + 10:
            said = time.monotonic()
            findings.say(_progress(folder / "stat.csv", count))
    process.kill()
    process.wait()
    told = counts(folder / "stat.csv")
    good, failed = int(told.get("SuccessfulCall(C)", 0)), int(told.get("FailedCall(C)", 0))
    findings.expect((good, failed) == (count, 0), f"SIPp: {good} good and {failed} failed calls of {count}; {folder}")
    return good


def _progress(path: Path, count: int) -> str:
    told = counts(path)
    return f"{told.get('SuccessfulCall(C)', '0')} of {count} calls, {told.get('FailedCall(C)', '0')} failed"


def counts(path: Path) -> dict[str, str]:
    """The last line of SIPp's statistics, by column."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return rows[-1] if rows else {}


def check_records(gateway: GatewayProcess, count: int, findings: Findings) -> None:
    records = gateway.wait_for_records(count, timeout=20.0)
    outcomes = Counter((record["status"], record["cause"]) for record in records)
    findings.expect(outcomes == {(200, "caller_hangup"): count}, f"records of {count} calls: {dict(outcomes)}")
    lossy = sum(1 for record in records for leg in record["legs"] if leg["packets_lost"])
    findings.expect(lossy <= count // 100, f"{lossy} of {count} calls lost packets")
