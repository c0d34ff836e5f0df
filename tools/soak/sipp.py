"""SIPp, run by a soak: on ports that are free, with its statistics, and its own words where it ended too soon."""

from __future__ import annotations

import csv
import re
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from attrs import define

from stellar_gw.media.pcm import ulaw_from_pcm
from stellar_gw.media.source import Tone
from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import FIRST, SIZE, PortBlock
from tools.soak.findings import CALLER, ROOT, Findings

MISSING = "SIPp is not installed (Debian: apt install sip-tester)"
CALLED = (0, 1)
"""Its exit status where it has placed its calls: all of them were good, or not."""
MEDIA, APART = 20000, 2500
"""Where its ports for RTP begin, and how far the next SIPp's lie from these."""
_TIME = re.compile(r"^\S+\t\S+\t[\d.]+: ")
_ALWAYS = "Resolving remote host"


def media_port(block: PortBlock, place: int = 0) -> int:
    """From where on a SIPp takes ports for its calls' RTP.

    It binds this one, and the second after it, when it starts, and ends at once with a fatal error where either is
    taken: by another soak's SIPp, say.

    :param place: of several that run side by side.
    :raise RuntimeError: none is free.
    """
    # Two that look at the same time do not look at the same ports: each has a block of its own.
    first = MEDIA + APART * place + APART // 50 * ((block.first - FIRST) // SIZE)
    for port in range(first, 65000, 4):
        if _free(port) and _free(port + 2):
            return port
    raise RuntimeError(f"no port from {first} on is free at {CALLER}")


def sip_port(block: PortBlock, place: int = 0) -> int:
    """Where it sends its calls from; it ends at once where that is taken.

    A block is looked at on another address when it is given out, and a SIPp that a killed soak left holds no lock.

    :raise RuntimeError: none is free.
    """
    for port in range(block.first + 10 * (place + 1), block.last):
        if _free(port):
            return port
    raise RuntimeError(f"no port of {block.range} is free at {CALLER}")


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((CALLER, port))
        except OSError:
            return False
    return True


@define
class Sipp:
    """One that has begun.

    :ivar folder: has its statistics, ``NAME.csv``, and what it printed, ``NAME.out`` and ``NAME.err``.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    name: str

    @classmethod
    def begin(
        cls,
        program: str,
        gateway: GatewayProcess,
        name: str,
        *options: str,
        port: int,
        media: int,
        to: str = "600",
        scenario: str = "caller",
    ) -> Sipp:
        """Call a gateway, by a scenario of the suite's, in a folder of its own below the gateway's.

        :param media: see :func:`media_port`.
        """
        folder = gateway.folder / f"sipp-{name}"
        folder.mkdir()
        (folder / "tone.pcmu").write_bytes(ulaw_from_pcm(Tone((440,), 8000).take(8000)))
        command = [
            program, "-sf", str(ROOT / f"tests/integration/sipp/{scenario}.xml"), "-i", CALLER, "-mi", CALLER,
            "-p", str(port), "-mp", str(media), "-s", to, "-nostdin", "-trace_stat", "-stf", f"{name}.csv", "-fd", "1",
            *options, f"127.0.0.1:{gateway.ports['udp']}",
        ]  # fmt: skip
        return cls.of(command, folder, name)

    @classmethod
    def of(cls, command: Sequence[str], folder: Path, name: str) -> Sipp:
        with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
            process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        return cls(process, folder, name)

    @property
    def calling(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def told(self, column: str) -> int:
        """Of its statistics, the last number in this column."""
        return int(counts(self.folder / f"{self.name}.csv").get(column) or 0)

    @property
    def good(self) -> int:
        return self.told("SuccessfulCall(C)")

    @property
    def failed(self) -> int:
        return self.told("FailedCall(C)")

    def judge(self, count: int, findings: Findings) -> int:
        """How many calls were good; a finding unless that is all of them."""
        good, failed = self.good, self.failed
        findings.expect(
            (good, failed) == (count, 0),
            f"SIPp: {good} good and {failed} failed calls of {count}; {self.ended()}",
        )
        return good

    def ended(self) -> str:
        """How it did, and its last words, which are in none of its statistics."""
        status = self.process.poll()
        how = "it goes on" if status is None else f"exit status {status}" if status >= 0 else f"signal {-status}"
        said = self._last("err") or self._last("out")
        return f"{how}{': ' if said else ''}{said}; more in {self.folder}"

    def _last(self, of: str) -> str:
        text = (self.folder / f"{self.name}.{of}").read_text(encoding="utf-8", errors="replace")
        lines = [_TIME.sub("", line.strip()) for line in text.splitlines()]
        return " | ".join(list(dict.fromkeys(line for line in lines if line and not line.startswith(_ALWAYS)))[-3:])


def counts(path: Path) -> dict[str, str]:
    """The last line of SIPp's statistics, by column."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return rows[-1] if rows else {}
