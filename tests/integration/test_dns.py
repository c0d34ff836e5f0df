"""Outbound routing by a real name server: unbound, on loopback."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall, deferLater
from twisted.trial.unittest import TestCase

from stellar_gw.net.lookup import DnsLookup
from stellar_gw.net.resolver import Resolver, Unresolvable
from stellar_gw.sip.flow import Transport, Way
from stellar_gw.sip.uri import parse_uri
from tests.integration.name_server import MISSING, NameServer

reactor = cast(Any, _reactor)

MANY = 300

ZONE = """\
acme.gw.example. 60 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.acme.gw.example.
acme.gw.example. 60 IN NAPTR 20 10 "s" "SIP+D2T" "" _sip._tcp.acme.gw.example.
acme.gw.example. 60 IN NAPTR 20 20 "s" "SIP+D2U" "" _sip._udp.acme.gw.example.
_sip._tcp.acme.gw.example. 60 IN SRV 20 0 5070 backup.gw.example.
_sip._tcp.acme.gw.example. 60 IN SRV 10 0 5080 main.gw.example.
_sip._udp.acme.gw.example. 60 IN SRV 10 0 5090 main.gw.example.
_sips._tcp.acme.gw.example. 60 IN SRV 10 0 5061 main.gw.example.
acme.gw.example. 60 IN A 127.0.0.66
main.gw.example. 60 IN A 127.0.0.11
main.gw.example. 60 IN AAAA ::1
backup.gw.example. 60 IN A 127.0.0.12
_sips._tcp.tls.gw.example. 60 IN SRV 10 0 5062 main.gw.example.
tls.gw.example. 60 IN A 127.0.0.66
_sip._udp.shares.gw.example. 60 IN SRV 10 75 5060 main.gw.example.
_sip._udp.shares.gw.example. 60 IN SRV 10 25 5060 backup.gw.example.
plain.gw.example. 60 IN A 127.0.0.13
alias.gw.example. 60 IN CNAME plain.gw.example.
round.gw.example. 60 IN CNAME about.gw.example.
about.gw.example. 60 IN CNAME round.gw.example.
_sip._udp.closed.gw.example. 60 IN SRV 0 0 0 .
closed.gw.example. 60 IN A 127.0.0.66
"""
ZONE += "".join(
    f"_sip._udp.many.gw.example. 60 IN SRV 10 1 {5000 + number} plain.gw.example.\n" for number in range(MANY)
)


def way(transport: Transport, host: str, port: int, server_name: str = "") -> Way:
    return Way(transport=transport, host=host, port=port, server_name=server_name)


class DnsCase(TestCase):
    skip = MISSING or None
    timeout = 60

    def resolver(self, *servers: tuple[str, int], seed: int = 1) -> Resolver:
        lookup = DnsLookup(reactor, servers=servers, hosts=os.devnull)
        self.addCleanup(self.questions_end)
        self.addCleanup(lookup.stop)
        return Resolver(reactor, lookup, Random(seed).randbytes)

    async def questions_end(self) -> None:
        """Questions that a look-up has given up go on for a second or two, so that their answers are kept."""
        while any("dns" in str(call).lower() or "timeItOut" in str(call) for call in reactor.getDelayedCalls()):
            await deferLater(reactor, 0.02)


class RealServerTests(DnsCase):
    def setUp(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.server = NameServer(folder, ZONE)
        self.addCleanup(self.server.stop)
        self.server.start()
        self.names = self.resolver(self.server.address)

    async def ways(self, uri: str, *spoken: Transport) -> tuple[Way, ...]:
        def speaks(transport: Transport, version: int) -> bool:
            return transport in (spoken or ("udp", "tcp", "tls")) and version == 4

        return await self.names.ways(parse_uri(uri), speaks=speaks)

    async def why(self, uri: str) -> str:
        try:
            ways = await self.ways(uri)
        except Unresolvable as error:
            return str(error)
        return f"{ways}"

    async def test_naptr_srv_and_addresses(self) -> None:
        """The domain's order, the servers' priorities and ports, and their addresses; none of the domain's own."""
        self.assertEqual(
            (await self.ways("sip:acme.gw.example", "udp", "tcp"), await self.ways("sip:acme.gw.example")),
            (
                (way("tcp", "127.0.0.11", 5080), way("tcp", "127.0.0.12", 5070), way("udp", "127.0.0.11", 5090)),
                (way("tls", "127.0.0.11", 5061, "acme.gw.example"),),
            ),
        )

    async def test_services_without_naptr(self) -> None:
        """``_sips._tcp`` alone is found, and the address record does not short-circuit it."""
        self.assertEqual(await self.ways("sip:tls.gw.example"), (way("tls", "127.0.0.11", 5062, "tls.gw.example"),))

    async def test_weights(self) -> None:
        """Of 2,000 calls about three quarters try the heavier server first, and every call has both."""
        found = [await self.ways("sip:shares.gw.example", "udp") for _ in range(2000)]
        first = Counter(ways[0].host for ways in found)
        self.assertEqual({len(ways) for ways in found}, {2})
        self.assertLess(abs(first["127.0.0.11"] / 2000 - 0.75), 0.05)

    async def test_missing_records(self) -> None:
        """Without services it is the address; without that, or the name, a failure that says so."""
        self.assertEqual(
            (await self.ways("sip:plain.gw.example"), await self.ways("sips:plain.gw.example")),
            ((way("udp", "127.0.0.13", 5060),), (way("tls", "127.0.0.13", 5061, "plain.gw.example"),)),
        )
        self.assertEqual(
            [await self.why(f"sip:{name}.gw.example") for name in ("none", "closed", "_sip._udp.acme")],
            [
                "none.gw.example has no address in DNS",
                "closed.gw.example says in DNS that it takes no SIP",
                "_sip._udp.acme.gw.example has no address in DNS",
            ],
        )

    async def test_aliases(self) -> None:
        """An alias that the server does not follow is asked for; a circle of them ends."""
        self.assertEqual(await self.ways("sip:alias.gw.example:5060"), (way("udp", "127.0.0.13", 5060),))
        self.assertEqual(await self.why("sip:round.gw.example:5060"), "round.gw.example has no address in DNS")

    async def test_an_answer_too_long_for_udp(self) -> None:
        """It is asked for again over TCP; of hundreds of servers the first that matter are taken."""
        ways = await self.ways("sip:many.gw.example", "udp")
        self.assertEqual((len(ways), {each.host for each in ways}), (10, {"127.0.0.13"}))

    async def test_a_server_that_is_gone_and_back(self) -> None:
        """What was learnt holds for its TTL; what was not fails, and is found once the server is back."""
        await self.ways("sip:plain.gw.example")
        self.server.stop()
        self.assertEqual(await self.ways("sip:plain.gw.example"), (way("udp", "127.0.0.13", 5060),))
        self.assertEqual(
            await self.why("sip:main.gw.example:5060"), "main.gw.example was not answered for within 5 s in DNS"
        )
        self.server.start()
        self.assertEqual(await self.ways("sip:main.gw.example:5060"), (way("udp", "127.0.0.11", 5060),))

    async def test_the_second_server(self) -> None:
        """A first name server that does not answer costs a second, and the next has the answer."""
        silent = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        names = self.resolver(("127.0.0.1", silent.getHost().port), self.server.address)
        self.assertEqual(await names.addresses("plain.gw.example"), ("127.0.0.13",))


class Silent(DatagramProtocol):
    """Takes questions and never answers.

    :ivar heard: how many came.
    """

    heard = 0

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        self.heard += 1


class SilentServerTests(DnsCase):
    skip = None

    async def test_a_black_hole(self) -> None:
        """Nobody answers: after five seconds it fails cleanly, and the reactor has turned all the while."""
        silent = Silent()
        port = reactor.listenUDP(0, silent, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        names = self.resolver(("127.0.0.1", port.getHost().port))
        gaps = [reactor.seconds()]
        beat = LoopingCall(lambda: gaps.append(reactor.seconds()))
        done = beat.start(0.02)
        began = reactor.seconds()
        with self.assertRaises(Unresolvable) as raised:
            await names.ways(parse_uri("sip:silent.gw.example"))
        took = reactor.seconds() - began
        beat.stop()
        await done
        self.assertEqual(str(raised.exception), "silent.gw.example was not answered for within 5 s in DNS")
        self.assertTrue(4.9 < took < 7, took)
        self.assertGreater(len(gaps), 100)
        self.assertGreaterEqual(silent.heard, 8)
