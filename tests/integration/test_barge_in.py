"""How soon an agent is silent, at the wire: a real worker, a native agent, and a phone with the kernel's own clock."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
import time
from statistics import median
from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.control.messages import Allocate, Answered, Codec, Release, SetMedia
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.rtp import parse_rtp
from stellar_gw.testing.agents import AgentCall, AgentServer
from tests.integration.worker_support import LOOPBACK, PoolTestCase, reactor, start_agent, until

ROUNDS = 20
FRAMES = 50
"""Of each round's audio, each recognised by its octet."""
MARKED = 5
"""Frames between two marks."""
SO_TIMESTAMPNS = 35
"""The kernel's time of arrival with each datagram (socket(7)): a test that is held up measures the same."""
PCMU = Codec(name="PCMU", payload_type=0)


@define
class Round:
    """One interruption, as the agent saw it.

    :ivar cleared_at: nanoseconds since 1970, just before ``clear`` was sent.
    """

    cleared_at: int = 0
    played_ms: int = 0
    discarded_ms: int = 0
    marks: list[tuple[int, str]] = field(factory=list)


class Interrupted:
    """An agent that interrupts itself: it is far ahead with its audio when it sends ``clear``, somewhere in a frame.

    It goes on when the phone hears silence.
    """

    def __init__(self, phone: TimedPhone) -> None:
        self.phone = phone
        self.rounds: list[Round] = []
        self.done = False

    async def __call__(self, call: AgentCall) -> None:
        chance = random.Random(4)
        for number in range(ROUNDS):
            await self._one(call, number, chance)
            await asyncio.to_thread(self.phone.silences.acquire, timeout=10.0)
        self.done = True
        await call.connection.wait_closed()

    async def _one(self, call: AgentCall, number: int, chance: random.Random) -> None:
        connection, now = call.connection, Round()
        for first in range(0, FRAMES, MARKED):
            frames = b"".join(bytes([octet_of(number, first + place)]) * 160 for place in range(MARKED))
            await connection.send(pcm_from_ulaw(frames))
            await connection.send(json.dumps({"action": "notify", "payload": first}))
        wanted = chance.randrange(0, 4)
        async for message in connection:
            event = json.loads(message) if isinstance(message, str) else {}
            if event.get("event") == "websocket:notify":
                now.marks.append((event["payload"], event["outcome"]))
                if len(now.marks) == wanted + 1 and not now.cleared_at:
                    await asyncio.sleep(chance.random() * 0.04)
                    now.cleared_at = time.time_ns()
                    await connection.send('{"action":"clear"}')
            elif event.get("event") == "websocket:cleared":
                now.played_ms, now.discarded_ms = event["played_ms"], event["discarded_ms"]
                self.rounds.append(now)
                return


def octet_of(number: int, frame: int) -> int:
    """Mu-law that neither is silence nor looks like it: another half of the codes in every second round."""
    return 0x80 * (number % 2) + 1 + frame


@implementer(IReadDescriptor)
class TimedPhone:
    """A phone's RTP socket.

    :ivar heard: of each packet that is not silent: arrival in nanoseconds since 1970, and the octet it is made of;
        None for a silent one.
    :ivar silences: how often it became silent.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((LOOPBACK, 0))
        self.address = self._socket.getsockname()
        self.heard: list[tuple[int, int | None]] = []
        self.silences = threading.Semaphore(0)
        self._talking = False
        reactor.addReader(self)

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "phone"

    def doRead(self) -> None:
        datagram, extra, _, _ = self._socket.recvmsg(2048, 64)
        packet = parse_rtp(datagram)
        if packet is not None:
            seconds, nanoseconds = struct.unpack("@qq", extra[0][2][:16])
            (octet,) = set(packet.payload)
            self.heard.append((seconds * 10**9 + nanoseconds, None if octet == 0xFF else octet))
            if octet == 0xFF and self._talking:
                self.silences.release()
            self._talking = octet != 0xFF

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lets go of us."""

    def stop(self) -> None:
        reactor.removeReader(self)
        self._socket.close()


class BargeInTests(PoolTestCase):
    async def test_clear(self) -> None:
        """Silence leaves within 20 ms of a clear's arrival, marks return in order, and played_ms is what was heard."""
        pool: Any = await self.start_pool()
        phone = TimedPhone()
        agent = Interrupted(phone)
        self.addCleanup(phone.stop)
        with AgentServer(agent) as server:
            await pool.ask(Allocate(request=0, call="c-1"))
            rtcp = (LOOPBACK, phone.address[1] + 1)
            await pool.ask(
                SetMedia(request=0, call="c-1", remote=phone.address, remote_rtcp=rtcp, send=PCMU, receive=(PCMU,))
            )
            await pool.ask(start_agent("c-1", server.url, "native", rate="8000"))
            await pool.ask(Answered(request=0, call="c-1"))
            await until(lambda: agent.done, 40.0)
            released = await pool.ask(Release(request=0, call="c-1"))
        played, silent_after, place = 0, [], 0
        for number, each in enumerate(agent.rounds):
            frames = (each.played_ms - played) // 20
            played = each.played_ms
            heard = self.agents(phone, place, frames)
            self.assertEqual([octet for _, octet in heard], [octet_of(number, frame) for frame in range(frames)])
            place = phone.heard.index(heard[-1]) + 1
            self.assertIsNone(phone.heard[place][1])
            silent_after.append((phone.heard[place][0] - each.cleared_at) / 1e6)
            self.assertEqual(frames * 20 + each.discarded_ms, FRAMES * 20)
            outcomes = ["played"] * (frames // MARKED) + ["cleared"] * (FRAMES // MARKED - frames // MARKED)
            self.assertEqual(each.marks, list(zip(range(0, FRAMES, MARKED), outcomes, strict=True)))
        self.assertEqual(self.agents(phone, place, 1), [])
        self.assertEqual((len(agent.rounds), released.legs[0].agent_audio_ms), (ROUNDS, played))
        # From before it was sent, and with whatever else the machine has to do: so not the worst of them.
        self.assertLessEqual(median(silent_after), 20.0, silent_after)

    def agents(self, phone: TimedPhone, place: int, count: int) -> list[tuple[int, int | None]]:
        """The next packets with the agent's audio in them, at most so many."""
        return [each for each in phone.heard[place:] if each[1] is not None][:count]
