"""Where a transfer goes, and how: what an agent asked for, the configuration and the call made into one record.

Theory of operation. An agent names a transfer of its tenant, or, as far as ``transfer_targets`` allows, a number or
a URI; the agent is a language model and its words are nobody's authority, so whatever it did not find in the
configuration is denied. In RFC 5589's words the caller's phone system is the transferee. It is asked by REFER to
dial the target itself, unless the target's way (``via``) is another system's: a carrier cannot dial somebody else's
private extension. An INVITE of ours goes out by the way's ``outbound``, with its caller ID and its digest account.

Everything here is pure: :func:`choose_target` looks at facts and a directory, and dials nothing. What DNS makes of a
name is not known yet, so that whoever dials asks :meth:`Target.may_reach` about each address.
"""

from __future__ import annotations

from attrs import evolve, field, frozen

from stellar_gw.call.leg.srtp import SrtpTerms, srtp_terms
from stellar_gw.call.target.facts import Caller, CallFacts, name_of, transferee_domain
from stellar_gw.call.target.identity import HeaderItems, Identity, identity_of
from stellar_gw.call.target.names import Wanted, find_target
from stellar_gw.call.target.rules import Ours, TargetRefused
from stellar_gw.directory.records import (
    Confirm,
    Directory,
    Environment,
    Hold,
    NoRoute,
    Outbound,
    TrunkProvider,
    WhileRinging,
)
from stellar_gw.sip.credentials import ClientCredentials
from stellar_gw.sip.hosts import is_private, numeric
from stellar_gw.sip.params import Params
from stellar_gw.sip.uri import SipUri, TelUri
from stellar_gw.sip.values import NameAddr

METHODS = ("auto", "refer", "invite")


@frozen(kw_only=True)
class Target:
    """One place to transfer a caller to, with everything that REFER and INVITE need to know of it.

    :ivar name: the transfer's; empty where the agent named a number or a URI.
    :ivar told: how records and logs name it: the transfer's name, else what the agent said.
    :ivar uri: the Request-URI and To of an INVITE.
    :ivar refer_to: what Refer-To holds; X-* headers are not in it yet.
    :ivar method: what is tried first.
    :ivar fallback: whether an INVITE follows a REFER that failed.
    :ivar next_hop: where the INVITE is sent, without a Route header; None: where ``uri`` itself leads.
    :ivar tls_name: the name that the certificate there must carry; empty: the host of the next hop.
    :ivar client_certificate: the path of a PEM file to show there; empty: none.
    :ivar from_: the INVITE's From, without a tag.
    :ivar identity: headers that go with it: P-Asserted-Identity, Privacy.
    :ivar credentials: answer challenges of the INVITE and its dialog, and of nothing else.
    :ivar ice: our offers to it take part in ICE, as a lite agent.
    :ivar strict_latch: its RTP comes from the address in its SDP or of its signalling only.
    :ivar hold: the direction of offers that put the target on hold.
    :ivar embed_headers: X-* headers stand in Refer-To as well as in the REFER.
    :ivar max_forwards: of the REFER and the INVITE (RFC 7332).
    :ivar bridge_duration: seconds that caller and target may talk; 0: no limit.
    :ivar via: the way's name; empty where there is none.
    :ivar private: private addresses may be reached; ``private_hop``: by its next hop only; those of ``system``, the
        calling one, always.
    """

    name: str
    told: str
    uri: SipUri
    refer_to: SipUri | TelUri
    method: str
    fallback: bool
    next_hop: SipUri | None = None
    tls_name: str = ""
    client_certificate: str = ""
    from_: NameAddr
    identity: HeaderItems = ()
    credentials: ClientCredentials | None = None
    srtp: SrtpTerms = field(factory=SrtpTerms)
    ice: bool = False
    strict_latch: bool = False
    hold: Hold = "sendonly"
    ring_timeout: float = 30.0
    redirects: bool = False
    confirm: Confirm | None = None
    digits: str = ""
    while_ringing: WhileRinging = "agent"
    music: str = ""
    embed_headers: bool = False
    max_forwards: int = 69
    bridge_duration: float = 14400.0
    via: str = ""
    private: bool = False
    private_hop: bool = False
    system: frozenset[str] = frozenset()
    ours: Ours = field(factory=Ours)

    def may_reach(self, address: str, port: int, *, own_hop: bool = True) -> bool:
        """Whether the INVITE may go to an address, once a name has become one.

        :param address: numeric.
        :param own_hop: it is the target's own next hop, and not where a redirection leads.
        """
        if self.ours.holds(address, port):
            return False
        private = self.private or (self.private_hop and own_hop)
        return private or not is_private(address) or numeric(address) in self.system


