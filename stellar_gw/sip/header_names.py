"""The names of headers: how we write them, and their compact forms (RFC 3261 7.3.3, IANA's SIP registry)."""

from __future__ import annotations

COMPACT = {
    "a": "Accept-Contact",
    "b": "Referred-By",
    "c": "Content-Type",
    "d": "Request-Disposition",
    "e": "Content-Encoding",
    "f": "From",
    "i": "Call-ID",
    "j": "Reject-Contact",
    "k": "Supported",
    "l": "Content-Length",
    "m": "Contact",
    "n": "Identity-Info",
    "o": "Event",
    "r": "Refer-To",
    "s": "Subject",
    "t": "To",
    "u": "Allow-Events",
    "v": "Via",
    "x": "Session-Expires",
    "y": "Identity",
}

_LONG = (
    "Accept", "Accept-Encoding", "Accept-Language", "Alert-Info", "Allow", "Answer-Mode", "Authentication-Info",
    "Authorization", "Call-Info", "Content-Disposition", "Content-ID", "Content-Language", "CSeq", "Date",
    "Diversion", "Error-Info", "Expires", "Feature-Caps", "Flow-Timer", "Geolocation", "History-Info", "In-Reply-To",
    "Info-Package", "Join", "Max-Forwards", "MIME-Version", "Min-Expires", "Min-SE", "Organization",
    "P-Access-Network-Info", "P-Asserted-Identity", "P-Called-Party-ID", "P-Charging-Vector", "P-Early-Media",
    "P-Preferred-Identity", "Path", "Priority", "Privacy", "Proxy-Authenticate", "Proxy-Authorization",
    "Proxy-Require", "RAck", "Reason", "Record-Route", "Recv-Info", "Refer-Sub", "Remote-Party-ID", "Replaces",
    "Reply-To", "Require", "Retry-After", "Route", "RSeq", "Security-Client", "Security-Server", "Security-Verify",
    "Server", "Service-Route", "Session-ID", "SIP-ETag", "SIP-If-Match", "Subscription-State", "Target-Dialog",
    "Timestamp", "Unsupported", "User-Agent", "User-to-User", "Warning", "WWW-Authenticate",
)  # fmt: skip

_canonical = {name.lower(): name for name in (*COMPACT.values(), *_LONG)}
_keys = {name: name for name in _canonical} | {short: name.lower() for short, name in COMPACT.items()}

KNOWN: dict[str, tuple[str, str]] = {
    spelling: (_canonical[key], key)
    for name, key in _keys.items()
    for spelling in (name, name.upper(), name.title(), _canonical[key])
}
"""The usual spellings of known names, each with the canonical name and with the key that headers are found by."""


def canonical_name(name: str) -> tuple[str, str]:
    """The canonical long name and the key of any name; an unknown name keeps its spelling."""
    known = KNOWN.get(name)
    if known is not None:
        return known
    key = name.lower()
    known = KNOWN.get(key)
    return known if known is not None else (name, key)


# RFC 3261 7.3.1: only headers that are lists may come on several lines. Refused are those where two lines
# would be two interpretations of something that matters; two User-Agent lines harm nobody.
SINGLE = frozenset((
    "call-id", "content-disposition", "content-length", "content-type", "cseq", "event", "expires", "from",
    "max-forwards", "min-se", "rack", "refer-to", "referred-by", "replaces", "rseq", "session-expires",
    "subscription-state", "to",
))  # fmt: skip
