"""What a worker carries, by call, and the gateway's commands to it.

Every command has exactly one answer; what goes wrong in one is that one's :class:`Failed` and touches nothing
else. Commands may be repeated: the second answer is the first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from errno import EMFILE, ENFILE

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, InvalidAddressError
from twisted.logger import Logger

from stellar_gw.control.messages import (
    Allocate,
    Answered,
    Configure,
    Done,
    Drain,
    Early,
    Failed,
    ListCalls,
    Listing,
    Outcome,
    Ping,
    Pong,
    Pressed,
    Rebind,
    Record,
    Release,
    Released,
    Reply,
    Request,
    SendDigits,
    SetMedia,
    StartAgent,
    StopAgent,
    Tell,
)
from stellar_gw.errors import StellarError
from stellar_gw.worker.session import MediaSession
from stellar_gw.worker.surroundings import Surroundings

PAGE = 256
"""Calls in one :class:`Listing`."""
REMEMBERED = 1024
"""Released calls whose numbers are kept, for a repeated Release."""
NOTHING = Released(request=0)
_log = Logger()


class Carrier:
    """
    :param configured: what the first :class:`Configure` sets outside of the ports, such as the DSCP.
    :param idle: called when the last call has ended, and by :meth:`drain` where there is none.
    """

    def __init__(
        self, surroundings: Surroundings, configured: Callable[[Configure], None], idle: Callable[[], None]
    ) -> None:
        self._around = surroundings
        self._configured = configured
        self._idle = idle
        self._configuration: Configure | None = None
        self._sessions: dict[str, MediaSession] = {}
        self._released: OrderedDict[str, Released] = OrderedDict()
        self.draining = False

    def __len__(self) -> int:
        """How many calls there are."""
        return len(self._sessions)

    def handle(self, request: Request) -> Reply | Deferred[Reply]:
        """Carry a command out; never raises. A release may have to wait a moment for the last numbers."""
        session = self._sessions.get(request.call) if isinstance(request, Release) else None
        counted = None if session is None else session.counted()
        if counted is None:
            return self._carry_out(request)
        return counted.addCallback(lambda _: self._carry_out(request))

    def _carry_out(self, request: Request) -> Reply:
        try:
            reply = self._handle(request)
        except StellarError as reason:
            reply = Failed(request=0, code="bad_request", message=str(reason))
        except Exception as reason:
            _log.failure("{what} failed", what=type(request).__name__)
            message = f"{type(reason).__name__}; the log of the worker has it whole"
            reply = Failed(request=0, code="internal", message=message)
        return msgspec.structs.replace(reply, request=request.request)

    def drain(self) -> None:
        """Take no new calls, and call ``idle`` when there are none."""
        self.draining = True
        if not self._sessions:
            self._idle()

    def release_all(self, cause: str) -> None:
        for call in list(self._sessions):
            self._release(call, "", cause, "gateway")

    def _pong(self) -> Pong:
        around, pacer = self._around, self._around.pacer
        return Pong(
            request=0,
            at=around.now(),
            worked=around.worked(),
            turns=pacer.turns,
            late=pacer.late,
            skipped=pacer.skipped,
        )

    def _handle(self, request: Request) -> Reply:
        match request:
            case Ping():
                return self._pong()
            case Configure():
                return self._configure(request)
            case ListCalls():
                return self._list(request.after)
            case Drain():
                self.drain()
                return Done(request=0)
            case Allocate():
                return self._allocate(request)
            case Release():
                return self._release(request.call, request.leg, request.cause, request.by)
            case (
                SetMedia()
                | StartAgent()
                | StopAgent()
                | Rebind()
                | Answered()
                | Early()
                | Pressed()
                | Tell()
                | Outcome()
                | Record()
                | SendDigits()
            ):
                session = self._sessions.get(request.call)
                if session is None:
                    return Failed(request=0, code="unknown_call", message=f"no call {request.call} here")
                return self._command(session, request)
            case _:
                return Failed(request=0, code="bad_request", message=f"no command {type(request).__name__}")

    def _command(
        self,
        session: MediaSession,
        request: (
            SetMedia
            | StartAgent
            | StopAgent
            | Rebind
            | Answered
            | Early
            | Pressed
            | Tell
            | Outcome
            | Record
            | SendDigits
        ),
    ) -> Reply:
        match request:
            case SetMedia():
                session.set_media(request)
            case StartAgent():
                session.start_agent(request)
            case StopAgent():
                session.stop_agent(request.cause, request.by)
            case Rebind():
                session.rebind(request.bindings)
            case Answered():
                session.answered(request.leg)
            case Early():
                session.early(request.leg, ringback=request.source == "ringback")
            case Pressed():
                session.informed(request)
            case Tell():
                session.agent.tell(request.kind, request.detail)
            case Record():
                session.record(request.leg)
            case Outcome():
                session.agent.outcome(request.ask, request.state, request.final, request.detail)
            case SendDigits():
                refused = session.agent.send_digits(request.digits, request.leg)
                if refused:
                    return Failed(request=0, code="bad_digits", message=refused)
        return Done(request=0)

    def _configure(self, request: Configure) -> Reply:
        known = self._configuration
        if known is None:
            low, high = request.ports
            if not (0 < low < high <= 65536) or not 0 <= request.dscp < 64:
                return Failed(request=0, code="bad_request", message="ports or dscp are out of range")
            if not (request.no_media > 0 and request.no_media_on_hold > 0):
                return Failed(request=0, code="bad_request", message="no_media and no_media_on_hold must be above 0")
            self._configuration = request
            self._around.ports.configure(
                request.bind, request.ports, request.quarantine, request.no_media, request.no_media_on_hold
            )
            self._around.recorder.folder = request.recordings
            self._configured(request)
        elif msgspec.structs.replace(request, request=known.request) != known:
            return Failed(request=0, code="bad_request", message="a worker is configured once")
        return Done(request=0)

    def _list(self, after: str) -> Listing:
        calls = sorted(self._sessions)
        start = bisect_right(calls, after) if after else 0
        return Listing(request=0, calls=tuple(calls[start : start + PAGE]), more=len(calls) > start + PAGE)

    def _allocate(self, request: Allocate) -> Reply:
        if self._configuration is None:
            return Failed(request=0, code="bad_request", message="the worker is not configured yet")
        call = request.call
        if call in self._released:
            return Failed(request=0, code="unknown_call", message=f"call {call} was released")
        session = self._sessions.get(call)
        if session is None:
            if self.draining:
                return Failed(request=0, code="draining", message="the worker takes no new calls")
            session = MediaSession(call, self._around)
        try:
            allocated = session.allocate(request.leg, request.version)
        except (CannotListenError, InvalidAddressError) as reason:
            return _unbound(reason)
        if allocated is None:
            low, high = self._configuration.ports
            return Failed(
                request=0,
                code="no_ports",
                message=f"all pairs of RTP ports from {low} to {high - 1} are taken or resting",
            )
        self._sessions[call] = session
        return allocated

    def _release(self, call: str, leg: str, cause: str, by: str) -> Released:
        session = self._sessions.get(call)
        if session is None:
            return self._released.get(call, NOTHING) if not leg else NOTHING
        if leg and session.legs.keys() - {leg}:
            return Released(request=0, legs=session.release_leg(leg, cause, by), recording=session.finishing)
        del self._sessions[call]
        try:
            legs = session.release(cause, by)
        finally:
            if not leg:
                # A single leg may be taken back before the call goes on; the whole call is over for good.
                self._remember(call)
            if not self._sessions and self.draining:
                self._idle()
        released = Released(request=0, legs=legs, conversation=session.agent.statistics, recording=session.finishing)
        if not leg:
            self._released[call] = msgspec.structs.replace(released, recording=False)
        return released

    def _remember(self, call: str) -> None:
        self._released[call] = NOTHING
        if len(self._released) > REMEMBERED:
            self._released.popitem(last=False)


def _unbound(reason: CannotListenError | InvalidAddressError) -> Failed:
    """Why a leg has no sockets."""
    error = reason.socketError if isinstance(reason, CannotListenError) else None
    if getattr(error, "errno", 0) in (EMFILE, ENFILE):
        return Failed(request=0, code="no_descriptors", message="no descriptor is left for RTP")
    return Failed(
        request=0,
        code="bad_request",
        message=f"media cannot be bound ({reason}): is the listener's address this machine's?",
    )
