"""Offer and answer (RFC 3264) for one audio stream with telephone-event.

Theory of operation. Four pure functions do the work: ``usable`` (in ``usable.py``) finds the m-line of an offer
that we can take, :func:`answer` answers it, :func:`make_offer` writes an offer of ours and :func:`read_answer` reads
what came back. :class:`OfferAnswer` holds what one dialog must remember between exchanges, whichever
messages carry them: the ``o=`` line (its version moves only when our description changes), our last
description with the place of every m-line (RFC 3264 8), and whether an exchange is open.

What we choose where the RFCs leave a choice:

- Of the formats in common the first of ``LocalMedia.codecs`` leads if it was offered (G.722 unless said
  otherwise: quality is a reason in the sense of RFC 3264 6.1), the others keep the offer's order.
- ``c=0.0.0.0`` (RFC 3264 8.4) is answered like ``sendonly``: we cannot send, and say so.
- Of several telephone-event formats the one with the clock of our codecs is answered; digits are understood in
  any of them. Comfort noise is understood where it is named, and never asked for: whoever suppresses silence
  takes the pauses from an agent that listens for the end of speech.
- SRTP: see :mod:`stellar_gw.sip.srtp`. Of several audio m-lines one that comes to SRTP goes before plain ones.
- A domain name in ``c=`` is not looked up: the remote host is then :data:`UNKNOWN_HOST`, and media goes to
  where the peer's media comes from.
"""

from __future__ import annotations

from copy import copy
from typing import Literal

from attrs import evolve, field, frozen

from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.audio_media import (
    CLOCK,
    CODECS,
    TELEPHONE_EVENT,
    UNKNOWN_HOST,
    Codec,
    LocalMedia,
    audio_line,
    comfort_noise,
    format_names,
    keep_payload_types,
    known_codecs,
    our_direction,
    packet_time,
    redirected_line,
    refused_line,
    remote_rtcp,
    remote_rtp,
    telephone_events,
    understood,
)
from stellar_gw.sip.ice import SESSION, IceAgreed, credentials, possible
from stellar_gw.sip.sdp import (
    Connection,
    Direction,
    MediaDescription,
    Origin,
    SessionDescription,
    parse_host,
    parse_sdp,
)
from stellar_gw.sip.srtp import (
    OFF,
    Agreed,
    Srtp,
    agree,
    answered_line,
    choose,
    offered_lines,
    read_answered,
    settle,
)
from stellar_gw.sip.usable import other_family, usable

__all__ = [
    "CODECS", "TELEPHONE_EVENT", "UNKNOWN_HOST", "Codec", "LocalMedia", "Negotiated", "OfferAnswer",
    "answer", "make_offer", "read_answer", "usable",
]  # fmt: skip

_STATIC_TYPES = {"PCMU": 0, "PCMA": 8, "G722": 9}
_TELEPHONE_EVENT_TYPE = 101


@frozen(kw_only=True)
class Negotiated:
    """What offer and answer agreed on.

    :ivar answer: our answer, where we wrote it; empty where the peer did.
    :ivar remote: where to send RTP. Port 0: nowhere, the stream is removed. Host :data:`UNKNOWN_HOST`: the
        peer named none (``direction`` still says whether it wants to hear us).
    :ivar remote_rtcp: where to send RTCP (RFC 3605; the RTP address under ``rtcp_mux``).
    :ivar send: what we send: the first format in common, with the payload type of the peer's description.
    :ivar receive: every format that the peer may send, with the payload types of ours.
    :ivar dtmf_send: the telephone-event format that we send, None where the peer knows none.
    :ivar dtmf_receive: every one that the peer may send, those too that it named and we did not.
    :ivar noise_receive: every comfort noise format that the peer named.
    :ivar direction: ours: whether we send, whether we listen.
    :ivar ptime: milliseconds of audio in each packet we send, a multiple of 10 between 10 and 60.
    :ivar srtp: None for plain RTP.
    :ivar ice: both sides' credentials; None where the peer takes no part in ICE, or we do not.
    """

    answer: bytes = field(default=b"", repr=False)  # it may hold an SRTP key
    remote: tuple[str, int]
    remote_rtcp: tuple[str, int]
    rtcp_mux: bool = False
    send: Codec
    receive: tuple[Codec, ...]
    dtmf_send: Codec | None = None
    dtmf_receive: tuple[Codec, ...] = ()
    noise_receive: tuple[Codec, ...] = ()
    direction: Direction = "sendrecv"
    ptime: int = 20
    srtp: Agreed | None = None
    ice: IceAgreed | None = None


