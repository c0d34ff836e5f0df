"""The INVITE usage as a table: a call leg from its first INVITE to its end, in either role.

Theory of operation. A leg that was called begins in ``Received``, one that calls in ``Calling``; they meet in
``Confirmed``, where re-INVITEs of either side come and go. A peer's INVITE that may not be now is refused by
the row that it meets (RFC 3261 14.2): 491 where one of ours is open or the ACK of our 2xx is missing, 500 with
Retry-After where an earlier one of the peer's is not answered yet.

``Leaving``, ``CancelHeld`` and ``Cancelling`` may outlive what the floor above is told: an INVITE cannot be
taken back before the peer has answered it (9.1), and our 2xx wants its ACK before a BYE (15).
"""

from __future__ import annotations

from automat import TypeMachineBuilder

from stellar_gw.fsm import seal
from stellar_gw.sip import usage_actions as do
from stellar_gw.sip.usage import InviteUsage, Usage

machine = TypeMachineBuilder[InviteUsage, Usage](InviteUsage, Usage)
received, answered, leaving = map(machine.state, ("Received", "Answered", "Leaving"))
unpracked, answer_held = map(machine.state, ("Unpracked", "AnswerHeld"))
calling, proceeding, cancel_held = map(machine.state, ("Calling", "Proceeding", "CancelHeld"))
cancelling, ack_due, confirmed = map(machine.state, ("Cancelling", "AckDue", "Confirmed"))
reinviting, reoffered, reanswered = map(machine.state, ("Reinviting", "Reoffered", "Reanswered"))
ended = machine.state("Ended")

received.upon(InviteUsage.ring).loop()(do.ring)
received.upon(InviteUsage.remind).loop()(do.remind)
received.upon(InviteUsage.ring_reliably).to(unpracked)(do.ring_reliably)
received.upon(InviteUsage.answer).to(answered)(do.answer)
unpracked.upon(InviteUsage.pracked).to(received)(do.be_pracked)
unpracked.upon(InviteUsage.ring_reliably).loop()(do.ignore)  # one at a time (RFC 3262 3)
unpracked.upon(InviteUsage.answer).to(answer_held)(do.hold_answer)
answer_held.upon(InviteUsage.pracked).to(answered)(do.answer_at_last)
answer_held.upon(InviteUsage.ring_reliably).loop()(do.ignore)
for waiting in (unpracked, answer_held):
    waiting.upon(InviteUsage.repeat_reliable).loop()(do.repeat_reliable)
    waiting.upon(InviteUsage.prack_timeout).to(ended)(do.give_up_on_prack)
for ringing in (received, unpracked, answer_held):
    ringing.upon(InviteUsage.reject).to(ended)(do.reject)
    ringing.upon(InviteUsage.bye).to(ended)(do.withdraw)
    ringing.upon(InviteUsage.peer_cancel).to(ended)(do.be_cancelled)
    ringing.upon(InviteUsage.peer_bye).to(ended)(do.end_early)
    ringing.upon(InviteUsage.peer_invite).loop()(do.refuse_second)
    ringing.upon(InviteUsage.unreachable).to(ended)(do.lose_caller)

answered.upon(InviteUsage.acknowledged).to(confirmed)(do.confirm)
answered.upon(InviteUsage.repeat).loop()(do.repeat_success)
answered.upon(InviteUsage.ack_timeout).to(ended)(do.give_up_on_ack)
answered.upon(InviteUsage.bye).to(leaving)(do.leave)
answered.upon(InviteUsage.reinvite).loop()(do.refuse_ourselves)
answered.upon(InviteUsage.peer_bye).to(ended)(do.be_hung_up)
answered.upon(InviteUsage.peer_invite).loop()(do.refuse_glare)
answered.upon(InviteUsage.unreachable).to(ended)(do.lose_caller)
answered.upon(InviteUsage.gone).to(ended)(do.give_up)

leaving.upon(InviteUsage.acknowledged).to(ended)(do.hang_up_at_last)
leaving.upon(InviteUsage.repeat).loop()(do.repeat_success)
leaving.upon(InviteUsage.ack_timeout).to(ended)(do.hang_up_at_last)
leaving.upon(InviteUsage.peer_bye).to(ended)(do.be_hung_up)
leaving.upon(InviteUsage.peer_invite).loop()(do.refuse_glare)
leaving.upon(InviteUsage.unreachable).to(ended)(do.lose_caller)

