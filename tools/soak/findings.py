"""What a run found, and the gateway it is about."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define, field

from stellar_gw.media.source import Tone
from stellar_gw.testing.gateway_process import GatewayProcess, resident_octets, wait_until
from stellar_gw.testing.ports import take_ports
from stellar_gw.testing.processes import run_to_its_end

ROOT = Path(__file__).resolve().parents[2]
CALLER = "127.0.0.2"
"""Calls from here need no password."""
STRANGE = "127.0.0.3"
"""A trunk provider's too, one that must not be trusted with much."""
CONFIGURATION = """\
domain: soak.localhost
aliases: [sip.acme.example]
listeners:
  udp: {{bind: "127.0.0.1:0"}}
  tcp: {{bind: "127.0.0.1:0"}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 2, quarantine: 1s}}
sip: {{t1: {t1}}}
timers: {{no_media: 5s}}
agent: {{ping_interval: 1s, ping_timeout: 1s}}
limits: {{requests: 100000, burst: 100000}}
records: {{directory: "{{records}}"}}
trunk_providers:
  trunk: {{allowed_ips: [127.0.0.2], tenants: [soak]}}
  strange: {{allowed_ips: [127.0.0.3], tenants: [soak], unconfirmed_calls: 50}}
tenants:
  soak:
    credentials: {{softphone-1: {{password: "correct horse"}}}}
    agents:
      bot: {{environments: {{production: {{dialect: twilio, url: "{bot}"}}}}}}
      resuming: {{environments: {{production: {{dialect: twilio, url: "{resuming}", resumes: true}}}}}}
      prompted: {{environments: {{production: {{dialect: twilio, url: "{prompted}"}}}}}}
    connectors:
      echo: {{identifier: "600", agent: "builtin:echo"}}
      readback: {{identifier: "602", agent: "builtin:readback"}}
      bot: {{identifier: "999", agent: bot}}
      resuming: {{identifier: "998", agent: resuming}}
      prompted: {{identifier: "997", agent: prompted, fallback: {{play: "{sorry}"}}}}
"""
GROWTH = 30 << 20
"""Octets of memory that the gateway may have gained after its first minute or round: what it keeps of sources,
ladders and nonces is bounded, and full by then or never."""
LEFT_OVER = 5.0
"""Seconds within which a gateway has stopped that was told to: a call that is just ending is over by then. One that
never ends holds it up until ``timers: drain``, one that waits for its other side for 6.4 s, by the shortest T1 here."""
NOWHERE = "ws://127.0.0.1:9/ws"


@define
class Findings:
    """What was wrong, and what was done; each is printed as it comes.

    :ivar seed: of a run that is to be played again; None: chosen by chance.
    """

    seed: int | None = None
    wrong: list[str] = field(factory=list)
    done: list[str] = field(factory=list)

    def expect(self, held: bool, otherwise: str) -> bool:
        if not held:
            self.wrong.append(otherwise)
            print(f"  WRONG {otherwise}", flush=True)
        return held

    def say(self, text: str) -> None:
        print(f"  {text}", flush=True)


@define
class Baseline:
    """What the gateway held when it had warmed up."""

    memory: int
    descriptors: int

    @classmethod
    def of(cls, gateway: GatewayProcess) -> Baseline:
        return cls(resident_octets(gateway.pid), descriptors(gateway.pid))

    def check(self, gateway: GatewayProcess, findings: Findings) -> None:
        """Memory and descriptors are back; call it when no call is up."""
        grown = resident_octets(gateway.pid) - self.memory
        findings.expect(grown < GROWTH, f"the gateway grew by {grown >> 20} MiB")
        wait_until(lambda: descriptors(gateway.pid) <= self.descriptors, 15.0)
        more = descriptors(gateway.pid) - self.descriptors
        findings.expect(more <= 0, f"{more} descriptors more than in the beginning: {opened(gateway.pid)}")


@contextmanager
def soaked(
    findings: Findings,
    *,
    bot: str = NOWHERE,
    resuming: str = NOWHERE,
    prompted: str = NOWHERE,
    t1: str = "500ms",
    ports: str = "",
) -> Iterator[GatewayProcess]:
    """A gateway, and what must hold of it at the end of every run: it lives, with both its workers, nothing raised, and
    told to stop it stops at once, since no call is left.

    :param bot, resuming, prompted: URLs of agents: with nothing to fall back on, one that resumes, one with a prompt.
    :param ports: of media; by default a few hundred that nobody else has.
    """
    block = take_ports()
    folder = Path(tempfile.mkdtemp(prefix="stellar-gw-soak-"))
    sorry = folder / "sorry.wav"
    with wave.open(str(sorry), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(Tone((440,), 8000).take(4000))
    urls = {"bot": bot, "resuming": resuming, "prompted": prompted}
    text = CONFIGURATION.format(ports=ports or block.range, t1=t1, sorry=sorry, **urls)
    try:
        with GatewayProcess(text, folder) as gateway:
            yield gateway
            if findings.expect(gateway.running, f"the gateway is gone; its log is {gateway.log_path}"):
                both = wait_until(lambda: len(gateway.workers) == 2, 15.0)
                findings.expect(both, f"{len(gateway.workers)} workers, not 2")
                began = time.monotonic()
                gateway.signal(signal.SIGTERM)
                gone = wait_until(lambda: not gateway.running, LEFT_OVER)
                findings.expect(gone, f"calls were left over: {time.monotonic() - began:.0f} s were not enough to stop")
                status = gateway.stop()
                findings.expect(status == 0, f"exit status {status}")
            findings.expect("Traceback" not in gateway.log, f"a traceback in {gateway.log_path}")
            findings.done.append(f"log and records of that run: {folder}")
    finally:
        block.release()


ALONE = (("unshare", "-n"), ("unshare", "-rn"))
"""Ways into a network that has nothing but loopback: mutated addresses must lead nowhere."""


def alone(name: str, seconds: float, findings: Findings, run: Callable[[float, Findings], None]) -> None:
    """Carry out a run in a network of its own."""
    if {interface for _, interface in socket.if_nameindex()} == {"lo"}:
        run(seconds, findings)
        return
    again = "" if findings.seed is None else f"--seed {findings.seed} "
    inside = f"ip link set lo up && exec {sys.executable} -m tools.soak {again}--seconds {seconds} {name}"
    for way in ALONE:
        if subprocess.run([*way, "true"], capture_output=True, check=False).returncode == 0:
            status = run_to_its_end([*way, "sh", "-c", inside], cwd=ROOT)
            findings.expect(status == 0, "the live gateway was found wanting, see above")
            findings.done.append(f"{name}: in a network of its own, see above")
            return
    findings.done.append(f"{name}: left out, for no network of its own can be made here (unshare -n takes root)")


def opened(pid: int) -> dict[str, int]:
    """What a process has open, by kind."""
    links = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    return dict(Counter(link.partition(":[")[0] for link in links))


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
