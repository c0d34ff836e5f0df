"""The short way through a bridge does what the long way does, only sooner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stellar_gw.control import messages
from stellar_gw.media.rtp import RtpPacket, build_rtp
from stellar_gw.worker.rtp_port import RtpPort
from tests.unit.bridge_case import BridgeTestCase
from tests.unit.worker_world import PCMA, PCMU, Phone

_KINDS = (0, 0, 0, 8, 13, 101, 96, 72)
_datagrams = st.one_of(
    st.binary(max_size=40),
    st.binary(max_size=40).map(lambda rest: b"\x80\x00" + rest),
    st.binary(max_size=40).map(lambda rest: b"\x90\x00" + rest),
    st.binary(max_size=40).map(lambda rest: b"\x80\x65" + rest),
    st.binary(max_size=40).map(lambda rest: b"\x81\xc9" + rest),
)
_oddities = st.fixed_dictionaries(
    {},
    optional={
        "number": st.sampled_from([-1, -3, 1, 5, 4000, 40000]),
        "timestamp": st.sampled_from([-160, 160, 9000, 2**31]),
        "ssrc": st.just(1),
        "payload_type": st.sampled_from(_KINDS),
        "marker": st.just(True),
        "octets": st.sampled_from([0, 1, 80, 2048, 2049]),
        "lost": st.sampled_from([1, 2, 49, 100, 101, 2999, 3000]),
        "found": st.sampled_from([1, 2, 50]),
        "late": st.sampled_from([0.005, 0.03, 0.7, 1.5]),
        "stranger": st.just(True),
        "twice": st.just(True),
        "bits": st.sampled_from([0x20, 0x10, 0x01, 0x40]),
        "junk": _datagrams,
    },
)
_streams = st.lists(st.one_of(st.just({}), st.just({}), st.just({}), _oddities), min_size=1, max_size=60)


class ShortcutTests(BridgeTestCase):
    def outcome(self, stream: list[dict[str, Any]], long: bool) -> tuple[Any, ...]:
        """What the caller was sent, and all statistics, when the target sends this."""
        self.setUp()
        codecs = {"receive": (PCMU, PCMA), "comfort_noise": 13}
        self.set_up(codecs, codecs)
        if long:
            for leg in self.world.carrier._sessions["c-1"].legs.values():
                self.patch(leg.port._short_way, "shorten", lambda relay, packet, taps, now: None)
        self.bridge()
        stranger = Phone(self.world.network, ("203.0.113.66", 9999))
        number, timestamp, ssrc = 65500, 0xFFFFF000, 0xBEEF
        for odd in stream:
            lost = odd.get("lost", 0)
            number, timestamp = number + lost + 1, timestamp + 160 * (lost + 1)
            number, timestamp = number + odd.get("number", 0), timestamp + odd.get("timestamp", 0)
            ssrc += odd.get("ssrc", 0)
            payload = b"\x22" * odd.get("octets", 160)
            kind = odd.get("payload_type", 0)
            packet = RtpPacket(kind, odd.get("marker", False), number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)
            datagram = build_rtp(packet)
            datagram = odd.get("junk", bytes([datagram[0] ^ odd.get("bits", 0)]) + datagram[1:])
            for _ in range(1 + odd.get("twice", 0)):
                (stranger if odd.get("stranger") else self.target).send(datagram, self.target_rtp)
            if "found" in odd:
                before = number - odd["found"] & 0xFFFF, timestamp - 160 * odd["found"] & 0xFFFFFFFF
                self.target.send(build_rtp(RtpPacket(0, False, *before, ssrc, b"\x33" * 160)), self.target_rtp)
            self.world.clock.advance(odd.get("late", 0.0))
            self.caller.say(b"\x11" * 160, self.rtp)
            self.world.tick()
        counted = self.statistics()
        jitters = [each.jitter_ms for each in counted.values()]
        return (
            jitters,
            self.caller.datagrams,
            self.target.datagrams,
            {name: replace(each, jitter_ms=0.0) for name, each in counted.items()},
            [event for event in self.world.told() if isinstance(event, messages.DigitReceived)],
        )

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(_streams)
    @example([{}] * 20 + [{"late": 1.5}] + [{}] * 20)
    @example([{}] * 20 + [{"lost": 1}, {"found": 1}, {"lost": 2, "found": 3}, {"lost": 100, "found": 50}] + [{}] * 5)
    @example([{}] * 20 + [{"late": 0.7, "lost": 49}, {}, {"lost": 1}, {"found": 2}] + [{}] * 40)
    @example([{}] * 5 + [{"octets": 80}] * 5 + [{"octets": 2048}] * 5 + [{"octets": 2049}])
    @example([{}] * 20 + [{"payload_type": 8}] * 5 + [{}] * 30)
    @example([{}] * 5 + [{"payload_type": 101, "octets": 80}] + [{}] * 5)
    def test_same(self, stream: list[dict[str, Any]]) -> None:
        """Any stream, odd packets and junk in it, has the same outcome on both ways, and raises nothing."""
        short, long = self.outcome(stream, False), self.outcome(stream, True)
        for jitter, other in zip(short[0], long[0], strict=True):
            self.assertApproximates(jitter, other, 1e-6)
        self.assertEqual(short[1:], long[1:])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_taken(self) -> None:
        """Packets of a bridge go the short way."""
        self.assertEqual(self.long_ways(lambda: self.talk(500)), 0)
        self.assertEqual(len(self.caller.packets), 510)

    def test_loss(self) -> None:
        """Those after a loss do, too: a worker that can read no more than nine of ten packets, and has to deal with
        every ninth at length, would come to read ever fewer."""

        def lossy() -> None:
            for _ in range(50):
                self.talk(9)
                self.target.sender.packet(b"\x22" * 160, 160)
                self.world.tick()

        self.assertEqual(self.long_ways(lossy), 0)
        self.assertEqual(len(self.caller.packets), 460)
        self.assertEqual(self.statistics()["target"].packets_lost, 49)  # the last one may still come

    def long_ways(self, happens: Callable[[], None]) -> int:
        """How many of the target's packets go the long way while this happens, once it is up."""
        self.set_up()
        self.bridge()
        self.talk(10)
        taken: list[bool] = []
        port: RtpPort = self.world.carrier._sessions["c-1"].legs["target"].port
        accepted = port._accepted

        def long_way(packet: RtpPacket, now: float) -> None:
            taken.append(False)
            accepted(packet, now)

        self.patch(port, "_accepted", long_way)
        happens()
        return len(taken)
