"""What would become of a transfer: for ``stellar-gw-check --transfer``, by the code that decides in the gateway."""

from __future__ import annotations

from stellar_gw.call.admission.admission import Admitted
from stellar_gw.call.target.facts import CallFacts
from stellar_gw.call.target.rules import Ours
from stellar_gw.call.target.target import Target, TargetRefused, choose_target
from stellar_gw.config import Config
from stellar_gw.loading import printable
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.uri import SipUri
from stellar_gw.sip.values import NameAddr


def foretell_transfer(
    config: Config, admitted: Admitted, wanted: str, source: str, transport: Transport
) -> tuple[str, bool]:
    """One line, and whether the transfer would be tried.

    :param wanted: as an agent would say it: a transfer's name, a number or a URI.
    """
    route = admitted.route
    facts = CallFacts(
        tenant=route.tenant,
        caller=admitted.caller,
        connector=route.connector,
        environment=route.environment,
        from_=NameAddr("", SipUri(user="caller", host=source)),
        source=(source, 5060),
        transport=transport,
        ours=Ours.of(config.hosts, [each.listener(each.bind) for each in config.listeners.values()]),
        media=config.media,
    )
    target = choose_target(wanted, None, facts, config.directory)
    told = f"  transfer {printable(wanted)}"
    if isinstance(target, TargetRefused):
        return f"{told}: refused, {target.code}: {target.message}", False
    if target.method == "invite":
        return f"{told}: {_invite(target)}", True
    back = f"; if that fails, {_invite(target)}" if target.fallback else ", and nothing else"
    return f"{told}: REFER to <{target.refer_to}>{back}", True


def _invite(target: Target) -> str:
    sent = f"INVITE {target.uri}"
    if target.next_hop is not None:
        sent += f" by {target.next_hop}"
    sent += f", From {target.from_}"
    if target.credentials is not None:
        realm = f" in realm {target.credentials.realm}" if target.credentials.realm else ""
        sent += f", as {target.credentials.username}{realm}"
    return f"{sent}, SRTP {target.srtp.mode}"
