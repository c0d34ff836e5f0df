"""What a transfer has come to so far: written into its record, and told as its outcome in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from attrs import evolve
from twisted.internet.interfaces import IReactorTime

from stellar_gw.call.target.target import Target
from stellar_gw.call.transfer.machine import Finish
from stellar_gw.call.transfer.outcome import Attempt, Failure, Outcome


class Account:
    """
    :param wall: wall clock, seconds since 1970.
    :ivar record: as JSON, complete when it is closed.
    """

    def __init__(self, target: Target, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self._clock, self._wall = clock, wall
        self._attempts: list[Attempt] = []
        self._began = 0.0
        self._joined_at: float | None = None
        self.record: dict[str, Any] = {
            "target": target.told,
            "via": target.via,
            "uri": str(target.refer_to if target.method == "refer" else target.uri),
            "method": target.method,
            "fallback": False,
            "sip_call_id": "",
            "asked": round(wall(), 3),
            "answered": None,
            "ended": None,
            "result": "",
            "code": None,
            "reason": None,
            "bridged_seconds": None,
            "attempts": [],
        }

    @property
    def method(self) -> Literal["refer", "invite"]:
        """Of the attempt that is under way, or was last."""
        return self._attempts[-1].method

    @property
    def joined(self) -> bool:
        """Caller and target have come to hear each other."""
        return self._joined_at is not None

    def begin(self, method: Literal["refer", "invite"]) -> None:
        self._began = self._clock.seconds()
        self._attempts.append(Attempt(method=method, at=self._wall()))

    def dialled(self, uri: str, sip_call_id: str) -> None:
        fallback = len(self._attempts) > 1
        self.record |= {"uri": uri, "method": "invite", "fallback": fallback, "sip_call_id": sip_call_id}

    def answered(self) -> None:
        self.record["answered"] = round(self._wall(), 3)

    def join(self) -> None:
        self._joined_at = self._clock.seconds()

    def end(self, failure: Failure | None) -> None:
        """The attempt is over; ``None``: it has succeeded."""
        if self._attempts:
            seconds = self._clock.seconds() - self._began
            self._attempts[-1] = evolve(self._attempts[-1], seconds=seconds, failure=failure)

    def finish(self, finish: Finish) -> Outcome:
        failure = finish.failure
        self.end(failure)
        self.record |= {
            "result": finish.result,
            "code": failure.code if failure else None,
            "reason": failure.reason if failure else None,
            "attempts": [attempt.as_json() for attempt in self._attempts],
        }
        return Outcome(result=finish.result, failure=failure, attempts=tuple(self._attempts))

    def close(self) -> None:
        """Nothing is left to do: no dialog of ours, no bridge."""
        self.record["ended"] = round(self._wall(), 3)
        if self._joined_at is not None:
            self.record["bridged_seconds"] = round(self._clock.seconds() - self._joined_at, 3)
