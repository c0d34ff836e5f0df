"""Ask a trunk now and then whether it is there (OPTIONS, RFC 3261 11), and have calls avoid a server that is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import CancelledError, Deferred

from stellar_gw.call.events import TrunkChanged
from stellar_gw.call.ports import NoWay, Signalling
from stellar_gw.call.timers import Timers
from stellar_gw.call.trunk.trunk import Trunk
from stellar_gw.call.usages import Usages
from stellar_gw.sip.events import ResponseReceived
from stellar_gw.sip.flow import Flow, Listener, Way
from stellar_gw.sip.message import Response
from stellar_gw.sip.uri import SipUri, in_to
from stellar_gw.sip.values import NameAddr

PATIENCE = 4.0
"""Seconds for an answer, before the next way has its turn."""
MISSED = 2
"""Rounds without any answer, before a trunk counts as down."""
SOON = 0.5
"""Seconds from the start to the first round."""


class Health:
    """What is known of a trunk.

    :ivar up: None: nothing yet.
    """

    def __init__(self) -> None:
        self.up: bool | None = None
        self._missed = 0

    def answered(self) -> bool:
        """Whether it has just come up, or been heard of for the first time."""
        self._missed = 0
        was, self.up = self.up, True
        return was is not True

    def missed(self) -> bool:
        """Whether it has just gone down."""
        self._missed += 1
        if self.up is False or self._missed < MISSED:
            return False
        self.up = False
        return True


def is_there(response: Response | None) -> bool:
    """Whether an answer shows a server at work: any will do, except that it, or all behind it, cannot take calls."""
    return response is not None and response.status not in (408, 503)


class Probe:
    """Asks one trunk, from :meth:`start` to :meth:`stop`."""

    def __init__(
        self,
        trunk: Trunk,
        *,
        listeners: Mapping[str, Listener],
        signalling: Signalling,
        usages: Usages,
        timers: Timers,
        rng: Callable[[int], bytes],
        tell: Callable[[TrunkChanged], None],
    ) -> None:
        self.trunk, self.health = trunk, Health()
        self._listeners, self._signalling, self._usages = listeners, signalling, usages
        self._timers, self._rng, self._tell = timers, rng, tell
        self._round: Deferred[None] | None = None

    def start(self) -> None:
        self._timers.start("probe", SOON, self._begin)

    def stop(self) -> None:
        self._timers.stop_all()
        if self._round is not None:
            self._round.cancel()

    def _begin(self) -> None:
        # Not all trunks at the same moment, nor all gateways: ten percent sooner or later.
        chance = int.from_bytes(self._rng(4), "big") / (1 << 32)
        self._timers.start("probe", self.trunk.probe * (0.9 + chance / 5), self._begin)
        if self._round is not None:
            self._round.cancel()
        self._round = Deferred.fromCoroutine(self._ask_all())
        self._round.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _ask_all(self) -> None:
        """One round: each way in order, until one answers."""
        trunk, why = self.trunk, ""
        try:
            ways = await self._signalling.route(
                trunk.next_hop, tls_name=trunk.tls_name, client_certificate=trunk.client_certificate
            )
        except NoWay as error:
            ways, why = (), str(error)
        for way in ways:
            try:
                flow = await self._signalling.open(way)
            except NoWay as error:
                why = str(error)
                continue
            response = await self._ask(flow)
            if is_there(response):
                self._answered(way)
                return
            why = f"{way}: " + ("no answer to OPTIONS" if response is None else f"{response.status} to OPTIONS")
            self._signalling.mark_failed(way, 2 * trunk.probe)
        if self.health.missed():
            self._tell(TrunkChanged(trunk.name, "probe", False, f"down: {why}"))

    def _answered(self, way: Way) -> None:
        if self.health.answered():
            self._tell(TrunkChanged(self.trunk.name, "probe", True, f"up: {way} answers OPTIONS"))

    def _ask(self, flow: Flow) -> Deferred[Response | None]:
        """OPTIONS, and its answer; None: there is none in time."""
        heard: Deferred[Response | None] = Deferred()

        def answered(response: Response | None) -> None:
            if not heard.called:
                self._timers.stop("patience")
                heard.callback(response)

        def answer(event: ResponseReceived) -> None:
            answered(event.response)

        self._timers.start("patience", PATIENCE, lambda: answered(None))
        host = self._listeners[flow.listener].advertise[0]
        to = SipUri(scheme=self.trunk.to.scheme, host=self.trunk.to.host, port=self.trunk.to.port)
        self._usages.ask_outside(
            "OPTIONS", to, flow, answer, from_=NameAddr("", SipUri(host=host)), to=NameAddr("", in_to(to))
        )
        return heard
