"""What REFER and its NOTIFYs say (RFC 3515, RFC 3892, RFC 4488, RFC 6665): written and read, nothing decided."""

from __future__ import annotations

import re

from attrs import frozen

from stellar_gw.sip.message import Message, Request
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import NameAddr

SIPFRAG = "message/sipfrag"
UNSUBSCRIBE = (("Event", "refer"), ("Expires", "0"))
"""Headers of the SUBSCRIBE that ends a subscription made by REFER (RFC 3515 2.4.4, RFC 6665 4.1.2.3)."""

_MOST = 2048
"""Octets of a sipfrag that are looked at; its first line is all that counts."""
_STATUS_LINE = re.compile(rb"SIP/2\.0[ \t]+([1-6][0-9][0-9])(?:[ \t]+([^\r\n]*))?(?:\r|\n|$)", re.IGNORECASE)


@frozen(kw_only=True)
class Progress:
    """What one NOTIFY says of a REFER.

    :ivar status: of the transferee's call to the target; 0 where none can be read.
    :ivar phrase: that goes with it, printable, cut to 80 characters.
    :ivar ended: the subscription has, and no more will be told.
    :ivar reason: why it has (RFC 6665 4.1.3), lower case; empty where nothing says so.
    :ivar event_id: the CSeq number of the REFER it is about (RFC 3515 2.4.6); None where it names none.
    """

    status: int
    phrase: str = ""
    ended: bool = False
    reason: str = ""
    event_id: int | None = None


def refer_to(uri: Uri) -> str:
    """A Refer-To value: the URI in angle brackets and nothing else, for some refuse a display name."""
    return str(NameAddr("", uri))


def wants_no_subscription(message: Message) -> bool:
    """Whether ``Refer-Sub: false`` says that no NOTIFY follows (RFC 4488 4)."""
    value = message.headers.first("Refer-Sub") or ""
    return value.partition(";")[0].strip().lower() == "false"


def read_notify(request: Request) -> Progress | None:
    """Read a NOTIFY of a REFER's subscription; None where it is about something else. Never raises."""
    event, _, params = (request.headers.first("Event") or "").partition(";")
    if event.strip().lower() != "refer":
        return None
    state, reason = _subscription_state(request.headers.first("Subscription-State") or "")
    status, phrase = _status(request)
    return Progress(
        status=status,
        phrase=phrase,
        # Without the header, which RFC 3265 made mandatory, a final status is the last word (RFC 3515 2.4.5).
        ended=state == "terminated" or (not state and status >= 200),
        reason=reason,
        event_id=_event_id(params),
    )


def _subscription_state(value: str) -> tuple[str, str]:
    state, *params = (part.strip() for part in value.lower().split(";"))
    reasons = (param.partition("=")[2].strip().strip('"') for param in params if param.startswith("reason"))
    return state, next(reasons, "")[:40]


def _event_id(params: str) -> int | None:
    for param in params.split(";"):
        name, _, value = param.partition("=")
        text = value.strip()
        if name.strip().lower() == "id" and text.isascii() and text.isdigit() and len(text) <= 10:
            return int(text)
    return None


def _status(request: Request) -> tuple[int, str]:
    """Of the sipfrag (RFC 3420); some leave the type out, or write a whole response."""
    media = (request.headers.first("Content-Type") or "").partition(";")[0].strip().lower()
    if media not in (SIPFRAG, ""):
        return 0, ""
    found = _STATUS_LINE.match(request.body[:_MOST].lstrip())
    if found is None:
        return 0, ""
    text = (found[2] or b"").decode("utf-8", "replace")
    return int(found[1]), "".join(letter for letter in text if letter.isprintable())[:80].strip()
