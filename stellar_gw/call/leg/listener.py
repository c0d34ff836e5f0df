"""What a leg to a target shares with the others, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.leg.dial_failure import DialFailure
from stellar_gw.call.leg.dialing import Rungs
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.usages import Usages
from stellar_gw.control import messages
from stellar_gw.sip.events import RequestInDialog
from stellar_gw.sip.flow import Listener
from stellar_gw.sip.sdp import Direction


class LegListener(Protocol):
    """Who asked for a leg. Exactly one of ``answered`` and ``failed`` is called; ``ended`` once after the former."""

    def ringing(self, status: int, early_media: bool) -> None:
        """A provisional response; with early media the leg can be bound and heard already."""

    def answered(self) -> None:
        """Its ACK is sent, and what is asked of the worker from now on finds its media set."""

    def failed(self, failure: DialFailure) -> None: ...

    def ended(self, by: str, cause: str, reason_header: str) -> None:
        """See :class:`~stellar_gw.call.leg.target_machine.LegEnding`. The worker still has the leg."""

    def direction_changed(self, direction: Direction) -> None:
        """What the far side lets us do from now on: ``recvonly`` or ``inactive`` while it holds us."""

    def digit(self, event: messages.DigitReceived) -> None:
        """It pressed a key."""

    def asked(self, event: RequestInDialog, respond: Respond) -> bool:
        """A request inside its dialog that is none of the leg's business, such as REFER; whether it is answered."""

    def released(self, numbers: messages.LegStatistics | None) -> None:
        """The last: the worker has let go of the leg, its name is free. None: there are no numbers of it."""


@frozen(kw_only=True)
class LegSurroundings:
    """What all legs share.

    :ivar listeners: ours, by name.
    :ivar rng: returns that many random octets.
    :ivar rungs: what targets took of our offers of SRTP.
    :ivar probe_interval: as of :class:`~stellar_gw.call.leg.silence.Silence`; so is the next.
    """

    signalling: Signalling
    usages: Usages
    plane: MediaPlane
    clock: IReactorTime
    rng: Callable[[int], bytes]
    listeners: Mapping[str, Listener]
    rungs: Rungs = field(factory=Rungs)
    probe_interval: float = 30.0
    no_media_extended: float = 300.0
