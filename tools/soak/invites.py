"""INVITEs of every shape: each element at lengths from nothing to 64 KiB, over UDP and TCP, at a live gateway."""

from __future__ import annotations

import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from random import Random

from attrs import define, field

from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import RequestReceived
from stellar_gw.sip.flow import Flow, Listener
from stellar_gw.testing.gateway_process import GatewayProcess, cpu_seconds, resident_octets, wait_until
from tests.integration.fault_support import Phone, Stranger
from tools.soak.findings import CALLER, STRANGE, Baseline, Findings, alone, soaked

BATCH, OCTETS = 20, 100_000
"""Messages, and octets, between two looks: no more than waits in the gateway's socket."""
DEAR = 0.5
"""Seconds of the gateway's processor time that so many may cost, with what happens meanwhile."""
LONGEST = 65_000
"""Octets over UDP; what is longer goes over TCP."""
WARM = 60.0
"""Seconds after which memory is looked at for the first time: by then all that is bounded is full."""
LENGTHS = (0, 1, 2, 7, 63, 64, 65, 127, 255, 256, 257, 1023, 1024, 4096, 8191, 8192, 16_384, 32_768, 65_535, 65_536)
FILLS: tuple[bytes, ...] = (
    b"a",
    b"9",
    b"0",
    b" ",
    b"\t",
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n ",
    b"%",
    b"%s",
    b"%n%x%p",
    b"{0!r}",
    b"{x}",
    b"${a}",
    b"$(id)",
    b"`id`",
    b"'",
    b'"',
    b"\\",
    b'\\"',
    b"(",
    b")",
    b"()",
    b"(a",
    b"<",
    b">",
    b"<<",
    b"<sip:a>",
    b",",
    b";",
    b";a=b",
    b";;=",
    b"=",
    b":",
    b"@",
    b"[",
    b"[::1]",
    b"/",
    b"?a=b&",
    b"*",
    b"-",
    b"+",
    b".",
    b"a.b,",
    b"\xc3\x28",
    b"\xff\xfe",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf0\x9f\x98\x80",
    "é".encode(),
    b"\x7f",
    b"\x1b[31m",
    b"99999999999999999999",
    b"-1",
    b"1e9",
    b"a=b c/d ",
)
"""What an element is filled with, over and over."""
SOUND: dict[str, bytes] = {
    "user": b"600",
    "password": b"",
    "host": b"sip.acme.example",
    "uri parameters": b"",
    "uri headers": b"",
    "via host": b"{host}:{port}",
    "via parameters": b";rport",
    "display": b'"Ann"',
    "from user": b"ann",
    "from tag": b"f",
    "to": b"<sip:600@sip.acme.example>",
    "cseq": b"1",
    "cseq method": b"INVITE",
    "forwards": b"70",
    "contact": b"<sip:ann@{host}:{port}>",
    "type": b"application/sdp",
    "length": b"",
    "name": b"X-Any",
    "value": b"any",
    "sdp v": b"0",
    "sdp o": b"- 1 1 IN IP4 {host}",
    "sdp s": b"-",
    "sdp c": b"IN IP4 {host}",
    "sdp t": b"0 0",
    "sdp m": b"audio 40000 RTP/AVP 0 101",
    "sdp a": b"rtpmap:101 telephone-event/8000",
}
HEADERS = (
    b"Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKx",
    b"Route: <sip:127.0.0.1;lr>",
    b"Record-Route: <sip:p.example;lr>",
    b"Require: 100rel",
    b"Supported: timer, 100rel",
    b"Session-Expires: 90;refresher=uac",
    b"Min-SE: 90",
    b"Expires: 1",
    b'Authorization: Digest username="a", realm="soak.localhost", nonce="n", uri="sip:a", response="r"',
    b'Proxy-Authorization: Digest a="b"',
    b"Accept: application/sdp",
    b"Accept-Language: nl;q=0.1, en",
    b"User-Agent: x (y)",
    b'P-Asserted-Identity: "A" <sip:a@b>, <tel:+31201>',
    b"Diversion: <sip:a@b>;reason=unknown",
    b"Privacy: id;critical",
    b"History-Info: <sip:a@b?Reason=SIP%3Bcause%3D302>;index=1",
    b"Replaces: a;to-tag=b;from-tag=c",
    b"Identity: a.b.c;info=<x>",
    b"User-to-User: 00;encoding=hex",
    b"Reason: SIP;cause=200",
    b"Subject: s",
    b"Content-Encoding: identity",
    b"Call-ID: another",
    b"CSeq: 2 INVITE",
    b"Contact: *",
    b"From: <sip:b@c>;tag=2",
    b"Content-Length: 5",
    b"Timestamp: 1.5",
    b"Content-Disposition: render",
)
LINES = (
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
    b"a=ptime:20",
    b"a=sendonly",
    b"b=AS:64",
    b"a=ice-ufrag:abcd",
    b"a=ice-pwd:abcdefghijklmnopqrstuv",
    b"a=candidate:1 1 UDP 1 192.0.2.1 4000 typ host",
    b"a=group:ANAT 1 2",
    b"a=rtcp:5 IN IP6 ::1",
    b"a=rtcp-mux",
    b"c=IN IP6 ::",
    b"m=audio 4000 RTP/SAVP 8",
    b"m=video 4000/2 RTP/AVP 99",
    b"v=0",
    b"o=- 2 2 IN IP4 a",
    b"a=fmtp:101 0-15",
    b"a=acap:1 crypto:1",
    b"k=clear:a",
    b"z=0 0",
    b"r=1 1 0",
)
OWN = re.compile(rb"z9hG4bK-\d+-\d+-")
"""The branch and the Call-ID of each message, which its answers repeat."""
DEEPEST = 2000
BEGAN = '"admitted":"admitted as provider'
"""Stands once in the log for each call."""


