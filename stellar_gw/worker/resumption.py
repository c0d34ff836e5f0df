"""Whether an agent whose link broke gets its call again, and for how long that has been tried."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

WITHIN = 2.0
"""Seconds in which an agent must be back; a caller waits no longer for one that said nothing."""
STABLE = 60.0
"""Seconds that a link must have lasted, or been resumed, for its loss to be worth another try."""


@define
class Resumption:
    """
    :param wanted: the agent can take up a call.
    :ivar under_way: it is being connected again.
    :ivar why: what was lost.
    """

    wanted: bool
    _now: Callable[[], float]
    under_way: bool = field(default=False, init=False)
    why: str = field(default="", init=False)
    _lost_at: float | None = field(default=None, init=False)

    def begins(self, why: str) -> bool:
        """The link broke: whether it is to be tried again."""
        now = self._now()
        if not self.wanted or self.under_way or (self._lost_at is not None and now - self._lost_at < STABLE):
            return False
        self.under_way, self.why, self._lost_at = True, why, now
        return True

    def done(self) -> float:
        """The agent is back; the milliseconds that it was away."""
        self.under_way = False
        return 0.0 if self._lost_at is None else (self._now() - self._lost_at) * 1000
