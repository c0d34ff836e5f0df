"""Carries out what TwiML asks of a call that is up, verb by verb."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from stellar_gw.call.agent.asks import Told
from stellar_gw.call.machine import Ending
from stellar_gw.control.messages import AgentAsked, Outcome
from stellar_gw.dialects.twiml import Dial, Hangup, PassedOver, Play, Refer, Reject, Stream, Verb
from stellar_gw.errors import StellarError
from stellar_gw.patience import give

OUTCOME_PATIENCE: Final = 2.0
"""Seconds that an HTTP request waits for the first word on what it asked for; the call goes on without it."""
DIGIT: Final = 0.25
"""Seconds that a digit takes, with the pause after it."""
_PAUSES: Final = {"w": 0.5, "W": 1.0}
_PIECES: Final = re.compile("[wW]+|[^wW]+")
_log = Logger()


class LiveCall(Protocol):
    """What is asked of a :class:`stellar_gw.call.call.Call`."""

    @property
    def call_id(self) -> str: ...

    def asked(self, event: AgentAsked, told: Told) -> None: ...

    def give_up(self, ending: Ending) -> None: ...


class VerbRefused(StellarError):
    """A verb that could not be carried out.

    :ivar status: of HTTP.
    :ivar code: one of Twilio's.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


def hang_up(call: LiveCall) -> None:
    """End a call for its agent."""
    call.give_up(
        Ending(
            cause="agent_hangup",
            by="agent",
            reason="the agent ended the call by HTTP",
            check="agent_hangup",
            fix="Nothing to do: the agent decides",
        )
    )


@frozen
class _Wait:
    seconds: float


@frozen
class _Digits:
    digits: str


_Step = _Wait | _Digits | Dial | Refer | Hangup | Reject


async def carry_out(call: LiveCall, verbs: Sequence[Verb], clock: IReactorTime) -> None:
    """Carry out verbs in order; what must wait for digits to be out goes on by itself.

    :raise VerbRefused: if what needs no waiting cannot be done.
    """
    if any(isinstance(verb, PassedOver) for verb in verbs):
        _log.info("{call}: <Say> and <Pause> are passed over: the gateway does not speak", call=call.call_id)
    steps = _steps(verbs)
    if not steps:
        raise VerbRefused(400, 12100, "the TwiML holds no verb that is done here")
    while steps and not isinstance(steps[0], _Wait):
        await _do(call, steps.pop(0), clock)
    if steps:
        Deferred.fromCoroutine(_go_on(call, steps, clock)).addErrback(
            lambda failure: _log.warn(
                "{call}: its TwiML ends here: {why}", call=call.call_id, why=failure.getErrorMessage()
            )
        )


def _steps(verbs: Sequence[Verb]) -> list[_Step]:
    """Everything up to the first verb that decides what becomes of the call."""
    steps: list[_Step] = []
    for verb in verbs:
        match verb:
            case PassedOver():
                pass
            case Stream():
                raise VerbRefused(501, 21220, "a call keeps the stream that it began with; <Connect> is for webhooks")
            case Play(digits):
                for piece in _PIECES.findall(digits):
                    if piece[0] in _PAUSES:
                        steps.append(_Wait(sum(_PAUSES[letter] for letter in piece)))
                    else:
                        steps += [_Digits(piece), _Wait(DIGIT * len(piece))]
            case _:
                steps.append(verb)
                break
    return steps


async def _go_on(call: LiveCall, steps: Sequence[_Step], clock: IReactorTime) -> None:
    for step in steps:
        await _do(call, step, clock)


async def _do(call: LiveCall, step: _Step, clock: IReactorTime) -> None:
    """:raise VerbRefused: if it could not be done."""
    match step:
        case _Wait(seconds):
            await deferLater(clock, seconds)
        case _Digits(digits):
            await _ask(call, clock, "send_dtmf", {"digits": digits})
        case Hangup():
            hang_up(call)
        case Reject(busy):
            status, reason = ("486", "busy") if busy else ("603", "rejected")
            await _ask(call, clock, "reject", {"status": status, "reason": reason})
        case Dial(to, timeout, headers):
            await _ask(call, clock, "transfer", _transfer(to, "invite", headers) | {"timeout_s": str(timeout)})
        case Refer(to, headers):
            await _ask(call, clock, "transfer", _transfer(to, "refer", headers))


def _transfer(to: str, method: str, headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    return {"to": to, "method": method, **{f"header:{name}": value for name, value in headers}}


async def _ask(call: LiveCall, clock: IReactorTime, verb: str, parameters: dict[str, str]) -> None:
    """Ask as the agent would over its link, and wait for the first word on it, but not for long."""
    first: Deferred[Outcome | None] = Deferred(lambda waiting: waiting.callback(None))

    def told(outcome: Outcome) -> None:
        if not first.called:
            first.callback(outcome)

    call.asked(AgentAsked(generation=0, call=call.call_id, ask="", verb=verb, parameters=parameters), told)
    outcome = await give(clock, OUTCOME_PATIENCE, first)
    if outcome is not None and outcome.state == "failed":
        code = outcome.detail.get("code", "failed")
        message = outcome.detail.get("message", "it could not be done")
        raise VerbRefused(501 if code == "unavailable" else 400, 21220, f"{verb}: {message}")
