"""Agent links over WebSocket (RFC 6455) by picows, which is named in this file only.

picows does the handshake and the framing; the rest it leaves to us, or does in a way that a gateway cannot afford:

- It follows redirects and takes Authorization along: ``max_redirects=0``.
- It writes URL and headers as they come: :mod:`stellar_gw.agent.request` has refused what is harmful.
- Cancelling it during the handshake leaves the connection up, and an answer that comes late calls the listener
  factory: we make the socket ourselves, shut it down, and a factory that is no longer wanted refuses.
- A connection that ends before the answer yields no error but a listener of None.
- Its time limit covers the handshake alone: ours covers look-up, TCP, TLS and upgrade.
- It does not look at Sec-WebSocket-Protocol or -Extensions, nor at RSV bits, nor at the order of fragments; it
  answers pings whatever their RSV bits.
- It never gives up waiting after a close frame; we cut the connection after ``close_timeout``.
- It reads as much as there is, into a buffer that grows twofold, even after it has refused what it read, a frame that
  is announced as too long, say: :class:`_Rationed` stands between the transport and it.
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
from typing import Any, Final, Protocol, cast

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

from stellar_gw.agent import failure as failures
from stellar_gw.agent.base_link import PING, BaseLink
from stellar_gw.agent.dial import dial
from stellar_gw.agent.failure import Failure
from stellar_gw.agent.link import Link, LinkEvents, LinkLimits, Target
from stellar_gw.agent.messages import Wire
from stellar_gw.agent.reading import FIRST, Ration, Reading, Rota
from stellar_gw.agent.request import Endpoint
from stellar_gw.agent.tls import client_tls
from stellar_gw.dialects.contract import Frame

_silent: Final = logging.getLogger("stellar_gw.agent.picows")
_silent.setLevel(logging.CRITICAL)
_silent.propagate = False

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)(?: |\r|$)")

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY


class WsConnector:
    """Opens links to ``ws://`` and ``wss://`` agents.

    :param loop: the asyncio loop that the links live on; every method is called on its thread.
    :param tls: for ``wss://``; by default :func:`stellar_gw.agent.tls.client_tls`.
    :param rota: shared with other connectors; by default one of its own.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None = None, rota: Rota | None = None
    ) -> None:
        self._loop = loop
        self._tls = tls or client_tls()
        self._rota = rota or Rota(loop.call_later)

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        link = _WsLink(self._loop, events, limits, self._rota, self._tls)
        link.connect(target)
        return link.messages


class _Refused(Exception):
    """Out of the listener factory: the upgrade is not taken."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _GetBuffer(Protocol):
    """:meth:`asyncio.BufferedProtocol.get_buffer`, whose it may be: picows' own, or ours."""

    def __call__(self, sizehint: int) -> memoryview: ...


class _BufferUpdated(Protocol):
    """:meth:`asyncio.BufferedProtocol.buffer_updated`, the same."""

    def __call__(self, nbytes: int) -> None: ...


class _OnFrame(Protocol):
    """:meth:`picows.WSListener.on_ws_frame`, the same."""

    def __call__(self, transport: WSTransport, frame: WSFrame) -> None: ...


class _Rationed(asyncio.BufferedProtocol):
    """Gives picows no more to read at a time than the link's ration, from the first time on that much came at once.

    Until then picows' own buffer, which is small, is the limit, and reading costs one look at what came: this is done
    for each call and 20 ms, and agents that say a little at a time never cause anything else.

    :param inner: picows' protocol.
    :param below: the transport that reads by this.
    :param was_read: told the octets that came, and those that were asked for, unless it was little.
    :param between: called after each reading (:class:`stellar_gw.agent.reading.Rota`).
    """

    __slots__ = (
        "_below",
        "_inner",
        "_inner_buffer",
        "_ration",
        "_reading",
        "_was_read",
        "buffer_updated",
        "get_buffer",
    )

    get_buffer: _GetBuffer
    buffer_updated: _BufferUpdated

    def __init__(
        self,
        inner: asyncio.BufferedProtocol,
        below: asyncio.Transport,
        transport: WSTransport,
        ration: Ration,
        was_read: Callable[[int, int], None],
        between: Callable[[], None],
    ) -> None:
        self._inner = inner
        self._inner_buffer = cast(_GetBuffer, inner.get_buffer)
        self._below = below
        self._ration = ration
        self._was_read = was_read
        self._reading = Reading(ration, inner.buffer_updated, transport, self._much, between)
        # What the transport calls, with nothing between: it looks them up once.
        self.get_buffer = self._inner_buffer
        self.buffer_updated = self._reading.updated
        below.set_protocol(self)

    def _rationed_buffer(self, sizehint: int) -> memoryview:
        buffer, room = self._inner_buffer(sizehint), self._ration.room
        asked = len(buffer)
        if asked > room:
            asked, buffer = room, buffer[:room]
        self._reading.asked = asked
        return buffer

    def _much(self, nbytes: int) -> None:
        if self.get_buffer is self._inner_buffer:
            self.get_buffer = self._rationed_buffer
            self._below.set_protocol(self)
        self._was_read(nbytes, self._reading.asked)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)
        self._reading.over()
        self.get_buffer = self._inner_buffer  # a method of our own would keep us until the collector comes


