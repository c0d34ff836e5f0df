"""RTCP: compound packets read and built, and when to send the next one (RFC 3550 6, A.2, A.7)."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

from attrs import define, field, frozen

from stellar_gw.errors import LocalProtocolError

SR, RR, SDES, BYE = 200, 201, 202, 203

_CNAME = 1
_NTP_EPOCH = 2208988800
"""Seconds from 1900 to 1970."""
_COMMON = struct.Struct("!BBH")
_BLOCK = struct.Struct("!IB3sIIII")
_SENDER_INFO = struct.Struct("!QIII")
_SSRC = struct.Struct("!I")
_MAX_BLOCKS = 31


def ntp_time(unix_seconds: float) -> int:
    """Wall-clock time as a 64-bit NTP timestamp (RFC 3550 4)."""
    return int((unix_seconds + _NTP_EPOCH) * (1 << 32)) & 0xFFFFFFFFFFFFFFFF


def middle_32(ntp: int) -> int:
    """The middle 32 bits of an NTP timestamp: units of 1/65536 s (RFC 3550 4)."""
    return (ntp >> 16) & 0xFFFFFFFF


@frozen
class ReportBlock:
    """What a receiver says about one source (RFC 3550 6.4.1).

    :ivar fraction_lost: since the previous report, in 1/256.
    :ivar packets_lost: since the beginning, signed 24 bits; negative where duplicates outnumber losses.
    :ivar highest_sequence: extended: cycles in the upper 16 bits.
    :ivar jitter: in timestamp units.
    :ivar last_sr: :func:`middle_32` of the last sender report's time, 0 for none.
    :ivar delay_since_last_sr: in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    packets_lost: int
    highest_sequence: int
    jitter: int
    last_sr: int = 0
    delay_since_last_sr: int = 0

    def encode(self) -> bytes:
        lost = max(-0x800000, min(0x7FFFFF, self.packets_lost)) & 0xFFFFFF
        return _BLOCK.pack(
            self.ssrc,
            self.fraction_lost & 0xFF,
            lost.to_bytes(3, "big"),
            self.highest_sequence & 0xFFFFFFFF,
            self.jitter & 0xFFFFFFFF,
            self.last_sr & 0xFFFFFFFF,
            min(self.delay_since_last_sr, 0xFFFFFFFF),
        )

    def round_trip(self, ntp_now: int) -> float | None:
        """Seconds from our sender report to this block and back (RFC 3550 6.4.1, figure 2).

        :param ntp_now: when the block arrived, by the clock that stamped our sender reports.
        :return: None where the peer has seen no sender report, or its figures cannot be true.
        """
        if self.last_sr == 0:
            return None
        units = (middle_32(ntp_now) - self.last_sr - self.delay_since_last_sr) & 0xFFFFFFFF
        return units / 65536 if units < 0x80000000 else None


