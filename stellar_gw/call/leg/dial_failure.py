"""Why a call of ours came to nothing, in words that agents, records and operators share."""

from __future__ import annotations

from attrs import frozen

from stellar_gw.sip.message import REASONS

_REASONS = {
    401: "rejected",
    404: "not_found",
    406: "not_acceptable",
    408: "no_answer",
    410: "not_found",
    415: "not_acceptable",
    420: "not_acceptable",
    480: "unreachable",
    484: "not_found",
    485: "not_found",
    486: "busy",
    487: "no_answer",
    488: "not_acceptable",
    600: "busy",
    603: "declined",
    604: "not_found",
    606: "not_acceptable",
}


def reason_of(status: int) -> str:
    """The stable word for a final response other than 2xx."""
    if 300 <= status < 400:
        return "redirected"
    if 500 <= status < 600:
        return "unreachable"
    return _REASONS.get(status, "rejected")


@frozen(kw_only=True)
class Attempt:
    """One INVITE.

    :ivar way: address and transport.
    :ivar offer: what it offered: ``plain``, or ``avp`` and ``savp`` for SRTP.
    :ivar outcome: a status with its phrase, or what happened instead.
    """

    way: str
    offer: str
    outcome: str


@frozen(kw_only=True)
class DialFailure:
    """A call that nobody answered.

    :ivar status: of the final response; 0 where there was none.
    :ivar reason: ``busy``, ``declined``, ``no_answer``, ``not_found``, ``unreachable``, ``rejected``,
        ``not_acceptable``, ``redirected``; of our own doing ``given_up``, ``not_allowed``, ``media``, ``worker_lost``.
    :ivar phrase: one line for people.
    """

    status: int = 0
    reason: str
    phrase: str
    attempts: tuple[Attempt, ...] = ()


def phrase_of(status: int, phrase: str) -> str:
    """``486 Busy Here``: a peer's own words where it has some, of printable characters and bounded."""
    shown = "".join(each for each in phrase if each.isprintable())[:64].strip()
    return f"{status} {shown or REASONS.get(status, '')}".strip()
