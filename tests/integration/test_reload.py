"""SIGHUP while calls are up: a good file takes effect, a bad one says why, and neither touches a call."""

from __future__ import annotations

import re
import signal
from random import Random

from stellar_gw.testing.gateway_process import wait_until
from tests.integration.fault_support import FaultCase, HurtGateway
from tests.integration.gateway_support import CLOSED, ECHO, HOST, PASSWORD, READBACK, USER

MUTATIONS = 50
_DONE = re.compile(r"reloaded \S+conf\.yaml|reload refused")


class ReloadTests(FaultCase):
    def reload(self, gateway: HurtGateway, text: str) -> str:
        """Write a file, have it read, and what the log says of it."""
        known = len(gateway.log)
        gateway.path.write_text(text, encoding="utf-8")
        gateway.signal(signal.SIGHUP)
        self.assertTrue(wait_until(lambda: _DONE.search(gateway.log[known:]), 10.0), gateway.log[-2000:])
        return gateway.log[known:]

    def test_good_file(self) -> None:
        """New passwords, connectors and limits hold for the next call; the calls that are up go on."""
        gateway = self.start()
        phone = self.phone(gateway)
        calls = phone.call(count=5)
        self.assertEqual([call.status for call in phone.call(CLOSED)], [404])
        text = gateway.path.read_text(encoding="utf-8")
        text = text.replace(", enabled: false", "").replace(PASSWORD, "battery staple")
        text = text.replace('readback: {identifier: "602"', 'readback: {identifier: "612"')
        self.assertIn("reloaded", self.reload(gateway, text))
        self.assertEqual([call.status for call in phone.call(CLOSED)], [200])
        self.assertEqual([call.status for call in phone.call(READBACK) + phone.call("612")], [404, 200])
        by_password = [
            self.phone(gateway, host=HOST, user=USER, password=password).call(ECHO)[0].status
            for password in (PASSWORD, "battery staple")
        ]
        self.assertEqual(by_password, [401, 200])
        self.assertEqual([call.up for call in calls], [True] * 5)
        phone.hang_up()
        gateway.stop()

    def test_bad_file(self) -> None:
        """A file with a fault is refused by file, line and key; everything stays as it was."""
        gateway = self.start()
        phone = self.phone(gateway)
        calls = phone.call(count=5)
        text = gateway.path.read_text(encoding="utf-8")
        line = text[: text.index("limits:")].count("\n") + 1
        said = self.reload(gateway, text.replace("requests: 10000", "requests: many").replace(PASSWORD, "no longer"))
        self.assertRegex(
            said, rf"reload refused, the running configuration is kept: \S+conf\.yaml:{line}: limits\.requ"
        )
        self.assertNotIn("no longer", said)
        self.assertEqual(self.phone(gateway, host=HOST, user=USER, password=PASSWORD).call()[0].status, 200)
        gateway.path.unlink()
        gateway.signal(signal.SIGHUP)
        self.soon(lambda: "conf.yaml: " in gateway.log.rpartition("reload refused")[2], "a line about the file")
        self.assertEqual([call.up for call in calls], [True] * 5)
        phone.hang_up()
        gateway.stop()

    def test_mutated_files(self) -> None:
        """50 files with octets changed, lines lost, doubled and swapped: taken or refused, no call is dropped."""
        gateway = self.start()
        phone = self.phone(gateway)
        calls = phone.call(count=5)
        good = gateway.path.read_bytes()
        random = Random(2)
        outcomes = [self.reload_octets(gateway, mutated(good, random)) for _ in range(MUTATIONS)]
        self.assertEqual(len(outcomes), MUTATIONS)
        self.assertGreater(outcomes.count("refused"), MUTATIONS // 3)
        self.assertEqual(self.reload_octets(gateway, good), "reloaded")
        phone.wait(lambda: False, 0.5)
        self.assertEqual([call.up for call in calls + phone.call()], [True] * 6)
        phone.hang_up()
        self.assertEqual([record["cause"] for record in gateway.wait_for_records(6)], ["caller_hangup"] * 6)

    def reload_octets(self, gateway: HurtGateway, data: bytes) -> str:
        known = len(gateway.log)
        gateway.path.write_bytes(data)
        gateway.signal(signal.SIGHUP)
        self.assertTrue(wait_until(lambda: _DONE.search(gateway.log[known:]), 10.0), data)
        said = gateway.log[known:]
        # What is refused says where: the file, and a line of it unless it cannot be read at all.
        for line in said.splitlines():
            if "reload refused" in line:
                self.assertRegex(line, r"conf\.yaml:(\d+:)? ")
        return "refused" if "reload refused" in said else "reloaded"


def mutated(good: bytes, random: Random) -> bytes:
    lines = good.split(b"\n")
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(lines))
        match random.randrange(5):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[random.randrange(len(lines))])
            case 2:
                other = random.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                line = bytearray(lines[place] or b" ")
                line[random.randrange(len(line))] = random.randrange(256)
                lines[place] = bytes(line)
            case _:
                lines[place] = lines[place][: random.randrange(len(lines[place]) + 1)]
        if not lines:
            break
    return b"\n".join(lines)
