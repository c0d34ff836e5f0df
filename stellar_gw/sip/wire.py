"""The way out: octets on flows, which flows are in use, and what happens when one is gone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from attrs import evolve, frozen

from stellar_gw.sip.events import Event, FlowNeeded, ResponseReceived, Token
from stellar_gw.sip.flow import ANY_PEER, Flow, TlsTerms
from stellar_gw.sip.uri import SipUri, Uri

DEFAULT_PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}

# Not ipaddress.is_private: that holds documentation and benchmark networks too, and not RFC 6598.
_PRIVATE = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::/127",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


@frozen
class _Waiting:
    ready: Callable[[Flow], None]
    failed: Callable[[str], None]


class Wire:
    """What goes out and what waits for a way out.

    :ivar events: of the whole core, in the order they happened.
    """

    def __init__(self) -> None:
        self.events: deque[Event] = deque()
        self._outgoing: list[tuple[bytes, Flow]] = []
        self._users: dict[Flow, set[Hashable]] = {}
        self._lost: set[Flow] = set()
        self._waiting: dict[Token, _Waiting] = {}
        self._last_token = 0

    def send(self, data: bytes, flow: Flow) -> None:
        self._outgoing.append((data, flow))

    def drain(self) -> list[tuple[bytes, Flow]]:
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def token(self) -> Token:
        self._last_token += 1
        return self._last_token

    def unanswered(self) -> Token:
        """A token for a request that cannot be sent any more."""
        token = self.token()
        self.events.append(ResponseReceived(token, None))
        return token

    def hold(self, flow: Flow, user: Hashable) -> None:
        """Note that ``user`` lives on a connection, until :meth:`release`. UDP is never lost, so not noted."""
        if flow.reliable:
            self._users.setdefault(flow, set()).add(user)

    def release(self, flow: Flow, user: Hashable) -> None:
        users = self._users.get(flow)
        if users is not None:
            users.discard(user)
            if not users:
                del self._users[flow]
                self._lost.discard(flow)

    def uses(self, flow: Flow) -> bool:
        return flow in self._users and flow not in self._lost

    def is_lost(self, flow: Flow) -> bool:
        return flow in self._lost

    def lose(self, flow: Flow) -> list[Hashable]:
        """Note that a connection is gone; return who lived on it."""
        users = self._users.get(flow)
        if users is None:
            return []
        self._lost.add(flow)
        return list(users)

    def need(
        self,
        uri: Uri,
        flow: Flow,
        ready: Callable[[Flow], None],
        failed: Callable[[str], None],
        *,
        falls_back: bool = True,
        tls: TlsTerms = ANY_PEER,
    ) -> None:
        """Ask for a flow to ``uri``; exactly one of the two is called, once.

        :param flow: the one used so far: its listener is kept, its TLS terms still hold, and with ``falls_back`` it
            will do if it lives and there is no other.
        :param tls: the terms where the flow has none, because the peer opened it.
        """
        token = self.token()
        self._waiting[token] = _Waiting(ready, failed)
        self.events.append(
            FlowNeeded(
                token,
                uri,
                flow.listener,
                flow if falls_back and not self.is_lost(flow) else None,
                flow.tls if flow.tls != ANY_PEER else tls,
            )
        )

    def flow_ready(self, token: Token, flow: Flow) -> None:
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            waiting.ready(flow)

    def flow_failed(self, token: Token, why: str) -> None:
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            waiting.failed(why)

    @property
    def waiting(self) -> int:
        """How many flows have been asked for and are not yet there."""
        return len(self._waiting)


def serves(flow: Flow, hop: Uri) -> bool:
    """Whether a flow is the way to the next hop inside a dialog.

    It is if the hop is the flow's peer, or an address that only the peer's own network can reach: phone
    systems behind address translation put their private address into Contact. A connection is to the peer
    whatever its port, for a client's port is not the one it listens on. Names are not resolved here.
    """
    if not isinstance(hop, SipUri) or (address := _address(hop.host)) is None:
        return False
    if _is_private(address):
        return hop.scheme != "sips" or flow.secure
    transport = "tls" if hop.scheme == "sips" else (hop.params.get("transport") or flow.transport).lower()
    if transport != flow.transport or address != _address(flow.remote[0]):
        return False
    return flow.reliable or (hop.port or DEFAULT_PORTS[flow.transport]) == flow.remote[1]


def by_transport_of(hop: Uri, flow: Flow) -> Uri:
    """The next hop, by the transport of the dialog's flow where it names none: never from TLS down to UDP."""
    if not isinstance(hop, SipUri) or not flow.reliable or hop.scheme == "sips":
        return hop
    if hop.params.get("transport") and not flow.secure:
        return hop
    return evolve(hop, params=hop.params.with_("transport", flow.transport))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    return _kept_address(host) if len(host) <= _LONGEST_ADDRESS else None


_LONGEST_ADDRESS = 64  # so that nobody fills the memory with names that are none


@lru_cache(maxsize=4096)
def _kept_address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=4096)
def _is_private(address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in _PRIVATE)
