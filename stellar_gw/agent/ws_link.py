"""Agent links over WebSocket (RFC 6455) by picows, which is named in this file only.

Theory of operation. One task per link connects and then waits for the connection's end; picows calls the listener
in between. What happens is put to :mod:`stellar_gw.agent.life`, whose effects are carried out here. picows does the
handshake and the framing; the rest it leaves to us, or does in a way that a gateway cannot afford:

- It follows redirects and takes Authorization along: ``max_redirects=0``.
- It writes URL and headers as they come: :mod:`stellar_gw.agent.request` has refused what is harmful.
- Cancelling it during the handshake leaves the connection up, and an answer that comes late calls the listener
  factory: we make the socket ourselves, shut it down, and a factory that is no longer wanted refuses.
- A connection that ends before the answer yields no error but a listener of None.
- Its time limit covers the handshake alone: ours covers look-up, TCP, TLS and upgrade.
- It does not look at Sec-WebSocket-Protocol or -Extensions, nor at RSV bits, nor at the order of fragments.
- It never gives up waiting after a close frame; we cut the connection after ``close_timeout``.
- An error it found waits in ``wait_disconnected`` for somebody to fetch it.
- Its log shows request headers at debug level.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from picows import (
    WSCloseCode,
    WSFrame,
    WSHandshakeError,
    WSInvalidHeaderError,
    WSListener,
    WSMsgType,
    WSParsedURL,
    WSProtocolError,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    ws_connect,
)
from twisted.logger import Logger

from stellar_gw.agent import failure as failures
from stellar_gw.agent.dial import dial
from stellar_gw.agent.failure import Failure
from stellar_gw.agent.life import Cut, Effect, Part, SayClose, TellClosed, TellOpened, new_life
from stellar_gw.agent.link import Link, LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.agent.message import Assembly, BrokenMessage, close_frame
from stellar_gw.agent.request import Endpoint, InvalidTargetError, endpoint, headers
from stellar_gw.agent.tls import client_tls
from stellar_gw.dialects.contract import Frame

_silent: Final = logging.getLogger("stellar_gw.agent.picows")
_silent.setLevel(logging.CRITICAL)
_silent.propagate = False

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: |\r|$)")

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_PING: Final = WSMsgType.PING
_PONG: Final = WSMsgType.PONG
_DATA: Final = (_TEXT, _BINARY, WSMsgType.CONTINUATION)


class WsConnector:
    """Opens links to ``ws://`` and ``wss://`` agents.

    :param loop: the asyncio loop that the links live on; every method is called on its thread.
    :param tls: for ``wss://``; by default :func:`client_tls`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None = None) -> None:
        self._loop = loop
        self._tls = tls or client_tls()

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        link = _WsLink(self._loop, events, limits)
        link.connect(target, self._tls)
        return link


