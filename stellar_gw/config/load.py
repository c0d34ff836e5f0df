"""A configuration file read, checked, and made into a :class:`Config`; and read again while calls are up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import attrs
from attrs import field, frozen

from stellar_gw.config.listeners import ListenerShape, authorities_fault, make_listeners
from stellar_gw.config.records import (
    AgentConfig,
    Config,
    DnsConfig,
    GatewayLimits,
    HttpConfig,
    ListenerConfig,
    LogConfig,
    MediaConfig,
    RecordsConfig,
    SipConfig,
    TimersConfig,
)
from stellar_gw.directory.checks import Reach, check_directory
from stellar_gw.directory.making import make_snapshot
from stellar_gw.directory.platforms import apply_platforms
from stellar_gw.directory.shapes import CredentialShape, Name, ProviderShape, TenantShape
from stellar_gw.directory.yaml_directory import YamlDirectory
from stellar_gw.errors import ConfigError
from stellar_gw.loading import NOWHERE, Place, Problems, References, Structure, parse, read_file, rules
from stellar_gw.loading.documents import Items, Node, Table
from stellar_gw.sip.flow import ip_version

Record = TypeVar("Record")

HostAddresses = Callable[[], Sequence[str]]
"""This host's own addresses, for a hint; whoever loads knows how to look."""

FIXED = (
    "listeners",
    "media",
    "sip",
    "records",
    "log",
    "http",
    "dns",
    "limits.load",
    "limits.connections",
    "limits.all_connections",
    "limits.transactions",
)
"""What a running gateway cannot change: sockets, ports and processes are made from it once."""


class Realm(rules.Host):
    """The digest realm: a host name or address, whose exact spelling every stored HA1 holds."""

    def read(self, text: str) -> str:
        if text != text.lower():
            raise ValueError(f"is '{text}', must be in lower case")
        return super().read(text)


@frozen(kw_only=True)
class FileShape:
    """A whole configuration file."""

    domain: Annotated[str, Realm(names=True)]
    listeners: dict[Name, ListenerShape]
    aliases: tuple[Annotated[str, rules.Host(names=True)], ...] = ()
    media: MediaConfig = field(factory=MediaConfig)
    sip: SipConfig = field(factory=SipConfig)
    limits: GatewayLimits = field(factory=GatewayLimits)
    timers: TimersConfig = field(factory=TimersConfig)
    agent: AgentConfig = field(factory=AgentConfig)
    records: RecordsConfig = field(factory=RecordsConfig)
    log: LogConfig = field(factory=LogConfig)
    http: HttpConfig = field(factory=HttpConfig)
    dns: DnsConfig = field(factory=DnsConfig)
    trunk_providers: dict[Name, ProviderShape] = field(factory=dict)
    tenants: dict[Name, TenantShape] = field(factory=dict)
    place: Place = NOWHERE


def load_config(path: str, environ: Mapping[str, str], addresses: HostAddresses | None = None) -> Config:
    """The configuration that a file holds.

    :param environ: what ``${env:}`` and ``${cred:}`` look into.
    :raise ConfigError: with one line for each thing that is wrong.
    """
    return parse_config(read_file(path), path, environ, addresses)


