"""A whole gateway in memory: the real core, driver, calls and directory; sockets and media are played."""

from __future__ import annotations

from random import Random

from twisted.internet.task import Clock

from stellar_gw.call.calls import Calls
from stellar_gw.call.events import CallEnded, CallEvent, CallRefused
from stellar_gw.call.record import CallRecord, RefusalRecord
from stellar_gw.config import Config
from stellar_gw.gateway.capabilities import capabilities
from stellar_gw.gateway.driver import Driver
from stellar_gw.sip.core import SipCore
from stellar_gw.testing.media_plane import FakeMediaPlane
from stellar_gw.testing.network import Network
from stellar_gw.testing.reach import MemoryReach
from tests.configurations import configuration

HOST, PORT = "203.0.113.10", 5060


class StoryGateway:
    """The gateway at 203.0.113.10:5060 over UDP.

    :ivar reach: its sockets, and the names it knows (``reach.names``).
    :ivar events: every call event, in order.
    """

    def __init__(self, network: Network, config: Config | None = None, seed: int = 1) -> None:
        clock: Clock = network.clock
        config = config or configuration()
        listener = config.listeners["udp"].listener((HOST, PORT))
        self.reach = MemoryReach(network, [listener])
        random = Random(seed)
        self.core = SipCore(
            {listener.name: listener}, user_agent="stellar-gw", rng=random.randbytes, able=capabilities(config.sip)
        )
        self.driver = self.reach.owner = Driver(self.core, clock, self.reach)
        self.plane = FakeMediaPlane(clock)
        self.events: list[CallEvent] = []
        self.listeners = {listener.name: listener}
        self.calls = Calls(
            config,
            listeners=self.listeners,
            signalling=self.driver,
            plane=self.plane,
            clock=clock,
            wall=lambda: 1_000_000.0 + clock.seconds(),
            rng=random.randbytes,
            tell=self.events.append,
        )
        self.driver.connect(self.calls)
        self.plane.listener = self.calls.heard

    @property
    def records(self) -> list[CallRecord]:
        return [event.record for event in self.events if isinstance(event, CallEnded)]

    @property
    def refusals(self) -> list[RefusalRecord]:
        return [event.record for event in self.events if isinstance(event, CallRefused)]

    @property
    def at_rest(self) -> bool:
        """Whether nothing is left of any call."""
        return self.core.idle and not len(self.calls) and not self.plane.calls
