"""``make demo`` and ``make run`` as a newcomer starts them, on ports that are free."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.testing.ports import take_ports

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = 3
"""Processes that a demonstration starts: the gateway, its worker, the example agent."""

ENDS = ("agent-heard", "phone-heard", "phone-sent")


class Demo:
    """One run of ``python -m tools.demo``; everything that it prints is in a file."""

    def __init__(self, folder: Path, media: str, *options: str) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self._output = folder / "output"
        command = [sys.executable, "-m", "tools.demo", "--folder", str(folder), "--media-ports", media, *options]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONIOENCODING": "utf-8"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.started: set[int] = set()

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_for(self, text: str, timeout: float = 40.0) -> bool:
        """Until it is printed; also remembers the processes that are there then."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, timeout)
        self.started |= descendants(self.process.pid)
        return text in self.output

    def left(self) -> set[int]:
        """Those of its processes that are there still."""
        wait_until(lambda: not self._running(), 2.0)
        return self._running()

    def _running(self) -> set[int]:
        return {pid for pid in self.started if Path(f"/proc/{pid}").exists()}

    def end(self) -> None:
        """After a test that failed: nothing may stay."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self._running():
            os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> set[int]:
    """The processes that a process has started, and theirs."""
    try:
        children = {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return children.union(*map(descendants, children))


class DemoTests(SynchronousTestCase):
    def demo(self, *options: str) -> Demo:
        block = take_ports()
        self.addCleanup(block.release)
        demo = Demo(Path(self.mktemp()).absolute(), block.range, *options)
        self.addCleanup(demo.end)
        return demo

    def test_all_calls_hold(self) -> None:
        """Two calls are heard at both ends, one is put through to a person and heard there, one is refused and
        explained; the status is 0 and no process is left.
        """
        demo = self.demo("--ports", "0,0,0")
        self.assertTrue(demo.wait_for("agent: call c-"), demo.output)
        self.assertEqual(demo.process.wait(60), 0, demo.output)
        self.assertEqual((len(demo.started), demo.left()), (PARTS, set()))
        verdict = {
            words[0]: words[1:]
            for line in demo.output.partition("\nVerdict\n")[2].splitlines()
            if len(words := re.split(r"\s{2,}", line.strip())) == 5
        }
        exact = {
            name: verdict.get(name)
            for name in ("called", "status", "admitted", "signalling", "codec", "put through", "hung up")
        }
        [refusal] = [json.loads(line) for line in (demo.folder / "refusals.jsonl").read_text().splitlines()]
        self.assertEqual(
            exact,
            {
                "called": ["999", "+31201230000", "605", "600"],
                "status": ["200 OK", "200 OK", "200 OK", "401 Unauthorized"],
                "admitted": [
                    "by digest as demo-secure",
                    "as provider demo-trunk",
                    "by digest as demo-phone",
                    f"no: ref {refusal['reference']}",
                ],
                "signalling": ["TLS 1.3, certificate checked", "UDP", "UDP", "TCP"],
                "codec": ["G722, 20 ms a packet", "PCMU, 20 ms a packet", "PCMU, 20 ms a packet", "-"],
                "put through": ["-", "-", "to desk, bridged", "-"],
                "hung up": ["by the caller", "by the agent", "by the caller", "-"],
            },
        )
        for end in ("agent heard", "phone heard"):
            self.assertRegex(verdict[end][0], r"^the speech.* alike$")
            self.assertRegex(verdict[end][1], r"^440 Hz")
        self.assertRegex(verdict["person heard"][2], r"^the speech, \d+% alike$")
        self.assertRegex(verdict["phone heard"][2], r"^660 Hz")
        self.assertIn(f"  fix   {refusal['fix']}\n", demo.output)
        self.assertEqual(
            sorted(path.name for path in demo.folder.glob("*.wav")),
            [f"{call}-{end}.wav" for call in ("1-tls", "2-trunk") for end in ENDS]
            + [f"3-transfer-{end}.wav" for end in ("person-heard", "phone-heard", "phone-sent")],
        )
        self.assertNotIn("\x1b", demo.output)

    def test_interrupted(self) -> None:
        """Ctrl-C during a call hangs it up and ends every process."""
        demo = self.demo("--ports", "0,0,0")
        self.assertTrue(demo.wait_for("agent: call c-"), demo.output)
        demo.process.send_signal(signal.SIGINT)
        self.assertEqual(demo.process.wait(30), 130, demo.output)
        self.assertEqual((len(demo.started), demo.left()), (PARTS, set()))
        [record] = [json.loads(line) for line in (demo.folder / "cdr.jsonl").read_text().splitlines()]
        self.assertEqual((record["connector"], record["cause"]), ("bot", "caller_hangup"))

    def test_ports_in_use(self) -> None:
        """Ports that others have: one line says which, and what to do; nothing was started."""
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            demo = self.demo("--ports", f"0,0,{port}")
            self.assertEqual(demo.process.wait(30), 1)
        self.assertEqual(
            demo.output,
            f"demo: {port}/tcp on 127.0.0.1 is in use by another program (which: ss -lntup 'sport = :{port}'). "
            "End it, or take any free ports: .venv/bin/python -m tools.demo --ports 0,0,0\n",
        )

    def test_stay_with_a_bot_of_ones_own(self) -> None:
        """``make run`` leaves 999 to whatever listens at the agent's port, and SIGTERM ends it cleanly."""
        with socket.socket() as bot:
            bot.bind(("127.0.0.1", 0))
            bot.listen()
            port = bot.getsockname()[1]
            demo = self.demo("--stay", "--ports", f"0,0,{port}")
            self.assertTrue(demo.wait_for("Ctrl-C stops everything."), demo.output)
            demo.process.send_signal(signal.SIGTERM)
            self.assertEqual(demo.process.wait(30), 0, demo.output)
        self.assertEqual((len(demo.started), demo.left()), (PARTS - 1, set()))
        self.assertIn(f"999  your own bot at ws://127.0.0.1:{port}/ws", demo.output)
        self.assertIn("your own bot answers 999: something listens there already", demo.output)
