"""What a registrar's answer means, and how long to wait for the next one (RFC 3261 10.2.4, 10.2.8; RFC 5626 4.5)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from attrs import frozen

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.message import Response
from stellar_gw.sip.uri import SipUri

SHORTEST, LONGEST = 20, 86_400
"""Seconds that a binding is believed to be good for, whatever is said."""
FIRST_WAIT, LONGEST_WAIT = 30.0, 1800.0
_number = re.compile(r"[0-9]{1,9}").match


@frozen
class Verdict:
    """
    :ivar what: the input of the registration's machine.
    :ivar seconds: of the binding; of the shortest one that is taken (``too_brief``); until a next try (Retry-After).
    :ivar why: in words.
    """

    what: Literal["accepted", "too_brief", "refused", "unanswered"]
    seconds: int = 0
    why: str = ""


def verdict(response: Response | None, contact: SipUri, wanted: int) -> Verdict:
    """What the answer to a REGISTER means.

    :param response: None: nobody answered, or it could not be sent.
    :param contact: what we registered.
    :param wanted: for how many seconds.
    """
    if response is None:
        return Verdict("unanswered", 0, "no answer")
    status = response.status
    said = f"{status} {response.reason}".strip()
    if status < 300:
        return Verdict("accepted", granted(response, contact, wanted))
    if status == 423:
        least = _seconds(response.headers.first("Min-Expires"))
        if wanted < least <= LONGEST:
            return Verdict("too_brief", least, said)
    wait = _seconds(response.headers.first("Retry-After"))
    if status in (408, 430) or 500 <= status < 600:
        return Verdict("unanswered", wait, said)
    return Verdict("refused", wait, said)


def granted(response: Response, contact: SipUri, wanted: int) -> int:
    """For how many seconds we are registered: by our own Contact in the answer, else its Expires, else as we asked."""
    said: int | None = None
    try:
        contacts = response.contacts
    except RemoteProtocolError:
        contacts = ()
    for each in contacts:
        uri = each.uri
        ours = isinstance(uri, SipUri) and (uri.user, uri.host) == (contact.user, contact.host)
        if ours and "expires" in each.params:
            said = _seconds(each.params.get("expires"))
    if said is None and (expires := response.headers.first("Expires")) is not None:
        said = _seconds(expires)
    return max(SHORTEST, min(LONGEST, said or wanted))


def refresh_after(seconds: int) -> float:
    """When to refresh a binding: half of its life before the end, ten minutes at most."""
    return seconds - min(600.0, seconds / 2)


def wait_after(failures: int, rng: Callable[[int], bytes], least: int = 0) -> float:
    """How long to wait before the next try: twice as long each time, by chance down to the half of it (RFC 5626 4.5).

    :param failures: in a row, this one among them.
    :param least: what the registrar asked for.
    """
    longest = min(LONGEST_WAIT, FIRST_WAIT * (1 << min(failures - 1, 10)))
    chance = int.from_bytes(rng(4), "big") / (1 << 32)
    return max(min(float(least), LONGEST_WAIT), longest * (1 + chance) / 2)


def _seconds(text: str | None) -> int:
    match = _number(text or "")
    return 0 if match is None else int(match[0])
