"""Admission of an INVITE outside a dialog: who calls, may they, and where it leads.

The order of the checks is the contract (and RELIABILITY's): credentials for our realm are judged by
digest alone, never falling back to the address; without them the socket's peer address may belong to a
trunk provider; anybody else is challenged. Later failures are 403, then 404 whatever the reason, so that
a stranger learns nothing. Every refusal says, for the operator only, what failed and what mends it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

from attrs import evolve, frozen

from stellar_gw.directory.records import Credential, Directory, Network, NoRoute, Route, TrunkProvider
from stellar_gw.sip.flow import Address, Transport
from stellar_gw.sip.hosts import numeric


@frozen
class NoCredentials:
    """The request carries no credentials for our realm."""


@frozen
class Verified:
    """The digest is right."""

    username: str
    algorithm: str = "MD5"


@frozen
class Unverified:
    """The digest is not right.

    :ivar why: ``unknown_user``, ``wrong_password``, ``stale``, ``replayed``, ``forged_nonce``, ``malformed``,
        ``unknown_scheme`` or ``algorithm``.
    """

    username: str
    why: str


DigestResult = NoCredentials | Verified | Unverified


@frozen(kw_only=True)
class Over:
    """A call that is over, of which the tenant's own phone systems are told, and nobody else."""

    tenant: str
    told: Refused


@frozen(kw_only=True)
class Attempt:
    """What admission looks at; the source is the socket's peer address and never comes from a header.

    :ivar trunk: who has a registration of ours on the flow that the call came on.
    :ivar demands_replaces: it is to be refused by whoever does not do that (RFC 3261 8.2.2.3).
    :ivar replaced: where the call leads whose dialog it wants to replace, or why there is none (RFC 3891); it counts
        for callers that may replace, once it is known who they are.
    """

    source: Address
    transport: Transport
    user: str
    host: str
    digest: DigestResult
    trunk: Credential | TrunkProvider | None = None
    replaced: Route | Over | Refused | None = None
    demands_replaces: bool = False


@frozen(kw_only=True)
class Admitted:
    """
    :ivar how: in words, for records and ``stellar-gw-check``.
    :ivar replaces: it takes the place of a call that is up, and is none of its own.
    """

    caller: Credential | TrunkProvider
    route: Route
    how: str
    replaces: bool = False


@frozen(kw_only=True)
class Refused:
    """A call that is not taken.

    :ivar check: the check that failed, a stable word for metrics.
    :ivar challenge: whether a digest challenge goes with it.
    :ivar stale: whether that challenge says the password was right and only the nonce is old.
    :ivar guessed: whether it counts as a failed authentication against the source.
    """

    status: int
    check: str
    reason: str
    fix: str
    username: str = ""
    challenge: bool = False
    stale: bool = False
    guessed: bool = False


def judge(attempt: Attempt, directory: Directory, hosts: frozenset[str]) -> Admitted | Refused:
    """Decide about one INVITE.

    :param hosts: the hosts (lower case) that a Request-URI may name: our domain, our listeners' addresses.
    """
    if isinstance(attempt.digest, Unverified):
        return _unverified(attempt, attempt.digest)
    if isinstance(attempt.digest, Verified):
        credential = directory.credential(attempt.digest.username)
        if credential is None:
            return _unverified(attempt, Unverified(attempt.digest.username, "unknown_user"))
        return _by_credential(attempt, credential, attempt.digest, directory, hosts)
    if attempt.trunk is not None:
        return _by_registration(attempt, attempt.trunk, directory)
    provider = directory.provider_at(attempt.source[0])
    if provider is None:
        return _challenge(attempt, directory)
    return _by_provider(attempt, provider, directory, hosts)


