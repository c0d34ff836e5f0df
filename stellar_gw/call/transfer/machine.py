"""One transfer as a table, over both dialogs: the transferee's, and the target's where we call it ourselves.

Theory of operation. A transfer begins by REFER or by a call of ours, and a REFER that fails may be followed by a call
(``refused``); whoever feeds the table decides that beforehand, for a table has no conditions. Until the bridge stands
the agent goes on talking with the caller, and whatever goes wrong gives the caller back to it. Once the bridge is old
enough the agent has left, and the end of either dialog is the end of the call.

Every way through ends in ``Done``, and every way there has exactly one :class:`Finish`.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from attrs import define, field, frozen
from automat import TypeMachineBuilder

from stellar_gw import fsm
from stellar_gw.call.transfer.outcome import Failure, Result


class Effect(Enum):
    """What a transfer does to the world, in order, after the table has moved."""

    SEND_REFER = auto()
    AWAIT_NOTIFY = auto()
    AWAIT_TARGET = auto()
    AWAIT_BYE = auto()
    UNSUBSCRIBE = auto()
    HANG_UP = auto()  # the transferee's dialog: the phone system has the caller now
    DIAL = auto()
    ASK_TARGET = auto()  # to confirm
    BRIDGE = auto()
    AWAIT_SETTLING = auto()
    STOP_AGENT = auto()
    COMFORT = auto()  # the caller, who has nobody to talk to
    RETURN = auto()  # the caller to the agent
    DROP_TARGET = auto()
    END_CALL = auto()


@frozen(kw_only=True)
class Tell:
    """Something happened on the way."""

    state: str
    status: int = 0


@frozen(kw_only=True)
class FailAttempt:
    """What was tried last has failed, and something else is tried."""

    failure: Failure


@frozen(kw_only=True)
class Finish:
    """The outcome."""

    result: Result
    failure: Failure | None = None


Step = Effect | Tell | FailAttempt | Finish


@define
class Outbox:
    steps: list[Step] = field(factory=list)


class TransferTable(Protocol):
    """A transfer; RFC 5589's transferor is us, the transferee the caller's phone system."""

    def refer(self) -> None:
        """Begin by REFER."""

    def dial(self) -> None:
        """Begin by a call of ours."""

    # the transferee
    def accepted(self) -> None:
        """2xx to our REFER; NOTIFYs follow."""

    def accepted_silently(self) -> None:
        """2xx to our REFER, and no NOTIFY follows (RFC 4488)."""

    def progress(self, status: int) -> None:
        """NOTIFY: a provisional status."""

    def moved(self) -> None:
        """NOTIFY: 2xx."""

    def unclear(self) -> None:
        """The subscription has ended without a final status."""

    def refused(self, failure: Failure) -> None:
        """REFER or what it led to has failed; a call of ours is to follow."""

    def refused_for_good(self, failure: Failure) -> None:
        """The same, and nothing is to follow."""

    def overdue(self) -> None:
        """It rings at the target for too long, as far as we know."""

    def waited(self) -> None:
        """The BYE that should follow has not come."""

    def caller_gone(self) -> None:
        """The transferee's dialog is over."""

    # the target
    def ringing(self, status: int) -> None:
        """1xx of the target."""

    def answered(self) -> None:
        """2xx of the target, and its media is agreed on."""

    def answered_to_confirm(self) -> None:
        """The same, and whoever answered is to press a digit first."""

    def confirmed(self) -> None:
        """The digit was pressed."""

    def failed(self, failure: Failure) -> None:
        """The target does not answer, does not confirm, or cannot be bridged."""

    def joined(self) -> None:
        """Caller and target hear each other."""

    def settled(self) -> None:
        """They have for long enough."""

    def dropped(self) -> None:
        """The target's dialog is over."""

    # ourselves
    def agent_gone(self) -> None:
        """The agent has left, or failed."""

    def abandon(self) -> None:
        """The call is ended by us."""


