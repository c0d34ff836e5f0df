"""A phone behind ICE calls a real gateway: a full agent of ours (RFC 8445) checks its ways, nominates one, talks."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from base64 import b64decode, b64encode

from stellar_gw.media.rtp import RtpPacket, RtpSender, is_rtcp, parse_rtp
from stellar_gw.media.srtp import Srtp, SrtpKey
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
from tests.integration.fault_support import FaultCase, MeasuredCall
from tests.integration.gateway_support import HOST, TRUNK
from tests.integration.shared_gateway import share_gateway

ECHO_USER = "600"
KNOWN = "trunk: {allowed_ips: [127.0.0.2], tenants: [acme]"
SUITE, KEY = "AES_CM_128_HMAC_SHA1_80", bytes(range(30))
COPIED = ("via:", "from:", "to:", "call-id:", "cseq:", "record-route:")
TIE_BREAKER = bytes(range(8))


class FullAgent:
    """One call of a trunk's over UDP, with two local candidates, of which SDP names the first.

    :param srtp: offer keys, and speak by them.
    :ivar sockets: the candidates.
    """

    def __init__(self, test: FaultCase, gateway: tuple[str, int] = (HOST, 0), *, srtp: bool = False) -> None:
        self._gateway = gateway
        self._srtp = Srtp() if srtp else None
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

    def at(self, gateway: tuple[str, int]) -> None:
        """Where the gateway is."""
        self._gateway = gateway

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
        self._read(description)
        return description

    def _read(self, description: str) -> None:
        self.theirs = dict(re.findall(r"(?m)^a=(ice-[a-z]+|rtcp-mux|candidate|crypto):?(.*?)\r?$", description))
        self._media = HOST, int(re.findall(r"(?m)^m=audio (\d+)", description)[0])
        if self._srtp is not None:
            key = b64decode(self.theirs["crypto"].partition("inline:")[2].partition("|")[0])
            self._srtp.set_keys(SrtpKey(SUITE, KEY), SrtpKey(SUITE, key))

    def answer(self) -> str:
        """Take the call that comes in, and answer its offer, which is returned."""
        while not (invite := self.sip.recv(65535).decode()).startswith("INVITE"):
            pass
        kept = [line for line in invite.partition("\r\n\r\n")[0].split("\r\n") if line.lower().startswith(COPIED)]
        offer, body = invite.partition("\r\n\r\n")[2], self._offer(True)
        place = f"{TRUNK}:{self.sip.getsockname()[1]}"
        lines = ["SIP/2.0 200 OK", *(f"{line};tag=i" if line.lower().startswith("to:") else line for line in kept)]
        lines += [f"Contact: <sip:ice@{place}>", "Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        self.sip.sendto(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), self._gateway)
        while not self.sip.recv(65535).startswith(b"ACK"):
            pass
        self._read(offer)
        return offer

    def hung_up(self) -> None:
        """Take the other side's BYE."""
        while not (bye := self.sip.recv(65535).decode()).startswith("BYE"):
            pass
        kept = [line for line in bye.split("\r\n") if line.lower().startswith(COPIED)]
        self.sip.sendto("\r\n".join(["SIP/2.0 200 OK", *kept, "Content-Length: 0", "", ""]).encode(), self._gateway)

    def hears(self, candidate: int) -> bool:
        """Whether RTP comes there."""
        while parse_rtp(self.sockets[candidate].recv(2048)) is None:
            pass
        return True

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
        if self._srtp is not None:
            lines.append(f"a=crypto:1 {SUITE} inline:{b64encode(KEY).decode()}")
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
            f"Call-ID: ice-{self.sip.getsockname()[1]}",
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
        sock.settimeout(0.2)
        for _ in range(50):  # as often as it takes (RFC 8445 14.3)
            sock.sendto(build_stun(REQUEST, transaction, attributes, key), self._media)
            with contextlib.suppress(TimeoutError):
                while True:
                    answer = parse_stun(sock.recv(2048))
                    if answer is not None and answer.transaction == transaction:
                        sock.settimeout(10.0)
                        return answer
        raise AssertionError("a check is not answered within 10 s")

    def echoes(self, candidate: int, payload: bytes) -> set[int]:
        """Speak from one candidate until an echo comes; to which candidates packets of it came."""
        heard: set[int] = set()
        for _ in range(250):
            packet = self._sender.packet(payload, 160)
            sealed = packet if self._srtp is None else self._srtp.protect(packet)
            self.sockets[candidate].sendto(sealed or b"", self._media)
            time.sleep(0.02)
            for number, sock in enumerate(self.sockets):
                sock.setblocking(False)
                try:
                    while True:
                        came = self._packet(sock.recv(2048))
                        if came is not None and came.payload == payload:
                            heard.add(number)
                except BlockingIOError:
                    pass
                sock.settimeout(10.0)
            if heard:
                break
        return heard

    def _packet(self, datagram: bytes) -> RtpPacket | None:
        if self._srtp is None or is_rtcp(datagram):
            return parse_rtp(datagram)
        opened = self._srtp.unprotect(datagram)
        return None if opened is None else parse_rtp(opened)


class IceTests(FaultCase):
    def agent(self, *, on: bool = True, srtp: bool = False) -> FullAgent:
        gateway = share_gateway(self, *([(KNOWN, f"{KNOWN}, ice: true")] if on else []))
        return FullAgent(self, (HOST, gateway.ports["udp"]), srtp=srtp)

    def test_srtp(self) -> None:
        """With SRTP checks go in clear beside it; what is nominated is heard and sent to, and nowhere else, though what
        comes from elsewhere by the same key is heard, too."""
        agent = self.agent(srtp=True)
        agent.invite()
        self.assertEqual(agent.echoes(0, b"\x36" * 160), {0})
        self.assertEqual(agent.check(1, nominate=True).kind, SUCCESS)
        self.assertEqual(agent.echoes(1, b"\x37" * 160), {1})
        self.assertEqual(agent.echoes(0, b"\x38" * 160), {1})
        agent.bye()

    def test_we_call(self) -> None:
        """Our offer to a trunk of that configuration has a lite agent's candidates; its nomination is followed."""
        agent = FullAgent(self)
        place = f"sip:{TRUNK}:{agent.sip.getsockname()[1]}"
        gateway = self.start(
            {
                KNOWN: f'{KNOWN}, ice: true, outbound: {{to: "{place}"}}',
                "  acme:\n": "  acme:\n    private_targets: true\n    transfers:\n"
                f'      desk: {{to: "sip:desk@{TRUNK}:{agent.sip.getsockname()[1]}", via: trunk, method: invite}}\n',
                "    connectors:\n": "    connectors:\n"
                '      to-desk: {identifier: "700", agent: "builtin:transfer", options: {to: desk}}\n',
            }
        )
        agent.at(gateway.sip)
        caller = MeasuredCall(self, gateway, "--duration", "3", "--bind", TRUNK, to="700")
        offer = agent.answer()
        self.assertRegex(
            offer, r"(?s)a=ice-lite\r\n.*a=ice-ufrag:.*a=candidate:1 1 UDP 2130706431 127\.0\.0\.1 \d+ typ host"
        )
        self.assertEqual(agent.check(1, nominate=True).kind, SUCCESS)
        self.assertTrue(agent.hears(1))
        self.assertEqual(caller.report()["status"], 200)
        agent.hung_up()

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
