"""What is taken of a name server's answer, whatever it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.names import dns
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.answers import Answer, Kind, Naptr, Srv
from stellar_gw.net.lookup import ALIASES, LARGEST, RECORDS, follow, read

KINDS: tuple[Kind, ...] = ("A", "AAAA", "SRV", "NAPTR")


def record(name: str, payload: Any, ttl: int = 60) -> dns.RRHeader:
    return dns.RRHeader(name.encode(), payload.TYPE, dns.IN, ttl, payload)


def _whole() -> bytes:
    payloads = (
        dns.Record_A("192.0.2.1"),
        dns.Record_AAAA("::1"),
        dns.Record_SRV(1, 2, 3, b"x.example"),
        dns.Record_NAPTR(1, 2, b"s", b"SIP+D2U", b"", b"_sip._udp.x"),
        dns.Record_CNAME(b"b.example"),
        dns.Record_SOA(b"a", b"b", 1),
    )
    message = dns.Message(1, answer=1)
    message.answers = [record("a.example", payload) for payload in payloads]
    message.authority = list(message.answers)
    return bytes(message.toStr())


WHOLE = _whole()


def alias(name: str, to: str) -> dns.RRHeader:
    return record(name, dns.Record_CNAME(to.encode(), 60))


def taken(answers: Sequence[dns.RRHeader], kind: Kind, name: str = "a.example") -> Answer:
    """As the look-up reads a whole answer."""
    return read((answers, (), ()), kind, follow(name, answers)[1])


class ReadTests(SynchronousTestCase):
    def test_addresses(self) -> None:
        """Of the kind that was asked for, each once, with the shortest TTL."""
        answers = [
            record("A.Example", dns.Record_A("192.0.2.1"), 300),
            record("a.example", dns.Record_A("192.0.2.2"), 20),
            record("a.example", dns.Record_A("192.0.2.1"), 300),
            record("a.example", dns.Record_AAAA("2001:db8::1"), 30),
        ]
        self.assertEqual(taken(answers, "A"), Answer(("192.0.2.1", "192.0.2.2"), 20.0))
        self.assertEqual(taken(answers, "AAAA").addresses, ("2001:db8::1",))

    def test_services(self) -> None:
        """Targets in lower case, without their dot; a lone dot is no target."""
        answers = [
            record("a.example", dns.Record_SRV(10, 20, 5060, b"Edge.Example.")),
            record("a.example", dns.Record_SRV(10, 20, 5060, b"")),
        ]
        self.assertEqual(
            taken(answers, "SRV"), Answer((), 60.0, (Srv(10, 20, 5060, "edge.example"), Srv(10, 20, 5060, "")))
        )

    def test_a_target_that_is_no_name(self) -> None:
        """It is left out; an address in its place, as people write, is let pass."""
        targets = [b"a b.example", b"x\x00y.example", b"192.0.2.9", b"x" * 63 + b".example", b"\xff.example"]
        answers = [record("a.example", dns.Record_SRV(1, 1, 1, target)) for target in targets]
        self.assertEqual([each.target for each in taken(answers, "SRV").srv], ["192.0.2.9", "x" * 63 + ".example"])

    def test_transports(self) -> None:
        """Only pointers to SRV records, which rewrite nothing."""
        answers = [
            record("a.example", dns.Record_NAPTR(10, 20, flags, service, regexp, b"_sip._udp.a.example"))
            for flags, service, regexp in (
                (b"s", b"sip+d2u", b""),
                (b"S", b"SIP+D2T", b""),
                (b"u", b"SIP+D2U", b""),
                (b"s", b"SIP+D2U", b"!^.*$!sip:x@evil.example!"),
            )
        ]
        self.assertEqual(
            taken(answers, "NAPTR").naptr,
            (Naptr(10, 20, "SIP+D2U", "_sip._udp.a.example"), Naptr(10, 20, "SIP+D2T", "_sip._udp.a.example")),
        )

    def test_other_peoples_records(self) -> None:
        """What was not asked for, by name or by alias, is left alone."""
        answers = [
            alias("a.example", "b.example"),
            record("c.example", dns.Record_A("192.0.2.66")),
            record("b.example", dns.Record_A("192.0.2.2")),
        ]
        self.assertEqual(taken(answers, "A").addresses, ("192.0.2.2",))

    def test_aliases(self) -> None:
        """They are followed, and left where they close to a circle or become many."""
        circle = [alias("a.example", "b.example"), alias("b.example", "a.example")]
        self.assertEqual(follow("a.example", circle), ("b.example", ["a.example", "b.example"]))
        self.assertEqual(follow("a.example", [alias("a.example", "a.example")]), ("a.example", ["a.example"]))
        chain = [alias(f"{number}.example", f"{number + 1}.example") for number in range(50)]
        self.assertEqual(follow("0.example", chain)[0], f"{ALIASES}.example")

    def test_thousands(self) -> None:
        """The first records count, and no more are looked at."""
        answers = [record("a.example", dns.Record_A(f"10.0.{number // 250}.{number % 250}")) for number in range(4000)]
        self.assertEqual(len(taken(answers, "A").addresses), RECORDS)

    def test_how_long_there_is_nothing(self) -> None:
        """The zone's SOA says it, up to a minute (RFC 2308 5); without one it is asked for again at once."""
        soa = record("example", dns.Record_SOA(b"ns.example", b"root.example", minimum=30, ttl=50), 50)
        long = record("example", dns.Record_SOA(b"ns.example", b"root.example", minimum=86400, ttl=86400), 86400)
        self.assertEqual(
            [read(((), authority, ()), "A", ["a.example"]).ttl for authority in ((soa,), (long,), ())],
            [30.0, 60.0, 0.0],
        )

    @given(st.binary(max_size=600), st.sampled_from(KINDS))
    def test_any_octets(self, octets: bytes, kind: Kind) -> None:
        """Whatever Twisted makes of an answer is read without a fault, and within bounds."""
        message = dns.Message()
        try:
            message.fromStr(b"\0\1\x81\x80\0\0\0\x20\0\0\0\0" + octets)
        except (ValueError, EOFError):
            return
        answer = taken(message.answers, kind)
        self.assertLessEqual(len(answer.addresses) + len(answer.srv) + len(answer.naptr), RECORDS)

    @given(st.lists(st.tuples(st.integers(0, len(WHOLE) - 1), st.integers(0, 255)), max_size=8), st.sampled_from(KINDS))
    def test_any_damage(self, damage: list[tuple[int, int]], kind: Kind) -> None:
        """A sound answer with records of every kind, some of its octets changed: the same."""
        octets = bytearray(WHOLE)
        for at, value in damage:
            octets[at] = value
        message = dns.Message()
        try:
            message.fromStr(bytes(octets))
        except (ValueError, EOFError):  # which Twisted's own protocols drop
            return
        read((message.answers, message.authority, ()), kind, follow("a.example", message.answers)[1])

    def test_the_largest_answer(self) -> None:
        """As many records as Twisted takes in one message, in as many octets as we do."""
        message = dns.Message(1, answer=1, maxSize=0)
        message.answers = [record("a.example", dns.Record_A("192.0.2.1")) for _ in range(990)]
        octets = message.toStr()
        parsed = dns.Message()
        parsed.fromStr(octets)
        self.assertEqual((len(parsed.answers), len(octets) < LARGEST), (990, True))
        self.assertEqual(taken(parsed.answers, "A").addresses, ("192.0.2.1",))
