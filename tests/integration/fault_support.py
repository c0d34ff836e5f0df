"""What the tests of faults, limits and attacks share: a gateway to hurt, honest phones, and strangers."""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, frozen
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.core import SipCore
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.digest import answer_challenge, parse_challenge
from stellar_gw.sip.events import Answered, Ended, Event, FlowNeeded
from stellar_gw.sip.events import UsageId as CallId
from stellar_gw.sip.flow import Flow, Listener
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr
from stellar_gw.testing.gateway_process import GatewayProcess, wait_until
from stellar_gw.testing.ports import PortBlock, take_ports
from tests.integration.gateway_support import DOMAIN, ECHO, HOST, TRUNK, RealGateway

NO_MEDIA = 9
"""The discard port: nobody listens there, nobody sends from there."""


class HurtGateway(RealGateway):
    """The gateway of every test of whole calls, with words of its configuration changed.

    :param changes: what stands there, and what shall stand there.
    :param ports: how many ports there are for media; 0: as many as the block has.
    :param records: the folder of the records.
    """

    def __init__(
        self,
        folder: Path,
        block: PortBlock,
        changes: Mapping[str, str],
        *,
        bot: str = "",
        ports: int = 0,
        records: Path | None = None,
        environ: Mapping[str, str] | None = None,
        wrapper: tuple[str, ...] = (),
    ) -> None:
        super().__init__(folder, block, bot=bot)
        self.media_ports = range(block.first, block.first + ports if ports else block.last + 1)
        if ports:
            changes = {**changes, block.range: f"{block.first}-{block.first + ports - 1}"}
        if records is not None:
            changes = {**changes, str(self.records_folder): str(records)}
            self.records_folder = records
        self._environ.update(environ or {})
        self._wrapper = wrapper
        text = self.path.read_text(encoding="utf-8")
        for old, new in changes.items():
            if old not in text:
                raise ValueError(f"{old} does not stand in the configuration")
            text = text.replace(old, new)
        self.path.write_text(text, encoding="utf-8")

    @property
    def sip(self) -> tuple[str, int]:
        """Where it takes SIP over UDP."""
        return HOST, self.ports["udp"]


class FaultCase(SynchronousTestCase):
    """A test with a gateway, which must not have broken in the end."""

    timeout = 120

    def start(self, changes: Mapping[str, str] | None = None, **settings: Any) -> HurtGateway:
        """A gateway, for this test alone."""
        block = take_ports()
        self.addCleanup(block.release)
        folder = Path(self.mktemp())
        folder.mkdir(parents=True)
        gateway = HurtGateway(folder, block, changes or {}, **settings)
        self.addCleanup(gateway.stop)
        gateway.start()
        self.addCleanup(self.check_log, gateway)
        return gateway

    def check_log(self, gateway: GatewayProcess) -> None:
        """Whatever was done to it, no code of ours may have raised."""
        self.assertNotIn("Traceback", gateway.log, gateway.log[-3000:])

    def phone(self, gateway: HurtGateway, **settings: Any) -> Phone:
        phone = Phone(gateway.sip, **settings)
        self.addCleanup(phone.close)
        return phone

    def soon(self, true: Callable[[], object], what: str, timeout: float = 10.0) -> None:
        self.assertTrue(wait_until(true, timeout, 0.1), f"not within {timeout:g} s: {what}")


# --- honest callers -----------------------------------------------------------------------------


@define
class PhoneCall:
    """One call of a phone, as it saw it; times by ``time.monotonic``.

    :ivar statuses: of its INVITE, the final ones.
    :ivar media: where the gateway wants RTP, by its answer.
    :ivar reason: the Reason header of the BYE that ended it.
    """

    status: int = 0
    media: tuple[str, int] = ("", 0)
    retry_after: str = ""
    ended: float | None = None
    ended_by: str = ""
    reason: str = ""

    @property
    def up(self) -> bool:
        return self.status == 200 and self.ended is None


