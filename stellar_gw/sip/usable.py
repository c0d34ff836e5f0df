"""Whether an offer can be taken, and which audio m-line of it; if not, why, for the one who must mend it."""

from __future__ import annotations

from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.audio_media import LocalMedia, format_names, known_codecs
from stellar_gw.sip.sdp import Connection, MediaDescription, SessionDescription
from stellar_gw.sip.srtp import SrtpRefused, choose, profile_refusal


def usable(offer: SessionDescription, local: LocalMedia, *, ongoing: bool = False) -> int:
    """The index of the m-line that we take: the first that comes to SRTP, else the first that fits.

    :param local: its port does not matter yet: an offer can be judged before ports are allocated.
    :param ongoing: the offer comes inside a call, where a port of 0 removes the stream (RFC 3264 8.2).
    :raise RemoteProtocolError: status 488; the reason says what was offered and what is needed.
    :raise SrtpRefused: likewise, where the last m-line would have done with another SRTP.
    """
    reasons: list[str] = []
    why = ""
    plain: int | None = None
    removed: int | None = None
    for index, media in enumerate(offer.media):
        if media.kind != "audio":
            continue
        if media.port == 0:
            removed = index if removed is None else removed
            reasons.append("the audio stream is offered with port 0")
        elif refusal := _refusal(offer, media, local):
            why = refusal[0]
            reasons.append(refusal[1])
        elif choose(media, local.srtp) is not None:
            return index
        else:
            plain = index if plain is None else plain
    if plain is not None:
        return plain
    if ongoing and removed is not None:
        return removed
    reason = "; ".join(reasons[:3]) or "no audio stream is offered, one is needed"
    raise SrtpRefused(why, reason) if why else RemoteProtocolError(reason, 488)


def _refusal(offer: SessionDescription, media: MediaDescription, local: LocalMedia) -> tuple[str, str] | None:
    """Why an audio m-line with a port cannot be taken, as :func:`profile_refusal` says it; None if it can."""
    if refusal := profile_refusal(media, local.srtp):
        return refusal
    reason = _unusable(offer, media, local)
    return ("", reason) if reason else None


def _unusable(offer: SessionDescription, media: MediaDescription, local: LocalMedia) -> str:
    """Why the addresses and formats of an audio m-line will not do; empty if they will."""
    connection = offer.connection_of(media)
    if connection is None:
        return "the audio stream has no c= line"
    numeric = connection.numeric
    if numeric is not None and numeric.is_multicast:
        return "the audio stream is multicast; needed is a unicast address"
    if not any(codec.name in local.codecs for codec in known_codecs(media)):
        return (
            f"the audio formats offered are {format_names(media)}; needed is one of "
            f"{', '.join(local.codecs)} at 8000 Hz"
        )
    return other_family(offer, media, Connection(local.address))


def other_family(theirs: SessionDescription, media: MediaDescription, ours: Connection | None) -> str:
    """Why the peer's address cannot be reached from ours; names may be either, and 0.0.0.0 needs no reaching."""
    connection = theirs.connection_of(media)
    if connection is None or ours is None or connection.unspecified:
        return ""
    there, here = connection.numeric, ours.numeric
    if there is None or here is None or there.version == here.version:
        return ""
    return f"audio address is IPv{there.version}; needed is IPv{here.version}"
