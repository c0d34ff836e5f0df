"""linphone's console client calls: over UDP, TCP and TLS with SRTP, held and resumed, and by keys."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.gateway_process import wait_until
from tests.integration.gateway_support import ECHO, READBACK, USER, start_gateway
from tests.integration.linphone_support import Linphone
from tests.integration.sound import keys_in, noise, recognised

HEARD = 0.1
"""Of what was said: four telephones share a busy machine; of other noise nothing is ever found."""
SOUND = noise(3.0)
WAYS = {"udp": "", "tcp": "", "tls": "srtp"}


class LinphoneTests(SynchronousTestCase):
    timeout = 90

    def test_calls(self) -> None:
        """With digest by each transport, SRTP over TLS: the echo is heard, hold and resume are answered, and either
        side hangs up; keys are heard as they were pressed."""
        self.gateway = start_gateway(self)
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(self.talk, transport) for transport in WAYS]
            calls.append(pool.submit(self.press_keys))
            for call in calls:
                call.result()
        records = self.gateway.wait_for_records(4)
        self.assertEqual(
            sorted(
                (record["connector"], record["transport"], record["cause"], bool(record["srtp"]), record["codec"])
                for record in records
            ),
            [
                ("echo", "tcp", "caller_hangup", False, "PCMU"),
                ("echo", "tls", "caller_hangup", True, "PCMU"),
                ("echo", "udp", "caller_hangup", False, "PCMU"),
                ("readback", "udp", "agent_hangup", False, "PCMU"),
            ],
        )
        self.assertEqual({record["caller"] for record in records}, {USER})
        [digits] = [record["legs"][0]["digits"] for record in records if record["connector"] == "readback"]
        self.assertEqual(digits, "59#")

    def talk(self, transport: str) -> None:
        with Linphone(
            self.gateway, transport, transport=transport, play=SOUND * 4, encryption=WAYS[transport]
        ) as phone:
            phone.call(ECHO)
            wait_until(lambda: False, 1.5)
            phone.command("pause", "is now paused")
            phone.command("resume", "Media streams established")
            wait_until(lambda: False, 0.5)
            phone.command("terminate", "ended")
        self.assertGreater(recognised(SOUND, phone.heard), HEARD, transport)

    def press_keys(self) -> None:
        """The last key has the agent hang up."""
        with Linphone(self.gateway, "keys", transport="udp", play=bytes(len(SOUND))) as phone:
            phone.call(READBACK)
            for key in "59":
                phone.command(key)
                wait_until(lambda: False, 0.6)
            phone.command("#", "ended")
        self.assertIn("59", keys_in(phone.heard))
