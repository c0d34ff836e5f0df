"""A port whose peer checks its ways to it (ICE): which checks are answered, and where media goes for them."""

from __future__ import annotations

from typing import Any

from stellar_gw.control.messages import Ice
from stellar_gw.media.rtcp import ReceiverReport, build_rtcp
from stellar_gw.media.stun import (
    ICE_CONTROLLING,
    PRIORITY,
    REQUEST,
    SUCCESS,
    USE_CANDIDATE,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    build_stun,
    parse_stun,
    read_xor_address,
)
from tests.unit.test_worker_rtp_port import STRANGER, PortTestCase
from tests.unit.worker_world import PHONE

OURS = Ice("lite", "p" * 24)
ANEW = Ice("anew", "r" * 24)
MOVED = ("203.0.113.7", 5555)


def check(*, nominate: bool = False, ours: Ice = OURS) -> bytes:
    """As the peer's full agent sends it."""
    attributes = [(USERNAME, f"{ours.ufrag}:full".encode()), (PRIORITY, bytes(4)), (ICE_CONTROLLING, bytes(8))]
    attributes += [(USE_CANDIDATE, b"")] * nominate
    return build_stun(REQUEST, bytes(12), attributes, ours.password.encode())


class IcePortTests(PortTestCase):
    def up(self, **media: Any) -> None:
        super().up(**{"ice": OURS, **media})

    def says(self, address: tuple[str, int], count: int = 1) -> int:
        """How many of so many packets from there are taken."""
        before = self.port.statistics("caller", "", 0).packets_received
        for _ in range(count):
            self.port.datagramReceived(self.peer.packet(b"\x42" * 160, 160), address)
        return self.port.statistics("caller", "", 0).packets_received - before

    def answers(self) -> list[tuple[tuple[str, int] | None, tuple[str, int]]]:
        """Mapped address of each answer since the last look, and where it went."""
        found = []
        for datagram, address in self.rtp.written:
            message = parse_stun(datagram)
            if message is not None and message.kind == SUCCESS:
                value = message.first(XOR_MAPPED_ADDRESS) or b""
                found.append((read_xor_address(value, message.transaction), address))
        self.rtp.written.clear()
        return found

    def test_answered(self) -> None:
        """A check is answered to where it came from, whoever is latched, and latches nobody."""
        self.up()
        self.port.datagramReceived(check(), MOVED)
        self.assertEqual((self.answers(), self.port.destination), ([(MOVED, MOVED)], PHONE))

    def test_nominated(self) -> None:
        """What is nominated is heard from its first packet on, and sent to; the SDP's own address is not any more."""
        self.up()
        self.assertEqual(self.says(PHONE, 5), 5)
        self.port.datagramReceived(check(nominate=True), MOVED)
        self.assertEqual(self.port.destination, MOVED)
        self.assertEqual((self.says(PHONE, 10), self.says(MOVED, 1)), (0, 1))
        self.clock.advance(2.0)
        self.assertEqual((self.says(STRANGER, 10), self.port.destination), (0, MOVED))

    def test_nominated_anew(self) -> None:
        """The peer may change its mind at any time."""
        self.up()
        for address in (MOVED, STRANGER, MOVED):
            self.port.datagramReceived(check(nominate=True), address)
            self.assertEqual(self.port.destination, address)

    def test_forged(self) -> None:
        """A nomination without the password moves nothing."""
        self.up()
        self.port.datagramReceived(check(nominate=True, ours=Ice("lite", "x" * 24)), STRANGER)
        self.assertEqual((self.port.destination, self.port.statistics("caller", "", 0).packets_rejected), (PHONE, 1))

    def test_re_invite(self) -> None:
        """A session that goes on keeps its pair through a re-INVITE; a restart begins with the address of its SDP."""
        self.up()
        self.port.datagramReceived(check(nominate=True), MOVED)
        self.up()
        self.assertEqual(self.port.destination, MOVED)
        self.up(ice=ANEW, remote=STRANGER)
        self.assertEqual(self.port.destination, STRANGER)
        self.port.datagramReceived(check(nominate=True), MOVED)
        self.assertEqual(self.port.destination, STRANGER)
        self.port.datagramReceived(check(nominate=True, ours=ANEW), MOVED)
        self.assertEqual(self.port.destination, MOVED)

    def test_without(self) -> None:
        """Without ICE checks are datagrams like any other that is no RTP: dropped, and counted."""
        self.up(ice=None)
        self.port.datagramReceived(check(nominate=True), MOVED)
        self.assertEqual((self.answers(), self.port.destination), ([], PHONE))
        self.assertEqual(self.port.statistics("caller", "", 0).packets_rejected, 1)

    def test_rtcp_of_its_own(self) -> None:
        """On the RTCP port checks are answered, too, and what is nominated there is sent RTCP."""
        self.up()
        self.port.rtcp.datagramReceived(check(nominate=True), MOVED)
        self.assertEqual([address for _, address in self.rtcp.written], [MOVED])
        self.assertEqual(self.port.destination, PHONE)
        self.rtcp.written.clear()
        self.clock.advance(10.0)
        self.port.advance()
        self.assertEqual({address for _, address in self.rtcp.written}, {MOVED})

    def test_mux(self) -> None:
        """With rtcp-mux one port has all three: checks, RTP and RTCP."""
        self.up(rtcp_mux=True)
        self.port.datagramReceived(check(nominate=True), MOVED)
        self.says(MOVED)
        self.port.datagramReceived(build_rtcp(ReceiverReport(0x22222222)), MOVED)
        self.assertEqual(self.port.statistics("caller", "", 0).packets_rejected, 0)
