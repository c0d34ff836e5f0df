"""What a transfer needs of the call around it, and of the leg to its target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred

from stellar_gw.call.leg.listener import LegListener
from stellar_gw.call.machine import Ending
from stellar_gw.call.target.target import Target
from stellar_gw.control.messages import Direction, Event, LegStatistics, Reply, Request
from stellar_gw.sip.message import Response
from stellar_gw.sip.uri import Uri

Headers = tuple[tuple[str, str], ...]


class Caller(Protocol):
    """The transferee's side: the call that is transferred."""

    @property
    def call_id(self) -> str: ...

    @property
    def local_uri(self) -> Uri:
        """What the caller dialled: who we are in its dialog."""

    @property
    def agent_listens(self) -> bool:
        """There is an agent to give the caller back to."""

    @property
    def far(self) -> Direction:
        """What its phone system lets us do: ``recvonly`` or ``inactive`` while it holds us."""

    def refer(self, headers: Headers, heard: Callable[[Response | None], None]) -> None:
        """Send REFER in the caller's dialog; ``heard`` gets its final response, None where there is none."""

    def unsubscribe(self) -> None:
        """End the subscription that the REFER made; what is answered to that matters to nobody."""

    def end(self, ending: Ending) -> None:
        """End the call from our side."""

    def offer(self, direction: Direction) -> Deferred[bool]:
        """Have the caller's phone system hold (``sendonly``, ``inactive``) or resume (``sendrecv``) the call.

        :return: fires with whether it did.
        """

    def dismiss_agent(self) -> None:
        """The agent leaves, and the call goes on without it."""

    def ask(self, request: Request) -> Deferred[Reply]:
        """Of the worker that carries the call."""

    def keep_leg(self, numbers: LegStatistics) -> None:
        """For the record: what a leg that is gone came to."""


class CallingLeg(Protocol):
    """The leg to a target.

    :ivar sip_call_id: of its INVITEs.
    """

    sip_call_id: str

    def dial(self) -> None: ...

    def give_up(self, reason_header: str) -> None:
        """End it in whatever state it is, its media too; nothing more is told."""

    def hold(self, direction: Direction) -> Deferred[bool]:
        """Offer another direction; fires with whether the target took it."""

    def heard(self, event: Event) -> None:
        """Something that the worker says of it."""


MakeLeg = Callable[[Target, Headers, LegListener], CallingLeg]
"""A leg on the worker of the call, for a target and the X-* headers that its INVITE carries."""
