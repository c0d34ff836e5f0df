"""A Realtime server for tests, written from the published event reference: it takes one model's part by a script.

It runs in a thread with a loop of its own, as :class:`stellar_gw.testing.agents.AgentServer` does. It is strict where
the real one is: before the session is configured nothing else is taken, one response at a time, and nothing is cut
beyond its length.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any

from attrs import define, field
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from stellar_gw.testing.agents import address, listening

Event = dict[str, Any]


@define
class RealtimeHeard:
    """What came of one conversation; complete once ``ended`` is set.

    :ivar session: the last ``session.update``.
    :ivar audio: of the caller, as it was appended.
    :ivar events: all but the audio, in order.
    :ivar errors: what the client was told that it did wrong.
    """

    path: str
    headers: dict[str, str]
    session: Event = field(factory=dict)
    audio: bytearray = field(factory=bytearray)
    events: list[Event] = field(factory=list)
    errors: list[Event] = field(factory=list)
    ended: threading.Event = field(factory=threading.Event, repr=False)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]


class RealtimeCall:
    """One conversation, at the model's side."""

    def __init__(self, connection: ServerConnection, heard: RealtimeHeard) -> None:
        self._connection = connection
        self.heard = heard
        self.response = ""
        self._responses = 0
        self._items: dict[str, int] = {}

    @property
    def octets_per_ms(self) -> int:
        pcm = self.heard.session["audio"]["output"]["format"]["type"] == "audio/pcm"
        return 48 if pcm else 8

    async def send(self, kind: str, **fields: Any) -> None:
        await self._connection.send(json.dumps({"type": kind, "event_id": "event", **fields}))

    async def next(self) -> Event | None:
        """The client's next event, obeyed as far as it concerns the session; None at the end."""
        try:
            event: Event = json.loads(await self._connection.recv())
        except ConnectionClosed:
            return None
        kind = event["type"]
        if kind == "input_audio_buffer.append":
            self.heard.audio += base64.b64decode(event["audio"], validate=True)
            return event
        self.heard.events.append(event)
        if kind == "session.update":
            self.heard.session = event["session"]
            await self.send("session.updated", session=event["session"])
        elif not self.heard.session:
            await self._refuse(event, "session_not_configured")
        elif kind == "response.create" and self.response:
            await self._refuse(event, "conversation_already_has_active_response")
        elif kind == "response.cancel" and not self.response:
            await self._refuse(event, "response_cancel_not_active")
        elif kind == "response.cancel":
            await self.end_response("cancelled")
        elif kind == "conversation.item.truncate" and event["audio_end_ms"] > self._length_ms(event["item_id"]):
            await self._refuse(event, "invalid_value")
        return event

    async def until(self, kind: str) -> Event | None:
        while (event := await self.next()) is not None and event["type"] != kind:
            pass
        return event

    async def listen(self) -> None:
        while await self.next() is not None:
            pass

    async def begin_response(self) -> None:
        self._responses += 1
        self.response = f"resp_{self._responses}"
        await self.send("response.created", response={"id": self.response, "status": "in_progress"})

    async def say(self, item: str, audio: bytes, piece: int = 24000) -> None:
        """An item's audio, in pieces."""
        self._items[item] = self._items.get(item, 0) + len(audio)
        place = {"response_id": self.response, "item_id": item, "output_index": 0, "content_index": 0}
        for start in range(0, len(audio), piece):
            delta = base64.b64encode(audio[start : start + piece]).decode()
            await self.send("response.output_audio.delta", delta=delta, **place)
        await self.send("response.output_audio.done", **place)

    async def call(self, call_id: str, name: str, arguments: str) -> None:
        """A function call within the response."""
        item = {"id": "item_" + call_id, "type": "function_call", "call_id": call_id, "name": name, "arguments": ""}
        place = {"response_id": self.response, "output_index": 1}
        await self.send("response.output_item.added", item=item, **place)
        await self.send(
            "response.function_call_arguments.done", item_id=item["id"], call_id=call_id, arguments=arguments, **place
        )
        await self.send("response.output_item.done", item={**item, "arguments": arguments}, **place)

    async def end_response(self, status: str = "completed") -> None:
        response, self.response = self.response, ""
        await self.send("response.done", response={"id": response, "status": status, "output": []})

    async def speech_started(self) -> None:
        """The caller begins to speak: what the session wants is done."""
        await self.send("input_audio_buffer.speech_started", audio_start_ms=0, item_id="item_user")
        detection = self.heard.session["audio"]["input"]["turn_detection"]
        if self.response and detection["interrupt_response"]:
            await self.end_response("cancelled")

    def _length_ms(self, item: str) -> int:
        return self._items.get(item, -1) // self.octets_per_ms

    async def _refuse(self, event: Event, code: str) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": code, "event_id": event.get("event_id")}
        self.heard.errors.append(error)
        await self.send("error", error=error)


Behaviour = Callable[[RealtimeCall], Coroutine[Any, Any, None]]


class RealtimeServer:
    """A context manager; ``url`` is where it listens, once entered.

    :param behaviour: what the model does in each conversation.
    :ivar calls: one for each conversation, in order.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="realtime", daemon=True)
        self._talks: set[asyncio.Task[Any]] = set()
        self.calls: list[RealtimeHeard] = []
        self.url = ""

    def __enter__(self) -> RealtimeServer:
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError("the Realtime server did not start within 10 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with listening(self._talk, 0) as server:
            self.url = address(server).removesuffix("/ws") + "/v1/realtime?model=test"
            self._ready.set()
            await self._stopping.wait()
            for task in self._talks:
                task.cancel()

    async def _talk(self, connection: ServerConnection) -> None:
        request = connection.request
        heard = RealtimeHeard(request.path if request else "", dict(request.headers.raw_items()) if request else {})
        self.calls.append(heard)
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            with contextlib.suppress(ConnectionClosed, asyncio.CancelledError):
                call = RealtimeCall(connection, heard)
                await call.send("session.created", session={"type": "realtime"})
                await self._behaviour(call)
        finally:
            self._talks.discard(task)
            heard.ended.set()
