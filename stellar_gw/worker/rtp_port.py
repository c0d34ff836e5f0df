"""One leg's RTP socket: what comes in is told apart, checked, counted and put in order.

RTP has the even port; RTCP (:mod:`stellar_gw.worker.rtcp_port`) the odd one above, or the same one where the peer
agreed to (RFC 5761). What arrives is demultiplexed by its first octet (RFC 7983) and must come from the latched
source. Times are seconds of a clock that does not run backwards.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from stellar_gw.control.fastpath import FastLeg, Tally
from stellar_gw.control.messages import LegStatistics, SetMedia
from stellar_gw.media.dtmf import Digit
from stellar_gw.media.jitter import Reorder
from stellar_gw.media.latch import Address
from stellar_gw.media.liveness import Liveness
from stellar_gw.media.one_source import OneSource
from stellar_gw.media.presses import Way
from stellar_gw.media.reception import Reception
from stellar_gw.media.rtp import RtpPacket, first_byte_kind, is_rtcp, parse_rtp
from stellar_gw.media.srtp import Srtp
from stellar_gw.worker.patience import Patience
from stellar_gw.worker.port_contracts import Clocks, Offloaded, Onward, PortListener
from stellar_gw.worker.port_counts import PortCounts, text
from stellar_gw.worker.port_digits import PortDigits
from stellar_gw.worker.sending_port import SendingPort
from stellar_gw.worker.short_way import QuickTransport, ShortWay
from stellar_gw.worker.shortcut import Exit
from stellar_gw.worker.speaking import FRESH, Payloads, Speaking
from stellar_gw.worker.tap import Tap

LONGEST_PAYLOAD = 2048
"""Octets: 256 ms of any of our codecs; RFC 3551 4.2 asks for 200 ms."""
CARE = 5.0
"""Seconds that a port which only passes packets on, and does pass them, may be left alone."""


class RtpPort(SendingPort):
    """One leg's media at the edge of the network.

    :ivar relays: the ways of what comes here to other legs.
    :ivar fed_by: the port whose packets a relay of its sends from here.
    :ivar offload: what has packets pass by; None where all come here.
    """

    def __init__(self, listener: PortListener, clocks: Clocks, liveness: Liveness | None = None) -> None:
        self._reception = Reception()
        self._liveness = liveness or Liveness(clocks.now())
        super().__init__(clocks, self._reception, self._liveness)
        self._listener = listener
        self._audio_types: frozenset[int] = frozenset()
        self._noise_types: frozenset[int] = frozenset()
        self._digits = PortDigits(listener.digit, clocks.now)
        self._listens = False
        self._reorder = Reorder()
        self._source = OneSource()
        self._counts = PortCounts(self._peer, self._reception, self._reorder, self._digits, self.sender, self.rtcp)
        self._patience = Patience(self._liveness, listener)
        self._look_at = 0.0
        self._ease_ends = 0.0
        self._ordered = True
        self._short_way = ShortWay(self._peer, self._reception, self._liveness, self._reorder, self._digits, clocks.now)
        self.relays: tuple[Onward, ...] = ()
        self.fed_by: RtpPort | None = None
        self.offload: Offloaded | None = None

    def startProtocol(self) -> None:
        self.rtcp.rtp_transport = self.transport
        self._short_way.transport = self.transport if isinstance(self.transport, QuickTransport) else None

    def stopProtocol(self) -> None:
        """The socket is closed: let go of it, as it has not let go of us, and as whoever sends by it has not."""
        self.take_the_long_way()
        self._short_way.transport = self.rtcp.rtp_transport = None
        super().stopProtocol()

    # --- what offer and answer say --------------------------------------------------------------

    def negotiated(self, media: SetMedia) -> None:
        """:raise LocalProtocolError: an SRTP key that cannot be one; nothing has changed then."""
        now, peer = self._now(), self._peer
        first = peer.media is None
        key_begins = peer.set_keys(media)
        self.take_the_long_way()  # before the rest: what has passed is counted under what was agreed on then
        if key_begins:
            self.key_begins(now)
        said = peer.negotiated(media, now)
        self._latch, self._srtp = peer.latch, peer.srtp
        self._short_way.disconnect()  # or a peer that has moved could never be heard
        for tap in self.taps:
            tap.negotiated(media)
        self._audio_types, self._noise_types = said.audio, said.noise
        self._digits.agreed(said.events)
        self.sender.payload_type = media.send.payload_type
        self._sends = said.sends
        if self._listens and not said.listens:
            self._reorder.reset()
        self._listens = said.listens
        self._liveness.hold(not said.listens, now)
        self._ease_ends = 0.0
        if first and self._patience.answered_at is not None:
            self.rtcp.reports.start(now)
            self._look_at = 0.0

    def answered(self) -> None:
        """From now on the peer owes media, and reports are exchanged."""
        now = self._now()
        if self._patience.answered(now):
            self._look_at = self._ease_ends = 0.0
            if self._peer.media is not None:
                self.rtcp.reports.start(now)

    # --- what arrives ---------------------------------------------------------------------------

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        srtp = self._srtp
        if srtp is not None:
            opened = self._opened(srtp, datagram, addr)
            if opened is None:
                return
            datagram = opened
        latch = self._latch
        # RTP and RTCP begin with 128 to 191 (RFC 7983 7), and RTCP goes on with 192 to 223 (RFC 5761 4).
        if latch is None or len(datagram) < 2 or not 128 <= datagram[0] <= 191:
            self._checked(datagram, addr)
            return
        if 192 <= datagram[1] <= 223:
            self.rtcp.shared(datagram, addr)
            return
        packet = parse_rtp(datagram)
        if packet is None or len(packet.payload) > LONGEST_PAYLOAD:
            self._counts.rejected += 1
            return
        now = self._now()
        if self._short_way.open:
            self.take_the_long_way()
            self._short_way.disturbed()
        if self.in_kernel and addr != latch.locked:  # it is heard elsewhere, so nobody else can be it
            self._counts.rejected += 1
            return
        fed_by = self.fed_by
        locked = None if fed_by is None else latch.locked
        authentic = srtp is not None and srtp.active
        if latch.authentic(addr, packet, now) if authentic else latch.accepts(addr, packet, now):  # they count
            if fed_by is not None and latch.locked != locked:
                fed_by.take_the_long_way()  # the way there has changed
            self._accepted(packet, now)

    def _opened(self, srtp: Srtp, datagram: bytes, addr: Address) -> bytes | None:
        """What is in an SRTP packet: nothing else may so much as touch the latch. SRTCP goes its own way."""
        if not datagram or first_byte_kind(datagram[0]) != "rtp":
            self._checked(datagram, addr)
        elif not is_rtcp(datagram):
            return srtp.unprotect(datagram)
        else:
            self.rtcp.shared(datagram, addr)
        return None

    def _checked(self, datagram: bytes, addr: Address) -> None:
        """What is no RTP is a connectivity check, or nothing for us; the peer's nomination wins over the latch."""
        ice, latch = self._peer.ice, self._latch
        if ice is None or latch is None or not datagram or first_byte_kind(datagram[0]) != "stun":
            self._counts.rejected += 1
            return
        checked = ice.receive(datagram, addr)
        if checked.answer is not None and self.transport is not None:
            self.transport.write(checked.answer, addr)
        if checked.valid:
            self._liveness.heard(self._now())
        if checked.nominated and ice.nominated != addr:
            ice.nominated = addr
            latch.nominate(addr, self._now())
            self.take_the_long_way()

    def _accepted(self, packet: RtpPacket, now: float) -> None:
        kind = packet.payload_type
        audio = kind in self._audio_types
        if audio:
            source, ssrc = self._source, packet.ssrc
            if not (ssrc == source.ssrc and source.alone) and not source.takes(ssrc, now):
                self._counts.rejected += 1
                return
        self._reception.received(packet, now, event=not audio)
        self._liveness.heard(now)
        if self.offload is not None:
            self.offload.came_up(kind, now)
        if not self._listens:
            return
        for relay in self.relays:
            relay.forward(packet, now)
        for tap in self.taps:
            tap.received(packet, now)
        if self._ordered:
            # Our codecs hold one octet in each unit of their clock. What is no audio takes part in the order alone.
            samples = len(packet.payload) if audio else 0
            pieces = self._reorder.put(packet, samples, now)
            if pieces:
                self._listener.heard(pieces)
                if audio and len(pieces) == 1 and not self.relays and self.fed_by is None:
                    self._short_way.hear(self._listener, packet, self.taps, now)
        elif audio and len(self.relays) == 1:
            self._short_way.shorten(self.relays[0], packet, self.taps, now)
        if audio:
            return
        if not self._digits.received(packet, now) and kind in self._noise_types:
            self._listener.noise(packet.payload)

    # --- by the short way, or not ---------------------------------------------------------------

    def speaking(self, audio: Payloads, ms: int, due: float, played: Callable[[], None]) -> Speaking | None:
        """The short way back for frames of this audio, where there is one.

        :param due: when something else is to be done.
        """
        return self._short_way.speaking(self, audio, ms, min(due, self._look_at), played)

    def order(self, wanted: bool) -> None:
        """Whether the listener is to hear the audio, in order."""
        if wanted != self._ordered:
            self._ordered = wanted
            self.take_the_long_way()
            self._reorder.reset()

    def exit(self, destination: Address) -> Exit:
        """What :meth:`write` comes down to until :meth:`take_the_long_way`."""
        return self._short_way.exit(self, destination)

    def take_the_long_way(self) -> None:
        """Something has changed: what the next packets mean is to be found out anew, here and where ours come from."""
        if self.offload is not None:
            self.offload.end()
        self._short_way.lengthen()
        if self.fed_by is not None:
            self.fed_by._short_way.lengthen()

    def settle(self) -> None:
        """Bring counts and numbers up to date, which packets on the short way leave behind."""
        self._short_way.settle()
        if self.fed_by is not None:
            self.fed_by._short_way.settle()

    def unfed(self) -> None:
        """No relay sends anything from here any more."""
        self.take_the_long_way()
        self.fed_by = self.splice = None
        self._short_way.disconnect()

    def _connect(self, now: float) -> None:
        """A leg that only sends what another brings, or that is heard by an agent, has its socket connected."""
        if self._short_way.connect(self.fed_by is not None or (self._ordered and not self.relays), now):
            self.take_the_long_way()

    def at_ease(self, now: float) -> bool:
        """Packets take the short way, and nothing else is to be done: :meth:`advance` may wait."""
        return now < self._ease_ends and (self.in_kernel or self._short_way.moves())

    # --- in the kernel --------------------------------------------------------------------------

    @property
    def in_kernel(self) -> bool:
        """Packets pass by, and none is to be expected here."""
        return self.offload is not None and self.offload.open

    def fast_end(self, other: RtpPort) -> tuple[FastLeg, int] | None:
        """This end of a bridge to ``other`` and its payload type, where the kernel can pass its packets on."""
        if self.fed_by is not other or len(self.relays) != 1 or self._ordered or self.taps or not self._sends:
            return None
        return self._short_way.fast_end()

    def handed_over(self, other: RtpPort) -> None:
        """From now on the kernel passes on what comes here, to ``other``."""
        self._short_way.lengthen()
        self._reception.leave()
        self.rtcp.onward = other.rtcp

    def taken_back(self, now: float) -> None:
        """The kernel does so no longer."""
        self.rtcp.onward = None
        self._ease_ends = now
        if self.splice is not None:
            self.splice.anew(now)

    def passed(self, tally: Tally, now: float) -> None:
        """What the kernel has passed on since it was counted last."""
        self._counts.passed(tally)
        if tally.received:
            self._liveness.heard(now)
            if self._latch is not None:
                self._latch.passed(tally.received, now)

    # --- tapping --------------------------------------------------------------------------------

    def tap(self, tap: Tap) -> None:
        """Let somebody listen to the audio that is accepted here, and to what is sent, from now on."""
        self.taps = (*self.taps, tap)
        self.take_the_long_way()

    def untap(self, tap: Tap) -> None:
        """Nothing more for this one; may be repeated."""
        if tap in self.taps:
            self.taps = tuple(each for each in self.taps if each is not tap)
            self.take_the_long_way()

    def pressed(self, digit: Digit, way: Way) -> None:
        """A press was told; the listener hears of it once, however many ways tell of it."""
        self._digits.pressed(digit, way)

    # --- every 20 ms; every 200 ms while packets are only passed on ------------------------------

    def advance(self) -> None:
        """What only time brings: packets waited for in vain, digits without an end, reports, the end of patience."""
        now = self._now()
        hearing = self._short_way.hearing
        if hearing is not None:
            if now - hearing.heard < FRESH:
                if now >= self._look_at:
                    self._look(now)
                return
            self.take_the_long_way()
        if (self.relays or self.fed_by is not None or self._ordered) and not self.in_kernel:
            self.settle()
            self._connect(now)
        if self._listens and self._ordered:
            pieces = self._reorder.advance(now)
            if pieces:
                self._listener.heard(pieces)
        if self._digits.pressing:
            self._digits.advance(now)
        if now >= self._look_at:
            self._look(now)
        self._ease_ends = now if self._liveness.lost else min(self.rtcp.reports.due, now + CARE)

    def _look(self, now: float) -> None:
        """What is due less often."""
        reports = self.rtcp.reports
        self.settle()
        if self._ordered:
            self._connect(now)
        if now >= reports.due:
            self.send_report(now)
        if self._patience.look(now):
            self._nothing_came()
        if self._patience.answered_at is not None:
            self._look_at = min(reports.due, self._patience.due)

    def _nothing_came(self) -> None:
        """If so, say between which addresses."""
        media = self._peer.media
        if self._listens and not self._reception.packets and media is not None and self.transport is not None:
            host = self.transport.getHost()
            self._listener.one_way(text((host.host, host.port)), text(media.remote))

    # --- its end --------------------------------------------------------------------------------

    def close(self) -> Deferred[None]:
        """Say goodbye (RFC 3550 6.6) and close both sockets; fires when they are."""
        self.take_the_long_way()
        return super().close()

    def lost(self) -> None:
        self._listener.port_failed()

    def statistics(self, leg: str, codec: str, agent_audio_ms: int) -> LegStatistics:
        self.settle()
        return self._counts.statistics(leg, codec, agent_audio_ms)
