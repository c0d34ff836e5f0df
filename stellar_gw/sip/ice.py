"""ICE-lite in session descriptions (RFC 8839): our one candidate, our credentials, and when these change.

We take part where the peer's description has credentials. Candidates of the peer's are not read: it does the checking,
and says by that where it is. A peer that restarts (other credentials than before) gets other credentials of ours.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from ipaddress import ip_address

from attrs import field, frozen

from stellar_gw.sip.sdp import Attribute, MediaDescription, SessionDescription

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_TYPE_PREFERENCE = 126
"""Of host candidates (RFC 8445 5.1.2.2)."""
_LOCAL_PREFERENCE = 65535
"""Of the only address."""
SESSION: tuple[Attribute, ...] = (("ice-lite", None), ("ice-options", "ice2"))
"""What the whole description says (RFC 8839 5.3, 5.6)."""


@frozen
class Credentials:
    """One side's of one ICE session (RFC 8839 5.4)."""

    ufrag: str
    password: str = field(repr=False)


@frozen
class IceAgreed:
    ours: Credentials
    theirs: Credentials


class IceKeys:
    """Our credentials in one dialog.

    :param rng: returns that many random octets.
    """

    def __init__(self, rng: Callable[[int], bytes]) -> None:
        self._rng = rng
        self._offered: Credentials | None = None

    def offered(self, before: IceAgreed | None) -> Credentials:
        """What an offer of ours carries: those in force, or those of an offer that was not answered."""
        if before is not None:
            return before.ours
        if self._offered is None:
            self._offered = self._made()
        return self._offered

    def answered(self, theirs: Credentials, before: IceAgreed | None) -> Credentials:
        """What answers these: others than before where the peer restarts (RFC 8839 4.4.3.2)."""
        return before.ours if before is not None and before.theirs == theirs else self._made()

    def _made(self) -> Credentials:
        # 24 and 144 random bits, in characters that ICE takes (RFC 8445 5.3).
        return Credentials(b64encode(self._rng(3)).decode("ascii"), b64encode(self._rng(18)).decode("ascii"))


def credentials(description: SessionDescription, media: MediaDescription) -> Credentials | None:
    """A peer's, for an m-line; None where it does not take part, or they are no credentials."""
    found = [media.first(name) or next(description.values(name), "") for name in ("ice-ufrag", "ice-pwd")]
    ufrag, password = (value.strip() for value in found)
    if _UFRAG.fullmatch(ufrag) is None or _PASSWORD.fullmatch(password) is None:
        return None
    return Credentials(ufrag, password)


def lines(ours: Credentials, address: str, port: int, rtcp_port: int) -> tuple[Attribute, ...]:
    """Of our m-line: credentials and candidates (RFC 8839 5.1).

    :param rtcp_port: 0 where RTCP shares the RTP port.
    """
    found: list[Attribute] = [("ice-ufrag", ours.ufrag), ("ice-pwd", ours.password)]
    for component, at in enumerate((port, rtcp_port), 1):
        if at:
            priority = _TYPE_PREFERENCE << 24 | _LOCAL_PREFERENCE << 8 | 256 - component
            found.append(("candidate", f"1 {component} UDP {priority} {address} {at} typ host"))
    return tuple(found)


def possible(address: str) -> bool:
    """Whether a candidate can be made of it: a name would have to be looked up by the peer."""
    try:
        ip_address(address)
    except ValueError:
        return False
    return True
