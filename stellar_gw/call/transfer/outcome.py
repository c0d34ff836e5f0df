"""What a transfer has come to, step by step and in the end: for the agent, the record and the log."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from attrs import field, frozen

Result = Literal["transferred", "bridged", "accepted_unconfirmed", "unknown", "cancelled", "failed"]
"""``transferred``: the transferee's phone system says that the target has answered. ``bridged``: the target has, and
we carry both. ``accepted_unconfirmed``: the phone system took the transfer, and hung up before it said how it went.
``unknown``: it took it, and never said. ``cancelled``: the call ended meanwhile. ``failed``: the caller is still here.
"""

MOVED: tuple[Result, ...] = ("transferred", "bridged", "accepted_unconfirmed")
"""The caller is with the target now, as far as anybody can know."""


@frozen(kw_only=True)
class Failure:
    """Why one attempt, or all of it, did not succeed.

    :ivar code: a stable word: ``refer_refused``, ``no_notify``, ``busy``, ``declined``, ``no_answer``, ``not_found``,
        ``unreachable``, ``rejected``, ``not_confirmed``, ``dropped``, ``media``, ``cancelled``, ...
    :ivar status: the SIP status that says so; 0 where none does.
    :ivar reason: one line for people.
    """

    code: str
    status: int = 0
    reason: str = ""


@frozen(kw_only=True)
class Attempt:
    """One REFER, or one call of ours.

    :ivar at: wall clock, seconds since 1970.
    :ivar seconds: it took.
    """

    method: Literal["refer", "invite"]
    at: float
    seconds: float = 0.0
    failure: Failure | None = None

    def as_json(self) -> dict[str, Any]:
        shown: dict[str, Any] = {"method": self.method, "at": round(self.at, 3), "seconds": round(self.seconds, 3)}
        failure = self.failure
        if failure is not None:
            shown |= {"code": failure.code, "status": failure.status or None, "reason": failure.reason}
        return shown


@frozen(kw_only=True)
class Outcome:
    """The end of one transfer; exactly one for each that was asked for.

    :ivar attempts: in their order; the last is the one that counted.
    """

    result: Result
    failure: Failure | None = None
    attempts: tuple[Attempt, ...] = field(default=())

    @property
    def moved(self) -> bool:
        return self.result in MOVED

    def detail(self) -> dict[str, str]:
        """As the agent is told it."""
        told = {"result": self.result, "attempts": attempts_text(self.attempts)}
        if self.attempts:
            told["method"] = self.attempts[-1].method
        if self.failure is not None:
            told |= {"code": self.failure.code, "message": self.failure.reason or self.failure.code.replace("_", " ")}
            if self.failure.status:
                told["status"] = str(self.failure.status)
        return told

    def line(self, told: str) -> str:
        """For the operator, e.g. ``transfer support failed: REFER 603 (Decline), then INVITE 486 (Busy Here)``,
        with what would mend it, where that can be said.

        :param told: how the target is named.
        """
        if not self.attempts:
            why = self.failure.reason if self.failure is not None else ""
            return f"transfer {told} {self.result}: {why}"
        steps = (_step(attempt) for attempt in self.attempts)
        line = f"transfer {told} {self.result.replace('_', ' ')}: {', then '.join(steps)}"
        fix = (
            ""
            if self.moved or self.attempts[-1].failure is None
            else _fix(self.attempts[-1], self.attempts[-1].failure)
        )
        return f"{line}. {fix}" if fix else line


def attempts_text(attempts: tuple[Attempt, ...]) -> str:
    """The attempts as a JSON array."""
    return msgspec.json.encode([attempt.as_json() for attempt in attempts]).decode()


_FIXES = {
    "not_acceptable": "Have the target take G.722, PCMU or PCMA, and SRTP as outbound.srtp says",
    "unreachable": "Is the target's address right, and does a firewall let our calls through?",
    "not_found": "Is the target's user or number right?",
    "not_allowed": "Set private_targets: true where the target is meant to be at a private address",
    "redirected": "Set outbound.redirects: true to follow it",
    "no_notify": "Allow a fallback by INVITE, or see why the phone system sends no NOTIFY",
    "refer_refused": "Allow REFER in the phone system, or a fallback by INVITE",
}


def _fix(attempt: Attempt, failure: Failure) -> str:
    """What would mend it; empty where nothing is to be mended (busy, declined, no answer)."""
    if attempt.method == "invite" and failure.status in (401, 407):
        return "Give the way an outbound username and password that the target knows"
    return _FIXES.get(failure.code, "")


def _step(attempt: Attempt) -> str:
    name, failure = attempt.method.upper(), attempt.failure
    if failure is None:
        return f"{name} ok"
    status = f" {failure.status}" if failure.status else f" {failure.code.replace('_', ' ')}"
    return f"{name}{status}" + (f" ({failure.reason})" if failure.reason else "")
