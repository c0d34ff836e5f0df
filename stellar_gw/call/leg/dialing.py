"""Where each INVITE of one call of ours goes, and with which offer: ways, the SRTP ladder, redirections.

Theory of operation. A URI leads to several ways, best first (RFC 3263); one that says 503, or nothing for four
seconds, is left for the next. A target that refuses our description (488) is asked again with another: RTP/SAVP,
RTP/AVP with ``a=crypto``, RTP/AVP, as far as its policy allows; what it took is remembered, so that the next call
begins with it. A 3xx is followed once, where that is allowed at all. Pure, but for what it remembers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from attrs import define, evolve, field

from stellar_gw.call.leg.dial_failure import Attempt, DialFailure, phrase_of, reason_of
from stellar_gw.call.leg.srtp import SrtpTerms
from stellar_gw.call.target.target import Target
from stellar_gw.errors import RemoteProtocolError
from stellar_gw.sip.flow import Way
from stellar_gw.sip.message import Response
from stellar_gw.sip.numbering import premium
from stellar_gw.sip.srtp import SrtpOffer
from stellar_gw.sip.uri import SipUri

LADDER: tuple[SrtpOffer, ...] = ("savp", "avp", "plain")
REFUSES_OFFER = (488, 606)
REMEMBERED = 3600.0
"""Seconds that a rung is remembered; then the ladder is climbed from its top again."""
MAX_REMEMBERED = 1000

_SEPARATORS = str.maketrans("", "", "-.()")

Verdict = Literal["again", "next_way", "redirected", "failed"]


@define
class Rungs:
    """Which offer a target took last, by where it is."""

    _kept: dict[str, tuple[SrtpOffer, float]] = field(factory=dict, init=False)

    def recall(self, place: str, now: float) -> SrtpOffer | None:
        rung, until = self._kept.get(place, (None, 0.0))
        return rung if now < until else None

    def keep(self, place: str, rung: SrtpOffer, now: float) -> None:
        self._kept.pop(place, None)
        self._kept[place] = rung, now + REMEMBERED
        while len(self._kept) > MAX_REMEMBERED:
            del self._kept[next(iter(self._kept))]


def rungs_of(terms: SrtpTerms, remembered: SrtpOffer | None) -> tuple[SrtpOffer, ...]:
    """The offers to make, one after the other: required SRTP has only its own, without any descent."""
    if terms.mode == "off":
        return ("plain",)
    if terms.mode == "required":
        return (terms.offer,)
    return tuple(dict.fromkeys([*([remembered] if remembered else []), terms.offer, *LADDER]))


class Dialing:
    """The course of one call of ours.

    :ivar uri: the Request-URI.
    :ivar hop: what is looked up and connected to.
    :ivar way: where the INVITE goes.
    :ivar attempts: every INVITE that has come to nothing.
    """

    def __init__(self, target: Target, rungs: Rungs, now: float) -> None:
        self._target, self._memory = target, rungs
        self.uri: SipUri = target.uri
        self.hop: SipUri = target.next_hop or target.uri
        self.way: Way | None = None
        self.attempts: list[Attempt] = []
        self._place = f"{self.hop.host}:{self.hop.port or ''}"
        self._rungs = list(rungs_of(target.srtp, rungs.recall(self._place, now)))
        self._ways: list[Way] = []
        self._redirected = False

    @property
    def terms(self) -> SrtpTerms:
        """Of SRTP, with the offer that is due."""
        return evolve(self._target.srtp, offer=self._rungs[0])

    @property
    def own_hop(self) -> bool:
        """Whether the hop is the target's own, whose TLS name and certificate are configured."""
        return self.hop == (self._target.next_hop or self._target.uri)

    @property
    def more_ways(self) -> bool:
        return bool(self._ways)

    def routed(self, ways: Iterable[Way]) -> DialFailure | None:
        """Take the ways to the hop; None if one of them may be gone."""
        found = list(ways)
        self._ways = [way for way in found if self._target.may_reach(way.host, way.port, own_hop=self.own_hop)]
        if self._ways:
            return None
        return self.failure("not_allowed", f"{self.hop.host} leads to {found[0]}, where no transfer may go")

    def next_way(self) -> Way | None:
        self.way = self._ways.pop(0) if self._ways else None
        return self.way

    def note(self, outcome: str) -> None:
        """An INVITE, or the way of one, has come to nothing."""
        self.attempts.append(Attempt(way=str(self.way), offer=self._rungs[0], outcome=outcome))

    def failure(self, reason: str, phrase: str, status: int = 0) -> DialFailure:
        return DialFailure(status=status, reason=reason, phrase=phrase, attempts=tuple(self.attempts))

    def refused(self, response: Response) -> Verdict:
        """Judge a final response other than 2xx."""
        self.note(phrase_of(response.status, response.reason))
        if response.status == 503 and self._ways:
            return "next_way"
        if response.status in REFUSES_OFFER and len(self._rungs) > 1:
            del self._rungs[0]
            return "again"
        if 300 <= response.status < 400 and self._follow(response):
            return "redirected"
        return "failed"

    def failure_of(self, response: Response) -> DialFailure:
        status = response.status
        return self.failure(reason_of(status), phrase_of(status, response.reason), status)

    def answered(self, now: float) -> None:
        """Remember what was taken; there is nothing to be learned where there is one offer only."""
        if self._target.srtp.mode == "opportunistic" and self.own_hop:
            self._memory.keep(self._place, self._rungs[0], now)

    # --- redirections ---------------------------------------------------------------------------

    def _follow(self, response: Response) -> bool:
        if not self._target.redirects or self._redirected:
            return False
        uri = next(filter(self._may_follow, _contacts(response)), None)
        if uri is None:
            return False
        self._redirected = True
        own = {self._target.uri.host, self.hop.host}
        # Within the same system its proxy goes on serving; anywhere else the URI says where.
        self.hop = self.hop if self._target.next_hop is not None and uri.host in own else uri
        self.uri = uri
        return True

    def _may_follow(self, uri: SipUri) -> bool:
        weaker = self.uri.secure and not uri.secure
        dearer = premium(_number(uri)) and not premium(_number(self.uri))
        return uri != self.uri and not weaker and not dearer and not self._target.ours.serves(uri)


def _number(uri: SipUri) -> str:
    """What a user part dials, as far as it can be known: ``+E.164``, ``00`` read as ``+``."""
    digits = (uri.user or "").partition(";")[0].translate(_SEPARATORS)
    return "+" + digits[2:] if digits.startswith("00") else digits


def _contacts(response: Response) -> list[SipUri]:
    """SIP URIs of a 3xx, the most wanted first (RFC 3261 8.1.3.4), without what no Request-URI may have."""
    try:
        found = [each for each in response.contacts if isinstance(each.uri, SipUri)]
    except RemoteProtocolError:
        return []
    found.sort(key=lambda each: -_q(each.params.get("q")))
    uris = [each.uri for each in found]
    return [evolve(uri, headers=(), params=uri.params.without("method")) for uri in uris if isinstance(uri, SipUri)]


def _q(value: str | None) -> float:
    try:
        return float(value or "1")
    except ValueError:
        return 0.0
