"""A network in memory: datagrams that get lost, doubled, delayed and overtaken, and streams that do not.

Everything random comes from one seed, and time from a clock handed in (``twisted.internet.task.Clock``), so a
story that failed once fails again. :meth:`Network.run` moves that clock from one happening to the next, so
that every timer fires at its own time.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from attrs import define, field, frozen
from twisted.internet.task import Clock

Address = tuple[str, int]
FIRST_EPHEMERAL_PORT = 49152


@frozen(kw_only=True)
class Weather:
    """What may happen to a datagram on its way; probabilities from 0 to 1, times in seconds.

    :ivar loss: that it never arrives.
    :ivar duplication: that it arrives twice; the copy takes its own time.
    :ivar delay: shortest and longest; where they differ, datagrams overtake each other.
    """

    loss: float = 0.0
    duplication: float = 0.0
    delay: tuple[float, float] = (0.005, 0.005)


FAIR = Weather()
FOUL = Weather(loss=0.3, duplication=0.1, delay=(0.001, 0.1))
"""30 % loss, 10 % duplication, and reordering."""


@define(eq=False)
class Socket:
    """A UDP socket.

    :ivar sent: every datagram, and where to, in order.
    """

    network: Network
    address: Address
    received: Callable[[bytes, Address], None]
    sent: list[tuple[bytes, Address]] = field(factory=list)

    def send(self, data: bytes, to: Address) -> None:
        self.sent.append((data, to))
        self.network.carry(data, self.address, to)

    def close(self) -> None:
        self.network.close(self)


@define(eq=False)
class Stream:
    """One end of a connection; whoever owns it sets ``received`` and ``lost``.

    :ivar lost: called once, when the other end has closed or the network has cut it.
    """

    network: Network
    local: Address
    remote: Address
    received: Callable[[bytes], None] = lambda data: None
    lost: Callable[[], None] = lambda: None
    other: Stream | None = None
    open: bool = True

    def send(self, data: bytes) -> bool:
        """Whether it is on its way; False once the connection is gone."""
        other = self.other
        if not self.open or other is None:
            return False
        self.network.later(lambda: other.received(data) if other.open else None)
        return True

    def close(self) -> None:
        """Close this end; the other one hears of it after what was sent before."""
        other = self.other
        if self.open and other is not None:
            self.open = False
            self.network.later(other.lose)

    def lose(self) -> None:
        if self.open:
            self.open = False
            self.lost()


class Network:
    """Joins hosts by their addresses.

    :ivar weather: of datagrams, from now on.
    :ivar eats: asked for each datagram (its octets, from, to) whether it is lost, besides the weather.
    :ivar lost: how many datagrams never arrived.
    """

    def __init__(self, clock: Clock, *, seed: int = 0, weather: Weather = FAIR) -> None:
        self.clock = clock
        self.weather = weather
        self.eats: Callable[[bytes, Address, Address], bool] = lambda data, source, to: False
        self.lost = 0
        self._random = Random(seed)
        self._sockets: dict[Address, Socket] = {}
        self._ports: dict[Address, Callable[[Stream], None]] = {}
        self._next_port = FIRST_EPHEMERAL_PORT

    # Datagrams

    def bind(self, address: Address, received: Callable[[bytes, Address], None]) -> Socket:
        """Open a UDP socket.

        :param received: called with each datagram and the address it came from.
        """
        if address in self._sockets:
            raise ValueError(f"{address} is taken")
        socket = self._sockets[address] = Socket(self, address, received)
        return socket

    def close(self, socket: Socket) -> None:
        if self._sockets.get(socket.address) is socket:
            del self._sockets[socket.address]

    def carry(self, data: bytes, source: Address, to: Address) -> None:
        """Take one datagram on its way."""
        weather, dice = self.weather, self._random
        copies = 2 if dice.random() < weather.duplication else 1
        for _ in range(copies):
            if dice.random() < weather.loss or self.eats(data, source, to):
                self.lost += 1
                continue
            self.clock.callLater(dice.uniform(*weather.delay), self._deliver, data, source, to)

    def _deliver(self, data: bytes, source: Address, to: Address) -> None:
        socket = self._sockets.get(to)
        if socket is not None:
            socket.received(data, source)

    # Streams

    def listen(self, address: Address, accepted: Callable[[Stream], None]) -> None:
        """Take connections to an address."""
        if address in self._ports:
            raise ValueError(f"{address} is taken")
        self._ports[address] = accepted

    def unlisten(self, address: Address) -> None:
        """Take no more; connections that are up stay."""
        self._ports.pop(address, None)

    def connect(self, host: str, to: Address) -> Stream | None:
        """Connect from a host; None where nobody listens."""
        accepted = self._ports.get(to)
        if accepted is None:
            return None
        self._next_port += 1
        ours = Stream(self, (host, self._next_port), to)
        theirs = Stream(self, to, ours.local, other=ours)
        ours.other = theirs
        accepted(theirs)
        return ours

    def later(self, happen: Callable[[], object]) -> None:
        """After the shortest delay, in the order it was asked for: streams keep theirs."""
        self.clock.callLater(self.weather.delay[0], happen)

    # Time

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False, limit: int = 1_000_000) -> bool:
        """Let time pass, from one delayed call to the next.

        :param until: looked at after every step.
        :param limit: of steps, so that a story that never ends fails.
        :return: whether ``until`` came true.
        """
        end = self.clock.seconds() + seconds
        for _ in range(limit):
            if until():
                return True
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if due >= end:
                self.clock.advance(max(0.0, end - self.clock.seconds()))
                return until()
            self.clock.advance(max(0.0, due - self.clock.seconds()))
        raise RuntimeError(f"the story goes on and on: {limit} steps in {seconds} s")
