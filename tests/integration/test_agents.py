"""The example agent as a process of its own, and the agents for tests, each reached by a real link."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop
from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.link import Target
from stellar_gw.agent.ws_link import WsConnector
from stellar_gw.dialects.contract import AgentEvent, Audio, Frame, Mark
from stellar_gw.dialects.twilio import TwilioDialect, stream_sid
from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.wav import read_wav
from stellar_gw.testing.agents import AgentServer, Behaviour, closing, drop, echo, flood, freeze, rubbish, tone
from tests.integration.link_case import LIMITS, Recorder
from tests.unit.call_contexts import CONTEXT, PARAMETERS

ROOT = Path(__file__).parents[2]


class Talk(Recorder):
    """A call's end of a link that speaks Twilio."""

    def __init__(self, url: str, ping: float = 60.0) -> None:
        super().__init__()
        self.dialect = TwilioDialect(CONTEXT)
        self.on_opened = lambda: self.say(*self.dialect.opened())
        limits = evolve(LIMITS, ping_interval=ping, ping_timeout=ping)
        self.link = WsConnector(asyncio.get_running_loop()).connect(Target(url=url), self, limits)

    def say(self, *frames: Frame) -> None:
        for frame in frames:
            self.link.send(frame)

    async def events(self, count: int) -> list[AgentEvent]:
        """What the agent's first ``count`` messages mean."""
        told = (await self.until(count + 1))[1 : count + 1]
        return [event for frame in told if isinstance(frame, (str, bytes)) for event in self.dialect.received(frame)]


def run(work: Coroutine[Any, Any, None]) -> None:
    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(work, 20))
    finally:
        loop.close()


