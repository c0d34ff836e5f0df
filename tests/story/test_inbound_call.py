"""Whole calls from a phone system to an agent, over a network in memory. Start reading here."""

from __future__ import annotations

from collections import Counter
from random import Random

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import Answered, Ended, Event
from stellar_gw.sip.uri import OtherUri, SipUri, parse_uri
from stellar_gw.testing.network import FAIR, FOUL, Network, Weather
from stellar_gw.testing.sip_peer import SipPeer, brief
from tests.story.gateway import HOST, PORT, StoryGateway

PBX, TRUNK = "192.0.2.7", "192.76.120.10"
CREDENTIALS = ClientCredentials(
    username="freepbx-hq", password="correct horse", realm="sip.acme.example", host="sip.acme.example"
)


class World:
    """The gateway, a PBX that logs in, and a trunk that is known by its address."""

    def __init__(self, weather: Weather = FAIR, seed: int = 0) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, seed=seed, weather=weather)
        self.gateway = StoryGateway(self.network)
        self.talk = 2.0
        self.pbx = SipPeer(self.network, PBX, script=self._hang_up_later)
        self.trunk = SipPeer(self.network, TRUNK, script=self._hang_up_later)

    def call(self, peer: SipPeer, user: str, credentials: ClientCredentials | None = None) -> str:
        """The peer calls the gateway's domain, by way of the gateway's address."""
        uri = SipUri(user=user, host="sip.acme.example")
        return peer.call_uri(uri, peer.flow_to((HOST, PORT)), credentials=credentials)

    def _hang_up_later(self, peer: SipPeer, event: Event) -> None:
        if isinstance(event, Answered) and not event.reinvite:
            self.clock.callLater(self.talk, peer.bye, event.usage)

    def run_out(self) -> bool:
        """Until nothing of any call is left anywhere."""
        return self.network.run(
            400.0, until=lambda: self.gateway.at_rest and self.pbx.core.idle and self.trunk.core.idle
        )


