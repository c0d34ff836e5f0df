"""SIPp as a caller: its process, what it counted and saw, and scenarios written as lists of steps."""

from __future__ import annotations

import csv
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from typing import Any
from xml.sax.saxutils import quoteattr

from attrs import field, frozen
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.media.pcm import ulaw_from_pcm
from stellar_gw.media.source import Tone
from stellar_gw.testing.ports import PortBlock, take_ports
from tests.integration.gateway_support import HOST, TRUNK, RealGateway, uri_host

SCENARIOS = Path(__file__).parent / "sipp"
TONE_HZ = 440
_MESSAGE = re.compile(r"(\w+) message (sent|received)[^\n]*\n\n(.*?)(?=\n-{20,} \d{4}-|\Z)", re.DOTALL)


@frozen
class Message:
    """One SIP message as SIPp logged it."""

    sent: bool
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def name(self) -> str:
        """``INVITE``, or a response with its method: ``200 INVITE``."""
        line = self.first_line
        return f"{line.split()[1]} {self.header('CSeq').split()[1]}" if line.startswith("SIP/2.0") else line.split()[0]

    @property
    def body(self) -> str:
        return self.text.partition("\n\n")[2]

    @property
    def direction(self) -> str:
        """What its session description says, empty where there is none."""
        match = re.search(r"^a=(sendrecv|sendonly|recvonly|inactive)$", self.body, re.MULTILINE)
        return match[1] if match else "sendrecv" if self.body.strip() else ""

    def header(self, name: str) -> str:
        """The first header of that name, empty where there is none."""
        match = re.search(rf"^{name}:[ \t]*(.*)$", self.text.partition("\n\n")[0], re.MULTILINE | re.IGNORECASE)
        return match[1] if match else ""


@frozen(kw_only=True)
class Result:
    """What one run of SIPp came to.

    :ivar status: its exit status; 0 where every call followed the scenario.
    :ivar counts: its cumulative counters by name (``SuccessfulCall``, ``FailedCall``, ``Retransmissions``, ...).
    :ivar errors: its log of what was unexpected.
    :ivar messages: every message in order, where they were traced.
    """

    status: int
    counts: dict[str, str] = field(repr=False)
    errors: str
    messages: tuple[Message, ...] = field(repr=False)

    @property
    def call_id(self) -> str:
        """Of the first message."""
        return self.messages[0].header("Call-ID")

    @property
    def ok(self) -> tuple[int, int, int]:
        """Exit status, good calls, failed calls."""
        return self.status, int(self.counts.get("SuccessfulCall", -1)), int(self.counts.get("FailedCall", -1))

    def received(self) -> list[str]:
        """The names of what came, in order."""
        return [message.name for message in self.messages if not message.sent]

    def one(self, name: str, place: int = 0) -> Message:
        """The message of that name that came at this place among its like."""
        return [message for message in self.messages if not message.sent and message.name == name][place]


class Run:
    """A run of SIPp that has begun."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, timeout: float) -> None:
        self._process, self._folder, self._timeout = process, folder, timeout

    def result(self) -> Result:
        """Wait for its end."""
        try:
            status = self._process.wait(self._timeout)
        finally:
            self._process.kill()
            self._process.wait()
        errors = self._folder / "errors.log"
        return Result(
            status=status,
            counts=_counts(self._folder / "stat.csv"),
            errors=errors.read_text(encoding="utf-8", errors="replace")[-3000:] if errors.exists() else "",
            messages=tuple(_messages(self._folder / "messages.log")),
        )


class Sipp:
    """SIPp on ports of its own, calling from the trunk's address; :meth:`run` may be called again and again."""

    def __init__(self, test: SynchronousTestCase, gateway: RealGateway) -> None:
        """:raise SkipTest: SIPp is not installed."""
        program = which("sipp")
        if program is None:
            raise SkipTest("sipp is not installed (Debian: apt install sip-tester)")
        self._program, self._gateway, self._test = program, gateway, test
        self._ports: PortBlock = take_ports()
        test.addCleanup(self._ports.release)
        self._runs = 0

    def run(self, scenario: Path | str, *options: str, to: str, **more: Any) -> Result:
        """Run a scenario to its end; the parameters are those of :meth:`begin`."""
        return self.begin(scenario, *options, to=to, **more).result()

    def begin(
        self,
        scenario: Path | str,
        *options: str,
        to: str,
        transport: str = "u1",
        source: str = TRUNK,
        media: str = "",
        host: str = HOST,
        calls: int = 1,
        rate: int = 50,
        timeout: int = 60,
        trace: bool = True,
        at: str = "",
    ) -> Run:
        """Begin a scenario: a file, or the XML itself. Others may run at the same time.

        :param source: the address that it calls from; ``media`` that of its RTP, where it is another.
        :param host: of the gateway.
        :param at: ``host:port`` of whom to call, where that is not the gateway itself.
        """
        self._runs += 1
        folder = Path(tempfile.mkdtemp(prefix="sipp-", dir=self._gateway.folder))
        if isinstance(scenario, str):
            path = folder / "scenario.xml"
            path.write_text(scenario, encoding="utf-8")
        else:
            path = scenario
        (folder / "tone.pcmu").write_bytes(ulaw_from_pcm(Tone((TONE_HZ,), 8000).take(8000)))
        port = self._gateway.places[host, "udp" if transport.startswith("u") else "tcp"]
        first = self._ports.first
        command = [
            self._program, "-sf", str(path), "-i", source, "-mi", media or source, "-p", str(first + self._runs),
            "-mp", str(first + 100 + 8 * self._runs), "-s", to, "-t", transport, "-max_socket", "1000",
            "-m", str(calls), "-r", str(rate), "-nostdin", "-timeout", str(timeout), "-timeout_error",
            "-trace_stat", "-stf", "stat.csv", "-trace_err", "-error_file", "errors.log",
            *(("-trace_msg", "-message_file", "messages.log") if trace else ()),
            *options, at or f"{uri_host(host)}:{port}",
        ]  # fmt: skip
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._test.addCleanup(process.wait)
        self._test.addCleanup(process.kill)
        return Run(process, folder, timeout + 20)


