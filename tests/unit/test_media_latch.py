"""Which source a leg listens to, and where it sends: the rules at the top of ``media/latch.py``."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.latch import Address, Latch
from stellar_gw.media.rtp import RtpPacket

SDP = ("192.168.1.20", 4000)
NAT = ("203.0.113.7", 40000)
STRANGER = ("198.51.100.66", 9999)
MOVED = ("203.0.113.99", 41000)


def packet(sequence_number: int, ssrc: int = 7, payload_type: int = 0) -> RtpPacket:
    return RtpPacket(payload_type, False, sequence_number & 0xFFFF, 160 * sequence_number & 0xFFFFFFFF, ssrc, b"")


def latch(strict: bool = False, sdp: Address = SDP) -> Latch:
    """A latch of a caller behind NAT who signals from there."""
    return Latch(sdp, NAT[0], (0, 101), 0.0, strict)


def send(
    to: Latch, source: Address, numbers: Iterable[int], start: float, ssrc: int = 7, payload_type: int = 0
) -> list[bool]:
    """Packets 20 ms apart; which of them were accepted."""
    return [
        to.accepts(source, packet(number, ssrc, payload_type), start + 0.02 * place)
        for place, number in enumerate(numbers)
    ]


class LockingTests(SynchronousTestCase):
    def test_before_any_packet(self) -> None:
        """Audio goes to the SDP address until a source is locked."""
        self.assertEqual((latch().destination, latch().locked), (SDP, None))

    def test_unknown_sdp_address(self) -> None:
        """0.0.0.0, ::, port 0 and names are no destination."""
        hosts = [("0.0.0.0", 4000), ("::", 4000), ("192.168.1.20", 0), ("pbx.example.com", 4000), ("", 4000)]
        self.assertEqual([latch(sdp=sdp).destination for sdp in hosts], [None] * 5)

    def test_sdp_address_locks_at_once(self) -> None:
        """The first packet from the SDP address locks the leg."""
        leg = latch()
        self.assertEqual((send(leg, SDP, [1], 0.1), leg.locked, leg.destination), ([True], SDP, SDP))

    def test_addresses_are_compared_as_numbers(self) -> None:
        """An SDP may spell IPv6 in capitals, or IPv4 mapped into it."""
        leg = Latch(("2001:DB8:0::0001", 4000), "::ffff:203.0.113.7", (0,), 0.0)
        self.assertEqual(
            (leg.destination, send(leg, ("203.0.113.7", 5), [1], 0.0), send(leg, ("2001:db8::1", 4000), [1], 0.1)),
            (("2001:db8::1", 4000), [True], [True]),
        )

    def test_signalling_host_locks_with_four(self) -> None:
        """A source at the signalling host is heard from its first packet and locks with the fourth."""
        leg = latch()
        destinations: list[Address | None] = []
        for number in range(5):
            destinations += [leg.destination] * send(leg, NAT, [number], number * 0.02).count(True)
        self.assertEqual((destinations, leg.locked, leg.rejected), ([SDP] * 4 + [NAT], NAT, 0))

    def test_sequence_may_wrap_and_repeat(self) -> None:
        """Duplicates do not break a run, the wrap of the sequence number neither."""
        leg = latch()
        send(leg, NAT, [65534, 65535, 65535, 0, 0, 1], 0.0)
        self.assertEqual(leg.locked, NAT)

    def test_gap_starts_the_run_again(self) -> None:
        """After a gap four more packets in sequence are needed, the first behind the gap among them."""
        leg = latch()
        send(leg, NAT, [0, 1, 2, 10, 11, 12], 0.0)
        before = leg.locked
        send(leg, NAT, [13], 0.2)
        self.assertEqual((before, leg.locked), (None, NAT))

    def test_spray_does_not_forget_the_caller(self) -> None:
        """Packets of 60 other ports of the host between each two of the caller's do not keep it from locking."""
        leg = latch()
        for number in range(4):
            leg.accepts(NAT, packet(number), 0.02 * number)
            for port in range(60):
                leg.accepts((NAT[0], 1000 + 60 * number + port), packet(port, ssrc=8), 0.02 * number)
        self.assertEqual(leg.locked, NAT)

    def test_out_of_sequence_never_locks(self) -> None:
        """Gaps, other SSRCs and payload types that were not negotiated start the run again."""
        runs = {
            "gaps": [packet(number) for number in range(0, 40, 2)],
            "SSRCs": [packet(number, ssrc=number) for number in range(20)],
            "payload types": [packet(number, payload_type=8) for number in range(20)],
        }
        locked = {}
        for name, run in runs.items():
            leg = latch()
            for place, each in enumerate(run):
                leg.accepts(NAT, each, place * 0.02)
            locked[name] = leg.locked
        self.assertEqual(locked, dict.fromkeys(runs))

    def test_comfort_noise_counts(self) -> None:
        """Comfort noise locks although it was not negotiated."""
        leg = latch()
        self.assertEqual((send(leg, NAT, range(4), 0.0, payload_type=13), leg.locked), ([True] * 4, NAT))

    def test_at_most_four_before_the_lock(self) -> None:
        """However many packets sources at the signalling host send, three are heard before one of them locks."""
        leg = latch()
        accepted = sum(leg.accepts((NAT[0], 1000 + n), packet(n, ssrc=n), 0.001 * n) for n in range(500))
        self.assertEqual((accepted, leg.locked, leg.rejected), (3, None, 497))


