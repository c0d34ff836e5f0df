"""One leg's RTP socket, as packets leave by it: numbered, enciphered, counted and listened to.

What arrives at it is the business of :class:`stellar_gw.worker.rtp_port.RtpPort`.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.protocol import DatagramProtocol

from stellar_gw.media.latch import Address, Latch
from stellar_gw.media.liveness import Liveness
from stellar_gw.media.reception import Reception
from stellar_gw.media.rtp import RtpSender
from stellar_gw.media.splice import Splice
from stellar_gw.media.srtp import Srtp
from stellar_gw.worker.peer import Peer
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.reports import Reports
from stellar_gw.worker.rtcp_port import RtcpPort
from stellar_gw.worker.tap import Tap
from stellar_gw.worker.upward import upward

CLEAR_OF_THE_END = 500
"""Packets of ours that a peer may miss at the beginning of a key of ours: 10 s, in which our 200 is heard at last."""


class SendingPort(DatagramProtocol):
    """
    :ivar sender: numbers and counts what we send.
    :ivar rtcp: what we and the peer tell each other about it.
    :ivar splice: what another leg's packets, which a relay sends from here, are to our own stream.
    :ivar taps: those who listen to this leg.
    """

    noisy = False

    def __init__(self, clocks: Clocks, reception: Reception, liveness: Liveness) -> None:
        self._now = clocks.now
        self._peer = Peer()
        self._latch: Latch | None = None  # the peer's, as ``_srtp`` is, at hand for each packet
        self._srtp: Srtp | None = None
        self._sends = False
        self._closed = False
        self.splice: Splice | None = None
        self.taps: tuple[Tap, ...] = ()
        # Below 2**15: a number that wraps before the peer has heard one packet would cost it the roll-over counter,
        # and with it every packet of the call (RFC 3711 3.3.1).
        self.sender = RtpSender(clocks.number(32), clocks.number(15), clocks.number(32), 0)
        cname = f"{clocks.number(96):024x}"
        reports = Reports(cname, self.sender, reception, clocks.wall, clocks.random)
        self.rtcp = RtcpPort(self._peer, reports, liveness, clocks.now, upward(self.stopped))

    @property
    def destination(self) -> Address | None:
        """Where audio goes now; None where none may be sent, or no address is known."""
        return self._latch.destination if self._sends and self._latch is not None else None

    def send_audio(self, payload: bytes, samples: int, destination: Address | None) -> None:
        """Send a packet of audio; without a destination its time passes.

        :param samples: its length in units of the RTP clock.
        :param destination: :attr:`destination`.
        """
        if destination is None or self.transport is None:
            self.sender.skip(samples)
        else:
            self.write(self.sender.packet(payload, samples), destination)

    def send_events(self, datagrams: Sequence[bytes]) -> None:
        """Send telephone events that :attr:`sender` has numbered."""
        destination = self.destination
        if destination is not None and self.transport is not None:
            for datagram in datagrams:
                self.write(datagram, destination)

    def write(self, datagram: bytes, destination: Address) -> None:
        """Send an RTP packet: the one way out."""
        packet = datagram
        if self._srtp is not None:
            protected = self._srtp.protect(datagram)
            if protected is None:
                return
            packet = protected
        if self.transport is not None:
            self.transport.write(packet, destination)
        for tap in self.taps:
            tap.sent(datagram, self._now())

    def send_report(self, now: float, *, last: bool = False) -> None:
        """Tell the peer how both streams fare.

        :param last: say goodbye, too (RFC 3550 6.6).
        """
        timestamp = self.sender.timestamp if self.splice is None else self.splice.now(now)
        self.rtcp.send_report(timestamp, now, last=last)

    def key_begins(self, now: float) -> None:
        """A key of ours begins, and our numbers must not wrap before the peer has heard one under it, as at the first.

        Where they soon would they go on at 0, which the peer takes for so many lost.
        """
        if self.sender.sequence_number > 0xFFFF - CLEAR_OF_THE_END:
            if self.splice is not None:
                self.splice.anew(now)
            self.sender.sequence_number = 0

    def close(self) -> Deferred[None]:
        """Say goodbye and close both sockets; fires when they are."""
        self._closed = True
        if self.rtcp.reports.started:
            self.send_report(self._now(), last=True)
        closed = []
        for transport in (self.transport, self.rtcp.transport):
            stopped = None if transport is None else transport.stopListening()
            if stopped is not None:
                closed.append(stopped)
        return DeferredList(closed).addCallback(lambda _: None)

    def stopProtocol(self) -> None:
        self.stopped()

    def stopped(self) -> None:
        """One of the two sockets is closed."""
        if not self._closed:
            self._closed = True
            self.lost()

    def lost(self) -> None:
        """And not by :meth:`close`."""
        raise NotImplementedError
