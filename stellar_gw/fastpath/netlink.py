"""nf_tables by its netlink messages (linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h), as far as needed here.

The command ``nft`` and its library read whole tables before they change anything, a quarter of a second with 2,000
bridges; the messages themselves cost some 20 us.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from errno import EAGAIN

from attrs import frozen

from stellar_gw.errors import StellarError

NETLINK_NETFILTER = 12
SUBSYSTEM = 10
"""NFNL_SUBSYS_NFTABLES."""
BATCH_BEGIN, BATCH_END = 16, 17
REQUEST, ACK, DUMP, EXCLUSIVE, CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
ERROR, DONE = 2, 3
NEW_TABLE, NEW_CHAIN, NEW_RULE, NEW_SET = 0, 3, 6, 9
NEW_ELEMENT, GET_ELEMENT, DELETE_ELEMENT = 12, 13, 14
NESTED = 0x8000
_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_FAMILY = struct.Struct("!BBH")


class NetlinkError(StellarError):
    """:ivar number: the errno that the kernel gave."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


@frozen
class Command:
    """One message of a batch: what to do, and its attributes."""

    kind: int
    body: bytes
    flags: int = 0


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """A netlink attribute; text ends with NUL, numbers have 32 bits, the high octets first."""
    if isinstance(value, str):
        value = value.encode("ascii") + b"\0"
    elif isinstance(value, int):
        value = struct.pack("!I", value)
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(attributes))


def attributes(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and value of each; what is cut off is passed over."""
    place = 0
    while place + 4 <= len(octets):
        length, kind = _ATTRIBUTE.unpack_from(octets, place)
        if length < 4 or place + length > len(octets):
            return
        yield kind & 0x3FFF, octets[place + 4 : place + length]
        place += (length + 3) & ~3


def message(kind: int, flags: int, number: int, family: int, resource: int, body: bytes) -> bytes:
    return _MESSAGE.pack(20 + len(body), kind, flags, number, 0) + _FAMILY.pack(family, 0, resource) + body


def messages(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind of each message, and what follows its header."""
    place = 0
    while place + 16 <= len(octets):
        length, kind, _, _, _ = _MESSAGE.unpack_from(octets, place)
        if length < 16:
            return
        yield kind, octets[place + 16 : place + length]
        place += (length + 3) & ~3


class Netlink:
    """One socket to nf_tables. A table that it creates as its owner goes when it is closed, however that happens."""

    def __init__(self) -> None:
        """:raise OSError: where the kernel knows nothing of it."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    def close(self) -> None:
        self._socket.close()

    def change(self, commands: Sequence[Command]) -> None:
        """Do all of it, at one moment.

        :raise NetlinkError: nothing has changed.
        """
        parts = [message(BATCH_BEGIN, REQUEST, 0, 0, SUBSYSTEM, b"")]
        for number, command in enumerate(commands, 1):
            kind = SUBSYSTEM << 8 | command.kind
            parts.append(message(kind, REQUEST | ACK | command.flags, number, socket.AF_INET, 0, command.body))
        parts.append(message(BATCH_END, REQUEST, 0, 0, SUBSYSTEM, b""))
        self._send(b"".join(parts))
        # The kernel has done it within sendto(), so that all the answers are there.
        failed = 0
        for _, body in self._answers(socket.MSG_DONTWAIT):
            failed = failed or -int.from_bytes(body[:4], "little" if _LITTLE else "big", signed=True)
        if failed:
            raise NetlinkError(failed)

    def ask(self, kind: int, body: bytes, *, all_of_it: bool) -> list[bytes]:
        """The attributes of each message that answers.

        :param all_of_it: of a set, rather than what ``body`` names.
        :raise NetlinkError: it cannot be had.
        """
        flags = REQUEST | (DUMP if all_of_it else ACK)
        self._send(message(SUBSYSTEM << 8 | kind, flags, 1, socket.AF_INET, 0, body))
        found = []
        for answer, octets in self._answers(0):
            if answer == ERROR:
                failed = -int.from_bytes(octets[:4], "little" if _LITTLE else "big", signed=True)
                if failed:
                    raise NetlinkError(failed)
                break
            if answer == DONE:
                break
            found.append(octets[4:])
        return found

    def _send(self, octets: bytes) -> None:
        try:
            self._socket.sendto(octets, (0, 0))
        except OSError as reason:
            self._drain()
            raise NetlinkError(reason.errno or EAGAIN) from None

    def _answers(self, flags: int) -> Iterator[tuple[int, bytes]]:
        while True:
            try:
                octets = self._socket.recv(1 << 20, flags)
            except BlockingIOError:
                return
            except OSError as reason:
                raise NetlinkError(reason.errno or EAGAIN) from None
            yield from messages(octets)

    def _drain(self) -> None:
        for _ in self._answers(socket.MSG_DONTWAIT):
            pass


_LITTLE = struct.pack("=H", 1) == b"\1\0"
