"""The half of the core that is asked: requests of peers, and our answers (RFC 3261 8.2, 9.2, 12.2.2, 13.3, 15.1.2)."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.body import SDP, sdp_body
from stellar_gw.sip.checks import (
    NOTHING_BESIDES,
    Besides,
    Capabilities,
    Refusal,
    check_content,
    check_initial,
    check_method,
)
from stellar_gw.sip.dialog import Dialog, dialog_as_uas, dialog_of_request, is_out_of_order, refresh
from stellar_gw.sip.events import Pinged, ProvisionalAcknowledged, RequestInDialog, RequestReceived, Token, UsageId
from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms
from stellar_gw.sip.message import Request, response_to
from stellar_gw.sip.names import Names
from stellar_gw.sip.reliable import TAG, RAck, rack_of
from stellar_gw.sip.session_timer import headers_of_success, settle_as_uas
from stellar_gw.sip.timers import Timers
from stellar_gw.sip.transactions.layer import TransactionLayer
from stellar_gw.sip.transactions.transaction import ServerTransaction
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.usage import (
    Refuse,
    RefuseAsked,
    RepeatProvisional,
    RepeatReliable,
    RepeatSuccess,
    Respond,
    RespondReliably,
    Usage,
)
from stellar_gw.sip.usages import Usages
from stellar_gw.sip.values import NameAddr
from stellar_gw.sip.wire import Wire

# Of one usage, that the floor above has not answered yet. A peer has no reason for more than one or two.
MAX_ASKED = 8


class _Leg:
    """A usage as the user of the transaction of its INVITE, and of requests inside its dialog."""

    def __init__(self, uas: Uas, usage: Usage) -> None:
        self._uas, self._usage = uas, usage

    def acknowledged(self, transaction: ServerTransaction, ack: Request) -> None:
        self._uas.acknowledged(self._usage, ack)

    def cancelled(self, transaction: ServerTransaction, cancel: Request) -> None:
        if transaction is self._usage.invite:
            self._usage.machine.peer_cancel(cancel)
            self._uas.usages.turn(self._usage)

    def transport_failed(self, transaction: ServerTransaction) -> None:
        if transaction is self._usage.invite:
            self._usage.machine.unreachable()
            self._uas.usages.turn(self._usage)


class Uas:
    """Answers requests: some at once, the others when the floor above has judged them.

    :ivar available: False while draining: OPTIONS outside dialogs get 503.
    """

    def __init__(
        self,
        wire: Wire,
        layer: TransactionLayer,
        usages: Usages,
        names: Names,
        timers: Timers,
        able: Capabilities,
        user_agent: str,
        max_transactions: int,
    ) -> None:
        self.usages = usages
        self.available = True
        self._wire, self._layer, self._names, self._timers = wire, layer, names, timers
        self._able, self._max_transactions = able, max_transactions
        self._server = ("Server", user_agent)
        self._asked: dict[Token, tuple[Usage, ServerTransaction]] = {}
        usages.perform.update(
            {
                Respond: self._respond_to_invite,
                RespondReliably: self._respond_reliably,
                RepeatReliable: self._repeat_reliable,
                Refuse: self._refuse,
                RefuseAsked: self._refuse_asked,
                RepeatSuccess: self._repeat_success,
                RepeatProvisional: self._repeat_provisional,
            }
        )

    # Requests

    def receive(self, request: Request, flow: Flow) -> None:
        """Take one sound request."""
        note_source(request, flow)
        transaction = self._layer.find(request)
        if request.method == "ACK":
            self._receive_ack(request, transaction)
        elif transaction is not None:
            self._layer.receive_again(transaction)
        elif request.method == "CANCEL":
            self._receive_cancel(request, flow)
        elif request.to.tag is not None:
            self._receive_in_dialog(request, flow)
        else:
            self._receive_initial(request, flow)

    def _receive_initial(self, request: Request, flow: Flow) -> None:
        if any(self._names.is_own_branch(via.branch) for via in request.vias):
            self._refuse_statelessly(request, flow, Refusal(482))
            return
        refusal = check_initial(request, self._able)
        if refusal is not None:
            self._refuse_statelessly(request, flow, refusal)
        elif request.method == "OPTIONS":
            self._answer_options(request, flow, self._able, available=self.available)
            self._wire.events.append(Pinged(flow))
        elif len(self._layer) >= self._max_transactions:
            self._refuse_statelessly(request, flow, self._overloaded())
        else:
            self._wire.events.append(RequestReceived(request, flow))

    def _receive_in_dialog(self, request: Request, flow: Flow) -> None:
        key = dialog_of_request(request)
        found = self.usages.find(key)
        refusal = check_method(request, self._able if found is None else found[0].able)
        if refusal is not None:
            self._refuse_statelessly(request, flow, refusal)
            return
        if request.method == "NOTIFY" and (
            self.usages.lingers(key) or (found and found[0].ended and found[0].referred)
        ):
            self.respond(request, flow, 200, "", (), b"")  # what becomes of a transfer after our BYE is not of interest
            return
        refusal = Refusal(481) if found is None else self._check_in_dialog(request, flow, *found)
        if found is None or refusal is not None:
            self._refuse_statelessly(request, flow, refusal or Refusal(481))
            return
        usage, dialog = found
        usage.note_allow(request)
        dialog.remote_sequence, dialog.remote_method = request.cseq.number, request.method
        self.usages.move(dialog, flow, dialog.resolved if flow == dialog.flow else None)
        self._serve_in_dialog(usage, dialog, request, flow)

    def _check_in_dialog(self, request: Request, flow: Flow, usage: Usage, dialog: Dialog) -> Refusal | None:
        if dialog.tls and not flow.secure:
            return Refusal(403, "This dialog began over TLS")
        if is_out_of_order(dialog, request):
            return Refusal(500, "CSeq is lower than before")
        if usage.ended and request.method != "BYE":
            return Refusal(481)
        refusal = check_content(request, usage.able)
        if refusal is not None:
            return refusal
        if request.method not in ("INVITE", "BYE", "OPTIONS") and len(usage.asked) >= MAX_ASKED:
            return Refusal(500, "Too many requests are open", (self._retry_after(10),))
        return self._overloaded() if len(self._layer) >= 2 * self._max_transactions else None

    def _serve_in_dialog(self, usage: Usage, dialog: Dialog, request: Request, flow: Flow) -> None:
        if request.method == "OPTIONS":
            self._answer_options(request, flow, usage.able, available=True)
            return
        leg = _Leg(self, usage) if request.method == "INVITE" else None
        transaction = self._layer.serve(request, flow, leg, request.to.tag or "")
        if request.method == "BYE":
            self._send(transaction, 200)
            if dialog is usage.dialog:
                usage.machine.peer_bye(request)
                self.usages.turn(usage)
            else:  # a callee that leaves before it has answered; 15 forbids it, and nothing else is hurt
                usage.early.pop(dialog.remote_tag, None)
                self.usages.close(dialog)
        elif request.method == "INVITE":
            usage.machine.peer_invite(transaction)
            self.usages.turn(usage)
        elif request.method == "PRACK" and (usage.awaited is None or rack_of(request) != usage.awaited):
            self._send(transaction, 481)
        elif request.method == "PRACK" and (usage.offer_is_ours or not sdp_body(request)):
            self._send(transaction, 200)
            self._take_prack(usage, request)
        elif request.method == "UPDATE" and not sdp_body(request):
            self._send(transaction, 200, "", self._settle(usage, transaction))  # a refresh (RFC 4028 7.4)
        else:
            token = self._wire.token()
            usage.asked[token] = transaction
            self._asked[token] = usage, transaction
            self._wire.events.append(RequestInDialog(usage.id, token, request))

    def _receive_ack(self, ack: Request, transaction: ServerTransaction | None) -> None:
        """Take an ACK: of a failure it belongs to the transaction, of a 2xx to the dialog; another is dropped."""
        if transaction is not None:
            self._layer.receive_ack(transaction, ack)
            return
        found = self.usages.find(dialog_of_request(ack))
        if found is not None:
            self.acknowledged(found[0], ack)
        else:
            self._layer.dropped["stray ACK"] += 1

    def acknowledged(self, usage: Usage, ack: Request) -> None:
        """Take the ACK of a 2xx, if it is of the one that waits for it."""
        if usage.invite is not None and ack.cseq.number == usage.invite.request.cseq.number:
            usage.machine.acknowledged(ack)
            self.usages.turn(usage)

    def _receive_cancel(self, cancel: Request, flow: Flow) -> None:
        """Answer a CANCEL with the To tag of what it cancels, and do so if that is not answered yet (9.2)."""
        cancelled = self._layer.cancelled_by(cancel)
        if cancelled is None:
            self._refuse_statelessly(cancel, flow, Refusal(481))
            return
        self._send(self._layer.serve(cancel, flow, None, cancelled.to_tag), 200)
        leg = cancelled.user
        if isinstance(leg, _Leg) and cancelled.request.method == "INVITE" and not cancelled.final:
            leg.cancelled(cancelled, cancel)

    # Answers that leave no state behind

    def respond(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
    ) -> None:
        """Answer without a transaction: the same to every copy of the request (8.2.7)."""
        if request.method == "ACK":
            return
        tag = None if status == 100 else self._names.stateless_tag(request)
        response = response_to(request, status, reason, [self._server, *headers], body, to_tag=tag)
        self._wire.send(response.to_bytes(), flow)

    def _refuse_statelessly(self, request: Request, flow: Flow, refusal: Refusal) -> None:
        self.respond(request, flow, refusal.status, refusal.reason, refusal.headers, b"")

    def _answer_options(self, request: Request, flow: Flow, able: Capabilities, *, available: bool) -> None:
        headers = able.options_headers
        if available:
            self.respond(request, flow, 200, "", headers, b"")
        else:
            self.respond(request, flow, 503, "", [*headers, self._retry_after(30)], b"")

    def _overloaded(self) -> Refusal:
        return Refusal(503, headers=(self._retry_after(10),))

    def _retry_after(self, bound: int) -> tuple[str, str]:
        """Random, so that peers do not come back all at once; RFC 3261 14.2 asks for 0 to 10 s."""
        return "Retry-After", str(self._names.below(bound + 1))

    # A usage as UAS

    def accept(
        self,
        request: Request,
        flow: Flow,
        tcp_above: int = 0,
        tls: TlsTerms = ANY_PEER,
        besides: Besides = NOTHING_BESIDES,
    ) -> UsageId | None:
        """Begin a usage for an INVITE; None where it has begun already."""
        if request.method != "INVITE" or request.to.tag is not None:
            raise LocalProtocolError("only an INVITE outside any dialog can be accepted")
        again = self._layer.find(request)
        if again is not None:
            self._layer.receive_again(again)
            return None
        if self._layer.merges(request):
            self._refuse_statelessly(request, flow, Refusal(482))
            return None
        tag = self._names.tag()
        usage = Usage(
            id=self._names.tag(),
            contact_user=self._names.tag(),
            able=self._able.and_(besides),
            offer_is_ours=not sdp_body(request),
            sips=isinstance(request.uri, SipUri) and request.uri.secure,
        )
        usage.invite = self._layer.serve(request, flow, _Leg(self, usage), tag)
        usage.dialog = dialog_as_uas(request, flow, tag)
        usage.invite.tls = tls
        usage.dialog.tcp_above, usage.dialog.tls_terms = tcp_above, tls
        usage.note_allow(request)
        self.usages.add(usage, called=True)
        self.usages.open(usage, usage.dialog)
        self._send(usage.invite, 100)
        return usage.id

    def respond_in(
        self,
        token: Token,
        status: int,
        reason: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
    ) -> None:
        """Answer a request inside a dialog; too late once the usage has ended, for then it is answered already."""
        asked = self._asked.get(token)
        if asked is None:
            return
        usage, transaction = asked
        if status >= 200:
            del self._asked[token]
            del usage.asked[token]
        if transaction.request.method == "REFER" and 200 <= status < 300:  # it makes a dialog (RFC 3515 2.2)
            contact = self._names.contact(transaction.flow, usage.contact_user, sips=usage.sips)
            headers = [("Contact", str(NameAddr("", contact))), *headers]
        if transaction.request.method == "UPDATE" and 200 <= status < 300:
            headers = [*self._settle(usage, transaction), *headers, *([("Content-Type", SDP)] if body else [])]
        self._send(transaction, status, reason, headers, body)
        if transaction.request.method == "PRACK" and status >= 200:
            self._take_prack(usage, transaction.request)

    def _take_prack(self, usage: Usage, prack: Request) -> None:
        """What waits for it may go on: our answer to the INVITE, perhaps."""
        answer = sdp_body(prack) if usage.offer_is_ours else b""
        if usage.offer_is_ours:
            usage.offer_is_ours = False  # it is answered, so that the ACK owes nothing
            self._wire.events.append(ProvisionalAcknowledged(usage.id, prack, answer))
        usage.machine.pracked()
        self.usages.turn(usage)

    def _respond_reliably(self, usage: Usage, effect: RespondReliably) -> None:
        invite = usage.invite
        assert invite is not None, "the table rings only where there is an INVITE"
        usage.rseq = usage.rseq + 1 if usage.rseq else 1 + self._names.below(2**31 - 1000)
        usage.awaited = RAck(usage.rseq, invite.request.cseq.number, "INVITE")
        contact = NameAddr("", self._names.contact(invite.flow, usage.contact_user, sips=usage.sips))
        headers = [("Contact", str(contact)), usage.able.allow_header, usage.able.supported_header]
        headers += [("Require", TAG), ("RSeq", str(usage.rseq)), *effect.headers]
        headers += [("Content-Type", SDP)] if effect.body else []
        self._send(invite, effect.status, effect.reason, headers, effect.body)
        usage.interval = self._timers.t1
        self.usages.start(usage, "repeat_reliable", usage.interval)
        self.usages.start(usage, "prack_timeout", self._timers.timeout)

    def _repeat_reliable(self, usage: Usage, _: RepeatReliable) -> None:
        if usage.invite is not None and not usage.invite.final:
            self._layer.receive_again(usage.invite)
        usage.interval *= 2
        self.usages.start(usage, "repeat_reliable", usage.interval)

    def _settle(self, usage: Usage, update: ServerTransaction) -> list[tuple[str, str]]:
        """Take target and interval from an UPDATE; the headers of its 200 (RFC 3311 5.2, RFC 4028 9)."""
        dialog = usage.dialog
        contact = NameAddr("", self._names.contact(update.flow, usage.contact_user, sips=usage.sips))
        headers = [("Contact", str(contact)), usage.able.allow_header, usage.able.supported_header]
        if dialog is None or usage.ended:
            return headers
        refresh(dialog, update.request)
        if usage.success or usage.initial is not None:  # before its 2xx there is no session to time
            self.usages.time_session(usage, settle_as_uas(update.request, usage.able.session))
            headers += headers_of_success(usage.session)
        return headers

    def _refuse_asked(self, usage: Usage, _: RefuseAsked) -> None:
        for token in list(usage.asked):
            self.respond_in(token, 487, "", (), b"")

    def _respond_to_invite(self, usage: Usage, effect: Respond) -> None:
        invite = usage.invite
        assert invite is not None, "the table answers an INVITE only where there is one"
        if effect.status == 100:  # a re-INVITE has come
            usage.offer_is_ours = not sdp_body(invite.request)
            self._send(invite, 100)
            return
        headers = list(effect.headers)
        if 100 < effect.status < 300:
            contact = NameAddr("", self._names.contact(invite.flow, usage.contact_user, sips=usage.sips))
            headers[:0] = [("Contact", str(contact)), usage.able.allow_header, usage.able.supported_header]
        if effect.body and not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", SDP))
        if 200 <= effect.status < 300 and usage.dialog is not None:
            refresh(usage.dialog, invite.request)
            self.usages.time_session(usage, settle_as_uas(invite.request, usage.able.session))
            headers += headers_of_success(usage.session)
        data = self._send(invite, effect.status, effect.reason, headers, effect.body)
        if 200 <= effect.status < 300:
            usage.success, usage.interval = data, self._timers.t1
            self.usages.start(usage, "repeat", usage.interval)
            self.usages.start(usage, "ack_timeout", self._timers.timeout)

    def _refuse(self, usage: Usage, effect: Refuse) -> None:
        headers = [self._retry_after(10)] if effect.status == 500 else []
        self._send(effect.transaction, effect.status, "", headers)

    def _repeat_success(self, usage: Usage, _: RepeatSuccess) -> None:
        if usage.invite is not None:
            self._layer.answer(usage.invite, 200, usage.success)
        usage.interval = min(usage.interval * 2, self._timers.t2)
        self.usages.start(usage, "repeat", usage.interval)

    def _repeat_provisional(self, usage: Usage, _: RepeatProvisional) -> None:
        if usage.invite is not None and not usage.invite.final:
            self._layer.receive_again(usage.invite)

    def _send(
        self,
        transaction: ServerTransaction,
        status: int,
        reason: str = "",
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> bytes:
        if transaction.final:
            return b""  # answered already
        tag = None if status == 100 else transaction.to_tag
        response = response_to(transaction.request, status, reason, [self._server, *headers], body, to_tag=tag)
        data = response.to_bytes()
        self._layer.answer(transaction, status, data)
        return data


def note_source(request: Request, flow: Flow) -> None:
    """Write into the top Via where the request really came from (RFC 3261 18.2.1, RFC 3581), asked or not."""
    via, (host, port, *_) = request.via, flow.remote
    address = host.partition("%")[0]  # the scope of a link-local address is ours alone
    request.replace_via(evolve(via, params=via.params.with_("received", address).with_("rport", str(port))))
