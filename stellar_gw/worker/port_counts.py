"""What has come and gone by one leg's port, by whichever way: added up where somebody asks."""

from __future__ import annotations

from stellar_gw.control.fastpath import OVERHEAD, Tally
from stellar_gw.control.messages import LegStatistics
from stellar_gw.media.jitter import Reorder
from stellar_gw.media.latch import Address
from stellar_gw.media.reception import Reception
from stellar_gw.media.rtp import RtpSender
from stellar_gw.worker.peer import Peer
from stellar_gw.worker.port_digits import PortDigits
from stellar_gw.worker.rtcp_port import RtcpPort


class PortCounts:
    """The parameters are the port's own, each of which counts something.

    :ivar rejected: datagrams that came to the RTP port and could not be read, or had no business there.
    """

    def __init__(
        self,
        peer: Peer,
        reception: Reception,
        reorder: Reorder,
        digits: PortDigits,
        sender: RtpSender,
        rtcp: RtcpPort,
    ) -> None:
        self._peer = peer
        self._reception = reception
        self._reorder = reorder
        self._digits = digits
        self._sender = sender
        self._rtcp = rtcp
        self._passed = Tally()
        self.rejected = 0

    def passed(self, tally: Tally) -> None:
        """What the kernel has passed on since it was counted last."""
        known = self._passed
        self._passed = Tally(
            known.received + tally.received,
            known.received_octets + max(0, tally.received_octets - OVERHEAD * tally.received),
            known.sent + tally.sent,
            known.sent_octets + max(0, tally.sent_octets - OVERHEAD * tally.sent),
        )

    def statistics(self, leg: str, codec: str, agent_audio_ms: int) -> LegStatistics:
        peer, reception, sender, reports = self._peer, self._reception, self._sender, self._rtcp.reports
        latch, srtp, ice, passed = peer.latch, peer.srtp, peer.ice, self._passed
        rejected = self.rejected + self._rtcp.rejected + (0 if ice is None else ice.rejected)
        unauthenticated = 0 if srtp is None else srtp.rejected
        return LegStatistics(
            leg=leg,
            codec=codec,
            packets_received=reception.packets + passed.received,
            octets_received=reception.octets + passed.received_octets,
            packets_sent=sender.packets_sent + passed.sent,
            octets_sent=sender.octets_sent + passed.sent_octets,
            packets_in_kernel=passed.received,
            packets_lost=reception.lost,
            packets_late=self._reorder.late,
            packets_rejected=rejected + unauthenticated + (0 if latch is None else latch.rejected),
            packets_unauthenticated=unauthenticated,
            srtp="" if srtp is None else srtp.suite,
            jitter_ms=reception.jitter_ms,
            remote_loss=reports.remote_loss,
            round_trip_ms=reports.round_trip_ms,
            digits=self._digits.digits,
            latched=text(latch.locked) if latch is not None and latch.locked is not None else "",
            agent_audio_ms=agent_audio_ms,
        )


def text(address: Address) -> str:
    """As people write it."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
