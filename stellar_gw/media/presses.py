"""Key presses told in several ways, each counted once.

A phone system may tell one press as RFC 4733 events, by SIP INFO and as tones in the audio, in any combination and
any order. Two reports are one press where they say the same digit, came different ways, and lie within 2 s of each
other: an INFO may go at the key's pressing or at its release, and over UDP its first copy may be lost. Each report
takes the earliest press that its way has not told yet, so that "55" told twice stays "55".
"""

from __future__ import annotations

from collections import deque
from typing import Literal

from attrs import define, field

Way = Literal["rfc4733", "info", "inband"]

WINDOW = 2.0
"""Seconds between two reports of one press, at most."""
MAX_RECENT = 64
MAX_DIGITS = 256
"""How many digits :attr:`Presses.digits` keeps."""


@define
class _Press:
    digit: str
    began: float
    ended: float
    ways: set[Way]


@define
class Presses:
    """One leg's presses; times are seconds of a clock that does not run backwards.

    :ivar digits: the first 256, in order.
    :ivar doubled: reports of a press that was known already.
    """

    digits: str = ""
    doubled: int = 0
    _recent: deque[_Press] = field(factory=lambda: deque(maxlen=MAX_RECENT), init=False)

    def reported(self, digit: str, duration_ms: int, way: Way, now: float) -> bool:
        """A press was told, and has ended; False where it is one that was told before in another way.

        :param duration_ms: how long it lasted, 0 where that is not known.
        """
        began = now - duration_ms / 1000
        while self._recent and now - self._recent[0].ended > WINDOW + duration_ms / 1000:
            self._recent.popleft()
        for press in self._recent:
            near = began <= press.ended + WINDOW and press.began <= now + WINDOW
            if press.digit == digit and way not in press.ways and near:
                press.ways.add(way)
                press.began = min(press.began, began)
                press.ended = now
                self.doubled += 1
                return False
        self._recent.append(_Press(digit, began, now, {way}))
        if len(self.digits) < MAX_DIGITS:
            self.digits += digit
        return True