_CANCELLED = Failure(code="cancelled", reason="the caller hung up")
_DROPPED = Failure(code="dropped", reason="the target answered and hung up at once")


def _send_refer(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Effect.SEND_REFER)


def _dial(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Effect.DIAL)


def _follow(_: TransferTable, out: Outbox) -> None:
    out.steps += [Tell(state="accepted"), Effect.AWAIT_NOTIFY]


def _proceed(_: TransferTable, out: Outbox, status: int) -> None:
    out.steps += [_progress(status), Effect.AWAIT_TARGET]


def _report(_: TransferTable, out: Outbox, status: int) -> None:
    out.steps.append(_progress(status))


def _progress(status: int) -> Tell:
    return Tell(state="trying" if status < 180 else "ringing", status=status)


def _leave(_: TransferTable, out: Outbox) -> None:
    out.steps += [Finish(result="transferred"), Effect.HANG_UP]


def _leave_unconfirmed(_: TransferTable, out: Outbox) -> None:
    out.steps += [Finish(result="accepted_unconfirmed"), Effect.HANG_UP]


def _be_left(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Finish(result="accepted_unconfirmed"))


def _wait_for_bye(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Effect.AWAIT_BYE)


def _dial_instead(_: TransferTable, out: Outbox, failure: Failure) -> None:
    out.steps += [FailAttempt(failure=failure), Tell(state="falling_back", status=failure.status), Effect.DIAL]


def _stay(_: TransferTable, out: Outbox, failure: Failure) -> None:
    out.steps += [Finish(result="failed", failure=failure), Effect.RETURN]


def _give_up_waiting(_: TransferTable, out: Outbox) -> None:
    failure = Failure(code="unknown", reason="the phone system took the transfer and never said how it went")
    out.steps += [Effect.UNSUBSCRIBE, Finish(result="unknown", failure=failure), Effect.RETURN]


def _cancel(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Finish(result="cancelled", failure=_CANCELLED))


def _cancel_target(_: TransferTable, out: Outbox) -> None:
    out.steps += [Effect.DROP_TARGET, Finish(result="cancelled", failure=_CANCELLED)]


def _return_caller(_: TransferTable, out: Outbox, failure: Failure) -> None:
    out.steps += [Effect.DROP_TARGET, Finish(result="failed", failure=failure), Effect.RETURN]


def _return_from_target(_: TransferTable, out: Outbox) -> None:
    out.steps += [Effect.DROP_TARGET, Finish(result="failed", failure=_DROPPED), Effect.RETURN]


def _ask_target(_: TransferTable, out: Outbox) -> None:
    out.steps += [Tell(state="confirming"), Effect.ASK_TARGET]


def _bridge(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Effect.BRIDGE)


def _settle(_: TransferTable, out: Outbox) -> None:
    out.steps += [Tell(state="answered"), Effect.AWAIT_SETTLING]


def _stop_agent(_: TransferTable, out: Outbox) -> None:
    out.steps += [Finish(result="bridged"), Effect.STOP_AGENT]


def _end_bridge(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Effect.DROP_TARGET)


def _end_young_bridge(_: TransferTable, out: Outbox) -> None:
    out.steps += [Finish(result="bridged"), Effect.DROP_TARGET]


def _end_call(_: TransferTable, out: Outbox) -> None:
    out.steps += [Effect.DROP_TARGET, Effect.END_CALL]


def _comfort(_: TransferTable, out: Outbox) -> None:
    out.steps.append(Effect.COMFORT)


_builder = TypeMachineBuilder(TransferTable, Outbox)
_ready, _referring, _following, _proceeding, _ending = map(
    _builder.state, ("Ready", "Referring", "Following", "Proceeding", "Ending")
)
_dialing, _asking, _joining, _young, _bridged, _done = map(
    _builder.state, ("Dialing", "Asking", "Joining", "YoungBridge", "Bridged", "Done")
)
_unclear = _builder.state("Unclear")

