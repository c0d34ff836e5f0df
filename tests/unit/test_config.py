"""What a configuration file may say, what follows from it, and what each fault is told as."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.config import (
    AgentConfig,
    Config,
    GatewayLimits,
    ListenerConfig,
    LogConfig,
    MediaConfig,
    RecordsConfig,
    SipConfig,
    TimersConfig,
    load_config,
    parse_config,
    records_directory,
)
from stellar_gw.directory.yaml_directory import YamlDirectory
from stellar_gw.errors import ConfigError, Where
from stellar_gw.sip.flow import Listener
from stellar_gw.testing.certificates import Authority

ROOT = Path(__file__).resolve().parent.parent.parent

SMALL = 'domain: sip.example.com\nlisteners: {udp: {bind: "127.0.0.1:5060"}}\n'

FILE = """\
domain: sip.example.com
aliases: [pbx.example.com]
listeners:
  udp:
    bind: 127.0.0.1:5060
  office: {transport: tcp, bind: "127.0.0.1:5070", digest: [SHA-256, MD5]}
media: {ports: 10000-20000}
sip: {sha256_from: [198.51.100.0/24]}
limits: {calls: 40, call_duration: 2h}
timers: {drain: 300s}
agent: {connect_timeout: 3s}
records: {directory: records}
log: {level: info}
trunk_providers:
  carrier:
    allowed_ips: [192.0.2.0/24]
    tenants: [acme, globex]
    latch: any
    caller_id: "+31205550000"
    outbound: {to: "sip:sip.carrier.example;transport=tcp", username: acme, password: own-secret-7}
  other: {allowed_ips: [203.0.113.0/28], tenants: [acme]}
tenants:
  acme:
    limits: {calls: 5}
    credentials:
      acme-office: {password: letmein99, require_tls: false, allowed_ips: [198.51.100.20]}
      acme-stored: {ha1_md5: 0123456789abcdef0123456789abcdef}
    transfers:
      support: {to: "sip:200@198.51.100.20", via: acme-office}
      sales: {to: "+31207654321", via: carrier}
    agents:
      reception:
        languages: [nl, en-GB]
        versions: {published: 7, draft: 8, earlier: [5]}
        environments:
          production:
            dialect: twilio
            url: wss://agents.example/{agent}/{version}
            headers: {Authorization: Bearer sesame-open, X-From: "{from}"}
            variables: {company: Acme}
            secrets: {crm: crm-key-99}
          staging: {dialect: builtin, url: "builtin:greeting", options: {then: echo}}
    connectors:
      front: {identifier: "123456789", agent: reception, fallback: support}
      old: {identifier: "500", agent: reception, version: 5}
      echo: {identifier: "600", agent: "builtin:echo"}
      main: {type: phone, number: "+31201230000", provider: carrier, agent: reception}
  globex:
    credentials:
      globex-office: {password: letmein99}
    connectors:
      echo: {identifier: "700", agent: "builtin:echo"}
