"""One ticker for all calls of a worker: every call has its turn each 20 ms, in one of four slots 5 ms apart.

The slots spread the work, and so the packets. Deadlines are absolute, so that neither late turns nor the
work itself make the ticks drift.
"""

from __future__ import annotations

from typing import Protocol

from twisted.logger import Logger

from stellar_gw.worker.speaking import Speaking

FRAME = 0.02
"""Seconds between two ticks of one call."""
SLOTS = 4
SLOT = FRAME / SLOTS
SLOW_FRAME = 0.2
"""Seconds between two ticks of a call whose packets are only passed on: it sends none of its own."""
SLOW_SLOTS = round(SLOW_FRAME / SLOT)
CATCH_UP = 3
"""Frames that are made up for after the process was held up; what is older than that is skipped."""
_log = Logger()


class Paced(Protocol):
    """What a pacer ticks."""

    def tick(self, missed: int) -> Speaking | None:
        """20 ms more are due.

        :param missed: frames before this one that will never come: their time has passed.
        :return: what can do so in its place, for as long as it can.
        """

    def tick_failed(self) -> None:
        """``tick`` raised, and will not be called again; what it raised has been logged."""


class Timer(Protocol):
    """What tells the time: see :class:`stellar_gw.worker.timer.SlotTimer`."""

    def start(self) -> None:
        """Call the pacer's ``expired`` every 5 ms from now on."""

    def stop(self) -> None: ...


class Pacer:
    """
    :ivar turns: slots that were ticked.
    :ivar late: slots that came a whole slot late or more, but were made up for.
    :ivar skipped: frames, over all calls, that were too late to be made up for.
    """

    def __init__(self) -> None:
        self._slots: tuple[dict[Paced, Speaking | None], ...] = tuple({} for _ in range(SLOTS))
        self._slow_slots: tuple[dict[Paced, Speaking | None], ...] = tuple({} for _ in range(SLOW_SLOTS))
        self._next = 0
        self._next_slow = 0
        self._timer: Timer | None = None
        self._running = False
        self.turns = 0
        self.late = 0
        self.skipped = 0

    def run_by(self, timer: Timer) -> None:
        """Use this timer, which calls :meth:`expired`; it runs only while there is somebody to tick."""
        self._timer = timer

    def __len__(self) -> int:
        return sum(map(len, self._slots)) + sum(map(len, self._slow_slots))

    @property
    def speaking(self) -> int:
        """How many members have something that ticks in their place."""
        return sum(each is not None for slot in self._slots for each in slot.values())

    def add(self, member: Paced, *, slow: bool = False) -> None:
        """Tick it every 20 ms, in the slot with the fewest members; nothing where it is ticked so already.

        :param slow: every 200 ms instead. One that was slow is ticked first in the next slot: somebody may be waiting.
        """
        wanted, others = (self._slow_slots, self._slots) if slow else (self._slots, self._slow_slots)
        if any(member in slot for slot in wanted):
            return
        moved = False
        for slot in others:
            if member in slot:
                del slot[member]
                moved = True
        chosen = self._slots[self._next] if moved and not slow else min(wanted, key=len)
        chosen[member] = None
        if self._timer is not None and not self._running:
            self._running = True
            self._timer.start()

    def remove(self, member: Paced) -> None:
        for slot in (*self._slots, *self._slow_slots):
            slot.pop(member, None)
        if self._running and self._timer is not None and not len(self):
            self._running = False
            self._timer.stop()

    def expired(self, count: int) -> None:
        """``count`` slots of 5 ms have passed since the last time; one is on time, more are late."""
        missed = max(0, count // SLOTS - CATCH_UP)
        count -= missed * SLOTS  # whole frames, so the slot that is next stays
        self.turns += count
        self.late += count - 1
        if missed:
            self.skipped += missed * sum(map(len, self._slots))
        for turn in range(count):
            # Only the first tick of each member has frames missing before it.
            self._tick_slot(self._slots[self._next], missed if turn < SLOTS else 0)
            self._next = (self._next + 1) % SLOTS
            self._tick_slot(self._slow_slots[self._next_slow], 0)
            self._next_slow = (self._next_slow + 1) % SLOW_SLOTS

    def _tick_slot(self, slot: dict[Paced, Speaking | None], missed: int) -> None:
        for member, speaking in list(slot.items()):
            if member not in slot:  # removed by one ticked before it
                continue
            try:
                if speaking is not None and not missed and speaking.tick():
                    continue
                speaking = member.tick(missed)
                if member in slot:  # still
                    slot[member] = speaking
            except Exception:
                _log.failure("a call failed in its tick")
                self.remove(member)
                member.tick_failed()
