"""How long the gateway waits for the first word of the fast path's helper."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.fastpath import VERSION, Welcome, encode_frame
from stellar_gw.errors import StellarError
from stellar_gw.gateway.fastpath import PATIENCE, check_helper


class FirstWordTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()

    def asked(self) -> tuple[Deferred[None], Callable[[bytes], None]]:
        """A check that is connected, and how its helper speaks."""
        checked = Deferred.fromCoroutine(check_helper(self.reactor, "/run/helper", (10000, 20000)))
        ((_, factory, _, _),) = self.reactor.unixClients
        protocol = factory.buildProtocol(UNIXAddress("/run/helper"))
        assert protocol is not None
        IProtocol(protocol).makeConnection(StringTransport())
        return checked, protocol.dataReceived

    def test_silent(self) -> None:
        """A helper that says nothing is no helper, and that is what is said of it."""
        checked, _ = self.asked()
        self.reactor.pump([PATIENCE / 8] * 8)
        said = str(self.failureResultOf(checked, StellarError).value)
        self.assertIn("its helper cannot be used at /run/helper: it says nothing within 3 s. Start ", said)

    def test_held_up(self) -> None:
        """One whose word was not read in time because the gateway was held up is heard."""
        checked, say = self.asked()
        self.reactor.advance(PATIENCE + 1)
        say(encode_frame(Welcome(version=VERSION, ports=(10000, 20001))))
        self.assertIsNone(self.successResultOf(checked))
