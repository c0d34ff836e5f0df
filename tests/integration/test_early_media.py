"""Early media on the wire: 183 with our session description, and audio before anybody has answered."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.rtp import parse_rtp
from stellar_gw.testing.agents import AgentServer, tone
from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import take_ports

HOST = "127.0.0.1"
CONFIGURATION = """\
domain: sip.acme.example
listeners: {{udp: {{bind: "127.0.0.1:0"}}}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 1}}
records: {{directory: "{{records}}"}}
trunk_providers: {{local: {{allowed_ips: [127.0.0.1], tenants: [acme]}}}}
tenants:
  acme:
    agents: {{bot: {{environments: {{production: {{dialect: twilio, answer: agent, url: "{url}"}}}}}}}}
    connectors:
      bell: {{identifier: "701", agent: bot, early_media: ringback}}
      voice: {{identifier: "702", agent: bot, early_media: agent}}
"""


class Caller:
    """A phone of two sockets and a few lines."""

    def __init__(self, port: int) -> None:
        self._gateway = (HOST, port)
        self._sip = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._rtp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for each in (self._sip, self._rtp):
            each.bind((HOST, 0))
            each.settimeout(10.0)

    def close(self) -> None:
        self._sip.close()
        self._rtp.close()

    def send(self, method: str, to: str, body: str = "", tag: str = "") -> None:
        port = self._sip.getsockname()[1]
        uri = f"sip:{to}@{HOST}:{self._gateway[1]}"
        lines = [
            f"{method} {uri} SIP/2.0", f"Via: SIP/2.0/UDP {HOST}:{port};branch=z9hG4bK{to}", f"To: <{uri}>{tag}",
            f"From: <sip:+31612345678@{HOST}>;tag=f", f"Call-ID: early-{to}", f"CSeq: 1 {method}", "Max-Forwards: 70",
            f"Contact: <sip:ann@{HOST}:{port}>", *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}", "", body,
        ]  # fmt: skip
        self._sip.sendto("\r\n".join(lines).encode(), self._gateway)

    def invite(self, to: str) -> None:
        port = self._rtp.getsockname()[1]
        body = f"v=0\r\no=- 1 1 IN IP4 {HOST}\r\ns=-\r\nc=IN IP4 {HOST}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        self.send("INVITE", to, body)

    def until(self, *wanted: int) -> tuple[int, str]:
        """The first response of these statuses."""
        while True:
            text = self._sip.recv(65535).decode()
            found = re.match(r"SIP/2\.0 (\d{3}) ", text)
            assert found is not None, text
            if int(found[1]) in wanted:
                return int(found[1]), text

    def hears(self, seconds: float) -> bytes:
        """PCM of so much audio."""
        heard = b""
        until = time.monotonic() + 20.0
        while len(heard) < 8000 * seconds and time.monotonic() < until:
            packet = parse_rtp(self._rtp.recv(2048))
            heard += packet.payload if packet is not None and packet.payload_type == 0 else b""
        return pcm_from_ulaw(heard)


class EarlyMediaTests(SynchronousTestCase):
    timeout = 90

    def test_both_kinds(self) -> None:
        """A ringing tone of ours, or the agent's own words; then the caller gives up, and nothing is left."""
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        heard = {}
        with AgentServer(tone) as agent:
            text = CONFIGURATION.format(ports=block.range, url=agent.url)
            with GatewayProcess(text, folder) as gateway:
                for number in ("701", "702"):
                    caller = Caller(gateway.ports["udp"])
                    self.addCleanup(caller.close)
                    caller.invite(number)
                    status, text = caller.until(180, 183, 200, 480)
                    self.assertEqual((status, "m=audio" in text), (183, True), text)
                    found = dominant_tone(caller.hears(0.8)[-8000:], 8000)
                    assert found is not None
                    heard[number] = round(found.hertz / 5) * 5, found.share > 0.8
                    caller.send("CANCEL", number)
                    status, text = caller.until(487, 480)
                    tag = re.search(r"(?mi)^To:.*?(;tag=\S+)\r$", text)
                    caller.send("ACK", number, tag=tag[1] if tag else "")
                    self.assertEqual(status, 487)
                records = gateway.wait_for_records(2)
            self.assertNotIn("Traceback", gateway.log)
        self.assertEqual(heard, {"701": (425, True), "702": (440, True)})
        self.assertEqual([(each["answered"], each["status"]) for each in records], [(None, 487)] * 2)
