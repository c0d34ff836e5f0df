"""What every message between the gateway and a worker is made of."""

from __future__ import annotations

import msgspec

VERSION = 1
MAX_FRAME = 1 << 20
"""Octets; a longer frame ends the channel."""

Address = tuple[str, int]


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The base of all messages."""


class Request(Message, frozen=True, kw_only=True):
    """Gateway to worker; answered by exactly one :class:`Reply` with the same ``request``."""

    request: int


class Reply(Message, frozen=True, kw_only=True):
    request: int


class Event(Message, frozen=True, kw_only=True):
    """Worker to gateway, unasked."""

    generation: int


class Secret(msgspec.Struct, frozen=True):
    """A header or URL that must never be shown: its repr is empty."""

    value: str

    def __repr__(self) -> str:
        return "Secret(...)"
