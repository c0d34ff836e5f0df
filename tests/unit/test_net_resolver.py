"""From URIs to ways, with look-ups that answer, fail, or stay silent."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.net.answers import Answer, Kind, Naptr, Srv
from stellar_gw.net.resolver import Resolver, Unresolvable
from stellar_gw.sip.flow import Transport, Way
from stellar_gw.sip.hosts import is_private
from stellar_gw.sip.uri import parse_uri

Table = dict[tuple[str, Kind], "Answer | Exception | None"]

SILENT: Table = {
    ("silent.example", "A"): None,
    ("silent.example", "AAAA"): None,
    ("silent.example", "NAPTR"): None,
    ("_sip._udp.silent.example", "SRV"): None,
    ("_sip._tcp.silent.example", "SRV"): None,
    ("_sips._tcp.silent.example", "SRV"): None,
}


def way(transport: Transport, host: str, port: int, server_name: str = "") -> Way:
    return Way(transport=transport, host=host, port=port, server_name=server_name)


def a(*addresses: str, ttl: float = 60.0) -> Answer:
    return Answer(addresses, ttl)


def srv(*records: tuple[int, int, int, str]) -> Answer:
    return Answer(ttl=60.0, srv=tuple(Srv(*each) for each in records))


def naptr(*records: tuple[int, int, str, str]) -> Answer:
    return Answer(ttl=60.0, naptr=tuple(Naptr(*each) for each in records))


class Names:
    """A look-up that answers from a table.

    What is not in it does not exist; None stays unanswered.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.asked: list[tuple[str, Kind]] = []

    def __call__(self, name: str, kind: Kind) -> Deferred[Answer]:
        self.asked.append((name, kind))
        answer = self.table.get((name, kind), Answer())
        if answer is None:
            return Deferred()
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


class ResolverCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.names = Names(
            {
                ("sbc.example", "A"): a("203.0.113.5", "203.0.113.6"),
                ("both.example", "A"): a("203.0.113.7"),
                ("both.example", "AAAA"): a("2001:db8::7"),
                ("half.example", "A"): a("203.0.113.8", ttl=0.0),
                ("half.example", "AAAA"): None,
                ("broken.example", "A"): RuntimeError("SERVFAIL"),
                ("broken.example", "AAAA"): RuntimeError("SERVFAIL"),
                **SILENT,
            }
        )
        self.resolver = Resolver(self.clock, self.names, lambda octets: bytes(octets))
        self.spoken: set[tuple[Transport, int]] = {(each, 4) for each in ("udp", "tcp", "tls")} | {("udp", 6)}

    def look_up(self, uri: str, held: Transport | None = None, tls_name: str = "") -> Deferred[tuple[Way, ...]]:
        return self.resolver.ways(parse_uri(uri), held, tls_name, lambda *each: each in self.spoken)

    def ways(self, uri: str, held: Transport | None = None, tls_name: str = "") -> tuple[Way, ...]:
        return self.successResultOf(self.look_up(uri, held, tls_name))

    def why(self, uri: str) -> str:
        return str(self.failureResultOf(self.look_up(uri), Unresolvable).value)


