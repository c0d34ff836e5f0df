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
from stellar_gw.call.target.rules import TargetRefused
from stellar_gw.call.transfer.outcome import Outcome as TransferOutcome
from stellar_gw.call.transfer.transfers import TransferRequest, Transfers
from stellar_gw.control.messages import AgentAsked, Outcome, Reply, Request, SendDigits

Told = Callable[[Outcome], object]
"""Whom the outcome of one ask is told."""


def too_late(event: AgentAsked) -> Outcome:
    """What comes of an ask when the call is over."""
    detail = {"code": "call_over", "message": "the call is over"}
    return Outcome(request=0, call=event.call, ask=event.ask, state="failed", detail=detail)


@define(kw_only=True)
class Asks:
    """The asks of one call's agent.

    :ivar answer: answers the call; False where that is not the agent's to decide, or decided already.
    :ivar reject: rejects it; False where it is answered already.
    :ivar transfers: the call's; None before it is answered.
    :ivar send: tells the worker.
    """

    call_id: str
    answer: Callable[[], bool]
    reject: Callable[[Ending], bool]
    transfers: Callable[[], Transfers | None]
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
            case "transfer" | "hold" | "resume":
                transfers = self.transfers()
                if transfers is None:
                    told(
                        self._failed(
                            event, "not_answered", f"the call is not answered yet: there is nobody to {event.verb}"
                        )
                    )
                elif event.verb == "transfer":
                    self._transfer(event, transfers, told)
                else:
                    self._hold(event, transfers, told)
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

    def _transfer(self, event: AgentAsked, transfers: Transfers, told: Told) -> None:
        request = TransferRequest.of(event.parameters)
        if isinstance(request, TargetRefused):
            told(self._failed(event, request.code, request.message))
            return

        def step(state: str, detail: dict[str, str]) -> None:
            told(self._outcome(event, state, detail, final=False))

        def ended(outcome: TransferOutcome) -> None:
            told(self._outcome(event, "done" if outcome.moved else "failed", outcome.detail()))

        transfers.transfer(request, step).addCallback(ended)

    def _hold(self, event: AgentAsked, transfers: Transfers, told: Told) -> None:
        if transfers.active:
            told(self._failed(event, "transfer_active", f"a transfer is under way: no {event.verb} now"))
            return

        def answered(done: bool) -> None:
            if done:
                told(self._outcome(event, "done", {}))
            else:
                told(self._failed(event, "refused", "the phone system did not take it; the call goes on as it was"))

        (transfers.hold() if event.verb == "hold" else transfers.resume()).addCallback(answered)

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

    def _outcome(self, event: AgentAsked, state: str, detail: dict[str, str], *, final: bool = True) -> Outcome:
        return Outcome(request=0, call=self.call_id, ask=event.ask, state=state, final=final, detail=detail)

    def _tell_agent(self, outcome: Outcome) -> None:
        self.send(outcome).addErrback(lambda _: None)  # a worker that is lost ends the call by itself
