"""One suite for every directory backend: who may call, whom, and what answers."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.config import parse_config
from stellar_gw.directory.dialled import dialled_digits, forms
from stellar_gw.directory.records import (
    DigestAccount,
    Directory,
    NoRoute,
    Outbound,
    Route,
    Secret,
    Snapshot,
    Transfer,
)
from stellar_gw.directory.yaml_directory import YamlDirectory
from stellar_gw.errors import Where
from stellar_gw.sip.uri import SipUri
from stellar_gw.testing.directory import MemoryDirectory

FILE = """\
domain: sip.example.com
listeners: {udp: {bind: "127.0.0.1:5060"}, tls_by_name: {bind: "127.0.0.1:5070", transport: tcp}}
trunk_providers:
  carrier:
    allowed_ips: [192.0.2.0/24, "2001:db8:1::/48"]
    tenants: [acme, globex]
    rewrite: {"00": "+", "0": "+31", "9": ""}
    outbound: {to: "sip:192.0.2.9", username: acme, password: own-secret-7, identity: caller}
    caller_id: "+31205550000"
  narrow:
    allowed_ips: [192.0.2.128/25]
    tenants: [initech]
    latch: strict
    unconfirmed_calls: 20
tenants:
  acme:
    limits: {calls: 5, call_duration: 1h}
    transfer_targets: [+3120, "*.PBX.example"]
    outbound_proxy: "sip:proxy.example"
    credentials:
      acme-office: {password: letmein99, allowed_ips: [198.51.100.20], platform: freepbx, rewrite: {"+9": "", "9": ""}}
    transfers:
      support: {to: "sip:200@198.51.100.20", via: acme-office, about: "People"}
      sales: {to: "+31207654321", via: carrier, method: invite}
    agents:
      reception:
        languages: [nl, en]
        versions: {published: 7, draft: 8, earlier: [5]}
        environments:
          production:
            {dialect: twilio, url: "wss://agents.example/{agent}", variables: {company: Acme}, outbound:
              {desk: {host: pbx.example, username: gw, password: own-secret-8}}}
          development: {dialect: twilio, url: "ws://127.0.0.1:7860/ws"}
    connectors:
      front: {identifier: "123456789", agent: reception, fallback: support}
      lab: {identifier: lab.desk, agent: reception, environment: development, version: draft}
      old: {identifier: "500", agent: reception, version: 5}
      off: {identifier: "501", agent: reception, enabled: false}
      echo: {identifier: "600", agent: "builtin:echo"}
      hello: {identifier: "601", agent: "builtin:greeting", options: {then: echo}}
      main: {type: phone, number: "+31201230000", provider: carrier, agent: reception}
      own: {type: phone, number: "+31201230001", agent: reception, prefixes: ["55"]}
      star: {identifier: "17205550100*11115", agent: "builtin:echo"}
      long: {identifier: "602", agent: "builtin:echo", prefixes: ["8", "*8"]}
  globex:
    credentials:
      globex-office: {ha1_md5: 0123456789abcdef0123456789abcdef}
    connectors:
      echo: {identifier: "700", agent: "builtin:echo"}
      desk: {identifier: front.desk, agent: "builtin:tone"}
  initech:
    connectors:
      main: {type: phone, number: "+31201230009", provider: narrow, agent: "builtin:tone"}
