"""Requests and responses (RFC 3261 7, 8.2.6)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.grammar import fit_for_a_line, is_token
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.reasons import REASONS
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import (
    CSeq,
    NameAddr,
    Via,
    parse_cseq,
    parse_name_addr,
    parse_name_addrs,
    parse_tokens,
    parse_vias,
)

T = TypeVar("T")


class Message:
    """What requests and responses have in common.

    The typed properties follow ``headers``. Of a message that came through ``parse_message`` none of them
    raises; otherwise they raise :exc:`RemoteProtocolError` where a header is missing or unsound.
    """

    __slots__ = ("body", "headers")

    def __init__(self, headers: Headers | Iterable[tuple[str, str]] = (), body: bytes = b"") -> None:
        self.headers = headers if isinstance(headers, Headers) else Headers(headers)
        self.body = body

    @property
    def vias(self) -> tuple[Via, ...]:
        return self.headers.parsed("via", parse_vias)

    @property
    def via(self) -> Via:
        """The top one: the hop before us."""
        vias = self.vias
        if not vias:
            raise RemoteProtocolError("missing")
        return vias[0]

    def replace_via(self, via: Via) -> None:
        """Put another top Via in the place of this one (to fill in ``received`` and ``rport``)."""
        self.headers.replace("Via", str(via), *map(str, self.vias[1:]))

    @property
    def from_(self) -> NameAddr:
        return self.headers.parsed("from", _one_address)

    @property
    def to(self) -> NameAddr:
        return self.headers.parsed("to", _one_address)

    @property
    def call_id(self) -> str:
        return self.headers.parsed("call-id", _one_call_id)

    @property
    def cseq(self) -> CSeq:
        return self.headers.parsed("cseq", _one_cseq)

    @property
    def contacts(self) -> tuple[NameAddr, ...]:
        return self.headers.parsed("contact", parse_name_addrs)

    @property
    def contact(self) -> NameAddr | None:
        """The first Contact."""
        contacts = self.contacts
        return contacts[0] if contacts else None

    @property
    def route(self) -> tuple[NameAddr, ...]:
        return self.headers.parsed("route", parse_name_addrs)

    @property
    def record_route(self) -> tuple[NameAddr, ...]:
        return self.headers.parsed("record-route", parse_name_addrs)

    @property
    def max_forwards(self) -> int | None:
        return self.headers.parsed("max-forwards", _max_forwards)

    @property
    def content_type(self) -> str:
        """``type/subtype`` in lower case, without parameters; empty where there is none."""
        return self.headers.parsed("content-type", _media_type)

    @property
    def allow(self) -> tuple[str, ...]:
        return self.headers.parsed("allow", parse_tokens)

    @property
    def supported(self) -> tuple[str, ...]:
        return self.headers.parsed("supported", parse_tokens)

    @property
    def require(self) -> tuple[str, ...]:
        return self.headers.parsed("require", parse_tokens)

    def start_line(self) -> str:
        raise NotImplementedError

    def to_bytes(self) -> bytes:
        """The message as it goes out: Content-Length is always there, last, and right.

        :raise LocalProtocolError: a start line that would not be one.
        """
        lines = [self.start_line()]
        lines += [f"{name}: {value}" for name, value in self.headers if name != "Content-Length"]
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return self._content() == other._content()

    def _content(self) -> tuple[str, list[tuple[str, str]], bytes]:
        # Content-Length says nothing that the body does not.
        return self.start_line(), [item for item in self.headers if item[0] != "Content-Length"], self.body

    __hash__ = None  # type: ignore[assignment]  # mutable; the way the language asks for it


class Request(Message):
    """A request."""

    __slots__ = ("method", "uri")

    def __init__(
        self, method: str, uri: Uri, headers: Headers | Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        super().__init__(headers, body)
        self.method = method
        self.uri = uri

    def start_line(self) -> str:
        if not is_token(self.method):
            raise LocalProtocolError(f"a method must be a token, not {self.method!r}")
        uri = fit_for_a_line(str(self.uri), "a Request-URI")
        if _unfit_for_request_uri(uri):
            raise LocalProtocolError(f"not a Request-URI: {uri!r}")
        return f"{self.method} {uri} SIP/2.0"

    def __repr__(self) -> str:
        return f"<Request {self.method}, {len(self.headers)} headers, {len(self.body)} octets>"


class Response(Message):
    """A response."""

    __slots__ = ("reason", "status")

    def __init__(
        self, status: int, reason: str = "", headers: Headers | Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> None:
        super().__init__(headers, body)
        self.status = status
        self.reason = reason

    def start_line(self) -> str:
        if not 100 <= self.status <= 699:
            raise LocalProtocolError(f"a status must be 100 to 699, not {self.status}")
        return f"SIP/2.0 {self.status} {fit_for_a_line(self.reason, 'a reason phrase')}"

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.headers)} headers, {len(self.body)} octets>"


_unfit_for_request_uri = re.compile(r'[\x00-\x20\x7f<>"]').search

# RFC 3261 12.1.1 for INVITE; RFC 6665 4.2.1 and RFC 3515 2.4.4 for the others.
_FORMS_DIALOGS = frozenset(("INVITE", "NOTIFY", "REFER", "SUBSCRIBE"))


def response_to(
    request: Request,
    status: int,
    reason: str = "",
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    to_tag: str | None = None,
) -> Response:
    """The response to a request (RFC 3261 8.2.6.2), Record-Route included where it may form a dialog (12.1.1).

    :param reason: the usual phrase of that status, where empty.
    :param to_tag: put into To, unless the request's has one.
    :raise LocalProtocolError: headers that cannot be written.
    """
    names = ["Via", "From", "To", "Call-ID", "CSeq", "Timestamp"]
    if 100 < status < 300 and request.method in _FORMS_DIALOGS:
        names.insert(1, "Record-Route")
    tagged = to_tag is not None and request.to.tag is None
    if tagged and not is_token(to_tag or ""):
        raise LocalProtocolError(f"a tag must be a token, not {to_tag!r}")
    items = []
    for name in names:
        for value in request.headers.all(name):
            items.append((name, f"{value};tag={to_tag}" if tagged and name == "To" else value))
    response = Response(status, reason or REASONS.get(status, ""), Headers.sound(items), body)
    for name, value in headers:
        response.headers.add(name, value)
    return response


def _one(values: list[str], parse: Callable[[str], T]) -> T:
    if len(values) != 1:
        raise RemoteProtocolError("comes more than once" if values else "missing")
    return parse(values[0])


def _one_address(values: list[str]) -> NameAddr:
    return _one(values, parse_name_addr)


def _one_cseq(values: list[str]) -> CSeq:
    return _one(values, parse_cseq)


def _one_call_id(values: list[str]) -> str:
    return _one(values, _call_id)


_is_call_id = re.compile(r"[^\x00-\x20\x7f]++").fullmatch


def _call_id(value: str) -> str:
    # Wider than RFC 3261's word@word: '=' and the like are common, and nothing is read out of it.
    if not _is_call_id(value):
        raise RemoteProtocolError("must be one word")
    return value


_hop_count = re.compile(r"0*([0-9]{1,3})").fullmatch


def _max_forwards(values: list[str]) -> int | None:
    if not values:
        return None
    match = _hop_count(values[0]) if len(values) == 1 else None
    if match is None or (count := int(match[1])) > 255:
        raise RemoteProtocolError("must be one number from 0 to 255")
    return count


def _media_type(values: list[str]) -> str:
    return values[0].partition(";")[0].strip(" \t").lower() if values else ""


READERS: tuple[tuple[str, Callable[[list[str]], object]], ...] = (
    ("via", parse_vias),
    ("from", _one_address),
    ("to", _one_address),
    ("call-id", _one_call_id),
    ("cseq", _one_cseq),
    ("max-forwards", _max_forwards),
    ("contact", parse_name_addrs),
    ("route", parse_name_addrs),
    ("record-route", parse_name_addrs),
)
"""What the typed properties that can raise are read by: key and function of ``Headers.parsed``."""

__all__ = ["READERS", "REASONS", "Message", "Request", "Response", "response_to"]