def parse_config(text: str, path: str, environ: Mapping[str, str], addresses: HostAddresses | None = None) -> Config:
    """The same of a text; ``path`` names it in errors, and relative paths in it begin at its folder."""
    problems = Problems(path)
    references = References(Path(path).absolute().parent, environ)
    document = parse(text, problems)
    apply_platforms(document)
    shape = Structure(references, problems).read(document, FileShape)
    listeners = make_listeners(shape.listeners, shape.media, shape.place.key("listeners"), problems, addresses)
    _check(shape, listeners, problems)
    for reference in dict.fromkeys(references.readable_by_all):
        problems.warn(shape.place, f"{reference} can be read by every user of this machine; chmod o-r it")
    problems.stop_if_any()
    snapshot = make_snapshot(
        shape.trunk_providers,
        shape.tenants,
        domain=shape.domain,
        file=path,
        call_duration=shape.limits.call_duration,
        secrets=references.secrets,
    )
    return Config(
        file=path,
        domain=shape.domain,
        aliases=shape.aliases,
        listeners=listeners,
        media=shape.media,
        sip=shape.sip,
        limits=shape.limits,
        timers=shape.timers,
        agent=shape.agent,
        records=shape.records,
        log=shape.log,
        http=shape.http,
        dns=shape.dns,
        directory=YamlDirectory(snapshot),
        recording=any(connector.record for connector in snapshot.connectors),
        warnings=problems.warnings,
        lines=_lines(document),
    )


def records_directory(path: str, environ: Mapping[str, str] = os.environ) -> str:
    """Where the records of a configuration are, without asking for its secrets (``stellar-gw-why``).

    :raise ConfigError: if that part of the file cannot be read.
    """
    problems = Problems(path)
    document = parse(read_file(path), problems)
    node = document.entries.get("records")
    if node is None:
        return RecordsConfig().directory
    references = References(Path(path).absolute().parent, environ)
    return Structure(references, problems).read(node, RecordsConfig).directory


def reload_config(
    running: Config, path: str, environ: Mapping[str, str], addresses: HostAddresses | None = None
) -> Config:
    """A configuration to take the place of a running one.

    :raise ConfigError: if it is wrong, or changes what a running gateway cannot change.
    """
    wanted = load_config(path, environ, addresses)
    faults = [
        f"{wanted.where(name)}: {name}: was {_told(old)}, is {_told(new)}; only a restart can change it"
        for fixed in FIXED
        for name, old, new in _differences(fixed, _at(running, fixed), _at(wanted, fixed))
    ]
    held = [each.username for each in _credentials(wanted) if each.ha1_only]
    if wanted.domain != running.domain and held:
        faults.append(
            f"{wanted.where('domain')}: domain: was {running.domain}, is {wanted.domain}; the stored HA1 of "
            f"{', '.join(held[:5])} holds the old one, so give passwords or new HA1s, and restart"
        )
    if faults:
        raise ConfigError(*faults)
    return wanted


def _check(shape: FileShape, listeners: Mapping[str, ListenerConfig], problems: Problems) -> None:
    """What must hold between the sections of a file."""
    place = shape.place
    tls = any(each.transport == "tls" for each in listeners.values())
    sha256 = bool(shape.sip.sha256_from) or any("SHA-256" in each.digest for each in listeners.values())
    names = frozenset({shape.domain, *shape.aliases, *(each.advertise[0] for each in listeners.values())})
    reach = Reach(tls=tls, sha256=sha256, srtp=shape.media.srtp, names=frozenset(map(str.lower, names)))
    check_directory(shape.trunk_providers, shape.tenants, reach, problems)
    _check_srtp(shape, tls, problems)
    _check_media_addresses(shape, problems)
    if shape.sip.trusted_ca and (fault := authorities_fault(shape.sip.trusted_ca)):
        problems.error(place.key("sip").key("trusted_ca"), fault)
    if shape.http.bind is not None and not rules.loopback(shape.http.bind[0]):
        problems.warn(
            place.key("http").key("bind"),
            "is not this machine alone: metrics are for everybody there, and agents' passwords cross the network in "
            "clear; bind 127.0.0.1, and put a proxy with TLS before it",
        )
    public = any(not rules.loopback(each.bind[0]) for each in listeners.values())
    credentials = any(tenant.credentials for tenant in shape.tenants.values())
    if listeners and not tls and public and credentials:
        problems.warn(place.key("listeners"), "no tls listener: who calls whom crosses the network in clear")
    if shape.tenants and not any(tenant.connectors for tenant in shape.tenants.values()):
        problems.warn(place.key("tenants"), "there is no connector, so nobody can call anything")
    first, last = shape.media.ports
    room = (last - first + 1) // 2
    if shape.limits.calls > room:
        problems.warn(
            place.key("limits").key("calls"), f"is {shape.limits.calls}, but media.ports hold {room} calls, two a call"
        )
    if shape.timers.duration_warning >= shape.limits.call_duration:
        problems.error(
            place.key("timers").key("duration_warning"),
            f"is {rules.duration(shape.timers.duration_warning)}, must be less than limits.call_duration, "
            f"{rules.duration(shape.limits.call_duration)}",
        )


