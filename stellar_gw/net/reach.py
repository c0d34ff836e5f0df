"""The ways to peers as the SIP core's driver needs them: flows, and how a URI becomes one."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from stellar_gw.net.flows import FlowFailed, Flows
from stellar_gw.net.resolver import Hop, Resolver, Unresolvable, is_private
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.uri import SipUri

TRIED = 4
"""Next hops tried before a request is given up."""


class Reach:
    """Sends on flows, and finds flows for URIs.

    :param tls_name: for a hop, the name its certificate must carry; by default the URI's host. A trunk that
        gives addresses in its Contacts is verified by its configured name this way.
    """

    def __init__(
        self, flows: Flows, resolver: Resolver, tls_name: Callable[[Hop], str] = lambda hop: hop.server_name
    ) -> None:
        self._flows, self._resolver, self._tls_name = flows, resolver, tls_name

    def send(self, packet: bytes, flow: Flow) -> bool:
        """False where the flow is gone."""
        return self._flows.send(packet, flow)

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        """A flow to a URI by its next hop, in RFC 3263's order.

        The fallback flow, if it lives, serves private and unresolvable hosts, and is the last resort where no
        connection comes about: the peer opened it, so it reaches the peer. It never serves a sips URI in the clear.

        :return: fails with :class:`FlowFailed`.
        """
        return Deferred.fromCoroutine(self._open_for(needed))

    async def _open_for(self, needed: FlowNeeded) -> Flow:
        uri, fallback = needed.uri, needed.fallback
        if fallback is not None and not self._usable(needed, fallback):
            fallback = None
        if fallback is not None and isinstance(uri, SipUri) and is_private(uri.params.get("maddr") or uri.host):
            return fallback
        default = needed.fallback.transport if needed.fallback is not None else "udp"
        try:
            hops = await self._resolver.next_hop(uri, default)
        except Unresolvable as error:
            if fallback is not None:
                return fallback
            raise FlowFailed(str(error)) from None
        failures = []
        for hop in hops[:TRIED]:
            try:
                return await self._flows.open(hop.transport, hop.host, hop.port, needed.listener, self._tls_name(hop))
            except FlowFailed as error:
                failures.append(str(error))
        if fallback is not None:
            return fallback
        raise FlowFailed("; ".join(failures))

    def _usable(self, needed: FlowNeeded, fallback: Flow) -> bool:
        secure = isinstance(needed.uri, SipUri) and needed.uri.secure
        return self._flows.alive(fallback) and (fallback.secure or not secure)
