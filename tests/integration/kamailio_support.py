"""Kamailio as a process: a real proxy and registrar on loopback, with whatever configuration a test gives it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from stellar_gw.testing.gateway_process import wait_until

MISSING = "" if shutil.which("kamailio") else "kamailio is not installed: tools/peers.sh installs it"


class Kamailio:
    """One Kamailio, which may be started again after it was stopped.

    :param folder: for the configuration and the log; must exist.
    :param sockets: ``udp:127.0.0.12:5060`` and the like: where the configuration has it listen.
    """

    def __init__(self, folder: Path, configuration: str, sockets: Sequence[str]) -> None:
        self.folder = folder.absolute()
        self._sockets = [(transport, int(port)) for transport, _, port in (each.split(":") for each in sockets)]
        self._path = self.folder / "kamailio.cfg"
        self._path.write_text(configuration, encoding="utf-8")
        self._log = self.folder / "kamailio.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """:raise RuntimeError: it does not listen within ten seconds."""
        children = ("-n", "1", *(("-N", "1") if any(transport != "udp" for transport, _ in self._sockets) else ()))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "kamailio", "-DD", "-E", "-f", str(self._path), "-Y", str(self.folder), "-m", "32", "-M", "4",
                    *children,
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        process = self._process
        if not wait_until(lambda: self._listens() or process.poll() is not None, 10.0) or not self._listens():
            self.stop()
            raise RuntimeError(self.log[-3000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(5.0)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)  # its children, too: the session is its own
                self._process.wait()
            self._process = None

    def _listens(self) -> bool:
        """Whether its sockets are there, by the kernel's tables."""
        tables = {name: Path(f"/proc/net/{name}").read_text() for name in ("udp", "tcp")}
        return all(
            f":{port:04X} 00000000:0000" in tables["udp" if transport == "udp" else "tcp"]
            for transport, port in self._sockets
        )
