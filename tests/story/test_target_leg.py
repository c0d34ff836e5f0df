"""Calls of ours to the targets of transfers, told with two real SIP cores over a network in memory."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import define
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.leg.listener import LegSurroundings
from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.call.leg.target import TargetLeg
from stellar_gw.call.ports import WorkerLost
from stellar_gw.call.target.target import Target
from stellar_gw.control import messages
from stellar_gw.control.messages import Event as MediaEvent
from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import Ended, Event, Reoffered, RequestInDialog, RequestReceived
from stellar_gw.sip.flow import Address
from stellar_gw.sip.message import Request
from stellar_gw.sip.parser import parse_message
from stellar_gw.testing.network import FAIR, FOUL, Network, Weather
from stellar_gw.testing.sip_peer import ANSWER, SipPeer, Spy, brief
from tests.configurations import configuration
from tests.story.gateway import HOST, StoryGateway
from tests.unit.targets import Listening, make_target

CONFIGURATION = configuration()
PHONE, OTHER = "198.51.100.2", "198.51.100.3"
Act = Callable[["Callee"], None]


@define
class Callee:
    """A target that does what a story says when it is called.

    :ivar act: what, each time an INVITE comes; its usage is accepted already.
    :ivar usage: of the last INVITE.
    """

    peer: SipPeer
    act: Act
    usage: str = ""
    invite: Request | None = None
    answer: bytes = ANSWER
    calls: int = 0

    def script(self, peer: SipPeer, event: Event) -> None:
        if isinstance(event, RequestReceived):
            usage = peer.core.accept(event.request, event.flow, peer.now)
            if usage is not None:
                self.usage, self.invite = usage, event.request
                self.calls += 1
                self.act(self)
        elif isinstance(event, Reoffered):
            peer.core.answer(event.usage, self.answer, peer.now)
        elif isinstance(event, RequestInDialog):
            peer.core.respond_in(event.token, 200, peer.now)

    def ring(self, status: int = 180, body: bytes = b"") -> None:
        self.peer.core.ring(self.usage, self.peer.now, status, body=body)
        self.peer.turn()

    def pick_up(self, body: bytes = ANSWER) -> None:
        """Answer; without effect where no INVITE has come."""
        self.peer.core.answer(self.usage, body, self.peer.now)
        self.peer.turn()

    def refuse(self, status: int, *headers: tuple[str, str]) -> None:
        self.peer.core.reject(self.usage, status, self.peer.now, "", headers)
        self.peer.turn()

    def reinvite(self, body: bytes) -> None:
        self.peer.core.reinvite(self.usage, body, self.peer.now)
        self.peer.turn()

    def bye(self, *headers: tuple[str, str]) -> None:
        self.peer.core.bye(self.usage, self.peer.now, headers)
        self.peer.turn()


def ring(callee: Callee) -> None:
    callee.ring()


def ring_and_answer(callee: Callee) -> None:
    callee.ring()
    callee.pick_up()


def refuse(status: int, *headers: tuple[str, str]) -> Act:
    return lambda callee: callee.refuse(status, *headers)


class World:
    """A gateway with a call in its worker, and a phone that is the target of a transfer.

    :ivar told: what the leg told.
    :ivar sent: what left the gateway, whether it arrived or not.
    """

    def __init__(
        self, act: Act = ring_and_answer, weather: Weather = FAIR, seed: int = 0, able: Capabilities | None = None
    ) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, seed=seed, weather=weather)
        self.gateway = StoryGateway(self.network, CONFIGURATION, seed=seed + 1)
        self.gateway.reach.names["pbx.example"] = [(PHONE, 5060)]
        self.peers: list[SipPeer] = []
        self.sent: list[str] = []
        carry = self.network.carry

        def tapped(data: bytes, source: Address, to: Address) -> None:
            if source[0] == HOST:
                self.sent.append(brief(data))
            carry(data, source, to)

        self.network.carry = tapped  # type: ignore[method-assign]
        self.phone = self.callee(PHONE, act, able)
        self.listening = Listening()
        self.gateway.plane.ask(messages.Allocate(request=0, call="c-1"))
        self.network.run(0.01)

    def callee(self, host: str, act: Act, able: Capabilities | None = None) -> Callee:
        peer = SipPeer(self.network, host, able=able or Capabilities())
        callee = Callee(peer, act)
        peer.script = callee.script
        self.peers.append(peer)
        return callee

    def make(self, target: Target | None = None) -> TargetLeg:
        gateway, rng = self.gateway, Random(7)
        self.leg = TargetLeg(
            call_id="c-1",
            target=target or make_target(),
            codec_first="PCMA",
            around=LegSurroundings(
                signalling=gateway.driver,
                usages=gateway.calls.usages,
                plane=gateway.plane,
                clock=self.clock,
                rng=rng.randbytes,
                listeners=gateway.listeners,
            ),
            listener=self.listening,
            signalling_listener="udp",
            note=lambda kind, line: None,
        )
        return self.leg

    def dial(self, target: Target | None = None) -> TargetLeg:
        self.make(target).dial()
        return self.leg

    def run(self, seconds: float) -> None:
        self.network.run(seconds)

    @property
    def told(self) -> list[tuple[object, ...]]:
        return self.listening.told

    def at_rest(self) -> bool:
        """Nothing is left of the leg: not in any core, not in the worker."""
        if ("released",) not in self.told:
            return False
        cores = [self.gateway.core, *(peer.core for peer in self.peers)]
        calls = self.gateway.plane.calls
        legs = calls["c-1"].legs if "c-1" in calls else {}
        return all(core.idle for core in cores) and len(self.gateway.calls.usages) == 0 and "target" not in legs

    def run_out(self) -> bool:
        return self.network.run(400.0, until=self.at_rest)


class StoryCase(SynchronousTestCase):
    def assert_ends(self, world: World, *told: tuple[object, ...]) -> None:
        """Nothing is left in the end, and this is what the leg has told, ringing apart."""
        self.assertTrue(world.run_out(), [world.gateway.core.counts, *(peer.core.counts for peer in world.peers)])
        self.assertEqual([each for each in world.told if each[0] != "ringing"], [*told, ("released",)])
        for peer in world.peers:
            ended = [event.usage for event in peer.events if isinstance(event, Ended)]
            self.assertEqual(len(ended), len(set(ended)))


class AnsweredTests(StoryCase):
    def test_it_rings_is_answered_and_hangs_up_with_a_reason(self) -> None:
        world = World(ring)
        world.dial()
        world.run(3.0)
        world.phone.pick_up()
        world.run(1.0)
        self.assertEqual(world.told, [("ringing", 180, False), ("answered",)])
        self.assertEqual([media.leg for media in world.gateway.plane.calls["c-1"].media], ["target"])
        world.phone.bye(("Reason", 'Q.850;cause=16;text="bye"'))
        self.assert_ends(world, ("answered",), ("ended", "target", "target_hangup", 'Q.850;cause=16;text="bye"'))
        self.assertEqual([brief(data) for data in world.phone.peer.heard], ["INVITE", "ACK", "200 BYE"])

    def test_early_media_and_then_the_answer(self) -> None:
        world = World(lambda callee: callee.ring(183, ANSWER))
        world.dial()
        world.run(1.0)
        self.assertEqual((world.told, len(world.gateway.plane.calls["c-1"].media)), ([("ringing", 183, True)], 1))
        world.phone.pick_up()
        world.run(1.0)
        world.leg.give_up()
        self.assert_ends(
            world,
            ("answered",),
            ("ended", "gateway", "given_up", 'Q.850;cause=16;text="given up"'),
        )
        self.assertEqual([brief(data) for data in world.phone.peer.heard], ["INVITE", "ACK", "BYE"])

    def test_a_hundred_calls_through_foul_weather(self) -> None:
        """30 % loss, duplicates and reordering: each is answered, or told as failed, once; nothing is left."""
        answered = 0
        for seed in range(100):
            world = World(weather=FOUL, seed=seed)
            world.dial()
            world.run(20.0)
            answered += ("answered",) in world.told
            world.leg.give_up()
            self.assertTrue(world.run_out(), seed)
            self.assertEqual(world.listening.outcomes[-1], "released", seed)
            self.assertIn(world.listening.outcomes[:-1], (["answered", "ended"], ["failed"]), seed)
        self.assertGreaterEqual(answered, 95)

    def test_of_two_forks_that_answer_one_wins_and_the_other_gets_ack_and_bye(self) -> None:
        """A proxy that forks, and lets both answers through (RFC 3261 13.2.2.4)."""
        world = World(ring)
        other = world.callee(OTHER, ring_and_answer)
        world.network.eats = self.forking(world)
        world.dial()
        world.run(2.0)
        world.phone.pick_up()
        world.run(2.0)
        self.assertEqual([each for each in world.told if each[0] != "ringing"], [("answered",)])
        self.assertEqual([brief(data) for data in world.phone.peer.heard], ["INVITE", "ACK", "BYE"])
        self.assertEqual([brief(data) for data in other.peer.heard], ["INVITE", "ACK"])
        other.bye()
        self.assert_ends(world, ("answered",), ("ended", "target", "target_hangup", ""))

    @staticmethod
    def forking(world: World) -> Callable[[bytes, tuple[str, int], tuple[str, int]], bool]:
        """What goes to the phone as an INVITE goes to the other one as well."""

        def copy(data: bytes, source: tuple[str, int], to: tuple[str, int]) -> bool:
            if data.startswith(b"INVITE") and to[0] == PHONE:
                world.network.carry(data, source, (OTHER, 5060))
            return False

        return copy


class CancelledTests(StoryCase):
    def test_given_up_while_it_rings(self) -> None:
        world = World(ring)
        world.dial()
        world.run(1.0)
        world.leg.give_up('Q.850;cause=16;text="caller hung up"')
        self.assert_ends(world, ("failed", 0, "given_up"))
        cancel = parse_message(world.phone.peer.heard[1], stream=False)
        self.assertEqual(
            (brief(world.phone.peer.heard[1]), cancel.headers.first("Reason")),
            ("CANCEL", 'Q.850;cause=16;text="caller hung up"'),
        )

    def test_nobody_answers(self) -> None:
        world = World(ring)
        world.dial(make_target(ring_timeout=5.0))
        world.run(5.1)
        self.assertEqual([brief(data) for data in world.phone.peer.heard][-2:], ["CANCEL", "ACK"])
        self.assert_ends(world, ("failed", 0, "no_answer"))

    def test_a_cancel_and_a_200_that_cross_leave_no_ghost(self) -> None:
        """Given up at 200 random moments around the answer, in weather that overtakes itself: ACK and BYE, always."""
        dice = Random(3261)
        met = {"answered": 0, "failed": 0}
        for seed in range(200):
            world = World(ring, Weather(delay=(0.005, 0.03), loss=0.1), seed)
            world.dial()
            world.clock.callLater(0.3 + dice.random() * 0.1, world.phone.pick_up)
            world.clock.callLater(0.3 + dice.random() * 0.1, world.leg.give_up)
            self.assertTrue(world.run_out(), seed)
            first = str(world.listening.outcomes[0])
            met[first] += 1
            expected = ["answered", "ended", "released"] if first == "answered" else ["failed", "released"]
            self.assertEqual(world.listening.outcomes, expected, seed)
            self.assert_no_ghost(world, seed)
        self.assertGreater(min(met.values()), 20, met)

    def assert_no_ghost(self, world: World, seed: int) -> None:
        """To each 200 an ACK and a BYE went out; and the phone's call has ended, once."""
        phone = world.phone.peer
        if "200 INVITE" in phone.ladder():
            self.assertLess({"ACK", "BYE"}, set(world.sent), seed)
        for usage in {event.usage for event in phone.events if isinstance(event, Ended)}:
            self.assertEqual(len(phone.endings(usage)), 1, seed)


