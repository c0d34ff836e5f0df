"""INVITE with Replaces: somebody else of the same tenant becomes the caller, and the agent talks on (RFC 3891)."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import Ended, UsageId
from stellar_gw.sip.message import Response
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr
from stellar_gw.testing.network import Weather
from stellar_gw.testing.sip_peer import OFFER, SipPeer, brief
from tests.story.gateway import HOST, PORT
from tests.story.transfer_world import ABLE, TEXT, TransferWorld, picks_up

COLLEAGUE, STRANGER = "198.51.100.9", "192.0.2.66"
ALLOWED = TEXT.replace("198.51.100.0/24], ", "198.51.100.0/24], replaces: true, ").replace(
    'globex-pbx: {password: "entirely other"', 'globex-pbx: {password: "entirely other", replaces: true'
)
OTHER_OFFER = OFFER.replace(b"40000", b"42000").replace(b"192.0.2.1", b"198.51.100.9")
GLOBEX = ClientCredentials(username="globex-pbx", password="entirely other", realm=None, host=HOST)
LOSSY = Weather(loss=0.2, duplication=0.1, delay=(0.001, 0.08))


class ReplacedWorld(TransferWorld):
    """:ivar colleague: a second phone of the same phone system."""

    def __init__(self, text: str = ALLOWED, seed: int = 0) -> None:
        super().__init__(text=text, seed=seed, house=picks_up(0.5))
        self.colleague = SipPeer(self.network, COLLEAGUE, able=ABLE)
        self.stranger = SipPeer(self.network, STRANGER)
        self.call()
        dialog = self.pbx.core.dialog(self.usage)
        self.to_tag, self.from_tag, self.sip_call_id = dialog.remote_tag, dialog.local_tag, dialog.call_id
        self.contact = dialog.remote_target

    def replace(
        self,
        value: str = "{call};to-tag={to};from-tag={from_}",
        *headers: tuple[str, str],
        peer: SipPeer | None = None,
        body: bytes = OTHER_OFFER,
        credentials: ClientCredentials | None = None,
    ) -> UsageId:
        peer = peer or self.colleague
        value = value.format(call=self.sip_call_id, to=self.to_tag, from_=self.from_tag)
        assert isinstance(self.contact, SipUri)
        usage = peer.core.invite(
            self.contact,
            peer.flow_to((HOST, PORT)),
            peer.now,
            from_=NameAddr("", peer.uri("colleague")),
            to=NameAddr("", self.contact),
            headers=[("Replaces", value), *headers],
            body=body,
            credentials=credentials,
        )
        peer.turn()
        self.run(1.0)
        return usage

    def final(self, peer: SipPeer | None = None) -> Response:
        finals = [
            parse_message(data, stream=False)
            for data in (peer or self.colleague).heard
            if brief(data).endswith(" INVITE") and not brief(data).startswith("1")
        ]
        assert isinstance(finals[-1], Response)
        return finals[-1]

    def run_out(self, seconds: float = 400.0) -> bool:
        return self.run(seconds, lambda: self.gateway.at_rest and self.pbx.core.idle and self.colleague.core.idle)

    def moves(self) -> list[tuple[str, str, str]]:
        return [(each["by"], each["uri"], each["result"]) for each in self.record.moves]


class ReplacedTests(SynchronousTestCase):
    def test_the_agent_goes_on_with_the_new_caller(self) -> None:
        """200 with the very same port, the worker told of the new address, BYE in the old dialog, one record."""
        world = ReplacedWorld()
        port = world.plane_call.legs["caller"]
        usage = world.replace("{call};from-tag={from_};to-tag={to}", ("Require", "replaces"))
        answer = world.final()
        self.assertEqual(answer.status, 200)
        self.assertIn(f"m=audio {port} ".encode(), answer.body)
        self.assertIn("replaces", answer.supported)
        self.assertEqual(world.pbx.endings(world.usage), [("bye", "remote")])
        media = world.plane_call.media
        self.assertEqual([each.remote for each in media], [("192.0.2.1", 40000), ("198.51.100.9", 42000)])
        self.assertEqual(
            [(each.kind, each.detail) for each in world.plane_call.told],
            [("moved", {"by": "replaces", "uri": f"sip:colleague@{COLLEAGUE}:5060"})],
        )
        self.assertEqual((len(world.gateway.plane.sessions), world.plane_call.agent_stopped), (1, None))
        world.colleague.bye(usage)
        self.assertTrue(world.run_out())
        self.assertEqual((world.record.cause, world.record.ended_by), ("caller_hangup", "caller"))
        self.assertEqual(world.moves(), [("replaces", f"sip:colleague@{COLLEAGUE}:5060", "moved")])

    def test_without_an_offer(self) -> None:
        """Our offer in the 200, the answer in the ACK; the old media holds until then."""
        world = ReplacedWorld()
        usage = world.replace(body=b"")
        self.assertEqual(world.final().status, 200)
        self.assertEqual(len(world.plane_call.media), 1)
        world.colleague.core.ack(usage, OTHER_OFFER, world.colleague.now)
        world.colleague.turn()
        world.run(1)
        self.assertEqual(world.plane_call.media[-1].remote, ("198.51.100.9", 42000))
        self.assertEqual(world.pbx.endings(world.usage), [("bye", "remote")])
        world.colleague.bye(usage)
        self.assertTrue(world.run_out())

    def test_refused(self) -> None:
        """RFC 3891 3: no such dialog, tags the wrong way round, early-only, over already, malformed; all goes on."""
        cases = [
            ("nothing@there;to-tag={to};from-tag={from_}", 481),
            ("{call};to-tag={from_};from-tag={to}", 481),
            ("{call};to-tag={to};from-tag={from_};early-only", 486),
            ("{call};to-tag={to}", 400),
            ("{call}", 400),
        ]
        world = ReplacedWorld()
        for value, status in cases:
            world.replace(value)
            self.assertEqual(world.final().status, status, value)
        world.replace("{call};to-tag={to};from-tag={from_}", ("Replaces", "a;to-tag=b;from-tag=c"))
        self.assertEqual(world.final().status, 400)
        self.assertEqual((world.pbx.endings(world.usage), len(world.plane_call.media)), ([], 1))
        world.pbx.bye(world.usage)
        world.run(1)
        world.replace()
        self.assertEqual(world.final().status, 603)
        self.assertTrue(world.run_out())
        self.assertEqual(world.moves(), [])

    def test_an_offer_that_cannot_be_answered(self) -> None:
        """488, and the call is the old caller's as before."""
        world = ReplacedWorld()
        world.replace(body=OTHER_OFFER.replace(b"RTP/AVP 9 0 8 101", b"RTP/AVP 18"))
        self.assertEqual(world.final().status, 488)
        self.assertEqual((world.pbx.endings(world.usage), len(world.plane_call.media)), ([], 1))
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())
        [(by, _, result)] = world.moves()
        self.assertEqual((by, result[:3]), ("replaces", "488"))

    def test_by_whom(self) -> None:
        """A stranger is challenged; another tenant's phone system gets 481, as for a call that is not there."""
        world = ReplacedWorld()
        world.replace(peer=world.stranger)
        self.assertEqual(world.final(world.stranger).status, 401)
        world.replace(peer=world.stranger, credentials=GLOBEX)
        self.assertEqual(world.final(world.stranger).status, 481)
        self.assertEqual(world.pbx.endings(world.usage), [])
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())

    def test_what_another_tenant_is_not_told(self) -> None:
        """That a call is answered, is being moved or is over: 486, 491 and 603 are 481 to another's phone system."""
        whole = "{call};to-tag={to};from-tag={from_}"
        for value, status in ((f"{whole};early-only", 486), (whole, 491), (whole, 603)):
            world = ReplacedWorld()
            if status == 491:
                world.replace(body=b"")  # whose ACK is ours to send, and is not sent
            elif status == 603:
                world.pbx.bye(world.usage)
                world.run(1)
            told = []
            for peer, credentials in ((world.pbx, None), (world.stranger, GLOBEX)):
                world.replace(value, peer=peer, credentials=credentials)
                told.append(world.final(peer).status)
            self.assertEqual(told, [status, 481])
            if status != 603:
                world.pbx.bye(world.usage)
            self.assertTrue(world.run_out())

    def test_another_tenants_call_of_the_same_call_id(self) -> None:
        """It does not make another tenant's call its own, whichever of them is over first."""
        for theirs_first in (True, False):
            world = ReplacedWorld()
            if not theirs_first:
                world.pbx.bye(world.usage)
                world.run(1)
            uri, peer = SipUri(user="700", host=HOST), world.stranger
            usage = peer.core.invite(
                uri,
                peer.flow_to((HOST, PORT)),
                peer.now,
                from_=NameAddr("", peer.uri("globex")),
                to=NameAddr("", uri),
                body=OTHER_OFFER,
                credentials=GLOBEX,
                call_id=world.sip_call_id,
            )
            peer.turn()
            world.run(2)
            peer.bye(usage)
            world.run(1)
            self.assertEqual(peer.endings(usage), [("bye", "local")])
            if theirs_first:
                world.pbx.bye(world.usage)
                world.run(1)
            world.replace(peer=peer, credentials=GLOBEX)
            self.assertEqual(world.final(peer).status, 481)
            self.assertTrue(world.run_out())

    def test_off_unless_configured(self) -> None:
        """By default it is not in Supported, 420 where it is demanded; otherwise the header says nothing to us."""
        world = ReplacedWorld(TEXT)
        ok = next(parse_message(data, stream=False) for data in world.pbx.heard if brief(data) == "200 INVITE")
        self.assertNotIn("replaces", ok.supported)
        world.replace("{call};to-tag={to};from-tag={from_}", ("Require", "replaces"))
        self.assertEqual((world.final().status, world.final().headers.first("Unsupported")), (420, "replaces"))
        world.replace()
        self.assertEqual(world.final().status, 404)
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())

    def test_a_bridge_goes_on_with_the_new_caller(self) -> None:
        """Who talks with a transfer's target is replaced, and the target notices nothing."""
        world = ReplacedWorld()
        world.ask("ours")
        world.run(5)
        usage = world.replace()
        self.assertEqual(world.final().status, 200)
        self.assertEqual(set(world.plane_call.up), {"caller", "target"})
        world.colleague.bye(usage)
        self.assertTrue(world.run_out())
        self.assertEqual([each[2] for each in world.moves()], ["moved"])
        self.assertEqual(world.transfers(), [("bridged", None)])

    def test_no_ack(self) -> None:
        """The new caller is never heard of again: the old one has the call, and its media."""
        world = ReplacedWorld()
        world.replace("{call};to-tag={to};from-tag={from_}", body=b"")  # whose ACK is ours to send, and is not sent
        world.run(40)
        self.assertEqual(world.pbx.endings(world.usage), [])
        self.assertEqual(world.plane_call.media[-1].remote, ("192.0.2.1", 40000))
        world.pbx.bye(world.usage)
        self.assertTrue(world.run_out())
        self.assertEqual(
            [each[2] for each in world.moves()], ["our 200 was never acknowledged; check the route back to us"]
        )

    def test_twice(self) -> None:
        """Who has taken a call over may have it taken over in turn, by the first one even."""
        world = ReplacedWorld()
        usage = world.replace()
        dialog = world.colleague.core.dialog(usage)
        back = world.replace(f"{dialog.call_id};to-tag={dialog.remote_tag};from-tag={dialog.local_tag}", peer=world.pbx)
        self.assertEqual(world.final(world.pbx).status, 200)
        self.assertEqual(world.colleague.endings(usage), [("bye", "remote")])
        world.pbx.bye(back)
        self.assertTrue(world.run_out())
        self.assertEqual([each[2] for each in world.moves()], ["moved", "moved"])

    def test_against_bye_in_bad_weather(self) -> None:
        """60 moments at which the old phone hangs up: one record, nothing left."""
        dice, results = Random(3), set()
        for number in range(60):
            world = ReplacedWorld(seed=number)
            world.network.weather = LOSSY
            world.clock.callLater(dice.uniform(0, 0.5), self.leave, world)
            usage = world.replace()
            world.clock.callLater(40, world.colleague.bye, usage)
            self.assertTrue(world.run_out(), number)
            results |= {each[2] for each in world.moves()}
        self.assertIn("moved", results)

    def leave(self, world: ReplacedWorld) -> None:
        if not any(isinstance(each, Ended) for each in world.pbx.events):
            world.pbx.bye(world.usage)
