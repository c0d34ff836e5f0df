"""baresip calls: digest over UDP, TCP and TLS, with G.722 and PCMA, judged by what either side heard."""

from __future__ import annotations

import time
from contextlib import ExitStack

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import dominant_tone, tone_ms
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.resample import Resampler
from stellar_gw.testing.agents import AgentServer, Heard, tone
from tests.integration.baresip_support import Baresip
from tests.integration.gateway_support import BOT, ECHO, READBACK, USER, soon, start_gateway
from tests.integration.sound import ENOUGH, RATE, keys_in, noise, recognised

TALK = 3.0
AGENT_HZ = 440


class BaresipTests(SynchronousTestCase):
    timeout = 120

    def setUp(self) -> None:
        self.enterContext(agent := AgentServer(tone))
        self.agent = agent
        self.gateway = start_gateway(self, bot=agent.url)

    def check(self, transport: str) -> None:
        """Four calls at a time: two codecs, each to the echo and to an agent."""
        sound = noise(TALK + 6.0)
        wanted = [(codec, number) for codec in ("G722", "PCMA") for number in (ECHO, BOT)]
        with ExitStack() as stack:
            phones = [
                stack.enter_context(
                    Baresip(self.gateway, f"{codec}-{number}", transport=transport, codec=codec, play=sound)
                )
                for codec, number in wanted
            ]
            for phone, (_, number) in zip(phones, wanted, strict=True):
                phone.dial(number)
            for phone in phones:
                phone.wait_for("CALL_ESTABLISHED")
            time.sleep(TALK)
            for phone in phones:
                phone.command("hangup")
            for phone in phones:
                phone.wait_for("CALL_CLOSED")
        self.check_records(transport, wanted)
        for phone, (codec, number) in zip(phones, wanted, strict=True):
            if number == ECHO:
                self.assertGreater(recognised(phone.said, phone.heard), ENOUGH, f"{codec}: what came back")
            else:
                self.check_agent(codec, phone)

    def check_agent(self, codec: str, phone: Baresip) -> None:
        """The phone heard the agent's tone, and the agent heard the phone's noise."""
        self.assertGreater(tone_ms(phone.heard, RATE, AGENT_HZ), TALK * 1000 / 2, codec)
        soon(lambda: any(self.codec(call) == codec for call in self.agent.calls), f"the agent's call with {codec}")
        (call,) = [call for call in self.agent.calls if self.codec(call) == codec]
        self.assertTrue(call.ended.wait(5.0))
        self.assertEqual((call.events[:2], call.events[-1]), (["connected", "start"], "stop"))
        heard = Resampler(8000, RATE).resample(pcm_from_ulaw(bytes(call.audio)))
        self.assertGreater(recognised(phone.said, heard), ENOUGH, f"{codec}: what the agent heard")

    def codec(self, call: Heard) -> str:
        return str(call.start.get("customParameters", {}).get("codec"))

    def check_records(self, transport: str, wanted: list[tuple[str, str]]) -> None:
        records = self.gateway.wait_for_records(len(wanted))
        self.assertEqual(
            sorted((record["codec"], record["to"].partition("@")[0].removeprefix("sip:")) for record in records),
            sorted(wanted),
        )
        self.assertEqual(
            {(record["transport"], record["caller"], record["status"], record["cause"]) for record in records},
            {(transport, USER, 200, "caller_hangup")},
        )
        legs = [leg for record in records for leg in record["legs"]]
        packets = TALK * 1000 / 20
        good = [leg["packets_lost"] == 0 and min(leg["packets_received"], leg["packets_sent"]) > 0.6 * packets
                for leg in legs]  # fmt: skip
        self.assertEqual(good, [True] * len(wanted), f"{legs}")
        self.assertEqual(self.gateway.records("refusals"), [])

    def test_udp(self) -> None:
        """Over UDP, with G.722 and with PCMA: echo and agent, heard both ways."""
        self.check("udp")

    def test_tcp(self) -> None:
        """The same over TCP."""
        self.check("tcp")

    def test_tls(self) -> None:
        """The same over TLS, our certificate verified by baresip."""
        self.check("tls")

    def test_digits(self) -> None:
        """Keys pressed on baresip come back as their tones; # has the agent hang up."""
        with Baresip(self.gateway, "keys", transport="udp", codec="PCMA", play=noise(8.0)) as phone:
            phone.dial(READBACK)
            phone.wait_for("CALL_ESTABLISHED")
            time.sleep(0.5)
            for digit in "159":
                phone.command("sndcode", digit)
                time.sleep(0.6)
            phone.command("sndcode", "#")
            phone.wait_for("CALL_CLOSED")
        (record,) = self.gateway.wait_for_records(1)
        self.assertEqual(
            (record["cause"], record["ended_by"], record["legs"][0]["digits"]), ("agent_hangup", "agent", "159#")
        )
        self.assertEqual(keys_in(phone.heard), "159")

    def test_hold_and_resume(self) -> None:
        """Held, baresip's re-INVITEs are answered and the call goes on: the agent is heard again afterwards."""
        with Baresip(self.gateway, "hold", transport="udp", codec="G722", play=noise(12.0)) as phone:
            phone.dial(BOT)
            phone.wait_for("CALL_ESTABLISHED")
            time.sleep(1.0)
            phone.command("hold")
            time.sleep(1.5)
            phone.command("resume")
            time.sleep(1.5)
            phone.command("hangup")
            phone.wait_for("CALL_CLOSED")
        (record,) = self.gateway.wait_for_records(1)
        invites = [line for line in record["ladder"] if " INVITE sip:" in line]
        # One without credentials, one with them, hold and resume.
        self.assertEqual((len(invites), record["cause"]), (4, "caller_hangup"), record["ladder"])
        heard = phone.heard
        last = heard[-2 * RATE :]
        found = dominant_tone(last, RATE)
        assert found is not None
        self.assertEqual((round(found.hertz, -1), found.share > 0.8), (AGENT_HZ, True))
