"""All usages and dialogs of a core: finding them, and doing what their table asks for."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Literal

from stellar_gw.sip.dialog import Dialog, DialogKey
from stellar_gw.sip.events import Ended, ResponseReceived, UsageId
from stellar_gw.sip.flow import Flow
from stellar_gw.sip.invite_usage import InviteUsageMachine, calling, received
from stellar_gw.sip.session_timer import SessionTimer
from stellar_gw.sip.timers import Alarm, TimerHeap
from stellar_gw.sip.transactions.effects import Start, Stop
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.usage import Close, End, RefuseAsked, Tell, Usage
from stellar_gw.sip.wire import Wire

LINGER = 32.0
"""Seconds that a subscription made by REFER outlives its call: 64*T1, as long as a NOTIFY is repeated."""
MOST_LINGERING = 10_000
MOST_OVER = 1_000
"""Dialogs that are remembered when they are over: who wants to replace one of them hears that it is too late."""


class Usages:
    """The usages that the floor above knows of, and every dialog that a message may still belong to.

    :ivar perform: what carries out which effect; the two halves of the core add theirs.
    """

    def __init__(self, wire: Wire, heap: TimerHeap) -> None:
        self._wire, self._heap = wire, heap
        self._known: dict[UsageId, Usage] = {}
        self._expired = self._expire  # bound once, for all timers
        self._dialogs: dict[DialogKey, tuple[Usage, Dialog]] = {}
        self._over: dict[DialogKey, None] = {}
        self._lingering: dict[DialogKey, Alarm] = {}
        self.perform: dict[type, Callable[[Usage, Any], None]] = {
            Tell: self._tell,
            Start: self._start,
            Stop: self._stop,
            End: self._end,
            Close: self._close,
        }

    def __len__(self) -> int:
        return len(self._known)

    @property
    def dialogs(self) -> int:
        return len(self._dialogs)

    def add(self, usage: Usage, *, called: bool) -> None:
        # Its machine does not keep it: what is over is gone at once, and not when the collector of circles comes.
        usage.machine = InviteUsageMachine(weakref.proxy(usage), received if called else calling)
        self._known[usage.id] = usage

    def get(self, usage: UsageId) -> Usage | None:
        """The usage; None once it has ended."""
        return self._known.get(usage)

    def turn(self, usage: Usage) -> None:
        """Carry out what the table has asked for."""
        effects = usage.effects
        while effects:
            effect = effects.pop(0)
            self.perform[type(effect)](usage, effect)

    # Dialogs

    def find(self, key: DialogKey) -> tuple[Usage, Dialog] | None:
        return self._dialogs.get(key)

    def open(self, usage: Usage, dialog: Dialog) -> None:
        self._dialogs[dialog.key] = usage, dialog
        self._wire.hold(dialog.flow, dialog)

    def close(self, dialog: Dialog) -> None:
        """Forget a dialog: what still comes in it gets 481."""
        entry = self._dialogs.get(dialog.key)
        if entry is not None and entry[1] is dialog:
            del self._dialogs[dialog.key]
            self._wire.release(dialog.flow, dialog)
            self._over[dialog.key] = None
            if len(self._over) > MOST_OVER:
                del self._over[next(iter(self._over))]
            if entry[0].referred and len(self._lingering) < MOST_LINGERING:
                self._lingering[dialog.key] = self._heap.start(LINGER, self._forget, dialog.key)

    def lingers(self, key: DialogKey) -> bool:
        """Whether a dialog is over, and a subscription in it may not be: its NOTIFYs are in order (RFC 5057 4.2)."""
        return key in self._lingering

    def _forget(self, key: DialogKey) -> None:
        del self._lingering[key]

    def move(self, dialog: Dialog, flow: Flow, hop: Uri | None) -> None:
        """Send a dialog's next requests on another flow.

        :param hop: the next hop that the flow was asked for; None if the peer came on it by himself.
        """
        dialog.resolved = hop
        if flow == dialog.flow:
            return
        if dialog.key in self._dialogs:
            self._wire.release(dialog.flow, dialog)
            self._wire.hold(flow, dialog)
        dialog.flow = flow

    def standing(self, key: DialogKey) -> UsageId | Literal["early", "over", "unknown"]:
        """What an INVITE that wants to replace a dialog finds (RFC 3891 3): the usage, where it is confirmed."""
        found = self._dialogs.get(key)
        if found is None:
            return "over" if key in self._over else "unknown"
        usage, _ = found
        if usage.ended:
            return "over"
        return usage.id if usage.confirmed else "early"

    # Effects

    def _tell(self, usage: Usage, tell: Tell) -> None:
        self._wire.events.append(tell.event)

    def _start(self, usage: Usage, start: Start) -> None:
        self.start(usage, start.timer, start.delay)

    def start(self, usage: Usage, timer: str, delay: float) -> None:
        self._stop(usage, Stop(timer))
        usage.running[timer] = self._heap.start(delay, self._expired, usage, timer)

    def time_session(self, usage: Usage, session: SessionTimer | None) -> None:
        """Let a session live for as long as was settled last (RFC 4028 10)."""
        usage.session = session
        self._stop(usage, Stop("refresh_due"))
        self._stop(usage, Stop("session_expired"))
        if session is not None:
            self.start(usage, "session_expired", session.ends_after)
            if session.ours:
                self.start(usage, "refresh_due", session.refresh_after)

    def _stop(self, usage: Usage, stop: Stop) -> None:
        alarm = usage.running.pop(stop.timer, None)
        if alarm is not None:
            self._heap.stop(alarm)

    def _expire(self, usage: Usage, timer: str) -> None:
        usage.running.pop(timer, None)
        getattr(usage.machine, timer)()
        self.turn(usage)

    def _close(self, usage: Usage, _: Close) -> None:
        for dialog in [usage.dialog, *usage.early.values()]:
            if dialog is not None:
                self.close(dialog)
        usage.early.clear()
        if usage.invite is not None:
            usage.invite.user = None  # what still comes for it changes nothing

    def _end(self, usage: Usage, end: End) -> None:
        if usage.ended:
            return
        usage.ended = True
        del self._known[usage.id]
        self.time_session(usage, None)
        self._stop(usage, Stop("repeat_reliable"))
        self._stop(usage, Stop("prack_timeout"))
        for token in sorted(usage.sent):
            self._wire.events.append(ResponseReceived(token, None))
        usage.sent.clear()
        self.perform[RefuseAsked](usage, RefuseAsked())
        sequence = usage.initial.sequence if usage.initial is not None else 0
        self._wire.events.append(Ended(usage.id, end.cause, end.by, end.request, end.response, sequence))
