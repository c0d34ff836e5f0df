"""What a transfer needs to know of the call that it moves."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from stellar_gw.call.admission.admission import Admitted
from stellar_gw.call.target.rules import Ours
from stellar_gw.config import Config
from stellar_gw.config.records import MediaConfig
from stellar_gw.directory.records import Connector, Credential, Environment, Tenant, TrunkProvider
from stellar_gw.sip import replaces
from stellar_gw.sip.checks import Besides
from stellar_gw.sip.flow import Address, Flow, Listener, Transport
from stellar_gw.sip.message import Request
from stellar_gw.sip.refer import NO_SUBSCRIPTION
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr

Caller = Credential | TrunkProvider


@frozen(kw_only=True)
class CallFacts:
    """What is known of the call that is to be transferred.

    :ivar caller: as whom its phone system was admitted.
    :ivar from_: the caller's From.
    :ivar private: the caller asked for privacy (RFC 3323, RFC 3325).
    :ivar source: the phone system's signalling address: its socket's, never a header's.
    :ivar allow: the methods of its Allow, upper-case; None where it sent none.
    :ivar max_forwards: of its INVITE.
    :ivar ours: where we listen ourselves.
    """

    tenant: Tenant
    caller: Caller
    connector: Connector
    environment: Environment
    from_: NameAddr
    private: bool = False
    source: Address
    transport: Transport = "udp"
    allow: tuple[str, ...] | None = None
    max_forwards: int = 70
    ours: Ours = field(factory=Ours)
    media: MediaConfig = field(factory=MediaConfig)


def facts_of(
    request: Request, flow: Flow, admitted: Admitted, config: Config, listeners: Iterable[Listener]
) -> CallFacts:
    """The facts of a call by its INVITE.

    :param listeners: once they are bound.
    """
    route = admitted.route
    return CallFacts(
        tenant=route.tenant,
        caller=admitted.caller,
        connector=route.connector,
        environment=route.environment,
        from_=NameAddr(request.from_.display, request.from_.uri),
        private=wants_privacy(request),
        source=flow.remote,
        transport=flow.transport,
        allow=tuple(method.upper() for method in request.allow) if "Allow" in request.headers else None,
        max_forwards=70 if request.max_forwards is None else request.max_forwards,
        ours=Ours.of(config.hosts | {flow.local[0]}, listeners),
        media=config.media,
    )


def wants_privacy(request: Request) -> bool:
    """Whether the caller does not want to be known (RFC 3323 4.2, RFC 3325 9.3)."""
    asked = {each.strip().lower() for value in request.headers.all("Privacy") for each in value.split(";")}
    return bool(asked & {"id", "user", "header", "session"})


def besides_of(caller: Caller) -> Besides:
    """What a caller may in its dialogs that others may not (``refer``, ``replaces``)."""
    tags = [*([NO_SUBSCRIPTION] if caller.refer else []), *([replaces.TAG] if caller.replaces else [])]
    return Besides(methods=("REFER",) if caller.refer else (), tags=tuple(tags))


def name_of(caller: Caller) -> str:
    """As ``via`` names it."""
    return caller.name if isinstance(caller, TrunkProvider) else caller.username


def transferee_domain(facts: CallFacts) -> tuple[str, int | None]:
    """Host and port of numbers that the caller's phone system is to dial: configured, else its own; never ours."""
    if facts.caller.outbound.domain:
        return facts.caller.outbound.domain, None
    uri = facts.from_.uri
    host = uri.host if isinstance(uri, SipUri) else ""
    if host and not facts.ours.named(host) and not host.endswith(".invalid"):
        return host, None
    address, port = facts.source
    return address, port if facts.transport == "udp" and port != 5060 else None
