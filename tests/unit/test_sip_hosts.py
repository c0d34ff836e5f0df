"""Hosts: which addresses are one peer, and how they are spelled."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.sip.hosts import numeric, source_of


class HostTests(SynchronousTestCase):
    def test_sources(self) -> None:
        """A source is an IPv4 address, mapped or not, or an IPv6 /64; scopes do not matter, and nothing raises."""
        hosts = ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2:3::4", "fe80::1%eth0", "what:is:this")
        self.assertEqual(
            [source_of(host) for host in hosts],
            ["192.0.2.1", "192.0.2.1", "2001:db8:1:2::/64", "fe80::/64", "what:is:this"],
        )

    def test_spellings(self) -> None:
        """Every spelling of an address is one; a name is none."""
        hosts = ("[2001:DB8:0:0::1]", "2001:db8::1", "[::FFFF:192.0.2.1]", "192.0.2.1", "sip.example.com")
        self.assertEqual(
            [numeric(host) for host in hosts], ["2001:db8::1", "2001:db8::1", "192.0.2.1", "192.0.2.1", None]
        )
