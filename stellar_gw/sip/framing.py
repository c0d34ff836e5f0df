"""Messages out of a stream: TCP and TLS (RFC 3261 18.3, RFC 5626 4.4.1)."""

from __future__ import annotations

import re

from attrs import frozen

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.grammar import MAX_MESSAGE
from stellar_gw.sip.parser import MalformedMessage, content_length
from stellar_gw.sip.salvage import salvage


@frozen
class Ping:
    """The second CRLF of a double one: one CRLF is due in answer, at once (RFC 5626 4.4.1)."""


@frozen
class Pong:
    """A CRLF between messages that is no ping, or not yet: the answer to a ping of ours, if we sent one."""


_PING, _PONG = Ping(), Pong()

PING = b"\r\n\r\n"
"""What a client sends to keep a flow alive."""
PONG = b"\r\n"

Framed = bytes | Ping | Pong | MalformedMessage

# The same reading as the parser's: a name at the start of a line, white space before the colon, continuation
# lines. The parser looks at every length again, and refuses a message that is not exactly as long.
_length_lines = re.compile(
    rb"\r\n(?:[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]|[Ll])[ \t]*+:((?:[^\r\n]++|\r\n[ \t])*)"
).findall
_fold = re.compile(rb"\r\n[ \t]+")
_may_begin = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]").match


class StreamFramer:
    """Cuts a stream into messages, whatever the chunks it comes in.

    Memory is bounded: what is kept is one message that has begun, at most 64 KiB of it.

    After an error the stream has no structure any more: it is to be answered, if ``salvage`` is there, and
    closed; everything fed later is ignored.
    """

    def __init__(self) -> None:
        self.messages = 0
        """How many whole messages have come."""
        self._buffer = bytearray()
        self._searched = 0
        self._wanted = 0  # octets of the message that has begun, once its head is there
        self._breaks = 0  # CRLFs since the last message
        self._broken = False

    @property
    def partial(self) -> bool:
        """Whether a message has begun that is not whole yet."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[Framed]:
        """Take a chunk.

        :return: what became whole by it, in order; a :exc:`MalformedMessage` is the last there ever is.
        """
        if self._broken:
            return []
        self._buffer += data
        framed: list[Framed] = []
        try:
            while (item := self._next()) is not None:
                framed.append(item)
        except MalformedMessage as error:
            self._broken = True
            self._buffer.clear()
            framed.append(error)
        return framed

    def _next(self) -> Framed | None:
        """
        :raise MalformedMessage: nothing that follows can be understood.
        """
        if not self._wanted:
            if self._buffer[:2] == b"\r\n":
                del self._buffer[:2]
                self._breaks += 1
                return _PONG if self._breaks % 2 else _PING
            if not self._head_is_there():
                return None
        if len(self._buffer) < self._wanted:
            return None
        message = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        self._wanted = self._searched = self._breaks = 0
        self.messages += 1
        return message

    def _head_is_there(self) -> bool:
        """Look for the end of the headers, and set how long the message is.

        :raise MalformedMessage: no message begins here, or its length cannot be known or is over the limit.
        """
        buffer = self._buffer
        if not buffer or buffer == b"\r":
            return False
        if not _may_begin(buffer):
            raise MalformedMessage("not SIP")
        end = buffer.find(b"\r\n\r\n", self._searched, MAX_MESSAGE)
        if end < 0:
            if len(buffer) >= MAX_MESSAGE:
                raise MalformedMessage(f"more than {MAX_MESSAGE} octets", 513, salvage(bytes(buffer)))
            self._searched = max(0, len(buffer) - 3)
            return False
        head = bytes(buffer[:end])
        try:
            length = content_length([_value(line) for line in _length_lines(head)])
            if length is None:
                raise RemoteProtocolError("Content-Length: missing on a stream")
            if end + 4 + length > MAX_MESSAGE:
                raise RemoteProtocolError(f"more than {MAX_MESSAGE} octets", 513)
        except RemoteProtocolError as error:
            raise MalformedMessage(error.reason, error.status, salvage(head)) from None
        self._wanted = end + 4 + length
        return True


def _value(line: bytes) -> str:
    return _fold.sub(b" ", line).decode("ascii", "replace").strip(" \t")