class Phone:
    """Many calls from one UDP socket, by the SIP core, without media; turned only while somebody waits for it.

    :param user: for digest; empty: its address is all it has.
    """

    def __init__(self, gateway: tuple[str, int], *, host: str = TRUNK, user: str = "", password: str = "") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._socket.setblocking(False)
        local = self._socket.getsockname()
        listener = Listener(name="udp", transport="udp", bind=local, advertise=local, media_advertise=host)
        self._core = SipCore({"udp": listener}, user_agent="phone", rng=os.urandom)
        self._flow = Flow(1, "udp", "udp", local, gateway)
        self._me = NameAddr("", SipUri(user="ann", host=host, port=local[1]))
        self._credentials = ClientCredentials(username=user, password=password, host=gateway[0]) if user else None
        self.calls: dict[CallId, PhoneCall] = {}

    def close(self) -> None:
        self._socket.close()

    def dial(self, to: str = ECHO, count: int = 1, *, media_port: int = NO_MEDIA) -> list[PhoneCall]:
        """Begin calls; where their RTP would be received."""
        uri = SipUri(user=to, host=self._flow.remote[0], port=self._flow.remote[1])
        body = offer(self._flow.local[0], media_port)
        began = []
        for _ in range(count):
            usage = self._core.invite(
                uri, self._flow, time.monotonic(), from_=self._me, to=NameAddr("", uri), body=body,
                credentials=self._credentials,
            )  # fmt: skip
            began.append(self.calls.setdefault(usage, PhoneCall()))
            self._turn()
        return began

    def call(self, to: str = ECHO, count: int = 1, timeout: float = 10.0) -> list[PhoneCall]:
        """Begin calls, and wait until each is answered or refused."""
        began = self.dial(to, count)
        self.wait(lambda: all(call.status for call in began), timeout)
        return began

    def hang_up(self) -> None:
        """BYE to everybody, and their answers."""
        for usage, call in self.calls.items():
            if call.ended is None:
                self._core.bye(usage, time.monotonic())
                self._turn()
        self.wait(lambda: self._core.counts["usages"] == 0, 3.0)

    def options(self, timeout: float = 5.0) -> tuple[int, str]:
        """The status of an OPTIONS outside any dialog, 0 for none, and its Retry-After."""
        with Stranger(self._flow.remote, host=self._flow.local[0]) as stranger:
            stranger.send(request("OPTIONS", stranger))
            answer = stranger.answer(timeout)
            return (0, "") if answer is None else (answer.status, answer.header("Retry-After"))

    def wait(self, true: Callable[[], object], timeout: float) -> bool:
        """Take what comes until something is true."""
        deadline = time.monotonic() + timeout
        while not true():
            now = time.monotonic()
            if now >= deadline:
                return False
            timer = self._core.next_timer()
            until = deadline if timer is None else min(deadline, timer)
            select.select([self._socket], [], [], min(0.05, max(0.0, until - now)))
            self._take()
        return True

    def _take(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65535)
            except BlockingIOError:
                break
            if source == self._flow.remote:
                self._core.receive(data, self._flow, time.monotonic())
        self._core.advance(time.monotonic())
        self._turn()

    def _turn(self) -> None:
        while True:
            packets = self._core.to_send()
            for packet, _ in packets:
                self._socket.sendto(packet, self._flow.remote)
            event = self._core.next_event()
            if event is not None:
                self._handle(event)
            elif not packets:
                return

    def _handle(self, event: Event) -> None:
        if isinstance(event, FlowNeeded):
            self._core.flow_ready(event.token, self._flow, time.monotonic())
        elif isinstance(event, Answered):
            call = self.calls[event.usage]
            call.status, call.media = event.response.status, media_of(event.response.body)
        elif isinstance(event, Ended):
            call = self.calls[event.usage]
            call.ended, call.ended_by = time.monotonic(), event.by
            if event.response is not None:
                call.status = event.response.status
                call.retry_after = event.response.headers.first("Retry-After") or ""
            if event.request is not None:
                call.reason = event.request.headers.first("Reason") or ""


def offer(host: str, port: int) -> bytes:
    """PCMU and telephone-event."""
    return (
        f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n"
        "a=rtpmap:101 telephone-event/8000\r\n"
    ).encode()


def media_of(description: bytes) -> tuple[str, int]:
    """The address in a session description."""
    host = re.search(rb"^c=IN IP4 (\S+)", description, re.MULTILINE)
    port = re.search(rb"^m=audio (\d+)", description, re.MULTILINE)
    return (host[1].decode(), int(port[1])) if host and port else ("", 0)


