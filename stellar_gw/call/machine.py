"""An inbound call as a table: from admission to the record; the effects are carried out by ``call.py``.

Everything that ends it is one of two inputs: we *give up* the call (agent, limits, media, shutdown),
or the caller is *gone* (BYE, CANCEL, or the dialog has failed). Both lead to the same place: media is
released, whatever the worker answers, and then the one record is written.

An agent that is lost need not end it. Whether it is connected anew is between it and the worker, and the call stays
where it is; where the connector has something to *fall back* on, the caller is answered for that, if it still rings.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from attrs import define, field, frozen
from automat import TypeMachineBuilder

from stellar_gw import fsm


@frozen(kw_only=True)
class Ending:
    """Why a call ends.

    :ivar status: the SIP status where the INVITE is still unanswered.
    :ivar retry_after: seconds for Retry-After, 0 for none.
    :ivar cause: a stable word for records and agents (``caller_hangup``, ``agent_hangup``, ``no_media``, ...).
    :ivar by: ``caller``, ``agent`` or ``gateway``.
    :ivar reason: one line for the operator; ``check`` and ``fix`` as in a refusal's record.
    :ivar phrase: the reason phrase that the caller gets, empty for the standard one.
    """

    status: int = 480
    retry_after: int = 0
    cause: str
    by: str
    reason: str = ""
    check: str = ""
    fix: str = ""
    phrase: str = ""


class Effect(Enum):
    """What the call does to the world; carried out in order, after the machine has moved."""

    RING = auto()
    START_AGENT = auto()
    AWAIT_DECISION = auto()
    ANSWER = auto()
    CONFIRM = auto()
    FALL_BACK = auto()
    REJECT = auto()
    BYE = auto()
    RELEASE = auto()
    CLOSE = auto()


@define
class Outbox:
    """The effects that wait, and how the call ends once that is known, or will if its fallback comes to nothing."""

    effects: list[Effect] = field(factory=list)
    ending: Ending | None = None


class InboundCall(Protocol):
    """One call from a phone system, as its gateway sees it."""

    def allocated(self) -> None:
        """The worker has ports for it, and our session description is made."""

    def ready(self) -> None:
        """The agent is there, and answers by being there."""

    def asked(self) -> None:
        """The agent is there, and decides whether the call is answered."""

    def answer(self) -> None:
        """The agent said so."""

    def confirmed(self) -> None:
        """The caller's ACK came."""

    def fall_back(self, ending: Ending) -> None:
        """The agent is not there or lost for good, and the connector has something else for the caller."""

    def give_up(self, ending: Ending) -> None:
        """We end it."""

    def gone(self, ending: Ending) -> None:
        """The dialog is over already."""

    def released(self) -> None:
        """The worker let go of it, or cannot be asked any more."""


def _ring(_: InboundCall, out: Outbox) -> None:
    out.effects += [Effect.RING, Effect.START_AGENT]


def _answer(_: InboundCall, out: Outbox) -> None:
    out.effects.append(Effect.ANSWER)


def _await_decision(_: InboundCall, out: Outbox) -> None:
    out.effects.append(Effect.AWAIT_DECISION)


def _confirm(_: InboundCall, out: Outbox) -> None:
    out.effects.append(Effect.CONFIRM)


def _answer_bereft(_: InboundCall, out: Outbox, ending: Ending) -> None:
    out.ending = ending
    out.effects.append(Effect.ANSWER)


def _be_bereft(_: InboundCall, out: Outbox, ending: Ending) -> None:
    out.ending = ending  # what is there to fall back on needs a dialog that is confirmed


def _fall_back(_: InboundCall, out: Outbox, ending: Ending) -> None:
    out.ending = ending
    out.effects.append(Effect.FALL_BACK)


def _confirm_bereft(_: InboundCall, out: Outbox) -> None:
    out.effects += [Effect.CONFIRM, Effect.FALL_BACK]


def _reject(_: InboundCall, out: Outbox, ending: Ending) -> None:
    out.ending = ending
    out.effects += [Effect.REJECT, Effect.RELEASE]


def _bye(_: InboundCall, out: Outbox, ending: Ending) -> None:
    out.ending = ending
    out.effects += [Effect.BYE, Effect.RELEASE]


def _release(_: InboundCall, out: Outbox, ending: Ending) -> None:
    out.ending = ending
    out.effects.append(Effect.RELEASE)


def _close(_: InboundCall, out: Outbox) -> None:
    out.effects.append(Effect.CLOSE)


_builder = TypeMachineBuilder(InboundCall, Outbox)
_allocating, _connecting, _deciding, _answered, _up, _bereft, _falling_back, _releasing, _closed = map(
    _builder.state,
    (
        "Allocating",
        "Connecting",
        "Deciding",
        "Answered",
        "Up",
        "Bereft",
        "FallingBack",
        "Releasing",
        "Closed",
    ),
)

_allocating.upon(InboundCall.allocated).to(_connecting)(_ring)
_allocating.upon(InboundCall.give_up).to(_releasing)(_reject)
_allocating.upon(InboundCall.gone).to(_releasing)(_release)

_connecting.upon(InboundCall.ready).to(_answered)(_answer)
_connecting.upon(InboundCall.asked).to(_deciding)(_await_decision)
_connecting.upon(InboundCall.fall_back).to(_bereft)(_answer_bereft)
_connecting.upon(InboundCall.give_up).to(_releasing)(_reject)
_connecting.upon(InboundCall.gone).to(_releasing)(_release)

_deciding.upon(InboundCall.answer).to(_answered)(_answer)
_deciding.upon(InboundCall.fall_back).to(_bereft)(_answer_bereft)
_deciding.upon(InboundCall.give_up).to(_releasing)(_reject)
_deciding.upon(InboundCall.gone).to(_releasing)(_release)

_answered.upon(InboundCall.confirmed).to(_up)(_confirm)
_answered.upon(InboundCall.fall_back).to(_bereft)(_be_bereft)
_answered.upon(InboundCall.give_up).to(_releasing)(_bye)
_answered.upon(InboundCall.gone).to(_releasing)(_release)

_up.upon(InboundCall.fall_back).to(_falling_back)(_fall_back)
_up.upon(InboundCall.give_up).to(_releasing)(_bye)
_up.upon(InboundCall.gone).to(_releasing)(_release)

_bereft.upon(InboundCall.confirmed).to(_falling_back)(_confirm_bereft)
_bereft.upon(InboundCall.give_up).to(_releasing)(_bye)
_bereft.upon(InboundCall.gone).to(_releasing)(_release)

_falling_back.upon(InboundCall.give_up).to(_releasing)(_bye)
_falling_back.upon(InboundCall.gone).to(_releasing)(_release)

_releasing.upon(InboundCall.released).to(_closed)(_close)

InboundCallMachine = fsm.seal(
    _builder,
    name="InboundCall",
    remote=(
        InboundCall.allocated,
        InboundCall.ready,
        InboundCall.asked,
        InboundCall.answer,
        InboundCall.confirmed,
        InboundCall.fall_back,
        InboundCall.give_up,
        InboundCall.gone,
        InboundCall.released,
    ),
)
