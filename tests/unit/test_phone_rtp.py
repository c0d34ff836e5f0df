"""The phone's audio over a fake clock and sockets in memory."""

from __future__ import annotations

import random
from array import array

from attrs import evolve
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.codec import PCMU as PCMU_CODEC
from stellar_gw.media.resample import Resampler
from stellar_gw.media.rtp import RtpPacket, build_rtp, is_rtcp, parse_rtp
from stellar_gw.media.source import Tone
from stellar_gw.phone.measure import measure
from stellar_gw.phone.rtp import RATE, NoPorts, RtpSession
from stellar_gw.sip.offer_answer import Codec, Negotiated

PCMU = Codec(name="PCMU", payload_type=0)
EVENT = Codec(name="TELEPHONE-EVENT", payload_type=101)
PEER = ("192.0.2.1", 4000)
AGREED = Negotiated(
    remote=PEER, remote_rtcp=("192.0.2.1", 4001), send=PCMU, receive=(PCMU,), dtmf_send=EVENT, dtmf_receive=(EVENT,)
)


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[tuple[bytes, tuple[str, int]]] = []
        self.stopped = False

    def write(self, datagram: bytes, destination: tuple[str, int]) -> None:
        self.written.append((datagram, destination))

    def stopListening(self) -> None:
        self.stopped = True


