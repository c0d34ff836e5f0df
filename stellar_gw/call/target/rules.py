"""What a target may not be, whoever asks: ourselves. And how a refusal is told."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from stellar_gw.loading.rules import loopback, wildcard
from stellar_gw.sip.flow import Listener
from stellar_gw.sip.hosts import numeric
from stellar_gw.sip.uri import SipUri


@frozen
class TargetRefused:
    """Why a transfer is not even tried.

    :ivar code: a stable word for the agent: ``unknown_transfer``, ``not_allowed``, ``bad_target``, ``bad_method``,
        ``bad_headers``, ``loop``, ``private_target``, ``no_route``, ``refer_unsupported``, ``too_many_hops``; of the
        limits ``transfer_active``, ``too_many_attempts``, ``tenant_limit``.
    :ivar message: one line that says what would do instead.
    """

    code: str
    message: str


@frozen(kw_only=True)
class Ours:
    """Where this gateway listens.

    :ivar hosts: names and addresses, lower-case, IPv6 without brackets.
    :ivar ports: of all listeners.
    :ivar everywhere: a listener takes every address of the machine, 127.0.0.1 among them.
    """

    hosts: frozenset[str] = frozenset()
    ports: frozenset[int] = frozenset()
    everywhere: bool = False

    @classmethod
    def of(cls, hosts: Iterable[str], listeners: Iterable[Listener]) -> Ours:
        """
        :param hosts: as Request-URIs may name us, and the address that a call arrived at.
        :param listeners: once they are bound.
        """
        bound = list(listeners)
        return cls(
            hosts=frozenset(numeric(host) or host.lower() for host in hosts),
            ports=frozenset(port for each in bound for port in (each.bind[1], each.advertise[1])),
            everywhere=any(wildcard(each.bind[0]) for each in bound),
        )

    def named(self, host: str) -> bool:
        """Whether a host is one of our names or addresses."""
        return (numeric(host) or host.lower().rstrip(".")) in self.hosts

    def holds(self, host: str, port: int) -> bool:
        """Whether a packet to there comes to us."""
        here = self.named(host) or (self.everywhere and loopback(numeric(host) or host.lower()))
        return here and port in self.ports

    def serves(self, uri: SipUri) -> bool:
        """Whether a URI leads to us; a name of ours without a port does, wherever DNS says its ports are."""
        if uri.port is None and numeric(uri.host) is None:
            return self.named(uri.host)
        transport = (uri.params.get("transport") or "").lower()
        return self.holds(uri.host, uri.port or (5061 if uri.secure or transport == "tls" else 5060))
