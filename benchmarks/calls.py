"""What a call costs: set-up time, the gateway's CPU for a whole call with digest, the worker's CPU and memory.

SIPp calls a real gateway on loopback. A machine is shared and noisy, so each figure stands beside a peer measured
in the same run: SIPp calling SIPp's own server for the signalling, an empty loop of system calls for the clock.
Run by hand: ``python -m benchmarks.calls``.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from types import TracebackType

from benchmarks.load.machine import describe, others_share
from benchmarks.load.report import BUSY, CAUTION
from stellar_gw.compiled import usable
from stellar_gw.sip.digest import answer_challenge, parse_challenge
from stellar_gw.sip.message import Response
from stellar_gw.sip.parser import parse_message
from stellar_gw.testing.gateway_process import GatewayProcess, cpu_seconds, resident_octets, wait_until
from stellar_gw.testing.ports import take_ports
from stellar_gw.testing.processes import unwind_on_sigterm

HERE = Path(__file__).parent
CONFIGURATION = """\
domain: sip.acme.example
listeners: {{udp: {{bind: "127.0.0.1:0"}}}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 1, quarantine: 1s}}
records: {{directory: "{{records}}"}}
limits: {{requests: 100000, burst: 100000}}
tenants:
  acme:
    credentials: {{freepbx-hq: {{password: correct-horse, allowed_ips: [127.0.0.1]}}}}
    connectors: {{echo: {{identifier: "600", agent: "builtin:echo"}}}}
"""


class Sipp:
    """SIPp calling 127.0.0.1:target, quietly; a context manager, within which what it brings about is measured.

    :raise SystemExit: at its end, if not all of its calls were good: what was measured meanwhile is no figure then.
    """

    def __init__(self, target: int, folder: Path, *words: str, within: float, program: str = "sipp") -> None:
        """:param within: seconds in which all of its calls are over."""
        command = [program, f"127.0.0.1:{target}", "-i", "127.0.0.1", "-s", "600", "-nostdin", *words]
        self._words = folder / "sipp.err"
        with self._words.open("wb") as words_file:
            self._process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=words_file)
        self._deadline = time.monotonic() + within

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status: int | None = None
        try:
            if error is None:
                with suppress(subprocess.TimeoutExpired):
                    status = self._process.wait(max(0.0, self._deadline - time.monotonic()))
        finally:
            self._process.kill()
            self._process.wait()
        if error is None and status != 0:
            how = "did not end in time" if status is None else f"ended with {status}"
            said = self._words.read_text(encoding="utf-8", errors="replace")[-300:]
            raise SystemExit(f"SIPp {how}, so its calls tell nothing: {said}")


@contextmanager
def sipp_server(folder: Path) -> Iterator[tuple[int, int]]:
    """SIPp's own server, as the peer: its port and process id."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["sipp", "-sn", "uas", "-i", "127.0.0.1", "-p", str(port), "-nostdin"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.0)
        yield port, server.pid
    finally:
        server.kill()
        server.wait()


def cpu_of_signalling(gateway: GatewayProcess, folder: Path, calls: int, rate: int) -> float:
    """Milliseconds of the gateway's CPU for one whole call with digest."""
    before = cpu_seconds(gateway.pid)
    scenario = str(HERE / "sipp" / "digest.xml")
    words = ("-sf", scenario, "-m", str(calls), "-r", str(rate), "-d", "500")
    with Sipp(gateway.ports["udp"], folder, *words, within=calls / rate + 60):
        pass
    return (cpu_seconds(gateway.pid) - before) / calls * 1000


def cpu_of_peer(folder: Path, calls: int, rate: int) -> float:
    """Milliseconds of SIPp's own server for a call without digest and without media."""
    with sipp_server(folder) as (port, pid):
        before = cpu_seconds(pid)
        words = ("-sn", "uac", "-m", str(calls), "-r", str(rate), "-d", "500")
        with Sipp(port, folder, *words, within=calls / rate + 60):
            pass
        return (cpu_seconds(pid) - before) / calls * 1000