class PreferenceTests(SynchronousTestCase):
    def test_stranger_waits_a_second(self) -> None:
        """Any other source locks only a second after the first plausible packet, and is not heard before."""
        leg = latch()
        accepted = send(leg, STRANGER, range(60), 10.0)
        self.assertEqual((accepted, leg.locked), ([False] * 50 + [True] * 10, STRANGER))

    def test_second_begins_with_media(self) -> None:
        """Ringing takes no part of the second: a spray of five packets long after the offer locks nothing."""
        leg = latch()
        sprayed = send(leg, STRANGER, range(5), 30.0)
        self.assertEqual((sprayed, leg.locked), ([False] * 5, None))
        self.assertEqual((send(leg, NAT, range(4), 30.5), leg.locked), ([True] * 4, NAT))

    def test_garbage_does_not_begin_it(self) -> None:
        """Packets of other payload types do not start the second."""
        leg = latch()
        send(leg, STRANGER, [1], 0.0, payload_type=96)
        self.assertEqual((send(leg, STRANGER, range(5), 2.0), leg.locked), ([False] * 5, None))

    def test_sdp_address_takes_over_within_the_second(self) -> None:
        """Where another port of a preferred host locked first, the SDP address still wins the first second."""
        leg = latch()
        send(leg, NAT, range(10), 0.0)
        taken = send(leg, SDP, [500], 0.9, ssrc=8)
        back = send(leg, NAT, range(10, 20), 0.92)
        self.assertEqual((taken, leg.locked, back), ([True], SDP, [False] * 10))

    def test_not_after_it(self) -> None:
        """After the second the lock is final, for the SDP address too."""
        leg = latch()
        send(leg, NAT, range(60), 0.0)
        self.assertEqual((send(leg, SDP, range(10), 1.2, ssrc=8), leg.locked), ([False] * 10, NAT))

    def test_not_strict_unless_asked(self) -> None:
        """By default any source may lock in the end, also after a re-INVITE."""
        leg = Latch(SDP, NAT[0], (0,), 0.0)
        send(leg, STRANGER, range(60), 0.0)
        first = leg.locked
        leg.fresh(("192.168.1.30", 6000), NAT[0], (0,), 5.0)
        send(leg, MOVED, range(60), 5.0)
        self.assertEqual((first, leg.locked), (STRANGER, MOVED))

    def test_strict(self) -> None:
        """Strict: other sources never lock, the two preferred ones do."""
        leg = latch(strict=True)
        stranger = send(leg, STRANGER, range(100), 0.0)
        caller = send(leg, NAT, range(4), 3.0)
        self.assertEqual((stranger, caller, leg.locked), ([False] * 100, [True] * 4, NAT))


