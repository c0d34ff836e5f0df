"""A leg's media: ports, what was agreed on, what is bound to what, and its numbers."""

from __future__ import annotations

from typing import Literal

import msgspec

from stellar_gw.control.agent_messages import ConversationStatistics
from stellar_gw.control.envelope import Address, Reply, Request

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Source = Literal["agent", "leg", "silence", "tone", "file"]


class Allocate(Request, frozen=True, kw_only=True):
    """Reserve an RTP and an RTCP port for a leg. Answered by :class:`Allocated`.

    A leg that has some keeps them, unless they are of another IP version: then it gets others, if it is not up.

    :ivar version: 4 or 6, of the leg's IP; 0: the worker's usual one.
    """

    call: str
    leg: str = "caller"
    version: int = 0


class Allocated(Reply, frozen=True, kw_only=True):
    rtp_port: int
    rtcp_port: int
    cname: str
    ssrc: int


class Codec(msgspec.Struct, frozen=True, kw_only=True):
    """One negotiated payload type.

    :ivar name: encoding name of the rtpmap, upper case: ``G722``, ``PCMU``, ``PCMA``.
    :ivar clock: RTP clock rate in Hz (8000 for G.722 too: RFC 3551 4.5.2).
    """

    name: str
    payload_type: int
    clock: int = 8000


class SrtpKey(msgspec.Struct, frozen=True):
    """An SRTP suite (RFC 4568 6.2) with its master key and master salt, which never show.

    Only on this channel, which is a UNIX socket between processes of one user; the key of a leg is as long-lived
    as the leg, and is written nowhere.
    """

    suite: str
    octets: bytes

    def __repr__(self) -> str:
        return f"SrtpKey({self.suite}, ...)"


class Ice(msgspec.Struct, frozen=True):
    """Our credentials of an ICE session (RFC 8839 5.4), in which we are the lite side; the password never shows."""

    ufrag: str
    password: str

    def __repr__(self) -> str:
        return f"Ice({self.ufrag}, ...)"


