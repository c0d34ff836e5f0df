"""The half of the core that asks: our requests, and what peers answer (RFC 3261 8.1, 12.2.1).

What becomes of an INVITE is ``inviting.py``; when a request is sent once more, ``reattempting.py``.
"""

from __future__ import annotations

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.acknowledging import Acknowledger
from stellar_gw.sip.checks import Besides, Capabilities
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.dialog import way
from stellar_gw.sip.events import ResponseReceived, Token
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.inviting import GONE, Inviter
from stellar_gw.sip.message import Response
from stellar_gw.sip.names import Names
from stellar_gw.sip.reattempting import Reattempter
from stellar_gw.sip.refreshing import Refresher
from stellar_gw.sip.sender import Sender
from stellar_gw.sip.timers import Timers
from stellar_gw.sip.transactions.layer import TransactionLayer
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.usage import Sending, Usage
from stellar_gw.sip.usages import Usages
from stellar_gw.sip.values import NameAddr
from stellar_gw.sip.wire import Wire
from stellar_gw.sip.writing import RequestWriter

# They open or close a usage of their own inside the dialog, and what they come to is that usage's affair.
OTHER_USAGES = ("REFER", "SUBSCRIBE", "NOTIFY")


class Uac:
    """Sends requests, and follows each to its end."""

    def __init__(
        self,
        wire: Wire,
        layer: TransactionLayer,
        usages: Usages,
        names: Names,
        timers: Timers,
        able: Capabilities,
        user_agent: str,
    ) -> None:
        self._wire, self._layer, self._usages, self._names, self._timers = wire, layer, usages, names, timers
        self._able = able
        writer = RequestWriter(names, able, user_agent)
        self._sender = Sender(wire, layer, usages, writer, self)
        self._refresher = Refresher(wire, usages, able.session, self._sender)
        self._reattempter = Reattempter(self._sender, self._refresher)
        acknowledger = Acknowledger(wire, writer, self._sender)
        self._inviter = Inviter(layer, usages, self._sender, acknowledger, self._refresher, self._reattempter)

    # Requests outside any dialog

    def invite(
        self,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: Headers,
        body: bytes,
        route: tuple[NameAddr, ...],
        credentials: ClientCredentials | None,
        call_id: str | None,
        sequence: int,
        besides: Besides,
    ) -> Usage:
        """Begin a usage with an INVITE."""
        usage = Usage(
            id=self._names.tag(),
            contact_user=self._names.tag(),
            able=self._able.and_(besides),
            cancel_patience=self._timers.timeout,
        )
        usage.sips = getattr(uri, "scheme", "") == "sips"
        sending = self._outside(
            "INVITE",
            uri,
            flow,
            from_=from_,
            to=to,
            headers=headers,
            body=body,
            route=route,
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
        )
        sending.usage, sending.contact_user = usage, usage.contact_user
        usage.initial = usage.calling = sending
        usage.credentials = sending.credentials
        self._usages.add(usage, called=False)
        self._sender.transmit(sending)
        return usage

    def request(
        self,
        method: str,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: Headers,
        body: bytes,
        credentials: ClientCredentials | None,
        call_id: str | None,
        sequence: int,
    ) -> Token:
        """Send a request that makes no dialog."""
        sending = self._outside(
            method,
            uri,
            flow,
            from_=from_,
            to=to,
            headers=headers,
            body=body,
            route=(),
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
        )
        sending.token = token = self._wire.token()
        self._sender.transmit(sending)
        return token

    def _outside(
        self,
        method: str,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: Headers,
        body: bytes,
        route: tuple[NameAddr, ...],
        credentials: ClientCredentials | None,
        call_id: str | None,
        sequence: int,
    ) -> Sending:
        self._names.listener(flow)
        next_hop = way(uri, route)[2]
        return Sending(
            method=method,
            uri=uri,
            route_set=route,
            flow=flow,
            to=to,
            headers=headers,
            body=body,
            from_=from_ if from_.tag else from_.with_tag(self._names.tag()),
            call_id=call_id or self._names.call_id(),
            sequence=sequence,
            contact_user=self._names.tag(),
            credentials=credentials if credentials is not None and credentials.are_for(next_hop) else None,
        )

    # Requests inside a dialog

    def request_in(self, usage: Usage, method: str, headers: Headers, body: bytes) -> Token:
        """Send a request inside the usage's dialog, early or confirmed."""
        dialog = usage.dialog or next(iter(usage.early.values()), None)
        if dialog is None:
            raise LocalProtocolError(f"{method}: the usage has no dialog yet")
        sending = usage.sending(dialog, method, headers, body)
        if method == "REFER":
            sending.credentials = None  # its target is somebody's wish: nobody gets a password for it
        sending.token = token = self._wire.token()
        usage.sent.add(token)
        self._sender.inside(sending, dialog)
        return token

    # What becomes of them

    def responded(self, sending: Sending, response: Response) -> None:
        if sending.method == "INVITE":
            self._inviter.responded(sending, response)
        elif response.status >= 200:
            if self._reattempter.takes(sending, response):
                self._reattempter.send(sending)
            else:
                self._finish(sending, response)

    def unanswered(self, sending: Sending, *, timed_out: bool) -> None:
        """Nobody answered in time, or there is no way to the peer."""
        if sending.method == "INVITE":
            self._inviter.unanswered(sending, timed_out=timed_out)
        else:
            self._finish(sending, None, timed_out=timed_out)

    def _finish(self, sending: Sending, response: Response | None, *, timed_out: bool = False) -> None:
        """The end of a request other than INVITE."""
        usage, token = sending.usage, sending.token
        if sending.method == "BYE":
            if sending.dialog is not None:
                self._usages.close(sending.dialog)
            return
        if token is not None and (usage is None or token in usage.sent):
            self._wire.events.append(ResponseReceived(token, response))
        if usage is None:
            return
        if sending.refreshes:
            self._refresher.refreshed(usage, response)
        usage.sent.discard(token or 0)
        if sending.method == "REFER" and response is not None and response.status < 300:
            usage.referred = True
        # The other usages of a dialog (RFC 5057 5.1) may end without the call: a subscription that is no more; and of
        # several forks any may be gone.
        if sending.method in OTHER_USAGES or sending.method == "PRACK":
            pass
        elif response is not None and response.status in GONE:
            usage.machine.gone("dialog_gone", response)
        elif timed_out:
            usage.machine.gone("timeout", None)
        self._usages.turn(usage)
