"""What a media worker and the helper of the kernel fast path say to each other, over a UNIX socket of the helper's.

Frames are msgpack documents behind four octets of length, as on the control channel. A worker asks, and gets one reply
to each request, in their order; :class:`Counts` comes every second besides. What a connection has asked for ends
with it.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from stellar_gw.control.envelope import Address, Message, Reply, Request
from stellar_gw.errors import StellarError

VERSION = 1
MAX_FRAME = 64 << 10
"""Octets; a longer frame ends the connection."""
COUNTED = 500
"""Bridges in one :class:`Counts` at most."""
OVERHEAD = 20 + 8 + 12
"""Octets of an IP packet that are no audio: its header, UDP's and RTP's."""


class Welcome(Message, frozen=True, kw_only=True):
    """The helper's first frame.

    :ivar ports: the first port that it touches, and the one after the last.
    """

    version: int
    ports: tuple[int, int]


class FastLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a bridge.

    :ivar local: our IPv4 address as the leg's packets name it, and the leg's RTP port.
    :ivar remote: where the peer's packets come from, and ours go to.
    """

    local: Address
    remote: Address


class OpenBridge(Request, frozen=True, kw_only=True):
    """Have the kernel pass packets of one payload type on between two legs. Answered by :class:`Opened`, or Refused.

    :ivar bridge: a number of the worker's own choice, not in use.
    """

    bridge: int
    payload_type: int
    legs: tuple[FastLeg, FastLeg]


class CloseBridge(Request, frozen=True, kw_only=True):
    """No packets any more. Answered by :class:`Closed` once that is so, or Refused where there is no such bridge."""

    bridge: int


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """What the kernel has done for one leg, all in all.

    :ivar received, received_octets: packets from the leg's peer, and the octets of those IP packets.
    :ivar sent, sent_octets: the same that went to it.
    """

    received: int = 0
    received_octets: int = 0
    sent: int = 0
    sent_octets: int = 0


class Opened(Reply, frozen=True, kw_only=True):
    bridge: int


class Closed(Reply, frozen=True, kw_only=True):
    """:ivar legs: the last word, in the request's order."""

    bridge: int
    legs: tuple[Tally, Tally]


class Refused(Reply, frozen=True, kw_only=True):
    """Nothing has changed.

    :ivar reason: one line for the log.
    """

    bridge: int
    reason: str


class Counts(Message, frozen=True, kw_only=True):
    """Bridge and tallies, of all bridges of the connection, in several of these where there are many."""

    bridges: tuple[tuple[int, Tally, Tally], ...]


ToHelper = OpenBridge | CloseBridge
FromHelper = Welcome | Opened | Closed | Refused | Counts
Directed = TypeVar("Directed", ToHelper, FromHelper)


class FastPathFrameError(StellarError):
    """A frame that is no message of its direction."""


_encoder = msgspec.msgpack.Encoder()
_to_helper: msgspec.msgpack.Decoder[ToHelper] = msgspec.msgpack.Decoder(ToHelper)
_from_helper: msgspec.msgpack.Decoder[FromHelper] = msgspec.msgpack.Decoder(FromHelper)


def encode_frame(message: Message) -> bytes:
    """A message with its length before it."""
    frame = _encoder.encode(message)
    return len(frame).to_bytes(4, "big") + frame


def decode_for_helper(frame: bytes) -> ToHelper:
    """:raise FastPathFrameError: if the frame is no request."""
    return _decode(_to_helper, frame)


def decode_from_helper(frame: bytes) -> FromHelper:
    """:raise FastPathFrameError: if the frame is no message of the helper's."""
    return _decode(_from_helper, frame)


def _decode(decoder: msgspec.msgpack.Decoder[Directed], frame: bytes) -> Directed:
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, ValueError, RecursionError) as reason:
        raise FastPathFrameError(f"no message of the fast path: {reason}") from None
