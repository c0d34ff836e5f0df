"""A real worker process, driven as the gateway drives it: RTP in, an agent, RTP out."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.ports import WorkerFailed
from stellar_gw.control import messages
from stellar_gw.control.messages import Allocate, Answered, Release, Tell
from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.rtp import sequence_delta, timestamp_delta
from stellar_gw.media.source import tone
from tests.integration.worker_support import LOOPBACK, PoolTestCase, RtpPeer, start_agent, until


class WorkerProcessTests(PoolTestCase):
    async def _talk(self, codec: str, ptime: int = 20) -> tuple[RtpPeer, messages.LegStatistics]:
        """A call to the echo until a second of it has come back."""
        pool: Any = await self.start_pool()
        peer = RtpPeer(self, codec)
        allocated = await pool.ask(Allocate(request=0, call="c-1"))
        await pool.ask(peer.media("c-1", ptime=ptime))
        await pool.ask(start_agent("c-1"))
        ready = await self.event(messages.AgentReady)
        self.assertEqual(ready.call, "c-1")
        await pool.ask(Answered(request=0, call="c-1"))
        peer.speak(tone((1000,), peer.codec.rate, 1000), (LOOPBACK, allocated.rtp_port))
        await until(lambda: len(peer.received) >= 1600 // ptime)
        peer.hush()
        released = await pool.ask(Release(request=0, call="c-1", cause="caller_hangup", by="caller"))
        return peer, released.legs[0]

    def _is_regular(self, peer: RtpPeer, ptime: int) -> None:
        steps = {
            (
                sequence_delta(b.sequence_number, a.sequence_number),
                timestamp_delta(b.timestamp, a.timestamp),
                b.ssrc - a.ssrc,
                len(b.payload),
                b.marker,
            )
            for a, b in pairwise(peer.received)
        }
        self.assertEqual(steps, {(1, 8 * ptime, 0, 8 * ptime, False)})
        self.assertTrue(peer.received[0].marker)

    def _is_tone(self, pcm: bytes, rate: int) -> None:
        heard = dominant_tone(pcm[-rate:], rate)
        assert heard is not None
        self.assertApproximates(heard.hertz, 1000, 3)

    async def test_echo_pcmu(self) -> None:
        """A tone to the echo agent comes back as that tone, in regular packets; the statistics count it."""
        peer, leg = await self._talk("PCMU")
        self._is_regular(peer, 20)
        self._is_tone(peer.heard(), 8000)
        self.assertEqual(
            (leg.leg, leg.codec, leg.packets_lost, leg.packets_rejected, leg.latched),
            ("caller", "PCMU", 0, 0, f"{LOOPBACK}:{peer.address[1]}"),
        )
        self.assertGreaterEqual(leg.packets_received, 70)
        self.assertGreaterEqual(leg.packets_sent, len(peer.received))
        self.assertGreaterEqual(leg.agent_audio_ms, 1000)

    async def test_echo_g722(self) -> None:
        """The same with G.722, which the echo hears and speaks at 16 kHz."""
        peer, _ = await self._talk("G722")
        self._is_regular(peer, 20)
        self._is_tone(peer.heard(), 16000)

    async def test_echo_ptime_40(self) -> None:
        """A peer that asked for 40 ms gets packets of 40 ms, every 40 ms."""
        peer, _ = await self._talk("PCMA", 40)
        self._is_regular(peer, 40)
        self._is_tone(peer.heard(), 8000)

    async def test_failures_are_replies(self) -> None:
        """Commands to unknown calls, of unknown codecs and to unknown dialects fail alone; the worker lives on."""
        pool: Any = await self.start_pool()
        peer = RtpPeer(self)
        await pool.ask(Allocate(request=0, call="c-1"))
        codec = messages.Codec(name="OPUS", payload_type=96)
        refused = [
            pool.ask(peer.media("c-1", send=codec)),
            pool.ask(peer.media("c-1", leg="nobody")),
            pool.ask(start_agent("c-1", dialect="klingon")),
            pool.ask(Allocate(request=0, call="c-2", version=6)),
            pool.ask(Tell(request=0, call="c-9", kind="limit")),
        ]
        codes = []
        for each in refused:
            try:
                await each
            except WorkerFailed as reason:
                codes.append(reason.code)
        self.assertEqual(codes, ["bad_request"] * 4 + ["unknown_call"])
        await pool.ask(Answered(request=0, call="c-1"))
        self.assertEqual([worker.replaced for worker in pool.describe()], [0])

    async def test_agent_not_there(self) -> None:
        """An agent that refuses the connection is one event, with a code and no secret."""
        pool: Any = await self.start_pool()
        await pool.ask(Allocate(request=0, call="c-1"))
        await pool.ask(start_agent("c-1", f"ws://{LOOPBACK}:1/ws?key=s3cret", "twilio"))
        failed = await self.event(messages.AgentFailed)
        self.assertEqual((failed.call, failed.code, failed.established), ("c-1", "refused", False))
        self.assertNotIn("s3cret", failed.message)


class LoadedModulesTests(SynchronousTestCase):
    def test_worker(self) -> None:
        """A worker with everything it ever imports has loaded nothing of the signalling side."""
        code = (
            "import pkgutil, sys\n"
            "import stellar_gw.worker, stellar_gw.agent\n"
            "for package in (stellar_gw.worker, stellar_gw.agent):\n"
            "    for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
            "        __import__(module.name)\n"
            "print(*sorted(name for name in sys.modules if name.startswith('stellar_gw.')))\n"
        )
        loaded = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        ).stdout.split()
        rooms = {name.split(".")[1] for name in loaded}
        above = {"agent", "control", "dialects", "media", "worker"}
        self.assertEqual(rooms, (above | {"between", "compiled", "errors", "fsm", "loading", "patience"}) & rooms)
        self.assertIn("stellar_gw.worker.main", loaded)
