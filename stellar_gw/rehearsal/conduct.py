"""The rehearsal itself: a whole call, then one that is cut off, and one more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stellar_gw.agent.link import Connector
from stellar_gw.rehearsal import judge
from stellar_gw.rehearsal.desk import Desk
from stellar_gw.rehearsal.findings import Finding
from stellar_gw.rehearsal.line import Failed, Line
from stellar_gw.rehearsal.plan import Plan
from stellar_gw.rehearsal.whole_call import WholeCall
from stellar_gw.worker.pacer import Pacer

CUT_AFTER: Final = 1.0
"""Seconds into a call."""
SLACK: Final = 5.0
"""Seconds beyond a link's own limit; this one only makes sure that there is an end."""
UNKNOWN: Final = Failed("internal", "the link neither opened nor failed", established=False)


class Rehearsal:
    """
    :param found: told each finding as it is made.
    :param now: seconds that never run backwards.
    :ivar line: the whole call's, once it is under way.
    """

    def __init__(
        self, plan: Plan, pacer: Pacer, connector: Connector, now: Callable[[], float], found: Callable[[Finding], None]
    ) -> None:
        self._plan, self._pacer, self._connector, self._now, self._found = plan, pacer, connector, now, found
        self._calls = 0
        self._stopped = False
        self._current: Line | None = None
        self.line: Line | None = None

    async def carry_out(self) -> None:
        """:raise StellarError: where a call cannot even be begun: a template or an option makes no sense."""
        line, desk = self._new()
        self.line = line
        try:
            if not await self._connect(line):
                self._found(judge.not_connected(line.failed or UNKNOWN))
                return
            self._found(judge.connected(line))
            await WholeCall(self._plan, line, desk, self._now, self._found).carry_out()
        finally:
            self._leave(line)
        if self._plan.drop and not self._stopped:
            await self._cut_off()

    def stop(self) -> None:
        """Hang up, and place no other call."""
        self._stopped = True
        if self._current is not None:
            self._current.hang_up()

    def _new(self) -> tuple[Line, Desk]:
        self._calls += 1
        plan = self._plan
        desk = Desk(may_answer=plan.answer == "agent", transfers=plan.context.transfers, transfer=plan.transfer)
        self._current = Line(plan, f"c-rehearsal-{self._calls}", self._connector, self._now, desk.asked)
        self._pacer.add(self._current)
        return self._current, desk

    async def _connect(self, line: Line) -> bool:
        line.connect()
        await line.until(lambda: line.connect_ms is not None, self._plan.limits.connect_timeout + SLACK)
        return line.connect_ms is not None

    def _leave(self, line: Line) -> None:
        line.hang_up()
        self._pacer.remove(line)

    async def _cut_off(self) -> None:
        """An agent must outlive a gateway that does not."""
        for mishap in ("another call", "after a cut connection the next call"):
            line, _ = self._new()
            try:
                if not await self._connect(line):
                    said = f"{mishap} was not taken: {(line.failed or UNKNOWN).message}"
                    mend = "let each connection have a task of its own, whose exceptions end nothing else"
                    self._found(Finding(check="drop", state="fail", said=said, mend=mend))
                    return
                if mishap == "another call":
                    await self._cut(line)
            finally:
                self._leave(line)
        said = f"cut off in mid-call; the next call was taken in {line.connect_ms or 0:.0f} ms"
        self._found(Finding(check="drop", state="ok", said=said))

    async def _cut(self, line: Line) -> None:
        if self._plan.answer == "gateway":
            line.answer()
        else:
            await line.until(lambda: line.answered, self._plan.patience)
        line.say(self._plan.prompts[0], CUT_AFTER)
        await line.until(lambda: not line.saying, 2 * CUT_AFTER)
        line.drop()
        await line.until(lambda: line.gone, CUT_AFTER)
