"""Whether the cores of this machine halt between packets: waking one costs a worker more than the packet does."""

from __future__ import annotations

from pathlib import Path

LONG_ENOUGH = 1_000_000
"""Nanoseconds: a worker with fifty calls finds work sooner."""
_DRIVER = Path("devices/system/cpu/cpuidle/current_driver")
_LIMIT = Path("module/haltpoll/parameters/guest_halt_poll_ns")


def cores_halt(system: Path = Path("/sys")) -> bool:
    """Whether a core gives itself back to the host of this virtual machine as soon as it has nothing to do.

    False where that is not known, and where the kernel has a driver for the cores' own states, which is no virtual
    machine's.

    :param system: where the kernel shows its settings (sysfs(5)).
    """
    try:
        driver = (system / _DRIVER).read_text(encoding="ascii", errors="replace").strip()
        if driver == "none":
            return True
        return driver == "haltpoll" and int((system / _LIMIT).read_text(encoding="ascii")) < LONG_ENOUGH
    except (OSError, ValueError):
        return False
