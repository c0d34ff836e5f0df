"""The directory's records and the one protocol that every backend offers (DESIGN: who, whom, which agent).

A directory answers from memory: a backend loads a whole snapshot, checks it, and swaps it in, so that
looking up is synchronous and a reload is atomic.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Literal, Protocol

from attrs import field, frozen

from stellar_gw.errors import Where
from stellar_gw.sip.srtp import SrtpMode, SrtpOffer

Network = IPv4Network | IPv6Network
EnvironmentName = Literal["development", "staging", "production"]

NOWHERE = Where("", 0)
"""The place of a record that no file holds."""


@frozen(kw_only=True)
class Limits:
    """What one tenant, or the whole gateway, may use; 0 is no limit.

    :ivar calls: at the same time.
    :ivar call_duration: seconds.
    """

    calls: int = 0
    call_duration: float = 7200.0
    transfers_per_hour: int = 0


@frozen(kw_only=True)
class Tenant:
    name: str
    limits: Limits = Limits()


@frozen(kw_only=True)
class Credential:
    """A SIP digest account (RFC 2617); user names are unique over all tenants.

    :ivar ha1_md5: hex MD5(user:realm:password), password-equivalent in that realm.
    :ivar ha1_sha256: the same by SHA-256 (RFC 8760); empty where only an MD5 HA1 is stored.
    :ivar allowed_ips: source addresses that may use it; empty for any.
    """

    username: str
    tenant: str
    ha1_md5: str = field(default="", repr=False)
    ha1_sha256: str = field(default="", repr=False)
    ha1_only: bool = False
    """Whether only the HA1 is known, and not the password: then the realm can never change."""
    require_sha256: bool = False
    allowed_ips: tuple[Network, ...] = ()
    require_tls: bool = False
    srtp: SrtpMode | None = None
    """None: ``media.srtp`` decides, or the connector."""
    srtp_offer: SrtpOffer | None = None
    srtp_without_tls: bool = False
    platform: str = ""
    where: Where = NOWHERE


@frozen(kw_only=True)
class TrunkProvider:
    """A trunk provider: its source addresses are admitted without a challenge; belongs to the installation."""

    name: str
    allowed_ips: tuple[Network, ...]
    tenants: tuple[str, ...]
    require_tls: bool = False
    srtp: SrtpMode | None = None
    """None: ``media.srtp`` decides, or the connector."""
    srtp_offer: SrtpOffer | None = None
    srtp_without_tls: bool = False
    platform: str = ""
    large_over_tcp: bool = False
    """Requests above 1,300 octets to it go over TCP first (RFC 3261 18.1.1)."""
    unconfirmed_calls: int = 200
    """Calls over UDP that were answered and not yet acknowledged, at the same time."""
    strict_latch: bool = False
    where: Where = NOWHERE


@frozen(kw_only=True)
class Secret:
    """A value that never shows: not in repr, not in a log."""

    value: str = field(repr=False)


@frozen(kw_only=True)
class Environment:
    """One environment of an agent: where it runs and what it is given.

    :ivar dialect: the wire format (``twilio``, ``builtin``).
    :ivar url: template; ``{agent}``, ``{version}``, ``{environment}``, ``{call_id}``, ``{from}``, ... are filled.
    :ivar headers: request headers of the upgrade; values are templates and may hold secrets.
    :ivar agent_answers: whether the call rings until the agent says ``answer``, or rejects it.
    """

    name: EnvironmentName
    dialect: str
    url: Secret
    headers: tuple[tuple[str, Secret], ...] = ()
    variables: dict[str, str] = field(factory=dict)
    secrets: dict[str, Secret] = field(factory=dict)
    agent_answers: bool = False
    options: dict[str, str] = field(factory=dict)
    where: Where = NOWHERE


@frozen(kw_only=True)
class Agent:
    name: str
    tenant: str
    languages: tuple[str, ...] = ()
    published: str = ""
    draft: str = ""
    versions: tuple[str, ...] = ()
    """Every version that a connector may pin, the published one and the draft among them."""
    environments: dict[str, Environment] = field(factory=dict)
    where: Where = NOWHERE


@frozen(kw_only=True)
class Connector:
    """What a caller dials: names agent, environment and version, and can be disabled.

    :ivar identifier: the user part of a SIP connector; a digit string is unique over the installation.
    :ivar number: ``+E.164`` of a phone connector, bound to (provider, tenant) where ``provider`` is set,
        to the tenant's credentials otherwise.
    :ivar agent: an agent's name, or ``builtin:echo`` and the like.
    :ivar version: ``published``, ``draft`` or a pinned version.
    :ivar srtp: None: the caller's, or ``media.srtp``.
    :ivar unavailable_status: what the caller gets while the agent is not there.
    :ivar record: its calls are written down as audio files.
    :ivar dtmf: ``inband`` looks for digits in the caller's audio, too.
    """

    name: str
    tenant: str
    type: Literal["sip", "phone"]
    identifier: str = ""
    number: str = ""
    provider: str = ""
    agent: str
    environment: EnvironmentName = "production"
    version: str = "published"
    enabled: bool = True
    srtp: SrtpMode | None = None
    fallback: str = ""
    unavailable_status: int = 480
    unavailable_reason: str = ""
    record: bool = False
    dtmf: Literal["events", "inband"] = "events"
    options: dict[str, str] = field(factory=dict)
    where: Where = NOWHERE


@frozen(kw_only=True)
class Transfer:
    """A place where an agent may send a caller, by name; there are no others.

    :ivar to: a ``sip:`` or ``sips:`` URI, or a ``+E.164`` number.
    :ivar via: the trunk provider or the credential's phone system that carries the call.
    :ivar method: REFER first, or an INVITE of ours; ``auto`` is REFER where the peer knows it.
    :ivar about: told to the agent.
    """

    name: str
    tenant: str
    to: str
    via: str = ""
    method: Literal["auto", "refer", "invite"] = "auto"
    about: str = ""
    where: Where = NOWHERE


@frozen(kw_only=True)
class Snapshot:
    """Everything a backend holds at one moment, each kind in the order it was written.

    :ivar secrets: every secret's text.
    """

    domain: str
    tenants: tuple[Tenant, ...] = ()
    credentials: tuple[Credential, ...] = ()
    providers: tuple[TrunkProvider, ...] = ()
    agents: tuple[Agent, ...] = ()
    connectors: tuple[Connector, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


@frozen(kw_only=True)
class Route:
    """What a connector leads to: everything needed to start its agent, all of one tenant."""

    connector: Connector
    tenant: Tenant
    environment: Environment
    agent: str
    version: str
    languages: tuple[str, ...] = ()


@frozen(kw_only=True)
class NoRoute:
    """Why a dialled user part leads nowhere; the caller learns 404 in every case.

    :ivar check: ``unknown``, ``disabled``, ``other_tenant``, ``other_provider`` or ``no_version``.
    :ivar reason: what failed, for the operator.
    :ivar fix: what to do about it, with the place in the configuration.
    """

    check: str
    reason: str
    fix: str


class Directory(Protocol):
    """Who may call, whom, and which agent answers; every backend passes one suite of tests."""

    @property
    def domain(self) -> str:
        """The digest realm, and the host that Request-URIs name."""

    def tenant(self, name: str) -> Tenant | None: ...

    def credential(self, username: str) -> Credential | None: ...

    def providers(self) -> tuple[TrunkProvider, ...]: ...

    def agents(self) -> tuple[Agent, ...]:
        """Of all tenants, in the order they were written."""

    def transfers(self, tenant: str) -> tuple[Transfer, ...]: ...

    def provider_at(self, address: str) -> TrunkProvider | None:
        """The provider whose allowed addresses hold this one, the longest prefix first.

        :param address: numeric; an IPv4-mapped IPv6 address is folded.
        """

    def route_for_credential(self, user: str, credential: Credential) -> Route | NoRoute:
        """Where a dialled user part (parameters removed) leads for a credential's tenant."""

    def route_for_provider(self, user: str, provider: TrunkProvider, address: str) -> Route | NoRoute:
        """Where a dialled user part leads when it comes from a trunk provider's address."""

    def secrets(self) -> frozenset[str]:
        """Every secret's text, for the log's redaction; never to be shown."""
