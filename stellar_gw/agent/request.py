"""The upgrade request to an agent: what may be in it (RFC 6455 4.1, RFC 9110 5, RFC 3986).

URL and headers are filled from a call, so a caller has a hand in them. WebSocket libraries write them as they
come; everything that could end a line, name another host or take the handshake's own headers is refused here.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from stellar_gw import __version__
from stellar_gw.agent.link import Target
from stellar_gw.errors import StellarError

MAX_URL: Final = 8192
MAX_HEADERS: Final = 64
MAX_HEADER_OCTETS: Final = 16384
"""All header fields together."""

_URL: Final = re.compile(r"wss?://[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
"""The characters of RFC 3986 but ``#``: a WebSocket URL has no fragment (RFC 6455 3)."""

_HOST: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]")
_OURS: Final = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding", "te", "trailer"})


class InvalidTargetError(StellarError):
    """A target that no request may be made from.

    :ivar code: ``invalid_url`` or ``invalid_header``.
    :ivar message: says which rule was broken, without the value.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@frozen
class Endpoint:
    """Where to connect.

    :ivar host: name or address, without brackets.
    :ivar origin: scheme, host and port as they may be shown: path and query may hold secrets.
    """

    secure: bool
    host: str
    port: int
    origin: str


def endpoint(target: Target) -> Endpoint:
    """Check a target's URL.

    :raise InvalidTargetError: if it is not a ``ws://`` or ``wss://`` URL with a plain host.
    """
    url = target.url
    if len(url) > MAX_URL:
        raise _bad_url(f"is longer than {MAX_URL} characters")
    if not url.startswith(("ws://", "wss://")):
        raise _bad_url("must begin with ws:// or wss://")
    if not _URL.fullmatch(url):
        raise _bad_url("holds a character that must be percent-encoded (or a fragment, or a place never filled)")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad_url("has a port or an address that is none") from None
    secure = parts.scheme == "wss"
    host = parts.hostname or ""
    if "@" in parts.netloc:
        raise _bad_url("holds a user name or password; use the header Authorization")
    if port == 0 or parts.netloc.endswith(":"):
        raise _bad_url("has a port that is none")
    if not (_is_ipv6(host) if "[" in parts.netloc else len(host) <= 253 and _HOST.fullmatch(host)):
        raise _bad_url("has a host name that is none")
    return Endpoint(secure, host, port or (443 if secure else 80), f"{parts.scheme}://{parts.netloc}")


def headers(target: Target) -> list[tuple[str, str]]:
    """The fields to add to the handshake's own: the target's, the subprotocol, a User-Agent if there is none.

    :raise InvalidTargetError: if a name is no token, belongs to the handshake, or a value could end its line.
    """
    fields = list(target.headers)
    if len(fields) > MAX_HEADERS:
        raise _bad_header(f"more than {MAX_HEADERS} headers")
    for index, (name, value) in enumerate(fields, 1):
        if not _TOKEN.fullmatch(name):
            raise _bad_header(f"the name of header {index} is no token (RFC 9110 5.1)")
        if name.lower() in _OURS or name.lower().startswith(("sec-websocket-", "proxy-")):
            raise _bad_header(f"header {name} belongs to the handshake and cannot be set")
        if _CONTROL.search(value):
            raise _bad_header(f"the value of header {name} holds a control character")
    if target.subprotocol:
        if not _TOKEN.fullmatch(target.subprotocol):
            raise _bad_header("the subprotocol is no token (RFC 6455 4.1)")
        fields.append(("Sec-WebSocket-Protocol", target.subprotocol))
    if not any(name.lower() == "user-agent" for name, _ in fields):
        fields.append(("User-Agent", f"stellar-gw/{__version__}"))
    if sum(len(name) + len(value.encode()) for name, value in fields) > MAX_HEADER_OCTETS:
        raise _bad_header(f"headers are longer than {MAX_HEADER_OCTETS} octets together")
    return fields


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.IPv6Address(host).scope_id is None
    except ValueError:
        return False


def _bad_url(rule: str) -> InvalidTargetError:
    return InvalidTargetError("invalid_url", f"the agent's URL {rule}")


def _bad_header(rule: str) -> InvalidTargetError:
    return InvalidTargetError("invalid_header", f"request to the agent: {rule}")
