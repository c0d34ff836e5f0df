"""Reliable provisional responses (RFC 3262) between two cores, on the legs of callers and of targets."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.events import Answered, Event, Provisional, UsageId
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr
from stellar_gw.testing.network import FAIR, FOUL, Network
from stellar_gw.testing.sip_peer import ANSWER, OFFER, SipPeer, brief
from tests.story.gateway import HOST, PORT, StoryGateway
from tests.story.test_target_leg import Callee, World

ABLE = Capabilities(allow=("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "PRACK"), supported=("100rel",))
TRUNK = "192.76.120.10"


class CallerTests(SynchronousTestCase):
    """A trunk that takes no call without them."""

    def begin(self, seed: int = 1) -> UsageId:
        self.clock = Clock()
        self.network = Network(self.clock, seed=seed)
        self.gateway = StoryGateway(self.network)
        self.trunk = SipPeer(self.network, TRUNK, able=ABLE, seed=seed)
        uri = SipUri(user="+31201230000", host="sip.acme.example")
        usage = self.trunk.core.invite(
            uri,
            self.trunk.flow_to((HOST, PORT)),
            self.trunk.now,
            from_=NameAddr("", self.trunk.uri("caller")),
            to=NameAddr("", uri),
            headers=[("Require", "100rel")],
            body=OFFER,
        )
        self.trunk.turn()
        return usage

    def test_the_answer_is_in_the_180_and_the_200_has_none(self) -> None:
        usage = self.begin()
        self.network.run(2.0)
        self.assertEqual(
            [brief(data) for data in self.trunk.heard], ["100 INVITE", "180 INVITE", "200 PRACK", "200 INVITE"]
        )
        self.assertEqual(self.trunk.ladder(), ["INVITE", "PRACK", "ACK"])
        bodies = [parse_message(data, stream=False).body for data in self.trunk.heard]
        self.assertIn(b"m=audio", bodies[1])
        self.assertEqual(bodies[3], b"")
        self.trunk.bye(usage)
        self.network.run(50.0)
        self.assertTrue(self.gateway.at_rest and self.trunk.core.idle)
        self.assertEqual([record.cause for record in self.gateway.records], ["caller_hangup"])

    def test_a_hundred_calls_through_foul_weather(self) -> None:
        """30 % loss: nearly all come up, each 180 is told once, and nothing is left."""
        answered = 0
        for seed in range(100):
            usage = self.begin(seed)
            self.network.weather = FOUL
            self.network.run(30.0)
            told: list[Event] = self.trunk.events
            answered += any(isinstance(each, Answered) for each in told)
            self.assertLessEqual(sum(isinstance(each, Provisional) for each in told), 1, seed)
            self.network.weather = FAIR
            self.trunk.bye(usage)
            self.network.run(100.0)
            self.assertTrue(self.gateway.at_rest and self.trunk.core.idle, seed)
        self.assertGreaterEqual(answered, 97)


class TargetTests(SynchronousTestCase):
    def ring_reliably(self, callee: Callee) -> None:
        callee.peer.core.ring(callee.usage, callee.peer.now, 183, body=ANSWER, reliably=True)

    def test_early_media_that_is_acknowledged_needs_no_answer_later(self) -> None:
        world = World(self.ring_reliably, able=ABLE)
        world.dial()
        world.run(2.0)
        self.assertEqual(world.told, [("ringing", 183, True)])
        world.phone.pick_up(b"")
        world.run(2.0)
        self.assertEqual(world.told[1:], [("answered",)])
        self.assertEqual([brief(data) for data in world.phone.peer.heard], ["INVITE", "PRACK", "ACK"])
        world.phone.bye()
        self.assertTrue(world.run_out())

    def test_given_up_before_and_after_the_prack(self) -> None:
        for moment in (0.011, 0.016, 0.5):
            world = World(self.ring_reliably, able=ABLE)
            world.dial()
            world.run(moment)
            world.leg.give_up()
            self.assertTrue(world.run_out(), moment)
            self.assertEqual(world.listening.outcomes, ["failed", "released"])
