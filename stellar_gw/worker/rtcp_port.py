"""One leg's RTCP (RFC 3550 6): what the peer tells of its stream and of ours, and what we tell it.

It has a socket of its own, above the RTP port, or shares that one (RFC 5761). Times are seconds of a clock that does
not run backwards.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from stellar_gw.media.ice import IceLite
from stellar_gw.media.latch import Address, Latch
from stellar_gw.media.liveness import Liveness
from stellar_gw.media.rtcp import parse_rtcp
from stellar_gw.media.rtp import first_byte_kind
from stellar_gw.media.srtp import Srtp
from stellar_gw.worker.reports import Reports


class RtcpPort(DatagramProtocol):
    """The socket above the RTP port, and what comes and goes by the other where that is shared.

    :param stopped: called once its own socket is closed.
    :ivar reports: what is told.
    :ivar latch: which sources are the peer's; None before the first offer and answer.
    :ivar srtp: what enciphers both, None for plain.
    :ivar rtp_transport: the RTP socket's.
    :ivar ice: answers the peer's connectivity checks; None where it makes none.
    :ivar onward: where the peer's datagrams are passed on to, as they are, while packets keep their SSRC on their way
        (RFC 3550 7.2).
    :ivar rejected: datagrams that could not be read, or had no business where they came.
    """

    noisy = False

    def __init__(
        self, reports: Reports, liveness: Liveness, now: Callable[[], float], stopped: Callable[[], None]
    ) -> None:
        self._liveness = liveness
        self._now = now
        self._stopped = stopped
        self._mux = False
        self._reachable = False
        self.reports = reports
        self.latch: Latch | None = None
        self.srtp: Srtp | None = None
        self.rtp_transport: IUDPTransport | None = None
        self.ice: IceLite | None = None
        self.onward: RtcpPort | None = None
        self.rejected = 0

    def agreed(self, *, mux: bool, reachable: bool) -> None:
        """:param mux: RTCP shares the RTP port.
        :param reachable: the peer takes media at all.
        """
        self._mux, self._reachable = mux, reachable

    # --- what arrives ---------------------------------------------------------------------------

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        latch = self.latch
        if latch is None:
            self.rejected += 1
            return
        if self.ice is not None and datagram and first_byte_kind(datagram[0]) == "stun":
            checked = self.ice.receive(datagram, addr)
            if checked.answer is not None and self.transport is not None:
                self.transport.write(checked.answer, addr)
            if checked.nominated:
                latch.nominate_rtcp(addr)
            return
        srtp = self.srtp
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
        if self._mux:
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
        if self.srtp is not None and datagram is not None:
            datagram = self.srtp.protect_rtcp(datagram)
        transport, destination = self._way()
        if transport is not None and destination is not None and datagram is not None:
            transport.write(datagram, destination)

    def pass_on(self, datagram: bytes) -> None:
        """Another peer's report, to ours."""
        transport, destination = self._way()
        if transport is not None and destination is not None:
            transport.write(datagram, destination)

    def _way(self) -> tuple[IUDPTransport | None, Address | None]:
        if self.latch is None or not self._reachable:
            return None, None
        if self._mux:
            return self.rtp_transport, self.latch.destination
        return self.transport, self.latch.rtcp_destination

    def stopProtocol(self) -> None:
        self._stopped()
