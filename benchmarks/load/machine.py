"""This machine: which cores a benchmark uses, how busy it is besides, and how much of it a process takes."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

RELAY_CORE = 1
"""What is measured has this core."""
LOAD_CORE = 0
"""The generator and the agents have this one."""
PRIORITY = 15
"""Of SCHED_FIFO, of what is measured and of the agents. A worker asks for 10 by itself; that of another gateway on this
machine, with the same priority, could keep it waiting, which would say nothing about either relay."""


LOOK = 2.0
LONGEST_WAIT = 300.0
"""Seconds for another benchmark to end."""


class TooSmallError(Exception):
    """One core cannot hold both what is measured and the load."""


class TakenError(Exception):
    """Another benchmark does not end."""


@contextmanager
def alone(waiting: Callable[[str], None]) -> Iterator[None]:
    """One benchmark at a time on this machine: two would measure each other.

    :param waiting: told once, if another one runs.
    :raise TakenError: it does not end within :data:`LONGEST_WAIT`.
    """
    path = Path(gettempdir()) / "stellar-gw-benchmark.lock"
    with path.open("ab") as lock:
        deadline, told = time.monotonic() + LONGEST_WAIT, False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TakenError(f"another benchmark holds {path} for {LONGEST_WAIT:g} s now") from None
                if not told:
                    waiting("another benchmark runs on this machine; waiting for its end")
                    told = True
                time.sleep(0.5)
        yield


def check_cores() -> None:
    """:raise TooSmallError: the two cores are not both ours."""
    if not {RELAY_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise TooSmallError("two cores are needed, one for the load and one for what is measured")


def with_us() -> list[str]:
    """What the command of a process begins with that is to end when this one does, even where this one is killed."""
    program = shutil.which("setpriv")
    return [] if program is None else [program, "--pdeathsig", "TERM"]


def pin(pid: int, core: int) -> None:
    """Keep a process, with all the threads that it has by now, on one core."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def real_time(pid: int, priority: int) -> bool:
    """Give a process, with all the threads that it has by now, SCHED_FIFO; whether that is permitted."""
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            os.sched_setscheduler(int(task), os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return False
    return True


def real_time_permitted() -> bool:
    """Whether what this process starts may have SCHED_FIFO at all."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        return False
    os.sched_setscheduler(0, *before)
    return True


def others_share(stat: Path = Path("/proc/stat"), wait: Callable[[float], None] = time.sleep) -> float:
    """Part of all cores' time that is not idle, while nothing of the benchmark's runs; takes :data:`LOOK` seconds.

    The load average would tell of the benchmark before.

    :param stat: as proc(5) has it; what the host takes for others counts.
    """
    looks = []
    for number in range(2):
        if number:
            wait(LOOK)
        # user, nice, system, idle, iowait, irq, softirq, steal; what guests take is in the first two
        looks.append([int(word) for word in stat.read_text(encoding="ascii").split("\n")[0].split()[1:9]])
    passed = [after - before for before, after in zip(*looks, strict=True)]
    return 1 - (passed[3] + passed[4]) / sum(passed) if sum(passed) else 0.0


def describe() -> str:
    """One line: processor, cores, kernel, and which Python: one compiled without profiles is a fifth slower."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    whose = "the system's own" if sys.base_prefix == "/usr" else "not the system's own"
    python = f"Python {platform.python_version()}, {whose}"
    return f"{model}, {os.cpu_count()} cores, Linux {os.uname().release}, {python}"
