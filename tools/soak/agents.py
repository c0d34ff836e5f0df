"""Agents that fail in every way, at random: each of their calls ends by the rules, and no other call is harmed."""

from __future__ import annotations

import secrets
import shutil
import signal
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from random import Random
from typing import Any

from attrs import define, field

from stellar_gw.testing.gateway_process import GatewayProcess, resident_octets, wait_until
from stellar_gw.testing.ports import PortBlock, take_ports
from tools.soak.chaos import Agent
from tools.soak.findings import GROWTH, Baseline, Findings, soaked
from tools.soak.sipp import CALLED, MISSING, Sipp, media_port, sip_port
from tools.soak.steady import MEDIA_PORTS

CALLS, FEWER = 200, 40
"""At a time; fewer in a run of less than a minute, which is a sample."""
SHARES = {"600": 4, "999": 2, "998": 2, "997": 2}
"""Phones by what they dial: an agent in the worker, which must not feel anything; one with nothing to fall back on; one
that resumes; one with a prompt to fall back on."""
OTHER = "600"
TALK = 8.0
"""Seconds; ``hung_up_on.xml`` has them too."""
PATIENCE = 20.0
"""Seconds more that a short run has on a machine where SIPp has not come to call by then."""
LONGER = 90.0
"""Seconds after its time for the last calls to end."""
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
    """One SIPp for each number, which calls all the time.

    :ivar rates: calls a second, by what is dialled.
    """

    gateway: GatewayProcess
    program: str
    rates: Mapping[str, float]
    running: dict[str, Sipp] = field(factory=dict)

    def start(self, most: int, block: PortBlock, seconds: float) -> None:
        """:param most: calls at a time, of all numbers together.
        :param seconds: after which nobody calls any more, should nobody be left to say so.
        """
        for place, (to, share) in enumerate(SHARES.items()):
            self.running[to] = Sipp.begin(
                self.program, self.gateway, to, "-l", str(most * share // sum(SHARES.values())),
                "-r", f"{self.rates[to]:.2f}", "-d", str(int(TALK * 1000)), "-timeout", str(int(seconds)),
                port=sip_port(block, place), media=media_port(block, place), to=to,
                scenario="caller" if to == OTHER else "hung_up_on",
            )  # fmt: skip

    @property
    def calling(self) -> bool:
        return any(sipp.calling for sipp in self.running.values())

    def no_more(self) -> None:
        """Place no calls any more; those that are up go on to their end."""
        for sipp in self.running.values():
            sipp.process.send_signal(signal.SIGUSR1)

    def placed(self, to: str) -> int:
        return self.told(to, "TotalCallCreated")

    def all_called(self) -> bool:
        """Whether each number was called."""
        return min(map(self.placed, SHARES)) > 0

    def check(self, findings: Findings) -> None:
        """Whether each did its work to the end; call it before they are stopped."""
        for to, sipp in self.running.items():
            findings.expect(sipp.calling or sipp.process.returncode in CALLED, f"SIPp calling {to}: {sipp.ended()}")

    def stop(self) -> None:
        for sipp in self.running.values():
            sipp.stop()

    def told(self, to: str, column: str) -> int:
        return self.running[to].told(column)


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
    program = shutil.which("sipp")
    if program is None:
        findings.done.append(f"agents: left out, {MISSING}")
        return
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
            most = CALLS if whole else FEWER
            # Calls whose agents fail are short, so there are more of them.
            each = {to: most * share // sum(SHARES.values()) / (TALK if to == OTHER else TALK / 2)
                    for to, share in SHARES.items()}  # fmt: skip
            phones = Phones(gateway, program, each)
            try:
                phones.start(most, block, seconds + LONGER)
                peak = _rounds(seconds, findings, phones, bots, struck, dice)
                phones.check(findings)
            finally:
                phones.stop()
            records = gateway.wait_for_records(sum(map(phones.placed, SHARES)), timeout=30.0)
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


def _rounds(
    seconds: float, findings: Findings, phones: Phones, bots: Mapping[str, Agent], struck: Counter[str], dice: Random
) -> int:
    """Everything until no call is up; the octets that a worker gained at most."""
    gateway = phones.gateway
    thaw: dict[str, float] = {}
    deadline, warm = time.monotonic() + seconds, time.monotonic() + seconds / 4
    next_strike, said = time.monotonic() + 2.0, time.monotonic()
    baseline: Baseline | None = None
    before = {pid: resident_octets(pid) for pid in gateway.workers}
    settled: dict[int, int] = {}
    peak = 0
    ended = False
    while gateway.running and phones.calling and time.monotonic() < deadline + LONGER:
        now = time.monotonic()
        if not ended and now > deadline and (now > deadline + PATIENCE or phones.all_called()):
            ended = True
            phones.no_more()
        for to in [to for to, at in thaw.items() if now > at]:
            del thaw[to]
            bots[to].signal(signal.SIGCONT)
        if now > next_strike and now < deadline:
            next_strike = now + dice.uniform(0.5, 3.0)
            struck[strike(bots, dice, thaw) or "spared"] += 1
        peak = max([peak, *(held(pid) - octets for pid, octets in before.items())])
        if baseline is None and now > warm:
            baseline = Baseline.of(gateway)
            settled = {pid: held(pid) for pid in before}
        if now > said + 10:
            said = now
            findings.say(f"{len(gateway.records())} calls over, {dict(struck)}, {len(findings.wrong)} wrong")
        time.sleep(0.1)
    findings.expect(gateway.running and set(gateway.workers) == set(before), "a process of the gateway's is gone")
    for pid, octets in settled.items():
        wait_until(partial(_is_back, pid, octets), 10.0)
        grown = held(pid) - octets >> 20
        findings.expect(_is_back(pid, octets), f"a worker grew by {grown} MiB since it was warm")
    return peak


def held(pid: int) -> int:
    """Octets of a worker's memory; nothing where it is gone, which is found at the end."""
    try:
        return resident_octets(pid)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _is_back(pid: int, octets: int) -> bool:
    return held(pid) - octets < GROWTH


def check(records: list[dict[str, Any]], phones: Phones, findings: Findings) -> None:
    """Each call has one record, and ended as it must."""
    twice = len(records) - len({record["sip_call_id"] for record in records})
    findings.expect(not twice, f"{twice} records twice")
    placed = sum(map(phones.placed, SHARES))
    findings.expect(phones.all_called(), "a number was never called")
    findings.expect(len(records) == placed, f"{len(records)} records of {placed} calls")
    good = phones.told(OTHER, "SuccessfulCall(C)")
    others = phones.placed(OTHER)
    findings.expect(good == others, f"{good} of {others} calls to the other agent were good")
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
        if to == OTHER:
            lossy += any(leg["packets_lost"] > 5 for leg in record["legs"])
    findings.expect(lossy <= others // 50, f"{lossy} calls to the other agent lost packets")


def check_loss(record: dict[str, Any], to: str, findings: Findings) -> None:
    """An agent that was lost had its second chance where it resumes, and its caller did not wait."""
    links = record["agent_links"]
    findings.expect(bool(links[-1]["failure"]), f"{record['call_id']}: agent_lost, and no link failed")
    findings.expect(to != "998" or len(links) > 1, f"{record['call_id']}: an agent that resumes was not tried again")
    spent = sum((link["lasted_ms"] or 0) for link in links) / 1000
    waited = record["ended"] - record["answered"] - spent
    findings.expect(waited < WITHIN[to], f"{record['call_id']} to {to}: {waited:.1f} s from the loss to the end")
