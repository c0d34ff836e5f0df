"""Asking name servers by Twisted's resolver, and what of their answers is taken.

An answer may say anything, and as much as it likes. What is read of it is bounded in octets, records and aliases;
a record whose owner was not asked for, by name or by alias, is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.names import dns
from twisted.names.client import DNSClientFactory
from twisted.names.client import Resolver as DnsResolver
from twisted.names.error import DNSFormatError, DNSNameError, DNSNotImplementedError, DomainError
from twisted.names.hosts import Resolver as HostsResolver

from stellar_gw.net.answers import Answer, Kind, Naptr, Srv
from stellar_gw.sip.flow import Address
from stellar_gw.sip.hosts import is_name, numeric

LARGEST = 16_384
"""Octets of an answer over TCP; over UDP Twisted reads 8,192."""
RECORDS = 64
"""Records looked at in one answer."""
ALIASES = 8
"""CNAMEs followed from one name, in one answer and from server to server."""
LONGEST_NOTHING = 60.0
"""Seconds for which it is believed that there is nothing, whatever the zone says (RFC 2308 5)."""

Lookup = Callable[[str, Kind], Deferred[Answer]]
"""Name and kind to records; none is an empty answer, no answer at all a failure."""

Sections = tuple[Sequence[dns.RRHeader], Sequence[dns.RRHeader], Sequence[dns.RRHeader]]
"""Answer, authority and additional records."""

_TYPES: dict[Kind, int] = {"A": dns.A, "AAAA": dns.AAAA, "SRV": dns.SRV, "NAPTR": dns.NAPTR}
_NOTHING = (DomainError, DNSNameError, DNSFormatError, DNSNotImplementedError)
"""There is none: no such name, no such record, or a server that does not know the kind of record at all."""


class DnsLookup:
    """:data:`Lookup` by /etc/hosts, then by name servers.

    :param reactor: must do UDP, TCP and time.
    :param servers: numeric; none: those of ``resolv``, which is read again when it changes.
    """

    def __init__(
        self,
        reactor: object,
        *,
        servers: Sequence[Address] = (),
        resolv: str = "/etc/resolv.conf",
        hosts: str = "/etc/hosts",
    ) -> None:
        self._hosts = HostsResolver(hosts.encode())
        self._dns = DnsResolver(
            resolv=None if servers else resolv, servers=list(servers) or None, timeout=(1.0, 1.5), reactor=reactor
        )
        self._dns.factory = _BoundedFactory(self._dns)

    def __call__(self, name: str, kind: Kind) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self._look_up(name, kind))

    def stop(self) -> None:
        """Stop looking whether resolv.conf changed."""
        call = getattr(self._dns, "_parseCall", None)
        if call is not None and call.active():
            call.cancel()

    async def _look_up(self, name: str, kind: Kind) -> Answer:
        aliases = 0
        while True:
            sections = await self._sections(name, kind)
            end, passed = follow(name, sections[0])
            aliases += len(passed) - 1
            answer = read(sections, kind, passed)
            if not answer.empty or end == name or aliases > ALIASES or not is_name(end):
                return answer
            name = end  # the server sent the alias, and not what is behind it

    async def _sections(self, name: str, kind: Kind) -> Sections:
        query = dns.Query(name.encode("ascii"), _TYPES[kind], dns.IN)
        if kind in ("A", "AAAA"):
            try:
                return cast(Sections, await self._hosts.query(query))
            except DomainError:
                pass
        try:
            return cast(Sections, await self._dns.query(query))
        except _NOTHING as error:
            message = error.args[0] if error.args else None
            return (), message.authority if isinstance(message, dns.Message) else (), ()


class _BoundedProtocol(dns.DNSProtocol):
    """DNS over TCP that does not read on and on: thousands of records would hold up everything else."""

    MAX_LENGTH = LARGEST


class _BoundedFactory(DNSClientFactory):
    noisy = False

    def __init__(self, resolver: DnsResolver) -> None:
        self.controller = resolver

    def buildProtocol(self, addr: IAddress | None) -> dns.DNSProtocol:
        protocol: dns.DNSProtocol = _make_protocol(self.controller)
        protocol.factory = self
        return protocol


_make_protocol: Callable[[DnsResolver], dns.DNSProtocol] = _BoundedProtocol


def follow(name: str, records: Iterable[dns.RRHeader]) -> tuple[str, list[str]]:
    """Where a name's aliases lead within one answer; a circle is left where it closes.

    :return: the last name, and all on the way, the first and the last among them.
    """
    aliases: dict[str, str] = {}
    for record in list(records)[:RECORDS]:
        payload: object = record.payload
        if isinstance(payload, dns.Record_CNAME) and payload.name is not None:
            aliases[_text(record.name.name)] = _text(payload.name.name)
    passed = [name]
    while (alias := aliases.get(passed[-1])) and alias not in passed and len(passed) <= ALIASES:
        passed.append(alias)
    return passed[-1], passed


def read(sections: Sections, kind: Kind, owners: Iterable[str]) -> Answer:
    """The records of a kind that belong to the names asked for."""
    names = set(owners)
    answers = [each for each in list(sections[0])[:RECORDS] if _text(each.name.name) in names]
    addresses: list[str] = []
    services: list[Srv] = []
    pointers: list[Naptr] = []
    ttls = [float(each.ttl or 0) for each in answers]
    for each in answers:
        payload: object = each.payload
        if kind == "A" and isinstance(payload, dns.Record_A):
            addresses.append(str(IPv4Address(payload.address)))
        elif kind == "AAAA" and isinstance(payload, dns.Record_AAAA):
            addresses.append(str(IPv6Address(payload.address)))
        elif kind == "SRV" and isinstance(payload, dns.Record_SRV):
            services += _srv(payload)
        elif kind == "NAPTR" and isinstance(payload, dns.Record_NAPTR):
            pointers += _naptr(payload)
    if addresses or services or pointers:
        return Answer(tuple(dict.fromkeys(addresses)), min(ttls), tuple(services), tuple(pointers))
    return Answer(ttl=_nothing_for(sections[1]))


def _srv(record: dns.Record_SRV) -> list[Srv]:
    target = _text(record.target.name)
    if target and not is_name(target) and numeric(target) is None:
        return []
    return [Srv(record.priority, record.weight, record.port, target)]


def _naptr(record: dns.Record_NAPTR) -> list[Naptr]:
    """Only those that lead to SRV records without rewriting anything: RFC 3263 has no others."""
    replacement = _text(record.replacement.name)
    if record.flags.string.upper() != b"S" or record.regexp.string or not is_name(replacement):
        return []
    service = record.service.string.decode("ascii", "replace").upper()
    return [Naptr(record.order, record.preference, service, replacement)]


def _nothing_for(authority: Iterable[dns.RRHeader]) -> float:
    """For how long there is nothing, by the zone's SOA (RFC 2308 5)."""
    for record in list(authority)[:RECORDS]:
        payload: object = record.payload
        if isinstance(payload, dns.Record_SOA):
            return min(LONGEST_NOTHING, float(record.ttl or 0), float(payload.minimum))
    return 0.0


def _text(name: bytes) -> str:
    return name.decode("ascii", "replace").rstrip(".").lower()
