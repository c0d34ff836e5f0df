"""Session timers (RFC 4028) between two cores: refreshed in either way, and expired where nobody refreshes."""

from __future__ import annotations

from random import Random

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.events import Answered, Ended, Event, RefreshDue, Reoffered, RequestReceived
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.session_timer import SessionTerms
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr
from stellar_gw.testing.network import FAIR, FOUL, Network, Weather
from stellar_gw.testing.sip_peer import ANSWER, OFFER, SipPeer, answers, brief
from tests.story.gateway import HOST, PORT, StoryGateway
from tests.story.test_target_leg import World

CALLER, CALLEE = "192.0.2.1", "198.51.100.2"
METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "NOTIFY")
ABLE = Capabilities(allow=(*METHODS, "UPDATE"), supported=("timer",), session=SessionTerms(interval=90, minimum=90))
WITHOUT_UPDATE = evolve(ABLE, allow=METHODS)
WITHOUT_TIMER = Capabilities(allow=(*METHODS, "UPDATE"))


def script(peer: SipPeer, event: Event) -> None:
    """Answer calls and re-INVITEs, and refresh by re-INVITE where that is asked for."""
    answers(peer, event)
    if isinstance(event, Reoffered):
        peer.core.answer(event.usage, ANSWER, peer.now)
    elif isinstance(event, RefreshDue):
        peer.core.reinvite(event.usage, OFFER, peer.now)


class Story(SynchronousTestCase):
    def begin(
        self, ours: Capabilities = ABLE, theirs: Capabilities = ABLE, weather: Weather = FAIR, seed: int = 1
    ) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, seed=seed, weather=weather)
        self.caller = SipPeer(self.network, CALLER, able=ours, script=script)
        self.callee = SipPeer(self.network, CALLEE, able=theirs, script=script)
        self.usage = self.caller.call(self.callee)
        self.network.run(1.0)

    def said(self, peer: SipPeer, method: str) -> int:
        return [brief(data) for data in peer.said].count(method)

    def sent(self, peer: SipPeer, kind: str) -> list[tuple[str, str]]:
        """Session-Expires and Min-SE of its messages of one kind."""
        messages = [parse_message(data, stream=False) for data in peer.said if brief(data) == kind]
        return [(each.headers.first("Session-Expires") or "", each.headers.first("Min-SE") or "") for each in messages]

    def causes(self, peer: SipPeer) -> list[str]:
        return [event.cause for event in peer.events if isinstance(event, Ended)]

    def hang_up(self) -> None:
        self.caller.bye(self.usage)
        self.network.run(200.0)
        self.assertTrue(self.caller.core.idle and self.callee.core.idle)


class RefreshTests(Story):
    def test_whoever_is_called_refreshes_by_update_at_half_the_interval(self) -> None:
        self.begin()
        self.network.run(200.0)
        self.assertEqual((self.said(self.callee, "UPDATE"), self.said(self.caller, "UPDATE")), (4, 0))
        self.assertEqual(self.sent(self.caller, "INVITE"), [("90", "")])
        self.assertEqual(self.sent(self.callee, "200 INVITE"), [("90;refresher=uas", "")])
        self.assertEqual(self.sent(self.callee, "UPDATE")[0], ("90;refresher=uac", ""))
        self.assertEqual(self.sent(self.caller, "200 UPDATE")[0], ("90;refresher=uac", ""))
        self.hang_up()

    def test_by_reinvite_where_the_peer_takes_no_update(self) -> None:
        self.begin(ours=WITHOUT_UPDATE)
        self.network.run(200.0)
        self.assertEqual((self.said(self.callee, "UPDATE"), self.said(self.callee, "INVITE")), (0, 4))
        self.assertEqual(self.causes(self.caller), [])
        self.hang_up()

    def test_an_update_that_is_refused_is_followed_by_a_reinvite(self) -> None:
        """The peer's Allow named UPDATE, and it does not do it after all."""
        self.begin()
        usage = self.caller.core._usages.get(self.usage)
        assert usage is not None
        usage.able = WITHOUT_UPDATE
        self.network.run(200.0)
        self.assertEqual((self.said(self.callee, "UPDATE"), self.said(self.callee, "INVITE")), (1, 4))
        self.hang_up()

    def test_a_peer_without_timers_is_left_alone(self) -> None:
        for ours, theirs in ((ABLE, WITHOUT_TIMER), (WITHOUT_TIMER, ABLE)):
            self.begin(ours, theirs)
            self.network.run(1000.0)
            self.assertEqual((self.said(self.callee, "UPDATE"), self.said(self.caller, "UPDATE")), (0, 0))
            self.hang_up()

    def test_any_reinvite_refreshes_too(self) -> None:
        self.begin()
        for _ in range(10):
            self.network.run(30.0)
            self.caller.core.reinvite(self.usage, OFFER, self.clock.seconds())
            self.caller.turn()
        self.assertEqual((self.said(self.callee, "UPDATE"), self.causes(self.caller)), (0, []))
        self.hang_up()

    def test_fifty_calls_live_for_ten_minutes_in_foul_weather(self) -> None:
        """30 % loss: requests are sent again, so that nobody's session expires; the way of refreshing is drawn."""
        lived = 0
        for seed in range(50):
            longer = evolve(ABLE, session=SessionTerms(interval=180))
            ours = longer if Random(seed).random() < 0.5 else evolve(longer, allow=METHODS)
            self.begin(ours, longer, FOUL, seed)
            self.network.run(600.0)
            lived += not self.causes(self.caller) and not self.causes(self.callee)
            self.network.weather = FAIR
            self.hang_up()
        self.assertGreaterEqual(lived, 49)