"""

FAULTS = Path(__file__).with_name("config_faults.txt")


def load(text: str, path: str = "/etc/gw/conf.yaml", **environ: str) -> Config:
    return parse_config(text, path, environ, lambda: ["127.0.0.1", "10.0.0.4"])


class ConfigTestCase(SynchronousTestCase):
    def refused(self, text: str) -> tuple[str, ...]:
        error: ConfigError = self.assertRaises(ConfigError, load, text, "conf.yaml")
        return error.problems


class DefaultTests(ConfigTestCase):
    def test_the_smallest_configuration(self) -> None:
        """A domain and one listener are enough; everything else has its default."""
        config = load(SMALL)
        self.assertEqual(
            config,
            Config(
                file="/etc/gw/conf.yaml",
                domain="sip.example.com",
                listeners={
                    "udp": ListenerConfig(
                        name="udp",
                        transport="udp",
                        bind=("127.0.0.1", 5060),
                        advertise=("127.0.0.1", 5060),
                        media_advertise="127.0.0.1",
                        where=Where("/etc/gw/conf.yaml", 2),
                    )
                },
                directory=config.directory,
            ),
        )
        self.assertEqual(config.hosts, {"sip.example.com", "127.0.0.1"})

    def test_every_section(self) -> None:
        """What is written arrives where it belongs; relative paths begin at the file's folder."""
        config = load(FILE)
        self.assertEqual(config.warnings, ())
        self.assertEqual(config.aliases, ("pbx.example.com",))
        self.assertEqual(
            config.listeners["office"],
            ListenerConfig(
                name="office",
                transport="tcp",
                bind=("127.0.0.1", 5070),
                advertise=("127.0.0.1", 5070),
                media_advertise="127.0.0.1",
                digest=("SHA-256", "MD5"),
                where=Where("/etc/gw/conf.yaml", 6),
            ),
        )
        self.assertEqual(
            (config.media, config.sip, config.limits, config.timers, config.agent, config.records, config.log),
            (
                MediaConfig(),
                SipConfig(sha256_from=(IPv4Network("198.51.100.0/24"),)),
                GatewayLimits(calls=40),
                TimersConfig(),
                AgentConfig(),
                RecordsConfig(directory="/etc/gw/records"),
                LogConfig(),
            ),
        )
        self.assertEqual(config.where("limits.calls"), Where("/etc/gw/conf.yaml", 9))
        self.assertEqual(config.where("listeners.udp.advertise"), Where("/etc/gw/conf.yaml", 4))

    def test_what_peers_are_told(self) -> None:
        """Advertised addresses stand for the bound ones; a port that is not given is the one that was bound."""
        config = load(
            "domain: sip.example.com\nmedia: {advertise: 203.0.113.9, bind: '::'}\nlisteners:\n"
            "  a: {transport: udp, bind: '0.0.0.0:0', advertise: SBC.example.com}\n"
            "  b: {transport: tcp, bind: '[::]:5060', advertise: '[2001:db8::1]:5080',\n"
            "      media_advertise: '2001:db8::2'}\n"
        )
        self.assertEqual(
            [config.listeners["a"].listener(("0.0.0.0", 40000)), config.listeners["b"].listener(("::", 5060))],
            [
                Listener(
                    name="a",
                    transport="udp",
                    bind=("0.0.0.0", 40000),
                    advertise=("sbc.example.com", 40000),
                    media_advertise="203.0.113.9",
                    media_other="2001:db8::2",
                ),
                Listener(
                    name="b",
                    transport="tcp",
                    bind=("::", 5060),
                    advertise=("2001:db8::1", 5080),
                    media_advertise="2001:db8::2",
                    media_other="203.0.113.9",
                ),
            ],
        )
        self.assertEqual(
            config.hosts, {"sip.example.com", "sbc.example.com", "203.0.113.9", "2001:db8::1", "2001:db8::2"}
        )

    def test_both_ip_versions(self) -> None:
        """Each listener knows an address of the other IP version: of media, or another listener's; if RTP is bound."""
        listeners = (
            "listeners:\n  a: {transport: udp, bind: '192.0.2.1:5060'}\n"
            "  b: {transport: udp, bind: '[2001:db8::1]:5060'"
        )
        found = []
        for media, more in (
            ("{bind: '::'}", ""),
            ("{bind: '::', advertise: 203.0.113.9, advertise_ipv6: '2001:db8::9'}", ""),
            ("{bind: 192.0.2.1, bind_ipv6: '2001:db8::1'}", ""),
            ("{bind: 192.0.2.1}", ", media_advertise: 192.0.2.1"),
            ("{bind: '2001:db8::1', advertise: '2001:db8::1'}", ""),
        ):
            config = load(f"domain: sip.example.com\nmedia: {media}\n{listeners}{more}}}\n")
            each = [(one.media_advertise, one.media_other) for one in config.listeners.values()]
            found.append((config.media.binds, *each))
        self.assertEqual(
            found,
            [
                (("0.0.0.0", "::"), ("192.0.2.1", "2001:db8::1"), ("2001:db8::1", "192.0.2.1")),
                (("0.0.0.0", "::"), ("203.0.113.9", "2001:db8::9"), ("203.0.113.9", "2001:db8::9")),
                (("192.0.2.1", "2001:db8::1"), ("192.0.2.1", "2001:db8::1"), ("2001:db8::1", "192.0.2.1")),
                (("192.0.2.1",), ("192.0.2.1", ""), ("192.0.2.1", "")),
                (("2001:db8::1",), ("2001:db8::1", ""), ("2001:db8::1", "")),
            ],
        )

    def test_secrets_of_agents(self) -> None:
        """Agents' secrets and written-out Authorization values are redacted; templates and variables are not."""
        secrets = load(FILE).directory.secrets()
        self.assertTrue({"letmein99", "crm-key-99", "Bearer sesame-open"} <= secrets)
        self.assertEqual({"Acme", "{from}"} & secrets, set())
        shown = repr(load(FILE)) + repr(load(FILE).directory)
        for secret in secrets:
            self.assertNotIn(secret, shown)

    def test_braces_of_a_secret_stay_braces(self) -> None:
        """A token that holds braces does not become a template."""
        text = FILE.replace("Bearer sesame-open", '"Bearer ${env:TOKEN}{version}"')
        directory = load(text, TOKEN="a{b}c-secret").directory
        assert isinstance(directory, YamlDirectory)
        headers = dict(directory.snapshot.agents[0].environments["production"].headers)
        self.assertEqual(headers["Authorization"].value, "Bearer a{{b}}c-secret{version}")
        self.assertIn("a{b}c-secret", directory.secrets())


