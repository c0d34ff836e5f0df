"""The torture messages of RFC 4475 and RFC 5118 against a real gateway, over real UDP and TCP sockets."""

from __future__ import annotations

import csv
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from attrs import evolve, frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import take_ports

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
CONFIGURATION = """\
domain: sip.acme.example
listeners:
  udp: {{bind: "127.0.0.1:0"}}
  tcp: {{bind: "127.0.0.1:0"}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 1}}
limits: {{requests: 10000, burst: 10000}}
records: {{directory: "{{records}}"}}
tenants:
  acme:
    credentials: {{freepbx-hq: {{password: "correct horse"}}}}
    connectors: {{echo: {{identifier: "600", agent: "builtin:echo"}}}}
"""
SOUND = {"INVITE": 401, "BYE": 481, "OPTIONS": 200}
"""What a sound request gets here, by method, others 405: nobody has credentials, and there is no dialog."""
STREAM_CLOSES = frozenset({"clerr", "ncl", "mcl01"})
"""Their Content-Length cannot be trusted, so what follows on a stream cannot be framed."""
ON_STREAMS = {"inv2543": frozenset({400})}
"""It has no Content-Length, which a stream cannot do without (RFC 3261 20.14)."""


@frozen
class Case:
    """One message and the statuses that may answer it; none: silence."""

    name: str
    data: bytes
    statuses: frozenset[int]


def cases(folder: str) -> Iterator[Case]:
    """The rows of a folder's ``expected.csv``."""
    with (VECTORS / folder / "expected.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            expected = row.get("gateway_expected") or row["expected"]
            path = VECTORS / folder / f"{row['name']}.dat"
            data = (path if path.exists() else path.with_suffix("")).read_bytes()
            yield Case(row["name"], data, statuses(expected, data))


def statuses(expected: str, data: bytes) -> frozenset[int]:
    """What the words of a row allow."""
    if "drop" in expected and "400" not in expected:
        return frozenset()
    if expected.startswith(("INVITE: normal", "accept")):
        sound = frozenset({SOUND.get(data.partition(b" ")[0].decode(), 405)})
        return sound | frozenset({400}) if expected == "accept-or-400" else sound
    return frozenset(map(int, re.findall(r"\b[2-6]\d\d\b", expected.partition(";")[0])))


def status_lines(data: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"(?:^|\r\n)SIP/2\.0 (\d{3}) ", data)]


OPTIONS = (
    "OPTIONS sip:sip.acme.example SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;branch=z9hG4bKalive{number};rport\r\n"
    "From: <sip:probe@127.0.0.1>;tag=p\r\nTo: <sip:sip.acme.example>\r\nCall-ID: alive{number}\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class TortureTests(SynchronousTestCase):
    timeout = 240

    def setUp(self) -> None:
        if not VECTORS.is_dir():
            raise SkipTest(f"{VECTORS} is not there")
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.gateway = GatewayProcess(CONFIGURATION.format(ports=block.range), folder)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def test_every_message_of_rfc_4475_over_udp(self) -> None:
        self.run_over_udp("rfc4475")

    def test_every_message_of_rfc_5118_over_udp(self) -> None:
        self.run_over_udp("rfc5118")

    def test_every_message_of_rfc_4475_over_tcp(self) -> None:
        self.run_over_tcp("rfc4475")

    def test_every_message_of_rfc_5118_over_tcp(self) -> None:
        self.run_over_tcp("rfc5118")

    def run_over_udp(self, folder: str) -> None:
        judgements: dict[str, str] = {}
        for number, case in enumerate(cases(folder)):
            judgements[case.name] = judged(self.over_udp(case.data), case)
            self.assertEqual(self.over_udp(OPTIONS.format(transport="UDP", number=number).encode()), [200], case.name)
        self.check(judgements)

    def check(self, judgements: dict[str, str]) -> None:
        self.assertGreater(len(judgements), 11)
        self.assertEqual({name: judgement for name, judgement in judgements.items() if judgement}, {})
        self.assertNotIn("Traceback", self.gateway.log)

    def over_udp(self, data: bytes) -> list[int]:
        """The final statuses of the responses to one datagram, retransmissions of one counted once."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.bind(("127.0.0.1", 0))
            phone.sendto(data, ("127.0.0.1", self.gateway.ports["udp"]))
            phone.settimeout(0.3)
            found: list[int] = []
            deadline = time.monotonic() + 1.0
            while time.monotonic() < deadline:
                try:
                    found += status_lines(phone.recv(65535))
                except TimeoutError:
                    break
            return [status for status in dict.fromkeys(found) if status >= 200]

    def run_over_tcp(self, folder: str) -> None:
        judgements: dict[str, str] = {}
        for number, case in enumerate(cases(folder)):
            # Some of the files end with their last header: the empty line that a stream waits for is added.
            data = case.data if b"\r\n\r\n" in case.data else case.data + b"\r\n"
            answered, closed = self.over_tcp(data)
            if case.name == "dblreq":  # on a stream its second half is a message of its own
                answered = answered[:1]
            if case.name == "clerr":  # waits for the rest of its body, and is closed after 10 s
                judgements[case.name] = f"{answered} where silence is due" if answered else ""
            else:
                judgements[case.name] = judged(
                    answered, evolve(case, statuses=ON_STREAMS.get(case.name, case.statuses))
                )
                if case.name in STREAM_CLOSES and not closed:
                    judgements[case.name] += " and the connection stays open"
            alive, _ = self.over_tcp(OPTIONS.format(transport="TCP", number=number).encode())
            self.assertEqual(alive, [200], case.name)
        self.check(judgements)

    def over_tcp(self, data: bytes) -> tuple[list[int], bool]:
        """The final statuses that come back, and whether the gateway closed the connection."""
        with socket.create_connection(("127.0.0.1", self.gateway.ports["tcp"]), timeout=5.0) as phone:
            phone.sendall(data)
            phone.settimeout(0.3)
            received = b""
            try:
                while chunk := phone.recv(65535):
                    received += chunk
            except TimeoutError:
                return [status for status in status_lines(received) if status >= 200], False
            except ConnectionResetError:
                pass
            return [status for status in status_lines(received) if status >= 200], True


def judged(answered: list[int], case: Case) -> str:
    if not case.statuses:
        return "" if not answered else f"{answered} where silence is due"
    if len(answered) == 1 and answered[0] in case.statuses:
        return ""
    return f"{answered} where one of {sorted(case.statuses)} is due"