class WithoutServicesTests(ResolverCase):
    """What the URI says by itself, and names that have addresses alone."""

    def test_numeric(self) -> None:
        """Numeric hosts need no look-up; transport and port are as the URI says, or RFC 3263's defaults."""
        expected = {
            "sip:a@192.0.2.1": way("udp", "192.0.2.1", 5060),
            "sip:192.0.2.1:5080;transport=TCP": way("tcp", "192.0.2.1", 5080),
            "sip:192.0.2.1;transport=tls": way("tls", "192.0.2.1", 5061, "192.0.2.1"),
            "sips:192.0.2.1;transport=tcp": way("tls", "192.0.2.1", 5061, "192.0.2.1"),
            "sip:a@[2001:db8::1]:5070": way("udp", "2001:db8::1", 5070),
            "sip:a@b.example;maddr=192.0.2.9": way("udp", "192.0.2.9", 5060),
        }
        self.assertEqual({uri: self.ways(uri) for uri in expected}, {uri: (each,) for uri, each in expected.items()})
        self.assertEqual(self.names.asked, [])

    def test_a_name_with_a_port(self) -> None:
        """Nothing but addresses is asked for; every address is a way, IPv4 first."""
        self.assertEqual(
            self.ways("sip:both.example:5066"),
            (way("udp", "203.0.113.7", 5066), way("udp", "2001:db8::7", 5066)),
        )
        self.assertEqual(self.names.asked, [("both.example", "A"), ("both.example", "AAAA")])

    def test_a_name_without_services(self) -> None:
        """Without NAPTR and SRV it is the address by UDP at 5060, for sips by TLS at 5061."""
        self.assertEqual(
            (self.ways("sip:SBC.example."), self.ways("sips:SBC.example.")),
            (
                (way("udp", "203.0.113.5", 5060), way("udp", "203.0.113.6", 5060)),
                (way("tls", "203.0.113.5", 5061, "sbc.example"), way("tls", "203.0.113.6", 5061, "sbc.example")),
            ),
        )

    def test_a_configured_tls_name(self) -> None:
        """A trunk's name takes the place of the URI's host; in the clear it means nothing."""
        self.assertEqual(
            (self.ways("sips:192.0.2.1", None, "trunk.example"), self.ways("sip:192.0.2.1", None, "trunk.example")),
            ((way("tls", "192.0.2.1", 5061, "trunk.example"),), (way("udp", "192.0.2.1", 5060),)),
        )

    def test_a_dialogs_transport_is_held(self) -> None:
        """Where a URI names no transport the dialog's counts, so that TLS is not left by omission."""
        self.assertEqual(
            (self.ways("sip:192.0.2.1", "tls"), self.ways("sip:sbc.example", "tcp")),
            (
                (way("tls", "192.0.2.1", 5061, "192.0.2.1"),),
                (way("tcp", "203.0.113.5", 5060), way("tcp", "203.0.113.6", 5060)),
            ),
        )

    def test_only_families_that_we_have(self) -> None:
        """An address that no listener reaches is no way; if there is no other, it stays, and opening it says why."""
        self.assertEqual(self.ways("sip:both.example:5060;transport=tcp"), (way("tcp", "203.0.113.7", 5060),))
        self.assertEqual(self.ways("sip:[2001:db8::1];transport=tcp"), (way("tcp", "2001:db8::1", 5060),))

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
            self.ways("sip:sbc.example:5060")
        self.assertEqual(self.names.asked, [("sbc.example", "A"), ("sbc.example", "AAAA")])
        self.clock.advance(1.5)
        self.ways("sip:sbc.example:5060")  # that there is no AAAA was said for no time at all
        self.assertEqual(self.names.asked[2:], [("sbc.example", "AAAA")])
        self.clock.advance(60)
        self.ways("sip:sbc.example:5060")
        self.assertEqual(len(self.names.asked), 5)


