"""INVITEs and re-INVITEs of ours: what peers answer, and the dialogs that come of it (RFC 3261 9.1, 13.2, 14.1, 15).

A response is an input of the usage's table (``invite_usage.py``), and what the table asks of a UAC is carried out here.
One INVITE may reach several phones: each that rings has an early dialog of its own, and the first 2xx makes the one
that stays; any other is ended as soon as it is there.
"""

from __future__ import annotations

from stellar_gw.sip.acknowledging import Acknowledger
from stellar_gw.sip.dialog import Dialog, dialog_as_uac, refresh
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Response
from stellar_gw.sip.reattempting import Reattempter
from stellar_gw.sip.refreshing import Refresher
from stellar_gw.sip.reliable import RAck, Received, rseq_of
from stellar_gw.sip.sender import Sender
from stellar_gw.sip.transactions.ack import cancel_of
from stellar_gw.sip.transactions.layer import TransactionLayer
from stellar_gw.sip.transactions.transaction import NOBODY
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

MAX_FORKS = 16  # early dialogs, and answers, to one INVITE
GONE = (481, 408)
"""What ends the call that a request inside it was answered with (RFC 3261 12.2.1.2)."""


class Inviter:
    """Follows INVITEs to their end, and ends what has come of them."""

    def __init__(
        self,
        layer: TransactionLayer,
        usages: Usages,
        sender: Sender,
        acknowledger: Acknowledger,
        refresher: Refresher,
        reattempter: Reattempter,
    ) -> None:
        self._layer, self._usages, self._sender = layer, usages, sender
        self._acknowledger, self._refresher, self._reattempter = acknowledger, refresher, reattempter
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

    def responded(self, sending: Sending, response: Response) -> None:
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
        elif not usage.ended and self._reattempter.takes(sending, response):
            machine.challenge(response)
        elif again:
            machine.reinvite_failure(response)
            if status in GONE:
                machine.gone("dialog_gone", response)
        else:
            machine.failure(response)
        self._usages.turn(usage)

    def unanswered(self, sending: Sending, *, timed_out: bool) -> None:
        """Nobody answered in time, or there is no way to the peer."""
        usage = sending.usage
        assert usage is not None, "every INVITE of ours belongs to a usage"
        if sending.dialog is None:
            if timed_out:
                usage.machine.timed_out()
            else:
                usage.machine.unreachable()
        else:
            usage.machine.reinvite_failure(None)
            if timed_out:  # 14.1: a peer that does not answer is gone
                usage.machine.gone("timeout", None)
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
        self._sender.inside(usage.sending(dialog, "PRACK", Headers([("RAck", str(rack))])), dialog)
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

    # Effects of the usage's table

    def _answer_challenge(self, usage: Usage, _: AnswerChallenge) -> None:
        sending = usage.calling
        assert sending is not None
        if sending.dialog is None:
            for dialog in usage.early.values():
                self._usages.close(dialog)
            usage.early.clear()
        self._reattempter.send(sending)

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
        self._sender.inside(usage.sending(dialog, "BYE", Headers()), dialog)

    def _send_bye(self, usage: Usage, effect: SendBye) -> None:
        assert usage.dialog is not None
        self._sender.inside(usage.sending(usage.dialog, "BYE", Headers(effect.headers)), usage.dialog)

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
        usage.calling = usage.sending(usage.dialog, "INVITE", Headers(effect.headers), effect.body)
        self._sender.inside(usage.calling, usage.dialog)
