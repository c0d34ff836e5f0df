"""The file's shapes turned into directory records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qsl, urlsplit

from stellar_gw.directory.outbound_shapes import AccountShape, OutboundShape, RegisterShape, TransferShape
from stellar_gw.directory.records import (
    Agent,
    Confirm,
    Connector,
    Credential,
    DigestAccount,
    Environment,
    EnvironmentName,
    Fallback,
    Limits,
    Outbound,
    Register,
    Secret,
    Snapshot,
    Tenant,
    Transfer,
    TrunkProvider,
)
from stellar_gw.directory.shapes import (
    AgentShape,
    ConnectorShape,
    CredentialShape,
    EnvironmentShape,
    ProviderShape,
    TenantShape,
)
from stellar_gw.errors import Where
from stellar_gw.loading import NOWHERE, Place
from stellar_gw.sip.digest import ha1

_SENSITIVE = re.compile(r"authori[sz]ation|cookie|token|secret|password|key", re.IGNORECASE)
"""Headers and query parameters whose value is a secret even where it is written out."""


def make_snapshot(
    providers: Mapping[str, ProviderShape],
    tenants: Mapping[str, TenantShape],
    *,
    domain: str,
    file: str,
    call_duration: float,
    secrets: frozenset[str],
) -> Snapshot:
    """Records of shapes that :mod:`stellar_gw.directory.checks` found no fault with.

    :param call_duration: seconds, of tenants that set none.
    :param secrets: what the references of the file stood for.
    """
    maker = _Maker(domain, file)
    credentials = tuple(maker.credentials(tenants))
    agents = tuple(maker.agents(tenants))
    return Snapshot(
        domain=domain,
        tenants=tuple(maker.tenant(name, tenant, call_duration) for name, tenant in tenants.items()),
        credentials=credentials,
        providers=tuple(maker.provider(name, shape) for name, shape in providers.items()),
        agents=agents,
        connectors=tuple(maker.connectors(tenants)),
        transfers=tuple(maker.transfers(tenants)),
        secrets=secrets
        | {stored for each in credentials for stored in (each.ha1_md5, each.ha1_sha256) if stored}
        | {text for agent in agents for each in agent.environments.values() for text in _written_out(each)},
    )


class _Maker:
    def __init__(self, domain: str, file: str) -> None:
        self._domain, self._file = domain, file

    def _where(self, place: Place) -> Where:
        return Where(self._file, place.line)

    def tenant(self, name: str, shape: TenantShape, call_duration: float) -> Tenant:
        limits = shape.limits
        longest = call_duration if limits.call_duration is None else limits.call_duration
        return Tenant(
            name=name,
            limits=Limits(
                calls=limits.calls,
                call_duration=longest,
                transfers_per_hour=limits.transfers_per_hour,
                bridge_duration=limits.bridge_duration,
            ),
            outbound_proxy=shape.outbound_proxy,
            transfer_targets=shape.transfer_targets,
            private_targets=shape.private_targets,
        )

    def provider(self, name: str, shape: ProviderShape) -> TrunkProvider:
        return TrunkProvider(
            name=name,
            allowed_ips=shape.allowed_ips,
            tenants=shape.tenants,
            require_tls=shape.require_tls,
            srtp=shape.srtp,
            srtp_offer=shape.srtp_offer,
            srtp_without_tls=shape.srtp_without_tls,
            ice=shape.ice,
            platform=shape.platform,
            hold=shape.hold,
            rewrite=tuple(shape.rewrite.items()),
            refer=shape.refer,
            replaces=shape.replaces,
            outbound=_outbound(shape.outbound, shape.caller_id),
            large_over_tcp=shape.large_over_tcp,
            unconfirmed_calls=shape.unconfirmed_calls,
            strict_latch=shape.latch == "strict",
            where=self._where(shape.place),
        )

    def credentials(self, tenants: Mapping[str, TenantShape]) -> Iterator[Credential]:
        for tenant, shapes in tenants.items():
            for username, shape in shapes.credentials.items():
                yield self._credential(tenant, username, shape)

    def _credential(self, tenant: str, username: str, shape: CredentialShape) -> Credential:
        md5, sha256 = shape.ha1_md5, shape.ha1_sha256
        if shape.password:
            md5, sha256 = (ha1(username, self._domain, shape.password, each) for each in ("MD5", "SHA-256"))
        return Credential(
            username=username,
            tenant=tenant,
            ha1_md5=md5,
            ha1_sha256=sha256,
            ha1_only=not shape.password,
            require_sha256=shape.require_sha256,
            allowed_ips=shape.allowed_ips,
            require_tls=shape.require_tls,
            srtp=shape.srtp,
            srtp_offer=shape.srtp_offer,
            srtp_without_tls=shape.srtp_without_tls,
            ice=shape.ice,
            platform=shape.platform,
            hold=shape.hold,
            rewrite=tuple(shape.rewrite.items()),
            refer=shape.refer,
            replaces=shape.replaces,
            outbound=_outbound(shape.outbound, shape.caller_id),
            where=self._where(shape.place),
        )

    def transfers(self, tenants: Mapping[str, TenantShape]) -> Iterator[Transfer]:
        for tenant, shapes in tenants.items():
            for name, shape in shapes.transfers.items():
                yield self._transfer(tenant, name, shape)

    def _transfer(self, tenant: str, name: str, shape: TransferShape) -> Transfer:
        confirm = shape.confirm
        return Transfer(
            name=name,
            tenant=tenant,
            to=shape.to,
            via=shape.via,
            method=shape.method,
            fallback=shape.method != "refer" if shape.fallback is None else shape.fallback,
            about=shape.about,
            confirm=Confirm(play=confirm.play, digit=confirm.digit, timeout=confirm.timeout) if confirm.play else None,
            digits=shape.digits,
            ring_timeout=shape.ring_timeout,
            while_ringing=shape.while_ringing,
            music=shape.music,
            where=self._where(shape.place),
        )

    def agents(self, tenants: Mapping[str, TenantShape]) -> Iterator[Agent]:
        for tenant, shapes in tenants.items():
            for name, shape in shapes.agents.items():
                versions = shape.versions
                yield Agent(
                    name=name,
                    tenant=tenant,
                    languages=shape.languages,
                    published=versions.published,
                    draft=versions.draft,
                    versions=known_versions(shape),
                    environments={
                        key: self._environment(environment_name(key), each) for key, each in shape.environments.items()
                    },
                    where=self._where(shape.place),
                )

    def _environment(self, name: EnvironmentName, shape: EnvironmentShape) -> Environment:
        return Environment(
            name=name,
            dialect=shape.dialect,
            url=Secret(value=shape.url),
            headers=tuple((key, Secret(value=value)) for key, value in shape.headers.items()),
            variables=shape.variables,
            secrets={key: Secret(value=value) for key, value in shape.secrets.items()},
            options={**({"rate": shape.rate} if shape.rate else {}), **shape.options},
            agent_answers=shape.answer == "agent",
            resumes=shape.resumes,
            filler=shape.filler,
            outbound={key: _account(each) for key, each in shape.outbound.items()},
            where=self._where(shape.place),
        )

    def connectors(self, tenants: Mapping[str, TenantShape]) -> Iterator[Connector]:
        for tenant, shapes in tenants.items():
            for name, shape in shapes.connectors.items():
                yield self._connector(tenant, name, shape)

    def _connector(self, tenant: str, name: str, shape: ConnectorShape) -> Connector:
        return Connector(
            name=name,
            tenant=tenant,
            type=shape.type,
            identifier=shape.identifier,
            number=shape.number,
            provider=shape.provider,
            prefixes=shape.prefixes,
            agent=shape.agent,
            environment=shape.environment,
            version=shape.version,
            enabled=shape.enabled,
            srtp=shape.srtp,
            fallback=Fallback(transfer=shape.fallback.transfer, play=shape.fallback.play),
            unavailable_status=int(shape.unavailable_status),
            unavailable_reason=shape.unavailable_reason,
            record=shape.record,
            dtmf=shape.dtmf,
            x_headers_in_refer_to=shape.x_headers_in_refer_to,
            barge_in=shape.barge_in,
            early_media=shape.early_media,
            options=shape.options,
            where=self._where(shape.place),
        )


def _outbound(shape: OutboundShape, caller_id: str) -> Outbound:
    return Outbound(
        to=shape.to,
        proxy=shape.proxy,
        username=shape.username,
        password=Secret(value=shape.password),
        realm=shape.realm,
        caller_id=caller_id,
        identity=shape.identity,
        srtp=shape.srtp,
        tls_name=shape.tls_name,
        client_certificate=shape.client_certificate,
        redirects=shape.redirects,
        domain=shape.domain,
        x_headers_in_refer_to=shape.x_headers_in_refer_to,
        register=_register(shape.register),
        probe=shape.probe,
        keepalive=shape.keepalive,
    )


def _register(shape: RegisterShape) -> Register | None:
    """None where the file says nothing of it."""
    if shape.place is NOWHERE:
        return None
    return Register(
        user=shape.user, domain=shape.domain, contact=shape.contact, dials=shape.dials, expires=shape.expires
    )


def _account(shape: AccountShape) -> DigestAccount:
    return DigestAccount(
        host=shape.host, realm=shape.realm, username=shape.username, password=Secret(value=shape.password)
    )


def known_versions(agent: AgentShape) -> tuple[str, ...]:
    """Every version of an agent, each once."""
    versions = agent.versions
    return tuple(dict.fromkeys(filter(None, (versions.published, versions.draft, *versions.earlier))))


def environment_name(key: str) -> EnvironmentName:
    """:raise ValueError: if it is no environment's name."""
    for name in _ENVIRONMENTS:
        if key == name:
            return name
    raise ValueError(key)


_ENVIRONMENTS: tuple[EnvironmentName, ...] = ("development", "staging", "production")


def _written_out(environment: Environment) -> Iterator[str]:
    """Secrets of an environment that stand in the file itself: header values, query parameters."""
    for name, value in environment.headers:
        if _SENSITIVE.search(name) and "{" not in value.value and len(value.value) >= 8:
            yield value.value
    for name, text in parse_qsl(urlsplit(environment.url.value).query):
        if _SENSITIVE.search(name) and "{" not in text and len(text) >= 8:
            yield text
