"""The contract of agent links, on real sockets: getting there, staying, and leaving.

Each suite runs over picows and over the second implementation, on uvloop and on asyncio's own loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time

from attrs import evolve

from stellar_gw.dialects.contract import Frame
from stellar_gw.testing.raw_agent import BINARY, CLOSE, PING, PONG, TEXT, Peer, close_payload, frame
from tests.integration.link_case import LIMITS, Authority, Base, on_every_link, on_loop

QUICK = evolve(LIMITS, connect_timeout=0.2)


async def upgrade_and_listen(peer: Peer) -> None:
    await peer.upgrade()
    await peer.ended()


class Conversation(Base):
    @on_loop
    async def test_both_speak_and_we_close(self) -> None:
        """Text and binary pass both ways; our close reaches the agent with its code and reason."""
        heard: list[object] = []

        async def script(peer: Peer) -> None:
            heard.append(await peer.upgrade())
            await peer.write(frame(TEXT, "grüezi".encode()) + frame(BINARY, b"\x00\xff") + frame(BINARY))
            heard.extend([await peer.read_frame(), await peer.read_frame(), await peer.read_frame()])
            await peer.write(frame(CLOSE, close_payload(1000)))
            await peer.ended()

        agent = await self.agent(script)
        link = self.connect("", ("Authorization", "Bearer hush"), ("X-Call", "č"))
        self.assertEqual(await self.recorder.until(4), ["opened", "grüezi", b"\x00\xff", b""])
        link.send("hello")
        link.send(b"\x01" * 70000)
        link.close(1000, "bye")
        link.send("dropped")
        self.assertEqual(await self.recorder.closed(), [*self.recorder.told[:4], ("cancelled", True, False)])
        await agent.all_ended()
        request = heard[0]
        assert isinstance(request, bytes)
        self.assertTrue(request.startswith(b"GET /ws?token=hush HTTP/1.1\r\n"), request)
        for line in (b"\r\nAuthorization: Bearer hush\r\n", "\r\nX-Call: č\r\n".encode()):
            self.assertIn(line, request)
        self.assertNotIn(b"Extensions", request)
        self.assertEqual(heard[1:], [(TEXT, b"hello"), (BINARY, b"\x01" * 70000), (CLOSE, close_payload(1000, "bye"))])

    @on_loop
    async def test_all_in_one_segment(self) -> None:
        """Answer, message and close in one segment come out in that order."""

        async def script(peer: Peer) -> None:
            await peer.read_request()
            await peer.write(peer.answer() + frame(TEXT, b"a") + frame(TEXT, b"b") + frame(CLOSE, close_payload(1000)))

        await self.agent(script)
        self.connect()
        self.assertEqual(await self.recorder.closed(), ["opened", "a", "b", ("closed_1000", True, True)])

    @on_loop
    async def test_text_that_is_none(self) -> None:
        """A lone surrogate, which UTF-8 cannot carry, goes out as a question mark."""
        heard: list[object] = []

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            heard.append(await peer.read_frame())

        await self.agent(script)
        link = self.connect()
        await self.recorder.until(1)
        link.send("a\ud800b")
        await self.recorder.closed()
        self.assertEqual(heard, [(TEXT, b"a?b")])

    @on_loop
    async def test_acting_inside_events(self) -> None:
        """Sending and closing from inside link_opened works, and nothing is told in between."""
        heard: list[object] = []

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            heard.extend([await peer.read_frame(), await peer.read_frame()])
            await peer.write(frame(TEXT, b"too late") + frame(CLOSE, close_payload(1000)))

        await self.agent(script)
        link = self.connect()

        def greet() -> None:
            link.send("hello")
            link.close(4001, "x" * 200)
            link.send("dropped")

        self.recorder.on_opened = greet
        self.assertEqual(await self.recorder.closed(), ["opened", ("cancelled", True, False)])
        self.assertEqual(heard, [(TEXT, b"hello"), (CLOSE, close_payload(4001, "x" * 123))])

    @on_loop
    async def test_abort_inside_a_message(self) -> None:
        """After an abort from inside link_received the rest of the segment is dropped."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.write(frame(TEXT, b"a") + frame(TEXT, b"b"))
            await peer.ended()

        agent = await self.agent(script)
        link = self.connect()
        self.recorder.on_received = lambda _: link.abort()
        self.assertEqual(await self.recorder.closed(), ["opened", "a", ("cancelled", True, False)])
        await agent.all_ended()

    @on_loop
    async def test_a_bug_of_ours(self) -> None:
        """An exception out of link_received ends this link as internal, and is logged once."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.write(frame(TEXT, b"a") + frame(TEXT, b"b"))
            await peer.ended()

        agent = await self.agent(script)
        self.connect()

        def bug(_: Frame) -> None:
            raise ArithmeticError("a bug of the call's")

        self.recorder.on_received = bug
        self.assertEqual(await self.recorder.closed(), ["opened", "a", ("internal", True, False)])
        await agent.all_ended()
        self.assertEqual(len(self.flushLoggedErrors(ArithmeticError)), 1)

    @on_loop
    async def test_nothing_is_logged(self) -> None:
        """With every logger open to debug, the request's headers are in no record."""
        records: list[str] = []

        class Keep(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                records.append(record.getMessage())

        root, handler = logging.getLogger(), Keep()
        level = root.level
        root.addHandler(handler)
        root.setLevel(1)
        try:
            await self.agent(upgrade_and_listen)
            link = self.connect("", ("Authorization", "Bearer hush"))
            await self.recorder.until(1)
            link.close()
            await asyncio.sleep(0)
            link.abort()
            await self.recorder.closed()
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
        self.assertEqual([record for record in records if "hush" in record], [])


class Leaving(Base):
    @on_loop
    async def test_close_codes(self) -> None:
        """1000 alone is clean; every other code is told as it came, and answered with itself."""
        expected = [
            (close_payload(1000, "done"), ("closed_1000", True, True), [close_payload(1000)]),
            (close_payload(1001), ("closed_1001", True, False), [close_payload(1001)]),
            (close_payload(1011, "oops\n"), ("closed_1011", True, False), [close_payload(1011)]),
            (close_payload(4321), ("closed_4321", True, False), [close_payload(4321)]),
            (b"", ("closed_1005", True, True), [close_payload(1000), b""]),
        ]
        for payload, told, answered in expected:
            heard: list[bytes] = []

            async def script(peer: Peer, payload: bytes = payload, heard: list[bytes] = heard) -> None:
                await peer.upgrade()
                await peer.write(frame(CLOSE, payload))
                heard.append(await peer.read_until(CLOSE))
                await peer.ended()

            agent = await self.agent(script)
            self.recorder = type(self.recorder)()
            self.connect()
            self.assertEqual(await self.recorder.closed(), ["opened", told])
            await agent.all_ended()
            self.assertIn(heard[0][:2], answered)

    @on_loop
    async def test_closed_message(self) -> None:
        """The operator's line has the agent's reason on one line, and no query string."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.write(frame(CLOSE, close_payload(1011, "model\nfailed")))
            await peer.ended()

        await self.agent(script)
        self.connect()
        await self.recorder.closed()
        assert self.recorder.result is not None
        self.assertEqual(
            self.recorder.result.message,
            f"ws://127.0.0.1:{self.port} closed the link with 1011 (internal error), saying 'model?failed'",
        )

    @on_loop
    async def test_reset_and_end(self) -> None:
        """A connection that ends without a close frame is lost, by RST and by FIN."""
        for abrupt in (True, False):

            async def script(peer: Peer, abrupt: bool = abrupt) -> None:
                await peer.upgrade()
                await peer.write(frame(TEXT, b"a"))
                await peer.read_frame()
                if abrupt:
                    peer.reset()

            await self.agent(script)
            self.recorder = type(self.recorder)()
            link = self.connect()
            await self.recorder.until(2)
            link.send("go")
            self.assertEqual(await self.recorder.closed(), ["opened", "a", ("lost", True, False)])
            link.send("nobody")
            link.close()
            link.abort()

    @on_loop
    async def test_close_never_answered(self) -> None:
        """An agent that ignores our close is cut off after the close timeout."""
        agent = await self.agent(upgrade_and_listen)
        link = self.connect(limits=evolve(LIMITS, close_timeout=0.1))
        await self.recorder.until(1)
        link.close()
        link.close(1001)
        self.assertEqual(await self.recorder.closed(), ["opened", ("cancelled", True, False)])
        await agent.all_ended()

    @on_loop
    async def test_abort(self) -> None:
        """Aborting ends the connection without a word."""
        agent = await self.agent(upgrade_and_listen)
        link = self.connect()
        await self.recorder.until(1)
        link.abort()
        link.abort()
        self.assertEqual(await self.recorder.closed(), ["opened", ("cancelled", True, False)])
        await agent.all_ended()

    @on_loop
    async def test_close_over_tls(self) -> None:
        """Over TLS, too, a close is answered and the connection ends."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.read_until(CLOSE)
            await peer.write(frame(CLOSE, close_payload(1000)))
            await peer.ended()

        authority = Authority()
        agent = await self.agent(script, authority.server("127.0.0.1"))
        link = self.connect(f"wss://127.0.0.1:{self.port}/", tls=authority.client())
        await self.recorder.until(1)
        link.close()
        self.assertEqual(await self.recorder.closed(), ["opened", ("cancelled", True, False)])
        await agent.all_ended()


class Liveness(Base):
    @on_loop
    async def test_pings_answered(self) -> None:
        """An agent that answers its pings, each with a payload of its own, stays."""
        pings: list[bytes] = []

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            for _ in range(3):
                pings.append(await peer.read_until(PING))
                await peer.write(frame(PONG, pings[-1]))
            await peer.write(frame(TEXT, b"still here"))
            await peer.ended()

        await self.agent(script)
        link = self.connect(limits=evolve(LIMITS, ping_interval=0.02, ping_timeout=0.02))
        self.assertEqual(await self.recorder.until(2), ["opened", "still here"])
        self.assertEqual(len(set(pings)), 3)
        link.abort()
        await self.recorder.closed()

    @on_loop
    async def test_held_up(self) -> None:
        """A process that was held up, and finds the agent's answer only after its time, does not blame the agent."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            answer = frame(PONG, await peer.read_until(PING)) + frame(TEXT, b"still here")
            await peer.write(frame(TEXT, b"hold on"))
            threading.Timer(0.1, os.write, (peer.descriptor, answer)).start()
            await peer.ended()

        self.recorder.on_received = lambda received: time.sleep(0.5) if received == "hold on" else None
        await self.agent(script)
        link = self.connect(limits=evolve(LIMITS, ping_interval=0.02, ping_timeout=0.2))
        self.assertEqual(await self.recorder.until(3), ["opened", "hold on", "still here"])
        link.abort()
        await self.recorder.closed()

    @on_loop
    async def test_pings_unanswered(self) -> None:
        """An agent that talks on but answers no ping, or a wrong one, is unresponsive."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            while True:
                await peer.read_until(PING)
                await peer.write(frame(PONG, b"not this") + frame(BINARY, b"talk"))

        agent = await self.agent(script)
        self.connect(limits=evolve(LIMITS, ping_interval=0.05, ping_timeout=0.1))
        self.assertEqual(await self.recorder.closed(), ["opened", b"talk", ("unresponsive", True, False)])
        await agent.all_ended()

    @on_loop
    async def test_agent_does_not_read(self) -> None:
        """What waits for an agent that does not read is bounded, over TLS too; then the link ends."""
        authority = Authority()
        for tls in (None, authority.server("127.0.0.1")):

            async def script(peer: Peer) -> None:
                await peer.upgrade()
                await asyncio.Event().wait()

            await self.agent(script, tls)
            self.recorder = type(self.recorder)()
            url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}/"
            link = self.connect(url, limits=evolve(LIMITS, max_buffered=1 << 18), tls=authority.client())
            await self.recorder.until(1)
            for _ in range(1000):
                link.send(b"\0" * 65536)
                await asyncio.sleep(0)
                if self.recorder.result is not None:
                    break
            self.assertEqual(self.recorder.told, ["opened", ("unresponsive", True, False)])


