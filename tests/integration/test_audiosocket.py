"""AudioSocket links over real sockets, and a whole call to a server of ours."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from stellar_gw.agent.link import Link, LinkClosed, LinkLimits, Target
from stellar_gw.agent.reading import MANY, Rota
from stellar_gw.agent.tcp_link import TcpConnector
from stellar_gw.dialects.audiosocket import call_uuid
from stellar_gw.dialects.contract import Frame
from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.wav import read_wav
from stellar_gw.testing.gateway_process import GatewayProcess
from stellar_gw.testing.ports import take_ports

ROOT = Path(__file__).resolve().parents[2]

HANGUP = b"\x00\x00\x00"


class Server:
    """Takes one connection in a thread of its own; what it was sent is kept, frame by frame and octet by octet."""

    def __init__(self, behave: Callable[[Server, socket.socket], None]) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.octets = b""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(20.0)
        self.url = f"audiosocket://127.0.0.1:{self._listening.getsockname()[1]}"
        self._behave = behave
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(20.0)
            try:
                self._behave(self, connection)
            except OSError:
                return

    def read(self, connection: socket.socket) -> tuple[int, bytes] | None:
        """The next frame; None at the end."""
        head = _exactly(connection, 3)
        if head is None:
            return None
        kind, length = struct.unpack(">BH", head)
        payload = _exactly(connection, length)
        if payload is None:
            return None
        self.frames.append((kind, payload))
        self.octets += head + payload
        return kind, payload

    def stop(self) -> None:
        self.stopped.set()
        self._listening.close()
        self._thread.join(10.0)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def echo(server: Server, connection: socket.socket) -> None:
    """Say back what is heard; hang up at the digit ``#``."""
    while (frame := server.read(connection)) is not None:
        kind, payload = frame
        if kind in (0x10, 0x12, 0x13):
            connection.sendall(struct.pack(">BH", kind, len(payload)) + payload)
        elif (kind, payload) == (0x03, b"#"):
            connection.sendall(b"\x00\x00\x00")


def listen(server: Server, connection: socket.socket) -> None:
    while server.read(connection) is not None:
        continue


def in_pieces(server: Server, connection: socket.socket) -> None:
    """Two frames, an octet at a time, then the end."""
    for octet in b"\x10\x00\x04abcd\x03\x00\x015":
        connection.sendall(bytes([octet]))


def deaf(server: Server, connection: socket.socket) -> None:
    """Never read; leave when the gateway does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    server.stopped.wait(20.0)


class Events:
    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.opened: Deferred[float] = Deferred()
        self.closed: Deferred[LinkClosed] = Deferred()

    def link_opened(self, connect_ms: float) -> None:
        self.opened.callback(connect_ms)

    def link_received(self, frame: Frame) -> None:
        self.frames.append(frame)

    def link_closed(self, closed: LinkClosed) -> None:
        self.closed.callback(closed)


class LinkTests(TestCase):
    timeout = 30

    def connect(self, url: str, **limits: float) -> tuple[Link, Events]:
        events = Events()
        link = TcpConnector(reactor).connect(Target(url=url), events, LinkLimits(**limits))  # type: ignore[arg-type]
        return link, events

    def serve(self, behave: Callable[[Server, socket.socket], None]) -> Server:
        server = Server(behave)
        self.addCleanup(server.stop)
        return server

    async def test_frames_are_handed_on_whole_however_they_come(self) -> None:
        _, events = self.connect(self.serve(in_pieces).url)
        closed = await events.closed
        self.assertEqual(events.frames, [b"\x10\x00\x04abcd", b"\x03\x00\x015"])
        self.assertEqual((closed.code, closed.established), ("lost", True))

    async def test_what_cannot_wait_has_its_turn_after_each_reading(self) -> None:
        events, rota, told = Events(), Rota(reactor.callLater), []
        rota.between = lambda: told.append(len(events.frames))
        url = self.serve(lambda server, connection: connection.sendall(b"\x10\x00\x04abcd" + HANGUP)).url
        TcpConnector(reactor, rota).connect(Target(url=url), events, LinkLimits())
        await events.closed
        self.assertEqual(told[-1], len(events.frames))

    async def test_very_many_frames_take_turns(self) -> None:
        """However many frames come at once, at most 128 are handed on in one turn of the loop, all in their order; a
        hang-up after them is not lost where the server leaves at once.
        """
        numbered = [b"\x03\x00\x02" + number.to_bytes(2, "big") for number in range(20000)]

        def burst(server: Server, connection: socket.socket) -> None:
            connection.sendall(b"".join(numbered) + HANGUP)

        _, events = self.connect(self.serve(burst).url)
        taken = [0]
        while not events.closed.called:
            await deferLater(reactor, 0)
            taken.append(len(events.frames))
        self.assertEqual(events.frames, [*numbered, HANGUP])
        self.assertLessEqual(max(after - before for before, after in pairwise(taken)), 2 * MANY)

    async def test_what_is_sent_arrives_before_the_close(self) -> None:
        server = self.serve(listen)
        link, events = self.connect(server.url)
        await events.opened
        link.send(b"\x01\x00\x02id")
        link.close()
        link.send(b"\x03\x00\x01x")
        closed = await events.closed
        await deferLater(reactor, 0.3)
        server.stop()
        self.assertEqual((server.frames, closed.code), ([(1, b"id")], "cancelled"))

    async def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        _, events = self.connect(f"audiosocket://127.0.0.1:{port}")
        closed = await events.closed
        self.assertEqual((closed.code, closed.established), ("refused", False))

    async def test_a_url_without_a_host(self) -> None:
        _, events = self.connect("audiosocket://")
        self.assertEqual((await events.closed).code, "invalid_url")

    async def test_giving_up_while_connecting_leaves_no_connection(self) -> None:
        server = self.serve(lambda server, connection: server.frames.append((0, connection.recv(1))))
        link, events = self.connect(server.url)
        link.close()
        self.assertEqual((await events.closed).code, "cancelled")
        self.assertNoResult(events.opened)

    async def test_an_agent_that_does_not_read_is_taken_for_dead(self) -> None:
        link, events = self.connect(self.serve(deaf).url, ping_interval=0.3, ping_timeout=0.3)
        await events.opened
        for _ in range(2000):
            link.send(b"\x10\xff\xff" + bytes(65535))
            if events.closed.called:
                break
            await deferLater(reactor, 0.001)
        closed = await events.closed
        self.assertEqual((closed.code, closed.established), ("unresponsive", True))


RATES = {8000: 0x10, 16000: 0x12, 24000: 0x13}
"""Rate to the type of its frames."""
AGENT = """
      bot{rate}: {{environments: {{production: {{dialect: audiosocket, url: "{url}", rate: {rate}}}}}}}"""
CONFIGURATION = """\
domain: sip.acme.example
listeners: {{udp: {{bind: "127.0.0.1:0"}}}}
media: {{ports: {ports}, bind: 127.0.0.1, workers: 1}}
records: {{directory: "{{records}}"}}
trunk_providers: {{local: {{allowed_ips: [127.0.0.1], tenants: [acme]}}}}
tenants:
  acme:
    agents: {agents}
    connectors:
      narrow: {{identifier: "8000", agent: bot8000}}
      wide: {{identifier: "16000", agent: bot16000}}
      wider: {{identifier: "24000", agent: bot24000}}
