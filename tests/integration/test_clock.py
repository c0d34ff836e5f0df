"""A clock that jumps while calls are up: only records and nonces may take notice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.integration.fault_support import FaultCase, HurtGateway, Stranger, authorization, request
from tests.integration.gateway_support import PASSWORD, USER

FAKETIME = tuple(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class ClockTests(FaultCase):
    def start_faked(self) -> HurtGateway:
        """A gateway, and its workers, whose wall clock is what :meth:`set` says."""
        if not FAKETIME:
            raise SkipTest("libfaketime is not installed (Debian: apt install faketime)")
        self.clock = Path(self.mktemp()).absolute()
        self.set("+0")
        return self.start(
            {"burst: 10000}": "burst: 10000, call_duration: 30m}"},
            environ={
                "LD_PRELOAD": str(FAKETIME[0]),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "DONT_FAKE_MONOTONIC": "1",
            },
        )

    def set(self, offset: str) -> None:
        self.clock.write_text(f"{offset}\n")

    def test_jumps(self) -> None:
        """An hour ahead, two back, one ahead: no call is lost and no worker, and none reaches its limit of half an
        hour; new ones come about; times in records are the clock's."""
        gateway = self.start_faked()
        phone = self.phone(gateway)
        workers = gateway.workers
        calls = phone.call(count=5)
        for offset in ("+3600", "-3600", "+0"):
            self.set(offset)
            # Longer than a ping of a worker takes to be missed, and than any retransmission waits.
            phone.wait(lambda: False, 4.0)
            self.assertEqual([call.ended for call in calls], [None] * len(calls), offset)
            calls += phone.call()
            self.assertEqual([call.up for call in calls], [True] * len(calls), offset)
        phone.hang_up()
        records = gateway.wait_for_records(8)
        self.assertEqual([record["cause"] for record in records], ["caller_hangup"] * 8)
        # Of the first five calls, and of the three that came later.
        talked = sorted(record["duration"] for record in records)
        self.assertTrue(all(12.0 <= seconds < 20.0 for seconds in talked[3:]) and talked[2] < 10.0, talked)
        self.assertEqual(gateway.workers, workers)
        began = sorted(record["started"] for record in records)
        self.assertGreater(began[-1] - began[0], 7000.0)

    def test_set_back(self) -> None:
        """A clock that was set back stops no timer: a frozen worker is found as fast as ever."""
        gateway = self.start_faked()
        phone = self.phone(gateway)
        calls = phone.call(count=2)
        self.set("-3600")
        phone.wait(lambda: False, 0.5)
        os.kill(gateway.workers[0], signal.SIGSTOP)
        phone.wait(lambda: all(call.ended for call in calls), 6.0)
        self.assertEqual([call.up for call in calls], [False] * 2)
        self.assertEqual([record["cause"] for record in gateway.wait_for_records(2)], ["worker_lost"] * 2)

    def test_nonce(self) -> None:
        """A nonce from before a jump is stale: the caller is challenged anew, and told that its password is right."""
        gateway = self.start_faked()
        with Stranger(gateway.sip) as phone:
            first = phone.ask(request("INVITE", phone))
            for offset in ("+3600", "-3600"):
                self.set(offset)
                again = phone.ask(
                    request("INVITE", phone, headers=authorization(first, USER, PASSWORD), call_id=f"c{offset}")
                )
                self.assertEqual((again.status, "stale=true" in again.text.lower()), (401, True))
                good = phone.ask(
                    request("INVITE", phone, headers=authorization(again, USER, "wrong"), call_id=f"d{offset}")
                )
                self.assertEqual((good.status, "stale=true" in good.text.lower()), (401, False))
        self.assertEqual(
            [record["check"] for record in gateway.wait_for_records(2, "refusals")], ["wrong_password"] * 2
        )
