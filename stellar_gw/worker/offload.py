"""A bridge's way through the kernel: when it is asked for, how long it holds, and how calls come back from it.

Once both directions have taken the short way for a while, unchanged and of one payload type, the kernel may pass the
packets on (:mod:`stellar_gw.worker.fastpath`). Whatever would have ended the short way ends this one at once; so does a
packet of the peer's that comes up to us, because the kernel passes those of its payload type alone: a digit, comfort
noise, another codec. Packets keep the SSRC of the peer that sent them while the kernel passes them on, and so RTCP is
passed on, too (RFC 3550 7.2); afterwards our own stream goes on where it would be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum

from msgspec.structs import astuple
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from stellar_gw.control.fastpath import Tally
from stellar_gw.worker.fastpath import FastPath
from stellar_gw.worker.rtp_port import RtpPort

CALM = 5
"""Looks at a bridge, 200 ms apart, between which nothing happened, before it is worth it."""
GRACE = 0.2
"""Seconds for which packets still come that had been queued when the kernel began."""
AGAIN = (5.0, 80.0)
"""Seconds after an end before the kernel is asked again: the first time, and at most, for each end doubles it."""
SILENT = 2
"""Counts in a row, a second apart, without a packet of one of the two peers': it may have moved."""
STUCK = 5
"""Packets that have come in, none of which has gone out."""
_log = Logger()


class State(Enum):
    OFF = "off"
    ASKED = "asked"
    OPEN = "open"
    CLOSING = "closing"


class Offload:
    """One call's; of its legs, the two that hear each other."""

    def __init__(self, fast_path: FastPath, now: Callable[[], float]) -> None:
        self._fast_path = fast_path
        self._now = now
        self._state = State.OFF
        self._ports: tuple[RtpPort, ...] = ()
        self._bridge = 0
        self._payload_type = -1
        self._calm = 0
        self._opened_at = 0.0
        self._again_at = 0.0
        self._pause = AGAIN[0]
        self._seen = (Tally(), Tally())
        self._silent = [0, 0]
        self._waiting: list[Deferred[None]] = []

    @property
    def open(self) -> bool:
        return self._state is State.OPEN

    @property
    def wanted(self) -> bool:
        """The kernel may be asked for."""
        return self._state is State.OFF and self._fast_path.available

    def at_ease(self, ports: Sequence[RtpPort]) -> None:
        """Nothing has happened to the call's ports since the last look."""
        if not self.wanted or len(ports) != 2:
            return
        self._calm += 1
        if self._calm >= CALM and self._now() >= self._again_at:
            self._calm = 0
            self._ask(ports[0], ports[1])

    def _ask(self, one: RtpPort, two: RtpPort) -> None:
        ends = one.fast_end(two), two.fast_end(one)
        if ends[0] is None or ends[1] is None or ends[0][1] != ends[1][1]:
            return
        self._state = State.ASKED
        self._ports = (one, two)
        self._seen, self._silent = (Tally(), Tally()), [0, 0]
        one.offload = two.offload = self
        self._payload_type = ends[0][1]
        self._bridge = self._fast_path.open(self._payload_type, (ends[0][0], ends[1][0]), self)

    def end(self) -> None:
        """Packets come up to us again, each to be looked at; nothing where they do already."""
        if self._state not in (State.ASKED, State.OPEN):
            return
        was_open, self._state = self._state is State.OPEN, State.CLOSING
        self._let_go(was_open)
        self._fast_path.close(self._bridge)

    def _let_go(self, was_open: bool) -> None:
        now = self._now()
        self._calm = 0
        self._again_at = now + self._pause
        self._pause = min(2 * self._pause, AGAIN[1])
        for port in self._ports:
            port.offload = None
            if was_open:
                port.taken_back(now)

    def came_up(self, payload_type: int, now: float) -> None:
        """A packet of a peer's came to us."""
        queued = payload_type == self._payload_type and now - self._opened_at <= GRACE
        if self._state is State.OPEN and not queued:
            self.end()

    def settled(self) -> Deferred[None] | None:
        """End it; fires when all that has passed is counted, None where it is."""
        self.end()
        if self._state is State.OFF:
            return None
        waiting: Deferred[None] = Deferred(lambda _: self._settle())
        self._waiting.append(waiting)
        return waiting

    def _settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    # --- what the helper tells (fastpath.BridgeListener) ----------------------------------------

    def opened(self) -> None:
        if self._state is State.ASKED:
            self._state = State.OPEN
            self._opened_at = self._now()
            one, two = self._ports
            one.handed_over(two)
            two.handed_over(one)

    def refused(self, reason: str) -> None:
        _log.info("the kernel does not pass a bridge on: {reason}", reason=reason)
        if self._state is State.ASKED:
            self._let_go(False)
        self._over()

    def counted(self, legs: tuple[Tally, Tally]) -> None:
        if self._state is not State.OPEN:
            return
        self._count(legs)
        for leg, other in ((0, 1), (1, 0)):
            if self._seen[leg].received >= STUCK and not self._seen[other].sent:
                _log.error(
                    "the kernel takes a bridge's packets and does not let them out: a rule or the policy of this "
                    "machine's forward chain drops them (docs/media.rst). Calls go on in user space"
                )
                self._pause = AGAIN[1]
                self.end()
                return
        if max(self._silent) >= SILENT:
            self.end()

    def closed(self, legs: tuple[Tally, Tally] | None) -> None:
        if self._state in (State.ASKED, State.OPEN):
            self._let_go(self._state is State.OPEN)
        if legs is not None:
            self._count(legs)
        self._over()

    def _count(self, legs: tuple[Tally, Tally]) -> None:
        now = self._now()
        # A helper that could not ask the kernel tells of nothing: what was counted stays.
        later = _later(self._seen[0], legs[0]), _later(self._seen[1], legs[1])
        for leg, (port, tally, seen) in enumerate(zip(self._ports, later, self._seen, strict=True)):
            self._silent[leg] = 0 if tally.received > seen.received else self._silent[leg] + 1
            port.passed(
                Tally(
                    tally.received - seen.received,
                    tally.received_octets - seen.received_octets,
                    tally.sent - seen.sent,
                    tally.sent_octets - seen.sent_octets,
                ),
                now,
            )
        self._seen = later

    def _over(self) -> None:
        self._state = State.OFF
        self._ports = ()
        self._settle()


def _later(seen: Tally, tally: Tally) -> Tally:
    """What has passed by the later of two counts, which never goes back."""
    return Tally(*map(max, astuple(seen), astuple(tally)))
