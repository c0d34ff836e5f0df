"""Cores that do not halt while something is measured, for whoever is measured alike.

Waking the core of a virtual machine costs more than a packet, and by chance. Where its kernel can wait for work awake
(``haltpoll``), it does; elsewhere a loop of the lowest priority runs on each core (``awake.c``), and whoever is
measured pays for a change of process each time that there is work.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.generator import SOURCE, build

HALTPOLL = Path("module/haltpoll/parameters/guest_halt_poll_ns")
DRIVER = Path("devices/system/cpu/cpuidle/current_driver")
NANOSECONDS = "20000000"
"""As long as the time between two packets of a call."""


@contextmanager
def awake(cores: Iterable[int], system: Path = Path("/sys")) -> Iterator[str]:
    """Keep these cores from halting; says how.

    :param system: where the kernel shows its settings.
    """
    limit = _limit(system)
    if limit is None:
        with _loops(cores):
            yield "a loop of the lowest priority, ``benchmarks/load/awake.c``"
        return
    with _restored(limit):
        limit.write_text(NANOSECONDS, encoding="ascii")
        yield f"the kernel's haltpoll, {int(NANOSECONDS) // 1_000_000} ms"


def _limit(system: Path) -> Path | None:
    """How long the kernel waits awake, where it can and we may say so."""
    limit, driver = system / HALTPOLL, system / DRIVER
    if not os.access(limit, os.R_OK | os.W_OK) or not driver.exists():
        return None
    return limit if driver.read_text(encoding="ascii").strip() == "haltpoll" else None


@contextmanager
def _restored(setting: Path) -> Iterator[None]:
    """A setting is as it was afterwards, even where this process is killed: another one waits for its end."""
    words = [
        "/bin/sh",
        "-c",
        'read -r _; printf %s "$1" >"$2"',
        "sh",
        setting.read_text(encoding="ascii"),
        str(setting),
    ]
    keeper = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        keeper.communicate()


@contextmanager
def _loops(cores: Iterable[int]) -> Iterator[None]:
    program = build(SOURCE.with_name("awake.c"))
    loops = [subprocess.Popen([program, str(core)], stdin=subprocess.PIPE) for core in cores]
    try:
        yield
    finally:
        for each in loops:
            each.communicate()
