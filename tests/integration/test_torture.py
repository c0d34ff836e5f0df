"""The torture messages of RFC 4475 and RFC 5118 against a real gateway, over real UDP and TCP sockets."""

from __future__ import annotations

import csv
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from attrs import evolve, frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import free_port, take_ports
from tests.integration.gateway_support import uri_host

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"
FOLDERS = ("rfc4475", "rfc5118")
CONFIGURATION = """\
domain: sip.acme.example
listeners:
  udp: {{bind: "{bind}:0"}}
  tcp: {{bind: "{bind}:0"}}
media: {{ports: {ports}, bind: "{media}", workers: 1}}
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
    return [int(found) for found in re.findall(rb"(?:^|\n)SIP/2\.0 (\d{3}) ", data)]


OPTIONS = (
    "OPTIONS sip:sip.acme.example SIP/2.0\r\nVia: SIP/2.0/{transport} {host}:9;branch=z9hG4bKalive{number};rport\r\n"
    "From: <sip:probe@{host}>;tag=p\r\nTo: <sip:sip.acme.example>\r\nCall-ID: alive{number}\r\n"
    "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


class TortureTests(SynchronousTestCase):
    """After each message an OPTIONS is answered: what the message itself is answered with has come before."""

    timeout = 240
    host = "127.0.0.1"

    def setUp(self) -> None:
        if not VECTORS.is_dir():
            raise SkipTest(f"{VECTORS} is not there")
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        text = CONFIGURATION.format(ports=block.range, bind=uri_host(self.host), media=self.host)
        self.gateway = GatewayProcess(text, folder)
        self.addCleanup(self.gateway.stop)
        self.gateway.start()

    def test_every_message_over_udp(self) -> None:
        for folder in FOLDERS:
            self.check(self.over_udp(folder))

    def test_every_message_over_tcp(self) -> None:
        for folder in FOLDERS:
            self.check(self.over_tcp(folder))

    def options(self, transport: str, number: int) -> bytes:
        return OPTIONS.format(transport=transport, number=number, host=uri_host(self.host)).encode()

    def check(self, judgements: dict[str, str]) -> None:
        self.assertGreater(len(judgements), 11)
        self.assertEqual({name: judgement for name, judgement in judgements.items() if judgement}, {})
        self.assertNotIn("Traceback", self.gateway.log)

    def over_udp(self, folder: str) -> dict[str, str]:
        judgements: dict[str, str] = {}
        for number, case in enumerate(cases(folder)):
            with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_DGRAM) as phone:
                phone.bind((self.host, 0))
                phone.settimeout(5.0)
                for data in (case.data, self.options("UDP", number)):
                    phone.sendto(data, (self.host, self.gateway.ports["udp"]))
                judgements[case.name] = judged(self.until_alive(phone, number), case)
        return judgements

    def until_alive(self, phone: socket.socket, number: int) -> list[int]:
        """The final statuses of what comes before the answer to the OPTIONS of that number, each once."""
        came = b""
        while not re.search(rb"^Call-ID: alive%d\r$" % number, came, re.MULTILINE | re.IGNORECASE):
            came += phone.recv(65535)
        *found, alive = (status for status in status_lines(came) if status >= 200)
        self.assertEqual(alive, 200)
        return list(dict.fromkeys(found))

    def over_tcp(self, folder: str) -> dict[str, str]:
        """Each message on a connection of its own; what is on them is looked at in the end."""
        opened: dict[Case, socket.socket] = {}
        with ExitStack() as stack:
            steady = stack.enter_context(self.connection())
            for number, case in enumerate(cases(folder)):
                opened[case] = stack.enter_context(self.connection())
                # Some of the files end with their last header: the empty line that a stream waits for is added.
                opened[case].sendall(case.data if b"\r\n\r\n" in case.data else case.data + b"\r\n")
                self.turn(steady, number, case.name)
            # In the one turn the gateway has read the last message at the latest, in the other it has sent its answer.
            for more in (1, 2):
                self.turn(steady, number + more, "after all of them")
            return {case.name: self.judged_on_stream(case, *what_came(phone)) for case, phone in opened.items()}

    def turn(self, steady: socket.socket, number: int, when: str) -> None:
        """Have the gateway answer here, so that it has looked at every other connection too."""
        steady.sendall(self.options("TCP", number))
        self.assertEqual(status_lines(steady.recv(65535)), [200], when)

    def connection(self) -> socket.socket:
        return socket.create_connection((self.host, self.gateway.ports["tcp"]), timeout=5.0)

    def judged_on_stream(self, case: Case, answered: list[int], closed: bool) -> str:
        if case.name == "dblreq":  # on a stream its second half is a message of its own
            answered = answered[:1]
        if case.name == "clerr":  # waits for the rest of its body, and is closed after 10 s
            return f"{answered} where silence is due" if answered else ""
        judgement = judged(answered, evolve(case, statuses=ON_STREAMS.get(case.name, case.statuses)))
        if case.name in STREAM_CLOSES and not closed:
            judgement += " and the connection stays open"
        return judgement


class SixTortureTests(TortureTests):
    """The same over IPv6."""

    host = "::1"

    def setUp(self) -> None:
        try:
            free_port(host=self.host)
        except OSError:
            raise SkipTest("this machine has no IPv6 on loopback (::1)") from None
        super().setUp()


def what_came(phone: socket.socket) -> tuple[list[int], bool]:
    """The final statuses on a connection, and whether the gateway closed it."""
    phone.setblocking(False)
    received, closed = b"", False
    try:
        while chunk := phone.recv(65535):
            received += chunk
        closed = True
    except BlockingIOError:
        pass
    except ConnectionResetError:
        closed = True
    return [status for status in status_lines(received) if status >= 200], closed


def judged(answered: list[int], case: Case) -> str:
    if not case.statuses:
        return "" if not answered else f"{answered} where silence is due"
    if len(answered) == 1 and answered[0] in case.statuses:
        return ""
    return f"{answered} where one of {sorted(case.statuses)} is due"