for asking in (calling, proceeding):
    asking.upon(InviteUsage.trying).to(proceeding)(do.tell_trying)
    asking.upon(InviteUsage.provisional).to(proceeding)(do.tell_provisional)
    asking.upon(InviteUsage.challenge).to(calling)(do.try_again)
    asking.upon(InviteUsage.success).to(confirmed)(do.establish)
    asking.upon(InviteUsage.success_with_offer).to(ack_due)(do.establish_without_ack)
    asking.upon(InviteUsage.failure).to(ended)(do.be_rejected)
    asking.upon(InviteUsage.timed_out).to(ended)(do.time_out)
    asking.upon(InviteUsage.unreachable).to(ended)(do.lose_callee)
    asking.upon(InviteUsage.peer_invite).loop()(do.refuse_glare)
calling.upon(InviteUsage.cancel).to(cancel_held)(do.hold_cancel)
calling.upon(InviteUsage.bye).to(cancel_held)(do.hold_cancel_and_end)
proceeding.upon(InviteUsage.cancel).to(cancelling)(do.cancel)
proceeding.upon(InviteUsage.bye).to(cancelling)(do.cancel_and_end)

cancel_held.upon(InviteUsage.trying).to(cancelling)(do.cancel_at_last)
cancel_held.upon(InviteUsage.provisional).to(cancelling)(do.cancel_at_last)
cancel_held.upon(InviteUsage.cancel).loop()(do.ignore)
cancel_held.upon(InviteUsage.bye).loop()(do.end_now)
cancelling.upon(InviteUsage.cancel).loop()(do.ignore)
cancelling.upon(InviteUsage.bye).loop()(do.end_now)
cancelling.upon(InviteUsage.cancel_timeout).to(ended)(do.abandon)
for giving_up in (cancel_held, cancelling):
    giving_up.upon(InviteUsage.success).to(ended)(do.cancel_met_success)
    giving_up.upon(InviteUsage.success_with_offer).to(ended)(do.cancel_met_success)
    giving_up.upon(InviteUsage.failure).to(ended)(do.be_rid_of_call)
    giving_up.upon(InviteUsage.challenge).to(ended)(do.be_rid_of_call)
    giving_up.upon(InviteUsage.timed_out).to(ended)(do.be_rid_of_call)
    giving_up.upon(InviteUsage.unreachable).to(ended)(do.be_rid_of_call)
    giving_up.upon(InviteUsage.peer_invite).loop()(do.refuse_glare)

ack_due.upon(InviteUsage.ack).to(confirmed)(do.acknowledge)
ack_due.upon(InviteUsage.bye).to(ended)(do.acknowledge_and_hang_up)
ack_due.upon(InviteUsage.cancel).to(ended)(do.acknowledge_and_hang_up)
ack_due.upon(InviteUsage.gone).to(ended)(do.acknowledge_and_give_up)
ack_due.upon(InviteUsage.reinvite).loop()(do.refuse_ourselves)
ack_due.upon(InviteUsage.peer_invite).loop()(do.refuse_glare)
ack_due.upon(InviteUsage.peer_bye).to(ended)(do.be_hung_up)

confirmed.upon(InviteUsage.reinvite).to(reinviting)(do.send_offer)
confirmed.upon(InviteUsage.peer_invite).to(reoffered)(do.take_offer)
confirmed.upon(InviteUsage.peer_bye).to(ended)(do.be_hung_up)
confirmed.upon(InviteUsage.bye).to(ended)(do.hang_up)
confirmed.upon(InviteUsage.cancel).to(ended)(do.hang_up)  # the 2xx was faster; our BYE follows its ACK (9.1, 15)
confirmed.upon(InviteUsage.gone).to(ended)(do.give_up)
confirmed.upon(InviteUsage.answer).loop()(do.ignore)
confirmed.upon(InviteUsage.reject).loop()(do.ignore)

