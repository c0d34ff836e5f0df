"""Offers and answers inside a dialog that is up, whoever makes them: re-INVITEs of either side (RFC 3261 14).

Each leg answers its own peer's re-INVITEs at once, from the state of its own description. What we want ourselves,
to hold or to resume, goes out as an offer of ours; while another exchange is open it waits, and where both sides
have offered at the same time (491) it is made again a little later.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from stellar_gw.call.leg.agreement import Agreement
from stellar_gw.call.leg.media import LegMedia
from stellar_gw.call.ports import HeaderItems, Signalling
from stellar_gw.call.timers import Timers
from stellar_gw.errors import RemoteProtocolError, StellarError
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.events import (
    Answered,
    Confirmed,
    ProvisionalAcknowledged,
    ReinviteRefused,
    Reoffered,
    RequestInDialog,
    UsageId,
)
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.sdp import Direction
from stellar_gw.sip.srtp import SrtpRefused

RETRIES = 5
"""Times that an offer is made again after 491 or 500; the far side gets 2 to 4 seconds each."""


class Exchanges:
    """Those of one dialog.

    :param usable: called with a sentence where the answer in an ACK cannot be used: the call cannot go on
        (RFC 3261 14.2).
    :param changed: called with :attr:`LegMedia.far` where the far side holds us now, or does so no more.
    """

    def __init__(
        self,
        usage: UsageId,
        *,
        media: LegMedia,
        agreement: Agreement,
        signalling: Signalling,
        timers: Timers,
        note: Callable[[str, str], None],
        unusable: Callable[[str], None],
        changed: Callable[[Direction], None],
    ) -> None:
        self._usage, self._media, self._agreement = usage, media, agreement
        self._signalling, self._timers, self._note = signalling, timers, note
        self._unusable, self._changed = unusable, changed
        self._wish: Direction = "sendrecv"
        self._out: list[Deferred[bool]] = []
        self._waiting: list[Deferred[bool]] = []
        self._far: Direction = "sendrecv"
        self._retries = 0

    def agreed(self) -> None:
        """An exchange is whole, the first one perhaps: put it into force."""
        self._agreement.apply()
        if self._far != self._media.far:
            self._far = self._media.far
            self._changed(self._far)

    # --- the peer's -----------------------------------------------------------------------------

    def reoffered(self, event: Reoffered) -> None:
        """A re-INVITE: answered from the same state of offer and answer, whoever makes the offer."""
        answer = self._answer(event.request)
        if isinstance(answer, bytes):
            self._signalling.answer(self._usage, answer)
        else:
            self._signalling.reject(self._usage, *answer)

    def updated(self, event: RequestInDialog) -> None:
        """An UPDATE or PRACK with an offer (RFC 3311 5.2, RFC 3262 5); those without are answered below."""
        answer = self._answer(event.request)
        if isinstance(answer, bytes):
            self._signalling.respond_in(event.token, 200, body=answer)
        else:
            self._signalling.respond_in(event.token, *answer)

    def _answer(self, request: Request) -> bytes | tuple[int, str, HeaderItems]:
        """Our answer, in force; or with which status, reason and headers the offer is refused."""
        try:
            body = self._media.respond(request)
        except RemoteProtocolError as error:
            if isinstance(error, SrtpRefused):
                self._note("srtp_refused", f"{request.method} refused: {self._media.terms.explain(error)[0]}")
            return error.status, error.reason, [("Retry-After", "5")] if error.status == 500 else ()
        except StellarError as error:
            return 500, str(error), [("Retry-After", "5")]
        if not self._media.awaits_answer:
            self.agreed()
        return body

    def confirmed(self, event: Confirmed) -> bool:
        """The ACK of a 2xx of ours, which may carry the answer to our offer.

        :return: False where the call cannot go on.
        """
        return self._acknowledged(event.body, "ACK")

    def acknowledged(self, event: ProvisionalAcknowledged) -> bool:
        """The PRACK of a reliable provisional response of ours, likewise (RFC 3262 5)."""
        return self._acknowledged(event.body, "PRACK")

    def _acknowledged(self, body: bytes, by: str) -> bool:
        if self._media.awaits_answer:
            try:
                self._media.read_answer(body)
            except RemoteProtocolError as error:
                self._unusable(f"answer in {by}: {error.reason}")
                return False
            self.agreed()
        self._offer_next()
        return True

    def refresh(self) -> None:
        """Offer once more what holds, so that the session does not expire."""
        self.offer(self._wish)

    # --- ours -----------------------------------------------------------------------------------

    def offer(self, wish: Direction) -> Deferred[bool]:
        """Offer a direction: ``sendonly`` or ``inactive`` to hold the far side, ``sendrecv`` to resume.

        :return: fires with whether the far side has answered; False too where the dialog ends before.
        """
        done: Deferred[bool] = Deferred()
        self._wish = wish
        self._waiting.append(done)
        self._offer_next()
        return done

    def _offer_next(self) -> None:
        if not self._waiting or self._out or self._timers.running("reoffer"):
            return
        try:
            body = self._media.make_offer(self._wish)
        except RemoteProtocolError:  # another exchange is open: its end leads back here
            return
        self._out, self._waiting = self._waiting, []
        self._signalling.reinvite(self._usage, body)

    def answered(self, event: Answered) -> None:
        """The 2xx to our offer."""
        try:
            self._media.read_answer(sdp_body(event.response))
        except RemoteProtocolError as error:
            self._note("reinvite_failed", f"the answer to our re-INVITE cannot be used: {error.reason}")
            self._settle(False)
            return
        self.agreed()
        self._settle(True)

    def refused(self, event: ReinviteRefused) -> None:
        """The session goes on as it was."""
        self._media.withdraw()
        delay = self._delay(event.response)
        if delay is not None and self._retries < RETRIES:
            self._retries += 1
            self._out, self._waiting = [], [*self._out, *self._waiting]
            self._timers.start("reoffer", delay, self._offer_next)
            return
        status = event.response.status if event.response is not None else "no answer"
        self._note("reinvite_failed", f"our re-INVITE was refused: {status}")
        self._settle(False)

    def _delay(self, response: Response | None) -> float | None:
        """Seconds until the same may be offered again; None: not at all."""
        if response is None:
            return None
        if response.status == 491:
            return self._signalling.glare_delay(self._usage)
        later = (response.headers.first("Retry-After") or "").partition(";")[0].strip()
        if response.status == 500 and later.isdecimal() and len(later) < 3:
            return min(10.0, float(later))
        return None

    def _settle(self, done: bool) -> None:
        out, self._out, self._retries = self._out, [], 0
        for each in out:
            each.callback(done)
        self._offer_next()

    def stop(self) -> None:
        """The dialog is over."""
        self._timers.stop("reoffer")
        waiting, self._out, self._waiting = [*self._out, *self._waiting], [], []
        for each in waiting:
            each.callback(False)
