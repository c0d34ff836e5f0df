"""The leg of an inbound call's caller: its dialog and its media, from the INVITE to the end of the usage.

It answers its own re-INVITEs, judges silence, and takes its digits from INFO. What the call as a whole is to make of
something it tells its listener.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from stellar_gw.call.endings import dialog_ending
from stellar_gw.call.leg.agreement import Agreement
from stellar_gw.call.leg.exchanges import Exchanges
from stellar_gw.call.leg.informed import informed
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.leg.silence import Silence
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import HeaderItems, MediaPlane, Signalling
from stellar_gw.call.timers import Timers
from stellar_gw.call.usages import Heard, Usages
from stellar_gw.control import messages
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
from stellar_gw.sip.message import Request
from stellar_gw.sip.reliable import demanded_by
from stellar_gw.sip.sdp import Direction
from stellar_gw.sip.uri import Uri


class CallerLegListener(Protocol):
    """The call that the leg belongs to."""

    def leg_confirmed(self) -> None:
        """The ACK of our 200 came, and what it carried can be used."""

    def leg_gone(self, ending: Ending, reason_header: str) -> None:
        """The dialog is over."""

    def leg_agreed(self, codec: str, srtp: str) -> None:
        """What offer and answer have come to."""

    def leg_turned(self, direction: Direction) -> None:
        """What the caller's side lets us do from now on: ``recvonly`` or ``inactive`` while it holds us."""

    def leg_notified(self, request: Request, respond: Callable[[int], None]) -> None:
        """A NOTIFY; to be answered before anything comes of it."""

    def leg_referred(self, request: Request, respond: Respond) -> None:
        """A REFER; to be answered."""

    def media_failed(self, failure: Failure) -> None: ...

    def give_up(self, ending: Ending) -> None: ...

    def note(self, kind: str, message: str) -> None: ...


