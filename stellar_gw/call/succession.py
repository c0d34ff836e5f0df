"""Who is the caller: its first dialog, and those that take its place while the call goes on.

A phone system moves a call in two ways. By INVITE with Replaces (RFC 3891) somebody who is admitted calls us, and is
to be the caller from then on. By REFER (RFC 3515) we are asked to call somebody (``call/transfer/referral.py``).
Either way the new dialog speaks by the very ports of the old one: to the worker it is one leg, whose media changes as
by a re-INVITE, and whatever is bound to it (agent, bridge, music) stays. The old dialog is left when the new one
stands; until then nothing has changed, except that it may already be over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from stellar_gw.call.context.context import bounded
from stellar_gw.call.leg.caller import CallerLeg, CallerLegListener
from stellar_gw.call.leg.standing import BYE_PATIENCE, Respond, RetiredDialog, StandingLeg
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.transfer.caller_side import CallerSide
from stellar_gw.call.usages import Usages
from stellar_gw.control import messages
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.message import Request
from stellar_gw.sip.sdp import Direction
from stellar_gw.sip.uri import Uri


class Pretender(Protocol):
    """Something that wants the caller's place."""

    def caller_gone(self) -> None:
        """The dialog that it wants to follow is over."""

    def abandon(self) -> None:
        """The call ends."""


MakeLeg = Callable[[CallerLegListener], CallerLeg]


@define(kw_only=True)
class Succession:
    """Of one call.

    :ivar call: whom the standing dialog tells what happens to it.
    :ivar record: of the call: one entry for each that wanted the place.
    :ivar lost: called where the old dialog is over, and nobody has taken its place after all.
    """

    call_id: str
    side: CallerSide
    call: CallerLegListener
    signalling: Signalling
    usages: Usages
    plane: MediaPlane
    clock: IReactorTime
    wall: Callable[[], float]
    record: list[dict[str, Any]]
    lost: Callable[[Ending], None]
    _pretender: Pretender | None = field(default=None, init=False)
    _orphaned: Ending | None = field(default=None, init=False)

    @property
    def open(self) -> bool:
        """Somebody wants the place, and does not have it yet."""
        return self._pretender is not None

    def replace(
        self, make: MakeLeg, request: Request, reject: Callable[[int, str], None], ports: messages.Allocated
    ) -> None:
        """An INVITE that is admitted replaces the standing dialog (RFC 3891 3).

        :param reject: refuses it; then nothing has changed.
        """
        heir = _Heir(self, self._entry("replaces", request.from_.uri, bounded(request.call_id)))
        heir.leg = make(heir)
        self.usages.own(heir.leg.usage, heir.leg)
        if isinstance(self.side.leg, CallerLeg):
            heir.leg.agreement.takes_over_from(self.side.leg.agreement)
        self._pretender = heir
        heir.begin(ports, reject)

    def attempt(self, pretender: Pretender, uri: Uri, sip_call_id: str) -> dict[str, Any]:
        """Somebody wants the place; its entry in the record is returned."""
        self._pretender = pretender
        return self._entry("refer", uri, sip_call_id)

    def _entry(self, by: str, uri: Uri, sip_call_id: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "by": by,
            "uri": bounded(str(uri)),
            "sip_call_id": sip_call_id,
            "asked": round(self.wall(), 3),
            "moved": None,
            "result": "",
        }
        self.record.append(entry)
        return entry

    def succeed(self, leg: StandingLeg, entry: dict[str, Any], patience: float = BYE_PATIENCE) -> None:
        """A new dialog stands, and is the caller's.

        :param patience: seconds that the old dialog may take to end by itself.
        """
        old, before = self.side.leg, self.side.far
        self._pretender = None
        entry |= {"moved": round(self.wall(), 3), "result": "moved"}
        old.stop()
        if self._orphaned is None:
            self.usages.own(old.usage, RetiredDialog(old.usage, self.signalling, self.clock, patience))
        self._orphaned = None
        self.side.leg = leg
        if leg.far != before:
            self.call.leg_turned(leg.far)
        detail = {"by": entry["by"], "uri": entry["uri"]}
        tell = messages.Tell(request=0, call=self.call_id, kind="moved", detail=detail)
        self.plane.ask(tell).addErrback(lambda _: None)  # a worker that is lost ends the call by itself
        self.call.note("moved", f"the call was moved to {entry['uri']} by {entry['by'].upper()}")

    def fail(self, entry: dict[str, Any], why: str) -> None:
        """Nobody has taken the place; the call goes on as it was, if there is anything to go on."""
        self._pretender = None
        entry["result"] = why
        self.call.note("not_moved", f"the call was not moved to {entry['uri']}: {why}")
        orphaned, self._orphaned = self._orphaned, None
        if orphaned is not None:
            self.lost(orphaned)

    def outlives(self, ending: Ending) -> bool:
        """The standing dialog is over; whether the call is not, since somebody is about to take its place."""
        if self._pretender is None or self._orphaned is not None:
            return False
        self._orphaned = ending
        self.side.leg.stop()
        self._pretender.caller_gone()
        return True

    @property
    def orphaned(self) -> bool:
        """The standing dialog is over, and nobody has taken its place yet."""
        return self._orphaned is not None

    def abandon(self) -> None:
        """The call ends."""
        pretender, self._pretender = self._pretender, None
        if pretender is not None:
            pretender.abandon()


