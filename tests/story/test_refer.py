"""Transfers by REFER, whole: from the agent's word to the record, over a network that may lose and reorder."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.network import Weather
from tests.story.transfer_world import ACTIVE, OVER, TransferWorld

LOSSY = Weather(loss=0.2, duplication=0.1, delay=(0.001, 0.08))


class ReferTests(SynchronousTestCase):
    def transferred(self, **world: object) -> TransferWorld:
        made = TransferWorld(**world)  # type: ignore[arg-type]  # passed on as they come
        made.call()
        made.ask("only", **{"header:X-Case": "4711"})
        self.assertTrue(made.run_out())
        return made

    def test_a_caller_is_transferred(self) -> None:
        """REFER, its NOTIFYs followed to the end, BYE; the record and the agent have the outcome."""
        world = self.transferred()
        self.assertEqual(world.heard()[-5:], ["REFER", "200 NOTIFY", "200 NOTIFY", "200 NOTIFY", "BYE"])
        [refer] = world.referred
        names = ("Refer-To", "Referred-By", "X-Case")
        self.assertEqual(
            [refer.headers.first(name) for name in names],
            ["<sip:200@198.51.100.20>", "<sip:+31201230000@sip.acme.example>", "4711"],
        )
        self.assertEqual((world.transfers(), world.record.cause), ([("transferred", None)], "transferred"))
        self.assertEqual(world.house.heard, [])

    def test_a_phone_system_that_hangs_up_first(self) -> None:
        """BYE before the final NOTIFY: accepted, unconfirmed; the NOTIFYs that come late are answered."""
        for after in (0.05, 0.3, 0.8):
            world = TransferWorld()
            world.call()
            world.ask("only")
            world.clock.callLater(0.01 + after, world.pbx.bye, world.usage)
            self.assertTrue(world.run_out())
            self.assertEqual(world.transfers(), [("accepted_unconfirmed", None)])
            self.assertEqual(world.record.cause, "caller_hangup")

    def test_no_subscription(self) -> None:
        """Refer-Sub: false: we hang up ourselves, after a moment."""
        world = self.transferred(refer=200, refer_headers=[("Refer-Sub", "false")], notifies=())
        self.assertEqual(world.transfers(), [("accepted_unconfirmed", None)])
        self.assertEqual(world.heard()[-2:], ["REFER", "BYE"])

    def test_refusals_keep_the_caller(self) -> None:
        """Without a fallback a refused caller talks on with the agent, and nobody else is called."""
        for status in (400, 401, 403, 405, 420, 429, 501, 603):
            world = TransferWorld(refer=status)
            world.call()
            world.ask("only")
            world.run(5)
            told = [(outcome.state, outcome.final) for outcome in world.plane_call.outcomes]
            self.assertEqual(told, [("failed", True)])
            world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())
            self.assertEqual((world.transfers(), world.record.cause), ([("failed", "refer_refused")], "caller_hangup"))
            self.assertEqual(world.heard().count("REFER"), 1)

    def test_never_a_word(self) -> None:
        """202 and silence: after 30 s the agent hears of it, and the caller is still there."""
        world = TransferWorld(notifies=())
        world.call()
        world.ask("only")
        world.run(31)
        self.assertEqual(
            [outcome.detail["code"] for outcome in world.plane_call.outcomes if outcome.final], ["no_notify"]
        )
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())

    def test_the_last_word_is_lost(self) -> None:
        """``terminated`` without a final status, or ringing for ever: unknown, and the agent has the caller."""
        for notifies in (((0.1, "100 Trying", OVER),), ((0.1, "180 Ringing", ACTIVE),)):
            world = TransferWorld(notifies=notifies)
            world.call()
            world.ask("only")
            world.run(70)
            finals = [outcome for outcome in world.plane_call.outcomes if outcome.final]
            self.assertEqual([(each.state, each.detail["code"]) for each in finals], [("failed", "unknown")])
            self.assertIn("SUBSCRIBE", world.heard())
            world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())

    def test_one_at_a_time_and_three_in_all(self) -> None:
        """A second request while one is under way is refused, and so is a fourth."""
        world = TransferWorld(refer=603)
        world.call()
        world.refer = 202
        world.notifies = ((20.0, "503 Service Unavailable", OVER),)
        world.ask("only", "t1")
        world.run(1)
        world.ask("only", "t2")
        world.run(25)
        world.refer = 603
        for ask in ("t3", "t4", "t5"):
            world.ask("only", ask)
            world.run(2)
        finals = {outcome.ask: outcome.detail["code"] for outcome in world.plane_call.outcomes if outcome.final}
        self.assertEqual(
            finals,
            {
                "t1": "refer_failed",
                "t2": "transfer_active",
                "t3": "refer_refused",
                "t4": "refer_refused",
                "t5": "too_many_attempts",
            },
        )
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())

    def test_refer_against_bye(self) -> None:
        """200 moments, some packets lost: one outcome each, one record, and nothing is left."""
        random = Random(5)
        for number in range(200):
            world = TransferWorld(seed=number)
            world.call()
            world.network.weather = LOSSY
            world.ask("only")
            world.clock.callLater(random.uniform(0, 1.6), world.pbx.bye, world.usage)
            self.assertTrue(world.run_out(), number)
            [(result, _)] = world.transfers()
            self.assertIn(result, ("transferred", "accepted_unconfirmed", "cancelled"))
