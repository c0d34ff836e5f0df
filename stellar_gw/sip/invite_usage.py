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
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.events import Answered, Cancelled, Confirmed, EndCause, Provisional, ReinviteRefused, Reoffered
from stellar_gw.sip.message import REASONS, Request, Response
from stellar_gw.sip.transactions.effects import Start, Stop
from stellar_gw.sip.transactions.transaction import ServerTransaction
from stellar_gw.sip.usage import (
    Abandon,
    Adopt,
    AnswerChallenge,
    Close,
    End,
    HeaderItems,
    InviteUsage,
    Refuse,
    RefuseSuccess,
    RepeatProvisional,
    RepeatSuccess,
    Respond,
    SendAck,
    SendBye,
    SendCancel,
    SendReinvite,
    Tell,
    Usage,
)

REMIND = 60.0  # seconds between provisional responses (13.3.1.1)


def _settle(it: Usage) -> None:
    """Our 2xx needs no more repeating."""
    it.effects += [Stop("repeat"), Stop("ack_timeout")]


# Called: the peer's INVITE

def ring(_: InviteUsage, it: Usage, status: int, reason: str, headers: HeaderItems, body: bytes) -> None:
    it.effects += [Respond(status, reason, headers, body), Start("remind", REMIND)]


def remind(_: InviteUsage, it: Usage) -> None:
    it.effects += [RepeatProvisional(), Start("remind", REMIND)]


def answer(_: InviteUsage, it: Usage, headers: HeaderItems, body: bytes) -> None:
    it.effects += [Stop("remind"), Respond(200, "", headers, body)]


def repeat_success(_: InviteUsage, it: Usage) -> None:
    it.effects.append(RepeatSuccess())


def reject(_: InviteUsage, it: Usage, status: int, reason: str, headers: HeaderItems) -> None:
    it.effects += [Stop("remind"), Respond(status, reason, headers), Close(), End("rejected", "local")]


