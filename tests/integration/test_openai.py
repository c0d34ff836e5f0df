"""Whole calls through a real gateway to a Realtime server of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import dominant_tone, tone_ms
from stellar_gw.media.pcm import alaw_from_pcm, pcm_from_alaw, pcm_from_ulaw, ulaw_from_pcm
from stellar_gw.media.source import Tone
from stellar_gw.media.wav import read_wav
from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.openai_server import Behaviour, RealtimeCall, RealtimeHeard, RealtimeServer
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
      model:
        environments:
          production:
            dialect: openai
            url: "{url}"
            headers: {{Authorization: "Bearer ${{env:API_KEY}}"}}
            options: {options}
    connectors: {{model: {{identifier: "700", agent: model}}}}
"""
PCM_SECOND = Tone((660,), 24000).take(24000)


async def greet_and_leave(call: RealtimeCall) -> None:
    """Two seconds of tone when asked to begin; hang up when told of a digit."""
    await call.until("response.create")
    await call.begin_response()
    await call.say("item_1", PCM_SECOND * 2)
    await call.end_response()
    await call.until("response.create")
    await call.begin_response()
    await call.say("item_2", PCM_SECOND)
    await call.call("call_1", "end_call", "{}")
    await call.end_response()
    await call.listen()


async def interrupted(call: RealtimeCall) -> None:
    """Ten seconds in two items, interrupted when some 1.5 s of the caller were heard."""
    await call.until("response.create")
    alaw = call.heard.session["audio"]["output"]["format"]["type"] == "audio/pcma"
    second = (alaw_from_pcm if alaw else ulaw_from_pcm)(Tone((660,), 8000).take(8000))
    await call.begin_response()
    await call.say("item_1", second)
    await call.end_response()
    await call.begin_response()
    await call.say("item_2", second * 9)
    while len(call.heard.audio) < 12000 and await call.next() is not None:
        pass
    await call.speech_started()
    await call.listen()


async def presses_and_transfers(call: RealtimeCall) -> None:
    """Two tools; each outcome is followed by a request for the next response."""
    await call.until("response.create")
    await call.begin_response()
    await call.call("call_1", "send_dtmf", '{"digits":"42"}')
    await call.end_response()
    await call.until("response.create")
    await call.begin_response()
    await call.call("call_2", "transfer_call", '{"to":"sip:desk@pbx.example"}')
    await call.end_response()
    await call.listen()


class OpenAiTests(SynchronousTestCase):
    timeout = 90

    def call(
        self, behaviour: Behaviour, options: str, *words: str
    ) -> tuple[dict[str, Any], dict[str, Any], RealtimeHeard, bytes]:
        """The phone's report, the gateway's record, what the server heard, and what the phone did (PCM at 16 kHz)."""
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        recording = folder.absolute() / "heard.wav"
        with RealtimeServer(behaviour) as server:
            text = CONFIGURATION.format(ports=block.range, url=server.url, options=options)
            with GatewayProcess(text, folder, environ={"API_KEY": "sk-secret"}) as gateway:
                uri = f"sip:700@127.0.0.1:{gateway.ports['udp']}"
                done = subprocess.run(
                    [sys.executable, "-m", "stellar_gw.cli.call", uri, "--json", "--quiet", "--record", str(recording),
                     "--play", "tone:440", *words],
                    capture_output=True, text=True, timeout=60, cwd=ROOT,
                )  # fmt: skip
                self.assertEqual(done.stderr, "")
                (record,) = gateway.wait_for_records(1)
                self.log = gateway.log
            self.assertNotIn("Traceback", self.log)
            self.assertNotIn("sk-secret", self.log)
            (heard,) = server.calls
            self.assertTrue(heard.ended.wait(10))
        self.assertEqual(heard.errors, [])
        return json.loads(done.stdout), record, heard, read_wav(recording.read_bytes()).at(16000)

    def test_a_whole_call(self) -> None:
        """Tone both ways in HD; the digit is told; the model says good-bye, and hangs up when that was heard."""
        options = '{greeting: "Greet {from_number}.", voice: marin}'
        _, record, heard, pcm = self.call(
            greet_and_leave, options, "--dtmf", "5", "--dtmf-after", "3", "--duration", "15"
        )
        self.assertEqual((record["cause"], record["codec"]), ("agent_hangup", "G722"))
        self.assertEqual((heard.path, heard.headers["Authorization"]), ("/v1/realtime?model=test", "Bearer sk-secret"))
        self.assertEqual(heard.session["audio"]["output"]["voice"], "marin")
        tone = dominant_tone(bytes(heard.audio[48000:96000]), 24000)
        assert tone is not None
        self.assertEqual((round(tone.hertz), tone.share > 0.9), (440, True))
        self.assertGreater(tone_ms(pcm, 16000, 660), 2700)
        self.assertEqual(
            [event["type"] for event in heard.events],
            ["session.update", *["conversation.item.create", "response.create"] * 2, "conversation.item.create"],
        )
        items = [event["item"] for event in heard.of("conversation.item.create")]
        self.assertEqual(items[1]["content"], [{"type": "input_text", "text": "The caller pressed 5"}])
        self.assertEqual(items[2], {"type": "function_call_output", "call_id": "call_1", "output": '{"state":"done"}'})

    def test_an_interruption_is_exact(self) -> None:
        """What the model is told that was heard of its second item is what the phone has heard of it."""
        self.interrupt("pcmu", pcm_from_ulaw)

    def test_an_interruption_is_exact_in_alaw(self) -> None:
        """The same of a PCMA caller, whose audio passes untouched, too."""
        self.interrupt("pcma", pcm_from_alaw)

    def interrupt(self, codec: str, decode: Callable[[bytes], bytes]) -> None:
        _, record, heard, pcm = self.call(interrupted, '{greeting: "Go."}', "--codec", codec, "--duration", "4")
        self.assertEqual((record["cause"], record["codec"]), ("caller_hangup", codec.upper()))
        self.assertEqual(heard.session["audio"]["input"]["format"], {"type": f"audio/{codec}"})
        (truncated,) = heard.of("conversation.item.truncate")
        self.assertEqual((truncated["item_id"], truncated["content_index"]), ("item_2", 0))
        told = 1000 + truncated["audio_end_ms"]
        self.assertEqual(told, record["legs"][0]["agent_audio_ms"])
        # The phone's blocks are of 40 ms, and a machine that is held up costs it some.
        self.assertLess(abs(told - tone_ms(pcm, 16000, 660)), 160)
        tone = dominant_tone(decode(bytes(heard.audio[2000:10000])), 8000)
        assert tone is not None
        self.assertEqual(round(tone.hertz), 440)

    def test_tools_have_outcomes(self) -> None:
        """Keys are pressed and that is said; a transfer that cannot be made is said to have failed, and why."""
        report, record, heard, _ = self.call(presses_and_transfers, '{greeting: "Go."}', "--duration", "4")
        self.assertEqual((record["cause"], report["media"]["digits_heard"]), ("caller_hangup", "42"))
        outputs = [
            (event["item"]["call_id"], json.loads(event["item"]["output"]))
            for event in heard.of("conversation.item.create")
            if event["item"]["type"] == "function_call_output"
        ]
        self.assertEqual(
            [(call, result["state"]) for call, result in outputs], [("call_1", "done"), ("call_2", "failed")]
        )
        self.assertEqual(outputs[1][1]["code"], "not_allowed")
        self.assertEqual(len(heard.of("response.create")), 3)
