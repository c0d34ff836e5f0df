"""Audio that comes when the network lets it, taken at a steady pace: for a leg that is coded anew.

It begins once 40 ms are there. Where nothing is left, silence takes the place of what is late, and the next beginning
waits for 20 ms more, up to 120. What has piled up (the two clocks differ, or the network has calmed down) is cut by
20 ms after ten seconds in which it was never needed.
"""

from __future__ import annotations

FIRST_MS = 40
STEP_MS = 20
LONGEST_MS = 120
MAX_MS = 400
"""More than this is never kept: the oldest goes."""
CALM = 500
"""Takes without need after which what has piled up is cut."""


class Dejitter:
    """
    :ivar late: takes that found nothing in mid-stream.
    :ivar cut_ms: audio thrown away.
    """

    def __init__(self, rate: int) -> None:
        """:param rate: samples a second of 16-bit PCM."""
        self._ms = 2 * rate // 1000
        self._queue = bytearray()
        self._wanted = FIRST_MS * self._ms
        self._playing = False
        self._least = MAX_MS * self._ms
        self._takes = 0
        self.late = 0
        self.cut_ms = 0

    @property
    def depth_ms(self) -> int:
        """What is waiting."""
        return len(self._queue) // self._ms

    def push(self, pcm: bytes) -> None:
        self._queue += pcm
        if len(self._queue) > MAX_MS * self._ms:
            self._cut(len(self._queue) - self._wanted)

    def take(self, ms: int) -> bytes:
        """The next ``ms``; silence before the beginning, and in place of what is late."""
        octets = ms * self._ms
        queue = self._queue
        if not self._playing:
            if len(queue) < max(self._wanted, octets):
                return bytes(octets)
            self._playing = True
            self._calm()
        frame = bytes(queue[:octets])
        del queue[:octets]
        if len(frame) < octets:
            self._playing = False
            self.late += 1
            self._wanted = min(self._wanted + STEP_MS * self._ms, LONGEST_MS * self._ms)
            return frame + bytes(octets - len(frame))
        self._least = min(self._least, len(queue))
        self._takes += 1
        if self._takes >= CALM:
            if self._least > STEP_MS * self._ms:
                self._cut(STEP_MS * self._ms)
                self._wanted = max(self._wanted - STEP_MS * self._ms, FIRST_MS * self._ms)
            self._calm()
        return frame

    def clear(self) -> None:
        """Forget what is waiting, and begin anew."""
        self._queue.clear()
        self._playing = False
        self._wanted = FIRST_MS * self._ms

    def _calm(self) -> None:
        self._least = MAX_MS * self._ms
        self._takes = 0

    def _cut(self, octets: int) -> None:
        octets -= octets % self._ms
        del self._queue[:octets]
        self.cut_ms += octets // self._ms
