"""What callers hear when their agents fail, with real agents: one that resumes, and a prompt to fall back on."""

from __future__ import annotations

import wave
from pathlib import Path

from stellar_gw.agent.link import LinkLimits
from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.source import Tone
from stellar_gw.phone.rtp import RATE
from stellar_gw.testing.agents import AgentCall, AgentServer, closing, freeze, tone
from tests.integration.call_support import CallTestCase, heard, until
from tests.integration.gateway_support import BOT, NOBODY


class FailureTests(CallTestCase):
    def prompt(self) -> str:
        """Half a second of 700 Hz."""
        path = Path(self.mktemp()).absolute()
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(Tone((700,), 8000).take(4000))
        return str(path)

    async def test_an_agent_that_resumes_goes_on_with_its_caller(self) -> None:
        """It closes with 1012 in mid-sentence; the second link is told, and the caller hears it."""
        links: list[AgentCall] = []

        async def script(call: AgentCall) -> None:
            links.append(call)
            await call.started()
            if len(links) == 1:
                while call.heard.media < 25 and await call.next() is not None:
                    pass
                await call.connection.close(1012)
            else:
                await tone(call)

        agent = AgentServer(script)
        self.enterContext(agent)
        self.start(bot=agent.url, resumes="true")
        call = self.place(BOT, codecs=("PCMU",), duration=0)
        await call.answered
        await until(lambda: len(links) == 2)
        await until(lambda: tone_ms(heard(call), RATE, 440) > 500)
        call.hang_up()
        report = await call.ended
        record = await self.record(report)
        resumed = [link.heard.start["customParameters"].get("resumed", "") for link in links]
        self.assertEqual((record["cause"], resumed), ("caller_hangup", ["", "true"]))
        first, second = record["agent_links"]
        self.assertEqual((first["failure"], second["failure"]), ("closed_1012", ""))
        self.assertLess(second["connect_ms"], 2000)
        log = self.gateway.log
        self.assertIn("connecting it anew, the caller hears comfort noise", log)
        self.assertIn("agent bot/production is back after", log)

    async def test_an_agent_that_is_lost_leaves_its_caller_a_prompt(self) -> None:
        """The file is heard to its end, then comes BYE; the record says what was lost and what came of it."""
        with AgentServer(closing(1011)) as agent:
            self.start(bot=agent.url, prompt=self.prompt())
            call = self.place(BOT, codecs=("PCMU",), duration=0)
            report = await call.ended
        record = await self.record(report)
        self.assertEqual(await self.ending(report), (200, "remote", "agent_lost", "agent"))
        self.assertEqual(
            (record["fallback"]["outcome"], record["fallback"]["because"]), ("played", "agent_closed_1011")
        )
        self.assertGreater(tone_ms(heard(call), RATE, 700), 300)

    async def test_an_agent_that_is_not_there_leaves_it_too(self) -> None:
        """The call is answered for it."""
        self.start(prompt=self.prompt())
        call = self.place(NOBODY, codecs=("PCMU",), duration=0)
        report = await call.ended
        self.assertEqual(await self.ending(report), (200, "remote", "agent_unavailable", "agent"))
        self.assertGreater(tone_ms(heard(call), RATE, 700), 300)

    async def test_an_agent_that_hangs_is_given_up(self) -> None:
        """Pinged a while after the link came up, 1 s as configured here, and silent for as long: 10 s by default."""
        self.assertEqual((LinkLimits().ping_interval, LinkLimits().ping_timeout), (5.0, 5.0))
        with AgentServer(freeze) as agent:
            self.start(bot=agent.url, ping="1s")
            report = await self.place(BOT, duration=0).ended
        (link,) = (await self.record(report))["agent_links"]
        self.assertEqual(await self.ending(report), (200, "remote", "agent_lost", "agent"))
        self.assertEqual(link["failure"], "unresponsive")
        self.assertTrue(1900 <= link["lasted_ms"] < 4000, link)
