"""Our side of a caller's media: offer and answer on one hand, what its worker is told on the other."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from stellar_gw.call.srtp import SrtpTerms
from stellar_gw.control import messages
from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.audio_media import CLOCK
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.crypto import MasterKey
from stellar_gw.sip.message import Request
from stellar_gw.sip.offer_answer import Codec, LocalMedia, Negotiated, OfferAnswer
from stellar_gw.sip.srtp import Keys, Srtp


class CallerMedia:
    """The state of one leg's session description.

    :param advertise: the address that our descriptions carry.
    :param signalling_host: the signalling flow's peer, which latching prefers besides the described address.
    :param rng: returns that many random octets, for SRTP keys.
    :param secure: the signalling is encrypted.
    :ivar terms: of SRTP.
    """

    def __init__(
        self,
        *,
        session_id: int,
        advertise: str,
        signalling_host: str,
        rng: Callable[[int], bytes],
        srtp: SrtpTerms,
        secure: bool,
        strict_latch: bool = False,
    ) -> None:
        self._state = OfferAnswer(session_id)
        self._advertise, self._signalling_host, self._strict = advertise, signalling_host, strict_latch
        self.terms, self._secure = srtp, secure
        self._srtp = Srtp(mode=srtp.mode, suites=srtp.suites, offer=srtp.offer, keys=Keys(rng))
        self._local: LocalMedia | None = None
        self._offer = b""

    def allocated(self, ports: messages.Allocated) -> None:
        self._local = LocalMedia(
            address=self._advertise, port=ports.rtp_port, rtcp_port=ports.rtcp_port, srtp=self._srtp
        )

    @property
    def awaits_answer(self) -> bool:
        """An offer of ours is out."""
        return self._state.pending == "local"

    @property
    def negotiated(self) -> Negotiated | None:
        return self._state.negotiated

    @property
    def local(self) -> bytes:
        """What our next 2xx carries: the open offer of ours, else the description in force."""
        return self._offer if self.awaits_answer else self._state.local

    @property
    def codec(self) -> str:
        return self._state.negotiated.send.name if self._state.negotiated else ""

    @property
    def srtp(self) -> str:
        """The SRTP suite in force; empty for plain RTP."""
        agreed = self._state.negotiated.srtp if self._state.negotiated else None
        return agreed.suite if agreed is not None else ""

    def respond(self, request: Request) -> bytes:
        """What answers an INVITE: an answer to its offer, or an offer where it makes none.

        :raise RemoteProtocolError: with the status that refuses it; nothing has changed then. SRTP's refusals are
            :class:`~stellar_gw.sip.srtp.SrtpRefused`.
        """
        self.terms.check_signalling(self._secure)
        return self._answer(request) if sdp_body(request) else self._make_offer()

    def _answer(self, request: Request) -> bytes:
        """Answer the offer in a request.

        :raise RemoteProtocolError: with the status that refuses it; nothing has changed then.
        """
        self._state.receive_offer(sdp_body(request))
        try:
            return self._state.answer(self._ready).answer
        except RemoteProtocolError:
            self._state.refuse()
            raise

    def _make_offer(self) -> bytes:
        """Make an offer; its answer comes in an ACK.

        :raise RemoteProtocolError: 491 while another exchange is open.
        """
        if self._state.pending != "none":
            raise RemoteProtocolError("an offer of ours is open", 491)
        self._offer = self._state.make_offer(self._ready)
        return self._offer

    def read_answer(self, request: Request) -> None:
        """:raise RemoteProtocolError: the answer in an ACK is missing, or cannot be used."""
        body = sdp_body(request)
        if not body:
            self._state.withdraw()
            raise RemoteProtocolError("the ACK carries no answer to our offer", 400)
        self._state.receive_answer(body)

    def set_media(self, call_id: str) -> messages.SetMedia:
        """What was agreed on, for the worker."""
        agreed = self._state.negotiated
        if agreed is None:
            raise LocalProtocolError("nothing is agreed on yet")
        return messages.SetMedia(
            request=0,
            call=call_id,
            remote=agreed.remote,
            remote_rtcp=agreed.remote_rtcp,
            rtcp_mux=agreed.rtcp_mux,
            signalling_host=self._signalling_host,
            send=_codec(agreed.send),
            receive=tuple(map(_codec, agreed.receive)),
            dtmf_send=_codec(agreed.dtmf_send) if agreed.dtmf_send else None,
            dtmf_receive=tuple(map(_codec, agreed.dtmf_receive)),
            noise_receive=tuple(map(_codec, agreed.noise_receive)),
            comfort_noise=next((each.payload_type for each in agreed.noise_receive if each.clock == CLOCK), None),
            direction=agreed.direction,
            ptime=agreed.ptime,
            strict_latch=self._strict,
            srtp_send=_srtp_key(agreed.srtp.send) if agreed.srtp else None,
            srtp_receive=_srtp_key(agreed.srtp.receive) if agreed.srtp else None,
        )

    @property
    def _ready(self) -> LocalMedia:
        if self._local is None:
            raise LocalProtocolError("no ports are allocated yet")
        if self.srtp and self.terms.keeps:
            return evolve(self._local, srtp=evolve(self._srtp, mode="required"))
        return self._local


def _codec(codec: Codec) -> messages.Codec:
    return messages.Codec(name=codec.name, payload_type=codec.payload_type, clock=codec.clock)


def _srtp_key(key: MasterKey) -> messages.SrtpKey:
    return messages.SrtpKey(suite=key.suite, octets=key.octets)