class SetMedia(Request, frozen=True, kw_only=True):
    """What offer and answer agreed on for a leg; may come again after a re-INVITE. Answered by Done.

    :ivar remote: address and port of the peer's SDP; port 0 means: send nothing; host 0.0.0.0: to where
        its media comes from, since its SDP does not say.
    :ivar signalling_host: the signalling flow's peer, the other address that latching prefers.
    :ivar receive: payload types the peer may send us (ours, in the local SDP).
    :ivar dtmf_receive: telephone-event payload types that the peer may send, of any clock rate.
    :ivar noise_receive: comfort noise payload types that the peer may send (RFC 3389); 13 is understood anyway.
    :ivar direction: ours (RFC 3264): whether we send and whether we listen.
    :ivar ptime: milliseconds of audio in each packet we send.
    :ivar fresh: a new offer/answer exchange: a latched leg may latch again.
    :ivar srtp_send, srtp_receive: our key and the peer's; None in both for plain RTP. A key that comes again goes
        on with its context; a new one begins a new context (RFC 3711 3.2.3).
    :ivar ice: the peer checks its ways to us; None: it does not. The same once more goes on with what it nominated.
    :ivar comfort_noise: the payload type by which the peer itself takes comfort noise, of 8000 Hz; None: it does not.
    """

    call: str
    leg: str = "caller"
    remote: Address
    remote_rtcp: Address
    rtcp_mux: bool = False
    signalling_host: str = ""
    send: Codec
    receive: tuple[Codec, ...]
    dtmf_send: Codec | None = None
    dtmf_receive: tuple[Codec, ...] = ()
    noise_receive: tuple[Codec, ...] = ()
    direction: Direction = "sendrecv"
    ptime: int = 20
    strict_latch: bool = False
    fresh: bool = True
    comfort_noise: int | None = None
    srtp_send: SrtpKey | None = None
    srtp_receive: SrtpKey | None = None
    ice: Ice | None = None


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What one leg hears from us, and whether the agent hears the leg.

    :ivar source: ``agent``: what the agent says; ``leg``: what ``peer`` sends; ``silence``; ``tone`` and ``file``:
        these, over and over.
    :ivar peer: with source ``leg``, the other leg of the call.
    :ivar tone: with source ``tone``, its cadence (:mod:`stellar_gw.media.cadence`): ``ringback``, ``busy``, or
        parts of Hz and milliseconds as in ``440+480/2000,0/4000``.
    :ivar file: with source ``file``, the path of a WAV file (hold music).
    :ivar once: with source ``file``: :class:`Played` follows when it has been heard once, and then there is silence.
    """

    leg: str
    source: Source
    peer: str = ""
    tone: str = "ringback"
    file: str = ""
    once: bool = False
    agent_hears: bool = False


class Rebind(Request, frozen=True, kw_only=True):
    """Change live, and at the same moment for all legs named, what they are sent and whether the agent hears them.

    Answered by :class:`Done`. Legs that are not named stay as they are. The first leg of an agent begins with the
    source ``agent``, heard by it; every other leg begins with silence. At most one leg has the agent as its source,
    and at most one is heard by it: what would break that is ``bad_request``, and changes nothing. An agent without a
    leg is muted, not stopped: time passes for it, and what it says is not kept.
    """

    call: str
    bindings: tuple[Binding, ...]


def bridge(call: str, leg: str = "caller", peer: str = "target") -> Rebind:
    """Two legs of a call that hear each other; the agent, if there is one, is muted and hears nothing."""
    return Rebind(
        request=0,
        call=call,
        bindings=(Binding(leg=leg, source="leg", peer=peer), Binding(leg=peer, source="leg", peer=leg)),
    )


def unbridge(call: str, leg: str = "caller", peer: str = "target") -> Rebind:
    """The first leg is back with the agent; the other, until it is released, hears silence."""
    return Rebind(
        request=0,
        call=call,
        bindings=(Binding(leg=leg, source="agent", agent_hears=True), Binding(leg=peer, source="silence")),
    )


class Release(Request, frozen=True, kw_only=True):
    """End a leg, or the whole call where ``leg`` is empty. Answered by :class:`Released`.

    :ivar cause: told to the agent in its stop message (``caller_hangup``, ``gateway_hangup``, ...).
    :ivar by: ``caller``, ``agent`` or ``gateway``.
    """

    call: str
    leg: str = ""
    cause: str = "gateway_hangup"
    by: str = "gateway"


class LegStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A leg's media in numbers (RFC 3550 6.4, A.3, A.8)."""

    leg: str
    codec: str = ""
    packets_received: int = 0
    packets_sent: int = 0
    octets_received: int = 0
    octets_sent: int = 0
    packets_in_kernel: int = 0
    """Of those received, how many the kernel passed on (media.fast_path), unseen by the worker."""
    packets_lost: int = 0
    packets_late: int = 0
    packets_rejected: int = 0
    """Dropped before the leg looked at them: not authentic, not the latched source, or not RTP."""
    packets_unauthenticated: int = 0
    """Of those, how many SRTP refused: forged, replayed, or enciphered by another key."""
    srtp: str = ""
    """The SRTP suite of what was sent at the end; empty where it was plain."""
    jitter_ms: float = 0.0
    remote_loss: float = 0.0
    """Fraction lost of what we sent, by the peer's last receiver report."""
    round_trip_ms: float = -1.0
    """-1 where the peer sent no receiver report."""
    digits: str = ""
    latched: str = ""
    """``host:port`` that audio was sent to at the end, empty where nothing was ever received."""
    agent_audio_ms: int = 0
    """Milliseconds of the agent's audio that were put on the wire."""


class Released(Reply, frozen=True, kw_only=True):
    """
    :ivar recording: one of the call is being finished: its :class:`RecordingEnded` is to come.
    :ivar conversation: with the call's agent; None where a single leg was released, or there was no agent.
    """

    legs: tuple[LegStatistics, ...] = ()
    conversation: ConversationStatistics | None = None
    recording: bool = False
