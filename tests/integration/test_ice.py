"""A phone behind ICE calls a real gateway: a full agent of ours (RFC 8445) checks its ways, nominates one, talks."""

from __future__ import annotations

import re
import socket
import time

from stellar_gw.media.rtp import RtpSender, parse_rtp
from stellar_gw.media.stun import (
    ERROR,
    ERROR_CODE,
    ICE_CONTROLLING,
    PRIORITY,
    REQUEST,
    SUCCESS,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    StunMessage,
    build_stun,
    parse_stun,
    read_xor_address,
)
from tests.integration.fault_support import FaultCase
from tests.integration.gateway_support import HOST, TRUNK

ECHO_USER = "600"
TIE_BREAKER = bytes(range(8))


class FullAgent:
    """One call of a trunk's over UDP, with two local candidates, of which SDP names the first.

    :ivar sockets: the candidates.
    """

    def __init__(self, test: FaultCase, gateway: tuple[str, int]) -> None:
        self._gateway = gateway
        self.sip, *self.sockets = (self._listen(test) for _ in range(3))
        self._ufrag, self._password = "full", "f" * 22
        self._tag = ""
        self._sequence = self._version = 0
        self._sender = RtpSender(0xF011, 1, 0, 0)
        self.theirs: dict[str, str] = {}

    def _listen(self, test: FaultCase) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        test.addCleanup(made.close)
        made.bind((TRUNK, 0))
        made.settimeout(10.0)
        return made

    # --- SIP ------------------------------------------------------------------------------------

    def restart(self) -> None:
        """The next offer begins a new session (RFC 8839 4.4.1.1.1)."""
        self._ufrag, self._password = "anew", "n" * 22

    def invite(self, *, ice: bool = True) -> str:
        """Offer, and confirm; the answer."""
        self._sequence, self._version = self._sequence + 1, self._version + 1
        self._send("INVITE", self._offer(ice))
        while not (ok := self.sip.recv(65535).decode()).startswith("SIP/2.0 200"):
            assert ok.startswith("SIP/2.0 1"), ok
        self._tag = ok.lower().split("\r\nto:")[1].split("\r\n")[0].partition(";tag=")[2]
        self._send("ACK")
        description = ok.partition("\r\n\r\n")[2]
        self.theirs = dict(re.findall(r"(?m)^a=(ice-[a-z]+|rtcp-mux|candidate):?(.*?)\r?$", description))
        self._media = HOST, int(re.findall(r"(?m)^m=audio (\d+)", description)[0])
        return description

    def bye(self) -> None:
        self._sequence += 1
        self._send("BYE")
        while not self.sip.recv(65535).startswith(b"SIP/2.0 200"):
            pass

    def _offer(self, ice: bool) -> str:
        ports = [sock.getsockname()[1] for sock in self.sockets]
        lines = [
            "v=0", f"o=- 7 {self._version} IN IP4 {TRUNK}", "s=-", f"c=IN IP4 {TRUNK}", "t=0 0",
            f"m=audio {ports[0]} RTP/AVP 0", "a=rtcp-mux",
        ]  # fmt: skip
        if ice:
            lines += [f"a=ice-ufrag:{self._ufrag}", f"a=ice-pwd:{self._password}"]
            lines += [
                f"a=candidate:{number} 1 UDP {2130706431 - number} {TRUNK} {port} typ host"
                for number, port in enumerate(ports, 1)
            ]
        return "\r\n".join(lines) + "\r\n"

    def _send(self, method: str, body: str = "") -> None:
        place = f"{TRUNK}:{self.sip.getsockname()[1]}"
        lines = [
            f"{method} sip:{ECHO_USER}@{self._gateway[0]}:{self._gateway[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP {place};branch=z9hG4bK{method}{self._sequence}",
            f"From: <sip:ice@{TRUNK}>;tag=i",
            f"To: <sip:{ECHO_USER}@{self._gateway[0]}>" + (f";tag={self._tag}" if self._tag else ""),
            "Call-ID: ice",
            f"CSeq: {self._sequence} {method}",
            f"Contact: <sip:ice@{place}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        self.sip.sendto(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), self._gateway)

    # --- media ----------------------------------------------------------------------------------

    def check(self, candidate: int, *, nominate: bool = False, password: str = "") -> StunMessage:
        """A connectivity check from one of our candidates; what answers it."""
        sock, key = self.sockets[candidate], (password or self.theirs["ice-pwd"]).encode()
        name = f"{self.theirs['ice-ufrag']}:{self._ufrag}".encode()
        attributes = [(USERNAME, name), (PRIORITY, bytes(4)), (ICE_CONTROLLING, TIE_BREAKER)]
        attributes += [(USE_CANDIDATE, b"")] * nominate
        transaction = time.monotonic_ns().to_bytes(12, "big")
        sock.sendto(build_stun(REQUEST, transaction, attributes, key), self._media)
        while True:
            answer = parse_stun(sock.recv(2048))
            if answer is not None and answer.transaction == transaction:
                return answer

    def echoes(self, candidate: int, payload: bytes) -> set[int]:
        """Speak from one candidate until an echo comes; to which candidates packets of it came."""
        heard: set[int] = set()
        for _ in range(250):
            self.sockets[candidate].sendto(self._sender.packet(payload, 160), self._media)
            time.sleep(0.02)
            for number, sock in enumerate(self.sockets):
                sock.setblocking(False)
                try:
                    while True:
                        packet = parse_rtp(sock.recv(2048))
                        if packet is not None and packet.payload == payload:
                            heard.add(number)
                except BlockingIOError:
                    pass
                sock.settimeout(10.0)
            if heard:
                break
        return heard


class IceTests(FaultCase):
    def agent(self, *, on: bool = True) -> FullAgent:
        known = "trunk: {allowed_ips: [127.0.0.2], tenants: [acme]"
        gateway = self.start({known: f"{known}, ice: true"} if on else {})
        return FullAgent(self, gateway.sip)

    def test_nominated(self) -> None:
        """The answer names one candidate of a lite agent; the nominated way carries audio, against what SDP says."""
        agent = self.agent()
        description = agent.invite()
        self.assertRegex(description, r"(?s)t=0 0\r\na=ice-lite\r\na=ice-options:ice2\r\n.*a=rtcp-mux\r\n")
        port = re.findall(r"m=audio (\d+)", description)[0]
        self.assertEqual(
            re.findall(r"a=candidate:(.*)\r\n", description), [f"1 1 UDP 2130706431 {HOST} {port} typ host"]
        )
        for candidate, sock in enumerate(agent.sockets):
            answer = agent.check(candidate)
            mapped = read_xor_address(answer.first(XOR_MAPPED_ADDRESS) or b"", answer.transaction)
            self.assertEqual((answer.kind, mapped), (SUCCESS, sock.getsockname()))
            self.assertTrue(answer.is_from(agent.theirs["ice-pwd"].encode()))
        self.assertEqual(agent.check(1, nominate=True).kind, SUCCESS)
        self.assertEqual(agent.echoes(1, b"\x31" * 160), {1})
        agent.bye()

    def test_forged(self) -> None:
        """Without the password nothing is nominated, and the refusal says why."""
        agent = self.agent()
        agent.invite()
        refused = agent.check(1, nominate=True, password="x" * 24)
        value = refused.first(ERROR_CODE) or b""
        self.assertEqual((refused.kind, 100 * value[2] + value[3]), (ERROR, 401))
        self.assertEqual(agent.echoes(0, b"\x32" * 160), {0})
        agent.bye()

    def test_re_invite(self) -> None:
        """A re-INVITE leaves the pair and our credentials as they are; one that restarts changes ours, and takes checks
        anew."""
        agent = self.agent()
        agent.invite()
        agent.check(1, nominate=True)
        before = dict(agent.theirs)
        agent.invite()
        self.assertEqual(agent.theirs, before)
        self.assertEqual(agent.echoes(1, b"\x33" * 160), {1})
        agent.restart()
        agent.invite()
        self.assertNotEqual(agent.theirs["ice-ufrag"], before["ice-ufrag"])
        agent.check(1, nominate=True)
        self.assertEqual(agent.echoes(1, b"\x34" * 160), {1})
        agent.bye()

    def test_not_wanted(self) -> None:
        """Where one side does not want it nothing of it is in the answer, and the call works as ever."""
        for on, ice in ((True, False), (False, True)):
            agent = self.agent(on=on)
            description = agent.invite(ice=ice)
            self.assertNotIn("a=ice", description)
            self.assertEqual(agent.echoes(0, b"\x35" * 160), {0})
            agent.bye()
