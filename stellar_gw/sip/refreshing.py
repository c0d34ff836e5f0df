"""Our side of session timers while a session is up (RFC 4028 7.2, 7.3, 7.4, 10); the values are in session_timer.py."""

from __future__ import annotations

from stellar_gw.sip.dialog import refresh
from stellar_gw.sip.events import RefreshDue
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Response
from stellar_gw.sip.sender import Sender
from stellar_gw.sip.session_timer import SessionTerms, after_422, settle_as_uac
from stellar_gw.sip.usage import Refresh, Sending, Usage
from stellar_gw.sip.usages import Usages
from stellar_gw.sip.wire import Wire

MAX_LENGTHENED = 3  # longer intervals for one request
_AGAIN = (408, 481, 491, 500)  # the dialog is gone, or busy: no reason to try another way


class Refresher:
    """Refreshes sessions, by UPDATE where the peer takes it, else by a re-INVITE of the floor above.

    :param terms: None: no session timers.
    """

    def __init__(self, wire: Wire, usages: Usages, terms: SessionTerms | None, sender: Sender) -> None:
        self._wire, self._usages, self._terms, self._sender = wire, usages, terms, sender
        usages.perform[Refresh] = self._refresh

    def settle(self, usage: Usage, response: Response) -> None:
        """A 2xx to an INVITE, re-INVITE or UPDATE of ours."""
        usage.note_allow(response)
        if self._terms is not None:
            self._usages.time_session(usage, settle_as_uac(response, usage.session))

    def takes_interval(self, sending: Sending, response: Response) -> bool:
        """Whether a 422 can be answered by asking for a longer interval."""
        usage = sending.usage
        if response.status != 422 or usage is None or self._terms is None or sending.lengthened >= MAX_LENGTHENED:
            return False
        longer = after_422(response, usage.session, self._terms)
        if longer is None:
            return False
        usage.session = longer
        sending.lengthened += 1
        return True

    def _refresh(self, usage: Usage, _: Refresh) -> None:
        session = usage.session
        if session is None:
            return
        self._usages.start(usage, "refresh_due", max(10.0, session.interval / 10))  # again, if nothing comes of it
        if usage.updates:
            self._send_update(usage)
        else:
            self._wire.events.append(RefreshDue(usage.id))

    def _send_update(self, usage: Usage) -> None:
        if usage.dialog is not None:
            update = usage.sending(usage.dialog, "UPDATE", Headers())
            update.refreshes = True
            self._sender.inside(update, usage.dialog)

    def refreshed(self, usage: Usage, response: Response | None) -> None:
        """What became of our UPDATE."""
        if response is None or usage.dialog is None or usage.ended:
            return
        if 200 <= response.status < 300:
            refresh(usage.dialog, response)
            self.settle(usage, response)
        elif response.status not in _AGAIN:
            usage.updates = False
            self._wire.events.append(RefreshDue(usage.id))
