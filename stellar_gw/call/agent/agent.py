"""What a worker is told to connect a call to its agent."""

from __future__ import annotations

from attrs import frozen

from stellar_gw.call.context.context import make_context
from stellar_gw.control.messages import Secret, StartAgent
from stellar_gw.dialects.template import fill_header, fill_url
from stellar_gw.directory.records import Route
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.message import Request


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
