"""The queue of agent audio on its way to the caller: bounded, counted to the sample, with ordered marks."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

from attrs import frozen

from stellar_gw.errors import LocalProtocolError, StellarError

Encoding = Literal["pcm", "mulaw", "alaw"]
SILENCE: Final = {"pcm": b"\x00", "mulaw": b"\xff", "alaw": b"\xd5"}
"""Octets of which each encoding's silence consists (ITU-T G.711)."""

MAX_OCTETS = 4 << 20
MAX_SECONDS = 300
MAX_MARKS = 4096
MAX_MARK_OCTETS = 1 << 20
"""All names of pending marks together."""


class PlayoutFlood(StellarError):
    """The agent sent audio or marks so far ahead of time that the queue is full; nothing was queued."""


@frozen
class Cleared:
    """What :meth:`Playout.clear` threw away.

    :ivar played_ms: agent audio taken since the queue was made, not since the last clear.
    :ivar discarded_ms: audio that was queued and will never be heard.
    :ivar marks: those whose audio was not taken, in order.
    """

    played_ms: int
    discarded_ms: int
    marks: tuple[str, ...]


class Playout:
    """Audio of one encoding and rate, from pieces of any size to frames of any size.

    A mark stands behind the audio pushed before it. It is reached when that audio has been taken, and
    :meth:`reached` then returns it once; ask after the frame has been written, so that "reached" means sent.
    """

    def __init__(self, encoding: Encoding, rate: int) -> None:
        self.encoding = encoding
        self.rate = rate
        self._width = 2 if encoding == "pcm" else 1
        self._zero = SILENCE[encoding]
        self.capacity = min(MAX_OCTETS, MAX_SECONDS * rate * self._width)
        # Deleting from a bytearray's front moves its start; it is copied only when half of it is gone.
        self._queue = bytearray()
        self._half_sample = b""
        self._marks: deque[tuple[int, str]] = deque()
        self._mark_octets = 0
        self._taken = 0
        self._padded = 0
        self._pushed = 0

    @property
    def played_samples(self) -> int:
        """Samples of the agent's that were taken."""
        return self._taken // self._width

    @property
    def played_ms(self) -> int:
        return self.played_samples * 1000 // self.rate

    @property
    def padded_samples(self) -> int:
        """Samples of silence that :meth:`take` put in because the agent said nothing."""
        return self._padded // self._width

    @property
    def queued_ms(self) -> int:
        return len(self._queue) // self._width * 1000 // self.rate

    @property
    def empty(self) -> bool:
        """No whole sample is waiting."""
        return not self._queue

    def push(self, audio: bytes) -> None:
        """Queue a piece of any length; an odd octet of PCM waits for the next piece.

        :raise PlayoutFlood: the queue would hold more than 4 MiB or 5 minutes; none of the piece is queued.
        """
        if len(self._queue) + len(audio) > self.capacity:
            limit = self.capacity // self._width // self.rate
            raise PlayoutFlood(f"the agent is more than {limit} s of audio ahead: send no faster than it is played")
        if self._half_sample:
            audio = self._half_sample + audio
            self._half_sample = b""
        if self._width == 2 and len(audio) % 2:
            self._half_sample = audio[-1:]
            audio = audio[:-1]
        self._queue += audio
        self._pushed += len(audio)

    def take(self, octets: int) -> bytes:
        """The next frame, filled up with silence.

        :param octets: the frame's length, a whole number of samples.
        :raise LocalProtocolError: it is not.
        """
        if octets % self._width:
            raise LocalProtocolError(f"a frame of {octets} octets is not a whole number of samples")
        queue = self._queue
        if not queue:
            self._padded += octets
            return self._zero * octets
        frame = bytes(queue[:octets])
        del queue[:octets]
        self._taken += len(frame)
        missing = octets - len(frame)
        if missing:
            self._padded += missing
            frame += self._zero * missing
        return frame

    def mark(self, name: str) -> None:
        """Put a mark behind the audio queued so far; with nothing queued it is reached already.

        :raise PlayoutFlood: more than 4,096 marks, or 1 MiB of names, are pending.
        """
        octets = len(name)
        if len(self._marks) >= MAX_MARKS or self._mark_octets + octets > MAX_MARK_OCTETS:
            raise PlayoutFlood(f"{len(self._marks)} marks are pending: more than the gateway keeps for a call")
        self._marks.append((self._pushed, name))
        self._mark_octets += octets

    def reached(self) -> tuple[str, ...]:
        """The marks reached since the last time, in order."""
        marks = self._marks
        if not marks or marks[0][0] > self._taken:
            return ()
        names: list[str] = []
        while marks and marks[0][0] <= self._taken:
            names.append(marks.popleft()[1])
        self._mark_octets -= sum(map(len, names))
        return tuple(names)

    def clear(self) -> Cleared:
        """Throw away what is queued. Marks reached but not yet asked for stay for :meth:`reached`.

        What is pushed next starts with a whole sample.
        """
        names: list[str] = []
        while self._marks and self._marks[-1][0] > self._taken:
            names.append(self._marks.pop()[1])
        self._mark_octets -= sum(map(len, names))
        discarded = self.queued_ms
        self._queue = bytearray()
        self._half_sample = b""
        self._pushed = self._taken
        return Cleared(self.played_ms, discarded, tuple(reversed(names)))