class _Refused(Exception):
    """Out of the listener factory: the upgrade is not taken."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Listener(WSListener):
    """Passes on what picows says; a class of its own because picows keeps a reference to it."""

    def __init__(self, opened: Callable[[WSTransport], None], received: Callable[[WSFrame], None]) -> None:
        self._opened = opened
        self._received = received

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._opened(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._received(frame)

    def pause_writing(self) -> None:
        """The bound on what waits to be sent is ours."""

    def resume_writing(self) -> None:
        """See above."""


class _WsLink:
    """One connection to one agent."""

    log = Logger()

    def __init__(self, loop: asyncio.AbstractEventLoop, events: LinkEvents, limits: LinkLimits) -> None:
        self._loop = loop
        self._events = events
        self._limits = limits
        self._effects: list[Effect] = []
        self._performing = False
        self._life = new_life(self._effects)
        self._assembly = Assembly(limits.max_message)
        self._started = loop.time()
        self._endpoint: Endpoint | None = None
        self._subprotocol = ""
        self._task: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self._transport: WSTransport | None = None
        self._buffered: Callable[[], int] = int
        self._timer: asyncio.TimerHandle | None = None
        self._cutter: asyncio.TimerHandle | None = None
        self._pings = 0
        self._awaited_pong: bytes | None = None
        self._sending = False
        self._over = False
        self._gone = False

    # --- what the call does -----------------------------------------------------------------------

    def connect(self, target: Target, tls: ssl.SSLContext) -> None:
        try:
            self._endpoint = where = endpoint(target)
            fields = headers(target)
        except InvalidTargetError as error:
            self._fail(Failure(error.code, error.message))
            return
        self._subprotocol = target.subprotocol
        self._timer = self._loop.call_later(self._limits.connect_timeout, self._expired, where)
        self._task = self._loop.create_task(self._run(where, target.url, fields, tls))

    def send(self, frame: Frame) -> None:
        if not self._sending or self._transport is None:
            return
        try:
            self._transport.send(_TEXT if isinstance(frame, str) else _BINARY, frame)
        except UnicodeEncodeError:
            self._transport.send(_TEXT, str(frame).encode(errors="replace"))
        self._bound()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._sending = False
        self._life.close(code, reason)
        self._perform()

    def abort(self) -> None:
        self._sending = False
        self._life.abort()
        self._perform()

    # --- connecting -------------------------------------------------------------------------------

    async def _run(self, where: Endpoint, url: str, fields: list[tuple[str, str]], tls: ssl.SSLContext) -> None:
        """Connect, then wait for the end: every end of the connection comes out here."""
        options: dict[str, Any] = {"ssl_shutdown_timeout": self._limits.close_timeout} if where.secure else {}
        try:
            transport, listener = await ws_connect(
                self._listener,
                url,
                ssl_context=tls if where.secure else None,
                websocket_handshake_timeout=None,
                logger_name=_silent,
                enable_auto_ping=False,
                enable_auto_pong=False,
                max_frame_size=self._limits.max_message,
                extra_headers=fields,
                max_redirects=0,
                proxy=None,
                socket_factory=self._dial,
                use_aiofastnet=False,
                **options,
            )
            if cast(WSListener | None, listener) is None:
                # Whatever its types say: this is a connection that ended before the answer to the upgrade.
                raise ConnectionResetError
            await transport.wait_disconnected()
            failure = failures.lost_failure(where)
        except asyncio.CancelledError:
            self._fail(Failure("cancelled", "the gateway's loop is stopping"))
            raise
        except Exception as error:
            failure = self._diagnosis(where, error)
        finally:
            self._gone = True
            for timer in (self._timer, self._cutter):
                if timer is not None:
                    timer.cancel()
        self._fail(failure)

    async def _dial(self, url: WSParsedURL) -> socket.socket:
        where = self._endpoint
        assert where is not None
        self._socket = await dial(self._loop, where.host, where.port)
        return self._socket

    def _listener(self, request: WSUpgradeRequest, response: WSUpgradeResponse) -> WSListener:
        """picows' listener factory: the last moment to refuse an upgrade.

        :raise _Refused: to have the connection closed.
        """
        where = self._endpoint
        assert where is not None
        if self._over:
            raise _Refused(Failure("cancelled", "the answer came after the link was given up"))
        protocols = response.headers.getall("Sec-WebSocket-Protocol", [])
        if protocols != ([self._subprotocol] if self._subprotocol else []):
            said = ", ".join(protocols) or "none"
            raise _Refused(failures.protocol_failure(where, f"subprotocol {said}, not {self._subprotocol or 'none'}"))
        if response.headers.getall("Sec-WebSocket-Extensions", []):
            raise _Refused(failures.protocol_failure(where, "an extension that was not offered (RFC 6455 4.1)"))
        return _Listener(self._connected, self._received)

    def _connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._socket = None
        self._buffered = transport.underlying_transport.get_write_buffer_size
        self._sending = True
        self._life.opened()
        self._perform()

    def _expired(self, where: Endpoint) -> None:
        connected = self._socket is not None
        self._fail(failures.timeout_failure(where, self._limits.connect_timeout, connected=connected))

    def _diagnosis(self, where: Endpoint, error: Exception) -> Failure:
        if isinstance(error, _Refused):
            return error.failure
        if isinstance(error, WSHandshakeError):
            return _handshake_failure(where, error)
        if isinstance(error, WSProtocolError):
            if error.code == 1009:
                return failures.oversize_failure(where, self._limits.max_message)
            return failures.protocol_failure(where, str(error))
        if not isinstance(error, OSError):
            self.log.failure("unexpected error on the link to {origin}", origin=where.origin)
        return failures.connect_failure(where, error)

    # --- what the agent says ----------------------------------------------------------------------

    def _received(self, frame: WSFrame) -> None:
        """A frame; picows closes the connection if this raises, and hides why."""
        if self._over:
            return
        try:
            self._take(frame)
        except BrokenMessage as error:
            self._break(error)
        except Exception:
            self.log.failure("a message of the agent's could not be dealt with")
            self._fail(Failure("internal", "the gateway failed on a message of the agent's; see its log", 1011))

    def _take(self, frame: WSFrame) -> None:
        kind = frame.msg_type
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            raise BrokenMessage("an RSV bit without an extension (RFC 6455 5.2)")
        if kind in _DATA:
            message = self._assembly.add(kind.value, frame.fin, frame.get_payload_as_bytes())
            if message is not None and self._sending:
                self._events.link_received(message)
        elif kind == _PING:
            if self._transport is not None:
                self._transport.send_pong(frame.get_payload_as_bytes())
                self._bound()
        elif kind == _PONG:
            if self._awaited_pong is not None and frame.get_payload_as_bytes() == self._awaited_pong:
                self._awaited_pong = None
        else:
            code, reason = close_frame(frame.get_payload_as_bytes())
            where = self._endpoint
            assert where is not None
            self._life.closed(code, failures.closed_failure(where, code, reason))
            self._perform()

    def _break(self, error: BrokenMessage) -> None:
        where = self._endpoint
        assert where is not None
        if error.close_code == 1009:
            self._fail(failures.oversize_failure(where, self._limits.max_message))
        else:
            self._fail(failures.protocol_failure(where, str(error), error.close_code))

    # --- limits -----------------------------------------------------------------------------------

    def _bound(self) -> None:
        if self._buffered() > self._limits.max_buffered and self._endpoint is not None:
            self._fail(failures.unread_failure(self._endpoint, self._limits.max_buffered))

    def _ping(self) -> None:
        """Ping, and look for the answer ``ping_timeout`` later."""
        if self._transport is None or self._over:
            return
        self._pings += 1
        self._awaited_pong = self._pings.to_bytes(8, "big")
        self._transport.send_ping(self._awaited_pong)
        self._timer = self._loop.call_later(self._limits.ping_timeout, self._pong_due)
        self._bound()

    def _pong_due(self) -> None:
        if self._awaited_pong is not None and self._endpoint is not None:
            self._fail(failures.silent_failure(self._endpoint, self._limits.ping_timeout))
        else:
            rest = max(0.0, self._limits.ping_interval - self._limits.ping_timeout)
            self._timer = self._loop.call_later(rest, self._ping)

    # --- effects ----------------------------------------------------------------------------------

    def _fail(self, failure: Failure) -> None:
        self._life.failed(failure)
        self._perform()

    def _perform(self) -> None:
        """Carry out what the life asks for; an effect that leads back here is carried out after it."""
        if self._performing:
            return
        self._performing = True
        try:
            while self._effects:
                self._carry_out(self._effects.pop(0))
        finally:
            self._performing = False

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case TellOpened():
                self._rearm(self._limits.ping_interval, self._ping)
                self._tell_opened()
            case SayClose(code, reason):
                self._say_close(code, reason)
                self._cut_later()
            case Part(code):
                self._end()
                if code:
                    self._say_close(code)
                self._cut_later()
                if self._transport is not None:
                    self._transport.disconnect(graceful=True)
            case Cut():
                self._end()
                self._cut()
            case TellClosed(failure, established, clean):
                self._end()
                closed = LinkClosed(failure.code, failure.message, established, clean)
                self._loop.call_soon(self._events.link_closed, closed)

    def _tell_opened(self) -> None:
        try:
            self._events.link_opened((self._loop.time() - self._started) * 1000)
        except Exception:
            self.log.failure("the opening of an agent's link could not be dealt with")
            self._life.failed(Failure("internal", "the gateway failed as the link opened; see its log", 1011))

    def _end(self) -> None:
        self._over = True
        self._sending = False
        if self._timer is not None:
            self._timer.cancel()

    def _rearm(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, call)

    def _say_close(self, code: int, reason: str = "") -> None:
        if self._transport is not None:
            # At most 125 octets, two of them the code (RFC 6455 5.5); picows takes any number for a code.
            text = reason.encode(errors="replace")[:123].decode(errors="ignore")
            self._transport.send_close(cast(WSCloseCode, code), text)

    def _cut_later(self) -> None:
        if self._cutter is None and not self._gone:
            self._cutter = self._loop.call_later(self._limits.close_timeout, self._cut_unanswered)

    def _cut_unanswered(self) -> None:
        self.abort()
        self._cut()

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)
            return
        if self._socket is not None:
            # picows has the transport and does not give it away before the handshake is done.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        if self._task is not None and self._task is not asyncio.current_task(self._loop):
            self._task.cancel()


def _handshake_failure(where: Endpoint, error: WSHandshakeError) -> Failure:
    """picows refuses a status that Python has no name for as a broken line; it is one all the same."""
    line = _STATUS_LINE.match(error.raw_header or b"")
    status = int(line[1]) if line else 101
    if status != 101:
        location = error.response.headers.get("Location", "") if error.response is not None else ""
        return failures.http_failure(where, status, location)
    if isinstance(error, WSInvalidHeaderError):
        return failures.protocol_failure(where, f"the upgrade's answer has a wrong {error.name} (RFC 6455 4.1)")
    return failures.protocol_failure(where, "the upgrade's answer is not HTTP/1.1 as it must be (RFC 9112)")
