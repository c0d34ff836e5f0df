"""A tap's queue: bounded, counted, read in the reader's own time."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.pcm import pcm_from_alaw, pcm_from_ulaw
from stellar_gw.media.rtp import RtpPacket, RtpSender, parse_rtp
from stellar_gw.worker import tap as tap_module
from stellar_gw.worker.tap import Sound, Tap
from tests.unit.worker_world import G722, PCMA, PCMU, set_media

QUIET = bytes(2)


def packet(number: int, octet: int = 0x21, kind: int = 0) -> RtpPacket:
    return RtpPacket(kind, False, number, 160 * number, 1, bytes([octet]) * 160)


class TapTests(SynchronousTestCase):
    def test_both_directions(self) -> None:
        """Left is what came, right what went, each at its time."""
        tap, sender = Tap(set_media(), 100.0), RtpSender(9, 1, 1, 0)
        tap.received(packet(0), 100.02)
        tap.sent(sender.packet(b"\x42" * 160, 160), 100.04)
        left, right = pcm_from_ulaw(b"\x21") + QUIET, QUIET + pcm_from_ulaw(b"\x42")
        expected = 2 * QUIET * 160 + left * 160 + right * 160
        self.assertEqual(tap.read(100.06, last=True), Sound(at=0.0, rate=8000, pcm=expected))

    def test_pieces(self) -> None:
        """One read begins where the last one ended; a read stays a second behind."""
        tap = Tap(set_media(), 0.0)
        read = [tap.read(now) for now in (0.5, 1.5, 1.51, 1.51)]
        read.append(tap.read(1.6, last=True))
        self.assertEqual(
            [(each.at, len(each.pcm)) for each in read],
            [(0.0, 0), (0.0, 16000), (0.5, 320), (0.51, 0), (0.51, 34880)],
        )

    def test_rate(self) -> None:
        """The rate is the best that the leg offers, whichever direction has it."""
        rates = [
            Tap(set_media(send=send, receive=receive), 0.0).rate
            for send, receive in ((PCMU, (PCMU, PCMA)), (G722, (G722,)), (PCMU, (PCMU, G722)))
        ]
        self.assertEqual(rates, [8000, 16000, 16000])
        unknown = set_media(send=PCMU).send.__class__(name="OPUS", payload_type=96)
        self.assertRaises(LocalProtocolError, Tap, set_media(send=unknown, receive=()), 0.0)

    def test_slow_reader(self) -> None:
        """Beyond its capacity packets are counted and dropped: their time is silence, what follows is in its place."""
        tap = Tap(set_media(), 0.0, capacity=2)
        for number in range(4):
            tap.received(packet(number), 0.02 * number)
        heard = [tap.read(0.08).pcm]
        tap.received(packet(4), 0.08)
        heard.append(tap.read(0.1, last=True).pcm)
        sample = pcm_from_ulaw(b"\x21") + QUIET
        self.assertEqual(b"".join(heard), sample * 320 + 2 * QUIET * 320 + sample * 160)
        self.assertEqual((tap.dropped, tap.lost, len(tap)), (2, 2, 0))

    def test_codec_changes(self) -> None:
        """A packet is decoded as was agreed on when it came, however much later, and even if the queue is full."""
        tap = Tap(set_media(), 0.0, capacity=1)
        tap.received(packet(0, 0xD5, kind=8), 0.0)  # not agreed on: no audio
        tap.negotiated(set_media(receive=(PCMA,)))
        tap.read(0.02)
        tap.received(packet(1, 0x35, kind=8), 0.02)
        tap.negotiated(set_media())
        heard = tap.read(0.04, last=True).pcm
        self.assertEqual(heard[640:], (pcm_from_alaw(b"\x35") + QUIET) * 160)

    def test_many_answers(self) -> None:
        """Nor do answers fill the queue without end, and the packets in it stay."""
        tap = Tap(set_media(), 0.0, capacity=10)
        tap.received(packet(0), 0.0)
        for _ in range(1000):
            tap.negotiated(set_media())
        self.assertEqual((len(tap), tap.dropped), (20, 0))
        self.assertEqual(tap.read(0.02, last=True).pcm, (pcm_from_ulaw(b"\x21") + QUIET) * 160)

    def test_bridged(self) -> None:
        """What a bridge passes on in another codec than ours is heard too, if the peer takes it."""
        tap, sender = Tap(set_media(send=PCMU, receive=(PCMU, PCMA)), 0.0), RtpSender(9, 1, 1, 8)
        tap.sent(sender.packet(b"\x35" * 160, 160), 0.0)
        self.assertEqual(tap.read(0.02, last=True).pcm, (QUIET + pcm_from_alaw(b"\x35")) * 160)

    def test_closed_while_it_is_read(self) -> None:
        """The loop may close it at any time: what was taken is read, the rest is silence."""
        tap, sender = Tap(set_media(), 0.0), RtpSender(9, 1, 1, 0)
        for number in range(3):
            tap.sent(sender.packet(b"\x42" * 160, 160), 0.02 * number)

        def closing(datagram: bytes) -> RtpPacket | None:
            tap.close()
            return parse_rtp(datagram)

        self.patch(tap_module, "parse_rtp", closing)
        expected = (QUIET + pcm_from_ulaw(b"\x42")) * 160 + 2 * QUIET * 320
        self.assertEqual(tap.read(0.06, last=True).pcm, expected)

    def test_closed(self) -> None:
        """A closed tap keeps nothing and takes nothing; reading it is harmless."""
        tap = Tap(set_media(), 0.0)
        tap.received(packet(0), 0.0)
        tap.close()
        tap.received(packet(1), 0.02)
        tap.negotiated(set_media())
        self.assertEqual((len(tap), tap.dropped), (0, 0))
        self.assertEqual(tap.read(0.04, last=True).pcm, 2 * QUIET * 320)