_ready.upon(TransferTable.refer).to(_referring)(_send_refer)
_ready.upon(TransferTable.dial).to(_dialing)(_dial)

_referring.upon(TransferTable.accepted).to(_following)(_follow)
_referring.upon(TransferTable.accepted_silently).to(_ending)(_wait_for_bye)
_referring.upon(TransferTable.progress).to(_proceeding)(_proceed)  # NOTIFY may be faster than 202 (RFC 3515 2.4.4)
_referring.upon(TransferTable.caller_gone).to(_done)(_cancel)

_following.upon(TransferTable.progress).to(_proceeding)(_proceed)
_proceeding.upon(TransferTable.progress).loop()(_report)
_proceeding.upon(TransferTable.overdue).to(_done)(_give_up_waiting)
for _followed in (_referring, _following, _proceeding):
    _followed.upon(TransferTable.moved).to(_done)(_leave)
    _followed.upon(TransferTable.unclear).to(_unclear)(_wait_for_bye)
    _followed.upon(TransferTable.refused).to(_dialing)(_dial_instead)
    _followed.upon(TransferTable.refused_for_good).to(_done)(_stay)
for _taken in (_following, _proceeding, _ending, _unclear):
    _taken.upon(TransferTable.caller_gone).to(_done)(_be_left)
_ending.upon(TransferTable.waited).to(_done)(_leave_unconfirmed)
_unclear.upon(TransferTable.waited).to(_done)(_give_up_waiting)

_dialing.upon(TransferTable.ringing).loop()(_report)
_dialing.upon(TransferTable.answered).to(_joining)(_bridge)
_dialing.upon(TransferTable.answered_to_confirm).to(_asking)(_ask_target)
_asking.upon(TransferTable.confirmed).to(_joining)(_bridge)
_joining.upon(TransferTable.joined).to(_young)(_settle)
for _ours in (_dialing, _asking, _joining):
    _ours.upon(TransferTable.failed).to(_done)(_return_caller)
    _ours.upon(TransferTable.dropped).to(_done)(_return_from_target)
for _alone in (_dialing, _asking):
    _alone.upon(TransferTable.caller_gone).to(_done)(_cancel_target)
    _alone.upon(TransferTable.agent_gone).loop()(_comfort)
for _asked in (_following, _proceeding, _unclear):
    _asked.upon(TransferTable.agent_gone).loop()(_comfort)
_joining.upon(TransferTable.caller_gone).to(_done)(_cancel_target)

_young.upon(TransferTable.settled).to(_bridged)(_stop_agent)
_young.upon(TransferTable.dropped).to(_done)(_return_from_target)
_young.upon(TransferTable.caller_gone).to(_done)(_end_young_bridge)
_young.upon(TransferTable.abandon).to(_done)(_end_young_bridge)

_bridged.upon(TransferTable.dropped).to(_done)(_end_call)
_bridged.upon(TransferTable.caller_gone).to(_done)(_end_bridge)
_bridged.upon(TransferTable.abandon).to(_done)(_end_bridge)

for _refused in (_referring, _following, _proceeding, _ending, _unclear):
    _refused.upon(TransferTable.abandon).to(_done)(_cancel)
for _ours in (_dialing, _asking, _joining):
    _ours.upon(TransferTable.abandon).to(_done)(_cancel_target)

TransferMachine = fsm.seal(
    _builder,
    name="Transfer",
    remote=(
        TransferTable.accepted,
        TransferTable.accepted_silently,
        TransferTable.progress,
        TransferTable.moved,
        TransferTable.unclear,
        TransferTable.refused,
        TransferTable.refused_for_good,
        TransferTable.overdue,
        TransferTable.waited,
        TransferTable.caller_gone,
        TransferTable.ringing,
        TransferTable.answered,
        TransferTable.answered_to_confirm,
        TransferTable.confirmed,
        TransferTable.failed,
        TransferTable.joined,
        TransferTable.settled,
        TransferTable.dropped,
        TransferTable.agent_gone,
        TransferTable.abandon,
    ),
)
