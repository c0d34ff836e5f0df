"""One leg's port: what it lets in, what it reports, when it misses its peer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Gap, Piece
from stellar_gw.media.liveness import Lost
from stellar_gw.media.presses import Way
from stellar_gw.media.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    build_rtcp,
    middle_32,
    ntp_time,
    parse_rtcp,
)
from stellar_gw.media.rtp import RtpSender
from stellar_gw.testing.datagram import DatagramNetwork, MemoryTransport
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.rtp_port import LONGEST_PAYLOAD, RtpPort
from tests.unit.worker_world import EVENTS, HOST, PCMU, PHONE, WALL, set_media

RTCP = (PHONE[0], PHONE[1] + 1)
STRANGER = ("203.0.113.66", 9999)
OUR_SSRC = 0x11111111


class Heard:
    """Writes down what the port tells."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.told: list[str] = []

    def heard(self, pieces: Sequence[Piece]) -> None:
        self.pieces.extend(pieces)

    def straight(self, payload_type: int) -> None:
        """It wants all of it the long way."""

    def noise(self, payload: bytes) -> None:
        self.told.append(f"noise {payload.hex()}")

    def digit(self, digit: Digit, way: Way) -> None:
        self.told.append(f"digit {digit.digit} {digit.duration_ms}" + (f" {way}" if way != "rfc4733" else ""))

    def media_lost(self, lost: Lost) -> None:
        self.told.append(f"lost after {lost.seconds:.0f} s, ever {lost.ever}")

    def media_back(self) -> None:
        self.told.append("back")

    def one_way(self, local: str, remote: str) -> None:
        self.told.append(f"one way {local} {remote}")

    def port_failed(self) -> None:
        self.told.append("failed")


class PortTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        network = DatagramNetwork(self.clock)
        numbers = {32: OUR_SSRC, 15: 500, 96: 0xABC}
        self.heard = Heard()
        self.port = RtpPort(
            self.heard,
            Clocks(
                now=self.clock.seconds,
                wall=lambda: WALL + self.clock.seconds(),
                random=lambda: 0.5,
                number=numbers.__getitem__,
            ),
        )
        self.rtp: MemoryTransport = network.listen(self.port, HOST, 10000)
        self.rtcp: MemoryTransport = network.listen(self.port.rtcp, HOST, 10001)
        self.peer = RtpSender(0x22222222, 100, 8000, 0)

    def up(self, **media: Any) -> None:
        self.port.negotiated(set_media(**media))
        self.port.answered()

    def arrive(self, octets: bytes = b"\x42" * 160, source: tuple[str, int] = PHONE) -> None:
        self.port.datagramReceived(self.peer.packet(octets, 160), source)

    def after(self, seconds: float) -> None:
        """Let time pass in ticks of 20 ms."""
        for _ in range(round(seconds / 0.02)):
            self.clock.advance(0.02)
            self.port.advance()


