"""A worker that was held up gives up what has waited too long, instead of being behind for good."""

from __future__ import annotations

import socket
from errno import EHOSTUNREACH
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from stellar_gw.worker.intake import BEHIND, KEPT, MOST_WAITING
from stellar_gw.worker.poller import TURN, DatagramPoller
from tests.integration.test_poller_contract import LOOPBACK, Noted, Recorder, Told

reactor: Any = installed_reactor
WAITING = 100
"""Datagrams in each socket; of four there are more than one turn takes."""


def numbered(number: int, kind: int = 0) -> bytes:
    """Something like RTP: its second octet is marker and payload type."""
    return bytes((0x80, kind)) + number.to_bytes(2, "big")


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

    def open(self, *, connected: bool = True) -> Any:
        transport = self.poller.listen(Recorder(), LOOPBACK, 0)
        if connected:
            transport.connect(*self.peer.getsockname())
        return transport

    def send(self, to: Any, datagram: bytes, sock: socket.socket | None = None) -> None:
        (sock or self.peer).sendto(datagram, (LOOPBACK, to.getHost().port))

    def fill(self, *transports: Any, count: int = WAITING) -> None:
        for transport in transports:
            for number in range(count):
                self.send(transport, numbered(number))

    def behind(self) -> None:
        """A turn that leaves something, and the first one after so long a time that what waits is given up."""
        self.poller.doRead()
        self.now += BEHIND + 0.01
        self.poller.doRead()

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
        taken = TURN // 4
        expected = [*range(taken), *range(WAITING - KEPT, WAITING)]
        self.assertEqual([numbers(each.protocol.received) for each in opened], [expected] * 4)
        discarded = 4 * (WAITING - taken - KEPT)
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
        each = 4 * (WAITING - TURN // 4 - KEPT)
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
            self.assertEqual(numbers(passage.taken)[TURN // 4 :], [*range(WAITING - KEPT, WAITING)])

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
        """Each socket is emptied once, and then read as ever for as long again: to look for more costs too much."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.behind()
        self.fill(*opened)
        before = [len(each.protocol.received) for each in opened]
        self.now += BEHIND - 0.01
        self.read_all()
        self.assertEqual([len(each.protocol.received) for each in opened], [count + WAITING for count in before])

    def test_key_presses(self) -> None:
        """Where marker or payload type change, both packets are dealt with: the first and the last of each press."""
        others, transport = [self.open() for _ in range(3)], self.open()
        self.fill(*others)
        self.poller.doRead()
        self.fill(*others)
        for number in range(WAITING):
            kind = 0xE5 if number == 20 else 0x65 if 20 < number < 30 else 0
            self.send(transport, numbered(number, kind))
        self.now += BEHIND + 0.01
        self.poller.doRead()
        self.assertEqual(numbers(transport.protocol.received), [19, 20, 21, 29, 30, *range(WAITING - KEPT, WAITING)])

    def test_unknown_peers(self) -> None:
        """Where it is not clear yet who the peer is, everything is read; where it is, strangers are not heard."""
        unknown, known = self.open(connected=False), self.open(connected=False)
        passage = Noted(self.peer.getsockname(), self.poller.workspace)
        known.shorten(passage)
        for number in range(WAITING):
            for transport in (unknown, known):
                self.send(transport, numbered(number))
                self.send(transport, numbered(1000 + number), self.stranger)
        self.behind()
        self.read_all()
        self.assertEqual(len(unknown.protocol.received), 2 * WAITING)
        self.assertEqual(numbers(passage.taken)[-KEPT:], [*range(WAITING - KEPT, WAITING)])

    def test_closed_meanwhile(self) -> None:
        """A datagram that closes its socket is the last one; the others are read all the same."""
        first, *others = (self.open() for _ in range(4))
        self.fill(first, *others)
        received: list[bytes] = []

        def close(datagram: bytes, addr: Any) -> None:
            received.append(datagram)
            if len(received) > TURN // 4:
                first.close()

        first.protocol.datagramReceived = close
        self.behind()
        self.assertEqual(len(received), TURN // 4 + 1)
        self.assertEqual([len(each.protocol.received) for each in others], [TURN // 4 + KEPT] * 3)

    def test_told_by_routers(self) -> None:
        """An ICMP error among what waits ends nothing."""
        opened = [self.open() for _ in range(4)]
        self.fill(*opened)
        self.poller.doRead()
        kernel, opened[0].socket = opened[0].socket, Told(opened[0].socket, EHOSTUNREACH)
        self.now += BEHIND + 0.01
        self.poller.doRead()
        opened[0].socket = kernel
        self.read_all()
        self.assertEqual(numbers(opened[0].protocol.received)[-1], WAITING - 1)
        self.assertEqual((opened[0].protocol.life, self.poller.counts.failed), (["started"], 0))

    def test_bounded(self) -> None:
        """No socket is read for ever."""
        transport = self.open()
        kernel = transport.socket
        transport.socket = Endless(kernel)
        self.fill(transport, count=1)
        self.poller._backlog.left(self.now - 1)
        self.poller.doRead()
        self.assertLessEqual(transport.socket.reads, MOST_WAITING + TURN)


class Endless:
    """A socket in which there is always more."""

    def __init__(self, kernel: socket.socket) -> None:
        self._kernel = kernel
        self.reads = 0

    def recvfrom_into(self, buffer: Any) -> tuple[int, Any]:
        self.reads += 1
        buffer[:4] = numbered(0)
        return 4, self._kernel.getpeername()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)
