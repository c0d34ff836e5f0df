"""A call that is released leaves nothing that only the collector of circles can free: a worker has no time for it."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop
from attrs import frozen
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.link import Connector
from stellar_gw.agent.ws_link import WsConnector
from stellar_gw.control.messages import (
    Allocate,
    Allocated,
    Answered,
    Codec,
    Configure,
    Event,
    Record,
    RecordingEnded,
    Release,
    Secret,
    SetMedia,
    StopAgent,
    bridge,
)
from stellar_gw.media.rtp import RtpSender
from stellar_gw.testing.ports import take_ports
from stellar_gw.testing.raw_agent import CLOSE, TEXT, Peer, RawAgent, close_payload, frame
from stellar_gw.worker.carrier import Carrier
from stellar_gw.worker.pacer import Pacer
from stellar_gw.worker.poller import DatagramPoller
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.port_pair import PortPairs
from stellar_gw.worker.recording import Recorder
from stellar_gw.worker.sounds import Sounds
from stellar_gw.worker.surroundings import Surroundings
from tests.circles import circles
from tests.unit.worker_world import Connector as Listed
from tests.unit.worker_world import start_agent

HOST = "127.0.0.1"
PCMU = Codec(name="PCMU", payload_type=0)
PACKETS = 60
"""From each phone: long enough to be connected, and to take the short way."""


class Readers(Clock):
    """A reactor for a poller that is read by hand."""

    def addReader(self, reader: Any) -> None: ...
    def removeReader(self, reader: Any) -> None: ...


@frozen
class Phone:
    """One leg's peer."""

    socket: socket.socket
    port: tuple[str, int]
    sender: RtpSender


class Case(SynchronousTestCase):
    """A worker without its process, on real sockets that are read when the test says so."""

    def setUp(self) -> None:
        self.reactor = Readers()
        self.poller = DatagramPoller(self.reactor)
        self.addCleanup(self.poller.close)
        self.pacer = Pacer()
        self.events: list[Event] = []
        block = take_ports()
        self.addCleanup(block.release)
        clocks = Clocks(now=self.reactor.seconds, wall=time.time, random=random.random, number=random.getrandbits)
        self.recorder = Recorder(clocks, lambda told: told(), lambda run: None)
        around = Surroundings(
            ports=PortPairs(self.poller, clocks, random.Random(1)),
            pacer=self.pacer,
            connector=self.make_connector(),
            emit=self.events.append,
            now=clocks.now,
            sounds=Sounds(maybeDeferred),
            recorder=self.recorder,
            generation=1,
        )
        folder = self.mktemp()
        self.carrier = Carrier(around, lambda configure: None, lambda: None)
        ports = (block.first + block.first % 2, block.first + 16)
        self.carrier.handle(Configure(request=0, bind=(HOST,), ports=ports, quarantine=0.0, recordings=folder))
        Path(folder).mkdir()
        self.phones: dict[str, Phone] = {}

    def make_connector(self) -> Connector:
        raise NotImplementedError

    def turn(self) -> None:
        """What else happens in 20 ms."""

    # --- what becomes of a call -----------------------------------------------------------------

    def join(self, leg: str) -> None:
        """One more phone."""
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        own.bind((HOST, 0))
        own.setblocking(False)
        allocated = self.carrier.handle(Allocate(request=0, call="c-1", leg=leg))
        assert isinstance(allocated, Allocated), allocated
        remote = own.getsockname()
        media = SetMedia(request=0, call="c-1", leg=leg, remote=remote, remote_rtcp=remote, send=PCMU, receive=(PCMU,))
        self.carrier.handle(media)
        self.phones[leg] = Phone(own, (HOST, allocated.rtp_port), RtpSender(len(self.phones), 1, 160, 0))

    def answer(self, leg: str = "caller") -> None:
        self.carrier.handle(Answered(request=0, call="c-1", leg=leg))

    def talk(self, packets: int = PACKETS) -> None:
        """Every phone says so many packets; they hear most of as many, from each other or from the agent."""
        heard = 0
        for _ in range(packets):
            for phone in self.phones.values():
                phone.socket.sendto(phone.sender.packet(b"\x55" * 160, 160), phone.port)
            self.poller.doRead()
            self.pacer.expired(4)
            self.reactor.advance(0.02)
            self.recorder.work()
            self.turn()
            for phone in self.phones.values():
                try:
                    while phone.socket.recv(2048):
                        heard += 1
                except BlockingIOError:
                    pass
        self.assertGreater(heard, packets / 2)

    def release(self) -> None:
        self.carrier.handle(Release(request=0, call="c-1", cause="bye", by="caller"))
        self.reactor.advance(1.0)
        self.recorder.work()
        for phone in self.phones.values():
            phone.socket.close()
        self.phones.clear()


