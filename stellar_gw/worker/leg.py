"""One leg of a call: its port, the codec we send, and 20 ms of something to send every 20 ms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from twisted.internet.defer import Deferred

from stellar_gw.control.messages import Codec, LegStatistics, SetMedia
from stellar_gw.errors import LocalProtocolError, StellarError
from stellar_gw.media.codec import CLOCK, Encoder, codec_named
from stellar_gw.media.dtmf import DtmfSender, are_digits
from stellar_gw.worker.agreed import srtp_keys
from stellar_gw.worker.leg_audio import TONE_MS, LegAudio, Silence
from stellar_gw.worker.rtp_port import RtpPort
from stellar_gw.worker.speaking import Speaking

TICK_MS = 20
LONGEST_PTIME = 200
"""Milliseconds; RFC 3551 4.2 asks a receiver to accept so much."""
REST_MS = 60
LEAST_TONE_MS = 70
"""Of an audible digit, however short the press was told to be: detectors need 40 (ITU-T Q.24), some a little more."""
AT_ONCE = 64
"""Digits that become tones in one go: each go copies all that wait, and what does not fit is left out whole."""
LEAD_MS = 40
"""Of silence, that an encoder which remembers has coded before, and that the peer hears first, where it follows
another's packets: so two states that had nothing in common have become much alike before there is anything to hear."""
TONES_LEAD_MS = 60
"""The same before digits as tones, of which a machine may have to tell the first 40 ms."""


class Feed(Protocol):
    """A relay that sends another leg's packets from this one (:class:`stellar_gw.worker.relay.Relay`)."""

    def flows(self) -> bool:
        """Whether packets are passed on, so that this leg needs none at its own pace."""


