"""How the core's wish for a flow is met: next hops in order, the peer's own flow where nothing else leads there."""

from __future__ import annotations

from typing import cast

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.answers import Answer, Kind
from stellar_gw.net.flows import FlowFailed, Flows
from stellar_gw.net.reach import Reach
from stellar_gw.net.resolver import Resolver
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Flow, TlsTerms, Way
from stellar_gw.sip.uri import parse_uri

UDP_FLOW = Flow(-7, "udp", "udp", ("192.0.2.1", 5060), ("198.51.100.9", 5060))
TLS_FLOW = Flow(3, "tls", "tls", ("192.0.2.1", 5061), ("198.51.100.9", 40000))


@define
class Table:
    """Flows that open unless their host is down."""

    down: set[str] = field(factory=set)
    dead: set[Flow] = field(factory=set)
    opened: list[tuple[str, str, int, str, str]] = field(factory=list)

    def speaks(self, transport: str, version: int) -> bool:
        return True

    def alive(self, flow: Flow) -> bool:
        return flow not in self.dead

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        self.opened.append((way.transport, way.host, way.port, listener, way.server_name))
        if way.host in self.down:
            return fail(FlowFailed(f"{way.host} is down"))
        return succeed(Flow(99, "tcp", listener, ("192.0.2.1", 5060), (way.host, way.port), way.tls))


def lookup(name: str, kind: Kind) -> Deferred[Answer]:
    addresses = {"sbc.example": [f"203.0.113.{number}" for number in range(1, 7)]}.get(name, [])
    return succeed(Answer(tuple(addresses) if kind == "A" else (), 60.0))


class ReachTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = Table()
        self.clock = Clock()
        self.reach = Reach(cast(Flows, self.table), Resolver(self.clock, lookup), self.clock.seconds)

    def open_for(self, uri: str, fallback: Flow | None = None) -> Deferred[Flow]:
        return self.reach.open_for(FlowNeeded(1, parse_uri(uri), "main", fallback))

    def test_next_hop(self) -> None:
        """A public URI gets a flow of its own, even where a fallback lives."""
        flow = self.successResultOf(self.open_for("sip:a@203.0.113.50:5070;transport=tcp", UDP_FLOW))
        self.assertEqual(flow.remote, ("203.0.113.50", 5070))
        self.assertEqual(self.table.opened, [("tcp", "203.0.113.50", 5070, "main", "")])

    def test_next_hops_in_order(self) -> None:
        """Hops are tried in order until one connects."""
        self.table.down = {"203.0.113.1", "203.0.113.2"}
        flow = self.successResultOf(self.open_for("sip:sbc.example;transport=tcp"))
        self.assertEqual((flow.remote[0], len(self.table.opened)), ("203.0.113.3", 3))

    def test_all_hops_down(self) -> None:
        """Four hops are tried, then the failure names each; a live fallback is the last resort."""
        self.table.down = {f"203.0.113.{number}" for number in range(1, 7)}
        failed = self.failureResultOf(self.open_for("sip:sbc.example"), FlowFailed)
        self.assertEqual(str(failed.value), "; ".join(f"203.0.113.{number} is down" for number in range(1, 5)))
        self.assertEqual(self.successResultOf(self.open_for("sip:sbc.example", UDP_FLOW)), UDP_FLOW)

    def test_private_and_unresolvable_hosts(self) -> None:
        """A Contact that means nothing to us is reached on the flow it came by, if that lives."""
        for uri in ("sip:a@192.168.1.20", "sip:a@pbx.local", "sip:a@gone.example", "tel:+31201234567"):
            self.assertEqual(self.successResultOf(self.open_for(uri, UDP_FLOW)), UDP_FLOW)
        self.assertEqual(self.table.opened, [])
        self.table.dead = {UDP_FLOW}
        flow = self.successResultOf(self.open_for("sip:a@192.168.1.20", UDP_FLOW))
        self.assertEqual(flow.remote, ("192.168.1.20", 5060))
        failed = self.failureResultOf(self.open_for("sip:a@gone.example", UDP_FLOW), FlowFailed)
        self.assertEqual(str(failed.value), "gone.example has no address in DNS")

    def test_secure_stays_secure(self) -> None:
        """A sips URI is never sent to in the clear, and a peer on TLS that names no transport is reached by TLS."""
        self.table.down = {"192.168.1.20"}
        self.failureResultOf(self.open_for("sips:a@192.168.1.20", UDP_FLOW), FlowFailed)
        self.assertEqual(self.successResultOf(self.open_for("sips:a@192.168.1.20", TLS_FLOW)), TLS_FLOW)
        self.successResultOf(self.open_for("sip:a@sbc.example", TLS_FLOW))
        self.assertEqual(self.table.opened[-1], ("tls", "203.0.113.1", 5061, "main", "sbc.example"))

    def test_a_trunks_name_is_verified(self) -> None:
        """The name that a certificate must carry can come from the configuration instead of the URI."""
        needed = FlowNeeded(1, parse_uri("sips:203.0.113.9"), "main", None, TlsTerms("sip.trunk.example", "ours.pem"))
        flow = self.successResultOf(self.reach.open_for(needed))
        self.assertEqual(flow.tls, needed.tls)
        self.assertEqual(self.table.opened, [("tls", "203.0.113.9", 5061, "main", "sip.trunk.example")])
