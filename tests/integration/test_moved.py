"""A phone system moves a call over real sockets: by INVITE with Replaces, and by REFER; the agent is heard."""

from __future__ import annotations

import os
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import tone_ms
from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import take_ports
from tests.integration.sample_house import House
from tests.integration.sample_support import TONE, SamplePeer
from tests.integration.telnyx_sample import telnyx

NETWORK = f"127.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
OLD, NEW, HOUSE = (f"{NETWORK}.{number}" for number in (241, 242, 243))
CONFIGURATION = """\
domain: sip.stellar.example
aliases: [203.0.113.10]
listeners: {udp: {bind: "127.0.0.1:0"}}
media: {ports: @ports, bind: 127.0.0.1, workers: 1, quarantine: 500ms}
records: {directory: "{records}"}
trunk_providers:
  telnyx: {allowed_ips: [@old, @new], tenants: [acme], refer: true, replaces: true}
tenants:
  acme:
    private_targets: true
    transfers: {house: {to: "@house"}}
    connectors:
      line: {type: phone, number: "+12025550143", provider: telnyx, agent: "builtin:echo"}
"""


class MovedTests(SynchronousTestCase):
    timeout = 60

    def setUp(self) -> None:
        self.house = House(HOUSE)
        self.addCleanup(self.house.stop)
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        text = CONFIGURATION.replace("@ports", block.range).replace("@house", self.house.uri)
        self.gateway = GatewayProcess(text.replace("@old", OLD).replace("@new", NEW), folder)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def peer(self, address: str, data: bytes) -> SamplePeer:
        place = ("127.0.0.1", self.gateway.ports["udp"])
        peer = SamplePeer("telnyx", data, address, "udp", place, Path(), "")
        self.addCleanup(peer.close)
        return peer

    def test_taken_over_and_sent_on(self) -> None:
        """The first caller is replaced by the second, who is heard by the echo, and sends the call on to the house."""
        old = self.peer(OLD, telnyx())
        self.assertEqual(old.invite()[1].status, 200)
        self.assertGreater(self.heard(old), 600)
        data = telnyx()
        for ours, theirs in ((b"6f0b2c1a", b"7a1b2c1a"), (b"5Hc4XgQ1m2NSr", b"9Zz4XgQ1m2NSr"), (b"9d41", b"7d22")):
            data = data.replace(ours, theirs)
        line = f"Replaces:{old.call_id};to-tag={old.tag};from-tag={old.from_tag}\r\nRequire:replaces\r\n"
        new = self.peer(NEW, data.replace(b"c:application/sdp", line.encode() + b"c:application/sdp"))
        self.assertEqual(new.invite()[1].status, 200)
        old.answer(old.asked("BYE"), 200)
        self.assertGreater(self.heard(new), 600)
        self.assertEqual(new.refer(f"<{self.house.uri}>"), 202)
        frags: list[str] = []
        while not frags or not re.match(r"SIP/2.0 [2-6]", frags[-1]):
            notify = new.asked("NOTIFY")
            frags.append(notify.body.decode().strip())
            new.answer(notify, 200)
        self.assertEqual((frags[0], frags[-1]), ("SIP/2.0 100 Trying", "SIP/2.0 200 OK"))
        self.assertEqual(new.bye().status, 200)
        [record] = self.gateway.wait_for_records(1)  # the house hangs up by itself
        self.assertEqual(
            [(move["by"], move["result"]) for move in record["moves"]], [("replaces", "moved"), ("refer", "moved")]
        )
        self.assertEqual((record["cause"], record["ended_by"]), ("caller_hangup", "caller"))
        self.assertNotIn("Traceback", self.gateway.log)

    @staticmethod
    def heard(peer: SamplePeer) -> float:
        heard = peer.talk()
        return tone_ms(heard.pcm, heard.rate, TONE)
