"""A trunk provider or credential as what calls of ours, registrations and probes go to."""

from __future__ import annotations

from attrs import field, frozen

from stellar_gw.directory.records import Credential, Register, TrunkProvider
from stellar_gw.sip.uri import SipUri


@frozen(kw_only=True)
class Trunk:
    """What there is to keep up with one of them; two that are equal need no change.

    :ivar name: the provider's, or the credential's user name.
    :ivar to: the host of its addresses; ``next_hop`` is where requests go.
    """

    name: str
    caller: Credential | TrunkProvider = field(eq=False)
    to: SipUri
    next_hop: SipUri
    username: str
    password: str = field(repr=False)
    realm: str
    tls_name: str
    client_certificate: str
    register: Register | None
    probe: float
    keepalive: float


def trunk_of(caller: Credential | TrunkProvider) -> Trunk | None:
    """None where there is nothing to keep up."""
    outbound = caller.outbound
    if outbound.to is None or not (outbound.register or outbound.probe):
        return None
    return Trunk(
        name=caller.name if isinstance(caller, TrunkProvider) else caller.username,
        caller=caller,
        to=outbound.to,
        next_hop=outbound.proxy or outbound.to,
        username=outbound.username,
        password=outbound.password.value,
        realm=outbound.realm,
        tls_name=outbound.tls_name,
        client_certificate=outbound.client_certificate,
        register=outbound.register,
        probe=outbound.probe,
        keepalive=outbound.keepalive,
    )
