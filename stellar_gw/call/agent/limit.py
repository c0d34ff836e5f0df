"""How long a caller and an agent may talk: the agent hears of the end in time to say good-bye."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from stellar_gw.call.agent.agent import TellAgent
from stellar_gw.call.machine import Ending
from stellar_gw.call.timers import Timers


@define(kw_only=True)
class TalkLimit:
    """
    :ivar longest: seconds; 0: for ever.
    :ivar warning: seconds before the end.
    """

    longest: float
    warning: float
    timers: Timers
    tell: TellAgent
    give_up: Callable[[Ending], None]

    def begin(self) -> None:
        if self.longest > 0:
            if self.longest > self.warning:
                self.timers.start("warning", self.longest - self.warning, self._warn)
            self.timers.start("limit", self.longest, self._reached)

    def lift(self) -> None:
        """Caller and target talk: the limits of a talk with an agent are none of theirs."""
        self.timers.stop("warning")
        self.timers.stop("limit")

    def _warn(self) -> None:
        self.tell("limit", {"seconds_left": f"{self.warning:g}"})

    def _reached(self) -> None:
        self.give_up(Ending(cause="limit", by="gateway", reason=f"call reached its limit of {self.longest:g} s"))
