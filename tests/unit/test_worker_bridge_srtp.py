"""Bridges with SRTP on one leg, on both, and coming and going while they are up."""

from __future__ import annotations

from stellar_gw.control.messages import Codec, SrtpKey
from stellar_gw.media import srtp
from stellar_gw.media.rtp import RtpPacket, parse_rtp
from tests.unit.bridge_case import CALLER, BridgeTestCase, Step, steps
from tests.unit.worker_world import HOST, Phone

SUITE = "AES_CM_128_HMAC_SHA1_80"
REGULAR = Step(1, 160)
MOVED = ("198.51.100.77", 7000)


def keys(ours: int, theirs: int) -> dict[str, SrtpKey]:
    return {"srtp_send": SrtpKey(SUITE, bytes([ours]) * 30), "srtp_receive": SrtpKey(SUITE, bytes([theirs]) * 30)}


def phone_with(ours: int, theirs: int) -> srtp.Srtp:
    """The other end of a leg with :func:`keys`."""
    made = srtp.Srtp()
    made.set_keys(srtp.SrtpKey(SUITE, bytes([theirs]) * 30), srtp.SrtpKey(SUITE, bytes([ours]) * 30))
    return made


class SrtpBridgeTests(BridgeTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.srtp = {self.caller: phone_with(1, 2), self.target: phone_with(3, 4)}

    def say(self, phone: Phone, port: int, payload: bytes, source: tuple[str, int] | None = None) -> None:
        datagram = self.srtp[phone].protect(phone.sender.packet(payload, 160)) or b""
        self.world.network.carry(datagram, source or phone.address, (HOST, port))

    def exchange(self, frames: int, *, caller: bool, target: bool) -> None:
        """Both talk, each with or without SRTP."""
        for _ in range(frames):
            for phone, port, sealed, payload in (
                (self.caller, self.rtp, caller, b"\x11" * 160),
                (self.target, self.target_rtp, target, b"\x22" * 160),
            ):
                if sealed:
                    self.say(phone, port, payload)
                else:
                    phone.say(payload, port)
            self.world.tick()
        self.world.clock.advance(0)

    def opened(self, phone: Phone) -> list[RtpPacket]:
        """What a phone with SRTP has got: every datagram opens."""
        packets = [parse_rtp(self.srtp[phone].unprotect(datagram) or b"") for datagram in phone.datagrams]
        found = [packet for packet in packets if packet is not None]
        self.assertEqual(len(found), len(phone.datagrams))
        return found

    def unauthentic(self) -> dict[str, int]:
        return {leg: found.packets_unauthenticated for leg, found in self.statistics().items()}

    def test_encrypted_to_plain(self) -> None:
        """What the caller seals the target gets plain, and the other way round; one stream for each."""
        self.set_up(caller=keys(1, 2))
        self.bridge()
        self.exchange(100, caller=True, target=False)
        heard = self.opened(self.caller)
        self.assertEqual({packet.payload for packet in heard}, {b"\x22" * 160})
        self.assertEqual({packet.payload for packet in self.target.packets}, {b"\x11" * 160})
        self.assertEqual(([*steps(heard)], [*steps(self.target.packets)]), ([REGULAR] * 99, [REGULAR] * 99))
        self.assertEqual(self.unauthentic(), {"caller": 0, "target": 0})

    def test_both_encrypted(self) -> None:
        """Each leg has keys of its own."""
        self.set_up(caller=keys(1, 2), target=keys(3, 4))
        self.bridge()
        self.exchange(50, caller=True, target=True)
        self.assertEqual({packet.payload for packet in self.opened(self.caller)}, {b"\x22" * 160})
        self.assertEqual({packet.payload for packet in self.opened(self.target)}, {b"\x11" * 160})

    def test_forgeries_and_replays_are_not_passed_on(self) -> None:
        """Plain packets in the caller's SSRC and numbers, and the caller's own a second time, end here."""
        self.set_up(caller=keys(1, 2))
        self.bridge()
        for _ in range(50):
            packet = self.caller.sender.packet(b"\x11" * 160, 160)
            sealed = self.srtp[self.caller].protect(packet) or b""
            for datagram in (packet, sealed[:-1] + bytes([sealed[-1] ^ 1]), sealed, sealed):
                self.world.network.carry(datagram, CALLER, (HOST, self.rtp))
            self.world.tick()
        self.assertEqual([packet.payload for packet in self.target.packets], [b"\x11" * 160] * 50)
        self.assertEqual(self.unauthentic()["caller"], 150)

    def test_a_caller_that_moves(self) -> None:
        """In mid-bridge, too, an authentic caller is followed, after half a second of silence where it was."""
        self.set_up(caller=keys(1, 2))
        self.bridge()
        self.exchange(50, caller=True, target=False)
        moved = Phone(self.world.network, MOVED)
        self.world.tick(35)
        self.say(self.caller, self.rtp, b"\x11" * 160, MOVED)
        self.world.tick()
        self.forget()
        self.target.say(b"\x33" * 160, self.target_rtp)
        self.world.tick()
        self.srtp[moved] = self.srtp[self.caller]
        self.assertEqual([packet.payload for packet in self.opened(moved)][-1:], [b"\x33" * 160])
        self.assertEqual(self.caller.datagrams, [])

    def test_keys_that_change_under_way(self) -> None:
        """New keys, then none: the other leg's stream goes on by 1 and by 160."""
        self.set_up(caller=keys(1, 2))
        self.bridge()
        self.exchange(20, caller=True, target=False)
        self.media("caller", **keys(5, 6))
        self.srtp[self.caller] = phone_with(5, 6)
        self.caller.datagrams.clear()
        self.exchange(20, caller=True, target=False)
        self.assertEqual(len(self.opened(self.caller)), 20)
        self.media("caller")
        self.caller.datagrams.clear()
        self.exchange(20, caller=False, target=False)
        self.assertEqual({packet.payload for packet in self.caller.packets}, {b"\x22" * 160})
        self.assertEqual([*steps(self.target.packets)], [REGULAR] * 59)

    def test_what_is_still_under_the_old_key(self) -> None:
        """It is passed on, too, for as long as nothing has come under the new one, be it little or much."""
        self.set_up(caller=keys(1, 2))
        self.bridge()
        self.exchange(20, caller=True, target=False)
        self.media("caller", **keys(5, 6))
        self.exchange(20, caller=True, target=False)
        self.srtp[self.caller] = phone_with(5, 6)
        self.exchange(20, caller=True, target=False)
        self.assertEqual([*steps(self.target.packets)], [REGULAR] * 59)
        self.assertEqual(self.unauthentic()["caller"], 0)

    def test_a_new_key_before_our_numbers_wrap(self) -> None:
        """Who misses the first packets under it can open all others; what comes late, of those before it, is not sent
        under a number from before the wrap, and their stream goes on by the time that passed."""
        self.set_up(caller=keys(1, 2))
        self.bridge()
        self.world.carrier._sessions["c-1"].legs["caller"].port.sender.sequence_number = 0x10000 - 40
        self.exchange(20, caller=True, target=False)
        late = self.target.sender.packet(b"\x22" * 160, 160)
        self.exchange(1, caller=True, target=False)
        before = self.opened(self.caller)[-1]
        self.media("caller", **keys(5, 6))
        self.srtp[self.caller] = phone_with(5, 6)
        self.caller.datagrams.clear()
        self.exchange(1, caller=True, target=False)
        self.target.send(late, self.target_rtp)
        self.exchange(59, caller=True, target=False)
        del self.caller.datagrams[:40]
        found = self.opened(self.caller)
        self.assertEqual([packet.sequence_number for packet in found], [*range(40, 60)])
        self.assertEqual(found[-1].timestamp - before.timestamp, 60 * 160)

    def test_what_cannot_be_sealed(self) -> None:
        """It does not go out, by the short way either."""
        self.patch(srtp, "enciphered", lambda handle, address, octets: False)
        self.set_up(caller=keys(1, 2))
        self.bridge()
        self.exchange(40, caller=True, target=False)
        self.assertIn(len(self.opened(self.caller)), range(1, 10))
        self.assertEqual(len(self.target.packets), 40)

    def test_coded_anew(self) -> None:
        """Where the codecs differ the audio is coded anew, and sealed as any other."""
        pcma = Codec(name="PCMA", payload_type=8)
        self.set_up(caller=keys(1, 2), target={"send": pcma, "receive": (pcma,)})
        self.target.sender.payload_type = 8
        self.bridge()
        self.exchange(50, caller=True, target=False)
        self.assertEqual({packet.payload_type for packet in self.opened(self.caller)}, {0})
        self.assertEqual({packet.payload_type for packet in self.target.packets}, {8})