class ExpiryTests(Story):
    def test_a_session_that_the_other_side_does_not_refresh_ends_by_bye(self) -> None:
        """60 s after the last refresh, for an interval of 90 (RFC 4028 10)."""
        self.begin()
        self.network.eats = lambda data, source, to: data.startswith(b"UPDATE")
        began = self.clock.seconds()
        self.network.run(61.0, until=lambda: bool(self.causes(self.caller)))
        self.assertEqual(round(self.clock.seconds() - began), 59)
        self.network.run(200.0)
        self.assertEqual((self.causes(self.caller), self.causes(self.callee)), (["expired"], ["expired"]))
        self.assertTrue(self.caller.core.idle and self.callee.core.idle)

    def test_a_session_that_we_cannot_refresh_ends(self) -> None:
        self.begin(ours=WITHOUT_UPDATE)
        self.callee.script = lambda peer, event: None
        self.network.run(300.0)
        self.assertEqual((self.causes(self.callee), self.causes(self.caller)), (["expired"], ["expired"]))
        self.assertTrue(self.caller.core.idle and self.callee.core.idle)

    def test_the_end_of_the_call_ends_its_timers(self) -> None:
        self.begin()
        self.callee.bye(next(event.usage for event in self.callee.events if hasattr(event, "usage")))
        self.network.run(40.0)
        self.assertTrue(self.caller.core.idle and self.callee.core.idle)


class TooSmallTests(Story):
    def test_a_422_is_asked_again_with_what_the_peer_wants(self) -> None:
        theirs = evolve(ABLE, session=SessionTerms(interval=600, minimum=300))
        self.begin(theirs=theirs)
        self.assertEqual(self.sent(self.callee, "422 INVITE"), [("", "300")])
        self.assertEqual(self.sent(self.caller, "INVITE"), [("90", ""), ("300", "300")])
        invites = [parse_message(data, stream=False) for data in self.caller.said if brief(data) == "INVITE"]
        self.assertEqual([each.cseq.number for each in invites], [1, 2])
        self.assertEqual(len({(each.call_id, each.from_.tag) for each in invites}), 1)
        self.assertEqual(len([event for event in self.caller.events if isinstance(event, Answered)]), 1)
        self.hang_up()

    def test_a_peer_that_always_wants_more_is_given_up(self) -> None:
        """It gets four INVITEs, and the call has failed."""
        self.begin()
        self.hang_up()
        wanted = iter(range(100, 2000, 100))

        def refuse(peer: SipPeer, event: Event) -> None:
            if isinstance(event, RequestReceived):
                usage = peer.core.accept(event.request, event.flow, peer.now)
                assert usage is not None
                peer.core.reject(usage, 422, peer.now, "", [("Min-SE", str(next(wanted)))])

        self.callee.script = refuse
        self.caller.said.clear()
        usage = self.caller.call(self.callee)
        self.network.run(100.0)
        self.assertEqual(self.said(self.caller, "INVITE"), 4)
        self.assertEqual(self.caller.endings(usage), [("rejected", "remote")])
        self.assertTrue(self.caller.core.idle and self.callee.core.idle)


class GatewayTests(SynchronousTestCase):
    """The gateway on the legs of callers and of targets; it refreshes every 15 minutes."""

    def test_a_callers_leg_is_refreshed_in_the_way_that_it_takes(self) -> None:
        """And the description that a re-INVITE repeats is the same to its version (RFC 4028 7.4)."""
        for able, method in ((ABLE, "UPDATE"), (WITHOUT_UPDATE, "INVITE")):
            clock = Clock()
            network = Network(clock, seed=1)
            gateway = StoryGateway(network)
            trunk = SipPeer(network, "192.76.120.10", script=script, able=evolve(able, session=SessionTerms()))
            uri = SipUri(user="+31201230000", host="sip.acme.example")
            usage = trunk.call_uri(uri, trunk.flow_to((HOST, PORT)))
            network.run(4000.0)
            self.assertEqual([brief(data) for data in trunk.heard].count(method), 4)
            versions = {line for data in trunk.heard for line in data.split(b"\r\n") if line.startswith(b"o=") and line}
            self.assertEqual(len(versions), 1)
            trunk.bye(usage)
            network.run(100.0)
            self.assertTrue(gateway.at_rest)
            self.assertEqual([record.cause for record in gateway.records], ["caller_hangup"])

    def test_a_targets_leg_too(self) -> None:
        for able in (ABLE, WITHOUT_UPDATE):
            world = World(able=able)
            world.dial()
            world.run(400.0)
            self.assertEqual(world.told, [("ringing", 180, False), ("answered",)])
            refreshes = [brief(data) for data in world.phone.peer.said].count("UPDATE")
            self.assertEqual((refreshes, world.gateway.core.counts["usages"]), (8, 1))
            world.phone.bye()
            self.assertTrue(world.run_out())

    def test_a_caller_that_no_longer_refreshes_is_hung_up_on(self) -> None:
        clock = Clock()
        network = Network(clock, seed=1)
        gateway = StoryGateway(network)
        trunk = SipPeer(network, "192.76.120.10", script=script)
        headers = [("Supported", "timer"), ("Session-Expires", "120;refresher=uac")]
        trunk.core.invite(
            SipUri(user="+31201230000", host="sip.acme.example"),
            trunk.flow_to((HOST, PORT)),
            0.0,
            from_=NameAddr("", trunk.uri("caller")),
            to=NameAddr("", trunk.uri("600")),
            headers=headers,
            body=OFFER,
        )
        trunk.turn()
        self.assertTrue(network.run(100.0, until=lambda: len(gateway.records) == 1))
        (record,) = gateway.records
        self.assertEqual(
            (record.cause, record.reason, round(record.duration)),
            ("dialog_lost", "the session was not refreshed in time (RFC 4028)", 88),
        )
