"""Two SIP cores joined in memory: whole calls in fair and in foul weather, and every race there is a name for."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.events import (
    Answered,
    Cancelled,
    Confirmed,
    Ended,
    Event,
    ReinviteRefused,
    Reoffered,
    RequestReceived,
    UsageId,
)
from stellar_gw.testing.network import FOUL, Network, Weather
from stellar_gw.testing.sip_peer import ANSWER, OFFER, SipPeer, answers

CALLER, CALLEE = "192.0.2.1", "198.51.100.2"
LONG = 200.0  # seconds; more than every timer together


def kinds(peer: SipPeer) -> list[str]:
    return [type(event).__name__ for event in peer.events]


class Story(SynchronousTestCase):
    """A caller and a callee in one network."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, seed=1)
        self.caller = SipPeer(self.network, CALLER)
        self.callee = SipPeer(self.network, CALLEE, script=answers)

    def assert_over(self, *peers: SipPeer) -> None:
        """In the end nothing is left anywhere, and every usage has ended once."""
        self.network.weather = Weather()
        self.network.run(LONG)
        for peer in peers or (self.caller, self.callee):
            self.assertTrue(peer.core.idle, f"{peer.host}: {peer.core.counts}")
            ended = [event.usage for event in peer.events if isinstance(event, Ended)]
            self.assertEqual(len(ended), len(set(ended)))


