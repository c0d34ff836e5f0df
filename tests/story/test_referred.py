"""A phone system sends the call elsewhere by REFER: the agent talks on, with somebody else (RFC 3515, RFC 5589)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.events import Ended, RequestInDialog, ResponseReceived
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.parser import parse_message
from stellar_gw.testing.network import FAIR, Weather
from stellar_gw.testing.sip_peer import OFFER, brief
from tests.story.transfer_world import HOUSE, TEXT, Script, TransferWorld, picks_up, refuses, rings

FOLLOWED = TEXT.replace("198.51.100.0/24], ", "198.51.100.0/24], refer: true, ")
HOME = f"<sip:200@{HOUSE}>"
LOSSY = Weather(loss=0.2, duplication=0.1, delay=(0.001, 0.08))


class ReferredWorld(TransferWorld):
    """:ivar frags: the first line of each sipfrag that the phone system was told, with the subscription's state."""

    def __init__(
        self, house: Script | None = None, text: str = FOLLOWED, weather: Weather = FAIR, seed: int = 0
    ) -> None:
        super().__init__(house=house or picks_up(), text=text, weather=weather, seed=seed)

    def send_refer(self, refer_to: str = HOME, *headers: tuple[str, str]) -> int:
        """
        :return: the status that it got, once it is there.
        """
        token = self.pbx.core.request_in(self.usage, "REFER", self.pbx.now, [("Refer-To", refer_to), *headers])
        self.pbx.turn()

        def answer() -> Response | None:
            told = [each for each in self.pbx.told(ResponseReceived) if isinstance(each, ResponseReceived)]
            return next((each.response for each in told if each.token == token), None)

        self.run(5, lambda: answer() is not None)
        found = answer()
        self.accepted = found
        return 0 if found is None else found.status

    @property
    def frags(self) -> list[tuple[str, str]]:
        told = [each for each in self.pbx.told(RequestInDialog) if isinstance(each, RequestInDialog)]
        return [
            (each.request.body.decode().split("\r\n")[0], each.request.headers.first("Subscription-State") or "")
            for each in told
            if each.request.method == "NOTIFY"
        ]

    def invite(self) -> Request:
        """The one that the house got."""
        found = next(parse_message(data, stream=False) for data in self.house.heard if brief(data) == "INVITE")
        assert isinstance(found, Request)
        return found

    def moves(self) -> list[tuple[str, str, str]]:
        return [(each["by"], each["uri"], each["result"]) for each in self.record.moves]

    @property
    def house_usage(self) -> str:
        return next(iter(self.house.core._usages._known))

    def hang_up_at_home(self) -> None:
        self.house.bye(self.house_usage)


def told(world: TransferWorld) -> Sequence[tuple[str, dict[str, str]]]:
    """What the agent heard, apart from transfers."""
    return [(each.kind, each.detail) for each in world.plane_call.told]


