"""What name servers say, put in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.answers import Naptr, Srv, in_order, offered
from stellar_gw.sip.flow import Transport

UDP = Naptr(20, 10, "SIP+D2U", "_sip._udp.a.example")
TCP = Naptr(20, 20, "SIP+D2T", "_sip._tcp.a.example")
TLS = Naptr(10, 10, "SIPS+D2T", "_sips._tcp.a.example")
ALL: tuple[Transport, ...] = ("udp", "tcp", "tls")


def numbers(*drawn: int) -> Callable[[int], bytes]:
    """A source of chance that draws these, one after the other."""
    left = iter(drawn)
    return lambda octets: next(left).to_bytes(octets, "big")


class OfferedTests(SynchronousTestCase):
    def test_order_then_preference(self) -> None:
        """The lowest order counts alone; in it the lowest preference comes first."""
        first = Naptr(10, 20, "SIP+D2T", "_sip._tcp.b.example")
        second = Naptr(10, 30, "SIP+D2U", "_sip._udp.b.example")
        self.assertEqual(
            offered([UDP, second, TCP, first], ALL),
            [("tcp", "_sip._tcp.b.example"), ("udp", "_sip._udp.b.example")],
        )

    def test_only_what_we_speak(self) -> None:
        """A lower order that holds nothing for us is passed over; services of others count for nothing."""
        fax = Naptr(1, 1, "E2U+FAX", "fax.a.example")
        self.assertEqual(offered([fax, TLS, UDP, TCP], ("udp",)), [("udp", "_sip._udp.a.example")])
        self.assertEqual(offered([fax, UDP], ("tls",)), [])

    def test_nothing_in_the_clear_behind_tls(self) -> None:
        """Who prefers TLS is not left for UDP because a connection failed."""
        clear = Naptr(10, 20, "SIP+D2U", "_sip._udp.a.example")
        self.assertEqual(offered([clear, TLS], ALL), [("tls", "_sips._tcp.a.example")])

    def test_the_same_twice(self) -> None:
        """What is said twice counts once."""
        self.assertEqual(offered([UDP, UDP], ALL), [("udp", "_sip._udp.a.example")])


class InOrderTests(SynchronousTestCase):
    def test_priority(self) -> None:
        """The lower priority comes first, whatever the weights."""
        backup, main = Srv(20, 100, 5060, "b.example"), Srv(10, 0, 5060, "a.example")
        self.assertEqual(in_order([backup, main], lambda octets: bytes(octets)), [main, backup])

    def test_running_sums(self) -> None:
        """The first server whose running sum reaches the number drawn is next; those of weight 0 stand in front."""
        light, heavy, none = Srv(1, 1, 1, "light"), Srv(1, 3, 2, "heavy"), Srv(1, 0, 3, "none")
        self.assertEqual(in_order([light, heavy, none], numbers(0, 1, 0)), [none, light, heavy])
        self.assertEqual(in_order([light, heavy, none], numbers(1, 0, 0)), [light, none, heavy])
        self.assertEqual(in_order([light, heavy, none], numbers(2, 1, 0)), [heavy, light, none])
        self.assertEqual(in_order([light, heavy, none], numbers(4, 1, 0)), [heavy, light, none])

    def test_weights_are_shares(self) -> None:
        """Over 4,000 calls, weights 3 to 1 are close to three quarters of the first tries."""
        records = [Srv(1, 30, 1, "heavy"), Srv(1, 10, 2, "light")]
        random = Random(7)
        first = Counter(in_order(records, random.randbytes)[0].target for _ in range(4000))
        self.assertLess(abs(first["heavy"] / 4000 - 0.75), 0.03)

    @given(
        st.lists(st.builds(Srv, st.integers(0, 3), st.integers(0, 65535), st.integers(1, 9), st.sampled_from("abc"))),
        st.integers(0, 1 << 32),
    )
    def test_anything(self, records: list[Srv], seed: int) -> None:
        """Every record comes out once, and priorities never fall."""
        ordered = in_order(records, Random(seed).randbytes)
        self.assertEqual(Counter(ordered), Counter(records))
        priorities = [each.priority for each in ordered]
        self.assertEqual(priorities, sorted(priorities))