class CallTests(Story):
    def test_call_and_hang_up(self) -> None:
        """A call over UDP costs seven messages more than none, and both sides are told of each step."""
        usage = self.caller.call(self.callee)
        self.network.run(1.0)
        self.caller.bye(usage)
        self.network.run(1.0)
        self.assertEqual(
            (self.caller.ladder(), self.callee.ladder(), kinds(self.caller), kinds(self.callee)),
            (
                ["INVITE", "ACK", "BYE"],
                ["100 INVITE", "180 INVITE", "200 INVITE", "200 BYE"],
                ["Trying", "Provisional", "Answered", "Ended"],
                ["RequestReceived", "Confirmed", "Ended"],
            ),
        )
        self.assert_over()

    def test_callee_hangs_up(self) -> None:
        usage = self.caller.call(self.callee)
        self.network.run(1.0)
        [confirmed] = [event for event in self.callee.events if isinstance(event, Confirmed)]
        self.callee.bye(confirmed.usage)
        self.network.run(1.0)
        self.assertEqual(
            (self.caller.endings(usage), self.callee.endings(confirmed.usage)),
            ([("bye", "remote")], [("bye", "local")]),
        )
        self.assert_over()

    def test_call_over_tcp(self) -> None:
        """Over a connection nothing is sent twice, and everything uses the one that is there."""
        caller = SipPeer(self.network, "192.0.2.3", transport="tcp")
        callee = SipPeer(self.network, "198.51.100.4", transport="tcp", script=answers)
        usage = caller.call(callee)
        self.network.run(1.0)
        [confirmed] = [event for event in callee.events if isinstance(event, Confirmed)]
        callee.bye(confirmed.usage)
        self.network.run(1.0)
        self.assertEqual(
            (caller.ladder(), callee.ladder(), caller.endings(usage)),
            (["INVITE", "ACK", "200 BYE"], ["100 INVITE", "180 INVITE", "200 INVITE", "BYE"], [("bye", "remote")]),
        )
        self.assert_over(caller, callee)

    def test_lost_connection_does_not_end_a_call(self) -> None:
        """The connection breaks in mid-call; BYE goes out on a new one."""
        caller = SipPeer(self.network, "192.0.2.3", transport="tcp")
        callee = SipPeer(self.network, "198.51.100.4", transport="tcp", script=answers)
        flow = caller.flow_to((callee.host, callee.port))
        usage = caller.call(callee, flow=flow)
        self.network.run(1.0)
        caller.cut(flow)
        self.network.run(10.0)
        self.assertEqual((caller.told(Ended), callee.told(Ended)), ([], []))
        caller.bye(usage)
        self.network.run(1.0)
        self.assertEqual([event.cause for event in callee.events if isinstance(event, Ended)], ["bye"])
        self.assert_over(caller, callee)

    def test_both_hang_up_at_once(self) -> None:
        """BYEs that cross are both answered with 200."""
        usage = self.caller.call(self.callee)
        self.network.run(1.0)
        [confirmed] = [event for event in self.callee.events if isinstance(event, Confirmed)]
        self.caller.bye(usage)
        self.callee.bye(confirmed.usage)
        self.network.run(1.0)
        self.assertEqual(
            (self.caller.ladder()[-2:], self.callee.ladder()[-2:]), (["BYE", "200 BYE"], ["BYE", "200 BYE"])
        )
        self.assert_over()

    def test_ghost_call_is_ended(self) -> None:
        """A callee whose 200 is never acknowledged repeats it for 64*T1, then says BYE and ack_timeout."""
        self.network.eats = lambda data, source, to: data.startswith(b"ACK")
        self.caller.call(self.callee)
        self.network.run(31.9)
        self.assertEqual(self.callee.told(Ended), [])
        self.network.run(1.0)
        self.assertEqual(
            [(event.cause, event.by) for event in self.callee.events if isinstance(event, Ended)],
            [("ack_timeout", "local")],
        )
        self.assertEqual([event.cause for event in self.caller.events if isinstance(event, Ended)], ["bye"])
        self.assertEqual(self.callee.ladder().count("200 INVITE"), 11)
        self.assert_over()

    def test_lost_ack_is_sent_again(self) -> None:
        """Each 200 that comes again is acknowledged again, with the very same octets."""
        eaten: list[bytes] = []

        def eat(data: bytes, source: tuple[str, int], to: tuple[str, int]) -> bool:
            if data.startswith(b"ACK") and len(eaten) < 2:
                eaten.append(data)
                return True
            return False

        self.network.eats = eat
        usage = self.caller.call(self.callee)
        self.network.run(5.0)
        acks = [data for data in self.caller.said if data.startswith(b"ACK")]
        self.assertEqual((len(acks), len(set(acks)), len(self.callee.told(Confirmed))), (3, 1, 1))
        self.caller.bye(usage)
        self.assert_over()

    def test_bye_overtakes_the_ack(self) -> None:
        """A BYE before the ACK ends the call, and the 200 is not sent again."""
        self.network.eats = lambda data, source, to: data.startswith(b"ACK")
        usage = self.caller.call(self.callee)
        self.network.run(0.2)
        self.caller.bye(usage)
        self.network.run(40.0)
        self.assertEqual(
            (self.callee.ladder().count("200 INVITE"), kinds(self.callee)), (1, ["RequestReceived", "Ended"])
        )
        self.assert_over()

    def test_callee_hangs_up_before_the_ack(self) -> None:
        """Told to end it before the ACK is there, the callee says so at once, and sends BYE after the ACK."""
        usages: list[UsageId] = []

        def hasty(peer: SipPeer, event: Event) -> None:
            if isinstance(event, RequestReceived):
                usage = peer.core.accept(event.request, event.flow, peer.now)
                assert usage is not None
                peer.core.answer(usage, ANSWER, peer.now)
                peer.core.bye(usage, peer.now)
                usages.append(usage)

        self.callee.script = hasty
        self.caller.call(self.callee)
        self.network.run(0.001)
        self.network.run(0.0051)
        self.assertEqual((self.callee.endings(usages[0]), "BYE" in self.callee.ladder()), ([("bye", "local")], False))
        self.network.run(0.1)
        self.assertEqual(self.callee.ladder(), ["100 INVITE", "200 INVITE", "BYE"])
        self.assert_over()


class WeatherTests(Story):
    def test_calls_in_foul_weather(self) -> None:
        """With 30 % loss, 10 % duplication and reordering 99 % of calls are set up and torn down, none twice."""
        self.network.weather = FOUL
        calls, dice = 500, Random(5)
        usages: list[UsageId] = []
        for _ in range(calls):
            usages.append(self.caller.call(self.callee))
            self.network.run(dice.uniform(0.05, 0.2))
        self.network.run(40.0)
        answered = {event.usage for event in self.caller.events if isinstance(event, Answered)}
        for index, usage in enumerate(usages):
            if index % 2 or usage not in answered:
                self.caller.bye(usage)
        for event in list(self.callee.events):
            if isinstance(event, Confirmed):
                self.callee.bye(event.usage)
        self.network.run(80.0)
        received = self.callee.told(RequestReceived)
        confirmed = self.callee.told(Confirmed)
        self.assertGreaterEqual(len(answered), 0.99 * calls)
        self.assertGreaterEqual(len(confirmed), 0.99 * calls)
        self.assertLessEqual(len(received), calls)
        self.assertEqual(len(self.caller.told(Answered)), len(answered))
        self.assertEqual(len(self.caller.told(Ended)), calls)
        self.assertEqual(len(self.callee.told(Ended)), len(received))
        self.assertGreater(self.network.lost, calls)
        self.assert_over()

    def test_silence(self) -> None:
        """Nobody there: the INVITE goes out seven times in 32 s, then the call has timed out."""
        self.network.eats = lambda data, source, to: True
        usage = self.caller.call(self.callee)
        self.network.run(40.0)
        self.assertEqual((self.caller.ladder(), self.caller.endings(usage)), (["INVITE"] * 7, [("timeout", "local")]))
        self.assert_over()


