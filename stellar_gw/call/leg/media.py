"""Our side of one leg's media: offer and answer on one hand, what its worker is told on the other."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.control import messages
from stellar_gw.errors import LocalProtocolError, RemoteProtocolError
from stellar_gw.sip.audio_media import CLOCK, CODECS
from stellar_gw.sip.body import sdp_body
from stellar_gw.sip.crypto import MasterKey
from stellar_gw.sip.flow import ip_version
from stellar_gw.sip.ice import IceKeys
from stellar_gw.sip.message import Request
from stellar_gw.sip.offer_answer import Codec, LocalMedia, Negotiated, OfferAnswer
from stellar_gw.sip.sdp import Direction
from stellar_gw.sip.srtp import Keys, Srtp


class LegMedia:
    """The state of one leg's session description.

    :param leg: its name in the worker.
    :param advertise: the address that our descriptions carry.
    :param signalling_host: the signalling flow's peer, which latching prefers besides the described address.
    :param rng: returns that many random octets, for SRTP keys.
    :param secure: the signalling is encrypted.
    :param codecs: the one we want most first.
    :param ice: take part in ICE, as a lite agent.
    :ivar terms: of SRTP.
    """

    def __init__(
        self,
        *,
        leg: str = "caller",
        session_id: int,
        advertise: str,
        signalling_host: str,
        rng: Callable[[int], bytes],
        srtp: SrtpTerms,
        secure: bool,
        strict_latch: bool = False,
        codecs: tuple[str, ...] = CODECS,
        ice: bool = False,
    ) -> None:
        self.leg = leg
        self._state = OfferAnswer(session_id)
        self._advertise, self._signalling_host, self._strict = advertise, signalling_host, strict_latch
        self.terms, self._secure = srtp, secure
        self._srtp = Srtp(mode=srtp.mode, suites=srtp.suites, offer=srtp.offer, keys=Keys(rng))
        self._codecs = codecs
        self._ice = IceKeys(rng) if ice else None
        self._local: LocalMedia | None = None
        self._offer = b""
        self._calling: OfferAnswer | None = None
        self._forks: dict[str, OfferAnswer] = {}
        self._wish: Direction = "sendrecv"
        self._offered_wish: Direction = "sendrecv"
        self._hears_us = self._speaks = True

    def allocated(self, ports: messages.Allocated) -> None:
        self._local = LocalMedia(
            address=self._advertise,
            port=ports.rtp_port,
            rtcp_port=ports.rtcp_port,
            codecs=self._codecs,
            srtp=self._srtp,
            ice=self._ice,
        )

    @property
    def version(self) -> int:
        """The IP version of the address that our descriptions carry."""
        return ip_version(self._advertise)

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

    @property
    def far(self) -> Direction:
        """What the far side lets us do, whatever we wish ourselves: recvonly or inactive where it holds us."""
        return _direction(self._hears_us, self._speaks)

    # --- the peer offers ------------------------------------------------------------------------

    def respond(self, request: Request) -> bytes:
        """What answers an INVITE: an answer to its offer, or an offer where it makes none.

        :raise RemoteProtocolError: with the status that refuses it; nothing has changed then. SRTP's refusals are
            :class:`~stellar_gw.sip.srtp.SrtpRefused`.
        """
        self.check_signalling()
        if sdp_body(request):
            return self._answer(request)
        self._open(self._wish)
        self._offer = self._state.make_offer(self._ready(self._wish))
        return self._offer

    def _answer(self, request: Request) -> bytes:
        """Answer the offer in a request.

        :raise RemoteProtocolError: with the status that refuses it; nothing has changed then.
        """
        self._state.receive_offer(sdp_body(request))
        try:
            answer = self._state.answer(self._ready(self._wish)).answer
        except RemoteProtocolError:
            self._state.refuse()
            raise
        self._look(self._wish)
        return answer

    # --- we offer -------------------------------------------------------------------------------

    def check_signalling(self) -> None:
        """:raise SrtpRefused: our keys would cross the network in clear, and must not."""
        self.terms.check_signalling(self._secure)

    def make_offer(self, wish: Direction) -> bytes:
        """Offer what is in force in another direction, or once more as it is: everything, where nothing is in force.

        :param wish: the direction that we want from its answer on.
        :raise RemoteProtocolError: 491 while another exchange is open.
        """
        self._open(wish)
        self._offer = self._state.offer_again(self._ready(wish))
        return self._offer

    def _open(self, wish: Direction) -> None:
        if self._state.pending != "none":
            raise RemoteProtocolError("an offer of ours is open", 491)
        self._offered_wish = wish

    def call(self) -> bytes:
        """The offer of an INVITE of ours, which each of its forks may answer (RFC 3261 13.2.2.4)."""
        offer = self.make_offer(self._wish)
        self._calling = self._state.fork()
        return offer

    def read_early(self, tag: str, body: bytes) -> bool:
        """The answer in a 1xx of one fork: in force until another fork's comes, or the 2xx.

        :param tag: the fork's To tag.
        :return: whether anything is new.
        :raise RemoteProtocolError: it cannot be used, and changes nothing.
        """
        if self._calling is None:
            raise LocalProtocolError("no INVITE of ours is out")
        before, fork = self._state.negotiated, self._calling.fork()
        fork.receive_answer(body)
        self._state = self._forks[tag] = fork
        self._look(self._wish)
        return fork.negotiated != before

    def read_final(self, tag: str, body: bytes) -> bool:
        """The answer in the 2xx; a peer that gave one in its 1xx may leave it out.

        :return: whether anything is new.
        :raise RemoteProtocolError: there is none, or it cannot be used.
        """
        before, early = self._state.negotiated, self._forks.get(tag)
        if body:
            self.read_early(tag, body)
        elif early is None:
            raise RemoteProtocolError("the 200 carries no answer to our offer", 488)
        else:
            self._state = early
            self._look(self._wish)
        self._calling, self._forks = None, {}
        return self._state.negotiated != before

    def read_answer(self, body: bytes) -> None:
        """:raise RemoteProtocolError: the answer to our offer is missing, or cannot be used."""
        if not body:
            self._state.withdraw()
            raise RemoteProtocolError("there is no answer to our offer", 400)
        self._state.receive_answer(body)
        self._wish = self._offered_wish
        self._look(self._wish)

    def withdraw(self) -> None:
        """Our offer was refused: everything stays as it was."""
        self._state.withdraw()

    # --- what came of it ------------------------------------------------------------------------

    def _look(self, wish: Direction) -> None:
        """Note what the last exchange says of the far side: of what we did not wish for ourselves it says nothing."""
        agreed = self._state.negotiated.direction if self._state.negotiated else "sendrecv"
        if wish in ("sendrecv", "sendonly"):
            self._hears_us = agreed in ("sendrecv", "sendonly")
        if wish in ("sendrecv", "recvonly"):
            self._speaks = agreed in ("sendrecv", "recvonly")

    def set_media(self, call_id: str) -> messages.SetMedia:
        """What was agreed on, for the worker."""
        agreed = self._state.negotiated
        if agreed is None:
            raise LocalProtocolError("nothing is agreed on yet")
        return messages.SetMedia(
            request=0,
            call=call_id,
            leg=self.leg,
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
            ice=messages.Ice(agreed.ice.ours.ufrag, agreed.ice.ours.password) if agreed.ice else None,
        )

    def _ready(self, wish: Direction) -> LocalMedia:
        if self._local is None:
            raise LocalProtocolError("no ports are allocated yet")
        local = evolve(self._local, direction=wish)
        if self.srtp and self.terms.keeps:
            return evolve(local, srtp=evolve(self._srtp, mode="required"))
        return local


def _direction(sends: bool, receives: bool) -> Direction:
    if sends:
        return "sendrecv" if receives else "sendonly"
    return "recvonly" if receives else "inactive"


def _codec(codec: Codec) -> messages.Codec:
    return messages.Codec(name=codec.name, payload_type=codec.payload_type, clock=codec.clock)


def _srtp_key(key: MasterKey) -> messages.SrtpKey:
    return messages.SrtpKey(suite=key.suite, octets=key.octets)
