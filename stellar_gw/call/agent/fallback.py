"""What a connector has for callers whose agent is not there, or no longer: a transfer, or a file and then good-bye."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from stellar_gw.call.machine import Ending
from stellar_gw.call.ports import MediaPlane
from stellar_gw.call.record import CallRecord
from stellar_gw.call.timers import Timers
from stellar_gw.call.transfer.outcome import Outcome
from stellar_gw.control.messages import Binding, Played, Rebind, Reply
from stellar_gw.directory.records import Fallback

LONGEST_PROMPT = 1200.0
"""Seconds; the longest file that is played takes 17 minutes, and only a lost event takes more."""

Transfer = Callable[[str], "Deferred[Outcome]"]
"""Sends the caller, who has no agent, where the transfer of that name leads."""


@define(kw_only=True)
class FallingBack:
    """One call's, at most once; the caller's dialog is up, and there is no agent.

    :ivar wanted: what the connector says.
    :ivar failed: called where the call is to end after all, with how.
    """

    call_id: str
    wanted: Fallback
    plane: MediaPlane
    record: CallRecord
    timers: Timers
    note: Callable[[str, str], None]
    failed: Callable[[Ending], None]
    transfer: Transfer
    _ending: Ending | None = field(default=None, init=False)
    _playing: bool = field(default=False, init=False)

    @property
    def begun(self) -> bool:
        return self.record.fallback is not None

    def begin(self, ending: Ending) -> None:
        """:param ending: how the call ends where nothing comes of it, or when the file has been played."""
        self._ending = ending
        self.record.fallback = {"to": str(self.wanted), "because": ending.check, "outcome": "", "reason": ""}
        self.note("fallback", f"{ending.reason}; fallback: {self.wanted}")
        if self.wanted.play:
            self._playing = True
            self.timers.start("prompt", LONGEST_PROMPT, lambda: self._over("failed", "its end was never told"))
            self._bind(Binding(leg="caller", source="file", file=self.wanted.play, once=True)).addErrback(self._silent)
        else:
            # A worker that is lost ends the call by itself.
            self._bind(Binding(leg="caller", source="tone", tone="ringback")).addErrback(lambda _: None)
            self.transfer(self.wanted.transfer).addCallbacks(self._transferred, self._broken)

    def heard(self, event: Played) -> None:
        """A file is over."""
        if self._playing and event.leg == "caller":
            self._over("failed" if event.note else "played", event.note)

    def _bind(self, binding: Binding) -> Deferred[Reply]:
        return self.plane.ask(Rebind(request=0, call=self.call_id, bindings=(binding,)))

    def _silent(self, failure: Failure) -> None:
        """The file cannot be had."""
        self._over("failed", str(failure.value))

    def _transferred(self, outcome: Outcome) -> None:
        if outcome.moved and self.record.fallback is not None:
            self.record.fallback["outcome"] = outcome.result
        elif outcome.result != "cancelled":  # by the call's end
            self._over("failed", outcome.line(self.wanted.transfer))

    def _broken(self, failure: Failure) -> None:
        self._over("failed", f"unexpected {type(failure.value).__name__}")

    def _over(self, outcome: str, reason: str) -> None:
        ending, self._ending = self._ending, None
        self._playing = False
        self.timers.stop("prompt")
        if ending is None or self.record.fallback is None:
            return
        self.record.fallback |= {"outcome": outcome, "reason": reason}
        if reason:
            ending = evolve(ending, reason=f"{ending.reason}; fallback {self.wanted}: {reason}")
        self.failed(ending)
