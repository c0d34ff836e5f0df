"""What name servers say, as plain data, and the order in which it is meant (RFC 2782, 3263, 3403)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from itertools import groupby
from typing import Literal, TypeVar

from attrs import frozen

from stellar_gw.sip.flow import Transport

Item = TypeVar("Item")

Kind = Literal["A", "AAAA", "SRV", "NAPTR"]

SERVICES: dict[str, Transport] = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
"""NAPTR services to transports (RFC 3263 4.1); SCTP and WebSocket are not spoken here."""
SRV_PREFIX: dict[Transport, str] = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}


@frozen
class Srv:
    """One server of a service (RFC 2782).

    :ivar target: lower case, without the dot at its end; empty: the service is decidedly not offered.
    """

    priority: int
    weight: int
    port: int
    target: str


@frozen
class Naptr:
    """One transport that a domain offers (RFC 3403, RFC 3263 4.1).

    :ivar service: in capitals.
    :ivar replacement: the name to ask for SRV records of.
    """

    order: int
    preference: int
    service: str
    replacement: str


@frozen
class Answer:
    """Records of one kind, and for how many seconds they are good; none of them is an answer, too."""

    addresses: tuple[str, ...] = ()
    ttl: float = 0.0
    srv: tuple[Srv, ...] = ()
    naptr: tuple[Naptr, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.addresses or self.srv or self.naptr)


def offered(records: Iterable[Naptr], wanted: Container[Transport]) -> list[tuple[Transport, str]]:
    """Transports and the names of their SRV records, best first.

    Only the lowest order that holds anything of use counts (RFC 3403 4.1), and in it preference decides. After
    TLS nothing in the clear follows: who prefers TLS is not left for less because a connection failed.
    """
    useful = sorted(
        (each for each in records if SERVICES.get(each.service) in wanted),
        key=lambda each: (each.order, each.preference),
    )
    found: list[tuple[Transport, str]] = []
    for each in useful:
        service = SERVICES[each.service], each.replacement
        if each.order == useful[0].order and service not in found:
            found.append(service)
    return without_descent(found, lambda service: service[0])


def without_descent(each_in_order: Iterable[Item], transport: Callable[[Item], Transport]) -> list[Item]:
    """The same, without what follows TLS and is not TLS."""
    kept: list[Item] = []
    for each in each_in_order:
        if transport(each) == "tls" or not any(transport(one) == "tls" for one in kept):
            kept.append(each)
    return kept


def in_order(records: Iterable[Srv], rng: Callable[[int], bytes]) -> list[Srv]:
    """Servers in the order to be tried: by priority, and at random by weight where that is the same (RFC 2782).

    :param rng: returns that many random octets.
    """
    found: list[Srv] = []
    for _, group in groupby(sorted(records, key=lambda each: each.priority), lambda each: each.priority):
        left = sorted(group, key=lambda each: each.weight > 0)  # those of weight 0 first, as the RFC has it
        while left:
            drawn = int.from_bytes(rng(8), "big") % (sum(each.weight for each in left) + 1)
            for each in left:
                drawn -= each.weight
                if drawn <= 0:
                    break
            found.append(each)
            left.remove(each)
    return found
