"""What can cross at the edges of a transfer, each at 200 moments: one outcome, no ghost leg, nobody left behind."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.events import Event, RequestReceived
from stellar_gw.testing.sip_peer import ANSWER, SipPeer
from tests.story.transfer_world import ACTIVE, OVER, Script, TransferWorld

MOMENTS = 200


def answers_and_drops(after: float) -> Script:
    """It answers at once, and hangs up so much later."""

    def script(peer: SipPeer, event: Event) -> None:
        if isinstance(event, RequestReceived):
            usage = peer.core.accept(event.request, event.flow, peer.now)
            if usage is not None:
                peer.core.answer(usage, ANSWER, peer.now)
                peer.network.clock.callLater(after, peer.bye, usage)

    return script


class MomentTests(SynchronousTestCase):
    def play(self, span: float, make: Callable[[float], TransferWorld], to: str) -> list[TransferWorld]:
        """A call, the ask, and what ``make`` has arranged for some moment within ``span`` seconds."""
        worlds, dice = [], Random(to + str(span))
        for number in range(MOMENTS):
            world = make(dice.random() * span)
            world.ask(to)
            world.clock.callLater(20.0, self.hang_up, world)
            self.assertTrue(world.run_out(), number)
            self.assertEqual(len(world.pbx.endings(world.usage)), 1, number)
            [transfer] = world.transfers()
            self.assertNotEqual(transfer[0], "", number)
            worlds.append(world)
        return worlds

    def hang_up(self, world: TransferWorld) -> None:
        if not world.pbx.endings(world.usage):
            world.pbx.bye(world.usage)

    def test_the_last_notify_against_bye(self) -> None:
        """Whichever comes first says what is known; the other one is answered, and changes nothing."""

        def make(moment: float) -> TransferWorld:
            world = TransferWorld(notifies=((0.0, "100 Trying", ACTIVE), (0.1, "200 OK", OVER)), seed=int(moment * 1e6))
            world.call()
            world.clock.callLater(moment, lambda: world.pbx.bye(world.usage))
            return world

        worlds = self.play(0.25, make, "only")
        results = {result for world in worlds for result, _ in world.transfers()}
        self.assertEqual(results - {"cancelled"}, {"transferred", "accepted_unconfirmed"})
        self.assertEqual([world.house.heard for world in worlds if world.house.heard], [])

    def test_a_failing_notify_against_bye(self) -> None:
        def make(moment: float) -> TransferWorld:
            world = TransferWorld(notifies=((0.1, "486 Busy Here", OVER),), seed=int(moment * 1e6))
            world.call()
            world.clock.callLater(moment, lambda: world.pbx.bye(world.usage))
            return world

        results = {result for world in self.play(0.3, make, "only") for result, _ in world.transfers()}
        self.assertEqual(results - {"cancelled"}, {"failed", "accepted_unconfirmed"})

    def test_a_target_that_drops_as_the_bridge_grows_old(self) -> None:
        """Before it is two seconds old the agent has the caller back; after that the call ends."""

        def make(moment: float) -> TransferWorld:
            world = TransferWorld(house=answers_and_drops(1.9 + moment), seed=int(moment * 1e6))
            world.call()
            return world

        ended = {(world.transfers()[0], world.record.cause) for world in self.play(0.2, make, "ours")}
        self.assertEqual(ended, {(("failed", "dropped"), "caller_hangup"), (("bridged", None), "target_hangup")})

    def test_a_worker_that_dies(self) -> None:
        """The call ends by it, whatever the transfer was at."""

        def make(moment: float) -> TransferWorld:
            world = TransferWorld(house=answers_and_drops(60.0), seed=int(moment * 1e6))
            world.call()
            world.clock.callLater(moment, world.gateway.plane.lose)
            return world

        worlds = self.play(2.5, make, "ours")
        self.assertEqual({world.record.cause for world in worlds}, {"worker_lost"})
