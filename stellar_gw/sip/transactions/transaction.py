"""A transaction's data, client and server: what the four tables read and append to."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from attrs import define, field

from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.timers import Alarm, Timers
from stellar_gw.sip.transactions.effects import Effect
from stellar_gw.sip.uri import Uri


class ClientUser(Protocol):
    """Who sent a request: told of everything that becomes of it."""

    def responded(self, transaction: ClientTransaction, response: Response) -> None: ...

    def timed_out(self, transaction: ClientTransaction) -> None: ...

    def transport_failed(self, transaction: ClientTransaction) -> None: ...


class ServerUser(Protocol):
    """Who answers a request."""

    def acknowledged(self, transaction: ServerTransaction, ack: Request) -> None: ...

    def transport_failed(self, transaction: ServerTransaction) -> None: ...


class Nobody:
    """The user of a request whose responses matter to nobody: of a CANCEL, or of one that has its answer."""

    def responded(self, transaction: ClientTransaction, response: Response) -> None: ...

    def timed_out(self, transaction: ClientTransaction) -> None: ...

    def transport_failed(self, transaction: ClientTransaction) -> None: ...


NOBODY = Nobody()


@define(eq=False, kw_only=True)
class Transaction:
    """What both kinds have.

    :ivar request: whole until it is answered for good; then method and CSeq only.
    :ivar flow: what it sends on; another one once the first is lost.
    :ivar destination: where to find the peer again when the flow is lost.
    :ivar tls: what then holds if that is by TLS.
    :ivar effects: what the table asked for and is not yet done.
    :ivar interval: of the retransmission timer (A, E or G), seconds.
    """

    key: Hashable
    request: Request
    flow: Flow
    timers: Timers
    destination: Uri
    tls: TlsTerms = ANY_PEER
    effects: list[Effect] = field(factory=list)
    running: dict[str, Alarm] = field(factory=dict)
    interval: float = 0.0
    done: bool = False

    @property
    def reliable(self) -> bool:
        return self.flow.reliable


@define(eq=False, kw_only=True)
class ClientTransaction(Transaction):
    """A request of ours.

    :ivar data: the request as sent.
    :ivar ack: the ACK of a final response other than 2xx, once there is one (17.1.1.3).
    :ivar reconnects: whether a lost flow is replaced; not so for a request that its sender routed himself.
    :ivar answered: whether any response has come.
    """

    data: bytes
    user: ClientUser
    sent_by: tuple[str, int | None]
    reconnects: bool = False
    answered: bool = False
    ack: bytes = b""


@define(eq=False, kw_only=True)
class ServerTransaction(Transaction):
    """A request of the peer's.

    :ivar last: the last response sent, as sent; empty before.
    :ivar to_tag: of the responses, to tell the ACK of an RFC 2543 client by (17.2.3).
    :ivar final: whether a final response has been given.
    """

    user: ServerUser | None
    to_tag: str
    merge_key: Hashable = None
    last: bytes = b""
    final: bool = False
