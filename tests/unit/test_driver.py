"""What the driver owes those who begin something by it."""

from __future__ import annotations

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.gateway.driver import Driver
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import Ended, Event, FlowNeeded
from stellar_gw.sip.flow import Flow, Listener, Way
from stellar_gw.sip.uri import SipUri, Uri
from stellar_gw.sip.values import NameAddr
from tests.messages import flow


class BrokenFlows:
    """Every connection is gone."""

    def send(self, packet: bytes, flow: Flow) -> bool:
        return False

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        return Deferred()

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        return Deferred()

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        return Deferred()

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None: ...


@define
class Taker:
    """:ivar known: the usages that it has been told of by whoever began them."""

    known: set[str] = field(factory=set)
    events: list[tuple[str, bool]] = field(factory=list)

    def handle(self, event: Event) -> None:
        usage = getattr(event, "usage", "")
        self.events.append((type(event).__name__, usage in self.known))

    def banned(self, source: str) -> bool:
        return False

    def flow_lost(self, flow: Flow) -> None: ...

    def keeps(self, flow: Flow) -> bool:
        return False


class BeginningTests(SynchronousTestCase):
    def test_an_invite_that_fails_at_once_is_told_of_when_its_usage_is_known(self) -> None:
        clock, taker = Clock(), Taker()
        listener = Listener(
            name="tcp", transport="tcp", bind=("192.0.2.1", 5060), advertise=("192.0.2.1", 5060), media_advertise=""
        )
        core = SipCore({"tcp": listener}, user_agent="test", rng=bytes)
        driver = Driver(core, clock, BrokenFlows())
        driver.connect(taker)
        us = NameAddr("", SipUri(user="us", host="192.0.2.1"))
        usage = driver.invite(SipUri(host="192.0.2.7"), flow(transport="tcp"), from_=us, to=us)
        taker.known.add(usage)
        self.assertEqual(taker.events, [])
        clock.advance(0.0)
        self.assertEqual(taker.events, [(Ended.__name__, True)])
