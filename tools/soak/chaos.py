"""Calls, and what goes wrong around them: workers and agents that are killed, freeze, flood; the file read anew."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from attrs import define, field

from stellar_gw.testing.gateway_process import GatewayProcess, wait_until
from stellar_gw.testing.ports import take_ports
from tools.soak.findings import CALLER, ROOT, Baseline, Findings, soaked

CALLS = 20
"""In each round, half to an agent in the worker, half to one over WebSocket."""
TALK = 4.0
"""Seconds."""
STRIKE = 1.0
"""Seconds from the beginning of a round's last call until something happens."""
BEGAN = '"admitted":"admitted as provider trunk'
"""Stands once in the log for each call."""
_LISTENING = re.compile(r"listening on (ws://\S+)")


@define
class Agent:
    """The agent behind 999, as a process that can be hurt; always at the same port."""

    port: int
    behaviour: str = "echo"
    process: subprocess.Popen[str] | None = field(default=None, init=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "stellar_gw.testing.agents"]
        command += ["--behaviour", self.behaviour, "--port", str(self.port)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        if _LISTENING.search(self.process.stdout.readline()) is None:
            raise RuntimeError(f"the agent did not start on port {self.port}")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)


@define
class Stage:
    """What faults act on."""

    gateway: GatewayProcess
    agent: Agent

    def worker(self, number: signal.Signals) -> None:
        for pid in self.gateway.workers[:1]:
            os.kill(pid, number)


@define
class Fault:
    """
    :ivar to_600, to_999: how the calls to each may end, by the causes in their records.
    :ivar behaviour: of the agent behind 999 in that round.
    """

    name: str
    strike: Callable[[Stage], None]
    to_600: frozenset[str]
    to_999: frozenset[str]
    behaviour: str = "echo"


def nothing(_: Stage) -> None:
    """The agent's behaviour is what goes wrong."""


WELL = frozenset({"caller_hangup"})
PERHAPS = frozenset({"caller_hangup", "worker_lost"})
"""Of two workers one is lost."""
GONE = frozenset({"agent_lost"})
FAULTS = (
    Fault("worker killed", lambda stage: stage.worker(signal.SIGKILL), PERHAPS, PERHAPS),
    Fault("agent killed", lambda stage: stage.agent.signal(signal.SIGKILL), WELL, GONE),
    Fault("file read anew", lambda stage: stage.gateway.signal(signal.SIGHUP), WELL, WELL),
    Fault("agent frozen", lambda stage: stage.agent.signal(signal.SIGSTOP), WELL, WELL | GONE),
    Fault("worker frozen", lambda stage: stage.worker(signal.SIGSTOP), PERHAPS, PERHAPS),
    Fault("agent floods", nothing, WELL, GONE, "flood"),
    Fault("agent resets", nothing, WELL, GONE, "drop"),
    Fault("agent talks rubbish", nothing, WELL, WELL | GONE, "rubbish"),
    Fault("agent hangs up", nothing, WELL, frozenset({"agent_hangup"}), "close-1000"),
    Fault("nothing", nothing, WELL, WELL),
)


def chaos(seconds: float, findings: Findings) -> None:
    """Rounds of calls, each with another fault in it, until time is up."""
    block = take_ports()
    agent = Agent(block.first)
    happened: Counter[str] = Counter()
    baseline: Baseline | None = None
    try:
        with soaked(findings, bot=f"ws://127.0.0.1:{block.first}/ws") as gateway:
            stage, answered, deadline = Stage(gateway, agent), 0, time.monotonic() + seconds
            while time.monotonic() < deadline and gateway.running:
                fault = FAULTS[sum(happened.values()) % len(FAULTS)]
                answered += one_round(stage, fault, findings)
                happened[fault.name] += 1
                if sum(happened.values()) == len(FAULTS):
                    baseline = Baseline.of(gateway)
            records = gateway.records()
            twice = len(records) - len({record["sip_call_id"] for record in records})
            findings.expect(not twice, f"{twice} records twice")
            if baseline is not None and gateway.running:
                baseline.check(gateway, findings)
    finally:
        agent.stop()
        block.release()
    findings.done.append(
        f"chaos: {answered} calls; " + ", ".join(f"{name} {count}" for name, count in happened.items())
    )


def one_round(stage: Stage, fault: Fault, findings: Findings) -> int:
    """Calls to both agents with a fault in the middle; how many were answered."""
    stage.agent.behaviour = fault.behaviour
    stage.agent.start()
    ready = wait_until(lambda: "is lost" not in stage.gateway.log or _all_up(stage.gateway), 20.0)
    findings.expect(ready, f"no two workers before: {fault.name}")
    known, earlier = stage.gateway.log.count(BEGAN), len(stage.gateway.records())
    callers = [caller(stage.gateway, to) for to in ("600", "999")]
    began = wait_until(lambda: stage.gateway.log.count(BEGAN) >= known + CALLS, 20.0)
    findings.expect(began, f"fewer than {CALLS} calls began: {fault.name}")
    time.sleep(STRIKE)
    fault.strike(stage)
    answered = sum(answered_of(process, findings, fault) for process in callers)
    findings.expect(answered == CALLS, f"{answered} of {CALLS} calls answered: {fault.name}")
    records = stage.gateway.wait_for_records(earlier + CALLS, timeout=15.0)[earlier:]
    for to, allowed in (("600", fault.to_600), ("999", fault.to_999)):
        causes = Counter(record["cause"] for record in records if record["to"].startswith(f"sip:{to}@"))
        held = set(causes) <= allowed and sum(causes.values()) == CALLS // 2
        findings.expect(held, f"calls to {to} ended by {dict(causes)}: {fault.name}")
    findings.say(f"{fault.name}: {dict(Counter(record['cause'] for record in records))}")
    stage.agent.stop()
    return answered


def _all_up(gateway: GatewayProcess) -> bool:
    """Whether every worker that was lost has been followed by one that is up."""
    up, lost = gateway.log.count("is up (pid"), len(re.findall(r"media worker \d+ is lost, with", gateway.log))
    return up >= lost + 2


def caller(gateway: GatewayProcess, to: str) -> subprocess.Popen[str]:
    """A phone that makes half a round's calls."""
    transport = "tcp" if to == "600" else "udp"
    command = [
        sys.executable, "-m", "stellar_gw.cli.call", f"sip:{to}@127.0.0.1:{gateway.ports[transport]}",
        "--transport", transport, "--bind", CALLER, "--count", str(CALLS // 2), "--rate", "20",
        "--duration", str(TALK), "--codec", "pcmu", "--json",
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


def answered_of(process: subprocess.Popen[str], findings: Findings, fault: Fault) -> int:
    """How many of a phone's calls were answered."""
    try:
        output, _ = process.communicate(timeout=60)
        report: dict[str, Any] = json.loads(output)
    except (subprocess.TimeoutExpired, ValueError) as error:
        process.kill()
        process.communicate()
        findings.expect(False, f"a caller did not report ({type(error).__name__}): {fault.name}")
        return 0
    return int(report.get("summary", report).get("answered", 0))
