"""Agents for tests: a real WebSocket server on loopback, speaking Twilio Media Streams by a script.

Two ways to run one. In a test that turns a Twisted or asyncio loop of its own, use :class:`AgentServer`: the server
runs in a thread with a loop of its own, so the test's reactor stays what it is, and a frozen agent freezes nobody
else. Where the agent must be stopped or killed as a process (SIGSTOP, kill -9), run this file::

    python -m stellar_gw.testing.agents --behaviour freeze --port 0

It prints ``listening on ws://127.0.0.1:<port>/ws`` when it is ready, as ``examples/twilio_echo_agent.py`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from types import MappingProxyType, TracebackType
from typing import Any, Final

from attrs import define, field
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from stellar_gw.media.pcm import ulaw_from_pcm
from stellar_gw.media.source import Tone

LOOPBACK: Final = "127.0.0.1"
FLOOD_MESSAGES: Final = 2000
"""Messages of 30 s of audio each: far beyond what a call may queue."""


@define
class Heard:
    """What an agent learnt of one call; complete once ``ended`` is set.

    :ivar start: the body of the start message.
    :ivar audio: the caller's audio, mu-law.
    :ivar media: how many media messages brought it.
    :ivar events: every event's name but ``media``, in order.
    :ivar close_code: how the connection ended (RFC 6455 7.1.5).
    """

    path: str
    headers: dict[str, str]
    start: dict[str, Any] = field(factory=dict)
    audio: bytearray = field(factory=bytearray)
    media: int = 0
    events: list[str] = field(factory=list)
    digits: str = ""
    marks: list[str] = field(factory=list)
    close_code: int | None = None
    ended: threading.Event = field(factory=threading.Event, repr=False)


class AgentCall:
    """One call at an agent."""

    def __init__(self, connection: ServerConnection, heard: Heard) -> None:
        self.connection = connection
        self.heard = heard
        self.stream = ""

    async def say(self, event: str, **body: object) -> None:
        """Send a message of the dialect."""
        await self.connection.send(json.dumps({"event": event, "streamSid": self.stream, **body}))

    async def play(self, mu_law: bytes) -> None:
        """Send audio, any length."""
        await self.say("media", media={"payload": base64.b64encode(mu_law).decode()})

    async def next(self) -> dict[str, Any] | None:
        """The gateway's next message, noted in ``heard``; None at the end."""
        try:
            text = await self.connection.recv()
        except ConnectionClosed:
            return None
        message: dict[str, Any] = json.loads(text)
        event = message["event"]
        if event == "media":
            self.heard.media += 1
            self.heard.audio += base64.b64decode(message["media"]["payload"])
            return message
        self.heard.events.append(event)
        if event == "start":
            self.heard.start = message["start"]
            self.stream = message["streamSid"]
        elif event == "dtmf":
            self.heard.digits += message["dtmf"]["digit"]
        elif event == "mark":
            self.heard.marks.append(message["mark"]["name"])
        return message

    async def started(self) -> None:
        """Read until the start message has come."""
        while not self.stream and await self.next() is not None:
            pass

    async def listen(self) -> None:
        """Read to the end."""
        while await self.next() is not None:
            pass


Behaviour = Callable[[AgentCall], Coroutine[Any, Any, None]]


async def echo(call: AgentCall) -> None:
    """The caller's audio back."""
    while (message := await call.next()) is not None:
        if message["event"] == "media":
            await call.play(base64.b64decode(message["media"]["payload"]))


async def tone(call: AgentCall) -> None:
    """440 Hz, two seconds ahead by marks."""
    await call.started()
    second = ulaw_from_pcm(Tone((440,), 8000).take(8000))
    for name in ("0", "1"):
        await call.play(second)
        await call.say("mark", mark={"name": name})
    while (message := await call.next()) is not None:
        if message["event"] == "mark":
            await call.play(second)
            await call.say("mark", mark={"name": message["mark"]["name"]})


async def listen(call: AgentCall) -> None:
    """Hear and say nothing."""
    await call.listen()


async def freeze(call: AgentCall) -> None:
    """After the start neither read nor answer pings, as a process that was stopped."""
    await call.started()
    call.connection.transport.pause_reading()
    await asyncio.Event().wait()


async def flood(call: AgentCall) -> None:
    """Far more audio than anybody could hear."""
    await call.started()
    listening = asyncio.ensure_future(call.listen())
    with contextlib.suppress(ConnectionClosed):
        for _ in range(FLOOD_MESSAGES):
            await call.play(b"\xff" * 240_000)
    await listening