class InboundCallTests(SynchronousTestCase):
    def test_a_pbx_logs_in_calls_talks_and_hangs_up(self) -> None:
        world = World()
        usage = self.call_from_pbx(world)
        self.assertTrue(world.run_out())
        self.assertEqual(
            [brief(message) for message in world.pbx.heard],
            ["401 INVITE", "100 INVITE", "180 INVITE", "200 INVITE", "200 BYE"],
        )
        self.assertEqual(world.pbx.endings(usage), [("bye", "local")])
        (record,) = world.gateway.records
        self.assertEqual(
            (record.caller, record.connector, record.agent, record.version, record.cause, record.codec),
            ("freepbx-hq", "front-desk", "reception", "7", "caller_hangup", "G722"),
        )
        (session,) = world.gateway.plane.sessions
        self.assertEqual((session.dialect, session.context.to_number), ("twilio", "123456789"))

    def test_a_trunk_calls_a_number_without_any_challenge(self) -> None:
        world = World()
        world.call(world.trunk, "+31201230000")
        self.assertTrue(world.run_out())
        self.assertEqual([brief(message) for message in world.trunk.heard][:2], ["100 INVITE", "180 INVITE"])
        self.assertEqual([record.connector for record in world.gateway.records], ["main-line"])

    def test_a_number_is_dialled_in_every_form(self) -> None:
        """With and without plus, with parameters of user and URI, by a tel URI; to whatever host of ours."""
        forms = (
            "sip:+31201230000@sip.acme.example;user=phone",
            "sip:31201230000@203.0.113.10:5060;transport=udp;dtg=acme_lgu",
            "sip:+31201230000;npdi=yes;rn=+31201239990@203.0.113.10;user=phone",
            "sip:+31-20-123-0000;tgrp=t1;trunk-context=acme.example@sip.acme.example",
            "sip:%2B31201230000@sip.acme.example",
            "tel:+31-20-123.0000",
            "tel:+31201230000;npdi;rn=+31201239990",
        )
        for form in forms:
            world, uri = World(), parse_uri(form)
            assert not isinstance(uri, OtherUri)
            world.trunk.call_uri(uri, world.trunk.flow_to((HOST, PORT)))
            self.assertTrue(world.run_out())
            self.assertEqual([record.connector for record in world.gateway.records], ["main-line"], form)
            told = world.gateway.plane.sessions[0].context.to_number
            self.assertEqual(told, "31201230000" if form.startswith("sip:31") else "+31201230000")

    def test_a_refusals_record_shows_the_messages_to_the_last(self) -> None:
        """The ladder of a wrong password ends with the 401 that refused it."""
        world = World()
        world.call(world.pbx, "123456789", evolve(CREDENTIALS, password="wrong horse"))
        self.assertTrue(world.run_out())
        (refusal,) = world.gateway.refusals
        self.assertEqual(refusal.check, "wrong_password")
        self.assertEqual([line.split()[5] for line in refusal.ladder if " -> " in line], ["401", "401"])

    def test_a_stranger_is_challenged_and_nothing_is_kept_of_it(self) -> None:
        world = World()
        usage = world.call(world.pbx, "123456789")
        self.assertTrue(world.run_out())
        self.assertEqual(world.pbx.endings(usage), [("rejected", "remote")])
        self.assertEqual((world.gateway.records, world.gateway.plane.sessions), ([], []))

    def test_a_caller_who_gives_up_while_it_rings_gets_487(self) -> None:
        world = World()
        world.gateway.plane.agent = lambda _: 2.5
        usage = self.call_from_pbx(world)
        world.clock.callLater(1.0, world.pbx.cancel, usage)
        self.assertTrue(world.run_out())
        self.assertEqual([brief(message) for message in world.pbx.heard][-2:], ["200 CANCEL", "487 INVITE"])
        self.assertEqual([record.cause for record in world.gateway.records], ["cancelled"])

    def test_a_cancel_and_a_200_that_cross_leave_no_ghost(self) -> None:
        """The caller cancels at 200 moments around the answer: each call ends once, on both sides."""
        for step in range(200):
            world = World(seed=step)
            usage = self.call_from_pbx(world)
            world.clock.callLater(step * 0.0008, world.pbx.cancel, usage)
            self.assertTrue(world.run_out(), step)
            self.assertEqual(len(world.pbx.endings(usage)), 1, step)
            causes = [record.cause for record in world.gateway.records]
            self.assertIn(causes, ([], ["cancelled"], ["caller_hangup"]), step)

    def test_a_200_whose_acks_are_all_lost_ends_by_bye_after_32_s(self) -> None:
        world = World()
        world.talk = 1000.0
        world.network.eats = lambda data, source, to: data.startswith(b"ACK") and b"CSeq: 2 ACK" in data
        self.call_from_pbx(world)
        self.assertTrue(world.run_out())
        (record,) = world.gateway.records
        self.assertEqual((record.cause, record.confirmed), ("ack_timeout", None))
        assert record.ended is not None and record.answered is not None
        self.assertAlmostEqual(record.ended - record.answered, 32.0, delta=0.1)

    def call_from_pbx(self, world: World) -> str:
        return world.call(world.pbx, "123456789", CREDENTIALS)


class FoulWeatherTests(SynchronousTestCase):
    CALLS = 500

    def test_500_calls_through_30_percent_loss_duplication_and_reordering(self) -> None:
        """At least 99 % are set up and torn down; each has one agent session and one record; nothing is left."""
        world = World(FOUL, seed=4475)
        dice = Random(4475)
        usages: list[tuple[SipPeer, str]] = []

        def place(number: int) -> None:
            peer = world.pbx if number % 2 else world.trunk
            credentials = CREDENTIALS if number % 2 else None
            usages.append((peer, world.call(peer, "123456789" if number % 2 else "+31201230000", credentials)))

        for number in range(self.CALLS):
            world.clock.callLater(number * 0.05 + dice.random() * 0.05, place, number)
        world.network.run(self.CALLS * 0.05 + 1.0)
        self.assertTrue(world.run_out(), world.gateway.core.counts)

        told = [event for peer in (world.pbx, world.trunk) for event in peer.events]
        answered = {event.usage for event in told if isinstance(event, Answered)}
        self.assertGreaterEqual(len(answered), 0.99 * self.CALLS)
        self.assertEqual({len(peer.endings(usage)) for peer, usage in usages}, {1})
        records = Counter(record.sip_call_id for record in world.gateway.records)
        self.assertEqual(set(records.values()), {1})
        sessions = Counter(session.call for session in world.gateway.plane.sessions)
        self.assertEqual(set(sessions.values()), {1})
        self.assertEqual(set(sessions), {record.call_id for record in world.gateway.records if record.ringing})
        self.assertGreaterEqual(len(sessions), len(answered))
        self.assertLessEqual(len(sessions), self.CALLS)
        self.assertEqual(sorted(sessions), sorted(release.call for release in world.gateway.plane.released))
        self.assertEqual(sum(isinstance(event, Ended) for event in told), self.CALLS)
