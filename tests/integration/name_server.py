"""A real name server on loopback: unbound, with a zone of the test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from stellar_gw.testing.gateway_process import wait_until
from stellar_gw.testing.ports import free_port

HOST = "127.0.0.1"
MISSING = "" if shutil.which("unbound") else "unbound is not installed: tools/peers.sh installs it"

CONFIGURATION = """\
server:
  interface: {host}@{port}
  port: {port}
  access-control: 127.0.0.0/8 allow
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: ""
  do-daemonize: no
  use-syslog: no
  logfile: ""
  do-ip6: no
  num-threads: 1
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "gw.example." static
  local-data: "gw.example. 60 IN SOA ns.gw.example. root.gw.example. 1 3600 600 86400 5"
"""


class NameServer:
    """Answers for gw.example alone, and knows nothing else.

    :param zone: records as in a zone file, one a line: ``sbc.gw.example. 60 IN A 127.0.0.9``.
    """

    def __init__(self, folder: Path, zone: str) -> None:
        self.port = free_port()
        self._folder = folder.absolute()
        self._path = self._folder / "unbound.conf"
        self._process: subprocess.Popen[bytes] | None = None
        self.write(zone)

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def write(self, zone: str) -> None:
        """Have another zone from the next start on."""
        lines = [line.strip() for line in zone.splitlines() if line.strip()]
        text = CONFIGURATION.format(host=HOST, port=self.port, folder=self._folder)
        text += "".join(f"  local-data: '{line}'\n" for line in lines)
        self._path.write_text(text, encoding="utf-8")

    def start(self) -> None:
        """:raise RuntimeError: it does not answer within ten seconds."""
        log = (self._folder / "unbound.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                ["unbound", "-d", "-c", str(self._path)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        if not wait_until(self._answers, 10.0):
            self.stop()
            raise RuntimeError((self._folder / "unbound.log").read_text(encoding="utf-8", errors="replace"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        """Whether it answers for the zone's SOA."""
        question = b"\0\1\1\0\0\1\0\0\0\0\0\0\2gw\7example\0\0\6\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            probe.sendto(question, self.address)
            try:
                return bool(probe.recv(512))
            except OSError:
                return False
