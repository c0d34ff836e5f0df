"""A link over TCP whose agent does not read, or says its last words, on a clock of the test's own."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.link import LinkClosed, LinkLimits
from stellar_gw.agent.reading import MANY, Rota
from stellar_gw.agent.tcp_link import LAST, _TcpLink
from stellar_gw.dialects.audiosocket import HANGUP, frame
from stellar_gw.dialects.contract import Frame


class Transport(StringTransport):
    def setTcpNoDelay(self, enabled: bool) -> None: ...
    def setTcpKeepAlive(self, enabled: bool) -> None: ...


class Told:
    def __init__(self) -> None:
        self.closed: list[str] = []
        self.frames: list[Frame] = []

    def link_opened(self, connect_ms: float) -> None: ...

    def link_received(self, frame: Frame) -> None:
        self.frames.append(frame)

    def link_closed(self, closed: LinkClosed) -> None:
        self.closed.append(closed.code)


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.told = Clock(), Told()
        self.link = _TcpLink(cast(Any, self.clock), self.told, LinkLimits(), Rota(self.clock.callLater))
        self.link.makeConnection(cast(Any, Transport()))


class LastWordsTests(LinkTests):
    def test_an_honest_agents(self) -> None:
        """Audio and a hang-up that had to wait for their turn are heard when the connection ends."""
        frames = [frame(0x10, bytes(320))] * 180 + [frame(HANGUP)]
        self.link.dataReceived(b"".join(frames))
        self.link.connectionLost()
        self.assertEqual(self.told.frames, frames)

    def test_a_flood(self) -> None:
        """Of as many frames as can be in what was read, no more are dealt with in one go than other calls can bear."""
        self.link.dataReceived(frame(HANGUP) * 20_000)
        self.link.connectionLost()
        self.assertEqual(len(self.told.frames), MANY + LAST)


class UnreadTests(LinkTests):
    def setUp(self) -> None:
        super().setUp()
        self.link.pauseProducing()

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
