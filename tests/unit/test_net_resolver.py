"""From URIs to next hops, with look-ups that answer, fail, or stay silent."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.resolver import Answer, Resolver, Unresolvable
from stellar_gw.sip.flow import Transport, Way
from stellar_gw.sip.hosts import is_private
from stellar_gw.sip.uri import parse_uri

NOTHING = Answer((), 0.0)


def way(transport: Transport, host: str, port: int, server_name: str = "") -> Way:
    return Way(transport=transport, host=host, port=port, server_name=server_name)


class Names:
    """A look-up that answers from a table; a name not in it stays unanswered."""

    def __init__(self, table: dict[tuple[str, int], Answer | Exception]) -> None:
        self.table = table
        self.asked: list[tuple[str, int]] = []

    def __call__(self, name: str, version: int) -> Deferred[Answer]:
        self.asked.append((name, version))
        answer = self.table.get((name, version))
        if answer is None:
            return Deferred()
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


class ResolverCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names(
            {
                ("sbc.example", 4): Answer(("203.0.113.5", "203.0.113.6"), 60.0),
                ("sbc.example", 6): NOTHING,
                ("both.example", 4): Answer(("203.0.113.7",), 60.0),
                ("both.example", 6): Answer(("2001:db8::7",), 60.0),
                ("none.example", 4): NOTHING,
                ("none.example", 6): NOTHING,
                ("half.example", 4): Answer(("203.0.113.8",), 0.0),
                ("broken.example", 4): RuntimeError("SERVFAIL"),
                ("broken.example", 6): RuntimeError("SERVFAIL"),
            }
        )
        self.resolver = Resolver(self.clock, self.names)

    def hops(self, uri: str) -> tuple[Way, ...]:
        return self.successResultOf(self.resolver.ways(parse_uri(uri)))

    def why(self, uri: str) -> str:
        return str(self.failureResultOf(self.resolver.ways(parse_uri(uri)), Unresolvable).value)


class NextHopTests(ResolverCase):
    def test_numeric(self) -> None:
        """Numeric hosts need no look-up; transport and port are as the URI says, or RFC 3263's defaults."""
        expected = {
            "sip:a@192.0.2.1": way("udp", "192.0.2.1", 5060, ""),
            "sip:192.0.2.1:5080;transport=TCP": way("tcp", "192.0.2.1", 5080, ""),
            "sip:192.0.2.1;transport=tls": way("tls", "192.0.2.1", 5061, "192.0.2.1"),
            "sips:192.0.2.1;transport=tcp": way("tls", "192.0.2.1", 5061, "192.0.2.1"),
            "sip:a@[2001:db8::1]:5070": way("udp", "2001:db8::1", 5070, ""),
            "sip:a@b.example;maddr=192.0.2.9": way("udp", "192.0.2.9", 5060, ""),
        }
        self.assertEqual({uri: self.hops(uri) for uri in expected}, {uri: (hop,) for uri, hop in expected.items()})
        self.assertEqual(self.names.asked, [])

    def test_names(self) -> None:
        """Every address of a name is a hop, IPv4 first; for TLS the certificate must carry the name."""
        self.assertEqual(
            self.hops("sip:SBC.example.;transport=tls"),
            (way("tls", "203.0.113.5", 5061, "sbc.example."), way("tls", "203.0.113.6", 5061, "sbc.example.")),
        )
        self.assertEqual(
            self.hops("sip:both.example:5066"),
            (way("udp", "203.0.113.7", 5066), way("udp", "2001:db8::7", 5066)),
        )

    def test_the_dialogs_transport_is_the_default(self) -> None:
        """Where a URI names no transport the caller's default counts, so that TLS is not left by omission."""
        found = self.resolver.ways(parse_uri("sip:192.0.2.1"), "tls")
        self.assertEqual(self.successResultOf(found), (way("tls", "192.0.2.1", 5061, "192.0.2.1"),))

    def test_nowhere(self) -> None:
        """What leads nowhere fails at once, with the reason."""
        self.assertEqual(
            [
                self.why(uri)
                for uri in (
                    "tel:+31201234567",
                    "sip:192.0.2.1;transport=ws",
                    "sips:192.0.2.1;transport=udp",
                    "sip:none.example",
                    "sip:1.2.3",
                    f"sip:{'a' * 64}.example",
                )
            ],
            [
                "TelUri has no host to send to",
                "transport 'ws' is not spoken here",
                "a sips URI over udp cannot be",
                "none.example has no address in DNS",
                "'1.2.3' is no host name",
                f"'{'a' * 64}.example' is no host name",
            ],
        )

    def test_kept(self) -> None:
        """An answer is kept for its TTL, at least a second, so a burst of calls asks once."""
        for _ in range(3):
            self.hops("sip:sbc.example")
        self.assertEqual(self.names.asked, [("sbc.example", 4), ("sbc.example", 6)])
        self.clock.advance(61)
        self.hops("sip:sbc.example")
        self.assertEqual(len(self.names.asked), 4)


