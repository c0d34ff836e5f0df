"""Who a transfer's INVITE says is calling (RFC 3325): the caller and we ourselves, one in From, one asserted."""

from __future__ import annotations

from attrs import frozen

from stellar_gw.directory.records import Outbound
from stellar_gw.sip.uri import SipUri, TelUri, parse_uri
from stellar_gw.sip.values import NameAddr

HeaderItems = tuple[tuple[str, str], ...]

ANONYMOUS = NameAddr("Anonymous", SipUri(user="anonymous", host="anonymous.invalid"))
"""RFC 3323 4.1.1.3."""
_LONGEST = 128
"""Characters of a name or user part that a caller gave itself."""


@frozen(kw_only=True)
class Identity:
    """:ivar headers: P-Asserted-Identity, and Privacy where the caller asked for it."""

    from_: NameAddr
    headers: HeaderItems = ()


def identity_of(caller: NameAddr, private: bool, outbound: Outbound, domain: str) -> Identity:
    """From and asserted identity of an INVITE.

    :param caller: the caller's From.
    :param domain: ours; phone systems refuse what claims to come from elsewhere.
    """
    theirs, ours = _caller(caller, domain), _ours(outbound.caller_id, domain)
    shown = ANONYMOUS if private or theirs is None else theirs
    if ours is None:
        if not private or theirs is None:
            return Identity(from_=shown)
        return Identity(from_=ANONYMOUS, headers=(_asserted(theirs), ("Privacy", "id")))
    first, second = (ours, theirs) if outbound.identity == "ours" else (shown, ours)
    headers = (_asserted(second),) if second is not None else ()
    return Identity(from_=first, headers=(*headers, ("Privacy", "id")) if private and headers else headers)


def _asserted(address: NameAddr) -> tuple[str, str]:
    return "P-Asserted-Identity", str(address)


def _ours(caller_id: str, domain: str) -> NameAddr | None:
    if not caller_id:
        return None
    return NameAddr("", SipUri(user=caller_id, host=domain) if caller_id.startswith("+") else parse_uri(caller_id))


def _caller(address: NameAddr, domain: str) -> NameAddr | None:
    """The caller at our domain; None for a caller who gave no name."""
    uri = address.uri
    if isinstance(uri, TelUri):
        user = uri.number
    elif isinstance(uri, SipUri) and not uri.host.endswith(".invalid"):
        user = (uri.user or "").partition(";")[0]
    else:
        user = ""
    if not user or user.lower() == "anonymous" or len(user) > _LONGEST:
        return None
    return NameAddr(address.display if len(address.display) <= _LONGEST else "", SipUri(user=user, host=domain))