def answer(
    offer: SessionDescription, local: LocalMedia, previous: SessionDescription | None = None, *, session_id: int = 1
) -> Negotiated:
    """Answer an offer (RFC 3264 6): one audio stream taken, every other m-line refused in its place.

    :param previous: our last description in this dialog: its ``o=`` is kept, and so is its version if
        nothing else has changed.
    :raise RemoteProtocolError: status 488, see :func:`usable`.
    """
    description, negotiated = _answer(offer, local, previous is not None, session_id, None, None)
    return evolve(negotiated, answer=_versioned(description, previous).to_bytes())


def _answer(
    offer: SessionDescription,
    local: LocalMedia,
    ongoing: bool,
    session_id: int,
    before: Agreed | None,
    ice_before: IceAgreed | None,
) -> tuple[SessionDescription, Negotiated]:
    """:param before: the keys in force; a stream that is removed keeps them.
    :param ice_before: the credentials in force.
    """
    index = usable(offer, local, ongoing=ongoing)
    theirs = offer.media[index]
    removed = theirs.port == 0 or local.port == 0
    formats = _in_common(theirs, local)
    events = telephone_events(theirs) if local.telephone_event else ()
    direction: Direction = "inactive" if removed else our_direction(offer, theirs, local.direction)
    mux = theirs.first("rtcp-mux") is not None
    ptime = packet_time(theirs, local.ptime)
    ours, srtp, ice = refused_line(theirs), before, None
    if not removed:
        listed = [*formats, *events[:1]]
        line = choose(theirs, local.srtp)
        srtp = None if line is None else agree(line, local.srtp, before)
        crypto = () if line is None or srtp is None else (answered_line(line, srtp),)
        checks = credentials(offer, theirs)
        if local.ice is not None and checks is not None and possible(local.address):
            ice = IceAgreed(local.ice.answered(checks, ice_before), checks)
        own = evolve(local, direction=direction, ptime=ptime)
        ours = audio_line(own, listed, theirs.protocol, mux, crypto, None if ice is None else ice.ours)
    media = tuple(ours if at == index else refused_line(other) for at, other in enumerate(offer.media))
    send = formats[0] if formats else Codec(name=local.codecs[0], payload_type=_STATIC_TYPES[local.codecs[0]])
    return _describe(local, media, session_id, ice=ice is not None), Negotiated(
        remote=remote_rtp(offer, theirs),
        remote_rtcp=remote_rtcp(offer, theirs, mux),
        rtcp_mux=mux,
        send=send,
        receive=formats or (send,),
        dtmf_send=events[0] if events else None,
        dtmf_receive=events,
        noise_receive=comfort_noise(theirs),
        direction=direction,
        ptime=ptime,
        srtp=srtp,
        ice=ice,
    )


def make_offer(
    local: LocalMedia,
    previous: SessionDescription | None = None,
    *,
    session_id: int = 1,
    ice_before: IceAgreed | None = None,
) -> SessionDescription:
    """An offer of ours (RFC 3264 5): every codec of ``local`` in its order.

    :param ice_before: the ICE credentials in force.
    :param previous: our last description in this dialog: its ``o=``, and the place of each m-line, are kept.
    """
    codecs = [Codec(name=name, payload_type=_STATIC_TYPES[name]) for name in local.codecs]
    if local.telephone_event:
        codecs.append(Codec(name=TELEPHONE_EVENT, payload_type=_TELEPHONE_EVENT_TYPE))
    ice = local.ice.offered(ice_before) if local.ice is not None and possible(local.address) else None
    if previous is None:
        protocol, crypto = offered_lines(local.srtp, "")
        line = audio_line(local, codecs, protocol, local.rtcp_mux, crypto, ice)
        return _describe(local, (line,), session_id, ice=ice is not None)
    at = _audio_index(previous)
    before = previous.media[at]
    if local.telephone_event:
        codecs += [events for events in telephone_events(before) if events.clock != CLOCK]
    protocol, crypto = offered_lines(local.srtp, before.protocol)
    mux = local.rtcp_mux or before.first("rtcp-mux") is not None
    ours = audio_line(local, keep_payload_types(codecs, before), protocol, mux, crypto, ice)
    media = tuple(ours if index == at else refused_line(other) for index, other in enumerate(previous.media))
    return _versioned(_describe(local, media, session_id, ice=ice is not None), previous)


