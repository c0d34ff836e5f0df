"""How long a leg's silence is borne, and who is told."""

from __future__ import annotations

from stellar_gw.media.liveness import Back, Liveness, Lost
from stellar_gw.worker.port_contracts import PortListener

ONE_WAY = 5.0
"""Seconds after the answer at which a leg that has received nothing is worth a line in the log."""
CHECK = 0.5
"""Seconds between two looks at whether the peer is alive."""


class Patience:
    """One leg's, from its answer on.

    :ivar answered_at: when media began to be owed; None before.
    :ivar due: when it is worth looking again.
    """

    def __init__(self, liveness: Liveness, listener: PortListener) -> None:
        self._liveness = liveness
        self._listener = listener
        self._waited = False
        self.answered_at: float | None = None
        self.due = 0.0

    def answered(self, now: float) -> bool:
        """The dialog is up; False where that was known."""
        if self.answered_at is not None:
            return False
        self.answered_at = now
        self._liveness.restart(now)
        return True

    def look(self, now: float) -> bool:
        """Tell what has changed; whether it is time to say, once, that nothing has come."""
        if self.answered_at is None or now < self.due:
            return False
        self.due = now + CHECK
        state = self._liveness.check(now)
        if isinstance(state, Lost):
            self._listener.media_lost(state)
        elif isinstance(state, Back):
            self._listener.media_back()
        if self._waited or now - self.answered_at < ONE_WAY:
            return False
        self._waited = True
        return True
