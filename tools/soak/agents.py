"""Agents that fail in every way, at random: each of their calls ends by the rules, and no other call is harmed."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

from attrs import define, field

from stellar_gw.testing.gateway_process import GatewayProcess, resident_octets, wait_until
from stellar_gw.testing.ports import take_ports
from tools.soak.chaos import Agent
from tools.soak.findings import CALLER, GROWTH, ROOT, Baseline, Findings, soaked
from tools.soak.steady import MEDIA_PORTS

CALLS, FEWER = 200, 40
"""At a time; fewer in a run of less than a minute, which is a sample."""
SHARES = {"600": 4, "999": 2, "998": 2, "997": 2}
"""Phones by what they dial: an agent in the worker, which must not feel anything; one with nothing to fall back on; one
that resumes; one with a prompt to fall back on."""
TALK = (5.0, 12.0)
"""Seconds, of which a phone draws one for all its calls."""
FROZEN = 4.0
"""Seconds; with pings of a second, an agent is given up after two."""
ROOM = 150 << 20
"""Octets that a worker may gain while calls are up; a frame of 1 GiB must not be kept."""
ENDS = {
    "999": {"caller_hangup", "agent_hangup", "agent_lost", "agent_unavailable"},
    "998": {"caller_hangup", "agent_hangup", "agent_lost", "agent_unavailable"},
    "997": {"caller_hangup", "agent_hangup", "agent_lost", "agent_unavailable"},
    "600": {"caller_hangup"},
}
WITHIN = {"999": 2.5, "998": 5.0, "997": 5.0}
"""Seconds from the loss of an agent to the end of its call: 0, 2 for another try, 0.5 of prompt; on a busy machine."""


@define
class Phones:
    """Processes that call all the time.

    :ivar each: calls of one.
    """

    gateway: GatewayProcess
    dice: Random
    each: int
    running: dict[subprocess.Popen[str], tuple[str, float]] = field(factory=dict)
    placed: Counter[str] = field(factory=Counter)
    answered: Counter[str] = field(factory=Counter)

    def keep_up(self, findings: Findings, *, more: bool) -> None:
        """Take the reports of those that are done, and have new ones begin.

        :param more: False where it is to end.
        """
        for process, (to, deadline) in list(self.running.items()):
            if process.poll() is not None or time.monotonic() > deadline:
                del self.running[process]
                self.answered[to] += self._report(process, to, findings)
        up = Counter(to for to, _ in self.running.values())
        for to, share in SHARES.items() if more else ():
            for _ in range(share - up[to]):
                self._start(to)

    def _start(self, to: str) -> None:
        talk = self.dice.uniform(*TALK)
        command = [
            sys.executable, "-m", "stellar_gw.cli.call", f"sip:{to}@127.0.0.1:{self.gateway.ports['udp']}",
            "--bind", CALLER, "--count", str(self.each), "--rate", "10", "--duration", f"{talk:.1f}", "--codec", "pcmu",
            "--json",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.running[process] = (to, time.monotonic() + talk + 60)
        self.placed[to] += self.each

    def _report(self, process: subprocess.Popen[str], to: str, findings: Findings) -> int:
        try:
            output, _ = process.communicate(timeout=5)
            report: dict[str, Any] = json.loads(output)
        except (subprocess.TimeoutExpired, ValueError) as error:
            process.kill()
            process.communicate()
            findings.expect(False, f"a caller of {to} did not report ({type(error).__name__})")
            return 0
        return int(report.get("summary", report).get("answered", 0))


def strike(agents: Mapping[str, Agent], dice: Random, thaw: dict[str, float]) -> str:
    """One agent is killed and starts again, or is frozen for a while."""
    to = dice.choice(list(agents))
    agent = agents[to]
    if to in thaw:
        return ""
    if dice.random() < 0.5:
        agent.stop()
        agent.start()
        return "killed"
    agent.signal(signal.SIGSTOP)
    thaw[to] = time.monotonic() + FROZEN
    return "frozen"


def agents(seconds: float, findings: Findings) -> None:
    """Calls until time is up, to four agents of which three fail; then what has become of each call."""
    seed = secrets.randbits(32)
    findings.say(f"seed {seed}")
    dice, block, whole = Random(seed), take_ports(), seconds >= 60
    bots = {to: Agent(block.first + place, "chaos") for place, to in enumerate(("999", "998", "997"))}
    struck: Counter[str] = Counter()
    try:
        for bot in bots.values():
            bot.start()
        urls = [f"ws://127.0.0.1:{bot.port}/ws" for bot in bots.values()]
        with soaked(
            findings, bot=urls[0], resuming=urls[1], prompted=urls[2], ports=MEDIA_PORTS if whole else ""
        ) as gateway:
            phones = Phones(gateway, dice, (CALLS if whole else FEWER) // sum(SHARES.values()))
            peak = _rounds(seconds, findings, phones, bots, struck)
            records = gateway.wait_for_records(phones.placed.total(), timeout=30.0)
            check(records, phones, findings)
            findings.expect(peak < ROOM, f"a worker grew by {peak >> 20} MiB while calls were up")
    finally:
        for bot in bots.values():
            bot.stop()
        block.release()
    causes = Counter(record["cause"] for record in records)
    failures = Counter(link["failure"] for record in records for link in record["agent_links"] if link["failure"])
    findings.done.append(
        f"agents: {len(records)} calls, {dict(causes)}; {dict(struck)}; links failed by {dict(failures)}; a worker "
        f"grew by {peak >> 20} MiB at most; seed {seed}"
    )


def _rounds(seconds: float, findings: Findings, phones: Phones, bots: Mapping[str, Agent], struck: Counter[str]) -> int:
    """Everything until no call is up; the octets that a worker gained at most."""
    gateway, dice = phones.gateway, phones.dice
    thaw: dict[str, float] = {}
    deadline, warm = time.monotonic() + seconds, time.monotonic() + seconds / 4
    next_strike, said = time.monotonic() + 2.0, time.monotonic()
    baseline: Baseline | None = None
    before = {pid: resident_octets(pid) for pid in gateway.workers}
    settled: dict[int, int] = {}
    peak = 0
    while gateway.running and (phones.running or time.monotonic() < deadline):
        now = time.monotonic()
        phones.keep_up(findings, more=now < deadline)
        for to in [to for to, at in thaw.items() if now > at]:
            del thaw[to]
            bots[to].signal(signal.SIGCONT)
        if now > next_strike and now < deadline:
            next_strike = now + dice.uniform(0.5, 3.0)
            struck[strike(bots, dice, thaw) or "spared"] += 1
        peak = max([peak, *(resident_octets(pid) - octets for pid, octets in before.items())])
        if baseline is None and now > warm:
            baseline = Baseline.of(gateway)
            settled = {pid: resident_octets(pid) for pid in before}
        if now > said + 10:
            said = now
            findings.say(f"{phones.placed.total()} calls, {dict(struck)}, {len(findings.wrong)} wrong")
        time.sleep(0.1)
    findings.expect(gateway.running and set(gateway.workers) == set(before), "a process of the gateway's is gone")
    for pid, octets in settled.items():
        wait_until(partial(_is_back, pid, octets), 10.0)
        grown = resident_octets(pid) - octets >> 20
        findings.expect(_is_back(pid, octets), f"a worker grew by {grown} MiB since it was warm")
    return peak


def _is_back(pid: int, octets: int) -> bool:
    return resident_octets(pid) - octets < GROWTH


def check(records: list[dict[str, Any]], phones: Phones, findings: Findings) -> None:
    """Each call has one record, and ended as it must."""
    findings.expect(bool(records), "no calls at all")
    twice = len(records) - len({record["sip_call_id"] for record in records})
    findings.expect(not twice, f"{twice} records twice")
    findings.expect(len(records) == phones.placed.total(), f"{len(records)} records of {phones.placed.total()} calls")
    findings.expect(
        phones.answered["600"] == phones.placed["600"],
        f"{phones.answered['600']} of {phones.placed['600']} calls to the other agent answered",
    )
    lossy = 0
    for record in records:
        to = record["to"].removeprefix("sip:").partition("@")[0]
        findings.expect(record["cause"] in ENDS[to], f"a call to {to} ended by {record['cause']}: {record['reason']}")
        failed = record["cause"] in ("agent_lost", "agent_unavailable")
        if failed and to == "999":
            findings.expect(record["status"] == (200 if record["answered"] else 480), f"status {record['status']}")
        if failed and to == "997":
            fallback = record["fallback"] or {}
            findings.expect(fallback.get("outcome") == "played", f"the fallback of {to} came to {fallback}")
        if record["cause"] == "agent_lost" and record["answered"]:
            check_loss(record, to, findings)
        if to == "600":
            lossy += any(leg["packets_lost"] > 5 for leg in record["legs"])
    findings.expect(lossy <= phones.placed["600"] // 50, f"{lossy} calls to the other agent lost packets")


def check_loss(record: dict[str, Any], to: str, findings: Findings) -> None:
    """An agent that was lost had its second chance where it resumes, and its caller did not wait."""
    links = record["agent_links"]
    findings.expect(bool(links[-1]["failure"]), f"{record['call_id']}: agent_lost, and no link failed")
    findings.expect(to != "998" or len(links) > 1, f"{record['call_id']}: an agent that resumes was not tried again")
    spent = sum((link["lasted_ms"] or 0) for link in links) / 1000
    waited = record["ended"] - record["answered"] - spent
    findings.expect(waited < WITHIN[to], f"{record['call_id']} to {to}: {waited:.1f} s from the loss to the end")
