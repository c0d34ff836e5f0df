"""Another stream's packets passed on as part of ours (RFC 3550 7.1), so that the receiver sees one stream.

The packets keep their distances, so that loss, reordering and silence on their way to us can be told on their way
from us too. Where the other stream starts anew (another SSRC, a jump of sequence numbers or timestamps), ours goes
on by one sequence number and by the time that has passed, with the marker set (RFC 3551 4.1).

What comes faster than time passes is passed on for a while only: where somebody has joined two legs at their other end
as well, the wire alone would pace what goes round.
"""

from __future__ import annotations

from stellar_gw.media.rtp import RtpPacket, RtpSender, timestamp_delta

MAX_DROPOUT = 3000
MAX_MISORDER = 100
"""Sequence numbers further ahead or behind are a new start once a second packet confirms it (RFC 3550 A.1)."""
MAX_AHEAD = 1.0
"""Seconds; a timestamp that has gone on by so much more than the time has is a new start."""
MOST_AHEAD = 5.0
"""Seconds of audio by which what was passed on may be ahead of the time that has passed."""
MOST_OWED = 10.0
"""Seconds without a packet for which as much may come at once: a network that stalled."""
LEAST = 20
"""Units of the clock that a packet counts for at least: events and comfort noise, which hold no time of their own."""
LATE = 2
"""What a packet counts for that is behind others: it may have come twice."""
FASTEST = 1.02
"""The fastest clock of a peer, in ours."""


