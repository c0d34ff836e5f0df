"""How a request of ours gets on its way: a flow to its next hop, a transaction (RFC 3261 8.1.2, 12.2.1, 18.1.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import evolve

from stellar_gw.sip.dialog import Dialog, way
from stellar_gw.sip.flow import ANY_PEER, Flow
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.transactions.layer import TransactionLayer
from stellar_gw.sip.transactions.transaction import ClientTransaction
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.usage import Sending
from stellar_gw.sip.usages import Usages
from stellar_gw.sip.wire import Wire, by_transport_of, serves
from stellar_gw.sip.writing import RequestWriter


class Asker(Protocol):
    """Whose requests they are, and who hears what becomes of each."""

    def responded(self, sending: Sending, response: Response) -> None: ...

    def unanswered(self, sending: Sending, *, timed_out: bool) -> None: ...


class _Attempt:
    """One transaction of a request, as its user; what comes for an attempt before it is not of interest."""

    def __init__(self, asker: Asker, sending: Sending) -> None:
        sending.attempt += 1
        self._asker, self._sending, self._number = asker, sending, sending.attempt

    def responded(self, transaction: ClientTransaction, response: Response) -> None:
        if self._sending.attempt == self._number:
            self._asker.responded(self._sending, response)

    def timed_out(self, transaction: ClientTransaction) -> None:
        if self._sending.attempt == self._number:
            self._asker.unanswered(self._sending, timed_out=True)

    def transport_failed(self, transaction: ClientTransaction) -> None:
        if self._sending.attempt == self._number:
            self._asker.unanswered(self._sending, timed_out=False)


class Sender:
    """Sends requests, inside dialogs and outside; its asker hears of each what became of it."""

    def __init__(
        self, wire: Wire, layer: TransactionLayer, usages: Usages, writer: RequestWriter, asker: Asker
    ) -> None:
        self._wire, self._layer, self._usages, self._writer, self._asker = wire, layer, usages, writer, asker

    def inside(self, sending: Sending, dialog: Dialog) -> None:
        """Send it as the dialog's next request."""
        usage = sending.usage

        def ready(flow: Flow) -> None:
            if usage is not None and usage.ended and sending.method != "BYE":
                self._asker.unanswered(sending, timed_out=False)  # it is too late
                return
            dialog.local_sequence += 1
            sending.sequence, sending.flow = dialog.local_sequence, flow
            sending.uri, sending.route_set = dialog.remote_target, dialog.route_set
            self.transmit(sending)

        self.with_flow(dialog, ready, lambda: self._asker.unanswered(sending, timed_out=False))

    def with_flow(self, dialog: Dialog, ready: Callable[[Flow], None], failed: Callable[[], None]) -> None:
        """Find the way to the next hop of a dialog: its flow, where that leads there, else one is asked for."""
        hop = way(dialog.remote_target, dialog.route_set)[2]
        if not self._wire.is_lost(dialog.flow) and (dialog.resolved == hop or serves(dialog.flow, hop)):
            ready(dialog.flow)
            return

        def found(flow: Flow) -> None:
            if dialog.tls and not flow.secure:
                failed()  # what began over TLS never goes on without
                return
            self._usages.move(dialog, flow, hop)
            ready(flow)

        self._wire.need(
            by_transport_of(hop, dialog.flow),
            dialog.flow,
            found,
            lambda why: failed(),
            tls=dialog.tls_terms,
        )

    def transmit(self, sending: Sending) -> None:
        """Send it as a transaction of its own. Its flow may turn out to be lost, and it be over, in here."""
        request, hop = self._writer.write(sending, sending.method, sending.body)
        if self._is_too_large(sending, request) and isinstance(hop, SipUri):
            self._transmit_over_tcp(sending, hop)
        else:
            self._begin(sending, request, hop)

    @staticmethod
    def _is_too_large(sending: Sending, request: Request) -> bool:
        dialog = sending.dialog
        if dialog is None or not dialog.tcp_above or sending.flow.reliable:
            return False
        return len(request.to_bytes()) > dialog.tcp_above

    def _transmit_over_tcp(self, sending: Sending, hop: SipUri) -> None:
        """By a connection, if one can be had; the dialog stays on its flow (18.1.1)."""
        usage, by_udp = sending.usage, sending.flow

        def found(flow: Flow) -> None:
            if usage is not None and usage.ended and sending.method != "BYE":
                self._asker.unanswered(sending, timed_out=False)  # it is too late
                return
            sending.flow = flow
            self._begin(sending, *self._writer.write(sending, sending.method, sending.body))

        over_tcp = evolve(hop, params=hop.params.with_("transport", "tcp"))
        self._wire.need(over_tcp, by_udp, found, lambda why: found(by_udp))

    def _begin(self, sending: Sending, request: Request, hop: Uri) -> None:
        attempt = _Attempt(self._asker, sending)
        # Inside a dialog a connection that breaks under a request is replaced; outside, its sender chose the way.
        sending.transaction = self._layer.send_request(
            request,
            sending.flow,
            attempt,
            hop,
            reconnects=sending.dialog is not None,
            tls=ANY_PEER if sending.dialog is None else sending.dialog.tls_terms,
        )
