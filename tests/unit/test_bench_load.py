"""The tools of the media benchmarks: what they say and how they measure must be right, or their figures are not."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from pylibsrtp import Policy, Session
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import agent_path, calls, dialects, fast_path, pacing, relay
from benchmarks.load import relays
from benchmarks.load.awake import awake
from benchmarks.load.generator import GeneratorError, Leg, Measured, Times, build, run
from benchmarks.load.machine import others_share, real_time_permitted, with_us
from benchmarks.load.plot import bars, lines
from benchmarks.load.report import Report, spread, verdict
from benchmarks.load.rtpengine import bdecode, bencode
from benchmarks.load.worker_end import WorkerEndError
from stellar_gw.testing.gateway_process import wait_until

RELAY = "127.0.0.45"
VALUES = st.recursive(
    st.integers(-(2**40), 2**40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


class AwakeTests(SynchronousTestCase):
    def system(self, driver: str) -> tuple[Path, Path]:
        system = Path(self.mktemp())
        limit = system / "module/haltpoll/parameters/guest_halt_poll_ns"
        for file, content in ((limit, "200000\n"), (system / "devices/system/cpu/cpuidle/current_driver", driver)):
            file.parent.mkdir(parents=True)
            file.write_text(content)
        return system, limit

    def test_haltpoll(self) -> None:
        """The kernel waits awake for the time of the block, and is left as it was, whatever happens."""
        system, limit = self.system("haltpoll\n")

        def broken() -> None:
            with awake((), system) as how:
                self.assertIn("kept from halting, for ours and for peers alike (the kernel's haltpoll, 20 ms)", how)
                self.assertEqual(limit.read_text(), "20000000")
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, broken)
        self.assertEqual(limit.read_text(), "200000\n")

    def test_killed(self) -> None:
        """The kernel's setting is put back by another process where this one cannot."""
        system, limit = self.system("haltpoll\n")
        program = (
            "import signal; from pathlib import Path; from benchmarks.load.awake import awake\n"
            f"with awake((), Path({str(system.absolute())!r})):\n"
            "    print('awake', flush=True); signal.pause()\n"
        )
        for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            process = subprocess.Popen(
                [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                start_new_session=True,
            )  # fmt: skip
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            assert process.stdout is not None
            self.assertEqual((process.stdout.readline(), limit.read_text()), ("awake\n", "20000000"))
            os.killpg(process.pid, how)
            process.wait(10)
            self.assertTrue(wait_until(lambda: limit.read_text() == "200000\n", 10.0), how)

    def test_no_haltpoll(self) -> None:
        """The parameter is there and not in use: it is left alone."""
        system, limit = self.system("intel_idle\n")
        try:
            with awake((), system, "6.1.0-41-cloud-amd64") as how:
                self.assertIn("awake.c", how)
                self.assertEqual(limit.read_text(), "200000\n")
        except GeneratorError as reason:
            raise SkipTest(str(reason)) from None

    def test_fair_server(self) -> None:
        """A kernel that would give the loop time before whoever is measured gets none."""
        system, _ = self.system("none\n")
        for release in ("6.12.0", "6.18.44-fc-v782", "7.0-rc1"):
            with awake((), system, release) as how:
                self.assertTrue(how.startswith("Cores halt between packets"), how)


class MachineTests(SynchronousTestCase):
    def test_what_others_take(self) -> None:
        """All that is not idle, of all cores, between two looks: a load average would count the benchmark before."""
        stat = Path(self.mktemp())
        rest = "cpu0 1 2 3 4 5 6 7 8 9 10\nctxt 12345\n"

        def wait(seconds: float) -> None:
            # user nice system idle iowait irq softirq steal guest guest_nice: of 100, 70 idle, 5 waiting for a disk
            stat.write_text(f"cpu  1005 105 1005 1070 105 105 104 101 15 10\n{rest}")

        stat.write_text(f"cpu  1000 100 1000 1000 100 100 100 100 10 10\n{rest}")
        self.assertAlmostEqual(others_share(stat, wait), 0.25)

    def test_real_time(self) -> None:
        """Looked at without staying so; where it is denied, the results say that nobody had it."""
        before = os.sched_getscheduler(0)
        self.assertEqual((real_time_permitted(), os.sched_getscheduler(0)), (real_time_permitted(), before))

        def denied(*_: object) -> None:
            raise PermissionError

        self.patch(os, "sched_setscheduler", denied)
        self.assertFalse(real_time_permitted())

    def test_with_us(self) -> None:
        """A process that began so ends when the one that began it is killed."""
        if not with_us():
            raise SkipTest("setpriv is not there (Debian: util-linux)")
        for within in ("pacing.competitor(True)", "worker_end.EchoAgents()"):
            program = (
                "import os, signal; from pathlib import Path; from benchmarks import pacing\n"
                "from benchmarks.load import worker_end\n"
                f"with {within}:\n"
                "    print(*Path(f'/proc/self/task/{os.getpid()}/children').read_text().split(), flush=True)\n"
                "    signal.pause()\n"
            )
            process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
            self.addCleanup(process.wait)
            self.addCleanup(process.kill)
            assert process.stdout is not None
            self.addCleanup(process.stdout.close)
            pid = int(process.stdout.readline())
            self.addCleanup(self.end, pid)
            begun = Path(f"/proc/{pid}/cmdline")
            self.assertTrue(wait_until(lambda: b"setpriv" not in begun.read_bytes(), 10.0), within)  # noqa: B023
            process.kill()
            process.wait()
            gone = wait_until(lambda: not begun.exists() or not begun.read_bytes(), 10.0)  # noqa: B023
            self.assertTrue(gone, within)

    def end(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def test_of_this_machine(self) -> None:
        self.assertTrue(0.0 <= others_share(wait=lambda _: None) <= 1.0)


class BencodeTests(SynchronousTestCase):
    def test_an_offer(self) -> None:
        """Dictionaries are written with sorted keys, strings with their length in octets."""
        self.assertEqual(
            bencode({"sdp": "v=0é", "command": "offer", "replace": ["origin"], "n": -3}),
            b"d7:command5:offer1:ni-3e7:replacel6:origine3:sdp5:v=0\xc3\xa9e",
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(VALUES)
    def test_there_and_back(self, value: object) -> None:
        """Whatever is written is read as it was."""
        self.assertEqual(bdecode(bencode(value)), value)  # type: ignore[arg-type]  # recursive() knows no better type


class ReportTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A report is a Markdown table, its plots and its notes."""
        report = Report("Relay", ("figure", "ours"), plots={"relay.svg": "<svg/>"}, notes=["Quiet."])
        report.row("CPU", "9.1")
        self.assertEqual(
            report.markdown(),
            "# Relay\n\n| figure | ours |\n| --- | --- |\n| CPU | 9.1 |\n\n![relay](relay.svg)\n\n- Quiet.\n",
        )

    def test_figures(self) -> None:
        """A figure is its median with the spread, and its verdict says by how much a goal was missed."""
        self.assertEqual(spread([3.0, 1.0, 2.0]), "2.0 (1.0-3.0)")
        self.assertEqual(spread([2.0], 2), "2.00")
        self.assertEqual([verdict(1.0, 1.0), verdict(1.5, 1.0)], ["met", "missed by 50 %"])
        self.assertEqual(verdict(1.004, 1.0), "missed by less than 1 %")

    def test_nothing_is_met_by_losing_packets(self) -> None:
        """A packet that is not carried costs nothing: what is cheap by that is not good."""
        self.assertEqual([verdict(0.5, 1.0, 3), verdict(inf, 1.0, 3)], ["missed: 3 lost", "missed: nothing came back"])
        case = agent_path.CASES[0]
        rows = []
        for lost in (0, 3):
            found = {each.name: [measured(100, 100, 0.001)] for each in agent_path.CASES}
            rows.append(agent_path.report(found, {**dict.fromkeys(found, 0), case.name: lost}).rows[0][5:7])
        self.assertEqual(rows, [("met", "0"), ("missed: 3 lost", "3")])

    def test_the_most_calls(self) -> None:
        """Where the generator ended the search, nobody knows whether the relay would have held the goal."""
        verdicts = {}
        for most, bounded in ((900, False), (900, True), (1000, False), (1600, True)):
            report = Report("", ())
            found = relays.Capacity(most=most, probes=[(most, measured(1, 1, 1))], bounded=bounded)
            relay.capacities(report, {relays.OURS: found, relays.PEER: found})
            verdicts[most, bounded] = report.rows[0][-1]
        self.assertEqual(
            verdicts,
            {(900, False): "missed: 900", (900, True): "not shown: 900 or more", (1000, False): "met",
             (1600, True): "met"},
        )  # fmt: skip


def measured(off_p99: float, latency_p99: float, cpu: float) -> Measured:
    """A run of 10 s with 1,000 packets."""
    late = Times(p50=10, p99=latency_p99, max=latency_p99)
    return Measured(
        legs=2, seconds=10.0, sent=1000, received=1000, lost=0, duplicates=0, reordered=0, misrouted=0, foreign=0,
        forged=0, rtcp_received=0, real_time=True, latency=late, off=Times(p50=20, p99=off_p99, max=2 * off_p99),
        generator_late=late, generator_cpu=0.001, cpu_seconds=(cpu,),
    )  # fmt: skip


class SeveralRunsTests(SynchronousTestCase):
    """What is made of several runs, some of which had bad luck."""

    def test_fast_path(self) -> None:
        """Medians of the kernel and of user space, their ratio, and a plot of each run."""
        runs = {
            name: [
                fast_path.Run(measured=measured(0, latency, cpu), datagrams=came_up, seconds=9.0)
                for latency, cpu in ((50, 0.009), (900, 0.5), (40 * factor, 0.009 * factor))
            ]
            for name, factor, came_up in ((fast_path.KERNEL, 1, 0), (fast_path.USER, 10, 900))
        }
        found = fast_path.report(2, runs)
        self.assertEqual(
            [list(row) for row in found.rows],
            [
                ["packets that came up to user space", "0 of 2700", "2700 of 2700", "", "0", "met"],
                ["added latency p99, ms", "0.05", "0.40", "0.12", "0.1", "met"],
                ["added latency p50, ms", "0.01", "0.01", "1.00", "", ""],
                ["packets lost", "0", "0", "", "0", "met"],
                ["worker's and helper's share of their core, %", "0.1 (0.1-5.0)", "0.9 (0.1-5.0)", "0.10", "", ""],
                [
                    "CPU of worker, helper and generator per packet, us",
                    "10.0 (10.0-501.0)", "91.0 (10.0-501.0)", "0.11", "", "",
                ],
            ],
        )  # fmt: skip
        self.assertIn("run 3", found.plots["fast_path.svg"])

    def test_fast_path_not_counted(self) -> None:
        """Packets that were not counted are not said to have stayed in the kernel."""

        class Silent:
            def run(self, *_: str) -> str:
                return "Udp: InDatagrams RcvbufErrors\nUdp: 7 1\n"

        span = fast_path.Span(cast(Any, Silent()))
        span.begin()
        self.assertRaises(WorkerEndError, lambda: span.found)
        span.end()
        self.assertEqual(span.found[0], 0)

    def test_dialects(self) -> None:
        """Each beside Twilio's of the same run; those for which the core was too small are named."""
        runs = {each.name: [measured(100, 100, cost) for cost in (1.0, 2.0)] for each in dialects.CASES}
        runs["native"] = [measured(6000, 100, 3.0), measured(7000, 100, 3.0)]
        found = dialects.report_of(runs, {**dict.fromkeys(runs, 0), "native": 4})
        self.assertEqual(
            [list(row) for row in found.rows[:2]],
            [
                ["twilio", "mu-law, base64", "1500.0 (1000.0-2000.0)", "", "0", "0.10"],
                ["native", "PCM at 16 kHz", "3000.0 (3000.0-3000.0)", "2.25", "4", "6.50"],
            ],
        )
        self.assertIn("No time was left for native, and", found.notes[0])

    def test_pacing(self) -> None:
        """What has a goal is run several times, in turns, and judged by the median; the most is that of all."""
        aimed = [case for case in pacing.cases(quick=False) if case.aimed]
        self.assertEqual(
            [(case.calls, case.real_time, case.beside) for case in aimed], [(400, True, False), (400, True, True)]
        )
        one, other = aimed
        found = pacing.report(
            {
                one: [(measured(p99, 0, 1.0), lost) for p99, lost in ((1400, 0), (9000, 7), (1300, 0))],
                other: [(measured(1600, 0, 1.0), 0)],
            }
        )
        self.assertEqual(
            [list(row) for row in found.rows],
            [
                ["400", "SCHED_FIFO", "no", "3", "0.02", "1.40", "18.00", "7 of 3000", "10 %", "1.5 ms", "met"],
                ["400", "SCHED_FIFO", "yes", "1", "0.02", "1.60", "3.20", "0 of 1000", "10 %", "1.5 ms",
                 "missed by 7 %"],
            ],
        )  # fmt: skip


class SippTests(SynchronousTestCase):
    def fake(self, script: str) -> tuple[str, Path]:
        """A program that does this in SIPp's place, and a folder for it."""
        folder = Path(self.mktemp()).resolve()
        folder.mkdir()
        program = folder / "sipp"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        return str(program), folder

    def test_calls_that_fail(self) -> None:
        """What was measured beside calls that were not all good is no figure, of ours nor of the peer."""
        said = {}
        for script in ("exit 0", "echo 'Unable to bind' >&2; exit 254", "exec sleep 60"):
            program, folder = self.fake(script)
            try:
                with calls.Sipp(1, folder, within=10.0 if "exit" in script else 0.0, program=program):
                    pass
                said[script] = ""
            except SystemExit as reason:
                said[script] = str(reason)
        self.assertEqual(
            list(said.values()),
            [
                "",
                "SIPp ended with 254, so its calls tell nothing: Unable to bind\n",
                "SIPp did not end in time, so its calls tell nothing: ",
            ],
        )

    def test_what_failed_beside(self) -> None:
        """Its own failure does not hide that of what was measured, and it is gone."""
        program, folder = self.fake("echo $$ >&2; exec sleep 60")

        def measured() -> None:
            with calls.Sipp(1, folder, within=60.0, program=program):
                self.assertTrue(wait_until(lambda: (folder / "sipp.err").read_text().endswith("\n"), 10.0))
                raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, measured)
        self.assertFalse(Path(f"/proc/{(folder / 'sipp.err').read_text().strip()}").exists())


class ToldToEndTests(SynchronousTestCase):
    PROGRAM = (
        "import contextlib, sys; from benchmarks.load import report; from twisted.internet.task import deferLater\n"
        "from twisted.internet.defer import Deferred, gatherResults\n"
        "async def work(reactor, effort):\n"
        "    try:\n"
        "        print('up', flush=True); await gatherResults([Deferred()], consumeErrors=True)\n"
        "    finally:\n"
        "        await deferLater(reactor, 0); print('down', flush=True)\n"
        "report.check_cores = report.build = lambda: None\n"
        "report.alone = report.awake = contextlib.nullcontext; report.others_share = lambda: 0.0\n"
        "sys.exit(report.bench('relay', work))\n"
    )

    def test_workers_end(self) -> None:
        """Told to end, in either way, a benchmark first ends what it has begun, and writes no figures."""
        for how in (signal.SIGTERM, signal.SIGINT):
            process = subprocess.Popen(
                [sys.executable, "-c", self.PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            self.addCleanup(process.communicate)
            self.addCleanup(process.kill)
            assert process.stdout is not None
            self.assertEqual(process.stdout.readline(), "up\n")
            process.send_signal(how)
            said = process.communicate(timeout=20)
            self.assertEqual((process.returncode, said), (143, ("down\n", "relay: told to end, nothing is written\n")))


class PlotTests(SynchronousTestCase):
    def test_bars(self) -> None:
        """Each value is a bar within the frame, the tallest value the tallest bar, and names are escaped."""
        root = ElementTree.fromstring(bars("a < b", "us", ["one", "two"], {"ours": [1, 2], "peer": [4, 3]}, 2.5))
        drawn = [bar for bar in root.findall("{*}rect") if "height" in bar.attrib and bar.attrib.get("y", "30") != "30"]
        heights = [float(bar.attrib["height"]) for bar in drawn]
        self.assertEqual(len(heights), 4)
        self.assertEqual(sorted(range(4), key=heights.__getitem__), [0, 2, 3, 1])
        self.assertIn("a < b", [text.text for text in root.findall("{*}text")])
        self.assertIn("goal 2.5", [text.text for text in root.findall("{*}text")])

    def test_lines(self) -> None:
        """Each series is one line through its points, from left to right; a single point and only zeros do no harm."""
        root = ElementTree.fromstring(lines("t", "ms", "calls", {"a": [(2, 1), (1, 5)], "b": [(1, 0)]}))
        paths = [[tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
                 for line in root.findall("{*}polyline")]  # fmt: skip
        self.assertEqual([len(path) for path in paths], [2, 1])
        self.assertLess(paths[0][0], paths[0][1])
        ElementTree.fromstring(lines("t", "ms", "calls", {"a": [(1, 0)]}))


class Reflector(threading.Thread):
    """Sends back to where it came from what ``change`` makes of a datagram; nothing for None."""

    def __init__(self, change: Callable[[int, bytes], bytes | None]) -> None:
        super().__init__(daemon=True)
        self._change = change
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((RELAY, 0))
        self._socket.settimeout(0.1)
        self._over = threading.Event()
        self.port = self._socket.getsockname()[1]

    def run(self) -> None:
        number = 0
        while not self._over.is_set():
            try:
                datagram, source = self._socket.recvfrom(2048)
            except TimeoutError:
                continue
            changed = self._change(number, datagram)
            number += 1
            if changed is not None:
                self._socket.sendto(changed, source)
        self._socket.close()

    def stop(self) -> None:
        self._over.set()
        self.join(5)


class GeneratorTests(SynchronousTestCase):
    """The load generator in C, calling a relay that is known to do wrong."""

    def setUp(self) -> None:
        try:
            build()
        except GeneratorError as reason:
            raise SkipTest(str(reason)) from None

    def call(self, change: Callable[[int, bytes], bytes | None], keys: tuple[bytes, bytes] | None = None) -> Measured:
        reflector = Reflector(change)
        reflector.start()
        self.addCleanup(reflector.stop)
        leg = Leg(host=RELAY, port=reflector.port, rtcp_port=0, origin=0, keys=keys)
        return run([leg], seconds=1, warmup=0, cpu=-1, first_port=20000 + os.getpid() % 250 * 80)

    def counts(self, measured: Measured) -> tuple[int, ...]:
        return (
            measured.sent, measured.received, measured.lost, measured.duplicates, measured.foreign, measured.forged,
            measured.misrouted,
        )  # fmt: skip

    def test_nothing_lost(self) -> None:
        """Fifty packets a second go out, and all that come back are counted, once."""
        measured = self.call(lambda number, datagram: datagram)
        self.assertEqual(self.counts(measured), (50, 50, 0, 0, 0, 0, 0))
        self.assertLess(measured.latency.p50, 20_000)

    def test_what_is_lost_foreign_or_misrouted(self) -> None:
        """Packets that stay away are lost, silence is foreign, and another leg's packet is misrouted."""

        def change(number: int, datagram: bytes) -> bytes | None:
            match number:
                case 3:
                    return None
                case 5:
                    return datagram[:12] + b"\xff" * 160
                case 7:
                    return datagram[:16] + b"\0\0\0\1" + datagram[20:]
            return datagram

        self.assertEqual(self.counts(self.call(change)), (50, 47, 3, 0, 1, 0, 1))

    def test_srtp(self) -> None:
        """What it encrypts libsrtp opens, what libsrtp encrypts it opens, and a wrong tag is forged."""
        there, back = bytes(range(30)), bytes(range(100, 130))
        receiver, sender = (
            Session(Policy(key=key, ssrc_type=kind, srtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_80))
            for key, kind in ((there, Policy.SSRC_ANY_INBOUND), (back, Policy.SSRC_ANY_OUTBOUND))
        )

        def change(number: int, datagram: bytes) -> bytes:
            protected = bytes(sender.protect(receiver.unprotect(datagram)))
            return protected if number != 4 else protected[:-1] + bytes((protected[-1] ^ 1,))

        measured = self.call(change, (there, back))
        self.assertEqual(self.counts(measured), (50, 49, 1, 0, 0, 1, 0))

    def test_failure(self) -> None:
        """A leg that is none is refused with a sentence."""
        error = self.assertRaises(GeneratorError, run, [Leg(host="nowhere", port=1, rtcp_port=0, origin=0)], seconds=1)
        self.assertEqual(str(error), "rtp_load: nowhere is no IPv4 address")
