"""The load generator ``rtp_load.c``: compiled once for each version of it, run beside what it measures."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

from attrs import fields, frozen

SOURCE = Path(__file__).with_name("rtp_load.c")
BUILD = Path(__file__).resolve().parents[2] / "var" / "benchmarks"
HOST = "127.0.0.43"
"""An address of loopback that is the generator's own, so that its ports meet nobody else's."""
FIRST_PORT = 40000
SOCKETS = 40
"""Pairs of ports; leg i has the pair i % 40."""
PRIORITY = 20
"""Of SCHED_FIFO, above what is measured: what the generator does late would be counted as the relay's doing."""

TURNS = 60
"""How often it is tried, half a second apart, while another generator has the ports."""


class GeneratorError(Exception):
    """It could not be built or run; the message says what to do."""


@frozen(kw_only=True)
class Leg:
    """One phone.

    :ivar port: of the relay, that it sends to and hears from.
    :ivar rtcp_port: of the relay; 0 sends no reports.
    :ivar origin: the leg whose packets are to come back here.
    :ivar keys: master key and salt of AES_CM_128_HMAC_SHA1_80, 30 octets each: to send with, to receive with.
    """

    host: str
    port: int
    rtcp_port: int
    origin: int
    keys: tuple[bytes, bytes] | None = None

    def line(self) -> str:
        keys = "".join(f" {key.hex()}" for key in self.keys or ())
        return f"{self.host} {self.port} {self.rtcp_port} {self.origin}{keys}\n"


def address_of(leg: int, host: str = HOST, sockets: int = SOCKETS) -> tuple[str, int]:
    """Where the leg of that number sends from and listens; RTCP has the port above."""
    return host, FIRST_PORT + 2 * (leg % sockets)


@frozen(kw_only=True)
class Times:
    """Microseconds; infinite where there was no packet to measure, for that is no good time."""

    p50: float
    p99: float
    max: float


NEVER = Times(p50=inf, p99=inf, max=inf)


@frozen(kw_only=True)
class Measured:
    """What one run found; packets are those of the measured span.

    :ivar latency: from the generator to the kernel's time stamp of the packet's return; :data:`NEVER` where
        payloads are not looked at.
    :ivar off: distance of packets from their stream's own 20 ms grid.
    :ivar generator_late: how late the generator's own slots began.
    :ivar foreign: packets without a mark of the generator's: silence.
    :ivar cpu_seconds: of each process named, in that order.
    """

    legs: int
    seconds: float
    sent: int
    received: int
    lost: int
    duplicates: int
    reordered: int
    misrouted: int
    foreign: int
    forged: int
    rtcp_received: int
    real_time: bool
    latency: Times
    off: Times
    generator_late: Times
    generator_cpu: float
    cpu_seconds: tuple[float, ...]

    @property
    def us_per_packet(self) -> float:
        """CPU of all processes named, for each packet that came in and went out again."""
        return sum(self.cpu_seconds) * 1e6 / max(1, self.sent)

    @property
    def load(self) -> float:
        """Part of one core that the processes named used."""
        return sum(self.cpu_seconds) / self.seconds


def build(source: Path = SOURCE) -> Path:
    """The generator's program, or another one of this folder, compiled unless it is there already.

    :raise GeneratorError: no compiler, no OpenSSL headers, or it does not compile.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not Path("/usr/include/openssl/evp.h").exists():
        raise GeneratorError(
            "the load generator is C: apt-get install --no-install-recommends gcc libc6-dev libssl-dev"
        )
    name = f"{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    program = BUILD / name
    if not program.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", f"{program}.new", str(source), "-lcrypto"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GeneratorError(f"{source.name} does not compile:\n{done.stderr}")
        Path(f"{program}.new").replace(program)
    return program


def run(
    legs: Sequence[Leg],
    *,
    seconds: int,
    warmup: int = 3,
    cpu: int = 0,
    pids: Sequence[int] = (),
    opaque: bool = False,
    payload_type: int = 0,
    first_port: int = FIRST_PORT,
    host: str = HOST,
    sockets: int = SOCKETS,
    prefix: Sequence[str] = (),
) -> Measured:
    """Call from these legs; blocks until it is over.

    :param cpu: the generator's core; -1: any.
    :param sockets: pairs of them, a multiple of 40: legs share them in turn.
    :param prefix: what its command begins with, to run elsewhere.
    :param opaque: the audio that comes back is not the audio sent (it was coded anew): count packets alone.
    :raise GeneratorError: it failed; its own words are in the message.
    """
    command = [
        *prefix, str(build()), "--bind", host, "--sockets", str(sockets), "--port", str(first_port),
        "--seconds", str(seconds), "--warmup", str(warmup), "--cpu", str(cpu), "--priority", str(PRIORITY),
        "--payload-type", str(payload_type),
    ]  # fmt: skip
    command += [word for pid in pids for word in ("--pid", str(pid))] + ["--opaque"] * opaque
    for _ in range(TURNS):
        done = subprocess.run(
            command,
            input="".join(leg.line() for leg in legs),
            capture_output=True,
            text=True,
            timeout=seconds + warmup + 30,
            check=False,
        )
        if "Address already in use" not in done.stderr:
            break
        time.sleep(0.5)  # another one is at work: two would measure each other
    if done.returncode:
        raise GeneratorError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    return _measured(json.loads(done.stdout))


def _measured(found: dict[str, Any]) -> Measured:
    names = {field.name for field in fields(Measured)}
    values: dict[str, Any] = {name: value for name, value in found.items() if name in names}
    for name in ("latency", "off", "generator_late"):
        values[name] = Times(**found[name]) if name in found else NEVER
    values["cpu_seconds"] = tuple(found["cpu_seconds"])
    return Measured(**values)
