"""What must hold between the entries of a directory, beyond what each value must be.

Every fault names the entry, its line, and what to do; several are told at once.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from attrs import frozen

from stellar_gw.dialects.builtin import BUILTIN_AGENTS
from stellar_gw.dialects.contract import DialectPlugin
from stellar_gw.dialects.registry import UnknownDialectError, dialect_names, find_dialect
from stellar_gw.dialects.template import TemplateError
from stellar_gw.dialects.template import check as check_template
from stellar_gw.directory.dialled import is_dialled, spellings
from stellar_gw.directory.making import known_versions
from stellar_gw.directory.outbound_checks import check_outbound, check_transfers, check_wav
from stellar_gw.directory.records import Network
from stellar_gw.directory.shapes import (
    AgentShape,
    ConnectorShape,
    CredentialShape,
    EnvironmentShape,
    FallbackShape,
    ProviderShape,
    TenantShape,
)
from stellar_gw.directory.twilio_account import check_account
from stellar_gw.directory.words import choice, unknown
from stellar_gw.loading import NOWHERE, Place, Problems, printable
from stellar_gw.loading.rules import loopback
from stellar_gw.sip.srtp import SrtpMode

WIDE = {4: 16, 6: 32}
"""Prefix lengths by IP version; a range with a shorter one is more than one provider has."""

_RESERVED_HEADERS = {"host", "connection", "upgrade", "content-length", "transfer-encoding"}


@frozen(kw_only=True)
class Reach:
    """What the listeners offer, ``media.srtp`` and our own names, as far as the directory depends on them."""

    tls: bool = True
    sha256: bool = True
    srtp: SrtpMode = "opportunistic"
    names: frozenset[str] = frozenset()


def check_directory(
    providers: Mapping[str, ProviderShape], tenants: Mapping[str, TenantShape], reach: Reach, problems: Problems
) -> None:
    """Note everything that is wrong in ``problems``."""
    _Check(providers, tenants, reach, problems).all()


class _Check:
    def __init__(
        self,
        providers: Mapping[str, ProviderShape],
        tenants: Mapping[str, TenantShape],
        reach: Reach,
        problems: Problems,
    ) -> None:
        self._providers, self._tenants, self._reach, self._problems = providers, tenants, reach, problems
        self._owners: dict[str, str] = {}
        self._accounts: dict[str, str] = {}
        self._identifiers: dict[str, str] = {}
        self._numbers: dict[tuple[str, str], str] = {}
        self._number_digits: dict[str, str] = {}

    def all(self) -> None:
        for name, provider in self._providers.items():
            self._provider(name, provider)
        self._overlaps()
        for name, tenant in self._tenants.items():
            for username, credential in tenant.credentials.items():
                self._credential(name, username, credential)
            check_transfers(name, tenant, self._providers, self._reach.names, self._problems)
            for agent in tenant.agents.values():
                self._agent(name, agent)
            for connector_name, connector in tenant.connectors.items():
                self._connector(name, connector_name, connector)
        self._collisions()

    def _error(self, place: Place, text: str) -> None:
        self._problems.error(place, text)

    # --- who calls ------------------------------------------------------------------------------

    def _provider(self, name: str, provider: ProviderShape) -> None:
        place = provider.place
        if not provider.allowed_ips:
            self._error(place.key("allowed_ips"), "is empty; list the addresses that its calls come from")
        if not provider.tenants:
            self._error(place.key("tenants"), f"is empty; list the tenants that {name} serves")
        for tenant in provider.tenants:
            if tenant not in self._tenants:
                self._error(place.key("tenants"), f"{unknown('tenant', tenant, self._tenants)}")
        self._ranges(place.key("allowed_ips"), provider.allowed_ips)
        self._tls(place, provider.require_tls)
        self._srtp(provider)
        check_outbound(provider, self._problems)

    def _ranges(self, place: Place, networks: Iterable[Network]) -> None:
        for network in networks:
            if network.prefixlen < WIDE[network.version]:
                self._problems.warn(
                    place, f"{network} is {network.num_addresses} addresses; does your provider have them all?"
                )

    def _tls(self, place: Place, required: bool) -> None:
        if required and not self._reach.tls:
            self._error(place.key("require_tls"), "is true, but there is no tls listener; add one under listeners")

    def _srtp(self, caller: CredentialShape | ProviderShape) -> None:
        """What its keys need, and what its offers can be."""
        place, mode = caller.place, caller.srtp or self._reach.srtp
        if caller.srtp == "required" and not self._reach.tls and not caller.srtp_without_tls:
            self._error(
                place.key("srtp"),
                "is required, and its keys need TLS: add a tls listener, or allow them in clear by "
                "srtp_without_tls: true",
            )
        if mode == "required" and caller.srtp_offer == "plain":
            self._error(place.key("srtp_offer"), "is plain, but srtp is required; write savp or avp")
        if mode == "off" and caller.srtp_offer in ("avp", "savp"):
            self._problems.warn(
                place.key("srtp_offer"), f"is {caller.srtp_offer}, which comes to nothing while srtp is off"
            )

    def _overlaps(self) -> None:
        """Ranges of two providers may overlap only where no call could belong to either."""
        owners: dict[Network, str] = {}
        for name, provider in self._providers.items():
            for network in provider.allowed_ips:
                owner = owners.setdefault(network, name)
                if owner != name:
                    self._error(
                        provider.place.key("allowed_ips"),
                        f"{network} is {owner}'s too; make one provider of the two, or split the range",
                    )
        lengths = sorted({network.prefixlen for network in owners})
        for network, name in owners.items():
            for length in lengths[: bisect_left(lengths, network.prefixlen)]:
                wider = network.supernet(new_prefix=length)
                owner = owners.get(wider, name)
                if owner != name and (shared := self._shared(owner, name)):
                    self._error(
                        self._providers[name].place.key("allowed_ips"),
                        f"{network} overlaps {wider} of {owner}, and both lead to {shared}; give each its own",
                    )

    def _shared(self, one: str, other: str) -> str:
        """Something that callers of both providers can dial."""
        for tenant in self._providers[one].tenants:
            if tenant in self._providers[other].tenants and tenant in self._tenants:
                for name, connector in self._tenants[tenant].connectors.items():
                    if is_dialled(connector.identifier):
                        return f"connector {name} of {tenant}"
        bound: dict[str, set[str]] = {one: set(), other: set()}
        for shape in self._tenants.values():
            for connector in shape.connectors.values():
                if connector.provider in bound:
                    bound[connector.provider].add(connector.number)
        return next((f"number {number}" for number in sorted(bound[one] & bound[other]) if number), "")

    def _credential(self, tenant: str, username: str, credential: CredentialShape) -> None:
        place = credential.place
        owner = self._owners.setdefault(username, tenant)
        if owner != tenant:
            self._error(place, f"tenant {owner} has this user name already; user names are unique over all tenants")
        if credential.password and (credential.ha1_md5 or credential.ha1_sha256):
            self._error(place, "has a password and a stored HA1; keep one of them")
        if not credential.password and not credential.ha1_md5 and not credential.ha1_sha256:
            self._error(place.key("password"), "is missing; give a password, or ha1_md5 and ha1_sha256")
        elif not credential.password and not credential.ha1_md5 and not credential.require_sha256:
            self._error(
                place.key("ha1_md5"), "is missing: without it only SHA-256 can be checked; set require_sha256: true"
            )
        if credential.require_sha256 and not (credential.password or credential.ha1_sha256):
            self._error(place.key("require_sha256"), "is true, but there is only an MD5 HA1; add ha1_sha256")
        if credential.require_sha256 and not self._reach.sha256:
            self._error(
                place.key("require_sha256"),
                "is true, but no challenge offers SHA-256; add it to a listener's digest, or set sip.sha256_from",
            )
        self._tls(place, credential.require_tls)
        self._srtp(credential)
        check_outbound(credential, self._problems)
        self._ranges(place.key("allowed_ips"), credential.allowed_ips)

    # --- where a call leads ---------------------------------------------------------------------

    def _agent(self, tenant: str, agent: AgentShape) -> None:
        if not agent.environments:
            self._error(agent.place.key("environments"), "is empty; add production: {dialect: ..., url: ...}")
        for language in agent.languages:
            if not re.fullmatch("[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*", language):
                self._error(
                    agent.place.key("languages"), f"'{printable(language)}' must be a language tag such as en or nl-BE"
                )
        for environment in agent.environments.values():
            self._environment(tenant, environment)

    def _environment(self, tenant: str, environment: EnvironmentShape) -> None:
        place = environment.place
        if environment.dialect not in dialect_names():
            known = choice(dialect_names())
            self._error(place.key("dialect"), f"is '{printable(environment.dialect)}', must be {known}")
            return
        try:
            plugin = find_dialect(environment.dialect)
        except UnknownDialectError as error:
            self._error(place.key("dialect"), str(error))
            return
        if environment.url.partition(":")[0] not in plugin.schemes:
            wanted = choice([f"{scheme}:" if scheme == "builtin" else f"{scheme}://" for scheme in plugin.schemes])
            self._error(place.key("url"), f"must begin with {wanted} where the dialect is {environment.dialect}")
        elif environment.dialect == "builtin":
            self._builtin(place.key("url"), environment.url, place.key("options"), environment.options)
        else:
            self._url(place.key("url"), environment)
        if environment.dialect != "builtin":
            self._options(place, environment, plugin)
        if environment.filler:
            check_wav(place.key("filler"), environment.filler, self._problems)
            if not environment.resumes:
                self._problems.warn(place.key("filler"), "is never heard: only an agent that resumes is called anew")
        if environment.dialect == "twilio":
            check_account(tenant, environment, self._accounts, self._problems)
        headers = place.key("headers")
        for name, template in environment.headers.items():
            if name.lower() in _RESERVED_HEADERS or name.lower().startswith("sec-websocket-"):
                self._error(headers.key(name), "belongs to the WebSocket handshake and cannot be set")
            try:
                check_template(template, environment.variables)
            except TemplateError as error:
                self._error(headers.key(name), str(error))
        times = Counter(name.lower() for name in environment.headers)
        for name in environment.headers:
            if times[name.lower()] > 1:
                self._error(headers.key(name), "given twice; case does not matter in header names")

    def _options(self, place: Place, environment: EnvironmentShape, plugin: DialectPlugin) -> None:
        known = ", ".join(plugin.options) or "none"
        for option in environment.options:
            if option not in plugin.options:
                self._error(
                    place.key("options").key(option), f"dialect {plugin.name} has no such option; its options: {known}"
                )
        if environment.rate and "rate" not in plugin.options:
            self._error(place.key("rate"), f"dialect {plugin.name} has a rate of its own; leave it out")

    def _url(self, place: Place, environment: EnvironmentShape) -> None:
        try:
            check_template(environment.url, environment.variables, url=True)
            parts = urlsplit(re.sub(r"\{[^{}]*\}", "x", environment.url))
            usable = bool(parts.hostname) and parts.port != 0
        except TemplateError as error:
            self._error(place, str(error))
            return
        except ValueError:
            usable = False
        if not usable:
            self._error(place, "has no usable host or port; write ws://host:port/path or wss://host/path")
        elif parts.scheme == "ws" and not loopback(parts.hostname or "") and environment.headers:
            self._problems.warn(place, "is ws://: the request headers cross the network in clear; use wss://")

    def _builtin(self, place: Place, agent: str, options_place: Place, options: Mapping[str, str]) -> None:
        name = agent.removeprefix("builtin:")
        if name not in BUILTIN_AGENTS:
            self._error(place, f"there is no {printable(agent)}; there are {_each('builtin:', BUILTIN_AGENTS)}")
            return
        for option in options:
            if option not in BUILTIN_AGENTS[name]:
                known = ", ".join(BUILTIN_AGENTS[name]) or "none"
                self._error(options_place.key(option), f"builtin:{name} has no such option; its options: {known}")

    def _connector(self, tenant: str, name: str, connector: ConnectorShape) -> None:
        place = connector.place
        if connector.type == "sip":
            self._sip_connector(tenant, name, connector)
        else:
            self._phone_connector(tenant, name, connector)
        if connector.agent.startswith("builtin:"):
            self._builtin(place.key("agent"), connector.agent, place.key("options"), connector.options)
        else:
            self._agent_of(tenant, connector)
        self._fallback(tenant, place.key("fallback"), connector.fallback)

    def _fallback(self, tenant: str, place: Place, fallback: FallbackShape) -> None:
        transfers = self._tenants[tenant].transfers
        if fallback.transfer and fallback.play:
            self._error(place, "has both a transfer and a file to play; keep one of them")
        elif fallback.transfer and fallback.transfer not in transfers:
            self._error(place, unknown("transfer", fallback.transfer, transfers, f" in tenant {tenant}"))
        elif fallback.play:
            check_wav(fallback.place.key("play"), fallback.play, self._problems)
        elif not fallback.transfer and fallback.place is not NOWHERE:
            self._error(place, "is empty; name a transfer, or a WAV file: {play: sorry.wav}")

    def _sip_connector(self, tenant: str, name: str, connector: ConnectorShape) -> None:
        place = connector.place
        if not connector.identifier:
            hint = "; set type: phone for a phone number" if connector.number else ""
            self._error(place.key("identifier"), f"is missing: it is what callers dial{hint}")
            return
        for key, given in (("number", connector.number), ("provider", connector.provider)):
            if given:
                self._error(place.key(key), "belongs to a connector of type: phone")
        # Digits are dialled by providers, which serve several tenants; other identifiers stay within one.
        unique = is_dialled(connector.identifier)
        if connector.prefixes and not unique:
            self._error(place.key("prefixes"), "go before digits; this identifier is dialled as it is")
            return
        for spelling in spellings(connector.identifier, connector.prefixes):
            key = spelling.removeprefix("+") if unique else f"{tenant}/{spelling}"
            other = self._identifiers.setdefault(key, f"{name} of {tenant}")
            if other != f"{name} of {tenant}":
                at = "identifier" if spelling == connector.identifier else "prefixes"
                self._error(place.key(at), f"{spelling} is taken by connector {other}")

    def _phone_connector(self, tenant: str, name: str, connector: ConnectorShape) -> None:
        place = connector.place
        if connector.identifier:
            self._error(place.key("identifier"), "belongs to a connector of type: sip; give a number")
        if not connector.number:
            self._error(place.key("number"), "is missing: a phone connector needs a number such as +31201234567")
            return
        provider = self._providers.get(connector.provider)
        if connector.provider and provider is None:
            self._error(place.key("provider"), unknown("trunk provider", connector.provider, self._providers))
        elif provider is not None and tenant not in provider.tenants:
            self._error(
                place.key("provider"),
                f"{connector.provider} does not serve tenant {tenant}; add {tenant} to its tenants in line "
                f"{provider.place.key('tenants').line}",
            )
        for spelling in spellings(connector.number, connector.prefixes):
            digits = spelling.removeprefix("+")
            self._number_digits.setdefault(digits, f"{name} of {tenant}")
            other = self._numbers.setdefault((connector.provider or f"/{tenant}", digits), f"{name} of {tenant}")
            if other != f"{name} of {tenant}":
                by = f"provider {connector.provider}" if connector.provider else "the tenant's own phone systems"
                at = "number" if spelling == connector.number else "prefixes"
                self._error(place.key(at), f"{spelling} by {by} is taken by connector {other}")

    def _agent_of(self, tenant: str, connector: ConnectorShape) -> None:
        place, agents = connector.place, self._tenants[tenant].agents
        agent = agents.get(connector.agent)
        if agent is None:
            self._error(place.key("agent"), unknown("agent", connector.agent, agents, f" in tenant {tenant}"))
            return
        if connector.environment not in agent.environments:
            self._error(
                place.key("environment"),
                f"agent {connector.agent} has no {connector.environment}, only {', '.join(agent.environments)}",
            )
        if connector.version == "published" and not agent.versions.published:
            self._error(place.key("version"), f"agent {connector.agent} has no published version; set versions")
        elif connector.version == "draft" and not agent.versions.draft:
            self._error(place.key("version"), f"agent {connector.agent} has no draft; set versions: {{draft: ...}}")
        elif connector.version not in ("published", "draft", *known_versions(agent)):
            self._error(
                place.key("version"),
                f"agent {connector.agent} has no version {printable(connector.version)} "
                f"({', '.join(known_versions(agent)) or 'none'}); list it under versions.earlier",
            )

    def _collisions(self) -> None:
        """Numbers are dialled with or without their plus, so no identifier may look like one."""
        for shape in self._tenants.values():
            for connector in shape.connectors.values():
                for spelling in spellings(connector.identifier, connector.prefixes):
                    other = self._number_digits.get(spelling.removeprefix("+"))
                    if connector.type == "sip" and other is not None:
                        self._error(
                            connector.place.key("identifier"),
                            f"{spelling} is the number of connector {other}, which is dialled without + too",
                        )


def _each(prefix: str, names: Iterable[str]) -> str:
    return ", ".join(prefix + name for name in names)
