"""What a worker is told of a call's agent: to connect it, and what to tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import frozen
from twisted.python.failure import Failure

from stellar_gw.call.context.context import make_context
from stellar_gw.call.leg.caller import CallerLeg
from stellar_gw.call.ports import MediaPlane
from stellar_gw.control.messages import Secret, StartAgent, Tell
from stellar_gw.dialects.template import fill_header, fill_url
from stellar_gw.directory.records import Route
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request

TellAgent = Callable[[str, dict[str, str]], None]
"""A kind, and details."""


@frozen(kw_only=True)
class AgentLimits:
    """Seconds; see ``AgentConfig``."""

    connect_timeout: float = 3.0
    ping_interval: float = 5.0
    ping_timeout: float = 5.0


def start_agent(
    request: Request, flow: Flow, route: Route, call_id: str, codec: str, limits: AgentLimits, *, srtp: bool = False
) -> StartAgent:
    """:raise StellarError: where the URL or a header cannot be filled in from this call."""
    environment = route.environment
    context = make_context(request, flow, route, call_id, codec=codec, srtp=srtp)
    return StartAgent(
        request=0,
        call=call_id,
        dialect=environment.dialect,
        url=Secret(fill_url(environment.url.value, context)),
        headers=tuple((name, Secret(fill_header(value.value, context))) for name, value in environment.headers),
        context=context,
        options={**environment.options, **route.connector.options},
        connect_timeout=limits.connect_timeout,
        ping_interval=limits.ping_interval,
        ping_timeout=limits.ping_timeout,
        inband=route.connector.dtmf == "inband",
        barge_in=route.connector.barge_in,
        resumes=environment.resumes,
        filler=environment.filler,
    )


def early_media(route: Route, leg: CallerLeg) -> Literal["off", "ringback", "agent"]:
    """What the caller hears before the answer; nothing where its INVITE has no offer to be answered in a 183."""
    return "off" if leg.media.negotiated is None else route.connector.early_media


def tell_agent(
    plane: MediaPlane, call_id: str, failed: Callable[[Failure], None], kind: str, detail: dict[str, str]
) -> None:
    """Have a worker tell an agent something of its call.

    :param failed: called where it cannot.
    """
    plane.ask(Tell(request=0, call=call_id, kind=kind, detail=detail)).addErrback(failed)
