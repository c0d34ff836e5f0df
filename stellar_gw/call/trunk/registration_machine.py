"""A registration of ours as a table (RFC 3261 10.2); ``registration.py`` carries the effects out.

A registrar has several ways; one that does not answer is left for the next, and when none is left the machine waits,
longer each time. A binding that is up is refreshed on the flow it lives on. What a registrar refuses it would refuse
by its other ways, too, so that is not tried.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from attrs import define, field
from automat import TypeMachineBuilder

from stellar_gw import fsm


class Effect(Enum):
    """What the registration does to the world; carried out in order, after the machine has moved."""

    ROUTE = auto()
    """Find the registrar's ways anew, and open the first."""
    NEXT_WAY = auto()
    """Leave the way that is used, and open the next."""
    ASK = auto()
    """Send REGISTER on the flow there is."""
    HOLD = auto()
    """We are registered: refresh in time, and keep the flow alive."""
    LOSE = auto()
    """We are not registered any more: calls on the flow are nobody's."""
    WAIT = auto()
    """Try again later."""
    LEAVE = auto()
    """Take the binding back, without waiting for an answer."""


@define
class Outbox:
    effects: list[Effect] = field(factory=list)


class Registration(Protocol):
    """One address of record at one registrar."""

    def start(self) -> None:
        """It is wanted."""

    def opened(self) -> None:
        """There is a flow to the registrar."""

    def no_way(self) -> None:
        """No way is left to try."""

    def accepted(self) -> None:
        """2xx to our REGISTER."""

    def too_brief(self) -> None:
        """423: it wants us to stay longer (10.2.8)."""

    def refused(self) -> None:
        """It does not want us, or not like this."""

    def unanswered(self) -> None:
        """No answer in time, or none that counts: this server cannot."""

    def lost(self) -> None:
        """The flow is gone."""

    def lost_at_once(self) -> None:
        """It is gone a moment after we were registered on it: the next one would be, too."""

    def due(self) -> None:
        """Time to refresh, or to try again."""

    def stop(self) -> None:
        """It is not wanted any more."""


def _route(_: Registration, out: Outbox) -> None:
    out.effects.append(Effect.ROUTE)


def _next_way(_: Registration, out: Outbox) -> None:
    out.effects.append(Effect.NEXT_WAY)


def _ask(_: Registration, out: Outbox) -> None:
    out.effects.append(Effect.ASK)


def _hold(_: Registration, out: Outbox) -> None:
    out.effects.append(Effect.HOLD)


def _lose_and_route(_: Registration, out: Outbox) -> None:
    out.effects += [Effect.LOSE, Effect.ROUTE]


def _lose_and_next_way(_: Registration, out: Outbox) -> None:
    out.effects += [Effect.LOSE, Effect.NEXT_WAY]


def _lose_and_wait(_: Registration, out: Outbox) -> None:
    out.effects += [Effect.LOSE, Effect.WAIT]


def _wait(_: Registration, out: Outbox) -> None:
    out.effects.append(Effect.WAIT)


def _leave(_: Registration, out: Outbox) -> None:
    out.effects += [Effect.LEAVE, Effect.LOSE]


_builder = TypeMachineBuilder(Registration, Outbox)
_idle, _seeking, _asking, _registered, _refreshing, _waiting, _over = map(
    _builder.state, ("Idle", "Seeking", "Asking", "Registered", "Refreshing", "Waiting", "Over")
)

_idle.upon(Registration.start).to(_seeking)(_route)
_idle.upon(Registration.stop).to(_over).returns(None)

_seeking.upon(Registration.opened).to(_asking)(_ask)
_seeking.upon(Registration.no_way).to(_waiting)(_wait)
_seeking.upon(Registration.stop).to(_over).returns(None)

_asking.upon(Registration.accepted).to(_registered)(_hold)
_asking.upon(Registration.too_brief).loop()(_ask)
_asking.upon(Registration.refused).to(_waiting)(_wait)
_asking.upon(Registration.unanswered).to(_seeking)(_next_way)
_asking.upon(Registration.lost).to(_seeking)(_next_way)
_asking.upon(Registration.stop).to(_over)(_leave)

_registered.upon(Registration.due).to(_refreshing)(_ask)
_registered.upon(Registration.lost).to(_seeking)(_lose_and_route)
_registered.upon(Registration.lost_at_once).to(_waiting)(_lose_and_wait)
_registered.upon(Registration.stop).to(_over)(_leave)

_refreshing.upon(Registration.accepted).to(_registered)(_hold)
_refreshing.upon(Registration.too_brief).loop()(_ask)
_refreshing.upon(Registration.refused).to(_waiting)(_lose_and_wait)
_refreshing.upon(Registration.unanswered).to(_seeking)(_lose_and_next_way)
_refreshing.upon(Registration.lost).to(_seeking)(_lose_and_route)
_refreshing.upon(Registration.stop).to(_over)(_leave)

_waiting.upon(Registration.due).to(_seeking)(_route)
_waiting.upon(Registration.stop).to(_over).returns(None)

RegistrationMachine = fsm.seal(
    _builder,
    name="Registration",
    remote=(
        Registration.opened,
        Registration.no_way,
        Registration.accepted,
        Registration.too_brief,
        Registration.refused,
        Registration.unanswered,
        Registration.lost,
        Registration.lost_at_once,
        Registration.due,
        Registration.stop,
    ),
)