class Cancelling(Base):
    @on_loop
    async def test_during_the_handshake(self) -> None:
        """Given up while the agent ponders, by close or abort: no connection stays, a late 101 is no opening."""
        for politely in (True, False):
            reached, gone = asyncio.Event(), asyncio.Event()

            async def script(peer: Peer, reached: asyncio.Event = reached, gone: asyncio.Event = gone) -> None:
                await peer.read_request()
                reached.set()
                await gone.wait()
                await peer.write(peer.answer() + frame(TEXT, b"a ghost"))
                await peer.ended()

            agent = await self.agent(script)
            self.recorder = type(self.recorder)()
            link = self.connect()
            await reached.wait()
            if politely:
                link.close()
            else:
                link.abort()
            self.assertEqual(await self.recorder.closed(), [("cancelled", False, False)])
            gone.set()
            await agent.all_ended()
            self.assertEqual(self.recorder.told, [("cancelled", False, False)])

    @on_loop
    async def test_without_an_answer(self) -> None:
        """Given up while the agent ponders: the connection ends at once, not when an answer comes."""
        reached = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.read_request()
            reached.set()
            await peer.ended()

        agent = await self.agent(script)
        link = self.connect()
        await reached.wait()
        link.close()
        self.assertEqual(await self.recorder.closed(), [("cancelled", False, False)])
        await agent.all_ended()

    @on_loop
    async def test_with_the_answer_on_its_way(self) -> None:
        """Given up at the very moment that the answer has arrived but was not read yet."""
        answered = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            answered.set()
            await peer.ended()

        agent = await self.agent(script)
        link = self.connect()
        await answered.wait()
        link.abort()
        self.assertIn(
            await self.recorder.closed(), ([("cancelled", False, False)], ["opened", ("cancelled", True, False)])
        )
        await agent.all_ended()

    @on_loop
    async def test_at_once(self) -> None:
        """Given up in the same breath: nothing but the cancellation is told."""
        agent = await self.agent(upgrade_and_listen)
        self.connect().abort()
        self.assertEqual(await self.recorder.closed(), [("cancelled", False, False)])
        await agent.all_ended()

    @on_loop
    async def test_during_the_tls_handshake(self) -> None:
        """Given up while the server is silent in the middle of TLS: the connection ends."""
        reached = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.read_some()
            reached.set()
            await peer.ended()

        agent = await self.agent(script)
        link = self.connect(f"wss://127.0.0.1:{self.port}/")
        await reached.wait()
        link.close()
        self.assertEqual(await self.recorder.closed(), [("cancelled", False, False)])
        await agent.all_ended()

    @on_loop
    async def test_during_the_look_up(self) -> None:
        """Given up while the name is looked up."""
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()

        async def never(*_: object, **__: object) -> list[object]:
            asked.set()
            return await asyncio.Event().wait() and []

        loop.getaddrinfo = never  # type: ignore[assignment]  # stands in for a resolver that hangs
        link = self.connect("ws://agents.example/")
        await asked.wait()
        link.abort()
        self.assertEqual(await self.recorder.closed(), [("cancelled", False, False)])