class FakeReactor(Clock):
    """A clock with UDP sockets; ports in ``taken`` are."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: set[int] = set()
        self.open: list[tuple[int, DatagramProtocol, FakeTransport]] = []

    def listenUDP(self, port: int, protocol: DatagramProtocol, interface: str, maxPacketSize: int) -> None:
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        transport = FakeTransport()
        self.open.append((port, protocol, transport))
        protocol.makeConnection(transport)  # type: ignore[arg-type]


def session(reactor: FakeReactor, random: bytes = b"\x00") -> RtpSession:
    return RtpSession(
        reactor,  # type: ignore[arg-type]
        "127.0.0.1",
        Tone((440,), RATE),
        random=lambda octets: (random * octets)[:octets],
        wall=reactor.seconds,
    )


def rtp(sent: FakeTransport) -> list[tuple[int, int, int]]:
    """Sequence number, timestamp and length of each RTP packet written to PEER."""
    packets = [parse_rtp(datagram) for datagram, destination in sent.written
               if destination == PEER and not is_rtcp(datagram)]  # fmt: skip
    return [(packet.sequence_number, packet.timestamp, len(packet.payload)) for packet in packets if packet]


class PacingTests(SynchronousTestCase):
    def test_one_packet_each_20_ms(self) -> None:
        """A packet goes at once and each 20 ms; a late tick sends what is due, by the media clock."""
        reactor = FakeReactor()
        audio = session(reactor)
        audio.update(AGREED, "192.0.2.1")
        for step in (0.02, 0.02, 0.05, 0.015):
            reactor.advance(step)
        self.assertEqual(rtp(reactor.open[0][2]), [(number, number * 160, 160) for number in range(6)])

    def test_a_long_stall_is_skipped(self) -> None:
        """After 1 s without a turn a few packets are made up for, the rest of the time passes in the timestamps."""
        reactor = FakeReactor()
        audio = session(reactor)
        audio.update(AGREED, "192.0.2.1")
        reactor.advance(1.0)
        sent = rtp(reactor.open[0][2])
        self.assertEqual((len(sent), sent[-1][0], sent[-1][1]), (7, 6, 50 * 160))
        # The recording keeps to the clock, too: 51 packets' time.
        self.assertEqual(round(audio.sent.seconds, 3), 1.02)

    def test_packet_time(self) -> None:
        """A negotiated ptime of 40 ms makes packets of 320 octets each 40 ms."""
        reactor = FakeReactor()
        audio = session(reactor)
        audio.update(Negotiated(remote=PEER, remote_rtcp=PEER, send=PCMU, receive=(PCMU,), ptime=40), "")
        reactor.advance(0.04)
        self.assertEqual(rtp(reactor.open[0][2]), [(0, 0, 320), (1, 320, 320)])

    def test_hold_sends_nothing(self) -> None:
        """While only the peer may send, the media clock runs on in silence."""
        reactor = FakeReactor()
        audio = session(reactor)
        audio.update(AGREED, "")
        held = Negotiated(remote=PEER, remote_rtcp=PEER, send=PCMU, receive=(PCMU,), direction="recvonly")
        audio.update(held, "")
        reactor.advance(0.1)
        audio.update(AGREED, "")
        reactor.advance(0.02)
        self.assertEqual(rtp(reactor.open[0][2]), [(0, 0, 160), (1, 960, 160)])


class DigitTests(SynchronousTestCase):
    def test_other_clock_rates(self) -> None:
        """Digits go out, and are understood, in the clock rate that was agreed on, which may change."""
        reactor = FakeReactor()
        audio = session(reactor)
        lengths = []
        for clock in (8000, 48000):
            event = evolve(EVENT, clock=clock)
            audio.update(evolve(AGREED, dtmf_send=event, dtmf_receive=(event,)), "")
            audio.send_digits("5")
            reactor.open[0][2].written.clear()
            for _ in range(20):
                reactor.advance(0.02)
            sent = [packet for datagram, _ in reactor.open[0][2].written if (packet := parse_rtp(datagram))]
            lengths.append(max(int.from_bytes(p.payload[2:], "big") for p in sent if p.payload_type == 101))
            pressed = bytes((6, 0x8A)) + (clock // 10).to_bytes(2, "big")
            packet = RtpPacket(101, False, clock // 8000, clock, 9, pressed)
            reactor.open[0][1].datagramReceived(build_rtp(packet), PEER)
        self.assertEqual((lengths, audio.digits_heard, audio.digits_sent), ([1280, 7680], "66", "55"))


class HearingTests(SynchronousTestCase):
    def receive(self, reactor: FakeReactor, *numbers: int) -> None:
        for number in numbers:
            packet = RtpPacket(0, False, number, number * 160, 9, b"\x80" * 160)
            reactor.open[0][1].datagramReceived(build_rtp(packet), PEER)

    def test_both_recordings_begin_together(self) -> None:
        """What is first heard 100 ms after the answer lies 100 ms into the recording; a lost packet is silence."""
        reactor = FakeReactor()
        audio = session(reactor)
        audio.update(AGREED, "192.0.2.1")
        reactor.advance(0.1)
        self.receive(reactor, 0, 1, 3)
        reactor.advance(0.1)
        heard = bytes(audio.heard.kept)
        frame = RATE // 50 * 2
        loud = [any(heard[at : at + frame]) for at in range(0, 9 * frame, frame)]
        self.assertEqual((loud, audio.reception.lost), ([False] * 5 + [True, True, False, True], 1))

    def test_strangers_are_not_heard(self) -> None:
        """Packets of unknown payload types, junk and RTCP on the wrong port leave no trace."""
        reactor = FakeReactor()
        audio = session(reactor)
        audio.update(AGREED, "192.0.2.1")
        port = reactor.open[0][1]
        for junk in (
            b"",
            b"\x80",
            b"\x00" * 20,
            build_rtp(RtpPacket(96, False, 1, 1, 1, b"x")),
            b"\x80\xc8" + bytes(26),
        ):
            port.datagramReceived(junk, PEER)
        self.assertEqual((audio.reception.packets, audio.heard.octets), (0, 0))


class PortTests(SynchronousTestCase):
    def test_neighbours(self) -> None:
        """An even port and the next; where one is taken, both are given up."""
        reactor = FakeReactor()
        numbers = iter([bytes((0, 1)), bytes((0, 2))])
        reactor.taken = {20003}
        audio = RtpSession(
            reactor,  # type: ignore[arg-type]
            "127.0.0.1",
            Tone((440,), RATE),
            random=lambda octets: next(numbers, b"\x05\x05") if octets == 2 else bytes(octets),
            wall=reactor.seconds,
        )
        self.assertEqual(
            (audio.rtp_port, audio.rtcp_port, [(port, transport.stopped) for port, _, transport in reactor.open]),
            (20004, 20005, [(20002, True), (20004, False), (20005, False)]),
        )

    def test_no_ports(self) -> None:
        """Where nothing is free the phone says so."""
        reactor = FakeReactor()
        reactor.taken = set(range(20000, 65536))
        with self.assertRaises(NoPorts):
            session(reactor)

    def test_stopping_says_goodbye(self) -> None:
        """The end sends an RTCP BYE to the peer's RTCP port and closes both sockets; twice does no harm."""
        reactor = FakeReactor()
        audio = session(reactor)
        audio.update(AGREED, "192.0.2.1")
        audio.stop()
        audio.stop()
        (datagram, destination), *more = reactor.open[1][2].written
        self.assertEqual(
            (destination, datagram[-7], more, [transport.stopped for _, _, transport in reactor.open]),
            (("192.0.2.1", 4001), 203, [], [True, True]),
        )
        self.assertEqual(reactor.getDelayedCalls(), [])


class MeasureTests(SynchronousTestCase):
    def test_an_echo_between_two_samples_is_found(self) -> None:
        """Noise through PCMU is recognised at any delay, also one that is no whole sample of its 8 kHz."""
        found = []
        for delay in (600, 601):
            reactor = FakeReactor()
            audio = session(reactor)
            audio.update(AGREED, "192.0.2.1")
            noise = random.Random(1)
            pcm = array("h", [round(noise.gauss(0, 2000)) for _ in range(2 * RATE)]).tobytes()
            audio.sent.add(pcm)
            coded = PCMU_CODEC.encoder().encode(Resampler(RATE, 8000).resample(pcm))
            audio.heard.add(bytes(2 * delay))
            audio.heard.add(Resampler(8000, RATE).resample(PCMU_CODEC.decoder().decode(coded)) + bytes(RATE))
            report = measure(audio)
            assert report is not None
            found.append(report.echo.correlation > 0.9)
        self.assertEqual(found, [True, True])
