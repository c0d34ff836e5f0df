"""One call of the phone, from its first message to its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from attrs import define, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.media.wav import WavWriter
from stellar_gw.phone.endpoint import Endpoint, EndpointReactor
from stellar_gw.phone.ladder import Rung, rung
from stellar_gw.phone.measure import measure
from stellar_gw.phone.plan import Conduct, PlanError
from stellar_gw.phone.recording import RATE
from stellar_gw.phone.report import CallReport, reference_in
from stellar_gw.phone.rtp import RtpSession
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import (
    Answered,
    Confirmed,
    Ended,
    Event,
    Provisional,
    ReinviteRefused,
    Reoffered,
    RequestInDialog,
    UsageId,
)
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Response
from stellar_gw.sip.offer_answer import LocalMedia, OfferAnswer
from stellar_gw.sip.srtp import Keys, Srtp

MAX_RUNGS = 1000
FAREWELL = 2.0
"""Seconds that the report waits for the answer to our BYE."""
RETRY = 0.5
"""Seconds until a change of ours is tried again while another exchange is open."""


@frozen(kw_only=True)
class Surroundings:
    """What every call of one phone shares.

    :ivar random: returns so many random octets.
    :ivar wall: wall-clock seconds.
    :ivar on_rung: sees each SIP message of each call.
    """

    reactor: EndpointReactor
    endpoint: Endpoint
    random: Callable[[int], bytes]
    wall: Callable[[], float]
    on_rung: Callable[[Rung], None]


@define
class _WavFile:
    """A recording on disk, written while the call goes on."""

    file: BinaryIO
    writer: WavWriter

    def close(self) -> None:
        self.writer.close()
        self.file.close()


def _wav_file(path: str) -> _WavFile | None:
    """:raise PlanError: the file cannot be written."""
    if not path:
        return None
    try:
        file = Path(path).open("wb")  # noqa: SIM115 - closed when the call ends
    except OSError as error:
        raise PlanError(f"{path} cannot be written: {error.strerror or error}") from None
    return _WavFile(file, WavWriter(file, RATE))


class PhoneCall:
    """A call in either direction; see :class:`OutgoingCall` and :class:`IncomingCall` for how it comes up.

    :ivar answered: fires with the call once its 200 is sent or received; never, if it is refused.
    :ivar ended: fires with the report; it never fails.
    :ivar protection: TLS version and cipher suite of the signalling; empty where there is no TLS.
    :ivar rtp: the audio, with all that was heard.
    """

    def __init__(self, around: Surroundings, conduct: Conduct, to: str, transport: str) -> None:
        """
        :raise PlanError: a recording cannot be written.
        :raise NoPorts: no UDP ports are free.
        """
        self._around, self._conduct = around, conduct
        self.answered: Deferred[PhoneCall] = Deferred()
        self.ended: Deferred[CallReport] = Deferred()
        self.usage: UsageId = ""
        self.call_id = ""
        self.problem = self.fix = ""
        self.protection = ""
        self._to, self._transport = to, transport
        self._files = [_wav_file(conduct.record), _wav_file(conduct.record_sent)]
        heard, sent = self._files
        self.rtp = RtpSession(
            around.reactor,
            around.endpoint.host,
            conduct.play.make(),
            random=around.random,
            wall=around.wall,
            keep=conduct.keep,
            heard_sink=heard.writer.write if heard else None,
            sent_sink=sent.writer.write if sent else None,
        )
        self.offers = OfferAnswer(int.from_bytes(around.random(4), "big") >> 1)
        self._srtp = Srtp(
            mode="opportunistic" if conduct.srtp == "optional" else conduct.srtp,
            suites=conduct.srtp_suites,
            offer="savp" if conduct.srtp == "required" else "avp",
            keys=Keys(around.random),
        )
        self._alarms: list[IDelayedCall] = []
        self._rungs: list[Rung] = []
        self._began = around.reactor.seconds()
        self._times: dict[str, float] = {}
        self._status, self._reason, self._reference = 0, "", ""
        self._signalling_host = ""
        self._held = False
        self._parting = False
        self._over: tuple[str, str] | None = None

    # --- what can be done -----------------------------------------------------------------------

    def hang_up(self) -> None:
        """BYE, CANCEL or a refusal, as fits; ``ended`` fires soon."""
        if self.usage:
            self._core.bye(self.usage, self._now)
            self._endpoint.turn()

    def send_digits(self, digits: str) -> bool:
        """Press keys; False where the other side takes no RFC 4733 events."""
        return self.rtp.send_digits(digits)

    def hold(self) -> None:
        """Offer ``sendonly`` (RFC 3264 8.4)."""
        self._held = True
        self._reoffer()

    def resume(self) -> None:
        self._held = False
        self._reoffer()

    def _reoffer(self) -> None:
        if self._over is not None:
            return
        if self.offers.pending != "none":  # one exchange at a time
            self._later(RETRY, self._reoffer)
            return
        self._core.reinvite(self.usage, self.offers.make_offer(self.local), self._now)
        self._endpoint.turn()

    # --- what happens ---------------------------------------------------------------------------

    def saw(self, packet: bytes, flow: Flow, sent: bool) -> None:
        """A SIP message of this call went by."""
        at_ms = (self._now - self._began) * 1000
        if not sent and packet.startswith(b"SIP/2.0"):
            self._times.setdefault("trying", at_ms)
        line = rung(packet, flow, sent=sent, at_ms=at_ms)
        if len(self._rungs) < MAX_RUNGS:
            self._rungs.append(line)
        self._around.on_rung(line)
        if sent and packet.startswith(b"BYE "):
            self._parting = True
        elif not sent and line.start_line.startswith("SIP/2.0 2") and line.start_line.endswith("[BYE]"):
            self._parting = False
            if self._over is not None:
                self._close(*self._over)

    def handle(self, event: Event) -> None:
        """An event of this call's usage, from the core."""
        if self._over is not None:
            return
        match event:
            case Provisional():
                self._provisional(event.response)
            case Answered():
                self._answered(event)
            case Confirmed():
                self._confirmed(event)
            case Reoffered():
                self._reoffered(event)
            case ReinviteRefused():
                self.offers.withdraw()
                if event.response is not None and event.response.status == 491:
                    self._later(self._core.glare_delay(self.usage), self._reoffer)
            case RequestInDialog():
                status = 200 if event.request.method in ("INFO", "NOTIFY") else 405
                self._core.respond_in(event.token, status, self._now)
            case Ended():
                self._ended(event)
            case _:
                pass

    def _provisional(self, response: Response) -> None:
        """Only our own INVITEs get any."""

    def _answered(self, event: Answered) -> None:
        """Our INVITE or re-INVITE got its 2xx."""
        self._agree(lambda: self.offers.receive_answer(sdp_body(event.response)))

    def _confirmed(self, event: Confirmed) -> None:
        """The ACK of our 2xx: it answers the offer, where that made one."""
        if self.offers.pending == "local":
            self._agree(lambda: self.offers.receive_answer(event.body))

    def _reoffered(self, event: Reoffered) -> None:
        body = sdp_body(event.request)
        try:
            if not body:
                answer = self.offers.make_offer(self.local)
            else:
                self.offers.receive_offer(body, self.local)
                answer = self.offers.answer(self.local).answer
        except RemoteProtocolError as error:
            self.offers.refuse()
            self._core.reject(self.usage, error.status, self._now, error.reason)
            return
        self._core.answer(self.usage, answer, self._now)
        if body:
            self._update()

    def _agree(self, exchange: Callable[[], object]) -> bool:
        """End an exchange; one that fails ends the call, with its reason in the report."""
        try:
            exchange()
        except RemoteProtocolError as error:
            self.problem = f"the other side's session description cannot be used: {error.reason}"
            self.fix = "compare its SDP with ours; try another --codec"
            self.hang_up()
            return False
        self._update()
        return True

    def _update(self) -> None:
        if self.offers.negotiated is not None:
            self.rtp.update(self.offers.negotiated, self._signalling_host)

    def up(self, answered_ms: float) -> None:
        """The call is answered: what the plan says runs from now on."""
        if self._over is not None:
            return
        self._times["answered"] = answered_ms
        conduct = self._conduct
        if conduct.digits:
            self._later(conduct.digits_after, self._press)
        if conduct.hold_after is not None:
            self._later(conduct.hold_after, self.hold)
            self._later(conduct.hold_after + conduct.hold_for, self.resume)
        if conduct.duration:
            self._later(conduct.duration, self.hang_up)
        self.answered.callback(self)

    def _press(self) -> None:
        if not self.send_digits(self._conduct.digits):
            self.problem = "the digits were not sent: the other side takes no telephone-event (RFC 4733)"

    # --- the end --------------------------------------------------------------------------------

    def _ended(self, event: Ended) -> None:
        if event.response is not None:
            self.final(event.response)
        self.finish(event.cause, event.by)

    def final(self, response: Response) -> None:
        """The final response of the call's INVITE."""
        self._status, self._reason = response.status, response.reason
        self._reference = reference_in(response.headers.all("Warning"))

    def finish(self, cause: str, by: str) -> None:
        """The call is over: stop the audio, and report once our BYE is answered; repeatable."""
        if self._over is not None:
            return
        self._over = (cause, by)
        self._times["ended"] = self._since_began_ms
        for alarm in self._alarms:
            if alarm.active():
                alarm.cancel()
        self.rtp.stop()
        for file in self._files:
            if file is not None:
                file.close()
        if self._parting:
            self._later(FAREWELL, lambda: self._close(cause, by))
        else:
            self._close(cause, by)

    def _close(self, cause: str, by: str) -> None:
        for alarm in self._alarms:
            if alarm.active():
                alarm.cancel()
        if not self.ended.called:
            self.ended.callback(self._report(cause, by))

    def _report(self, cause: str, by: str) -> CallReport:
        answered = self._times.get("answered")
        return CallReport(
            to=self._to,
            call_id=self.call_id,
            transport=self._transport,
            protection=self.protection,
            status=self._status,
            reason=self._reason,
            reference=self._reference,
            trying_ms=self._times.get("trying"),
            ringing_ms=self._times.get("ringing"),
            answered_ms=answered,
            duration_s=0.0 if answered is None else (self._times["ended"] - answered) / 1000,
            ended_by=by,
            cause=cause,
            problem=self.problem,
            fix=self.fix,
            media=measure(self.rtp),
            record=self._conduct.record,
            record_sent=self._conduct.record_sent,
            ladder=tuple(self._rungs),
        )

    # --- small ----------------------------------------------------------------------------------

    @property
    def local(self) -> LocalMedia:
        """Our end of the audio, as the next description will have it."""
        conduct = self._conduct
        return LocalMedia(
            address=self._endpoint.host,
            port=self.rtp.rtp_port,
            rtcp_port=self.rtp.rtcp_port,
            codecs=conduct.codecs,
            telephone_event=conduct.telephone_event,
            ptime=conduct.ptime,
            direction="sendonly" if self._held else "sendrecv",
            rtcp_mux=conduct.rtcp_mux,
            srtp=self._srtp,
        )

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        self._alarms.append(self._around.reactor.callLater(seconds, act))

    @property
    def _endpoint(self) -> Endpoint:
        return self._around.endpoint

    @property
    def _core(self) -> SipCore:
        return self._around.endpoint.core

    @property
    def _now(self) -> float:
        return self._around.reactor.seconds()

    @property
    def _since_began_ms(self) -> float:
        return (self._now - self._began) * 1000
