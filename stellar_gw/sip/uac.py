"""The half of the core that asks: our requests, and what peers answer (RFC 3261 8.1, 9.1, 12.2.1, 13.2, 15.1.1, 22)."""

from __future__ import annotations

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.acknowledging import Acknowledger
from stellar_gw.sip.checks import Besides, Capabilities
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.dialog import Dialog, dialog_as_uac, refresh, way
from stellar_gw.sip.events import ResponseReceived, Token
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Response
from stellar_gw.sip.names import Names
from stellar_gw.sip.refreshing import Refresher
from stellar_gw.sip.reliable import RAck, Received, rseq_of
from stellar_gw.sip.sender import Sender
from stellar_gw.sip.timers import Timers
from stellar_gw.sip.transactions.ack import cancel_of
from stellar_gw.sip.transactions.layer import TransactionLayer
from stellar_gw.sip.transactions.transaction import NOBODY
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.usage import (
    Abandon,
    Adopt,
    AnswerChallenge,
    RefuseSuccess,
    SendAck,
    SendBye,
    SendCancel,
    Sending,
    SendReinvite,
    Usage,
)
from stellar_gw.sip.usages import Usages
from stellar_gw.sip.values import NameAddr
from stellar_gw.sip.wire import Wire
from stellar_gw.sip.writing import RequestWriter

