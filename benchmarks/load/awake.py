"""Cores that do not halt while something is measured, for whoever is measured alike.

Waking the core of a virtual machine costs more than a packet, and by chance. Where its kernel can wait for work awake
(``haltpoll``), it does; elsewhere a loop of the lowest priority runs on each core (``awake.c``), and whoever is
measured pays for a change of process each time that there is work. Since Linux 6.12 there is no such loop: that kernel
has a fair server, which gives processes of ordinary scheduling 50 ms of a second before SCHED_FIFO where they get too
little. With the loop packets were 50 to 100 ms late every few seconds, whoever passed them on; without it none were.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.generator import SOURCE, build

HALTPOLL = Path("module/haltpoll/parameters/guest_halt_poll_ns")
DRIVER = Path("devices/system/cpu/cpuidle/current_driver")
NANOSECONDS = "20000000"
"""As long as the time between two packets of a call."""


FAIR_SERVER = (6, 12)
"""The version of Linux since which there is one."""


@contextmanager
def awake(cores: Iterable[int], system: Path = Path("/sys"), release: str = "") -> Iterator[str]:
    """Keep these cores from halting, if that can be done; says whether and how.

    :param system: where the kernel shows its settings.
    :param release: of the kernel; by default of this one.
    """
    limit = _limit(system)
    if limit is not None:
        with _restored(limit):
            limit.write_text(NANOSECONDS, encoding="ascii")
            yield _kept(f"the kernel's haltpoll, {int(NANOSECONDS) // 1_000_000} ms")
    elif _version(release or platform.release()) >= FAIR_SERVER:
        yield (
            "Cores halt between packets, for ours and for peers alike: this kernel has no haltpoll, and would give a "
            "loop that keeps them awake 50 ms of each second, before those of SCHED_FIFO (its fair server)"
        )
    else:
        with _loops(cores):
            yield _kept("a loop of the lowest priority, ``benchmarks/load/awake.c``")


def _kept(how: str) -> str:
    return (
        f"Both cores are kept from halting, for ours and for peers alike ({how}): waking the core of a virtual machine "
        "costs more than a packet, and by chance"
    )


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release)[:2])


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
