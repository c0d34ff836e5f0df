"""Digits by SIP INFO (RFC 6086 calls it legacy usage): what a request says, and what it is answered with.

Two bodies are in use, neither with a standard of its own: ``application/dtmf-relay`` (``Signal=5`` and
``Duration=160``, a line each) and ``application/dtmf`` (the digit alone).
"""

from __future__ import annotations

import re

from attrs import frozen

from stellar_gw.sip.body import is_optional
from stellar_gw.sip.message import Request

DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"
ACCEPT = ("Accept", f"{DTMF_RELAY}, {DTMF}")
RECV_INFO = ("Recv-Info", "")
"""We want no Info Package (RFC 6086 5.2.3)."""

DEFAULT_MS = 160
"""How long a press lasted that does not say so."""
MAX_MS = 60_000
_MAX_OCTETS = 1024

_signal = re.compile(rb"^[ \t]*signal[ \t]*=([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_duration = re.compile(rb"^[ \t]*duration[ \t]*=[ \t]*([0-9]{1,9})", re.IGNORECASE | re.MULTILINE)

_DIGITS = {digit.encode(): digit for digit in "0123456789*#ABCD"}
# Some write the event code of RFC 4733 3.2 instead of the key.
_DIGITS |= {str(10 + place).encode(): digit for place, digit in enumerate("*#ABCD")}
_FLASH = (b"16", b"!", b"FLASH", b"HF")


@frozen
class Info:
    """How an INFO is answered, and the press that it tells.

    :ivar reason: the reason phrase; empty for the usual one.
    :ivar digit: empty where none was pressed.
    """

    status: int
    reason: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    digit: str = ""
    duration_ms: int = 0


def read_info(request: Request) -> Info:
    """Read an INFO inside a dialog; never raises.

    An Info Package gets 469 (RFC 6086 4.2.2), a body of another type 415; one without a body is accepted, as some
    send it to see whether we are there, and so is a hook flash, which means nothing to us.
    """
    if request.headers.first("Info-Package") is not None:
        return Info(469, headers=(RECV_INFO,))
    if not request.body:
        return Info(200)
    media = (request.headers.first("Content-Type") or "").partition(";")[0].strip(" \t").lower()
    if media not in (DTMF_RELAY, DTMF):
        return Info(200) if is_optional(request) else Info(415, headers=(ACCEPT,))
    body = request.body[:_MAX_OCTETS]
    key = _key(body, media)
    if key in _FLASH:
        return Info(200)
    digit = _DIGITS.get(key)
    if digit is None:
        return Info(400, "The body names no digit")
    length = _duration.search(body)
    duration = DEFAULT_MS if length is None else min(int(length[1]), MAX_MS)
    return Info(200, digit=digit, duration_ms=duration)


def _key(body: bytes, media: str) -> bytes:
    """What was pressed, in capitals; some send one type's text under the other's name."""
    found = _signal.search(body)
    if found is not None:
        return found[1].strip().upper()
    return body.strip(b" \t\r\n\0").upper() if media == DTMF else b""
