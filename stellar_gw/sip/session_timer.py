"""Session timers (RFC 4028): how long a session lives without being refreshed, and who refreshes it.

Theory of operation. Each 2xx to an INVITE, a re-INVITE or an UPDATE settles it anew: an interval, and the side that
refreshes at half of it. Whoever does not refresh hangs up a little before the interval is over if the other has not;
whoever does hangs up if it could not. What a peer cannot be made to do (its requests lack ``Supported: timer``) we do
ourselves, and where both can, we do it too: we are the one who must not lose the call.
"""

from __future__ import annotations

import re
from typing import Literal

from attrs import frozen

from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request, Response

Role = Literal["uac", "uas"]
TAG = "timer"
LEAST = 90
"""No interval is ever shorter, and without Min-SE this is it (RFC 4028 4, 5)."""
MOST = 86_400
"""Longer ones are as good as none."""

_VALUE = re.compile(r"[ \t]*([0-9]{1,9})[ \t]*(?:;(.*))?", re.DOTALL)
_REFRESHER = re.compile(r"refresher[ \t]*=[ \t]*(uac|uas)", re.IGNORECASE)

Items = tuple[tuple[str, str], ...]


@frozen(kw_only=True)
class SessionTerms:
    """What we want.

    :ivar interval: seconds, which we ask for; not below ``minimum``.
    :ivar minimum: what we put up with; a peer that asks for less gets 422.
    """

    interval: int = 1800
    minimum: int = LEAST


@frozen(kw_only=True)
class SessionTimer:
    """What holds for one session.

    :ivar ours: whether we refresh.
    :ivar minimum: the Min-SE that a 422 has told us; 0: none has.
    """

    interval: int
    ours: bool
    minimum: int = 0

    @property
    def refresh_after(self) -> float:
        """Seconds (RFC 4028 10)."""
        return self.interval / 2

    @property
    def ends_after(self) -> float:
        """Seconds after which nobody has refreshed: a little before the peer thinks so (RFC 4028 10)."""
        return self.interval - min(32.0, self.interval / 3)


def session_expires(headers: Headers) -> tuple[int, Role | None] | None:
    """Interval and refresher; None where there is no such header, or none that makes sense."""
    match = _VALUE.fullmatch(headers.first("Session-Expires") or "")
    if match is None:
        return None
    interval = min(MOST, int(match[1]))
    if interval == 0:
        return None
    role = next((found[1].lower() for each in (match[2] or "").split(";") if (found := _refresher(each))), None)
    return interval, "uac" if role == "uac" else "uas" if role == "uas" else None


def _refresher(parameter: str) -> re.Match[str] | None:
    return _REFRESHER.fullmatch(parameter.strip(" \t"))


def min_se(headers: Headers) -> int:
    """Seconds; 0 where there is none that makes sense."""
    match = _VALUE.fullmatch(headers.first("Min-SE") or "")
    return min(MOST, int(match[1])) if match is not None else 0


def _does_timers(request: Request) -> bool:
    return TAG in (each.lower() for each in (*request.supported, *request.require))


def too_small(request: Request, terms: SessionTerms | None) -> Items | None:
    """The headers of a 422, where a request asks for less than we put up with; None where it does not."""
    asked = session_expires(request.headers)
    if terms is None or asked is None or asked[0] >= terms.minimum or not _does_timers(request):
        return None
    return (("Min-SE", str(terms.minimum)),)


# As UAS


def settle_as_uas(request: Request, terms: SessionTerms | None) -> SessionTimer | None:
    """What our 2xx to a request settles (RFC 4028 9); None: no timer."""
    asked = session_expires(request.headers)
    if terms is None:
        return None
    if asked is None:
        return (
            SessionTimer(interval=max(terms.interval, min_se(request.headers)), ours=True)
            if _does_timers(request)
            else None
        )
    least = max(terms.minimum, min_se(request.headers), LEAST)
    interval = max(least, min(asked[0], terms.interval))
    return SessionTimer(interval=interval, ours=not (asked[1] == "uac" and _does_timers(request)))


def headers_of_success(timer: SessionTimer | None) -> Items:
    """What our 2xx says of it."""
    if timer is None:
        return ()
    if timer.ours:
        return (("Session-Expires", f"{timer.interval};refresher=uas"),)
    return ("Require", TAG), ("Session-Expires", f"{timer.interval};refresher=uac")


# As UAC


def headers_of_request(timer: SessionTimer | None, terms: SessionTerms, *, first: bool) -> Items:
    """What an INVITE or UPDATE of ours asks for (RFC 4028 7.1): what holds goes on, by whoever refreshes now.

    :param first: the peer may still choose who refreshes.
    """
    interval = terms.interval if timer is None else timer.interval
    role = "" if first or timer is None else ";refresher=uac" if timer.ours else ";refresher=uas"
    least = (("Min-SE", str(timer.minimum)),) if timer is not None and timer.minimum else ()
    return (("Session-Expires", f"{interval}{role}"), *least)


def after_422(response: Response, timer: SessionTimer | None, terms: SessionTerms) -> SessionTimer | None:
    """What to ask for next (RFC 4028 7.3); None where the response demands nothing more than was asked for."""
    demanded = min_se(response.headers)
    asked = terms.interval if timer is None else timer.interval
    if demanded <= asked:
        return None
    return SessionTimer(interval=demanded, ours=True if timer is None else timer.ours, minimum=demanded)


def settle_as_uac(response: Response, asked: SessionTimer | None) -> SessionTimer | None:
    """What a 2xx to a request of ours settles (RFC 4028 7.2); None: the session does not expire."""
    given = session_expires(response.headers)
    if given is None:
        return None
    minimum = asked.minimum if asked is not None else 0
    return SessionTimer(interval=max(LEAST, given[0]), ours=given[1] != "uas", minimum=minimum)
