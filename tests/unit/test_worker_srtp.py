"""A port with SRTP: what it lets in, where it sends, and what becomes of it when keys change."""

from __future__ import annotations

from typing import Any

from stellar_gw.control.messages import SrtpKey
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media import srtp
from stellar_gw.media.jitter import Gap
from stellar_gw.media.rtcp import ReceiverReport, build_rtcp, parse_rtcp
from stellar_gw.media.rtp import RtpSender, parse_rtp
from stellar_gw.testing.datagram import DatagramNetwork
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.rtp_port import RtpPort
from tests.unit.test_worker_rtp_port import RTCP, STRANGER, PortTestCase
from tests.unit.worker_world import EVENTS, HOST, PHONE, WALL

SUITE = "AES_CM_128_HMAC_SHA1_80"
MOVED = ("203.0.113.7", 5555)


def key(number: int) -> SrtpKey:
    return SrtpKey(SUITE, bytes([number]) * 30)


class SrtpPortTestCase(PortTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.theirs = self.phone(send=2, receive=1)

    def phone(self, send: int, receive: int) -> srtp.Srtp:
        """The other end, with keys by number."""
        made = srtp.Srtp()
        made.set_keys(srtp.SrtpKey(SUITE, key(send).octets), srtp.SrtpKey(SUITE, key(receive).octets))
        return made

    def up(self, **media: Any) -> None:
        super().up(**{"srtp_send": key(1), "srtp_receive": key(2), **media})

    def sealed(self, octets: bytes = b"\x42" * 160) -> bytes:
        return self.theirs.protect(self.peer.packet(octets, 160)) or b""

    def heard_octets(self) -> list[int]:
        return [piece.payload[0] for piece in self.heard.pieces if not isinstance(piece, Gap)]

    def counts(self) -> tuple[int, int, int]:
        found = self.port.statistics("caller", "", 0)
        return found.packets_received, found.packets_rejected, found.packets_unauthenticated

    def say(self) -> None:
        self.port.send_audio(b"\xff" * 160, 160, self.port.destination)


class ReceivingTests(SrtpPortTestCase):
    def test_only_what_is_authentic(self) -> None:
        """Plain RTP, forgeries and replays are dropped and counted, even from the very address that was agreed on."""
        self.up()
        sealed = self.sealed()
        for datagram in (self.peer.packet(b"\x66" * 160, 160), sealed[:-1] + b"\0", sealed, sealed):
            self.port.datagramReceived(datagram, PHONE)
        self.assertEqual((self.heard_octets(), self.counts()), ([0x42], (1, 3, 3)))
        self.assertEqual(self.port.statistics("caller", "", 0).srtp, SUITE)

    def test_dtls_and_others(self) -> None:
        """DTLS records (first octet 20 to 63), STUN and the like are dropped before SRTP sees them."""
        self.up()
        for first in range(128):
            self.port.datagramReceived(bytes([first]) + bytes(40), PHONE)
        self.port.datagramReceived(b"", PHONE)
        self.assertEqual(self.counts(), (0, 129, 0))

    def test_forgeries_lock_nothing(self) -> None:
        """However many come, from the agreed address or from elsewhere, the first authentic packet locks the leg."""
        self.up()
        stranger = RtpSender(0x33333333, 1, 1, 0)
        for _ in range(1000):
            packet = stranger.packet(b"\x66" * 160, 160) + bytes(10)
            self.port.datagramReceived(packet, STRANGER)
            self.port.datagramReceived(packet, PHONE)
        self.assertEqual(self.port.statistics("caller", "", 0).latched, "")
        self.port.datagramReceived(self.sealed(), MOVED)
        self.say()
        self.assertEqual([to for _, to in self.rtp.written], [MOVED])
        self.assertEqual((self.heard_octets(), self.heard.told), ([0x42], []))

    def test_forgeries_are_no_life(self) -> None:
        """A peer that has gone is missed, whatever strangers send in its name."""
        self.up()
        self.port.datagramReceived(self.sealed(), PHONE)
        for _ in range(1600):
            self.port.datagramReceived(self.peer.packet(b"\x66" * 160, 160) + bytes(10), PHONE)
            report = build_rtcp(ReceiverReport(0x22222222))
            for datagram in (report, report + bytes(14)):
                self.port.rtcp.datagramReceived(datagram, RTCP)
            self.after(0.02)
        self.assertEqual(self.heard.told, ["lost after 30 s, ever True"])

    def test_digits(self) -> None:
        """Telephone events are as authentic as the audio."""
        self.up()
        for payload in (b"\x05\x0a\x00\xa0", b"\x05\x8a\x03\x20"):
            event = self.peer.packet_at(9000, payload, EVENTS.payload_type)
            self.port.datagramReceived(event, PHONE)
            self.port.datagramReceived(self.theirs.protect(event) or b"", PHONE)
        self.assertEqual(self.heard.told, ["digit 5 100"])


class LatchTests(SrtpPortTestCase):
    def test_an_authentic_peer_may_move(self) -> None:
        """Its next packet from elsewhere takes our audio there; one that was overtaken does not take it back."""
        self.up()
        first, second, third = (self.sealed(bytes([number]) * 160) for number in (1, 2, 3))
        for datagram, source in ((first, PHONE), (third, MOVED), (second, PHONE)):
            self.port.datagramReceived(datagram, source)
            self.say()
        self.assertEqual([to for _, to in self.rtp.written], [PHONE, MOVED, MOVED])
        self.assertEqual(self.heard_octets(), [1, 2, 3])

    def test_strict(self) -> None:
        """A strict latch stays with the agreed hosts, whoever has the key."""
        self.up(strict_latch=True)
        self.port.datagramReceived(self.sealed(b"\x01" * 160), MOVED)
        self.port.datagramReceived(self.sealed(b"\x02" * 160), (PHONE[0], 7777))
        self.assertEqual((self.heard_octets(), self.counts()), ([2], (1, 1, 0)))
        self.assertEqual(self.port.statistics("caller", "", 0).latched, f"{PHONE[0]}:7777")

    def test_moved_by_a_new_address(self) -> None:
        """A re-INVITE that names another address moves our audio there; what is still under way from the old one, by
        the old key or the same, is heard, and does not take it back. Who goes on there is believed after a second."""
        there = ("203.0.113.8", 6000)
        for keys in ({}, {"srtp_send": key(3), "srtp_receive": key(4)}):
            self.setUp()
            self.up()
            self.port.datagramReceived(self.sealed(b"\x01" * 160), PHONE)
            late = [self.sealed(bytes([number]) * 160) for number in (2, 3)]
            self.up(remote=there, remote_rtcp=(there[0], 6001), **keys)
            found = []
            for datagram in late:
                self.port.datagramReceived(datagram, PHONE)
                found.append(self.port.destination)
                self.after(1.0)
            self.assertEqual((found, self.heard_octets()), ([there, PHONE], [1, 2, 3]))

    def test_a_new_address_that_is_where_it_was(self) -> None:
        """An SDP that comes to name the very source takes nothing from it."""
        self.up()
        self.port.datagramReceived(self.sealed(), MOVED)
        self.up(remote=MOVED, remote_rtcp=(MOVED[0], MOVED[1] + 1))
        self.port.datagramReceived(self.sealed(), MOVED)
        self.assertEqual(self.port.statistics("caller", "", 0).latched, f"{MOVED[0]}:{MOVED[1]}")

    def test_strict_reports(self) -> None:
        """A strict latch takes no report from elsewhere, and sends none there, whoever has the key."""
        self.up(strict_latch=True)
        report = build_rtcp(ReceiverReport(0x22222222))
        for source in ((PHONE[0], 9000), MOVED):
            self.port.rtcp.datagramReceived(self.theirs.protect_rtcp(report) or b"", source)
        self.after(10)
        self.assertEqual({to for _, to in self.rtcp.written}, {(PHONE[0], 9000)})
        self.assertEqual(self.counts(), (0, 1, 0))


class SendingTests(SrtpPortTestCase):
    def test_everything_is_sealed(self) -> None:
        """Audio, digits and reports; each opens with our key, and nothing else goes out."""
        self.up()
        self.port.datagramReceived(self.sealed(), PHONE)
        self.say()
        self.port.send_events([self.port.sender.packet_at(9000, b"\x05\x0a\x00\xa0", EVENTS.payload_type)])
        self.after(10)
        self.port.close()
        opened = [parse_rtp(self.theirs.unprotect(datagram) or b"") for datagram, _ in self.rtp.written]
        self.assertEqual([packet.payload_type if packet else None for packet in opened], [0, EVENTS.payload_type])
        reports = [self.theirs.unprotect_rtcp(datagram) for datagram, _ in self.rtcp.written]
        self.assertGreater(len(reports), 1)
        self.assertNotIn(None, [parse_rtcp(report or b"") for report in reports])

    def test_what_cannot_be_sealed(self) -> None:
        """It is not sent at all: another packet of a number that was used, or one that is too long."""
        self.up()
        for payload in (b"\xff" * 160, b"\x00" * 160, b"\xff" * 2000):
            self.port.write(self.port.sender.numbered(500, 9000, payload, 0, marker=False), PHONE)
        self.assertEqual(len(self.rtp.written), 1)

    def test_a_peer_that_hears_us_late(self) -> None:
        """Who misses the first packets can open the others: our numbers do not wrap before he has heard one."""
        highest = Clocks(now=self.clock.seconds, wall=lambda: WALL, random=lambda: 0.5, number=lambda bits: 2**bits - 1)
        self.port = RtpPort(self.heard, highest)
        self.rtp = DatagramNetwork(self.clock).listen(self.port, HOST, 10000)
        self.up()
        for _ in range(100):
            self.say()
        heard = [self.theirs.unprotect(datagram) for datagram, _ in self.rtp.written[50:]]
        self.assertEqual(heard.count(None), 0)

    def test_a_peer_that_hears_a_new_key_late(self) -> None:
        """So it is with a key that comes later, the first one of a call that began plain, too."""
        for before in ({}, {"srtp_send": None, "srtp_receive": None}):
            for number, after in ((65030, 65030), (65040, 0), (65535, 0)):
                self.setUp()
                self.up(**before)
                self.port.sender.sequence_number = number
                self.up(**before)
                self.assertEqual(self.port.sender.sequence_number, number)
                self.up(srtp_send=key(3), srtp_receive=key(4))
                self.assertEqual(self.port.sender.sequence_number, after)
                self.theirs = self.phone(send=4, receive=3)
                for _ in range(600):
                    self.say()
                heard = [self.theirs.unprotect(datagram) for datagram, _ in self.rtp.written[495:]]
                self.assertEqual(heard.count(None), 0)

    def test_one_port_for_both(self) -> None:
        """With rtcp-mux, SRTCP comes and goes on the RTP port; plain RTCP is dropped there too."""
        self.up(rtcp_mux=True, remote_rtcp=PHONE)
        report = build_rtcp(ReceiverReport(0x22222222))
        self.port.datagramReceived(report, PHONE)
        self.port.datagramReceived(self.sealed(), PHONE)
        before = self.counts()
        self.port.datagramReceived(self.theirs.protect_rtcp(report) or b"", PHONE)
        self.after(10)
        self.assertEqual((before, self.counts()), ((1, 1, 1), (1, 1, 1)))
        self.assertEqual(self.rtcp.written, [])
        self.assertNotIn(None, [self.theirs.unprotect_rtcp(datagram) for datagram, _ in self.rtp.written])


class KeyTests(SrtpPortTestCase):
    def test_a_new_key(self) -> None:
        """Packets under the old key are heard until one under the new one comes."""
        self.up()
        old = [self.sealed(bytes([number]) * 160) for number in (1, 2, 3)]
        self.port.datagramReceived(old[0], PHONE)
        self.up(srtp_send=key(3), srtp_receive=key(4))
        self.theirs = self.phone(send=4, receive=3)
        new = self.sealed(b"\x04" * 160)
        for datagram in (old[1], new, old[2]):
            self.port.datagramReceived(datagram, PHONE)
        self.after(0.2)
        self.assertEqual(self.heard_octets(), [1, 2, 4])
        self.say()
        self.assertIsNotNone(self.theirs.unprotect(self.rtp.written[-1][0]))

    def test_repeated(self) -> None:
        """The same command again changes nothing: no replay is taken, and nothing enciphered twice."""
        self.up()
        sealed = self.sealed()
        self.port.datagramReceived(sealed, PHONE)
        self.up()
        self.port.datagramReceived(sealed, PHONE)
        self.assertEqual(self.counts(), (1, 1, 1))

    def test_to_plain(self) -> None:
        """Once plain RTP is agreed on it is taken and sent, under the latch's usual rules."""
        self.up()
        self.port.datagramReceived(self.sealed(b"\x01" * 160), PHONE)
        self.up(srtp_send=None, srtp_receive=None)
        self.port.datagramReceived(self.sealed(b"\x02" * 160), PHONE)
        self.arrive(b"\x03" * 160)
        self.arrive(b"\x04" * 160, STRANGER)
        self.say()
        packet = parse_rtp(self.rtp.written[-1][0])
        self.assertEqual((self.heard_octets(), packet and packet.payload), ([1, 2, 3], b"\xff" * 160))
        self.assertEqual(self.port.statistics("caller", "", 0).srtp, "")

    def test_keys_that_cannot_be(self) -> None:
        """A key of another length, or one alone, is refused, and nothing has changed."""
        self.up()
        for keys in ({"srtp_receive": SrtpKey(SUITE, bytes(29))}, {"srtp_send": None}):
            self.assertRaises(LocalProtocolError, self.up, **keys)
        self.port.datagramReceived(self.sealed(), PHONE)
        self.assertEqual(self.counts(), (1, 0, 0))

    def test_no_key_shows(self) -> None:
        """Not in the repr of the command."""
        self.assertEqual(repr(key(1)), f"SrtpKey({SUITE}, ...)")