class _Heir:
    """The leg of an INVITE with Replaces: a :class:`~stellar_gw.call.leg.caller.CallerLegListener`."""

    leg: CallerLeg

    def __init__(self, succession: Succession, entry: dict[str, Any]) -> None:
        self._succession, self._entry = succession, entry
        self._standing = self._over = False

    @property
    def _call(self) -> CallerLegListener:
        return self._succession.call

    def begin(self, ports: messages.Allocated, reject: Callable[[int, str], None]) -> None:
        try:
            if self.leg.version != self._succession.side.leg.version:
                raise RemoteProtocolError("the call's media is of the other IP version", 488)
            self.leg.allocated(ports)
        except RemoteProtocolError as error:
            reject(error.status, error.reason)
            self._lose(f"{error.status} {error.reason}", changed=False)
            return
        self.leg.answer()

    def _lose(self, why: str, *, changed: bool = True) -> None:
        if self._over or self._standing:
            return
        self._over = True
        self.leg.stop()
        if changed and not self._succession.orphaned:
            self._succession.side.leg.reapply()
        self._succession.fail(self._entry, why)

    # --- Pretender ------------------------------------------------------------------------------

    def caller_gone(self) -> None:
        """Its phone has hung up there as soon as it had our 200 here."""

    def abandon(self) -> None:
        self._over = True
        self.leg.stop()
        self.leg.bye(())

    # --- CallerLegListener ----------------------------------------------------------------------

    def leg_confirmed(self) -> None:
        if not self._over:
            self._standing = True
            self._succession.succeed(self.leg, self._entry, patience=0.0)

    def leg_gone(self, ending: Ending, reason_header: str) -> None:
        if self._standing:
            self._call.leg_gone(ending, reason_header)
        else:
            self._lose(ending.reason or ending.cause)

    def leg_agreed(self, codec: str, srtp: str) -> None:
        self._call.leg_agreed(codec, srtp)

    def leg_turned(self, direction: Direction) -> None:
        if self._standing:
            self._call.leg_turned(direction)

    def leg_notified(self, request: Request, respond: Callable[[int], None]) -> None:
        if self._over:
            respond(481)  # no REFER was ever sent in this dialog
        else:
            self._call.leg_notified(request, respond)

    def leg_referred(self, request: Request, respond: Respond) -> None:
        if self._standing:
            self._call.leg_referred(request, respond)
        else:
            respond(603, "", ())

    def media_failed(self, failure: Failure) -> None:
        self._call.media_failed(failure)

    def give_up(self, ending: Ending) -> None:
        if self._standing:
            self._call.give_up(ending)
        else:
            self.leg.bye(())
            self._lose(ending.reason)

    def note(self, kind: str, message: str) -> None:
        self._call.note(kind, message)