"""


class CallTests(SynchronousTestCase):
    timeout = 60

    def test_whole_calls(self) -> None:
        """At each rate the server is sent the published frames, and hears the caller's tone and digit; its echo is
        heard; its hang-up ends the call.
        """
        servers = {rate: Server(echo) for rate in RATES}
        for server in servers.values():
            self.addCleanup(server.stop)
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir()
        agents = "".join(AGENT.format(rate=rate, url=server.url) for rate, server in servers.items())
        with GatewayProcess(CONFIGURATION.format(ports=block.range, agents=agents), folder) as gateway:
            phones = {
                rate: self.phone(f"sip:{rate}@127.0.0.1:{gateway.ports['udp']}", folder.absolute() / str(rate))
                for rate in RATES
            }
            for rate, phone in phones.items():
                said, complaints = phone.communicate(timeout=40)
                self.assertEqual((phone.returncode, complaints), (0, ""), said)
                self.assertEqual((json.loads(said)["status"], rate), (200, rate))
            records = {int(record["agent"].removeprefix("bot")): record for record in gateway.wait_for_records(3)}
        for rate, server in servers.items():
            server.stop()
            self.look(records[rate], server, rate)
            self.assertGreater(tone_ms(read_wav((folder / str(rate)).read_bytes()).at(16000), 16000, 440), 500)

    def phone(self, uri: str, recording: Path) -> subprocess.Popen[str]:
        words = [
            "--play",
            "tone:440",
            "--dtmf",
            "#",
            "--dtmf-after",
            "1.5",
            "--record",
            str(recording),
            "--duration",
            "10",
        ]
        phone = subprocess.Popen(
            [sys.executable, "-m", "stellar_gw.cli.call", uri, "--json", "--quiet", *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self.addCleanup(phone.kill)
        return phone

    def look(self, record: dict[str, Any], server: Server, rate: int) -> None:
        """What one server heard is what was published, and what was said."""
        self.assertEqual((record["cause"], record["legs"][0]["digits"]), ("agent_hangup", "#"))
        heard = [payload for kind, payload in server.frames if kind == RATES[rate]]
        before = server.frames.index((0x03, b"#")) - 1
        self.assertEqual(server.octets, published(rate, record["call_id"], heard[:before], heard[before:]))
        self.assertGreater(tone_ms(b"".join(heard), rate, 440), 1000)


def published(rate: int, call_id: str, before: Sequence[bytes], after: Sequence[bytes]) -> bytes:
    """A whole call as the protocol's page has it: the UUID (type 1, 16 octets), 20 ms of signed linear audio a frame
    (its length in two octets, the higher first), a digit (type 3, its ASCII character) after some of them, the hang-up
    (type 0, nothing).
    """
    head = bytes([RATES[rate]]) + {8000: b"\x01\x40", 16000: b"\x02\x80", 24000: b"\x03\xc0"}[rate]
    audio = [b"".join(head + payload for payload in part) for part in (before, after)]
    return b"\x01\x00\x10" + call_uuid(call_id).bytes + audio[0] + b"\x03\x00\x01#" + audio[1] + b"\x00\x00\x00"
