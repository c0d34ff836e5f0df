"""A leg that we dialled because of a REFER, once it is the caller's: a :class:`StandingLeg` over a target's leg."""

from __future__ import annotations

from attrs import define
from twisted.internet.defer import Deferred

from stellar_gw.call.leg.target import TargetLeg
from stellar_gw.call.ports import HeaderItems
from stellar_gw.call.usages import Heard, Usages
from stellar_gw.control.messages import Allocated, Direction, Event
from stellar_gw.sip.events import UsageId
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.uri import Uri


@define(kw_only=True)
class DialledLeg:
    """
    :ivar target: the leg, answered.
    """

    target: TargetLeg
    usages: Usages

    @property
    def usage(self) -> UsageId:
        return self.target.usage

    @property
    def flow(self) -> Flow:
        return self.target.flow

    @property
    def local_uri(self) -> Uri:
        return self.target.target.from_.uri

    @property
    def far(self) -> Direction:
        return self.target.far

    @property
    def codec(self) -> str:
        return self.target.codec

    @property
    def ports(self) -> Allocated | None:
        return self.target.ports

    @property
    def version(self) -> int:
        return self.target.version

    @property
    def allow(self) -> tuple[str, ...] | None:
        return self.target.allow

    def ask(self, method: str, heard: Heard, headers: HeaderItems = ()) -> None:
        self.usages.ask(self.usage, method, heard, headers)

    def offer(self, direction: Direction) -> Deferred[bool]:
        return self.target.hold(direction)

    def reapply(self) -> None:
        self.target.reapply()

    def mute(self) -> None:
        self.target.mute()

    def bye(self, headers: HeaderItems) -> None:
        self.target.bye(headers)

    def stop(self) -> None:
        self.target.retire()

    def heard(self, event: Event) -> None:
        self.target.heard(event)
