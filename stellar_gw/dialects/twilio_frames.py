"""What a Media Streams agent may send, as msgspec reads it: text in, one of three structs out.

A file of its own, because structs that are told apart by a tag cannot be compiled (:mod:`stellar_gw.compiled`), and
what is done with them can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec


class Payload(msgspec.Struct, frozen=True):
    payload: bytes
    """msgspec reads it from base64 (RFC 4648 section 4) and refuses anything else."""


class Name(msgspec.Struct, frozen=True):
    name: str


class MediaIn(msgspec.Struct, frozen=True, tag_field="event", tag="media"):
    stream_sid: str = msgspec.field(name="streamSid")
    media: Payload


class MarkIn(msgspec.Struct, frozen=True, tag_field="event", tag="mark"):
    stream_sid: str = msgspec.field(name="streamSid")
    mark: Name


class ClearIn(msgspec.Struct, frozen=True, tag_field="event", tag="clear"):
    stream_sid: str = msgspec.field(name="streamSid")


FromAgent = MediaIn | MarkIn | ClearIn
decode: Final[Callable[[str], FromAgent]] = msgspec.json.Decoder(FromAgent).decode
