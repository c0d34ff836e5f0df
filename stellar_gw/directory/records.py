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
from stellar_gw.sip.uri import SipUri

Network = IPv4Network | IPv6Network
Hold = Literal["sendonly", "inactive"]
Rewrite = tuple[tuple[str, str], ...]
"""Prefixes of dialled user parts, each with what stands in its place."""
EnvironmentName = Literal["development", "staging", "production"]

NOWHERE = Where("", 0)
"""The place of a record that no file holds."""


@frozen(kw_only=True)
class Limits:
    """What one tenant, or the whole gateway, may use; 0 is no limit.

    :ivar calls: at the same time.
    :ivar call_duration: seconds.
    :ivar transfers_per_hour: attempts, whatever became of them.
    :ivar bridge_duration: seconds that a caller may talk with a transfer's target.
    """

    calls: int = 0
    call_duration: float = 7200.0
    transfers_per_hour: int = 1000
    bridge_duration: float = 14400.0


@frozen(kw_only=True)
class Secret:
    """A value that never shows: not in repr, not in a log."""

    value: str = field(repr=False)


@frozen(kw_only=True)
class Register:
    """A registration of ours at a phone system or carrier (RFC 3261 10.2), as ``outbound.username``.

    :ivar user: of the address that is registered; empty: ``outbound.username``.
    :ivar domain: of that address; empty: the host of ``outbound.to``.
    :ivar contact: the user part that calls then come to; empty: ``outbound.username``.
    :ivar dials: what a call stands for that names nothing but that user part: a connector's identifier or number;
        empty: what its To header says.
    :ivar expires: seconds that are asked for.
    """

    user: str = ""
    domain: str = ""
    contact: str = ""
    dials: str = ""
    expires: float = 3600.0


@frozen(kw_only=True)
class Outbound:
    """How calls of ours reach a phone system or carrier, and how its REFERs are written.

    :ivar to: the next hop of its calls: host, port and ``transport=``; None: the target URI's own host.
    :ivar proxy: goes before ``to``, which stays the host of numbers.
    :ivar username: answers its challenges, with ``password``; empty: no challenge is answered.
    :ivar realm: the only one to answer; empty: whatever realm ``to`` asks for.
    :ivar caller_id: a ``+E.164`` number or a ``sip:`` URI of ours.
    :ivar identity: whose identity stands in From; the other's goes into P-Asserted-Identity.
    :ivar srtp: None: what its own calls have, or ``media.srtp``.
    :ivar tls_name: the name that its certificate must carry; empty: the host of ``to``.
    :ivar client_certificate: the path of a PEM file with certificate and key that is shown to it.
    :ivar redirects: whether a 3xx is followed, once.
    :ivar domain: the host that numbers get in Refer-To; empty: found out from the call.
    :ivar x_headers_in_refer_to: X-* headers stand in Refer-To, too.
    :ivar register: None: its calls come by themselves.
    :ivar probe: seconds between OPTIONS that ask whether it is there; 0: it is not asked.
    :ivar keepalive: seconds between keepalives on a registered flow (RFC 5626 4.4.1); 0: none.
    """

    to: SipUri | None = None
    proxy: SipUri | None = None
    username: str = ""
    password: Secret = Secret(value="")
    realm: str = ""
    caller_id: str = ""
    identity: Literal["ours", "caller"] = "ours"
    srtp: SrtpMode | None = None
    tls_name: str = ""
    client_certificate: str = ""
    redirects: bool = False
    domain: str = ""
    x_headers_in_refer_to: bool = False
    register: Register | None = None
    probe: float = 0.0
    keepalive: float = 25.0

    @property
    def peer_name(self) -> str:
        """What its certificate carries; empty where nothing is known of it."""
        return self.tls_name or ("" if self.to is None else self.to.host)


@frozen(kw_only=True)
class DigestAccount:
    """A user name and password for INVITEs of ours, shown to one host only."""

    host: str
    realm: str = ""
    username: str
    password: Secret


@frozen(kw_only=True)
class Tenant:
    """
    :ivar outbound_proxy: the next hop of transfers whose way names none of its own.
    :ivar transfer_targets: what an agent may name besides the transfers: number prefixes (``+3120``), domains
        (``pbx.example``, ``*.example``) and addresses.
    :ivar private_targets: whether an INVITE of ours may go to private and loopback addresses.
    """

    name: str
    limits: Limits = Limits()
    outbound_proxy: SipUri | None = None
    transfer_targets: tuple[str, ...] = ()
    private_targets: bool = False


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
    ice: bool = False
    """Whether its media may come by ICE (RFC 8445), which we take part in as a lite agent."""
    platform: str = ""
    hold: Hold = "sendonly"
    """The direction of our offers that put it on hold."""
    rewrite: Rewrite = ()
    """What its user parts begin with and should not: tried where nothing answers to them as they came."""
    refer: bool = False
    """Whether its REFERs are followed: the call goes on with whom they name, as far as transfers may."""
    replaces: bool = False
    """Whether its INVITEs may take the place of a call of the same tenant (RFC 3891)."""
    outbound: Outbound = Outbound()
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
    ice: bool = False
    """Whether its media may come by ICE (RFC 8445), which we take part in as a lite agent."""
    platform: str = ""
    hold: Hold = "sendonly"
    """The direction of our offers that put it on hold."""
    rewrite: Rewrite = ()
    """What its user parts begin with and should not: tried where nothing answers to them as they came."""
    refer: bool = False
    """Whether its REFERs are followed: the call goes on with whom they name, as far as transfers may."""
    replaces: bool = False
    """Whether its INVITEs may take the place of a call of the same tenant (RFC 3891)."""
    outbound: Outbound = Outbound()
    large_over_tcp: bool = False
    """Requests above 1,300 octets to it go over TCP first (RFC 3261 18.1.1)."""
    unconfirmed_calls: int = 200
    """Calls over UDP that were answered and not yet acknowledged, at the same time."""
    strict_latch: bool = False
    where: Where = NOWHERE


