"""Attacks on the SIP side of a real gateway (RFC 3261 26.1): malformed, slow, many, and somebody else's messages."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

from stellar_gw.testing.gateway_process import cpu_seconds, resident_octets
from tests.integration.fault_support import (
    NO_MEDIA,
    Answer,
    FaultCase,
    HurtGateway,
    MeasuredCall,
    Stranger,
    authorization,
    descriptors,
    offer,
    request,
)
from tests.integration.gateway_support import DOMAIN, HOST, PASSWORD, TRUNK, USER

ELSEWHERE = "127.0.0.3"


def connect(gateway: HurtGateway, transport: str = "tcp", host: str = HOST) -> socket.socket:
    """A connection to the gateway; over TLS, shaken hands."""
    plain = socket.create_connection((HOST, gateway.ports[transport]), timeout=10.0, source_address=(host, 0))
    if transport == "tcp":
        return plain
    return ssl.create_default_context(cafile=str(gateway.ca)).wrap_socket(plain, server_hostname=DOMAIN)


def read_to_end(connection: socket.socket, timeout: float = 5.0) -> tuple[bytes, bool]:
    """What comes until the other side closes, and whether it did in time."""
    connection.settimeout(timeout)
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except TimeoutError:
        return received, False
    except (ConnectionResetError, ssl.SSLError):
        pass
    return received, True


class LengthTests(FaultCase):
    def test_content_length(self) -> None:
        """A Content-Length that cannot be true: 400 over UDP; 400, and the end of the connection, over TCP and TLS."""
        gateway = self.start()
        lengths = ("-1", str(1 << 31), str(10**9), "five", "0\r\nContent-Length: 5", "0x10", "1e3", "", "9" * 400)
        memory = resident_octets(gateway.pid)
        outcomes: dict[tuple[str, str], tuple[int, bool]] = {}
        with Stranger(gateway.sip) as stranger:
            for length in lengths:
                answer = stranger.ask(self.message(stranger, length, "UDP"))
                outcomes["udp", length] = (answer.status, True)
            for transport in ("tcp", "tls"):
                for length in lengths:
                    with connect(gateway, transport) as connection:
                        connection.sendall(self.message(stranger, length, transport.upper()))
                        received, closed = read_to_end(connection)
                        outcomes[transport, length] = (Answer(received).status if received else 0, closed)
        expected = {(transport, length): (400, True) for transport in ("udp", "tcp", "tls") for length in lengths}
        self.assertEqual(outcomes, expected)
        self.assertLess(resident_octets(gateway.pid) - memory, 8 << 20)

    def message(self, stranger: Stranger, length: str, transport: str) -> bytes:
        sound = request("INVITE", stranger, transport=transport)
        return sound.replace(b"Content-Length: 0", f"Content-Length: {length}".encode())

    def test_complexity(self) -> None:
        """64 KiB of whatever costs a parser most: at most 20 ms of processor time each (the middle one of
        five), and an answer or none."""
        gateway = self.start()
        with Stranger(gateway.sip) as stranger:
            sound = request("INVITE", stranger)
            head, _, _ = sound.partition(b"Max-Forwards")
            room = 64000 - len(sound)
            bodies = {
                "headers": b"X-A: b\r\n" * (room // 8),
                "folding": b"X-A: b\r\n" + b" c\r\n" * (room // 4),
                "parentheses": b"Subject: " + b"(" * 8000 + b"\r\n",
                "comments": b"User-Agent: " + b"(" * 8000 + b"\r\n",
                "brackets": b"Contact: " + b"<" * 8000 + b"\r\n",
                "quotes": b'Contact: "' + b"\\" * 8000 + b"\r\n",
                "commas": b"Via: " + b"," * 8000 + b"\r\n",
                "semicolons": b"Record-Route: <sip:a>" + b";a" * 4000 + b"\r\n",
                "vias": (b"Via: SIP/2.0/UDP " + b"a.b," * 1900 + b"\r\n") * 8,
                "hops": (b"Via: " + b"SIP/2.0/UDP a," * 500 + b"\r\n") * 8,
                "contacts": (b"Contact: " + b"<sip:a>," * 950 + b"\r\n") * 8,
                "digest": b"Authorization: Digest " + b'a="b",' * 1300 + b"\r\n",
                "accept": b"Accept-Language: " + b"a;q=0.1," * 990 + b"\r\n",
            }
            times: dict[str, float] = {}
            for name, more in bodies.items():
                message = head + more + b"Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
                tries = []
                for _ in range(5):
                    used = cpu_seconds(gateway.pid)
                    stranger.send(message)
                    stranger.answer(0.2)
                    tries.append(cpu_seconds(gateway.pid) - used)
                times[name] = sorted(tries)[2]
            self.assertEqual(stranger.ask(request("OPTIONS", stranger)).status, 200)
        self.assertEqual({name: round(seconds, 4) for name, seconds in times.items() if seconds > 0.02}, {})


class SlowTests(FaultCase):
    timeout = 60

    def test_500_slow_connections(self) -> None:
        """500 connections that are silent, send an octet a second, stop in a message or in the handshake: an honest
        call comes about meanwhile, and each of them is closed when its time is up."""
        gateway = self.start({"sip: {t1: 500ms}": "sip: {setup_timeout: 4s}"})
        before = descriptors(gateway.pid)
        with ExitStack() as open_, Stranger(gateway.sip) as stranger:
            message = request("OPTIONS", stranger, transport="TCP")
            slow = [open_.enter_context(connect(gateway)) for _ in range(350)]
            slow += [open_.enter_context(self.half_shaken(gateway)) for _ in range(150)]
            opened = time.monotonic()
            trickle = slow[:100]
            for connection in slow[100:200]:
                connection.sendall(message[:-30])
            self.soon(lambda: descriptors(gateway.pid) >= before + 500, "500 connections", 3.0)
            for number in range(3):
                for connection in trickle:
                    connection.send(message[number : number + 1])
                call = MeasuredCall(self, gateway, "--duration", "1", "--bind", TRUNK, "--expect-echo")
                self.assertEqual(call.report()["status"], 200)
                if time.monotonic() > opened + 3.0:
                    break
            for connection in trickle:
                with contextlib.suppress(ConnectionError):
                    connection.send(message[3:4])
            self.soon(lambda: descriptors(gateway.pid) <= before, "500 connections closed", 12.0)
            self.assertGreater(time.monotonic() - opened, 3.9)
            ends = [read_to_end(connection, 1.0)[1] for connection in slow]
        self.assertEqual(Counter(ends), {True: 500})

    def half_shaken(self, gateway: HurtGateway) -> socket.socket:
        """A connection whose TLS handshake has only begun: the head of a ClientHello."""
        connection = socket.create_connection((HOST, gateway.ports["tls"]), timeout=10.0)
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        return connection


class AbruptTests(FaultCase):
    def test_invite_then_reset(self) -> None:
        """1,000 connections that send an INVITE and are reset at once: no call, descriptor or port is left over."""
        gateway = self.start({"t1: 500ms": "t1: 100ms"})
        before = (descriptors(gateway.pid), descriptors(gateway.workers[0]))
        with Stranger(gateway.sip) as stranger:
            for number in range(1000):
                # Every second one is a trunk's, and admitted.
                with connect(gateway, host=TRUNK if number % 2 else HOST) as connection:
                    invite = request("INVITE", stranger, transport="TCP", body=offer(TRUNK, NO_MEDIA))
                    connection.sendall(invite if number % 4 < 2 else invite[: len(invite) // 2])
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A call that was answered ends when no ACK has come for 64*T1, here 6.4 s.
        self.soon(lambda: self.left(gateway) <= before, "no descriptor left over", 15.0)
        self.soon(lambda: gateway.media_sockets() == 0, "no port left over")
        records = gateway.wait_for_records(1)
        self.assertEqual(len({record["call_id"] for record in records}), len(records))
        self.assertLessEqual(len(records), 250)
        # With calls left it would drain, and not end at once.
        self.assertEqual(gateway.stop(), 0)
        self.assertNotIn("draining", gateway.log)

    def left(self, gateway: HurtGateway) -> tuple[int, int]:
        return descriptors(gateway.pid), descriptors(gateway.workers[0])


class FloodTests(FaultCase):
    SECONDS = 6.0
    UNDISTURBED = {"limits: {requests: 10000, burst: 10000}": "limits: {requests: 100, burst: 400}"}

    def test_invites(self) -> None:
        """INVITEs of a stranger, as fast as they can be sent: memory stays, a call that is up loses at most 1 % of its
        RTP, and trunks' calls come about meanwhile."""
        gateway = self.start(self.UNDISTURBED)
        talking = MeasuredCall(self, gateway, "--duration", str(self.SECONDS + 2), "--bind", TRUNK, "--codec", "pcmu")
        self.soon(lambda: "admitted as provider" in gateway.log, "the call")
        memory = resident_octets(gateway.pid)
        phone, sent = self.phone(gateway), 0
        with ExitStack() as sockets:
            strangers = [sockets.enter_context(Stranger(gateway.sip, host=ELSEWHERE)) for _ in range(8)]
            messages = [request("INVITE", each, body=offer(ELSEWHERE, NO_MEDIA)) for each in strangers]
            until, next_call = time.monotonic() + self.SECONDS, 0.0
            while (now := time.monotonic()) < until:
                if now > next_call:
                    next_call = now + 0.5
                    phone.dial()
                tag = f"{sent:08x}".encode()
                for stranger, message in zip(strangers, messages, strict=True):
                    another = message.replace(b"z9hG4bK", b"z9hG4bK" + tag)
                    stranger.send(another.replace(b"Call-ID: ", b"Call-ID: " + tag))
                    sent += 1
                phone.wait(lambda: False, 0.0005)
            answers = sum(1 for stranger in strangers for _ in stranger.waiting())
        grown = resident_octets(gateway.pid) - memory
        report = talking.report()
        media = report["media"]
        self.assertGreater(sent, 5000)
        self.assertGreater(answers, 0)  # it was looked at, until the limit
        self.assertLess(answers, 400 + 100 * (self.SECONDS + 4))
        self.assertLess(grown, 40 << 20)
        due = media["packets_received"] + media["packets_lost"]
        self.assertEqual((report["status"], media["packets_lost"] <= due // 100), (200, True), media)
        self.assertGreater(due, 50 * self.SECONDS)
        self.assertGreater(len(phone.calls), self.SECONDS)
        phone.wait(lambda: all(call.status for call in phone.calls.values()), 5.0)
        self.assertEqual(Counter(call.status for call in phone.calls.values()), {200: len(phone.calls)})


class ForeignRequestsTests(FaultCase):
    METHODS = ("REGISTER", "SUBSCRIBE", "NOTIFY", "MESSAGE", "PUBLISH", "REFER", "INFO", "UPDATE", "PRACK", "BYE")

    def test_methods(self) -> None:
        """Requests that no feature takes: 405, 481 or 501 to strangers and trunks alike, inside a dialog nobody has and
        outside; nothing comes of them."""
        gateway = self.start()
        outcomes: dict[str, set[int]] = {}
        for host in (HOST, TRUNK):
            with Stranger(gateway.sip, host=host) as stranger:
                for method in (*self.METHODS, "FOO", "CANCEL"):
                    for to_tag in ("", "nobody"):
                        headers = "Refer-To: <sip:x@y>\r\nEvent: presence\r\nRAck: 1 1 INVITE\r\nExpires: 60\r\n"
                        answer = stranger.ask(request(method, stranger, headers=headers, to_tag=to_tag))
                        outcomes.setdefault(f"{method} {to_tag}".strip(), set()).add(answer.status)
        unable = {name: statuses for name, statuses in outcomes.items() if not statuses <= {405, 481, 501}}
        self.assertEqual(unable, {})
        self.assertEqual(({*outcomes["BYE nobody"], *outcomes["CANCEL"]}, outcomes["MESSAGE"]), ({481}, {405}))
        self.assertEqual((gateway.records(), gateway.media_sockets()), ([], 0))


class ReplayTests(FaultCase):
    def test_invite_again(self) -> None:
        """An authorised INVITE sent 300 times more, as it is, with other branches, Call-IDs and sources: one call."""
        gateway = self.start()
        with Stranger(gateway.sip) as phone, Stranger(gateway.sip, host=ELSEWHERE) as thief:
            challenge = phone.ask(request("INVITE", phone))
            headers = authorization(challenge, USER, PASSWORD)
            invite = request("INVITE", phone, headers=headers, call_id="original", body=offer(HOST, NO_MEDIA))
            self.assertEqual(phone.ask(invite).status, 200)
            for _ in range(100):
                phone.send(invite)
            statuses = Counter(self.again(phone, thief, headers))
        self.assertEqual(len(gateway.records()), 0)
        self.assertEqual(gateway.media_sockets(), 2)
        # Every copy that was looked at: challenged anew, since its nonce is used up, or told that it has come already.
        self.assertEqual((sum(statuses.values()), set(statuses) <= {401, 482}), (200, True), statuses)
        self.assertIn(401, statuses)
        gateway.stop()
        self.assertEqual([record["sip_call_id"] for record in gateway.records()], ["original"])

    def again(self, phone: Stranger, thief: Stranger, headers: str) -> Iterator[int]:
        for stranger in (phone, thief):
            list(stranger.waiting())
            for number in range(100):
                call_id = "original" if number % 2 else f"other{number}"
                copy = request("INVITE", stranger, headers=headers, call_id=call_id, body=offer(HOST, NO_MEDIA))
                stranger.send(copy)
                branch = copy.partition(b"branch=")[2].partition(b";")[0].decode()
                deadline = time.monotonic() + 5.0
                while time.monotonic() < deadline:
                    answer = stranger.answer()
                    if answer is not None and branch in answer.header("Via"):
                        yield answer.status
                        break
