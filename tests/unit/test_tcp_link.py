"""A link over TCP whose agent does not read, on a clock of the test's own."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.link import LinkClosed, LinkLimits
from stellar_gw.agent.reading import Rota
from stellar_gw.agent.tcp_link import _TcpLink
from stellar_gw.dialects.contract import Frame


class Transport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def setTcpKeepAlive(self, enabled: bool) -> None: ...


class Told:
    def __init__(self) -> None:
        self.closed: list[str] = []

    def link_opened(self, connect_ms: float) -> None: ...
    def link_received(self, frame: Frame) -> None: ...

    def link_closed(self, closed: LinkClosed) -> None:
        self.closed.append(closed.code)


class UnreadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.told = Clock(), Told()
        link = _TcpLink(cast(Any, self.clock), self.told, LinkLimits(), Rota(self.clock.callLater))
        link.makeConnection(cast(Any, Transport()))
        link.pauseProducing()

    def test_given_up(self) -> None:
        """After as long as a ping and its answer may take."""
        self.clock.pump([0.1] * 95)
        self.assertEqual(self.told.closed, [])
        self.clock.pump([0.1] * 10)
        self.assertEqual(self.told.closed, ["unresponsive"])

    def test_held_up(self) -> None:
        """A process that was held up, and has not written for as long, does not blame the agent."""
        self.clock.advance(60.0)
        self.assertEqual(self.told.closed, [])
        self.clock.pump([0.1] * 105)
        self.assertEqual(self.told.closed, ["unresponsive"])
