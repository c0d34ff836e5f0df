"""Processes that are killed, frozen and told to stop while calls are up, as an operator would see it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path

from tests.integration.fault_support import FaultCase, HurtGateway, Phone, PhoneCall
from tests.integration.gateway_support import HOST, PASSWORD, USER

BYE_WITHIN = 2.0
"""Seconds from a worker's death to the last BYE and record."""


def is_running(pid: int) -> bool:
    """Whether a process is there, a zombie not counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(pids: list[int]) -> None:
    """kill -9 what is left of these."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class WorkerTests(FaultCase):
    def test_killed_with_20_calls(self) -> None:
        """kill -9 of a worker with 20 calls: each gets its BYE and record within 2 s, and the next call works."""
        gateway = self.start()
        phone = self.phone(gateway)
        calls = phone.call(count=20)
        self.assertEqual([call.status for call in calls], [200] * 20)
        (before,) = gateway.workers
        began = time.monotonic()
        os.kill(before, signal.SIGKILL)
        self.check_lost(gateway, phone, calls, began, BYE_WITHIN)
        self.assertNotEqual(gateway.workers, [before])

    def test_frozen(self) -> None:
        """A worker that hangs (SIGSTOP) is found by a ping that it leaves unanswered; within 5 s its calls are over."""
        gateway = self.start()
        phone = self.phone(gateway)
        calls = phone.call(count=5)
        (before,) = gateway.workers
        began = time.monotonic()
        os.kill(before, signal.SIGSTOP)
        # A ping goes out a second after the last answer, and may take up to two.
        self.check_lost(gateway, phone, calls, began, 1.0 + 2.0 + BYE_WITHIN)
        self.assertFalse(is_running(before))
        self.assertIn("it left a ping unanswered", gateway.records()[0]["reason"])

    def check_lost(
        self, gateway: HurtGateway, phone: Phone, calls: list[PhoneCall], began: float, within: float
    ) -> None:
        """Every call had its BYE and one record in time, and another call comes about in another worker."""
        phone.wait(lambda: all(call.ended for call in calls), within + 3.0)
        records = gateway.wait_for_records(len(calls), timeout=max(0.0, began + within - time.monotonic()))
        late = [call for call in calls if call.ended is None or call.ended - began > within]
        self.assertEqual((late, len(records)), ([], len(calls)))
        self.assertEqual({call.reason for call in calls}, {'Q.850;cause=41;text="worker lost"'})
        self.assertEqual(
            Counter((each["status"], each["cause"], each["ended_by"]) for each in records),
            {(200, "worker_lost", "gateway"): len(calls)},
        )
        self.assertEqual(len({each["sip_call_id"] for each in records}), len(calls))

        def takes_calls() -> bool:
            return phone.call()[0].up

        # A slice of ports has one owner: the next worker starts when the last has ended.
        self.soon(takes_calls, "a call in the new worker", 40.0)
        phone.hang_up()
        # Calls that came while there was no worker have records too.
        self.soon(lambda: gateway.records()[-1]["cause"] == "caller_hangup", "the record of that call")

    def test_calls_while_there_is_none(self) -> None:
        """While the only worker is being replaced, a new call gets 503 and when to try again."""
        gateway = self.start()
        phone = self.phone(gateway)
        (worker,) = gateway.workers
        os.kill(worker, signal.SIGKILL)
        self.soon(lambda: not is_running(worker), "the worker's end")
        (call,) = phone.call()
        self.assertEqual((call.status, call.retry_after), (503, "5"))
        self.soon(lambda: phone.call()[0].up, "a call in the new worker", 40.0)
        phone.hang_up()


