"""A request of ours that its peer wants otherwise is sent again: with credentials (RFC 3261 22.2), or for longer."""

from __future__ import annotations

from stellar_gw.sip.message import Response
from stellar_gw.sip.refreshing import Refresher
from stellar_gw.sip.sender import Sender
from stellar_gw.sip.usage import Sending

MAX_RENEWALS = 3  # new nonces for one request


class Reattempter:
    """Judges what asks for another attempt, and makes it."""

    def __init__(self, sender: Sender, refresher: Refresher) -> None:
        self._sender, self._refresher = sender, refresher

    def takes(self, sending: Sending, response: Response) -> bool:
        """Whether a final response wants nothing but credentials, or a longer interval, and gets them."""
        return self._takes_challenge(sending, response) or self._refresher.takes_interval(sending, response)

    def _takes_challenge(self, sending: Sending, response: Response) -> bool:
        """Whether a 401 or 407 can be answered: once for each request, besides new nonces for stale ones."""
        if sending.credentials is None:
            return False
        found = sending.credentials.answerable(response)
        if found is None:
            return False
        if sending.challenged:
            sending.renewals += 1
            if not found[1].stale or sending.renewals > MAX_RENEWALS:
                return False
        sending.challenge, sending.challenged = found, True
        return True

    def send(self, sending: Sending) -> None:
        """The next attempt: the same Call-ID and tags, the next CSeq (22.2)."""
        sending.transaction = None
        if sending.dialog is not None:
            self._sender.inside(sending, sending.dialog)
        else:
            sending.sequence += 1
            self._sender.transmit(sending)