class ReceivingTests(PortTestCase):
    def test_before_media(self) -> None:
        """Before anything was agreed nothing is let in."""
        self.arrive()
        self.port.rtcp.datagramReceived(build_rtcp(ReceiverReport(1)), RTCP)
        self.assertEqual((self.heard.pieces, self.port.statistics("caller", "", 0).packets_rejected), ([], 2))

    def test_demultiplexed(self) -> None:
        """STUN, ZRTP, DTLS, TURN, junk and RTCP on a port of its own are dropped and counted (RFC 7983)."""
        self.up()
        report = build_rtcp(ReceiverReport(1))
        for datagram in (b"", b"\x00" * 20, b"\x10" * 20, b"\x16" * 20, b"\x40" * 20, b"\xff" * 20, report):
            self.port.datagramReceived(datagram, PHONE)
        self.arrive()
        self.assertEqual((len(self.heard.pieces), self.port.statistics("caller", "", 0).packets_rejected), (1, 7))

    def test_too_long(self) -> None:
        """A packet of more audio than anybody needs is dropped."""
        self.up()
        self.arrive(bytes(LONGEST_PAYLOAD + 1))
        self.arrive(bytes(LONGEST_PAYLOAD))
        self.assertEqual(
            [len(piece.payload) for piece in self.heard.pieces if not isinstance(piece, Gap)], [LONGEST_PAYLOAD]
        )

    def test_latched(self) -> None:
        """Once latched, neither audio nor digits nor a way for ours come from a stranger's packets."""
        self.up()
        self.arrive()
        digit = self.peer.packet_at(9000, b"\x05\x8a\x03\x20", EVENTS.payload_type)
        for _ in range(10):
            self.arrive(b"\x66" * 160, STRANGER)
            self.port.datagramReceived(digit, STRANGER)
        self.port.send_audio(b"\xff" * 160, 160, self.port.destination)
        self.assertEqual((len(self.heard.pieces), self.heard.told), (1, []))
        self.assertEqual([address for _, address in self.rtp.written], [PHONE])
        statistics = self.port.statistics("caller", "PCMU", 0)
        self.assertEqual(
            (statistics.packets_received, statistics.packets_rejected, statistics.latched), (1, 20, "198.51.100.7:4000")
        )

    def test_behind_nat(self) -> None:
        """A peer that sends from its signalling host instead of its SDP's address gets our audio there."""
        self.up(remote=("10.0.0.9", 4000), signalling_host="203.0.113.5")
        for _ in range(4):
            self.arrive(source=("203.0.113.5", 61000))
        self.port.send_audio(b"\xff" * 160, 160, self.port.destination)
        self.assertEqual((len(self.heard.pieces), self.rtp.written[-1][1]), (4, ("203.0.113.5", 61000)))

    def test_digits(self) -> None:
        """Digits are told once each, share the audio's order, and are kept for the statistics."""
        self.up()
        self.arrive()
        for number, at in ((1, 9000), (11, 20000)):
            for _ in range(3):
                event = bytes((number, 0x8A)) + (800).to_bytes(2, "big")
                self.port.datagramReceived(self.peer.packet_at(at, event, EVENTS.payload_type), PHONE)
        self.assertEqual(self.heard.told, ["digit 1 100", "digit # 100"])
        self.assertEqual(self.port.statistics("caller", "", 0).digits, "1#")

    def test_digits_told_in_other_ways(self) -> None:
        """A press that signalling told, or the audio, is told on unless its events were; the statistics have all."""
        self.up()
        event = b"\x05\x8a\x03\x20"
        self.port.datagramReceived(self.peer.packet_at(9000, event, EVENTS.payload_type), PHONE)
        self.port.pressed(Digit("5", 160, 0), "info")
        self.port.pressed(Digit("5", 100, 0), "inband")
        self.port.pressed(Digit("6", 160, 0), "info")
        self.assertEqual(self.heard.told, ["digit 5 100", "digit 6 160 info"])
        self.assertEqual(self.port.statistics("caller", "", 0).digits, "56")

    def test_events_of_any_clock_rate_and_number(self) -> None:
        """Each telephone-event payload type has its own clock, and a new exchange may give a number another one."""
        formats = [(97, 16000), (101, 8000), (115, 48000)]
        for wide in (48000, 32000):
            formats[2] = (115, wide)
            receive = tuple(messages.Codec(name="telephone-event", payload_type=n, clock=c) for n, c in formats)
            self.up(dtmf_receive=receive)
            for place, (number, clock) in enumerate(formats):
                payload = bytes((place, 0x8A)) + (clock // 10).to_bytes(2, "big")
                self.port.datagramReceived(self.peer.packet(payload, 800)[:1] + bytes((number,))
                                           + self.peer.packet(payload, 800)[2:], PHONE)  # fmt: skip
        self.assertEqual(self.heard.told, ["digit 0 100", "digit 1 100", "digit 2 100"] * 2)

    def test_comfort_noise(self) -> None:
        """Comfort noise of 13, or of a number of the offer, locks the leg, counts, keeps it alive, and is told on."""
        self.up(noise_receive=(messages.Codec(name="CN", payload_type=118, clock=16000),))
        stranger = ("203.0.113.5", 7000)
        for seconds, number, source in ((1, 13, stranger), (1, 118, PHONE), (20, 13, PHONE), (20, 19, PHONE)):
            self.after(seconds)
            self.peer.payload_type = number
            self.port.datagramReceived(self.peer.packet(b"\x42\x80", 160), source)
        self.after(20.0)
        counted = self.port.statistics("caller", "", 0)
        self.assertEqual((self.heard.told, self.heard.pieces), (["noise 4280"] * 2, []))
        self.assertEqual(
            (counted.packets_received, counted.packets_rejected, counted.latched, counted.jitter_ms),
            (3, 1, "198.51.100.7:4000", 0.0),
        )

    def test_lost_end_of_digit(self) -> None:
        """A digit whose end packets were lost is told when its time is over."""
        self.up()
        self.port.datagramReceived(self.peer.packet_at(9000, b"\x05\x0a\x01\x40", EVENTS.payload_type), PHONE)
        self.after(0.1)
        early = list(self.heard.told)
        self.after(0.2)
        self.assertEqual((early, self.heard.told), ([], ["digit 5 40"]))

    def test_statistics(self) -> None:
        """Losses, duplicates' octets and what was sent are counted."""
        self.up()
        for _ in range(3):
            self.arrive()
        self.peer.packet(b"lost", 160)
        self.arrive()
        for _ in range(2):
            self.port.send_audio(b"\xff" * 160, 160, self.port.destination)
        counted = self.port.statistics("caller", "PCMU", 40)
        self.assertEqual(
            (
                counted.packets_received,
                counted.octets_received,
                counted.packets_lost,
                counted.packets_sent,
                counted.octets_sent,
                counted.agent_audio_ms,
                counted.round_trip_ms,
            ),
            (4, 640, 1, 2, 320, 40, -1.0),
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=60),
                st.binary(max_size=40).map(lambda rest: b"\x80" + rest),
                st.binary(max_size=40).map(lambda rest: b"\x80\x65" + rest),
                st.binary(max_size=40).map(lambda rest: b"\x81\xc9" + rest),
            ),
            max_size=8,
        ),
        st.booleans(),
    )
    @example([b"\x80"], True)
    def test_any_datagrams(self, datagrams: list[bytes], mux: bool) -> None:
        """No datagrams, on either port, raise anything; each is counted as received or rejected, or is RTCP."""
        self.setUp()
        self.up(rtcp_mux=mux)
        for datagram in datagrams:
            self.port.datagramReceived(datagram, PHONE)
            self.port.rtcp.datagramReceived(datagram, RTCP)
            self.after(0.02)
        counted = self.port.statistics("caller", "", 0)
        self.assertLessEqual(counted.packets_received + counted.packets_rejected, 2 * len(datagrams))


