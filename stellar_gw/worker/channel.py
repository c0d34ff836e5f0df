"""The worker's end of the control channel: requests in, replies and events out."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import Int32StringReceiver
from twisted.python.failure import Failure

from stellar_gw.control.codec import FrameError, decode_for_worker, encode
from stellar_gw.control.messages import MAX_FRAME, Event, Failed, Hello, Message, Reply, Request
from stellar_gw.errors import LocalProtocolError

_log = Logger()


class GatewayChannel(Int32StringReceiver):
    """One connection to the gateway.

    A frame that is no request of ours is answered by :class:`Failed` where it has an id, else the connection
    is cut: whatever follows could not be trusted.

    :param handle: carries out a request, at once or in a moment; never raises.
    :param changed: told True once connected, False once not.
    """

    MAX_LENGTH = MAX_FRAME
    noisy = False

    def __init__(
        self,
        hello: Hello,
        handle: Callable[[Request], Reply | Deferred[Reply]],
        changed: Callable[[GatewayChannel, bool], None],
    ) -> None:
        self._hello = hello
        self._handle = handle
        self._changed = changed

    def connectionMade(self) -> None:
        self._send(self._hello)
        self._changed(self, True)

    def stringReceived(self, string: bytes) -> None:
        try:
            request = decode_for_worker(string)
        except FrameError as reason:
            _log.error("the gateway sent what is no request: {reason}", reason=reason.reason)
            if reason.request is None:
                cast(ITCPTransport, self.transport).abortConnection()
            else:
                self._send(Failed(request=reason.request, code="bad_request", message=reason.reason))
            return
        reply = self._handle(request)
        if isinstance(reply, Deferred):
            reply.addCallback(self._send)
        else:
            self._send(reply)

    def emit(self, event: Event) -> None:
        """Tell the gateway."""
        self._send(event)

    def _send(self, message: Message) -> None:
        try:
            frame = encode(message)
        except LocalProtocolError as reason:
            _log.error("{reason}: not sent", reason=str(reason))
            if isinstance(message, Reply):
                self._send(Failed(request=message.request, code="internal", message="the reply cannot be written"))
            return
        Int32StringReceiver.sendString(self, frame)

    def lengthLimitExceeded(self, length: int) -> None:
        _log.error("the gateway announced a frame of {length} octets: too long", length=length)
        cast(ITCPTransport, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._changed(self, False)
