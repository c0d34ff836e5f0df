"""From a call's packets and samples to what the report says of its audio."""

from __future__ import annotations

from stellar_gw.media.analysis import Match, dominant_tone, find, level_dbfs
from stellar_gw.media.codec import CODECS
from stellar_gw.media.emodel import quality
from stellar_gw.media.resample import Resampler
from stellar_gw.phone.recording import RATE, Recording
from stellar_gw.phone.report import Echo, MediaReport, Sound
from stellar_gw.phone.rtp import RtpSession
from stellar_gw.sip.flow import address_text

BUFFER_MS = 40.0
"""What a receiver is assumed to buffer against jitter, for the delay from mouth to ear."""
_ANALYSED = 60 * RATE * 2
"""Octets of a recording that are analysed: its first minute."""


def measure(session: RtpSession) -> MediaReport | None:
    """``None`` if nothing was ever agreed on."""
    agreed, reception = session.negotiated, session.reception
    if agreed is None:
        return None
    trip = None if session.round_trip is None else session.round_trip * 1000
    sent, heard = bytes(session.sent.kept[:_ANALYSED]), bytes(session.heard.kept[:_ANALYSED])
    match = _find(sent, heard, CODECS[agreed.send.name].rate)
    first = session.first_packet_after
    return MediaReport(
        codec=agreed.send.name,
        ptime=agreed.ptime,
        direction=agreed.direction,
        remote=address_text(agreed.remote),
        rtcp_mux=agreed.rtcp_mux,
        srtp=agreed.srtp.suite if agreed.srtp else "",
        unauthenticated=session.srtp.rejected,
        telephone_event=agreed.dtmf_send is not None,
        packets_sent=session.sender.packets_sent,
        packets_received=reception.packets,
        packets_lost=reception.lost,
        packets_late=reception.late,
        duplicates=reception.duplicates,
        jitter_ms=round(reception.jitter_ms, 3),
        first_packet_ms=None if first is None else round(first * 1000, 1),
        round_trip_ms=None if trip is None else round(trip, 3),
        remote_loss=session.remote_loss,
        digits_sent=session.digits_sent,
        digits_heard=session.digits_heard,
        sent=_sound(session.sent, sent),
        heard=_sound(session.heard, heard),
        echo=Echo(
            correlation=round(match.correlation, 3),
            delay_ms=None if match.delay_ms is None else round(match.delay_ms, 1),
        ),
        mos=_mos(session, trip or 0.0),
    )


def _find(sent: bytes, heard: bytes, rate: int) -> Match:
    """Compared in the codec's band, since what it cannot carry cannot come back; but at our own rate:
    half a sample's shift at 8 kHz would hide a third of white noise."""

    def band(pcm: bytes) -> bytes:
        return Resampler(rate, RATE).resample(Resampler(RATE, rate).resample(pcm))

    return find(band(sent), band(heard), RATE)


def _mos(session: RtpSession, round_trip_ms: float) -> float | None:
    """Of what we heard: its loss and delay (ITU-T G.107); late packets came, but too late to be played."""
    agreed, reception = session.negotiated, session.reception
    if agreed is None or not reception.packets or not reception.expected:
        return None
    lost = (reception.lost + session.dropped_late) / reception.expected
    return round(quality(agreed.send.name, lost, round_trip_ms / 2 + agreed.ptime + BUFFER_MS).mos, 2)


def _sound(recording: Recording, analysed: bytes) -> Sound:
    tone = dominant_tone(analysed, RATE)
    return Sound(
        seconds=round(recording.seconds, 2),
        level_dbfs=round(level_dbfs(analysed), 1),
        tone_hz=round(tone.hertz, 1) if tone else None,
        tone_share=round(tone.share, 3) if tone else 0.0,
    )