class ServicesTests(ResolverCase):
    """NAPTR and SRV (RFC 3263 4.1, 4.2)."""

    def setUp(self) -> None:
        super().setUp()
        self.names.table.update(
            {
                ("acme.example", "A"): a("203.0.113.99"),
                ("one.example", "A"): a("203.0.113.1"),
                ("two.example", "A"): a("203.0.113.2"),
                ("three.example", "A"): a("203.0.113.3"),
            }
        )

    def test_naptr_then_srv_then_addresses(self) -> None:
        """The domain's preferred transport that we speak is taken, at the servers and ports it names."""
        self.names.table.update(
            {
                ("acme.example", "NAPTR"): naptr(
                    (10, 10, "SIPS+D2S", "_sips._sctp.acme.example"),
                    (20, 10, "SIP+D2T", "_sip._tcp.edge.example"),
                    (20, 20, "SIP+D2U", "_sip._udp.edge.example"),
                ),
                ("_sip._tcp.edge.example", "SRV"): srv((20, 0, 5062, "two.example"), (10, 0, 5061, "one.example")),
                ("_sip._udp.edge.example", "SRV"): srv((10, 0, 5060, "three.example")),
            }
        )
        self.assertEqual(
            self.ways("sip:acme.example"),
            (
                way("tcp", "203.0.113.1", 5061),
                way("tcp", "203.0.113.2", 5062),
                way("udp", "203.0.113.3", 5060),
            ),
        )

    def test_naptr_that_prefers_tls(self) -> None:
        """A sip URI may be taken to TLS; what then must be verified is the URI's own host, and nothing follows."""
        self.names.table.update(
            {
                ("acme.example", "NAPTR"): naptr(
                    (10, 10, "SIPS+D2T", "_sips._tcp.edge.example"), (10, 20, "SIP+D2U", "_sip._udp.edge.example")
                ),
                ("_sips._tcp.edge.example", "SRV"): srv((10, 0, 5061, "one.example")),
                ("_sip._udp.edge.example", "SRV"): srv((10, 0, 5060, "three.example")),
            }
        )
        self.assertEqual(self.ways("sip:acme.example"), (way("tls", "203.0.113.1", 5061, "acme.example"),))

    def test_sips_is_never_taken_down(self) -> None:
        """Whatever the domain prefers, a sips URI goes to a TLS service, or to TLS at the domain itself."""
        clear = (10, 10, "SIP+D2U", "_sip._udp.acme.example")
        self.names.table.update(
            {
                ("acme.example", "NAPTR"): naptr(clear),
                ("_sip._udp.acme.example", "SRV"): srv((10, 0, 5060, "one.example")),
            }
        )
        bare = self.ways("sips:acme.example")
        self.names.table["acme.example", "NAPTR"] = naptr(clear, (20, 10, "SIPS+D2T", "_sips._tcp.edge.example"))
        self.names.table["_sips._tcp.edge.example", "SRV"] = srv((10, 0, 5065, "two.example"))
        self.clock.advance(301)
        self.assertEqual(
            (bare, self.ways("sips:acme.example")),
            (
                (way("tls", "203.0.113.99", 5061, "acme.example"),),
                (way("tls", "203.0.113.2", 5065, "acme.example"),),
            ),
        )

    def test_srv_without_naptr(self) -> None:
        """Every transport that we speak is asked for, ``_sips._tcp`` too, and the address record is no short cut."""
        self.names.table["_sips._tcp.acme.example", "SRV"] = srv((10, 0, 5061, "one.example"))
        self.assertEqual(self.ways("sip:acme.example"), (way("tls", "203.0.113.1", 5061, "acme.example"),))
        self.assertEqual(
            [each for each in self.names.asked if each[1] in ("NAPTR", "SRV")],
            [
                ("acme.example", "NAPTR"),
                ("_sip._udp.acme.example", "SRV"),
                ("_sip._tcp.acme.example", "SRV"),
                ("_sips._tcp.acme.example", "SRV"),
            ],
        )
        self.assertNotIn(("acme.example", "A"), self.names.asked)

    def test_transports_without_a_listener_are_not_asked_for(self) -> None:
        """With UDP alone, only its service is of interest."""
        self.spoken = {("udp", 4)}
        self.ways("sip:acme.example")
        self.assertEqual([name for name, kind in self.names.asked if kind == "SRV"], ["_sip._udp.acme.example"])

    def test_a_named_transport(self) -> None:
        """``transport=`` decides, so NAPTR is of no interest; for TLS the service is ``_sips._tcp``."""
        self.names.table.update(
            {
                ("_sip._tcp.acme.example", "SRV"): srv((10, 0, 5070, "one.example")),
                ("_sips._tcp.acme.example", "SRV"): srv((10, 0, 5071, "two.example")),
            }
        )
        tls = (way("tls", "203.0.113.2", 5071, "acme.example"),)
        self.assertEqual(
            [
                self.ways(f"{uri}:acme.example;transport={transport}")
                for uri, transport in (("sip", "tcp"), ("sip", "tls"), ("sips", "tcp"))
            ],
            [(way("tcp", "203.0.113.1", 5070),), tls, tls],
        )
        self.assertNotIn(("acme.example", "NAPTR"), self.names.asked)

    def test_naptr_without_srv_behind_it(self) -> None:
        """The preferred transport holds, at the domain's address and that transport's port."""
        self.names.table["acme.example", "NAPTR"] = naptr((10, 10, "SIP+D2T", "_sip._tcp.acme.example"))
        self.assertEqual(self.ways("sip:acme.example"), (way("tcp", "203.0.113.99", 5060),))

    def test_nothing_that_we_speak(self) -> None:
        """A domain that takes SIP only by what we have no listener for is told apart from one without SIP."""
        self.spoken = {("udp", 4)}
        self.names.table["acme.example", "NAPTR"] = naptr((10, 10, "SIPS+D2T", "_sips._tcp.acme.example"))
        self.assertEqual(
            self.why("sip:acme.example"), "acme.example takes SIP by SIPS+D2T alone, which no listener here speaks"
        )

    def test_a_domain_without_sip(self) -> None:
        """A target of ``.`` says that there is no such service (RFC 2782); its web server is left in peace."""
        self.names.table["_sip._udp.acme.example", "SRV"] = srv((0, 0, 0, ""))
        self.assertEqual(self.why("sip:acme.example"), "acme.example says in DNS that it takes no SIP")

    def test_a_target_that_is_not_there(self) -> None:
        """It is left out; if none is there, that is the reason."""
        self.names.table["_sip._udp.acme.example", "SRV"] = srv(
            (1, 0, 5060, "gone.example"), (2, 0, 5060, "one.example")
        )
        self.names.table["_sip._udp.bad.example", "SRV"] = srv((1, 0, 5060, "gone.example"))
        self.assertEqual(self.ways("sip:acme.example"), (way("udp", "203.0.113.1", 5060),))
        self.assertEqual(self.why("sip:bad.example"), "gone.example has no address in DNS")

    def test_thousands_of_servers(self) -> None:
        """Ten targets are asked for, eight addresses of each used, and twenty ways given."""
        many = [f"s{number}.example" for number in range(1000)]
        self.names.table["_sip._udp.acme.example", "SRV"] = srv(*((1, 0, 5060, each) for each in many))
        for number, each in enumerate(many):
            self.names.table[each, "A"] = a(*(f"203.0.{number % 250}.{last}" for last in range(100)))
        self.assertEqual(len(self.ways("sip:acme.example")), 20)
        self.assertEqual(sum(kind == "A" for _, kind in self.names.asked), 10)