def filling(dice: Random) -> bytes:
    """Something of some length, at times between quotes or brackets, closed or not."""
    length = dice.choice(LENGTHS) if dice.random() < 0.8 else dice.randrange(65_536)
    piece = dice.choice(FILLS)
    text = (piece * (length // len(piece) + 1))[:length]
    before, after = dice.choice(
        ((b"", b""), (b"", b""), (b'"', b'"'), (b"<sip:", b">"), (b"(", b""), (b"<", b""), (b'"', b""))
    )
    return before + text + after


def nested(dice: Random, body: bytes) -> tuple[bytes, bytes]:
    """A Content-Type, and multipart bodies within multipart bodies around a description (RFC 2046 5.1)."""
    depth = dice.choice((1, 2, 3, 10, 100, DEEPEST))
    inner, kind = body, b"application/sdp"
    for level in range(depth):
        mark = b"b%d" % level
        end = b"" if dice.random() < 0.05 else b"\r\n--" + mark + b"--\r\n"
        inner = b"--" + mark + b"\r\nContent-Type: " + kind + b"\r\n\r\n" + inner + end
        kind = b"multipart/mixed;boundary=" + mark
        if len(inner) > 60_000:
            break
    return kind, inner


def make_invite(number: int, seed: int, host: str, port: int) -> tuple[bytes, str]:
    """The ``number``-th message of a seed, and what is odd about it; the same each time."""
    dice = Random(f"{seed} {number}")
    place = (b"{host}", host.encode()), (b"{port}", b"%d" % port)
    parts = dict(SOUND)
    said: list[str] = []
    headers: list[bytes] = []
    lines: list[bytes] = []
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        match dice.randrange(10):
            case 0 | 1 | 2 | 3 | 4:
                name = dice.choice(list(parts))
                parts[name] = filling(dice)
                said.append(f"{name} of {len(parts[name])} octets, {parts[name][:12]!r}")
            case 5 | 6:
                header = dice.choice(HEADERS)
                times = dice.choice((1, 2, 16, 64, 65, 200, 1000))
                if dice.random() < 0.5:
                    header = header.partition(b":")[0] + b": " + filling(dice)
                times = max(1, min(times, 65_000 // (len(header) + 2)))
                headers += [header] * times
                said.append(f"{times} times {header[:24]!r}, {len(header)} octets")
            case 7 | 8:
                line = dice.choice(LINES)
                times = dice.choice((1, 2, 15, 16, 17, 33, 300, 2000))
                if dice.random() < 0.5:
                    line = line[: dice.choice((2, 9))] + filling(dice)
                times = max(1, min(times, 65_000 // (len(line) + 2)))
                lines += [line] * times
                said.append(f"{times} times {line[:24]!r}, {len(line)} octets")
            case _:
                parts["type"] = b"multipart"
                said.append("nested bodies")
    for name, value in parts.items():
        for mark, text in place:
            value = value.replace(mark, text)
        parts[name] = value
    return _written(number, seed, parts, headers, lines, dice), "; ".join(said)


def _written(
    number: int, seed: int, parts: dict[str, bytes], headers: list[bytes], lines: list[bytes], dice: Random
) -> bytes:
    sdp = [name[-1:].encode() + b"=" + parts[name] for name in SOUND if name.startswith("sdp ")]
    at = dice.randrange(len(sdp) + 1)
    body = b"\r\n".join([*sdp[:at], *lines, *sdp[at:], b""])
    kind = parts["type"]
    if kind == b"multipart":
        kind, body = nested(dice, body)
    own = b"z9hG4bK-%d-%d-" % (seed, number)
    credentials = b":" + parts["password"] if parts["password"] else b""
    uri = b"sip:" + parts["user"] + credentials + b"@" + parts["host"] + parts["uri parameters"] + parts["uri headers"]
    fixed = [
        b"Via: SIP/2.0/UDP " + parts["via host"] + b";branch=" + own + parts["via parameters"],
        b"From: " + parts["display"] + b" <sip:" + parts["from user"] + b"@127.0.0.1>;tag=" + parts["from tag"],
        b"To: " + parts["to"],
        b"Call-ID: " + own,
        b"CSeq: " + parts["cseq"] + b" " + parts["cseq method"],
        b"Max-Forwards: " + parts["forwards"],
        b"Contact: " + parts["contact"],
        parts["name"] + b": " + parts["value"],
        b"Content-Type: " + kind,
        b"Content-Length: " + (parts["length"] or b"%d" % len(body)),
    ]
    at = dice.choice((1, len(fixed)))
    return b"\r\n".join([b"INVITE " + uri + b" SIP/2.0", *fixed[:at], *headers, *fixed[at:], b"", b""]) + body


@define
class Oracle:
    """What the SIP core alone makes of a datagram: an answer, a call, or nothing, by a rule of its own."""

    listener: Listener = field(
        factory=lambda: Listener(
            name="udp", transport="udp", bind=("127.0.0.1", 1), advertise=("127.0.0.1", 1), media_advertise="127.0.0.1"
        )
    )

    def answers(self, data: bytes) -> bool:
        core = SipCore({"udp": self.listener}, user_agent="oracle", rng=secrets.token_bytes)
        core.receive(data, Flow(-1, "udp", "udp", self.listener.bind, ("127.0.0.1", 2)), 0.0)
        if core.to_send():
            return True
        return isinstance(core.next_event(), RequestReceived)


@define
class _Attack:
    gateway: GatewayProcess
    findings: Findings
    seed: int
    strangers: list[Stranger]
    oracle: Oracle = field(factory=Oracle)
    number: int = 0
    answered: int = 0
    dropped: int = 0
    dearest: tuple[float, int] = (0.0, 0)

    def batch(self, alive: Callable[[], bool]) -> None:
        """Send, have it answered that we are alive, and look at what else was answered."""
        waiting: dict[bytes, tuple[int, str]] = {}
        octets = count = 0
        first, used = self.number, cpu_seconds(self.gateway.pid)
        while count < BATCH and octets < OCTETS:
            stranger = self.strangers[self.number % len(self.strangers)]
            data, said = make_invite(self.number, self.seed, *stranger.address)
            if len(data) > LONGEST or self.number % 7 == 0:
                self.over_tcp(data, said, stranger.address[0])
            else:
                stranger.send(data)
                octets += len(data)
                if self.expects(data, said):
                    waiting[b"z9hG4bK-%d-%d-" % (self.seed, self.number)] = self.number, said
                else:
                    self.dropped += 1
            self.number += 1
            count += 1
        held = alive()
        self.dearest = max(self.dearest, (cpu_seconds(self.gateway.pid) - used, first))
        for stranger in self.strangers:
            for answer in stranger.waiting():
                for mark in set(OWN.findall(answer)) & waiting.keys():
                    del waiting[mark]
                    self.answered += 1
        if held:
            for number, said in waiting.values():
                self.wrong(number, f"no answer: {said}")

    def expects(self, data: bytes, said: str) -> bool:
        try:
            return self.oracle.answers(data)
        except Exception as error:
            self.wrong(self.number, f"the core raises {type(error).__name__}: {error}: {said}")
            return False

    def wrong(self, number: int, what: str) -> None:
        self.findings.expect(False, f"message {number} of --seed {self.seed}: {what}")

    def over_tcp(self, data: bytes, said: str, host: str) -> None:
        """On a connection of its own: it is answered, closed, or waits for the rest of what it promises."""
        place = ("127.0.0.1", self.gateway.ports["tcp"])
        with suppress(ConnectionError), socket.create_connection(place, 5.0, (host, 0)) as connection:
            connection.settimeout(5.0)
            try:
                connection.sendall(data)
                connection.settimeout(0.05)
                if connection.recv(65536).startswith(b"SIP/2.0 "):
                    self.answered += 1
            except TimeoutError:
                if connection.gettimeout() == 5.0:
                    self.wrong(self.number, f"not read over TCP within 5 s: {said}")


def invites(seconds: float, findings: Findings) -> None:
    """INVITEs of every shape, from strangers and from a trunk; honest calls meanwhile."""
    alone("invite", seconds, findings, _live)


def _live(seconds: float, findings: Findings) -> None:
    seed = findings.seed if findings.seed is not None else secrets.randbits(32)
    findings.say(f"seed {seed}")
    slowest, batches = 0.0, 0
    baseline: Baseline | None = None
    with soaked(findings, t1="100ms") as gateway, ExitStack() as sockets:
        sip = ("127.0.0.1", gateway.ports["udp"])
        strangers = [sockets.enter_context(Stranger(sip, host=host)) for host in ("127.0.0.1", "127.0.0.4", STRANGE)]
        attack, phone = _Attack(gateway, findings, seed, strangers), Phone(sip, host=CALLER)
        sockets.callback(phone.close)
        phone.call(count=2)
        phone.hang_up()

        def alive() -> bool:
            nonlocal slowest
            began = time.monotonic()
            status, _ = phone.options(5.0)
            slowest = max(slowest, time.monotonic() - began)
            return findings.expect(status == 200, f"OPTIONS got {status} before message {attack.number} of seed {seed}")

        warm = time.monotonic() + min(WARM, seconds / 2)
        for _ in _until(time.monotonic() + seconds, gateway):
            attack.batch(alive)
            batches += 1
            if batches % 40 == 1:
                [call] = phone.call()
                findings.expect(call.status == 200, f"an honest call got {call.status} at message {attack.number}")
                phone.hang_up()
            if baseline is None and time.monotonic() > warm:
                baseline = Baseline.of(gateway)
            if batches % 200 == 0:
                memory = resident_octets(gateway.pid) >> 20
                findings.say(
                    f"{attack.number} messages, {attack.answered} answers, {memory} MiB, {len(findings.wrong)} wrong"
                )
        # Calls that such an INVITE has begun end when no ACK (6.4 s at this T1) or no media comes.
        began = gateway.log.count(BEGAN)
        findings.expect(
            wait_until(lambda: len(gateway.records()) >= began, 40.0), "calls go on 40 s after the last message"
        )
        dear, first = attack.dearest
        findings.expect(dear < DEAR, f"messages {first} to {first + BATCH} of seed {seed} cost {dear:.2f} s")
        if baseline is not None and gateway.running:
            baseline.check(gateway, findings)
    findings.done.append(
        f"invite: {attack.number} messages, {attack.answered} answers, {attack.dropped} dropped by rule; the slowest "
        f"OPTIONS {slowest * 1000:.0f} ms, the dearest {BATCH} {dear * 1000:.0f} ms of processor time; seed {seed}"
    )


def _until(deadline: float, gateway: GatewayProcess) -> Iterator[None]:
    while time.monotonic() < deadline and gateway.running:
        yield
