"""What systemd hears: over a real datagram socket, for there is nothing smaller to show it by."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Mapping

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.gateway.notify import LONGEST_STATUS, Notifier


class NotifierTests(SynchronousTestCase):
    def listen(self, name: str) -> socket.socket:
        """A manager's socket; ``@`` begins an abstract name."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.setblocking(False)
        return sock

    def notifier(self, environ: Mapping[str, str], pid: int = 42) -> Notifier:
        return Notifier(environ, pid=pid, seconds=lambda: 12.5)

    def test_life(self) -> None:
        """Ready, reloading, ready again, alive, stopping: one datagram each, by path and by abstract name."""
        folder = tempfile.mkdtemp()  # the path of a UNIX socket is short, trial's own folders are deep
        self.addCleanup(shutil.rmtree, folder)
        for path in (f"{folder}/notify", f"@stellar-gw-test-{os.getpid()}"):
            manager = self.listen(path)
            notifier = self.notifier({"NOTIFY_SOCKET": path})
            notifier.ready("ready on udp")
            notifier.reloading()
            notifier.ready()
            notifier.alive("3 calls")
            notifier.stopping("draining")
            self.assertEqual(
                [manager.recv(1000) for _ in range(5)],
                [
                    b"READY=1\nSTATUS=ready on udp",
                    b"RELOADING=1\nMONOTONIC_USEC=12500000",
                    b"READY=1",
                    b"WATCHDOG=1\nSTATUS=3 calls",
                    b"STOPPING=1\nSTATUS=draining",
                ],
            )

    def test_status_is_one_line(self) -> None:
        """A status cannot smuggle another assignment in, and is short."""
        name = f"@stellar-gw-test-status-{os.getpid()}"
        manager = self.listen(name)
        self.notifier({"NOTIFY_SOCKET": name}).alive("a\nSTOPPING=1\r\x00b" + "x" * 1000)
        (_, status) = manager.recv(5000).split(b"\n")
        self.assertEqual(status[:24], b"STATUS=a STOPPING=1 bxxx")
        self.assertEqual(len(status), len(b"STATUS=") + LONGEST_STATUS)

    def test_nobody_listens(self) -> None:
        """Without systemd nothing is sent; with a socket that is gone or full nothing waits, and one line says so."""
        with capturedLogs() as events:
            self.notifier({}).ready()
            self.notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).ready()
            self.assertEqual(events, [])
            gone = self.notifier({"NOTIFY_SOCKET": "@stellar-gw-nobody-there"})
            gone.alive()
            gone.alive()
        self.assertEqual(
            [str(formatEvent(event)).partition(" [")[0] for event in events],
            ["cannot tell systemd WATCHDOG=1:"],
        )
        name = f"@stellar-gw-test-full-{os.getpid()}"
        self.listen(name)
        full = self.notifier({"NOTIFY_SOCKET": name})
        for _ in range(5000):  # nobody reads: a sender that waited would wait for ever
            full.alive()

    def test_watchdog(self) -> None:
        """The watchdog is for the process it names, with a time that makes sense."""
        name = {"NOTIFY_SOCKET": "@x"}
        given: list[tuple[Mapping[str, str], float | None]] = [
            ({**name, "WATCHDOG_USEC": "10000000"}, 10.0),
            ({**name, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "42"}, 10.0),
            ({**name, "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "43"}, None),
            ({**name, "WATCHDOG_USEC": "0"}, None),
            ({**name, "WATCHDOG_USEC": "soon"}, None),
            ({**name}, None),
            ({"WATCHDOG_USEC": "10000000"}, None),
        ]
        self.assertEqual([self.notifier(environ).watchdog for environ, _ in given], [watchdog for _, watchdog in given])
