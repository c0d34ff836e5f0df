"""Transfers by a call of ours, whole: the target is dialled while the agent talks, bridged, and hung up with."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.sip.events import Event, RequestReceived
from stellar_gw.sip.message import Request
from stellar_gw.sip.parser import parse_message
from stellar_gw.testing.network import Weather
from stellar_gw.testing.sip_peer import ANSWER, OFFER, SipPeer
from tests.story.transfer_world import Script, TransferWorld, picks_up, refuses, rings

RESULTS = ("transferred", "bridged", "accepted_unconfirmed", "cancelled", "failed", "unknown")
LOSSY = Weather(loss=0.15, duplication=0.1, delay=(0.001, 0.06))


def answers_and_hangs_up(after: float) -> Script:
    """It answers, and hangs up so long after our ACK could be there."""
    answering = picks_up(0.5)

    def script(peer: SipPeer, event: Event) -> None:
        answering(peer, event)
        if isinstance(event, RequestReceived):
            usage = next(iter(peer.core._usages._known))
            peer.network.clock.callLater(0.5 + after, peer.bye, usage)

    return script


class BridgeTests(SynchronousTestCase):
    def test_bridged(self) -> None:
        """The target is called with who calls, the agent is told and leaves, and the target's BYE ends it all."""
        world = TransferWorld(house=answers_and_hangs_up(5.0))
        world.call()
        world.ask("ours", **{"header:X-Case": "4711"})
        self.assertTrue(world.run_out())
        invite = world.house.heard[0].decode()
        self.assertIn("X-Case: 4711\r\n", invite)
        self.assertIn("Max-Forwards: 69\r\n", invite)
        self.assertRegex(invite, r"m=audio \d+ RTP/AVP 9 ")
        self.assertEqual(world.heard(world.house), ["INVITE", "ACK", "200 BYE"])
        self.assertEqual(world.heard()[-1], "BYE")
        record = world.record
        self.assertEqual(world.transfers(), [("bridged", None)])
        self.assertEqual((record.cause, record.ended_by), ("target_hangup", "target"))
        self.assertEqual([leg["leg"] for leg in record.legs], ["caller", "target"])
        self.assertApproximates(record.transfers[0]["bridged_seconds"], 5.0, 0.1)
        self.assertNotIn("REFER", world.heard())

    def test_the_agent_is_there_until_the_bridge_is_old(self) -> None:
        world = TransferWorld(house=picks_up(1.0))
        world.call()
        world.ask("ours")
        world.run(2.0)
        call = world.plane_call
        early = call.agent_stopped
        world.run(2.0)
        self.assertEqual((early, call.agent_stopped.cause), (None, "transferred"))
        self.assertEqual([(each.state, each.final) for each in call.outcomes],
                         [("ringing", False), ("answered", False), ("done", True)])  # fmt: skip
        self.assertEqual(call.outcomes[-1].detail["result"], "bridged")
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())
        self.assertEqual(world.heard(world.house)[-1], "BYE")

    def test_the_target_drops_at_once(self) -> None:
        """The caller is the agent's again, at once, and may be transferred again."""
        world = TransferWorld(house=answers_and_hangs_up(0.4))
        world.call()
        world.ask("ours", "t1")
        world.run(3.0)
        call = world.plane_call
        self.assertEqual(call.bound[-1].bindings[0].source, "agent")
        self.assertEqual(call.outcomes[-1].detail["code"], "dropped")
        self.assertIsNone(call.agent_stopped)
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())
        self.assertEqual((world.transfers(), world.record.cause), ([("failed", "dropped")], "caller_hangup"))

    def test_nobody_answers(self) -> None:
        """CANCEL when it has rung long enough; the agent never stopped."""
        world = TransferWorld(house=rings)
        world.call()
        world.ask("never")
        world.run(12.0)
        self.assertEqual(world.plane_call.outcomes[-1].detail["code"], "no_answer")
        self.assertEqual((world.plane_call.agent_stopped, world.plane_call.bound), (None, []))
        self.assertIn("CANCEL", world.heard(world.house))
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())

    def test_refusals_have_reasons(self) -> None:
        """Each status of the target's is a word for the agent."""
        words = {486: "busy", 600: "busy", 603: "declined", 404: "not_found", 480: "unreachable", 500: "unreachable",
                 403: "rejected", 488: "not_acceptable", 302: "redirected", 407: "rejected"}  # fmt: skip
        for status, code in words.items():
            world = TransferWorld(house=refuses(status))
            world.call()
            world.ask("ours")
            world.run(40.0)
            [final] = [each for each in world.plane_call.outcomes if each.final]
            self.assertEqual((final.state, final.detail["code"]), ("failed", code), status)
            world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())

    def test_falls_back(self) -> None:
        """REFER refused, silent, or failed: a call of ours, and one outcome with the whole history."""
        ways = [
            {"refer": 603},
            {"refer": 405},
            {"notifies": ()},
            {"notifies": ((0.2, "180 Ringing", "active"), (0.4, "503 Service Unavailable", "terminated"))},
        ]
        for way in ways:
            world = TransferWorld(house=picks_up(0.5), **way)  # type: ignore[arg-type]  # passed on as they come
            world.call()
            world.ask("house")
            world.run(35.0)
            finals = [each for each in world.plane_call.outcomes if each.final]
            self.assertEqual([(each.state, each.detail["method"]) for each in finals], [("done", "invite")], way)
            world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())
            [transfer] = [each for each in world.record.transfers if each["method"]]  # those that were tried
            self.assertEqual([each["method"] for each in transfer["attempts"]], ["refer", "invite"])

    def test_the_agent_leaves_while_it_rings(self) -> None:
        """Its link ends, as Twilio's does: the caller hears ringing, and is bridged all the same."""
        for event in (messages.AgentHangup, messages.AgentFailed):
            world = TransferWorld(house=picks_up(2.0))
            world.call()
            world.ask("ours")
            world.run(0.5)
            more = {"code": "lost", "message": "gone", "established": True} if event is messages.AgentFailed else {}
            world.gateway.plane.say(event(generation=1, call=world.call_id, **more))  # type: ignore[arg-type]
            world.run(5.0)
            self.assertEqual(world.plane_call.bound[0].bindings[0].source, "tone")
            world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())
            self.assertEqual((world.transfers(), world.record.cause), ([("bridged", None)], "caller_hangup"))

    def test_no_agent_and_no_target(self) -> None:
        """Then there is nobody left to talk to, and the caller is told so by a BYE."""
        world = TransferWorld(house=refuses(486))
        world.call()
        world.gateway.plane.latency = 0.3
        world.ask("ours")
        world.gateway.plane.say(messages.AgentHangup(generation=1, call=world.call_id))
        self.assertTrue(world.run_out())
        self.assertEqual((world.transfers(), world.record.cause), ([("failed", "busy")], "transfer_failed"))

    def test_hold_by_either_side(self) -> None:
        """Hold and resume cross the bridge as our own offers; each side's own is answered at once."""
        world = TransferWorld(house=picks_up(0.2))
        world.call()
        world.ask("ours")
        world.run(4.0)
        hold = OFFER + b"a=sendonly\r\n"
        world.pbx.core.reinvite(world.usage, hold.replace(b"o=- 1 1", b"o=- 1 2"), world.pbx.now)
        world.pbx.turn()
        world.run(1.0)
        self.assertEqual(world.heard(world.house)[-2:], ["INVITE", "ACK"])
        self.assertIn(b"a=sendonly", world.house.heard[-2])
        world.pbx.core.reinvite(world.usage, OFFER.replace(b"o=- 1 1", b"o=- 1 3"), world.pbx.now)
        world.pbx.turn()
        world.run(1.0)
        self.assertNotIn(b"a=sendonly", world.house.heard[-2])
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())


