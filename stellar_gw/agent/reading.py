"""How much an agent is read at a time, so that no flood of one, nor of many together, keeps a worker from its calls.

A socket that always has more would be read for as long as the loop's library likes, and every octet costs a parser
something. So a link reads no more than its :class:`Ration` in one turn of the loop; where that was all used, or held
very many messages, it is not read again before its turn in the :class:`Rota`, which all links of a worker share. An
agent that says a little at a time, as they do, never waits. What waits is in the kernel's hands, and the agent's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from stellar_gw.between import Between, nothing

LEAST = 256
FIRST = 8 << 10
MOST = 64 << 10
"""Octets of one reading: of the smallest messages, at first, and of large ones."""
MANY = 128
FEW = 32
"""Frames in one reading; with more the next one is shorter, with fewer it is longer."""
LINKS = 8
PAUSE = 0.002
"""So many links that have had their ration are read again, and so many seconds later as many more: less than half of a
core's time, however many of them flood, and 250 MB a second all the same."""


class Ration:
    """What one link may read at a time.

    :ivar room: octets.
    :ivar frames: those of this reading so far.
    """

    __slots__ = ("frames", "room")

    def __init__(self) -> None:
        self.room = FIRST
        self.frames = 0

    def spent(self, octets: int, asked: int) -> bool:
        """Whether the link has to wait for its turn; the next reading begins.

        :param octets: that came of the ``asked`` for; as many mean that there are more.
        """
        frames, self.frames = self.frames, 0
        if frames > MANY:
            self.room = max(LEAST, self.room * MANY // frames)
            return True
        if octets < asked:
            return False
        if frames < FEW:
            self.room = min(MOST, self.room * 2)
        return True


class Reading:
    """A link's readings, as long as each is little, as nearly all are: done for each call and 20 ms.

    :param ration: of the link.
    :param read: tells the library how many octets came.
    :param transport: the library's.
    :param much: told of every reading that was not little, or came after a close frame of ours.
    :param between: called after each (:class:`Rota`).
    :ivar asked: octets; as many mean that there are more.
    """

    def __init__(
        self,
        ration: Ration,
        read: Callable[[int], object],
        transport: Any,
        much: Callable[[int], None],
        between: Callable[[], None],
    ) -> None:
        self._ration = ration
        self._read = read
        self._transport = transport
        self._much = much
        self._between = between
        self.asked = FIRST // 2  # before the buffer is so full that picows doubles it

    def updated(self, nbytes: int) -> None:
        """So many octets have come."""
        self._read(nbytes)
        ration = self._ration
        if nbytes < self.asked and ration.frames <= MANY and not self._transport.is_close_frame_sent:
            ration.frames = 0
        else:
            self._much(nbytes)
        self._between()

    def over(self) -> None:
        """Nobody is told any more, nor kept."""
        self._much = _pass_over


class Rota:
    """Whose turn it is to be read again; one for all links of a worker.

    :param later: calls something after so many seconds.
    :ivar between: after each reading of each link: agents of many calls may have something to say at once.
    """

    def __init__(self, later: Callable[[float, Callable[[], None]], object]) -> None:
        self._later = later
        self.between: Between = nothing
        self._waiting: deque[Callable[[], None]] = deque()

    def wait(self, turn: Callable[[], None]) -> None:
        """Call ``turn``, which must not raise, when it is this link's turn."""
        if not self._waiting:
            self._later(PAUSE, self._next)
        self._waiting.append(turn)

    def _next(self) -> None:
        turns = [self._waiting.popleft() for _ in range(min(LINKS, len(self._waiting)))]
        if self._waiting:
            self._later(PAUSE, self._next)
        for turn in turns:
            turn()


def _pass_over(octets: int) -> None:
    """Whom nobody tells what was read."""