@frozen(kw_only=True)
class _Way:
    """:ivar own: whether it is the calling system's."""

    name: str
    caller: Caller
    outbound: Outbound
    own: bool


def choose_target(wanted: str, method: str | None, facts: CallFacts, directory: Directory) -> Target | TargetRefused:
    """What a request to transfer comes to.

    :param wanted: a transfer's name, a phone number or a URI, as the agent said it.
    :param method: ``auto``, ``refer``, ``invite``, or None for ``auto``. A method that the configuration forces stays.
    """
    if method not in (None, *METHODS):
        return TargetRefused("bad_method", "method must be auto, refer or invite")
    if facts.max_forwards < 2:
        return TargetRefused("too_many_hops", "the call has passed too many systems on its way here (Max-Forwards)")
    found = find_target(wanted, facts.tenant, directory)
    if isinstance(found, TargetRefused):
        return found
    way = _way(found, facts, directory)
    if isinstance(way, TargetRefused):
        return way
    if looped := _loop(found, facts, directory):
        return looped
    return _with_method(_make(found, way, facts, directory), found, way, method, facts)


def _way(found: Wanted, facts: CallFacts, directory: Directory) -> _Way | TargetRefused:
    own, transfer = facts.caller, found.transfer
    if transfer.via in ("", name_of(own)):
        outbound = own.outbound
        if not transfer.via and found.uri is not None and not _is_system(found.uri.host, facts):
            # Elsewhere, and no way is named: straight there, where the calling system's account is nobody's business.
            outbound = Outbound(caller_id=outbound.caller_id, identity=outbound.identity)
        return _Way(name=transfer.via, caller=own, outbound=outbound, own=True)
    caller: Caller | None = next(
        (each for each in directory.providers() if each.name == transfer.via and facts.tenant.name in each.tenants),
        None,
    )
    if caller is None:
        credential = directory.credential(transfer.via)
        caller = credential if credential is not None and credential.tenant == facts.tenant.name else None
    if caller is None:
        return TargetRefused(
            "no_route", f"transfer {transfer.name} goes by {transfer.via}, which is not there any more"
        )
    return _Way(name=transfer.via, caller=caller, outbound=caller.outbound, own=False)


def _loop(found: Wanted, facts: CallFacts, directory: Directory) -> TargetRefused | None:
    """Numbers and addresses that would lead the caller back to us."""
    refused = TargetRefused("loop", f"{found.told} leads back to this gateway")
    if found.uri is not None and facts.ours.serves(found.uri):
        return refused
    if not found.number:
        return None
    callers: list[Caller] = [facts.caller]
    callers += [each for each in directory.providers() if facts.tenant.name in each.tenants]
    for caller in callers:
        if isinstance(caller, TrunkProvider):
            route = directory.route_for_provider(found.number, caller, facts.source[0])
        else:
            route = directory.route_for_credential(found.number, caller)
        if not isinstance(route, NoRoute):
            return refused
    return None


def _make(found: Wanted, way: _Way, facts: CallFacts, directory: Directory) -> Target:
    transfer, outbound, (domain, port) = found.transfer, way.outbound, transferee_domain(facts)
    dialled = SipUri(user=found.number, host=domain, port=port)
    refer_to: SipUri | TelUri = found.tel or found.uri or dialled
    uri = found.uri or dialled
    hop = outbound.to or (None if way.own else outbound.proxy or facts.tenant.outbound_proxy)
    if found.number and hop is not None:
        uri = SipUri(scheme=hop.scheme, user=found.number, host=hop.host, port=hop.port)
    next_hop = _next_hop(found, way, facts)
    identity: Identity = identity_of(facts.from_, facts.private, outbound, directory.domain)
    return Target(
        name=transfer.name,
        told=found.told,
        uri=uri,
        refer_to=refer_to,
        method="refer",
        fallback=transfer.fallback,
        next_hop=next_hop,
        tls_name=outbound.tls_name,
        client_certificate=outbound.client_certificate,
        from_=identity.from_,
        identity=identity.headers,
        credentials=_credentials(uri, next_hop, outbound, facts.environment),
        srtp=_srtp(way, facts),
        ice=way.caller.ice,
        strict_latch=isinstance(way.caller, TrunkProvider) and way.caller.strict_latch,
        hold=way.caller.hold,
        ring_timeout=transfer.ring_timeout,
        redirects=outbound.redirects,
        confirm=transfer.confirm,
        digits=transfer.digits,
        while_ringing=transfer.while_ringing,
        music=transfer.music,
        embed_headers=_embeds(facts),
        max_forwards=facts.max_forwards - 1,
        bridge_duration=facts.tenant.limits.bridge_duration,
        via=way.name,
        private=facts.tenant.private_targets,
        private_hop=_trusted_hop(way),
        system=_system(facts),
        ours=facts.ours,
    )


