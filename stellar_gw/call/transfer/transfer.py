"""One transfer from its request to its outcome, and the bridge that it may lead to: carries out its table's steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.leg.dial_failure import DialFailure
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.machine import Ending
from stellar_gw.call.target.target import Target
from stellar_gw.call.timers import Timers
from stellar_gw.call.transfer.account import Account
from stellar_gw.call.transfer.keys import Keys
from stellar_gw.call.transfer.machine import Effect, FailAttempt, Finish, Outbox, Step, Tell, TransferMachine
from stellar_gw.call.transfer.outcome import Failure, Outcome
from stellar_gw.call.transfer.ports import Caller, CallingLeg, Headers, MakeLeg
from stellar_gw.call.transfer.refer import refer_headers, refusal_of
from stellar_gw.call.transfer.sounds import Sounds, passed_on
from stellar_gw.control import messages
from stellar_gw.control.messages import Direction
from stellar_gw.sip.events import RequestInDialog
from stellar_gw.sip.message import Response
from stellar_gw.sip.refer import Progress, wants_no_subscription

NOTIFY_PATIENCE = 30.0
"""Seconds from the 2xx to our REFER in which one NOTIFY must come."""
RING_LIMIT = 60.0
"""Seconds from the first provisional NOTIFY to the final one."""
BYE_PATIENCE = 2.0
"""Seconds in which a phone system that has taken the transfer without a word on its progress hangs up by itself."""
SETTLED = 2.0
"""Seconds after which a bridge is taken for good, and the agent leaves."""

ENDS_DIALOG = (408, 481)
"""What a REFER may be answered with where the dialog is no more (RFC 5057 5.1)."""

TellProgress = Callable[[str, dict[str, str]], None]
"""A state on the way, and details."""


@frozen(kw_only=True)
class Surroundings:
    """What transfers share.

    :ivar wall: wall clock, seconds since 1970, for records.
    :ivar note: a kind and a line for the operator.
    :ivar hold: how the caller's phone system is held.
    """

    caller: Caller
    make_leg: MakeLeg
    clock: IReactorTime
    wall: Callable[[], float]
    note: Callable[[str, str], None]
    hold: Direction = "sendonly"


class Transfer:
    """One of one call; implements :class:`~stellar_gw.call.leg.listener.LegListener`.

    :param headers: X-* of the agent's.
    :param tell: told every step on the way.
    :ivar outcome: fires once.
    :ivar joining: called when caller and target begin to hear each other.
    :ivar over: nothing is left to do: no dialog of ours, no bridge.
    """

    def __init__(self, target: Target, headers: Headers, around: Surroundings, tell: TellProgress) -> None:
        self.target, self._headers, self._around, self._tell = target, headers, around, tell
        self._caller = around.caller
        self._timers = Timers(around.clock)
        self._outbox = Outbox()
        self._machine = TransferMachine(self._outbox)
        self._running = False
        self._leg: CallingLeg | None = None
        self._refer_id: int | None = None
        self._account = Account(target, around.clock, around.wall)
        self._sounds = Sounds(target, self._caller, self._media_failed)
        self._keys = Keys(self._timers, self._caller, around.note)
        self.outcome: Deferred[Outcome] = Deferred()
        self.joining: Callable[[], None] = lambda: None
        self.over = False

    @property
    def record(self) -> dict[str, Any]:
        return self._account.record

    def start(self) -> None:
        if self.target.method == "refer":
            self._machine.refer()
        else:
            self._machine.dial()
        self._run()

    @property
    def bridging(self) -> bool:
        """Caller and target hear each other."""
        return self._account.joined and not self.over

    # --- the caller's dialog --------------------------------------------------------------------

    def notified(self, progress: Progress) -> None:
        """A NOTIFY came; one of an earlier REFER says nothing of this."""
        if None not in (self._refer_id, progress.event_id) and progress.event_id != self._refer_id:
            return
        status = progress.status
        if 200 <= status < 300:
            self._machine.moved()
        elif status >= 300:
            self._refused(Failure(code="refer_failed", status=status, reason=progress.phrase))
        elif progress.ended:
            self._machine.unclear()
        elif status:
            self._machine.progress(status)
        self._run()

    def caller_gone(self) -> None:
        """The caller's dialog is over."""
        self._machine.caller_gone()
        self._run()

    def caller_direction(self, direction: Direction) -> None:
        """The caller's phone system holds or resumes us; ours, as our answer said. The target is to know."""
        if self.bridging and self._leg is not None:
            self._leg.hold(passed_on(self.target.hold, direction))

    def agent_gone(self) -> None:
        self._machine.agent_gone()
        self._run()

    def abandon(self) -> None:
        """The call is ended by us."""
        self._machine.abandon()
        self._run()

    def heard(self, event: messages.Event) -> None:
        """Something that the worker says of the target's leg."""
        if self._leg is not None:
            self._leg.heard(event)

    # --- the target's leg (LegListener) ---------------------------------------------------------

    def ringing(self, status: int, early_media: bool) -> None:
        self._machine.ringing(status)
        self._run()
        if early_media:
            self._sounds.take_early_media()

    def answered(self) -> None:
        self._account.answered()
        self._keys.press(self.target.digits)
        if self.target.confirm is None:
            self._machine.answered()
        else:
            self._machine.answered_to_confirm()
        self._run()

    def failed(self, failure: DialFailure) -> None:
        self._leg = None
        phrase = failure.phrase.removeprefix(f"{failure.status} ")
        self._machine.failed(Failure(code=failure.reason, status=failure.status, reason=phrase))
        self._run()

    def ended(self, by: str, cause: str, reason_header: str) -> None:
        self._leg = None
        self._machine.dropped()
        self._run()

    def digit(self, event: messages.DigitReceived) -> None:
        confirm = self.target.confirm
        if confirm is not None and event.digit == confirm.digit:
            self._machine.confirmed()
            self._run()

    def asked(self, event: RequestInDialog, respond: Respond) -> bool:
        return False

    def released(self, numbers: messages.LegStatistics | None) -> None:
        if numbers is not None:
            self._caller.keep_leg(numbers)

    def direction_changed(self, direction: Direction) -> None:
        if self.bridging:
            self._caller.offer(passed_on(self._around.hold, direction))

    # --- how it goes on -------------------------------------------------------------------------

    def _run(self) -> None:
        """Carry out what the table has asked for; what happens meanwhile waits its turn."""
        if self._running:
            return
        self._running = True
        try:
            while self._outbox.steps:
                self._do(self._outbox.steps.pop(0))
            if TransferMachine.state(self._machine) == "Done":
                self._timers.stop_all()
                self._close()
        finally:
            self._running = False

    def _do(self, step: Step) -> None:
        match step:
            case Effect():
                self._EFFECTS[step](self)
            case Tell(state=state, status=status):
                detail = {"method": self._account.method, "to": self.target.told}
                self._tell(state, detail | ({"status": str(status)} if status else {}))
            case FailAttempt(failure=failure):
                self._end_attempt(failure)
            case Finish():
                self._finish(step)

    def _end_attempt(self, failure: Failure | None) -> None:
        for timer in ("notify", "ring", "bye", "confirm"):
            self._timers.stop(timer)
        self._account.end(failure)

    def _finish(self, finish: Finish) -> None:
        self._end_attempt(finish.failure)
        outcome = self._account.finish(finish)
        self._around.note("transfer" if outcome.moved else "transfer_failed", outcome.line(self.target.told))
        self.outcome.callback(outcome)

    def _close(self) -> None:
        if not self.over:
            self.over = True
            self._account.close()

    # --- REFER ----------------------------------------------------------------------------------

    def _send_refer(self) -> None:
        self._account.begin("refer")
        self._caller.refer(refer_headers(self.target, self._headers, self._caller.local_uri), self._refer_answered)

    def _refer_answered(self, response: Response | None) -> None:
        if response is not None and response.status < 300:
            self._refer_id = response.cseq.number
            if wants_no_subscription(response):
                self._machine.accepted_silently()
            else:
                self._machine.accepted()
        elif response is None or response.status in ENDS_DIALOG:
            # The dialog's own end may be the next thing that is told, and then there is nobody to be called for.
            self._timers.start("refused", 0.0, lambda: self._refer_refused(response))
        else:
            self._refer_refused(response)
        self._run()

    def _refer_refused(self, response: Response | None) -> None:
        self._refused(refusal_of(response))
        self._run()

    def _refused(self, failure: Failure) -> None:
        if self.target.fallback:
            self._machine.refused(failure)
        else:
            self._machine.refused_for_good(failure)

    def _await_notify(self) -> None:
        self._timers.start("notify", NOTIFY_PATIENCE, self._unnotified)

    def _unnotified(self) -> None:
        reason = f"REFER was accepted, and no NOTIFY came within {NOTIFY_PATIENCE:g} s"
        self._refused(Failure(code="no_notify", reason=reason))
        self._run()

    def _await_target(self) -> None:
        self._timers.stop("notify")
        self._timers.start("ring", RING_LIMIT, self._overdue)

    def _overdue(self) -> None:
        self._machine.overdue()
        self._run()

    def _await_bye(self) -> None:
        self._timers.stop_all()
        self._timers.start("bye", BYE_PATIENCE, self._waited)

    def _waited(self) -> None:
        self._machine.waited()
        self._run()

    def _unsubscribe(self) -> None:
        self._caller.unsubscribe()

    def _hang_up(self) -> None:
        self._caller.end(Ending(cause="transferred", by="gateway", reason=f"transferred to {self.target.told}"))

    # --- a call of ours -------------------------------------------------------------------------

    def _dial(self) -> None:
        self._account.begin("invite")
        self._leg = self._around.make_leg(self.target, self._headers, self)
        self._account.dialled(str(self.target.uri), self._leg.sip_call_id)
        if self.target.while_ringing != "agent":
            self._sounds.divert()
        self._leg.dial()

    def _media_failed(self, why: str) -> None:
        self._machine.failed(Failure(code="media", reason=why))
        self._run()

    def _ask_target(self) -> None:
        confirm = self.target.confirm
        assert confirm is not None, "the table asks only where something is to be confirmed"
        self._sounds.ask(confirm.play)
        self._timers.start("confirm", confirm.timeout, self._unconfirmed)

    def _unconfirmed(self) -> None:
        assert self.target.confirm is not None
        reason = f"whoever answered did not press {self.target.confirm.digit}"
        self._machine.failed(Failure(code="not_confirmed", reason=reason))
        self._run()

    def _bridge(self) -> None:
        self._timers.stop("confirm")
        self._sounds.bridge(self._joined)

    def _joined(self) -> None:
        self._account.join()
        self._machine.joined()
        self._run()
        self.joining()
        if self._caller.far != "sendrecv":  # it has been holding us
            self.caller_direction(self._caller.far)

    def _await_settling(self) -> None:
        self._timers.start("settled", SETTLED, self._settled)

    def _settled(self) -> None:
        self._machine.settled()
        self._run()

    def _stop_agent(self) -> None:
        self._caller.dismiss_agent()
        if self.target.bridge_duration > 0:
            self._timers.start("limit", self.target.bridge_duration, self._limit_reached)

    def _limit_reached(self) -> None:
        limit = f"{self.target.bridge_duration:g} s"
        self._caller.end(Ending(cause="limit", by="gateway", reason=f"the bridge reached its limit of {limit}"))

    def _comfort(self) -> None:
        if not self._sounds.diverted:
            self._sounds.divert()

    def _return(self) -> None:
        """The caller is the agent's again; without one there is nothing left but to say why."""
        if not self._caller.agent_listens:
            reason = f"the transfer to {self.target.told} failed, and the agent has left"
            self._caller.end(Ending(cause="transfer_failed", by="gateway", reason=reason))
        else:
            self._sounds.give_back()

    def _drop_target(self) -> None:
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.give_up('Q.850;cause=16;text="transfer over"')

    def _end_call(self) -> None:
        self._caller.end(Ending(cause="target_hangup", by="target", reason=f"{self.target.told} hung up"))

    _EFFECTS: dict[Effect, Callable[[Transfer], None]] = {
        Effect.SEND_REFER: _send_refer,
        Effect.AWAIT_NOTIFY: _await_notify,
        Effect.AWAIT_TARGET: _await_target,
        Effect.AWAIT_BYE: _await_bye,
        Effect.UNSUBSCRIBE: _unsubscribe,
        Effect.HANG_UP: _hang_up,
        Effect.DIAL: _dial,
        Effect.ASK_TARGET: _ask_target,
        Effect.BRIDGE: _bridge,
        Effect.AWAIT_SETTLING: _await_settling,
        Effect.STOP_AGENT: _stop_agent,
        Effect.COMFORT: _comfort,
        Effect.RETURN: _return,
        Effect.DROP_TARGET: _drop_target,
        Effect.END_CALL: _end_call,
    }
