"""What REFER and its NOTIFYs say (RFC 3515, RFC 3892, RFC 4488, RFC 6665): written and read, nothing decided."""

from __future__ import annotations

import re

from attrs import frozen

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.message import Message, Request
from stellar_gw.sip.params import Params
from stellar_gw.sip.reasons import REASONS
from stellar_gw.sip.replaces import Replaces, parse_replaces
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.values import NameAddr, parse_name_addr

SIPFRAG = "message/sipfrag"
NO_SUBSCRIPTION = "norefersub"
"""The option tag of who can do without (RFC 4488 5)."""
UNSUBSCRIBE = (("Event", "refer"), ("Expires", "0"))
"""Headers of the SUBSCRIBE that ends a subscription made by REFER (RFC 3515 2.4.4, RFC 6665 4.1.2.3)."""

_LONGEST_NAME = 512
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


@frozen(kw_only=True)
class ReferTo:
    """Whom a REFER toward us names.

    :ivar uri: without what belongs to the request that it asks for.
    :ivar replaces: the dialog that is to be replaced there.
    :ivar silent: no NOTIFY is wanted (RFC 4488 4).
    :ivar referred_by: who says so, as it came; empty where nobody does, or it is longer than anybody's name.
    """

    uri: Uri
    replaces: Replaces | None = None
    silent: bool = False
    referred_by: str = ""


def read_refer(request: Request) -> ReferTo:
    """
    :raise RemoteProtocolError: with the status that refuses it: 400 where there is no one Refer-To that can be read
        (RFC 3515 2.4.2), 403 where another method than INVITE is asked for.
    """
    values = request.headers.all("Refer-To")
    if len(values) != 1:
        raise RemoteProtocolError("REFER must carry one Refer-To")
    uri = parse_name_addr(values[0]).uri
    replaces = None
    if isinstance(uri, SipUri):
        method = (uri.params.get("method") or "INVITE").upper()
        if method != "INVITE":
            raise RemoteProtocolError("only an INVITE can be asked for by REFER", 403)
        wanted = [value for name, value in uri.headers if name.lower() == "replaces"]
        if len(wanted) > 1:
            raise RemoteProtocolError("Refer-To replaces one dialog")
        replaces = parse_replaces(wanted[0]) if wanted else None
        kept = ((name, value) for name, value in uri.params if name in ("transport", "user"))
        uri = SipUri(scheme=uri.scheme, user=uri.user, host=uri.host, port=uri.port, params=Params(kept))
    by = request.headers.first("Referred-By") or ""
    silent = wants_no_subscription(request) or NO_SUBSCRIPTION in {each.lower() for each in request.require}
    return ReferTo(uri=uri, replaces=replaces, silent=silent, referred_by=by if len(by) <= _LONGEST_NAME else "")


def notify_headers(state: str, event_id: int | None = None) -> tuple[tuple[str, str], ...]:
    """Of a NOTIFY of ours.

    :param state: of the subscription, as ``active;expires=60``.
    :param event_id: the CSeq number of the REFER, where it is not the first in its dialog (RFC 3515 2.4.6).
    """
    return ("Event", "refer" if event_id is None else f"refer;id={event_id}"), ("Subscription-State", state)


def sipfrag(status: int, phrase: str = "") -> bytes:
    """How far the INVITE has come that a REFER asked for (RFC 3515 2.4.5, RFC 3420)."""
    return f"SIP/2.0 {status} {phrase or REASONS.get(status, 'Unknown')}\r\n".encode()
