"""A call that is released leaves nothing that only the collector of circles can free: a worker has no time for it."""

from __future__ import annotations

import random
import socket
import time
from collections import Counter
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.messages import Allocate, Allocated, Answered, Codec, Configure, Release, SetMedia, bridge
from stellar_gw.media.rtp import RtpSender
from stellar_gw.testing.ports import take_ports
from stellar_gw.worker.carrier import Carrier
from stellar_gw.worker.pacer import Pacer
from stellar_gw.worker.poller import DatagramPoller
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.port_pair import PortPairs
from stellar_gw.worker.recording import Recorder
from stellar_gw.worker.sounds import Sounds
from stellar_gw.worker.surroundings import Surroundings
from tests.circles import circles
from tests.unit.worker_world import Connector, start_agent

HOST = "127.0.0.1"
PCMU = Codec(name="PCMU", payload_type=0)
PACKETS = 60
"""From each phone: long enough to be connected, and to take the short way."""


class Readers(Clock):
    """A reactor for a poller that is read by hand."""

    def addReader(self, reader: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...


class OverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Readers()
        self.poller = DatagramPoller(self.reactor)
        self.addCleanup(self.poller.close)
        self.pacer = Pacer()
        self.connector = Connector()
        block = take_ports()
        self.addCleanup(block.release)
        clocks = Clocks(now=self.reactor.seconds, wall=time.time, random=random.random, number=random.getrandbits)
        around = Surroundings(
            ports=PortPairs(self.poller, clocks, random.Random(1)),
            pacer=self.pacer,
            connector=self.connector,
            emit=lambda event: None,
            now=clocks.now,
            sounds=Sounds(maybeDeferred),
            recorder=Recorder(clocks, lambda told: told(), lambda run: None),
            generation=1,
        )
        self.carrier = Carrier(around, lambda configure: None, lambda: None)
        ports = (block.first + block.first % 2, block.first + 16)
        self.carrier.handle(Configure(request=0, bind=(HOST,), ports=ports, quarantine=0.0))

    def test_a_bridged_call(self) -> None:
        """With packets both ways, by the long way and by the short one."""
        self.assertEqual(circles(lambda: self.talked("c-1", "caller", "target")), Counter())

    def test_a_call_with_an_agent(self) -> None:
        """Which is heard, and whose digits are looked for in the audio."""
        self.assertEqual(circles(lambda: self.talked("c-1", "caller")), Counter())

    def talked(self, call: str, *names: str) -> None:
        """So many phones say the same number of packets to each other, or one to its agent, and the call is over."""
        phones = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in names}
        ways = []
        for number, (name, phone) in enumerate(phones.items()):
            phone.bind((HOST, 0))
            phone.setblocking(False)
            allocated = self.carrier.handle(Allocate(request=0, call=call, leg=name))
            assert isinstance(allocated, Allocated), allocated
            remote = phone.getsockname()
            media = SetMedia(
                request=0, call=call, leg=name, remote=remote, remote_rtcp=remote, send=PCMU, receive=(PCMU,)
            )
            self.carrier.handle(media)
            ways.append((phone, (HOST, allocated.rtp_port), RtpSender(number, 1, 160, 0)))
        if len(names) == 1:
            self.carrier.handle(start_agent(call, inband=True))
            (link,) = self.connector.links
            link.events.link_opened(1.0)
        self.carrier.handle(Answered(request=0, call=call, leg="caller"))
        if len(names) > 1:
            self.carrier.handle(bridge(call))
        heard = 0
        for _ in range(PACKETS):
            for phone, port, sender in ways:
                phone.sendto(sender.packet(b"\x55" * 160, 160), port)
            self.poller.doRead()
            self.pacer.expired(4)
            self.reactor.advance(0.02)
            for phone in phones.values():
                try:
                    while phone.recv(2048):
                        heard += 1
                except BlockingIOError:
                    pass
        self.assertGreater(heard, PACKETS / 2)
        self.carrier.handle(Release(request=0, call=call, cause="bye", by="caller"))
        self.reactor.advance(1.0)
        self.connector.links.clear()
        for phone in phones.values():
            phone.close()
