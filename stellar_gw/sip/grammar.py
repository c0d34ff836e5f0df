"""The lexical ground of SIP: tokens, quoted strings, lists and percent escapes (RFC 3261 25.1).

Text is ``str``: what came off the wire is UTF-8, and octets that are not are kept as surrogate escapes
(PEP 383), so that a value passed on leaves with the octets it came with. All patterns are anchored by
their callers and possessive where they repeat, so that none of them backtracks: time is linear in the text.
"""

from __future__ import annotations

import re
from urllib.parse import quote as percent_encode
from urllib.parse import unquote_to_bytes

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError

MAX_MESSAGE = 65_536
"""Octets of one message, headers and body together."""
MAX_LINE = 8_192
"""Octets of one header, its continuation lines included."""
MAX_HEADERS = 256
MAX_ITEMS = 256
"""Items of one header, all its lines together: of Via, as many hops as Max-Forwards can ever allow, and one."""

# No possessive groups, though they would do: Python 3.11.2, which Debian 12 has, takes what they should give up.
TOKEN_CHARS = r"A-Za-z0-9\-.!%*_+`'~"
TOKEN = rf"[{TOKEN_CHARS}]++"
# No line breaks can be inside: they are gone, or refused, before any value is parsed.
QUOTED_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*"'
# RFC 3261 25.1 hostname and IPv6reference; underscores are not in it, but in the host names of phone systems.
HOST = r"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9._-]++"
LWS = r"[ \t]*+"

is_token = re.compile(TOKEN).fullmatch
_is_plain_value = re.compile(rf"[{TOKEN_CHARS}\[\]:]++").fullmatch  # gen-value: a token or a host
_quoted_string = re.compile(QUOTED_STRING, re.DOTALL).fullmatch
_quoted_pair = re.compile(r"\\(.)", re.DOTALL)
_to_quote = re.compile(r'["\\]')
_unfit = re.compile("[\r\n\0\ud800-\udc7f\udd00-\udfff]").search
_list_item = re.compile(rf'(?:[^",<]++|{QUOTED_STRING}|<[^>]*+>)*')
_broken_escape = re.compile(r"%(?![0-9A-Fa-f]{2})").search

_UNRESERVED = "-_.!~*'()"
USER_SAFE = _UNRESERVED + "&=+$,;?/"
PASSWORD_SAFE = _UNRESERVED + "&=+$,"
URI_PARAM_SAFE = _UNRESERVED + "[]/:&+$"
URI_HEADER_SAFE = _UNRESERVED + "[]/?:+$"


def fit_for_a_line(text: str, what: str) -> str:
    """Pass text that may stand in a header line.

    :param what: names the text in the error.
    :raise LocalProtocolError: CR, LF or NUL in it, which nobody may ever inject, or what UTF-8 cannot say.
    """
    if _unfit(text) is not None:
        raise LocalProtocolError(f"{what} must not hold line breaks, NUL or lone surrogates: {text!r}")
    return text


def quote(text: str) -> str:
    """Write a quoted-string.

    :raise LocalProtocolError: CR, LF or NUL in it.
    """
    return '"' + _to_quote.sub(r"\\\g<0>", fit_for_a_line(text, "a quoted string")) + '"'


def unquote(text: str) -> str:
    """The content of a quoted-string; other text comes back as it is.

    :raise RemoteProtocolError: it begins with a quote and is no quoted-string.
    """
    if not text.startswith('"'):
        return text
    if _quoted_string(text) is None:
        raise RemoteProtocolError("unbalanced quotes")
    content = text[1:-1]
    return _quoted_pair.sub(r"\1", content) if "\\" in content else content


def param_value(text: str) -> str:
    """Write a parameter's value: a token or host as it is, anything else quoted."""
    return text if _is_plain_value(text) else quote(text)


def split_list(value: str) -> list[str]:
    """Cut a header's value at its commas, those in quoted strings and ``<>`` left alone (RFC 3261 7.3.1).

    :return: the items, stripped; empty ones dropped.
    :raise RemoteProtocolError: a quote or an angle bracket is never closed, or more than ``MAX_ITEMS``, empty ones
        included.
    """
    if "," not in value:
        value = value.strip(" \t")
        return [value] if value else []
    items, position, end = [], 0, len(value)
    for _ in range(MAX_ITEMS):
        match = _list_item.match(value, position)
        assert match is not None  # it matches the empty string too
        item, position = match[0].strip(" \t"), match.end()
        if position < end and value[position] != ",":
            raise RemoteProtocolError("unbalanced quotes or angle brackets")
        if item:
            items.append(item)
        position += 1
        if position > end:
            return items
    raise RemoteProtocolError(f"more than {MAX_ITEMS} items")


def unescape(text: str) -> str:
    """Undo percent escapes, once (RFC 3261 19.1.2). ``%00`` is a character like any other.

    :raise RemoteProtocolError: a ``%`` without two hexadecimal digits.
    """
    if "%" not in text:
        return text
    if _broken_escape(text) is not None:
        raise RemoteProtocolError("% without two hexadecimal digits in a URI")
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def escape(text: str, safe: str) -> str:
    """Write text with percent escapes for all but letters, digits and ``safe``."""
    return percent_encode(fit_for_utf8(text).encode("utf-8", "surrogateescape"), safe)


def fit_for_utf8(text: str) -> str:
    """Pass text that has octets.

    :raise LocalProtocolError: surrogates that stand for no octet.
    """
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise LocalProtocolError(f"not text: {text!r}") from None
    return text