class ReportTests(PortTestCase):
    def reports(self, transport: MemoryTransport) -> list[object]:
        return [packet for datagram, _ in transport.written for packet in parse_rtcp(datagram) or ()]

    def test_first_report(self) -> None:
        """About 2.5 s after the answer a sender report goes to the RTCP address, about what has come so far."""
        self.up()
        for _ in range(10):
            self.arrive()
            self.port.send_audio(b"\xff" * 160, 160, self.port.destination)
            self.after(0.02)
        self.after(3.0)
        sent_at = WALL + 2.06
        report, name = self.reports(self.rtcp)
        assert isinstance(report, SenderReport)
        self.assertEqual(self.rtcp.written[0][1], RTCP)
        self.assertEqual((report.ssrc, report.packets_sent, report.octets_sent), (OUR_SSRC, 10, 1600))
        self.assertEqual(report.rtp_timestamp, (OUR_SSRC + 1600) & 0xFFFFFFFF)
        self.assertApproximates(report.ntp / (1 << 32), ntp_time(sent_at) / (1 << 32), 0.5)
        self.assertEqual(
            [(block.ssrc, block.packets_lost, block.highest_sequence) for block in report.blocks],
            [(0x22222222, 0, 109)],
        )
        self.assertEqual(name, SourceDescription(OUR_SSRC, f"{0xABC:024x}"))

    def test_receiver_report(self) -> None:
        """While we send nothing it is a receiver report."""
        self.up(direction="recvonly")
        self.after(3.0)
        self.assertEqual(self.reports(self.rtcp)[0], ReceiverReport(OUR_SSRC))

    def test_rate(self) -> None:
        """Reports come every 4 s or so (RFC 3550 6.3.1), on hold too."""
        self.up(direction="inactive")
        self.after(60.0)
        self.assertIn(len(self.rtcp.written), range(13, 17))

    def test_multiplexed(self) -> None:
        """With rtcp-mux reports come and go on the RTP port (RFC 5761)."""
        self.up(rtcp_mux=True)
        self.arrive()
        block = ReportBlock(OUR_SSRC, 64, 5, 100, 0)
        self.port.datagramReceived(build_rtcp(ReceiverReport(0x22222222, (block,))), PHONE)
        self.after(3.0)
        self.assertEqual(([address for _, address in self.rtp.written], self.rtcp.written), ([PHONE], []))
        self.assertEqual(self.port.statistics("caller", "", 0).remote_loss, 0.25)

    def test_round_trip(self) -> None:
        """The peer's report on our stream tells its loss and the way there and back; others' blocks do not."""
        self.up()
        sent = ntp_time(WALL)
        self.clock.advance(0.3)
        ours = ReportBlock(OUR_SSRC, 128, 5, 100, 0, middle_32(sent), int(0.2 * 65536))
        others = ReportBlock(0x33333333, 255, 5, 100, 0, middle_32(sent), 0)
        self.port.rtcp.datagramReceived(build_rtcp(ReceiverReport(0x22222222, (ours, others))), RTCP)
        counted = self.port.statistics("caller", "", 0)
        self.assertEqual(counted.remote_loss, 0.5)
        self.assertApproximates(counted.round_trip_ms, 100, 1)

    def test_stranger(self) -> None:
        """A stranger's report changes nothing and is counted."""
        self.up()
        report = build_rtcp(ReceiverReport(1, (ReportBlock(OUR_SSRC, 128, 5, 100, 0),)))
        self.port.rtcp.datagramReceived(report, STRANGER)
        counted = self.port.statistics("caller", "", 0)
        self.assertEqual((counted.remote_loss, counted.packets_rejected), (0.0, 1))

    def test_goodbye(self) -> None:
        """Closing says goodbye (RFC 3550 6.6), closes both sockets, and is no failure."""
        self.up()
        closed = self.port.close()
        self.clock.advance(0)
        self.assertEqual(self.reports(self.rtcp)[-1], Goodbye((OUR_SSRC,)))
        self.successResultOf(closed)
        self.assertEqual((self.port.transport, self.port.rtcp.transport, self.heard.told), (None, None, []))

    def test_no_goodbye(self) -> None:
        """A leg that was never answered has nobody to take leave of."""
        self.port.negotiated(set_media())
        self.port.close()
        self.assertEqual((self.rtp.written, self.rtcp.written), ([], []))