class Leg:
    """
    :ivar port: the leg's sockets.
    :ivar ports: the RTP port and the RTCP port.
    :ivar version: of IP, 4 or 6.
    :ivar audio: what is sent at our pace; silence where nothing else is.
    :ivar relay: what is sent without it.
    :ivar media: the last word of offer and answer, None before the first.
    """

    def __init__(self, name: str, port: RtpPort, ports: tuple[int, int], version: int = 4) -> None:
        self.name = name
        self.port = port
        self.ports = ports
        self.version = version
        self.media: SetMedia | None = None
        self._silence = Silence()
        self._said_ms = 0
        self.audio: LegAudio = self._silence
        self.relay: Feed | None = None
        self._ptime = TICK_MS
        self._due = 0
        self._digits: DtmfSender | None = None
        self._encoder: Encoder | None = None
        self._encodes = ""
        self._lead = 0

    def set_media(self, media: SetMedia) -> None:
        """:raise LocalProtocolError: if we cannot do what was negotiated; nothing has changed then."""
        for codec in (media.send, *media.receive):
            if codec_named(codec.name) is None:
                raise LocalProtocolError(f"no codec {codec.name}")
        srtp_keys(media)  # raises, where the port would
        self.media = media
        ptime = max(10, min(media.ptime, LONGEST_PTIME) // 10 * 10)
        if ptime != self._ptime:
            self._ptime = ptime
            self._due -= self._due % TICK_MS  # or packets of an even number of 10 ms would never come out even again
        self.port.negotiated(media)
        self._send_as(media)
        self._agree_on_digits(media.dtmf_send)

    def _agree_on_digits(self, events: Codec | None) -> None:
        """What waits to be sent goes on as the peer knows it now."""
        before = self._digits
        if events is None:
            self._digits = None
            for digits, milliseconds in before.waiting if before is not None else ():
                tone = max(milliseconds, LEAST_TONE_MS)
                for part in (digits[at : at + AT_ONCE] for at in range(0, len(digits), AT_ONCE)):
                    with suppress(StellarError):  # a minute of tones is waiting
                        self.audio.sound(part, tone)
        elif before is None:
            self._digits = DtmfSender(events.payload_type, events.clock)
        else:
            before.agreed(events.payload_type, events.clock)

    def speak(self, audio: LegAudio | None) -> None:
        """Send this from now on, after the digits that wait; None: silence."""
        audio = audio or self._silence
        tones = None if audio is self.audio else self.audio.give_up_tones()
        self._said_ms += self.audio.sent_ms - audio.sent_ms  # what each sends while it is ours counts
        self.audio = audio
        self.port.take_the_long_way()
        if tones is not None:
            with suppress(StellarError):  # an agent has five minutes of its words waiting
                audio.send_on(tones)
        if self.media is not None:
            self._send_as(self.media)

    def _send_as(self, media: SetMedia) -> None:
        """By one encoder, whatever is sent: the peer has one decoder for all of it."""
        name = media.send.name.upper()
        if name != self._encodes:
            codec = codec_named(name)
            self._encodes, self._encoder, self._lead = name, None if codec is None else codec.encoder(), 0
        self.audio.send_as(media.send, self._encoder)

    def followed(self) -> None:
        """Another leg's packets were passed on from here, and ours follow them."""
        media = self.media
        codec = None if media is None else codec_named(media.send.name)
        if media is None or codec is None or not codec.remembers:
            return
        self._encoder = codec.encoder()
        self._encoder.silence(REST_MS)
        self._lead = TONES_LEAD_MS if self.audio.sounding else LEAD_MS
        self.audio.send_as(media.send, self._encoder)

    @property
    def sounding(self) -> bool:
        """Digits of ours are under way, and nothing else may be."""
        return self.audio.sounding or (self._digits is not None and self._digits.busy)

    def send_digits(self, digits: str, duration_ms: int = TONE_MS) -> str:
        """Queue telephone events, or tones where the peer does not know these; why not, empty where it is done."""
        if len(digits) > DtmfSender.MAX_PENDING or not are_digits(digits):
            return f"digits are 0-9, *, #, A-D, at most {DtmfSender.MAX_PENDING}"
        if self.media is not None and self.port.destination is None:
            return "the phone system takes no audio at the moment"
        try:
            if self._digits is None:
                self.audio.sound(digits, max(duration_ms, LEAST_TONE_MS))
            else:
                self._digits.send(digits, duration_ms)
        except StellarError as reason:
            return str(reason)
        self.port.take_the_long_way()
        return ""

    def tick(self, missed: int) -> bool:
        """20 ms have passed. Whether audio was taken.

        :param missed: frames of 20 ms whose time has passed unused.
        """
        self.port.advance()
        if self.media is None or (self.relay is not None and self.relay.flows()):
            return False
        if missed:
            # The receiver's clock went on; so does ours, or all that follows would be late for good.
            self.port.sender.skip(missed * TICK_MS * CLOCK // 1000)
        if self._digits is not None and self._due == 0 and not self.audio.sounding:
            datagrams = self._digits.tick(self.port.sender, TICK_MS * CLOCK // 1000)
            if datagrams is not None:
                self.port.send_events(datagrams)
                return False
        return self._send_audio()

    def speaking(self, due: float, played: Callable[[], None]) -> Speaking | None:
        """The short way of this leg's ticks, where they are one packet of audio each.

        :param due: when more is to be done.
        :param played: to be told of each packet.
        """
        if self._ptime != TICK_MS or self._due or self._lead or self.relay is not None or self.sounding:
            return None
        return self.port.speaking(self.audio, TICK_MS, due, played)

    def _send_audio(self) -> bool:
        """Packets of the negotiated length, as many as are due; what is taken is sent at once."""
        self._due += TICK_MS
        ptime = self._ptime
        if self._due < ptime:
            return False
        destination = self.port.destination
        while self._due >= ptime:
            self._due -= ptime
            payload = self._payload(ptime, sent=destination is not None)
            self.port.send_audio(payload, ptime * CLOCK // 1000, destination)
        return True

    def _payload(self, ms: int, *, sent: bool) -> bytes:
        lead = min(self._lead, ms)
        if not lead or self._encoder is None:
            return self.audio.payload(ms, sent=sent)
        self._lead -= lead
        silence = self._encoder.silence(lead)
        return silence if lead == ms else silence + self.audio.payload(ms - lead, sent=sent)

    def statistics(self) -> LegStatistics:
        codec = self.media.send.name if self.media is not None else ""
        return self.port.statistics(self.name, codec, self._said_ms + self.audio.sent_ms)

    def close(self) -> Deferred[None]:
        return self.port.close()
