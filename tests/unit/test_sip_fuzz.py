"""Mutated messages through parser and core, in the middle of calls: nothing raises, and we emit nothing unsound."""

from __future__ import annotations

from pathlib import Path
from random import Random

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.events import (
    Answered,
    Confirmed,
    Ended,
    Event,
    FlowNeeded,
    Reoffered,
    RequestInDialog,
    RequestReceived,
)
from stellar_gw.sip.flow import Flow, Listener, Transport
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.uri import parse_uri
from stellar_gw.sip.values import parse_name_addr
from stellar_gw.testing.sip_peer import ANSWER, OFFER

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "rfc4475"
A, B = ("192.0.2.1", 5060), ("198.51.100.2", 5060)
MESSAGES = 10_000
CHALLENGE = (("WWW-Authenticate", 'Digest realm="acme", nonce="n1", algorithm=MD5, qop="auth"'),)

# What parsers and dialog code have stumbled over elsewhere.
WORDS = (
    b"",
    b"\x00",
    b"\r\n",
    b"\r\n ",
    b"\n",
    b";",
    b",",
    b'"',
    b"<",
    b">",
    b"<>",
    b"%",
    b"%00",
    b"*",
    b"@",
    b"sip:",
    b"sips:x@y",
    b"tel:+1",
    b"urn:service:sos",
    b"<sip:a@b;lr>",
    b"<sip:a@b>",
    b";tag=",
    b";lr",
    b"z9hG4bK",
    b"4294967295",
    b"4294967296",
    b"-1",
    b"0",
    b"99999999999999999999",
    b"\xff\xfe",
    "é".encode(),
    b"[::1]",
    b"[::",
    b"255.255.255.255",
    b"SIP/2.0",
    b"SIP/3.0",
    b"INVITE",
    b"ACK",
    b"BYE",
    b"CANCEL",
    b"OPTIONS",
    b"UPDATE",
    b"FOO",
    b"Require: 100rel\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Accept: text/plain\r\n",
    b"Contact: *\r\n",
    b"Record-Route: <sip:strict.example>\r\n",
    b"Record-Route: <tel:+1;lr>\r\n",
    b"Route: <sip:p;lr>, <sip:q>\r\n",
    b"Content-Type: multipart/mixed;boundary=x\r\n",
    b"Via: SIP/2.0/UDP [::1]:5060;branch=z9hG4bKx\r\n",
    b'Proxy-Authenticate: Digest realm="acme", nonce="\\"", qop="auth-int"\r\n',
    b"Retry-After: x\r\n",
    b"WWW-Authenticate: Digest realm=acme\r\n",
    b"l: 5\r\n",
    b"t: <sip:x>;tag=q\r\n",
    b"(((((((((",
    b" " * 300,
)


