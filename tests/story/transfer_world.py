"""A gateway, the phone system that calls it, and the house that a caller is transferred to, in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.task import Clock

from stellar_gw.control import messages
from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.checks import Capabilities
from stellar_gw.sip.events import Event, Reoffered, RequestInDialog, RequestReceived, UsageId
from stellar_gw.sip.message import Request
from stellar_gw.sip.uri import SipUri
from stellar_gw.testing.network import FAIR, Network, Weather
from stellar_gw.testing.sip_peer import ANSWER, SipPeer, brief
from tests.configurations import CONFIGURATION, configuration
from tests.story.gateway import HOST, PORT, StoryGateway

PBX, HOUSE = "198.51.100.7", "198.51.100.20"
_TRANSFERS = f"""\
    transfers:
      house: {{to: "sip:200@{HOUSE}", about: "Somebody at home"}}
      ours: {{to: "sip:200@{HOUSE}", method: invite}}
      only: {{to: "sip:200@{HOUSE}", method: refer, fallback: false}}
      never: {{to: "sip:200@{HOUSE}", method: invite, ring_timeout: 10s}}
"""
TEXT = CONFIGURATION.replace("    connectors:\n      front-desk", _TRANSFERS + "    connectors:\n      front-desk", 1)

ABLE = Capabilities(allow=("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "NOTIFY", "REFER", "SUBSCRIBE"))

Script = Callable[[SipPeer, Event], None]
Notify = tuple[float, str, str]
"""Seconds after the REFER, the sipfrag's first line, and the Subscription-State."""
ACTIVE, OVER = "active;expires=60", "terminated;reason=noresource"
GOOD: Sequence[Notify] = ((0.1, "100 Trying", ACTIVE), (0.5, "180 Ringing", ACTIVE), (1.0, "200 OK", OVER))


class TransferWorld:
    """
    :param refer: how the phone system answers a REFER.
    :param notifies: what it tells after it has taken one.
    :param house: the target's script.
    :param text: the gateway's configuration.
    :ivar outcomes: what the agent was told, as states, in order; the final ones with result or code.
    """

    def __init__(
        self,
        *,
        refer: int = 202,
        refer_headers: Sequence[tuple[str, str]] = (),
        notifies: Sequence[Notify] = GOOD,
        house: Script | None = None,
        weather: Weather = FAIR,
        seed: int = 0,
        text: str = TEXT,
    ) -> None:
        self.clock = Clock()
        self.network = Network(self.clock, seed=seed, weather=weather)
        self.gateway = StoryGateway(self.network, configuration(text), seed=seed + 1)
        self.refer, self.refer_headers, self.notifies = refer, refer_headers, notifies
        self.referred: list[Request] = []
        self.notified: list[str] = []
        self.pbx = SipPeer(self.network, PBX, script=self._pbx, able=ABLE)
        self.house = SipPeer(self.network, HOUSE, script=house or _silent)
        self.usage: UsageId = ""

    # --- the call -------------------------------------------------------------------------------

    def call(self) -> None:
        """The phone system calls, and talks with the agent for a moment."""
        uri = SipUri(user="+31201230000", host="sip.acme.example")
        self.usage = self.pbx.call_uri(uri, self.pbx.flow_to((HOST, PORT)))
        self.run(3.0, lambda: bool(self.plane_call) and self.plane_call.answered)
        self.run(0.5)

    @property
    def plane_call(self) -> Any:
        return next(iter(self.gateway.plane.calls.values()), None)

    @property
    def call_id(self) -> str:
        return next(iter(self.gateway.plane.calls))

    def ask(self, to: str = "house", ask: str = "t1", **parameters: str) -> None:
        """The agent asks for a transfer."""
        asked = messages.AgentAsked(
            generation=1, call=self.call_id, ask=ask, verb="transfer", parameters={"to": to, **parameters}
        )
        self.gateway.plane.say(asked)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        return self.network.run(seconds, until=until)

    def rests(self) -> bool:
        """Nothing of any call is left in the gateway."""
        return self.gateway.at_rest

    def run_out(self, seconds: float = 400.0) -> bool:
        """Until nothing of any call is left anywhere."""
        return self.run(seconds, lambda: self.gateway.at_rest and self.pbx.core.idle and self.house.core.idle)

    # --- what the others do ---------------------------------------------------------------------

    def _pbx(self, peer: SipPeer, event: Event) -> None:
        if isinstance(event, RequestInDialog) and event.request.method == "REFER":
            self.referred.append(event.request)
            peer.core.respond_in(event.token, self.refer, peer.now, "", list(self.refer_headers))
            if self.refer < 300:
                for seconds, line, state in self.notifies:
                    self.clock.callLater(seconds, self._notify, event.usage, line, state)
        elif isinstance(event, RequestInDialog):
            peer.core.respond_in(event.token, 200, peer.now)

    def _notify(self, usage: UsageId, line: str, state: str) -> None:
        try:
            self.pbx.core.dialog(usage)
        except LocalProtocolError:
            return  # it has hung up
        headers = [("Event", "refer"), ("Subscription-State", state)]
        body = f"SIP/2.0 {line}\r\n".encode()
        self.pbx.core.request_in(usage, "NOTIFY", self.pbx.now, headers, body, "message/sipfrag;version=2.0")
        self.pbx.turn()

    # --- what it came to ------------------------------------------------------------------------

    def heard(self, peer: SipPeer | None = None) -> list[str]:
        return [brief(message) for message in (peer or self.pbx).heard]

    @property
    def record(self) -> Any:
        [record] = self.gateway.records
        return record

    def transfers(self) -> list[tuple[str, str | None]]:
        """Result and code of each transfer in the call's one record."""
        return [(each["result"], each["code"]) for each in self.record.transfers]


def _silent(peer: SipPeer, event: Event) -> None:
    """Nobody is at home: not even a response."""


def rings(peer: SipPeer, event: Event) -> None:
    """It rings, for ever."""
    if isinstance(event, RequestReceived):
        usage = peer.core.accept(event.request, event.flow, peer.now)
        if usage is not None:
            peer.core.ring(usage, peer.now)


def refuses(status: int) -> Script:
    def script(peer: SipPeer, event: Event) -> None:
        if isinstance(event, RequestReceived):
            peer.core.respond(event.request, event.flow, status)

    return script


def picks_up(after: float = 1.0) -> Script:
    """It rings, and somebody answers."""

    def script(peer: SipPeer, event: Event) -> None:
        if isinstance(event, Reoffered):
            peer.core.answer(event.usage, ANSWER, peer.now)
        if not isinstance(event, RequestReceived):
            return
        usage = peer.core.accept(event.request, event.flow, peer.now)
        if usage is None:
            return
        peer.core.ring(usage, peer.now)

        def answer() -> None:
            peer.core.answer(usage, ANSWER, peer.now)
            peer.turn()

        peer.network.clock.callLater(after, answer)

    return script