class OverTests(Case):
    def make_connector(self) -> Connector:
        self.listed = Listed()
        return self.listed

    def start_agent(self) -> None:
        self.carrier.handle(start_agent(inband=True))
        (link,) = self.listed.links
        link.events.link_opened(1.0)

    def over(self) -> None:
        self.release()
        self.listed.links.clear()

    def test_a_bridged_call(self) -> None:
        """With packets both ways, by the long way and by the short one."""

        def call() -> None:
            self.join("caller")
            self.join("target")
            self.answer()
            self.carrier.handle(bridge("c-1"))
            self.talk()
            self.over()

        self.assertEqual(circles(call), Counter())

    def test_a_call_with_an_agent(self) -> None:
        """Which is heard, and whose digits are looked for in the audio."""

        def call() -> None:
            self.join("caller")
            self.start_agent()
            self.answer()
            self.talk()
            self.over()

        self.assertEqual(circles(call), Counter())

    def test_a_transferred_call(self) -> None:
        """The agent talks while the target rings, and leaves once they are bridged."""

        def call() -> None:
            self.join("caller")
            self.start_agent()
            self.answer()
            self.talk(10)
            self.join("target")
            self.talk(10)
            self.answer("target")
            self.carrier.handle(bridge("c-1"))
            self.talk(20)
            self.carrier.handle(StopAgent(request=0, call="c-1", cause="transferred", by="agent"))
            self.talk()
            self.over()

        self.assertEqual(circles(call), Counter())

    def test_a_target_that_leaves(self) -> None:
        """A leg that is given up leaves nothing, with the call that goes on and with its end."""

        def call() -> None:
            self.join("caller")
            self.start_agent()
            self.answer()
            self.join("target")
            self.talk(10)
            self.carrier.handle(Release(request=0, call="c-1", leg="target", cause="busy"))
            self.phones.pop("target").socket.close()
            self.talk()
            self.over()

        self.assertEqual(circles(call), Counter())

    def test_a_recorded_call(self) -> None:
        """With both sides in its file."""

        def call() -> None:
            self.join("caller")
            self.start_agent()
            self.carrier.handle(Record(request=0, call="c-1"))
            self.answer()
            self.talk()
            self.over()

        self.assertEqual(circles(call), Counter())
        (ended,) = [event for event in self.events if isinstance(event, RecordingEnded)]
        self.assertEqual((ended.note, ended.seconds > 1.0), ("", True))


class LinkTests(Case):
    """The agent is at the other end of a WebSocket, on a worker's kind of loop."""

    def make_connector(self) -> Connector:
        self.loop = uvloop.new_event_loop()
        self.addCleanup(self.loop.close)
        self.heard = 0
        self.greeted = asyncio.Event()
        self.agent = RawAgent(self.converse)
        self.url = f"ws://{HOST}:{self.loop.run_until_complete(self.agent.start())}/"
        self.addCleanup(lambda: self.loop.run_until_complete(self.agent.stop()))
        return WsConnector(self.loop)

    async def converse(self, peer: Peer) -> None:
        await peer.upgrade()
        # So much at once that the link reads by a ration from then on.
        await peer.write(100 * frame(TEXT, b'{"event":"mark","mark":{"name":"here"}}'))
        while (await peer.read_frame())[0] != CLOSE:
            self.heard += 1
            self.greeted.set()
        await peer.write(frame(CLOSE, close_payload(1000)))
        await peer.ended()

    def turn(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))

    def wait(self, event: Coroutine[Any, Any, object]) -> None:
        self.loop.run_until_complete(asyncio.wait_for(event, 10.0))

    def test_a_call_with_an_agent(self) -> None:
        """Which says much at once, hears, and whose link is closed with the call."""

        def call() -> None:
            self.join("caller")
            self.carrier.handle(start_agent(url=Secret(self.url)))
            self.wait(self.greeted.wait())
            self.answer()
            self.talk()
            self.release()
            self.wait(self.agent.all_ended())

        found = circles(call)
        self.assertGreater(self.heard, PACKETS / 2)
        ours = {name: count for name, count in found.items() if not name.startswith("stellar_gw.testing.")}
        self.assertEqual(ours, {})
