"""Ports, alone and in blocks, that no other test process on this machine takes at the same time."""

from __future__ import annotations

import fcntl
import os
import socket
from functools import cache
from pathlib import Path
from socket import SOCK_DGRAM, SOCK_STREAM, SocketKind
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


def free_port(host: str = "127.0.0.1") -> int:
    """An even port of this process's own, free at ``host`` for UDP and TCP, as is the one above it.

    Port 0 would do for oneself; this one can be told to another process before that one binds it, since neither
    Linux (which gives out ports from 32768 on) nor another test process will take it meanwhile.

    :raise RuntimeError: all of them are in use.
    """
    return free_ports(2, host)[0]


def free_ports(count: int, host: str = "127.0.0.1") -> tuple[int, int]:
    """A range of such ports: the first, which is even, and the one after the last.

    :raise RuntimeError: nowhere are so many of them free side by side.
    """
    step = count + count % 2
    for _ in range(2 * SIZE // step):
        first = _own().next(step)
        if all(_free(port, host, kind) for port in range(first, first + step) for kind in (SOCK_DGRAM, SOCK_STREAM)):
            return first, first + count
    raise RuntimeError(f"no {count} ports of this process's are free at {host}")


class _Own:
    """Round and round through one block, so that a port just closed is not the next one given out."""

    def __init__(self) -> None:
        self._block = take_ports()
        self._at = self._block.first

    def next(self, count: int) -> int:
        first = self._at if self._at + count <= self._block.last + 1 else self._block.first
        self._at = first + count
        return first


@cache
def _own() -> _Own:
    return _Own()


def _free(port: int, host: str = "127.0.0.1", kind: SocketKind = SOCK_DGRAM) -> bool:
    """Whether nothing outside the tests sits there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
