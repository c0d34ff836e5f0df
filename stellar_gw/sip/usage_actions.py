"""What the rows of the INVITE usage's table do: each appends effects, and nothing else."""

from __future__ import annotations

from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.events import (
    Answered,
    Cancelled,
    Confirmed,
    EndCause,
    Provisional,
    ReinviteRefused,
    Reoffered,
    Trying,
)
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
    Refresh,
    Refuse,
    RefuseSuccess,
    RepeatProvisional,
    RepeatReliable,
    RepeatSuccess,
    Respond,
    RespondReliably,
    SendAck,
    SendBye,
    SendCancel,
    SendReinvite,
    Tell,
    Usage,
)

REMIND = 60.0  # seconds between provisional responses (13.3.1.1)
REFRESH_PATIENCE = 5.0  # seconds that a refresh waits for an open exchange
REINVITE_PATIENCE = 180.0  # seconds until a re-INVITE is cancelled: what proxies grant (timer C, 16.6)


def _settle(it: Usage) -> None:
    """Our 2xx needs no more repeating."""
    it.effects += [Stop("repeat"), Stop("ack_timeout")]


# Called: the peer's INVITE


def ring(_: InviteUsage, it: Usage, status: int, reason: str, headers: HeaderItems, body: bytes) -> None:
    it.effects += [Respond(status, reason, headers, body), Start("remind", REMIND)]


def remind(_: InviteUsage, it: Usage) -> None:
    it.effects += [RepeatProvisional(), Start("remind", REMIND)]


def ring_reliably(_: InviteUsage, it: Usage, status: int, reason: str, headers: HeaderItems, body: bytes) -> None:
    it.effects += [Stop("remind"), RespondReliably(status, reason, headers, body)]


def repeat_reliable(_: InviteUsage, it: Usage) -> None:
    it.effects.append(RepeatReliable())


def _have_prack(it: Usage) -> None:
    it.awaited = None
    it.effects += [Stop("repeat_reliable"), Stop("prack_timeout")]


def be_pracked(_: InviteUsage, it: Usage) -> None:
    _have_prack(it)


def give_up_on_prack(_: InviteUsage, it: Usage) -> None:
    _have_prack(it)
    it.effects += [Respond(504), Close(), End("ack_timeout", "local")]


def hold_answer(_: InviteUsage, it: Usage, headers: HeaderItems, body: bytes) -> None:
    it.held = headers, body


def answer_at_last(_: InviteUsage, it: Usage) -> None:
    _have_prack(it)
    it.effects.append(Respond(200, "", *it.held))


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
        Stop("remind"),
        Respond(487),
        Close(),
        Tell(Cancelled(it.id, cancel)),
        End("cancelled", "remote", cancel),
    ]


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


def tell_trying(_: InviteUsage, it: Usage) -> None:
    it.effects.append(Tell(Trying(it.id)))


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
        Stop("cancel_timeout"),
        Close(),
        RefuseSuccess(response),
        End("cancelled", "local", response=response),
    ]


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


def refresh(_: InviteUsage, it: Usage) -> None:
    it.effects.append(Refresh())


def refresh_later(_: InviteUsage, it: Usage) -> None:
    # An exchange that is open refreshes the session too, if it goes well.
    it.effects.append(Start("refresh_due", REFRESH_PATIENCE))


def expire(_: InviteUsage, it: Usage) -> None:
    give_up(_, it, "expired", None)


def expire_with_offer_out(_: InviteUsage, it: Usage) -> None:
    give_up_with_offer_out(_, it, "expired", None)


def expire_with_offer_open(_: InviteUsage, it: Usage) -> None:
    give_up_with_offer_open(_, it, "expired", None)


def expire_without_ack(_: InviteUsage, it: Usage) -> None:
    acknowledge_and_give_up(_, it, "expired", None)


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
    it.effects += [SendReinvite(headers, body), Start("reinvite_timeout", REINVITE_PATIENCE)]


def _have_outcome(it: Usage) -> None:
    it.effects += [Stop("reinvite_timeout"), Stop("cancel_timeout")]


def take_offer_back(_: InviteUsage, it: Usage) -> None:
    _cancel(it, ())


def forget_offer(_: InviteUsage, it: Usage) -> None:
    it.effects += [Abandon(), Tell(ReinviteRefused(it.id, None))]


def forget_last_offer(_: InviteUsage, it: Usage) -> None:
    it.effects.append(Abandon())


def _leave_offer(it: Usage) -> None:
    """The usage ends, and what the peer answers to our offer matters no more: wait for that, but not for ever."""
    it.effects += [Stop("reinvite_timeout"), Start("cancel_timeout", it.cancel_patience)]


def hang_up_with_offer_out(_: InviteUsage, it: Usage, headers: HeaderItems) -> None:
    _leave_offer(it)
    hang_up(_, it, headers)


def be_hung_up_with_offer_out(_: InviteUsage, it: Usage, bye: Request) -> None:
    _leave_offer(it)
    be_hung_up(_, it, bye)


def give_up_with_offer_out(_: InviteUsage, it: Usage, cause: EndCause, response: Response | None) -> None:
    _leave_offer(it)
    give_up(_, it, cause, response)


def refuse_ourselves(_: InviteUsage, it: Usage, headers: HeaderItems, body: bytes) -> None:
    # 14.1: not while another INVITE is open in the dialog. Said as the peer would say it.
    it.effects.append(Tell(ReinviteRefused(it.id, Response(491, REASONS[491]))))


def take_answer(_: InviteUsage, it: Usage, response: Response) -> None:
    _have_outcome(it)
    it.effects += [Adopt(response), SendAck(), Tell(Answered(it.id, response, reinvite=True))]


def take_answer_without_ack(_: InviteUsage, it: Usage, response: Response) -> None:
    _have_outcome(it)
    it.effects += [Adopt(response), Tell(Answered(it.id, response, reinvite=True))]


def keep_session(_: InviteUsage, it: Usage, response: Response | None) -> None:
    _have_outcome(it)
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
