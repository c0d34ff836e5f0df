"""Our own digest credentials, and when they may be shown (RFC 3261 22)."""

from __future__ import annotations

from attrs import field, frozen

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.digest import DigestChallenge, choose_challenge, parse_challenge
from stellar_gw.sip.message import Response
from stellar_gw.sip.uri import SipUri, Uri

_HEADERS = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


@frozen(kw_only=True)
class ClientCredentials:
    """What we answer a challenge with, and to whom.

    A peer that challenges a request could make us show a digest of the password to whoever it likes. So
    credentials belong to one host, and to one realm where that is known; they are never used in a call that
    came in.

    :ivar realm: the only one to answer; None: whatever the host asks for.
    :ivar host: the next hop that they are for: the host of the first route, else of the Request-URI.
    """

    username: str
    password: str = field(repr=False)
    realm: str | None = None
    host: str

    def are_for(self, hop: Uri) -> bool:
        return isinstance(hop, SipUri) and hop.host == self.host.strip("[]").lower()

    def answerable(self, response: Response) -> tuple[str, DigestChallenge] | None:
        """The first challenge that we can answer, with the name of the header that answers it."""
        names = _HEADERS.get(response.status)
        if names is None:
            return None
        values = [value for value in response.headers.all(names[0]) if self.realm in (None, _realm(value))]
        challenge = choose_challenge(values)
        return None if challenge is None else (names[1], challenge)


def _realm(value: str) -> str | None:
    try:
        return parse_challenge(value).realm
    except RemoteProtocolError:
        return None
