"""A process that starts others ends them, however it is ended itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.processes import run_to_its_end

INNER = (
    "import signal, sys; from stellar_gw.testing.processes import unwind_on_sigterm\n"
    "unwind_on_sigterm()\n"
    "try:\n"
    "    print('up', flush=True); signal.pause()\n"
    "finally:\n"
    "    print('ending', flush=True); sys.stdin.readline(); print('down', flush=True)\n"
)
OUTER = (
    "import sys; from stellar_gw.testing.processes import run_to_its_end, unwind_on_sigterm\n"
    "unwind_on_sigterm()\n"
    f"run_to_its_end([sys.executable, '-c', {INNER!r}])"
)


class FakeProcess:
    """Each wait raises the next of these."""

    def __init__(self, raises: list[BaseException]) -> None:
        self._raises = raises
        self.asked: list[str] = []

    def wait(self, timeout: float | None = None) -> int:
        self.asked.append(f"wait {timeout}")
        if self._raises:
            raise self._raises.pop(0)
        return 0

    def terminate(self) -> None:
        self.asked.append("terminate")

    def kill(self) -> None:
        self.asked.append("kill")


class ProcessTests(SynchronousTestCase):
    def up(self, program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertEqual(self.line(process), "up\n")
        return process

    def line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline()

    def rest(self, process: subprocess.Popen[str]) -> tuple[str, int]:
        """What it prints once it may, and its exit status."""
        output, _ = process.communicate("\n", timeout=10)
        return output, process.returncode

    def test_status(self) -> None:
        self.assertEqual(run_to_its_end(["/bin/sh", "-c", "exit 3"]), 3)

    def test_told_to_end(self) -> None:
        """The inner process does what it has to at its end, and is waited for."""
        process = self.up(OUTER)
        process.terminate()
        self.assertEqual(self.line(process), "ending\n")
        self.assertEqual(self.rest(process), ("down\n", 128 + signal.SIGTERM))

    def test_told_twice(self) -> None:
        process = self.up(INNER)
        process.terminate()
        self.assertEqual(self.line(process), "ending\n")
        process.terminate()
        self.assertEqual(self.rest(process), ("down\n", 128 + signal.SIGTERM))

    def test_interrupted_at_a_terminal(self) -> None:
        """SIGINT comes to both; the inner one is not disturbed at its end."""
        process = self.up(OUTER)
        os.killpg(process.pid, signal.SIGINT)
        self.assertEqual(self.line(process), "ending\n")
        self.assertEqual(self.rest(process), ("down\n", -signal.SIGINT))

    def test_time_to_end(self) -> None:
        """It is told, unless the terminal has told it, waited for, and killed where it is deaf."""
        late = subprocess.TimeoutExpired("gateway", 5.0)
        found = {}
        for reason in (KeyboardInterrupt(), SystemExit(143), late):
            for deaf in (False, True):
                process = FakeProcess([reason, *([late] if deaf else [])])
                patch = self.patch(subprocess, "Popen", lambda command, cwd, process=process: process)
                with self.assertRaises(type(reason)):
                    run_to_its_end(["gateway"], timeout=5.0, grace=7.0)
                patch.restore()
                found[type(reason).__name__, deaf] = process.asked
        told, killed = ["wait 5.0", "terminate", "wait 7.0"], ["kill", "wait None"]
        interrupted = ["wait 5.0", "wait 7.0"]
        self.assertEqual(
            found,
            {
                ("KeyboardInterrupt", False): interrupted,
                ("KeyboardInterrupt", True): interrupted + killed,
                ("SystemExit", False): told,
                ("SystemExit", True): told + killed,
                ("TimeoutExpired", False): told,
                ("TimeoutExpired", True): told + killed,
            },
        )