class CallerLeg:
    """
    :param request: the INVITE.
    :param media: our side of the caller's session description.
    :param usages: where the events of all usages come by.
    :param timers: of the call; all of them end with it.
    :ivar ports: of its media, once there are any.
    :param probe_interval: seconds, as of :class:`Silence`; so is ``no_media_extended``.
    """

    def __init__(
        self,
        listener: CallerLegListener,
        *,
        call_id: str,
        usage: UsageId,
        request: Request,
        flow: Flow,
        media: LegMedia,
        signalling: Signalling,
        plane: MediaPlane,
        usages: Usages,
        timers: Timers,
        probe_interval: float,
        no_media_extended: float,
    ) -> None:
        self.usage, self.request, self.flow, self.media = usage, request, flow, media
        self._listener, self.call_id = listener, call_id
        self._described = False
        self.ports: messages.Allocated | None = None
        self._signalling, self._plane, self._usages = signalling, plane, usages
        self.agreement = Agreement(
            call_id=call_id,
            media=media,
            plane=plane,
            failed=listener.media_failed,
            note=listener.note,
            keep=listener.leg_agreed,
        )
        self._exchanges = Exchanges(
            usage,
            media=media,
            agreement=self.agreement,
            signalling=signalling,
            timers=timers,
            note=listener.note,
            unusable=partial(_end_unusable, listener),
            changed=listener.leg_turned,
        )
        self._silence = Silence(
            timers=timers,
            probe=partial(usages.ask, usage, "OPTIONS"),
            give_up=listener.give_up,
            interval=probe_interval,
            longest=no_media_extended,
        )

    @property
    def local_uri(self) -> Uri:
        """What the caller dialled: who we are in its dialog."""
        return self.request.to.uri

    @property
    def far(self) -> Direction:
        return self.media.far

    @property
    def codec(self) -> str:
        return self.media.codec

    @property
    def version(self) -> int:
        return self.media.version

    @property
    def allow(self) -> tuple[str, ...] | None:
        request = self.request
        return tuple(method.upper() for method in request.allow) if "Allow" in request.headers else None

    # --- verbs ----------------------------------------------------------------------------------

    def allocated(self, ports: messages.Allocated) -> None:
        """Make our session description.

        :raise RemoteProtocolError: with the status that refuses the INVITE's offer.
        """
        self.ports = ports
        self.media.allocated(ports)
        self.media.respond(self.request)
        if self.media.negotiated is not None:
            self._exchanges.agreed()

    def ring(self, *, early: bool = False) -> None:
        """180; with early media 183, and our answer, which the 200 repeats (RFC 3261 13.2.1).

        Where it has to be reliable our description is in it anyway, and not in the 200 (RFC 3262 5).
        """
        self._described = demanded_by(self.request)
        body = self.media.local if early or self._described else b""
        self._signalling.ring(self.usage, 183 if early else 180, body)

    def answer(self) -> None:
        self._signalling.answer(self.usage, b"" if self._described else self.media.local)

    def reject(self, status: int, phrase: str, headers: HeaderItems) -> None:
        self._signalling.reject(self.usage, status, phrase, headers)

    def bye(self, headers: HeaderItems) -> None:
        self._signalling.bye(self.usage, headers)

    def offer(self, direction: Direction) -> Deferred[bool]:
        """Hold the caller, or resume; see :meth:`Exchanges.offer`."""
        return self._exchanges.offer(direction)

    def ask(self, method: str, heard: Heard, headers: HeaderItems = ()) -> None:
        """Send a request inside the dialog; ``heard`` is called once."""
        self._usages.ask(self.usage, method, heard, headers)

    def reapply(self) -> None:
        """Have the worker do once more what was agreed on."""
        self.agreement.apply()

    def mute(self) -> None:
        """The dialog is over, and the worker keeps the leg for another one."""
        self.agreement.mute()

    def stop(self) -> None:
        """Wait for nothing any more; the dialog's end comes from elsewhere."""
        self._exchanges.stop()
        self._silence.over()

    def heard(self, event: messages.Event) -> None:
        """Something the worker says of this leg."""
        match event:
            case messages.MediaLost():
                self._silence.began(event)
            case messages.MediaBack():
                self._silence.over()
            case messages.OneWayAudio():
                self._listener.note(
                    "one_way_audio",
                    f"one-way audio: no RTP after 5 s on {event.local}; SDP said {event.remote}. "
                    "Open the RTP ports in the firewall, or set the phone system's external address",
                )
            case _:
                pass

    # --- what the SIP core tells (UsageOwner) ---------------------------------------------------

    def ended(self, event: Ended) -> None:
        """The dialog is over."""
        header = "" if event.request is None else event.request.headers.first("Reason") or ""
        self._listener.leg_gone(dialog_ending(event), header)

    def confirmed(self, event: Confirmed) -> None:
        if self._exchanges.confirmed(event) and not event.reinvite:
            self._listener.leg_confirmed()

    def provisional_acknowledged(self, event: ProvisionalAcknowledged) -> None:
        self._exchanges.acknowledged(event)

    def reoffered(self, event: Reoffered) -> None:
        self._exchanges.reoffered(event)

    def refresh_due(self, event: RefreshDue) -> None:
        self._exchanges.refresh()

    def request_in_dialog(self, event: RequestInDialog) -> None:
        """INFO may tell a digit, UPDATE make an offer, NOTIFY say how our REFER goes on, REFER send us elsewhere."""
        if event.request.method == "INFO":
            informed(
                event,
                call_id=self.call_id,
                leg=self.media.leg,
                signalling=self._signalling,
                plane=self._plane,
                note=self._listener.note,
            )
        elif event.request.method in ("UPDATE", "PRACK"):
            self._exchanges.updated(event)
        elif event.request.method == "NOTIFY":
            self._listener.leg_notified(event.request, partial(self._signalling.respond_in, event.token))
        elif event.request.method == "REFER":
            self._listener.leg_referred(event.request, partial(self._signalling.respond_in, event.token))
        else:
            self._signalling.respond_in(event.token, 405)

    def trying(self, event: Trying) -> None:
        """A re-INVITE of ours is on its way; so says the next one."""

    def provisional(self, event: Provisional) -> None: ...

    def answered(self, event: Answered) -> None:
        self._exchanges.answered(event)

    def reinvite_refused(self, event: ReinviteRefused) -> None:
        self._exchanges.refused(event)


def _end_unusable(listener: CallerLegListener, reason: str) -> None:
    listener.give_up(Ending(cause="not_acceptable", by="gateway", reason=reason))
