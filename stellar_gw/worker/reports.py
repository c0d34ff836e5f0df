"""What one leg and its peer tell each other about their streams by RTCP (RFC 3550 6)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stellar_gw.media.reception import Reception
from stellar_gw.media.rtcp import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    RtcpPacket,
    RtcpSchedule,
    SenderReport,
    SourceDescription,
    build_rtcp,
    ntp_time,
)
from stellar_gw.media.rtp import RtpSender


class Reports:
    """
    :param wall: seconds since 1970.
    :param random: uniform in [0, 1).
    :ivar cname: our persistent name, random for each leg (RFC 7022 4.2).
    :ivar due: when the next report is to be sent; never, before :meth:`start`.
    :ivar remote_loss: part of what we sent that the peer missed, by its last report.
    :ivar round_trip_ms: -1 until the peer has told enough.
    """

    def __init__(
        self,
        cname: str,
        sender: RtpSender,
        reception: Reception,
        wall: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        self._sender = sender
        self._reception = reception
        self._wall = wall
        self._schedule = RtcpSchedule(random)
        self._sent_before = 0
        self.cname = cname
        self.remote_loss = 0.0
        self.round_trip_ms = -1.0

    @property
    def due(self) -> float:
        return self._schedule.due

    @property
    def started(self) -> bool:
        return self._schedule.due < float("inf")

    def start(self, now: float) -> None:
        """The call is up."""
        self._schedule.start(now)

    def received(self, packets: Iterable[RtcpPacket], octets: int, now: float) -> None:
        """The peer's compound packet.

        :param octets: its length.
        """
        self._schedule.received(octets)
        for packet in packets:
            if isinstance(packet, SenderReport):
                self._reception.sender_report(packet, now)
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.blocks:
                    self._about_ours(block)

    def _about_ours(self, block: ReportBlock) -> None:
        """How our stream arrives over there."""
        if block.ssrc != self._sender.ssrc:
            return
        self.remote_loss = block.fraction_lost / 256
        seconds = block.round_trip(ntp_time(self._wall()))
        if seconds is not None:
            self.round_trip_ms = seconds * 1000

    def compound(self, timestamp: int, now: float, *, last: bool = False) -> bytes:
        """Our next compound packet (RFC 3550 6.1), which is sent now.

        :param timestamp: of our stream, at this moment.
        :param last: say goodbye (6.6).
        """
        sender = self._sender
        block = self._reception.report_block(now)
        blocks = () if block is None else (block,)
        report: SenderReport | ReceiverReport
        if sender.packets_sent > self._sent_before:
            self._sent_before = sender.packets_sent
            ntp = ntp_time(self._wall())
            report = SenderReport(sender.ssrc, ntp, timestamp, sender.packets_sent, sender.octets_sent, blocks)
        else:
            report = ReceiverReport(sender.ssrc, blocks)
        name = SourceDescription(sender.ssrc, self.cname)
        datagram = build_rtcp(report, name, Goodbye((sender.ssrc,))) if last else build_rtcp(report, name)
        self._schedule.sent(len(datagram), now)
        return datagram