def _next_hop(found: Wanted, way: _Way, facts: CallFacts) -> SipUri | None:
    hop = way.outbound.proxy or way.outbound.to or facts.tenant.outbound_proxy
    if hop is not None or not way.own:
        return hop
    # The calling system has no address but the one it calls from; names of its own need not be in any DNS.
    host = found.uri.host if found.uri is not None else ""
    if host and not (numeric(host) is None and is_private(host) and _is_system(host, facts)):
        return None
    address, port = facts.source
    params = Params([("transport", facts.transport)] if facts.transport != "udp" else [])
    return SipUri(host=address, port=port if facts.transport == "udp" else None, params=params)


def _with_method(
    target: Target, found: Wanted, way: _Way, asked: str | None, facts: CallFacts
) -> Target | TargetRefused:
    transfer = found.transfer
    forced = transfer.method if transfer.method != "auto" else asked or "auto"
    knows_refer = facts.allow is None or "REFER" in facts.allow
    blocked = _invite_blocked(target, found, way)
    method = forced
    if forced == "auto":
        method = "refer" if way.own and knows_refer else "invite"
    elif forced == "refer" and not knows_refer:
        if not target.fallback or blocked is not None:
            return TargetRefused("refer_unsupported", "the caller's phone system does not take REFER (its Allow)")
        method = "invite"
    if method == "invite" and blocked is not None:
        return blocked
    # An agent that asks for REFER still wants its caller moved; only the operator says that REFER is all there is.
    return evolve(target, method=method, fallback=method == "refer" and target.fallback and blocked is None)


def _invite_blocked(target: Target, found: Wanted, way: _Way) -> TargetRefused | None:
    """Why no INVITE of ours may go there."""
    hop = target.next_hop or target.uri
    if found.number and not way.own and target.next_hop is None:
        return TargetRefused("no_route", f"{target.told} goes by {way.name}, which has no outbound.to")
    if target.ours.serves(hop):
        return TargetRefused("loop", f"{target.told} leads back to this gateway")
    if (
        is_private(hop.host)
        and not (target.private or target.private_hop)
        and (numeric(hop.host) or hop.host) not in target.system
    ):
        return TargetRefused(
            "private_target", f"{target.told} is at a private address, and the tenant's private_targets is not set"
        )
    return None


def _trusted_hop(way: _Way) -> bool:
    """Whoever runs the installation wrote the address of a provider; a tenant wrote that of a credential."""
    outbound = way.outbound
    return isinstance(way.caller, TrunkProvider) and (outbound.proxy or outbound.to) is not None


def _system(facts: CallFacts) -> frozenset[str]:
    """Addresses and names of the calling system, which may be reached wherever they are."""
    outbound = facts.caller.outbound
    hosts = {numeric(facts.source[0]) or facts.source[0], *(hop.host for hop in (outbound.to, outbound.proxy) if hop)}
    return frozenset(hosts)


def _is_system(host: str, facts: CallFacts) -> bool:
    return host in _system(facts) or host == transferee_domain(facts)[0]


def _credentials(
    uri: SipUri, next_hop: SipUri | None, outbound: Outbound, environment: Environment
) -> ClientCredentials | None:
    """The environment's account for that host goes first; the way's own answers only where the way leads.

    They are bound to the Request-URI's host, which is what a challenge comes back for: the request is sent to
    ``next_hop``, so that nobody else is asked.
    """
    hosts = {hop.host for hop in (next_hop or uri,)}
    for account in environment.outbound.values():
        if account.host in hosts:
            return ClientCredentials(
                username=account.username,
                password=account.password.value,
                realm=account.realm or None,
                host=uri.host,
            )
    if outbound.username and outbound.to is not None:
        return ClientCredentials(
            username=outbound.username,
            password=outbound.password.value,
            realm=outbound.realm or None,
            host=uri.host,
        )
    return None


def _srtp(way: _Way, facts: CallFacts) -> SrtpTerms:
    """``outbound.srtp``; else what calls of that system have, with what the connector demands."""
    terms = srtp_terms(facts.media, way.caller, facts.connector)
    mode = way.outbound.srtp
    if mode is None:
        return terms
    by = f"outbound.srtp of {name_of(way.caller)} ({way.caller.where})"
    offer = way.caller.srtp_offer or ("savp" if mode == "required" else "avp")
    return evolve(terms, mode=mode, by=by, offer=offer)


def _embeds(facts: CallFacts) -> bool:
    wanted = facts.connector.x_headers_in_refer_to
    return facts.caller.outbound.x_headers_in_refer_to if wanted is None else wanted


__all__ = ["CallFacts", "Ours", "Target", "TargetRefused", "choose_target"]
