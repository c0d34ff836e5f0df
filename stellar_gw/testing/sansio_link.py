"""A second implementation of agent links: the Sans-I/O protocol of ``websockets`` on asyncio streams' transports.

It passes the same contract suite as :mod:`stellar_gw.agent.ws_link` and shares with it only what is no I/O, so
that the suite tests the contract and not one library; and it stands in where picows cannot be installed.
It is dearer per message (see ``benchmarks/agent_link.py``), and ``websockets`` is an extra for tests.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final, cast

from twisted.logger import Logger
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from stellar_gw.agent import failure as failures
from stellar_gw.agent.dial import dial
from stellar_gw.agent.failure import Failure
from stellar_gw.agent.life import Cut, Effect, Part, SayClose, TellClosed, TellOpened, new_life
from stellar_gw.agent.link import Link, LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.agent.message import Assembly, BrokenMessage, close_frame
from stellar_gw.agent.request import Endpoint, InvalidTargetError, endpoint, headers
from stellar_gw.agent.tls import client_tls
from stellar_gw.dialects import contract

_silent: Final = logging.getLogger("stellar_gw.testing.websockets")
_silent.setLevel(logging.CRITICAL)
_silent.propagate = False


class SansIoConnector:
    """Opens links to ``ws://`` and ``wss://`` agents.

    :param loop: the asyncio loop that the links live on; every method is called on its thread.
    :param tls: for ``wss://``; by default :func:`stellar_gw.agent.tls.client_tls`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None = None) -> None:
        self._loop = loop
        self._tls = tls or client_tls()

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> Link:
        link = _SansIoLink(self._loop, events, limits)
        link.connect(target, self._tls)
        return link


