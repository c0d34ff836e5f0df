"""The links of one call's agent, one after the other, as its record has them and its log tells of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define, field

from stellar_gw.call.record import CallRecord
from stellar_gw.control.messages import AgentFailed, AgentLost, AgentReady, AgentResumed
from stellar_gw.directory.records import Route


@define(kw_only=True)
class AgentLinks:
    """:ivar now: seconds that never run backwards."""

    route: Route
    record: CallRecord
    now: Callable[[], float]
    note: Callable[[str, str], None]
    _up_at: float | None = field(default=None, init=False)

    def begin(self) -> None:
        """The agent is being connected, for the first time or anew."""
        self._up_at = None
        number = len(self.record.agent_links) + 1
        link = {"attempt": number, "connect_ms": None, "lasted_ms": None, "failure": "", "message": ""}
        self.record.agent_links.append(link)

    def ready(self, event: AgentReady) -> None:
        self._up(event.connect_ms)
        self.record.agent_connect_ms = round(event.connect_ms, 1)

    def lost(self, event: AgentLost) -> None:
        """The worker connects it anew by itself."""
        self._failed(event.code, event.message)
        self.begin()
        hears = self.route.environment.filler or "comfort noise"
        self.note("agent_lost", f"agent {self._name}: {event.message}; connecting it anew, the caller hears {hears}")

    def resumed(self, event: AgentResumed) -> None:
        self._up(event.gap_ms)
        self.note("agent_resumed", f"agent {self._name} is back after {event.gap_ms:.0f} ms")

    def failed(self, event: AgentFailed) -> None:
        """It is not there, or lost for good."""
        self._failed(event.code, event.message)

    def over(self) -> None:
        """The present link is, whoever ended it."""
        if self._up_at is not None:
            self._link["lasted_ms"] = round((self.now() - self._up_at) * 1000)
            self._up_at = None

    def _up(self, connect_ms: float) -> None:
        self._up_at = self.now()
        if self.record.agent_links:
            self._link["connect_ms"] = round(connect_ms, 1)

    def _failed(self, code: str, message: str) -> None:
        self.over()
        if self.record.agent_links:
            self._link["failure"], self._link["message"] = code, message

    @property
    def _name(self) -> str:
        return f"{self.route.agent}/{self.route.environment.name}"

    @property
    def _link(self) -> dict[str, Any]:
        return self.record.agent_links[-1]
