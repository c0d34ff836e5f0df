"""A flow to where a SIP URI leads: its next hops in order, the flow we have already where none can be found."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from stellar_gw.errors import StellarError
from stellar_gw.net.flows import Flows
from stellar_gw.net.resolver import Hop, Unresolvable
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.uri import Uri


class Resolver(Protocol):
    def next_hop(self, uri: Uri) -> Deferred[list[Hop]]: ...


class NoWay(StellarError):
    """No next hop of a URI can be reached; one line for people."""


class NextHops:
    """The driver's table of flows: the sockets, and the resolver that says which of them."""

    def __init__(self, flows: Flows, resolver: Resolver) -> None:
        self._flows, self._resolver = flows, resolver

    def send(self, packet: bytes, flow: Flow) -> bool:
        return self._flows.send(packet, flow)

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        """:return: fails with :class:`NoWay`."""
        return Deferred.fromCoroutine(self._open(needed))

    async def _open(self, needed: FlowNeeded) -> Flow:
        fallback = needed.fallback if needed.fallback is not None and self._flows.alive(needed.fallback) else None
        try:
            hops = await self._resolver.next_hop(needed.uri)
        except Unresolvable as error:
            if fallback is not None:  # DESIGN: unresolvable, so the flow we have
                return fallback
            raise NoWay(str(error)) from error
        failures: list[str] = []
        for hop in hops:
            try:
                return await self._flows.open(hop.transport, hop.host, hop.port, needed.listener, hop.server_name)
            except StellarError as error:
                failures.append(str(error))
        if fallback is not None:
            return fallback
        raise NoWay("; ".join(failures) or f"{needed.uri} names no next hop")
