"""The helper's socket: who may ask, and what becomes of those who do not behave."""

from __future__ import annotations

import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Container
from pathlib import Path

from stellar_gw.control.envelope import Message
from stellar_gw.control.fastpath import (
    COUNTED,
    MAX_FRAME,
    VERSION,
    Closed,
    Counts,
    FastPathFrameError,
    OpenBridge,
    Opened,
    Refused,
    Tally,
    ToHelper,
    Welcome,
    decode_for_helper,
    encode_frame,
)
from stellar_gw.errors import StellarError
from stellar_gw.fastpath.bridges import Bridges, RefusedError

POLL = 1.0
"""Seconds between two :class:`Counts`."""
CONNECTIONS = 256
UNREAD = 4 << 20
"""Octets that a connection may leave unread before it is cut."""
_CREDENTIALS = struct.Struct("3i")


class Connection:
    """One worker's."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._received = b""
        self._unsent = b""

    def receive(self) -> list[ToHelper] | None:
        """What it asks; None where it has gone, or sends what cannot be read."""
        try:
            octets = self.socket.recv(MAX_FRAME)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not octets:
            return None
        self._received += octets
        asked: list[ToHelper] = []
        while len(self._received) >= 4:
            length = int.from_bytes(self._received[:4], "big")
            if length > MAX_FRAME:
                return None
            if len(self._received) < 4 + length:
                break
            frame, self._received = self._received[4 : 4 + length], self._received[4 + length :]
            try:
                asked.append(decode_for_helper(frame))
            except FastPathFrameError:
                return None
        return asked

    def send(self, message: Message) -> bool:
        """False where it does not read, or has gone."""
        self._unsent += encode_frame(message)
        return self.flush()

    @property
    def waits(self) -> bool:
        """Something is left to send."""
        return bool(self._unsent)

    def flush(self) -> bool:
        try:
            while self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return len(self._unsent) <= UNREAD
        except OSError:
            return False
        return True


class Server:
    """
    :param ports: for :class:`Welcome`.
    :param users: numbers of the users whose processes may ask.
    :param log: takes one line.
    :raise StellarError: if the socket cannot be had.
    """

    def __init__(
        self, path: str, bridges: Bridges, ports: tuple[int, int], users: Container[int], log: Callable[[str], None]
    ) -> None:
        self._bridges = bridges
        self._ports = ports
        self._users = users
        self._log = log
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._listening = _listen(path)
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        self._poll_at = 0.0

    def close(self) -> None:
        for connection in tuple(self._connections):
            self._end(connection, "the helper ends")
        self._selector.close()
        self._listening.close()

    def turn(self) -> None:
        """Wait for something to do, a second at most, and do it."""
        now = time.monotonic()
        if now >= self._poll_at:
            self._poll_at = now + POLL
            self._tell()
        for key, events in self._selector.select(max(0.0, self._poll_at - now)):
            if key.data is None:
                self._accept()
            elif key.data in self._connections:
                if events & selectors.EVENT_WRITE and not key.data.flush():
                    self._end(key.data, "it cannot be written to")
                elif events & selectors.EVENT_READ:
                    self._hear(key.data)
                self._watch(key.data)

    def _accept(self) -> None:
        try:
            sock, _ = self._listening.accept()
        except OSError:
            return
        sock.setblocking(False)
        pid, user, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        if user not in self._users or len(self._connections) >= CONNECTIONS:
            why = "too many connections" if user in self._users else f"user {user} may not ask"
            self._log(f"process {pid} is turned away: {why}")
            sock.close()
            return
        connection = Connection(sock)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)
        self._send(connection, Welcome(version=VERSION, ports=self._ports))

    def _hear(self, connection: Connection) -> None:
        asked = connection.receive()
        if asked is None:
            self._end(connection, "it is gone, or sent what is no request")
            return
        for request in asked:
            if connection in self._connections:
                self._send(connection, self._answer(connection, request))

    def _answer(self, connection: Connection, request: ToHelper) -> Message:
        number = request.bridge
        try:
            if isinstance(request, OpenBridge):
                self._bridges.open(connection, request)
                return Opened(request=request.request, bridge=number)
            return Closed(request=request.request, bridge=number, legs=self._bridges.close(connection, number))
        except RefusedError as reason:
            return Refused(request=request.request, bridge=number, reason=str(reason))

    def _tell(self) -> None:
        counts: dict[object, list[tuple[int, Tally, Tally]]] = {}
        for owner, number, one, two in self._bridges.tallies():
            counts.setdefault(owner, []).append((number, one, two))
        for connection in tuple(self._connections):
            known = counts.get(connection, [])
            for start in range(0, len(known), COUNTED):
                self._send(connection, Counts(bridges=tuple(known[start : start + COUNTED])))

    def _send(self, connection: Connection, message: Message) -> None:
        if connection in self._connections and not connection.send(message):
            self._end(connection, "it does not read, or is gone")
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        if connection in self._connections:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.waits else 0)
            self._selector.modify(connection.socket, events, connection)

    def _end(self, connection: Connection, why: str) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        before = len(self._bridges)
        self._bridges.forget(connection)
        dropped = before - len(self._bridges)
        if dropped:
            self._log(f"a worker's connection ends ({why}): the rules of {dropped} bridges are gone")


def _listen(path: str) -> socket.socket:
    """:raise StellarError: if it cannot be."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    listening.setblocking(False)
    try:
        # The table has one owner, so that no other helper can be there any more.
        Path(path).unlink(missing_ok=True)
        before = os.umask(0o117)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        listening.listen(64)
    except OSError as reason:
        listening.close()
        raise StellarError(f"the socket {path} cannot be made: {reason.strerror or reason}") from None
    return listening
