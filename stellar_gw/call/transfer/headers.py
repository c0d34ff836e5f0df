"""What an agent gives its caller along: ``X-*`` headers on the REFER or INVITE of a transfer, or inside Refer-To.

An agent's words come from strangers: nothing of them may become another header, another line or another URI.
So names and values are held to a grammar that is narrower than SIP's, and everything is written from parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import evolve

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.sip.grammar import MAX_LINE
from stellar_gw.sip.uri import SipUri, TelUri
from stellar_gw.sip.values import NameAddr

Headers = tuple[tuple[str, str], ...]

MOST = 32
"""Headers of one transfer."""
MOST_OCTETS = 1024
"""Of one value, in UTF-8."""
PREFIX = "header:"
"""What a header's name has before it among an ask's parameters."""

_is_name = re.compile(r"[Xx]-[A-Za-z0-9-]{1,64}").fullmatch
_controls = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search


def asked_headers(parameters: Mapping[str, str]) -> Headers | TargetRefused:
    """The headers among an ask's parameters, in their order."""
    given = [(name.removeprefix(PREFIX), value) for name, value in parameters.items() if name.startswith(PREFIX)]
    return checked(given)


def checked(given: Iterable[tuple[str, str]]) -> Headers | TargetRefused:
    """The same headers, values stripped, if they may be sent; else why not.

    At most 32, names of the form ``X-Case-Id``, values of 1,024 octets of UTF-8 without control characters.
    """
    headers: list[tuple[str, str]] = []
    seen: set[str] = set()
    for name, value in given:
        if len(headers) == MOST:
            return _bad(f"a transfer has at most {MOST} headers")
        if not _is_name(name):
            shown = "".join(letter if letter.isprintable() else "?" for letter in name[:40])
            return _bad(f"'{shown}' is no name of a header; write X- and 1 to 64 letters, digits or hyphens")
        if name.lower() in seen:
            return _bad(f"{name} comes twice; case does not matter in header names")
        if _controls(value):
            return _bad(f"{name} must be one line of text without control characters")
        # SIP knows no white space at the ends of a value, nor does it tell an empty one from none.
        value = value.strip(" \t")
        if len(value.encode()) > MOST_OCTETS:
            return _bad(f"{name} is longer than {MOST_OCTETS} octets")
        seen.add(name.lower())
        headers.append((name, value))
    return tuple(headers)


def embedded(uri: SipUri | TelUri, headers: Headers) -> SipUri | TelUri | TargetRefused:
    """A Refer-To URI with headers in it (RFC 3261 19.1.1), for systems that read them there.

    :param headers: as :func:`checked` let them through.
    """
    if not headers or isinstance(uri, TelUri):
        return uri
    whole = evolve(uri, headers=headers)
    line = f"Refer-To: {NameAddr('', whole)}"
    if len(line) > MAX_LINE:
        return _bad(f"the headers make a Refer-To of {len(line)} octets, and {MAX_LINE} is the most")
    return whole


def _bad(message: str) -> TargetRefused:
    return TargetRefused("bad_headers", message)
