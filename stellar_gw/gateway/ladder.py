"""The SIP messages of recent calls, one line each, so that a refusal or a record can show what was said."""

from __future__ import annotations

import re
from collections import OrderedDict

from attrs import define, field

from stellar_gw.sip.flow import Flow, address_text

_CALL_ID = re.compile(rb"\r\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]{1,256})", re.IGNORECASE)
_MOST_LINES = 64
_MOST_FIRST_LINE = 160


@define
class _Ladder:
    began: float
    lines: list[str]
    dropped: int = 0


@define
class Ladders:
    """The ladders of the last ``most`` Call-IDs; a Call-ID's first ``_MOST_LINES`` messages are kept.

    Only first lines are kept: no header, so no credentials and no keys.
    """

    most: int = 2000
    _ladders: OrderedDict[str, _Ladder] = field(factory=OrderedDict, init=False)

    def note(self, data: bytes, flow: Flow, *, received: bool, now: float) -> None:
        """Keep one message; ``now`` in seconds of the reactor's clock."""
        head = data[:4096]
        match = _CALL_ID.search(head)
        if match is None:
            return
        call_id = match[1].strip().decode("utf-8", "replace")
        ladder = self._ladders.get(call_id)
        if ladder is None:
            ladder = self._ladders[call_id] = _Ladder(now, [])
            if len(self._ladders) > self.most:
                self._ladders.popitem(last=False)
        if len(ladder.lines) >= _MOST_LINES:
            ladder.dropped += 1
            return
        first = head.partition(b"\r\n")[0][:_MOST_FIRST_LINE].decode("utf-8", "replace")
        if not first.isprintable():
            first = "".join(character if character.isprintable() else "?" for character in first)
        arrow = "<-" if received else "->"
        ladder.lines.append(f"{now - ladder.began:8.3f} {arrow} {flow.transport} {address_text(flow.remote)} {first}")

    def lines(self, call_id: str) -> tuple[str, ...]:
        ladder = self._ladders.get(call_id)
        if ladder is None:
            return ()
        more = (f"({ladder.dropped} more)",) if ladder.dropped else ()
        return (*ladder.lines, *more)
