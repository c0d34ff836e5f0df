"""Which of several sources of audio at once is heard (RFC 3550 3): each is a stream of its own, by its SSRC.

A phone system that changes the source (music on hold, another phone behind it) begins a new one where the old one ends,
or a moment before, and is followed at once. One that sends two beside each other (music beside a voice, where nobody
mixes them) would have every packet taken for a change: an agent, a recording and the other side of a bridge would get
twice the time that passed, in pieces of both. So a source that was left for another is not taken up again while the
other is heard: only when three packets of its own have come in a row, or after it has been silent for a while itself.
Nor is a third one until then: whoever sends one packet each of many could otherwise keep the source from being heard.
"""

from __future__ import annotations

from attrs import define

IN_A_ROW = 3
"""Packets of a source beside the present one, with none of that between them, after which it is heard instead."""
FORGOTTEN = 0.5
"""Seconds of silence after which a source is as good as a new one."""
MOST_BESIDE = 8
"""Of those that are remembered."""


@define
class _Beside:
    """A source that another has followed, or that came beside it.

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
        self._beside: dict[int, _Beside] = {}

    def takes(self, ssrc: int, now: float) -> bool:
        """Whether a packet of audio is to be heard."""
        self._forget(now)
        if ssrc == self.ssrc:
            self._begin_anew()
            return True
        beside = self._beside.get(ssrc)
        if beside is None:
            if not self._beside:
                self._follow(ssrc, now)
                return True
            beside = self._remember(ssrc, now)
        beside.heard = now
        beside.in_a_row += 1
        if beside.in_a_row < IN_A_ROW:
            return False
        self._follow(ssrc, now)
        return True

    def _forget(self, now: float) -> None:
        for ssrc, beside in tuple(self._beside.items()):
            if now - beside.heard >= FORGOTTEN:
                del self._beside[ssrc]
        self.alone = not self._beside

    def _begin_anew(self) -> None:
        """None of the others has had so many in a row."""
        for beside in self._beside.values():
            beside.in_a_row = 0

    def _remember(self, ssrc: int, now: float) -> _Beside:
        if len(self._beside) >= MOST_BESIDE:
            del self._beside[next(iter(self._beside))]
        self.alone = False
        found = self._beside[ssrc] = _Beside(now)
        return found

    def _follow(self, ssrc: int, now: float) -> None:
        """This one is the present source from now on."""
        self._beside.pop(ssrc, None)
        self._begin_anew()
        if self.ssrc is not None:
            self._remember(self.ssrc, now)
        self.ssrc = ssrc
