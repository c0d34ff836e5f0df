"""A second implementation of agent links: the Sans-I/O protocol of ``websockets`` on asyncio transports.

It passes the same contract suite as :mod:`stellar_gw.agent.ws_link`, so that the suite tests the contract and not
one library. It is dearer per message (see ``benchmarks/agent_link.py``), and ``websockets`` is an extra for tests.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any, Final, cast

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import CloseCode, Frame
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from stellar_gw.agent import failure as failures
from stellar_gw.agent.base_link import PING, BaseLink
from stellar_gw.agent.dial import dial
from stellar_gw.agent.failure import Failure
from stellar_gw.agent.link import Link, LinkEvents, LinkLimits, Target
from stellar_gw.agent.reading import MOST, Rota
from stellar_gw.agent.tls import client_tls
from stellar_gw.dialects import contract

_silent: Final = logging.getLogger("stellar_gw.testing.websockets")
_silent.setLevel(logging.CRITICAL)
_silent.propagate = False


class SansIoConnector:
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
        link = _SansIoLink(self._loop, events, limits, self._rota, self._tls)
        link.connect(target)
        return link


class _SansIoLink(BaseLink, asyncio.BufferedProtocol):
    """One connection to one agent."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, events: LinkEvents, limits: LinkLimits, rota: Rota, tls: ssl.SSLContext
    ) -> None:
        super().__init__(loop, events, limits, rota)
        self._octets = memoryview(bytearray(MOST))
        self._asked = 0
        self._tls = tls
        self._client: ClientProtocol | None = None
        self._transport: asyncio.Transport | None = None
        self._connected = False
        self._ended: asyncio.Future[Failure] = loop.create_future()

    async def _converse(self, url: str, fields: list[tuple[str, str]], subprotocol: str) -> Failure:
        where = self._endpoint
        connection = await dial(self._loop, where.host, where.port)
        self._connected = True
        options: dict[str, Any] = {}
        if where.secure:
            timeout = self._limits.close_timeout
            options = {"ssl": self._tls, "server_hostname": where.host, "ssl_shutdown_timeout": timeout}
        await self._loop.create_connection(lambda: self, sock=connection, **options)
        self._client = ClientProtocol(
            parse_uri(url),
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            max_size=self._limits.max_message,
            logger=_silent,
        )
        self._client.send_request(self._client.connect())
        request = b"".join(self._client.data_to_send())
        # Added to the octets: the library takes no UTF-8 in a value, which HTTP allows (RFC 9110 5.5).
        ours = "".join(f"{name}: {value}\r\n" for name, value in fields if name != "Sec-WebSocket-Protocol")
        if self._transport is not None:
            self._transport.write(request.removesuffix(b"\r\n") + ours.encode() + b"\r\n")
        return await self._ended

    def _diagnosis(self, error: Exception) -> Failure:
        return failures.connect_failure(self._endpoint, error)

    # --- the transport's side ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        self._asked = self._ration.room
        return self._octets[: self._asked]

    def buffer_updated(self, nbytes: int) -> None:
        if self._client is not None:
            self._take_in(self._client, bytes(self._octets[:nbytes]))
        self._was_read(nbytes, self._asked)
        self._rota.between()

    def _take_in(self, client: ClientProtocol, data: bytes) -> None:
        client.receive_data(data)
        for event in client.events_received():
            if self._over:
                return
            if isinstance(event, Response):
                self._answered(client, event)
            else:
                frame = cast(Frame, event)
                self._received(int(frame.opcode), frame.fin, bytes(frame.data))
        error, sent = client.parser_exc, client.close_sent
        if client.handshake_exc is not None:
            self._break(f"the upgrade's answer: {client.handshake_exc}")
        elif error is not None and not isinstance(error, EOFError):
            # The library has answered with a close frame of its own.
            self._break(str(error), 1009 if sent is not None and sent.code == CloseCode.MESSAGE_TOO_BIG else 1002)
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        opened = self._client is not None and self._client.state is OPEN
        if not self._ended.done():
            self._ended.set_result(
                failures.lost_failure(self._endpoint)
                if opened
                else failures.connect_failure(self._endpoint, ConnectionResetError())
            )

    def _answered(self, client: ClientProtocol, response: Response) -> None:
        error = client.handshake_exc
        wanted = client.available_subprotocols
        if isinstance(error, InvalidStatus):
            location = response.headers.get("Location", "")
            self._fail(failures.http_failure(self._endpoint, response.status_code, location))
        elif error is not None:
            self._break(f"the upgrade's answer: {error}")
        elif wanted and client.subprotocol not in wanted:
            self._break(f"no subprotocol, not {wanted[0]}")
        else:
            self._opened()

    # --- writing ----------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._client is None or self._transport is None:
            return
        for data in self._client.data_to_send():
            if data:
                self._transport.write(data)

    def _write(self, frame: contract.Frame) -> None:
        assert self._client is not None
        if isinstance(frame, str):
            self._client.send_text(frame.encode(errors="replace"))
        else:
            self._client.send_binary(frame)
        self._flush()

    def _write_control(self, opcode: int, payload: bytes) -> None:
        assert self._client is not None
        if opcode == PING:
            self._client.send_ping(payload)
            self._flush()
        # The library has answered a ping before we see it.

    def _write_close(self, code: int, reason: str) -> None:
        if self._client is not None and self._client.state is OPEN:
            self._client.send_close(code, reason)
            self._flush()

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _reads(self, more: bool) -> None:
        if self._transport is not None:
            (self._transport.resume_reading if more else self._transport.pause_reading)()

    def _tcp_connected(self) -> bool:
        return self._connected

    def _disconnect(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _disconnect_now(self) -> None:
        if self._transport is not None:
            self._transport.abort()
