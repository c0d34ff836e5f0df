"""A call of ours as a table: from the wish to dial to the end; ``target.py`` carries the effects out.

Until it is answered there are two ways out: dialing has *failed*, or we *give up*; afterwards it is *gone*, or we
give up. Either way the leg is told of first and released last, so that whoever listens to it can bind the others
to something else before.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from attrs import define, field, frozen
from automat import TypeMachineBuilder

from stellar_gw import fsm
from stellar_gw.call.leg.dial_failure import DialFailure


@frozen(kw_only=True)
class LegEnding:
    """How a leg that was up has ended.

    :ivar by: ``target`` or ``gateway``.
    :ivar cause: a stable word: ``target_hangup``, ``given_up``, ``dialog_lost``, ``no_media``, ``media_failure``, ...
    :ivar reason_header: Reason (RFC 3326) of the target's BYE, or of ours.
    """

    by: str
    cause: str
    reason_header: str = ""


class Effect(Enum):
    """What the leg does to the world; carried out in order, after the machine has moved."""

    ALLOCATE = auto()
    ROUTE = auto()
    OPEN = auto()
    INVITE = auto()
    ESTABLISH = auto()
    WITHDRAW = auto()
    TELL_FAILED = auto()
    TELL_ENDED = auto()
    RELEASE = auto()


@define
class Outbox:
    """The effects that wait, and how it all ended once that is known."""

    effects: list[Effect] = field(factory=list)
    failure: DialFailure | None = None
    ending: LegEnding | None = None


class OutgoingLeg(Protocol):
    """One call of ours, to the target of a transfer."""

    def dial(self) -> None:
        """Somebody wants it."""

    def allocated(self) -> None:
        """The worker has ports for it."""

    def routed(self) -> None:
        """It is known where the next hop is."""

    def opened(self) -> None:
        """There is a flow to it."""

    def next_way(self) -> None:
        """This way leads nowhere, and there is another."""

    def again(self) -> None:
        """The same way, with something else in the INVITE."""

    def redirected(self) -> None:
        """Another URI is to be called."""

    def answered(self) -> None:
        """2xx, its ACK is sent and its answer usable."""

    def failed(self, failure: DialFailure) -> None:
        """Nobody will answer; no INVITE is out any more."""

    def give_up(self, failure: DialFailure, ending: LegEnding) -> None:
        """We end it: the one counts before the answer, the other after."""

    def gone(self, ending: LegEnding) -> None:
        """The dialog is over already."""


def _allocate(_: OutgoingLeg, out: Outbox) -> None:
    out.effects.append(Effect.ALLOCATE)


def _route(_: OutgoingLeg, out: Outbox) -> None:
    out.effects.append(Effect.ROUTE)


def _open(_: OutgoingLeg, out: Outbox) -> None:
    out.effects.append(Effect.OPEN)


def _invite(_: OutgoingLeg, out: Outbox) -> None:
    out.effects.append(Effect.INVITE)


def _establish(_: OutgoingLeg, out: Outbox) -> None:
    out.effects.append(Effect.ESTABLISH)


def _fail(_: OutgoingLeg, out: Outbox, failure: DialFailure) -> None:
    out.failure = failure
    out.effects += [Effect.TELL_FAILED, Effect.RELEASE]


def _stop(_: OutgoingLeg, out: Outbox, failure: DialFailure, ending: LegEnding) -> None:
    out.failure = failure
    out.effects += [Effect.TELL_FAILED, Effect.RELEASE]


def _withdraw(_: OutgoingLeg, out: Outbox, failure: DialFailure, ending: LegEnding) -> None:
    out.failure = failure
    out.effects += [Effect.WITHDRAW, Effect.TELL_FAILED, Effect.RELEASE]


def _hang_up(_: OutgoingLeg, out: Outbox, failure: DialFailure, ending: LegEnding) -> None:
    out.ending = ending
    out.effects += [Effect.WITHDRAW, Effect.TELL_ENDED, Effect.RELEASE]


def _be_left(_: OutgoingLeg, out: Outbox, ending: LegEnding) -> None:
    out.ending = ending
    out.effects += [Effect.TELL_ENDED, Effect.RELEASE]


_builder = TypeMachineBuilder(OutgoingLeg, Outbox)
_idle, _allocating, _routing, _opening, _calling, _up, _over = map(
    _builder.state, ("Idle", "Allocating", "Routing", "Opening", "Calling", "Up", "Over")
)

_idle.upon(OutgoingLeg.dial).to(_allocating)(_allocate)
_idle.upon(OutgoingLeg.give_up).to(_over)(_stop)

_allocating.upon(OutgoingLeg.allocated).to(_routing)(_route)
_allocating.upon(OutgoingLeg.failed).to(_over)(_fail)
_allocating.upon(OutgoingLeg.give_up).to(_over)(_stop)

_routing.upon(OutgoingLeg.routed).to(_opening)(_open)
_routing.upon(OutgoingLeg.failed).to(_over)(_fail)
_routing.upon(OutgoingLeg.give_up).to(_over)(_stop)

_opening.upon(OutgoingLeg.opened).to(_calling)(_invite)
_opening.upon(OutgoingLeg.next_way).loop()(_open)
_opening.upon(OutgoingLeg.failed).to(_over)(_fail)
_opening.upon(OutgoingLeg.give_up).to(_over)(_stop)

_calling.upon(OutgoingLeg.next_way).to(_opening)(_open)
_calling.upon(OutgoingLeg.again).loop()(_invite)
_calling.upon(OutgoingLeg.redirected).to(_routing)(_route)
_calling.upon(OutgoingLeg.answered).to(_up)(_establish)
_calling.upon(OutgoingLeg.failed).to(_over)(_fail)
_calling.upon(OutgoingLeg.give_up).to(_over)(_withdraw)

_up.upon(OutgoingLeg.give_up).to(_over)(_hang_up)
_up.upon(OutgoingLeg.gone).to(_over)(_be_left)

OutgoingLegMachine = fsm.seal(
    _builder,
    name="OutgoingLeg",
    remote=(
        OutgoingLeg.allocated,
        OutgoingLeg.routed,
        OutgoingLeg.opened,
        OutgoingLeg.next_way,
        OutgoingLeg.again,
        OutgoingLeg.redirected,
        OutgoingLeg.answered,
        OutgoingLeg.failed,
        OutgoingLeg.give_up,
        OutgoingLeg.gone,
    ),
)
