"""What an agent is told about its call, gathered from the INVITE, bounded."""

from __future__ import annotations

import re

from attrs import asdict

from stellar_gw.call.context.language import detect_language
from stellar_gw.call.context.provenance import provenance_of
from stellar_gw.control.messages import CallContext
from stellar_gw.directory.records import Route
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request
from stellar_gw.sip.uri import SipUri, TelUri, Uri

MOST_HEADERS = 32
MOST_OCTETS = 1024
"""Of one X-* header's value, in UTF-8."""

_NUMBER = re.compile(r"\+?[0-9][0-9.()\-]*\Z")


def user_of(uri: Uri) -> str:
    """The dialled user part without its parameters (RFC 3966 5.1.1: ``;npdi`` and the like), or ``""``."""
    if isinstance(uri, SipUri):
        return (uri.user or "").partition(";")[0]
    if isinstance(uri, TelUri):
        return uri.number
    return ""


def number_of(uri: Uri) -> str:
    """The telephone number in a URI, visual separators removed; ``""`` where there is none."""
    user = user_of(uri)
    if not _NUMBER.match(user):
        return ""
    return re.sub(r"[.()\-]", "", user)


def custom_headers(request: Request) -> tuple[tuple[tuple[str, str], ...], int]:
    """The first 32 X-* headers with values cut to 1,024 octets, and how many more there were."""
    kept: list[tuple[str, str]] = []
    omitted = 0
    for name, value in request.headers:
        if name[:2] not in ("X-", "x-"):
            continue
        if len(kept) < MOST_HEADERS:
            kept.append((name, bounded(value)))
        else:
            omitted += 1
    return tuple(kept), omitted


def bounded(value: str) -> str:
    """Text as valid UTF-8 of at most 1,024 octets; broken octets become U+FFFD."""
    sound = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    octets = sound.encode("utf-8")
    return sound if len(octets) <= MOST_OCTETS else octets[:MOST_OCTETS].decode("utf-8", "ignore")


def make_context(
    request: Request, flow: Flow, route: Route, call_id: str, *, codec: str, srtp: bool = False
) -> CallContext:
    """The context of one call; everything in it came from outside and is bounded, none of it is trusted."""
    headers, omitted = custom_headers(request)
    first = request.headers.first
    accept_language = bounded(", ".join(request.headers.all("Accept-Language")))
    contact = request.contact
    return CallContext(
        call_id=call_id,
        tenant=route.tenant.name,
        connector=route.connector.name,
        agent=route.agent,
        environment=route.environment.name,
        version=route.version,
        from_uri=bounded(str(request.from_.uri)),
        from_display=bounded(request.from_.display),
        from_number=number_of(request.from_.uri),
        to_uri=bounded(str(request.to.uri)),
        to_number=number_of(request.uri) or number_of(request.to.uri),
        contact=bounded(str(contact.uri)) if contact is not None else "",
        user_agent=bounded(first("User-Agent") or ""),
        accept_language=accept_language,
        language=detect_language(accept_language, route.languages),
        p_asserted_identity=tuple(map(bounded, request.headers.all("P-Asserted-Identity")[:4])),
        remote_party_id=tuple(map(bounded, request.headers.all("Remote-Party-ID")[:4])),
        **asdict(provenance_of(request, bounded, number_of)),
        headers=headers,
        headers_omitted=omitted,
        variables=dict(route.environment.variables),
        transfers={each.name: each.about for each in route.transfers},
        codec=codec,
        tls=flow.secure,
        srtp=srtp,
    )