class _WsLink(BaseLink, WSListener):
    """One connection to one agent; what picows tells, too. Its frames go to the messages first."""

    on_ws_frame: _OnFrame

    def __init__(
        self, loop: asyncio.AbstractEventLoop, events: LinkEvents, limits: LinkLimits, rota: Rota, tls: ssl.SSLContext
    ) -> None:
        super().__init__(loop, events, limits, rota)
        self._tls = tls
        self._close_said = False
        self._subprotocol = ""
        self._socket: socket.socket | None = None
        self._transport: WSTransport | None = None
        self._unsent_octets: Callable[[], int] = int
        self.on_ws_frame = self.messages.frame

    async def _converse(self, url: str, fields: list[tuple[str, str]], subprotocol: str) -> Failure:
        self._subprotocol = subprotocol
        secure = self._endpoint.secure
        options: dict[str, Any] = {"ssl_shutdown_timeout": self._limits.close_timeout} if secure else {}
        transport, listener = await ws_connect(
            self._listener,
            url,
            ssl_context=self._tls if secure else None,
            websocket_handshake_timeout=None,
            logger_name=_silent,
            enable_auto_ping=False,
            enable_auto_pong=False,
            max_frame_size=self._limits.max_message,
            read_buffer_init_size=FIRST,
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
        return failures.lost_failure(self._endpoint)

    async def _dial(self, url: WSParsedURL) -> socket.socket:
        self._socket = await dial(self._loop, self._endpoint.host, self._endpoint.port)
        return self._socket

    def _listener(self, request: WSUpgradeRequest, response: WSUpgradeResponse) -> WSListener:
        """picows' listener factory: the last moment to refuse an upgrade.

        :raise _Refused: to have the connection closed.
        """
        where = self._endpoint
        if self._over:
            raise _Refused(Failure("cancelled", "the answer came after the link was given up"))
        protocols = response.headers.getall("Sec-WebSocket-Protocol", [])
        if protocols != ([self._subprotocol] if self._subprotocol else []):
            said = ", ".join(protocols) or "none"
            raise _Refused(failures.protocol_failure(where, f"subprotocol {said}, not {self._subprotocol or 'none'}"))
        if response.headers.getall("Sec-WebSocket-Extensions", []):
            raise _Refused(failures.protocol_failure(where, "an extension that was not offered (RFC 6455 4.1)"))
        return self

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        below = transport.underlying_transport
        self._unsent_octets = below.get_write_buffer_size
        self.messages.go_by(Wire(transport.send, _TEXT, _BINARY, below.get_write_buffer_size, self._other))
        picows = cast(asyncio.BufferedProtocol, below.get_protocol())
        _Rationed(picows, below, transport, self._ration, self._was_read, self._rota.between)
        self._opened()

    def _was_read(self, octets: int, asked: int) -> None:
        assert self._transport is not None
        if self._transport.is_close_frame_sent and not self._close_said:
            # picows' own, for a frame that it refuses; it parts in a moment, and reads on until then.
            self._read_no_more()
        super()._was_read(octets, asked)

    def _other(self, frame: WSFrame) -> None:
        if frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._break("an RSV bit without an extension (RFC 6455 5.2)")
            return
        # An IntEnum, whatever its types say; its .value is slow.
        self._received(int(cast(int, frame.msg_type)), frame.fin, frame.get_payload_as_bytes())

    def pause_writing(self) -> None:
        """The bound on what waits to be sent is ours."""

    def resume_writing(self) -> None:
        """See above."""

    def _diagnosis(self, error: Exception) -> Failure:
        if isinstance(error, _Refused):
            return error.failure
        if isinstance(error, WSHandshakeError):
            return _handshake_failure(self._endpoint, error)
        if isinstance(error, WSProtocolError):
            if error.code == 1009:
                return failures.oversize_failure(self._endpoint, self._limits.max_message)
            return failures.protocol_failure(self._endpoint, str(error))
        return failures.connect_failure(self._endpoint, error)

    # --- writing; picows drops what comes after a close frame or the end ----------------------------

    def _write(self, frame: Frame) -> None:
        assert self._transport is not None
        try:
            self._transport.send(_TEXT if isinstance(frame, str) else _BINARY, frame)
        except UnicodeEncodeError:
            self._transport.send(_TEXT, str(frame).encode(errors="replace"))

    def _write_control(self, opcode: int, payload: bytes) -> None:
        assert self._transport is not None
        if opcode == PING:
            self._transport.send_ping(payload)
        else:
            self._transport.send_pong(payload)

    def _write_close(self, code: int, reason: str) -> None:
        if self._transport is not None:
            self._close_said = True
            # picows takes any number for a code.
            self._transport.send_close(cast(WSCloseCode, code), reason)

    def _unsent(self) -> int:
        return self._unsent_octets()

    def _reads(self, more: bool) -> None:
        if self._transport is not None:
            below = self._transport.underlying_transport
            (below.resume_reading if more else below.pause_reading)()

    def _tcp_connected(self) -> bool:
        return self._socket is not None

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=True)

    def _disconnect_now(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)
        elif self._socket is not None:
            # picows has the transport and does not give it away before the handshake is done.
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


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
