"""SIPp as the phone system: many calls with RTP at a steady rate, none of them lost, none of them left over."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.gateway_process import wait_until
from tests.integration.gateway_support import ECHO, HOST, PASSWORD, USER, RealGateway, soon
from tests.integration.shared_gateway import share_gateway
from tests.integration.sipp_support import SCENARIOS, Result, Sipp

TALK_MS = 1000
"""At 50 calls a second that takes a third of the 250 pairs of ports, those that rest after a call included."""


class SippCallTests(SynchronousTestCase):
    timeout = 180

    def setUp(self) -> None:
        self.gateway: RealGateway = share_gateway(self)
        self.sipp = Sipp(self, self.gateway)
        self.began = time.time() - 0.001  # records have milliseconds

    def why(self, result: Result) -> str:
        """What the gateway refused, and what SIPp says."""
        refused = Counter(record["reason"] for record in self.records("refusals"))
        return f"{dict(refused)}\n{result.errors}"

    def records(self, name: str = "cdr") -> list[dict[str, Any]]:
        """Of this test's calls."""
        clock = {"cdr": "started", "refusals": "at"}[name]
        return [record for record in self.gateway.records(name) if record[clock] >= self.began]

    def check_calls(self, count: int, transports: dict[str, int], *, caller: str = "trunk") -> list[dict[str, Any]]:
        """Every call has one record, and each was a good one, by its packets too."""
        wait_until(lambda: len(self.records()) >= count, 20.0)
        records = self.records()
        self.assertEqual(
            Counter(
                (each["transport"], each["caller"], each["status"], each["cause"], each["codec"]) for each in records
            ),
            {(transport, caller, 200, "caller_hangup", "PCMU"): calls for transport, calls in transports.items()},
        )
        self.assertEqual(len({each["sip_call_id"] for each in records}), count)
        bad = [leg for record in records for leg in record["legs"] if not good_leg(leg, record["duration"])]
        self.assertEqual((len(records), sum(len(each["legs"]) for each in records), bad), (count, count, []))
        soon(lambda: self.gateway.media_sockets() == 0, "no port is open after the last call")
        return records

    def test_500_calls_at_50_a_second(self) -> None:
        """500 calls over UDP at 50 a second, a second of echoed RTP each: none fails, each has its record."""
        result = self.sipp.run(SCENARIOS / "caller.xml", "-d", str(TALK_MS), to=ECHO, calls=500, rate=50, trace=False)
        self.assertEqual(result.ok, (0, 500, 0), self.why(result))
        records = self.check_calls(500, {"udp": 500})
        self.assertEqual(self.records("refusals"), [])
        began = [record["started"] for record in records]
        self.assertLess(max(began) - min(began), 15.0)  # ten seconds at the rate asked for

    def test_connections(self) -> None:
        """60 calls at 20 a second over one TCP connection, and as many over one each."""
        runs = [
            self.sipp.begin(
                SCENARIOS / "caller.xml", "-d", str(TALK_MS), to=ECHO, calls=60, rate=20, transport=kind, trace=False
            )
            for kind in ("t1", "tn")
        ]
        for run in runs:
            result = run.result()
            self.assertEqual(result.ok, (0, 60, 0), self.why(result))
        sources = Counter(record["source"] for record in self.check_calls(120, {"tcp": 120}))
        self.assertEqual(max(sources.values()), 60)
        self.assertGreater(len(sources), 30)

    def test_digest(self) -> None:
        """200 calls at 40 a second from an address nobody knows, by digest: each challenged once, none refused."""
        result = self.sipp.run(
            SCENARIOS / "caller-digest.xml", "-d", str(TALK_MS), "-au", USER, "-ap", PASSWORD,
            "-auth_uri", f"{ECHO}@{HOST}:{self.gateway.ports['udp']}",
            to=ECHO, source=HOST, calls=200, rate=40, trace=False,
        )  # fmt: skip
        self.assertEqual(result.ok, (0, 200, 0), self.why(result))
        records = self.check_calls(200, {"udp": 200}, caller=USER)
        self.assertEqual(self.records("refusals"), [])
        # By first lines: challenged, and admitted at the second try.
        ladder = [line.split()[-1] if "SIP/2.0 " in line else line for line in records[0]["ladder"]]
        self.assertEqual(len([line for line in ladder if line == "Unauthorized"]), 1)


def good_leg(leg: dict[str, Any], duration: float) -> bool:
    """Whether RTP went both ways for the whole call; SIPp's own clock stutters a little when it is busy."""
    due = duration * 1000 / 20
    return bool(
        leg["packets_lost"] == 0
        and leg["packets_received"] >= 0.7 * due
        and leg["packets_sent"] >= 0.8 * due
        and leg["agent_audio_ms"] >= 0.6 * duration * 1000
    )
