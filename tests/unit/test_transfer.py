"""A transfer does in each case what its caller is owed, and comes to one outcome."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from stellar_gw.call.transfer.keys import PRESS
from stellar_gw.call.transfer.machine import TransferMachine
from stellar_gw.call.transfer.transfer import NOTIFY_PATIENCE, RING_LIMIT, SETTLED
from stellar_gw.control import messages
from stellar_gw.directory.records import Confirm
from stellar_gw.worker.leg_audio import PAUSE_MS, TONE_MS
from tests.unit.transfer_case import BY_INVITE, TARGET, TransferCase

ALLOW = "Allow REFER in the phone system, or a fallback by INVITE"


class ReferTests(TransferCase):
    def test_transferred(self) -> None:
        """202, progress, 200: the agent is told each step, and we hang up."""
        self.begin(headers=(("X-Case", "4711"),))
        self.answer(202)
        self.notify(100)
        self.notify(180)
        self.notify(200, ended=True)
        self.assertEqual(self.result, "transferred")
        self.assertEqual(self.told, ["accepted", "trying", "ringing"])
        self.assertEqual(self.took(), ["REFER", "end transferred by gateway"])
        self.assertEqual(
            self.caller.refer_headers,
            (
                ("Refer-To", "<sip:200@pbx.example>"),
                ("Referred-By", "<sip:600@gw.example>"),
                ("Max-Forwards", "69"),
                ("X-Case", "4711"),
            ),
        )
        self.assertEqual((self.transfer.over, self.clock.getDelayedCalls()), (True, []))

    def test_embedded(self) -> None:
        """X-* headers stand in Refer-To, too, where the phone system reads them there."""
        self.begin(headers=(("X-Case", "a b?"),), embed_headers=True)
        self.assertEqual(
            [value for name, value in self.caller.refer_headers if name in ("Refer-To", "X-Case")],
            ["<sip:200@pbx.example?X-Case=a%20b?>", "a b?"],
        )

    def test_a_notify_that_beats_the_202(self) -> None:
        self.begin()
        self.notify(100)
        self.answer(202)
        self.notify(200, ended=True)
        self.assertEqual((self.result, self.took()), ("transferred", ["REFER", "end transferred by gateway"]))

    def test_no_subscription(self) -> None:
        """Refer-Sub: false: nothing follows, so the phone system gets a moment to hang up, and then we do."""
        self.begin()
        self.answer(200, ("Refer-Sub", "false"))
        self.clock.advance(1.9)
        before = self.took()
        self.clock.advance(0.2)
        self.assertEqual((before, self.took()), (["REFER"], ["end transferred by gateway"]))
        self.assertEqual(self.result, "accepted_unconfirmed")

    def test_bye_before_the_final_notify(self) -> None:
        """It took the transfer and hung up: so it says no more, and nobody is called."""
        for status in (0, 180):
            self.setUp()
            self.begin()
            self.answer(202)
            if status:
                self.notify(status)
            self.transfer.caller_gone()
            self.assertEqual((self.result, self.took()), ("accepted_unconfirmed", ["REFER"]))

    def test_refused(self) -> None:
        """Each refusal leads to a call of ours; a challenge is one of them."""
        for status in (400, 401, 403, 405, 407, 420, 429, 481, 501, 603):
            self.setUp()
            self.begin()
            self.answer(status)
            self.clock.advance(0)
            self.assertEqual((self.took(), self.outcomes, self.told), (["REFER", "dial"], [], ["falling_back"]))

    def test_unanswered(self) -> None:
        """A REFER that nobody answers is followed by a call, unless that is because the caller is gone."""
        for gone in (False, True):
            self.setUp()
            self.begin()
            assert self.caller.heard is not None
            self.caller.heard(None)
            if gone:
                self.transfer.caller_gone()
            self.clock.advance(0)
            self.assertEqual(self.took(), ["REFER"] if gone else ["REFER", "dial"])

    def test_refused_for_good(self) -> None:
        """Without a fallback the caller stays with the agent."""
        self.begin(fallback=False)
        self.answer(603)
        self.assertEqual((self.result, self.took()), ("failed refer_refused", ["REFER"]))
        self.assertEqual(self.notes, [f"transfer support failed: REFER 603 (Decline). {ALLOW}"])

    def test_failed_by_notify(self) -> None:
        """The phone system tried, and says that it came to nothing."""
        self.begin()
        self.answer(202)
        self.notify(180)
        self.notify(486, ended=True)
        self.target_fails(486, "busy")
        self.assertEqual((self.result, self.took()), ("failed busy", ["REFER", "dial"]))
        self.assertEqual([each.failure.code if each.failure else "" for each in self.outcomes[0].attempts],
                         ["refer_failed", "busy"])  # fmt: skip

    def test_no_notify(self) -> None:
        """30 s without a word: a call of ours."""
        self.begin()
        self.answer(202)
        self.clock.advance(NOTIFY_PATIENCE - 0.1)
        before = self.took()
        self.clock.advance(0.2)
        self.assertEqual((before, self.took()), (["REFER"], ["dial"]))

    def test_rings_for_ever(self) -> None:
        """After a provisional NOTIFY nobody is called twice: unsubscribe, and say that it is unknown."""
        self.begin()
        self.answer(202)
        self.notify(180)
        self.clock.advance(RING_LIMIT)
        self.assertEqual((self.result, self.took()), ("unknown unknown", ["REFER", "unsubscribe"]))

    def test_ended_without_a_word(self) -> None:
        """``terminated`` with a provisional status: a BYE says that it went well, silence that nobody knows."""
        for bye in (True, False):
            self.setUp()
            self.begin()
            self.answer(202)
            self.notify(100, ended=True)
            if bye:
                self.transfer.caller_gone()
            self.clock.advance(3)
            wanted = ("accepted_unconfirmed", ["REFER"]) if bye else ("unknown unknown", ["REFER", "unsubscribe"])
            self.assertEqual((self.result, self.took()), wanted)

    def test_another_refers_notify(self) -> None:
        """A late word on an earlier REFER is none on this one; one that names ours, or none, is."""
        self.begin()
        self.answer(202)
        self.notify(200, ended=True, event_id=2)
        before = list(self.outcomes)
        self.notify(200, ended=True, event_id=3)
        self.assertEqual((before, self.result), ([], "transferred"))

    def test_caller_hangs_up_first(self) -> None:
        self.begin()
        self.transfer.caller_gone()
        self.answer(202)
        self.assertEqual((self.result, self.took()), ("cancelled cancelled", ["REFER"]))


class InviteTests(TransferCase):
    target = BY_INVITE

    def bridged(self) -> None:
        self.begin()
        self.transfer.answered()
        self.took()

    def test_bridged(self) -> None:
        """The agent goes on until the target answers, is muted by the bridge, and leaves once that is 2 s old."""
        self.begin(headers=(("X-Case", "4711"),))
        self.transfer.ringing(180, False)
        self.transfer.answered()
        before = self.took()
        self.assertEqual(self.outcomes, [])
        self.clock.advance(SETTLED)
        self.assertEqual(before, ["dial", "bind caller<-target, target<-caller"])
        self.assertEqual((self.result, self.took()), ("bridged", ["dismiss agent"]))
        self.assertEqual((self.told, self.legs[0].headers), (["ringing", "answered"], (("X-Case", "4711"),)))

    def test_failed(self) -> None:
        """Whatever the target says, the caller is still the agent's, who has not ceased to talk."""
        self.begin()
        self.target_fails(486, "busy")
        self.assertEqual((self.result, self.took()), ("failed busy", ["dial"]))
        self.assertEqual(self.notes, ["transfer support failed: INVITE 486 (Busy Here)"])

    def test_a_fix_is_said_where_there_is_one(self) -> None:
        """The operator's line ends with what to do; a busy target is nobody's fault."""
        for status, reason, fix in (
            (407, "rejected", "Give the way an outbound username"),
            (0, "unreachable", "Is the"),
        ):
            self.setUp()
            self.begin()
            self.target_fails(status, reason)
            self.assertIn(f"). {fix}", self.notes[0])

    def test_drops_at_once(self) -> None:
        """A target that answers and is gone within 2 s gives the caller back."""
        self.bridged()
        self.clock.advance(SETTLED - 0.1)
        self.transfer.ended("target", "bye", "")
        self.clock.advance(1)
        self.assertEqual((self.result, self.took()), ("failed dropped", ["bind caller<-agent"]))

    def test_drops_later(self) -> None:
        """When the agent has left, the end of one is the end of both."""
        self.bridged()
        self.clock.advance(SETTLED)
        self.transfer.ended("target", "bye", "")
        self.assertEqual((self.result, self.took()), ("bridged", ["dismiss agent", "end target_hangup by target"]))

    def test_caller_hangs_up(self) -> None:
        """While it rings, when it was answered, and later: the target is let go, once."""
        for seconds in (None, 0.5, 5.0):
            self.setUp()
            self.begin()
            if seconds is not None:
                self.transfer.answered()
                self.clock.advance(seconds)
            self.took()
            self.transfer.caller_gone()
            self.assertEqual(self.took(), ["drop target"])
            self.assertEqual(self.result, "cancelled cancelled" if seconds is None else "bridged")
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_confirmed(self) -> None:
        """Whoever answers hears the question, and gets the caller for the right key."""
        self.begin(confirm=Confirm(play="press1.wav", digit="1"))
        self.transfer.answered()
        self.target_presses("2")
        before = self.took()
        self.target_presses("1")
        self.assertEqual(before, ["dial", "bind target<-press1.wav"])
        self.assertEqual(self.took(), ["bind caller<-target, target<-caller"])

    def test_not_confirmed(self) -> None:
        """An answering machine presses nothing: it is hung up on, and the caller stays."""
        self.begin(confirm=Confirm(play="press1.wav", digit="1", timeout=10))
        self.transfer.answered()
        self.clock.advance(10)
        self.assertEqual((self.result, self.took()[2:]), ("failed not_confirmed", ["drop target"]))

    def test_extension(self) -> None:
        """Digits reach whoever is behind an automatic attendant, with the pauses that it needs."""
        self.begin(digits="wW12#w3")
        self.transfer.answered()
        self.clock.pump([1.4, 0.2, 0.9, 0.4])
        self.assertEqual(
            self.took()[1:],
            ["bind caller<-target, target<-caller", "digits 12# to target", "dismiss agent", "digits 3 to target"],
        )

    def test_how_long_keys_take(self) -> None:
        """A pause begins when the keys before it have been sent."""
        self.assertEqual(round(1000 * PRESS), TONE_MS + PAUSE_MS)

    def test_while_it_rings(self) -> None:
        """The caller hears ringback or music if it is to, early media if there is any, and at last the agent again."""
        self.begin(while_ringing="ringback")
        self.transfer.ringing(183, True)
        self.target_fails(480, "no_answer")
        wanted = ["bind caller<-tone", "dial", "bind caller<-target", "bind caller<-agent"]
        self.assertEqual(self.took(), wanted)
        self.setUp()
        self.begin(while_ringing="music", music="hold.wav")
        self.assertEqual(self.took(), ["bind caller<-hold.wav", "dial"])

    def test_agent_leaves(self) -> None:
        """An agent that is gone before the target answers leaves ringing behind, and no stranded caller."""
        self.begin()
        self.caller.agent_listens = False
        self.transfer.agent_gone()
        self.target_fails(486, "busy")
        self.assertEqual(self.took(), ["dial", "bind caller<-tone", "end transfer_failed by gateway"])

    def test_worker_cannot_bridge(self) -> None:
        self.caller.refuses = {messages.Rebind}
        self.begin()
        self.transfer.answered()
        self.assertEqual(self.result, "failed media")
        self.assertIn("drop target", self.took())

    def test_hold_is_passed_on(self) -> None:
        """What one side's direction becomes is offered to the other, mirrored: music of a holder is sent on."""
        self.bridged()
        for direction in ("recvonly", "sendrecv", "inactive"):
            self.transfer.caller_direction(direction)
            self.transfer.direction_changed(direction)
        self.assertEqual(
            self.took(),
            [
                "hold target sendonly",
                "offer sendonly",
                "hold target sendrecv",
                "offer sendrecv",
                "hold target inactive",
                "offer inactive",
            ],
        )

    def test_hold_is_passed_on_as_each_side_understands_it(self) -> None:
        """To a system that knows no sendonly as inactive, on either side."""
        self.hold, self.target = "inactive", evolve(self.target, hold="inactive")
        self.bridged()
        self.transfer.caller_direction("recvonly")
        self.transfer.direction_changed("recvonly")
        self.assertEqual(self.took(), ["hold target inactive", "offer inactive"])

    def test_a_caller_who_holds_us_already(self) -> None:
        """The target hears of it as soon as it is joined."""
        self.begin()
        self.caller.far = "recvonly"
        self.transfer.answered()
        self.assertEqual(self.took()[-1], "hold target sendonly")

    def test_longest_bridge(self) -> None:
        self.begin(bridge_duration=60.0)
        self.transfer.answered()
        self.clock.advance(SETTLED)
        self.took()
        self.clock.advance(60)
        self.assertEqual(self.took(), ["end limit by gateway"])

    def test_record(self) -> None:
        """The call's record has the whole story."""
        self.begin()
        self.clock.advance(3)
        self.transfer.answered()
        self.clock.pump([2, 5])
        self.transfer.caller_gone()
        self.assertEqual(
            self.transfer.record,
            {
                "target": "support",
                "via": "",
                "uri": "sip:200@pbx.example",
                "method": "invite",
                "fallback": False,
                "sip_call_id": "leg-1",
                "asked": 1000.0,
                "answered": 1003.0,
                "ended": 1010.0,
                "result": "bridged",
                "code": None,
                "reason": None,
                "bridged_seconds": 7.0,
                "attempts": [{"method": "invite", "at": 1000.0, "seconds": 5.0}],
            },
        )


