"""Dialogs as plain data (RFC 3261 12): who, where to, by which route, counted how."""

from __future__ import annotations

from attrs import define, evolve

from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.values import NameAddr

DialogKey = tuple[str, str, str]
"""Call-ID, local tag, remote tag; a tag that is missing (RFC 2543) is empty."""


@define(eq=False, kw_only=True)
class Dialog:
    """One dialog.

    :ivar local: our address, with our tag; goes into From of our requests.
    :ivar remote: the peer's.
    :ivar remote_target: the peer's Contact: the Request-URI of our requests.
    :ivar route_set: as our requests carry it.
    :ivar flow: what the next request goes out on, if the next hop is there.
    :ivar resolved: the next hop that ``flow`` was asked for, where it was.
    :ivar secure: it began with a sips URI over TLS (12.1.1).
    :ivar tls: it began over TLS, and stays there.
    :ivar tcp_above: octets above which our requests go over TCP rather than UDP (18.1.1); 0: none.
    :ivar tls_terms: what holds where we have to connect to the peer by TLS: a trunk's Contact may be a bare address.
    :ivar local_sequence: the CSeq of our last request; 0 before the first.
    :ivar remote_sequence: of the peer's; None before the first.
    :ivar remote_method: of that request.
    """

    call_id: str
    local: NameAddr
    remote: NameAddr
    remote_target: Uri
    route_set: tuple[NameAddr, ...]
    flow: Flow
    resolved: Uri | None = None
    secure: bool = False
    tls: bool = False
    tcp_above: int = 0
    tls_terms: TlsTerms = ANY_PEER
    local_sequence: int = 0
    remote_sequence: int | None = None
    remote_method: str = ""

    @property
    def local_tag(self) -> str:
        return self.local.tag or ""

    @property
    def remote_tag(self) -> str:
        return self.remote.tag or ""

    @property
    def local_uri(self) -> Uri:
        return self.local.uri

    @property
    def remote_uri(self) -> Uri:
        return self.remote.uri

    @property
    def key(self) -> DialogKey:
        return self.call_id, self.local_tag, self.remote_tag


def dialog_of_request(request: Request) -> DialogKey:
    """The dialog that a request of the peer's belongs to."""
    return request.call_id, request.to.tag or "", request.from_.tag or ""


def dialog_as_uas(invite: Request, flow: Flow, local_tag: str) -> Dialog:
    """The dialog that our response to an INVITE makes (12.1.1)."""
    contact = invite.contact
    return Dialog(
        call_id=invite.call_id,
        local=invite.to.with_tag(local_tag),
        remote=invite.from_,
        remote_target=contact.uri if contact is not None else invite.from_.uri,
        route_set=invite.record_route,
        flow=flow,
        secure=flow.secure and isinstance(invite.uri, SipUri) and invite.uri.secure,
        tls=flow.secure,
        remote_sequence=invite.cseq.number,
        remote_method="INVITE",
    )


def dialog_as_uac(invite: Request, response: Response, flow: Flow) -> Dialog:
    """The dialog that the peer's response to our INVITE makes (12.1.2)."""
    contact = response.contact
    return Dialog(
        call_id=invite.call_id,
        local=invite.from_,
        remote=response.to,
        remote_target=contact.uri if contact is not None else invite.uri,
        route_set=response.record_route[::-1],
        flow=flow,
        secure=flow.secure and isinstance(invite.uri, SipUri) and invite.uri.secure,
        tls=flow.secure,
        tls_terms=flow.tls,
        local_sequence=invite.cseq.number,
    )


def is_out_of_order(dialog: Dialog, request: Request) -> bool:
    """Whether a request of the peer's comes too late (12.2.2), or twice by two ways.

    The same number for another method is let pass: phone systems have been seen to count so.
    """
    last, number = dialog.remote_sequence, request.cseq.number
    return last is not None and (number < last or (number == last and request.method == dialog.remote_method))


def refresh(dialog: Dialog, message: Request | Response) -> None:
    """Take the target from a re-INVITE or its 2xx (12.2.1.2, 12.2.2); the route set never changes."""
    contact = message.contact
    if contact is not None and contact.uri != dialog.remote_target:
        dialog.remote_target = contact.uri


def way(target: Uri, route_set: tuple[NameAddr, ...]) -> tuple[Uri, list[str], Uri]:
    """How a request travels (12.2.1.1, 8.1.2).

    :return: its Request-URI, its Route values, and the URI of the next hop.
    """
    if not route_set:
        return _request_uri(target), [], target
    first = route_set[0].uri
    if isinstance(first, SipUri) and "lr" not in first.params:
        # A strict router: it finds itself in the Request-URI, and the target at the end of the route.
        routes = [str(route) for route in route_set[1:]]
        return _request_uri(first), [*routes, str(NameAddr("", target))], first
    return _request_uri(target), [str(route) for route in route_set], first


def _request_uri(uri: Uri) -> Uri:
    """A URI without what a Request-URI must not have (19.1.1, table 1)."""
    if not isinstance(uri, SipUri) or not (uri.headers or "method" in uri.params):
        return uri
    return evolve(uri, headers=(), params=uri.params.without("method"))
