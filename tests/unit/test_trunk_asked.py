"""Trunks that ask whether we are there, and stop."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.events import TrunkChanged
from stellar_gw.call.trunk.asked import Asked
from stellar_gw.sip.events import Pinged
from tests.messages import flow
from tests.unit.sip_case import UDP, CoreCase, request
from tests.unit.test_call import TELNYX, CallCase


class AskedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, bool]] = []
        self.asked = Asked(self.clock, lambda event: self.told.append((event.trunk, event.what, event.up)))

    def test_a_trunk_that_stops(self) -> None:
        """It asked every minute: after three without, it is told of; and when it asks again."""
        for _ in range(5):
            self.asked.heard("telnyx")
            self.clock.advance(60.0)
        self.assertEqual(self.told, [("telnyx", "asks", True)])
        self.clock.advance(119.0)
        self.assertEqual(len(self.told), 1)
        self.clock.advance(1.0)
        self.asked.heard("telnyx")
        self.assertEqual(self.told[1:], [("telnyx", "asks", False), ("telnyx", "asks", True)])

    def test_stop(self) -> None:
        """Nothing goes on."""
        self.asked.heard("telnyx")
        self.asked.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class WhoTests(CallCase):
    def test_only_trunks_are_told_of(self) -> None:
        """Anybody's OPTIONS is answered; whose it was matters for trunk providers alone."""
        for source in ("203.0.113.99", TELNYX):
            self.calls.handle(Pinged(flow(source)))
        told = [event.trunk for event in self.events if isinstance(event, TrunkChanged)]
        self.assertEqual(told, ["telnyx"])


class CoreTests(CoreCase):
    def test_options(self) -> None:
        """It is answered without state, and told of."""
        self.assertEqual(self.statuses(request("OPTIONS")), [200])
        self.assertEqual((self.events(), self.core.idle), ([Pinged(UDP)], True))
