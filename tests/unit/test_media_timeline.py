"""Packets of both directions laid on one time line."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator
from operator import itemgetter

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.codec import G722, PCMU
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.source import tone
from stellar_gw.media.timeline import LOOK_AHEAD, MAX_PENDING, Timeline, Track

SPOKEN = b"\x21" * 160
LOUD = pcm_from_ulaw(b"\x21")
QUIET = bytes(2)


def packet(
    number: int, payload: bytes = SPOKEN, *, timestamp: int | None = None, ssrc: int = 1, kind: int = 0
) -> RtpPacket:
    """The packet that is due ``number`` times 20 ms after the first."""
    units = 0xFFFFFF00 + 160 * number if timestamp is None else timestamp
    return RtpPacket(kind, False, number & 0xFFFF, units & 0xFFFFFFFF, ssrc, payload)


def track(rate: int = 8000) -> Track:
    made = Track(rate)
    made.negotiated({0: "PCMU", 8: "PCMA", 9: "G722"})
    return made


def laid(arrivals: Iterable[tuple[RtpPacket, float]], seconds: float, made: Track | None = None) -> bytes:
    """What a reader gets that reads every half second, a second behind, and then the rest."""
    made = made or track()
    pcm, read = [], LOOK_AHEAD
    for each, at in sorted(arrivals, key=itemgetter(1)):
        while at > read:
            pcm.append(made.read(read - LOOK_AHEAD))
            read += 0.5
        made.put(each, at)
    return b"".join((*pcm, made.read(seconds)))


def runs(pcm: bytes) -> list[tuple[bool, int]]:
    """Stretches of sound and silence, and their length in samples."""
    found: list[tuple[bool, int]] = []
    for start in range(0, len(pcm), 2):
        sounds = pcm[start : start + 2] != QUIET
        if found and found[-1][0] == sounds:
            found[-1] = (sounds, found[-1][1] + 1)
        else:
            found.append((sounds, 1))
    return found


class PlaceTests(SynchronousTestCase):
    def test_first_packet(self) -> None:
        """Audio begins where its packet came, and silence fills what is around it."""
        self.assertEqual(laid([(packet(0), 0.25)], 0.5), QUIET * 2000 + LOUD * 160 + QUIET * 1840)

    def test_jitter(self) -> None:
        """Packets delayed by up to 60 ms, so that they overtake each other, become audio without a gap."""
        chance = random.Random(1)
        arrivals = [(packet(number), 0.5 + 0.02 * number + chance.uniform(0, 0.06)) for number in range(1000)]
        found = runs(laid(arrivals, 21.0))
        self.assertEqual([sounds for sounds, _ in found], [False, True, False])
        self.assertLess(abs(found[1][1] - 160000), 160)

    def test_loss_and_duplicates(self) -> None:
        """A lost packet is 20 ms of silence, a packet that comes twice is there once."""
        arrivals = [(packet(number), 0.02 * number) for number in (0, 1, 1, 3, 4, 3)]
        self.assertEqual(laid(arrivals, 0.1), LOUD * 320 + QUIET * 160 + LOUD * 320)

    def test_stall(self) -> None:
        """After the network held 400 ms back, all of it lies where it was spoken."""
        arrivals = [(packet(number), max(0.02 * number, 0.8 if number >= 20 else 0.0)) for number in range(100)]
        self.assertEqual(laid(arrivals, 2.0), LOUD * 16000)

    def test_pause_without_timestamps(self) -> None:
        """A sender whose timestamps stand still through its pauses is heard when it speaks."""
        arrivals = [(packet(number), 0.02 * number + (0.7 if number >= 50 else 0.0)) for number in range(100)]
        self.assertEqual(runs(laid(arrivals, 3.0)), [(True, 8000), (False, 5600), (True, 8000), (False, 2400)])

    def test_a_word_after_a_pause_without_timestamps(self) -> None:
        """Be it of three packets: no delay grows by so much without a pause."""
        arrivals = [(packet(number), 0.02 * number + (0.7 if number >= 50 else 0.0)) for number in range(53)]
        self.assertEqual(runs(laid(arrivals, 3.0)), [(True, 8000), (False, 5600), (True, 480), (False, 9920)])

    def test_suppressed_silence(self) -> None:
        """A pause that the timestamps tell of is as long as they say."""
        arrivals = [(packet(number), 0.02 * number) for number in range(100) if not 30 <= number < 60]
        self.assertEqual(runs(laid(arrivals, 2.0)), [(True, 4800), (False, 4800), (True, 6400)])

    def test_new_stream(self) -> None:
        """Another SSRC, or timestamps that jump, begin where they come."""
        arrivals = [
            *((packet(number), 0.02 * number) for number in range(10)),
            *((packet(number, ssrc=2, timestamp=5 + 160 * number), 0.3 + 0.02 * number) for number in range(10)),
            *((packet(number, ssrc=2, timestamp=10**9 + 160 * number), 0.6 + 0.02 * number) for number in range(10)),
        ]
        sound, pause = (True, 1600), (False, 800)
        self.assertEqual(runs(laid(arrivals, 0.9)), [sound, pause, sound, pause, sound, pause])

    def test_one_late_packet_at_the_end(self) -> None:
        """The last packet's own delay of 60 ms does not move it."""
        arrivals = [(packet(number), 0.02 * number + (0.06 if number == 49 else 0.0)) for number in range(50)]
        self.assertEqual(laid(arrivals, 1.0), LOUD * 8000)

    def test_too_late(self) -> None:
        """What comes for a time that has been read is left out."""
        made = track()
        made.put(packet(0), 0.0)
        self.assertEqual(made.read(0.5), LOUD * 160 + QUIET * 3840)
        made.put(packet(5), 0.5)  # spoken at 0.1
        made.put(packet(26), 0.52)
        self.assertEqual(made.read(1.0), QUIET * 160 + LOUD * 160 + QUIET * 3680)

    def test_what_is_no_audio(self) -> None:
        """Telephone events, unknown payload types and empty packets leave silence."""
        arrivals = [(packet(0, kind=101), 0.0), (packet(1, b""), 0.02), (packet(2), 0.04)]
        self.assertEqual(laid(arrivals, 0.06), QUIET * 320 + LOUD * 160)


