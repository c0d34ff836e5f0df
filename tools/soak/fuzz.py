"""Mutated messages: at the core alone, and at a live gateway from the middle of its calls."""

from __future__ import annotations

import re
import secrets
import socket
import time
import unittest
from contextlib import ExitStack, suppress
from random import Random

from attrs import define, field

from stellar_gw.testing.gateway_process import GatewayProcess, wait_until
from tests.integration.fault_support import Phone, Stranger, offer, request
from tests.unit.test_sip_fuzz import FuzzTests, mutated
from tools.soak.findings import CALLER, STRANGE, Baseline, Findings, alone, descriptors, soaked

BATCH = 50
"""Messages between two looks at whether the gateway still answers."""
ANSWERED = 1.0
"""Seconds within which it does, the batch before included."""
WARM = 20
"""Batches after which memory is looked at for the first time."""
METHODS = (
    "INVITE",
    "INVITE",
    "ACK",
    "BYE",
    "CANCEL",
    "OPTIONS",
    "INFO",
    "UPDATE",
    "REFER",
    "NOTIFY",
    "REGISTER",
    "FOO",
)


def core(seconds: float, findings: Findings) -> None:
    """The suite's fuzz tests with one seed after the other, until time is up."""
    deadline, seed = time.monotonic() + seconds, int(time.time())
    first = seed
    while time.monotonic() < deadline:
        for name in ("test_mutated_messages", "test_mutated_messages_on_breaking_connections"):
            case, result = FuzzTests(name), unittest.TestResult()
            case.seed = seed
            case.run(result)
            for _, trace in (*result.errors, *result.failures):
                findings.expect(False, f"{name}, seed {seed}: {str(trace).strip().splitlines()[-1]}")
                print(trace)
        seed += 1
        findings.say(f"{seed - first} seeds, {len(findings.wrong)} wrong")
    findings.done.append(f"core: {seed - first} seeds of 15,000 messages each, from {first}")


# --- a live gateway -----------------------------------------------------------------------------


def live(seconds: float, findings: Findings) -> None:
    """Mutated messages over UDP and TCP, from strangers and from a trunk, outside dialogs and inside; honest calls
    meanwhile."""
    alone("fuzz", seconds, findings, _live)


@define
class _Attack:
    """Everything that mutated messages are made of."""

    gateway: GatewayProcess
    dice: Random
    strangers: list[Stranger]
    pool: list[bytes] = field(factory=list)
    sent: int = 0
    heard: int = 0

    def batch(self) -> None:
        for _ in range(BATCH):
            stranger = self.dice.choice(self.strangers)
            self.pool.append(self.sound(stranger))
            data = mutated(self.dice.choice(self.pool), self.dice, self.pool)
            self.sent += 1
            if self.dice.random() < 0.15:
                self.over_tcp(data, stranger.address[0])
            elif len(data) < 65000:
                stranger.send(data)
        for stranger in self.strangers:
            for answer in stranger.waiting():
                self.heard += 1
                self.go_on(answer, stranger)
        del self.pool[:-300]

    def sound(self, stranger: Stranger) -> bytes:
        method = self.dice.choice(METHODS)
        body = offer(stranger.address[0], 40000) if method in ("INVITE", "UPDATE") else b""
        return request(method, stranger, body=body)

    def go_on(self, answer: bytes, stranger: Stranger) -> None:
        """Requests inside the dialog that an answer began: most are sound, so that later ones meet a live call."""
        text = answer.decode("utf-8", "replace")
        tag, call_id = re.search(r"(?m)^To:.*;tag=(\w+)", text), re.search(r"(?m)^Call-ID: ([\w.@-]+)\r$", text)
        if not (text.startswith("SIP/2.0 2") and tag and call_id and "INVITE" in text):
            return
        for method in ("ACK", *self.dice.sample(("INVITE", "INFO", "OPTIONS", "UPDATE", "BYE"), 2)):
            body = offer(stranger.address[0], 40000) if method == "INVITE" else b""
            sequence = 1 if method == "ACK" else self.dice.randrange(2, 9)
            data = request(method, stranger, body=body, call_id=call_id[1], to_tag=tag[1], cseq=sequence)
            self.pool.append(data)
            stranger.send(data if self.dice.random() < 0.6 else mutated(data, self.dice, self.pool))

    def over_tcp(self, data: bytes, host: str) -> None:
        """On a connection of its own, in two pieces, which ends by itself or by RST."""
        with (
            suppress(OSError),
            socket.create_connection(
                ("127.0.0.1", self.gateway.ports["tcp"]), timeout=2.0, source_address=(host, 0)
            ) as connection,
        ):
            cut = self.dice.randrange(len(data) + 1)
            connection.sendall(data[:cut])
            connection.sendall(data[cut:])
            if self.dice.random() < 0.5:
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(0.02)
                connection.recv(65536)


def _live(seconds: float, findings: Findings) -> None:
    seed = findings.seed if findings.seed is not None else secrets.randbits(32)
    findings.say(f"seed {seed}")
    slowest, batches, honest = 0.0, 0, 0
    baseline: Baseline | None = None
    with soaked(findings, t1="100ms") as gateway, ExitStack() as sockets:
        sip = ("127.0.0.1", gateway.ports["udp"])
        places = ("127.0.0.1", "127.0.0.1", "127.0.0.4", STRANGE)
        strangers = [sockets.enter_context(Stranger(sip, host=host)) for host in places]
        attack, phone = _Attack(gateway, Random(seed), strangers), Phone(sip, host=CALLER)
        sockets.callback(phone.close)
        phone.call(count=2)  # one in each worker, which opens what it keeps
        phone.hang_up()
        time.sleep(1.0)
        quiet = sum(map(descriptors, gateway.workers))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and gateway.running:
            attack.batch()
            batches += 1
            began = time.monotonic()
            status, _ = phone.options(5.0)
            slowest = max(slowest, time.monotonic() - began)
            findings.expect(status == 200, f"OPTIONS got {status} after {attack.sent} messages")
            if batches % 40 == 1:
                honest += 1
                (call,) = phone.call()
                findings.expect(call.status == 200, f"an honest call got {call.status} after {attack.sent} messages")
                phone.hang_up()
            if batches == WARM:
                baseline = Baseline.of(gateway)
            if batches % 200 == 0:
                findings.say(f"{attack.sent} messages, {attack.heard} answers, {len(findings.wrong)} wrong")
        findings.expect(slowest < ANSWERED, f"an OPTIONS took {slowest:.2f} s")
        findings.expect(attack.heard > attack.sent // 10, f"{attack.heard} answers to {attack.sent} messages")
        # Calls that mutated INVITEs have begun end when no ACK (6.4 s at this T1) or no media comes.
        over = wait_until(lambda: sum(map(descriptors, gateway.workers)) <= quiet, 40.0)
        findings.expect(over, "calls of mutated messages go on after 40 s")
        if baseline is not None and gateway.running:
            baseline.check(gateway, findings)
    findings.done.append(
        f"fuzz: {attack.sent} messages, {attack.heard} answers; {honest} honest calls; the slowest OPTIONS "
        f"{slowest * 1000:.0f} ms; seed {seed}"
    )