def mutated(data: bytes, dice: Random, others: list[bytes]) -> bytes:
    """One to three changes: octets, words, lines, a splice with another message."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(data) + 1)
        to = min(len(data), at + dice.choice((0, 1, 1, 2, 5, 40)))
        lines = data.split(b"\r\n")
        match dice.randrange(8):
            case 0:
                data = data[:at] + dice.randbytes(1) + data[at + 1 :]
            case 1:
                data = data[:at] + data[to:]
            case 2 | 3:
                data = data[:at] + dice.choice(WORDS) + data[to:]
            case 4:
                line = dice.randrange(len(lines))
                lines[line : line + 1] = [lines[line], dice.choice(lines)]
                data = b"\r\n".join(lines)
            case 5:
                del lines[dice.randrange(len(lines))]
                data = b"\r\n".join(lines)
            case 6:
                line = dice.randrange(len(lines))
                name, colon, _ = lines[line].partition(b":")
                lines[line] = name + colon + b" " + dice.choice(WORDS)
                data = b"\r\n".join(lines)
            case _:
                data = data[:at] + dice.choice(others)[at:]
    return data


class Side:
    """One core, whose floor above does something or other about every event."""

    def __init__(
        self,
        here: tuple[str, int],
        there: tuple[str, int],
        dice: Random,
        transport: Transport = "udp",
    ) -> None:
        listener = Listener(name="l", transport=transport, bind=here, advertise=here, media_advertise=here[0])
        self.core = SipCore({"l": listener}, user_agent="fuzz", rng=dice.randbytes, max_transactions=2000)
        self.flow = Flow(1, transport, "l", here, there)
        self.dice, self.there = dice, there
        self.usages: list[str] = []
        self.ended: list[str] = []
        self.confirmed = 0

    def call(self, now: float) -> None:
        self.usages.append(
            self.core.invite(
                parse_uri(f"sip:600@{self.there[0]}"),
                self.flow,
                now,
                from_=parse_name_addr("<sip:me@x.example>"),
                to=parse_name_addr("<sip:600@y.example>"),
                body=self.dice.choice((OFFER, OFFER, b"")),
                credentials=ClientCredentials(username="me", password="secret", host=self.there[0]),
            )
        )

    def reconnect(self, now: float) -> None:
        """Lose the connection, and have another."""
        lost, self.flow = self.flow, evolve(self.flow, id=self.flow.id + 1)
        self.core.flow_lost(lost, now)

    def react(self, now: float) -> None:
        while (event := self.core.next_event()) is not None:
            self.handle(event, now)
        if self.usages and self.dice.random() < 0.15:
            usage = self.dice.choice(self.usages)
            try:
                self.meddle(usage, now)
            except LocalProtocolError:
                pass  # it cannot be asked in that state

    def meddle(self, usage: str, now: float) -> None:
        match self.dice.randrange(8):
            case 0:
                self.core.bye(usage, now)
            case 1:
                self.core.cancel(usage, now)
            case 2 | 3:
                self.core.reinvite(usage, self.dice.choice((OFFER, b"")), now)
            case 4 | 5:
                self.core.request_in(usage, self.dice.choice(("INFO", "OPTIONS", "NOTIFY")), now)
            case 6:
                self.core.ack(usage, ANSWER, now)
            case _:
                self.core.ring(usage, now)

    def handle(self, event: Event, now: float) -> None:
        core, dice = self.core, self.dice
        match event:
            case RequestReceived(request, flow):
                if dice.random() < 0.2:
                    core.respond(request, flow, dice.choice((401, 404)), headers=CHALLENGE)
                elif request.method == "INVITE" and (usage := core.accept(request, flow, now)) is not None:
                    self.usages.append(usage)
                    match dice.randrange(4):
                        case 0:
                            core.ring(usage, now)
                        case 1:
                            core.reject(usage, 486, now)
                        case _:
                            core.answer(usage, ANSWER, now)
            case Reoffered(usage, _):
                if dice.random() < 0.5:
                    core.answer(usage, ANSWER, now)
                else:
                    core.reject(usage, 488, now)
            case RequestInDialog(_, token, _):
                core.respond_in(token, dice.choice((100, 200, 405)), now)
            case FlowNeeded(token, _, _, fallback):
                if dice.random() < 0.9:
                    core.flow_ready(token, fallback or self.flow, now)
                else:
                    core.flow_failed(token, "no", now)
            case Ended(usage):
                self.ended.append(usage)
                if usage in self.usages:
                    self.usages.remove(usage)
            case Answered() | Confirmed():
                self.confirmed += 1


class FuzzTests(SynchronousTestCase):
    seed = 4475

    def setUp(self) -> None:
        self.seeds = [path.read_bytes() for path in sorted(VECTORS.glob("*.dat"))] if VECTORS.exists() else []
        self.emitted = 0

    def test_mutated_messages(self) -> None:
        """10,000 mutated messages in the middle of calls: no exception, and our own parser takes all we emit."""
        self.mutate(MESSAGES, "udp")

    def test_mutated_messages_on_breaking_connections(self) -> None:
        """The same over connections, each of which breaks soon: calls go on over others, and nothing is left."""
        self.mutate(MESSAGES // 2, "tcp")

    def mutate(self, messages: int, transport: Transport) -> None:
        dice = Random(self.seed)
        sides = Side(A, B, dice, transport), Side(B, A, dice, transport)
        pool = list(self.seeds)
        now = 0.0
        for turn in range(messages):
            if transport == "tcp" and dice.random() < 0.05:
                dice.choice(sides).reconnect(now)
            sound = turn % 3 == 0
            if turn % 20 == 0:
                sides[dice.randrange(2)].call(now)
            self.exchange(sides, pool, now, dice)
            target = dice.choice(sides)
            data = dice.choice(pool)
            target.core.receive(data if sound else mutated(data, dice, pool), target.flow, now)
            target.react(now)
            now += dice.choice((0.0, 0.001, 0.1, 0.6))
            for side in sides:
                side.core.advance(now)
            del pool[:-400]
        self.assertGreater(self.emitted, messages // 2)
        self.assertGreater(sum(side.confirmed for side in sides), 100)
        self.finish(sides, now)

    def exchange(self, sides: tuple[Side, Side], pool: list[bytes], now: float, dice: Random) -> None:
        for _ in range(6):
            quiet = True
            for side, other in (sides, sides[::-1]):
                side.react(now)
                for data, _ in side.core.to_send():
                    self.emitted += 1
                    parse_message(data, stream=True)
                    pool.append(data)
                    if dice.random() < 0.8:
                        other.core.receive(data, other.flow, now)
                        quiet = False
            if quiet:
                return

    def finish(self, sides: tuple[Side, Side], now: float) -> None:
        """When all have hung up, nothing is left."""
        for side in sides:
            for usage in list(side.usages):
                side.core.bye(usage, now)
            side.usages.clear()
        dice = Random(1)
        for _ in range(400):
            now += 1.0
            for side in sides:
                side.core.advance(now)
            self.exchange(sides, [], now, dice)
            for side in sides:
                for usage in list(side.usages):
                    side.core.bye(usage, now)
        for side in sides:
            self.assertTrue(side.core.idle, side.core.counts)
            self.assertEqual(len(side.ended), len(set(side.ended)))