def read_answer(
    offer: SessionDescription,
    reply: SessionDescription,
    before: Negotiated | None = None,
    *,
    srtp_required: bool = False,
) -> Negotiated:
    """What a peer's answer to an offer of ours agreed on (RFC 3264 7).

    Tolerated: more m-lines than we offered, formats that we did not offer, a direction that we did not allow
    (it is cut down to ours).

    :param before: what holds so far.
    :raise RemoteProtocolError: status 488 if nothing is left to talk with.
    """
    index = _audio_index(offer)
    ours = offer.media[index]
    if len(reply.media) <= index or reply.media[index].kind != "audio":
        raise RemoteProtocolError("the answer does not name our audio stream", 488)
    theirs = reply.media[index]
    offered = known_codecs(ours)
    removed = theirs.port == 0
    if removed and ours.port:
        raise RemoteProtocolError("the answer refuses the audio stream (port 0)", 488)
    if not removed and theirs.protocol.upper() != ours.protocol.upper():
        raise RemoteProtocolError(f"the answer's audio is {theirs.protocol[:32]}, offered was {ours.protocol}", 488)
    names = {codec.name for codec in offered}
    audio = [codec for codec in known_codecs(theirs) if codec.name in names]
    our_events = telephone_events(ours)
    events = telephone_events(theirs) if our_events else ()
    if not audio and not removed:
        raise RemoteProtocolError(f"the answer takes none of the formats we offered but {format_names(theirs)}", 488)
    if not removed and (reason := other_family(reply, theirs, offer.connection)):
        raise RemoteProtocolError(f"the answer's {reason}", 488)
    mux = theirs.first("rtcp-mux") is not None and ours.first("rtcp-mux") is not None
    own, checks = credentials(offer, ours), credentials(reply, theirs)
    return Negotiated(
        remote=remote_rtp(reply, theirs),
        remote_rtcp=remote_rtcp(reply, theirs, mux),
        rtcp_mux=mux,
        send=audio[0] if audio else offered[0],
        receive=offered,
        dtmf_send=events[0] if events else None,
        dtmf_receive=understood(our_events, events, offered) if events else (),
        noise_receive=understood((), comfort_noise(theirs), offered),
        direction="inactive" if removed else our_direction(reply, theirs, offer.direction_of(ours)),
        ptime=packet_time(theirs, packet_time(ours, 20)),
        srtp=(before.srtp if before else None) if removed else read_answered(ours, theirs, srtp_required),
        ice=None if removed or own is None or checks is None else IceAgreed(own, checks),
    )


