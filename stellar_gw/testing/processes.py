"""Processes that start others: where they are told to end, what they started ends with them."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

GRACE = 45.0
"""Seconds in which a process that was told to end does: a gateway with calls takes some."""


def unwind_on_sigterm() -> None:
    """Have SIGTERM end this process as ``sys.exit`` does, so that ``with`` and ``finally`` end what it has started.

    Once: being told so again must not keep them from it.
    """

    def told(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, told)


def run_to_its_end(
    command: Sequence[str], *, cwd: Path | None = None, timeout: float | None = None, grace: float = GRACE
) -> int:
    """A command's exit status. Where that takes too long, or we are told to end, it has time to end what it started.

    :param timeout: seconds.
    :param grace: seconds until it is killed; it leaves behind then what it started.
    :raise subprocess.TimeoutExpired: it did not end in time; now it has.
    """
    process = subprocess.Popen(command, cwd=cwd)
    try:
        return process.wait(timeout)
    except BaseException as reason:
        if not isinstance(reason, KeyboardInterrupt):  # the terminal has told it, too
            process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
