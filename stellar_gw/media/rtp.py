"""RTP packets: reading, writing and telling them from what else arrives on the port (RFC 3550 5.1)."""

from __future__ import annotations

import struct
from typing import Literal

import msgspec

Kind = Literal["stun", "zrtp", "dtls", "turn", "rtp", "other"]

_HEADER = struct.Struct("!BBHII")
_pack, _pack_into = _HEADER.pack, _HEADER.pack_into
_EXTENSION = struct.Struct("!HH")
_VERSION_2_ALONE = 0x80


def _kind(first: int) -> Kind:
    if first <= 3:
        return "stun"
    if 16 <= first <= 19:
        return "zrtp"
    if 20 <= first <= 63:
        return "dtls"
    if 64 <= first <= 79:
        return "turn"
    if 128 <= first <= 191:
        return "rtp"
    return "other"


_KINDS: tuple[Kind, ...] = tuple(_kind(first) for first in range(256))


def first_byte_kind(first: int) -> Kind:
    """What a datagram on a media port is, by its first octet (RFC 7983 7).

    :param first: 0 to 255.
    :return: ``rtp`` stands for RTP and RTCP; :func:`is_rtcp` tells these apart.
    """
    return _KINDS[first]


def is_rtcp(data: bytes) -> bool:
    """Whether a datagram of kind ``rtp`` is RTCP: packet types 192 to 223 (RFC 5761 4)."""
    return len(data) >= 2 and 192 <= data[1] <= 223


class RtpPacket(msgspec.Struct, frozen=True, gc=False):
    """One RTP packet; CSRC list, header extension and padding are checked and left out.

    A msgspec struct, because one is made for every packet received: 0.05 us, attrs' frozen 0.39 us.

    :ivar timestamp: in units of the payload type's clock rate, modulo 2**32.
    """

    payload_type: int
    marker: bool
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes

    def __repr__(self) -> str:
        marked = ", marker" if self.marker else ""
        return (
            f"<RTP {self.payload_type}{marked}, sequence number {self.sequence_number}, timestamp {self.timestamp},"
            f" ssrc {self.ssrc:08x}, {len(self.payload)} octets>"
        )


def parse_rtp(data: bytes) -> RtpPacket | None:
    """Read one datagram (RFC 3550 5.1, 5.3.1, A.1).

    :return: None where it is not RTP version 2, or its lengths contradict each other; never raises.
    """
    size = len(data)
    if size < 12:
        return None
    first, second, sequence_number, timestamp, ssrc = _HEADER.unpack_from(data)
    if first == _VERSION_2_ALONE:
        payload = data[12:]
    elif first & 0xC0 == _VERSION_2_ALONE:
        bounds = _payload_bounds(data, first, size)
        if bounds is None:
            return None
        payload = data[bounds[0] : bounds[1]]
    else:
        return None
    return RtpPacket(second & 0x7F, second > 0x7F, sequence_number, timestamp, ssrc, payload)


def _payload_bounds(data: bytes, first: int, size: int) -> tuple[int, int] | None:
    start = 12 + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > size:
            return None
        start += 4 + 4 * _EXTENSION.unpack_from(data, start)[1]
    end = size
    if first & 0x20:
        padding = data[-1]
        if padding == 0:
            return None
        end -= padding
    return (start, end) if start <= end else None


def build_rtp(packet: RtpPacket) -> bytes:
    """The datagram of a packet without CSRC list, extension and padding."""
    second = packet.payload_type | (0x80 if packet.marker else 0)
    header = _HEADER.pack(_VERSION_2_ALONE, second, packet.sequence_number, packet.timestamp, packet.ssrc)
    return header + packet.payload


def sequence_delta(later: int, earlier: int) -> int:
    """``later - earlier`` of two 16-bit sequence numbers: -32768 to 32767."""
    return ((later - earlier + 0x8000) & 0xFFFF) - 0x8000


