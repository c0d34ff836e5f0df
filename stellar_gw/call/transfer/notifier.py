"""What somebody who has sent us elsewhere by REFER is told of it: NOTIFYs, one after the other (RFC 3515 2.4)."""

from __future__ import annotations

from stellar_gw.call.usages import Usages
from stellar_gw.sip.events import ResponseReceived, UsageId
from stellar_gw.sip.refer import SIPFRAG, notify_headers, sipfrag

EXPIRES = 180
"""Seconds that a subscription may last: longer than any target rings."""
SIPFRAG_TYPE = f"{SIPFRAG};version=2.0"
DONE = "terminated;reason=noresource"


class Notifier:
    """One subscription. The next NOTIFY waits for the answer to the last, so that none overtakes another.

    :param event_id: of the REFER, where it is not the first in its dialog.
    """

    def __init__(self, usages: Usages, usage: UsageId, event_id: int | None) -> None:
        self._usages, self._usage, self._event_id = usages, usage, event_id
        self._waiting: tuple[int, str] | None = None
        self._out = self._over = False
        self._last = 0

    def tell(self, status: int, phrase: str = "") -> None:
        """How far our INVITE has come; a final status ends the subscription."""
        if not self._over and (status != self._last or status >= 200):
            self._last = status
            self._waiting = (status, phrase)
            self._next()

    def end(self) -> None:
        """Nothing more can be told: the dialog is over."""
        self._over = True

    def _next(self) -> None:
        if self._out or self._waiting is None or self._over:
            return
        (status, phrase), self._waiting = self._waiting, None
        self._out, self._over = True, status >= 200
        state = DONE if self._over else f"active;expires={EXPIRES}"
        headers, body = notify_headers(state, self._event_id), sipfrag(status, phrase)
        self._usages.ask(self._usage, "NOTIFY", self._answered, headers, body, SIPFRAG_TYPE)

    def _answered(self, event: ResponseReceived) -> None:
        self._out = False
        if event.response is None or event.response.status >= 300:
            self._over = True  # nobody listens (RFC 6665 4.2.2)
        self._next()