class OfferAnswer:
    """The offer/answer state of one dialog (RFC 3264 4, RFC 6337 2): at most one exchange is open.

    Nothing changes while an exchange is open; a refused or withdrawn one leaves everything as it was.

    :ivar pending: who made the offer that waits for its answer.
    :ivar negotiated: what the last whole exchange agreed on.
    :ivar local: our description in force; empty before the first exchange.
    """

    def __init__(self, session_id: int) -> None:
        """:param session_id: of our ``o=`` line, unique among our calls (RFC 8866 5.2); its first version is 1."""
        self._session_id = session_id
        self._local: SessionDescription | None = None
        self._last: SessionDescription | None = None  # sent last, whether agreed on or not: versions never go back
        self._ours: SessionDescription | None = None
        self._theirs: SessionDescription | None = None
        self._srtp = OFF  # as of our open offer
        self.negotiated: Negotiated | None = None

    @property
    def pending(self) -> Literal["none", "local", "remote"]:
        if self._ours is not None:
            return "local"
        return "none" if self._theirs is None else "remote"

    @property
    def local(self) -> bytes:
        return self._local.to_bytes() if self._local else b""

    def make_offer(self, local: LocalMedia) -> bytes:
        """Open an exchange; end it by :meth:`receive_answer` or :meth:`withdraw`.

        :raise LocalProtocolError: if one is open already.
        """
        if self.pending != "none":
            raise LocalProtocolError(f"an offer while a {self.pending} one is open (RFC 3264 4)")
        ice = self.negotiated.ice if self.negotiated else None
        self._ours = self._last = make_offer(local, self._last, session_id=self._session_id, ice_before=ice)
        self._srtp = local.srtp
        return self._ours.to_bytes()

    def offer_again(self, local: LocalMedia) -> bytes:
        """Open an exchange by the description in force, with nothing changed but ``local.direction``.

        To refresh a session (RFC 4028 7.4: then not even the version moves), to hold and to resume: a peer has
        agreed to all of it before. A stream that was removed is offered anew.

        :raise LocalProtocolError: if one is open already.
        """
        at = _audio_index(self._local) if self._local is not None else 0
        if self._local is None or self._local.media[at].port == 0:
            return self.make_offer(local)
        if self.pending != "none":
            raise LocalProtocolError(f"an offer while a {self.pending} one is open (RFC 3264 4)")
        media = list(self._local.media)
        media[at] = redirected_line(media[at], local.direction)
        self._ours = self._last = _versioned(evolve(self._local, media=tuple(media)), self._last)
        self._srtp = local.srtp
        return self._ours.to_bytes()

    def receive_answer(self, body: bytes) -> Negotiated:
        """End our exchange by the peer's answer.

        :raise RemoteProtocolError: the answer cannot be used; the exchange is closed, nothing has changed.
        :raise LocalProtocolError: if no offer of ours is open.
        """
        ours, self._ours = self._ours, None
        if ours is None:
            raise LocalProtocolError("an answer without an offer of ours")
        required = self._srtp.mode == "required"
        agreed = read_answer(ours, parse_sdp(body), self.negotiated, srtp_required=required)
        self._local = ours
        return self._settle(agreed, self._srtp)

    def withdraw(self) -> None:
        """Our offer was refused, or will not be answered: the session goes on as before (RFC 3261 14.1)."""
        self._ours = None

    def receive_offer(self, body: bytes, local: LocalMedia | None = None) -> SessionDescription:
        """Open an exchange by the peer's offer; end it by :meth:`answer` or :meth:`refuse`.

        :param local: as far as it is known, its port may be 0: the offer is judged by it now. Without it that
            waits for :meth:`answer`.
        :raise RemoteProtocolError: 491 while ours is open, 500 while theirs is (RFC 6337 2.3), 400 or 488
            if it cannot be used; nothing is open then that was not before.
        """
        if self.pending != "none":
            status = 491 if self.pending == "local" else 500
            raise RemoteProtocolError(f"an offer while a {self.pending} one is open (RFC 3264 4)", status)
        offer = parse_sdp(body)
        if local is not None:
            usable(offer, local, ongoing=self._local is not None)
        self._theirs = offer
        return offer

    def answer(self, local: LocalMedia) -> Negotiated:
        """End the peer's exchange by our answer, ``Negotiated.answer``.

        :raise RemoteProtocolError: 488, if ``local`` has none of the offered codecs; the exchange stays open.
        :raise LocalProtocolError: if no offer of the peer's is open.
        """
        if self._theirs is None:
            raise LocalProtocolError("an answer without an offer of the peer's")
        before, ice = (self.negotiated.srtp, self.negotiated.ice) if self.negotiated else (None, None)
        description, negotiated = _answer(self._theirs, local, self._local is not None, self._session_id, before, ice)
        self._local = self._last = _versioned(description, self._last)
        self._theirs = None
        return self._settle(evolve(negotiated, answer=self._local.to_bytes()), local.srtp)

    def _settle(self, agreed: Negotiated, srtp: Srtp) -> Negotiated:
        settle(srtp.keys, self.negotiated.srtp if self.negotiated else None, agreed.srtp)
        self.negotiated = agreed
        return agreed

    def refuse(self) -> None:
        """The peer's offer was refused, or its INVITE is over: the session goes on as before."""
        self._theirs = None

    def fork(self) -> OfferAnswer:
        """Another dialog of the same INVITE (RFC 3261 12.1): the same offer of ours, an answer of its own."""
        return copy(self)


def _describe(
    local: LocalMedia, media: tuple[MediaDescription, ...], session_id: int, *, ice: bool
) -> SessionDescription:
    connection = Connection(parse_host(local.address) or local.address)
    origin = Origin("-", str(session_id), "1", connection)
    return SessionDescription(
        origin=origin, name="stellar-gw", connection=connection, attributes=SESSION if ice else (), media=media
    )


def _versioned(description: SessionDescription, previous: SessionDescription | None) -> SessionDescription:
    """Our next ``o=``: the previous one, its version moved on only if anything else changed (RFC 3264 8)."""
    if previous is None:
        return description
    same = evolve(description, origin=previous.origin)
    if same == previous:
        return previous
    # The address in o= stays as it was: only the version may differ (RFC 3264 8).
    return evolve(same, origin=evolve(previous.origin, version=str(int(previous.origin.version) + 1)))


def _audio_index(ours: SessionDescription) -> int:
    """The m-line of ours that is in use: the refused ones carry no attributes. Else one to take up again."""
    lines = [(bool(media.attributes), media.kind == "audio", -index) for index, media in enumerate(ours.media)]
    return -max(lines)[2]


def _in_common(theirs: MediaDescription, local: LocalMedia) -> tuple[Codec, ...]:
    common = [codec for codec in known_codecs(theirs) if codec.name in local.codecs]
    return tuple(sorted(common, key=lambda codec: codec.name != local.codecs[0]))  # stable: the rest in offer's order