reinviting.upon(InviteUsage.challenge).loop()(do.try_again)
reinviting.upon(InviteUsage.reinvite_success).to(confirmed)(do.take_answer)
reinviting.upon(InviteUsage.reinvite_success_with_offer).to(ack_due)(do.take_answer_without_ack)
reinviting.upon(InviteUsage.reinvite_failure).to(confirmed)(do.keep_session)
reinviting.upon(InviteUsage.reinvite_timeout).loop()(do.take_offer_back)
reinviting.upon(InviteUsage.cancel_timeout).to(confirmed)(do.forget_offer)
reinviting.upon(InviteUsage.peer_bye).to(ended)(do.be_hung_up_with_offer_out)
reinviting.upon(InviteUsage.bye).to(ended)(do.hang_up_with_offer_out)
reinviting.upon(InviteUsage.cancel).to(ended)(do.hang_up_with_offer_out)
reinviting.upon(InviteUsage.gone).to(ended)(do.give_up_with_offer_out)
reinviting.upon(InviteUsage.reinvite).loop()(do.refuse_ourselves)
reinviting.upon(InviteUsage.peer_invite).loop()(do.refuse_glare)

reoffered.upon(InviteUsage.answer).to(reanswered)(do.answer)
reoffered.upon(InviteUsage.reject).to(confirmed)(do.reject_offer)
reoffered.upon(InviteUsage.reinvite).loop()(do.refuse_ourselves)
reoffered.upon(InviteUsage.peer_cancel).to(confirmed)(do.drop_offer)
reoffered.upon(InviteUsage.peer_invite).loop()(do.refuse_second)
reoffered.upon(InviteUsage.peer_bye).to(ended)(do.end_with_offer_open)
reoffered.upon(InviteUsage.bye).to(ended)(do.hang_up_with_offer_open)
reoffered.upon(InviteUsage.cancel).to(ended)(do.hang_up_with_offer_open)
reoffered.upon(InviteUsage.gone).to(ended)(do.give_up_with_offer_open)

reanswered.upon(InviteUsage.acknowledged).to(confirmed)(do.confirm_offer)
reanswered.upon(InviteUsage.repeat).loop()(do.repeat_success)
reanswered.upon(InviteUsage.ack_timeout).to(ended)(do.give_up_on_ack)
reanswered.upon(InviteUsage.reinvite).loop()(do.refuse_ourselves)
reanswered.upon(InviteUsage.peer_invite).loop()(do.refuse_glare)
reanswered.upon(InviteUsage.peer_bye).to(ended)(do.be_hung_up)
reanswered.upon(InviteUsage.bye).to(leaving)(do.leave)
reanswered.upon(InviteUsage.cancel).to(leaving)(do.leave)
reanswered.upon(InviteUsage.gone).to(ended)(do.give_up)

confirmed.upon(InviteUsage.refresh_due).loop()(do.refresh)
for busy in (answered, ack_due, reinviting, reoffered, reanswered):
    busy.upon(InviteUsage.refresh_due).loop()(do.refresh_later)
for unbusy in (answered, confirmed, reanswered):
    unbusy.upon(InviteUsage.session_expired).to(ended)(do.expire)
ack_due.upon(InviteUsage.session_expired).to(ended)(do.expire_without_ack)
reinviting.upon(InviteUsage.session_expired).to(ended)(do.expire_with_offer_out)
reoffered.upon(InviteUsage.session_expired).to(ended)(do.expire_with_offer_open)

# Forks answer late (13.2.2.4), and our last re-INVITE may be answered after the end.
for settled in (ack_due, confirmed, reinviting, reoffered, reanswered, ended):
    settled.upon(InviteUsage.success).loop()(do.refuse_success)
    settled.upon(InviteUsage.success_with_offer).loop()(do.refuse_success)
ended.upon(InviteUsage.reinvite_success).loop()(do.acknowledge_only)
ended.upon(InviteUsage.reinvite_success_with_offer).loop()(do.acknowledge_only)
ended.upon(InviteUsage.cancel_timeout).loop()(do.forget_last_offer)

InviteUsageMachine = seal(
    machine,
    name="InviteUsage",
    remote=[
        InviteUsage.peer_cancel,
        InviteUsage.peer_bye,
        InviteUsage.peer_invite,
        InviteUsage.acknowledged,
        InviteUsage.pracked,
        InviteUsage.trying,
        InviteUsage.provisional,
        InviteUsage.success,
        InviteUsage.success_with_offer,
        InviteUsage.challenge,
        InviteUsage.failure,
        InviteUsage.reinvite_success,
        InviteUsage.reinvite_success_with_offer,
        InviteUsage.reinvite_failure,
        InviteUsage.timed_out,
        InviteUsage.unreachable,
        InviteUsage.gone,
    ],
)