MAX_FORKS = 16  # early dialogs, and answers, to one INVITE
MAX_RENEWALS = 3  # new nonces for one request
# They open or close a usage of their own inside the dialog, and what they come to is that usage's affair.
OTHER_USAGES = ("REFER", "SUBSCRIBE", "NOTIFY")
_GONE = (481, 408)


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
        self._acknowledger = Acknowledger(wire, writer, self._sender)
        self._refresher = Refresher(wire, usages, able.session, self._send_update)
        usages.perform.update(
            {
                SendAck: self._send_ack,
                SendBye: self._send_bye,
                SendCancel: self._send_cancel,
                SendReinvite: self._send_reinvite,
                RefuseSuccess: self._refuse_success,
                Abandon: self._abandon,
                AnswerChallenge: self._answer_challenge,
                Adopt: self._adopt,
            }
        )

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
        sending = self._inside(usage, dialog, method, headers, body)
        if method == "REFER":
            sending.credentials = None  # its target is somebody's wish: nobody gets a password for it
        sending.token = token = self._wire.token()
        usage.sent.add(token)
        self._sender.inside(sending, dialog)
        return token

    def _send_update(self, usage: Usage) -> None:
        if usage.dialog is not None:
            update = self._inside(usage, usage.dialog, "UPDATE", Headers())
            update.refreshes = True
            self._sender.inside(update, usage.dialog)

    def _inside(self, usage: Usage, dialog: Dialog, method: str, headers: Headers, body: bytes = b"") -> Sending:
        return Sending(
            method=method,
            headers=headers,
            body=body,
            dialog=dialog,
            uri=dialog.remote_target,
            from_=dialog.local,
            to=dialog.remote,
            call_id=dialog.call_id,
            sequence=0,
            flow=dialog.flow,
            contact_user=usage.contact_user,
            usage=usage,
            credentials=usage.credentials,
        )

    # What becomes of them

    def responded(self, sending: Sending, response: Response) -> None:
        if sending.method == "INVITE":
            self._invite_responded(sending, response)
        elif response.status >= 200:
            if self._may_try_again(sending, response):
                self._send_again(sending)
            else:
                self._finish(sending, response)

    def unanswered(self, sending: Sending, *, timed_out: bool) -> None:
        """Nobody answered in time, or there is no way to the peer."""
        usage = sending.usage
        if sending.method != "INVITE":
            self._finish(sending, None, timed_out=timed_out)
        elif usage is not None and sending.dialog is None:
            if timed_out:
                usage.machine.timed_out()
            else:
                usage.machine.unreachable()
            self._usages.turn(usage)
        elif usage is not None:
            usage.machine.reinvite_failure(None)
            if timed_out:  # 14.1: a peer that does not answer is gone
                usage.machine.gone("timeout", None)
            self._usages.turn(usage)

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
        elif response is not None and response.status in _GONE:
            usage.machine.gone("dialog_gone", response)
        elif timed_out:
            usage.machine.gone("timeout", None)
        self._usages.turn(usage)

    def _invite_responded(self, sending: Sending, response: Response) -> None:
        usage = sending.usage
        assert usage is not None, "every INVITE of ours belongs to a usage"
        status, machine, again = response.status, usage.machine, sending.dialog is not None
        if status < 200:
            if status == 100:
                machine.trying()
            elif (again or self._note_early(usage, sending, response)) and self._takes_provisional(usage, response):
                machine.provisional(response)
        elif status < 300:
            self._succeeded(usage, sending, response)
        elif not usage.ended and (
            self._takes_challenge(sending, response) or self._refresher.takes_interval(sending, response)
        ):
            machine.challenge(response)
        elif again:
            machine.reinvite_failure(response)
            if status in _GONE:
                machine.gone("dialog_gone", response)
        else:
            machine.failure(response)
        self._usages.turn(usage)

    def _note_early(self, usage: Usage, sending: Sending, response: Response) -> bool:
        """Note the early dialog that a 1xx makes; False if there are too many to listen to another."""
        tag = response.to.tag
        if tag is None or tag in usage.early or usage.dialog is not None or usage.ended:
            return True
        if len(usage.early) >= MAX_FORKS:
            return False
        if sending.transaction is not None:
            dialog = dialog_as_uac(sending.transaction.request, response, sending.transaction.flow)
            usage.early[tag] = dialog
            self._usages.open(usage, dialog)
        return True

    def _takes_provisional(self, usage: Usage, response: Response) -> bool:
        """Acknowledge a reliable provisional response by PRACK; False where it has come before, or out of order."""
        number, tag = rseq_of(response), response.to.tag or ""
        dialog = usage.early.get(tag) if usage.dialog is None or usage.dialog.remote_tag != tag else usage.dialog
        if number is None or dialog is None:
            return True
        if not usage.reliable.setdefault(f"{response.cseq.number} {tag}", Received()).takes(number):
            return False
        rack = RAck(number, response.cseq.number, response.cseq.method)
        self._sender.inside(self._inside(usage, dialog, "PRACK", Headers([("RAck", str(rack))])), dialog)
        return True

    def _succeeded(self, usage: Usage, sending: Sending, response: Response) -> None:
        tag = response.to.tag or ""
        if tag in sending.acks:
            self._acknowledger.acknowledge_again(sending, tag)
            return
        if len(sending.acks) >= MAX_FORKS:
            self._layer.dropped["fork"] += 1
            return
        sending.acks[tag] = None
        offerless, machine = not sending.body, usage.machine
        if sending.dialog is None:
            (machine.success_with_offer if offerless else machine.success)(response)
        else:
            (machine.reinvite_success_with_offer if offerless else machine.reinvite_success)(response)

    def _may_try_again(self, sending: Sending, response: Response) -> bool:
        """Whether it wants nothing but credentials, or a longer interval, and gets them."""
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

    def _send_again(self, sending: Sending) -> None:
        """The next attempt: the same Call-ID and tags, the next CSeq (22.2)."""
        sending.transaction = None
        if sending.dialog is not None:
            self._sender.inside(sending, sending.dialog)
        else:
            sending.sequence += 1
            self._sender.transmit(sending)

    # Effects of the usage's table

    def _answer_challenge(self, usage: Usage, _: AnswerChallenge) -> None:
        sending = usage.calling
        assert sending is not None
        if sending.dialog is None:
            for dialog in usage.early.values():
                self._usages.close(dialog)
            usage.early.clear()
        self._send_again(sending)

    def _adopt(self, usage: Usage, effect: Adopt) -> None:
        self._refresher.settle(usage, effect.response)
        if usage.dialog is not None:
            refresh(usage.dialog, effect.response)
            return
        usage.dialog = self._dialog_of_success(usage, effect.response)
        for dialog in usage.early.values():
            self._usages.close(dialog)
        usage.early.clear()
        self._usages.open(usage, usage.dialog)

    def _dialog_of_success(self, usage: Usage, response: Response) -> Dialog:
        """The dialog that a 2xx makes; its route set is that of the 2xx, not of the 1xx before it (13.2.2.4)."""
        initial = usage.initial
        assert initial is not None and initial.transaction is not None
        transaction = initial.transaction
        dialog = dialog_as_uac(transaction.request, response, transaction.flow)
        early = usage.early.pop(response.to.tag or "", None)
        if early is not None:
            dialog.local_sequence = max(dialog.local_sequence, early.local_sequence)
            dialog.remote_sequence, dialog.remote_method = early.remote_sequence, early.remote_method
            self._usages.close(early)
        return dialog

    def _send_ack(self, usage: Usage, effect: SendAck) -> None:
        assert usage.calling is not None and usage.dialog is not None
        self._acknowledger.acknowledge(usage.calling, usage.dialog, effect.body)

    def _refuse_success(self, usage: Usage, effect: RefuseSuccess) -> None:
        assert usage.initial is not None
        dialog = self._dialog_of_success(usage, effect.response)
        self._usages.open(usage, dialog)
        self._acknowledger.acknowledge(usage.initial, dialog, b"")
        self._sender.inside(self._inside(usage, dialog, "BYE", Headers()), dialog)

    def _send_bye(self, usage: Usage, effect: SendBye) -> None:
        assert usage.dialog is not None
        self._sender.inside(self._inside(usage, usage.dialog, "BYE", Headers(effect.headers)), usage.dialog)

    def _send_cancel(self, usage: Usage, effect: SendCancel) -> None:
        invite = None if usage.calling is None else usage.calling.transaction
        if invite is not None and not invite.done:
            cancel = cancel_of(invite.request, effect.headers)
            self._layer.send_request(cancel, invite.flow, NOBODY, invite.destination, reconnects=True)

    def _abandon(self, usage: Usage, _: Abandon) -> None:
        if usage.calling is not None and usage.calling.transaction is not None:
            self._layer.abandon(usage.calling.transaction)

    def _send_reinvite(self, usage: Usage, effect: SendReinvite) -> None:
        assert usage.dialog is not None
        usage.calling = self._inside(usage, usage.dialog, "INVITE", Headers(effect.headers), effect.body)
        self._sender.inside(usage.calling, usage.dialog)
