"""Replaces: the dialog whose place an INVITE takes (RFC 3891), as a header and inside Refer-To (RFC 5589 7)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attrs import frozen

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.dialog import DialogKey
from stellar_gw.sip.message import Request

TAG = "replaces"
"""The option tag (RFC 3891 6.2)."""

LONGEST = 1024
"""Characters of a value."""
_CALL_ID = re.compile(r"[\x21-\x7e]{1,256}")
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]{1,256}")


@frozen(kw_only=True)
class Replaces:
    """One value.

    :ivar to_tag: the tag of whoever is asked to replace: its local one.
    :ivar from_tag: of the other side: its remote one.
    :ivar early_only: a dialog that is confirmed is to be left alone.
    """

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @property
    def key(self) -> DialogKey:
        """The dialog, as whoever is asked knows it. Tag 0 may be one that is missing (RFC 3891 3)."""
        return self.call_id, self.to_tag, "" if self.from_tag == "0" else self.from_tag

    def __str__(self) -> str:
        early = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{early}"


def parse_replaces(text: str) -> Replaces:
    """Read one value; its parameters come in any order.

    :raise RemoteProtocolError: it is none.
    """
    call_id, *params = (part.strip() for part in text[: LONGEST + 1].split(";"))
    tags: dict[str, str] = {}
    early_only = False
    for param in params:
        name, _, value = (part.strip() for part in param.partition("="))
        if name.lower() == "early-only":
            early_only = True
        elif name.lower() in ("to-tag", "from-tag"):
            if name.lower() in tags or not _TOKEN.fullmatch(value):
                raise RemoteProtocolError(f"Replaces must carry one {name.lower()}, a token")
            tags[name.lower()] = value
    if len(text) > LONGEST or not _CALL_ID.fullmatch(call_id) or len(tags) < 2:
        raise RemoteProtocolError("Replaces must be a Call-ID with to-tag and from-tag")
    return Replaces(call_id=call_id, to_tag=tags["to-tag"], from_tag=tags["from-tag"], early_only=early_only)


def replaces_of(request: Request) -> Replaces | None:
    """What an INVITE is to replace; None for nothing.

    :raise RemoteProtocolError: more than one thing, or together with Join (RFC 3891 3), or nothing that can be read.
    """
    values: Sequence[str] = request.headers.all("Replaces")
    if not values:
        return None
    if len(values) > 1 or "Join" in request.headers:
        raise RemoteProtocolError("an INVITE replaces one dialog, and does not join another")
    return parse_replaces(values[0])
