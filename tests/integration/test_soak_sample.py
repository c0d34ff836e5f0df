"""Samples of ``make soak``, some seconds each, side by side: so that it still runs, and holds for that long."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.testing.processes import GRACE

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 150.0


@frozen
class Sample:
    """A run that has begun."""

    process: subprocess.Popen[bytes]
    output: Path

    @classmethod
    def of(cls, name: str, seconds: float, output: Path) -> Sample:
        command = [sys.executable, "-m", "tools.soak", "--seconds", str(seconds), name]
        with output.open("wb") as file:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        return cls(process, output)

    def printed(self) -> str:
        """All that it printed, once it has ended."""
        self.process.wait(LONGEST)
        return self.output.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Kindly, for it has a gateway, agents and SIPp to end."""
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class SoakTests(SynchronousTestCase):
    timeout = 180

    def soak(self, samples: dict[tuple[str, float], str]) -> None:
        """Runs at the same time: everything in each must hold.

        :param samples: by name and seconds, a regular expression of what it prints.
        """
        begun = {name: Sample.of(name, seconds, Path(self.mktemp())) for name, seconds in samples}
        for sample in begun.values():
            self.addCleanup(sample.stop)
        left_out = []
        for (name, _), expected in samples.items():
            printed = begun[name].printed()
            if "left out" in printed:
                left_out.append(printed.strip().splitlines()[-2])
                continue
            self.assertEqual(
                (begun[name].process.returncode, printed.splitlines()[-1:]), (0, ["nothing wrong"]), printed
            )
            self.assertRegex(printed, expected)
            for folder in re.findall(r"^log and records of that run: (/\S+)$", printed, re.MULTILINE):
                shutil.rmtree(folder)  # nobody looks at it
        if left_out:
            raise SkipTest("; ".join(left_out))

    def test_messages(self) -> None:
        """At a live gateway each, mutated messages and INVITEs of every shape: it answers, honest calls come about,
        nothing is left over."""
        self.soak(
            {
                ("fuzz", 8.0): r"fuzz: \d{4,} messages, \d{3,} answers",
                ("invite", 8.0): r"invite: \d{3,} messages, \d{3,} answers",
            }
        )

    def test_chaos(self) -> None:
        """Two rounds: a worker killed, an agent killed; the other calls go on, each has its record."""
        self.soak({("chaos", 10.0): r"chaos: \d+ calls; worker killed 1"})

    def test_agents_and_load(self) -> None:
        """40 calls at a time to agents that fail in every way: each ends by the rules, the others as ever; and SIPp
        with 20 calls a second, of which none fails."""
        self.soak(
            {
                ("agents", 15.0): r"agents: \d+ calls, .*agent_(lost|unavailable)",
                ("load", 8.0): r"load: 160 calls",
            }
        )
