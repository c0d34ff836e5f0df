"""The SIP core: transactions, dialogs and INVITE usages for both roles, without I/O and without a clock.

Theory of operation. Whoever owns the core hands octets and time inward (``receive``, ``advance``), then drains
what is to be sent (``to_send``) and told (``next_event``), and calls again by ``next_timer``::

    receive -> parser -> Uas ----+--> Usages: one table for each call leg -> events
                      -> layer --+                |
                         one table for            v
                         each transaction <- Uas, Uac: answers and requests -> wire

Nothing that a peer sends raises. What the floor above asks of a usage that has ended is ignored, for the peer
may have been faster and the event that says so still be in the queue; what can never be asked raises
:class:`~stellar_gw.errors.LocalProtocolError`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.checks import NOTHING_BESIDES, Besides, Capabilities
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.dialog import Dialog, DialogKey
from stellar_gw.sip.events import Event, Token, UsageId
from stellar_gw.sip.flow import ANY_PEER, Flow, Listener, TlsTerms
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.names import Names
from stellar_gw.sip.parser import MalformedMessage, parse_message
from stellar_gw.sip.reliable import demanded_by, understood_by
from stellar_gw.sip.timers import TimerHeap, Timers
from stellar_gw.sip.transactions.layer import TransactionLayer
from stellar_gw.sip.transactions.transaction import Transaction
from stellar_gw.sip.uac import Uac
from stellar_gw.sip.uas import Uas, note_source
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.usage import HeaderItems, Usage
from stellar_gw.sip.usages import Usages
from stellar_gw.sip.values import NameAddr
from stellar_gw.sip.wire import Wire

Items = Iterable[tuple[str, str]]


class SipCore:
    """One user agent, both client and server.

    :param listeners: by the name that flows carry; read at every use, so that it may be reloaded.
    :param rng: returns so many random octets; unguessable in production.
    :param max_transactions: beyond it new calls get 503; beyond twice that, requests inside dialogs too.
    :param able: methods and option tags.
    """

    def __init__(
        self,
        listeners: Mapping[str, Listener],
        *,
        user_agent: str,
        rng: Callable[[int], bytes],
        timers: Timers = Timers(),  # noqa: B008 - frozen
        max_transactions: int = 20_000,
        able: Capabilities = Capabilities(),  # noqa: B008 - frozen
    ) -> None:
        self._heap = TimerHeap()
        self._wire = Wire()
        self._names = Names(listeners, rng)
        self._layer = TransactionLayer(self._wire, self._heap, timers)
        self._usages = Usages(self._wire, self._heap)
        self._uas = Uas(self._wire, self._layer, self._usages, self._names, timers, able, user_agent, max_transactions)
        self._uac = Uac(self._wire, self._layer, self._usages, self._names, timers, able, user_agent)

    @property
    def available(self) -> bool:
        """False: OPTIONS outside dialogs get 503, so that upstream sends its calls elsewhere (drain)."""
        return self._uas.available

    @available.setter
    def available(self, available: bool) -> None:
        self._uas.available = available

    # Wire and time

    def receive(self, data: bytes, flow: Flow, now: float) -> None:
        """Take one datagram, or one message that a stream's framer has cut out."""
        self._heap.now = now
        try:
            message = parse_message(data, stream=flow.reliable)
        except MalformedMessage as error:
            self.malformed(error, flow, now)
            return
        if isinstance(message, Response):
            self._layer.receive_response(message)
        else:
            self._uas.receive(message, flow)

    def malformed(self, error: MalformedMessage, flow: Flow, now: float) -> None:
        """Answer what cannot be read, where enough of it can; a stream's framing error too."""
        self._heap.now = now
        self._layer.dropped["malformed"] += 1
        if error.salvage is not None:
            note_source(error.salvage, flow)
            self._uas.respond(error.salvage, flow, error.status, error.reason, (), b"")

    def flow_lost(self, flow: Flow, now: float) -> None:
        """A connection is gone. No call ends by that: who needs it again asks for another."""
        self._heap.now = now
        for user in self._wire.lose(flow):
            if isinstance(user, Transaction):
                self._layer.flow_lost(user)

    def advance(self, now: float) -> None:
        """Let the timers fire that are due."""
        self._heap.now = now
        self._heap.fire()

    def next_timer(self) -> float | None:
        """When to call ``advance``; None: nothing is waited for."""
        return self._heap.next()

    def to_send(self) -> list[tuple[bytes, Flow]]:
        """What is to be sent, in order; taken out."""
        return self._wire.drain()

    def next_event(self) -> Event | None:
        """The next event; taken out."""
        return self._wire.events.popleft() if self._wire.events else None

    def uses(self, flow: Flow) -> bool:
        """Whether a dialog or transaction lives on a connection."""
        return self._wire.uses(flow)

    # Judging new requests

    def respond(
        self,
        request: Request,
        flow: Flow,
        status: int,
        reason: str = "",
        headers: Items = (),
        body: bytes = b"",
    ) -> None:
        """Answer a request without keeping anything of it; its copies are told of again, and answered the same."""
        self._uas.respond(request, flow, status, reason, headers, body)

    def accept(
        self,
        request: Request,
        flow: Flow,
        now: float,
        *,
        tcp_above: int = 0,
        tls: TlsTerms = ANY_PEER,
        besides: Besides = NOTHING_BESIDES,
    ) -> UsageId | None:
        """Begin a usage for an INVITE; 100 is sent.

        :param tcp_above: octets above which our requests in its dialog go over TCP where they would go over UDP,
            if a connection can be had (RFC 3261 18.1.1); 0: for peers that do not ask for it.
        :param tls: what holds where we have to connect to the peer, because its connection is gone.
        :param besides: what this peer may in its dialog, and is told that it may.
        :return: None if it has come before: by another way (482 is sent), or just again.
        """
        self._heap.now = now
        return self._uas.accept(request, flow, tcp_above, tls, besides)

    # A usage as UAS

    def ring(
        self,
        usage: UsageId,
        now: float,
        status: int = 180,
        reason: str = "",
        headers: Items = (),
        body: bytes = b"",
        *,
        reliably: bool = False,
    ) -> None:
        """Send a provisional response; it is repeated every minute.

        Reliably, to a peer that demands it (``Require: 100rel``), or that can where ``reliably`` wishes so: an answer
        that is given before its PRACK has come waits for that. A description in it counts, and is left out of the
        answer; ProvisionalAcknowledged follows where that was our offer.
        """
        if not 100 < status < 200:
            raise LocalProtocolError(f"{status} is no provisional response")
        if (leg := self._at(usage, now)) is not None:
            if leg.invite is not None:
                reliably = demanded_by(leg.invite.request) or (reliably and understood_by(leg.invite.request))
            (leg.machine.ring_reliably if reliably else leg.machine.ring)(status, reason, _sound(headers), body)
            self._usages.turn(leg)

    def answer(self, usage: UsageId, body: bytes, now: float, headers: Items = ()) -> None:
        """Send 200 to the INVITE, or to the re-INVITE that is open."""
        if (leg := self._at(usage, now)) is not None:
            leg.machine.answer(_sound(headers), body)
            self._usages.turn(leg)

    def reject(self, usage: UsageId, status: int, now: float, reason: str = "", headers: Items = ()) -> None:
        """Refuse the INVITE, or the re-INVITE that is open."""
        if not 300 <= status < 700:
            raise LocalProtocolError(f"{status} refuses nothing")
        if (leg := self._at(usage, now)) is not None:
            leg.machine.reject(status, reason, _sound(headers))
            self._usages.turn(leg)

    # A usage in either role

    def bye(self, usage: UsageId, now: float, headers: Items = ()) -> None:
        """End it in whatever state it is; Ended follows at once, and what the peer is still owed later.

        That is CANCEL while we call, 480 while we are called, else BYE: after the ACK, where one is missing.
        """
        if (leg := self._at(usage, now)) is not None:
            leg.machine.bye(_sound(headers))
            self._usages.turn(leg)

    def reinvite(self, usage: UsageId, body: bytes, now: float, headers: Items = ()) -> None:
        """Offer another session, or ask for an offer by an empty body; Answered or ReinviteRefused follows.

        While another INVITE is open in the dialog, ReinviteRefused says 491 at once.
        """
        if (leg := self._at(usage, now)) is not None:
            leg.machine.reinvite(_sound(headers), body)
            self._usages.turn(leg)

    def glare_delay(self, usage: UsageId) -> float:
        """How long to wait after a 491 before offering again, seconds (RFC 3261 14.1)."""
        leg = self._usages.get(usage)
        if leg is not None and leg.initial is not None:  # the Call-ID is ours
            return 2.1 + self._names.below(191) / 100
        return self._names.below(201) / 100

    def request_in(
        self,
        usage: UsageId,
        method: str,
        now: float,
        headers: Items = (),
        body: bytes = b"",
        content_type: str = "",
    ) -> Token:
        """Send a request inside the dialog; ResponseReceived follows, before Ended at the latest."""
        if method in ("INVITE", "ACK", "BYE", "CANCEL"):
            raise LocalProtocolError(f"{method} has a call of its own")
        leg = self._at(usage, now)
        if leg is None:
            return self._wire.unanswered()
        given = Headers(headers)
        if content_type:
            given.replace("Content-Type", content_type)
        token = self._uac.request_in(leg, method, given, body)
        self._usages.turn(leg)
        return token

    def respond_in(
        self,
        token: Token,
        status: int,
        now: float,
        reason: str = "",
        headers: Items = (),
        body: bytes = b"",
    ) -> None:
        """Answer a request inside a dialog."""
        self._heap.now = now
        self._uas.respond_in(token, status, reason, headers, body)

    # A usage as UAC

    def invite(
        self,
        uri: Uri,
        flow: Flow,
        now: float,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: Items = (),
        body: bytes = b"",
        route: Iterable[NameAddr] = (),
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
        besides: Besides = NOTHING_BESIDES,
    ) -> UsageId:
        """Call somebody.

        :param from_: a tag is added where it has none.
        :param body: the offer; empty: the peer's 2xx carries it, and ``ack`` is due.
        :param call_id: with ``from_``'s tag and the next ``sequence``, another try of an earlier call.
        """
        self._heap.now = now
        usage = self._uac.invite(
            uri,
            flow,
            from_=from_,
            to=to,
            headers=Headers(headers),
            body=body,
            route=tuple(route),
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
            besides=besides,
        )
        self._usages.turn(usage)
        return usage.id

    def sequence(self, usage: UsageId) -> int:
        """The CSeq of the INVITE that a usage called with last; 0 where there is none, or it has ended."""
        leg = self._usages.get(usage)
        return leg.initial.sequence if leg is not None and leg.initial is not None else 0

    def cancel(self, usage: UsageId, now: float, headers: Items = ()) -> None:
        """Take an INVITE back. Ended follows with the final response, after 64*T1 without one at the latest.

        If the 2xx was faster it is acknowledged, and BYE sent.
        """
        if (leg := self._at(usage, now)) is not None:
            leg.machine.cancel(_sound(headers))
            self._usages.turn(leg)

    def ack(self, usage: UsageId, body: bytes, now: float) -> None:
        """Acknowledge the 2xx to an INVITE without offer, with our answer."""
        if (leg := self._at(usage, now)) is not None:
            leg.machine.ack(body)
            self._usages.turn(leg)

    def request(
        self,
        method: str,
        uri: Uri,
        flow: Flow,
        now: float,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: Items = (),
        body: bytes = b"",
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
    ) -> Token:
        """Send a request outside any dialog, such as OPTIONS; ResponseReceived follows.

        :param call_id: with ``from_``'s tag and a higher ``sequence``, one more of a series (REGISTER, 10.2).
        """
        if method in ("INVITE", "ACK", "BYE", "CANCEL"):
            raise LocalProtocolError(f"{method} has a call of its own")
        self._heap.now = now
        return self._uac.request(
            method,
            uri,
            flow,
            from_=from_,
            to=to,
            headers=Headers(headers),
            body=body,
            credentials=credentials,
            call_id=call_id,
            sequence=sequence,
        )

    # Flows

    def flow_ready(self, token: Token, flow: Flow, now: float) -> None:
        """Answer FlowNeeded."""
        self._heap.now = now
        self._wire.flow_ready(token, flow)

    def flow_failed(self, token: Token, why: str, now: float) -> None:
        """Answer FlowNeeded: there is no way."""
        self._heap.now = now
        self._wire.flow_failed(token, why)

    # Looking inside

    def find(self, key: DialogKey) -> UsageId | Literal["early", "over", "unknown"]:
        """The usage of a confirmed dialog, for an INVITE that is to replace it (RFC 3891 3); else what became of it."""
        return self._usages.standing(key)

    def dialog(self, usage: UsageId) -> Dialog:
        """The dialog of a usage that has not ended: the confirmed one, or as UAC the first early one.

        :raise LocalProtocolError: there is none.
        """
        leg = self._usages.get(usage)
        dialog = None if leg is None else leg.dialog or next(iter(leg.early.values()), None)
        if dialog is None:
            raise LocalProtocolError("the usage has no dialog")
        return dialog

    @property
    def counts(self) -> Counter[str]:
        """How much of everything there is, and (``dropped ...``) what came and had no use."""
        counts = Counter({f"dropped {kind}": times for kind, times in self._layer.dropped.items()})
        counts.update(
            {
                "transactions": len(self._layer),
                "usages": len(self._usages),
                "dialogs": self._usages.dialogs,
                "timers": len(self._heap),
                "flows awaited": self._wire.waiting,
            }
        )
        return counts

    @property
    def idle(self) -> bool:
        """Whether nothing is going on any more: no transaction, usage, dialog, timer, or flow waited for."""
        counts = self.counts
        return not any(counts[each] for each in ("transactions", "usages", "dialogs", "timers", "flows awaited"))

    def _at(self, usage: UsageId, now: float) -> Usage | None:
        self._heap.now = now
        return self._usages.get(usage)


def _sound(headers: Items) -> HeaderItems:
    """
    :raise LocalProtocolError: headers that cannot be written; before anything has happened.
    """
    return tuple(Headers(headers))