"""


def at(entry: str) -> Where:
    """The place of an entry of the file above."""
    lines = enumerate(FILE.splitlines(), 1)
    return Where("conf.yaml", next(number for number, line in lines if line.lstrip().startswith(entry)))


SNAPSHOT = parse_config(FILE, "conf.yaml", {}).directory


def snapshot() -> Snapshot:
    assert isinstance(SNAPSHOT, YamlDirectory)
    return SNAPSHOT.snapshot


class Shared:
    """Holds the suite, so that trial runs it for the backends only."""

    class DirectoryContract(SynchronousTestCase):
        """What holds for every backend; each gets the same records."""

        directory: Directory

        def credential_route(self, user: str, username: str = "acme-office") -> str:
            credential = self.directory.credential(username)
            assert credential is not None
            return told(self.directory.route_for_credential(user, credential))

        def provider_route(self, user: str, address: str = "192.0.2.5") -> str:
            provider = self.directory.provider_at(address)
            assert provider is not None
            return told(self.directory.route_for_provider(user, provider, address))

        def test_look_ups(self) -> None:
            """Tenants, credentials, transfers and the domain, by their names; None for any other."""
            held = snapshot()
            self.assertEqual(self.directory.domain, "sip.example.com")
            self.assertEqual(self.directory.tenant("acme"), held.tenants[0])
            self.assertIsNone(self.directory.tenant("ACME"))
            self.assertEqual(self.directory.credential("globex-office"), held.credentials[1])
            self.assertIsNone(self.directory.credential("Globex-office"))
            self.assertEqual(self.directory.providers(), held.providers)
            self.assertEqual(self.directory.agents(), held.agents)
            self.assertEqual(self.directory.transfers("acme"), held.transfers)
            self.assertEqual(self.directory.transfers("globex"), ())
            self.assertEqual(self.directory.secrets(), held.secrets)

        def test_the_longest_prefix_names_the_provider(self) -> None:
            """By the socket's address; mapped IPv6 is IPv4, and what is no address is nobody's."""
            for address, name in (
                ("192.0.2.5", "carrier"),
                ("192.0.2.128", "narrow"),
                ("192.0.2.255", "narrow"),
                ("::ffff:192.0.2.200", "narrow"),
                ("2001:db8:1::9", "carrier"),
                ("2001:db8:1::9%eth0", "carrier"),
                ("192.0.3.0", None),
                ("2001:db8:2::9", None),
                ("carrier.example", None),
                ("", None),
            ):
                provider = self.directory.provider_at(address)
                self.assertEqual(provider.name if provider else None, name, address)

        def test_what_a_credential_can_dial(self) -> None:
            """Every connector of its tenant, numbers with or without plus and with visual separators."""
            for user, route in (
                ("123456789", "acme/front: reception production 7"),
                ("+123456789", "acme/front: reception production 7"),
                ("lab.desk", "acme/lab: reception development 8"),
                ("500", "acme/old: reception production 5"),
                ("600", "acme/echo: builtin:echo production "),
                ("+31201230000", "acme/main: reception production 7"),
                ("31201230000", "acme/main: reception production 7"),
                ("+31(20)123-00.01", "acme/own: reception production 7"),
                ("501", "disabled"),
                ("700", "other_tenant"),
                ("front.desk", "other_tenant"),
                ("+31201230009", "other_tenant"),
                ("Lab.Desk", "unknown"),
                ("601;phone-context=x", "unknown"),
                ("++600", "unknown"),
                ("", "unknown"),
                ("٦٠٠", "unknown"),
                ("17205550100*11115", "acme/star: builtin:echo production "),
                ("8602", "acme/long: builtin:echo production "),
                ("*8602", "acme/long: builtin:echo production "),
                ("9602", "acme/long: builtin:echo production "),
                ("+9602", "acme/long: builtin:echo production "),
                ("98602", "acme/long: builtin:echo production "),
                ("99602", "unknown"),
                ("5531201230001", "acme/own: reception production 7"),
                ("55+31201230001", "unknown"),
                ("9-55-31201230001", "acme/own: reception production 7"),
                ("9700", "other_tenant"),
                ("9", "unknown"),
            ):
                self.assertEqual(self.credential_route(user), route, user)

        def test_what_a_provider_can_dial(self) -> None:
            """Digit identifiers of the tenants it serves, and the numbers that are bound to it."""
            for user, address, route in (
                ("123456789", "192.0.2.5", "acme/front: reception production 7"),
                ("700", "192.0.2.5", "globex/echo: builtin:echo production "),
                ("31201230000", "192.0.2.5", "acme/main: reception production 7"),
                ("+31201230001", "192.0.2.5", "other_provider"),
                ("+31201230009", "192.0.2.5", "other_tenant"),
                ("+31201230009", "192.0.2.200", "initech/main: builtin:tone production "),
                ("600", "192.0.2.200", "other_tenant"),
                ("lab.desk", "192.0.2.5", "unknown"),
                ("501", "192.0.2.5", "disabled"),
                ("999", "192.0.2.5", "unknown"),
                ("0031201230000", "192.0.2.5", "acme/main: reception production 7"),
                ("0201230000", "192.0.2.5", "acme/main: reception production 7"),
                ("9600", "192.0.2.5", "acme/echo: builtin:echo production "),
                ("+9600", "192.0.2.5", "unknown"),
                ("17205550100*11115", "192.0.2.5", "acme/star: builtin:echo production "),
                ("*8602", "192.0.2.5", "acme/long: builtin:echo production "),
                ("9+8602", "192.0.2.5", "acme/long: builtin:echo production "),
                ("90031201230000", "192.0.2.5", "unknown"),
                ("0201230009", "192.0.2.5", "other_tenant"),
                ("0201230001", "192.0.2.5", "other_provider"),
            ):
                self.assertEqual(self.provider_route(user, address), route, (user, address))

        def test_a_route_is_whole(self) -> None:
            """Everything needed to start the agent, of one tenant."""
            credential = self.directory.credential("acme-office")
            assert credential is not None
            route = self.directory.route_for_credential("123456789", credential)
            held = snapshot()
            self.assertEqual(
                route,
                Route(
                    connector=held.connectors[0],
                    tenant=held.tenants[0],
                    environment=held.agents[0].environments["production"],
                    agent="reception",
                    version="7",
                    languages=("nl", "en"),
                    transfers=held.transfers,
                ),
            )
            hello = self.directory.route_for_credential("601", credential)
            assert isinstance(hello, Route)
            self.assertEqual(
                (hello.environment.dialect, hello.environment.url, hello.environment.options, hello.version),
                ("builtin", Secret(value="builtin:greeting"), {"then": "echo"}, ""),
            )


def told(route: Route | NoRoute) -> str:
    if isinstance(route, NoRoute):
        return route.check
    return f"{route.tenant.name}/{route.connector.name}: {route.agent} {route.environment.name} {route.version}"


class YamlDirectoryTests(Shared.DirectoryContract):
    def setUp(self) -> None:
        self.directory = YamlDirectory(snapshot())


class MemoryDirectoryTests(Shared.DirectoryContract):
    def setUp(self) -> None:
        self.directory = MemoryDirectory(snapshot())


class ReasonTests(SynchronousTestCase):
    """What an operator reads under a refusal's reference."""

    def setUp(self) -> None:
        self.directory = YamlDirectory(snapshot())

    def of(self, user: str, *, address: str = "", username: str = "acme-office") -> tuple[str, str]:
        if address:
            provider = self.directory.provider_at(address)
            assert provider is not None
            found = self.directory.route_for_provider(user, provider, address)
        else:
            credential = self.directory.credential(username)
            assert credential is not None
            found = self.directory.route_for_credential(user, credential)
        assert isinstance(found, NoRoute)
        return found.reason, found.fix

    def test_reasons(self) -> None:
        """Each says who owns what was dialled, who called, and the line that mends it."""
        theirs = at('echo: {identifier: "700')
        self.assertEqual(
            self.of("501"),
            ("connector off of tenant acme is disabled", f"Set enabled: true ({at('off:')})"),
        )
        self.assertEqual(
            self.of("700"),
            (
                "700 is connector echo of tenant globex, and acme-office is of tenant acme",
                f"Dial a connector of tenant acme, or move this one there ({theirs})",
            ),
        )
        self.assertEqual(
            self.of("+31201230001", address="192.0.2.5"),
            (
                "+31201230001 belongs to the phone systems of tenant acme, call came from carrier (192.0.2.5)",
                f"Set provider: carrier ({at('own:')}) or reroute the number",
            ),
        )
        self.assertEqual(
            self.of("+31201230009", address="192.0.2.5"),
            (
                "+31201230009 is connector main of tenant initech, "
                "call came from carrier (192.0.2.5), which does not serve initech",
                f"Add initech to tenants of carrier ({at('carrier:')}), or dial another connector",
            ),
        )
        self.assertEqual(
            self.of("lab.desk", address="192.0.2.5"),
            (
                "connector lab of tenant acme has the identifier lab.desk, "
                "call came from carrier (192.0.2.5), and providers dial digits only",
                f"Give it an identifier of digits ({at('lab:')})",
            ),
        )
        self.assertEqual(
            self.of("12345678"),
            (
                "no connector of tenant acme answers to 12345678 (nearest: 123456789, connector front)",
                "Dial one that exists, or add one under connectors of tenant acme",
            ),
        )

    def test_what_callers_send_is_shown_safely(self) -> None:
        """A hostile user part is cut and escaped."""
        reason, _ = self.of("\x1b[2J\r\n" + "x" * 5000)
        self.assertTrue(reason.isprintable())
        self.assertLess(len(reason), 200)

    def test_dialled_digits(self) -> None:
        """Digits with an optional plus and RFC 3966's visual separators; nothing else is a number."""
        for user, digits in (
            ("600", "600"), ("+600", "600"), ("(020) 1", ""), ("(020)1-2.3", "020123"), ("-600", ""), ("6+00", ""),
            ("600a", ""), ("", ""), ("+", ""), ("1" * 65, ""),
        ):  # fmt: skip
            self.assertEqual(dialled_digits(user), digits, user)


