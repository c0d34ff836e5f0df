"""Parameters of headers and URIs (RFC 3261 7.3.1, 19.1.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.grammar import (
    LWS,
    QUOTED_STRING,
    TOKEN,
    URI_PARAM_SAFE,
    escape,
    is_token,
    param_value,
    quote,
    unescape,
    unquote,
)


class Quoted(str):
    """A parameter's value that came as a quoted-string, without its quotes, and leaves as one."""

    __slots__ = ()


class Params:
    """Parameters by name: ordered, immutable; names are case-insensitive, and lower-case inside.

    Values are unquoted and unescaped; a parameter without a value has None.
    """

    __slots__ = ("_items",)
    _items: dict[str, str | None]

    def __init__(self, items: Iterable[tuple[str, str | None]] = ()) -> None:
        self._items = {name.lower(): value for name, value in items}

    @classmethod
    def _of(cls, items: dict[str, str | None]) -> Params:
        params = cls.__new__(cls)
        params._items = items
        return params

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value; None for a parameter without one too, so ask ``in`` for those."""
        return self._items.get(name.lower(), default)

    def with_(self, name: str, value: str | None = None) -> Params:
        """The same parameters with this one set, in its old place if it had one."""
        return self._of({**self._items, name.lower(): value})

    def without(self, name: str) -> Params:
        name = name.lower()
        return self._of({each: value for each, value in self._items.items() if each != name})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._items

    def __iter__(self) -> Iterator[tuple[str, str | None]]:
        return iter(self._items.items())

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == other._items if isinstance(other, Params) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"Params({list(self._items.items())!r})"

    def to_header(self) -> str:
        """As they follow a header's value: ``;name=value;flag``.

        :raise LocalProtocolError: a name that is no token, or a value that no header can carry.
        """
        return "".join([f";{_header_param(name, value)}" for name, value in self._items.items()])

    def to_uri(self) -> str:
        """As they follow a URI's host: ``;name=value;flag``, escaped."""
        wire = []
        for name, value in self._items.items():
            if not name:
                raise LocalProtocolError("a URI parameter needs a name")
            wire.append(";" + escape(name, URI_PARAM_SAFE))
            if value is not None:
                wire.append("=" + escape(value, URI_PARAM_SAFE))
        return "".join(wire)


NO_PARAMS = Params()

# A value that is no token is let in too, as far as it cannot be taken for anything else: IPv6 addresses
# without brackets (RFC 5118 4.5), base64, "x=".
_header_param_at = re.compile(
    rf';{LWS}({TOKEN}){LWS}(?:={LWS}({QUOTED_STRING}|[^\x00-\x20\x7f;,"<>]*+){LWS})?', re.DOTALL
).match


def parse_params(text: str, start: int = 0) -> Params:
    """Parse a header's parameters: ``;name=value`` until the end of the text, white space anywhere between.

    :param start: where in the text they begin.
    :raise RemoteProtocolError: something else is there, or one name comes with two values.
    """
    end = len(text)
    if start >= end:
        return NO_PARAMS
    items: dict[str, str | None] = {}
    while start < end:
        match = _header_param_at(text, start)
        if match is None:
            raise RemoteProtocolError("malformed parameters")
        name, value = match.groups()
        name = name.lower()
        if value is not None and value.startswith('"'):
            value = Quoted(unquote(value))
        if name in items and items[name] != value:
            raise RemoteProtocolError("a parameter comes twice, with two values")
        items[name] = value
        start = match.end()
    return Params._of(items)


def parse_uri_params(text: str) -> Params:
    """Parse what follows a URI's host: ``;name=value;flag``, each unescaped once.

    :raise RemoteProtocolError: a parameter without a name, or one name with two values.
    """
    if not text:
        return NO_PARAMS
    return _kept_uri_params(text) if len(text) <= _LONGEST_KEPT else _uri_params(text)


def _uri_params(text: str) -> Params:
    items: dict[str, str | None] = {}
    for each in text[1:].split(";"):
        name, equals, plain = each.partition("=")
        value = unescape(plain) if equals else None
        name = unescape(name).lower()
        if not name:
            raise RemoteProtocolError("a URI parameter without a name")
        if name in items and items[name] != value:
            raise RemoteProtocolError("a URI parameter comes twice, with two values")
        items[name] = value
    return Params._of(items)


# The same few come in nearly every URI. Long ones do not, and would fill the memory.
_kept_uri_params = lru_cache(maxsize=256)(_uri_params)
_LONGEST_KEPT = 64


def _header_param(name: str, value: str | None) -> str:
    if not is_token(name):
        raise LocalProtocolError(f"a parameter's name must be a token, not {name!r}")
    if value is None:
        return name
    return f"{name}={quote(value) if isinstance(value, Quoted) else param_value(value)}"
