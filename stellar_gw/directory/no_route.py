"""Why a dialled user part leads nowhere, in words for the operator: what failed, and where to mend it.

The caller learns 404 in every case.
"""

from __future__ import annotations

from collections.abc import Sequence

from stellar_gw.directory.records import Agent, Connector, Credential, NoRoute, TrunkProvider
from stellar_gw.loading import printable


def disabled(connector: Connector) -> NoRoute:
    return NoRoute(
        check="disabled",
        reason=f"connector {connector.name} of tenant {connector.tenant} is disabled",
        fix=f"Set enabled: true ({connector.where})",
    )


def no_environment(connector: Connector) -> NoRoute:
    return NoRoute(
        check="no_version",
        reason=f"connector {connector.name} leads to {connector.agent}/{connector.environment}, which does not exist",
        fix=f"Name an agent and an environment of tenant {connector.tenant} ({connector.where})",
    )


def no_version(connector: Connector, agent: Agent) -> NoRoute:
    return NoRoute(
        check="no_version",
        reason=f"connector {connector.name} asks for version {connector.version} of agent {agent.name}, "
        "which does not exist",
        fix=f"Set versions of the agent ({agent.where}), or version of the connector ({connector.where})",
    )


def not_of_credential(user: str, other: Connector, credential: Credential) -> NoRoute:
    return NoRoute(
        check="other_tenant",
        reason=f"{printable(user)} is connector {other.name} of tenant {other.tenant}, "
        f"and {credential.username} is of tenant {credential.tenant}",
        fix=f"Dial a connector of tenant {credential.tenant}, or move this one there ({other.where})",
    )


def not_served(user: str, other: Connector, provider: TrunkProvider, address: str) -> NoRoute:
    return NoRoute(
        check="other_tenant",
        reason=f"{printable(user)} is connector {other.name} of tenant {other.tenant}, "
        f"call came from {provider.name} ({address}), which does not serve {other.tenant}",
        fix=f"Add {other.tenant} to tenants of {provider.name} ({provider.where}), or dial another connector",
    )


def not_by_provider(number: Connector, provider: TrunkProvider, address: str) -> NoRoute:
    owner = f"provider {number.provider}" if number.provider else f"the phone systems of tenant {number.tenant}"
    return NoRoute(
        check="other_provider",
        reason=f"{number.number} belongs to {owner}, call came from {provider.name} ({address})",
        fix=f"Set provider: {provider.name} ({number.where}) or reroute the number",
    )


def digits_only(word: Connector, provider: TrunkProvider, address: str) -> NoRoute:
    return NoRoute(
        check="unknown",
        reason=f"connector {word.name} of tenant {word.tenant} has the identifier {word.identifier}, "
        f"call came from {provider.name} ({address}), and providers dial digits only",
        fix=f"Give it an identifier of digits ({word.where})",
    )


def unknown(user: str, tenants: Sequence[str], near: Connector | None) -> NoRoute:
    """:param near: the one among those allowed that was perhaps meant."""
    hint = f" (nearest: {near.identifier or near.number}, connector {near.name})" if near is not None else ""
    whose = ", ".join(tenants)
    return NoRoute(
        check="unknown",
        reason=f"no connector of tenant {whose} answers to {printable(user) or 'an empty user part'}{hint}",
        fix=f"Dial one that exists, or add one under connectors of tenant {whose}",
    )