_EVENTS = st.lists(
    st.sampled_from(
        [
            "answer 202", "answer 603", "notify 100", "notify 180", "notify 200", "notify 486", "notify 0", "gone",
            "ringing", "answered", "failed", "ended", "digit", "agent_gone", "abandon", "1", "3", "40", "70",
        ]
    ),
    max_size=14,
)  # fmt: skip


class AnyOrderTests(TransferCase):
    @settings(max_examples=400, deadline=None)
    @given(_EVENTS, st.booleans(), st.booleans(), st.booleans())
    def test_one_outcome(self, events: list[str], refer: bool, fallback: bool, confirm: bool) -> None:
        """Whatever comes in whatever order: at most one outcome, exactly one in the end, and no leg is left behind."""
        self.setUp()
        asks = Confirm(play="a.wav") if confirm else None
        self.begin(TARGET if refer else BY_INVITE, fallback=fallback, confirm=asks)
        for event in [*events, "abandon"]:
            self.happen(event)
        self.assertEqual(len(self.outcomes), 1)
        self.assertEqual(TransferMachine.state(self.transfer._machine), "Done")
        self.assertEqual((self.transfer.over, self.clock.getDelayedCalls()), (True, []))
        self.assertIsNone(self.transfer._leg)

    def happen(self, event: str) -> None:
        verb, _, number = event.partition(" ")
        target_is_there = self.transfer._leg is not None
        match verb:
            case "answer" if self.caller.heard is not None:
                self.answer(int(number))
                self.caller.heard = None
            case "notify":
                self.notify(int(number), ended=int(number) >= 200 or number == "0")
            case "gone":
                self.transfer.caller_gone()
            case "ringing" if target_is_there:
                self.transfer.ringing(180, False)
            case "answered" if target_is_there:
                self.transfer.answered()
            case "failed" if target_is_there:
                self.target_fails(486, "busy")
            case "ended" if target_is_there:
                self.transfer.ended("target", "bye", "")
            case "digit":
                self.target_presses("1")
            case "agent_gone":
                self.transfer.agent_gone()
            case "abandon":
                self.transfer.abandon()
            case seconds if seconds.isdigit():
                self.clock.advance(float(seconds))
            case _:
                pass
