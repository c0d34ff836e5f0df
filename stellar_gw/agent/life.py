"""The life of an agent link (RFC 6455 4.1, 7.1), whatever carries it: a table that appends effects.

::

    Connecting --opened--> Open --close--> Closing
        |                    |                |
     failed, close, abort  failed, closed,  failed, closed, abort
        |                  abort              |
        +------------------> Over <-----------+

Nothing passes here per message: a link that is over drops what comes by a flag of its own.
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen
from automat import TypeMachineBuilder

from stellar_gw import fsm
from stellar_gw.agent.failure import Failure


@frozen
class TellOpened:
    """``link_opened``."""


@frozen
class SayClose:
    """Send a close frame, and expect its answer within the close timeout."""

    code: int
    reason: str


@frozen
class Part:
    """Send a close frame with this code (0: none), then end the connection once it is written."""

    code: int


@frozen
class Cut:
    """End the connection now."""


@frozen
class TellClosed:
    """``link_closed``."""

    failure: Failure
    established: bool
    clean: bool = False


Effect = TellOpened | SayClose | Part | Cut | TellClosed
Outbox = list[Effect]

CANCELLED = Failure("cancelled", "the gateway closed the link")


class LinkLife(Protocol):
    """What happens to a link; the first three are the agent's doing, the last two ours."""

    def opened(self) -> None:
        """101 came, and all of it is right."""

    def closed(self, code: int, failure: Failure) -> None:
        """A close frame came."""

    def failed(self, failure: Failure) -> None:
        """The agent could not be reached, broke a rule or a limit, or the connection has ended."""

    def close(self, code: int, reason: str) -> None:
        """We are done."""

    def abort(self) -> None:
        """We are done and do not wait."""


def tell_opened(_: LinkLife, out: Outbox) -> None:
    out.append(TellOpened())


def never_came(_: LinkLife, out: Outbox, failure: Failure) -> None:
    out.extend((Cut(), TellClosed(failure, established=False)))


def given_up(_: LinkLife, out: Outbox) -> None:
    out.extend((Cut(), TellClosed(CANCELLED, established=False)))


def given_up_politely(life: LinkLife, out: Outbox, code: int, reason: str) -> None:
    given_up(life, out)


def they_closed(_: LinkLife, out: Outbox, code: int, failure: Failure) -> None:
    # 1005 stands for a close frame without a code and is never sent (RFC 6455 7.4.1). Whoever sends such a frame means
    # to close, as browsers and Node do by close(); what dies sends none.
    out.extend(
        (Part(1000 if code == 1005 else code), TellClosed(failure, established=True, clean=code in (1000, 1005)))
    )


def they_failed(_: LinkLife, out: Outbox, failure: Failure) -> None:
    out.append(Part(failure.close_code) if failure.close_code else Cut())
    out.append(TellClosed(failure, established=True))


def say_close(_: LinkLife, out: Outbox, code: int, reason: str) -> None:
    out.append(SayClose(code, reason))


def cut(_: LinkLife, out: Outbox) -> None:
    out.extend((Cut(), TellClosed(CANCELLED, established=True)))


def close_answered(_: LinkLife, out: Outbox, code: int, failure: Failure) -> None:
    out.extend((Part(0), TellClosed(CANCELLED, established=True)))


def close_unanswered(_: LinkLife, out: Outbox, failure: Failure) -> None:
    out.extend((Cut(), TellClosed(CANCELLED, established=True)))


def ignore_close(_: LinkLife, out: Outbox, code: int, reason: str) -> None:
    """Closing twice does nothing."""


def ignore_abort(_: LinkLife, out: Outbox) -> None:
    """There is nothing left to cut."""


_machine = TypeMachineBuilder(LinkLife, Outbox)
_connecting, _open, _closing, _over = map(_machine.state, ("Connecting", "Open", "Closing", "Over"))

_connecting.upon(LinkLife.opened).to(_open)(tell_opened)
_connecting.upon(LinkLife.failed).to(_over)(never_came)
_connecting.upon(LinkLife.close).to(_over)(given_up_politely)
_connecting.upon(LinkLife.abort).to(_over)(given_up)

_open.upon(LinkLife.closed).to(_over)(they_closed)
_open.upon(LinkLife.failed).to(_over)(they_failed)
_open.upon(LinkLife.close).to(_closing)(say_close)
_open.upon(LinkLife.abort).to(_over)(cut)

_closing.upon(LinkLife.closed).to(_over)(close_answered)
_closing.upon(LinkLife.failed).to(_over)(close_unanswered)
_closing.upon(LinkLife.close).to(_closing)(ignore_close)
_closing.upon(LinkLife.abort).to(_over)(cut)

_over.upon(LinkLife.close).to(_over)(ignore_close)
_over.upon(LinkLife.abort).to(_over)(ignore_abort)

new_life = fsm.seal(_machine, name="AgentLink", remote=[LinkLife.opened, LinkLife.closed, LinkLife.failed])
"""Makes a life that begins in Connecting and appends to the outbox handed in."""