def faults() -> Iterator[tuple[str, str, str]]:
    """What is taken out, what is put in, and the problem, of each entry of the file."""
    for entry in FAULTS.read_text("utf-8").split("\n\n")[1:]:
        old, new, problem = (line[2:].replace("\\n", "\n") for line in entry.splitlines())
        yield old, new, problem


class FaultTests(ConfigTestCase):
    def test_each_fault_is_told_with_its_line(self) -> None:
        """Over seventy broken files: the first problem names line, key, what it is, and what it must be."""
        cases = list(faults())
        self.assertGreater(len(cases), 70)
        for old, new, problem in cases:
            broken = FILE.replace(old, new, 1) if old else FILE + new
            self.assertNotEqual(broken, FILE)
            self.assertEqual(self.refused(broken)[0], problem)

    def test_a_wildcard_without_advertise_names_this_host(self) -> None:
        """The hint lists the addresses that the host has, and is left out where nobody looked."""
        text = 'domain: a.example\nlisteners:\n  udp: {bind: "0.0.0.0:5060"}\n'
        self.assertEqual(
            self.refused(text),
            (
                "conf.yaml:3: listeners.udp.advertise: is missing: bind is 0.0.0.0 and this host only has 10.0.0.4. "
                "Set the address that peers use, e.g. advertise: 203.0.113.10",
            ),
        )
        error: ConfigError = self.assertRaises(ConfigError, parse_config, text, "conf.yaml", {})
        self.assertEqual(
            error.problems,
            (
                "conf.yaml:3: listeners.udp.advertise: is missing: bind is 0.0.0.0. "
                "Set the address that peers use, e.g. advertise: 203.0.113.10",
            ),
        )

    def test_two_listeners_of_one_socket(self) -> None:
        """TCP and TLS share their ports, UDP has its own, and a wildcard takes every address of its family."""
        for one, other, clash in (
            ("{transport: udp, bind: '127.0.0.1:5060'}", "{transport: udp, bind: '127.0.0.1:5060'}", True),
            ("{transport: udp, bind: '127.0.0.1:5060'}", "{transport: tcp, bind: '127.0.0.1:5060'}", False),
            ("{transport: udp, bind: '127.0.0.1:5060'}", "{transport: udp, bind: '127.0.0.2:5060'}", False),
            ("{transport: udp, bind: '127.0.0.1:0'}", "{transport: udp, bind: '127.0.0.1:0'}", False),
            (
                "{transport: tcp, bind: '0.0.0.0:5060', advertise: 192.0.2.1}",
                "{transport: tcp, bind: '127.0.0.1:5060'}",
                True,
            ),
            (
                "{transport: tcp, bind: '0.0.0.0:5060', advertise: 192.0.2.1}",
                "{transport: tcp, bind: '[::1]:5060', media_advertise: 192.0.2.1}",
                False,
            ),
        ):
            text = f"domain: a.example\nlisteners:\n  one: {one}\n  two: {other}\n"
            if clash:
                self.assertEqual(
                    [problem.partition(" (")[0] for problem in self.refused(text)],
                    ["conf.yaml:4: listeners.two.bind: 127.0.0.1:5060 is taken by listener one"],
                )
            else:
                self.assertEqual(list(load(text).listeners), ["one", "two"])

    def test_overlapping_ranges_of_strangers(self) -> None:
        """Nested ranges are fine where no call could belong to both providers: the longer prefix wins."""
        text = SMALL + (
            "trunk_providers:\n  a: {allowed_ips: [192.0.2.0/24], tenants: [one]}\n"
            "  b: {allowed_ips: [192.0.2.16/28], tenants: [two]}\n"
            "tenants:\n  one: {connectors: {x: {identifier: '1', agent: 'builtin:echo'}}}\n"
            "  two: {connectors: {x: {identifier: '2', agent: 'builtin:echo'}}}\n"
        )
        provider = load(text).directory.provider_at("192.0.2.17")
        assert provider is not None
        self.assertEqual(provider.name, "b")

    def test_sha256_must_be_offered_where_it_is_required(self) -> None:
        """A credential that requires SHA-256 needs a challenge that offers it."""
        text = SMALL + "tenants: {a: {credentials: {somebody: {password: letmein99, require_sha256: true}}}}\n"
        self.assertEqual(
            self.refused(text),
            (
                "conf.yaml:3: tenants.a.credentials.somebody.require_sha256: is true, but no challenge offers SHA-256; "
                "add it to a listener's digest, or set sip.sha256_from",
            ),
        )
        load(text.replace('5060"}', '5060", digest: [SHA-256]}'))

    def test_no_listener(self) -> None:
        """Without a listener nobody can call."""
        self.assertEqual(
            self.refused("domain: a.example\nlisteners: {}\n"),
            ('conf.yaml:2: listeners: is empty; add one, such as udp: {bind: "127.0.0.1:5060"}',),
        )