class SlowTests(ResolverCase):
    def test_a_silent_server(self) -> None:
        """A name server that says nothing costs five seconds, and no more, whatever is asked for in turn."""
        found = self.look_up("sip:silent.example")
        self.clock.advance(3)
        self.clock.advance(1.9)
        self.assertNoResult(found)
        self.clock.advance(0.2)
        self.assertEqual(
            str(self.failureResultOf(found, Unresolvable).value),
            "silent.example was not answered for within 5 s in DNS",
        )
        self.clock.advance(5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_address_is_asked_for_twice(self) -> None:
        """Three seconds, then two."""
        found = self.look_up("sip:silent.example:5060")
        for seconds in (3, 1.9):
            self.clock.advance(seconds)
        self.assertNoResult(found)
        self.clock.advance(0.2)
        self.failureResultOf(found, Unresolvable)
        self.assertEqual((len(self.names.asked), self.clock.getDelayedCalls()), (4, []))

    def test_a_server_that_swallows_naptr(self) -> None:
        """After three seconds SRV is asked for without it."""
        self.names.table["silent.example", "A"] = a("203.0.113.9")
        self.names.table["silent.example", "AAAA"] = Answer()
        for prefix in ("_sip._udp", "_sip._tcp", "_sips._tcp"):
            del self.names.table[f"{prefix}.silent.example", "SRV"]
        found = self.look_up("sip:silent.example")
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(found), (way("udp", "203.0.113.9", 5060),))

    def test_srv_that_nobody_answers_for(self) -> None:
        """The address record is not taken in its place: it may be another server's."""
        self.names.table["_sip._udp.sbc.example", "SRV"] = RuntimeError("SERVFAIL")
        self.assertEqual(self.why("sip:sbc.example"), "sbc.example was not answered for within 5 s in DNS")
        self.names.table["_sip._tcp.sbc.example", "SRV"] = srv((1, 0, 5060, "both.example"))
        self.clock.advance(301)
        self.assertEqual(self.ways("sip:sbc.example"), (way("tcp", "203.0.113.7", 5060),))

    def test_a_slow_backup_is_not_waited_for(self) -> None:
        """Once one target has addresses, the others have half a second."""
        self.names.table["_sip._udp.acme.example", "SRV"] = srv((1, 0, 1, "sbc.example"), (2, 0, 2, "silent.example"))
        found = self.look_up("sip:acme.example")
        self.assertNoResult(found)
        self.clock.advance(0.5)
        self.assertEqual([each.port for each in self.successResultOf(found)], [1, 1])

    def test_a_slow_first_target_is_waited_for(self) -> None:
        """The better server is not passed over because the name of the backup was quicker."""
        self.names.table["_sip._udp.acme.example", "SRV"] = srv((1, 0, 1, "silent.example"), (2, 0, 2, "sbc.example"))
        found = self.look_up("sip:acme.example")
        self.clock.advance(1)
        self.assertNoResult(found)
        self.names.table["silent.example", "A"] = a("203.0.113.9")
        self.clock.advance(2)
        self.clock.advance(0.05)
        self.assertEqual([each.port for each in self.successResultOf(found)], [1, 2, 2])

    def test_an_answer_to_the_second_try(self) -> None:
        """What the first try did not bring, the second may."""
        found = self.look_up("sip:silent.example:5060")
        self.names.table["silent.example", "A"] = a("203.0.113.9")
        self.names.table["silent.example", "AAAA"] = Answer()
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(found), (way("udp", "203.0.113.9", 5060),))

    def test_a_server_that_swallows_aaaa(self) -> None:
        """With one family's addresses there, the other has 50 ms more (RFC 8305 3)."""
        found = self.look_up("sip:half.example:5060")
        self.assertNoResult(found)
        self.clock.advance(0.05)
        self.assertEqual(self.successResultOf(found), (way("udp", "203.0.113.8", 5060),))

    def test_failures_are_tried_again_then_said(self) -> None:
        """A server that fails is asked once more."""
        self.assertEqual(self.why("sip:broken.example:5060"), "broken.example was not answered for within 5 s in DNS")
        self.assertEqual(len(self.names.asked), 4)

    def test_many_who_ask_for_one_name(self) -> None:
        """Those who ask while a look-up is under way share it, and one may give up."""
        first, second = (self.look_up("sip:silent.example:5060") for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.names.table["silent.example", "A"] = a("203.0.113.9")
        self.names.table["silent.example", "AAAA"] = Answer()
        self.clock.advance(3)
        self.assertEqual(len(self.successResultOf(second)), 1)
        self.assertEqual(len(self.names.asked), 4)

    def test_giving_up(self) -> None:
        """A route that is not wanted any more ends at once, at whatever step, and leaves nothing unsaid."""
        self.names.table["_sip._udp.acme.example", "SRV"] = srv(
            (1, 0, 1, "silent.example"), (2, 0, 2, "silent.example")
        )
        for uri in ("sip:silent.example", "sip:acme.example", "sip:silent.example;transport=tcp"):
            found = self.look_up(uri)
            found.cancel()
            self.failureResultOf(found, CancelledError)
        self.clock.advance(3)
        self.clock.advance(3)
        self.assertEqual(self.clock.getDelayedCalls(), [])


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
