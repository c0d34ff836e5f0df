"""The leg of a call to the target of a transfer: from a decided target to an answered dialog, and to its end.

The leg dials, keeps its own session description, answers its own re-INVITEs, and has its media carried by the
worker of its call. It knows nothing of the caller: whoever asked for it listens (:class:`LegListener`) and binds
the legs to each other. It starts nothing that it does not also end.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from stellar_gw.call.endings import media_ending, target_ending
from stellar_gw.call.leg.dialing import Dialing
from stellar_gw.call.leg.dialog import LegDialog
from stellar_gw.call.leg.invites import Invites
from stellar_gw.call.leg.leg_ports import LegPorts
from stellar_gw.call.leg.listener import LegListener, LegSurroundings
from stellar_gw.call.leg.silence import Silence
from stellar_gw.call.leg.standing import Respond
from stellar_gw.call.leg.target_machine import Effect, LegEnding, Outbox, OutgoingLegMachine
from stellar_gw.call.leg.waiting import Waiting
from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import HeaderItems
from stellar_gw.call.target.target import Target
from stellar_gw.call.timers import Timers
from stellar_gw.control import messages
from stellar_gw.sip.checks import NOTHING_BESIDES, Besides
from stellar_gw.sip.events import Ended, RequestInDialog, UsageId
from stellar_gw.sip.flow import Flow, Way, ip_version
from stellar_gw.sip.message import Response
from stellar_gw.sip.sdp import Direction
from stellar_gw.sip.srtp import SrtpRefused

UNHEARD = 4.0
"""Seconds that a next hop may be silent where there is another (RFC 3263 4.3 leaves it to us)."""
NO_ANSWER = 'Q.850;cause=19;text="no answer"'
UNWANTED = 'Q.850;cause=16;text="given up"'
UNUSABLE = 'Q.850;cause=88;text="the answer cannot be used"'
LOST = 'Q.850;cause=41;text="media failure"'


class TargetLeg:
    """
    :param call_id: our own id of the call.
    :param leg: its name in the worker.
    :param codec_first: the caller's codec, so that nothing need be coded anew.
    :param extra_headers: of the INVITE, validated.
    :param signalling_listener: the caller's, whose Via and Contact are used if possible.
    :param ports: of a leg that is there already, and stays when this is over: nothing of it changes before the answer.
    :param version: the IP version of these.
    :param besides: what its peer may in its dialog.
    :param note: a kind and a line for the operator.
    :ivar sip_call_id: of all its INVITEs.
    """

    def __init__(
        self,
        *,
        call_id: str,
        leg: str = "target",
        target: Target,
        codec_first: str,
        extra_headers: HeaderItems = (),
        around: LegSurroundings,
        listener: LegListener,
        signalling_listener: str = "",
        note: Callable[[str, str], None],
        ports: messages.Allocated | None = None,
        version: int = 0,
        besides: Besides = NOTHING_BESIDES,
    ) -> None:
        self.call_id, self.leg, self.target, self.note = call_id, leg, target, note
        self._around, self._listener, self._listener_name = around, listener, signalling_listener
        self._signalling = around.signalling
        self._timers = Timers(around.clock)
        self._ports = LegPorts(around.plane, call_id, leg, ports, version)
        self._invites = Invites(
            self,
            call_id=call_id,
            leg=leg,
            target=target,
            codec_first=codec_first,
            extra_headers=extra_headers,
            around=around,
            timers=self._timers,
            besides=besides,
            early=not self._ports.borrowed,
        )
        self.sip_call_id = self._invites.sip_call_id
        self._dialing = Dialing(target, around.rungs, around.clock.seconds())
        self._outbox = Outbox()
        self._machine = OutgoingLegMachine(self._outbox)
        self._running = False
        self._waiting = Waiting(self._run)
        self._flow: Flow | None = None
        self._heard = self._told = False
        self._farewell: HeaderItems = ()
        self._silence = Silence(
            timers=self._timers,
            probe=lambda heard: around.usages.ask(self.usage, "OPTIONS", heard),
            give_up=self._silent,
            interval=around.probe_interval,
            longest=around.no_media_extended,
        )

    @property
    def ports(self) -> messages.Allocated | None:
        """Of its media, once there are any."""
        return self._ports.ports

    @property
    def up(self) -> bool:
        """Answered, and not ended."""
        return OutgoingLegMachine.state(self._machine) == "Up"

    @property
    def codec(self) -> str:
        """In force; empty before there is any."""
        return self._dialog.codec if self._dialog is not None else ""

    @property
    def srtp(self) -> str:
        """The SRTP suite in force; empty for plain RTP."""
        return self._dialog.srtp if self._dialog is not None else ""

    @property
    def version(self) -> int:
        """The IP version of its media; 0: the worker's usual one."""
        return self._ports.version

    @property
    def usage(self) -> UsageId:
        return self._dialog.usage if self._dialog is not None else ""

    @property
    def flow(self) -> Flow:
        assert self._flow is not None, "it has been answered"
        return self._flow

    @property
    def far(self) -> Direction:
        return self._dialog.media.far if self._dialog is not None else "sendrecv"

    @property
    def allow(self) -> tuple[str, ...] | None:
        return self._dialog.allow if self._dialog is not None else None

    @property
    def _dialog(self) -> LegDialog | None:
        return self._invites.dialog

    # --- verbs ----------------------------------------------------------------------------------

    def dial(self) -> None:
        """Begin; once."""
        self._machine.dial()
        self._run()

    def give_up(self, reason_header: str = UNWANTED, cause: str = "given_up") -> None:
        """End it whatever state it is in, by CANCEL or BYE where there is something to end; repeatable."""
        self._end(cause, "nobody waits for an answer any more", reason_header)

    def bye(self, headers: HeaderItems = ()) -> None:
        """The same, with any headers."""
        self._farewell = tuple(headers)
        self.give_up(next((value for name, value in self._farewell if name.lower() == "reason"), ""))

    def hold(self, direction: Direction = "sendonly") -> Deferred[bool]:
        """Offer a direction of ours: ``sendonly``, ``inactive``, or ``sendrecv`` to resume.

        :return: fires with whether the far side has answered; False too where the leg is not up, or ends before.
        """
        return self._dialog.offer(direction) if self._dialog is not None and self.up else succeed(False)

    def reapply(self) -> None:
        if self._dialog is not None:
            self._dialog.reapply()

    def mute(self) -> None:
        if self._dialog is not None:
            self._dialog.mute()

    def retire(self) -> None:
        """Its dialog is somebody else's from now on."""
        self._stop()

    def asked(self, event: RequestInDialog, respond: Respond) -> bool:
        return self._listener.asked(event, respond)

    def heard(self, event: messages.Event) -> None:
        """Something that the worker says of this leg."""
        match event:
            case messages.DigitReceived():
                self._listener.digit(event)
            case messages.MediaLost() if self.up:
                self._silence.began(event)
            case messages.MediaBack():
                self._silence.over()
            case messages.OneWayAudio():
                self.note(
                    "one_way_audio",
                    f"one-way audio on leg {self.leg}: no RTP after 5 s on {event.local}; SDP said {event.remote}",
                )
            case _:
                pass

    # --- what the INVITE comes to (Calling) -----------------------------------------------------

    def was_heard(self) -> None:
        self._heard = True
        self._timers.stop("unheard")

    def rings(self, status: int, early_media: bool) -> None:
        self._listener.ringing(status, early_media)

    def was_answered(self) -> None:
        self._machine.answered()
        self._run()

    def unusable(self, reason: str) -> None:
        self._end("not_acceptable", f"the answer cannot be used: {reason}", UNUSABLE)

    def was_ended(self, event: Ended) -> None:
        self._invites.ended(event)
        self._timers.stop("unheard")
        if self.up:
            self._machine.gone(target_ending(event))
        elif event.response is not None:
            self._refused(event.response)
        else:
            self._no_response(event)
        self._run()

    def direction_changed(self, direction: Direction) -> None:
        if self._told and self.up:
            self._listener.direction_changed(direction)

    def media_failed(self, failure: Failure) -> None:
        ending = media_ending(failure.value)
        self._end("worker_lost" if ending.cause == "worker_lost" else "media", ending.reason, LOST)

    # --- how dialing goes on --------------------------------------------------------------------

    def _refused(self, response: Response) -> None:
        if response.status == 503:
            self._mark_way()
        match self._dialing.refused(response):
            case "again":
                self._machine.again()
            case "next_way":
                self._machine.next_way()
            case "redirected":
                self._machine.redirected()
            case "failed":
                self._machine.failed(self._dialing.failure_of(response))

    def _no_response(self, event: Ended) -> None:
        """The connection broke, or the transaction timed out (RFC 3261 17.1.1.2)."""
        why = "the connection broke" if event.cause == "transport" else "no response to our INVITE"
        if self._heard:  # somebody may be ringing there: another way would ring twice
            self._dialing.note(why)
            self._machine.failed(self._dialing.failure("unreachable", why))
        else:
            self._mark_way()
            self._way_failed("unreachable", why)

    def _mark_way(self) -> None:
        if self._dialing.way is not None:
            self._signalling.mark_failed(self._dialing.way)

    def _way_failed(self, reason: str, why: str) -> None:
        """Nobody was reached by this way: on to the next one, if there is any."""
        self._dialing.note(why)
        if self._dialing.more_ways:
            self._machine.next_way()
        else:
            self._machine.failed(self._dialing.failure(reason, why))

    def _unheard(self) -> None:
        self._invites.leave(())
        self._mark_way()
        self._way_failed("unreachable", f"no response in {UNHEARD:g} s")
        self._run()

    def _rung_out(self) -> None:
        self._end("no_answer", f"no answer in {self.target.ring_timeout:g} s", NO_ANSWER)

    # --- effects --------------------------------------------------------------------------------

    def _run(self) -> None:
        """Carry out what the machine has asked for; what happens meanwhile waits its turn."""
        if self._running:
            return
        self._running = True
        try:
            while self._outbox.effects:
                self._EFFECTS[self._outbox.effects.pop(0)](self)
        finally:
            self._running = False

    def _allocate(self) -> None:
        self._timers.start("ring", self.target.ring_timeout, self._rung_out)
        if self._ports.ports is not None:
            self._waiting.wait(succeed(None), lambda _: self._machine.allocated(), self.media_failed)
            return
        listener = self._around.listeners.get(self._listener_name)
        version = 0 if listener is None else ip_version(listener.media_advertise)
        self._waiting.wait(self._ports.take(version), lambda _: self._machine.allocated(), self.media_failed)

    def _route(self) -> None:
        own = self._dialing.own_hop
        asked = self._signalling.route(
            self._dialing.hop,
            tls_name=self.target.tls_name if own else "",
            client_certificate=self.target.client_certificate if own else "",
        )
        self._waiting.wait(asked, self._routed, self._unroutable)

    def _routed(self, ways: tuple[Way, ...]) -> None:
        refused = self._dialing.routed(ways)
        if refused is not None:
            self._machine.failed(refused)
        else:
            self._machine.routed()

    def _unroutable(self, failure: Failure) -> None:
        self._machine.failed(self._dialing.failure("unreachable", str(failure.value)))

    def _open(self) -> None:
        way = self._dialing.next_way()
        assert way is not None, "the machine comes here only where there is another way"
        self._waiting.wait(self._signalling.open(way, self._listener_name), self._opened, self._unopened)

    def _opened(self, flow: Flow) -> None:
        self._flow = flow
        version = ip_version(self._around.listeners[flow.listener].media_advertise)
        if version == self._ports.version:
            self._machine.opened()
        elif self._ports.borrowed:  # a leg that is up keeps its sockets
            self._way_failed("not_acceptable", "the call's media is of the other IP version")
        else:  # this way's listener describes us by the other IP version
            self._waiting.wait(self._ports.take(version), lambda _: self._machine.opened(), self.media_failed)

    def _unopened(self, failure: Failure) -> None:
        self._way_failed("unreachable", str(failure.value))

    def _invite(self) -> None:
        assert self._flow is not None and self._ports.ports is not None
        self._heard = False
        try:
            self._invites.send(self._dialing.uri, self._dialing.terms, self._flow, self._ports.ports)
        except SrtpRefused as error:
            self._way_failed("not_acceptable", error.reason)
            return
        if self._dialing.more_ways:
            self._timers.start("unheard", UNHEARD, self._unheard)

    def _establish(self) -> None:
        self._timers.stop("ring")
        self._timers.stop("unheard")
        self._dialing.answered(self._around.clock.seconds())
        self._ports.answered().addErrback(self.media_failed)
        self._listener.answered()
        self._told = True
        if self._dialog is not None and self._dialog.media.far != "sendrecv":
            self.direction_changed(self._dialog.media.far)

    def _withdraw(self) -> None:
        self._invites.leave(self._farewell)

    def _tell_failed(self) -> None:
        self._stop()
        assert self._outbox.failure is not None
        self._listener.failed(self._outbox.failure)

    def _tell_ended(self) -> None:
        self._stop()
        ending = self._outbox.ending
        assert ending is not None
        self._listener.ended(ending.by, ending.cause, ending.reason_header)

    def _stop(self) -> None:
        self._timers.stop_all()
        self._waiting.stop()
        if self._dialog is not None:
            self._dialog.stop()

    def _release(self) -> None:
        cause = self._outbox.ending.cause if self._outbox.ending else "not_answered"
        self._ports.release(cause).addCallback(self._listener.released)

    # --- the end --------------------------------------------------------------------------------

    def _end(self, cause: str, phrase: str, reason_header: str) -> None:
        """Before the answer it counts as a failure, afterwards as an end."""
        if not self._farewell and reason_header:
            self._farewell = (("Reason", reason_header),)
        failure = self._dialing.failure(cause, phrase)
        self._machine.give_up(failure, LegEnding(by="gateway", cause=cause, reason_header=reason_header))
        self._run()

    def _silent(self, ending: Ending) -> None:
        self.note("no_media", f"leg {self.leg}: {ending.reason}")
        self._end(ending.cause, ending.reason, LOST)

    _EFFECTS: dict[Effect, Callable[[TargetLeg], None]] = {
        Effect.ALLOCATE: _allocate,
        Effect.ROUTE: _route,
        Effect.OPEN: _open,
        Effect.INVITE: _invite,
        Effect.ESTABLISH: _establish,
        Effect.WITHDRAW: _withdraw,
        Effect.TELL_FAILED: _tell_failed,
        Effect.TELL_ENDED: _tell_ended,
        Effect.RELEASE: _release,
    }
