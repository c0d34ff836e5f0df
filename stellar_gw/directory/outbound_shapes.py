"""What a configuration file says of calls that leave: ``outbound:``, ``transfers:``, accounts and allowed targets.

As in :mod:`stellar_gw.directory.shapes`: one class for each mapping, one field a key.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from attrs import field, frozen

from stellar_gw.directory.records import TransferMethod, WhileRinging
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.loading import NOWHERE, Place, printable, rules
from stellar_gw.sip.srtp import SrtpMode
from stellar_gw.sip.uri import SipUri, Uri, parse_uri

E164 = re.compile(r"\+[1-9][0-9]{3,14}")
TRANSPORTS = ("udp", "tcp", "tls")

_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")


class NextHop(rules.Rule):
    """Where requests are sent: a SIP URI that names a host, not a user."""

    must = "a sip: or sips: URI of a host, such as sip:sip.carrier.example:5061;transport=tls"

    def read(self, text: str) -> SipUri:
        uri = _parsed(text)
        if not isinstance(uri, SipUri):
            raise ValueError
        if uri.user is not None or uri.password is not None or uri.headers:
            raise ValueError(f"is '{printable(text)}', must name a host only: no user, password or ?headers")
        transport = uri.params.get("transport", "udp") or ""
        if transport.lower() not in TRANSPORTS:
            raise ValueError(f"is '{printable(text)}', must have transport={rules.one_of(TRANSPORTS)}, or none")
        if others := [name for name, _ in uri.params if name not in ("transport", "lr")]:
            raise ValueError(
                f"is '{printable(text)}', must have no parameter but transport, and has {printable(', '.join(others))}"
            )
        return uri


class CallerId(rules.Rule):
    """A number or address of our own, as others see it."""

    must = "a phone number such as +31201234567, or a sip: URI"

    def read(self, text: str) -> str:
        if E164.fullmatch(text):
            return text
        uri = _parsed(text)
        if not isinstance(uri, SipUri) or uri.password is not None or uri.headers:
            raise ValueError
        return text


class TargetPattern(rules.Rule):
    """What an agent may name by itself: numbers that begin so, or URIs of a host."""

    must = "the first digits of phone numbers (+3120), a domain (pbx.example.com, *.example.com), or an IP address"

    def read(self, text: str) -> str:
        if _PREFIX.fullmatch(text):
            return text
        star, host = ("*.", text[2:]) if text.startswith("*.") else ("", text)
        if star and "." not in host:
            raise ValueError
        host = rules.Host(names=True).read(host)
        if star and host.replace(".", "").isdigit():
            raise ValueError
        return star + str(host)


OwnUser = Annotated[
    str, rules.Text(re.compile(r"[\x21-\x7e]{1,128}"), "1 to 128 letters, digits and signs, without spaces")
]
Realm = Annotated[str, rules.Text(re.compile(r"[\x20-\x7e]{0,255}"), "the realm of the other side's challenges")]
OwnPassword = Annotated[str, rules.Password(1)]
Digits = Annotated[
    str,
    rules.Text(
        re.compile(r"[0-9A-D*#wW]{0,64}"),
        "at most 64 of 0-9, A-D, * and #, with w for half a second and W for a second",
    ),
]


ContactUser = Annotated[
    str, rules.Text(re.compile(r"[A-Za-z0-9+*#._-]{0,64}"), "at most 64 letters, digits, + * # . _ -")
]


@frozen(kw_only=True)
class RegisterShape:
    user: ContactUser = ""
    domain: Annotated[str, rules.Host(names=True)] = ""
    contact: ContactUser = ""
    dials: ContactUser = ""
    expires: Annotated[float, rules.Seconds(60, 86400)] = 3600.0
    place: Place = NOWHERE


@frozen(kw_only=True)
class OutboundShape:
    to: Annotated[SipUri, NextHop()] | None = None
    proxy: Annotated[SipUri, NextHop()] | None = None
    username: OwnUser = ""
    password: OwnPassword = field(default="", repr=False)
    realm: Realm = ""
    identity: Literal["ours", "caller"] = "ours"
    srtp: SrtpMode | None = None
    tls_name: Annotated[str, rules.Host(names=True)] = ""
    client_certificate: Annotated[str, rules.FilePath()] = ""
    redirects: bool = False
    domain: Annotated[str, rules.Host(names=True)] = ""
    x_headers_in_refer_to: bool = False
    register: RegisterShape = RegisterShape()
    probe: Annotated[float, rules.Seconds(0, 3600)] = 0.0
    keepalive: Annotated[float, rules.Seconds(0, 600)] = 25.0
    place: Place = NOWHERE


@frozen(kw_only=True)
class AccountShape:
    host: Annotated[str, rules.Host(names=True)]
    username: OwnUser
    password: OwnPassword = field(repr=False)
    realm: Realm = ""
    place: Place = NOWHERE


@frozen(kw_only=True)
class ConfirmShape:
    play: Annotated[str, rules.FilePath()] = ""
    digit: Annotated[str, rules.Text(re.compile("[0-9*#]"), "one key: 0 to 9, * or #")] = "1"
    timeout: Annotated[float, rules.Seconds(1, 60)] = 20.0
    place: Place = NOWHERE


@frozen(kw_only=True)
class TransferShape:
    to: str
    via: str = ""
    method: TransferMethod = "auto"
    fallback: bool | None = None
    about: Annotated[str, rules.Text(re.compile(r"[^\x00-\x1f\x7f]{0,500}"), "one line of at most 500 characters")] = ""
    confirm: ConfirmShape = ConfirmShape()
    digits: Digits = ""
    ring_timeout: Annotated[float, rules.Seconds(5, 180)] = 30.0
    while_ringing: WhileRinging = "agent"
    music: Annotated[str, rules.FilePath()] = ""
    place: Place = NOWHERE


def _parsed(text: str) -> Uri | None:
    try:
        return parse_uri(text)
    except RemoteProtocolError:
        return None
