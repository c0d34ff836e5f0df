"""Agents that send as much as they can: what a link takes of them in one turn of the loop, and when nothing more."""

from __future__ import annotations

import asyncio
import socket
from itertools import groupby

from attrs import evolve

from stellar_gw.agent.link import Link
from stellar_gw.agent.reading import FIRST, MANY, MOST, Rota
from stellar_gw.dialects.contract import Frame
from stellar_gw.testing.raw_agent import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, frame
from tests.integration.link_case import LIMITS, Authority, Base, Recorder, on_every_link, on_loop

FLOODING = 20
TURNS = 100


class Turns:
    """Counts what is taken in each turn of the loop.

    :ivar taken: the messages of each turn that had any.
    :ivar total: all of them.
    """

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.total = 0
        self._now = 0
        self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._turn)
        self._enough = asyncio.Event()

    def _turn(self) -> None:
        if self._now:
            self.taken.append(self._now)
            self._now = 0
        if len(self.taken) < TURNS:
            self._loop.call_soon(self._turn)
        else:
            self._enough.set()

    def took(self, frame: Frame) -> None:
        self._now += 1
        self.total += 1

    async def enough(self) -> list[int]:
        await self._enough.wait()
        return self.taken


class Floods(Base):
    async def flooded(self, data: bytes, *, links: int = 1) -> tuple[Turns, list[Link]]:
        """So many links, each to an agent that sends this again and again."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.flood(data)

        await self.agent(script)
        turns = Turns()
        self.recorder.on_received = turns.took
        return turns, [self.connect() for _ in range(links)]

    @on_loop
    async def test_one_turn(self) -> None:
        """However small an agent's messages are, few are taken in one turn once it is known; of large ones, 64 KiB."""
        for size, most in ((0, MANY), (50, MANY), (1000, MOST // 1000 + 1), (30000, 3)):
            many = frame(BINARY, bytes(size)) * (1 + (1 << 17) // (size + 2))
            turns, (link,) = await self.flooded(many)
            taken = await turns.enough()
            link.abort()
            # At first the library's own buffer, twice in a turn, and the first ration.
            self.assertLessEqual(max(taken), 3 * FIRST // (size + 2) + 2 if size < 1000 else most, size)
            self.assertLessEqual(max(taken[TURNS // 2 :]), most, size)

    @on_loop
    async def test_many_links(self) -> None:
        """While 20 agents flood, the loop's other descriptors, as the ticker and the gateway's channel are, have their
        turn again after a bounded number of the flood's messages."""
        turns, links = await self.flooded(frame(TEXT, b"x" * 10) * 20000, links=FLOODING)
        asked, answering = socket.socketpair()
        loop, meanwhile, before = asyncio.get_running_loop(), [], 0

        def answer() -> None:
            nonlocal before
            meanwhile.append(turns.total - before)
            answering.recv(1)
            before = turns.total
            asked.send(b"?")

        loop.add_reader(answering, answer)
        asked.send(b"?")
        await turns.enough()
        loop.remove_reader(answering)
        for link in links:
            link.abort()
        asked.close()
        answering.close()
        self.assertGreaterEqual(len(meanwhile), TURNS)
        # Links that have only just been opened, all of them in one turn; later it is LINKS * MANY.
        self.assertLessEqual(max(meanwhile), FLOODING * 3 * FIRST // 12)

    @on_loop
    async def test_between(self) -> None:
        """What cannot wait for all links has its turn after each reading of one, of a flooding agent too."""

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            for message in (b"one", b"two"):
                await peer.read_frame()
                await peer.write(frame(TEXT, message))
            await peer.read_frame()
            await peer.flood(frame(TEXT, b"x" * 10) * 20000)

        await self.agent(script)
        happened: list[Frame] = []
        turns, rota = Turns(), Rota(asyncio.get_running_loop().call_later)
        rota.between = lambda: happened.append("between")

        def received(message: Frame) -> None:
            happened.append(message)
            turns.took(message)

        self.recorder.on_received = received
        link = self.connect(rota=rota)
        for count in (1, 2, 3):
            await self.recorder.until(count)
            link.send("go on")
        await turns.enough()
        link.abort()
        said = happened[happened.index("one") :]
        self.assertEqual(said[:4], ["one", "between", "two", "between"])
        in_one_reading = [len(list(run)) for message, run in groupby(said[4:]) if message != "between"]
        self.assertLessEqual(max(in_one_reading), 3 * FIRST // 12)

    @on_loop
    async def test_nothing_is_lost(self) -> None:
        """What comes in bursts comes out whole and in order, over TLS too, with the agent's close at its end."""
        authority = Authority()
        sizes = [0, 1, 125, 126, 5000, 70000, 300_000, 0, 0] * 3 + [2] * 3000 + [900_000]
        for tls in (None, authority.server("127.0.0.1")):

            async def script(peer: Peer) -> None:
                await peer.upgrade()
                burst = b"".join(frame(BINARY, bytes([size % 251]) * size) for size in sizes)
                await peer.write(burst + frame(CLOSE, b"\x03\xe8"))
                await peer.ended()

            await self.agent(script, tls)
            self.recorder = Recorder()
            self.connect(f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}/", tls=authority.client())
            told = await self.recorder.closed()
            self.assertEqual(told[-1], ("closed_1000", True, True))
            self.assertEqual(told[1:-1], [bytes([size % 251]) * size for size in sizes])

    @on_loop
    async def test_pings(self) -> None:
        """An agent that floods us with pings has as many answers, until it does not read them."""
        pongs: list[bytes] = []

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            await peer.write(b"".join(frame(PING, str(number).encode()) for number in range(500)))
            while len(pongs) < 500:
                pongs.append(await peer.read_until(PONG))
            await peer.flood(frame(PING, b"x" * 100) * 1000)

        await self.agent(script)
        self.connect(limits=evolve(LIMITS, max_buffered=1 << 17))
        self.assertEqual(await self.recorder.closed(), ["opened", ("unresponsive", True, False)])
        self.assertEqual(pongs, [str(number).encode() for number in range(500)])


class TakenNoMore(Base):
    async def taken(self, first: bytes, more: bytes, close: int = 0) -> tuple[object, int, int]:
        """Of an agent that sends ``first``, and then more as long as it can: what is told of it, the code that it was
        told, and how many octets went through.

        :param close: how the link is closed at the first message.
        """
        heard: list[int] = []

        async def listen(peer: Peer) -> None:
            heard.append(int.from_bytes((await peer.read_until(CLOSE))[:2], "big"))

        async def script(peer: Peer) -> None:
            await peer.upgrade()
            listening = asyncio.ensure_future(listen(peer))
            await peer.write(first)
            taken.append(await peer.flood(more))
            await listening

        taken: list[int] = []
        agent = await self.agent(script)
        self.recorder = Recorder()
        link = self.connect(limits=evolve(LIMITS, close_timeout=0.3))
        if close:
            self.recorder.on_received = lambda _: link.close(close)
        told = (await self.recorder.closed())[-1]
        await agent.all_ended()
        return told, heard[0], taken[0]

    @on_loop
    async def test_policy(self) -> None:
        """An agent that was told 1008 can send on for the close timeout, but nobody reads it."""
        flood = frame(BINARY, bytes(65000))
        told, code, octets = await self.taken(flood, flood, close=1008)
        self.assertEqual((told, code), (("cancelled", True, False), 1008))
        self.assertLess(octets, 4 << 20)

    @on_loop
    async def test_gigantic_frame(self) -> None:
        """A frame is refused for what its header announces: its body stays with the agent."""
        announced = frame(BINARY, bytes(65536))[:2] + (1 << 30).to_bytes(8, "big")
        told, code, octets = await self.taken(announced, bytes(65536))
        self.assertEqual((told, code), (("oversize", True, False), 1009))
        self.assertLess(octets, 1 << 20)

    @on_loop
    async def test_endless_message(self) -> None:
        """A message without an end is refused once its fragments are too long."""
        part = frame(CONTINUATION, bytes(32768), fin=False)
        told, code, octets = await self.taken(frame(BINARY, b"", fin=False), part)
        self.assertEqual((told, code), (("oversize", True, False), 1009))
        self.assertLess(octets, 4 << 20)


globals().update(on_every_link(__name__, Floods, TakenNoMore))
