"""Two legs bridged by a real worker over real sockets: what each hears, and how long nothing comes at a change."""

from __future__ import annotations

from bisect import bisect
from itertools import pairwise
from pathlib import Path
from typing import Any

from stellar_gw.call.ports import WorkerFailed
from stellar_gw.control import messages
from stellar_gw.control.messages import Allocate, Answered, Binding, Rebind, Release, StopAgent
from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.rtp import sequence_delta, timestamp_delta
from stellar_gw.media.source import tone
from stellar_gw.media.wav import WavWriter
from tests.integration.worker_support import LOOPBACK, PoolTestCase, RtpPeer, reactor, start_agent, until

LONGEST_GAP = 0.040


class TimedPeer(RtpPeer):
    """Notes when each packet came."""

    def __init__(self, test: BridgeTests, codec: str = "PCMU") -> None:
        super().__init__(test, codec)
        self.times: list[float] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        before = len(self.received)
        super().datagramReceived(datagram, addr)
        if len(self.received) > before:
            self.times.append(reactor.seconds())


class BridgeTests(PoolTestCase):
    async def call(self, caller: str = "PCMU", target: str = "PCMU") -> tuple[Any, TimedPeer, TimedPeer]:
        """A call with the tone agent, whose caller says 1000 Hz, and a target who says 600 Hz."""
        pool: Any = await self.start_pool()
        peers = []
        for leg, codec, hertz in (("caller", caller, 1000), ("target", target, 600)):
            peer = TimedPeer(self, codec)
            allocated = await pool.ask(Allocate(request=0, call="c-1", leg=leg))
            await pool.ask(peer.media("c-1", leg=leg))
            peer.speak(tone((hertz,), peer.codec.rate, 1000), (LOOPBACK, allocated.rtp_port))
            peers.append(peer)
        await pool.ask(start_agent("c-1", "builtin:tone"))
        await self.event(messages.AgentReady)
        for leg in ("caller", "target"):
            await pool.ask(Answered(request=0, call="c-1", leg=leg))
        await until(lambda: all(len(peer.received) >= 25 for peer in peers))
        return pool, peers[0], peers[1]

    def music(self) -> str:
        """The absolute path of a file with 0.7 s of 440 Hz."""
        path = Path(self.mktemp()).absolute()
        with path.open("wb") as file:
            writer = WavWriter(file, 44100)
            writer.write(tone((440,), 44100, 700))
            writer.close()
        return str(path)

    async def packets(self, peer: TimedPeer, count: int) -> None:
        """So many more packets come."""
        wanted = len(peer.received) + count
        await until(lambda: len(peer.received) >= wanted)

    def hertz(self, peer: RtpPeer, packets: int = 40) -> float:
        pcm = peer.heard()[-packets * peer.codec.pcm_octets(20) :]
        heard = dominant_tone(pcm, peer.codec.rate)
        return 0.0 if heard is None else heard.hertz

    def gap(self, peer: TimedPeer, change: float) -> float:
        """The longest time without a packet, from the last one before a change on for 100 ms, in seconds."""
        place = bisect(peer.times, change)
        times = [time for time in peer.times[place - 1 :] if time < change + 0.1]
        return max(later - earlier for earlier, later in pairwise(times))

    def one_stream(self, peer: TimedPeer) -> None:
        """One SSRC, each packet the next, timestamps on by what was sent, or by a little more at a change."""
        self.assertEqual(len({packet.ssrc for packet in peer.received}), 1)
        for earlier, later in pairwise(peer.received):
            self.assertEqual(sequence_delta(later.sequence_number, earlier.sequence_number), 1)
            step = timestamp_delta(later.timestamp, earlier.timestamp)
            self.assertTrue(step == 160 or (later.marker and 160 <= step <= 480), (earlier, later))

    async def test_no_gap(self) -> None:
        """Agent, bridge, agent, ten times over: no leg is without a packet for longer than 40 ms, in one stream."""
        pool, caller, target = await self.call()
        changes = []
        for _ in range(10):
            for request in (messages.bridge("c-1"), messages.unbridge("c-1")):
                await pool.ask(request)
                changes.append(reactor.seconds())
                await self.packets(caller, 12)
        for peer in (caller, target):
            self.one_stream(peer)
            longest = sorted(self.gap(peer, change) for change in changes)
            # This process, which speaks for the peers, may stall at one change or another, but not at most of them.
            self.assertLess(longest[len(longest) * 3 // 4], LONGEST_GAP)

    async def test_hear_each_other(self) -> None:
        """In a bridge each hears the other and not the agent; the statistics count every packet."""
        pool, caller, target = await self.call()
        await pool.ask(messages.bridge("c-1"))
        await self.packets(caller, 60)
        await self.packets(target, 1)
        self.assertApproximates(self.hertz(caller), 600, 3)
        self.assertApproximates(self.hertz(target), 1000, 3)
        await pool.ask(StopAgent(request=0, call="c-1"))
        await self.packets(caller, 20)
        released = await pool.ask(Release(request=0, call="c-1"))
        for leg, peer in zip(released.legs, (caller, target), strict=True):
            latched = f"{LOOPBACK}:{peer.address[1]}"
            self.assertEqual((leg.packets_rejected, leg.packets_lost, leg.latched), (0, 0, latched))
            self.assertGreaterEqual(leg.packets_sent, len(peer.received))
        self.assertEqual([event for event in self.events if isinstance(event, messages.AgentFailed)], [])

    async def test_coded_anew(self) -> None:
        """G.722 on one side and PCMA on the other hear each other's tones."""
        pool, caller, target = await self.call("G722", "PCMA")
        await pool.ask(messages.bridge("c-1"))
        await self.packets(caller, 80)
        await self.packets(target, 1)
        self.assertApproximates(self.hertz(caller), 600, 3)
        self.assertApproximates(self.hertz(target), 1000, 3)
        for peer in (caller, target):
            self.one_stream(peer)

    async def test_hold_music(self) -> None:
        """One leg hears a file, the other a tone, until they are bridged."""
        pool, caller, target = await self.call()
        music = Binding(leg="caller", source="file", file=self.music())
        ringback = Binding(leg="target", source="tone", tone="425/2000")
        await pool.ask(Rebind(request=0, call="c-1", bindings=(music, ringback)))
        await self.packets(caller, 70)
        self.assertApproximates(self.hertz(caller), 440, 5)
        self.assertApproximates(self.hertz(target), 425, 5)
        await pool.ask(messages.bridge("c-1"))
        await self.packets(caller, 60)
        self.assertApproximates(self.hertz(caller), 600, 3)
        self.one_stream(caller)

    async def test_refused(self) -> None:
        """A file that is not there is refused, and what was heard goes on."""
        pool, caller, _ = await self.call()
        await pool.ask(messages.bridge("c-1"))
        binding = Binding(leg="caller", source="file", file="/nowhere/hold.wav")
        try:
            await pool.ask(Rebind(request=0, call="c-1", bindings=(binding,)))
        except WorkerFailed as reason:
            self.assertEqual((reason.code, "/nowhere/hold.wav" in reason.message), ("bad_request", True))
        else:
            self.fail("it plays what is not there")
        await self.packets(caller, 60)
        self.assertApproximates(self.hertz(caller), 600, 3)
