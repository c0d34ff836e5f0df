"""Blocks of UDP ports that no other test process on this machine takes at the same time."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from tempfile import gettempdir
from typing import IO

FIRST, LAST = 11000, 31000
"""Below the range that Linux gives to port 0 (32768 on)."""
SIZE = 500


class PortBlock:
    """``SIZE`` ports from ``first`` on, ours until :meth:`release` or the end of the process."""

    def __init__(self, first: int, lock: IO[bytes]) -> None:
        self.first, self.last = first, first + SIZE - 1
        self._lock = lock

    @property
    def range(self) -> str:
        """As ``media.ports`` wants it."""
        return f"{self.first}-{self.last}"

    def release(self) -> None:
        self._lock.close()


def take_ports() -> PortBlock:
    """Lock a free block.

    :raise RuntimeError: every block is taken.
    """
    folder = Path(gettempdir()) / "stellar-gw-test-ports"
    folder.mkdir(exist_ok=True)
    blocks = range(FIRST, LAST, SIZE)
    start = os.getpid() % len(blocks)
    for first in (*blocks[start:], *blocks[:start]):
        lock = (folder / str(first)).open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if _free(first):
            return PortBlock(first, lock)
        lock.close()
    raise RuntimeError(f"every block of ports in {folder} is taken")


def _free(port: int) -> bool:
    """Whether nothing outside the tests sits at the block's beginning."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
