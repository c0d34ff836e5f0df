"""Requests that are made from another one, hop by hop: ACK of a failure, and CANCEL."""

from __future__ import annotations

from collections.abc import Iterable

from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request, Response


def ack_of(invite: Request, response: Response) -> bytes:
    """The ACK of a final response other than 2xx (RFC 3261 17.1.1.3)."""
    return _derived("ACK", invite, response.headers.all("To")[0]).to_bytes()


def cancel_of(invite: Request, headers: Iterable[tuple[str, str]] = ()) -> Request:
    """The CANCEL of an INVITE (RFC 3261 9.1)."""
    cancel = _derived("CANCEL", invite, invite.headers.all("To")[0])
    for name, value in headers:
        cancel.headers.add(name, value)
    return cancel


def _derived(method: str, invite: Request, to: str) -> Request:
    items = [
        ("Via", str(invite.via)),
        ("Max-Forwards", "70"),
        *[("Route", route) for route in invite.headers.all("Route")],
        ("From", invite.headers.all("From")[0]),
        ("To", to),
        ("Call-ID", invite.call_id),
        ("CSeq", f"{invite.cseq.number} {method}"),
    ]
    return Request(method, invite.uri, Headers.sound(items))
