"""Reliable provisional responses (RFC 3262): RSeq, RAck, and which of them may be taken."""

from __future__ import annotations

import re

from attrs import define, frozen

from stellar_gw.sip.message import Request, Response

TAG = "100rel"
MOST = 2**31 - 1
"""Of an RSeq (RFC 3262 7.1)."""

_RACK = re.compile(r"[ \t]*([0-9]{1,10})[ \t]+([0-9]{1,10})[ \t]+([A-Za-z]{1,20})[ \t]*")
_RSEQ = re.compile(r"[ \t]*([0-9]{1,10})[ \t]*")


@frozen
class RAck:
    """Which provisional response a PRACK acknowledges."""

    response: int
    sequence: int
    method: str

    def __str__(self) -> str:
        return f"{self.response} {self.sequence} {self.method}"


def rack_of(prack: Request) -> RAck | None:
    """None where there is none that makes sense."""
    match = _RACK.fullmatch(prack.headers.first("RAck") or "")
    return None if match is None else RAck(int(match[1]), int(match[2]), match[3].upper())


def rseq_of(response: Response) -> int | None:
    """The number of a reliable provisional response; None for one that is not."""
    if not 100 < response.status < 200 or TAG not in (each.lower() for each in response.require):
        return None
    match = _RSEQ.fullmatch(response.headers.first("RSeq") or "")
    number = int(match[1]) if match is not None else 0
    return number if 0 < number <= MOST else None


def demanded_by(invite: Request) -> bool:
    """Whether a peer takes no other provisional responses than reliable ones."""
    return TAG in (each.lower() for each in invite.require)


def understood_by(invite: Request) -> bool:
    """Whether a peer takes reliable ones too."""
    return demanded_by(invite) or TAG in (each.lower() for each in invite.supported)


@define
class Received:
    """Those of one early dialog: each is taken once, and in order (RFC 3262 4)."""

    last: int = 0

    def takes(self, number: int) -> bool:
        """Whether it is the next; the first may have any number."""
        if self.last and number != self.last + 1:
            return False
        self.last = number
        return True