class MeasuredCall:
    """``stellar-gw-call`` as a process: a call with media, measured from its audio."""

    def __init__(
        self, test: SynchronousTestCase, gateway: HurtGateway, *options: str, to: str = ECHO, transport: str = "udp"
    ) -> None:
        command = [
            sys.executable, "-m", "stellar_gw.cli.call", f"sip:{to}@{HOST}:{gateway.ports[transport]}",
            "--transport", transport, "--json", *options,
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[2], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        test.addCleanup(self._end)

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def report(self, timeout: float = 60.0) -> dict[str, Any]:
        """What it measured, once it has ended.

        :raise AssertionError: it ended without a report.
        """
        output, _ = self._process.communicate(timeout=timeout)
        try:
            report: dict[str, Any] = json.loads(output)
        except ValueError:
            raise AssertionError(output) from None
        return report


# --- strangers ----------------------------------------------------------------------------------


@frozen
class Answer:
    """A response, as octets and as text."""

    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")

    @property
    def status(self) -> int:
        return int(self.text.split(" ", 2)[1])

    def header(self, name: str) -> str:
        match = re.search(rf"^{name}:[ \t]*([^\r\n]*)", self.text, re.MULTILINE | re.IGNORECASE)
        return match[1] if match else ""


class Stranger:
    """A UDP socket that says whatever it likes; a context manager."""

    def __init__(self, gateway: tuple[str, int], *, host: str = HOST, port: int = 0) -> None:
        self.gateway = gateway
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((host, port))
        self.address: tuple[str, int] = self._socket.getsockname()

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, to: tuple[str, int] | None = None) -> None:
        self._socket.sendto(data, to or self.gateway)

    def answer(self, timeout: float = 5.0, *, final: bool = True) -> Answer | None:
        """The next response; provisional ones are passed over unless ``final`` is false."""
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65535)
            except TimeoutError:
                return None
            if data.startswith(b"SIP/2.0 ") and not (final and data.startswith(b"SIP/2.0 1")):
                return Answer(data)
        return None

    def ask(self, data: bytes, timeout: float = 5.0) -> Answer:
        """Send, and the final response.

        :raise AssertionError: there is none.
        """
        self.send(data)
        answer = self.answer(timeout)
        if answer is None:
            raise AssertionError(f"no answer within {timeout:g} s to {data[:200]!r}")
        return answer

    def waiting(self) -> Iterator[bytes]:
        """What has come already."""
        self._socket.setblocking(False)
        while True:
            try:
                yield self._socket.recv(65535)
            except BlockingIOError:
                return


def request(
    method: str,
    stranger: Stranger,
    *,
    to: str = ECHO,
    headers: str = "",
    body: bytes = b"",
    call_id: str = "",
    cseq: int = 1,
    branch: str = "",
    to_tag: str = "",
    transport: str = "UDP",
) -> bytes:
    """A sound request of a stranger's.

    :param headers: more of them, each with its CRLF.
    """
    host, port = stranger.address
    tag = f";tag={to_tag}" if to_tag else ""
    call_id = call_id or secrets.token_hex(8)
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} sip:{to}@{DOMAIN} SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport} {host}:{port};branch=z9hG4bK{branch or secrets.token_hex(8)};rport\r\n"
        f"From: <sip:mallory@{host}>;tag=m\r\nTo: <sip:{to}@{DOMAIN}>{tag}\r\nCall-ID: {call_id}\r\n"
        f"CSeq: {cseq} {method}\r\nContact: <sip:mallory@{host}:{port}>\r\nMax-Forwards: 70\r\n{headers}{kind}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def authorization(answer: Answer, user: str, password: str, *, uri: str = f"sip:{ECHO}@{DOMAIN}", nc: int = 1) -> str:
    """The Authorization header, with its CRLF, that answers a 401 to an INVITE."""
    challenge = parse_challenge(answer.header("WWW-Authenticate"))
    shown = answer_challenge(challenge, user, password, "INVITE", uri, b"", secrets.token_hex(8), nc)
    return f"Authorization: {shown}\r\n"


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))
