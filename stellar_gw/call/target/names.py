"""What an agent may name: a transfer of its tenant, else a number or URI that the tenant's allowlist permits."""

from __future__ import annotations

import re

from attrs import evolve, frozen

from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.directory.records import Directory, Tenant, Transfer
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.loading import printable
from stellar_gw.sip.hosts import numeric
from stellar_gw.sip.numbering import allowed, premium
from stellar_gw.sip.uri import SipUri, TelUri, parse_uri

LONGEST = 256
"""Characters of what an agent names."""
LISTED = 20
"""Transfers that an error lists."""

_NUMBER = re.compile(r"\+[1-9][0-9]{3,14}")
_SPACING = str.maketrans("", "", " -.()/\u00a0")
_EXTENSION = re.compile(r"[1-9][0-9]{0,5}")
_LIKE_A_NUMBER = re.compile(r"[+*#0-9][0-9A-D*#.()\-]*", re.IGNORECASE)
_PARAMETERS = ("transport", "user")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,10}:")


@frozen(kw_only=True)
class Wanted:
    """A target that is allowed, in parts. ``number`` or ``uri`` is there, never both.

    :ivar number: ``+E.164``.
    :ivar tel: the number's own URI, where it was written as one.
    :ivar told: how people know it.
    """

    transfer: Transfer
    told: str
    number: str = ""
    uri: SipUri | None = None
    tel: TelUri | None = None


def find_target(wanted: str, tenant: Tenant, directory: Directory) -> Wanted | TargetRefused:
    """The target that a text means.

    :param wanted: as the agent said it: anything at all.
    """
    transfers = directory.transfers(tenant.name)
    # A model that read "support" may well say "Support".
    for same in (str, str.casefold):
        named = [each for each in transfers if same(each.name) == same(wanted.strip())]
        if len(named) == 1:
            return _configured(named[0])
    if len(wanted) > LONGEST or not wanted.isprintable():
        return TargetRefused("bad_target", f"a target has at most {LONGEST} printable characters")
    number = wanted.translate(_SPACING)
    if _NUMBER.fullmatch(number):
        return _number(number, tenant)
    if not _URI.match(wanted):
        names = ", ".join(each.name for each in transfers[:LISTED]) + (", ..." if len(transfers) > LISTED else "")
        known = f"there are: {names}" if names else "there are none"
        return TargetRefused("unknown_transfer", f"No transfer named '{printable(wanted)}'; {known}.")
    return _uri(wanted, tenant)


def _configured(transfer: Transfer) -> Wanted | TargetRefused:
    """A transfer's own target, which needs nobody's leave."""
    if _NUMBER.fullmatch(transfer.to):
        return Wanted(transfer=transfer, told=transfer.name, number=transfer.to)
    try:
        uri = parse_uri(transfer.to)
    except RemoteProtocolError as error:
        return TargetRefused("bad_target", f"transfer {transfer.name}: {error.reason}")
    if isinstance(uri, TelUri):
        return Wanted(transfer=transfer, told=transfer.name, number=uri.number, tel=TelUri(uri.number))
    if isinstance(uri, SipUri):
        return Wanted(transfer=transfer, told=transfer.name, uri=evolve(uri, password=None, headers=()))
    return TargetRefused("bad_target", f"transfer {transfer.name} is no SIP URI")


def _unnamed(tenant: Tenant, to: str) -> Transfer:
    return Transfer(name="", tenant=tenant.name, to=to)


def _number(number: str, tenant: Tenant) -> Wanted | TargetRefused:
    prefixes = tuple(each for each in tenant.transfer_targets if each.startswith("+"))
    if allowed(number, prefixes):
        return Wanted(transfer=_unnamed(tenant, number), told=number, number=number)
    why = f" ({premium(number)})" if premium(number) and number.startswith(prefixes) else ""
    return TargetRefused(
        "not_allowed", f"{number} is not among the numbers that callers may be sent to{why}; see transfer_targets"
    )


def _uri(text: str, tenant: Tenant) -> Wanted | TargetRefused:
    try:
        uri = parse_uri(text)
    except RemoteProtocolError as error:
        return TargetRefused("bad_target", f"{printable(text)} is no URI: {error.reason}")
    if isinstance(uri, TelUri):
        if not _NUMBER.fullmatch(uri.number):
            return TargetRefused("bad_target", "a number must be global, such as tel:+31201234567")
        return _number(uri.number, tenant)
    if not isinstance(uri, SipUri):
        return TargetRefused("bad_target", "a target is a sip:, sips: or tel: URI, or a number such as +31201234567")
    if uri.headers or uri.password is not None or ";" in (uri.user or ""):
        return TargetRefused("bad_target", "a target carries no ?headers, password or parameters of its user")
    if any(name not in _PARAMETERS for name, _ in uri.params):
        return TargetRefused("bad_target", "a target has no parameter but transport and user")
    if not _host_allowed(uri.host, tenant.transfer_targets):
        return TargetRefused(
            "not_allowed", f"{uri.host} is not among the domains that callers may be sent to; see transfer_targets"
        )
    return _user(uri, tenant)


def _user(uri: SipUri, tenant: Tenant) -> Wanted | TargetRefused:
    """A domain that is allowed is no way around the numbers: an extension is, and a name."""
    user = uri.user or ""
    wanted = Wanted(transfer=_unnamed(tenant, str(uri)), told=str(uri), uri=evolve(uri))
    if not _LIKE_A_NUMBER.fullmatch(user) or _EXTENSION.fullmatch(user):
        return wanted
    number = user.translate(_SPACING)
    if _NUMBER.fullmatch(number):
        judged = _number(number, tenant)
        return judged if isinstance(judged, TargetRefused) else wanted
    return TargetRefused(
        "not_allowed", "digits must be an extension of at most 6, or a whole number such as +31201234567"
    )


def _host_allowed(host: str, patterns: tuple[str, ...]) -> bool:
    address = numeric(host)
    name = host.lower().rstrip(".")
    for pattern in patterns:
        if address is not None:
            if pattern == address:
                return True
        elif pattern.startswith("*."):
            if name.endswith(pattern[1:]):
                return True
        elif pattern == name:
            return True
    return False
