"""Samples of ``make soak``, half a minute each at most: so that it still runs, and holds for that long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).resolve().parents[2]


class SoakTests(SynchronousTestCase):
    timeout = 180

    def soak(self, name: str, seconds: float) -> str:
        """One run; what it printed, all of which must have held."""
        command = [sys.executable, "-m", "tools.soak", "--seconds", str(seconds), name]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
        if "left out" in run.stdout:
            raise SkipTest(run.stdout.strip().splitlines()[-2])
        self.assertEqual(
            (run.returncode, run.stdout.splitlines()[-1:]), (0, ["nothing wrong"]), run.stdout + run.stderr
        )
        return run.stdout

    def test_fuzz(self) -> None:
        """Mutated messages at a live gateway for 8 s: it answers, honest calls come about, nothing is left over."""
        self.assertRegex(self.soak("fuzz", 8.0), r"fuzz: \d{4,} messages, \d{3,} answers")

    def test_chaos(self) -> None:
        """Two rounds: a worker killed, an agent killed; the other calls go on, each has its record."""
        self.assertRegex(self.soak("chaos", 10.0), r"chaos: \d+ calls; worker killed 1")

    def test_agents(self) -> None:
        """30 s of 40 calls at a time to agents that fail in every way: each ends by the rules, the others as ever."""
        self.assertRegex(self.soak("agents", 30.0), r"agents: \d+ calls, .*agent_(lost|unavailable)")

    def test_load(self) -> None:
        """SIPp with 20 calls a second for 8 s: none fails."""
        self.assertRegex(self.soak("load", 8.0), r"load: 160 calls")