def set_up_times(port: int, probes: int) -> list[float]:
    """Milliseconds from the INVITE with credentials to its 200, one call after another."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind(("127.0.0.1", 0))
        phone.connect(("127.0.0.1", port))
        phone.settimeout(5.0)
        for number in range(probes):
            times.append(_one_call(phone, f"probe-{time.monotonic_ns()}-{number}"))
            time.sleep(0.01)
    return times


def _one_call(phone: socket.socket, call_id: str) -> float:
    host, port = phone.getsockname()
    body = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    uri = "sip:600@127.0.0.1"

    def request(method: str, cseq: int, to_tag: str = "", extra: str = "", with_body: bool = False) -> bytes:
        content = body if with_body else ""
        kind = "Content-Type: application/sdp\r\n" if with_body else ""
        return (
            f"{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{call_id}{method[0]}{cseq}\r\n"
            f"From: <sip:probe@{host}>;tag=p\r\nTo: <{uri}>{to_tag}\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {cseq} {method}\r\nContact: <sip:probe@{host}:{port}>\r\nMax-Forwards: 70\r\n{extra}{kind}"
            f"Content-Length: {len(content)}\r\n\r\n{content}"
        ).encode()

    def wait_for(status: int) -> Response:
        while True:
            message = parse_message(phone.recv(65535), stream=False)
            if isinstance(message, Response) and message.call_id == call_id and message.status == status:
                return message

    phone.send(request("INVITE", 1, with_body=True))
    challenge = parse_challenge(wait_for(401).headers.first("WWW-Authenticate") or "")
    answer = answer_challenge(challenge, "freepbx-hq", "correct-horse", "INVITE", uri, b"", "cnonce", 1)
    invite = request("INVITE", 2, extra=f"Authorization: {answer}\r\n", with_body=True)
    began = time.perf_counter()
    phone.send(invite)
    answered = wait_for(200)
    elapsed = (time.perf_counter() - began) * 1000
    tag = f";tag={answered.to.tag}"
    phone.send(request("ACK", 2, tag))
    phone.send(request("BYE", 3, tag))
    return elapsed


def media(gateway: GatewayProcess, folder: Path, calls: int, seconds: int) -> tuple[float, float, float]:
    """Worker CPU in microseconds for a call and 20 ms; KiB a call of the worker, and of the gateway.

    SIPp echoes what it hears, so 50 packets a second go each way of each call.
    """
    (worker,) = gateway.workers
    idle = resident_octets(worker), resident_octets(gateway.pid)
    up = 4
    words = (
        "-sf", str(HERE / "sipp" / "digest.xml"), "-m", str(calls), "-r", str(calls // up),
        "-d", str((seconds + up + 4) * 1000), "-rtp_echo",
    )  # fmt: skip
    with Sipp(gateway.ports["udp"], folder, *words, within=2 * seconds + 60):
        time.sleep(up + 2)
        before, began = cpu_seconds(worker), time.monotonic()
        time.sleep(seconds)
        used, elapsed = cpu_seconds(worker) - before, time.monotonic() - began
        busy = resident_octets(worker), resident_octets(gateway.pid)
    per_slot = used * 1e6 / (calls * elapsed / 0.02)
    return per_slot, (busy[0] - idle[0]) / calls / 1024, (busy[1] - idle[1]) / calls / 1024


def quantile(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main() -> int:
    if shutil.which("sipp") is None:
        sys.stderr.write("SIPp is missing: apt-get install --no-install-recommends sip-tester\n")
        return 2
    unwind_on_sigterm()
    others = others_share()
    folder = Path(tempfile.mkdtemp(prefix="stellar-gw-bench-"))
    block = take_ports()
    try:
        with GatewayProcess(CONFIGURATION.format(ports=block.range), folder) as gateway:
            set_up_times(gateway.ports["udp"], 20)  # everything is loaded and warm
            quiet = set_up_times(gateway.ports["udp"], 200)
            ours = median(cpu_of_signalling(gateway, folder, 500, 50) for _ in range(3))
            peer = median(cpu_of_peer(folder, 500, 50) for _ in range(3))
            scenario = str(HERE / "sipp" / "digest.xml")
            words = ("-sf", scenario, "-m", "600", "-r", "50", "-d", "500")
            with Sipp(gateway.ports["udp"], folder, *words, within=75):
                busy = set_up_times(gateway.ports["udp"], 300)
            slot, of_worker, of_gateway = media(gateway, folder, 100, 10)
            wait_until(lambda: len(gateway.records()) >= 2000, 5.0)
    finally:
        block.release()
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        ("set-up, INVITE to 200, idle: p50 / p99", f"{median(quiet):.1f} / {quantile(quiet, 0.99):.1f} ms"),
        ("the same at 50 calls a second", f"{median(busy):.1f} / {quantile(busy, 0.99):.1f} ms"),
        ("gateway CPU for a whole call with digest", f"{ours:.2f} ms"),
        ("  SIPp's own server, no digest, no media", f"{peer:.2f} ms (ratio {ours / peer:.1f})"),
        ("worker CPU a call and 20 ms, PCMU to echo at 16 kHz", f"{slot:.1f} us"),
        ("memory a call, worker / gateway", f"{of_worker:.0f} / {of_gateway:.0f} KiB"),
    ]
    width = max(len(name) for name, _ in rows)
    runs = "compiled" if usable()[0] else "interpreted"
    note = (
        f"{time.strftime('%Y-%m-%d')}, {describe()}; other work took {others:.0%} of both cores before. "
        f"Media workers run {runs}; cores may halt.{' ' + CAUTION if others > BUSY else ''}"
    )
    sys.stdout.write("".join(f"{name:<{width}}  {value}\n" for name, value in rows) + f"({note})\n")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    lines = [f"| {re.sub(' +', ' ', name).strip()} | {value} |\n" for name, value in rows]
    table = "| figure | value |\n|---|---|\n" + "".join(lines)
    (results / "calls.md").write_text(f"{table}\n- {note}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
