"""Pipecat from PyPI, unmodified, is the agent of whole calls: ``examples/pipecat_agent.py`` in its own environment."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import SkipTest, TestCase

from stellar_gw.media.analysis import find, tone_ms
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import CallPlan
from stellar_gw.phone.rtp import RATE
from stellar_gw.sip.uri import SipUri, parse_uri
from stellar_gw.testing.gateway_process import GatewayProcess, wait_until
from stellar_gw.testing.ports import free_port, take_ports
from tests.integration.call_support import NOISE, heard, pause, reactor, until

ROOT = Path(__file__).resolve().parents[2]
FOLDER, MAKING = ROOT / "var" / "pipecat", ROOT / "var" / "pipecat.making"
"""Its environment, and what is there while ``tools/pipecat.sh`` makes it."""
ACCOUNT, TOKEN = "AC0123456789abcdef0123456789abcdef", "a-token-of-its-own"
HUM = 660.0
"""Hz."""
CONFIGURATION = """\
domain: sip.acme.example
listeners: {{udp: {{bind: "127.0.0.1:0"}}}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 1}}
http: {{bind: "127.0.0.1:{http}"}}
records: {{directory: "{{records}}"}}
trunk_providers: {{local: {{allowed_ips: [127.0.0.1], tenants: [acme]}}}}
tenants:
  acme:
    agents:
      twilio:
        environments:
          production:
            dialect: twilio
            url: "{url}/twilio"
            secrets: {{auth_token: "${{env:AUTH_TOKEN}}"}}
            options: {{account_sid: {account}}}
      vonage:
        environments:
          production: {{dialect: vonage, rate: 16000, url: "{url}/vonage?from={{from_number}}"}}
    connectors:
      twilio: {{identifier: "701", agent: twilio}}
      vonage: {{identifier: "702", agent: vonage}}
"""


class PipecatTests(TestCase):
    timeout = 300

    def setUp(self) -> None:
        wait_until(lambda: not MAKING.exists(), 180.0)
        if not (FOLDER / ".version").exists():
            raise SkipTest("Pipecat is not there; tools/pipecat.sh fetches it")
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        http = free_port()
        self.log = folder / "agent.log"
        self.run_agent({"GATEWAY": f"http://127.0.0.1:{http}", "ACCOUNT_SID": ACCOUNT, "AUTH_TOKEN": TOKEN})
        url = self.log.read_text().split("listening on ")[1].split()[0]
        text = CONFIGURATION.format(ports=block.range, http=http, url=url, account=ACCOUNT)
        self.gateway = GatewayProcess(text, folder, environ={"AUTH_TOKEN": TOKEN})
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def run_agent(self, environ: dict[str, str]) -> None:
        with self.log.open("wb") as log:
            agent = subprocess.Popen(
                [str(FOLDER / "bin" / "python"), str(ROOT / "examples" / "pipecat_agent.py"), "--port", "0"],
                stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environ}, cwd=self.log.parent,
            )  # fmt: skip
        self.addCleanup(agent.wait)
        self.addCleanup(agent.kill)
        if not wait_until(lambda: "listening on" in self.log.read_text() or agent.poll() is not None, 60.0):
            self.fail(self.log.read_text())

    def place(self, number: str) -> PhoneCall:
        phone = Phone(reactor, "udp", "127.0.0.1")
        phone.open()
        self.addCleanup(phone.stop)
        uri = parse_uri(f"sip:{number}@127.0.0.1:{self.gateway.ports['udp']}")
        assert isinstance(uri, SipUri)
        return phone.place(CallPlan(to=uri, play=NOISE, duration=60.0))

    async def talk(self, number: str) -> dict[str, Any]:
        """What is said comes back; 1 has it hum, * cuts it short, # has it hang up. The gateway's record."""
        call = self.place(number)
        await self.until_echoed(call)
        self.assertTrue(call.send_digits("1"))
        await until(lambda: tone_ms(heard(call), RATE, HUM) >= 800)
        self.assertTrue(call.send_digits("*"))
        await until(lambda: tone_ms(heard(call)[-RATE:], RATE, HUM) == 0)
        self.assertLess(tone_ms(heard(call), RATE, HUM), 5000)
        after = len(heard(call))
        await until(lambda: len(heard(call)) > after + 2 * RATE)
        self.assertEqual(tone_ms(heard(call)[after:], RATE, HUM), 0)
        self.assertTrue(call.send_digits("#"))
        report = await call.ended
        self.assertEqual((report.status, report.ended_by, report.problem), (200, "remote", ""))

        def records() -> list[dict[str, Any]]:
            return [each for each in self.gateway.records() if each["sip_call_id"] == report.call_id]

        await until(lambda: bool(records()))
        (record,) = records()
        self.assertEqual(record["legs"][0]["digits"], "1*#")
        return record

    async def until_echoed(self, call: PhoneCall) -> None:
        """Until a quarter of a second of what was said has come back; a busy machine puts gaps into more than that."""
        for _ in range(60):
            await pause(0.5)
            if find(bytes(call.rtp.sent.kept), heard(call), RATE, window_ms=250).correlation > 0.8:
                return
        self.fail("what the caller said did not come back within 30 s")

    async def test_it_carries_calls(self) -> None:
        """Behind its Twilio serializer, found by its two first messages and told who calls, it hangs up by a REST call
        to our listener. Behind its Vonage serializer, HD both ways, it knows no hang-up, and closes the link.
        """
        records = await gatherResults([Deferred.fromCoroutine(self.talk(number)) for number in ("701", "702")])
        for record in records:
            self.assertEqual((record["cause"], record["ended_by"], record["codec"]), ("agent_hangup", "agent", "G722"))
        self.assertEqual(self.log.read_text().count("Successfully terminated Twilio call"), 1)
        self.assertNotIn("malformed", self.gateway.log)
        self.assertNotIn("Traceback", self.gateway.log + self.log.read_text())
        self.assertNotIn(TOKEN, self.gateway.log)
