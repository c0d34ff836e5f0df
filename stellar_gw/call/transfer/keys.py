"""Keys pressed for whoever has answered: the way to an extension."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from stellar_gw.call.timers import Timers
from stellar_gw.call.transfer.ports import Caller
from stellar_gw.control import messages

PRESS = 0.24
"""Seconds that a worker takes for a key, and the pause behind it."""
_PAUSES = {"w": 0.5, "W": 1.0}
_GROUPS = re.compile(r"([wW]*)([^wW]*)")


class Keys:
    """
    :param timers: of the transfer; all of them end with it.
    :param note: a kind and a line for the operator.
    """

    def __init__(self, timers: Timers, caller: Caller, note: Callable[[str, str], None]) -> None:
        self._timers, self._caller, self._note = timers, caller, note

    def press(self, digits: str) -> None:
        """Press these on the target's leg; ``w`` waits half a second first, ``W`` a second."""
        self._go_on(_presses(digits))

    def _go_on(self, presses: Sequence[tuple[float, str]]) -> None:
        if presses:
            (seconds, digits), *rest = presses
            self._timers.start("digits", seconds, lambda: self._press(digits, rest))

    def _press(self, digits: str, rest: Sequence[tuple[float, str]]) -> None:
        pressed = messages.SendDigits(request=0, call=self._caller.call_id, leg="target", digits=digits)
        self._caller.ask(pressed).addErrback(
            lambda failure: self._note("digits_lost", f"digits after the answer were not sent: {failure.value}")
        )
        self._go_on(rest)


def _presses(digits: str) -> list[tuple[float, str]]:
    """Keys in groups, and how many seconds after the group before it each is pressed."""
    presses, seconds = [], 0.0
    for pauses, keys in _GROUPS.findall(digits):
        seconds += sum(_PAUSES[letter] for letter in pauses)
        if keys:
            presses.append((seconds, keys))
            seconds = PRESS * len(keys)
    return presses
