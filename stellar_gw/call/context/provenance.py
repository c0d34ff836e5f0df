"""By whose word a caller is who it is, and by which way the call has come: what an INVITE says of it.

Privacy (RFC 3323, RFC 3325), diversion (RFC 5806, RFC 7044), caller verification (RFC 8224, 3GPP TS 24.229 7.2A.20)
and user-to-user information (RFC 7433). All of it is text from outside: bounded, and true only as far as the phone
system is believed that sent it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.message import Request
from stellar_gw.sip.uri import SipUri, TelUri, Uri
from stellar_gw.sip.values import NameAddr, parse_name_addr, split_list

MOST: Final = 4
"""Values of one header that an agent is told."""
MOST_HISTORY: Final = 8
MOST_IDENTITY: Final = 4096
"""Octets of an Identity value; what is longer is left out whole, for a signature that was cut proves nothing."""

CAUSES: Final = {
    "302": "unconditional",
    "404": "unknown",
    "408": "no-answer",
    "480": "deflection",
    "486": "user-busy",
    "487": "deflection",
    "503": "unavailable",
}
"""Causes of History-Info as the reasons of Diversion (RFC 7131, RFC 6044 7.3)."""

_word: Final = re.compile(r"[A-Za-z0-9-]{1,64}").fullmatch
_cause: Final = re.compile(r";[ \t]*cause[ \t]*=[ \t]*([0-9]{3})(?![0-9])", re.IGNORECASE).search


@frozen(kw_only=True)
class Provenance:
    """
    :ivar privacy: what the caller asked for, such as ``id``; empty where it asked for nothing.
    :ivar diversion, history_info: as they came, the last diversion first, the first target first.
    :ivar diverted_from: who had the call before, ``diversion_reason`` why it is not there: a word of Diversion's.
    :ivar verstat: what the phone system found of the caller's number, such as ``TN-Validation-Passed``.
    :ivar attestation: ``A``, ``B`` or ``C``: how far the first carrier stands for the caller.
    :ivar identity: its signed token, as it came; nobody has checked it here.
    """

    privacy: str = ""
    diversion: tuple[str, ...] = ()
    history_info: tuple[str, ...] = ()
    diverted_from: str = ""
    diversion_reason: str = ""
    user_to_user: tuple[str, ...] = ()
    verstat: str = ""
    attestation: str = ""
    identity: tuple[str, ...] = ()


def provenance_of(request: Request, bounded: Callable[[str], str], number_of: Callable[[Uri], str]) -> Provenance:
    """What an INVITE says; what cannot be read of it is passed over.

    :param bounded: makes sound text of limited length.
    :param number_of: the telephone number in a URI, empty where there is none.
    """
    diversion = _items(request, "Diversion", MOST)
    history = _items(request, "History-Info", MOST_HISTORY)
    place, reason = _diverted(diversion, history)
    identities = [value for value in request.headers.all("Identity")[:MOST] if len(value) <= MOST_IDENTITY]
    return Provenance(
        privacy=bounded("; ".join(_words(request, "Privacy"))),
        diversion=tuple(map(bounded, diversion)),
        history_info=tuple(map(bounded, history)),
        diverted_from="" if place is None else bounded(number_of(place.uri) or str(place.uri)),
        diversion_reason=reason,
        user_to_user=tuple(map(bounded, _items(request, "User-to-User", MOST))),
        verstat=_verstat(request),
        attestation=_attestation(request),
        identity=tuple(value for value in identities if value.isascii() and value.isprintable()),
    )


def _items(request: Request, name: str, most: int) -> list[str]:
    """The values of a list header, however many lines they came on."""
    return [item for value in request.headers.all(name)[:most] for item in _split(value)][:most]


def _words(request: Request, name: str) -> Iterator[str]:
    for value in request.headers.all(name)[:MOST]:
        yield from (word for word in (each.strip().lower() for each in value.split(";")) if _word(word))


def _address(text: str) -> NameAddr | None:
    try:
        return parse_name_addr(text)
    except RemoteProtocolError:
        return None


def _diverted(diversion: list[str], history: list[str]) -> tuple[NameAddr | None, str]:
    """Who passed the call on last, and why.

    Diversion's first value is the last diversion (RFC 5806 4). In History-Info it is the last entry whose URI holds a
    Reason why the call left it (RFC 7044 5.1).
    """
    for text in diversion[:1]:
        address = _address(text)
        if address is not None:
            reason = (address.params.get("reason") or "").lower()
            return address, reason if _word(reason) else "unknown"
    for text in reversed(history):
        address = _address(text)
        uri = address.uri if address is not None else None
        for name, value in uri.headers if isinstance(uri, SipUri) else ():
            found = _cause(value) if name.lower() == "reason" else None
            if found is not None:
                return address, CAUSES.get(found[1], "unknown")
    return None, ""


def _verstat(request: Request) -> str:
    """Of the asserted identity, else of From: a parameter of the URI or of its user part."""
    for text in (*request.headers.all("P-Asserted-Identity")[:MOST], *request.headers.all("From")[:1]):
        for item in _split(text)[:MOST]:
            address = _address(item)
            found = "" if address is None else _parameter(address, "verstat")
            if found:
                return found
    return ""


def _split(text: str) -> list[str]:
    try:
        return split_list(text)
    except RemoteProtocolError:
        return []


def _parameter(address: NameAddr, name: str) -> str:
    uri = address.uri
    value = uri.params.get(name) if isinstance(uri, (SipUri, TelUri)) else None
    if value is None and isinstance(uri, SipUri):
        pairs = (each.partition("=") for each in (uri.user or "").split(";")[1:])
        value = next((found for key, _, found in pairs if key.lower() == name), None)
    value = value or address.params.get(name) or ""
    return value if _word(value) else ""


def _attestation(request: Request) -> str:
    for name in ("P-Attestation-Indicator", "Attestation-Info"):
        value = (request.headers.first(name) or "").strip().upper()
        if value in ("A", "B", "C"):
            return value
    return ""
