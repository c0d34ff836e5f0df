"""The short way of a caller's audio to its agent does what the long way does, only sooner."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stellar_gw.control import messages
from stellar_gw.control.messages import Answered, Release
from stellar_gw.media import srtp
from stellar_gw.media.rtp import RtpPacket, build_rtp
from stellar_gw.worker.rtp_port import RtpPort
from tests.unit.test_worker_bridge_srtp import keys, phone_with
from tests.unit.test_worker_session import CallTestCase
from tests.unit.worker_world import HOST, PCMA, PCMU, PHONE, Phone, set_media, start_agent

_oddities = st.fixed_dictionaries(
    {},
    optional={
        "number": st.sampled_from([-1, -3, 1, 5, 4000, 40000]),
        "timestamp": st.sampled_from([-160, 160, 9000, 2**31]),
        "ssrc": st.just(1),
        "payload_type": st.sampled_from([8, 13, 101, 96, 72]),
        "marker": st.just(True),
        "octets": st.sampled_from([0, 1, 80, 2048, 2049]),
        "late": st.sampled_from([0.005, 0.03, 0.15, 0.3, 0.7, 1.5]),
        "stranger": st.just(True),
        "twice": st.just(True),
        "bits": st.sampled_from([0x20, 0x10, 0x01, 0x40]),
        "junk": st.binary(max_size=40),
    },
)
_streams = st.lists(st.one_of(st.just({}), st.just({}), st.just({}), st.just({}), _oddities), min_size=1, max_size=60)


class HearingTests(CallTestCase):
    @property
    def port(self) -> RtpPort:
        return self.world.carrier._sessions["c-1"].legs["caller"].port

    def outcome(self, stream: list[dict[str, Any]], long: bool) -> tuple[Any, ...]:
        """What the agent heard, and all numbers, when the caller sends this."""
        self.setUp()
        link = self.set_up(receive=(PCMU, PCMA))
        if long:
            self.patch(self.port._short_way, "hear", lambda listener, packet, taps, now: None)
        stranger = Phone(self.world.network, ("203.0.113.66", 9999))
        number, timestamp, ssrc = 65500, 0xFFFFF000, 0xBEEF
        for place, odd in enumerate(stream):
            number, timestamp = number + 1 + odd.get("number", 0), timestamp + 160 + odd.get("timestamp", 0)
            ssrc += odd.get("ssrc", 0)
            payload = bytes([0x20 + place % 64]) * odd.get("octets", 160)
            kind = odd.get("payload_type", 0)
            packet = RtpPacket(kind, odd.get("marker", False), number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc, payload)
            datagram = build_rtp(packet)
            datagram = odd.get("junk", bytes([datagram[0] ^ odd.get("bits", 0)]) + datagram[1:])
            for _ in range(1 + odd.get("twice", 0)):
                (stranger if odd.get("stranger") else self.phone).send(datagram, self.rtp)
            self.world.clock.advance(odd.get("late", 0.0))
            self.world.tick()
        self.world.tick(20)
        released = self.world.ask(Release(request=0, call="c-1"))
        (leg,) = released.legs
        return (
            leg.jitter_ms,
            link.take(),
            replace(leg, jitter_ms=0.0),
            released.conversation,
            [event for event in self.world.told() if isinstance(event, messages.DigitReceived)],
        )

    @settings(max_examples=150, derandomize=True, deadline=None)
    @given(_streams)
    @example([{}] * 20 + [{"late": 1.5}] + [{}] * 20)
    @example([{}] * 20 + [{"late": 0.3}] + [{}] * 20)
    @example([{}] * 10 + [{"number": 1, "timestamp": 160}] + [{}] * 20)
    @example([{}] * 10 + [{"octets": 80}] * 10 + [{"octets": 2048}] * 8 + [{"octets": 2049}])
    @example([{}] * 20 + [{"payload_type": 8}] * 10 + [{}] * 10)
    @example([{}] * 10 + [{"payload_type": 101, "octets": 80}] + [{}] * 10)
    @example([{}] * 10 + [{"stranger": True}] * 3 + [{}] * 10)
    def test_same(self, stream: list[dict[str, Any]]) -> None:
        """Any stream, odd packets and junk in it, has the same outcome on both ways, and raises nothing."""
        short, long = self.outcome(stream, False), self.outcome(stream, True)
        self.assertApproximates(short[0], long[0], 1e-6)
        self.assertEqual(short[1:], long[1:])
        self.assertEqual(self.flushLoggedErrors(), [])

    def talk(self, packets: int) -> None:
        for _ in range(packets):
            self.phone.say(b"\x42" * 160, self.rtp)
            self.world.tick()

    def test_taken(self) -> None:
        """Nearly all packets of an undisturbed call go the short way; all of them reach the agent."""
        link = self.set_up()
        self.talk(60)
        taken: list[RtpPacket] = []
        accepted = self.port._accepted

        def long_way(packet: RtpPacket, now: float) -> None:
            taken.append(packet)
            accepted(packet, now)

        self.patch(self.port, "_accepted", long_way)
        link.take()
        self.talk(500)
        self.assertEqual((taken, len(self.heard(link))), ([], 500))

    def test_srtp(self) -> None:
        """What is enciphered is deciphered on its short way; forgeries and replays are counted, and not heard."""
        link = self.set_up(**keys(1, 2))
        sealed = phone_with(1, 2)
        heard = 0
        for number in range(200):
            packet = self.phone.sender.packet(b"\x42" * 160, 160)
            datagram = sealed.protect(packet) or b""
            if number % 20 == 10:
                self.phone.send(packet + bytes(10), self.rtp)  # right in its numbers, and not authentic
                self.world.settle()
            self.phone.send(datagram, self.rtp)
            if number % 20 == 15:
                self.phone.send(datagram, self.rtp)
            self.world.tick()
            heard += self.port._short_way.hearing is not None
        self.assertEqual(self.heard(link), [b"\x42" * 160] * 200)
        self.assertGreater(heard, 100)
        (leg,) = self.world.ask(Release(request=0, call="c-1")).legs
        self.assertEqual((leg.packets_received, leg.packets_lost, leg.packets_unauthenticated), (200, 0, 20))

    def test_what_cannot_be_sealed(self) -> None:
        """It does not go out, by the short way back either."""
        self.patch(srtp, "enciphered", lambda handle, address, octets: False)
        self.set_up(**keys(1, 2))
        theirs = phone_with(1, 2)
        for _ in range(60):
            self.phone.send(theirs.protect(self.phone.sender.packet(b"\x42" * 160, 160)) or b"", self.rtp)
            self.world.tick()
        opened = [theirs.unprotect(datagram) for datagram in self.phone.datagrams]
        self.assertEqual((opened.count(None), len(opened) in range(1, 20)), (0, True))

    def test_under_the_old_key(self) -> None:
        """After a new one was agreed on the agent hears what still comes under the old one, be it little or much."""
        link = self.set_up(**keys(1, 2))
        sealed = phone_with(1, 2), phone_with(3, 4)
        for number in range(60):
            if number == 20:
                self.world.ask(set_media("c-1", **keys(3, 4)))
            self.phone.send(sealed[number >= 40].protect(self.phone.sender.packet(b"\x42" * 160, 160)) or b"", self.rtp)
            self.world.tick()
        self.assertEqual(self.heard(link), [b"\x42" * 160] * 60)

    def test_a_socket_is_connected_while_its_peer_is_heard(self) -> None:
        """Not before it is, not after half a second of silence, and not after a re-INVITE."""
        self.set_up()
        socket = self.world.network.sockets[HOST, self.rtp]
        seen = [socket.connected]
        self.talk(60)
        seen.append(socket.connected)
        self.world.tick(24)
        seen.append(socket.connected)
        self.world.tick(3)
        seen.append(socket.connected)
        self.talk(60)
        seen.append(socket.connected)
        self.media()
        seen.append(socket.connected)
        self.assertEqual(seen, [None, PHONE, PHONE, None, PHONE, None])

    def test_sources_are_asked_for_no_longer(self) -> None:
        """Within seconds, and until a re-INVITE, the kernel is not asked where packets of a connected socket are from:
        writing that down costs as much as the rest."""
        self.set_up()
        socket = self.world.network.sockets[HOST, self.rtp]
        self.talk(400)
        found = socket.certain
        self.media()
        self.assertEqual((found, socket.certain), (PHONE, None))

    def media(self) -> None:
        """A re-INVITE that changes nothing."""
        leg = self.world.carrier._sessions["c-1"].legs["caller"]
        assert leg.media is not None
        self.world.ask(leg.media)

    def test_an_agent_that_leaves_hears_no_more(self) -> None:
        """The short way ends with the agent's hearing."""
        link = self.set_up()
        self.talk(60)
        self.world.ask(messages.StopAgent(request=0, call="c-1"))
        link.take()
        self.talk(10)
        self.assertEqual(link.take(), [])

    def test_an_agent_that_resumes_hears_the_rest(self) -> None:
        """The short way leads to the link that is there now."""
        self.world.ask(set_media())
        self.world.ask(start_agent(dialect="native", options={"rate": "8000"}, resumes=True))
        first = self.world.connector.links[0]
        first.events.link_opened(1.0)
        self.world.ask(Answered(request=0, call="c-1"))
        self.talk(60)
        self.assertIsNotNone(self.port._short_way.hearing)
        first.ends("closed_1012")
        second = self.world.connector.links[1]
        second.events.link_opened(1.0)
        heard = [len(first.take()), len(second.take())]
        self.talk(20)
        self.assertEqual([len(first.take()), second.take()], [0, ["320 octets"] * 20], heard)
