"""A real gateway in a process of its own, for tests, the demo and benchmarks; everything here blocks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_READY = re.compile(r"is ready on (.*)")
_PLACE = re.compile(r"(\S+):(\d+)/(udp|tcp|tls|http)")


class GatewayProcess:
    """``twistd -n stellar-gw -c conf.yaml`` as a context manager: up within ``with``, gone after it.

    :param configuration: YAML; ``{records}`` in it becomes a folder below ``folder``. A path: that file as it is.
    :param folder: for the configuration, the log and the records; must exist.
    :param records: the folder of the records, where an existing file names another.
    :param wrapper: words before the command, such as ``("faketime", "+1h")``.
    :ivar ports: the port of each transport, once it is up; ``places`` is the same by address and transport.
    """

    def __init__(
        self,
        configuration: str | Path,
        folder: Path,
        *,
        records: Path | None = None,
        environ: Mapping[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder.absolute()
        self.records_folder = records or self.folder / "records"
        if isinstance(configuration, Path):
            self.path = configuration.absolute()
        else:
            self.path = self.folder / "conf.yaml"
            self.path.write_text(configuration.replace("{records}", str(self.records_folder)), encoding="utf-8")
        self.log_path = self.folder / "gateway.log"
        self._log_from = 0
        self.ports: dict[str, int] = {}
        self.places: dict[tuple[str, str], int] = {}
        self._environ = {**os.environ, **(environ or {})}
        self._wrapper = wrapper
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> GatewayProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, timeout: float = 30.0) -> GatewayProcess:
        """:raise RuntimeError: it did not come up; the log's end is in the message."""
        twistd = "from twisted.scripts.twistd import run; run()"
        command = [*self._wrapper, sys.executable, "-c", twistd, "-n", "--pidfile=", "stellar-gw", "-c", str(self.path)]
        with self.log_path.open("ab") as log:
            self._log_from = len(self.log)  # what an earlier start has said is not about this one
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            up = wait_until(lambda: self._ready() or not self.running, timeout) and self._ready()
        except BaseException:  # KeyboardInterrupt: nobody else knows yet that there is something to end
            self.kill()
            raise
        if not up:
            self.kill()
            raise RuntimeError(f"the gateway did not come up:\n{self._log_since_start[-4000:]}")
        return self

    def _ready(self) -> bool:
        match = _READY.search(self._log_since_start)
        if match is None:
            return False
        found = [(host.strip("[]"), transport, int(port)) for host, port, transport in _PLACE.findall(match[1])]
        self.places = {(host, transport): port for host, transport, port in found}
        self.ports = {transport: port for _, transport, port in reversed(found)}  # of two of a kind the first
        return True

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """Everything it and its workers have printed."""
        try:
            return self.log_path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    @property
    def _log_since_start(self) -> str:
        return self.log[self._log_from :]

    @property
    def workers(self) -> list[int]:
        """The process ids of its media workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in children.read_text().split()]

    def records(self, name: str = "cdr") -> list[dict[str, Any]]:
        """The records written so far: ``cdr`` or ``refusals``."""
        path = self.records_folder / f"{name}.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def wait_for_records(self, count: int, name: str = "cdr", timeout: float = 10.0) -> list[dict[str, Any]]:
        """At least ``count`` records, or as many as there are when time is up."""
        wait_until(lambda: len(self.records(name)) >= count, timeout)
        return self.records(name)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 15.0) -> int | None:
        """Its exit status, None while it runs on."""
        assert self._process is not None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout: float = 15.0) -> int | None:
        """End it kindly (calls that are up are ended too), then not kindly; its exit status."""
        if self._process is None:
            return None
        if self.running:
            self.signal(signal.SIGTERM)
            wait_until(lambda: not self.running or "draining" in self._log_since_start, 2.0)
            if self.running and "draining" in self._log_since_start:
                self.signal(signal.SIGTERM)
            if self.wait(timeout) is None:
                self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """As a crash would: its workers are left to find out, so they are ended here too."""
        if not self.running:
            return
        workers = self.workers
        self.signal(signal.SIGKILL)
        self.wait()
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def wait_until(true: Callable[[], object], timeout: float, step: float = 0.02) -> bool:
    """Look until it is true, for ``timeout`` seconds; for tests of real processes, which tell nobody."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(step)
    return True


def cpu_seconds(pid: int) -> float:
    """The processor time that a process has used, from the scheduler's own count."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            total += int(path.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e9


def resident_octets(pid: int) -> int:
    """Its resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
