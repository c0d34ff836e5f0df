"""What runs out: RTP ports, the disk, file descriptors. Calls go on, and nothing is lost or left over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from twisted.trial.unittest import SkipTest

from stellar_gw.testing.gateway_process import GatewayProcess, cpu_seconds
from tests.integration.fault_support import FaultCase, descriptors
from tests.integration.gateway_support import HOST, TRUNK


class PortTests(FaultCase):
    def test_ports_exhausted(self) -> None:
        """With ten RTP ports there are five calls at a time, the others get 503 and when to try again; after 200 calls
        nothing is left over."""
        gateway = self.start({"quarantine: 500ms": "quarantine: 0s"}, ports=10)
        phone = self.phone(gateway)
        phone.call()
        phone.hang_up()
        self.soon(lambda: gateway.media_sockets() == 0, "closed ports")
        before = (descriptors(gateway.pid), descriptors(gateway.workers[0]))
        statuses: Counter[tuple[int, str]] = Counter()
        for _ in range(20):
            calls = phone.call(count=10)
            statuses.update((call.status, call.retry_after) for call in calls)
            self.assertEqual(gateway.media_sockets(), 10)
            phone.hang_up()
            self.soon(lambda: gateway.media_sockets() == 0, "closed ports")
        self.assertEqual(statuses, {(200, ""): 100, (503, "5"): 100})
        self.assertEqual(
            Counter((each["status"], each["cause"]) for each in gateway.wait_for_records(201)),
            {(200, "caller_hangup"): 101, (503, "no_ports"): 100},
        )
        refusals = gateway.wait_for_records(100, "refusals")
        self.assertEqual(Counter((each["check"], each["fix"]) for each in refusals), {("no_ports", WIDEN): 100})
        self.soon(
            lambda: (descriptors(gateway.pid), descriptors(gateway.workers[0])) <= before, "no descriptor left over"
        )


WIDEN = "Widen media.ports"


class DiskTests(FaultCase):
    def test_full_disk(self) -> None:
        """While the disk is full calls go on; once there is room every record is written, once, within 10 s."""
        with small_disk(self) as disk:
            gateway = self.start(records=disk)
            phone = self.phone(gateway)
            ballast = disk / "ballast"
            fill(ballast)
            for _ in range(3):
                self.assertEqual([call.status for call in phone.call(count=10)], [200] * 10)
                phone.hang_up()
            self.soon(lambda: "records cannot be written" in gateway.log, "a line about the disk")
            # Only once the last has been tried: nothing but the next try brings them to disk then.
            self.soon(lambda: gateway.log.count(" ended: caller_hangup by") >= 30, "the end of 30 calls")
            phone.wait(lambda: False, 0.5)
            self.assertEqual(gateway.records(), [])
            ballast.unlink()
            records = gateway.wait_for_records(30, timeout=10.0)
            self.assertEqual((len(records), len({each["call_id"] for each in records})), (30, 30))
            self.assertIn("records are written to", gateway.log)
            self.assertEqual(gateway.stop(), 0)


@contextmanager
def small_disk(case: FaultCase) -> Iterator[Path]:
    """A file system of 64 KiB.

    :raise SkipTest: it cannot be mounted here.
    """
    folder = Path(case.mktemp()).absolute()
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        raise SkipTest("no file system can be mounted here (it takes root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until there is no room."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


class DescriptorTests(FaultCase):
    def test_descriptors_exhausted(self) -> None:
        """A gateway that may open 64 files, with 200 connections on it: it does not spin, calls over UDP go on, records
        are written, even a worker can be replaced; and when the crowd has left connections are served again."""
        gateway = self.start(wrapper=("prlimit", "--nofile=64:64"))
        phone = self.phone(gateway)
        (call,) = phone.call()
        with ExitStack() as crowd:
            for _ in range(200):
                crowd.enter_context(socket.create_connection((HOST, gateway.ports["tcp"]), source_address=(TRUNK, 0)))
            time.sleep(0.5)
            used, began = cpu_seconds(gateway.pid), time.monotonic()
            self.assertFalse(phone.wait(lambda: not call.up, 3.0))
            share = (cpu_seconds(gateway.pid) - used) / (time.monotonic() - began)
            self.assertLess(share, 0.05)
            self.assertTrue(phone.call()[0].up)
            phone.hang_up()
            self.assertEqual([record["cause"] for record in gateway.wait_for_records(2)], ["caller_hangup"] * 2)
            os.kill(gateway.workers[0], signal.SIGKILL)
            self.soon(lambda: phone.call()[0].up, "a call in the next worker", 40.0)
            phone.hang_up()
        self.soon(lambda: answers_over_tcp(gateway), "an answer over TCP", 40.0)
        self.assertIn("descriptors", gateway.log)

    def test_worker_exhausted(self) -> None:
        """A worker that has no descriptor left for RTP refuses with 503 and says so; the calls it carries go on, and
        when they end others take their place."""
        gateway = self.start(wrapper=("prlimit", "--nofile=64:64"))
        phone = self.phone(gateway)
        calls = phone.call(count=40)
        up = [call for call in calls if call.up]
        self.assertGreater(len(up), 10)
        self.assertEqual({(call.status, call.retry_after) for call in calls if not call.up}, {(503, "5")})
        self.assertEqual(
            {(each["reason"], each["fix"]) for each in gateway.wait_for_records(40 - len(up), "refusals")},
            {("media: no_descriptors: no descriptor is left for RTP", "Raise LimitNOFILE= in the unit, or ulimit -n")},
        )
        self.assertFalse(phone.wait(lambda: not all(call.up for call in up), 1.0))
        phone.hang_up()
        self.assertEqual(Counter(each["cause"] for each in gateway.wait_for_records(40))["caller_hangup"], len(up))
        self.soon(lambda: gateway.media_sockets() == 0, "closed ports")
        self.assertEqual([call.status for call in phone.call(count=10)], [200] * 10)
        phone.hang_up()


def answers_over_tcp(gateway: GatewayProcess) -> bool:
    with socket.create_connection((HOST, gateway.ports["tcp"]), timeout=2.0) as connection:
        connection.sendall(b"\r\n\r\n")
        try:
            return connection.recv(10) == b"\r\n"
        except (TimeoutError, ConnectionResetError):
            return False
