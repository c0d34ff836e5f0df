"""An agent that can misbehave: a WebSocket server down to its octets, for tests of agent links.

It runs on an asyncio loop, the link's own in most tests. Each connection is given to a script, a coroutine that
reads and writes as it pleases; the connection is closed when the script returns.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0

_KEY = re.compile(rb"(?im)^Sec-WebSocket-Key: (\S+)\r$")


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = False) -> bytes:
    """A frame as a server sends it (RFC 6455 5.2), or as it must not.

    :param rsv: RSV1 to RSV3 as a number from 0 to 7.
    """
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    mask = 0x80 if masked else 0
    if len(payload) < 126:
        header = struct.pack("!BB", first, mask | len(payload))
    elif len(payload) < 1 << 16:
        header = struct.pack("!BBH", first, mask | 126, len(payload))
    else:
        header = struct.pack("!BBQ", first, mask | 127, len(payload))
    return header + (b"\0\0\0\0" if masked else b"") + payload


def close_payload(code: int, reason: str = "") -> bytes:
    return struct.pack("!H", code) + reason.encode()


class Peer:
    """One connection, the agent's side of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.request = b""

    async def read_request(self) -> bytes:
        """The upgrade request with its empty line."""
        self.request = await self._reader.readuntil(b"\r\n\r\n")
        return self.request

    def answer(self, *fields: str, status: str = "101 Switching Protocols", accept: str | None = None) -> bytes:
        """The upgrade's answer to the request read, ``fields`` added to those it needs."""
        key = _KEY.search(self.request)
        digest = hashlib.sha1((key[1] if key else b"") + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        lines = [
            f"HTTP/1.1 {status}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept if accept is not None else base64.b64encode(digest).decode()}",
            *fields,
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def upgrade(self, *fields: str) -> bytes:
        """Take the upgrade; the request."""
        request = await self.read_request()
        await self.write(self.answer(*fields))
        return request

    @property
    def descriptor(self) -> int:
        """Of its socket."""
        connection: socket.socket = self._writer.get_extra_info("socket")
        return connection.fileno()

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def flood(self, data: bytes) -> int:
        """Write this again and again, until the connection ends; how many octets the other side or the kernel took."""
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while not self._writer.is_closing():
                await self.write(data)
                taken += len(data)
                await asyncio.sleep(0)
        return taken

    async def read_frame(self) -> tuple[int, bytes]:
        """Opcode and unmasked payload of the link's next frame.

        :raise asyncio.IncompleteReadError: if the connection has ended.
        """
        first, second = await self._reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await self._reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self._reader.readexactly(8))
        mask = await self._reader.readexactly(4)
        payload = await self._reader.readexactly(length)
        return first & 0xF, bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))

    async def read_until(self, opcode: int) -> bytes:
        """The payload of the link's next frame of this kind."""
        while True:
            kind, payload = await self.read_frame()
            if kind == opcode:
                return payload

    async def read_some(self) -> bytes:
        """Whatever comes first."""
        return await self._reader.read(65536)

    async def ended(self) -> None:
        """Read to the connection's end."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(65536):
                pass

    def reset(self) -> None:
        """End the connection by RST, whatever waits."""
        connection: socket.socket = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class RawAgent:
    """Listens on loopback and hands connections to a script.

    :ivar connections: how many came.
    :ivar open: how many have not ended yet.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self.connections = 0
        self.open = 0

    async def start(self, tls: ssl.SSLContext | None = None) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=tls)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening and end every script."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def all_ended(self) -> None:
        """Wait until each connection that came was ended by the other side or its script."""
        while self.open:
            self._ended.clear()
            await self._ended.wait()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            # Cancelled by stop() alone; the streams of asyncio would complain if it came out of here.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._script(Peer(reader, writer))
        finally:
            self._tasks.discard(task)
            self.open -= 1
            self._ended.set()
            writer.close()
