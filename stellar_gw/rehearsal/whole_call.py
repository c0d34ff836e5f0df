"""One whole call: greeting, turns, interruption, digits, and the end, each judged as it has been."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stellar_gw.phone.plan import Playable
from stellar_gw.rehearsal import judge
from stellar_gw.rehearsal.desk import Desk
from stellar_gw.rehearsal.findings import Finding
from stellar_gw.rehearsal.line import NEVER, Line
from stellar_gw.rehearsal.plan import Plan

TONE: Final = 2.0
"""Seconds of a prompt that has no end."""
INTO_IT: Final = 0.3
"""Seconds for which the agent has spoken when it is interrupted."""
STOPPED: Final = 1.0
"""Seconds within which it falls silent who has noticed an interruption."""
BREAK: Final = 0.25
"""Seconds from digit to digit."""
REACTION: Final = 2.0
"""Seconds for which a reaction to digits is waited for."""


class WholeCall:
    """The caller's part in a call whose link is up.

    :param now: seconds that never run backwards.
    :param found: told each finding as it is made.
    """

    def __init__(
        self, plan: Plan, line: Line, desk: Desk, now: Callable[[], float], found: Callable[[Finding], None]
    ) -> None:
        self._plan, self._line, self._desk, self._now, self._found = plan, line, desk, now, found
        self._doing = "while it was being answered"
        self._pressed = False

    async def carry_out(self) -> None:
        """From the answer to the end."""
        line = self._line
        await self._talk(line)
        await self._end(line)

    async def _talk(self, line: Line) -> None:
        for step in (self._answer, self._greeting, self._turns, self._interruption, self._digits, self._hangup):
            if line.over:
                return
            await step(line)

    async def _answer(self, line: Line) -> None:
        if self._plan.answer == "gateway":
            line.answer()
            return
        began = self._now()
        if await line.until(lambda: line.answered, self._plan.patience):
            took = (self._now() - began) * 1000
            self._found(Finding(check="answer", state="ok", said=f"after {took:.0f} ms"))
        elif not line.over:
            self._desk.ending = Finding(
                check="answer",
                state="fail",
                said=f"the agent neither answered nor rejected within {self._plan.patience:g} s",
                mend='send {"action":"answer"}, or let the gateway answer (--answer gateway)',
            )
            line.hang_up("not_answered", "gateway")

    async def _greeting(self, line: Line) -> None:
        self._doing = "while it was to greet the caller"
        await line.until(lambda: line.first_sound_at > NEVER, self._plan.greeting)
        await self._silence(line)
        if not line.over or line.first_sound_at > NEVER:
            self._found(judge.greeting(line, self._plan.expect, self._plan.greeting))

    async def _turns(self, line: Line) -> None:
        for number, prompt in enumerate(self._plan.prompts, 1):
            if not line.over:
                await self._turn(line, prompt, "turn" if len(self._plan.prompts) == 1 else f"turn {number}")

    async def _turn(self, line: Line, prompt: Playable, name: str) -> None:
        self._doing = f"in the caller's {name}"
        turns, spoken = len(line.turns), line.spoken_ms
        await self._say(line, prompt)
        await line.until(lambda: len(line.turns) > turns or self._talked_over(line, spoken), self._plan.patience)
        await self._silence(line)
        seconds = line.turns[turns] if len(line.turns) > turns else None
        if seconds is not None or not line.over:
            self._found(judge.turn(name, seconds, line.spoken_ms - spoken, self._plan.patience, self._plan.expect))

    def _talked_over(self, line: Line, spoken: int) -> bool:
        """The agent spoke while the caller did, as an echo does, and then no more."""
        return line.spoken_ms > spoken and self._now() - line.sounded_at > self._plan.quiet

    async def _interruption(self, line: Line) -> None:
        if not self._plan.interrupt:
            return
        self._doing = "while the caller interrupted it"
        prompt = self._plan.prompts[0]
        spoken = line.spoken_ms
        await self._say(line, prompt)
        await line.until(lambda: line.spoken_ms > spoken, self._plan.patience)
        await line.until(lambda: line.spoken_ms > spoken + INTO_IT * 1000, 2 * INTO_IT + self._plan.quiet)
        if line.over:
            return
        if self._now() - line.sounded_at > INTO_IT:
            said = "its answer was too short to be interrupted" if line.spoken_ms > spoken else "it said nothing"
            self._found(Finding(check="interruption", state="fail" if self._plan.expect.clear else "none", said=said))
            return
        began, clears = self._now(), line.notes.clears
        line.say(prompt, prompt.seconds or TONE)
        await line.until(
            lambda: line.notes.clears > clears or self._now() - line.sounded_at > INTO_IT, self._plan.quiet + TONE
        )
        clear_ms = (line.notes.cleared_at - began) * 1000 if line.notes.clears > clears else None
        went_on = line.sounded_at - began
        silent_ms = went_on * 1000 if went_on < STOPPED and self._now() - line.sounded_at > INTO_IT else None
        self._found(
            judge.interruption(
                self._plan.dialect,
                clear_ms=clear_ms,
                discarded_ms=line.notes.discarded_ms,
                silent_ms=silent_ms,
                expect=self._plan.expect,
            )
        )
        await line.until(lambda: not line.saying, prompt.seconds + TONE)
        await line.until(lambda: False, INTO_IT)
        await self._silence(line)

    async def _digits(self, line: Line) -> None:
        digits = self._plan.digits
        if not digits:
            return
        self._doing = f"after the caller had pressed {digits}"
        self._pressed = True
        began, spoken = self._now(), line.spoken_ms
        speaking = began - line.sounded_at < self._plan.quiet
        for digit in digits:
            if line.over:
                break
            line.press(digit)
            await line.until(lambda: False, BREAK)
        await line.until(lambda: line.spoken_ms > spoken, REACTION)
        if speaking and not line.hung_up:
            said = f"{digits}, while it spoke"
        elif line.spoken_ms > spoken:
            said = f"{digits}: it spoke {(line.began_at - began) * 1000:.0f} ms after the first"
        elif line.hung_up:
            said = f"{digits}: it hung up {(self._now() - began) * 1000:.0f} ms after the first"
        else:
            said = f"{digits}: nothing to be heard of it"
        if line.failed is None:
            self._found(Finding(check="digits", state="ok", said=said))
        await self._silence(line)

    async def _hangup(self, line: Line) -> None:
        if self._plan.expect.hangup:
            await line.until(lambda: line.hung_up, self._plan.patience)

    async def _say(self, line: Line, prompt: Playable) -> None:
        seconds = prompt.seconds or TONE
        line.say(prompt, seconds)
        await line.until(lambda: not line.saying, seconds + TONE)

    async def _silence(self, line: Line) -> None:
        """Until the agent has said what it had to say."""
        await line.until(lambda: self._now() - line.sounded_at > self._plan.quiet, self._plan.longest)

    # --- its end --------------------------------------------------------------------------------

    async def _end(self, line: Line) -> None:
        ending = self._desk.ending or judge.lost(line, self._doing)
        if line.hung_up:
            ending = ending or self._hung_up()
        elif ending is None and self._plan.expect.hangup:
            said = f"the agent did not hang up within {self._plan.patience:g} s"
            ending = Finding(check="hang-up", state="fail", said=said, mend="give --digits that make it do so")
        elif ending is None:
            ending = await self._we_hang_up(line)
        for finding in (
            judge.messages(line),
            judge.pace(line),
            judge.marks(line),
            *judge.content(line, self._plan.expect),
        ):
            if finding is not None:
                self._found(finding)
        self._found(ending)

    def _hung_up(self) -> Finding:
        if self._plan.expect.hangup or self._pressed:
            return Finding(check="hang-up", state="ok", said="by the agent")
        said = f"the agent hung up {self._doing}"
        return Finding(check="hang-up", state="fail", said=said, mend="if it is meant to: --expect-hangup")

    async def _we_hang_up(self, line: Line) -> Finding:
        line.hang_up()
        began = self._now()
        patience = self._plan.limits.close_timeout
        await line.until(lambda: line.gone, 2 * patience)
        took = self._now() - began
        if line.gone and took < patience:
            return Finding(check="hang-up", state="ok", said=f"by the caller; closed after {took * 1000:.0f} ms")
        return Finding(
            check="hang-up",
            state="warn",
            said=f"by the caller; the agent did not close its end within {patience:g} s, and was cut off",
            mend="leave the loop and close when the call's end is told",
        )