class _SansIoLink(asyncio.Protocol):
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
        self._endpoint = Endpoint(False, "", 0, "")
        self._protocol: ClientProtocol | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._connected = False
        self._timer: asyncio.TimerHandle | None = None
        self._cutter: asyncio.TimerHandle | None = None
        self._pings = 0
        self._awaited_pong: bytes | None = None
        self._sending = False
        self._over = False

    # --- what the call does -----------------------------------------------------------------------

    def connect(self, target: Target, tls: ssl.SSLContext) -> None:
        try:
            self._endpoint = endpoint(target)
            fields = headers(target)
        except InvalidTargetError as error:
            self._fail(Failure(error.code, error.message))
            return
        self._protocol = ClientProtocol(
            parse_uri(target.url),
            subprotocols=[Subprotocol(target.subprotocol)] if target.subprotocol else None,
            max_size=self._limits.max_message,
            logger=_silent,
        )
        fields = [field for field in fields if field[0] != "Sec-WebSocket-Protocol"]
        self._timer = self._loop.call_later(self._limits.connect_timeout, self._expired)
        self._task = self._loop.create_task(self._run(fields, tls))

    def send(self, frame: contract.Frame) -> None:
        if not self._sending or self._protocol is None:
            return
        if isinstance(frame, str):
            self._protocol.send_text(frame.encode(errors="replace"))
        else:
            self._protocol.send_binary(frame)
        self._flush()

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._sending = False
        self._life.close(code, reason)
        self._perform()

    def abort(self) -> None:
        self._sending = False
        self._life.abort()
        self._perform()

    # --- connecting -------------------------------------------------------------------------------

    async def _run(self, fields: list[tuple[str, str]], tls: ssl.SSLContext) -> None:
        where, protocol = self._endpoint, self._protocol
        assert protocol is not None
        try:
            connection = await dial(self._loop, where.host, where.port)
            self._connected = True
            secure = (
                {"ssl": tls, "server_hostname": where.host, "ssl_shutdown_timeout": self._limits.close_timeout}
                if where.secure
                else {}
            )
            create = cast(Callable[..., object], self._loop.create_connection)
            await cast("asyncio.Future[object]", create(lambda: self, sock=connection, **secure))
        except asyncio.CancelledError:
            self._fail(Failure("cancelled", "the gateway's loop is stopping"))
            raise
        except Exception as error:
            if not isinstance(error, OSError):
                self.log.failure("unexpected error on the link to {origin}", origin=where.origin)
            self._fail(failures.connect_failure(where, error))
            return
        if self._over:
            self._cut()
            return
        request = protocol.connect()
        for name, value in fields:
            request.headers[name] = value
        protocol.send_request(request)
        self._flush()

    def _expired(self) -> None:
        self._fail(
            failures.timeout_failure(self._endpoint, self._limits.connect_timeout, connected=self._connected),
        )

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=self._limits.max_buffered)

    def data_received(self, data: bytes) -> None:
        if self._protocol is None:
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if self._over:
                return
            if isinstance(event, Response):
                self._answered(event)
            else:
                self._received(cast(Frame, event))
        self._look_for_errors()
        self._flush()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._cutter is not None:
            self._cutter.cancel()
        protocol = self._protocol
        if protocol is not None and protocol.state is OPEN:
            self._fail(failures.lost_failure(self._endpoint))
        else:
            self._look_for_errors()
            self._fail(failures.connect_failure(self._endpoint, ConnectionResetError()))
        self._transport = None

    # --- what the agent says ----------------------------------------------------------------------

    def _answered(self, response: Response) -> None:
        protocol = self._protocol
        assert protocol is not None
        error = protocol.handshake_exc
        if isinstance(error, InvalidStatus):
            status = response.status_code
            self._fail(failures.http_failure(self._endpoint, status, response.headers.get("Location", "")))
        elif error is not None:
            self._fail(failures.protocol_failure(self._endpoint, f"the upgrade's answer: {error}"))
        elif (wanted := protocol.available_subprotocols) and protocol.subprotocol not in wanted:
            self._fail(failures.protocol_failure(self._endpoint, f"no subprotocol, not {wanted[0]}"))
        else:
            self._sending = True
            self._life.opened()
            self._perform()

    def _received(self, frame: Frame) -> None:
        try:
            self._take(frame)
        except BrokenMessage as error:
            self._fail(failures.protocol_failure(self._endpoint, str(error), error.close_code))
        except Exception:
            self.log.failure("a message of the agent's could not be dealt with")
            self._fail(Failure("internal", "the gateway failed on a message of the agent's; see its log", 1011))

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            message = self._assembly.add(int(frame.opcode), frame.fin, bytes(frame.data))
            if message is not None and self._sending:
                self._events.link_received(message)
        elif frame.opcode is Opcode.PONG:
            if bytes(frame.data) == self._awaited_pong:
                self._awaited_pong = None
        elif frame.opcode is Opcode.CLOSE:
            code, reason = close_frame(bytes(frame.data))
            self._life.closed(code, failures.closed_failure(self._endpoint, code, reason))
            self._perform()

    def _look_for_errors(self) -> None:
        """What the library found out and answered with a close frame of its own."""
        error = self._protocol.parser_exc if self._protocol is not None else None
        sent = self._protocol.close_sent if self._protocol is not None else None
        if error is None or isinstance(error, EOFError) or self._over:
            return
        if sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG:
            self._fail(failures.oversize_failure(self._endpoint, self._limits.max_message))
        else:
            self._fail(failures.protocol_failure(self._endpoint, str(error)))

    # --- limits -----------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Write what the library has to say; too much unwritten ends the link."""
        if self._protocol is None or self._transport is None:
            return
        for data in self._protocol.data_to_send():
            if data:
                self._transport.write(data)
            elif not self._over:
                self._transport.close()
        if self._transport.get_write_buffer_size() > self._limits.max_buffered and not self._over:
            self._fail(failures.unread_failure(self._endpoint, self._limits.max_buffered))

    def _ping(self) -> None:
        if self._protocol is None or self._over or self._protocol.state is not OPEN:
            return
        self._pings += 1
        self._awaited_pong = self._pings.to_bytes(8, "big")
        self._protocol.send_ping(self._awaited_pong)
        self._timer = self._loop.call_later(self._limits.ping_timeout, self._pong_due)
        self._flush()

    def _pong_due(self) -> None:
        if self._awaited_pong is not None:
            self._fail(failures.silent_failure(self._endpoint, self._limits.ping_timeout))
        else:
            rest = max(0.0, self._limits.ping_interval - self._limits.ping_timeout)
            self._timer = self._loop.call_later(rest, self._ping)

    # --- effects ----------------------------------------------------------------------------------

    def _fail(self, failure: Failure) -> None:
        self._life.failed(failure)
        self._perform()

    def _perform(self) -> None:
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
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._loop.call_later(self._limits.ping_interval, self._ping)
                self._tell_opened()
            case SayClose(code, reason):
                self._say_close(code, reason)
                self._cut_later()
            case Part(code):
                self._end()
                if code:
                    self._say_close(code)
                self._flush()
                self._cut_later()
                if self._transport is not None:
                    self._transport.close()
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

    def _say_close(self, code: int, reason: str = "") -> None:
        if self._protocol is not None and self._protocol.state is OPEN:
            self._protocol.send_close(code, reason.encode(errors="replace")[:123].decode(errors="ignore"))
            self._flush()

    def _cut_later(self) -> None:
        if self._cutter is None and self._transport is not None:
            self._cutter = self._loop.call_later(self._limits.close_timeout, self._cut_unanswered)

    def _cut_unanswered(self) -> None:
        self.abort()
        self._cut()

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        if self._task is not None and self._task is not asyncio.current_task(self._loop):
            self._task.cancel()
