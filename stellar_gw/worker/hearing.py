"""The short way of a caller's audio to its agent, for the packets that nothing is to be said about.

What :mod:`stellar_gw.worker.shortcut` is to a bridge, this is to an agent: as long as packets come from the same
source, of one SSRC, as long as the one before, each next to it, and in time, nothing waits, nothing is missing, and
what the latch, the statistics and the order of packets would say is known. What was counted here is added whenever
somebody looks; a packet that differs in anything goes the long way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from stellar_gw.media.jitter import Reorder
from stellar_gw.media.latch import Address
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.srtp import Transform
from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.intake import Passage
from stellar_gw.worker.shortcut import CLOCK, HEADER, IN_TIME, Counted, first_number
from stellar_gw.worker.tap import Tap

if TYPE_CHECKING:
    from mypy_extensions import i64

_unpack: Final = HEADER.unpack_from
_OCTETS: Final = 12
_NUMBER: Final = 1 << 32
"""What the sequence number counts in the header's first number."""


class Hearing(Passage):
    """One caller, from the packet after the one that was heard last.

    :param packet: that one.
    :param reorder: what put it in order.
    :param hear: is handed each payload.
    :param workspace: what its packets are in when they are shown to it.
    :param opened: deciphers them; None where they are plain.
    :param taps: listen to them, too.
    :ivar heard: when the last one came, in seconds of ``now``.
    :ivar current: it is the way of the packets to come, and nothing else about the leg has changed either.
    """

    __slots__ = (
        "_address",
        "_counted",
        "_first",
        "_forged",
        "_handle",
        "_hear",
        "_jitter",
        "_last",
        "_next",
        "_now",
        "_open",
        "_opened",
        "_packet",
        "_payload",
        "_reorder",
        "_samples",
        "_size",
        "_ssrc",
        "_step",
        "_taps",
        "current",
        "heard",
    )

    def __init__(
        self,
        source: Address,
        packet: RtpPacket,
        reorder: Reorder,
        counted: Counted,
        heard: float,
        now: Callable[[], float],
        hear: Callable[[bytes], None],
        workspace: Workspace,
        opened: Transform | None = None,
        taps: tuple[Tap, ...] = (),
    ) -> None:
        super().__init__(source)
        self.heard = heard
        self.current = True
        samples = self._samples = len(packet.payload)  # one octet in each unit of the clock, in all our codecs
        number, timestamp = (packet.sequence_number + 1) & 0xFFFF, (packet.timestamp + samples) & 0xFFFFFFFF
        self._reorder = reorder
        self._counted = counted
        self._now = now
        self._hear = hear
        self._ssrc = packet.ssrc
        self._taps = taps
        self._opened = opened
        self._open = None if opened is None else opened.apply
        self._handle: Any = None if opened is None else opened.handle
        self._address: Any = None if opened is None else opened.address
        self._forged = None if opened is None else opened.failed
        self._size = _OCTETS + samples + (0 if opened is None else opened.tag)
        self._packet, self._payload = workspace.piece(_OCTETS + samples), workspace.payload(samples)
        self._step: i64 = _NUMBER + samples
        self._next: i64 = first_number(packet.payload_type, number, timestamp)
        self._first: i64 = self._next
        # Before a number or a timestamp goes over its end, and carries into what stands before it.
        self._last: i64 = self._next + min(0xFFFF - number, (0xFFFFFFFF - timestamp) // samples) * self._step
        self._jitter = counted.reception.jitter

    def take(self, octets: int, source: object) -> bool:
        """Hand on the payload of the datagram in the workspace; False where it has to go the long way, as it was.

        :param source: None where it is certain.
        """
        if octets != self._size or (source is not None and source != self.source):
            return False
        fields: tuple[i64, int] = _unpack(self._packet)
        head, ssrc = fields
        if head != self._next or ssrc != self._ssrc or head > self._last:
            return False
        now = self._now()
        late = (now - self.heard) * CLOCK - self._samples
        if late < 0.0:
            late = -late
        if late > IN_TIME:
            return False
        if self._open is not None and not self._open(self._handle, self._address, self._size):
            assert self._forged is not None
            self._forged()
            return True
        self.heard = now
        self._jitter += (late - self._jitter) * 0.0625
        self._next = head + self._step
        payload = bytes(self._payload)
        for tap in self._taps:
            tap.passed(head, ssrc, payload, now, said=False)
        self._hear(payload)
        return True

    def settle(self) -> None:
        """Add what was heard to the statistics and to the stream's state."""
        if self._next == self._first:
            return
        packets = int((self._next - self._first) // self._step)
        last = self._next - self._step
        self._first = self._next
        number, timestamp = int(last >> 32 & 0xFFFF), int(last & 0xFFFFFFFF)
        heard, counted = self.heard, self._counted
        counted.reception.ran(packets, packets * self._samples, self._jitter, heard * CLOCK - timestamp)
        counted.latch.heard(RtpPacket(0, False, number, timestamp, self._ssrc, b""), heard)
        counted.liveness.heard(heard)
        self._reorder.ran(packets, number, timestamp + self._samples, heard)
