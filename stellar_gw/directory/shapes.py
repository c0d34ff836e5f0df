"""What the directory's part of a configuration file looks like: one class for each mapping, one field a key.

These are the file's shapes, with the place of everything; :mod:`stellar_gw.directory.making` turns them into
the records that the rest of the gateway knows.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from attrs import field, frozen

from stellar_gw.dialects.template import escape
from stellar_gw.directory.outbound_shapes import (
    AccountShape,
    CallerId,
    NextHop,
    OutboundShape,
    TargetPattern,
    TransferShape,
)
from stellar_gw.directory.platforms import PlatformName
from stellar_gw.directory.records import Hold, Network
from stellar_gw.loading import NOWHERE, Place, rules
from stellar_gw.sip.srtp import SrtpMode, SrtpOffer
from stellar_gw.sip.uri import SipUri

Name = Annotated[
    str,
    rules.Text(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"), "1 to 64 letters, digits, dots, underscores or hyphens"),
]
UserName = Annotated[
    str,
    rules.Text(re.compile(r"[A-Za-z0-9._-]{8,64}"), "8 to 64 letters, digits, dots, underscores or hyphens"),
]
Identifier = Annotated[
    str,
    rules.Text(
        re.compile(r"[A-Za-z0-9*#](?:[A-Za-z0-9*#._-]{0,62}[A-Za-z0-9*#])?"),
        "what callers dial: digits (600), or letters, digits, dots, underscores, hyphens, * and #",
    ),
]
Number = Annotated[
    str, rules.Text(re.compile(r"\+[1-9][0-9]{3,14}"), "a phone number in E.164 form, such as +31201234567")
]
Prefix = Annotated[
    str, rules.Text(re.compile(r"(?=.)\+?[0-9*#]{0,16}"), "what dialled numbers begin with: digits, *, #, or + first")
]
Replacement = Annotated[
    str, rules.Text(re.compile(r"\+?[0-9*#]{0,20}"), 'what stands for it: digits, + first, or "" for nothing')
]
Variable = Annotated[
    str,
    rules.Text(re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}"), "letters, digits, dots, _ or -, a letter first"),
]
Version = Annotated[
    str,
    rules.Text(re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}"), "published, draft, or a version's name such as 7"),
]
EnvironmentKey = Annotated[
    str, rules.Text(re.compile("development|staging|production"), "development, staging or production")
]
HeaderName = Annotated[str, rules.Text(re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}"), "the name of an HTTP header")]
SecretText = Annotated[
    str, rules.Text(re.compile(r"[^\x00-\x1f\x7f]*"), "one line of text", secret=True, redacted=True)
]
SecretTemplate = Annotated[
    str, rules.Text(re.compile(r"[^\x00-\x1f\x7f]*"), "one line of text", secret=True, alter=escape)
]
UrlTemplate = Annotated[
    str,
    rules.Text(
        re.compile(r"(?:[a-z][a-z0-9+.-]{0,31}://[^\s@#\x00-\x1f\x7f]+|builtin:[a-z]+)"),
        "ws://host:port/path or wss://host/path, without user name, password or #fragment",
        secret=True,
        alter=escape,
    ),
]
Sources = tuple[Annotated[Network, rules.Network()], ...]


@frozen(kw_only=True)
class TenantLimits:
    calls: Annotated[int, rules.Whole(0, 100_000)] = 0
    call_duration: Annotated[float, rules.Seconds(1, 86400)] | None = None
    transfers_per_hour: Annotated[int, rules.Whole(0, 1_000_000)] = 1000
    bridge_duration: Annotated[float, rules.Seconds(1, 86400)] = 14400.0


@frozen(kw_only=True)
class CredentialShape:
    password: Annotated[str, rules.Password()] = field(default="", repr=False)
    ha1_md5: Annotated[
        str, rules.Text(re.compile("[0-9a-f]{32}"), "32 hexadecimal digits in lower case", secret=True, redacted=True)
    ] = field(default="", repr=False)
    ha1_sha256: Annotated[
        str, rules.Text(re.compile("[0-9a-f]{64}"), "64 hexadecimal digits in lower case", secret=True, redacted=True)
    ] = field(default="", repr=False)
    require_sha256: bool = False
    allowed_ips: Sources = ()
    require_tls: bool = False
    srtp: SrtpMode | None = None
    srtp_offer: SrtpOffer | None = None
    srtp_without_tls: bool = False
    ice: bool = False
    platform: Annotated[str, PlatformName()] = ""
    hold: Hold = "sendonly"
    rewrite: dict[Prefix, Replacement] = field(factory=dict)
    refer: bool = False
    replaces: bool = False
    outbound: OutboundShape = field(factory=OutboundShape)
    caller_id: Annotated[str, CallerId()] = ""
    place: Place = NOWHERE


@frozen(kw_only=True)
class ProviderShape:
    allowed_ips: Sources
    tenants: tuple[str, ...]
    require_tls: bool = False
    srtp: SrtpMode | None = None
    srtp_offer: SrtpOffer | None = None
    srtp_without_tls: bool = False
    ice: bool = False
    platform: Annotated[str, PlatformName()] = ""
    hold: Hold = "sendonly"
    rewrite: dict[Prefix, Replacement] = field(factory=dict)
    refer: bool = False
    replaces: bool = False
    outbound: OutboundShape = field(factory=OutboundShape)
    caller_id: Annotated[str, CallerId()] = ""
    large_over_tcp: bool = False
    unconfirmed_calls: Annotated[int, rules.Whole(1, 100_000)] = 200
    latch: Literal["any", "strict"] = "any"
    place: Place = NOWHERE


@frozen(kw_only=True)
class Versions:
    published: Version = ""
    draft: Version = ""
    earlier: tuple[Version, ...] = ()


@frozen(kw_only=True)
class EnvironmentShape:
    dialect: str
    url: UrlTemplate = field(repr=False)
    headers: dict[HeaderName, SecretTemplate] = field(factory=dict, repr=False)
    variables: dict[Variable, str] = field(factory=dict)
    secrets: dict[Variable, SecretText] = field(factory=dict, repr=False)
    rate: Literal["8000", "16000", "24000"] = ""  # type: ignore[assignment]  # absent: the dialect's own
    answer: Literal["gateway", "agent"] = "gateway"
    resumes: bool = False
    filler: Annotated[str, rules.FilePath()] = ""
    outbound: dict[Name, AccountShape] = field(factory=dict)
    options: dict[Variable, str] = field(factory=dict)
    place: Place = NOWHERE


@frozen(kw_only=True)
class AgentShape:
    environments: dict[EnvironmentKey, EnvironmentShape]
    languages: tuple[str, ...] = ()
    versions: Versions = Versions(published="1")
    place: Place = NOWHERE


@frozen(kw_only=True)
class FallbackShape:
    """``fallback: support``, or ``fallback: {play: sorry.wav}``."""

    SHORT: ClassVar[str] = "transfer"
    transfer: str = ""
    play: Annotated[str, rules.FilePath()] = ""
    place: Place = NOWHERE


@frozen(kw_only=True)
class ConnectorShape:
    agent: str
    type: Literal["sip", "phone"] = "sip"
    identifier: Identifier = ""
    number: Number = ""
    provider: str = ""
    prefixes: tuple[Prefix, ...] = ()
    environment: Literal["development", "staging", "production"] = "production"
    version: Version = "published"
    enabled: bool = True
    srtp: SrtpMode | None = None
    fallback: FallbackShape = FallbackShape()
    unavailable_status: Literal["404", "410", "480", "486", "600", "603"] = "480"
    unavailable_reason: Annotated[
        str, rules.Text(re.compile(r"[\x20-\x7e]{0,80}"), "at most 80 plain characters (it is a SIP reason phrase)")
    ] = ""
    record: bool = False
    dtmf: Literal["events", "inband"] = "events"
    x_headers_in_refer_to: bool | None = None
    barge_in: Literal["off", "tell", "clear"] = "off"
    early_media: Literal["off", "ringback", "agent"] = "off"
    options: dict[Variable, str] = field(factory=dict)
    place: Place = NOWHERE


@frozen(kw_only=True)
class TenantShape:
    limits: TenantLimits = TenantLimits()
    outbound_proxy: Annotated[SipUri, NextHop()] | None = None
    transfer_targets: tuple[Annotated[str, TargetPattern()], ...] = ()
    private_targets: bool = False
    credentials: dict[UserName, CredentialShape] = field(factory=dict)
    transfers: dict[Name, TransferShape] = field(factory=dict)
    agents: dict[Name, AgentShape] = field(factory=dict)
    connectors: dict[Name, ConnectorShape] = field(factory=dict)
    place: Place = NOWHERE