class WayTests(ConfigTestCase):
    def test_a_way_that_two_have_the_name_of(self) -> None:
        """A trunk provider and a credential may be called alike, but no transfer may go by that name."""
        text = FILE.replace("  other: {allowed_ips", "  acme-office: {allowed_ips", 1)
        self.assertEqual(
            self.refused(text),
            (
                "conf.yaml:29: tenants.acme.transfers.support.via: acme-office is a trunk provider and a credential; "
                "rename one of them",
            ),
        )


class WarningTests(ConfigTestCase):
    def test_warnings(self) -> None:
        """What is allowed and looks wrong is told with its line, and stops nothing."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "secret").write_text("letmein99")
        (folder / "secret").chmod(0o644)
        text = (
            "domain: sip.example.com\n"
            'listeners: {udp: {bind: "192.0.2.9:5060"}}\n'
            "media: {ports: 10000-10009}\n"
            "limits: {calls: 50}\n"
            "trunk_providers: {carrier: {allowed_ips: [10.0.0.0/15, '2001:db8::/31'], tenants: [acme]}}\n"
            "tenants:\n"
            "  acme:\n"
            "    credentials: {acme-office: {password: '${file:secret}'}}\n"
            "    transfers: {hot: {to: '+31900123456', via: carrier}, back: {to: 'sip:1@sip.example.com'},\n"
            "      inside: {to: 'sip:1@10.0.0.5', method: invite}}\n"
            "    agents: {bot: {environments: {production: {\n"
            "      dialect: twilio, url: 'ws://bots.example', headers: {X-A: b}}}}}\n"
        )
        path = f"{folder}/conf.yaml"
        self.assertEqual(
            [warning.removeprefix(f"{path}:") for warning in load(text, path).warnings],
            [
                "1: ${file:secret} can be read by every user of this machine; chmod o-r it",
                "2: listeners: no tls listener: who calls whom crosses the network in clear",
                "4: limits.calls: is 50, but media.ports hold 5 calls, two a call",
                "5: trunk_providers.carrier.allowed_ips: 10.0.0.0/15 is 131072 addresses; "
                "does your provider have them all?",
                f"5: trunk_providers.carrier.allowed_ips: 2001:db8::/31 is {2**97} addresses; "
                "does your provider have them all?",
                "6: tenants: there is no connector, so nobody can call anything",
                "9: tenants.acme.transfers.hot.to: +31900123456 looks like a number that costs more than a call "
                "(premium rate)",
                "9: tenants.acme.transfers.hot.via: carrier has no outbound.to, where the INVITE would go: "
                'add outbound: {to: "sip:..."} in line 5, or it is for calls from carrier only',
                "9: tenants.acme.transfers.back.to: leads back to this gateway, whose name sip.example.com is, "
                "and will be refused",
                "10: tenants.acme.transfers.inside.to: 10.0.0.5 is private, where INVITEs go only if it is the phone "
                "system that calls; set private_targets: true of the tenant",
                "12: tenants.acme.agents.bot.environments.production.url: is ws://: "
                "the request headers cross the network in clear; use wss://",
            ],
        )


class CertificateTests(ConfigTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        authority = Authority.create()
        authority.write(self.folder, "a.example")
        for name in ("plain", "other"):
            pem = authority.issue("a.example").decode()
            start = pem.index("-----BEGIN PRIVATE")
            (self.folder / f"{name}.crt").write_text(pem[:start])
            (self.folder / f"{name}.key").write_text(pem[start:])
        locked = load_pem_private_key((self.folder / "plain.key").read_bytes(), None).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sesame")
        )
        (self.folder / "locked.key").write_bytes(locked)

    def tls(self, text: str) -> Config:
        return load(
            f"domain: a.example\nlisteners:\n  tls: {{bind: '127.0.0.1:5061', {text}}}\n",
            f"{self.folder}/conf.yaml",
            CREDENTIALS_DIRECTORY=str(self.folder),
        )

    def test_certificates_that_work(self) -> None:
        """One file with all, or certificate and key apart; named by a path or as a credential."""
        for text, certificate, key in (
            ("certificate: tls.pem", "tls.pem", ""),
            ("certificate: '${cred:tls.pem}', client_ca: ca.pem", "tls.pem", ""),
            ("certificate: plain.crt, key: plain.key", "plain.crt", "plain.key"),
        ):
            listener = self.tls(text).listeners["tls"]
            self.assertEqual(listener.certificate, f"{self.folder}/{certificate}")
            self.assertEqual(listener.key, f"{self.folder}/{key}" if key else "")

    def test_certificates_that_do_not(self) -> None:
        """A missing file, no PEM, a key of another certificate, a locked key: each says which file and why."""
        (self.folder / "words").write_text("no PEM at all")
        for text, problem in (
            ("certificate: none.pem", "certificate: cannot be used: No such file or directory; "),
            ("certificate: words", "certificate: cannot be used: "),
            ("certificate: plain.crt", "certificate: cannot be used: "),
            ("certificate: plain.crt, key: locked.key", "certificate: cannot be used: "),
            ("certificate: other.crt, key: plain.key", "certificate: cannot be used: key values mismatch; "),
            ("certificate: tls.pem, client_ca: words", "client_ca: cannot be used: "),
        ):
            error: ConfigError = self.assertRaises(ConfigError, self.tls, text)
            self.assertEqual(len(error.problems), 1)
            start = f"{self.folder}/conf.yaml:3: listeners.tls.{problem}"
            self.assertTrue(error.problems[0].startswith(start), error.problems[0])


class FileTests(ConfigTestCase):
    def test_where_the_records_are(self) -> None:
        """Known without the file's secrets."""
        path = Path(self.mktemp()).absolute()
        path.write_text("domain: '${cred:x}'\nrecords: {directory: cdr}\n")
        self.assertEqual(records_directory(str(path), {}), str(path.parent / "cdr"))
        path.write_text("domain: '${cred:x}'\n")
        self.assertEqual(records_directory(str(path), {}), "/var/lib/stellar-gw")

    def test_the_example_loads(self) -> None:
        """The first configuration of a real phone system is right, without a warning, and under 60 lines."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        text = (ROOT / "conf/stellar-gw.example.yaml").read_text()
        self.assertLess(text.count("\n"), 60)
        (folder / "conf.yaml").write_text(
            text.replace(', certificate: "${cred:tls.pem}"', "").replace("tls: {", "tls: {transport: tcp, ")
        )
        for name in ("freepbx", "telnyx", "agent"):
            (folder / name).write_text("letmein99")
        config = load_config(str(folder / "conf.yaml"), {"CREDENTIALS_DIRECTORY": str(folder)})
        self.assertEqual(
            [warning.partition("listeners: ")[2] for warning in config.warnings],
            ["no tls listener: who calls whom crosses the network in clear"],
        )

    def test_the_demonstration_loads(self) -> None:
        """conf/demo.yaml is right but for its certificate, which is made when it is run."""
        text = (ROOT / "conf/demo.yaml").read_text()
        config = load(re.sub(r"(?m)^  tls: .*\n", "", text).replace(", require_tls: true", ""))
        self.assertEqual((config.warnings, {each.bind[0] for each in config.listeners.values()}), ((), {"127.0.0.1"}))