class RefusedTests(StoryCase):
    def test_refusals_have_their_words(self) -> None:
        words = {486: "busy", 600: "busy", 603: "declined", 408: "no_answer", 480: "unreachable", 404: "not_found"}
        for status, word in words.items():
            world = World(refuse(status))
            world.dial()
            self.assert_ends(world, ("failed", status, word))

    def test_503_and_silence_lead_to_the_next_way_with_the_same_call_id_and_from_tag(self) -> None:
        """The first address says nothing, the second 503, the third answers."""
        world = World(refuse(503))
        third = world.callee(OTHER, ring_and_answer)
        silent = Spy(world.network, "198.51.100.9")
        world.gateway.reach.names["pbx.example"] = [("198.51.100.9", 5060), (PHONE, 5060), (OTHER, 5060)]
        world.dial()
        world.run(4.5)
        self.assertEqual(world.told, [("ringing", 180, False), ("answered",)])
        assert world.phone.invite is not None and third.invite is not None
        first = parse_message(silent.heard[0], stream=False)
        tries = [first, world.phone.invite, third.invite]
        self.assertEqual([each.cseq.number for each in tries], [1, 2, 3])
        self.assertEqual(len({(each.call_id, each.from_.tag) for each in tries}), 1)
        third.bye()
        self.assert_ends(world, ("answered",), ("ended", "target", "target_hangup", ""))

    def test_a_way_that_failed_is_tried_last_by_the_next_call(self) -> None:
        world = World(refuse(503))
        other = world.callee(OTHER, ring_and_answer)
        world.gateway.reach.names["pbx.example"] = [(PHONE, 5060), (OTHER, 5060)]
        for calls in (1, 2):
            world.dial()
            world.run(1.0)
            self.assertEqual((world.phone.calls, other.calls), (1, calls))
            world.leg.give_up()
            world.run(40.0)

    def test_a_late_200_of_a_way_that_was_left_gets_ack_and_bye(self) -> None:
        """It took the INVITE, said nothing for 4 s, and then answered: nobody is left in a call with nobody."""
        world = World(lambda callee: None)
        other = world.callee(OTHER, ring_and_answer)
        world.gateway.reach.names["pbx.example"] = [(PHONE, 5060), (OTHER, 5060)]
        world.network.eats = lambda data, source, to: data.startswith(b"SIP/2.0 100") and source[0] == PHONE
        world.dial()
        world.run(5.0)
        self.assertEqual(world.told[-1], ("answered",))
        world.phone.pick_up()
        world.run(1.0)
        self.assertEqual([brief(data) for data in world.phone.peer.heard][-2:], ["ACK", "BYE"])
        other.bye()
        self.assert_ends(world, ("answered",), ("ended", "target", "target_hangup", ""))

    def test_a_target_without_srtp_is_asked_again_without(self) -> None:
        def plain_only(callee: Callee) -> None:
            assert callee.invite is not None
            if b"crypto" in callee.invite.body:
                callee.refuse(488)
            else:
                ring_and_answer(callee)

        world = World(plain_only)
        world.dial(make_target(srtp=SrtpTerms(mode="opportunistic", offer="savp")))
        world.run(1.0)
        self.assertEqual((world.phone.calls, world.told[-1]), (3, ("answered",)))
        world.phone.bye()
        self.assert_ends(world, ("answered",), ("ended", "target", "target_hangup", ""))

    def test_a_redirection_is_followed_once(self) -> None:
        world = World(refuse(302, ("Contact", f"<sip:2@{OTHER}>")))
        other = world.callee(OTHER, refuse(302, ("Contact", "<sip:3@198.51.100.7>")))
        world.dial(make_target(redirects=True))
        self.assert_ends(world, ("failed", 302, "redirected"))
        self.assertEqual((world.phone.calls, other.calls), (1, 1))


