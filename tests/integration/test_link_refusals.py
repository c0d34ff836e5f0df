"""The contract of agent links, on real sockets: agents that cannot be reached or break the protocol."""

from __future__ import annotations

import asyncio
import socket

from attrs import evolve

from stellar_gw.testing.raw_agent import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, close_payload, frame
from tests.integration.link_case import LIMITS, Authority, Base, Recorder, on_every_link, on_loop

SMALL = evolve(LIMITS, max_message=1000)


class Upgrade(Base):
    async def refused(self, answer: bytes, **connect: str) -> tuple[object, str]:
        """What is told, and said to the operator, of an agent that gives this answer and then reads."""

        async def script(peer: Peer) -> None:
            await peer.read_request()
            await peer.write(answer or peer.answer())
            await peer.ended()

        return await self.told(script, **connect)

    async def told(self, script: object, **connect: str) -> tuple[object, str]:
        agent = await self.agent(script)  # type: ignore[arg-type]  # scripts as the tests write them
        self.recorder = Recorder()
        self.connect(**connect)  # type: ignore[arg-type]  # url and subprotocol only
        told = await self.recorder.closed()
        await agent.all_ended()
        self.assertEqual(len(told), 1)
        assert self.recorder.result is not None
        self.assertNotIn("hush", self.recorder.result.message)
        return told[0], self.recorder.result.message.replace(f"127.0.0.1:{self.port}", "agent")

    @on_loop
    async def test_statuses(self) -> None:
        """An HTTP status is named, even one that Python knows nothing of, with what to do about it."""
        expected = {
            "401 Unauthorized": "check the header Authorization of this agent and the secret it comes from",
            "404 Not Found": "check the URL's path",
            "503 Service Unavailable": "the agent is overloaded or not ready",
            "520 What": "it must answer 101 (RFC 6455 4.2.2)",
            "200 OK": "it must answer 101 (RFC 6455 4.2.2)",
        }
        for status, hint in expected.items():
            answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
            code = status.split()[0]
            self.assertEqual(
                await self.refused(answer), ((f"http_{code}", False, False), f"ws://agent answered {code}: {hint}")
            )

    @on_loop
    async def test_redirect(self) -> None:
        """A redirect is not followed: Authorization goes nowhere else."""
        await self.agent(Peer.ended)
        location = f"ws://127.0.0.1:{self.port}/x?token=hush"
        answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        told, message = await self.refused(answer)
        self.assertEqual(told, ("http_302", False, False))
        self.assertIn("redirects are not followed (it leads to ws://127.0.0.1:", message)
        self.assertEqual([agent.connections for agent in self.agents], [0, 1])

    @on_loop
    async def test_answers_that_are_none(self) -> None:
        """Rubbish, a wrong key, endless headers, or too many: the protocol is broken."""
        answers = (
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"\xff\xfe\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: " + b"y" * 70000,
            b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        )
        for answer in answers:
            told, message = await self.refused(answer)
            self.assertEqual(told, ("protocol", False, False), message)

    @on_loop
    async def test_subprotocol_and_extension(self) -> None:
        """What was asked for must be granted, and nothing else; granted rightly, the link opens."""
        for asked, fields in (
            ("audio.example", ()),
            ("audio.example", ("Sec-WebSocket-Protocol: other",)),
            ("", ("Sec-WebSocket-Protocol: other",)),
            ("", ("Sec-WebSocket-Extensions: permessage-deflate",)),
        ):

            async def script(peer: Peer, fields: tuple[str, ...] = fields) -> None:
                await peer.upgrade(*fields)
                await peer.ended()

            told, message = await self.told(script, subprotocol=asked)
            self.assertEqual(told, ("protocol", False, False), message)

        async def granting(peer: Peer) -> None:
            request = await peer.upgrade("Sec-WebSocket-Protocol: audio.example")
            await peer.write(frame(TEXT, str(request.count(b"Sec-WebSocket-Protocol: audio.example\r\n")).encode()))
            await peer.write(frame(CLOSE, close_payload(1000)))

        await self.agent(granting)
        self.recorder = Recorder()
        self.connect(subprotocol="audio.example")
        self.assertEqual(await self.recorder.closed(), ["opened", "1", ("closed_1000", True, True)])

    @on_loop
    async def test_hung_up_before_the_answer(self) -> None:
        """A connection that ends before the answer, by FIN or RST, or in the middle of it, is lost."""

        async def end(peer: Peer) -> None:
            await peer.read_request()

        async def reset(peer: Peer) -> None:
            await peer.read_request()
            peer.reset()

        async def half(peer: Peer) -> None:
            await peer.read_request()
            await peer.write(peer.answer()[:40])

        for script in (end, reset, half):
            told, message = await self.told(script)
            self.assertEqual(
                (told, message),
                (("lost", False, False), "ws://agent cut the connection before it answered the upgrade request"),
            )

    @on_loop
    async def test_nobody_listens(self) -> None:
        """A port without a listener refuses."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            self.connect()
            self.assertEqual(await self.recorder.closed(), [("refused", False, False)])

    @on_loop
    async def test_targets_that_are_none(self) -> None:
        """A URL or header that must not be sent is refused before any connection, and not shown."""
        agent = await self.agent(Peer.ended)
        here = f"127.0.0.1:{self.port}"
        urls = (
            f"http://{here}/hush", f"ws://{here}/hush\r\nX: y", f"ws://{here}/hush y", f"ws://{here}/hush#x", "ws://",
            f"ws://user:hush@{here}/", f"ws://{here}/{{call_id}}hush", f"ws://{here}/hüsh", "ws://127.0.0.1:0/hush",
            "ws://127.0.0.1:99999/hush", "ws://127.0.0.1:/hush", "ws://[::1%25lo]/hush", "ws://[hush]/", "ws://a..b/hush",
            "ws://a%2eb/hush", f"ws://{here}/" + "hush" * 3000, f"WS://{here}/hush", "",
        )  # fmt: skip
        headers = (
            ("X-A", "hush\r\nX-B: y"), ("X-A", "hush\nX-B: y"), ("X-A", "hush\0"), ("X-A", "hush\x7f"),
            ("X-A", "hush\ud800"), ("X A", "hush"), ("X-A\r\nX-B", "hush"), ("", "hush"), ("Host", "hush"),
            ("Sec-WebSocket-Key", "hush"), ("connection", "hush"), ("Upgrade", "hush"), ("X-A", "hush" * 5000),
        )  # fmt: skip
        for url in urls:
            self.recorder = Recorder()
            self.connect(url or "builtin:echo")
            self.assertEqual(await self.recorder.closed(), [("invalid_url", False, False)], url)
            assert self.recorder.result is not None
            self.assertNotIn("hush", self.recorder.result.message)
        for header in headers:
            self.recorder = Recorder()
            self.connect("", header)
            self.assertEqual(await self.recorder.closed(), [("invalid_header", False, False)], header)
            assert self.recorder.result is not None
            self.assertNotIn("hush", self.recorder.result.message)
        self.assertEqual(agent.connections, 0)


class Tls(Base):
    async def secured(self, *names: str, trusted: bool, host: str = "127.0.0.1") -> tuple[list[object], str]:
        """What is told of an agent whose certificate is for these names."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.write(frame(TEXT, b"in private") + frame(CLOSE, close_payload(1000)))
            await peer.ended()

        authority = Authority()
        agent = await self.agent(script, authority.server(*names))
        self.recorder = Recorder()
        self.connect(f"wss://{host}:{self.port}/?hush", tls=(authority if trusted else Authority()).client())
        told = await self.recorder.closed()
        await agent.all_ended()
        assert self.recorder.result is not None
        return told, self.recorder.result.message.replace(f"{host}:{self.port}", "agent")

    @on_loop
    async def test_certificates(self) -> None:
        """The right name by a trusted authority opens; another name, or a stranger's authority, does not."""
        self.assertEqual(
            (await self.secured("127.0.0.1", trusted=True))[0], ["opened", "in private", ("closed_1000", True, True)]
        )
        self.assertEqual(
            (await self.secured("localhost", trusted=True, host="localhost"))[0],
            ["opened", "in private", ("closed_1000", True, True)],
        )
        told, message = await self.secured("agents.example", "127.0.0.2", trusted=True)
        self.assertEqual(told, [("tls", False, False)])
        self.assertIn("wss://agent: the certificate is not accepted: IP address mismatch", message)
        told, message = await self.secured("127.0.0.1", trusted=False)
        self.assertEqual(told, [("tls", False, False)])
        self.assertIn("wss://agent: the certificate is not accepted: unable to get local issuer", message)

    @on_loop
    async def test_port_without_tls(self) -> None:
        """A port that does not speak TLS says so."""

        async def script(peer: Peer) -> None:
            await peer.read_some()
            await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await peer.ended()

        agent = await self.agent(script)
        self.connect(f"wss://127.0.0.1:{self.port}/")
        self.assertEqual(await self.recorder.closed(), [("tls", False, False)])
        await agent.all_ended()
        assert self.recorder.result is not None
        self.assertIn("does the port speak TLS?", self.recorder.result.message)