def _counts(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return {name.removesuffix("(C)"): value for name, value in rows[-1].items() if name and name.endswith("(C)")}


def _messages(path: Path) -> list[Message]:
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n")
    return [Message(way == "sent", message) for _, way, message in _MESSAGE.findall(text)]


# --- scenarios ----------------------------------------------------------------------------------


def sdp(direction: str = "sendrecv", *, codecs: str = "0", version: int = 1, profile: str = "RTP/AVP") -> str:
    """A session description of SIPp's."""
    return "\n".join(
        (
            "v=0",
            f"o=- 1 {version} IN IP4 [local_ip]",
            "s=-",
            "c=IN IP4 [media_ip]",
            "t=0 0",
            f"m=audio [media_port] {profile} {codecs}",
            f"a={direction}",
        )
    )


OFFER = sdp()


def request(
    method: str,
    body: str = "",
    *,
    cseq: int = 1,
    branch: str = "",
    uri: str = "",
    dialog: bool = True,
    tag: str | None = None,
    headers: Sequence[str] = (),
    retransmit: bool = True,
) -> str:
    """A step that sends a request.

    :param branch: names its transaction; by default each method and CSeq is one.
    :param dialog: inside the dialog: to the remote target, with routes and the To tag.
    :param tag: what follows the URI in To; by default the peer's tag inside the dialog, else nothing.
    :param retransmit: over UDP until something comes.
    """
    if tag is None:
        tag = "[peer_tag_param]" if dialog else ""
    number = f"{branch or method}{cseq}-[pid]-[call_number]"
    target = uri or ("[next_url]" if dialog else "sip:[service]@[remote_ip]:[remote_port]")
    lines = [
        f"{method} {target} SIP/2.0",
        f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK{number}",
        *(["[routes]"] if dialog else []),
        'From: "SIPp" <sip:+31612345678@[local_ip]:[local_port]>;tag=[pid]SIPp[call_number]',
        f"To: <sip:[service]@[remote_ip]:[remote_port]>{tag}",
        "Call-ID: [call_id]",
        f"CSeq: {cseq} {method}",
        "Contact: <sip:sipp@[local_ip]:[local_port];transport=[transport]>",
        "Max-Forwards: 70",
        *headers,
        *(["Content-Type: application/sdp"] if body else []),
        "Content-Length: [len]",
    ]
    text = "\n".join(lines) + "\n\n" + (f"{body}\n" if body else "")
    repeated = ' retrans="500"' if retransmit and method != "ACK" else ""
    return f"<send{repeated}><![CDATA[\n{text}]]></send>"


def invite(body: str = OFFER, *, cseq: int = 1, headers: Sequence[str] = ()) -> str:
    """The INVITE that opens the call, and 100."""
    return request("INVITE", body, cseq=cseq, dialog=False, headers=headers) + receive(100, optional=True)


def reinvite(body: str, *, cseq: int = 2) -> str:
    """An INVITE inside the dialog, and 100."""
    return request("INVITE", body, cseq=cseq) + receive(100, optional=True)


def ack(body: str = "", *, cseq: int = 1) -> str:
    """The ACK of a 2xx."""
    return request("ACK", body, cseq=cseq)


def ack_refusal(*, cseq: int = 1, dialog: bool = False) -> str:
    """The ACK of another final response: of the INVITE's own transaction (RFC 3261 17.1.1.3)."""
    return request("ACK", cseq=cseq, branch="INVITE", dialog=dialog, tag="[peer_tag_param]")


def receive(status: int, *, optional: bool = False, timeout: int = 10000) -> str:
    """A step that waits for a response, and remembers the route set."""
    more = ' optional="true"' if optional else f' timeout="{timeout}"'
    return f'<recv response="{status}" rrs="true"{more}/>'


def awaits(method: str, *, timeout: int = 10000) -> str:
    """A step that waits for a request, and answers it with 200."""
    answer = "\n".join(
        ("SIP/2.0 200 OK", "[last_Via:]", "[last_From:]", "[last_To:]", "[last_Call-ID:]", "[last_CSeq:]",
         "Content-Length: 0")
    )  # fmt: skip
    return f'<recv request="{method}" timeout="{timeout}"/><send><![CDATA[\n{answer}\n\n]]></send>'


def pause(milliseconds: int) -> str:
    return f'<pause milliseconds="{milliseconds}"/>'


def talk() -> str:
    """The tone begins, as RTP."""
    return f"<nop><action><exec rtp_stream={quoteattr('tone.pcmu,-1,0')}/></action></nop>"


def bye(cseq: int = 2) -> str:
    """Hang up, and have it answered."""
    return request("BYE", cseq=cseq) + receive(200)


def answered(body: str = OFFER) -> str:
    """A call that is up."""
    return invite(body) + receive(180, optional=True) + receive(200) + ack()


def scenario(*steps: str) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="test">\n' + "\n".join(steps) + "\n</scenario>\n"
