"""An agent holds its caller: music, taking it back, and what becomes of it when the caller is transferred."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.leg.dial_failure import DialFailure
from stellar_gw.call.transfer.ports import Headers, MakeLeg
from stellar_gw.call.transfer.transfer import SETTLED, Surroundings
from stellar_gw.call.transfer.transfers import TransferRequest, Transfers
from tests.unit.transfer_case import BY_INVITE, FakeCaller, FakeLeg

TONE, AGENT = "bind caller<-tone", "bind caller<-agent"


class HoldTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.did = Clock(), list[str]()
        self.caller = FakeCaller(self.did)
        self.transfers = self.make("")

    def make(self, music: str) -> Transfers:
        make_leg: MakeLeg = self.leg
        around = Surroundings(
            caller=self.caller,
            make_leg=make_leg,
            clock=self.clock,
            wall=self.clock.seconds,
            note=lambda kind, line: None,
        )
        return Transfers(
            around=around, choose=lambda to, method: BY_INVITE, begin=lambda: None, end=lambda: None, record=[],
            music=music, hold_direction="inactive",
        )  # fmt: skip

    def leg(self, target: object, headers: Headers, listener: object) -> FakeLeg:
        self.target = FakeLeg(self.did, headers, listener)  # type: ignore[arg-type]  # it is one
        return self.target

    def took(self) -> list[str]:
        did, self.did[:] = list(self.did), []
        return did

    def hold(self, taken: bool) -> Deferred[bool]:
        done = self.transfers.hold()
        self.caller.offers[-1].callback(taken)
        return done

    def test_held_and_taken_back(self) -> None:
        self.assertTrue(self.successResultOf(self.hold(True)))
        self.assertEqual(self.took(), [TONE, "offer inactive"])
        back = self.transfers.resume()
        self.assertEqual(self.took(), ["offer sendrecv"])
        self.caller.offers[-1].callback(True)
        self.assertEqual((self.successResultOf(back), self.took()), (True, [AGENT]))

    def test_music(self) -> None:
        self.transfers = self.make("hold.wav")
        self.transfers.hold()
        self.assertEqual(self.took()[0], "bind caller<-hold.wav")

    def test_a_refused_hold_is_none(self) -> None:
        self.assertFalse(self.successResultOf(self.hold(False)))
        self.assertEqual(self.took(), [TONE, "offer inactive", AGENT])

    def test_a_refused_resumption_leaves_the_caller_where_it_is(self) -> None:
        self.hold(True)
        back = self.transfers.resume()
        self.caller.offers[-1].callback(False)
        self.assertEqual((self.successResultOf(back), self.took()), (False, [TONE, "offer inactive", "offer sendrecv"]))

    def test_a_held_caller_is_taken_off_hold_when_it_is_joined(self) -> None:
        self.hold(True)
        outcome = self.transfers.transfer(TransferRequest(to="support"), lambda state, detail: None)
        self.took()
        self.target.listener.answered()
        self.assertEqual(self.took(), ["bind caller<-target, target<-caller", "offer sendrecv"])
        self.clock.advance(SETTLED)
        self.assertEqual(self.successResultOf(outcome).result, "bridged")

    def test_a_held_caller_whose_target_does_not_answer_stays_on_hold(self) -> None:
        self.hold(True)
        self.transfers.transfer(TransferRequest(to="support"), lambda state, detail: None)
        self.took()
        self.target.listener.failed(DialFailure(status=486, reason="busy", phrase="486 Busy Here"))
        self.clock.advance(0)
        self.assertEqual(self.took(), [TONE])
