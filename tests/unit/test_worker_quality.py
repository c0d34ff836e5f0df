"""How good the caller's connection is, and when an agent hears of it."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.messages import Allocate, Answered, Done, LegStatistics
from stellar_gw.worker.quality import INTERVAL, QualityWatch
from tests.unit.worker_world import FakeLink, Phone, World, set_media, start_agent


class QualityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.watch = QualityWatch()
        self.now = 0.0
        self.received = self.lost = 0

    def pass_(self, lost: int, **numbers: Any) -> Any:
        """An interval, in which 250 packets were due."""
        self.now += INTERVAL
        self.received += 250 - lost
        self.lost += lost
        fields = {"leg": "caller", "codec": "PCMU", "round_trip_ms": -1.0, **numbers}
        told = self.watch.look(
            LegStatistics(packets_received=self.received, packets_lost=self.lost, **fields), self.now
        )
        return None if told is None else dict(told)

    def test_a_state_is_told_when_it_changes(self) -> None:
        told = [self.pass_(lost) for lost in (0, 0, 1, 5, 5, 30, 30, 0, 0)]
        states = [each and (each["state"], each["loss"]) for each in told]
        self.assertEqual(states, [None, None, None, ("fair", 0.02), None, ("poor", 0.12), None, ("good", 0.0), None])

    def test_what_is_told(self) -> None:
        """All numbers; the round trip where it is known."""
        self.pass_(0)
        rest = {"jitter_ms": 12.46, "remote_loss": 0.0625}
        first = {"state": "poor", "mos": 1.9, "loss": 0.0, "remote_loss": 0.0625, "jitter_ms": 12.5}
        self.assertEqual(self.pass_(0, **rest), first)
        self.pass_(0)
        told = self.pass_(0, **rest, round_trip_ms=80.04)
        self.assertEqual(told, {**first, "round_trip_ms": 80.0})

    def test_delay_counts(self) -> None:
        """A satellite's delay alone makes it fair."""
        self.pass_(0)
        self.assertEqual(self.pass_(0, round_trip_ms=900.0)["state"], "fair")

    def test_what_says_nothing(self) -> None:
        """Nothing is concluded from another leg's numbers, without a leg or a codec, or where no packets came."""
        self.pass_(0)
        self.assertIsNone(self.watch.look(None, 1.0))
        for numbers in ({}, {"leg": "target"}, {"leg": "target", "codec": ""}):
            self.assertIsNone(self.pass_(100, **numbers), numbers)
        self.received -= 250  # what pass_ is about to add
        self.assertIsNone(self.pass_(0, leg="target"))
        self.assertEqual(self.pass_(100, leg="target")["state"], "poor")

    def test_a_native_agent_hears_of_it(self) -> None:
        """In a worker: a phone whose packets are lost, one in four."""
        link = self.set_up(resumes=False)
        self.lose_one_in_four(750)
        (told,) = [json.loads(frame) for frame in link.take() if frame.startswith('{"event":"call:')]
        self.assertEqual((told["event"], told["state"], round(told["loss"], 2)), ("call:quality", "poor", 0.25))

    def test_one_that_resumes_hears_of_it_again(self) -> None:
        """It knows nothing of what its old link was told."""
        link = self.set_up(resumes=True)
        self.lose_one_in_four(750)
        link.ends("lost")
        again = self.world.connector.links[1]
        again.events.link_opened(1.0)
        self.lose_one_in_four(750)
        told = [json.loads(frame) for frame in again.take() if frame.startswith('{"event":"call:')]
        self.assertEqual([(each["event"], each["state"]) for each in told], [("call:quality", "poor")])

    def set_up(self, *, resumes: bool) -> FakeLink:
        self.world = World()
        self.phone = Phone(self.world.network)
        self.port = self.world.ask(Allocate(request=0, call="c-1")).rtp_port
        self.world.ask(set_media())
        start = start_agent(dialect="native", options={"rate": "8000"}, resumes=resumes)
        self.assertEqual(self.world.ask(start), Done(request=0))
        link = self.world.connector.links[0]
        link.events.link_opened(1.0)
        self.world.ask(Answered(request=0, call="c-1"))
        return link

    def lose_one_in_four(self, packets: int) -> None:
        for number in range(packets):
            datagram = self.phone.sender.packet(b"\xff" * 160, 160)
            if number % 4:
                self.phone.send(datagram, self.port)
            self.world.tick()
