"""The directory that a configuration file holds: a snapshot, indexed for looking up."""

from __future__ import annotations

from ipaddress import ip_address

from stellar_gw.directory import no_route
from stellar_gw.directory.dialled import dialled_digits, forms, is_dialled, spellings
from stellar_gw.directory.nearest import Nearest
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
from stellar_gw.loading.rules import fold

HINTING = 4
"""Tenants of a provider in which a mistyped number is looked for."""


class YamlDirectory:
    """Looks up in one snapshot; a reload makes another and swaps it in.

    :param snapshot: checked records (:mod:`stellar_gw.directory.checks`).
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._tenants = {each.name: each for each in snapshot.tenants}
        self._credentials = {each.username: each for each in snapshot.credentials}
        self._providers = {each.name: each for each in snapshot.providers}
        self._agents = {(each.tenant, each.name): each for each in snapshot.agents}
        self._transfers: dict[str, list[Transfer]] = {}
        for transfer in snapshot.transfers:
            self._transfers.setdefault(transfer.tenant, []).append(transfer)
        self._by_identifier: dict[str, list[Connector]] = {}
        self._by_digits: dict[str, list[Connector]] = {}
        of_tenant: dict[str, list[Connector]] = {}
        for connector in snapshot.connectors:
            of_tenant.setdefault(connector.tenant, []).append(connector)
            for spelling in spellings(connector.identifier or connector.number, connector.prefixes):
                self._by_identifier.setdefault(spelling, []).append(connector)
                if digits := dialled_digits(spelling):
                    self._by_digits.setdefault(digits, []).append(connector)
        self._nearest = {tenant: Nearest(connectors) for tenant, connectors in of_tenant.items()}
        # By IP version and prefix length, the longest first; then by the range's first address.
        self._ranges: dict[tuple[int, int], dict[int, TrunkProvider]] = {}
        networks = [(network, provider) for provider in snapshot.providers for network in provider.allowed_ips]
        for network, provider in sorted(networks, key=lambda each: -each[0].prefixlen):
            same_length = self._ranges.setdefault((network.version, network.prefixlen), {})
            same_length.setdefault(int(network.network_address), provider)

    @property
    def domain(self) -> str:
        return self.snapshot.domain

    def tenant(self, name: str) -> Tenant | None:
        return self._tenants.get(name)

    def credential(self, username: str) -> Credential | None:
        return self._credentials.get(username)

    def providers(self) -> tuple[TrunkProvider, ...]:
        return self.snapshot.providers

    def credentials(self) -> tuple[Credential, ...]:
        return self.snapshot.credentials

    def agents(self) -> tuple[Agent, ...]:
        return self.snapshot.agents

    def transfers(self, tenant: str) -> tuple[Transfer, ...]:
        return tuple(self._transfers.get(tenant, ()))

    def secrets(self) -> frozenset[str]:
        return self.snapshot.secrets

    def provider_at(self, address: str) -> TrunkProvider | None:
        try:
            parsed = fold(ip_address(address.partition("%")[0]))
        except ValueError:
            return None
        for (version, length), providers in self._ranges.items():
            if version == parsed.version:
                host_bits = parsed.max_prefixlen - length
                provider = providers.get(int(parsed) >> host_bits << host_bits)
                if provider is not None:
                    return provider
        return None

    # --- where a dialled user part leads --------------------------------------------------------

    def route_for_credential(self, user: str, credential: Credential) -> Route | NoRoute:
        meant = [self._dialled(form) for form in forms(user, credential.rewrite)]
        for dialled in meant:
            own = [each for each in dialled if each.tenant == credential.tenant]
            if own:
                # A number may come in by providers as well: the tenant's own connector for it goes first.
                return self._route(min(own, key=lambda each: (not each.enabled, bool(each.provider))))
        if dialled := next(filter(None, meant), []):
            return no_route.not_of_credential(user, dialled[0], credential)
        return self._unknown(user, (credential.tenant,))

    def route_for_provider(self, user: str, provider: TrunkProvider, address: str) -> Route | NoRoute:
        meant = [self._dialled(form) for form in forms(user, provider.rewrite)]
        for dialled in meant:
            own = [each for each in dialled if each.tenant in provider.tenants and _dialable(each, provider)]
            if own:
                return self._route(min(own, key=lambda each: not each.enabled))
        dialled = next(filter(None, meant), [])
        served = [each for each in dialled if each.tenant in provider.tenants]
        if not dialled:
            return self._unknown(user, provider.tenants)
        if not served:
            return no_route.not_served(user, dialled[0], provider, address)
        if served[0].type == "phone":
            return no_route.not_by_provider(served[0], provider, address)
        return no_route.digits_only(served[0], provider, address)

    def _dialled(self, user: str) -> list[Connector]:
        """Every connector of the installation that a user part could mean."""
        found = {id(each): each for each in self._by_identifier.get(user, ())}
        if digits := dialled_digits(user):
            found |= {id(each): each for each in self._by_digits.get(digits, ())}
        return list(found.values())

    def _route(self, connector: Connector) -> Route | NoRoute:
        tenant = self._tenants.get(connector.tenant)
        if tenant is None or not connector.enabled:
            return no_route.disabled(connector)
        if connector.agent.startswith("builtin:"):
            environment = Environment(
                name=connector.environment,
                dialect="builtin",
                url=Secret(value=connector.agent),
                options=connector.options,
                where=connector.where,
            )
            return Route(
                connector=connector,
                tenant=tenant,
                environment=environment,
                agent=connector.agent,
                version="",
                transfers=self.transfers(tenant.name),
            )
        agent = self._agents.get((connector.tenant, connector.agent))
        found = agent.environments.get(connector.environment) if agent is not None else None
        if agent is None or found is None:
            return no_route.no_environment(connector)
        version = _version(connector, agent)
        if not version:
            return no_route.no_version(connector, agent)
        return Route(
            connector=connector,
            tenant=tenant,
            environment=found,
            agent=agent.name,
            version=version,
            languages=agent.languages,
            transfers=self.transfers(tenant.name),
        )

    def _unknown(self, user: str, tenants: tuple[str, ...]) -> NoRoute:
        indexes = (self._nearest[tenant] for tenant in tenants[:HINTING] if tenant in self._nearest)
        return no_route.unknown(user, tenants, next((found for nearest in indexes if (found := nearest(user))), None))


def _dialable(connector: Connector, provider: TrunkProvider) -> bool:
    """Whether a provider that serves the connector's tenant may dial it."""
    if connector.type == "phone":
        return connector.provider == provider.name
    return is_dialled(connector.identifier)


def _version(connector: Connector, agent: Agent) -> str:
    """The version that a connector's mode stands for today; empty where there is none."""
    if connector.version == "published":
        return agent.published
    if connector.version == "draft":
        return agent.draft
    return connector.version if connector.version in agent.versions else ""
