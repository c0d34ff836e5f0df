"""One media worker as a child process: how it is started, and how its end is noticed."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""What systemd says to the gateway alone: a worker that answered would speak in its name."""


class Spawner(Protocol):
    """Part of IReactorProcess."""

    def spawnProcess(self, *args: Any, **keywords: Any) -> Any: ...


@frozen(kw_only=True)
class WorkerCommand:
    """How a worker is started.

    :ivar options: of the worker's, added to ``arguments`` besides the socket, its number and its generation.
    """

    arguments: Sequence[str] = (sys.executable, "-P", "-m", "stellar_gw.worker.main")
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(factory=lambda: worker_environment(os.environ), repr=False)

    def line(self, socket: str, worker: int, generation: int) -> list[str]:
        place = ("--socket", socket, "--worker", str(worker), "--generation", str(generation))
        return [*self.arguments, *self.options, *place]


def worker_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The gateway's environment without what concerns it alone, and able to find this package.

    A package that is not installed (a source folder) is found by PYTHONPATH; one that is must not be named
    there, or everything beside it would come before the standard library.
    """
    environment = {name: value for name, value in ours.items() if name not in NOT_INHERITED}
    # A worker is one core's: the threads that numpy's OpenBLAS would start for itself only cost memory.
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")
    root = str(Path(__file__).resolve().parents[2])
    if root not in (*site.getsitepackages(), site.getusersitepackages()):
        known = environment.get("PYTHONPATH", "")
        if root not in known.split(os.pathsep):
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, known)))
    return environment


class WorkerProcess(ProcessProtocol):
    """One process.

    :param exited: called once, with how it ended in words.
    """

    def __init__(self, exited: Callable[[str], None]) -> None:
        self._exited: Callable[[str], None] | None = exited

    def kill(self, name: str = "KILL") -> None:
        """Send a signal, if it still runs."""
        if self._exited is None or self.transport is None:
            return
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            pass

    @property
    def pid(self) -> int:
        """0 once it has ended."""
        return 0 if self.transport is None else self.transport.pid or 0

    def processExited(self, reason: Failure) -> None:
        exited, self._exited = self._exited, None
        if exited is not None:
            exited(_how_it_ended(reason))


def _how_it_ended(reason: Failure) -> str:
    ended = reason.value
    if isinstance(ended, ProcessTerminated):
        return f"killed by signal {ended.signal}" if ended.signal is not None else f"exit status {ended.exitCode}"
    return "exit status 0"


def spawn(
    reactor: Spawner, command: Sequence[str], environment: Mapping[str, str], exited: Callable[[str], None]
) -> WorkerProcess:
    """Start a process that reads nothing and writes where we write.

    Its output does not pass through us, so that it can go on writing, and living, without us.

    :raise OSError: if it cannot be started (no processes, no memory).
    """
    process = WorkerProcess(exited)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        reactor.spawnProcess(
            process, command[0], list(command), env=dict(environment), childFDs={0: nothing, 1: 1, 2: 2}
        )
    finally:
        os.close(nothing)
    return process