class GatewayTests(FaultCase):
    def test_killed_with_calls(self) -> None:
        """kill -9 of the gateway with calls: its workers end them, and themselves, when the orphan time is over."""
        gateway = self.start({"quarantine: 500ms": "quarantine: 500ms, orphan_time: 2s"})
        calls = self.phone(gateway).call(count=10)
        self.assertEqual([call.status for call in calls], [200] * 10)
        workers, sockets = gateway.workers, gateway.media_sockets()
        self.assertEqual((len(workers), sockets), (1, 20))
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.wait()
        self.addCleanup(end, workers)
        time.sleep(1.0)  # within the orphan time a restarted gateway could still find it
        self.assertTrue(is_running(workers[0]))
        self.soon(lambda: not is_running(workers[0]), "the worker's end", 10.0)
        self.assertIn("no gateway for 2 s: 10 calls are ended", gateway.log)

    def test_started_again_after_a_kill(self) -> None:
        """After kill -9 the gateway starts again on the same ports at once, whatever the old worker still holds."""
        gateway = self.start({"quarantine: 500ms": "quarantine: 500ms, orphan_time: 3s"})
        self.phone(gateway).call(count=10)
        (worker,) = gateway.workers
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.wait()
        self.addCleanup(end, [worker])
        gateway.start()
        phone = self.phone(gateway)
        self.assertEqual([call.status for call in phone.call(count=10)], [200] * 10)
        phone.hang_up()
        self.soon(lambda: not is_running(worker), "the old worker's end", 10.0)


class DrainTests(FaultCase):
    def test_sigterm(self) -> None:
        """SIGTERM with 10 calls: 503 to new calls and to OPTIONS; the ten end when they like; then it exits with 0."""
        gateway = self.start()
        phone = self.phone(gateway)
        calls = phone.call(count=10)
        gateway.signal(signal.SIGTERM)
        self.soon(lambda: "draining: 10 calls" in gateway.log, "draining")
        # By a trunk's address, by digest, and by neither: the check of who it is comes after.
        refused = [
            *phone.call(),
            *self.phone(gateway, host=HOST, user=USER, password=PASSWORD).call(),
            *self.phone(gateway, host=HOST).call(),
        ]
        self.assertEqual([(call.status, call.retry_after) for call in refused], [(503, "5")] * 3)
        status, retry_after = phone.options()
        self.assertEqual((status, retry_after != ""), (503, True))
        self.assertTrue(gateway.running)
        self.assertEqual([call.up for call in calls], [True] * 10)
        phone.hang_up()
        self.assertEqual(gateway.wait(10.0), 0)
        self.assertEqual(Counter(each["cause"] for each in gateway.records()), {"caller_hangup": 10})

    def test_second_sigterm(self) -> None:
        """A second SIGTERM ends the calls: BYE to each, a record of each, exit status 0."""
        gateway = self.start()
        phone = self.phone(gateway)
        calls = phone.call(count=10)
        gateway.signal(signal.SIGTERM)
        self.soon(lambda: "draining" in gateway.log, "draining")
        gateway.signal(signal.SIGTERM)
        phone.wait(lambda: all(call.ended for call in calls), 3.0)
        self.assertEqual({(call.ended_by, call.reason) for call in calls}, {("remote", SHUTDOWN)})
        self.assertTrue(phone.wait(lambda: not gateway.running, 10.0))
        self.assertEqual(gateway.wait(1.0), 0)
        self.assertEqual(Counter(each["cause"] for each in gateway.records()), {"shutdown": 10})

    def test_drain_has_an_end(self) -> None:
        """Calls that outlast ``timers.drain`` get their BYE then."""
        gateway = self.start({"sip: {t1: 500ms}": "timers: {drain: 1s}"})
        phone = self.phone(gateway)
        calls = phone.call(count=3)
        began = time.monotonic()
        gateway.signal(signal.SIGTERM)
        phone.wait(lambda: all(call.ended for call in calls), 5.0)
        self.assertTrue(all(call.ended and 0.9 < call.ended - began < 4.0 for call in calls), calls)
        self.assertTrue(phone.wait(lambda: not gateway.running, 10.0))
        self.assertEqual(gateway.wait(1.0), 0)
        self.assertEqual(Counter(each["cause"] for each in gateway.records()), {"shutdown": 3})

    def test_no_process_is_left(self) -> None:
        """Once it has stopped, no worker is left, and its socket's folder is gone."""
        gateway = self.start()
        workers = gateway.workers
        (runtime,) = {
            Path(argument).parent
            for pid in workers
            for argument in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if argument.endswith("workers.sock")
        }
        self.assertTrue(runtime.is_dir())
        self.assertEqual(gateway.stop(), 0)
        self.assertEqual(([pid for pid in workers if is_running(pid)], runtime.exists()), ([], False))


SHUTDOWN = 'Q.850;cause=16;text="shutdown"'
