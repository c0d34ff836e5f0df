"""A TCP connection to the first address of a name that answers (RFC 8305)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Final

STAGGER: Final = 0.25
"""Seconds after which the next address is tried beside the one still silent (RFC 8305 5)."""

MAX_ADDRESSES: Final = 8

_SockAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
_AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, _SockAddress]


async def dial(loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
    """Look a host up and connect; cancelling it closes whatever was begun.

    :return: a connected, non-blocking socket.
    :raise OSError: of the first address, where none answers; ``socket.gaierror`` where the name does not resolve.
    """
    addresses = _interleaved(await _look_up(loop, host, port))[:MAX_ADDRESSES]
    waiting: set[asyncio.Task[socket.socket]] = set()
    failure: OSError | None = None
    winner: socket.socket | None = None
    try:
        while winner is None and (addresses or waiting):
            if addresses:
                waiting.add(loop.create_task(_connect(loop, addresses.pop(0))))
            done, waiting = await asyncio.wait(
                waiting, timeout=STAGGER if addresses else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                try:
                    if winner is not None:
                        task.result().close()
                    else:
                        winner = task.result()
                except OSError as error:
                    failure = failure or error
    finally:
        await _give_up(waiting)
    if winner is None:
        raise failure or OSError("no address")
    return winner


async def _look_up(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Sequence[_AddressInfo]:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _interleaved(addresses: Sequence[_AddressInfo]) -> list[_AddressInfo]:
    """The resolver's order, families taking turns (RFC 8305 4)."""
    if not addresses:
        return []
    first = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for address in chain.from_iterable(zip_longest(first, other)) if address is not None]


async def _connect(loop: asyncio.AbstractEventLoop, address: _AddressInfo) -> socket.socket:
    family, kind, protocol, _, where = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setblocking(False)
        await loop.sock_connect(connection, where)
    except BaseException:
        connection.close()
        raise
    return connection


async def _give_up(tasks: set[asyncio.Task[socket.socket]]) -> None:
    """End attempts; one that has just succeeded is closed."""
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, socket.socket):
            result.close()
