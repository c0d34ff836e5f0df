"""Messages out of frames (RFC 6455 5.4, 5.5.1, 8.1), bounded; no I/O."""

from __future__ import annotations

from typing import Final

from stellar_gw.dialects.contract import Frame
from stellar_gw.errors import StellarError

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2


class BrokenMessage(StellarError):
    """The agent broke a rule of RFC 6455.

    :ivar close_code: what it is told (RFC 6455 7.4.1): 1002, 1007 or 1009.
    """

    def __init__(self, rule: str, close_code: int = 1002) -> None:
        super().__init__(rule)
        self.close_code = close_code


class Assembly:
    """Puts one direction's fragments together.

    :param limit: octets of a message's payload, its fragments together.
    :ivar under_way: fragments of a message have come, and more have to.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._opcode = CONTINUATION
        self._fragments = bytearray()
        self.under_way = False

    def add(self, opcode: int, fin: bool, payload: bytes) -> Frame | None:
        """The message that this data frame completes; None where more has to come.

        :raise BrokenMessage: for fragments out of order, too much, or text that is no UTF-8.
        """
        if opcode == CONTINUATION:
            if self._opcode == CONTINUATION:
                raise BrokenMessage("a continuation of nothing (RFC 6455 5.4)")
        elif self._opcode != CONTINUATION:
            raise BrokenMessage("a new message inside another (RFC 6455 5.4)")
        if len(self._fragments) + len(payload) > self._limit:
            raise BrokenMessage(f"a message of more than {self._limit} octets", 1009)
        if not fin:
            self._opcode = opcode or self._opcode
            self.under_way = True
            self._fragments += payload
            return None
        if opcode == CONTINUATION:
            opcode, self._opcode, self.under_way = self._opcode, CONTINUATION, False
            payload = bytes(self._fragments + payload)
            self._fragments = bytearray()
        return payload if opcode == BINARY else _text(payload)


def close_frame(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame; 1005 where it has none (RFC 6455 7.1.5).

    :raise BrokenMessage: for a code that must not be sent, or a reason that is no UTF-8.
    """
    if not payload:
        return 1005, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise BrokenMessage("a close frame with a code that must not be sent (RFC 6455 7.4)")
    return code, _text(payload[2:])


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise BrokenMessage("text that is not UTF-8 (RFC 6455 8.1)", 1007) from None