class ChallengedTests(StoryCase):
    """INVITE, re-INVITE and BYE are challenged by a target that wants to know us each time."""

    def challenge(self, world: World, status: int) -> list[str]:
        """Have the phone challenge every request that it can; return the methods that came with an answer."""
        methods: list[str] = []
        name, answer = (
            ("WWW-Authenticate", "Authorization") if status == 401 else ("Proxy-Authenticate", "Proxy-Authorization")
        )
        value = 'Digest realm="pbx.example", nonce="n1", algorithm=MD5, qop="auth"'
        receive = world.phone.peer.core.receive

        def guarded(data: bytes, flow: object, now: float) -> None:
            message = parse_message(data, stream=False)
            if isinstance(message, Request) and message.method in ("INVITE", "BYE"):
                if answer not in message.headers:
                    world.phone.peer.core.respond(message, flow, status, "", [(name, value)])  # type: ignore[arg-type]
                    return
                methods.append(message.method)
            receive(data, flow, now)  # type: ignore[arg-type]

        world.phone.peer.core.receive = guarded  # type: ignore[method-assign]
        return methods

    def test_each_request_is_answered_for(self) -> None:
        for status in (401, 407):
            world = World()
            methods = self.challenge(world, status)
            credentials = ClientCredentials(username="gw", password="secret", realm="pbx.example", host="pbx.example")
            world.dial(make_target(credentials=credentials))
            world.run(2.0)
            self.assertEqual(world.told[-1], ("answered",))
            held = world.leg.hold()
            world.run(2.0)
            self.assertTrue(self.successResultOf(held))
            world.leg.give_up()
            self.assertTrue(world.run_out())
            self.assertEqual(methods, ["INVITE", "INVITE", "BYE"])

    def test_nobody_else_is_shown_our_credentials(self) -> None:
        world = World()
        methods = self.challenge(world, 401)
        world.dial(make_target(credentials=ClientCredentials(username="gw", password="x", host="carrier.example")))
        self.assert_ends(world, ("failed", 401, "rejected"))
        self.assertEqual(methods, [])


