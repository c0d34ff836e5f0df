"""Where a REFER toward us may lead: where the tenant's own transfers may, and nowhere else."""

from __future__ import annotations

import re

from attrs import evolve

from stellar_gw.call.target.facts import CallFacts
from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.target.target import Target, choose_target
from stellar_gw.directory.records import Directory
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.uri import SipUri, TelUri, Uri, parse_uri
from stellar_gw.sip.values import NameAddr

_NUMBER = re.compile(r"\+[1-9][0-9]{3,14}")


def choose_referred_target(uri: Uri, ours: Uri, facts: CallFacts, directory: Directory) -> Target | TargetRefused:
    """The target that a Refer-To names: a transfer of the tenant that leads there, else as an agent might name it.

    We call it as who we are, and not as the caller.

    :param uri: without headers and method.
    :param ours: who we are in the caller's dialog.
    """
    as_us = evolve(facts, from_=NameAddr("", ours), private=False)
    number = _number(uri)
    for transfer in directory.transfers(facts.tenant.name):
        if _leads_to(transfer.to, uri, number):
            return choose_target(transfer.name, "invite", as_us, directory)
    judged = choose_target(str(uri), "invite", as_us, directory)
    if number and isinstance(uri, SipUri) and isinstance(judged, TargetRefused) and judged.code in _BY_NUMBER:
        # A phone system may well write a number at our own domain, or at its own.
        judged = choose_target(number, "invite", as_us, directory)
    return judged


_BY_NUMBER = ("loop", "not_allowed")


def _number(uri: Uri) -> str:
    """``+E.164``, where a URI names one."""
    user = uri.number if isinstance(uri, TelUri) else (uri.user or "") if isinstance(uri, SipUri) else ""
    user = user.partition(";")[0]
    return user if _NUMBER.fullmatch(user) else ""


def _leads_to(to: str, uri: Uri, number: str) -> bool:
    if _NUMBER.fullmatch(to):
        return to == number
    try:
        own = parse_uri(to)
    except RemoteProtocolError:
        return False
    if isinstance(own, SipUri) and isinstance(uri, SipUri):
        return (own.scheme, own.user, own.host, own.port) == (uri.scheme, uri.user, uri.host, uri.port)
    return isinstance(own, TelUri) and own.number == number
