"""A directory in memory, for tests of what asks one; it reads its records from end to end each time."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from stellar_gw.directory.dialled import forms
from stellar_gw.directory.records import (
    Agent,
    Connector,
    Credential,
    Environment,
    NoRoute,
    Route,
    Secret,
    Snapshot,
    Tenant,
    Transfer,
    TrunkProvider,
)


class MemoryDirectory:
    """The plainest backend: no index, no hint, and the same answers as any other."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot

    @property
    def domain(self) -> str:
        return self.snapshot.domain

    def tenant(self, name: str) -> Tenant | None:
        return next((each for each in self.snapshot.tenants if each.name == name), None)

    def credential(self, username: str) -> Credential | None:
        return next((each for each in self.snapshot.credentials if each.username == username), None)

    def providers(self) -> tuple[TrunkProvider, ...]:
        return self.snapshot.providers

    def credentials(self) -> tuple[Credential, ...]:
        return self.snapshot.credentials

    def agents(self) -> tuple[Agent, ...]:
        return self.snapshot.agents

    def transfers(self, tenant: str) -> tuple[Transfer, ...]:
        return tuple(each for each in self.snapshot.transfers if each.tenant == tenant)

    def secrets(self) -> frozenset[str]:
        return self.snapshot.secrets

    def provider_at(self, address: str) -> TrunkProvider | None:
        try:
            source = ip_address(address.partition("%")[0])
        except ValueError:
            return None
        if isinstance(source, IPv6Address) and source.ipv4_mapped is not None:
            source = source.ipv4_mapped
        holding = [
            (network.prefixlen, provider)
            for provider in self.snapshot.providers
            for network in provider.allowed_ips
            if source in network
        ]
        return max(holding, key=lambda each: each[0])[1] if holding else None

    def route_for_credential(self, user: str, credential: Credential) -> Route | NoRoute:
        meant = [self._answering(form) for form in forms(user, credential.rewrite)]
        for dialled in meant:
            own = [each for each in dialled if each.tenant == credential.tenant]
            own.sort(key=lambda each: (not each.enabled, each.provider != ""))
            if own:
                return self._to(own[0])
        return _nowhere("other_tenant" if any(meant) else "unknown", user)

    def route_for_provider(self, user: str, provider: TrunkProvider, address: str) -> Route | NoRoute:
        meant = [self._answering(form) for form in forms(user, provider.rewrite)]
        for dialled in meant:
            served = [each for each in dialled if each.tenant in provider.tenants]
            own = [each for each in served if _keys_only(each.identifier) or each.provider == provider.name]
            own.sort(key=lambda each: not each.enabled)
            if own:
                return self._to(own[0])
        dialled = next(filter(None, meant), [])
        served = [each for each in dialled if each.tenant in provider.tenants]
        if dialled and not served:
            return _nowhere("other_tenant", user)
        return _nowhere("other_provider" if served and served[0].number else "unknown", user)

    def _answering(self, user: str) -> list[Connector]:
        return [each for each in self.snapshot.connectors if _answers(each, user)]

    def _to(self, connector: Connector) -> Route | NoRoute:
        tenant = self.tenant(connector.tenant)
        if not connector.enabled or tenant is None:
            return _nowhere("disabled", connector.name)
        agent = next(
            (each for each in self.snapshot.agents if (each.tenant, each.name) == (connector.tenant, connector.agent)),
            None,
        )
        version = ""
        if connector.agent.startswith("builtin:"):
            name, url = connector.environment, Secret(value=connector.agent)
            environment = Environment(
                name=name, dialect="builtin", url=url, options=connector.options, where=connector.where
            )
        elif agent is None or connector.environment not in agent.environments:
            return _nowhere("no_version", connector.name)
        else:
            environment = agent.environments[connector.environment]
            version = _version(agent, connector.version)
            if not version:
                return _nowhere("no_version", connector.name)
        return Route(
            connector=connector,
            tenant=tenant,
            environment=environment,
            agent=connector.agent,
            version=version,
            languages=agent.languages if agent is not None else (),
            transfers=self.transfers(tenant.name),
        )


def _version(agent: Agent, wanted: str) -> str:
    modes = {"published": agent.published, "draft": agent.draft}
    return modes.get(wanted, wanted if wanted in agent.versions else "")


def _answers(connector: Connector, user: str) -> bool:
    """Whether a user part means this connector: as it is written, or by its digits, after any of its prefixes."""
    written = connector.number or connector.identifier
    return any(
        _same(spelling, user)
        for spelling in (written, *(prefix + written.removeprefix("+") for prefix in connector.prefixes))
    )


def _same(written: str, user: str) -> bool:
    if user == written and user:
        return True
    digits = "".join(character for character in user if character not in "-.()")
    return (
        digits.removeprefix("+").isdigit()
        and user[:1] in "+0123456789("
        and written.removeprefix("+").isdigit()
        and digits.removeprefix("+") == written.removeprefix("+")
    )


def _keys_only(identifier: str) -> bool:
    return identifier != "" and set(identifier) <= set("0123456789*#")


def _nowhere(check: str, what: str) -> NoRoute:
    return NoRoute(check=check, reason=f"{what!r} leads nowhere", fix="Dial a connector that is there")
