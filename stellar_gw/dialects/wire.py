"""JSON as the dialects write and blame it."""

from __future__ import annotations

from typing import Final

import msgspec

MAX_REASON: Final = 200

_encoder = msgspec.json.Encoder()


def encode(message: object) -> str:
    """One JSON text message, without white space."""
    return _encoder.encode(message).decode()


def reason(error: Exception) -> str:
    """An error as one printable line: it may quote what the agent sent."""
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    return one_line(str(error))


def one_line(text: str) -> str:
    """What the agent sent, cut and printable."""
    text = text[:MAX_REASON].encode("ascii", "backslashreplace").decode("ascii")
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)
