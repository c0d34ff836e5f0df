"""Strangers at the RTP ports: nothing of theirs is heard, and nothing of a call is sent to them (RTP Bleed, Inject)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

from tests.integration.fault_support import FaultCase, HurtGateway, Phone, PhoneCall, Stranger
from tests.integration.gateway_support import READBACK, TONE, TRUNK

CALLS = 20
ATTACKER = "127.0.0.7"
ROUNDS = 5


def rtp(sequence_number: int, ssrc: int, payload: bytes = b"\xff" * 160, kind: int = 0) -> bytes:
    """One packet (RFC 3550 5.1)."""
    return (
        struct.pack("!BBHII", 0x80, kind, sequence_number & 0xFFFF, 160 * sequence_number & 0xFFFFFFFF, ssrc) + payload
    )


class Talkers:
    """Callers with an RTP socket each, all of whose calls are up."""

    def __init__(self, case: FaultCase, gateway: HurtGateway, to: str) -> None:
        self.phone: Phone = case.phone(gateway)
        self.sockets: list[Stranger] = []
        self.calls: list[PhoneCall] = []
        open_ = ExitStack()
        case.addCleanup(open_.close)
        for _ in range(CALLS):
            own = open_.enter_context(Stranger(gateway.sip, host=TRUNK))
            self.sockets.append(own)
            self.calls += self.phone.dial(to, media_port=own.address[1])
        self.phone.wait(lambda: all(call.status for call in self.calls), 10.0)
        case.assertEqual([call.status for call in self.calls], [200] * CALLS)

    def talk(self, sequence_numbers: Iterable[int]) -> None:
        """Everybody says these packets, 20 ms apart."""
        for number in sequence_numbers:
            for place, (own, call) in enumerate(zip(self.sockets, self.calls, strict=True)):
                own.send(rtp(number, 1000 + place), call.media)
            self.phone.wait(lambda: False, 0.02)

    def legs(self, gateway: HurtGateway) -> list[dict[str, Any]]:
        """Hang up; the statistics of every call's leg."""
        self.phone.hang_up()
        records = gateway.wait_for_records(CALLS)
        if {record["cause"] for record in records} != {"caller_hangup"}:
            raise AssertionError([record["cause"] for record in records])
        return [leg for record in records for leg in record["legs"]]


def heard(stranger: Stranger) -> int:
    return sum(1 for _ in stranger.waiting())


class BleedTests(FaultCase):
    def spray(self, attacker: Stranger, gateway: HurtGateway, first: int) -> int:
        """Five packets in sequence, one SSRC, to every port there is; how many each got."""
        for number in range(first, first + ROUNDS):
            for port in gateway.media_ports:
                try:
                    attacker.send(rtp(number, 7), ("127.0.0.1", port))
                except ConnectionRefusedError:  # an ICMP error of a port before
                    attacker.send(rtp(number, 7), ("127.0.0.1", port))
        return ROUNDS

    def test_after_the_lock(self) -> None:
        """20 calls that talk, and an attacker who sprays every RTP port, twice: not a packet of his is accepted, and
        not one is sent to him; every packet of the callers is."""
        gateway = self.start()
        talkers = Talkers(self, gateway, TONE)
        with Stranger(gateway.sip, host=ATTACKER) as attacker:
            talkers.talk(range(1, 60))
            self.spray(attacker, gateway, 1)
            talkers.talk(range(60, 80))
            self.spray(attacker, gateway, 60)
            talkers.talk(range(80, 100))
            self.assertEqual(heard(attacker), 0)
        legs = talkers.legs(gateway)
        self.assertEqual({leg["packets_received"] for leg in legs}, {99})
        self.assertEqual({leg["latched"] for leg in legs}, {f"{TRUNK}:{own.address[1]}" for own in talkers.sockets})
        # RTP on both ports of each pair: the RTCP port's were no RTCP.
        self.assertTrue(all(leg["packets_rejected"] >= 2 * ROUNDS for leg in legs), legs)

    def test_before_the_lock(self) -> None:
        """The attacker is there before the callers say a word: he gets nothing, for their address is known from SDP;
        and once they talk they are heard, whole."""
        gateway = self.start()
        talkers = Talkers(self, gateway, TONE)
        with Stranger(gateway.sip, host=ATTACKER) as attacker:
            self.spray(attacker, gateway, 1)
            talkers.phone.wait(lambda: False, 0.3)
            self.assertEqual(heard(attacker), 0)
            talkers.talk(range(1, 60))
            self.spray(attacker, gateway, 10)
            talkers.talk(range(60, 80))
            self.assertEqual(heard(attacker), 0)
        legs = talkers.legs(gateway)
        received = [leg["packets_received"] for leg in legs]
        self.assertTrue(all(79 <= count <= 79 + 4 for count in received), received)
        self.assertEqual({leg["latched"] for leg in legs}, {f"{TRUNK}:{own.address[1]}" for own in talkers.sockets})

    def test_injected_digits(self) -> None:
        """Keys that an attacker presses, in the caller's own SSRC and sequence, are not heard by the agent."""
        gateway = self.start()
        talkers = Talkers(self, gateway, READBACK)
        talkers.talk(range(1, 60))
        with Stranger(gateway.sip, host=ATTACKER) as attacker:
            for place, call in enumerate(talkers.calls):
                for number in range(60, 70):
                    attacker.send(rtp(number, 1000 + place, bytes((9, 0x8A, 3, 0x20)), 101), call.media)
        talkers.talk(range(60, 80))
        self.assertEqual({leg["digits"] for leg in talkers.legs(gateway)}, {""})


class RtcpTests(FaultCase):
    def test_short_packets(self) -> None:
        """Every length from 0 to 28 with every first octet, at the RTP and the RTCP port of calls that are up, from the
        caller's own address: no exception, and the calls go on."""
        gateway = self.start()
        talkers = Talkers(self, gateway, TONE)
        talkers.talk(range(1, 10))
        for first in range(256):
            own, call = talkers.sockets[first % CALLS], talkers.calls[first % CALLS]
            for length in range(29):
                for kind in (0, 200 + first % 8):
                    packet = (bytes((first, kind, 0, max(0, length // 4 - 1))) + bytes(28))[:length]
                    own.send(packet, call.media)
                    own.send(packet, (call.media[0], call.media[1] + 1))
        talkers.talk(range(10, 60))
        self.assertEqual([call.up for call in talkers.calls], [True] * CALLS)
        legs = talkers.legs(gateway)
        self.assertEqual(len(legs), CALLS)
        self.assertTrue(all(leg["packets_sent"] >= 50 for leg in legs), legs)
        self.soon(lambda: gateway.media_sockets() == 0, "closed ports")
