"""Which of several sources of audio at once is heard (RFC 3550 3): each is a stream of its own, by its SSRC.

A phone system that changes the source (music on hold, another phone behind it) begins a new one where the old one ends,
or a moment before, and is followed at once. One that sends two beside each other (music beside a voice, where nobody
mixes them) would have every packet taken for a change: an agent, a recording and the other side of a bridge would get
twice the time that passed, in pieces of both. So a source that was left for another is not taken up again while the
other is heard: only when three packets of its own have come in a row, or after it has been silent for a while itself.
"""

from __future__ import annotations

from attrs import define

IN_A_ROW = 3
"""Packets of a source that was left, with none of the present one between them, after which it is taken up again."""
FORGOTTEN = 0.5
"""Seconds of silence after which a source that was left is as good as a new one."""
MOST_LEFT = 8
"""Of those that are remembered."""


@define
class _Left:
    """A source that another has followed.

    :ivar heard: when its last packet came; until there is one, when it was left.
    :ivar in_a_row: its packets since the last of the present source's.
    """

    heard: float
    in_a_row: int = 0


class OneSource:
    """One peer's; times are seconds of a clock that does not run backwards.

    :ivar ssrc: of the source that is heard; None before the first packet.
    :ivar alone: no other is remembered, so that packets of this one need not be shown.
    """

    def __init__(self) -> None:
        self.ssrc: int | None = None
        self.alone = True
        self._left: dict[int, _Left] = {}

    def takes(self, ssrc: int, now: float) -> bool:
        """Whether a packet of audio is to be heard."""
        if ssrc == self.ssrc:
            self._heard(now)
            return True
        left = self._left.get(ssrc)
        if left is not None and now - left.heard < FORGOTTEN:
            left.heard = now
            left.in_a_row += 1
            if left.in_a_row < IN_A_ROW:
                return False
        self._follow(ssrc, now)
        return True

    def _heard(self, now: float) -> None:
        """None of those that were left has had so many in a row."""
        for ssrc, left in tuple(self._left.items()):
            left.in_a_row = 0
            if now - left.heard >= FORGOTTEN:
                del self._left[ssrc]
        self.alone = not self._left

    def _follow(self, ssrc: int, now: float) -> None:
        """This one is the present source from now on."""
        self._left.pop(ssrc, None)
        self._heard(now)
        if self.ssrc is not None:
            self._left[self.ssrc] = _Left(now)
            self.alone = False
            if len(self._left) > MOST_LEFT:
                del self._left[next(iter(self._left))]
        self.ssrc = ssrc