class CancelTests(Story):
    """The callee rings, and answers when it is told to."""

    def setUp(self) -> None:
        super().setUp()
        self.callee.script = self.rings
        self.ringing: list[UsageId] = []

    def rings(self, peer: SipPeer, event: Event) -> None:
        if isinstance(event, RequestReceived):
            usage = peer.core.accept(event.request, event.flow, peer.now)
            if usage is not None:
                self.ringing.append(usage)
                peer.core.ring(usage, peer.now)

    def test_cancel_while_ringing(self) -> None:
        usage = self.caller.call(self.callee)
        self.network.run(1.0)
        self.caller.cancel(usage)
        self.network.run(1.0)
        self.assertEqual(
            (self.caller.ladder(), self.callee.ladder(), kinds(self.callee), self.caller.endings(usage)),
            (
                ["INVITE", "CANCEL", "ACK"],
                ["100 INVITE", "180 INVITE", "200 CANCEL", "487 INVITE"],
                ["RequestReceived", "Cancelled", "Ended"],
                [("cancelled", "local")],
            ),
        )
        self.assert_over()

    def test_cancel_is_held_until_the_first_provisional(self) -> None:
        """CANCEL must not overtake its INVITE: it waits for a response (9.1), however long that takes."""
        self.network.eats = lambda data, source, to: data.startswith(b"INVITE") and self.clock.seconds() < 1.0
        usage = self.caller.call(self.callee)
        self.caller.cancel(usage)
        self.network.run(1.0)
        self.assertEqual((self.caller.ladder(), self.caller.endings(usage)), (["INVITE", "INVITE"], []))
        self.network.run(2.0)
        self.assertEqual(self.caller.ladder(), ["INVITE", "INVITE", "INVITE", "CANCEL", "ACK"])
        self.assertEqual(self.caller.endings(usage), [("cancelled", "local")])
        self.assert_over()

    def test_cancel_that_nobody_answers(self) -> None:
        """Ringing and then silence: 64*T1 after the CANCEL the INVITE is forgotten (9.1)."""
        usage = self.caller.call(self.callee)
        self.network.run(1.0)
        self.network.eats = lambda data, source, to: True
        self.caller.cancel(usage)
        self.network.run(31.9)
        self.assertEqual(self.caller.endings(usage), [])
        self.network.run(0.2)
        self.assertEqual(self.caller.endings(usage), [("cancelled", "local")])
        self.network.run(1.0)
        self.assertTrue(self.caller.core.idle)

    def test_cancel_races_the_answer(self) -> None:
        """CANCEL at 200 offsets around the 200: the call is cancelled, or acknowledged and ended; never a ghost."""
        outcomes = set()
        for offset in range(200):
            self.clock = Clock()
            self.network = Network(self.clock, seed=offset, weather=Weather(delay=(0.01, 0.03)))
            self.caller = SipPeer(self.network, CALLER, seed=offset)
            self.callee = SipPeer(self.network, CALLEE, script=self.rings, seed=offset)
            usage = self.caller.call(self.callee)
            self.network.run(0.5)
            self.clock.callLater(0.05, self.answer, self.ringing[-1])
            self.clock.callLater(offset / 2000, self.caller.cancel, usage)
            self.network.run(LONG)
            self.assertEqual(len(self.caller.endings(usage)), 1, f"offset {offset}")
            [(cause, _)] = self.callee.endings(self.ringing[-1])
            bye = "BYE" in self.caller.ladder()
            self.assertEqual("200 INVITE" in self.callee.ladder(), bye, f"offset {offset}: a ghost")
            outcomes.add((cause, bye, bool(self.callee.told(Cancelled))))
            self.assert_over()
        self.assertEqual(outcomes, {("cancelled", False, True), ("bye", True, False)})

    def answer(self, usage: UsageId) -> None:
        self.callee.core.answer(usage, ANSWER, self.callee.now)
        self.callee.turn()

    def test_cancel_in_foul_weather(self) -> None:
        """Cancelled calls end on both sides, even where most messages are lost."""
        self.network.weather = FOUL
        usages = []
        for _ in range(100):
            usages.append(self.caller.call(self.callee))
            self.network.run(0.3)
            self.caller.cancel(usages[-1])
        self.network.run(LONG)
        self.assertEqual([self.caller.endings(usage) for usage in usages], [[("cancelled", "local")]] * 100)
        self.assertEqual(
            [self.callee.endings(usage) for usage in self.ringing], [[("cancelled", "remote")]] * len(self.ringing)
        )
        self.assert_over()