def _by_credential(
    attempt: Attempt, credential: Credential, digest: Verified, directory: Directory, hosts: frozenset[str]
) -> Admitted | Refused:
    name, source = credential.username, attempt.source[0]
    if credential.require_sha256 and digest.algorithm == "MD5":
        return Refused(
            status=403,
            check="algorithm",
            reason=f"{name} requires SHA-256 digest, call came with MD5",
            fix=f"Turn on SHA-256 in the phone system, or set require_sha256: false ({credential.where})",
            username=name,
        )
    if credential.require_tls and attempt.transport != "tls":
        return Refused(
            status=403,
            check="require_tls",
            reason=f"{name} requires TLS, call came over {attempt.transport.upper()}",
            fix=f"Send to port 5061 with transport=tls, or set require_tls: false ({credential.where})",
            username=name,
        )
    if credential.allowed_ips and not _within(source, credential.allowed_ips):
        allowed = ", ".join(map(_network, credential.allowed_ips[:4]))
        return Refused(
            status=403,
            check="allowed_ips",
            reason=f"{name} may not call from {source}; its allowed_ips are {allowed}",
            fix=f"If {source} is yours, add it to allowed_ips ({credential.where})",
            username=name,
        )
    if foreign := _foreign_host(attempt, hosts):
        return foreign
    if attempt.demands_replaces and not credential.replaces:
        return _replaces_off(credential)
    if attempt.replaced is not None and credential.replaces:
        return _replacing(attempt.replaced, credential, (credential.tenant,), f"admitted by digest as {name}")
    route = directory.route_for_credential(attempt.user, credential)
    if isinstance(route, NoRoute):
        return _no_route(route, name)
    return Admitted(caller=credential, route=route, how=f"admitted by digest as {name}")


def _by_registration(attempt: Attempt, trunk: Credential | TrunkProvider, directory: Directory) -> Admitted | Refused:
    """We went there ourselves, and gave the password: whoever answers there is the trunk.

    It sees us at whatever address our network gives us, and may call that instead of the host that was registered.
    """
    if isinstance(trunk, TrunkProvider):
        judged = _by_provider(attempt, trunk, directory, frozenset({_host(attempt)}))
        if isinstance(judged, Refused):
            return judged
        return evolve(judged, how=f"admitted on our registration at provider {trunk.name}")
    route = directory.route_for_credential(attempt.user, trunk)
    if isinstance(route, NoRoute):
        return _no_route(route, trunk.username)
    return Admitted(caller=trunk, route=route, how=f"admitted on our registration as {trunk.username}")


def _by_provider(
    attempt: Attempt, provider: TrunkProvider, directory: Directory, hosts: frozenset[str]
) -> Admitted | Refused:
    if provider.require_tls and attempt.transport != "tls":
        return Refused(
            status=403,
            check="require_tls",
            reason=f"provider {provider.name} requires TLS, call came over {attempt.transport.upper()}",
            fix=f"Send to port 5061 with transport=tls, or set require_tls: false ({provider.where})",
        )
    if foreign := _foreign_host(attempt, hosts):
        return foreign
    if attempt.demands_replaces and not provider.replaces:
        return _replaces_off(provider)
    if attempt.replaced is not None and provider.replaces:
        return _replacing(attempt.replaced, provider, provider.tenants, f"admitted as provider {provider.name}")
    route = directory.route_for_provider(attempt.user, provider, attempt.source[0])
    if isinstance(route, NoRoute):
        return _no_route(route, "")
    network = next((n for n in provider.allowed_ips if _within(attempt.source[0], (n,))), None)
    by = f" (allowed IP {_network(network)})" if network is not None else ""
    return Admitted(caller=provider, route=route, how=f"admitted as provider {provider.name}{by}")


def _replaces_off(caller: Credential | TrunkProvider) -> Refused:
    return Refused(
        status=420,
        check="replaces_off",
        reason="an INVITE demands to replace another call (Require: replaces)",
        fix=f"Set replaces: true, if its phone system may ({caller.where})",
    )


def _replacing(
    replaced: Route | Over | Refused, caller: Credential | TrunkProvider, tenants: tuple[str, ...], how: str
) -> Admitted | Refused:
    """What it dials does not matter, it is our own Contact; whose call it replaces does."""
    if isinstance(replaced, Refused):
        return replaced
    if (replaced.tenant if isinstance(replaced, Over) else replaced.tenant.name) not in tenants:
        return Refused(
            status=481,  # as for a call that is not there
            check="replaces_tenant",
            reason="an INVITE wants to replace a call of another tenant",
            fix="Only a phone system of the same tenant may take a call over",
        )
    if isinstance(replaced, Over):
        return replaced.told
    return Admitted(caller=caller, route=replaced, how=how, replaces=True)


