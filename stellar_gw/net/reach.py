"""The ways to peers as the SIP core's driver needs them: routes, flows, and how a URI becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from stellar_gw.net.failing import Failing
from stellar_gw.net.flows import FlowFailed, Flows
from stellar_gw.net.resolver import Resolver, Unresolvable
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Flow, Way
from stellar_gw.sip.hosts import is_private
from stellar_gw.sip.uri import SipUri, Uri

TRIED = 4
"""Ways tried before a request inside a dialog is given up."""
UNCONNECTED = 60.0
"""Seconds for which a way that could not be connected to is tried last."""


class Reach:
    """Sends on flows, and finds flows for URIs.

    :param seconds: the monotonic clock.
    :param tls_name: what certificates must carry where nothing else is said; empty: the URI's host.
    """

    def __init__(self, flows: Flows, resolver: Resolver, seconds: Callable[[], float], tls_name: str = "") -> None:
        self._flows, self._resolver, self._tls_name = flows, resolver, tls_name
        self._failing = Failing(seconds)

    def send(self, packet: bytes, flow: Flow) -> bool:
        """False where the flow is gone."""
        return self._flows.send(packet, flow)

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        """Where to send a request outside any dialog; see :class:`~stellar_gw.call.ports.Signalling`."""
        found = self._resolver.ways(uri, None, tls_name or self._tls_name, self._flows.speaks)
        return found.addCallback(lambda ways: self._failing.last(_showing(client_certificate, ways)))

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        """A flow to a way; one that does not come about has the way tried last from now on."""

        def failed(failure: Failure) -> Failure:
            if failure.check(FlowFailed):
                self.mark_failed(way, UNCONNECTED)
            return failure

        return self._flows.open(way, listener).addErrback(failed)

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None:
        self._failing.mark(way, seconds)

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
        held = needed.fallback.transport if needed.fallback is not None and needed.fallback.reliable else None
        try:
            ways = await self._resolver.ways(uri, held, needed.tls.server_name or self._tls_name, self._flows.speaks)
        except Unresolvable as error:
            if fallback is not None:
                return fallback
            raise FlowFailed(str(error)) from None
        failures = []
        for way in self._failing.last(_showing(needed.tls.client_certificate, ways))[:TRIED]:
            try:
                return await self.open(way, needed.listener)
            except FlowFailed as error:
                failures.append(str(error))
        if fallback is not None:
            return fallback
        raise FlowFailed("; ".join(failures))

    def _usable(self, needed: FlowNeeded, fallback: Flow) -> bool:
        secure = isinstance(needed.uri, SipUri) and needed.uri.secure
        return self._flows.alive(fallback) and (fallback.secure or not secure)


def _showing(certificate: str, ways: Iterable[Way]) -> tuple[Way, ...]:
    if not certificate:
        return tuple(ways)
    return tuple(evolve(way, client_certificate=certificate) if way.transport == "tls" else way for way in ways)