class SilentListener(Base):
    @on_loop
    async def test_held_up(self) -> None:
        """A process that was held up, and finds the upgrade's answer only after its time, goes on with it."""
        loop, (ours, theirs) = asyncio.get_running_loop(), socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)

        def hold_on() -> None:
            """In the loop's reading, so that its timers come before the rest of that."""
            loop.remove_reader(ours)
            time.sleep(0.5)

        async def script(peer: Peer) -> None:
            await peer.read_request()
            threading.Timer(0.1, os.write, (peer.descriptor, peer.answer())).start()
            loop.add_reader(ours, hold_on)
            theirs.send(b"now")
            await peer.ended()

        await self.agent(script)
        link = self.connect(limits=QUICK)
        self.assertEqual(await self.recorder.until(1), ["opened"])
        link.abort()
        await self.recorder.closed()

    @on_loop
    async def test_nobody_accepts(self) -> None:
        """A listener whose owner never accepts: one time limit ends it, and the message says how far it came."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            port = listener.getsockname()[1]
            self.connect(f"ws://127.0.0.1:{port}/", limits=QUICK)
            self.assertEqual(await self.recorder.closed(), [("timeout", False, False)])
        assert self.recorder.result is not None
        self.assertEqual(
            self.recorder.result.message,
            f"ws://127.0.0.1:{port} took the connection but did not finish the WebSocket handshake within 0.2 s",
        )


globals().update(on_every_link(__name__, Conversation, Leaving, Liveness, Cancelling, SilentListener))