_UNVERIFIED = {
    "wrong_password": (
        "wrong password for {user} from {source}",
        "Set the same password on both sides. FreePBX: Connectivity > Trunks > pjsip > Secret",
    ),
    "unknown_user": (
        "no credential has the user name {user}; call came from {source}",
        "Correct the user name in the phone system, or add it under credentials of its tenant",
    ),
    "stale": ("nonce expired, {source} was challenged anew", "Nothing to do: the phone system tries again"),
    "replayed": (
        "{source} used a nonce count twice for {user}",
        "Harmless if it stops; otherwise a proxy in between repeats requests, or somebody replays them",
    ),
    "forged_nonce": (
        "{source} answered a challenge that this gateway did not give",
        "Check that the phone system does not reuse another server's challenge",
    ),
    "malformed": (
        "{source} sent an Authorization header that cannot be read",
        "Check what sits between the phone system and this gateway: it garbles headers",
    ),
    "unknown_scheme": ("{source} uses an authentication scheme other than Digest", "Use SIP digest authentication"),
    "algorithm": (
        "{source} answered for {user} with an algorithm that was not offered",
        "Use MD5 in the phone system, or turn on SHA-256 for its listener",
    ),
}


def _unverified(attempt: Attempt, digest: Unverified) -> Refused:
    """401 with a fresh challenge; the same to the caller for an unknown user as for a wrong password."""
    reason, fix = _UNVERIFIED[digest.why]
    return Refused(
        status=401,
        check=digest.why,
        reason=reason.format(user=digest.username or "(no user name)", source=attempt.source[0]),
        fix=fix,
        username=digest.username,
        challenge=True,
        stale=digest.why in ("stale", "replayed"),
        guessed=digest.why in ("wrong_password", "unknown_user", "algorithm"),
    )


def _challenge(attempt: Attempt, directory: Directory) -> Refused:
    source = attempt.source[0]
    near = _nearest(source, directory.providers())
    hint, place = "", "under trunk_providers"
    if near is not None:
        provider, network = near
        hint = f" (nearest: {provider.name} {_network(network)})"
        place = f"to allowed_ips at {provider.where}"
    return Refused(
        status=401,
        check="no_credentials",
        reason=f"{source} sent no credentials and is in no allowed_ips{hint}",
        fix=f"If it is yours, add it {place}, or give the phone system a user name and password",
        challenge=True,
    )


def _host(attempt: Attempt) -> str:
    return numeric(attempt.host) or attempt.host.lower().rstrip(".")


def _foreign_host(attempt: Attempt, hosts: frozenset[str]) -> Refused | None:
    if _host(attempt) in hosts:
        return None
    return Refused(
        status=404,
        check="foreign_host",
        reason=f"call is for host {attempt.host}, which is not ours",
        fix=f"Send calls to one of: {', '.join(sorted(hosts))}",
    )


def _no_route(route: NoRoute, username: str) -> Refused:
    return Refused(status=404, check=route.check, reason=route.reason, fix=route.fix, username=username)


def fold(address: str) -> IPv4Address | IPv6Address | None:
    """A numeric address, IPv4-mapped IPv6 folded to IPv4; None where it is not numeric."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    parsed = fold(address)
    return parsed is not None and any(parsed in network for network in networks)


def _network(network: Network) -> str:
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _nearest(source: str, providers: tuple[TrunkProvider, ...]) -> tuple[TrunkProvider, Network] | None:
    """The provider network that shares the longest prefix (at least 16 bits) with a source."""
    parsed = fold(source)
    if parsed is None:
        return None
    best: tuple[int, TrunkProvider, Network] | None = None
    for provider in providers:
        for network in provider.allowed_ips:
            if network.version != parsed.version:
                continue
            width = network.max_prefixlen
            shared = width - (int(parsed) ^ int(network.network_address)).bit_length()
            if shared >= 16 and (best is None or shared > best[0]):
                best = (shared, provider, network)
    return None if best is None else best[1:]
