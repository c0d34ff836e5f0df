"""The short way through a bridge, for the packets that nothing is to be said about, which is nearly all of them.

The long way (:class:`stellar_gw.worker.rtp_port.RtpPort`, :class:`stellar_gw.media.splice.Splice`) parses a packet,
asks the latch, counts, looks for digits and finds out which numbers the packet gets. As long as packets come from the
same source, of one SSRC, as long as the one before, each next to it, and in time, all of that has the same outcome
again. So the long way leaves its findings here; a packet that differs in anything goes the long way, and what was
counted here is added to the statistics whenever these are looked at. That some before it were lost is no such
difference: a worker that cannot read all that comes would read ever less if what follows a gap cost it more.

With a thousand legs the objects that a packet touches are not in the processor's cache, and fetching them costs as much
as the work itself. So there are few of them here: first word, sequence number and timestamp of the next packet are one
number, and ours is that number and a constant; the packet is changed in the poller's one buffer, and sent from there.
With SRTP too: its header is in clear, and the rest is deciphered in that buffer once nothing else speaks against it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from attrs import frozen

from stellar_gw.media.latch import Address, Latch
from stellar_gw.media.liveness import Liveness
from stellar_gw.media.reception import Reception
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.splice import LEAST, Splice
from stellar_gw.media.srtp import Transform
from stellar_gw.media.workspace import Workspace
from stellar_gw.worker.intake import Passage
from stellar_gw.worker.tap import Tap

if TYPE_CHECKING:
    from mypy_extensions import i64

CLOCK = 8000
"""Of all our audio codecs, in Hz."""
MOST_LOST = 100
"""Packets in one gap; after a longer one the next packet goes the long way."""
IN_TIME = float(CLOCK)
"""Timestamp units by which a packet may come earlier or later than its timestamp says, against the one before."""
HEADER: Final = struct.Struct("!qI")
"""All of a header without CSRC list (RFC 3550 5.1): version to timestamp as one number, and the SSRC. The number is a
signed one, as it is then one of the machine's own where this is compiled."""
_OCTETS: Final = 12
"""Of it."""
_unpack: Final = HEADER.unpack_from
_pack: Final = HEADER.pack_into
_VERSION_2_ALONE: Final = 0x8000
_NUMBER: Final = 1 << 32
"""What the sequence number counts in the header's first number."""


def first_number(payload_type: int, sequence_number: int, timestamp: int) -> int:
    """The first number of a header of version 2 without padding, extension, CSRC list and marker, as :data:`HEADER` has
    it."""
    return ((_VERSION_2_ALONE | payload_type) << 48 | sequence_number << 32 | timestamp) - (1 << 64)


class Outlet(Protocol):
    """Where packets leave: a UDP socket, or what enciphers them first."""

    def send(self, data: memoryview | bytes, /) -> int:
        """To the address it is connected to.

        :raise OSError: the kernel refuses.
        """

    def sendto(self, data: memoryview | bytes, address: Address, /) -> int:
        """:raise OSError: the kernel refuses."""


@frozen
class Exit:
    """The way out of a leg.

    :ivar destination: None where the outlet is connected to it.
    :ivar failed: told what the outlet raised.
    :ivar seal: enciphers packets where they are, before they leave; None where the outlet is to have them plain.
    :ivar taps: listen to what leaves.
    """

    outlet: Outlet
    destination: Address | None
    failed: Callable[[OSError], None]
    seal: Transform | None = None
    taps: tuple[Tap, ...] = ()


@frozen
class Counted:
    """What is to know of the packets that passed, once somebody asks."""

    reception: Reception
    latch: Latch
    liveness: Liveness


