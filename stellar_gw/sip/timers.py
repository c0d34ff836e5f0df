"""SIP's timers: their durations (RFC 3261 table 4, RFC 6026) and one heap for all that run."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from attrs import define, field, frozen, validators


@frozen(kw_only=True)
class Timers:
    """The three base values, seconds; every other timer is made from them."""

    t1: float = field(default=0.5, validator=validators.gt(0.0))
    t2: float = field(default=4.0, validator=validators.gt(0.0))
    t4: float = field(default=5.0, validator=validators.ge(0.0))

    @property
    def timeout(self) -> float:
        """Timers B, F, H, J, L and M, and how long a 2xx waits for its ACK: 64*T1."""
        return 64 * self.t1

    @property
    def d(self) -> float:
        """How long answers to our INVITE are acknowledged again over UDP: at least 32 s (17.1.1.2)."""
        return max(32.0, 64 * self.t1)


@define(eq=False)
class Alarm:
    """One running timer; ``act`` is None once it is stopped or has fired."""

    at: float
    act: Callable[..., object] | None
    arguments: tuple[object, ...]


class TimerHeap:
    """All running timers of a core, and the time of the call that is being served.

    :ivar now: seconds on the caller's clock, set at each entry to the core.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Alarm]] = []
        self._started = 0
        self._stopped = 0

    def start(self, delay: float, act: Callable[..., object], *arguments: object) -> Alarm:
        """Call ``act`` when ``delay`` seconds have passed; equal times fire in the order they were started.

        The arguments stand apart, for a closure would be half a dozen objects more for the garbage collector
        to walk over, in each of thousands of timers.
        """
        alarm = Alarm(self.now + delay, act, arguments)
        self._started += 1
        heappush(self._heap, (alarm.at, self._started, alarm))
        return alarm

    def stop(self, alarm: Alarm) -> None:
        """Stop it; one that has fired or is stopped stays so."""
        if alarm.act is None:
            return
        alarm.act, alarm.arguments = None, ()
        self._stopped += 1
        # Most timers are stopped long before they would fire: do not carry them along for 32 s.
        if self._stopped > 64 and self._stopped * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].act is not None]
            heapify(self._heap)
            self._stopped = 0

    def next(self) -> float | None:
        """When the next one fires, on the caller's clock."""
        while self._heap and self._heap[0][2].act is None:
            heappop(self._heap)
            self._stopped -= 1
        return self._heap[0][0] if self._heap else None

    def fire(self) -> None:
        """Fire all that are due by ``now``, in order; those they start and that are due too, as well."""
        while (due := self.next()) is not None and due <= self.now:
            alarm = heappop(self._heap)[2]
            act, arguments = alarm.act, alarm.arguments
            alarm.act, alarm.arguments = None, ()
            if act is not None:
                act(*arguments)

    def __len__(self) -> int:
        """How many are running."""
        return len(self._heap) - self._stopped