class LockedTests(SynchronousTestCase):
    def test_spray_after_the_lock(self) -> None:
        """Once locked, no packet of any other source is accepted, in sequence or not."""
        leg = latch()
        send(leg, NAT, range(100), 0.0)
        accepted = 0
        for place in range(1000):
            leg.accepts(NAT, packet(100 + place), 2.0 + 0.02 * place)
            accepted += leg.accepts(STRANGER, packet(100 + place), 2.001 + 0.02 * place)
            accepted += leg.accepts((NAT[0], 7), packet(place, ssrc=9), 2.002 + 0.02 * place)
        self.assertEqual((accepted, leg.locked, leg.destination, leg.rejected), (0, NAT, NAT, 2000))

    def test_same_ssrc_goes_on_elsewhere(self) -> None:
        """After 500 ms of silence the same SSRC, four packets in sequence from elsewhere, takes the leg along."""
        leg = latch()
        send(leg, NAT, range(100), 0.0)
        moved = send(leg, MOVED, range(130, 136), 0.02 * 99 + 0.5)
        self.assertEqual((moved, leg.locked, leg.destination), ([False] * 3 + [True] * 3, MOVED, MOVED))

    def test_after_many_that_were_only_counted(self) -> None:
        """Where packets went by uncounted by their numbers, some may have been lost on the way: an hour of them with
        2 percent lost, and the moved peer is found all the same; once it is heard again its numbers are known."""
        for ahead, found in ((3600, True), (7000, True), (30000, False), (-50, False)):
            leg = latch()
            send(leg, NAT, range(100), 0.0)
            for second in range(3600):
                leg.passed(49, 2.0 + second)
            number = 99 + 49 * 3600 + ahead
            self.assertEqual(send(leg, MOVED, range(number, number + 4), 3602.0)[-1], found, ahead)
        leg = latch()
        send(leg, NAT, range(100), 0.0)
        leg.passed(49 * 3600, 3600.0)
        send(leg, NAT, [100], 3601.0)
        self.assertEqual(send(leg, MOVED, range(3700, 3704), 3602.0)[-1], False)

    def test_what_does_not_move_it(self) -> None:
        """Too early, another SSRC, a sequence number behind or too far ahead: the leg stays where it is."""
        last = 0.02 * 99
        cases: dict[str, tuple[Iterable[int], float, int]] = {
            "too early": (range(100, 120), last + 0.11, 7),
            "another SSRC": (range(100, 120), last + 2.0, 8),
            "behind": (range(50, 70), last + 2.0, 7),
            "too far ahead": (range(9000, 9020), last + 2.0, 7),
        }
        locked = {}
        for name, (numbers, start, ssrc) in cases.items():
            leg = latch()
            send(leg, NAT, range(100), 0.0)
            locked[name] = any(send(leg, MOVED, numbers, start, ssrc)), leg.locked
        self.assertEqual(locked, dict.fromkeys(cases, (False, NAT)))

    def test_strict_does_not_move_elsewhere(self) -> None:
        """Strict: the SSRC may go on from another port of the same hosts, from no other host."""
        leg = latch(strict=True)
        send(leg, NAT, range(100), 0.0)
        other_host = send(leg, MOVED, range(100, 110), 5.0)
        other_port = send(leg, (NAT[0], 7), range(110, 120), 6.0)
        self.assertEqual((other_host, other_port, leg.locked), ([False] * 10, [False] * 3 + [True] * 7, (NAT[0], 7)))

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([STRANGER, MOVED, ("192.168.1.20", 5), (NAT[0], 9)]),
                st.integers(0, 0xFFFF),
                st.integers(0, 0xFFFFFFFF).filter(lambda ssrc: ssrc != 7),
                st.sampled_from([0, 13, 101]),
            ),
            max_size=60,
        )
    )
    def test_nobody_without_the_ssrc(self, sprays: list[tuple[Address, int, int, int]]) -> None:
        """Whatever others send who do not know the SSRC, also in silences of the peer: none of it is accepted."""
        leg = latch()
        send(leg, NAT, range(60), 0.0)
        accepted = [
            leg.accepts(source, packet(number, ssrc, payload_type), 2.0 + place)
            for place, (source, number, ssrc, payload_type) in enumerate(sprays)
        ]
        self.assertEqual((any(accepted), leg.locked), (False, NAT))


class FinalTests(SynchronousTestCase):
    def test_final(self) -> None:
        """The SDP address is final at once, another source once the first second is over."""
        direct, behind_nat = latch(), latch()
        send(direct, SDP, [1], 0.0)
        send(behind_nat, NAT, range(4), 0.0)
        self.assertEqual((latch().is_final(9.0), direct.is_final(0.0)), (False, True))
        self.assertEqual([behind_nat.is_final(now) for now in (0.5, 0.99, 1.01)], [False, False, True])

    def test_heard_elsewhere(self) -> None:
        """A source that was heard without being shown is not silent, and its numbers go on."""
        locked = latch()
        send(locked, SDP, [1], 0.0)
        locked.heard(packet(500), 10.0)
        self.assertEqual((send(locked, MOVED, range(501, 506), 10.4), locked.heard_at), ([False] * 5, 10.0))
        self.assertEqual(send(locked, MOVED, range(501, 506), 10.6), [False] * 3 + [True] * 2)


