"""A soak's SIPp: where it cannot begin, or ends too soon, what is found says why."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.ports import take_ports
from tools.soak import agents
from tools.soak.findings import CALLER
from tools.soak.sipp import Sipp, media_port, sip_port


class SippTests(SynchronousTestCase):
    def ran(self, script: str) -> Sipp:
        """What a shell did in SIPp's place."""
        folder = Path(self.mktemp())
        folder.mkdir()
        sipp = Sipp.of(["/bin/sh", "-c", script], folder.resolve(), "steady")
        self.addCleanup(sipp.stop)
        return sipp

    def test_its_last_words(self) -> None:
        """Exit status and what it printed, each line once and without the time, are in the finding."""
        line = r"2026-11-29\t13:08:50.014036\t1795957730.014036: Unable to bind audio RTP socket\n"
        sipp = self.ran(
            f"printf \"Resolving remote host '127.0.0.1'... Done.\\n{line}{line}\" >&2; echo screens; exit 254"
        )
        sipp.process.wait(10)
        self.assertEqual(sipp.ended(), f"exit status 254: Unable to bind audio RTP socket; more in {sipp.folder}")

    def test_only_screens(self) -> None:
        """Where it said nothing of errors, it is the end of its screens."""
        sipp = self.ran("for i in 1 2 3 4; do echo screen $i; done; exit 255")
        sipp.process.wait(10)
        self.assertEqual(sipp.ended(), f"exit status 255: screen 2 | screen 3 | screen 4; more in {sipp.folder}")

    def test_killed_and_going_on(self) -> None:
        sipp = self.ran("exec sleep 60")
        self.assertEqual((sipp.calling, sipp.ended()), (True, f"it goes on; more in {sipp.folder}"))
        sipp.process.send_signal(signal.SIGKILL)
        sipp.process.wait(10)
        self.assertEqual((sipp.calling, sipp.ended()), (False, f"signal 9; more in {sipp.folder}"))

    def test_statistics(self) -> None:
        """The last row counts; one that has not printed any has placed no calls."""
        sipp = self.ran("")
        self.assertEqual((sipp.good, sipp.failed), (0, 0))
        rows = "SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);\n1;1;0;\n6;7;2;\n"
        (sipp.folder / "steady.csv").write_text(rows)
        self.assertEqual((sipp.good, sipp.failed), (7, 2))

    def test_ports_that_are_taken(self) -> None:
        """SIPp ends at once where its first port for RTP, or the second after it, is another's."""
        block = take_ports()
        self.addCleanup(block.release)
        first = media_port(block)
        for step in (0, 2):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind((CALLER, first + step))
                found = media_port(block)
                self.assertNotIn(first + step, (found, found + 2))
        first = sip_port(block)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.bind((CALLER, first))
            self.assertNotEqual(sip_port(block), first)
        self.assertEqual(len({sip_port(block, place) for place in range(4)}), 4)
        places = {media_port(block, place) for place in range(4)}
        self.assertEqual(len(places), 4)


class AgentsTests(SynchronousTestCase):
    def test_a_worker_that_is_gone(self) -> None:
        """It is a finding at the end of a run, and no traceback in the middle."""
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.assertGreater(agents.held(process.pid), 0)
        process.communicate()
        self.assertEqual(agents.held(process.pid), 0)


class ToldToEndTests(SynchronousTestCase):
    PROGRAM = (
        "import sys, time; from tools.soak import __main__ as soak\n"
        "def run(seconds, findings):\n"
        "    try:\n"
        "        print('up', flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        print('down', flush=True)\n"
        "soak.RUNS = {'core': run}; sys.exit(soak.main(['core']))"
    )

    def test_sigterm(self) -> None:
        """What a run has started (a gateway, SIPp, agents) ends with it."""
        process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM], stdout=subprocess.PIPE, text=True, env={**os.environ}
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.assertEqual([process.stdout.readline() for _ in range(2)][1], "up\n")
        process.terminate()
        self.assertEqual((process.stdout.read(), process.wait(10)), ("down\n", 128 + signal.SIGTERM))
