"""What the gateway's part makes of an agent's asks (:mod:`stellar_gw.call.agent.asks` is the real one's)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import define

from stellar_gw.dialects.contract import Ask
from stellar_gw.rehearsal.findings import Finding
from stellar_gw.rehearsal.line import Line


@define(kw_only=True)
class Desk:
    """
    :ivar may_answer: the call waits for the agent's answer.
    :ivar transfers: where the agent may send the caller; ``transfer`` is what comes of it.
    :ivar ending: how the agent ended the call by what it asked for; None where it did not.
    """

    may_answer: bool
    transfers: Mapping[str, str]
    transfer: Literal["done", "failed"]
    ending: Finding | None = None

    def asked(self, line: Line, ask: Ask) -> None:
        """Exactly one final outcome each."""
        parameters = dict(ask.parameters)
        match ask.verb:
            case "answer" if self.may_answer and not line.answered:
                line.answer()
                line.outcome(ask, "done")
            case "reject" if not line.answered:
                line.outcome(ask, "done")
                said = f"{parameters.get('status', '603')} {parameters.get('reason', '')}".strip()
                self.ending = Finding(check="answer", state="fail", said=f"the agent rejected the call with {said}")
                line.hang_up("agent_rejected", "agent")
            case "answer" | "reject":
                line.outcome(ask, "failed", code="already_answered", message="the call is answered already")
            case "transfer":
                self._transfer(line, ask, parameters.get("to", ""))
            case _:
                line.outcome(ask, "done")

    def _transfer(self, line: Line, ask: Ask, to: str) -> None:
        if to not in self.transfers:
            there = f"there are: {', '.join(self.transfers)}" if self.transfers else "give some by --transfer-to"
            line.outcome(ask, "failed", code="unknown_transfer", message=f"No transfer named {to[:40]!r}; {there}.")
        elif self.transfer == "failed":
            line.outcome(ask, "failed", code="busy", message="The one it was to be transferred to is busy.")
        else:
            line.outcome(ask, "ringing", final=False, method="refer")
            line.outcome(ask, "done", method="refer")
            self.ending = Finding(check="transfer", state="ok", said=f"to {to}; the caller has left the agent")
            line.hang_up("transferred", "gateway")
