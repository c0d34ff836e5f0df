"""What an agent asks of the gateway, and what it is told of each: exactly one final outcome.

An ask comes over the agent's link, or beside it (an agent's HTTP request); the outcome goes back the same way.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import WorkerFailed
from stellar_gw.control.messages import AgentAsked, Outcome, Reply, Request, SendDigits

Told = Callable[[Outcome], object]
"""Whom the outcome of one ask is told."""

UNAVAILABLE = {
    "transfer": "transfers are not there yet",
    "hold": "hold by the agent is not there yet",
    "resume": "hold by the agent is not there yet",
}


@define(kw_only=True)
class Asks:
    """The asks of one call's agent.

    :ivar answer: answers the call; False where that is not the agent's to decide, or decided already.
    :ivar reject: rejects it; False where it is answered already.
    :ivar send: tells the worker.
    """

    call_id: str
    answer: Callable[[], bool]
    reject: Callable[[Ending], bool]
    send: Callable[[Request], Deferred[Reply]]
    note: Callable[[str, str], None]

    def heard(self, event: AgentAsked, told: Told | None = None) -> None:
        """Carry one out, or say why not.

        :param told: gets the outcome; by default the agent does, over its link.
        """
        told = told or self._tell_agent
        match event.verb:
            case "answer":
                if self.answer():
                    told(self._outcome(event, "done", {}))
                else:
                    told(self._failed(event, "already_answered", "the call is answered already"))
            case "reject":
                self._reject(event, told)
            case "send_dtmf":
                self._send_digits(event, told)
            case verb if verb in UNAVAILABLE:
                told(self._failed(event, "unavailable", UNAVAILABLE[verb]))
                self.note("agent_asked", f"agent asked for {verb}: {UNAVAILABLE[verb]}")
            case _:
                told(self._failed(event, "unknown_action", f"no {event.verb[:40]!r} here"))

    def _send_digits(self, event: AgentAsked, told: Told) -> None:
        """Digits that were not asked for over the agent's link: a worker sends those by itself."""

        def failed(failure: Failure) -> None:
            error = failure.value
            code = error.code if isinstance(error, WorkerFailed) else "internal"
            told(self._failed(event, code, str(error)))

        digits = SendDigits(request=0, call=self.call_id, digits=event.parameters.get("digits", ""))
        self.send(digits).addCallbacks(lambda _: told(self._outcome(event, "done", {})), failed)

    def _reject(self, event: AgentAsked, told: Told) -> None:
        text, reason = event.parameters.get("status", "603"), event.parameters.get("reason", "")
        status = int(text) if text.isascii() and text.isdigit() and len(text) == 3 else 0
        if not 400 <= status < 700 or status in (401, 407):
            told(self._failed(event, "bad_status", "status must be 400 to 699, and neither 401 nor 407"))
            return
        phrase = "".join(character for character in reason if 0x20 <= ord(character) < 0x7F)[:80]
        ending = Ending(
            status=status,
            phrase=phrase,
            cause="agent_rejected",
            by="agent",
            reason=f"the agent rejected the call with {status}" + (f" ({phrase})" if phrase else ""),
            check="agent_rejected",
            fix="Nothing to do: the agent decides",
        )
        if self.reject(ending):
            told(self._outcome(event, "done", {}))
        else:
            told(self._failed(event, "already_answered", "the call is answered already; hang up instead"))

    def _failed(self, event: AgentAsked, code: str, message: str) -> Outcome:
        return self._outcome(event, "failed", {"code": code, "message": message})

    def _outcome(self, event: AgentAsked, state: str, detail: dict[str, str]) -> Outcome:
        return Outcome(request=0, call=self.call_id, ask=event.ask, state=state, detail=detail)

    def _tell_agent(self, outcome: Outcome) -> None:
        self.send(outcome).addErrback(lambda _: None)  # a worker that is lost ends the call by itself
