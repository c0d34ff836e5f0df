"""Profiles of phone systems: other defaults for keys that are there anyway, and pages that say the same."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.config import Config
from stellar_gw.directory.platforms import PLATFORMS
from stellar_gw.directory.records import Credential, TrunkProvider
from stellar_gw.errors import ConfigError
from tests.configurations import configuration

PAGES = Path(__file__).resolve().parents[2] / "docs" / "platforms"

FILE = """\
domain: sip.acme.example
listeners:
  udp: {bind: "203.0.113.10:5060"}
  tls: {bind: "203.0.113.10:5061", certificate: tls.pem}
trunk_providers:
  trunk: {allowed_ips: [192.0.2.1], tenants: [acme], PROVIDER}
tenants:
  acme:
    credentials:
      phone-system: {password: letmein99, CREDENTIAL}
"""


def load(provider: str = "", credential: str = "", text: str = FILE) -> Config:
    return configuration(text.replace(", PROVIDER", f", {provider}").replace(", CREDENTIAL", f", {credential}"))


def callers(config: Config) -> tuple[TrunkProvider, Credential]:
    credential = config.directory.credential("phone-system")
    assert credential is not None
    return config.directory.providers()[0], credential


def value(caller: Any, key: str) -> str:
    """A record's value as it would be written in the file."""
    for name in key.split("."):
        caller = getattr(caller, name)
    return str(caller).lower() if isinstance(caller, bool) else str(caller)


class ProfileTests(SynchronousTestCase):
    def test_each_sets_its_defaults(self) -> None:
        """Of a provider and of a credential alike; every key is one that might be written there."""
        for name, platform in PLATFORMS.items():
            plain = callers(load("latch: any", "require_sha256: false"))
            for caller, other in zip(callers(load(f"platform: {name}", f"platform: {name}")), plain, strict=True):
                wanted = {default.key: default.value for default in platform.defaults}
                self.assertEqual({key: value(caller, key) for key in wanted}, wanted, name)
                unset = {"require_tls", "srtp", "srtp_offer", "hold", "outbound", "rewrite"}
                unset -= {key.partition(".")[0] for key in wanted}
                self.assertEqual([getattr(caller, key) for key in unset], [getattr(other, key) for key in unset], name)

    def test_what_is_written_goes_before_it(self) -> None:
        """Key by key; one that is left empty has the profile's default."""
        teams = "platform: teams, hold: , srtp: opportunistic"
        for caller in callers(load(teams, teams)):
            self.assertEqual(
                (caller.require_tls, caller.srtp, caller.srtp_offer, caller.hold),
                (True, "opportunistic", "savp", "inactive"),
            )
        genesys = 'platform: genesys-cloud, outbound: {to: "sip:192.0.2.1", redirects: true}'
        for caller in callers(load(genesys, genesys)):
            self.assertEqual(
                (str(caller.outbound.to), caller.outbound.redirects, caller.outbound.x_headers_in_refer_to),
                ("sip:192.0.2.1", True, True),
            )
        refused = genesys.replace("redirects: true", "x_headers_in_refer_to: false")
        self.assertEqual([each.outbound.x_headers_in_refer_to for each in callers(load(refused, refused))], [False] * 2)

    def refused(self, provider: str, text: str = FILE) -> tuple[str, ...]:
        error: ConfigError = self.assertRaises(ConfigError, load, provider, "require_sha256: false", text)
        return error.problems

    def test_what_a_profile_makes_wrong_is_told_at_its_line(self) -> None:
        without_tls = re.sub("  tls: .*\n", "", FILE)
        self.assertEqual(
            self.refused("platform: webex-calling", without_tls),
            (
                "conf.yaml:5: trunk_providers.trunk.require_tls (platform webex-calling): is true, but there is no tls "
                "listener; add one under listeners",
            ),
        )

    def test_unknown_platforms(self) -> None:
        """A name that is none is no name of one's own: its defaults would be missed."""
        self.assertEqual(
            self.refused("platform: Teems"),
            ("conf.yaml:6: trunk_providers.trunk.platform: is 'Teems', which is no platform; did you mean 'teams'?",),
        )
        (told,) = self.refused("platform: xyzzy")
        self.assertIn("is 'xyzzy', which is no platform; there are 8x8, asterisk, ", told)


class PageTests(SynchronousTestCase):
    def test_every_profile_has_a_page_that_says_what_it_sets(self) -> None:
        """Each page has a line ``key: value`` for each default, with its reason, under the profile's name."""
        for name, platform in PLATFORMS.items():
            page = (PAGES / f"{platform.page}.rst").read_text("utf-8")
            self.assertIn(f"``platform: {name}``", page)
            for default in platform.defaults:
                line = f"* ``{default.key}: {default.value}``: {default.why}"
                self.assertIn(line, " ".join(page.split()), name)

    def test_the_index_lists_them_all(self) -> None:
        index = (PAGES / "index.rst").read_text("utf-8")
        for name, platform in PLATFORMS.items():
            if platform.page != "index":
                self.assertRegex(index, rf"(?m)^``{re.escape(name)}``\s.*`{platform.page} <{platform.page}\.rst>`_")

    def test_each_page_says_what_was_not_verified(self) -> None:
        """In the same sections, so that nobody has to look for it."""
        wanted = ["What to configure there", "What to configure here", "What was verified", "What was not"]
        for page in PAGES.glob("*.rst"):
            if page.name != "index.rst":
                titles = [
                    title for title in re.findall(r"(?m)^(.+)\n-{3,}$", page.read_text("utf-8")) if title in wanted
                ]
                self.assertEqual(titles, wanted, page.name)

    def test_what_each_page_says_to_write_can_be_loaded(self) -> None:
        """With a domain, listeners and an agent around it; the profile is the page's, and nothing is warned of."""
        for path in sorted(PAGES.glob("*.rst")):
            if path.name == "index.rst":
                continue
            shown = re.search(r"(?m)^\.\. code:: yaml\n\n((?:(?:    .*)?\n)+)", path.read_text("utf-8"))
            assert shown is not None, path.name
            text = textwrap.dedent(shown[1])
            # The environment has secrets here, and tls.pem is a certificate that can be used.
            text = re.sub(r"\$\{cred:tls.pem\}", "tls.pem", text)
            text = re.sub(r"\$\{cred:[a-z]+\}", "letmein99", text)
            text = text.replace("  acme:\n", f"  acme:\n{AGENT}", 1)
            if "listeners:" not in text:
                text = LISTENERS + text
            config = configuration(f"domain: sip.example.com\n{text}")
            self.assertEqual(config.warnings, (), path.name)
            used = {each.platform for each in config.directory.providers()}
            used |= {each.platform for each in config.directory.credentials()}
            self.assertEqual({PLATFORMS[name].page for name in used}, {path.stem}, path.name)


LISTENERS = """\
listeners:
  udp: {bind: "203.0.113.10:5060"}
  tls: {bind: "203.0.113.10:5061", certificate: tls.pem}
"""
AGENT = """\
    agents: {reception: {environments: {production: {dialect: twilio, url: "wss://agents.example/"}}}}
"""
