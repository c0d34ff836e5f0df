"""What is left of a call whose agent is not there, or no longer: what its connector falls back on, or its end."""

from __future__ import annotations

from attrs import define, field

from stellar_gw.call.course import Course
from stellar_gw.call.machine import Ending
from stellar_gw.call.record import CallRecord
from stellar_gw.directory.records import Route


@define(kw_only=True)
class AgentLoss:
    """
    :ivar fault: how the call would end by the agent's own fault; None: it has none.
    """

    course: Course
    route: Route
    record: CallRecord
    fault: Ending | None = field(default=None, init=False)

    def end_or_fall_back(self, ending: Ending) -> None:
        """There is no agent for the caller, and none to come: is it the agent's fault?"""
        if self.fault is not None and self.route.connector.fallback and not self._fell_back:
            self.course.fall_back(self.fault)
        else:
            self.course.give_up(ending)

    def transfer_ends_it(self, ending: Ending) -> None:
        """A transfer is over, and the call with it; one that failed may leave something to fall back on."""
        if ending.cause != "transfer_failed":
            self.course.give_up(ending)
        elif not self._fell_back:  # otherwise its own outcome says how the call ends
            self.end_or_fall_back(ending)

    @property
    def _fell_back(self) -> bool:
        return self.record.fallback is not None
