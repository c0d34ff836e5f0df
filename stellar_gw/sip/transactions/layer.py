"""The transaction layer: which message belongs to which transaction, and doing what the tables ask for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import cast

from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.params import NO_PARAMS, Params
from stellar_gw.sip.timers import TimerHeap, Timers
from stellar_gw.sip.transactions.effects import (
    Deliver,
    Effect,
    Send,
    Start,
    Stop,
    Terminated,
    TimedOut,
    TransportFailed,
)
from stellar_gw.sip.transactions.invite_client import InviteClient, InviteClientMachine
from stellar_gw.sip.transactions.invite_server import InviteServer, InviteServerMachine
from stellar_gw.sip.transactions.non_invite_client import NonInviteClient, NonInviteClientMachine
from stellar_gw.sip.transactions.non_invite_server import NonInviteServer, NonInviteServerMachine
from stellar_gw.sip.transactions.transaction import (
    NOBODY,
    ClientTransaction,
    ClientUser,
    ServerTransaction,
    ServerUser,
    Transaction,
)
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.values import MAGIC_COOKIE, Via
from stellar_gw.sip.wire import DEFAULT_PORTS, Wire

# What a transaction may have waiting for a new flow: a few provisional responses and a final one.
MAX_UNSENT = 8
_CANCELLABLE = ("INVITE", "BYE", "OPTIONS", "INFO", "NOTIFY", "REFER", "MESSAGE", "UPDATE", "PRACK", "SUBSCRIBE")

Machine = InviteClient | InviteServer | NonInviteClient | NonInviteServer


class TransactionLayer:
    """All transactions of a core.

    :ivar dropped: what came and had no use, by kind.
    """

    def __init__(self, wire: Wire, heap: TimerHeap, timers: Timers) -> None:
        self.dropped: Counter[str] = Counter()
        self._wire, self._heap, self._timers = wire, heap, timers
        self._expired = self._expire  # bound once, for all timers
        self._clients: dict[Hashable, ClientTransaction] = {}
        self._servers: dict[Hashable, ServerTransaction] = {}
        self._machines: dict[Transaction, Machine] = {}
        self._merged: dict[Hashable, ServerTransaction] = {}
        self._unsent: dict[Transaction, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self._machines)

    # A client transaction, from its request on

    def send_request(
        self,
        request: Request,
        flow: Flow,
        user: ClientUser,
        destination: Uri,
        *,
        reconnects: bool,
        tls: TlsTerms = ANY_PEER,
    ) -> ClientTransaction:
        """Send a request of ours, its Via in place."""
        via = request.via
        transaction = ClientTransaction(
            key=(via.branch, request.method),
            request=request,
            flow=flow,
            timers=self._timers,
            destination=destination,
            tls=tls,
            data=request.to_bytes(),
            user=user,
            sent_by=(via.host, via.port),
            reconnects=reconnects,
        )
        machine = (InviteClientMachine if request.method == "INVITE" else NonInviteClientMachine)(transaction)
        self._clients[transaction.key] = transaction
        self._add(transaction, machine)
        machine.send()
        self._perform(transaction)
        return transaction

    def receive_response(self, response: Response) -> None:
        """Give a response to its transaction: the one with its branch, sent-by and method (17.1.3)."""
        via = response.via
        transaction = self._clients.get((via.branch, response.cseq.method))
        if (
            transaction is None
            or len(response.vias) > 1
            or (via.host, via.port) != transaction.sent_by
            or response.cseq.number != transaction.request.cseq.number
        ):
            self.dropped["stray response"] += 1
            return
        machine = self._machines[transaction]
        transaction.answered = True
        status = response.status
        if transaction.request.method == "INVITE":
            invite = cast(InviteClient, machine)
            if status < 200:
                invite.receive_1xx(response)
            elif status < 300:
                invite.receive_2xx(response)
            else:
                invite.receive_300_699(response)
        elif status < 200:
            cast(NonInviteClient, machine).receive_1xx(response)
        else:
            cast(NonInviteClient, machine).receive_final(response)
        self._perform(transaction)

    def abandon(self, transaction: ClientTransaction) -> None:
        """Forget an INVITE that was cancelled and never answered (9.1); one that has a final response stays."""
        machine = self._machines.get(transaction)
        if machine is not None and InviteClientMachine.state(cast(InviteClient, machine)) in ("Calling", "Proceeding"):
            cast(InviteClient, machine).abandon()
            self._perform(transaction)

    # A server transaction

    def find(self, request: Request) -> ServerTransaction | None:
        """The transaction of a request that came again; of an INVITE, where the request is its ACK (17.2.3)."""
        if request.method != "ACK":
            return self._servers.get(server_key(request, request.method))
        transaction = self._servers.get(server_key(request, "INVITE"))
        if transaction is not None and not _has_cookie(request.via) and request.to.tag != transaction.to_tag:
            return None
        return transaction

    def cancelled_by(self, cancel: Request) -> ServerTransaction | None:
        """The transaction that a CANCEL is about (9.2)."""
        for method in _CANCELLABLE:
            transaction = self._servers.get(server_key(cancel, method))
            if transaction is not None:
                return transaction
        return None

    def merges(self, request: Request) -> bool:
        """Whether this initial request has come already, by another way (8.2.2.2)."""
        return merge_key(request) in self._merged

    def receive_again(self, transaction: ServerTransaction) -> None:
        machine = cast("InviteServer | NonInviteServer", self._machines[transaction])
        machine.receive_request()
        self._perform(transaction)

    def receive_ack(self, transaction: ServerTransaction, ack: Request) -> None:
        cast(InviteServer, self._machines[transaction]).receive_ack(ack)
        self._perform(transaction)

    def serve(self, request: Request, flow: Flow, user: ServerUser | None, to_tag: str) -> ServerTransaction:
        """Make the server transaction of a request; it sends nothing by itself."""
        transaction = ServerTransaction(
            key=server_key(request, request.method),
            request=request,
            flow=flow,
            timers=self._timers,
            destination=response_uri(request.via, flow),
            user=user,
            to_tag=to_tag,
        )
        if request.to.tag is None:
            transaction.merge_key = merge_key(request)
            self._merged[transaction.merge_key] = transaction
        self._servers[transaction.key] = transaction
        machine = (InviteServerMachine if request.method == "INVITE" else NonInviteServerMachine)(transaction)
        self._add(transaction, machine)
        return transaction

    def answer(self, transaction: ServerTransaction, status: int, data: bytes) -> None:
        """Send a response; one that is too late for a transaction that is over is not sent."""
        machine = self._machines.get(transaction)
        if machine is None or (transaction.final and not 200 <= status < 300):
            return
        first = not transaction.final
        if transaction.request.method == "INVITE":
            invite = cast(InviteServer, machine)
            if status < 200:
                invite.send_1xx(data)
            elif status < 300:
                invite.send_2xx(data)
            else:
                invite.send_300_699(data)
        elif status < 200:
            cast(NonInviteServer, machine).send_1xx(data)
        elif first:
            cast(NonInviteServer, machine).send_final(data)
        if first and transaction.final:
            transaction.request = bare(transaction.request)
        self._perform(transaction)

    # Flows

    def flow_lost(self, transaction: Transaction) -> None:
        """A connection is gone: a request of ours that nobody has answered is sent again on a new one."""
        if isinstance(transaction, ClientTransaction) and not transaction.answered:
            self._send(transaction, transaction.data)
            self._perform(transaction)

    def _send(self, transaction: Transaction, data: bytes) -> None:
        if not self._wire.is_lost(transaction.flow):
            self._wire.send(data, transaction.flow)
            return
        if isinstance(transaction, ClientTransaction):
            if not transaction.reconnects:
                self._fail(transaction)
                return
            # One new connection for one request: a peer that drops every one would keep us busy.
            transaction.reconnects = False
        unsent = self._unsent.get(transaction)
        if unsent is not None:
            if data not in unsent and len(unsent) < MAX_UNSENT:
                unsent.append(data)
            return
        self._unsent[transaction] = [data]
        self._wire.need(
            transaction.destination,
            transaction.flow,
            lambda flow: self._reconnected(transaction, flow),
            lambda _: self._unreachable(transaction),
            falls_back=False,
            tls=transaction.tls,
        )

    def _reconnected(self, transaction: Transaction, flow: Flow) -> None:
        unsent = self._unsent.pop(transaction, [])
        if transaction.done:
            return
        self._wire.release(transaction.flow, transaction)
        transaction.flow = flow
        self._wire.hold(flow, transaction)
        for data in unsent:
            self._wire.send(data, flow)

    def _unreachable(self, transaction: Transaction) -> None:
        self._unsent.pop(transaction, None)
        if not transaction.done:
            self._fail(transaction)
            self._perform(transaction)

    def _fail(self, transaction: Transaction) -> None:
        self._machines[transaction].transport_error()

    # The tables

    def _add(self, transaction: Transaction, machine: Machine) -> None:
        self._machines[transaction] = machine
        self._wire.hold(transaction.flow, transaction)

    def _perform(self, transaction: Transaction) -> None:
        effects = transaction.effects
        while effects:
            self._do(transaction, effects.pop(0))

    def _do(self, transaction: Transaction, effect: Effect) -> None:
        match effect:
            case Send(data):
                self._send(transaction, data)
            case Start(timer, delay):
                self._stop(transaction, timer)
                transaction.running[timer] = self._heap.start(delay, self._expired, transaction, timer)
            case Stop(timer):
                self._stop(transaction, timer)
            case Deliver(message):
                if isinstance(transaction, ClientTransaction):
                    self._deliver(transaction, cast(Response, message))
                elif isinstance(transaction, ServerTransaction) and transaction.user is not None:
                    transaction.user.acknowledged(transaction, cast(Request, message))
            case TimedOut():
                cast(ClientTransaction, transaction).user.timed_out(cast(ClientTransaction, transaction))
            case TransportFailed():
                if isinstance(transaction, ClientTransaction):
                    transaction.user.transport_failed(transaction)
                else:
                    served = cast(ServerTransaction, transaction)
                    if served.user is not None:
                        served.user.transport_failed(served)
            case Terminated():
                self._forget(transaction)

    def _deliver(self, transaction: ClientTransaction, response: Response) -> None:
        user = transaction.user
        if response.status >= (300 if transaction.request.method == "INVITE" else 200):
            # It stays for half a minute to absorb copies: let go of all that those do not need.
            transaction.user, transaction.request, transaction.data = NOBODY, bare(transaction.request), b""
        user.responded(transaction, response)

    def _expire(self, transaction: Transaction, timer: str) -> None:
        transaction.running.pop(timer, None)
        getattr(self._machines[transaction], timer)()
        self._perform(transaction)

    def _stop(self, transaction: Transaction, timer: str) -> None:
        alarm = transaction.running.pop(timer, None)
        if alarm is not None:
            self._heap.stop(alarm)

    def _forget(self, transaction: Transaction) -> None:
        transaction.done = True
        for timer in list(transaction.running):
            self._stop(transaction, timer)
        del self._machines[transaction]
        self._wire.release(transaction.flow, transaction)
        # Its user knows it: the two must not keep each other.
        if isinstance(transaction, ClientTransaction):
            transaction.user = NOBODY
            del self._clients[transaction.key]
        elif isinstance(transaction, ServerTransaction):
            transaction.user = None
            del self._servers[transaction.key]
            if self._merged.get(transaction.merge_key) is transaction:
                del self._merged[transaction.merge_key]


def bare(request: Request) -> Request:
    """What is left to know of a request that has been answered: method and number."""
    return Request(request.method, request.uri, Headers.sound([("CSeq", str(request.cseq))]))


def _has_cookie(via: Via) -> bool:
    branch = via.branch
    return branch is not None and branch.startswith(MAGIC_COOKIE)


def server_key(request: Request, method: str) -> Hashable:
    """What requests of one transaction have in common (17.2.3), an ACK or CANCEL asked for as ``method``."""
    via = request.via
    if _has_cookie(via):
        return via.branch, via.host, via.port, method
    # RFC 2543. received and rport are ours: the same request may come again through another address translation.
    params = via.params.without("received").without("rport")
    hop = (via.transport, via.host, via.port, params)
    names = (request.call_id, request.from_.tag, request.cseq.number)
    to_tag = None if method == "INVITE" else request.to.tag
    return str(request.uri), hop, names, to_tag, method


def merge_key(request: Request) -> Hashable:
    return request.call_id, request.from_.tag, request.cseq.number, request.method


def response_uri(via: Via, flow: Flow) -> Uri:
    """Where a response goes when the connection that its request came on is gone (18.2.2)."""
    host = via.received or flow.remote[0]
    port = via.port or DEFAULT_PORTS[flow.transport]
    return SipUri(host=host, port=port, params=Params([("transport", flow.transport)]) if flow.reliable else NO_PARAMS)