class ExampleTests(SynchronousTestCase):
    def test_a_call(self) -> None:
        """The example agent beeps, echoes once the beep was heard, clears at *, hangs up at #, and records."""
        folder = self.mktemp()
        command = [sys.executable, str(ROOT / "examples" / "twilio_echo_agent.py"), "--port", "0", "--record", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                ready = re.fullmatch(r"listening on (ws://127\.0\.0\.1:\d+/ws)\n", process.stdout.readline())
                assert ready is not None
                run(self.call(ready[1]))
                lines = [process.stdout.readline() for _ in range(6)]
            finally:
                process.terminate()
                process.wait(10)
        path = Path(folder) / f"{stream_sid(CONTEXT.call_id)}.wav"
        self.assertEqual(
            [line.rstrip() for line in lines],
            [
                "call c-7K3F2Q from +31612345678 to +31201230000",
                "the caller has heard the beep; what follows is echoed",
                "digit *",
                "digit #",
                "call over, 0.1 s heard",
                f"recorded {path}",
            ],
        )
        wav = read_wav(path.read_bytes())
        self.assertEqual((wav.rate, wav.pcm), (8000, pcm_from_ulaw(b"\x80" * 800)))

    async def call(self, url: str) -> None:
        talk = Talk(url)
        beep, mark = await talk.events(2)
        self.assertEqual(mark, Mark("greeted"))
        assert isinstance(beep, Audio)
        self.assertEqual(len(beep.payload), 2400)
        heard = dominant_tone(pcm_from_ulaw(beep.payload), 8000)
        assert heard is not None
        self.assertEqual((round(heard.hertz, -1), heard.share > 0.95), (880, True))
        talk.say(*talk.dialect.audio(b"\x80" * 160, 0))
        talk.say(*talk.dialect.mark_reached("greeted", cleared=False, played_ms=300))
        for place in range(1, 5):
            talk.say(*talk.dialect.audio(b"\x80" * 160, 20 * place))
        self.assertEqual((await talk.events(6))[2:], [Audio(b"\x80" * 160)] * 4)
        talk.say(*talk.dialect.digit("*", 100), *talk.dialect.digit("#", 100))
        told = await talk.closed()
        self.assertEqual(json.loads(str(told[-2]))["event"], "clear")
        self.assertEqual(told[-1], ("closed_1000", True, True))


class TestAgentTests(SynchronousTestCase):
    def with_agent(self, behaviour: Behaviour, ping: float = 60.0) -> tuple[Talk, AgentServer]:
        """A call to an agent of this behaviour, gone through until the link has ended."""
        talks: list[Talk] = []

        async def call(url: str) -> None:
            talks.append(Talk(url, ping))
            await talks[0].closed()

        with AgentServer(behaviour) as agent:
            run(call(agent.url))
        self.assertTrue(agent.call().ended.wait(10))
        return talks[0], agent

    def test_endings(self) -> None:
        """Each unfriendly behaviour ends the link as it should."""
        endings: dict[tuple[Behaviour, float], object] = {
            (closing(1000, "goodbye"), 60.0): ("closed_1000", True, True),
            (closing(1011), 60.0): ("closed_1011", True, False),
            (drop, 60.0): ("lost", True, False),
            (freeze, 0.2): ("unresponsive", True, False),
        }
        for (behaviour, ping), ending in endings.items():
            talk, _ = self.with_agent(behaviour, ping)
            self.assertEqual(talk.told, ["opened", ending])

    def test_echo(self) -> None:
        """Echo keeps account of what it heard, and gives the audio back."""

        async def call(url: str) -> None:
            talk = Talk(f"{url}?x=y")
            await talk.until(1)
            talk.say(*talk.dialect.audio(b"\x01" * 160, 0), *talk.dialect.digit("7", 100))
            talk.say(*talk.dialect.mark_reached("m", cleared=True, played_ms=0))
            self.assertEqual(await talk.events(1), [Audio(b"\x01" * 160)])
            talk.say(*talk.dialect.stopped("caller_hangup", "caller"))
            talk.link.close()
            await talk.closed()

        with AgentServer(echo) as agent:
            run(call(agent.url))
            heard = agent.call()
            self.assertTrue(heard.ended.wait(10))
        self.assertEqual(
            (heard.path, heard.events, heard.digits, heard.marks, heard.media, bytes(heard.audio), heard.close_code),
            ("/ws?x=y", ["connected", "start", "dtmf", "mark", "stop"], "7", ["m"], 1, b"\x01" * 160, 1000),
        )
        self.assertEqual(heard.start["customParameters"], PARAMETERS)
        self.assertIn("stellar-gw/", heard.headers["User-Agent"])

    def test_tone_rubbish_and_flood(self) -> None:
        """A tone goes on by marks; rubbish is Malformed each time; a flood keeps coming."""

        async def hear(url: str, messages: int) -> list[AgentEvent]:
            talk = Talk(url)
            events = await talk.events(messages)
            talk.link.abort()
            await talk.closed()
            return events

        async def all_of_them() -> None:
            with AgentServer(tone) as agent:
                events = await hear(agent.url, 4)
            self.assertEqual([event for event in events if isinstance(event, Mark)], [Mark("0"), Mark("1")])
            with AgentServer(rubbish) as agent:
                events = await hear(agent.url, 6)
            self.assertEqual([type(event).__name__ for event in events], ["Malformed"] * 6)
            with AgentServer(flood) as agent:
                events = await hear(agent.url, 20)
            self.assertEqual(events, [Audio(b"\xff" * 240_000)] * 20)

        run(all_of_them())

    def test_as_a_process(self) -> None:
        """Run as a command it says where it listens."""
        command = [sys.executable, "-m", "stellar_gw.testing.agents", "--behaviour", "close-1000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            try:
                assert process.stdout is not None
                url = process.stdout.readline().removeprefix("listening on ").strip()

                async def call() -> None:
                    self.assertEqual(await Talk(url).closed(), ["opened", ("closed_1000", True, True)])

                run(call())
            finally:
                process.terminate()
                process.wait(10)
