"""The phone's audio: two UDP ports, one pacer, what is played, and what is heard.

Everything outside this file is PCM of ``RATE`` samples a second, whatever codec is in force, so that a
re-INVITE that changes it changes nothing for the source, the recordings and their analysis. Both
recordings begin at the same moment: when the first answer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import define
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IReactorUDP, IUDPTransport
from twisted.internet.protocol import DatagramProtocol

from stellar_gw.errors import StellarError
from stellar_gw.media.codec import CODECS, Codec, Decoder, Encoder
from stellar_gw.media.dtmf import DtmfReceiver, DtmfSender
from stellar_gw.media.jitter import Piece, Reorder
from stellar_gw.media.latch import COMFORT_NOISE, Latch
from stellar_gw.media.reception import Reception
from stellar_gw.media.resample import Resampler
from stellar_gw.media.rtcp import (
    Goodbye,
    ReceiverReport,
    RtcpSchedule,
    SenderReport,
    SourceDescription,
    build_rtcp,
    ntp_time,
    parse_rtcp,
)
from stellar_gw.media.rtp import RtpPacket, RtpSender, first_byte_kind, is_rtcp, parse_rtp
from stellar_gw.media.source import Source
from stellar_gw.media.srtp import Srtp, SrtpKey
from stellar_gw.phone.recording import RATE, Recording
from stellar_gw.sip.flow import Address
from stellar_gw.sip.offer_answer import Negotiated

__all__ = ["MAX_CATCH_UP", "RATE", "NoPorts", "PhoneReactor", "Recording", "RtpSession"]

MAX_CATCH_UP = 5
"""Frames sent at once after the process was held up; more are left out, their time passes."""
_PORT_TRIES = 100


class PhoneReactor(IReactorTime, IReactorUDP):
    """What a reactor must be able to do for audio."""


class NoPorts(StellarError):
    """No pair of UDP ports is free on an address."""


class _Port(DatagramProtocol):
    """One UDP socket; what cannot be sent is lost, as it would be on the way."""

    transport: IUDPTransport | None

    def __init__(self, received: Callable[[bytes, Address], None]) -> None:
        self._received = received
        self.unsent = 0

    def datagramReceived(self, datagram: bytes, addr: Address) -> None:
        self._received(datagram, (addr[0], addr[1]))

    def send(self, datagram: bytes | None, destination: Address | None) -> None:
        if self.transport is None or destination is None or datagram is None:
            return
        try:
            self.transport.write(datagram, destination)
        except (OSError, ValueError):
            self.unsent += 1

    def close(self) -> None:
        if self.transport is not None:
            self.transport.stopListening()
            self.transport = None


@define
class _Sending:
    """The codec in force, and audio on its way through it."""

    codec: Codec
    encoder: Encoder
    resampler: Resampler

    def encode(self, pcm: bytes) -> bytes:
        return self.encoder.encode(self.resampler.resample(pcm))


@define
class _Receiving:
    codec: Codec
    decoder: Decoder
    resampler: Resampler

    def decode(self, payload: bytes) -> bytes:
        return self.resampler.resample(self.decoder.decode(payload))


class RtpSession:
    """The audio of one call.

    :param source: what is played, at :data:`RATE`.
    :param random: returns so many random octets.
    :param wall: wall-clock seconds, for RTCP.
    :param keep: seconds of each direction to keep for analysis.
    """

    def __init__(
        self,
        reactor: PhoneReactor,
        host: str,
        source: Source,
        *,
        random: Callable[[int], bytes],
        wall: Callable[[], float],
        keep: float = 600.0,
        heard_sink: Callable[[bytes], None] | None = None,
        sent_sink: Callable[[bytes], None] | None = None,
    ) -> None:
        """:raise NoPorts: no two neighbouring UDP ports are free."""
        self._reactor, self._wall, self._source = reactor, wall, source
        self._random = random
        self._rtp, self._rtcp = _Port(self._datagram), _Port(self._rtcp_datagram)
        self.host = host
        self.rtp_port = self._bind()
        self.rtcp_port = self.rtp_port + 1
        self.sender = RtpSender(self._number(4), self._number(2), self._number(4), 0)
        self.reception = Reception()
        self.heard = Recording(int(keep * RATE) * 2, heard_sink)
        self.sent = Recording(int(keep * RATE) * 2, sent_sink)
        self.negotiated: Negotiated | None = None
        self.digits_heard = ""
        self.digits_sent = ""
        self.round_trip: float | None = None
        self.remote_loss: float | None = None
        self.first_packet_after: float | None = None
        self._reorder = Reorder()
        self._dtmf_in: dict[int, DtmfReceiver] = {}
        self._dtmf_out: DtmfSender | None = None
        self._latch: Latch | None = None
        self._sending: _Sending | None = None
        self._receiving: dict[int, _Receiving] = {}
        self._schedule = RtcpSchedule(lambda: self._number(4) / 2**32)
        self._cname = f"{self._random(6).hex()}@{host}"
        self._began = self._due = 0.0
        self._align = True
        self._alarm: IDelayedCall | None = None
        self._stopped = False
        self.srtp = Srtp()

    # --- from the call --------------------------------------------------------------------------

    def update(self, negotiated: Negotiated, signalling_host: str) -> None:
        """Offer and answer have agreed; the first time starts the audio."""
        now = self._reactor.seconds()
        first, self.negotiated = self.negotiated is None, negotiated
        types = [codec.payload_type for codec in (*negotiated.receive, *negotiated.dtmf_receive)]
        arguments = (negotiated.remote, signalling_host, types, now, False, negotiated.remote_rtcp)
        if self._latch is None:
            self._latch = Latch(*arguments)
        else:
            self._latch.fresh(*arguments)
        agreed = negotiated.srtp
        keys = (agreed.send, agreed.receive) if agreed is not None else ()
        self.srtp.set_keys(*(SrtpKey(key.suite, key.octets) for key in keys) if keys else (None, None))
        self._change_codecs(negotiated)
        if "recv" not in negotiated.direction:
            self._reorder.reset()
            self._align = True
        if first:
            self._began = self._due = now
            self._schedule.start(now)
            self._tick()

    def send_digits(self, digits: str) -> bool:
        """Send digits as RFC 4733 events in place of audio; False where the peer takes none.

        :raise LocalProtocolError: a character that is no digit.
        """
        if self._dtmf_out is None:
            return False
        self._dtmf_out.send(digits)
        self.digits_sent += digits.upper()
        return True

    @property
    def busy(self) -> bool:
        """Digits are still being sent."""
        return self._dtmf_out is not None and self._dtmf_out.busy

    @property
    def dropped_late(self) -> int:
        """Packets that came when their turn had passed."""
        return self._reorder.late

    def stop(self) -> None:
        """Say goodbye by RTCP and close the ports; repeatable."""
        if self._stopped:
            return
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._latch is not None:
            self._pass(self._reorder.advance(self._reactor.seconds()))
            self._send_rtcp(Goodbye((self.sender.ssrc,)))
        self._rtp.close()
        self._rtcp.close()

    # --- out --------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Send what is due by now; the next tick follows the media clock, not this one's delay."""
        assert self.negotiated is not None and self._latch is not None
        now = self._reactor.seconds()
        period = self.negotiated.ptime / 1000
        behind = int((now - self._due) / period)
        if behind > MAX_CATCH_UP:
            missed = behind - MAX_CATCH_UP
            self.sender.skip(missed * self.negotiated.ptime * 8)
            self._due += missed * period
            self.sent.pad(self._due - self._began)
        while self._due <= now:
            self._due += period
            self._frame(self.negotiated)
        self._pass(self._reorder.advance(now))
        for dtmf in self._dtmf_in.values():
            self.digits_heard += "".join(digit.digit for digit in dtmf.advance(now))
        if now >= self._schedule.due:
            self._send_rtcp()
        self._alarm = self._reactor.callLater(max(0.0, self._due - self._reactor.seconds()), self._tick)

    def _frame(self, negotiated: Negotiated) -> None:
        """One packet's time: digits, audio, or nothing while we may not send."""
        assert self._sending is not None and self._latch is not None
        units, octets = negotiated.ptime * 8, negotiated.ptime * RATE // 1000 * 2
        if "send" not in negotiated.direction:
            self.sender.skip(units)
            self.sent.add(bytes(octets))
            return
        datagrams = self._dtmf_out.tick(self.sender, units) if self._dtmf_out is not None else None
        if datagrams is None:
            pcm = self._source.take(octets // 2)
            datagrams = [self.sender.packet(self._sending.encode(pcm), units)]
        else:
            pcm = bytes(octets)
        self.sent.add(pcm)
        for datagram in datagrams:
            self._rtp.send(self.srtp.protect(datagram), self._latch.destination)

    def _send_rtcp(self, *more: Goodbye) -> None:
        assert self.negotiated is not None and self._latch is not None
        now, sender = self._reactor.seconds(), self.sender
        block = self.reception.report_block(now)
        blocks = (block,) if block is not None else ()
        report: SenderReport | ReceiverReport = ReceiverReport(sender.ssrc, blocks)
        if sender.packets_sent:
            ntp = ntp_time(self._wall())
            report = SenderReport(sender.ssrc, ntp, sender.timestamp, sender.packets_sent, sender.octets_sent, blocks)
        datagram = build_rtcp(report, SourceDescription(sender.ssrc, self._cname), *more)
        if self.negotiated.rtcp_mux:
            self._rtp.send(self.srtp.protect_rtcp(datagram), self._latch.destination)
        else:
            self._rtcp.send(self.srtp.protect_rtcp(datagram), self._latch.rtcp_destination)
        self._schedule.sent(len(datagram), now)

    # --- in ---------------------------------------------------------------------------------------

    def _datagram(self, data: bytes, source: Address) -> None:
        if self.negotiated is None or self._latch is None or not data or first_byte_kind(data[0]) != "rtp":
            return
        if is_rtcp(data):
            if self.negotiated.rtcp_mux and source == self._latch.destination:
                self._read_rtcp(data)
            return
        opened, now = self.srtp.unprotect(data), self._reactor.seconds()
        packet = None if opened is None else parse_rtp(opened)
        accepts = self._latch.authentic if self.srtp.active else self._latch.accepts
        if packet is None or not accepts(source, packet, now):
            return
        if self.first_packet_after is None:
            self.first_packet_after = now - self._began
        dtmf = self._dtmf_in.get(packet.payload_type)
        if dtmf is not None:
            self.digits_heard += "".join(digit.digit for digit in dtmf.received(packet, now))
        self.reception.received(packet, now, event=dtmf is not None)
        if "recv" in self.negotiated.direction:
            samples = 0 if dtmf is not None or packet.payload_type == COMFORT_NOISE else len(packet.payload)
            self._pass(self._reorder.put(packet, samples, now))

    def _pass(self, pieces: Sequence[Piece]) -> None:
        """Audio in order, to the recording."""
        if pieces and self._align:
            self._align = False
            self.heard.pad(self._reactor.seconds() - self._began)
        for piece in pieces:
            if isinstance(piece, RtpPacket):
                receiving = self._receiving.get(piece.payload_type)
                if receiving is not None:
                    self.heard.add(receiving.decode(piece.payload))
            else:
                self.heard.add(bytes(piece.samples * (RATE // 8000) * 2))

    def _rtcp_datagram(self, data: bytes, source: Address) -> None:
        if self._latch is not None and self._latch.accepts_rtcp(source):
            self._read_rtcp(data)

    def _read_rtcp(self, data: bytes) -> None:
        opened = self.srtp.unprotect_rtcp(data)
        packets = None if opened is None else parse_rtcp(opened)
        if packets is None:
            return
        self._schedule.received(len(data))
        ntp = ntp_time(self._wall())
        for packet in packets:
            if isinstance(packet, SenderReport):
                self.reception.sender_report(packet, self._reactor.seconds())
            if isinstance(packet, SenderReport | ReceiverReport):
                for block in packet.blocks:
                    if block.ssrc == self.sender.ssrc:
                        trip = block.round_trip(ntp)
                        self.round_trip = self.round_trip if trip is None else trip
                        self.remote_loss = max(0, block.packets_lost) / max(1, self.sender.packets_sent)

    # --- making -----------------------------------------------------------------------------------

    def _change_codecs(self, negotiated: Negotiated) -> None:
        self.sender.payload_type = negotiated.send.payload_type
        codec = CODECS[negotiated.send.name]
        if self._sending is None or self._sending.codec != codec:
            self._sending = _Sending(codec, codec.encoder(), Resampler(RATE, codec.rate))
        known = {payload_type: each.codec for payload_type, each in self._receiving.items()}
        for each in negotiated.receive:
            codec = CODECS[each.name]
            if known.get(each.payload_type) != codec:
                self._receiving[each.payload_type] = _Receiving(codec, codec.decoder(), Resampler(codec.rate, RATE))
        receivers = {each.payload_type: DtmfReceiver(each.clock) for each in negotiated.dtmf_receive}
        self._dtmf_in = {**receivers, **{kind: dtmf for kind, dtmf in self._dtmf_in.items()
                                         if kind in receivers and receivers[kind].clock == dtmf.clock}}  # fmt: skip
        if negotiated.dtmf_send is None:
            self._dtmf_out = None
        elif self._dtmf_out is None or self._dtmf_out.clock != negotiated.dtmf_send.clock:
            self._dtmf_out = DtmfSender(negotiated.dtmf_send.payload_type, negotiated.dtmf_send.clock)
        else:
            self._dtmf_out.payload_type = negotiated.dtmf_send.payload_type

    def _bind(self) -> int:
        """An even port and the next (RFC 3550 11), chosen at random."""
        for _ in range(_PORT_TRIES):
            port = 20000 + self._number(2) % 20000 * 2
            opened: list[_Port] = []
            try:
                for protocol, number in ((self._rtp, port), (self._rtcp, port + 1)):
                    self._reactor.listenUDP(number, protocol, self.host, 65535)
                    opened.append(protocol)
            except CannotListenError:
                for protocol in opened:
                    protocol.close()
            else:
                return port
        raise NoPorts(f"no two neighbouring UDP ports are free on {self.host}")

    def _number(self, octets: int) -> int:
        return int.from_bytes(self._random(octets), "big")