def withdraw(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    # The caller has not given up, so 487 would be wrong; nobody may say BYE before he has answered.
    it.effects += [Stop("remind"), Respond(480, "", headers), Close(), End("rejected", "local")]


def be_cancelled(_: InviteUsage, it: Usage, cancel: Request) -> None:
    it.effects += [
        Stop("remind"), Respond(487), Close(), Tell(Cancelled(it.id, cancel)), End("cancelled", "remote", cancel)]


def end_early(_: InviteUsage, it: Usage, bye: Request) -> None:
    it.effects += [Stop("remind"), Respond(487), Close(), End("bye", "remote", bye)]


def lose_caller(_: InviteUsage, it: Usage) -> None:
    it.effects.append(Stop("remind"))
    _settle(it)
    it.effects += [Close(), End("transport", "local")]


def confirm(_: InviteUsage, it: Usage, ack: Request) -> None:
    _settle(it)
    it.effects.append(Tell(Confirmed(it.id, ack, sdp_body(ack) if it.offer_is_ours else b"")))


def give_up_on_ack(_: InviteUsage, it: Usage) -> None:
    _settle(it)
    it.effects += [SendBye(), End("ack_timeout", "local")]


def leave(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    it.leaving = headers
    it.effects.append(End("bye", "local"))


def hang_up_at_last(_: InviteUsage, it: Usage, *ack: object, **_named: object) -> None:
    _settle(it)
    it.effects.append(SendBye(it.leaving))


# Calling: our INVITE

def tell_provisional(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects.append(Tell(Provisional(it.id, response)))


def try_again(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects.append(AnswerChallenge(response))


def establish(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects += [Adopt(response), SendAck(), Tell(Answered(it.id, response))]


def establish_without_ack(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects += [Adopt(response), Tell(Answered(it.id, response))]


def refuse_success(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects.append(RefuseSuccess(response))


def be_rejected(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects += [Close(), End("rejected", "remote", response=response)]


def time_out(_: InviteUsage, it: Usage) -> None:
    it.effects += [Close(), End("timeout", "local")]


def lose_callee(_: InviteUsage, it: Usage) -> None:
    it.effects += [Close(), End("transport", "local")]


def hold_cancel(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    it.leaving = headers


def hold_cancel_and_end(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    it.leaving = it.leaving or headers
    it.effects.append(End("cancelled", "local"))


def _cancel(it: Usage, headers: HeaderItems) -> None:
    it.effects += [SendCancel(headers), Start("cancel_timeout", it.cancel_patience)]


def cancel(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    _cancel(it, headers)


def cancel_and_end(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    _cancel(it, headers)
    it.effects.append(End("cancelled", "local"))


def cancel_at_last(_: InviteUsage, it: Usage, *response: object, **_named: object) -> None:
    _cancel(it, it.leaving)


def end_now(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    it.effects.append(End("cancelled", "local"))


def cancel_met_success(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects += [
        Stop("cancel_timeout"), Close(), RefuseSuccess(response), End("cancelled", "local", response=response)]


def be_rid_of_call(_: InviteUsage, it: Usage, response: Response | None = None) -> None:
    it.effects += [Stop("cancel_timeout"), Close(), End("cancelled", "local", response=response)]


def abandon(_: InviteUsage, it: Usage) -> None:
    it.effects += [Abandon(), Close(), End("cancelled", "local")]


# Confirmed

def hang_up(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    it.effects += [SendBye(headers), End("bye", "local")]


def be_hung_up(_: InviteUsage, it: Usage, bye: Request) -> None:
    _settle(it)
    it.effects += [Close(), End("bye", "remote", bye)]


def give_up(_: InviteUsage, it: Usage, cause: EndCause, response: Response | None) -> None:
    _settle(it)
    it.effects += [SendBye(), End(cause, "local" if response is None else "remote", response=response)]


def take_offer(_: InviteUsage, it: Usage, transaction: ServerTransaction) -> None:
    it.invite = transaction
    it.effects += [Respond(100), Tell(Reoffered(it.id, transaction.request))]


def refuse_glare(_: InviteUsage, it: Usage, transaction: ServerTransaction) -> None:
    it.effects.append(Refuse(transaction, 491))


def refuse_second(_: InviteUsage, it: Usage, transaction: ServerTransaction) -> None:
    it.effects.append(Refuse(transaction, 500))


def reject_offer(_: InviteUsage, it: Usage, status: int, reason: str, headers: HeaderItems) -> None:
    it.effects.append(Respond(status, reason, headers))


def drop_offer(_: InviteUsage, it: Usage, cancel: Request) -> None:
    it.effects += [Respond(487), Tell(Cancelled(it.id, cancel, reinvite=True))]


def lose_offer(_: InviteUsage, it: Usage) -> None:
    _settle(it)


def end_with_offer_open(_: InviteUsage, it: Usage, bye: Request) -> None:
    it.effects += [Respond(487), Close(), End("bye", "remote", bye)]


def hang_up_with_offer_open(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    it.effects += [Respond(487), SendBye(headers), End("bye", "local")]


def give_up_with_offer_open(_: InviteUsage, it: Usage, cause: EndCause, response: Response | None) -> None:
    it.effects.append(Respond(487))
    give_up(_, it, cause, response)


def confirm_offer(_: InviteUsage, it: Usage, ack: Request) -> None:
    _settle(it)
    it.effects.append(Tell(Confirmed(it.id, ack, sdp_body(ack) if it.offer_is_ours else b"", reinvite=True)))


def send_offer(_: InviteUsage, it: Usage, headers: HeaderItems, body: bytes) -> None:
    it.effects.append(SendReinvite(headers, body))


def refuse_ourselves(_: InviteUsage, it: Usage, headers: HeaderItems, body: bytes) -> None:
    # 14.1: not while another INVITE is open in the dialog. Said as the peer would say it.
    it.effects.append(Tell(ReinviteRefused(it.id, Response(491, REASONS[491]))))


def take_answer(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects += [Adopt(response), SendAck(), Tell(Answered(it.id, response, reinvite=True))]


def take_answer_without_ack(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects += [Adopt(response), Tell(Answered(it.id, response, reinvite=True))]


def keep_session(_: InviteUsage, it: Usage, response: Response | None) -> None:
    it.effects.append(Tell(ReinviteRefused(it.id, response)))


def acknowledge(_: InviteUsage, it: Usage, body: bytes) -> None:
    it.effects.append(SendAck(body))


def acknowledge_and_hang_up(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    it.effects += [SendAck(), SendBye(headers), End("bye", "local")]


def acknowledge_and_give_up(_: InviteUsage, it: Usage, cause: EndCause, response: Response | None) -> None:
    it.effects.append(SendAck())
    give_up(_, it, cause, response)


def acknowledge_only(_: InviteUsage, it: Usage, response: Response) -> None:
    it.effects.append(SendAck())


def ignore(_: InviteUsage, it: Usage, *anything: object, **_named: object) -> None:
    """What the floor above asked for was overtaken by the peer; an event that says so is on its way."""


machine = TypeMachineBuilder[InviteUsage, Usage](InviteUsage, Usage)
received, answered, leaving = map(machine.state, ("Received", "Answered", "Leaving"))
calling, proceeding, cancel_held = map(machine.state, ("Calling", "Proceeding", "CancelHeld"))
cancelling, ack_due, confirmed = map(machine.state, ("Cancelling", "AckDue", "Confirmed"))
reinviting, reoffered, reanswered = map(machine.state, ("Reinviting", "Reoffered", "Reanswered"))
ended = machine.state("Ended")

received.upon(InviteUsage.ring).loop()(ring)
received.upon(InviteUsage.remind).loop()(remind)
received.upon(InviteUsage.answer).to(answered)(answer)
received.upon(InviteUsage.reject).to(ended)(reject)
received.upon(InviteUsage.bye).to(ended)(withdraw)
received.upon(InviteUsage.peer_cancel).to(ended)(be_cancelled)
received.upon(InviteUsage.peer_bye).to(ended)(end_early)
received.upon(InviteUsage.peer_invite).loop()(refuse_second)
received.upon(InviteUsage.unreachable).to(ended)(lose_caller)

answered.upon(InviteUsage.acknowledged).to(confirmed)(confirm)
answered.upon(InviteUsage.repeat).loop()(repeat_success)
answered.upon(InviteUsage.ack_timeout).to(ended)(give_up_on_ack)
answered.upon(InviteUsage.bye).to(leaving)(leave)
answered.upon(InviteUsage.reinvite).loop()(refuse_ourselves)
answered.upon(InviteUsage.peer_bye).to(ended)(be_hung_up)
answered.upon(InviteUsage.peer_invite).loop()(refuse_glare)
answered.upon(InviteUsage.unreachable).to(ended)(lose_caller)
answered.upon(InviteUsage.gone).to(ended)(give_up)

leaving.upon(InviteUsage.acknowledged).to(ended)(hang_up_at_last)
leaving.upon(InviteUsage.repeat).loop()(repeat_success)
leaving.upon(InviteUsage.ack_timeout).to(ended)(hang_up_at_last)
leaving.upon(InviteUsage.peer_bye).to(ended)(be_hung_up)
leaving.upon(InviteUsage.peer_invite).loop()(refuse_glare)
leaving.upon(InviteUsage.unreachable).to(ended)(lose_caller)

for asking in (calling, proceeding):
    asking.upon(InviteUsage.trying).to(proceeding).returns(None)
    asking.upon(InviteUsage.provisional).to(proceeding)(tell_provisional)
    asking.upon(InviteUsage.challenge).to(calling)(try_again)
    asking.upon(InviteUsage.success).to(confirmed)(establish)
    asking.upon(InviteUsage.success_with_offer).to(ack_due)(establish_without_ack)
    asking.upon(InviteUsage.failure).to(ended)(be_rejected)
    asking.upon(InviteUsage.timed_out).to(ended)(time_out)
    asking.upon(InviteUsage.unreachable).to(ended)(lose_callee)
    asking.upon(InviteUsage.peer_invite).loop()(refuse_glare)
calling.upon(InviteUsage.cancel).to(cancel_held)(hold_cancel)
calling.upon(InviteUsage.bye).to(cancel_held)(hold_cancel_and_end)
proceeding.upon(InviteUsage.cancel).to(cancelling)(cancel)
proceeding.upon(InviteUsage.bye).to(cancelling)(cancel_and_end)

cancel_held.upon(InviteUsage.trying).to(cancelling)(cancel_at_last)
cancel_held.upon(InviteUsage.provisional).to(cancelling)(cancel_at_last)
cancel_held.upon(InviteUsage.cancel).loop()(ignore)
cancel_held.upon(InviteUsage.bye).loop()(end_now)
cancelling.upon(InviteUsage.cancel).loop()(ignore)
cancelling.upon(InviteUsage.bye).loop()(end_now)
cancelling.upon(InviteUsage.cancel_timeout).to(ended)(abandon)
for giving_up in (cancel_held, cancelling):
    giving_up.upon(InviteUsage.success).to(ended)(cancel_met_success)
    giving_up.upon(InviteUsage.success_with_offer).to(ended)(cancel_met_success)
    giving_up.upon(InviteUsage.failure).to(ended)(be_rid_of_call)
    giving_up.upon(InviteUsage.challenge).to(ended)(be_rid_of_call)
    giving_up.upon(InviteUsage.timed_out).to(ended)(be_rid_of_call)
    giving_up.upon(InviteUsage.unreachable).to(ended)(be_rid_of_call)
    giving_up.upon(InviteUsage.peer_invite).loop()(refuse_glare)

ack_due.upon(InviteUsage.ack).to(confirmed)(acknowledge)
ack_due.upon(InviteUsage.bye).to(ended)(acknowledge_and_hang_up)
ack_due.upon(InviteUsage.cancel).to(ended)(acknowledge_and_hang_up)
ack_due.upon(InviteUsage.gone).to(ended)(acknowledge_and_give_up)
ack_due.upon(InviteUsage.reinvite).loop()(refuse_ourselves)
ack_due.upon(InviteUsage.peer_invite).loop()(refuse_glare)
ack_due.upon(InviteUsage.peer_bye).to(ended)(be_hung_up)

confirmed.upon(InviteUsage.reinvite).to(reinviting)(send_offer)
confirmed.upon(InviteUsage.peer_invite).to(reoffered)(take_offer)
confirmed.upon(InviteUsage.answer).loop()(ignore)
confirmed.upon(InviteUsage.reject).loop()(ignore)

reinviting.upon(InviteUsage.challenge).loop()(try_again)
reinviting.upon(InviteUsage.reinvite_success).to(confirmed)(take_answer)
reinviting.upon(InviteUsage.reinvite_success_with_offer).to(ack_due)(take_answer_without_ack)
reinviting.upon(InviteUsage.reinvite_failure).to(confirmed)(keep_session)
reinviting.upon(InviteUsage.reinvite).loop()(refuse_ourselves)
reinviting.upon(InviteUsage.peer_invite).loop()(refuse_glare)

reoffered.upon(InviteUsage.answer).to(reanswered)(answer)
reoffered.upon(InviteUsage.reject).to(confirmed)(reject_offer)
reoffered.upon(InviteUsage.reinvite).loop()(refuse_ourselves)
reoffered.upon(InviteUsage.peer_cancel).to(confirmed)(drop_offer)
reoffered.upon(InviteUsage.peer_invite).loop()(refuse_second)
reoffered.upon(InviteUsage.peer_bye).to(ended)(end_with_offer_open)
reoffered.upon(InviteUsage.bye).to(ended)(hang_up_with_offer_open)
reoffered.upon(InviteUsage.cancel).to(ended)(hang_up_with_offer_open)
reoffered.upon(InviteUsage.gone).to(ended)(give_up_with_offer_open)

reanswered.upon(InviteUsage.acknowledged).to(confirmed)(confirm_offer)
reanswered.upon(InviteUsage.repeat).loop()(repeat_success)
reanswered.upon(InviteUsage.ack_timeout).to(ended)(give_up_on_ack)
reanswered.upon(InviteUsage.reinvite).loop()(refuse_ourselves)
reanswered.upon(InviteUsage.peer_invite).loop()(refuse_glare)
reanswered.upon(InviteUsage.peer_bye).to(ended)(be_hung_up)
reanswered.upon(InviteUsage.bye).to(leaving)(leave)
reanswered.upon(InviteUsage.cancel).to(leaving)(leave)
reanswered.upon(InviteUsage.gone).to(ended)(give_up)

for up in (confirmed, reinviting):
    up.upon(InviteUsage.peer_bye).to(ended)(be_hung_up)
    up.upon(InviteUsage.bye).to(ended)(hang_up)
    up.upon(InviteUsage.cancel).to(ended)(hang_up)  # the 2xx was faster; our BYE follows its ACK (9.1, 15)
    up.upon(InviteUsage.gone).to(ended)(give_up)

# Forks answer late (13.2.2.4), and our last re-INVITE may be answered after the end.
for settled in (ack_due, confirmed, reinviting, reoffered, reanswered, ended):
    settled.upon(InviteUsage.success).loop()(refuse_success)
    settled.upon(InviteUsage.success_with_offer).loop()(refuse_success)
ended.upon(InviteUsage.reinvite_success).loop()(acknowledge_only)
ended.upon(InviteUsage.reinvite_success_with_offer).loop()(acknowledge_only)

InviteUsageMachine = seal(
    machine,
    name="InviteUsage",
    remote=[
        InviteUsage.peer_cancel, InviteUsage.peer_bye, InviteUsage.peer_invite, InviteUsage.acknowledged,
        InviteUsage.trying, InviteUsage.provisional, InviteUsage.success, InviteUsage.success_with_offer,
        InviteUsage.challenge, InviteUsage.failure, InviteUsage.reinvite_success,
        InviteUsage.reinvite_success_with_offer, InviteUsage.reinvite_failure, InviteUsage.timed_out,
        InviteUsage.unreachable, InviteUsage.gone,
    ],
)