class RaceTests(SynchronousTestCase):
    """At 200 moments each: no ghost leg, no stranded caller, exactly one outcome."""

    def races(
        self, to: str, house: Script, window: float, happen: Callable[[TransferWorld], None], **more: object
    ) -> None:
        random = Random(to + str(window))
        for number in range(200):
            world = TransferWorld(house=house, seed=number, **more)  # type: ignore[arg-type]
            world.call()
            world.network.weather = LOSSY
            world.ask(to)
            world.clock.callLater(random.uniform(0.0, window), happen, world)
            world.clock.callLater(45.0, lambda w=world: w.pbx.endings(w.usage) or w.pbx.bye(w.usage))
            self.assertTrue(world.run_out(600.0), number)
            [transfer] = [each for each in world.record.transfers if each["method"]]  # those that were tried
            self.assertIn(transfer["result"], RESULTS)
            self.assertEqual(world.gateway.core.counts["usages"], 0)

    def test_caller_hangs_up_against_the_targets_200(self) -> None:
        self.races("ours", picks_up(0.3), 0.8, lambda world: world.pbx.bye(world.usage))

    def test_ring_limit_against_the_targets_200(self) -> None:
        """Our CANCEL and its 200 cross: it gets ACK and BYE, or the call."""
        answering = picks_up(10.0)
        self.races("never", answering, 0.1, lambda world: None)

    def test_two_requests(self) -> None:
        self.races("ours", picks_up(0.3), 0.8, lambda world: world.ask("ours", "t2"))

    def test_reinvite_of_the_caller(self) -> None:
        """Hold at any moment of a transfer; the call and the transfer go on."""

        def hold(world: TransferWorld) -> None:
            offer = OFFER.replace(b"o=- 1 1", b"o=- 1 2") + b"a=sendonly\r\n"
            world.pbx.core.reinvite(world.usage, offer, world.pbx.now)
            world.pbx.turn()

        self.races("ours", picks_up(0.3), 3.0, hold)

    def test_agent_death(self) -> None:
        def die(world: TransferWorld) -> None:
            if world.plane_call is not None and world.plane_call.agent_stopped is None:
                world.gateway.plane.say(
                    messages.AgentFailed(
                        generation=1, call=world.call_id, code="lost", message="gone", established=True
                    )
                )

        self.races("house", picks_up(0.3), 3.0, die, refer=603)

    def test_notify_against_bye_and_refer_against_invite(self) -> None:
        """A REFER that is refused late, and a caller who hangs up meanwhile."""
        self.races("house", picks_up(0.3), 2.0, lambda world: world.pbx.bye(world.usage), refer=603)