def _check_media_addresses(shape: FileShape, problems: Problems) -> None:
    """What ``media`` says of IPv6 apart."""
    place, media = shape.place.key("media"), shape.media
    for key, beside in (("bind_ipv6", media.bind), ("advertise_ipv6", media.advertise)):
        address: str = getattr(media, key)
        if not address:
            continue
        if ip_version(address) != 6:
            problems.error(place.key(key), f"is {address}, must be an IPv6 address")
        elif beside and ip_version(beside) == 6:
            whole = key.removesuffix("_ipv6")
            problems.error(
                place.key(key), f"is {address}, but media.{whole} is {beside} already; leave one of them out"
            )
        elif key == "advertise_ipv6" and rules.wildcard(address):
            problems.error(place.key(key), f"is {address}, which no peer can send to; set the address that peers use")
        elif key == "advertise_ipv6" and 6 not in map(ip_version, media.binds):
            problems.error(place.key(key), f'is {address}, but RTP is bound to {media.bind}; set media.bind: "::"')


def _check_srtp(shape: FileShape, tls: bool, problems: Problems) -> None:
    """What ``media`` says of SRTP."""
    place, media = shape.place.key("media"), shape.media
    if not media.srtp_suites and media.srtp != "off":
        problems.error(place.key("srtp_suites"), "is empty; name a suite, or set media.srtp: off")
    if len(set(media.srtp_suites)) < len(media.srtp_suites):
        problems.error(place.key("srtp_suites"), "names a suite twice")
    callers: list[ProviderShape | CredentialShape] = list(shape.trunk_providers.values())
    for tenant in shape.tenants.values():
        callers += tenant.credentials.values()
    if media.srtp == "required" and not tls and not all(each.srtp_without_tls or each.srtp for each in callers):
        problems.error(
            place.key("srtp"),
            "is required, and its keys need TLS: add a tls listener, or allow callers to send them in clear by "
            "srtp_without_tls: true",
        )


def _lines(node: Node) -> dict[str, int]:
    """The line of each key by its path."""
    found, waiting = {}, [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Table):
            found.update({place.path: place.line for place in each.place.keys.values()})
            waiting += each.entries.values()
        elif isinstance(each, Items):
            waiting += each.values
    return found


def _credentials(config: Config) -> Sequence[Any]:
    directory = config.directory
    return directory.snapshot.credentials if isinstance(directory, YamlDirectory) else ()


def _at(config: Config, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _differences(path: str, old: Any, new: Any) -> list[tuple[str, Any, Any]]:
    """The innermost values that differ, with their paths."""
    if old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [each for name in names for each in _differences(f"{path}.{name}", old.get(name), new.get(name))]
    if attrs.has(type(old)) and type(old) is type(new):
        names = [each.name for each in attrs.fields(type(old)) if each.name not in ("where", "name")]
        return [
            each for name in names for each in _differences(f"{path}.{name}", getattr(old, name), getattr(new, name))
        ]
    return [(path, old, new)]


def _told(value: Any) -> str:
    if value is None:
        return "not there"
    if isinstance(value, ListenerConfig):
        return "a listener"
    if isinstance(value, tuple):
        joint = ":" if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int) else "-"
        return joint.join(map(str, value)) if len(value) == 2 else ", ".join(map(str, value)) or "empty"
    return str(value) if value != "" else "empty"
