"""What the demonstration stands on: free ports, a certificate, the gateway and the example agent as processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography import x509

from stellar_gw.errors import StellarError
from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.gateway_process import GatewayProcess, wait_until
from stellar_gw.testing.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
CONFIGURATION = ROOT / "conf" / "demo.yaml"
AGENT = ROOT / "examples" / "twilio_echo_agent.py"
FOLDER = ROOT / "var" / "demo"
HOST: Final = "127.0.0.1"
DOMAIN: Final = "demo.localhost"
"""As conf/demo.yaml has it: the digest realm, and a name in the certificate."""

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, a service's end, a closed terminal: each ends the demonstration, and everything that it started."""

_LISTENING = re.compile(r"listening on ws://\S+:(\d+)/ws")
_AGENT_STARTS = 15.0


class DemoError(StellarError):
    """The demonstration cannot go on; what failed and what to do, for people."""


@frozen(kw_only=True)
class Ports:
    """Where things listen; 0 is any that is free.

    :ivar person: whom the caller is transferred to; ours only while that call goes on.
    :ivar media: the range of the media ports, as ``media.ports`` wants it.
    """

    sip: int = 5060
    tls: int = 5061
    agent: int = 7860
    person: int = 5062
    media: str = "30000-30999"

    def taken(self) -> list[str]:
        """Those that others listen on, as ``5060/udp``; the agent's comes last, as ``7860/tcp``."""
        kinds = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}
        wanted = ((self.sip, "udp"), (self.sip, "tcp"), (self.tls, "tcp"), (self.agent, "tcp"))
        return [f"{port}/{kind}" for port, kind in wanted if port and not _free(port, kinds[kind])]


def _free(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:  # else connections of a minute ago would count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class ExampleAgent:
    """``examples/twilio_echo_agent.py`` in a process of its own.

    :ivar port: that it listens on, once it is up.
    """

    def __init__(self, port: int, log_path: Path, record: Path | None) -> None:
        self.port = port
        self._log_path, self._record = log_path, record
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """:raise DemoError: it did not come up."""
        command = [sys.executable, str(AGENT), "--host", HOST, "--port", str(self.port)]
        if self._record is not None:
            command += ["--record", str(self._record)]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        wait_until(lambda: _LISTENING.search(self.log) or not self.running, _AGENT_STARTS)
        listening = _LISTENING.search(self.log)
        if listening is None:
            raise DemoError(f"the example agent did not come up: {self.log[-2000:].strip() or 'it said nothing'}")
        self.port = int(listening[1])

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything it has printed."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it; repeatable."""
        if self._process is None or not self.running:
            return
        self._process.terminate()
        try:
            self._process.wait(3.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Stage:
    """Gateway and agent, up within ``with``, gone after it, however that ends.

    :param own_agent: False: something of the user's answers at the agent's port.
    :ivar person_port: where the person is called.
    :ivar configuration: the file that the gateway runs: conf/demo.yaml, or a copy with other ports in it.
    """

    def __init__(self, folder: Path, ports: Ports, *, own_agent: bool, record: bool) -> None:
        self.folder = folder.absolute()
        self._ports = ports
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("gateway.log", "agent.log"):
            (self.folder / name).unlink(missing_ok=True)
        self.agent_folder = self.folder / "agent"
        self.agent: ExampleAgent | None = None
        if own_agent:
            self.agent = ExampleAgent(ports.agent, self.folder / "agent.log", self.agent_folder if record else None)
        self.gateway: GatewayProcess | None = None
        self.configuration = CONFIGURATION
        self.person_port = ports.person or free_port()

    @property
    def authority(self) -> Path:
        """Whom the phone must believe."""
        return self.folder / "ca.pem"

    @property
    def agent_port(self) -> int:
        return self._ports.agent if self.agent is None else self.agent.port

    def port(self, transport: str) -> int:
        assert self.gateway is not None
        return self.gateway.ports[transport]

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start(self) -> None:
        make_certificate(self.folder)
        if self.agent is not None:
            self.agent.start()
        self.configuration = self._configuration()
        self.gateway = GatewayProcess(self.configuration, self.folder, records=self.folder)
        try:
            self.gateway.start()
        except RuntimeError as error:
            raise DemoError(str(error)) from None

    def _configuration(self) -> Path:
        """conf/demo.yaml itself where nothing about it changes."""
        ports = self._ports
        changes = {
            f"{HOST}:5060": f"{HOST}:{ports.sip}",
            f"{HOST}:5061": f"{HOST}:{ports.tls}",
            f"{HOST}:7860": f"{HOST}:{self.agent_port}",
            f"{HOST}:5062": f"{HOST}:{self.person_port}",
            "ports: 30000-30999": f"ports: {ports.media}",
            "../var/demo": str(self.folder),
        }
        if ports == Ports() and self.folder == FOLDER:
            return CONFIGURATION
        text = CONFIGURATION.read_text(encoding="utf-8")
        for old in changes:
            if old not in text:
                raise DemoError(f"{CONFIGURATION} has no {old!r}, which --ports and --folder replace: put it back")
        found = re.compile("|".join(map(re.escape, changes)))  # at once: one change must not see another's result
        path = self.folder / "conf.yaml"
        path.write_text(found.sub(lambda match: changes[match[0]], text), encoding="utf-8")
        return path

    def stop(self) -> None:
        """End everything that was started, by process id; no signal interrupts it. Repeatable."""
        before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
        try:
            if self.gateway is not None:
                self.gateway.stop()
            if self.agent is not None:
                self.agent.stop()
        finally:
            for number, act in before.items():
                signal.signal(number, act)


def make_certificate(folder: Path) -> None:
    """``tls.pem`` and ``ca.pem``: those of last time for as long as they are good (a softphone may know them)."""
    certificate, authority = folder / "tls.pem", folder / "ca.pem"
    try:
        leaf = x509.load_pem_x509_certificate(certificate.read_bytes())
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.read_bytes()))
        if leaf.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1):
            return
    except Exception:  # none there, or it is broken, or another authority's: made anew, whatever it was
        pass
    Authority.create().write(folder, DOMAIN, "localhost", HOST)


def shown(path: Path) -> str:
    """A path as short as it can be said here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)
