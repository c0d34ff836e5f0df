"""What it costs to pass a packet on: ``python -m benchmarks.relay_path``.

A real media worker, pinned to the last core, carries bridged calls: every leg is sent one packet of 20 ms of PCMU each
20 ms over loopback. Prints microseconds of the worker's CPU (the scheduler's own count) for each packet passed on, with
everything on: latching, renumbering, statistics, RTCP. Several rounds; the median and the best are printed. The
comparison with other relays is ``benchmarks/load``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import struct
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.threads import deferToThread

from benchmarks.load.report import TOLD_TO_END
from benchmarks.load.worker_end import run_with_reactor
from stellar_gw.control import messages
from stellar_gw.gateway.pool import WorkerPool
from stellar_gw.gateway.pool_settings import PoolSettings
from stellar_gw.gateway.worker_process import WorkerCommand

LOOPBACK = "127.0.0.1"
PCMU = messages.Codec(name="PCMU", payload_type=0)
PCMA = messages.Codec(name="PCMA", payload_type=8)
FRAME = 0.02
SLICES = 20
"""Parts of a frame, so that packets come as they do in life, a few at a time."""
_HEADER = struct.Struct("!BBHII")


def cpu(pid: int) -> float:
    """Seconds that all threads of a process have run (/proc/PID/task/TID/schedstat)."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


class Generator:
    """All phones in one: a socket that is everybody's peer.

    :ivar sent, heard: packets.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        force = 33  # SO_RCVBUFFORCE (socket(7)): beyond rmem_max, where that is allowed
        with suppress(PermissionError):
            self._socket.setsockopt(socket.SOL_SOCKET, force, 8 << 20)
        self._socket.bind((LOOPBACK, 0))
        self._socket.setblocking(False)
        self.address: tuple[str, int] = self._socket.getsockname()
        self.legs: list[tuple[str, int]] = []
        self._frames = 0
        self.sent = self.heard = 0

    def run(self, seconds: float) -> None:
        """Send and drain for so long; in a thread of its own."""
        payload = bytes(range(160))
        legs = [self.legs[part::SLICES] for part in range(SLICES)]
        due = time.monotonic()
        for _ in range(round(seconds / FRAME)):
            self._frames += 1
            for part, group in enumerate(legs):
                number, timestamp = self._frames & 0xFFFF, (160 * self._frames) & 0xFFFFFFFF
                for place, leg in enumerate(group):
                    ssrc = 1 + part + place * SLICES
                    self._socket.sendto(_HEADER.pack(0x80, 0, number, timestamp, ssrc) + payload, leg)
                    self.sent += 1
                self.drain()
                due += FRAME / SLICES
                time.sleep(max(0.0, due - time.monotonic()))

    def drain(self) -> None:
        try:
            while True:
                self._socket.recv(2048)
                self.heard += 1
        except BlockingIOError:
            pass

    def close(self) -> None:
        self._socket.close()


class Bench:
    def __init__(self, reactor: Any, calls: int, transcode: bool, core: int) -> None:
        self._calls = calls
        self._transcode = transcode
        self.generator = Generator()
        self._folder = tempfile.TemporaryDirectory(prefix="sgw-")
        worker = ("taskset", "-c", str(core), sys.executable, "-P", "-m", "stellar_gw.worker.main", "--priority", "0")
        first = random.randrange(20000, 30000, 2)
        settings = PoolSettings(
            workers=1,
            ports=(first, first + 4 * calls + 16),
            bind=(LOOPBACK,),
            runtime=self._folder.name,
            command=WorkerCommand(arguments=worker),
            request_timeout=10.0,
        )
        self.pool: Any = WorkerPool(reactor, settings, lambda event: None)

    async def start(self) -> int:
        """The worker's process id, once all calls are up."""
        await self.pool.start()
        await self.pool.ready()
        for first in range(0, self._calls, 50):
            numbers = range(first, min(first + 50, self._calls))
            await gatherResults([Deferred.fromCoroutine(self._call(f"c-{number}")) for number in numbers])
        pid: int = self.pool.describe()[0].pid
        return pid

    async def _call(self, call: str) -> None:
        for leg, codec in (("caller", PCMU), ("target", PCMA if self._transcode else PCMU)):
            allocated = await self.pool.ask(messages.Allocate(request=0, call=call, leg=leg))
            self.generator.legs.append((LOOPBACK, allocated.rtp_port))
            await self.pool.ask(
                messages.SetMedia(
                    request=0,
                    call=call,
                    leg=leg,
                    remote=self.generator.address,
                    remote_rtcp=(LOOPBACK, 9),
                    send=codec,
                    receive=(PCMU, PCMA),
                )
            )
            await self.pool.ask(messages.Answered(request=0, call=call, leg=leg))
        await self.pool.ask(messages.bridge(call))

    async def stop(self) -> None:
        await self.pool.stop()
        self.generator.close()
        self._folder.cleanup()


async def measure(options: argparse.Namespace, reactor: Any) -> dict[str, Any]:
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, os.sched_getaffinity(0) - {core} or {core})
    bench = Bench(reactor, options.calls, options.transcode, core)
    costs, lost = [], []
    try:
        pid = await bench.start()
        generator = bench.generator
        await deferToThread(generator.run, 2.0)  # latched, and on the short way
        for _ in range(options.rounds):
            before, sent, heard = cpu(pid), generator.sent, generator.heard
            await deferToThread(generator.run, options.seconds)
            await deferToThread(time.sleep, 0.1)
            generator.drain()
            costs.append((cpu(pid) - before) / (generator.sent - sent) * 1e6)
            lost.append(1 - (generator.heard - heard) / (generator.sent - sent))
    finally:
        await bench.stop()
    return {
        "calls": options.calls,
        "us_per_packet": statistics.median(costs),
        "best": min(costs),
        "loss": statistics.median(lost),
        "load": os.getloadavg()[0],
    }


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calls", type=int, default=200)
    options.add_argument("--seconds", type=float, default=3.0, help="of one round (%(default)s)")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--transcode", action="store_true", help="PCMU to PCMA: coded anew, at the worker's pace")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    try:
        found = run_with_reactor(partial(measure, chosen))
    except CancelledError:
        return TOLD_TO_END
    if chosen.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['calls']} bridged calls: {found['us_per_packet']:.2f} us a packet "
            f"(best round {found['best']:.2f}), "
            f"{found['loss']:.2%} lost, load average {found['load']:.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