def _packet(packet_type: int, count: int, body: bytes) -> bytes:
    if count > _MAX_BLOCKS:
        raise LocalProtocolError(f"{count} items in one RTCP packet, at most {_MAX_BLOCKS} fit")
    return _COMMON.pack(0x80 | count, packet_type, len(body) // 4) + body


@frozen
class SenderReport:
    """RFC 3550 6.4.1.

    :ivar ntp: 64-bit NTP timestamp of when this was sent; ``rtp_timestamp`` is the same instant.
    """

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packets_sent: int
    octets_sent: int
    blocks: tuple[ReportBlock, ...] = ()

    def encode(self) -> bytes:
        counts = self.packets_sent & 0xFFFFFFFF, self.octets_sent & 0xFFFFFFFF
        info = _SENDER_INFO.pack(self.ntp, self.rtp_timestamp & 0xFFFFFFFF, *counts)
        blocks = b"".join(block.encode() for block in self.blocks)
        return _packet(SR, len(self.blocks), _SSRC.pack(self.ssrc) + info + blocks)


@frozen
class ReceiverReport:
    """RFC 3550 6.4.2."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()

    def encode(self) -> bytes:
        return _packet(RR, len(self.blocks), _SSRC.pack(self.ssrc) + b"".join(block.encode() for block in self.blocks))


@frozen
class SourceDescription:
    """RFC 3550 6.5, of which only the CNAME is kept; empty where a peer sent none."""

    ssrc: int
    cname: str

    def encode(self) -> bytes:
        name = self.cname.encode()[:255]
        chunk = _SSRC.pack(self.ssrc) + bytes((_CNAME, len(name))) + name
        return _packet(SDES, 1, chunk + bytes(4 - len(chunk) % 4))


@frozen
class Goodbye:
    """RFC 3550 6.6."""

    ssrcs: tuple[int, ...]
    reason: str = ""

    def encode(self) -> bytes:
        body = b"".join(map(_SSRC.pack, self.ssrcs))
        if self.reason:
            text = self.reason.encode()[:255]
            body += bytes((len(text),)) + text
            body += bytes(-len(body) % 4)
        return _packet(BYE, len(self.ssrcs), body)


RtcpPacket = SenderReport | ReceiverReport | SourceDescription | Goodbye


def build_rtcp(*packets: RtcpPacket) -> bytes:
    """A compound packet: a report first, a source description with a CNAME in it (RFC 3550 6.1)."""
    if not packets or not isinstance(packets[0], SenderReport | ReceiverReport):
        raise LocalProtocolError("a compound RTCP packet begins with a sender or receiver report (RFC 3550 6.1)")
    return b"".join(packet.encode() for packet in packets)


def parse_rtcp(data: bytes) -> tuple[RtcpPacket, ...] | None:
    """Read a compound packet.

    Packet types that we do not know are skipped. The datagram's size bounds everything.

    :return: None where a check of RFC 3550 A.2 fails, or a packet's parts do not fit in it; never raises.
    """
    size = len(data)
    # Version 2, no padding in the first packet, and that a report.
    if size < 8 or data[0] & 0xE0 != 0x80 or data[1] not in (SR, RR):
        return None
    packets: list[RtcpPacket] = []
    start = 0
    while start < size:
        if start + 4 > size:
            return None
        first, packet_type, words = _COMMON.unpack_from(data, start)
        end = start + 4 + 4 * words
        if first & 0xC0 != 0x80 or end > size:
            return None
        body_end = end
        if first & 0x20:
            padding = data[end - 1]
            if end != size or padding == 0 or padding % 4 or padding > 4 * words:
                return None
            body_end = end - padding
        read = _READERS.get(packet_type)
        if read is not None:
            found = read(data[start + 4 : body_end], first & 0x1F)
            if found is None:
                return None
            packets.extend(found)
        start = end
    return tuple(packets)


def _blocks(body: bytes, start: int, count: int) -> tuple[ReportBlock, ...] | None:
    if start + _BLOCK.size * count > len(body):
        return None
    blocks: list[ReportBlock] = []
    for place in range(start, start + _BLOCK.size * count, _BLOCK.size):
        ssrc, fraction, lost, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, place)
        lost_signed = int.from_bytes(lost, "big", signed=True)
        blocks.append(ReportBlock(ssrc, fraction, lost_signed, highest, jitter, last_sr, delay))
    return tuple(blocks)


def _read_sender_report(body: bytes, count: int) -> list[RtcpPacket] | None:
    if len(body) < 24:
        return None
    blocks = _blocks(body, 24, count)
    if blocks is None:
        return None
    ntp, rtp_timestamp, packets, octets = _SENDER_INFO.unpack_from(body, 4)
    return [SenderReport(_SSRC.unpack_from(body)[0], ntp, rtp_timestamp, packets, octets, blocks)]


def _read_receiver_report(body: bytes, count: int) -> list[RtcpPacket] | None:
    blocks = _blocks(body, 4, count) if len(body) >= 4 else None
    return None if blocks is None else [ReceiverReport(_SSRC.unpack_from(body)[0], blocks)]


def _read_source_description(body: bytes, count: int) -> list[RtcpPacket] | None:
    """``count`` chunks: SSRC, items, one or more null octets up to the next 32-bit boundary."""
    chunks: list[RtcpPacket] = []
    place = 0
    for _ in range(count):
        if place + 4 > len(body):
            return None
        ssrc = _SSRC.unpack_from(body, place)[0]
        place += 4
        cname = ""
        while place < len(body) and body[place]:
            if place + 2 > len(body) or place + 2 + body[place + 1] > len(body):
                return None
            kind, length = body[place], body[place + 1]
            if kind == _CNAME:
                cname = body[place + 2 : place + 2 + length].decode("utf-8", "replace")
            place += 2 + length
        place += 4 - place % 4
        chunks.append(SourceDescription(ssrc, cname))
    return chunks


def _read_goodbye(body: bytes, count: int) -> list[RtcpPacket] | None:
    if 4 * count > len(body):
        return None
    ssrcs = struct.unpack_from(f"!{count}I", body)
    rest = body[4 * count :]
    if not rest:
        return [Goodbye(ssrcs)]
    if 1 + rest[0] > len(rest):
        return None
    return [Goodbye(ssrcs, rest[1 : 1 + rest[0]].decode("utf-8", "replace"))]


_READERS: dict[int, Callable[[bytes, int], list[RtcpPacket] | None]] = {
    SR: _read_sender_report,
    RR: _read_receiver_report,
    SDES: _read_source_description,
    BYE: _read_goodbye,
}


def transmission_interval(
    members: int,
    senders: int,
    rtcp_bandwidth: float,
    we_sent: bool,
    average_size: float,
    initial: bool,
    random: Callable[[], float],
    minimum: float = 5.0,
) -> float:
    """Seconds until the next report (RFC 3550 6.3.1, A.7).

    :param rtcp_bandwidth: octets a second for all members together: 5 % of the session's.
    :param average_size: of compound packets in octets, UDP and IP headers included.
    :param initial: nothing has been sent yet: half the minimum.
    :param random: uniform in [0, 1).
    :param minimum: 5 s, or the reduced minimum of 6.2: 360 / the session's kbit/s.
    """
    if initial:
        minimum /= 2
    sharers = members
    if senders <= members / 4:
        if we_sent:
            rtcp_bandwidth *= 0.25
            sharers = senders
        else:
            rtcp_bandwidth *= 0.75
            sharers -= senders
    interval = max(minimum, average_size * sharers / rtcp_bandwidth)
    # e - 1.5 compensates for timer reconsideration converging below the intended average.
    return interval * (random() + 0.5) / 1.21828


@define
class RtcpSchedule:
    """When a party of a two-party audio call sends its next compound packet.

    :ivar due: time of the next one; never, before :meth:`start`.
    """

    random: Callable[[], float]
    due: float = field(default=math.inf, init=False)
    minimum: float = 5.0
    rtcp_bandwidth: float = 400.0
    """5 % of 64 kbit/s, in octets a second."""
    _average_size: float = field(default=128.0, init=False)

    def start(self, now: float) -> None:
        """The call is up: the first report comes in half the interval."""
        self.due = now + self._interval(initial=True)

    def received(self, octets: int) -> None:
        """A compound packet of so many octets arrived."""
        self._average_size += (octets + 28 - self._average_size) / 16

    def sent(self, octets: int, now: float) -> None:
        """One was sent: the next is due an interval later."""
        self.received(octets)
        self.due = now + self._interval(initial=False)

    def _interval(self, initial: bool) -> float:
        return transmission_interval(
            2, 2, self.rtcp_bandwidth, True, self._average_size, initial, self.random, self.minimum
        )