class RecordTests(SynchronousTestCase):
    def test_records_of_a_file(self) -> None:
        """Providers, tenants and transfers are as written, with their lines and the gateway's defaults."""
        held = snapshot()
        narrow = held.providers[1]
        self.assertEqual(
            (narrow.strict_latch, narrow.unconfirmed_calls, narrow.large_over_tcp, narrow.where),
            (True, 20, False, at("narrow:")),
        )
        self.assertEqual([each.limits.call_duration for each in held.tenants], [3600.0, 7200.0, 7200.0])
        self.assertEqual(
            held.transfers[1],
            Transfer(
                name="sales",
                tenant="acme",
                to="+31207654321",
                via="carrier",
                method="invite",
                where=at("sales:"),
            ),
        )

    def test_ways_out(self) -> None:
        """What a provider, a tenant and an environment say of calls that leave."""
        held = snapshot()
        self.assertEqual(
            held.providers[0].outbound,
            Outbound(
                to=SipUri(host="192.0.2.9"),
                username="acme",
                password=Secret(value="own-secret-7"),
                caller_id="+31205550000",
                identity="caller",
            ),
        )
        self.assertEqual(held.providers[1].outbound, Outbound())
        acme = held.tenants[0]
        self.assertEqual(
            (acme.transfer_targets, acme.outbound_proxy, acme.limits.bridge_duration),
            (("+3120", "*.pbx.example"), SipUri(host="proxy.example"), 14400.0),
        )
        self.assertEqual(
            held.agents[0].environments["production"].outbound,
            {"desk": DigestAccount(host="pbx.example", username="gw", password=Secret(value="own-secret-8"))},
        )

    def test_passwords_become_ha1s(self) -> None:
        """Of user name, domain and password (RFC 2617 3.2.2.2, RFC 8760); a stored HA1 stays as it is."""
        office, globex = snapshot().credentials
        # printf acme-office:sip.example.com:letmein99 | md5sum, sha256sum
        self.assertEqual(office.ha1_md5, "89639629b9dfcdfdfcd441379a6f4c93")
        self.assertEqual(office.ha1_sha256, "b705badfcd839fdd85df93e807dd68795b37e9e990537ac9ed28ed1681152c33")
        self.assertEqual((office.ha1_only, globex.ha1_only, globex.ha1_sha256), (False, True, ""))

    def test_every_secret_is_redacted(self) -> None:
        """The password and every HA1, and none of them shows in a repr."""
        office, globex = snapshot().credentials
        secrets = {"letmein99", "own-secret-7", "own-secret-8", office.ha1_md5, office.ha1_sha256, globex.ha1_md5}
        self.assertEqual(snapshot().secrets, secrets)
        for secret in secrets:
            self.assertNotIn(secret, repr(snapshot()))


