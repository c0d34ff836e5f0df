"""What a port has around it: whom it tells, where its packets may go besides, and what tells it the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import frozen

from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Piece
from stellar_gw.media.liveness import Lost
from stellar_gw.media.presses import Way
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.splice import Splice
from stellar_gw.worker.shortcut import Exit


class PortListener(Protocol):
    """Whom a port tells what it heard."""

    def heard(self, pieces: Sequence[Piece]) -> None:
        """Audio, in order, and the gaps in it."""

    def straight(self, payload_type: int) -> Callable[[bytes], None] | None:
        """What :meth:`heard` does with a packet of this type, given its payload, for as long as who hears whom and what
        was agreed on stay as they are; None where it is not that simple."""

    def noise(self, payload: bytes) -> None:
        """Comfort noise (RFC 3389) instead of audio."""

    def digit(self, digit: Digit, way: Way) -> None: ...
    def media_lost(self, lost: Lost) -> None: ...
    def media_back(self) -> None: ...

    def one_way(self, local: str, remote: str) -> None:
        """5 s after the answer nothing has come."""

    def port_failed(self) -> None:
        """A socket is gone that was not closed by :meth:`stellar_gw.worker.rtp_port.RtpPort.close`."""


class Onward(Protocol):
    """The way of one leg's packets to another leg (:class:`stellar_gw.worker.relay.Relay`)."""

    def forward(self, packet: RtpPacket, now: float) -> None:
        """A packet of the leg's came, whatever it holds."""

    def shortcut(self, payload_type: int) -> tuple[Splice, tuple[int, int], Exit] | None:
        """What a shortcut needs to know, where there may be one: numbers, payload types theirs and ours, the way out.

        :param payload_type: theirs.
        """


class Offloaded(Protocol):
    """Packets pass the port by in the kernel, or are about to (:class:`stellar_gw.worker.offload.Offload`)."""

    @property
    def open(self) -> bool:
        """They do."""

    def end(self) -> None:
        """They must not any more."""

    def came_up(self, payload_type: int, now: float) -> None:
        """A packet of the peer's came here nevertheless."""


@frozen(kw_only=True)
class Clocks:
    """Time and chance, so that a test can have its own.

    :ivar now: seconds that never run backwards.
    :ivar wall: seconds since 1970, for NTP timestamps alone.
    :ivar random: uniform in [0, 1).
    :ivar number: a random number of so many bits.
    """

    now: Callable[[], float]
    wall: Callable[[], float]
    random: Callable[[], float]
    number: Callable[[int], int]
