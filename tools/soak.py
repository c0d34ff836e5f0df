"""``make soak``: the long runs that the suite has samples of: mutated messages, and load with faults.

``python -m tools.soak --minutes 60 fuzz``. Ends with what held and what did not; the exit status says the same.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field

from stellar_gw.testing.gateway_process import GatewayProcess, resident_octets, wait_until
from stellar_gw.testing.ports import take_ports

ROOT = Path(__file__).resolve().parent.parent
CALLER = "127.0.0.2"
CONFIGURATION = """\
domain: soak.localhost
listeners:
  udp: {{bind: "127.0.0.1:0"}}
  tcp: {{bind: "127.0.0.1:0"}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 2, quarantine: 1s}}
limits: {{requests: 100000, burst: 100000}}
records: {{directory: "{{records}}"}}
trunk_providers: {{trunk: {{allowed_ips: [{caller}], tenants: [soak]}}}}
tenants:
  soak:
    connectors:
      echo: {{identifier: "600", agent: "builtin:echo"}}
      readback: {{identifier: "602", agent: "builtin:readback"}}
"""
GROWTH = 30 << 20
"""Octets of memory that the gateway may have gained over a run after its first round: what it keeps of sources,
ladders and nonces is bounded, and full by then or never."""


@define
class Findings:
    """What a run found wrong, and what it did."""

    wrong: list[str] = field(factory=list)
    done: list[str] = field(factory=list)

    def expect(self, held: bool, otherwise: str) -> None:
        if not held:
            self.wrong.append(otherwise)
            print(f"  WRONG {otherwise}", flush=True)


# --- mutated messages ---------------------------------------------------------------------------


def fuzz(minutes: float, findings: Findings) -> None:
    """The suite's fuzz test with one seed after the other, until time is up."""
    from tests.unit.test_sip_fuzz import FuzzTests

    deadline, seed = time.monotonic() + minutes * 60, int(time.time())
    first = seed
    while time.monotonic() < deadline:
        case, result = FuzzTests("test_mutated_messages"), unittest.TestResult()
        case.seed = seed
        case.run(result)
        for _, trace in (*result.errors, *result.failures):
            findings.expect(False, f"fuzz, seed {seed}: {str(trace).strip().splitlines()[-1]}")
            print(trace)
        seed += 1
        print(f"  {seed - first} seeds, {len(findings.wrong)} wrong", flush=True)
    findings.done.append(f"fuzz: {seed - first} seeds of 10,000 messages, from {first}")


# --- load with faults ---------------------------------------------------------------------------


def load(minutes: float, findings: Findings) -> None:
    """Rounds of calls without and with a fault in them: a worker killed, frozen; the configuration reloaded."""
    block = take_ports()
    folder = Path(tempfile.mkdtemp(prefix="stellar-gw-soak-"))
    faults: tuple[Callable[[GatewayProcess], str], ...] = (no_fault, reload, kill_worker, freeze_worker)
    try:
        with GatewayProcess(CONFIGURATION.format(ports=block.range, caller=CALLER), folder) as gateway:
            deadline, number, calls, memory = time.monotonic() + minutes * 60, 0, 0, 0
            descriptors = 0
            while time.monotonic() < deadline or number < len(faults):
                calls += one_round(gateway, faults[number % len(faults)], findings)
                number += 1
                if number == len(faults):
                    memory, descriptors = resident_octets(gateway.pid), _descriptors(gateway.pid)
            check_end(gateway, calls, memory, descriptors, findings)
        findings.done.append(f"load: {calls} calls in {number} rounds; log and records in {folder}")
    finally:
        block.release()


def one_round(gateway: GatewayProcess, fault: Callable[[GatewayProcess], str], findings: Findings) -> int:
    """A hundred calls of ten seconds; how many were answered."""
    transport = "tcp" if time.monotonic_ns() % 2 else "udp"
    command = [
        sys.executable, "-m", "stellar_gw.cli.call", f"sip:600@127.0.0.1:{gateway.ports[transport]}",
        "--transport", transport, "--bind", CALLER, "--count", "100", "--rate", "20", "--duration", "10",
        "--dtmf", "12", "--json",
    ]  # fmt: skip
    caller = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    time.sleep(7.0)  # the calls are up
    happened = fault(gateway)
    try:
        output, _ = caller.communicate(timeout=180)
        result: dict[str, Any] = json.loads(output)
    except (subprocess.TimeoutExpired, ValueError) as error:
        caller.kill()
        caller.wait()
        findings.expect(False, f"the caller did not report ({type(error).__name__}) after: {happened}")
        return 0
    found = result.get("summary", result)
    answered = int(found.get("answered", 0))
    print(
        f"  {transport}, {happened}: {answered} of {found.get('calls')} answered, {found.get('statuses')}", flush=True
    )
    # A worker that died takes its share of the calls being set up with it, and no more.
    least = 100 if fault in (no_fault, reload) else 90
    findings.expect(answered >= least, f"{answered} of 100 calls answered, {least} expected: {happened}")
    return answered


def no_fault(_: GatewayProcess) -> str:
    return "undisturbed"


def reload(gateway: GatewayProcess) -> str:
    gateway.signal(signal.SIGHUP)
    return "reloaded"


def kill_worker(gateway: GatewayProcess) -> str:
    return _hurt(gateway, signal.SIGKILL, "worker killed")


def freeze_worker(gateway: GatewayProcess) -> str:
    return _hurt(gateway, signal.SIGSTOP, "worker frozen")


def _hurt(gateway: GatewayProcess, number: signal.Signals, words: str) -> str:
    workers = gateway.workers
    if not workers:
        return f"{words}: there was none"
    os.kill(workers[0], number)
    return words


def check_end(gateway: GatewayProcess, calls: int, memory: int, descriptors: int, findings: Findings) -> None:
    """After the last call nothing is left of any, and every call has its one record."""
    findings.expect(gateway.running, "the gateway is gone")
    findings.expect("Traceback" not in gateway.log, f"a traceback in {gateway.log_path}")
    findings.expect(wait_until(lambda: len(gateway.workers) == 2, 10.0), f"{len(gateway.workers)} workers, not 2")
    ids = [record["call_id"] for record in gateway.wait_for_records(calls, timeout=40.0)]
    findings.expect(len(ids) >= calls, f"{len(ids)} records of {calls} answered calls")
    findings.expect(len(ids) == len(set(ids)), f"{len(ids) - len(set(ids))} records twice")
    if memory:
        grown = resident_octets(gateway.pid) - memory
        findings.expect(grown < GROWTH, f"the gateway grew by {grown >> 20} MiB")
        wait_until(lambda: _descriptors(gateway.pid) <= descriptors, 10.0)
        more = _descriptors(gateway.pid) - descriptors
        findings.expect(more <= 0, f"{more} descriptors more than after the first rounds")


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


RUNS = {"fuzz": fuzz, "load": load}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("make soak", description=__doc__)
    parser.add_argument("runs", nargs="*", choices=[*RUNS, []], help="which; all if none is named")
    parser.add_argument("--minutes", type=float, default=15.0, help="for each (default: %(default)s)")
    options = parser.parse_args(argv)
    findings = Findings()
    for name in options.runs or RUNS:
        print(f"--- {name}, {options.minutes:g} minutes ---", flush=True)
        RUNS[name](options.minutes, findings)
    print("\n" + "\n".join(findings.done))
    print("\n".join(findings.wrong) or "nothing wrong")
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
