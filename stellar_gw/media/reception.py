"""What was received from a peer, in numbers (RFC 3550 6.4.1, A.1, A.3, A.8)."""

from __future__ import annotations

from stellar_gw.media.rtcp import ReportBlock, SenderReport, middle_32
from stellar_gw.media.rtp import RtpPacket

MAX_DROPOUT = 3000
MAX_MISORDER = 100
MIN_SEQUENTIAL = 2
JUMP = 1.0
"""Seconds; timestamps that are further from the time that has passed have begun anew, or stood still on hold. That is
no jitter, which for seconds afterwards would be told as one of seconds."""
_WINDOW = 128
_WINDOW_MASK = (1 << _WINDOW) - 1


class Reception:
    """Statistics of one leg's incoming stream, over all the SSRCs that it has had.

    Totals run over the whole life; report blocks speak of the present SSRC, and of the time since its
    sequence numbers last made a fresh start (A.1).

    :ivar packets, octets: received, duplicates and the packets of failed probations included; payload octets.
    :ivar duplicates: packets that had arrived before.
    :ivar late: packets that arrived after one of a higher sequence number.
    :ivar restarts: changes of SSRC, and jumps of sequence numbers that two packets in a row confirmed.
    :ivar ssrc: the present one, None before the first packet.
    :ivar jitter: interarrival jitter in timestamp units (A.8).
    :ivar transit: of the last packet: its arrival less its timestamp, in timestamp units; None before the first.
    """

    def __init__(self, clock: int = 8000) -> None:
        """:param clock: RTP clock rate in Hz."""
        self._clock = clock
        self.ssrc: int | None = None
        self.packets = 0
        self.octets = 0
        self.duplicates = 0
        self.late = 0
        self.restarts = 0
        self._past_expected = 0
        self._past_unique = 0
        self.jitter = 0.0
        self.transit: float | None = None
        self._last_sr = 0
        self._last_sr_at = 0.0
        self._begin(0)
        self._probation = MIN_SEQUENTIAL

    def _begin(self, sequence_number: int) -> None:
        """A fresh start with the packet before ``sequence_number`` + 1 (A.1 init_seq)."""
        self._base = self._highest = sequence_number
        self._cycles = 0
        self._seen = 1
        self._received = 1
        self._unique = 1
        self._expected_prior = 0
        self._received_prior = 0
        self._bad: int | None = None
        self._probation = 0

    def received(self, packet: RtpPacket, now: float, event: bool = False) -> None:
        """Count a packet.

        :param now: when it arrived, in seconds of a clock that does not run backwards.
        :param event: a telephone event: its packets repeat one timestamp, so they say nothing about jitter; nor do
            they begin another source.
        """
        self.packets += 1
        self.octets += len(packet.payload)
        sequence_number = packet.sequence_number
        if packet.ssrc != self.ssrc:
            if event and self.ssrc is not None:
                return  # a source of its own, beside that of the audio
            self._new_source(packet)
        elif (sequence_number - self._highest) & 0xFFFF == 1 and not self._probation:
            self._highest = sequence_number
            if sequence_number == 0:
                self._cycles += 0x10000
            self._seen = (self._seen << 1 | 1) & _WINDOW_MASK
            self._received += 1
            self._unique += 1
        elif not self._place(sequence_number):
            return
        if event:
            return
        transit = now * self._clock - packet.timestamp
        if self.transit is not None:
            difference = abs(transit - self.transit)
            if difference > 0x80000000:  # timestamps wrap at 2**32: the difference of two transits is taken modulo that
                difference = abs((difference + 0x80000000) % 0x100000000 - 0x80000000)
            if difference <= JUMP * self._clock:
                self.jitter += (difference - self.jitter) / 16
        self.transit = transit

    def ran(self, packets: int, octets: int, jitter: float, transit: float) -> None:
        """Count packets of the present SSRC that came each next to the one before, none of them an event.

        :param packets: 1 or more; :param octets: of their payloads.
        :param jitter, transit: what :attr:`jitter` and :attr:`transit` had become with the last of them.
        """
        self.packets += packets
        self.octets += octets
        highest = self._highest + packets
        self._cycles += highest & ~0xFFFF
        self._highest = highest & 0xFFFF
        self._seen = _WINDOW_MASK if packets >= _WINDOW else (self._seen << packets | (1 << packets) - 1) & _WINDOW_MASK
        self._received += packets
        self._unique += packets
        self.jitter = jitter
        self.transit = transit

    def missed(self, packets: int) -> None:
        """So many packets of the present SSRC, fewer than :data:`MAX_DROPOUT`, are ahead of what comes next."""
        highest = self._highest + packets
        self._cycles += highest & ~0xFFFF
        self._highest = highest & 0xFFFF
        self._seen = self._seen << packets & _WINDOW_MASK

    def leave(self) -> None:
        """The stream goes on where it is not seen: whatever comes next, here, is a beginning."""
        self._close()
        self.ssrc = None
        self._probation = MIN_SEQUENTIAL

    @property
    def next(self) -> int | None:
        """The sequence number that would follow; None while the source is not proven yet."""
        return None if self._probation else (self._highest + 1) & 0xFFFF

    def _new_source(self, packet: RtpPacket) -> None:
        if self.ssrc is not None:
            self.restarts += 1
            self._close()
            self._last_sr = 0
        self.ssrc = packet.ssrc
        self._begin(packet.sequence_number)
        self._probation = MIN_SEQUENTIAL - 1
        self.jitter = 0.0
        self.transit = None

    def _close(self) -> None:
        """Put the present start's figures with the totals; a source that never left probation has none."""
        if not self._probation:
            self._past_expected += self._expected
            self._past_unique += self._unique

    def _place(self, sequence_number: int) -> bool:
        """A packet that is not simply the next one (A.1 update_seq); False where it counts for nothing yet."""
        step = (sequence_number - self._highest) & 0xFFFF
        if self._probation:
            return self._prove(sequence_number, step)
        if 0 < step < MAX_DROPOUT:
            if sequence_number < self._highest:
                self._cycles += 0x10000
            self._highest = sequence_number
            self._seen = (self._seen << step | 1) & _WINDOW_MASK
        elif step == 0 or step > 0x10000 - MAX_MISORDER:
            bit = 1 << (-step & 0xFFFF)
            if self._seen & bit:
                self.duplicates += 1
                self._received += 1
                return False
            self._seen |= bit
            self.late += 1
        elif sequence_number == self._bad:
            # Two in a row: the other side has restarted without telling us.
            self.restarts += 1
            self._close()
            self._begin((sequence_number - 1) & 0xFFFF)
            return self._place(sequence_number)
        else:
            self._bad = (sequence_number + 1) & 0xFFFF
            return False
        self._received += 1
        self._unique += 1
        return True

    def _prove(self, sequence_number: int, step: int) -> bool:
        if step == 0:
            self.duplicates += 1
            return False
        if step == 1:
            first = self._highest
            self._begin(first)
            return self._place(sequence_number)
        self._begin(sequence_number)
        self._probation = MIN_SEQUENTIAL - 1
        return False

    @property
    def _expected(self) -> int:
        return self._cycles + self._highest - self._base + 1

    @property
    def expected(self) -> int:
        """Packets that the sequence numbers say were sent."""
        return self._past_expected + (0 if self._probation else self._expected)

    @property
    def lost(self) -> int:
        """Packets that never came; duplicates do not make up for them."""
        return max(0, self.expected - self._past_unique - (0 if self._probation else self._unique))

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter (A.8) in milliseconds."""
        return self.jitter * 1000 / self._clock

    # --- reports ----------------------------------------------------------------------------------

    def sender_report(self, report: SenderReport, now: float) -> None:
        """The peer's sender report arrived: our blocks will refer to it."""
        if report.ssrc == self.ssrc:
            self._last_sr = middle_32(report.ntp)
            self._last_sr_at = now

    def report_block(self, now: float) -> ReportBlock | None:
        """What to tell the peer (A.3); None where nothing came since the last block (6.4)."""
        if self.ssrc is None or self._probation or self._received == self._received_prior:
            return None
        expected = self._expected
        expected_interval = expected - self._expected_prior
        lost_interval = expected_interval - (self._received - self._received_prior)
        self._expected_prior = expected
        self._received_prior = self._received
        lost = expected_interval > 0 and lost_interval > 0
        delay = now - self._last_sr_at if self._last_sr else 0.0
        return ReportBlock(
            self.ssrc,
            min(255, (lost_interval << 8) // expected_interval) if lost else 0,
            max(-0x800000, min(0x7FFFFF, expected - self._received)),
            self._cycles + self._highest,
            int(self.jitter),
            self._last_sr,
            max(0, int(delay * 65536)),
        )
