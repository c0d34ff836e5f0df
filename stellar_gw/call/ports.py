"""What a call needs of the floor above, as protocols; that floor implements them, the composition root joins them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from stellar_gw.control.messages import Event as MediaEvent
from stellar_gw.control.messages import Reply, Request
from stellar_gw.errors import StellarError
from stellar_gw.sip.checks import NOTHING_BESIDES, Besides
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.dialog import DialogKey
from stellar_gw.sip.events import Token, UsageId
from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms, Way
from stellar_gw.sip.message import Request as SipRequest
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import NameAddr

HeaderItems = Iterable[tuple[str, str]]


class NoWay(StellarError):
    """A URI that leads nowhere, or a place that cannot be connected to; one line that says why, for people."""


class Signalling(Protocol):
    """The SIP core as a call sees it: the same verbs, without the time, which the driver knows."""

    def respond(
        self, request: SipRequest, flow: Flow, status: int, reason: str = "", headers: HeaderItems = ()
    ) -> None:
        """Answer a new request statelessly (RFC 3261 8.2.7)."""

    def accept(
        self,
        request: SipRequest,
        flow: Flow,
        tcp_above: int = 0,
        tls: TlsTerms = ANY_PEER,
        besides: Besides = NOTHING_BESIDES,
    ) -> UsageId | None:
        """Open a usage for an INVITE and send 100; None for a merged request, which got its 482.

        :param tcp_above: octets above which our requests in its dialog go over TCP rather than UDP; 0: none.
        :param tls: what holds where we have to connect to the peer, because its connection is gone.
        :param besides: what this peer may in its dialog.
        """

    def find(self, key: DialogKey) -> UsageId | Literal["early", "over", "unknown"]:
        """The usage of a confirmed dialog; else what became of it. As in :class:`SipCore`."""

    def ring(self, usage: UsageId, status: int = 180, body: bytes = b"") -> None:
        """Send a provisional response; with a body, our answer to the INVITE's offer (RFC 3261 13.2.1).

        To a peer that demands it, reliably; then a body may also be our offer (RFC 3262 5).
        """

    def answer(self, usage: UsageId, body: bytes, headers: HeaderItems = ()) -> None:
        """Send 200 to the INVITE, or to the re-INVITE that is open."""

    def reject(self, usage: UsageId, status: int, reason: str = "", headers: HeaderItems = ()) -> None: ...

    def bye(self, usage: UsageId, headers: HeaderItems = ()) -> None: ...

    def invite(
        self,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: HeaderItems = (),
        body: bytes = b"",
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
        besides: Besides = NOTHING_BESIDES,
    ) -> UsageId:
        """Call somebody; nothing is told of the usage before this has returned. As in :class:`SipCore`."""

    def sequence(self, usage: UsageId) -> int:
        """The CSeq of the INVITE that a usage called with last; 0 once it has ended."""

    def cancel(self, usage: UsageId, headers: HeaderItems = ()) -> None:
        """Take an INVITE of ours back; Ended follows. A 2xx that was faster gets ACK and BYE."""

    def ack(self, usage: UsageId, body: bytes) -> None:
        """Answer, in the ACK, the offer in a 2xx to an INVITE of ours that had none."""

    def reinvite(self, usage: UsageId, body: bytes, headers: HeaderItems = ()) -> None:
        """Offer another session; Answered or ReinviteRefused follows (491 while another INVITE is open)."""

    def glare_delay(self, usage: UsageId) -> float:
        """How many seconds to wait after a 491 (RFC 3261 14.1)."""

    def request_in(
        self, usage: UsageId, method: str, headers: HeaderItems = (), body: bytes = b"", content_type: str = ""
    ) -> Token:
        """Send a request inside a dialog; nothing is told of it before this has returned.

        Ask by :class:`stellar_gw.call.usages.Usages`, which knows who waits for the response.
        """

    def request(
        self,
        method: str,
        uri: Uri,
        flow: Flow,
        *,
        from_: NameAddr,
        to: NameAddr,
        headers: HeaderItems = (),
        credentials: ClientCredentials | None = None,
        call_id: str | None = None,
        sequence: int = 1,
    ) -> Token:
        """Send a request outside any dialog; nothing is told of it before this has returned.

        Ask by :class:`stellar_gw.call.usages.Usages`, which knows who waits for the response.
        """

    def keep_alive(self, flow: Flow) -> bool:
        """Send what keeps a flow open on its way (RFC 5626 4.4.1); False: the flow is gone."""

    def respond_in(
        self, token: Token, status: int, reason: str = "", headers: HeaderItems = (), body: bytes = b""
    ) -> None:
        """Answer a request inside a dialog; a body is SDP."""

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        """Where to send a request for a URI, best first (RFC 3263 4); nothing is opened, failed ways come last.

        Never blocks, and takes five seconds at most. A sips URI leads to TLS alone.

        :param tls_name: what the certificates must carry; empty: the URI's host.
        :param client_certificate: the path of the PEM file that TLS peers are shown.
        :return: at least one; fails with :class:`NoWay`. May be cancelled.
        """

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        """A flow to one of :meth:`route`'s ways: one that is up, or a new connection.

        :param listener: whose Via and Contact to use; another of the same transport where it has not that one.
        :return: fails with :class:`NoWay`; the way is then marked as failed. May be cancelled.
        """

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None:
        """Have :meth:`route` list a way last for a while: it did not answer, or said 503."""

    def set_available(self, available: bool) -> None:
        """Whether OPTIONS gets 200, or 503 while draining."""

    def ladder(self, call_id: str) -> tuple[str, ...]:
        """One line for each SIP message of a Call-ID so far; for people."""


class WorkerFailed(StellarError):
    """A worker refused a request, or is not there to answer it.

    :ivar code: as in :class:`stellar_gw.control.messages.Failed`, or ``lost`` or ``timeout``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class MediaPlane(Protocol):
    """The media workers as a call sees them."""

    def ask(self, request: Request) -> Deferred[Reply]:
        """Send a request to the worker that carries its call (``Allocate`` chooses one).

        Requests of one call are carried out in the order they were made. The reply is never ``Failed``:
        that, a worker's end, and its silence, arrive as :class:`WorkerFailed`. One or the other comes within
        seconds of a worker's time, so whoever asks needs no clock: what is late because this very process was held
        up has not timed out.
        """


@frozen
class WorkerLost:
    """A worker has died, or was killed for its silence; what it carried is gone.

    :ivar message: one line for the operator.
    """

    calls: tuple[str, ...]
    message: str


MediaListener = Callable[[MediaEvent | WorkerLost], None]
