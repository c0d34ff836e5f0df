"""A leg that is listened to keeps its short ways, and who listens hears on them what the long way tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stellar_gw.media.rtp import RtpPacket, build_rtp
from stellar_gw.worker.rtp_port import RtpPort
from stellar_gw.worker.tap import Tap
from tests.unit.bridge_case import BridgeTestCase
from tests.unit.test_worker_bridge_srtp import keys, phone_with
from tests.unit.test_worker_recording import RecordedCallCase, channels
from tests.unit.worker_world import PCMA, PCMU, set_media

CODECS: dict[str, Any] = {"send": PCMU, "receive": (PCMU, PCMA)}
CHANGED = frozenset({60, 130, 131})
"""Packets that are of another length."""


def eventful() -> Iterator[RtpPacket]:
    """Ten seconds of a caller: loss, reordering, another codec, a digit, a pause, another SSRC; numbers that wrap."""
    number, timestamp, ssrc = 65400, 0xFFFFE000, 0xBEEF
    held: RtpPacket | None = None
    for place in range(500):
        number, timestamp = number + 1, timestamp + 160
        if place == 250:
            number, timestamp, ssrc = 77, 4711, 0xCAFE
        if place == 330:
            timestamp += 160 * 25
        kind = 8 if 180 <= place < 200 else 101 if 220 <= place < 226 else 0
        octets = 4 if kind == 101 else 80 if place in CHANGED else 160
        payload = bytes([1, 0, 0, 160]) if kind == 101 else bytes((place * 7 + at) % 256 for at in range(octets))
        packet = RtpPacket(kind, False, number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)
        if place in (90, 91, 300):  # lost
            continue
        if place == 140:
            held = packet
            continue
        yield packet
        if held is not None:
            yield held
            held = None


def difference(one: bytes, other: bytes) -> int | None:
    """Where two sounds begin to differ; None where they do not. (What a failed comparison prints takes minutes.)"""
    if one == other:
        return None
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


class TappedCallTests(RecordedCallCase):
    """A caller and its agent."""

    @property
    def port(self) -> RtpPort:
        return self.world.carrier._sessions["c-1"].legs["caller"].port

    def recorded(self, *, long: bool, secure: bool) -> tuple[int, bytes, bytes]:
        """The file of an eventful call."""
        crypto: dict[str, Any] = dict(keys(1, 2)) if secure else {}
        self.build(**CODECS, **crypto)
        sealed = phone_with(1, 2) if secure else None
        if long:
            self.patch(self.port._short_way, "hear", lambda listener, packet, taps, now: None)
        self.record()
        self.answer()
        self.ticks(3)
        heard = spoken = 0
        for place, packet in enumerate(eventful()):
            if place % 100 == 40:
                self.agent_says(bytes(range(200)) * 40)
            datagram = build_rtp(packet)
            self.phone.send(datagram if sealed is None else sealed.protect(datagram) or b"", self.rtp)
            self.world.settle()
            self.ticks(1)
            heard += self.port._short_way.hearing is not None
            spoken += self.world.pacer.speaking
        self.release()
        self.assertEqual((heard > 300, spoken > 300), (not long, not long))
        return channels(self.file())

    def test_same_file(self) -> None:
        """The recording of a call is the same by the short ways and by the long ones, plain and with SRTP."""
        for secure in (False, True):
            short, long = (self.recorded(long=way, secure=secure) for way in (False, True))
            self.assertEqual(
                (short[0], difference(short[1], long[1]), difference(short[2], long[2])), (8000, None, None)
            )
            self.assertEqual(len(short[1]), len(short[2]))
            self.assertGreater(len(set(short[1])), 100)
            self.assertGreater(len(set(short[2])), 100)

    def test_nobody_is_told_after_the_end(self) -> None:
        """A tap that is taken away hears nothing more, on whichever way."""
        self.build()
        self.answer()
        tap = Tap(set_media(), self.world.clock.seconds())
        self.port.tap(tap)
        self.ticks(50, caller=True)
        before = len(tap)
        self.port.untap(tap)
        self.ticks(50, caller=True)
        self.assertEqual((before, len(tap), self.port._short_way.hearing is not None), (100, 100, True))

    def test_full_queue(self) -> None:
        """Of a tap that nobody reads packets are dropped and counted, and the call keeps its short way."""
        self.build()
        self.answer()
        tap = Tap(set_media(), self.world.clock.seconds(), capacity=50)
        self.port.tap(tap)
        self.ticks(100, caller=True)
        self.assertEqual((len(tap), tap.dropped, self.port._short_way.hearing is not None), (50, 150, True))


class TappedBridgeTests(BridgeTestCase):
    """A caller and a target, each listened to, of whom the caller is eventful."""

    def heard(self, *, long: bool, secure: bool) -> list[bytes]:
        """What is told of either leg."""
        self.setUp()
        sealed = phone_with(1, 2) if secure else None
        crypto: dict[str, Any] = dict(keys(1, 2)) if secure else {}
        self.set_up({**CODECS, **crypto}, CODECS)
        legs = self.world.carrier._sessions["c-1"].legs
        if long:
            for leg in legs.values():
                self.patch(leg.port._short_way, "shorten", lambda relay, packet, taps, now: None)
        self.bridge()
        taps = {name: Tap(set_media(**CODECS), self.world.clock.seconds()) for name in legs}
        for name, leg in legs.items():
            leg.port.tap(taps[name])
        heard: dict[str, list[bytes]] = {name: [] for name in legs}
        short = 0
        for place, packet in enumerate(eventful()):
            datagram = build_rtp(packet)
            self.caller.send(datagram if sealed is None else sealed.protect(datagram) or b"", self.rtp)
            self.target.say(bytes([place % 256]) * 160, self.target_rtp)
            self.world.tick()
            short += all(leg.port._short_way.open for leg in legs.values())
            if place % 50 == 0:
                for name, tap in taps.items():
                    heard[name].append(tap.read(self.world.clock.seconds()).pcm)
        for name, tap in taps.items():
            heard[name].append(tap.read(self.world.clock.seconds(), last=True).pcm)
            self.assertEqual(tap.lost, 0)
        self.assertEqual(short > 300, not long)
        return [b"".join(pieces) for pieces in heard.values()]

    def test_same_sound(self) -> None:
        """Of a bridge both legs' taps hear the same on the short ways as on the long ones, plain and with SRTP."""
        for secure in (False, True):
            short, long = (self.heard(long=way, secure=secure) for way in (False, True))
            self.assertEqual([difference(*both) for both in zip(short, long, strict=True)], [None, None])
            for pcm in short:
                self.assertGreater(min(len(set(pcm[side::4])) for side in (1, 3)), 100)