async def huge(call: AgentCall) -> None:
    """One frame of 1 GiB, as far as anybody takes it."""
    await call.started()
    transport = call.connection.transport
    transport.write(b"\x82\x7f" + (1 << 30).to_bytes(8, "big"))
    for _ in range(1 << 14):
        if transport.is_closing():
            break
        transport.write(bytes(1 << 16))
        await asyncio.sleep(0.001)


async def chaos(call: AgentCall) -> None:
    """An echo for up to four seconds, and then one of everything that can go wrong, or a good-bye."""
    echoing = asyncio.ensure_future(echo(call))
    await asyncio.wait({echoing}, timeout=random.uniform(0.0, 4.0))
    if echoing.cancel():
        await random.choice((drop, huge, flood, freeze, rubbish, *map(closing, (1000, 1001, 1011, 1012))))(call)


async def drop(call: AgentCall) -> None:
    """Cut the connection after the start, without a close frame, by RST."""
    await call.started()
    connection: socket.socket = call.connection.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    call.connection.transport.abort()


async def rubbish(call: AgentCall) -> None:
    """Messages that follow no dialect, then a tone's worth of sense."""
    await call.started()
    for text in ("", "null", "{", '{"event":"media"}', '{"event":"no such thing","streamSid":"x"}', b"\0\1"):
        await call.connection.send(text)
    await echo(call)


def closing(code: int, reason: str = "") -> Behaviour:
    """Close with this code as soon as the call has started."""

    async def close(call: AgentCall) -> None:
        await call.started()
        await call.connection.close(code, reason)

    return close


BEHAVIOURS: Final = MappingProxyType(
    {
        "echo": echo,
        "tone": tone,
        "listen": listen,
        "freeze": freeze,
        "flood": flood,
        "drop": drop,
        "rubbish": rubbish,
        "huge": huge,
        "chaos": chaos,
        "close-1000": closing(1000, "goodbye"),
        "close-1001": closing(1001),
        "close-1011": closing(1011, "the model failed"),
        "close-1012": closing(1012),
    }
)
"""By name, for the command line."""


class AgentServer:
    """An agent in a thread of its own; a context manager.

    :param behaviour: what it does in each call.
    :param host: the address to listen on.
    :ivar calls: one :class:`Heard` for each call that came, in order.
    :ivar url: where it listens, once entered.
    """

    def __init__(self, behaviour: Behaviour = echo, host: str = LOOPBACK) -> None:
        self._behaviour, self._host = behaviour, host
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agent", daemon=True)
        self._arrived = threading.Condition()
        self._talks: set[asyncio.Task[Any]] = set()
        self.calls: list[Heard] = []
        self.url = ""

    def __enter__(self) -> AgentServer:
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the agent's server did not start within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def call(self, index: int = 0, timeout: float = 10.0) -> Heard:
        """The call of that number, waiting for it to come; not from the thread whose loop makes it come.

        :raise TimeoutError: if it does not.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.calls) > index, timeout):
                raise TimeoutError(f"call {index} has not come within {timeout:g} s")
            return self.calls[index]

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with listening(self._talk, 0, self._host) as server:
            self.url = address(server)
            self._ready.set()
            await self._stopping.wait()
            for task in self._talks:
                task.cancel()

    async def _talk(self, connection: ServerConnection) -> None:
        request = connection.request
        heard = Heard(request.path if request else "", dict(request.headers.raw_items()) if request else {})
        with self._arrived:
            self.calls.append(heard)
            self._arrived.notify_all()
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            with contextlib.suppress(ConnectionClosed, asyncio.CancelledError):
                await self._behaviour(AgentCall(connection, heard))
        finally:
            self._talks.discard(task)
            if self._stopping.is_set():
                connection.transport.abort()
            heard.close_code = connection.close_code
            heard.ended.set()


@contextlib.asynccontextmanager
async def listening(
    talk: Callable[[ServerConnection], Coroutine[Any, Any, None]], port: int, host: str = LOOPBACK
) -> AsyncIterator[Server]:
    """A server on loopback, without compression, whose own pings stay out of the way."""
    async with serve(
        talk, host, port, compression=None, ping_interval=None, close_timeout=1, max_size=1 << 20
    ) as server:
        yield server


def address(server: Server) -> str:
    """The URL a server listens on."""
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"ws://[{host}]:{port}/ws" if ":" in host else f"ws://{host}:{port}/ws"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--behaviour", choices=sorted(BEHAVIOURS), default="echo")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()

    async def talk(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await BEHAVIOURS[options.behaviour](AgentCall(connection, Heard("", {})))

    async with listening(talk, options.port) as server:
        print(f"listening on {address(server)}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