class Splice:
    """Where a stream of others stands in relation to ours; times are seconds of a clock that does not run backwards.

    :ivar sender: our stream; its sequence number is kept up to date, its timestamp only by :meth:`leave`.
    :ivar joined: packets are being passed on.
    :ivar ssrc: of the other stream; -1 where any may follow.
    :ivar highest: its highest sequence number.
    :ivar sequence_offset, timestamp_offset: ours less theirs.
    :ivar timestamp: theirs, of the last packet of audio; ``heard`` is when it came, ``samples`` what it held.
    :ivar passed_at: when the last packet of any kind was passed on.
    :ivar ahead: what was passed on less the time that had passed at ``ahead_at``, in units of the clock; ``rate`` is
        how many of them a second takes off, but for ``most_owed`` below nothing; with more than ``most_ahead`` nothing
        is passed on.
    """

    def __init__(self, sender: RtpSender, clock: int = 8000, now: float = 0.0) -> None:
        self.sender = sender
        self._clock = clock
        self.ahead = 0.0
        self.ahead_at = now
        self.rate = clock * FASTEST
        self.most_ahead = clock * MOST_AHEAD
        self.most_owed = clock * MOST_OWED
        self.joined = False
        self.ssrc = 0
        self.highest = 0
        self.sequence_offset = 0
        self.timestamp_offset = 0
        self.timestamp = 0
        self.heard = 0.0
        self.samples = 0
        self.passed_at = 0.0
        self._passed = 0
        self._bad: int | None = None
        self._event = (-1, 0, 0)  # SSRC and timestamp of the last event, and ours

    def rewrite(self, packet: RtpPacket, payload_type: int, now: float, *, event: bool = False) -> bytes | None:
        """The packet as one of ours; None where it is a duplicate, from before a new start, or one too many.

        :param payload_type: ours.
        :param event: a telephone event: its timestamp is when the event began, and stands still (RFC 4733 2.2.1).
        """
        if self._ahead(now) > self.most_ahead:
            return None
        datagram = self._rewritten(packet, payload_type, now, event)
        if datagram is not None:
            late = packet.sequence_number != self.highest
            self._count(1, LATE if late else max(len(packet.payload), LEAST), now)
        return datagram

    def _ahead(self, now: float) -> float:
        return max(self.ahead - (now - self.ahead_at) * self.rate, -self.most_owed)

    def _count(self, packets: int, units: int, now: float) -> None:
        """So many, no two of them far apart; our codecs hold one octet in each unit of their clock."""
        ahead = self.ahead - (now - self.ahead_at) * self.rate + units
        self.ahead, self.ahead_at = max(ahead, units / packets - self.most_owed), now

    def _rewritten(self, packet: RtpPacket, payload_type: int, now: float, event: bool) -> bytes | None:
        number = packet.sequence_number
        step = (number - self.highest) & 0xFFFF
        if not self.joined or packet.ssrc != self.ssrc:
            marker = self._start(packet, now, event)
        elif 0 < step < MAX_DROPOUT:
            marker = self._go_on(packet, step, now, event)
        elif step > 0x10000 - min(self._passed, MAX_MISORDER):
            return self._datagram(packet, payload_type, packet.marker, event)  # late, but in its own place
        elif step and number == self._bad:
            marker = self._start(packet, now, event)
        else:
            self._bad = (number + 1) & 0xFFFF if step else self._bad
            return None
        if not event:
            self.timestamp, self.heard, self.samples = packet.timestamp, now, len(packet.payload)
        self.passed_at = now
        datagram = self._datagram(packet, payload_type, marker or packet.marker, event)
        self.sender.sequence_number = (number + self.sequence_offset + 1) & 0xFFFF
        return datagram

    def _datagram(self, packet: RtpPacket, payload_type: int, marker: bool, event: bool) -> bytes:
        number = (packet.sequence_number + self.sequence_offset) & 0xFFFF
        timestamp = packet.timestamp + self.timestamp_offset
        if event:
            # Its timestamp is what an event is known by: even where our stream has started anew in its middle.
            if self._event[:2] != (packet.ssrc, packet.timestamp):
                self._event = packet.ssrc, packet.timestamp, timestamp
            timestamp = self._event[2]
        return self.sender.numbered(number, timestamp, packet.payload, payload_type, marker)

    def _start(self, packet: RtpPacket, now: float, event: bool) -> bool:
        """The packet is the first of a stream: ours goes on with it. Whether to mark it, which is always so."""
        sender = self.sender
        self._continue(packet, now, event)
        self.joined = True
        self.ssrc = packet.ssrc
        self.highest = packet.sequence_number
        self.sequence_offset = (sender.sequence_number - packet.sequence_number) & 0xFFFF
        self._passed = 1
        self._bad = None
        return True

    def _go_on(self, packet: RtpPacket, step: int, now: float, event: bool) -> bool:
        """A packet ahead of all others of its stream. Whether to mark it."""
        self.highest = packet.sequence_number
        self._passed += step
        self._bad = None
        if event:
            return False
        ahead = timestamp_delta(packet.timestamp, self.timestamp)
        if 0 <= ahead <= (now - self.heard + MAX_AHEAD) * self._clock:
            return False
        self._continue(packet, now, event)
        self._passed = 1  # those before it had other timestamps
        return True

    def _continue(self, packet: RtpPacket, now: float, event: bool) -> None:
        ours = self.now(now)
        if event and self.joined:
            # It may be of a source of its own, beside one of audio whose time goes on.
            passed = round((now - self.heard) * self._clock)
            ours = self.timestamp + self.timestamp_offset + passed
            self.samples = max(0, self.samples - passed)
        self.timestamp_offset = (ours - packet.timestamp) & 0xFFFFFFFF
        self.timestamp, self.heard = packet.timestamp, now

    def skip(self, packet: RtpPacket) -> None:
        """The packet is not passed on, and shall not look lost."""
        if self.joined and packet.ssrc == self.ssrc and packet.sequence_number == (self.highest + 1) & 0xFFFF:
            self.highest = packet.sequence_number
            self.sequence_offset = (self.sequence_offset - 1) & 0xFFFF
            self._passed = 0

    def ran(self, packets: int, octets: int, timestamp: int, now: float) -> None:
        """Packets were passed on by these offsets without us, each following the one before it.

        :param packets: 1 or more; :param octets: of their payloads.
        :param timestamp: theirs, of the last one, which came at ``now``.
        """
        self.highest = (self.highest + packets) & 0xFFFF
        self._passed += packets
        self.timestamp = timestamp
        self.heard = self.passed_at = now
        self._count(packets, max(octets, packets * LEAST), now)
        sender = self.sender
        sender.sequence_number = (self.highest + self.sequence_offset + 1) & 0xFFFF
        sender.packets_sent += packets
        sender.octets_sent += octets

    def missed(self, packets: int) -> None:
        """So many packets, fewer than :data:`MAX_DROPOUT`, have not come, and the next one was passed on without us."""
        self.highest = (self.highest + packets) & 0xFFFF
        self._passed += packets

    def now(self, now: float) -> int:
        """Our timestamp of what is sent now."""
        if not self.joined:
            return self.sender.timestamp
        passed = max(self.samples, round((now - self.heard) * self._clock))
        return (self.timestamp + self.timestamp_offset + passed) & 0xFFFFFFFF

    def anew(self, now: float) -> None:
        """Packets have passed another way: the next one starts anew, where our stream would be by now."""
        if self.joined:
            self.ssrc = -1  # nobody's
            self.passed_at = now

    def leave(self, now: float) -> None:
        """Our stream goes on without the other; :meth:`rewrite` joins them again."""
        if self.joined:
            self.sender.timestamp = self.now(now)
            self.sender.skip(0)  # the next packet is marked
            self.joined = False