class Frames(Base):
    async def sent(self, *segments: bytes) -> tuple[list[object], list[int]]:
        """What is told of an agent that sends this, and the close codes it was told."""
        heard: list[int] = []

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            for segment in segments:
                await peer.write(segment)
            heard.append(int.from_bytes((await peer.read_until(CLOSE))[:2], "big"))
            await peer.ended()

        agent = await self.agent(script)
        self.recorder = Recorder()
        self.connect(limits=SMALL)
        told = await self.recorder.closed()
        await agent.all_ended()
        return told, heard

    @on_loop
    async def test_fragments(self) -> None:
        """Fragments come out whole, a character cut in two as well, with a ping answered in between."""
        pongs: list[bytes] = []

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.write(frame(TEXT, b"gr\xc3", fin=False) + frame(PING, b"there?"))
            await peer.write(frame(CONTINUATION, b"", fin=False) + frame(CONTINUATION, b"\xbcezi"))
            await peer.write(frame(BINARY, b"\xc3", fin=False) + frame(CONTINUATION, b"\xff"))
            await peer.write(frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"\0" * 1000))
            pongs.append(await peer.read_until(PONG))
            await peer.write(frame(CLOSE, close_payload(1000)))

        await self.agent(script)
        self.connect(limits=SMALL)
        self.assertEqual(
            await self.recorder.closed(), ["opened", "grüezi", b"\xc3\xff", b"\0" * 1000, ("closed_1000", True, True)]
        )
        self.assertEqual(pongs, [b"there?"])

    @on_loop
    async def test_octet_by_octet(self) -> None:
        """Frames cut at every octet come out whole."""

        async def script(peer: Peer) -> None:
            answer = frame(TEXT, b"a" * 126) + frame(BINARY, b"b") + frame(CLOSE, close_payload(1000))
            await peer.read_request()
            for octet in peer.answer() + answer:
                await peer.write(bytes([octet]))
                await asyncio.sleep(0)

        await self.agent(script)
        self.connect()
        self.assertEqual(await self.recorder.closed(), ["opened", "a" * 126, b"b", ("closed_1000", True, True)])

    @on_loop
    async def test_oversize(self) -> None:
        """Too long a message, announced, sent, or grown out of fragments, ends the link with 1009."""
        announced = frame(BINARY, b"\0" * 65536)[:2] + (1 << 30).to_bytes(8, "big") + b"\0" * 100
        for segments in (
            (announced,),
            (frame(BINARY, b"\0" * 1001),),
            (frame(BINARY, b"\0" * 600, fin=False), frame(CONTINUATION, b"\0" * 401)),
        ):
            self.assertEqual(await self.sent(*segments), (["opened", ("oversize", True, False)], [1009]))

    @on_loop
    async def test_broken_frames(self) -> None:
        """Every way to break RFC 6455 ends the link as a broken protocol, with 1002."""
        broken = {
            "continuation of nothing": frame(CONTINUATION, b"x"),
            "message inside another": frame(TEXT, b"x", fin=False) + frame(TEXT, b"y"),
            "RSV1": frame(TEXT, b"x", rsv=4),
            "RSV3 on a ping": frame(PING, b"x", rsv=1),
            "reserved data opcode": frame(0x3, b"x"),
            "reserved control opcode": frame(0xB, b"x"),
            "fragmented ping": frame(PING, b"x", fin=False),
            "long ping": frame(PING, b"x" * 126),
            "long close": frame(CLOSE, close_payload(1000, "x" * 124)),
            "masked": frame(TEXT, b"x", masked=True),
            "close of one octet": frame(CLOSE, b"\x03"),
            "close 1005": frame(CLOSE, close_payload(1005)),
            "close 1006": frame(CLOSE, close_payload(1006)),
            "close 999": frame(CLOSE, close_payload(999)),
            "close 5000": frame(CLOSE, close_payload(5000)),
        }
        results = {name: await self.sent(data) for name, data in broken.items()}
        self.assertEqual(results, dict.fromkeys(broken, (["opened", ("protocol", True, False)], [1002])))

    @on_loop
    async def test_text_that_is_no_utf8(self) -> None:
        """Text that is no UTF-8, whole, in fragments, or as a close reason, ends the link with 1007."""
        for segment in (
            frame(TEXT, b"\xff"),
            frame(TEXT, b"\xed\xa0\x80"),
            frame(TEXT, b"\xc3", fin=False) + frame(CONTINUATION, b"\x28"),
            frame(CLOSE, b"\x03\xe8\xff"),
        ):
            told, heard = await self.sent(segment)
            self.assertEqual(told, ["opened", ("protocol", True, False)])
            self.assertIn(heard, ([1007], [1002]))


globals().update(on_every_link(__name__, Upgrade, Tls, Frames))