NAMES = st.sampled_from(["acme", "globex", "initech", "umbrella"])
USERS = st.sampled_from(
    [
        "100", "200", "+100", "front", "desk", "+31201230000", "31201230000", "+31201230001", "300", "(200)", "a", "",
        "8100", "9200", "98300", "0031201230000", "8*100", "9front", "9", "8831201230001",
    ]
)  # fmt: skip


@st.composite
def installations(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    """A configuration of two to four tenants with random connectors; and (user, kind of caller) to try."""
    lines = ["domain: sip.example.com", 'listeners: {udp: {bind: "127.0.0.1:5060"}}', "trunk_providers:"]
    tenants = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    served = {name: draw(st.lists(st.sampled_from(tenants), min_size=1, unique=True)) for name in ("carrier", "trunk")}
    for index, (name, serves) in enumerate(served.items()):
        rewrite = draw(st.sampled_from(["", ', rewrite: {"9": "", "00": "+"}']))
        lines.append(f"  {name}: {{allowed_ips: [192.0.2.{index}], tenants: [{', '.join(serves)}]{rewrite}}}")
    lines.append("tenants:")
    taken: set[tuple[str, str]] = set()
    for tenant in tenants:
        rewrite = draw(st.sampled_from(["", ', rewrite: {"9": ""}']))
        account = f"{tenant}-phone: {{password: letmein99{rewrite}}}"
        lines += [f"  {tenant}:", f"    credentials: {{{account}}}", "    connectors:"]
        for number in range(draw(st.integers(1, 5))):
            enabled = draw(st.booleans())
            lines += _connector(draw, tenant, number, served, taken, enabled)
        if lines[-1].endswith("connectors:"):
            lines[-1] += " {}"
    calls = draw(st.lists(st.tuples(USERS, st.sampled_from([*tenants, "carrier", "trunk"])), min_size=5, max_size=10))
    return "\n".join(lines), calls


def _connector(
    draw: st.DrawFn, tenant: str, number: int, served: dict[str, list[str]], taken: set[tuple[str, str]], enabled: bool
) -> list[str]:
    end = f'agent: "builtin:echo", enabled: {str(enabled).lower()}}}'
    if draw(st.booleans()):
        identifier = draw(st.sampled_from(["100", "200", "300", "front", "desk"]))
        scope = "" if identifier.isdigit() else tenant
        if (scope, identifier) in taken:
            return []
        taken.add((scope, identifier))
        prefixes = draw(st.sampled_from(["", 'prefixes: ["8", "8*"], '])) if not scope else ""
        return [f'      c{number}: {{identifier: "{identifier}", {prefixes}{end}']
    dialled = draw(st.sampled_from(["+31201230000", "+31201230001"]))
    provider = draw(st.sampled_from(["", *(name for name, serves in served.items() if tenant in serves)]))
    if (provider or f"/{tenant}", dialled) in taken:
        return []
    taken.add((provider or f"/{tenant}", dialled))
    prefixes = draw(st.sampled_from(["", 'prefixes: ["88"], ']))
    by = f"provider: {provider}, " if provider else ""
    return [f'      c{number}: {{type: phone, number: "{dialled}", {by}{prefixes}{end}']


class IsolationTests(SynchronousTestCase):
    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(installations())
    def test_no_call_crosses_tenants(self, drawn: tuple[str, list[tuple[str, str]]]) -> None:
        """1,500 and more random calls: none reaches another tenant's connector, and both backends agree."""
        text, calls = drawn
        directory = parse_config(text, "conf.yaml", {}).directory
        assert isinstance(directory, YamlDirectory)
        memory = MemoryDirectory(directory.snapshot)
        for user, caller in calls:
            credential = directory.credential(f"{caller}-phone")
            if credential is not None:
                route: Any = directory.route_for_credential(user, credential)
                allowed: tuple[str, ...] = (credential.tenant,)
                other: Any = memory.route_for_credential(user, credential)
            else:
                provider = next(each for each in directory.providers() if each.name == caller)
                route = directory.route_for_provider(user, provider, "192.0.2.1")
                allowed = provider.tenants
                other = memory.route_for_provider(user, provider, "192.0.2.1")
            self.assertEqual(told(route), told(other))
            if isinstance(route, Route):
                self.assertIn(route.tenant.name, allowed)
                self.assertEqual({route.connector.tenant}, {route.tenant.name})
                self.assertTrue(route.connector.enabled)
                if credential is None and route.connector.type == "phone":
                    self.assertEqual(route.connector.provider, caller)


class FormTests(SynchronousTestCase):
    def test_rules(self) -> None:
        """The longest prefix of a number is replaced, its separators left out; a name keeps its signs."""
        rules = (("0", "+31"), ("00", "+"), ("*", "star-"))
        cases = {
            "0031(20)123": ["0031(20)123", "+3120123"],
            "020-123": ["020-123", "+3120123"],
            "0": ["0"],
            "00": ["00", "+310"],
            "600": ["600"],
            "*5.5": ["*5.5", "star-5.5"],
            "": [""],
        }
        self.assertEqual({user: list(forms(user, rules)) for user in cases}, cases)

    @given(
        st.text("+0123456789*#-.()ab;", max_size=12),
        st.dictionaries(st.text("+09*", min_size=1, max_size=3), st.text("+31", max_size=3)),
    )
    def test_a_user_part_has_two_forms_at_most(self, user: str, rules: dict[str, str]) -> None:
        """The first is what came; the other begins with what a rule puts there, and ends as it did."""
        first, *others = forms(user, tuple(rules.items()))
        self.assertEqual(first, user)
        self.assertLess(len(others), 2)
        for other in others:
            self.assertTrue(any(other.startswith(instead) for instead in rules.values()))
            plain = re.sub(r"[-.()]", "", user) if dialled_digits(user) else user
            self.assertEqual(other[-1], plain[-1])
