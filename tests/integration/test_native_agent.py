"""The example of docs/agent-protocol.rst answers real calls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.gateway_process import GatewayProcess, wait_until
from stellar_gw.testing.ports import take_ports

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = """\
domain: sip.acme.example
listeners: {{udp: {{bind: "127.0.0.1:0"}}}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 1}}
records: {{directory: "{{records}}"}}
trunk_providers: {{local: {{allowed_ips: [127.0.0.1], tenants: [acme]}}}}
tenants:
  acme:
    agents:
      bot:
        environments:
          production: {{dialect: {dialect}, answer: {answer}, url: "{url}"}}
    connectors: {{bot: {{identifier: "700", agent: bot}}}}
"""


PARROT = """\
from stellar_gw.dialects.contract import DialectPlugin
from stellar_gw.dialects.native import NativeDialect

PLUGIN = DialectPlugin(name="parrot", make=lambda context, options: NativeDialect(context, 8000))
"""
"""A third party's dialect: ours at a rate of its own."""


class ExampleAgent:
    """examples/native_agent.py in a process of its own; what it prints is kept."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "agent.log"
        with self.path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "examples" / "native_agent.py"), "--port", "0"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if not wait_until(lambda: "listening on" in self.path.read_text(), 15.0):
            raise AssertionError(self.path.read_text())
        self.url = self.path.read_text().split("listening on ")[1].split()[0]

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines() if line.startswith("{")]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class NativeAgentTests(SynchronousTestCase):
    timeout = 90
    dialect = "native"
    environ: Mapping[str, str] = {}

    def setUp(self) -> None:
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.agent = ExampleAgent(folder)
        self.addCleanup(self.agent.stop)
        self.ports, self.folder = block.range, folder

    def call(self, answer: str, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Call the agent; the phone's report and the gateway's record."""
        text = CONFIGURATION.format(ports=self.ports, answer=answer, url=self.agent.url, dialect=self.dialect)
        with GatewayProcess(text, self.folder, environ=self.environ) as gateway:
            uri = f"sip:700@127.0.0.1:{gateway.ports['udp']}"
            done = subprocess.run(
                [sys.executable, "-m", "stellar_gw.cli.call", uri, "--json", "--quiet", *words],
                capture_output=True, text=True, timeout=60, cwd=ROOT,
            )  # fmt: skip
            self.assertEqual(done.stderr, "")
            (record,) = gateway.wait_for_records(1)
            self.assertNotIn("Traceback", gateway.log)
        return json.loads(done.stdout), record

    def test_it_answers_greets_presses_keys_and_hangs_up(self) -> None:
        """``answer: agent``: the agent answers; 1 has it send digits, # has it play out a good-bye and hang up."""
        report, record = self.call(
            "agent", "--play", "tone:440", "--dtmf", "1#", "--dtmf-after", "1.5", "--duration", "10"
        )
        self.assertEqual((record["cause"], record["codec"], record["status"]), ("agent_hangup", "G722", 200))
        self.assertEqual(report["media"]["digits_heard"], "123")
        told = self.agent.told()
        self.assertEqual(told[0]["call"]["connector"], "bot")
        self.assertEqual(
            [(each.get("id"), each["event"]) for each in told if each.get("id")],
            [("a1", "call:done"), ("d1", "call:done"), ("h1", "call:done")],
        )
        marks = [each["payload"]["mark"] for each in told if each["event"] == "websocket:notify"]
        self.assertEqual(marks, ["greeting", "good-bye"])
        self.assertEqual(told[-1]["event"], "call:stop")
        self.assertEqual(told[-1]["cause"], "agent_hangup")

    def test_the_gateway_answers_where_it_is_told_to(self) -> None:
        """``answer: gateway``: the agent's own answer is refused without harm, and the caller's audio comes back."""
        report, record = self.call("gateway", "--play", "tone:440", "--duration", "2.5")
        self.assertEqual(record["cause"], "caller_hangup")
        (refused,) = [each for each in self.agent.told() if each.get("id") == "a1"]
        self.assertEqual((refused["event"], refused["code"]), ("call:error", "already_answered"))
        self.assertGreater(report["media"]["packets_received"], 90)
        self.assertGreater(record["legs"][0]["agent_audio_ms"], 1500)

    def test_a_dialect_of_somebody_elses_package_carries_a_call(self) -> None:
        """An installed package names its dialect by an entry point; nothing of ours is touched."""
        package = self.folder / "site"
        metadata = package / "parrot-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[stellar_gw.dialects]\nparrot = parrot:PLUGIN\n")
        (package / "parrot.py").write_text(PARROT)
        self.dialect, self.environ = "parrot", {"PYTHONPATH": str(package.absolute())}
        _, record = self.call("gateway", "--play", "tone:440", "--duration", "2")
        self.assertEqual(record["cause"], "caller_hangup")
        self.assertGreater(record["legs"][0]["agent_audio_ms"], 1000)
        self.assertEqual(self.agent.told()[0]["content-type"], "audio/l16;rate=8000")
