"""A worker that was held up gives up what has waited too long, instead of being behind for good."""

from __future__ import annotations

import socket
import struct
from errno import EHOSTUNREACH
from itertools import pairwise
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.intake import BEHIND, KEPT, MOST_TURNS, MOST_WAITING
from stellar_gw.worker.poller import TURN, DatagramPoller
from tests.integration.test_poller_contract import LOOPBACK, Noted, Recorder, Told

reactor: Any = installed_reactor
WAITING = 200
"""Datagrams in each socket; of four there are more than two turns take."""
TAKEN = 2 * TURN // 4
"""Of each of four in two turns."""


def numbered(number: int, kind: int = 0, timestamp: int | None = None) -> bytes:
    """The beginning of RTP: its second octet is marker and payload type."""
    return struct.pack("!BBHI", 0x80, kind, number, 160 * number if timestamp is None else timestamp)


def numbers(datagrams: list[Any]) -> list[int]:
    return [int.from_bytes(datagram[2:4], "big") for datagram, _ in datagrams]


class BacklogTests(TestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.poller = DatagramPoller(reactor, now=lambda: self.now)
        self.addCleanup(self.poller.close)
        self.peer, self.stranger = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (self.peer, self.stranger):
            self.addCleanup(sock.close)
            sock.bind((LOOPBACK, 0))

    def open(self, *, known: bool = True, perishable: bool = True) -> Any:
        """A socket; its protocol hears all of what a short way takes, where its peer is known."""
        transport = self.poller.listen(Recorder(), LOOPBACK, 0)
        if known:
            address = self.peer.getsockname()
            transport.connect(*address)
            transport.shorten(HandedOn(transport, address, self.poller.workspace, perishable=perishable))
        return transport

    def send(self, to: Any, datagram: bytes, sock: socket.socket | None = None) -> None:
        (sock or self.peer).sendto(datagram, (LOOPBACK, to.getHost().port))

    def fill(self, *transports: Any, count: int = WAITING) -> None:
        for transport in transports:
            for number in range(count):
                self.send(transport, numbered(number))

    def behind(self) -> None:
        """Two turns that leave something, and the first one after so long a time that what waits is given up."""
        self.nearly_behind()
        self.poller.doRead()

    def nearly_behind(self) -> None:
        for _ in range(2):
            self.poller.doRead()
            self.now += BEHIND / 2 + 0.01

    def read_all(self) -> None:
        for _ in range(50):
            self.poller.doRead()

    def said(self) -> list[LogEvent]:
        """What the log says of it."""
        found: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            if "passed over" in str(event.get("log_format")):
                found.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return found

    def test_the_last_are_passed_on(self) -> None:
        """What came in the last 200 ms is dealt with, in order; what waited longer is not; said once."""
        said = self.said()
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.behind()
        expected = [*range(TAKEN), *range(WAITING - KEPT, WAITING)]
        self.assertEqual([numbers(each.protocol.received) for each in opened], [expected] * 4)
        discarded = 4 * (WAITING - TAKEN - KEPT)
        self.assertEqual(
            [formatEvent(event) for event in said],
            [
                f"more RTP than one core can carry, or a machine that stood still: {discarded} packets that had waited "
                "are passed over, after 300 ms with no end of them"
            ],
        )

    def test_said_again_after_a_minute(self) -> None:
        """With how many there were since; not for each of them."""
        said = self.said()
        opened = [self.open() for _ in range(4)]
        for _ in range(3):
            self.fill(*opened)
            self.behind()
        self.now += 60
        self.poller.doRead()
        each = 4 * (WAITING - TAKEN - KEPT)
        self.assertEqual([event["count"] for event in said], [each, 2 * each])

    def test_passage(self) -> None:
        """The short way, too, is shown the last ones alone."""
        opened = [self.open() for _ in range(4)]
        passages = [Noted(self.peer.getsockname(), self.poller.workspace) for _ in opened]
        for transport, passage in zip(opened, passages, strict=True):
            transport.shorten(passage)
        self.fill(*opened)
        self.behind()
        for passage in passages:
            self.assertEqual(numbers(passage.taken)[TAKEN:], [*range(WAITING - KEPT, WAITING)])

    def test_in_time(self) -> None:
        """Nothing is given up where there was a moment without anything to read, or no time has passed."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.poller.doRead()
        self.now += BEHIND - 0.01
        self.read_all()
        self.now += 100
        self.fill(*opened)
        self.poller.doRead()
        self.read_all()
        self.assertEqual([len(each.protocol.received) for each in opened], [2 * WAITING] * 4)

    def test_once(self) -> None:
        """Each socket is emptied once, and then read as ever: to look for more costs too much; a turn stays as short as
        any, and what is due is looked at after each socket."""
        looks: list[int] = []
        full, others = self.open(), [self.open() for _ in range(300)]
        full.socket = full._passage.socket = endless = Endless(full.socket)
        self.poller.between = lambda: looks.append(endless.reads)
        self.fill(full, count=1)
        self.nearly_behind()
        before = endless.reads
        self.poller.doRead()
        emptied = endless.reads - before
        self.poller.doRead()
        self.fill(others[0], count=1)
        self.assertTrue(MOST_WAITING <= emptied <= MOST_WAITING + TURN, emptied)
        self.assertLessEqual(endless.reads - before - emptied, TURN)
        self.assertLessEqual(len(full.protocol.received), 4 * TURN)
        self.assertLessEqual(max(after - before for before, after in pairwise(looks)), MOST_WAITING)

    def test_between(self) -> None:
        """What is due elsewhere is looked at after each socket that was emptied."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.nearly_behind()
        looks: list[int] = []
        self.poller.between = lambda: looks.append(self.poller.counts.received)
        before = self.poller.counts.received
        self.poller.doRead()
        self.assertEqual(looks, [before + KEPT * (number + 1) for number in range(4)])

    def test_not_looked(self) -> None:
        """That nobody looked for long says nothing of how much there is to read."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.poller.doRead()
        self.now += BEHIND + 0.01
        self.read_all()
        self.assertEqual([len(each.protocol.received) for each in opened], [WAITING] * 4)

    def test_not_perishable(self) -> None:
        """What an agent hears, and what has no short way, is never given up."""
        heard, long_way = self.open(perishable=False), self.open()
        long_way.shorten(None)
        self.fill(heard, long_way, *(self.open() for _ in range(2)))
        self.fill(*(self.open() for _ in range(2)))
        self.behind()
        self.read_all()
        self.assertEqual([len(each.protocol.received) for each in (heard, long_way)], [WAITING] * 2)

    def test_exactly_a_turn(self) -> None:
        """A turn that took as many as it may has left nothing where nothing is left."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened, count=TURN // 4)
        self.poller.doRead()
        self.assertFalse(self.poller._backlog.waits)

    def key_presses(self, kinds: list[tuple[int, int | None]]) -> list[int]:
        """What is heard of so many datagrams, by their second octets and timestamps."""
        others, transport = [self.open() for _ in range(3)], self.open()
        self.fill(*others)
        self.nearly_behind()
        for number, (kind, timestamp) in enumerate(kinds):
            self.send(transport, numbered(number, kind, timestamp))
        self.poller.doRead()
        return numbers(transport.protocol.received)

    def test_key_presses(self) -> None:
        """Where marker or payload type change, both packets are dealt with: the first and the last of each press."""
        press = [(0xE5, 3200), *[(0x65, 3200)] * 9]
        audio: list[tuple[int, int | None]] = [(0, None)]
        heard = self.key_presses([*audio * 20, *press, *audio * 170])
        self.assertEqual(heard, [19, 20, 21, 29, 30, *range(WAITING - KEPT, WAITING)])

    def test_key_presses_without_a_marker(self) -> None:
        """Nor is one lost where nothing but the timestamp tells one press from the next."""
        presses: list[tuple[int, int | None]] = [(0x65, 1600 * press) for press in range(1, 5) for _ in range(10)]
        audio: list[tuple[int, int | None]] = [(0, None)]
        heard = self.key_presses([*audio * 10, *presses, *audio * 150])
        self.assertLessEqual({19, 29, 39, 49}, set(heard))
        self.assertLessEqual(len(heard), 16 + KEPT)

    def test_most_turns(self) -> None:
        """Who changes with each packet is not heard any more for it."""
        heard = self.key_presses([(0x80 * (number % 2), None) for number in range(WAITING)])
        self.assertEqual(heard, [*range(WAITING - KEPT - MOST_TURNS, WAITING)])

    def test_unknown_peers(self) -> None:
        """Where it is not clear yet who the peer is, everything is read; where it is, but anybody may send, the last of
        what others sent is dealt with, too: the peer may have moved."""
        unknown, known, *others = (self.open(known=False), self.open(known=False), self.open(), self.open())
        address = self.peer.getsockname()
        passage = Noted(address, self.poller.workspace)
        known.shorten(passage)
        self.fill(*others)
        for number in range(WAITING // 2):
            for transport in (unknown, known):
                self.send(transport, numbered(number))
                self.send(transport, numbered(1000 + number), self.stranger)
        self.behind()
        self.read_all()
        self.assertEqual(len(unknown.protocol.received), WAITING)
        last = [*range(WAITING // 2 - KEPT, WAITING // 2)]
        self.assertEqual(numbers(passage.taken)[-2 * KEPT :], [*last, *(1000 + number for number in last)])
        sources = [source for _, source in passage.taken[-2 * KEPT :]]
        self.assertEqual(sources, [address] * KEPT + [self.stranger.getsockname()] * KEPT)

    def test_certain_afterwards(self) -> None:
        """A socket that was emptied needs no asking for sources any more."""
        opened = [self.open() for _ in range(4)]
        passages = [Noted(self.peer.getsockname(), self.poller.workspace) for _ in opened]
        for transport, passage in zip(opened, passages, strict=True):
            transport.shorten(passage)
        self.fill(*opened)
        self.behind()
        self.fill(*opened, count=1)
        self.read_all()
        self.assertEqual([passage.taken[-1][1] for passage in passages], [None] * 4)

    def test_disconnected_meanwhile(self) -> None:
        """What was read before is known to be the peer's all the same."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.nearly_behind()
        heard: list[Any] = []

        def disconnect(datagram: bytes, addr: Any) -> None:
            heard.append(addr)
            opened[0].disconnect()

        opened[0].protocol.datagramReceived = disconnect
        self.poller.doRead()
        self.assertEqual(heard, [self.peer.getsockname()] * KEPT)

    def test_closed_meanwhile(self) -> None:
        """A datagram that closes its socket is the last one; the others are read all the same."""
        first, *others = (self.open() for _ in range(4))
        self.fill(first, *others)
        received: list[bytes] = []

        def close(datagram: bytes, addr: Any) -> None:
            received.append(datagram)
            if len(received) > TAKEN:
                first.close()

        first.protocol.datagramReceived = close
        self.behind()
        self.assertEqual(len(received), TAKEN + 1)
        self.assertEqual([len(each.protocol.received) for each in others], [TAKEN + KEPT] * 3)

    def test_told_by_routers(self) -> None:
        """An ICMP error among what waits ends nothing."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.nearly_behind()
        kernel, opened[0].socket = opened[0].socket, Told(opened[0].socket, EHOSTUNREACH)
        self.poller.doRead()
        opened[0].socket = kernel
        self.read_all()
        self.assertEqual(numbers(opened[0].protocol.received)[-1], WAITING - 1)
        self.assertEqual((opened[0].protocol.life, self.poller.counts.failed), (["started"], 0))


class HandedOn(Noted):
    """Takes everything, and hands it on to the protocol."""

    def __init__(self, transport: Any, source: tuple[str, int], workspace: Workspace, *, perishable: bool) -> None:
        super().__init__(source, workspace, perishable=perishable)
        self._transport = transport

    def take(self, octets: int, source: object) -> bool:
        super().take(octets, source)
        self._transport.take(self._workspace.piece(octets), source)
        return True


class Endless:
    """A socket in which there is always more."""

    def __init__(self, kernel: socket.socket) -> None:
        self._kernel = kernel
        self.reads = 0

    def recvfrom_into(self, buffer: Any) -> tuple[int, Any]:
        self.reads += 1
        datagram = numbered(self.reads % 1000)
        buffer[: len(datagram)] = datagram
        return len(datagram), self._kernel.getpeername()

    def recv(self, octets: int, flags: int) -> bytes:
        return numbered(0)[:octets]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)
