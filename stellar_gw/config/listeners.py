"""Listeners: what the file says of one, what follows from it, and what must hold between them."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from itertools import combinations
from typing import Annotated, Literal

from attrs import evolve, frozen

from stellar_gw.config.records import DigestAlgorithm, ListenerConfig, MediaConfig
from stellar_gw.loading import NOWHERE, Place, Problems, printable, rules
from stellar_gw.sip.flow import Address, Transport, ip_version
from stellar_gw.sip.hosts import numeric

_TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls")


@frozen(kw_only=True)
class ListenerShape:
    """One listener as the file has it; one that is named udp, tcp or tls needs no ``transport``."""

    bind: Annotated[Address, rules.HostPort()]
    transport: Literal["", "udp", "tcp", "tls"] = ""
    advertise: Annotated[Address, rules.HostPort(names=True, port=0)] | None = None
    media_advertise: Annotated[str, rules.Host()] = ""
    certificate: Annotated[str, rules.FilePath()] = ""
    key: Annotated[str, rules.FilePath()] = ""
    client_ca: Annotated[str, rules.FilePath()] = ""
    digest: tuple[Literal["MD5", "SHA-256"], ...] = ("MD5",)
    place: Place = NOWHERE


def make_listeners(
    shapes: Mapping[str, ListenerShape],
    media: MediaConfig,
    place: Place,
    problems: Problems,
    addresses: Callable[[], Sequence[str]] | None,
) -> dict[str, ListenerConfig]:
    """Every listener that has no fault; faults go into ``problems``.

    :param addresses: this host's own, for the hint of what to advertise.
    """
    if not shapes:
        problems.error(place, 'is empty; add one, such as udp: {bind: "127.0.0.1:5060"}')
    made = [_Maker(name, shape, media, problems, addresses).listener() for name, shape in shapes.items()]
    listeners = _with_others({each.name: each for each in made if each is not None}, media)
    for one, other in combinations(listeners.values(), 2):
        if _same_socket(one, other):
            problems.error(
                shapes[other.name].place.key("bind"),
                f"{_written(other.bind)} is taken by listener {one.name} ({_written(one.bind)})",
            )
    return listeners


class _Maker:
    """Makes one listener."""

    def __init__(
        self,
        name: str,
        shape: ListenerShape,
        media: MediaConfig,
        problems: Problems,
        addresses: Callable[[], Sequence[str]] | None,
    ) -> None:
        self._name, self._shape, self._media = name, shape, media
        self._problems, self._addresses = problems, addresses

    def listener(self) -> ListenerConfig | None:
        shape = self._shape
        transport = self._transport()
        advertise = self._advertise()
        if transport is None or advertise is None:
            return None
        self._files(transport)
        return ListenerConfig(
            name=self._name,
            transport=transport,
            bind=shape.bind,
            advertise=advertise,
            media_advertise=self._media_advertise(advertise[0]),
            certificate=shape.certificate,
            key=shape.key,
            client_ca=shape.client_ca,
            digest=self._digest(),
            where=self._problems.where(shape.place),
        )

    def _error(self, key: str, text: str) -> None:
        self._problems.error(self._shape.place.key(key), text)

    def _transport(self) -> Transport | None:
        wanted = self._shape.transport or self._name
        for transport in _TRANSPORTS:
            if wanted == transport:
                return transport
        self._error("transport", f"is missing: the name {self._name} does not say it; write udp, tcp or tls")
        return None

    def _advertise(self) -> Address | None:
        host, port = self._shape.bind
        if self._shape.advertise is not None:
            given, given_port = self._shape.advertise
            if rules.wildcard(given):
                self._error("advertise", f"is {given}, which no peer can reach; set the address that peers use")
            return given, given_port or port
        if not rules.wildcard(host):
            return host, port
        own = [each for each in self._addresses() if not rules.loopback(each)] if self._addresses else []
        here = ""
        if own:
            here = f" and this host {'only has' if len(own) == 1 else 'has'} {', '.join(own[:4])}"
        self._error(
            "advertise",
            f"is missing: bind is {host}{here}. Set the address that peers use, e.g. advertise: 203.0.113.10",
        )
        return None

    def _media_advertise(self, signalling: str) -> str:
        address = self._shape.media_advertise or self._media.advertise or signalling
        key = "media_advertise"
        try:
            version = ip_address(address).version
        except ValueError:
            self._error(
                key,
                f"is missing: SDP carries an address, and advertise is the name {address}. Set media.advertise, "
                "or media_advertise of this listener",
            )
            return address
        if rules.wildcard(address):
            self._error(key, f"is {address}, which no peer can send to; set the address that peers use")
        elif version not in map(ip_version, self._media.binds):
            mend = 'set media.bind: "::", or media.bind_ipv6' if version == 6 else "bind an IPv4 address"
            self._error(key, f"is {address}, but media.bind is {self._media.bind}; {mend}")
        return address

    def _digest(self) -> tuple[DigestAlgorithm, ...]:
        digest = tuple(dict.fromkeys(self._shape.digest))
        if not digest:
            self._error("digest", "is empty; write [MD5], [SHA-256, MD5] or [SHA-256]")
        return digest

    def _files(self, transport: Transport) -> None:
        shape = self._shape
        if transport != "tls":
            for key in ("certificate", "key", "client_ca"):
                if getattr(shape, key):
                    self._error(key, f"belongs to a tls listener, this one is {transport}")
            return
        if not shape.certificate:
            self._error("certificate", "is missing: a tls listener needs a PEM file with certificate, chain and key")
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(shape.certificate, shape.key or None, password=_no_password)
        except (OSError, ValueError) as error:
            holds = "the certificate" if shape.key else "the certificate and its key"
            path = printable(shape.certificate, 200)
            self._error("certificate", f"cannot be used: {_reason(error)}; {path} must hold {holds} in PEM")
        if shape.client_ca and (fault := authorities_fault(shape.client_ca)):
            self._error("client_ca", fault)


def _with_others(listeners: dict[str, ListenerConfig], media: MediaConfig) -> dict[str, ListenerConfig]:
    """Give each the address of the other IP version that media of its calls may have: of ``media``, or a listener's."""
    bound = set(map(ip_version, media.binds))
    known = [media.advertise, media.advertise_ipv6, *(each.media_advertise for each in listeners.values())]
    usable = [each for each in known if numeric(each) and not rules.wildcard(each) and ip_version(each) in bound]

    def other(than: str) -> str:
        return next((each for each in usable if ip_version(each) != ip_version(than)), "")

    return {name: evolve(each, media_other=other(each.media_advertise)) for name, each in listeners.items()}


def authorities_fault(path: str) -> str:
    """What is wrong with a PEM file of authorities; empty: nothing."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError) as error:
        return f"cannot be used: {_reason(error)}; must be certificates in PEM"
    return ""


def _no_password() -> str:
    raise ValueError("its key is encrypted, and nobody is there to type a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    if isinstance(error, OSError):
        return error.strerror or "unreadable"
    return str(error)


def _same_socket(one: ListenerConfig, other: ListenerConfig) -> bool:
    """Whether the second bind would fail: TCP and TLS share their ports, a wildcard takes every address."""
    if (one.transport == "udp") != (other.transport == "udp") or one.bind[1] != other.bind[1] or not one.bind[1]:
        return False
    hosts = {one.bind[0], other.bind[0]}
    if len(hosts) == 1:
        return True
    if len({ip_address(host).version for host in hosts}) == 2:
        return False
    return any(rules.wildcard(host) for host in hosts)


def _written(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
