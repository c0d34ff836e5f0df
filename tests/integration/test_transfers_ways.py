"""What a transfer may do besides calling: ask for a key, press keys, play music; and hold, over real processes."""

from __future__ import annotations

import asyncio
import json
import threading
import wave
from functools import partial
from pathlib import Path
from typing import Any

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.source import Tone
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import AnswerPlan, playable
from stellar_gw.testing.agents import AgentCall, AgentServer
from tests.integration.call_support import CallTestCase, heard, reactor, until
from tests.integration.gateway_support import TRUNK
from tests.integration.sound import RATE
from tests.integration.transfer_support import FIRST_NUMBER, start_with_transfers

CALLER_HZ, TARGET_HZ, PROMPT_HZ, MUSIC_HZ, HOLD_HZ = 1000, 700, 550, 620, 810
HOLDS = "750"


class Holding:
    """An agent that puts its caller on hold, takes it back when it is told to, and hangs up."""

    def __init__(self) -> None:
        self.enough = threading.Event()

    async def __call__(self, call: AgentCall) -> None:
        await call.connection.recv()
        await self.ask(call, "hold")
        await asyncio.to_thread(self.enough.wait, 30.0)
        await self.ask(call, "resume")
        await call.connection.send(json.dumps({"action": "hangup"}))
        async for _ in call.connection:
            pass

    async def ask(self, call: AgentCall, action: str) -> None:
        """Ask for something, and note what came of it."""
        await call.connection.send(json.dumps({"action": action, "id": action}))
        async for message in call.connection:
            told = json.loads(message) if isinstance(message, str) else {}
            if told.get("id") == action:
                call.heard.events.append(f"{action}: {told['event']}")
                return


def now_hears(call: PhoneCall, hertz: int) -> bool:
    """Whether a tone was there for most of the last second."""
    return tone_ms(heard(call)[-2 * RATE :], RATE, hertz) > 700


class WaysTests(CallTestCase):
    def tone_file(self, hertz: int) -> str:
        """Two seconds."""
        path = Path(self.mktemp()).absolute()
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(Tone((hertz,), 8000).take(16000))
        return str(path)

    def target(
        self, *, ring_for: float = 0.2, digits: str = "", digits_after: float = 1.0
    ) -> tuple[str, list[PhoneCall]]:
        """The address of a phone that answers, says a tone, and presses keys; and its calls."""
        plan = AnswerPlan(
            ring_for=ring_for, duration=0, play=playable(f"tone:{TARGET_HZ}"), codecs=("PCMU",), digits=digits,
            digits_after=digits_after,
        )  # fmt: skip
        made = Phone(reactor, "udp", TRUNK, answer=plan)
        made.open()
        self.addCleanup(made.stop)
        taken: list[PhoneCall] = []
        made.incoming = taken.append
        return f'to: "sip:desk@{TRUNK}:{made.address[1]}", method: invite', taken

    async def test_all_of_them(self) -> None:
        """A key confirms, the one who did not press it gets no caller; keys reach an extension; music while it rings.

        And an agent's hold: the caller hears the configured music until the agent takes it back.
        """
        holding = Holding()
        agent = AgentServer(holding)
        self.enterContext(agent)
        asked = f'confirm: {{play: "{self.tone_file(PROMPT_HZ)}", digit: "1", timeout: 3s}}, fallback: false'
        confirming, confirmed = self.target(digits="1", digits_after=1.2)
        machine, unconfirmed = self.target()
        dialled, extension = self.target()
        ringing, _ = self.target(ring_for=1.5)
        self.gateway = start_with_transfers(
            self,
            [
                f"{confirming}, {asked}",
                f"{machine}, {asked}",
                f'{dialled}, digits: "w12#"',
                f'{ringing}, while_ringing: music, music: "{self.tone_file(MUSIC_HZ)}"',
            ],
            media=f'hold_music: "{self.tone_file(HOLD_HZ)}", ',
            more_changes={
                "    agents:\n": "    agents:\n      holder: {environments: {production: "
                f'{{dialect: native, url: "{agent.url}"}}}}}}\n',
                "      nobody: {identifier": f'      holder: {{identifier: "{HOLDS}", agent: holder}}\n'
                "      nobody: {identifier",
            },
        )
        conduct: dict[str, Any] = {"codecs": ("PCMU",), "duration": 0, "play": playable(f"tone:{CALLER_HZ}")}
        callers = [self.place(str(FIRST_NUMBER + number), **conduct) for number in range(4)]
        on_hold = self.place(HOLDS, **conduct)

        for caller in (callers[0], callers[2], callers[3]):
            await until(partial(now_hears, caller, TARGET_HZ))
        await until(partial(now_hears, on_hold, HOLD_HZ))
        await until(partial(now_hears, confirmed[0], CALLER_HZ))
        holding.enough.set()
        await until(lambda: bool(unconfirmed) and unconfirmed[0].ended.called)
        for call in callers:
            call.hang_up()
        records = [await self.record(await call.ended) for call in callers]
        self.assertEqual(
            [(record["transfers"][0]["result"], record["transfers"][0]["reason"]) for record in records],
            [("bridged", None), ("failed", "whoever answered did not press 1"), ("bridged", None), ("bridged", None)],
        )
        self.assertGreater(tone_ms(heard(confirmed[0]), RATE, PROMPT_HZ), 500)
        self.assertEqual(tone_ms(heard(callers[1]), RATE, TARGET_HZ), 0)
        dialled_there = (await extension[0].ended).media
        self.assertEqual(dialled_there.digits_heard if dialled_there else "", "12#")
        self.assertGreater(tone_ms(heard(callers[3]), RATE, MUSIC_HZ), 500)
        held = await self.record(await on_hold.ended)
        self.assertEqual(held["cause"], "agent_hangup")
        self.assertEqual(agent.call().events, ["hold: call:done", "resume: call:done"])
