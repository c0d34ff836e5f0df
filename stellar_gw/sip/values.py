"""The structured values of headers: addresses, Via, CSeq (RFC 3261 20, 25.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from attrs import evolve, field, frozen

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.grammar import HOST, LWS, MAX_ITEMS, QUOTED_STRING, TOKEN, is_token, quote, split_list, unquote
from stellar_gw.sip.params import NO_PARAMS, Params, Quoted, parse_params
from stellar_gw.sip.uri import Uri, parse_uri, parsed_host, parsed_port, written_host

MAGIC_COOKIE = "z9hG4bK"
"""What every branch of RFC 3261 begins with (8.1.1.7)."""


@frozen
class NameAddr:
    """An address with display name and header parameters: From, To, Contact, Route and their kin.

    Written as it came, if it was parsed.

    :ivar display: unquoted; empty where there is none.
    """

    display: str
    uri: Uri
    params: Params = NO_PARAMS
    _text: str | None = field(default=None, init=False, eq=False, repr=False)

    @property
    def tag(self) -> str | None:
        return self.params.get("tag")

    def with_tag(self, tag: str) -> NameAddr:
        return evolve(self, params=self.params.with_("tag", tag))

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        display = f"{quote(self.display)} " if self.display else ""
        return f"{display}<{self.uri}>{self.params.to_header()}"


@frozen
class Via:
    """One hop. Written as it came, if it was parsed.

    :ivar transport: upper-case: UDP, TCP, TLS, ...
    :ivar host: of sent-by, lower-case; an IPv6 address without its brackets.
    """

    transport: str
    host: str
    port: int | None = None
    params: Params = NO_PARAMS
    _text: str | None = field(default=None, init=False, eq=False, repr=False)

    @property
    def branch(self) -> str | None:
        return self.params.get("branch")

    @property
    def received(self) -> str | None:
        """The address, without brackets (RFC 5118 4.5 shows both)."""
        received = self.params.get("received")
        return received if received is None else received.strip("[]")

    @property
    def rport(self) -> int | None:
        """The port, where one is filled in; ``"rport" in via.params`` tells that one was asked for (RFC 3581)."""
        value = self.params.get("rport")
        return int(value) if value else None

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        if not is_token(self.transport):
            raise LocalProtocolError(f"not a transport: {self.transport!r}")
        return f"SIP/2.0/{self.transport} {written_host(self.host, self.port)}{self.params.to_header()}"


@frozen
class CSeq:
    """A sequence number and the method it counts."""

    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


# Addresses and parameters come again and again: in every message of a call, and of every call of a trunk.
_KEPT = 1024
_LONGEST_KEPT = 256  # so that nobody fills the memory with what will not come again

_bracketed = re.compile(rf'(?:({QUOTED_STRING}){LWS}|([^"<>;]*+))<([^<>]*+)>{LWS}', re.DOTALL).match
_via = re.compile(
    rf"[Ss][Ii][Pp]{LWS}/{LWS}2\.0{LWS}/{LWS}({TOKEN})[ \t]++({HOST}){LWS}(?::{LWS}([0-9]{{1,5}}){LWS})?"
).match
_cseq = re.compile(rf"0*([0-9]{{1,10}})[ \t]++({TOKEN})").fullmatch
_is_port = re.compile(r"[0-9]{1,5}").fullmatch


def parse_name_addr(text: str) -> NameAddr:
    """Parse one address, stripped, with or without angle brackets.

    Parameters after an address without brackets are the header's (RFC 3261 20.10). A display name
    need not be quoted even where the grammar wants it: ``A. Bell``, ``Bell, Alexander``.

    :raise RemoteProtocolError: it is none.
    """
    return _kept_name_addr(text) if len(text) <= _LONGEST_KEPT else _name_addr(text)


def _name_addr(text: str) -> NameAddr:
    match = _bracketed(text)
    if match is not None:
        quoted, display, uri_text = match.groups()
        display = unquote(quoted) if quoted else display.strip(" \t")
        address = NameAddr(display, parse_uri(uri_text), parse_params(text, match.end()))
        written_anew = quoted is None and "," in display  # in quotes, or it would come apart in a list
    else:
        plain = text.partition(";")[0]
        if text.startswith('"') or "<" in plain:
            raise RemoteProtocolError("unbalanced quotes or angle brackets")
        if "?" in plain or "," in plain:
            raise RemoteProtocolError("a URI with '?' or ',' must stand in angle brackets")
        address = NameAddr("", parse_uri(plain.rstrip(" \t")), parse_params(text, len(plain)))
        written_anew = False
    if address.params.get("tag", "-") in ("", None):
        raise RemoteProtocolError("an empty tag")
    if not written_anew:
        object.__setattr__(address, "_text", text)
    return address


_kept_name_addr = lru_cache(maxsize=_KEPT)(_name_addr)


def parse_name_addrs(values: Iterable[str]) -> tuple[NameAddr, ...]:
    """Parse all the addresses of a header's lines. ``*`` (Contact, in REGISTER) is no address and left out."""
    return tuple([parse_name_addr(item) for item in _items(values) if item != "*"])


def parse_via(text: str) -> Via:
    """
    :raise RemoteProtocolError: it is none, or its branch is the magic cookie alone (RFC 4475 3.2.1).
    """
    match = _via(text)
    if match is None:
        raise RemoteProtocolError("malformed hop")
    transport, host, port = match.groups()
    params = parse_params(text, match.end())
    if params.get("branch", "-") in ("", MAGIC_COOKIE, None):
        raise RemoteProtocolError("a branch that identifies nothing")
    rport = params.get("rport")
    if rport and not _is_port(rport):
        raise RemoteProtocolError("rport must be a port")
    via = Via(transport.upper(), parsed_host(host), parsed_port(port), params)
    object.__setattr__(via, "_text", text)
    return via


def parse_vias(values: Iterable[str]) -> tuple[Via, ...]:
    """
    :raise RemoteProtocolError: one is none, or there are more than ``MAX_ITEMS``.
    """
    return tuple([parse_via(item) for item in _items(values)])


def _items(values: Iterable[str]) -> list[str]:
    """The items of all the lines of one header; they are counted before any is read."""
    items = [item for value in values for item in split_list(value)]
    if len(items) > MAX_ITEMS:
        raise RemoteProtocolError(f"more than {MAX_ITEMS} items")
    return items


def parse_cseq(text: str) -> CSeq:
    """
    :raise RemoteProtocolError: no 32-bit number and method (RFC 3261 8.1.1.5).
    """
    match = _cseq(text)
    if match is None or (number := int(match[1])) >= 1 << 32:
        raise RemoteProtocolError("must be a number below 2**32 and a method")
    return CSeq(number, match[2])


def parse_tokens(values: Iterable[str]) -> tuple[str, ...]:
    """The items of lists of tokens (Allow, Supported, Require); what is no token is left out."""
    return tuple([item for value in values for item in map(_strip, value.split(",")) if is_token(item)])


def _strip(text: str) -> str:
    return text.strip(" \t")


__all__ = [
    "MAGIC_COOKIE",
    "CSeq",
    "NameAddr",
    "Params",
    "Quoted",
    "Via",
    "parse_cseq",
    "parse_name_addr",
    "parse_name_addrs",
    "parse_params",
    "parse_tokens",
    "parse_via",
    "parse_vias",
    "quote",
    "split_list",
    "unquote",
]
