"""The short way through a bridge, for the packets that nothing is to be said about, which is nearly all of them.

The long way (:class:`stellar_gw.worker.rtp_port.RtpPort`, :class:`stellar_gw.media.splice.Splice`) parses a packet,
asks the latch, counts, looks for digits and finds out which numbers the packet gets. As long as packets come from the
same source, of one SSRC, each next to the one before, and in time, all of that has the same outcome again. So the long
way leaves its findings here; a packet that differs in anything goes the long way, and what was counted here is
added to the statistics whenever these are looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from stellar_gw.media.latch import Address, Latch
from stellar_gw.media.liveness import Liveness
from stellar_gw.media.reception import Reception
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.splice import Splice

CLOCK = 8000
"""Of all our audio codecs, in Hz."""
IN_TIME = float(CLOCK)
"""Timestamp units by which a packet may come earlier or later than its timestamp says, against the one before."""
_HEADER = struct.Struct("!HHII")
_unpack, _pack = _HEADER.unpack_from, _HEADER.pack
SHORTEST = _HEADER.size + 1
_VERSION_2_ALONE = 0x8000
_MARKER = 0x80


def first_words(types: Mapping[int, int]) -> dict[int, int]:
    """The first 16 bits of packets without CSRC list, extension and padding: theirs to ours, with the marker kept.

    :param types: payload types, theirs to ours.
    """
    return {
        _VERSION_2_ALONE | marker | theirs: _VERSION_2_ALONE | marker | ours
        for theirs, ours in types.items()
        for marker in (0, _MARKER)
    }


class Shortcut:
    """One direction of a bridge.

    :param source: the latched address, for good.
    :param words: see :func:`first_words`.
    :param send: takes the packet to ``destination``.
    """

    __slots__ = (
        "_destination",
        "_heard",
        "_jitter",
        "_latch",
        "_liveness",
        "_longest",
        "_next",
        "_now",
        "_octets",
        "_our_ssrc",
        "_packets",
        "_reception",
        "_send",
        "_sequence_offset",
        "_source",
        "_splice",
        "_ssrc",
        "_timestamp",
        "_timestamp_offset",
        "_transit",
        "_words",
    )

    def __init__(
        self,
        source: Address,
        words: Mapping[int, int],
        longest: int,
        splice: Splice,
        counted: tuple[Reception, Latch, Liveness],
        now: Callable[[], float],
        send: Callable[[bytes, Address], None],
        destination: Address,
    ) -> None:
        """:param longest: octets of a datagram."""
        self._source = source
        self._words = words
        self._longest = longest
        self._splice = splice
        self._reception, self._latch, self._liveness = counted
        self._now = now
        self._send = send
        self._destination = destination
        self._ssrc = splice.ssrc
        self._our_ssrc = splice.sender.ssrc
        self._next = (splice.highest + 1) & 0xFFFF
        self._timestamp = splice.timestamp
        self._sequence_offset = splice.sequence_offset
        self._timestamp_offset = splice.timestamp_offset
        self._jitter = self._reception.jitter
        self._transit = self._reception.transit or 0.0
        self._heard = splice.heard
        self._packets = 0
        self._octets = 0

    def take(self, datagram: bytes, source: Address) -> bool:
        """Pass a datagram on; False where it has to go the long way."""
        size = len(datagram)
        if source != self._source or not SHORTEST <= size <= self._longest:
            return False
        word, number, timestamp, ssrc = _unpack(datagram)
        ours = self._words.get(word)
        if ours is None or number != self._next or ssrc != self._ssrc:
            return False
        now = self._now()
        transit = now * CLOCK - timestamp
        moved = transit - self._transit
        if moved < 0.0:
            moved = -moved
        if moved > IN_TIME:
            return False
        self._transit = transit
        self._jitter += (moved - self._jitter) * 0.0625
        self._heard = now
        self._timestamp = timestamp
        self._next = (number + 1) & 0xFFFF
        self._packets += 1
        self._octets += size
        header = _pack(
            ours,
            (number + self._sequence_offset) & 0xFFFF,
            (timestamp + self._timestamp_offset) & 0xFFFFFFFF,
            self._our_ssrc,
        )
        self._send(header + datagram[12:], self._destination)
        return True

    def settle(self) -> None:
        """Add what passed to the statistics and to the streams' state."""
        packets = self._packets
        if not packets:
            return
        octets = self._octets - packets * _HEADER.size
        self._packets = self._octets = 0
        last = RtpPacket(0, False, (self._next - 1) & 0xFFFF, self._timestamp, self._ssrc, b"")
        self._reception.ran(packets, octets, self._jitter, self._transit)
        self._splice.ran(packets, octets, self._timestamp, self._heard)
        self._latch.heard(last, self._heard)
        self._liveness.heard(self._heard)