def timestamp_delta(later: int, earlier: int) -> int:
    """``later - earlier`` of two 32-bit timestamps: -2**31 to 2**31 - 1."""
    return ((later - earlier + 0x80000000) & 0xFFFFFFFF) - 0x80000000


class RtpSender:
    """The sending side of one SSRC: numbers the packets and keeps the media clock.

    Sequence number and timestamp start at random values, which the caller hands in (RFC 3550 5.1).

    :ivar sequence_number: of the next packet.
    :ivar timestamp: of the next packet's first sample; runs on when the payload type changes, since
        all our audio codecs have a clock of 8000 Hz.
    :ivar payload_type: of the next packet; set it when an answer changes the codec.
    :ivar packets_sent, octets_sent: payload only, as sender reports count (RFC 3550 6.4.1).
    """

    __slots__ = (
        "_talkspurt",
        "octets_sent",
        "packets_sent",
        "payload_type",
        "sequence_number",
        "ssrc",
        "timestamp",
    )

    def __init__(self, ssrc: int, sequence_number: int, timestamp: int, payload_type: int) -> None:
        self.ssrc = ssrc
        self.sequence_number = sequence_number
        self.timestamp = timestamp
        self.payload_type = payload_type
        self.packets_sent = 0
        self.octets_sent = 0
        self._talkspurt = True

    def packet(self, payload: bytes, samples: int, marker: bool = False) -> bytes:
        """The next packet.

        :param samples: its length in units of the RTP clock (160 for 20 ms, for G.722 too: RFC 3551 4.5.2).
        :param marker: set it also where the packet is not the first, or the first after :meth:`skip`;
            those carry it anyway (RFC 3551 4.1).
        """
        # The same as packet_at, written out: one is made for each call and 20 ms.
        second, number, timestamp = self.payload_type, self.sequence_number, self.timestamp
        if marker or self._talkspurt:
            second |= 0x80
            self._talkspurt = False
        self.sequence_number = (number + 1) & 0xFFFF
        self.timestamp = (timestamp + samples) & 0xFFFFFFFF
        self.packets_sent += 1
        self.octets_sent += len(payload)
        return _pack(_VERSION_2_ALONE, second, number, timestamp, self.ssrc) + payload

    def head(self, packet: memoryview, samples: int) -> None:
        """Write the next packet's header where it belongs; its payload has an octet for each unit of the RTP clock.

        :param samples: its length in these units, and in octets, as in all our codecs.
        """
        second, number, timestamp = self.payload_type, self.sequence_number, self.timestamp
        if self._talkspurt:
            second |= 0x80
            self._talkspurt = False
        self.sequence_number = (number + 1) & 0xFFFF
        self.timestamp = (timestamp + samples) & 0xFFFFFFFF
        self.packets_sent += 1
        self.octets_sent += samples
        _pack_into(packet, 0, _VERSION_2_ALONE, second, number, timestamp, self.ssrc)

    def packet_at(self, timestamp: int, payload: bytes, payload_type: int, marker: bool = False) -> bytes:
        """A packet with a timestamp of its own, in the same sequence; the media clock stays (RFC 4733 2.5.1)."""
        datagram = self.numbered(self.sequence_number, timestamp, payload, payload_type, marker)
        self.sequence_number = (self.sequence_number + 1) & 0xFFFF
        return datagram

    def numbered(self, sequence_number: int, timestamp: int, payload: bytes, payload_type: int, marker: bool) -> bytes:
        """A packet with numbers of its own: one of another stream, passed on in its own order."""
        second = payload_type | (0x80 if marker else 0)
        header = _HEADER.pack(_VERSION_2_ALONE, second, sequence_number, timestamp & 0xFFFFFFFF, self.ssrc)
        self.packets_sent += 1
        self.octets_sent += len(payload)
        return header + payload

    def skip(self, samples: int) -> None:
        """Let the media clock pass without a packet: the next one starts a talkspurt."""
        self.timestamp = (self.timestamp + samples) & 0xFFFFFFFF
        self._talkspurt = True
