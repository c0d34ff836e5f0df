"""The gateway's end of the control channel to one worker: requests out, replies and events in."""

from __future__ import annotations

from typing import Protocol, cast

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from stellar_gw.call.ports import WorkerFailed
from stellar_gw.control.codec import FrameError, decode_for_gateway, encode
from stellar_gw.control.messages import MAX_FRAME, VERSION, Event, Failed, Hello, Message, Reply, Request
from stellar_gw.errors import LocalProtocolError
from stellar_gw.patience import Clock, Patience

HELLO_TIMEOUT = 10.0
"""Seconds from the connection to the worker's first frame."""
_log = Logger()


class ChannelOwner(Protocol):
    """Whom a channel tells what the worker says."""

    def hello(self, channel: WorkerChannel, hello: Hello) -> None:
        """The worker has named itself; comes once, and first."""

    def event(self, channel: WorkerChannel, event: Event) -> None: ...

    def closed(self, channel: WorkerChannel, reason: str) -> None:
        """Nothing comes after this; every request has failed already."""


class WorkerChannel(Int32StringReceiver):
    """One worker's connection.

    Whatever breaks the protocol ends the connection: the worker runs our own code, so it cannot be trusted after.
    """

    MAX_LENGTH = MAX_FRAME
    noisy = False

    def __init__(self, clock: Clock, owner: ChannelOwner) -> None:
        self._clock = clock
        self._owner = owner
        self._requests: dict[int, tuple[Deferred[Reply], Patience]] = {}
        self._last_request = 0
        self._late: Patience | None = None
        self._ended = ""
        self._open = False
        self.worker: Hello | None = None

    # --- for the pool ---------------------------------------------------------------------------

    def ask(self, request: Request, timeout: float) -> Deferred[Reply]:
        """Send a request; its ``request`` is set here.

        :return: fires with the reply, or fails with :class:`WorkerFailed`: the worker's own refusal,
            ``timeout``, or ``lost`` once the channel is closed.
        """
        if not self._open:
            return fail(WorkerFailed("lost", self._ended or "the worker is not connected"))
        self._last_request += 1
        number = self._last_request
        try:
            frame = encode(msgspec.structs.replace(request, request=number))
        except LocalProtocolError as reason:
            return fail(WorkerFailed("bad_request", str(reason)))
        answer: Deferred[Reply] = Deferred(lambda _: self._forget(number))
        patience = Patience(self._clock, timeout, self._expired, number, type(request).__name__, timeout)
        self._requests[number] = (answer, patience)
        Int32StringReceiver.sendString(self, frame)
        return answer

    def abort(self, reason: str) -> None:
        """Cut the connection; ``closed`` follows in a later turn."""
        self._ended = self._ended or reason
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()

    @property
    def outstanding(self) -> int:
        """How many requests wait for their reply."""
        return len(self._requests)

    def _forget(self, number: int) -> None:
        """The asker has cancelled: a late reply is nobody's."""
        waiting = self._requests.pop(number, None)
        if waiting is not None:
            waiting[1].cancel()

    def _expired(self, number: int, what: str, timeout: float) -> None:
        answer, _ = self._requests.pop(number)
        answer.errback(WorkerFailed("timeout", f"the worker did not answer {what} within {timeout:g} s"))

    # --- the connection -------------------------------------------------------------------------

    def connectionMade(self) -> None:
        self._open = True
        self._late = Patience(self._clock, HELLO_TIMEOUT, self.abort, f"no Hello within {HELLO_TIMEOUT:g} s")

    def stringReceived(self, string: bytes) -> None:
        if self._ended:
            return
        try:
            message = decode_for_gateway(string)
        except FrameError as reason:
            self.abort(f"it sent a frame that is no message: {reason.reason}")
            return
        try:
            self._received(message)
        except Exception:
            # A listener's mistake must not cost the connection, and with it every call of the worker.
            _log.failure("{what} from a worker could not be dealt with", what=type(message).__name__)

    def _received(self, message: Message) -> None:
        if self.worker is None:
            if not isinstance(message, Hello):
                self.abort(f"its first frame was {type(message).__name__}, not Hello")
                return
            if self._late is not None:
                self._late.cancel()
            if message.version != VERSION:
                self.abort(f"it speaks version {message.version} of the control protocol, we speak {VERSION}")
                return
            self.worker = message
            self._owner.hello(self, message)
        elif isinstance(message, Reply):
            self._replied(message)
        elif isinstance(message, Event):
            if message.generation == self.worker.generation:
                self._owner.event(self, message)
        else:
            self.abort("it said Hello twice")

    def _replied(self, reply: Reply) -> None:
        waiting = self._requests.pop(reply.request, None)
        if waiting is None:
            return  # given up already
        answer, patience = waiting
        patience.cancel()
        if isinstance(reply, Failed):
            answer.errback(WorkerFailed(reply.code, reply.message))
        else:
            answer.callback(reply)

    def lengthLimitExceeded(self, length: int) -> None:
        self.abort(f"it announced a frame of {length} octets, more than {MAX_FRAME}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._open = False
        self._ended = self._ended or "it closed the control channel"
        if self._late is not None:
            self._late.cancel()
        waiting, self._requests = self._requests, {}
        for answer, patience in waiting.values():
            patience.cancel()
            if not answer.called:  # else cancelled by what one before it led to
                answer.errback(WorkerFailed("lost", self._ended))
        self._owner.closed(self, self._ended)