class ReinviteTests(Story):
    def setUp(self) -> None:
        super().setUp()
        self.callee.script = self.caller.script = self.obliging
        self.usage = self.caller.call(self.callee)
        self.network.run(1.0)
        [confirmed] = [event for event in self.callee.events if isinstance(event, Confirmed)]
        self.theirs = confirmed.usage

    def obliging(self, peer: SipPeer, event: Event) -> None:
        answers(peer, event)
        if isinstance(event, Reoffered):
            peer.core.answer(event.usage, ANSWER, peer.now)
        elif isinstance(event, ReinviteRefused) and event.response is not None and event.response.status == 491:
            delay = peer.core.glare_delay(event.usage)
            self.clock.callLater(delay, self.offer, peer, event.usage)

    def offer(self, peer: SipPeer, usage: UsageId, body: bytes = OFFER) -> None:
        peer.core.reinvite(usage, body, peer.now)
        peer.turn()

    def reinvites(self, peer: SipPeer) -> int:
        return sum(1 for event in peer.events if isinstance(event, Answered) and event.reinvite)

    def test_reinvite_each_way(self) -> None:
        self.offer(self.caller, self.usage)
        self.network.run(1.0)
        self.offer(self.callee, self.theirs)
        self.network.run(1.0)
        self.assertEqual((self.reinvites(self.caller), self.reinvites(self.callee)), (1, 1))
        self.caller.bye(self.usage)
        self.assert_over()

    def test_reinvite_without_offer(self) -> None:
        """Empty re-INVITE: the offer comes in the 2xx, our answer goes in the ACK."""
        self.offer(self.caller, self.usage, b"")
        self.network.run(0.5)
        self.assertEqual(self.reinvites(self.caller), 1)
        self.assertEqual(self.caller.ladder().count("ACK"), 1)
        self.caller.core.ack(self.usage, OFFER, self.caller.now)
        self.caller.turn()
        self.network.run(1.0)
        self.assertEqual(
            [event.body for event in self.callee.events if isinstance(event, Confirmed) and event.reinvite], [OFFER]
        )
        self.caller.bye(self.usage)
        self.assert_over()

    def test_glare(self) -> None:
        """Both offer at once: both get 491, wait their time, and both get through within 10 s."""
        self.offer(self.caller, self.usage)
        self.offer(self.callee, self.theirs)
        done = self.network.run(10.0, until=lambda: self.reinvites(self.caller) + self.reinvites(self.callee) >= 2)
        self.assertTrue(done)
        self.assertEqual(
            [len([each for each in peer.ladder() if each == "491 INVITE"]) for peer in (self.caller, self.callee)],
            [1, 1],
        )
        self.caller.bye(self.usage)
        self.assert_over()

    def test_reinvites_in_foul_weather(self) -> None:
        """Twenty offers of either side in foul weather: each answered or refused, and the call goes on."""
        self.network.weather = FOUL
        for _ in range(20):
            self.offer(self.caller, self.usage)
            self.offer(self.callee, self.theirs)
            self.network.run(8.0)
        self.network.run(LONG)
        for peer in (self.caller, self.callee):
            self.assertEqual(peer.told(Ended), [])
            self.assertGreaterEqual(self.reinvites(peer), 5)
        self.network.weather = Weather()
        self.caller.bye(self.usage)
        self.assert_over()

    def test_hanging_up_with_a_reinvite_open(self) -> None:
        """BYE while a re-INVITE of ours is open: the late 200 is still acknowledged, nothing is left."""
        self.offer(self.caller, self.usage)
        self.caller.bye(self.usage)
        self.network.run(1.0)
        self.assertEqual(self.caller.ladder(), ["INVITE", "ACK", "INVITE", "BYE", "ACK"])
        self.assert_over()
