"""What a configuration says, checked, with every default filled in.

Times are in seconds, sizes in octets. Addresses are ``(host, port)`` with a numeric host and no brackets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from attrs import field, frozen

from stellar_gw.directory.records import NOWHERE, Directory, Network
from stellar_gw.errors import Where
from stellar_gw.loading import rules
from stellar_gw.sip.flow import Address, Listener, Transport
from stellar_gw.sip.srtp import SUITES, SrtpMode

DigestAlgorithm = Literal["MD5", "SHA-256"]
SrtpSuite = Literal[
    "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM"
]  # fmt: skip
Dscp = Annotated[int, rules.Whole(0, 63)]
UserAgent = rules.Text(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/()-]{0,62}[A-Za-z0-9)]"), "2 to 64 letters, digits, spaces, . _ / ( ) -"
)
Count = Annotated[int, rules.Whole(1, 1_000_000)]


@frozen(kw_only=True)
class ListenerConfig:
    """One socket for SIP.

    :ivar bind: port 0 takes a free port (tests).
    :ivar advertise: what Via and Contact carry: a name or an address; port 0 stands for the bound one.
    :ivar media_advertise: the address that SDP carries for calls of this listener.
    :ivar media_other: the same of the other IP version, for peers that talk by that one; empty: there is none.
    :ivar certificate: for TLS, the path of a PEM file with the chain, and the key unless ``key`` names it.
    :ivar client_ca: for TLS, the path of a PEM file; peers must then show a certificate it signed.
    :ivar digest: the algorithms a challenge offers, most wanted first.
    """

    name: str
    transport: Transport
    bind: Address
    advertise: Address
    media_advertise: str
    media_other: str = ""
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    digest: tuple[DigestAlgorithm, ...] = ("MD5",)
    where: Where = NOWHERE

    def listener(self, bound: Address) -> Listener:
        """What the SIP core needs to know of it, once it is bound."""
        host, port = self.advertise
        return Listener(
            name=self.name,
            transport=self.transport,
            bind=bound,
            advertise=(host, port or bound[1]),
            media_advertise=self.media_advertise,
            media_other=self.media_other,
        )


@frozen(kw_only=True)
class MediaConfig:
    """RTP, as every worker does it.

    :ivar ports: first and last UDP port; an even number of them, the first even.
    :ivar bind: ``::`` stands for every address of both IP versions; each leg has sockets of one.
    :ivar bind_ipv6: of the legs that talk by IPv6, where ``bind`` is an IPv4 address.
    :ivar advertise: the address in SDP where a listener names none of its own; empty: each listener's.
    :ivar advertise_ipv6: where that is an IPv4 address, the one for peers that talk by IPv6.
    :ivar workers: media workers; 0 is one for each core.
    :ivar dscp: the class of RTP packets (46: EF, RFC 4594 4.1).
    :ivar quarantine: how long a port rests before another call gets it.
    :ivar srtp: for callers and connectors that say nothing else.
    :ivar srtp_suites: that may be used, most wanted first.
    :ivar plain_reinvite: what becomes of a re-INVITE that takes SRTP off again, where it is not required.
    :ivar hold_music: what callers hear whom an agent has put on hold, a WAV file; empty: a short tone now and then.
    :ivar orphan_time: how long workers, and calls in them, outlive a gateway process that was killed.
    :ivar fast_path: what passes the packets of bridged calls on, besides the workers.
    :ivar fast_path_socket: of the helper that sees to it.
    """

    ports: Annotated[tuple[int, int], rules.Ports()] = (10000, 19999)
    bind: Annotated[str, rules.Host()] = "0.0.0.0"
    bind_ipv6: Annotated[str, rules.Host()] = ""
    advertise: Annotated[str, rules.Host()] = ""
    advertise_ipv6: Annotated[str, rules.Host()] = ""
    workers: Annotated[int, rules.Whole(0, 256)] = 0
    dscp: Dscp = 46
    quarantine: Annotated[float, rules.Seconds(0, 600)] = 5.0
    srtp: SrtpMode = "opportunistic"
    srtp_suites: tuple[SrtpSuite, ...] = SUITES
    plain_reinvite: Literal["accept", "refuse"] = "accept"
    hold_music: Annotated[str, rules.FilePath()] = ""
    orphan_time: Annotated[float, rules.Seconds(1, 3600)] = 60.0
    fast_path: Literal["off", "nftables"] = "off"
    fast_path_socket: Annotated[str, rules.FilePath()] = "/run/stellar-gw-fastpath/socket"

    @property
    def binds(self) -> tuple[str, ...]:
        """What RTP sockets are bound to: one address, or one of each IP version."""
        if self.bind == "::":
            return "0.0.0.0", self.bind
        return tuple(filter(None, (self.bind, self.bind_ipv6)))


@frozen(kw_only=True)
class SipConfig:
    """SIP, on every listener.

    :ivar dscp: the class of SIP packets (24: CS3, RFC 4594 4.1).
    :ivar t1: the round-trip estimate that retransmissions start from (RFC 3261 17.1.1.1).
    :ivar udp_mtu: requests larger than this go over TCP first, to providers that ask for it (18.1.1).
    :ivar nonce_life: how long a digest nonce is good for.
    :ivar sha256_from: source ranges that are challenged with SHA-256 besides (RFC 8760).
    :ivar setup_timeout: a connection that has not handshaken, or not finished a message, is closed.
    :ivar idle_timeout: a connection that has spoken and is in no dialog is closed after this long.
    :ivar session_timers: whether sessions are refreshed, and end where nobody does (RFC 4028).
    :ivar session_expires: how long a session may go without being refreshed, as far as we are asked.
    :ivar session_minimum: a peer that asks for less gets 422.
    :ivar trusted_ca: the authorities believed where we connect by TLS, a PEM file; empty: the system's.
    """

    user_agent: Annotated[str, UserAgent] = "stellar-gw"
    dscp: Dscp = 24
    t1: Annotated[float, rules.Seconds(0.1, 5)] = 0.5
    udp_mtu: Annotated[int, rules.Whole(576, 65535)] = 1300
    nonce_life: Annotated[float, rules.Seconds(10, 3600)] = 60.0
    sha256_from: tuple[Annotated[Network, rules.Network()], ...] = ()
    setup_timeout: Annotated[float, rules.Seconds(1, 60)] = 10.0
    idle_timeout: Annotated[float, rules.Seconds(10, 86400)] = 600.0
    session_timers: bool = True
    session_expires: Annotated[float, rules.Seconds(90, 86400)] = 1800.0
    session_minimum: Annotated[float, rules.Seconds(90, 7200)] = 90.0
    trusted_ca: Annotated[str, rules.FilePath()] = ""


@frozen(kw_only=True)
class GatewayLimits:
    """What the whole gateway takes; 0 is no limit where it counts calls.

    :ivar calls: at the same time, over all tenants.
    :ivar load: percent of a core that a media worker may need before it gets no more calls.
    :ivar call_duration: of one call, for tenants that set none of their own.
    :ivar requests: unauthenticated requests a second from one source; ``burst`` of them at once.
    :ivar connections: open TCP and TLS connections from one source; ``all_connections`` from all.
    :ivar auth_failures: within ``auth_window``, then the source is banned for ``ban``.
    :ivar trusted_for: a source that authenticated is throttled and not banned for this long.
    :ivar transactions: server and client transactions at the same time.
    """

    calls: Annotated[int, rules.Whole(0, 100_000)] = 0
    load: Annotated[int, rules.Whole(0, 100)] = 90
    call_duration: Annotated[float, rules.Seconds(1, 86400)] = 7200.0
    requests: Count = 100
    burst: Count = 400
    connections: Count = 600
    all_connections: Count = 4000
    auth_failures: Count = 10
    auth_window: Annotated[float, rules.Seconds(1, 86400)] = 60.0
    ban: Annotated[float, rules.Seconds(0, 7 * 86400)] = 300.0
    trusted_for: Annotated[float, rules.Seconds(0, 7 * 86400)] = 3600.0
    transactions: Count = 20000


@frozen(kw_only=True)
class TimersConfig:
    """How long the gateway waits.

    :ivar drain: for the calls that are up when the gateway is told to stop.
    :ivar no_media: without RTP and RTCP, before a call is looked into (and ended, if none ever came).
    :ivar no_media_on_hold: the same while the call is on hold.
    :ivar no_media_extended: the most that a peer which still answers OPTIONS keeps a silent call.
    :ivar duration_warning: the agent is told this long before its call reaches its limit.
    """

    drain: Annotated[float, rules.Seconds(0, 86400)] = 300.0
    no_media: Annotated[float, rules.Seconds(5, 3600)] = 30.0
    no_media_on_hold: Annotated[float, rules.Seconds(5, 86400)] = 3600.0
    no_media_extended: Annotated[float, rules.Seconds(5, 86400)] = 300.0
    duration_warning: Annotated[float, rules.Seconds(0, 3600)] = 60.0


@frozen(kw_only=True)
class AgentConfig:
    """Links to agents.

    :ivar connect_timeout: over DNS, connect, TLS and upgrade together; then the agent is given up.
    :ivar ping_interval: between WebSocket pings; ``ping_timeout`` is how long a pong may take.
    """

    connect_timeout: Annotated[float, rules.Seconds(0.1, 60)] = 3.0
    ping_interval: Annotated[float, rules.Seconds(1, 600)] = 5.0
    ping_timeout: Annotated[float, rules.Seconds(0.5, 600)] = 5.0


@frozen(kw_only=True)
class RecordsConfig:
    """Where records go: ``cdr.jsonl`` and ``refusals.jsonl`` in one folder, an absolute path.

    :ivar recordings: the folder of recorded calls; empty: ``recordings`` in ``directory``.
    """

    directory: Annotated[str, rules.FilePath()] = "/var/lib/stellar-gw"
    recordings: Annotated[str, rules.FilePath()] = ""

    @property
    def recordings_folder(self) -> str:
        return self.recordings or f"{self.directory.rstrip('/')}/recordings"


@frozen(kw_only=True)
class LogConfig:
    """The log on standard error.

    :ivar format: ``auto`` is ``text`` on a terminal and ``json`` elsewhere.
    """

    level: Literal["debug", "info", "warn", "error"] = "info"
    format: Literal["auto", "text", "json"] = "auto"


@frozen(kw_only=True)
class DnsConfig:
    """How names are asked for; ``/etc/hosts`` comes first.

    :ivar servers: name servers; none: those of ``/etc/resolv.conf``.
    """

    servers: tuple[Annotated[Address, rules.HostPort(port=53)], ...] = ()


@frozen(kw_only=True)
class HttpConfig:
    """What is asked for by HTTP: metrics, health, and Twilio's REST calls of agents.

    :ivar bind: None: there is no such listener.
    """

    bind: Annotated[Address, rules.HostPort()] | None = None


@frozen(kw_only=True)
class Config:
    """A whole configuration file.

    :ivar domain: the digest realm, and a host that Request-URIs may name.
    :ivar aliases: further names of ours, in Request-URIs only.
    :ivar recording: whether any connector's calls are recorded.
    :ivar warnings: one printable line for each thing that is allowed and looks wrong, in file order.
    :ivar lines: the line of every key that is written, by its path.
    """

    file: str
    domain: str
    aliases: tuple[str, ...] = ()
    listeners: dict[str, ListenerConfig]
    media: MediaConfig = MediaConfig()
    sip: SipConfig = SipConfig()
    limits: GatewayLimits = GatewayLimits()
    timers: TimersConfig = TimersConfig()
    agent: AgentConfig = AgentConfig()
    records: RecordsConfig = RecordsConfig()
    log: LogConfig = LogConfig()
    http: HttpConfig = HttpConfig()
    dns: DnsConfig = DnsConfig()
    directory: Directory = field(repr=False)
    recording: bool = False
    warnings: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(factory=dict, repr=False, eq=False)

    def where(self, path: str) -> Where:
        """Where a key stands, by its path (``media.ports``); the nearest mapping's line if it is not written."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return Where(self.file, self.lines.get(path, 1))

    @property
    def hosts(self) -> frozenset[str]:
        """Every host that a Request-URI for us may name: lower case, IPv6 without brackets."""
        names = {self.domain, *self.aliases}
        for listener in self.listeners.values():
            names |= {listener.advertise[0], listener.bind[0], listener.media_advertise, listener.media_other}
        return frozenset(name.lower() for name in names) - {"0.0.0.0", "::", ""}