class LivenessTests(PortTestCase):
    def test_no_media_ever(self) -> None:
        """5 s after the answer one-way audio is told once, after 30 s the loss; time before the answer is free."""
        self.port.negotiated(set_media())
        self.after(20.0)
        self.port.answered()
        self.after(6.0)
        first = list(self.heard.told)
        self.after(40.0)
        self.assertEqual(first, ["one way 192.0.2.1:10000 198.51.100.7:4000"])
        self.assertEqual(self.heard.told[1:], ["lost after 30 s, ever False"])

    def test_lost_and_back(self) -> None:
        """30 s after the last packet the loss is told, once; then that it is back, and the next loss."""
        self.up()
        self.arrive()
        self.after(45.0)
        self.arrive()
        self.after(45.0)
        self.assertEqual(self.heard.told, ["lost after 30 s, ever True", "back", "lost after 30 s, ever True"])

    def test_rtcp_is_life(self) -> None:
        """Reports alone keep a leg alive (silence suppression)."""
        self.up()
        self.arrive()
        for _ in range(20):
            self.after(5.0)
            self.port.rtcp.datagramReceived(build_rtcp(ReceiverReport(0x22222222)), RTCP)
        self.assertEqual(self.heard.told, [])

    def test_hold(self) -> None:
        """On hold nothing is owed for an hour; whoever comes back has 30 s to begin."""
        self.up()
        self.arrive()
        self.port.negotiated(set_media(direction="sendonly"))
        self.after(200.0)
        self.port.negotiated(set_media())
        self.after(29.0)
        self.assertEqual(self.heard.told, [])
        self.after(2.0)
        self.assertEqual(self.heard.told, ["lost after 30 s, ever True"])

    def test_on_hold_from_the_start(self) -> None:
        """A call answered on hold is no one-way audio."""
        self.up(direction="sendonly")
        self.after(20.0)
        self.assertEqual(self.heard.told, [])

    def test_socket_fails(self) -> None:
        """A socket that is closed under us is told once."""
        self.up()
        self.rtp.stopListening()
        self.rtcp.stopListening()
        self.clock.advance(0)
        self.assertEqual(self.heard.told, ["failed"])

    def test_second_media(self) -> None:
        """A new exchange keeps the counts; payload types that are gone are no audio any more."""
        self.up()
        self.arrive()
        self.port.negotiated(set_media(receive=(), dtmf_receive=()))
        self.arrive()
        self.assertEqual(len(self.heard.pieces), 1)
        self.port.negotiated(set_media(receive=(PCMU,)))
        self.arrive()
        self.after(0.1)  # what was refused is missing in the order, and waited for
        counted = self.port.statistics("caller", "", 0)
        self.assertEqual((len(self.heard.pieces), self.heard.pieces[1]), (3, Gap(160, True)))
        self.assertEqual((counted.packets_received, counted.packets_rejected), (2, 1))