@frozen(kw_only=True)
class Environment:
    """One environment of an agent: where it runs and what it is given.

    :ivar dialect: the wire format (``twilio``, ``builtin``).
    :ivar url: template; ``{agent}``, ``{version}``, ``{environment}``, ``{call_id}``, ``{from}``, ... are filled.
    :ivar headers: request headers of the upgrade; values are templates and may hold secrets.
    :ivar agent_answers: whether the call rings until the agent says ``answer``, or rejects it.
    :ivar resumes: whether a link that broke in mid-call may be made anew, once, the agent being told so.
    :ivar filler: the path of a WAV file that the caller hears meanwhile; empty: comfort noise.
    :ivar outbound: accounts of its own for transfers, by name; each goes before a way's account for the same host.
    """

    name: EnvironmentName
    dialect: str
    url: Secret
    headers: tuple[tuple[str, Secret], ...] = ()
    variables: dict[str, str] = field(factory=dict)
    secrets: dict[str, Secret] = field(factory=dict)
    agent_answers: bool = False
    resumes: bool = False
    filler: str = ""
    outbound: dict[str, DigestAccount] = field(factory=dict)
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
class Fallback:
    """What becomes of a caller whose agent is not there, or no longer: one of these, or neither.

    :ivar transfer: the name of a transfer.
    :ivar play: the path of a WAV file, after which we hang up.
    """

    transfer: str = ""
    play: str = ""

    def __bool__(self) -> bool:
        return bool(self.transfer or self.play)

    def __str__(self) -> str:
        return f"transfer {self.transfer}" if self.transfer else f"play {self.play}"


@frozen(kw_only=True)
class Connector:
    """What a caller dials: names agent, environment and version, and can be disabled.

    :ivar identifier: the user part of a SIP connector; a digit string is unique over the installation.
    :ivar number: ``+E.164`` of a phone connector, bound to (provider, tenant) where ``provider`` is set,
        to the tenant's credentials otherwise.
    :ivar prefixes: what may stand before the identifier, or before the number without its ``+``.
    :ivar agent: an agent's name, or ``builtin:echo`` and the like.
    :ivar version: ``published``, ``draft`` or a pinned version.
    :ivar srtp: None: the caller's, or ``media.srtp``.
    :ivar unavailable_status: what the caller gets while the agent is not there, and there is no fallback.
    :ivar record: its calls are written down as audio files.
    :ivar dtmf: ``inband`` looks for digits in the caller's audio, too.
    :ivar x_headers_in_refer_to: None: as the caller's ``outbound`` says.
    :ivar barge_in: whether the gateway finds the caller's speech itself, and tells the agent of it, or silences it too.
    :ivar early_media: what callers are sent before the answer, by 183: a ringing tone, or what the agent says.
    """

    name: str
    tenant: str
    type: Literal["sip", "phone"]
    identifier: str = ""
    number: str = ""
    provider: str = ""
    prefixes: tuple[str, ...] = ()
    agent: str
    environment: EnvironmentName = "production"
    version: str = "published"
    enabled: bool = True
    srtp: SrtpMode | None = None
    fallback: Fallback = Fallback()
    unavailable_status: int = 480
    unavailable_reason: str = ""
    record: bool = False
    dtmf: Literal["events", "inband"] = "events"
    x_headers_in_refer_to: bool | None = None
    barge_in: Literal["off", "tell", "clear"] = "off"
    early_media: Literal["off", "ringback", "agent"] = "off"
    options: dict[str, str] = field(factory=dict)
    where: Where = NOWHERE


TransferMethod = Literal["auto", "refer", "invite"]
WhileRinging = Literal["agent", "ringback", "music"]


@frozen(kw_only=True)
class Confirm:
    """A target that answers must press a key before it gets the caller: an answering machine does not.

    :ivar play: the path of the WAV file that it hears.
    :ivar timeout: seconds from the answer on; the file is played over and over.
    """

    play: str
    digit: str = "1"
    timeout: float = 20.0


@frozen(kw_only=True)
class Transfer:
    """A place where an agent may send a caller, by name.

    :ivar to: a ``sip:``, ``sips:`` or ``tel:`` URI, or a ``+E.164`` number.
    :ivar via: the trunk provider or the credential whose phone system carries the call.
    :ivar method: ``auto`` is REFER, unless ``via`` is another system than the caller's.
    :ivar fallback: whether an INVITE follows where REFER was refused or went silent.
    :ivar about: told to the agent.
    :ivar digits: pressed once the target has answered; ``w`` waits half a second, ``W`` a second.
    :ivar ring_timeout: seconds until a target that does not answer is given up.
    :ivar while_ringing: what the caller hears until the target answers.
    :ivar music: the path of a WAV file, for ``while_ringing: music``.
    """

    name: str
    tenant: str
    to: str
    via: str = ""
    method: TransferMethod = "auto"
    fallback: bool = True
    about: str = ""
    confirm: Confirm | None = None
    digits: str = ""
    ring_timeout: float = 30.0
    while_ringing: WhileRinging = "agent"
    music: str = ""
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
    transfers: tuple[Transfer, ...] = ()


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

    def credentials(self) -> tuple[Credential, ...]:
        """Of all tenants, in the order they were written."""

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