class Shortcut(Passage):
    """One direction of a bridge, from the packet after the one that was passed on last.

    :param payload_type: theirs and ours.
    :param workspace: what its packets are in when they are shown to it.
    :param opened: deciphers them; None where they are plain.
    :param taps: listen to what comes.
    """

    __slots__ = (
        "_address",
        "_began",
        "_counted",
        "_destination",
        "_difference",
        "_end",
        "_failed",
        "_first",
        "_forged",
        "_heard",
        "_jitter",
        "_last",
        "_next",
        "_now",
        "_octets",
        "_open",
        "_open_handle",
        "_our_ssrc",
        "_outlet",
        "_plain",
        "_room",
        "_seal",
        "_seal_handle",
        "_sealed",
        "_seen",
        "_since",
        "_size",
        "_splice",
        "_ssrc",
        "_step",
        "_tapped",
        "_taps",
        "_transforms",
        "_units",
        "_unsealed",
    )

    def __init__(
        self,
        source: Address,
        payload_type: tuple[int, int],
        splice: Splice,
        counted: Counted,
        now: Callable[[], float],
        out: Exit,
        workspace: Workspace,
        opened: Transform | None = None,
        taps: tuple[Tap, ...] = (),
    ) -> None:
        super().__init__(source, perishable=True)
        samples = splice.samples
        number, timestamp = (splice.highest + 1) & 0xFFFF, (splice.timestamp + samples) & 0xFFFFFFFF
        our_number = (number + splice.sequence_offset) & 0xFFFF
        our_timestamp = (timestamp + splice.timestamp_offset) & 0xFFFFFFFF
        theirs, ours = payload_type
        self._splice = splice
        self._counted = counted
        self._now = now
        self._outlet, self._destination, self._failed = out.outlet, out.destination, out.failed
        self._taps = taps, out.taps
        self._tapped = bool(taps or out.taps)
        self._ssrc = splice.ssrc
        self._our_ssrc = splice.sender.ssrc
        self._octets = _OCTETS + samples  # one octet in each unit of the clock, in all our codecs
        self._transforms = opened, out.seal
        self._open = None if opened is None else opened.apply
        self._open_handle: Any = None if opened is None else opened.handle
        self._address: Any = None if opened is None else opened.address
        self._forged = None if opened is None else opened.failed
        self._size = self._octets + (0 if opened is None else opened.tag)
        self._plain = workspace.piece(self._octets)
        seal = out.seal
        self._seal = None if seal is None else seal.apply
        if seal is not None:
            self._seal_handle: Any = seal.handle
            self._address = seal.address
        self._unsealed = None if seal is None else seal.failed
        self._sealed = workspace.piece(self._octets + (0 if seal is None else seal.tag))
        self._step: i64 = _NUMBER + samples
        self._next: i64 = first_number(theirs, number, timestamp)
        self._first: i64 = self._next
        self._seen: i64 = self._next
        self._difference: i64 = first_number(ours, our_number, our_timestamp) - self._next
        # Before a number or a timestamp goes over its end, and carries into what stands before it.
        numbers = 0xFFFF - max(number, our_number)
        stamps = (0xFFFFFFFF - max(timestamp, our_timestamp)) // samples
        self._end: i64 = self._next + min(numbers, stamps) * self._step
        # Before so many have passed that it has to be found out whether they do so faster than time (see the splice).
        self._began: i64 = self._next
        self._units, self._room = max(samples, LEAST), splice.most_ahead - splice.ahead
        self._last: i64 = min(self._end, self._next + int(self._room // self._units) * self._step)
        self._since = splice.ahead_at
        self._heard = splice.heard
        self._jitter = counted.reception.jitter

    def take(self, octets: int, source: object) -> bool:
        """Pass the datagram in the workspace on, changed where it is; False where it has to go the long way, and is as
        it was.

        :param source: None where it is certain.
        """
        # In arithmetic that the machine does itself where this is compiled: "i64" is of mypyc.
        if octets != self._size or (source is not None and source != self.source):
            return False
        packet = self._plain
        fields: tuple[i64, int] = _unpack(packet)
        head, ssrc = fields
        lost = 0
        if head != self._next:
            missing = head - self._next
            lost = int(missing // self._step)
            if missing % self._step or not 0 < lost <= MOST_LOST:
                return False
        if ssrc != self._ssrc or (head > self._last and not self._goes_on(head)):
            return False
        now = self._now()
        late = (now - self._heard) * CLOCK - (self._octets - 12)
        if lost:
            late -= lost * (self._octets - 12)
        if late < 0.0:
            late = -late
        if late > IN_TIME:
            return False
        if self._open is not None and not self._open(self._open_handle, self._address, self._size):
            assert self._forged is not None
            self._forged()
            return True
        if lost:
            self._miss(lost)
        self._heard = now
        self._jitter += (late - self._jitter) * 0.0625
        self._next = head + self._step
        payload = b""
        if self._tapped:
            payload = bytes(packet[_OCTETS:])
            for tap in self._taps[0]:
                tap.passed(head, ssrc, payload, now, said=False)
        _pack(packet, 0, head + self._difference, self._our_ssrc)
        if self._seal is not None:
            packet = self._sealed
            if not self._seal(self._seal_handle, self._address, self._octets):
                assert self._unsealed is not None
                self._unsealed()  # it must not go out
                return True
        try:
            if self._destination is None:
                self._outlet.send(packet)
            else:
                self._outlet.sendto(packet, self._destination)
        except OSError as reason:
            self._failed(reason)
        if self._tapped:
            for tap in self._taps[1]:
                tap.passed(head + self._difference, self._our_ssrc, payload, now, said=True)
        return True

    def _goes_on(self, head: i64) -> bool:
        """Whether this packet may pass here, and for how many of those after it that is certain."""
        splice, now = self._splice, self._now()
        packets = int(head - self._began >> 32)
        passed = float(packets * self._units) - (now - self._since) * splice.rate
        if head > self._end or passed > self._room:
            return False
        self._began, self._since = head, now
        self._room = min(self._room - passed, splice.most_ahead + splice.most_owed)
        self._last = min(self._end, head + int(self._room // self._units) * self._step)
        return True

    def _miss(self, lost: int) -> None:
        """So many that were to come next have not."""
        self.settle()
        self._counted.reception.missed(lost)
        self._splice.missed(lost)
        self._first = self._next + lost * self._step

    def moved(self) -> bool:
        """Whether anything has passed since this was asked last."""
        moved = self._next != self._seen
        self._seen = self._next
        return moved

    def settle(self) -> None:
        """Add what passed to the statistics and to the streams' state."""
        if self._next == self._first:
            return
        packets = int((self._next - self._first) // self._step)
        last = self._next - self._step
        self._first = self._next
        number, timestamp = int(last >> 32 & 0xFFFF), int(last & 0xFFFFFFFF)
        octets = packets * (self._octets - _OCTETS)
        heard, counted = self._heard, self._counted
        counted.reception.ran(packets, octets, self._jitter, heard * CLOCK - timestamp)
        counted.latch.heard(RtpPacket(0, False, number, timestamp, self._ssrc, b""), heard)
        counted.liveness.heard(heard)
        self._splice.ran(packets, octets, timestamp, heard)