class ClockTests(SynchronousTestCase):
    def drifting(self, ppm: float) -> Iterator[tuple[RtpPacket, float]]:
        """An hour of a sender whose clock is wrong: packets of 60 ms, a loud one each minute, jitter of 30 ms."""
        chance = random.Random(2)
        for number in range(60_000):
            spoken = 0.06 * number * (1 + ppm / 1e6)
            payload = b"\x21" * 480 if number % 1000 == 0 else b"\xff" * 480
            yield packet(number, payload, timestamp=480 * number), spoken + chance.uniform(0.0, 0.03)

    def test_an_hour(self) -> None:
        """With a sender's clock 200 ppm off either way every sound is within 20 ms of its time, for an hour."""
        for ppm in (-200.0, 200.0):
            pcm = laid(self.drifting(ppm), 3601.0)
            heard = [at / 8000 for at in starts(pcm)]
            spoken = [60 * minute * (1 + ppm / 1e6) for minute in range(60)]
            self.assertEqual(len(heard), 60)
            self.assertLess(max(abs(a - b) for a, b in zip(heard, spoken, strict=True)), 0.02)

    def test_drift_leaves_no_holes(self) -> None:
        """Corrections repeat or drop single samples: there is no silence in between."""
        for ppm in (-500.0, 500.0):
            arrivals = [(packet(number), 0.02 * number * (1 + ppm / 1e6)) for number in range(3000)]
            self.assertEqual([sounds for sounds, _ in runs(laid(arrivals, 61.0))], [True, False])


