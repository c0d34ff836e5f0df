"""Everything that is asked for by HTTP, put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort

from stellar_gw.console.health import Health, MetricsPage, Readiness
from stellar_gw.console.twilio_calls import TwilioCalls
from stellar_gw.console.twilio_record import CallIndex
from stellar_gw.console.twilio_verbs import LiveCall
from stellar_gw.console.web import BoundedSite, Root
from stellar_gw.directory.records import Directory
from stellar_gw.errors import StellarError
from stellar_gw.gateway.metrics import Metrics, Sight
from stellar_gw.sip.flow import Address, address_text


@frozen(kw_only=True)
class Sources:
    """What the pages show and act on.

    :ivar count: calls that are up.
    :ivar find: a call that is up, by our own id.
    :ivar directory: as it is now.
    """

    metrics: Metrics
    sight: Sight
    index: CallIndex
    count: Callable[[], int]
    find: Callable[[str], LiveCall | None]
    directory: Callable[[], Directory]


def make_root(sources: Sources, clock: Any) -> Root:
    """Every page, by the first part of its path."""
    calls = TwilioCalls(directory=sources.directory, index=sources.index, find=sources.find, clock=clock)
    return Root(
        {
            "healthz": Health(),
            "readyz": Readiness(sources.sight, sources.count),
            "metrics": MetricsPage(sources.metrics),
            "2010-04-01": calls,
        },
        bare=("healthz", "readyz", "metrics"),
    )


class HttpListening:
    """The listener, while it is open.

    :param reactor: IReactorTCP and IReactorTime.
    :raise StellarError: if it cannot be opened; says why, and what to do.
    """

    def __init__(self, reactor: Any, bind: Address, sources: Sources) -> None:
        self._site = BoundedSite(make_root(sources, reactor), reactor)
        try:
            self._port: IListeningPort = reactor.listenTCP(bind[1], self._site, interface=bind[0])
        except CannotListenError as error:
            why = getattr(error.socketError, "strerror", None) or "it cannot be bound"
            raise StellarError(
                f"http.bind {address_text(bind)}: {why}; bind another port, or end the program that has it"
            ) from None

    @property
    def address(self) -> Address:
        """As it is bound."""
        host: Any = self._port.getHost()
        return host.host, host.port

    def stop(self) -> Deferred[None]:
        """Close the listener and every connection."""
        stopping: Deferred[Any] = maybeDeferred(self._port.stopListening)
        self._site.close()
        return stopping.addCallback(lambda _: None)
