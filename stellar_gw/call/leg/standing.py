"""The dialog that a call has with whoever is its caller by now, and the one that it had before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.ports import HeaderItems, Signalling
from stellar_gw.call.timers import Timers
from stellar_gw.call.usages import Heard
from stellar_gw.control.messages import Allocated, Direction, Event
from stellar_gw.sip.events import (
    Answered,
    Confirmed,
    Ended,
    Provisional,
    ProvisionalAcknowledged,
    RefreshDue,
    ReinviteRefused,
    Reoffered,
    RequestInDialog,
    Trying,
    UsageId,
)
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.uri import Uri

BYE_PATIENCE = 5.0
"""Seconds in which whoever has sent the call elsewhere ends its own dialog (RFC 5589 6.1); then we do."""
MOVED = (("Reason", 'Q.850;cause=16;text="moved"'),)


class StandingLeg(Protocol):
    """Implemented by the leg of an INVITE that came in, and by one that we dialled because of a REFER."""

    @property
    def usage(self) -> UsageId: ...

    @property
    def flow(self) -> Flow:
        """That its signalling began on."""

    @property
    def local_uri(self) -> Uri:
        """Who we are in it."""

    @property
    def far(self) -> Direction:
        """What the far side lets us do: ``recvonly`` or ``inactive`` while it holds us."""

    @property
    def codec(self) -> str: ...

    @property
    def ports(self) -> Allocated | None:
        """Those of its media, at the worker."""

    @property
    def version(self) -> int:
        """The IP version of its media; 0: the worker's usual one."""

    @property
    def allow(self) -> tuple[str, ...] | None:
        """The methods of its Allow, upper-case; None where it sent none."""

    def ask(self, method: str, heard: Heard, headers: HeaderItems = ()) -> None:
        """Send a request inside the dialog; ``heard`` is called once."""

    def offer(self, direction: Direction) -> Deferred[bool]:
        """Hold the far side, or resume; fires with whether it took that."""

    def reapply(self) -> None:
        """Have the worker do what was agreed on here, once more."""

    def mute(self) -> None:
        """Have it neither hear nor send: the dialog is over, and another is to follow."""

    def bye(self, headers: HeaderItems) -> None: ...

    def stop(self) -> None:
        """Wait for nothing any more; the dialog's end comes from elsewhere."""

    def heard(self, event: Event) -> None:
        """Something the worker says of this leg."""


class RetiredDialog:
    """A dialog whose place another has taken, until it ends: a :class:`~stellar_gw.call.usages.UsageOwner`.

    :param patience: seconds until we end it ourselves.
    """

    def __init__(self, usage: UsageId, signalling: Signalling, clock: IReactorTime, patience: float) -> None:
        self._usage, self._signalling = usage, signalling
        self._timers = Timers(clock)
        self._timers.start("bye", patience, self._leave)

    def _leave(self) -> None:
        self._signalling.bye(self._usage, MOVED)

    def ended(self, event: Ended) -> None:
        self._timers.stop_all()

    def reoffered(self, event: Reoffered) -> None:
        self._signalling.reject(self._usage, 481)

    def request_in_dialog(self, event: RequestInDialog) -> None:
        self._signalling.respond_in(event.token, 481)

    def trying(self, event: Trying) -> None: ...

    def provisional(self, event: Provisional) -> None: ...

    def answered(self, event: Answered) -> None: ...

    def confirmed(self, event: Confirmed) -> None: ...

    def provisional_acknowledged(self, event: ProvisionalAcknowledged) -> None: ...

    def reinvite_refused(self, event: ReinviteRefused) -> None: ...

    def refresh_due(self, event: RefreshDue) -> None: ...


Respond = Callable[[int, str, HeaderItems], None]
"""Answers a request inside a dialog, once: status, phrase or nothing, headers."""