def starts(pcm: bytes) -> list[int]:
    """Where sound begins, in samples."""
    found, place = [], 0
    while (place := pcm.find(LOUD, place)) >= 0:
        if place % 2:
            place += 1
            continue
        found.append(place // 2)
        place += 2 * 8000
    return found


class CodecTests(SynchronousTestCase):
    def test_wide_line(self) -> None:
        """On a line of 16 kHz G.722 and PCMU follow each other without a gap, at the same level."""
        wide, narrow = G722.encoder(), PCMU.encoder()
        sound = [wide.encode(tone((440,), 16000, 20)) for _ in range(25)]
        sound += [narrow.encode(tone((440,), 8000, 20)) for _ in range(25)]
        arrivals = [
            (packet(number, payload, kind=9 if number < 25 else 0), 0.02 * number)
            for number, payload in enumerate(sound)
        ]
        pcm = laid(arrivals, 1.0, track(16000))
        self.assertEqual(len(pcm), 32000)
        self.assertNotIn(bytes(64), pcm[640:-640])

    def test_together_or_one_by_one(self) -> None:
        """Packets that are decoded together are the same audio as one by one, around losses and duplicates too."""
        for rate, kind, codec in ((8000, 0, PCMU), (16000, 9, G722), (16000, 0, PCMU), (8000, 9, G722)):
            chance = random.Random(3)
            arrivals: list[tuple[RtpPacket, float]] = []
            for number in range(200):
                if number not in (40, 41, 90):
                    payload = codec.encoder().encode(chance.randbytes(codec.pcm_octets(20)))
                    arrivals += [(packet(number, payload, kind=kind), 0.02 * number)] * (1 + (number % 30 == 0))
            one_by_one, pieces = track(rate), []
            for each, at in arrivals:
                one_by_one.put(each, at)
                pieces.append(one_by_one.read(at))
            pieces.append(one_by_one.read(5.0))
            self.assertEqual(laid(arrivals, 5.0, track(rate)), b"".join(pieces))

    def test_narrow_line(self) -> None:
        """On a line of 8 kHz a caller that goes over to G.722 is still heard, in time."""
        wide = G722.encoder()
        arrivals = [
            (packet(number, wide.encode(tone((440,), 16000, 20)), kind=9), 0.02 * number) for number in range(5)
        ]
        self.assertEqual(len(laid(arrivals, 0.1)), 1600)

    def test_duplicates_that_a_decoder_would_remember(self) -> None:
        """A packet that comes twice is decoded once."""
        octets = G722.encoder().encode(tone((300,), 16000, 1000))
        arrivals = [(packet(at, octets[160 * at : 160 * at + 160], kind=9), 0.02 * at) for at in range(50)]
        twice = [arrivals[at] for at in (10, 25, 26, 40)]
        self.assertEqual(laid([*arrivals, *twice], 1.0, track(16000)), laid(arrivals, 1.0, track(16000)))

    def test_another_phone(self) -> None:
        """What another source sends has a decoder of its own, at either rate, also where it follows to the sample."""
        sound, before = tone((300,), 16000, 1000), tone((700,), 16000, 1000)
        for rate in (16000, 8000):
            arrivals = []
            for place, (said, ssrc) in enumerate(((before, 1), (sound, 2))):
                octets = G722.encoder().encode(said)
                for number in range(50):
                    payload = octets[160 * number : 160 * number + 160]
                    at = number + 50 * place
                    arrivals.append((packet(at, payload, ssrc=ssrc, kind=9), 0.02 * at))
            pcm = laid(arrivals, 2.0, track(rate))
            peak = max(abs(sample) for sample in array("h", pcm[2 * rate :]))
            self.assertLess(peak, 9000, rate)

    def test_renumbered(self) -> None:
        """A payload type means what was agreed on when its packet came."""
        made = track()
        made.put(packet(0, kind=8), 0.0)
        made.negotiated({8: "PCMU"})
        made.put(packet(1, kind=8), 0.02)
        self.assertEqual(made.read(0.04)[320:], LOUD * 160)


class TimelineTests(SynchronousTestCase):
    def test_both(self) -> None:
        """Left and right are told apart and lie side by side."""
        line = Timeline(8000)
        line.left.negotiated({0: "PCMU"})
        line.right.negotiated({8: "PCMU"})
        line.left.put(packet(0), 0.04)
        line.right.put(packet(7, ssrc=9, kind=8), 0.05)
        silent, left = (QUIET + QUIET), (LOUD + QUIET)
        both, right = (LOUD + LOUD), (QUIET + LOUD)
        self.assertEqual(line.read(0.1), silent * 320 + left * 80 + both * 80 + right * 80 + silent * 240)

    def test_bounded(self) -> None:
        """Of a flood only so much is kept; the rest is counted."""
        line = Timeline(8000)
        line.left.negotiated({0: "PCMU"})
        for number in range(MAX_PENDING + 7):
            line.left.put(packet(number), 0.0)
        self.assertEqual(line.dropped, 7)

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 2**32 - 1), st.integers(0, 2), st.sampled_from((0, 8, 9, 77)), st.floats(0.0, 0.3),
                st.integers(0, 2048),
            ),
            max_size=60,
        ),
        st.sampled_from((8000, 16000)),
    )  # fmt: skip
    def test_anything(self, arrivals: list[tuple[int, int, int, float, int]], rate: int) -> None:
        """Whatever comes, whenever: what is read is as long as the time, and nothing much is kept."""
        made, now, pcm = track(rate), 0.0, b""
        for timestamp, ssrc, kind, pause, octets in arrivals:
            now += pause
            made.put(packet(0, bytes(octets), timestamp=timestamp, ssrc=ssrc, kind=kind), now)
            pcm += made.read(max(0.0, now - LOOK_AHEAD))
        pcm += made.read(now)
        self.assertEqual(len(pcm), 2 * round(now * rate))
        self.assertLess(len(made._pcm), 2 * 2 * rate)
