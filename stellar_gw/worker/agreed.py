"""What offer and answer mean for a port: which payload types are what, in which directions audio flows, which keys."""

from __future__ import annotations

from attrs import field, frozen

from stellar_gw.control.messages import SetMedia
from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.latch import COMFORT_NOISE, Address
from stellar_gw.media.srtp import SrtpKey


@frozen(kw_only=True)
class Agreed:
    """
    :ivar audio: payload types of the peer's that are audio; ``noise`` those that are comfort noise.
    :ivar events: the clocks of its telephone events, by payload type.
    :ivar rtcp: where its RTCP comes from.
    :ivar sends: audio of ours may go to the peer, once it is known where that is.
    :ivar listens: the peer may be heard.
    """

    audio: frozenset[int]
    noise: frozenset[int]
    events: dict[int, int] = field(hash=False)
    rtcp: Address
    sends: bool
    listens: bool

    @property
    def types(self) -> frozenset[int]:
        """All payload types that the peer may send."""
        return self.audio | self.noise | frozenset(self.events)


def agreed(media: SetMedia) -> Agreed:
    """The last word of offer and answer, as a port needs it."""
    events = {codec.payload_type: codec.clock for codec in media.dtmf_receive}
    audio = frozenset(codec.payload_type for codec in media.receive)
    noise = {COMFORT_NOISE, *(codec.payload_type for codec in media.noise_receive)}
    return Agreed(
        audio=audio,
        noise=frozenset(noise - audio - events.keys()),
        events=events,
        rtcp=media.remote if media.rtcp_mux else media.remote_rtcp,
        sends=media.remote[1] > 0 and media.direction in ("sendrecv", "sendonly"),
        listens=media.direction in ("sendrecv", "recvonly"),
    )


def srtp_keys(media: SetMedia) -> tuple[SrtpKey | None, SrtpKey | None]:
    """Our key and the peer's.

    :raise LocalProtocolError: if one of them cannot be, or there is one without the other.
    """
    if (media.srtp_send is None) != (media.srtp_receive is None):
        raise LocalProtocolError("an SRTP key in one direction alone")
    send, receive = (
        None if key is None else SrtpKey(key.suite, key.octets) for key in (media.srtp_send, media.srtp_receive)
    )
    return send, receive
