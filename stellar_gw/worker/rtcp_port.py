"""One leg's RTCP (RFC 3550 6): what the peer tells of its stream and of ours, and what we tell it.

It has a socket of its own, above the RTP port, or shares that one (RFC 5761). Times are seconds of a clock that does
not run backwards.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from stellar_gw.media.latch import Address
from stellar_gw.media.liveness import Liveness
from stellar_gw.media.rtcp import parse_rtcp
from stellar_gw.media.rtp import first_byte_kind
from stellar_gw.worker.peer import Peer
from stellar_gw.worker.reports import Reports


class RtcpPort(DatagramProtocol):
    """The socket above the RTP port, and what comes and goes by the other where that is shared.

    :param peer: the RTP port's.
    :param stopped: called once its own socket is closed.
    :ivar reports: what is told.
    :ivar rtp_transport: the RTP socket's.
    :ivar onward: where the peer's datagrams are passed on to, as they are, while packets keep their SSRC on their way
        (RFC 3550 7.2).
    :ivar rejected: datagrams that could not be read, or had no business where they came.
    """

    noisy = False

    def __init__(
        self, peer: Peer, reports: Reports, liveness: Liveness, now: Callable[[], float], stopped: Callable[[], None]
    ) -> None:
        self._peer = peer
        self._liveness = liveness
        self._now = now
        self._stopped = stopped
        self.reports = reports
        self.rtp_transport: IUDPTransport | None = None
        self.onward: RtcpPort | None = None
        self.rejected = 0

    # --- what arrives ---------------------------------------------------------------------------

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        peer = self._peer
        latch, ice, srtp = peer.latch, peer.ice, peer.srtp
        if latch is None:
            self.rejected += 1
            return
        if ice is not None and datagram and first_byte_kind(datagram[0]) == "stun":
            checked = ice.receive(datagram, addr)
            if checked.answer is not None and self.transport is not None:
                self.transport.write(checked.answer, addr)
            if checked.nominated:
                latch.nominate_rtcp(addr)
            return
        if srtp is not None:
            opened = srtp.unprotect_rtcp(datagram)
            if opened is None:
                return
            datagram = opened
        packets = parse_rtcp(datagram)
        if packets is None:
            self.rejected += 1
            return
        authentic = srtp is not None and srtp.active
        if not (latch.authentic_rtcp(addr) if authentic else latch.accepts_rtcp(addr)):
            return
        now = self._now()
        self._liveness.heard(now)
        self.reports.received(packets, len(datagram), now)
        if self.onward is not None:
            self.onward.pass_on(datagram)

    def shared(self, datagram: bytes, addr: Address) -> None:
        """A datagram that came to the RTP port."""
        media = self._peer.media
        if media is not None and media.rtcp_mux:
            self.datagramReceived(datagram, addr)
        else:
            self.rejected += 1

    # --- what is sent ---------------------------------------------------------------------------

    def send_report(self, timestamp: int, now: float, *, last: bool = False) -> None:
        """Our next report, if there is a way.

        :param timestamp: of our stream, at this moment.
        :param last: say goodbye (6.6).
        """
        datagram: bytes | None = self.reports.compound(timestamp, now, last=last)
        srtp = self._peer.srtp
        if srtp is not None and datagram is not None:
            datagram = srtp.protect_rtcp(datagram)
        transport, destination = self._way()
        if transport is not None and destination is not None and datagram is not None:
            transport.write(datagram, destination)

    def pass_on(self, datagram: bytes) -> None:
        """Another peer's report, to ours."""
        transport, destination = self._way()
        if transport is not None and destination is not None:
            transport.write(datagram, destination)

    def _way(self) -> tuple[IUDPTransport | None, Address | None]:
        """Nowhere, where the peer takes no media at all."""
        media, latch = self._peer.media, self._peer.latch
        if media is None or latch is None or media.remote[1] <= 0:
            return None, None
        if media.rtcp_mux:
            return self.rtp_transport, latch.destination
        return self.transport, latch.rtcp_destination

    def stopProtocol(self) -> None:
        self._stopped()