class FreshTests(SynchronousTestCase):
    """A re-INVITE."""

    def locked(self) -> Latch:
        leg = latch()
        send(leg, NAT, range(100), 0.0)
        return leg

    def test_same_address_again(self) -> None:
        """A re-INVITE that repeats the SDP address (hold, refresh) neither moves the audio nor interrupts it."""
        leg = self.locked()
        leg.fresh(SDP, NAT[0], (0, 101), 10.0)
        before = leg.destination, leg.locked
        self.assertEqual((before, send(leg, NAT, [100], 10.0), leg.locked), ((NAT, None), [True], NAT))

    def test_same_address_for_a_stranger_who_was_locked(self) -> None:
        """That holds for a source of the lowest rank, too."""
        leg = latch()
        send(leg, STRANGER, range(100), 0.0)
        leg.fresh(SDP, NAT[0], (0, 101), 10.0)
        self.assertEqual((send(leg, STRANGER, [100, 101], 10.0), leg.locked), ([True, True], STRANGER))

    def test_strict_from_now_on(self) -> None:
        """A source that the new rules would not let in is not kept."""
        leg = latch()
        send(leg, STRANGER, range(100), 0.0)
        leg.fresh(SDP, NAT[0], (0, 101), 10.0, strict=True)
        self.assertEqual((send(leg, STRANGER, range(100, 200), 10.0), leg.destination), ([False] * 100, SDP))

    def test_new_address(self) -> None:
        """A new SDP address gets the audio at once; the old source's last packets do not lock the leg again."""
        leg = self.locked()
        new = ("192.168.1.30", 6000)
        leg.fresh(new, NAT[0], (0, 101), 10.0)
        destination = leg.destination
        old = send(leg, NAT, range(100, 110), 10.0)
        self.assertEqual(
            (destination, old, send(leg, new, [1], 10.3, ssrc=8), leg.locked), (new, [False] * 10, [True], new)
        )

    def test_new_address_without_moving(self) -> None:
        """A peer that goes on from the old source in spite of its new SDP is heard again after a second."""
        leg = self.locked()
        leg.fresh(("192.168.1.30", 6000), NAT[0], (0, 101), 10.0)
        accepted = send(leg, NAT, range(100, 160), 10.0)
        self.assertEqual((accepted.index(True), leg.locked), (50, NAT))

    def test_new_payload_types(self) -> None:
        """Only what the new answer negotiated locks."""
        leg = self.locked()
        leg.fresh(("192.168.1.30", 6000), NAT[0], (9,), 10.0)
        old = send(leg, ("192.168.1.30", 6000), [1], 10.0, payload_type=0)
        new = send(leg, ("192.168.1.30", 6000), [2], 10.0, payload_type=9)
        self.assertEqual((old, new), ([False], [True]))


class RtcpTests(SynchronousTestCase):
    def test_default_address(self) -> None:
        """RTCP goes to the port above RTP's (RFC 3550 11) unless the SDP names another (RFC 3605)."""
        named = Latch(SDP, NAT[0], (0,), 0.0, sdp_rtcp=("192.168.1.21", 5005))
        unknown = [latch(sdp=sdp).rtcp_destination for sdp in (("0.0.0.0", 0), ("0.0.0.0", 4000), (SDP[0], 0))]
        self.assertEqual(
            (latch().rtcp_destination, named.rtcp_destination, unknown),
            (("192.168.1.20", 4001), ("192.168.1.21", 5005), [None] * 3),
        )

    def test_before_the_lock(self) -> None:
        """The SDP's and the signalling flow's hosts may send RTCP, others not; reports go back where it came from."""
        leg = latch()
        accepted = [leg.accepts_rtcp(source) for source in (STRANGER, (SDP[0], 4001), (NAT[0], 777))]
        self.assertEqual((accepted, leg.rtcp_destination, leg.rejected), ([False, True, True], (NAT[0], 777), 1))

    def test_after_the_lock(self) -> None:
        """Then the SDP's RTCP address and the host that RTP is latched to."""
        leg = latch()
        send(leg, STRANGER, range(60), 0.0)
        accepted = [leg.accepts_rtcp(source) for source in ((SDP[0], 4001), (SDP[0], 5), (STRANGER[0], 5), MOVED)]
        self.assertEqual((accepted, leg.rtcp_destination), ([True, False, True, False], (STRANGER[0], 5)))

    def test_follows_a_move(self) -> None:
        """When RTP moves to another host, the old host's RTCP address is forgotten."""
        leg = latch()
        send(leg, NAT, range(100), 0.0)
        leg.accepts_rtcp((NAT[0], 40001))
        send(leg, MOVED, range(100, 110), 5.0)
        self.assertEqual((leg.rtcp_destination, leg.accepts_rtcp((NAT[0], 40001))), ((SDP[0], 4001), False))