class SlowTests(ResolverCase):
    def test_a_silent_resolver(self) -> None:
        """A name server that says nothing costs three seconds, then two, and no more."""
        found = self.resolver.ways(parse_uri("sip:silent.example"))
        self.clock.advance(3)
        self.clock.advance(1.9)
        self.assertNoResult(found)
        self.clock.advance(0.2)
        self.assertEqual(
            str(self.failureResultOf(found, Unresolvable).value),
            "silent.example was not answered for within 5 s in DNS",
        )
        self.assertEqual((len(self.names.asked), self.clock.getDelayedCalls()), (4, []))

    def test_an_answer_to_the_second_try(self) -> None:
        """What the first try did not bring, the second may."""
        found = self.resolver.ways(parse_uri("sip:late.example"))
        self.names.table[("late.example", 4)] = Answer(("203.0.113.9",), 60.0)
        self.names.table[("late.example", 6)] = NOTHING
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(found), (way("udp", "203.0.113.9", 5060),))

    def test_a_server_that_swallows_aaaa(self) -> None:
        """With one family's addresses there, the other has 50 ms more (RFC 8305 3)."""
        found = self.resolver.ways(parse_uri("sip:half.example"))
        self.assertNoResult(found)
        self.clock.advance(0.05)
        self.assertEqual(self.successResultOf(found), (way("udp", "203.0.113.8", 5060),))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures_are_tried_again_then_said(self) -> None:
        """A server that fails is asked once more."""
        self.assertEqual(self.why("sip:broken.example"), "broken.example was not answered for within 5 s in DNS")
        self.assertEqual(len(self.names.asked), 4)

    def test_many_who_ask_for_one_name(self) -> None:
        """Those who ask while a look-up is under way share it, and one may give up."""
        first, second = (self.resolver.ways(parse_uri("sip:late.example")) for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.names.table[("late.example", 4)] = Answer(("203.0.113.9",), 60.0)
        self.names.table[("late.example", 6)] = NOTHING
        self.clock.advance(3)
        self.assertEqual(len(self.successResultOf(second)), 1)
        self.assertEqual(len(self.names.asked), 4)


class PrivateTests(SynchronousTestCase):
    def test_private(self) -> None:
        """Addresses and names that mean nothing outside their network are private, public ones are not."""
        private = (
            "10.0.0.4", "172.31.9.9", "192.168.1.20", "100.64.3.3", "127.0.0.1", "169.254.1.1", "0.0.0.0", "::1",
            "[fd00::1]", "fe80::1", "::ffff:10.1.1.1", "pbx", "pbx.local", "x.invalid.", "224.0.0.1", "a.home.arpa",
        )  # fmt: skip
        public = (
            "203.0.113.7",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "sip.acme.example",
        )
        self.assertEqual([host for host in private if not is_private(host)], [])
        self.assertEqual([host for host in public if is_private(host)], [])