class ForkTests(SynchronousTestCase):
    """The target's proxy has forked our INVITE, and more than one answers (RFC 3261 13.2.2.4)."""

    def ringing(self, seed: int = 0) -> TransferWorld:
        world = TransferWorld(house=rings, seed=seed)
        world.call()
        world.ask("ours")
        world.run(0.5)
        return world

    def answers(self, world: TransferWorld, tag: str) -> None:
        """A 200 with a To tag of its own."""
        request = parse_message(world.house.heard[0], stream=False)
        assert isinstance(request, Request)
        lines = [b"SIP/2.0 200 OK"]
        for name in ("Via", "From", "Call-ID", "CSeq"):
            lines += [f"{name}: {value}".encode() for value in request.headers.all(name)]
        lines += [f"To: {request.headers.first('To')};tag={tag}".encode(), b"Contact: <sip:200@198.51.100.20:5060>",
                  b"Content-Type: application/sdp", b"Content-Length: %d" % len(ANSWER), b"", ANSWER]  # fmt: skip
        world.house._socket.send(b"\r\n".join(lines), ("203.0.113.10", 5060))

    def got(self, world: TransferWorld, method: str) -> set[str]:
        """Those who answered, by their To tags, in whose dialog a method came."""
        heard = (parse_message(data, stream=False) for data in world.house.heard)
        tags = (each.to.tag for each in heard if isinstance(each, Request) and each.method == method)
        return {tag for tag in tags if tag in ("one", "two")}

    def test_two_answer(self) -> None:
        """One wins; the other gets ACK and BYE, and the call goes on."""
        world = self.ringing()
        for tag in ("one", "two"):
            self.answers(world, tag)
        world.run(1.0)
        self.assertEqual((self.got(world, "ACK"), self.got(world, "BYE")), ({"one", "two"}, {"two"}))
        world.pbx.bye(world.usage)
        world.run(2.0)
        self.assertEqual(self.got(world, "BYE"), {"one", "two"})

    def test_at_any_moment(self) -> None:
        """200 times: two 200s, so far apart and in such an order, and a caller who may hang up meanwhile."""
        random = Random(13)
        for number in range(200):
            world = self.ringing(number)
            for tag in ("one", "two"):
                world.clock.callLater(random.uniform(0.0, 3.0), self.answers, world, tag)
            world.clock.callLater(random.uniform(0.0, 6.0), world.pbx.bye, world.usage)
            self.assertTrue(world.run(400.0, world.rests), number)
            # Who answered before our CANCEL was, or was not, there in time: each dialog was acknowledged and ended.
            self.assertEqual(self.got(world, "BYE"), self.got(world, "ACK"), number)
            [transfer] = [each for each in world.record.transfers if each["method"]]  # those that were tried
            self.assertIn(transfer["result"], ("bridged", "cancelled"))
            self.assertEqual(world.gateway.core.counts["usages"], 0)
