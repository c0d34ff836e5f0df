"""From a SIP URI to the places that serve it (RFC 3263), without ever blocking the reactor.

Numeric hosts, and names by A and AAAA. NAPTR and SRV (4.1, 4.2) belong behind the same ``ways``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from ipaddress import IPv4Address, IPv6Address

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.names import dns
from twisted.names.client import Resolver as DnsResolver
from twisted.names.error import DNSNameError, DomainError
from twisted.names.hosts import Resolver as HostsResolver
from twisted.python.failure import Failure

from stellar_gw.call.ports import NoWay
from stellar_gw.sip.flow import Transport, Way
from stellar_gw.sip.hosts import is_name, numeric
from stellar_gw.sip.uri import SipUri, Uri

DEFAULT_PORT: dict[Transport, int] = {"udp": 5060, "tcp": 5060, "tls": 5061}
SECOND_FAMILY = 0.05
REMEMBERED = 1024
"""Names whose addresses are kept; the oldest is forgotten first."""
SHORTEST, LONGEST = 1.0, 300.0
"""Seconds that an answer is kept, whatever its TTL says."""


class Unresolvable(NoWay):
    """A URI that leads nowhere; one line that says why, for people."""


@frozen
class Answer:
    """Addresses of one family, and for how many seconds they are good."""

    addresses: tuple[str, ...]
    ttl: float


Lookup = Callable[[str, int], Deferred[Answer]]
"""Name and IP version (4 or 6) to addresses; no address is an empty answer, no answer a failure."""


class Resolver:
    """Finds next hops.

    :param lookup: how names are asked for.
    :param tries: seconds for each try, in order; together they bound a whole look-up.
    """

    def __init__(self, clock: IReactorTime, lookup: Lookup, tries: tuple[float, ...] = (3.0, 2.0)) -> None:
        self._clock, self._lookup, self._tries = clock, lookup, tries
        self._kept: OrderedDict[str, tuple[float, tuple[str, ...]]] = OrderedDict()
        self._asked: dict[str, list[Deferred[tuple[str, ...]]]] = {}

    def ways(self, uri: Uri, default: Transport = "udp", tls_name: str = "") -> Deferred[tuple[Way, ...]]:
        """Where to send a request for a URI, best first (RFC 3263 4).

        :param default: the transport where the URI names none; inside a dialog the one it lives on, so that
            a peer on TLS that leaves it out is not answered in the clear.
        :param tls_name: what certificates must carry; empty: the URI's host.
        :return: at least one; fails with :class:`Unresolvable`.
        """
        if not isinstance(uri, SipUri):
            return fail(Unresolvable(f"{type(uri).__name__} has no host to send to"))
        host = uri.params.get("maddr") or uri.host
        try:
            transport = _transport(uri, default)
        except Unresolvable as error:
            return fail(error)
        port = DEFAULT_PORT[transport] if uri.port is None else uri.port

        def ways(addresses: Iterable[str]) -> tuple[Way, ...]:
            name = (tls_name or host.strip("[]")) if transport == "tls" else ""
            return tuple(Way(transport=transport, host=address, port=port, server_name=name) for address in addresses)

        return self.addresses(host).addCallback(ways)

    def addresses(self, host: str) -> Deferred[tuple[str, ...]]:
        """The addresses of a host, IPv4 first: it is what phone systems speak to each other.

        :return: at least one; fails with :class:`Unresolvable`.
        """
        address = numeric(host)
        if address is not None:
            return succeed((address,))
        name = host.rstrip(".").lower()
        kept = self._kept.get(name)
        if kept is not None and kept[0] > self._clock.seconds():
            return succeed(kept[1])
        waiter: Deferred[tuple[str, ...]] = Deferred(lambda waiter: self._asked.get(name, []).remove(waiter))
        waiting = self._asked.get(name)
        if waiting is not None:
            waiting.append(waiter)
            return waiter
        if not is_name(name):
            return fail(Unresolvable(f"{host[:255]!r} is no host name"))
        self._asked[name] = [waiter]
        self._try(name, 0)
        return waiter

    def _try(self, name: str, number: int) -> None:
        """Ask for both families at once."""
        _Question(self._clock, self._lookup, name, self._tries[number]).asked.addCallback(
            lambda answers: self._judge(name, number, answers)
        )

    def _judge(self, name: str, number: int, answers: list[Answer]) -> None:
        addresses = tuple(address for answer in answers for address in answer.addresses)
        if addresses:
            ttl = min(LONGEST, max(SHORTEST, min(answer.ttl for answer in answers if answer.addresses)))
            self._keep(name, addresses, ttl)
            for waiter in self._asked.pop(name, []):
                waiter.callback(addresses)
        elif len(answers) < 2 and number + 1 < len(self._tries) and self._asked.get(name):
            self._try(name, number + 1)
        else:
            says = "has no address" if len(answers) == 2 else f"was not answered for within {sum(self._tries):g} s"
            for waiter in self._asked.pop(name, []):
                waiter.errback(Unresolvable(f"{name} {says} in DNS"))

    def _keep(self, name: str, addresses: tuple[str, ...], ttl: float) -> None:
        self._kept[name] = (self._clock.seconds() + ttl, addresses)
        self._kept.move_to_end(name)
        while len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)


class _Question:
    """One try for a name: both families, one time limit.

    Once one family has an address, the other gets ``SECOND_FAMILY`` seconds more (RFC 8305 3): servers that
    answer for A and swallow AAAA are about.

    :ivar asked: fires with the answers there are, IPv4 first; failures are left out.
    """

    def __init__(self, clock: IReactorTime, lookup: Lookup, name: str, limit: float) -> None:
        self.asked: Deferred[list[Answer]] = Deferred()
        self._answers: dict[int, Answer] = {}
        self._overdue = clock.callLater(limit, self._finish)
        self._open: dict[int, Deferred[Answer]] = {}
        for version in (4, 6):
            self._open[version] = lookup(name, version)
        for version, asking in list(self._open.items()):
            asking.addCallback(partial(self._answered, version)).addErrback(lambda _: None)
            asking.addCallback(partial(self._closed, version))

    def _answered(self, version: int, answer: Answer) -> None:
        self._answers[version] = answer

    def _closed(self, version: int, _: None) -> None:
        self._open.pop(version, None)
        if not self._open:
            self._finish()
        elif any(answer.addresses for answer in self._answers.values()) and self._overdue.active():
            self._overdue.reset(SECOND_FAMILY)

    def _finish(self) -> None:
        if self.asked.called:
            return
        if self._overdue.active():
            self._overdue.cancel()
        self.asked.callback([self._answers[version] for version in sorted(self._answers)])
        for asking in list(self._open.values()):
            asking.cancel()


def _transport(uri: SipUri, default: Transport) -> Transport:
    """RFC 3263 4.1, as far as it needs no DNS."""
    asked = (uri.params.get("transport") or "").lower()
    if uri.scheme == "sips":
        if asked in ("", "tcp", "tls"):
            return "tls"
        raise Unresolvable(f"a sips URI over {asked} cannot be")
    if asked == "":
        return default
    if asked in DEFAULT_PORT:
        return asked
    raise Unresolvable(f"transport {asked[:20]!r} is not spoken here")


class DnsLookup:
    """:data:`Lookup` by /etc/hosts, then by the name servers of /etc/resolv.conf.

    :param reactor: must do UDP, TCP and time.
    :param servers: ask these instead of those of ``resolv``; for tests.
    """

    def __init__(
        self,
        reactor: object,
        *,
        servers: list[tuple[str, int]] | None = None,
        resolv: str = "/etc/resolv.conf",
        hosts: str = "/etc/hosts",
    ) -> None:
        self._hosts = HostsResolver(hosts.encode())
        self._dns = DnsResolver(
            resolv=None if servers else resolv, servers=servers, timeout=(1.0, 1.5), reactor=reactor
        )

    def __call__(self, name: str, version: int) -> Deferred[Answer]:
        kind = dns.A if version == 4 else dns.AAAA
        query = dns.Query(name.encode("ascii"), kind, dns.IN)
        answered: Deferred[Answer] = (
            self._hosts.query(query)
            .addErrback(lambda _: self._dns.query(query))
            .addCallbacks(lambda sections: _answer(sections[0], version), _nothing)
        )
        return answered

    def stop(self) -> None:
        """Stop looking whether resolv.conf changed."""
        call = self._dns._parseCall
        if call is not None and call.active():
            call.cancel()


def _answer(records: Iterable[dns.RRHeader], version: int) -> Answer:
    """Recursive servers send the whole chain of CNAMEs, so whatever is of the family asked for is meant."""
    addresses, ttl = [], LONGEST
    for record in records:
        payload: object = record.payload
        if version == 4 and isinstance(payload, dns.Record_A):
            addresses.append(str(IPv4Address(payload.address)))
        elif version == 6 and isinstance(payload, dns.Record_AAAA):
            addresses.append(str(IPv6Address(payload.address)))
        else:
            continue
        ttl = min(ttl, float(record.ttl or 0))
    return Answer(tuple(addresses), ttl)


def _nothing(failure: Failure) -> Answer:
    """A name that is not, or has no such record, is an answer too; everything else stays a failure."""
    failure.trap(DomainError, DNSNameError)
    return Answer((), 0.0)
