"""A whole gateway in memory: the real core, driver, calls and directory; sockets and media are played."""

from __future__ import annotations

from random import Random

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from stellar_gw.call.calls import Calls
from stellar_gw.call.events import CallEnded, CallEvent, CallRefused
from stellar_gw.call.record import CallRecord, RefusalRecord
from stellar_gw.config import Config
from stellar_gw.gateway.driver import Driver
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Address, Flow, Listener
from stellar_gw.testing.media_plane import FakeMediaPlane
from stellar_gw.testing.network import Network
from tests.configurations import configuration

HOST, PORT = "203.0.113.10", 5060


class MemoryFlows:
    """The driver's table of flows: one UDP socket of the network in memory."""

    def __init__(self, network: Network, listener: Listener) -> None:
        self.driver: Driver | None = None
        self._listener = listener
        self._socket = network.bind(listener.bind, self._received)

    def send(self, packet: bytes, flow: Flow) -> bool:
        self._socket.send(packet, flow.remote)
        return True

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        if needed.fallback is None:
            return fail(ConnectionError("no flow"))
        return succeed(needed.fallback)

    def _received(self, data: bytes, source: Address) -> None:
        assert self.driver is not None
        host, port = source
        number = -abs(hash((host, port))) - 1
        self.driver.received(data, Flow(number, "udp", self._listener.name, self._listener.bind, source))


class StoryGateway:
    """The gateway at 203.0.113.10:5060 over UDP.

    :ivar events: every call event, in order.
    """

    def __init__(self, network: Network, config: Config | None = None, seed: int = 1) -> None:
        clock: Clock = network.clock
        config = config or configuration()
        listener = config.listeners["udp"].listener((HOST, PORT))
        flows = MemoryFlows(network, listener)
        random = Random(seed)
        self.core = SipCore({listener.name: listener}, user_agent="stellar-gw", rng=random.randbytes)
        self.driver = flows.driver = Driver(self.core, clock, flows)
        self.plane = FakeMediaPlane(clock)
        self.events: list[CallEvent] = []
        self.calls = Calls(
            config,
            listeners={listener.name: listener},
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