class MidCallTests(StoryCase):
    def talking(self, weather: Weather = FAIR, seed: int = 0) -> World:
        world = World(ring_and_answer, weather, seed)
        world.dial()
        world.run(2.0)
        self.assertEqual(world.told[-1], ("answered",))
        world.told.clear()
        return world

    def finish(self, world: World) -> None:
        world.told.clear()
        world.phone.bye()
        self.assert_ends(world, ("ended", "target", "target_hangup", ""))

    def test_hold_and_resume_by_the_target_in_each_style(self) -> None:
        world = self.talking()
        sendonly = ANSWER + b"a=sendonly\r\n"
        inactive = ANSWER + b"a=inactive\r\n"
        nowhere = ANSWER.replace(b"c=IN IP4 198.51.100.2", b"c=IN IP4 0.0.0.0")
        for held in (sendonly, inactive, nowhere):
            for body in (held, ANSWER):
                world.phone.reinvite(body)
                world.run(1.0)
        styles = [("direction", each) for each in ("recvonly", "sendrecv", "inactive", "sendrecv", "recvonly")]
        self.assertEqual(world.told, [*styles, ("direction", "sendrecv")])
        self.finish(world)

    def test_hold_and_resume_by_update(self) -> None:
        """RFC 3311: the 200 carries our answer, and no ACK follows."""
        world = self.talking()
        for body in (ANSWER + b"a=sendonly\r\n", ANSWER):
            peer = world.phone.peer
            peer.core.request_in(world.phone.usage, "UPDATE", peer.now, body=body, content_type="application/sdp")
            peer.turn()
            world.run(0.5)
            answer = parse_message(peer.heard[-1], stream=False)
            self.assertEqual((brief(peer.heard[-1]), answer.content_type), ("200 UPDATE", "application/sdp"))
        self.assertEqual(world.told, [("direction", "recvonly"), ("direction", "sendrecv")])
        self.finish(world)

    def test_an_offerless_reinvite_of_the_target(self) -> None:
        world = self.talking()
        world.phone.reinvite(b"")
        world.run(0.5)
        offer = parse_message(world.phone.peer.heard[-1], stream=False)
        self.assertIn(b"m=audio", offer.body)
        world.phone.peer.core.ack(world.phone.usage, ANSWER.replace(b"50000", b"50100"), world.clock.seconds())
        world.phone.peer.turn()
        world.run(0.5)
        self.assertEqual(world.gateway.plane.calls["c-1"].media[-1].remote, (PHONE, 50100))
        self.finish(world)

    def test_reinvites_of_both_sides_at_once_go_through_in_the_end(self) -> None:
        """100 times, at random offsets, through loss and reordering (491 and the delays of RFC 3261 14.1)."""
        dice = Random(14)
        for seed in range(100):
            world = self.talking(Weather(delay=(0.005, 0.03), loss=0.1), seed)
            held = world.leg.hold("sendonly")
            world.clock.callLater(dice.random() * 0.05, world.phone.reinvite, ANSWER)
            world.run(15.0)
            self.assertEqual(self.successResultOf(held), True, seed)
            self.finish(world)

    def test_the_target_hangs_up_while_our_offer_is_out(self) -> None:
        world = self.talking()
        held = world.leg.hold()
        world.phone.bye()
        self.assert_ends(world, ("ended", "target", "target_hangup", ""))
        self.assertFalse(self.successResultOf(held))

    def test_the_target_is_gone_without_a_word(self) -> None:
        world = self.talking()
        world.network.eats = lambda data, source, to: True
        lost = messages.MediaLost(generation=1, call="c-1", leg="target", seconds=30.0, ever=True)
        world.leg.heard(lost)
        world.run(40.0)
        world.network.eats = lambda data, source, to: False
        self.assertEqual(world.told, [("ended", "gateway", "dialog_lost", ""), ("released",)])
        world.phone.bye()
        self.assertTrue(world.run_out())


class WorkerTests(StoryCase):
    def test_a_worker_that_dies_during_dialing_leaves_nobody_ringing(self) -> None:
        for moment in (0.0005, 0.004, 0.008, 0.5):
            world = World(ring)
            leg = world.make()

            def heard(event: MediaEvent | WorkerLost, leg: TargetLeg = leg) -> None:
                if isinstance(event, WorkerLost):
                    leg.give_up(cause="worker_lost")

            world.gateway.plane.listener = heard
            leg.dial()
            world.clock.callLater(moment, world.gateway.plane.lose)
            self.assert_ends(world, ("failed", 0, "worker_lost"))