class ReferredTests(SynchronousTestCase):
    def begin(self, house: Script | None = None, text: str = FOLLOWED) -> ReferredWorld:
        world = ReferredWorld(house, text)
        world.call()
        return world

    def test_the_agent_goes_on_with_the_target(self) -> None:
        """202, NOTIFY 100, 180 and 200; the target has the caller's port; BYE ends the old dialog, not the call."""
        world = self.begin()
        port = world.plane_call.legs["caller"]
        self.assertEqual(world.send_refer(HOME, ("Referred-By", "<sip:boss@pbx.example>")), 202)
        world.run(2)
        self.assertEqual(
            world.frags,
            [
                ("SIP/2.0 100 Trying", "active;expires=180"),
                ("SIP/2.0 180 Ringing", "active;expires=180"),
                ("SIP/2.0 200 OK", "terminated;reason=noresource"),
            ],
        )
        invite = world.invite()
        self.assertIn(f"m=audio {port} ".encode(), invite.body)
        self.assertEqual(invite.headers.first("Referred-By"), "<sip:boss@pbx.example>")
        self.assertEqual(str(invite.from_.uri), "sip:+31201230000@sip.acme.example")
        world.pbx.bye(world.usage)
        world.run(10)
        self.assertEqual(told(world), [("moved", {"by": "refer", "uri": f"sip:200@{HOUSE}"})])
        self.assertEqual(world.plane_call.media[-1].remote, ("198.51.100.2", 50000))
        self.assertIsNone(world.plane_call.agent_stopped)
        world.hang_up_at_home()
        self.assertTrue(world.run_out())
        self.assertEqual((world.record.cause, world.record.ended_by), ("caller_hangup", "caller"))
        self.assertEqual(world.moves(), [("refer", f"sip:200@{HOUSE}", "moved")])

    def test_a_referrer_that_stays_is_left(self) -> None:
        """No BYE within 5 s of the last NOTIFY: it is ours."""
        world = self.begin()
        world.send_refer()
        world.run(3)
        self.assertEqual(world.pbx.endings(world.usage), [])
        world.run(5)
        self.assertEqual(world.pbx.endings(world.usage), [("bye", "remote")])
        world.hang_up_at_home()
        self.assertTrue(world.run_out())

    def test_a_referrer_that_asks_on_hears_that_the_call_has_moved(self) -> None:
        """481, which ends the dialog there and then (RFC 5057 5.1); the call is not touched."""
        world = self.begin()
        world.send_refer()
        world.run(3)
        token = world.pbx.core.request_in(world.usage, "INFO", world.pbx.now)
        world.pbx.turn()
        world.run(8)
        answers = [each for each in world.pbx.told(ResponseReceived) if isinstance(each, ResponseReceived)]
        [answer] = [each for each in answers if each.token == token]
        assert answer.response is not None
        self.assertEqual(answer.response.status, 481)
        self.assertIsNotNone(world.plane_call)
        world.hang_up_at_home()
        self.assertTrue(world.run_out())

    def test_a_target_that_does_not_come_leaves_the_caller_where_it_was(self) -> None:
        """The final NOTIFY says why; media and dialog are as before, and another REFER may follow, with its id."""
        world = self.begin(refuses(486))
        world.send_refer()
        world.run(2)
        self.assertEqual(world.frags[-1], ("SIP/2.0 486 Busy Here", "terminated;reason=noresource"))
        self.assertEqual(len(world.plane_call.media), 1)
        self.assertEqual(world.send_refer(), 202)
        world.run(2)
        events = [
            each.request.headers.first("Event")
            for each in world.pbx.told(RequestInDialog)
            if isinstance(each, RequestInDialog)
        ]
        assert world.accepted is not None
        self.assertEqual(events[0], "refer")
        self.assertEqual(events[-1], f"refer;id={world.accepted.cseq.number}")
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())
        self.assertEqual([each[2] for each in world.moves()], ["486 Busy Here", "486 Busy Here"])
        self.assertEqual(world.record.cause, "caller_hangup")

    def test_no_subscription(self) -> None:
        """Refer-Sub: false, or norefersub demanded: no NOTIFY, and the 2xx says so (RFC 4488)."""
        for header in (("Refer-Sub", "false"), ("Require", "norefersub")):
            world = self.begin()
            self.assertEqual(world.send_refer(HOME, header), 202)
            assert world.accepted is not None
            self.assertEqual(world.accepted.headers.first("Refer-Sub"), "false")
            self.assertIsNotNone(world.accepted.contact)
            world.run(2)
            self.assertEqual((world.frags, len(told(world))), ([], 1))
            world.hang_up_at_home()
            self.assertTrue(world.run_out())

    def test_a_referrer_that_hangs_up_at_once(self) -> None:
        """BYE before the target answers: the call lives, its leg mute, until it does."""
        world = self.begin(picks_up(3))
        world.send_refer()
        world.pbx.bye(world.usage)
        world.run(5)
        self.assertEqual([each.direction for each in world.plane_call.media], ["sendrecv", "inactive", "sendrecv"])
        self.assertEqual([kind for kind, _ in told(world)], ["moved"])
        world.hang_up_at_home()
        self.assertTrue(world.run_out())
        self.assertEqual([each[2] for each in world.moves()], ["moved"])

    def test_a_referrer_that_hangs_up_and_a_target_that_does_not_come(self) -> None:
        """Nobody is left, so the call is over: by its caller, who hung up."""
        for house, result in ((refuses(603), "603 Decline"), (rings, "no answer in 30 s")):
            world = self.begin(house)
            world.send_refer()
            world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())
            self.assertEqual((world.record.cause, world.moves()[0][2]), ("caller_hangup", result))

    def test_replaces_is_passed_on(self) -> None:
        """An attended transfer of the phone system's: our INVITE replaces its other call (RFC 5589 7.1)."""
        world = self.begin()
        refer_to = f"<sip:200@{HOUSE};method=INVITE?Replaces=c1%40pbx%3Bto-tag%3Da%3Bfrom-tag%3Db>"
        self.assertEqual(world.send_refer(refer_to), 202)
        world.run(0.5)
        invite = world.invite()
        self.assertEqual(
            (invite.headers.all("Replaces"), invite.require, str(invite.uri)),
            (["c1@pbx;to-tag=a;from-tag=b"], ("replaces",), f"sip:200@{HOUSE}"),
        )
        self.assertEqual(world.frags[-1][0], "SIP/2.0 420 Bad Extension")  # this house knows nothing of it
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())

    def test_refused(self) -> None:
        """What is malformed, leads where no transfer may, or asks for anything but INVITE; the call goes on."""
        cases = [
            ("<sip:200@evil.example>", 403),
            ("<sip:123456789@sip.acme.example>", 403),
            ("<tel:+31900123456>", 403),
            (f"<sip:200@{HOUSE};method=BYE>", 403),
            (f"<sip:200@{HOUSE}?Replaces=nothing>", 400),
            ("<mailto:boss@acme.example>", 400),
            ("nothing at all", 400),
        ]
        world = self.begin()
        self.assertEqual([(to, world.send_refer(to)) for to, _ in cases], cases)
        self.assertEqual((world.frags, world.house.heard), ([], []))
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())
        self.assertEqual(world.moves(), [])

    def test_off_unless_configured(self) -> None:
        """By default REFER is not in Allow, and 405; with ``refer`` it is; outside any dialog it is never."""
        for text, allowed, status in ((TEXT, False, 405), (FOLLOWED, True, 202)):
            world = self.begin(text=text)
            ok = next(parse_message(data, stream=False) for data in world.pbx.heard if brief(data) == "200 INVITE")
            self.assertEqual("REFER" in ok.allow, allowed)
            self.assertEqual(world.send_refer(), status)
            world.run(2)
            if status == 202:
                world.hang_up_at_home()
            else:
                world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())

    def test_hold_is_told_to_the_agent(self) -> None:
        """In every style: sendonly, inactive, the address 0.0.0.0; once, and once that it is over."""
        world = self.begin()
        offers = [
            OFFER + b"a=sendonly\r\n",
            OFFER + b"a=sendrecv\r\n",
            OFFER + b"a=inactive\r\n",
            OFFER.replace(b"c=IN IP4 192.0.2.1", b"c=IN IP4 0.0.0.0"),
            OFFER,
        ]
        for version, offer in enumerate(offers, 2):
            world.pbx.core.reinvite(world.usage, offer.replace(b"- 1 1", b"- 1 %d" % version), world.pbx.now)
            world.pbx.turn()
            world.run(1)
        states = [(kind, detail["state"]) for kind, detail in told(world)]
        self.assertEqual(states, [("hold", "held"), ("hold", "resumed")] * 2)
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())

    def test_one_at_a_time_and_three_in_all(self) -> None:
        """As with the agent's transfers, and together with them: 491 while one is under way, then 603."""
        world = self.begin(rings)
        self.assertEqual((world.send_refer(), world.send_refer()), (202, 491))
        world.ask("ours")
        world.run(1)
        self.assertEqual([each.detail["code"] for each in world.plane_call.outcomes], ["transfer_active"])
        world.run(40)
        for _ in range(2):
            self.assertEqual(world.send_refer(), 202)
            world.run(40)
        self.assertEqual(world.send_refer(), 603)
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())
        self.assertEqual(len(world.moves()), 3)

    def test_the_new_caller_can_be_transferred(self) -> None:
        """The leg is a caller's like any other: held, transferred by an INVITE of ours, and bridged."""
        world = self.begin()
        world.send_refer()
        world.run(2)
        world.pbx.bye(world.usage)
        world.ask("ours", "t1", method="invite")
        world.run(10)
        finals = [(each.state, each.detail.get("result")) for each in world.plane_call.outcomes if each.final]
        self.assertEqual(finals, [("done", "bridged")])
        usages = list(world.house.core._usages._known)
        world.house.bye(usages[0])
        self.assertTrue(world.run_out())
        self.assertEqual(world.transfers(), [("bridged", None)])

    def test_a_bridge_goes_on_with_the_target(self) -> None:
        """Caller and target of a transfer talk; the caller's phone system sends its side elsewhere."""
        world = self.begin()
        world.ask("ours")
        world.run(5)
        self.assertEqual(world.send_refer(), 202)
        world.run(3)
        world.pbx.bye(world.usage)
        world.run(3)
        self.assertEqual(set(world.plane_call.up), {"caller", "target"})
        self.assertEqual([each.leg for each in world.plane_call.media[-1:]], ["caller"])
        world.house.bye(list(world.house.core._usages._known)[1])
        self.assertTrue(world.run_out())
        self.assertEqual(world.moves(), [("refer", f"sip:200@{HOUSE}", "moved")])

    def test_against_bye_in_bad_weather(self) -> None:
        """60 moments: one record, nobody left behind, nothing left anywhere."""
        dice = Random(11)
        results = set()
        for number in range(60):
            world = ReferredWorld(picks_up(0.5), seed=number)
            world.call()
            world.network.weather = LOSSY
            world.pbx.core.request_in(world.usage, "REFER", world.pbx.now, [("Refer-To", HOME)])
            world.pbx.turn()
            world.clock.callLater(dice.uniform(0, 2), self.leave, world)
            world.clock.callLater(40, self.leave_home, world)
            self.assertTrue(world.run_out(), number)
            results.add(tuple(each["result"] for each in world.record.moves))
        self.assertIn(("moved",), results)
        self.assertTrue(results <= {(), ("moved",), ("",)}, results)

    def leave(self, world: ReferredWorld) -> None:
        if not any(isinstance(each, Ended) for each in world.pbx.events):
            world.pbx.bye(world.usage)

    def leave_home(self, world: ReferredWorld) -> None:
        for usage in list(world.house.core._usages._known):
            world.house.bye(usage)
