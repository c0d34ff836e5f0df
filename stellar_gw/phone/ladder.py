"""The ladder: each SIP message of a call as one line, as it happens."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import define, frozen

from stellar_gw.sip.flow import Flow, address_text

_CSEQ = re.compile(rb"\r\ncseq[ \t]*:[ \t]*[0-9]{1,10}[ \t]+([A-Za-z]{1,32})", re.IGNORECASE)
_CALL_ID = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]{1,256})", re.IGNORECASE)
_MOST_START_LINE = 100
_RESET = "\x1b[0m"
_COLOURS = {"request": "\x1b[36m", "1": "\x1b[33m", "2": "\x1b[32m", "3": "\x1b[35m"}
_FAILED = "\x1b[31m"


@frozen(kw_only=True)
class Rung:
    """One SIP message.

    :ivar at_ms: since the call began.
    :ivar sent: by us.
    :ivar start_line: printable; a response's is followed by the method it answers.
    :ivar octets: of the whole message.
    """

    at_ms: float
    sent: bool
    transport: str
    remote: str
    start_line: str
    octets: int

    def text(self, colour: bool = False) -> str:
        """Time, arrow, start line, size."""
        arrow = "-->" if self.sent else "<--"
        line = self.start_line
        if colour:
            kind = line[8:9] if line.startswith("SIP/2.0 ") else "request"
            line = f"{_COLOURS.get(kind, _FAILED)}{line}{_RESET}"
        return f"{self.at_ms / 1000:8.3f} s {arrow} {line}  ({self.octets} octets)"


def rung(packet: bytes, flow: Flow, *, sent: bool, at_ms: float) -> Rung:
    """Read the line of one message from its octets; what peers put there is made printable and cut."""
    first = packet[:4096].partition(b"\r\n")[0].decode("utf-8", "replace")
    first = "".join(character if character.isprintable() else "?" for character in first)[:_MOST_START_LINE]
    method = _CSEQ.search(packet[:4096])
    if first.startswith("SIP/2.0 ") and method is not None:
        first += f" [{method[1].decode()}]"
    return Rung(
        at_ms=at_ms,
        sent=sent,
        transport=flow.transport,
        remote=address_text(flow.remote),
        start_line=first,
        octets=len(packet),
    )


def call_id_in(packet: bytes) -> str:
    """The Call-ID of a message that has not been parsed; empty where there is none."""
    match = _CALL_ID.search(packet[:4096])
    return match[1].strip().decode("utf-8", "replace") if match else ""


@define
class LadderPrinter:
    """Print rungs as they come.

    :ivar write: takes a line without its end.
    """

    write: Callable[[str], None]
    colour: bool = False

    def __call__(self, rung: Rung) -> None:
        self.write(rung.text(self.colour))
