"""One INVITE of ours, and the dialog that it makes: its own session description, and whatever its peer asks of it."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from stellar_gw.call.leg.agreement import Agreement
from stellar_gw.call.leg.exchanges import Exchanges
from stellar_gw.call.leg.informed import informed
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.ports import MediaPlane, Signalling
from stellar_gw.call.timers import Timers
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.body import sdp_body
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
from stellar_gw.sip.message import Response
from stellar_gw.sip.sdp import Direction


class Calling(Protocol):
    """Who has sent the INVITE."""

    def was_heard(self) -> None:
        """Any provisional response, 100 too."""

    def rings(self, status: int, early_media: bool) -> None: ...

    def was_answered(self) -> None:
        """2xx, with an answer that can be used; it is in force."""

    def unusable(self, reason: str) -> None:
        """An answer cannot be used: the dialog has to end."""

    def was_ended(self, event: Ended) -> None: ...

    def direction_changed(self, direction: Direction) -> None: ...

    def media_failed(self, failure: Failure) -> None: ...

    def asked(self, event: RequestInDialog, respond: Respond) -> bool:
        """A request that is none of the dialog's business; whether it is answered."""

    def note(self, kind: str, line: str) -> None: ...


class LegDialog:
    """A :class:`~stellar_gw.call.usages.UsageOwner`.

    :param early: the answer of a provisional response counts; otherwise nothing changes before the 2xx.
    :ivar codec, srtp: in force.
    :ivar allow: the methods of the Allow in the 2xx, upper-case; None where it had none.
    """

    def __init__(
        self,
        usage: UsageId,
        *,
        call_id: str,
        media: LegMedia,
        signalling: Signalling,
        plane: MediaPlane,
        timers: Timers,
        calling: Calling,
        early: bool = True,
    ) -> None:
        self.usage, self.media = usage, media
        self.codec = self.srtp = ""
        self.allow: tuple[str, ...] | None = None
        self._early = early
        self.call_id, self._signalling, self._plane, self._calling = call_id, signalling, plane, calling
        self._agreement = Agreement(
            call_id=call_id,
            media=media,
            plane=plane,
            failed=calling.media_failed,
            note=calling.note,
            keep=self._keep,
        )
        self._exchanges = Exchanges(
            usage,
            media=media,
            agreement=self._agreement,
            signalling=signalling,
            timers=timers,
            note=calling.note,
            unusable=calling.unusable,
            changed=calling.direction_changed,
        )

    def _keep(self, codec: str, srtp: str) -> None:
        self.codec, self.srtp = codec, srtp

    def offer(self, wish: Direction) -> Deferred[bool]:
        """See :meth:`Exchanges.offer`."""
        return self._exchanges.offer(wish)

    def reapply(self) -> None:
        """Have the worker do once more what was agreed on."""
        self._agreement.apply()

    def mute(self) -> None:
        """The dialog is over, and the worker keeps the leg for another one."""
        self._agreement.mute()

    def stop(self) -> None:
        """It is over."""
        self._exchanges.stop()

    # --- what the SIP core tells ----------------------------------------------------------------

    def trying(self, event: Trying) -> None:
        self._calling.was_heard()

    def provisional(self, event: Provisional) -> None:
        self._calling.was_heard()
        response = event.response
        if response.status != 199:  # one fork of several has given up (RFC 6228)
            self._calling.rings(response.status, self._take_early(response))

    def _take_early(self, response: Response) -> bool:
        """Put the answer of a 1xx into force; whether there is early media."""
        body = sdp_body(response) if self._early else b""
        if not body:
            return False
        try:
            changed = self.media.read_early(response.to.tag or "", body)
        except RemoteProtocolError as error:
            self._calling.note("early_media", f"the answer in a {response.status} cannot be used: {error.reason}")
            return False
        if changed:
            self._exchanges.agreed()
        return True

    def answered(self, event: Answered) -> None:
        if event.reinvite:
            self._exchanges.answered(event)
            return
        try:
            changed = self.media.read_final(event.response.to.tag or "", sdp_body(event.response))
        except RemoteProtocolError as error:
            self._calling.unusable(error.reason)
            return
        if changed or not self._early:
            self._exchanges.agreed()
        response = event.response
        self.allow = tuple(each.upper() for each in response.allow) if "Allow" in response.headers else None
        self._calling.was_answered()

    def confirmed(self, event: Confirmed) -> None:
        self._exchanges.confirmed(event)

    def provisional_acknowledged(self, event: ProvisionalAcknowledged) -> None:
        self._exchanges.acknowledged(event)

    def reoffered(self, event: Reoffered) -> None:
        self._exchanges.reoffered(event)

    def reinvite_refused(self, event: ReinviteRefused) -> None:
        self._exchanges.refused(event)

    def refresh_due(self, event: RefreshDue) -> None:
        self._exchanges.refresh()

    def request_in_dialog(self, event: RequestInDialog) -> None:
        """INFO may tell a digit, UPDATE make an offer. NOTIFY has no subscription, the rest is not allowed."""
        if event.request.method == "INFO":
            informed(
                event,
                call_id=self.call_id,
                leg=self.media.leg,
                signalling=self._signalling,
                plane=self._plane,
                note=self._calling.note,
            )
        elif event.request.method in ("UPDATE", "PRACK"):
            self._exchanges.updated(event)
        elif not self._calling.asked(event, partial(self._signalling.respond_in, event.token)):
            refused = {"NOTIFY": 481, "REFER": 603}  # RFC 6665 4.1.3; no transfer of ours is sent on
            self._signalling.respond_in(event.token, refused.get(event.request.method, 405))

    def ended(self, event: Ended) -> None:
        self._calling.was_ended(event)
