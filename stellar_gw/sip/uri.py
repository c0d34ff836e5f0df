"""URIs: sip and sips (RFC 3261 19.1), tel (RFC 3966), and others kept as text.

A URI that was parsed is written with the very text it came as, since a peer may compare its own
Contact octet by octet; ``attrs.evolve`` makes a URI that is written from its parts.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from attrs import evolve, field, frozen

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.grammar import (
    HOST,
    PASSWORD_SAFE,
    URI_HEADER_SAFE,
    USER_SAFE,
    escape,
    unescape,
)
from stellar_gw.sip.params import NO_PARAMS, Params, parse_uri_params


@frozen(kw_only=True)
class SipUri:
    """A sip or sips URI.

    :ivar user: unescaped, once; None where the URI has none.
    :ivar host: lower-case; an IPv6 address stands without its brackets.
    :ivar headers: what follows ``?``, unescaped.
    """

    scheme: str = "sip"
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str
    port: int | None = None
    params: Params = NO_PARAMS
    headers: tuple[tuple[str, str], ...] = ()
    _text: str | None = field(default=None, init=False, eq=False, repr=False)

    def __str__(self) -> str:
        return self._text if self._text is not None else self._written()

    def _written(self) -> str:
        wire = [self.scheme, ":"]
        if self.user is not None:
            wire.append(escape(self.user, USER_SAFE))
            if self.password is not None:
                wire.append(":" + escape(self.password, PASSWORD_SAFE))
            wire.append("@")
        wire.append(written_host(self.host, self.port))
        wire.append(self.params.to_uri())
        for separator, (name, value) in zip("?" + "&" * len(self.headers), self.headers, strict=False):
            wire.append(f"{separator}{escape(name, URI_HEADER_SAFE)}={escape(value, URI_HEADER_SAFE)}")
        return "".join(wire)

    @property
    def secure(self) -> bool:
        return self.scheme == "sips"


@frozen
class TelUri:
    """A telephone number.

    :ivar number: with its ``+`` if it is a global one; visual separators left out (RFC 3966 5.1.1).
    """

    number: str
    params: Params = NO_PARAMS
    _text: str | None = field(default=None, init=False, eq=False, repr=False)

    def __str__(self) -> str:
        if self._text is not None:
            return self._text
        if not _is_number(self.number):
            raise LocalProtocolError(f"not a telephone number: {self.number!r}")
        return f"tel:{self.number}{self.params.to_uri()}"


@frozen
class OtherUri:
    """A URI of a scheme that we only pass on.

    :ivar rest: all that follows the scheme's colon, as it came.
    """

    scheme: str
    rest: str

    def __str__(self) -> str:
        text = f"{self.scheme}:{self.rest}"
        if not _is_other(text):
            raise LocalProtocolError(f"not a URI: {text!r}")
        return text


Uri = SipUri | TelUri | OtherUri

# Users hold more than RFC 3261's unreserved characters in practice ("*21#", names in UTF-8), so everything
# is let in that cannot be taken for another part of the URI or of the header around it.
_USER = r'[^\x00-\x20\x7f@:<>"\\%]*+(?:%[0-9A-Fa-f]{2}[^\x00-\x20\x7f@:<>"\\%]*+)*'
_sip = re.compile(
    rf"([Ss][Ii][Pp][Ss]?):(?:({_USER})(?::({_USER}))?@)?({HOST})(?::([0-9]{{1,5}}))?"
    r'((?:;[^\x00-\x20\x7f<>"?@]*+)?)(\?[^\x00-\x20\x7f<>"]*+)?'
).fullmatch
_tel = re.compile(r'[Tt][Ee][Ll]:(\+?[0-9A-Fa-f*#().-]++)((?:;[^\x00-\x20\x7f<>"?@]*+)?)').fullmatch
_other = re.compile(r'([A-Za-z][A-Za-z0-9+.-]*+):([^\x00-\x20\x7f<>"]++)').fullmatch
_is_other = _other
_is_number = re.compile(r"\+?[0-9A-Fa-f*#]++").fullmatch
_is_host = re.compile(r"[A-Za-z0-9._-]++").fullmatch
_separators = str.maketrans("", "", "().-")


def parse_uri(text: str) -> Uri:
    """Parse a URI that stands alone: no angle brackets, no white space.

    :raise RemoteProtocolError: it is none.
    """
    return _kept_uri(text) if len(text) <= _LONGEST_KEPT else _uri(text)


def _uri(text: str) -> Uri:
    match = _sip(text)
    if match is not None:
        return _sip_uri(text, match)
    found = _other(text)
    if found is None:
        raise RemoteProtocolError("malformed URI")
    scheme = found[1].lower()
    if scheme in ("sip", "sips"):
        raise RemoteProtocolError("malformed SIP URI")
    if scheme == "tel":
        return _tel_uri(text)
    return OtherUri(found[1], found[2])


# The same URIs come in every message of a call. Long ones are not kept, lest they fill the memory.
_kept_uri = lru_cache(maxsize=1024)(_uri)
_LONGEST_KEPT = 128


def _sip_uri(text: str, match: re.Match[str]) -> SipUri:
    scheme, user, password, host, port, params, headers = match.groups()
    if user is not None:
        if not user:
            raise RemoteProtocolError("a SIP URI with an empty user")
        if "%" in user:
            user = unescape(user)
        if password:
            password = unescape(password)
    uri = SipUri(
        scheme=scheme.lower(),
        user=user,
        password=password,
        host=parsed_host(host),
        port=parsed_port(port),
        params=parse_uri_params(params) if params else NO_PARAMS,
        headers=_uri_headers(headers) if headers else (),
    )
    object.__setattr__(uri, "_text", text)
    return uri


def _tel_uri(text: str) -> TelUri:
    match = _tel(text)
    number = match[1].translate(_separators) if match is not None else ""
    if match is None or not number.strip("+"):
        raise RemoteProtocolError("malformed telephone number")
    uri = TelUri(number, parse_uri_params(match[2]))
    object.__setattr__(uri, "_text", text)
    return uri


def _uri_headers(text: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for each in text[1:].split("&"):
        name, _, value = each.partition("=")
        if not name:
            raise RemoteProtocolError("a URI header without a name")
        headers.append((unescape(name), unescape(value)))
    return tuple(headers)


def parsed_host(text: str) -> str:
    """A host as our classes hold it: lower-case, an IPv6 reference checked and without its brackets.

    :raise RemoteProtocolError: what stands in the brackets is no IPv6 address.
    """
    if text[0] != "[":
        return text.lower()
    address = text[1:-1].lower()
    try:
        IPv6Address(address)
    except AddressValueError:
        raise RemoteProtocolError("malformed IPv6 address") from None
    return address


def parsed_port(text: str | None) -> int | None:
    if text is None:
        return None
    port = int(text)
    if not 0 < port < 65_536:
        raise RemoteProtocolError("a port outside 1 to 65535")
    return port


def written_host(host: str, port: int | None) -> str:
    """``host``, ``host:port``, ``[2001:db8::1]:port``.

    :raise LocalProtocolError: no host.
    """
    if ":" in host:
        try:
            IPv6Address(host)
        except AddressValueError:
            raise LocalProtocolError(f"not a host: {host!r}") from None
        if "%" in host:
            raise LocalProtocolError(f"a scope means nothing to a peer: {host!r}")
        host = f"[{host}]"
    elif not _is_host(host):
        raise LocalProtocolError(f"not a host: {host!r}")
    return host if port is None else f"{host}:{port}"


__all__ = ["OtherUri", "SipUri", "TelUri", "Uri", "parse_uri"]


def in_to(uri: SipUri) -> SipUri:
    """A URI as To and From may hold it: without what says how to get there (RFC 3261 19.1.1, table 1)."""
    params = uri.params
    for name in ("method", "maddr", "ttl", "transport", "lr"):
        params = params.without(name)
    return evolve(uri, port=None, params=params, headers=())
