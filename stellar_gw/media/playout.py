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
SHORT = 160
"""Octets; pieces that are shorter are joined up to some length, or their number would take far more memory."""
JOINED = 4096
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

    :ivar taken: octets of the agent's that were taken.
    :ivar marks: those not returned yet, each behind so many octets.
    """

    __slots__ = (
        "_half_sample",
        "_mark_octets",
        "_padded",
        "_pieces",
        "_pushed",
        "_start",
        "_width",
        "_zero",
        "capacity",
        "encoding",
        "marks",
        "rate",
        "taken",
    )

    def __init__(self, encoding: Encoding, rate: int) -> None:
        self.encoding = encoding
        self.rate = rate
        self._width = 2 if encoding == "pcm" else 1
        self._zero = SILENCE[encoding]
        self.capacity = min(MAX_OCTETS, MAX_SECONDS * rate * self._width)
        # As they came, so that a piece that is a frame is never copied.
        self._pieces: deque[bytes] = deque()
        self._start = 0
        self._half_sample = b""
        self.marks: deque[tuple[int, str]] = deque()
        self._mark_octets = 0
        self.taken = 0
        self._padded = 0
        self._pushed = 0

    @property
    def played_samples(self) -> int:
        """Samples of the agent's that were taken."""
        return self.taken // self._width

    @property
    def played_ms(self) -> int:
        return self.played_samples * 1000 // self.rate

    @property
    def padded_samples(self) -> int:
        """Samples of silence that :meth:`take` put in because the agent said nothing."""
        return self._padded // self._width

    @property
    def queued_ms(self) -> int:
        return (self._pushed - self.taken) // self._width * 1000 // self.rate

    @property
    def empty(self) -> bool:
        """No whole sample is waiting."""
        return not self._pieces

    def push(self, audio: bytes) -> None:
        """Queue a piece of any length; an odd octet of PCM waits for the next piece.

        :raise PlayoutFlood: the queue would hold more than 4 MiB or 5 minutes; none of the piece is queued.
        """
        if self._pushed - self.taken + len(audio) > self.capacity:
            limit = self.capacity // self._width // self.rate
            raise PlayoutFlood(f"the agent is more than {limit} s of audio ahead: send no faster than it is played")
        if self._half_sample:
            audio = self._half_sample + audio
            self._half_sample = b""
        if self._width == 2 and len(audio) % 2:
            self._half_sample = audio[-1:]
            audio = audio[:-1]
        octets = len(audio)
        pieces = self._pieces
        if octets >= SHORT or not pieces or len(pieces[-1]) > JOINED:
            if octets:
                pieces.append(audio)
        else:
            pieces[-1] += audio
        self._pushed += octets

    def take(self, octets: int) -> bytes:
        """The next frame, filled up with silence.

        :param octets: the frame's length, a whole number of samples.
        :raise LocalProtocolError: it is not.
        """
        if octets % self._width:
            raise LocalProtocolError(f"a frame of {octets} octets is not a whole number of samples")
        pieces = self._pieces
        if not pieces:
            self._padded += octets
            return self._zero * octets
        start, piece = self._start, pieces[0]
        end = start + octets
        if end > len(piece):
            return self._gather(octets)
        self.taken += octets
        if end < len(piece):
            self._start = end
            return piece[start:end]
        del pieces[0]
        self._start = 0
        return piece[start:] if start else piece

    def _gather(self, octets: int) -> bytes:
        """A frame out of several pieces, filled up with silence."""
        pieces, parts, missing = self._pieces, [], octets
        while pieces and missing:
            piece = pieces[0]
            part = piece[self._start : self._start + missing]
            missing -= len(part)
            self._start += len(part)
            if self._start == len(piece):
                del pieces[0]
                self._start = 0
            parts.append(part)
        self.taken += octets - missing
        self._padded += missing
        parts.append(self._zero * missing)
        return b"".join(parts)

    def mark(self, name: str) -> None:
        """Put a mark behind the audio queued so far; with nothing queued it is reached already.

        :raise PlayoutFlood: more than 4,096 marks, or 1 MiB of names, are pending.
        """
        octets = len(name)
        if len(self.marks) >= MAX_MARKS or self._mark_octets + octets > MAX_MARK_OCTETS:
            raise PlayoutFlood(f"{len(self.marks)} marks are pending: more than the gateway keeps for a call")
        self.marks.append((self._pushed, name))
        self._mark_octets += octets

    def reached(self) -> tuple[str, ...]:
        """The marks reached since the last time, in order."""
        marks = self.marks
        if not marks or marks[0][0] > self.taken:
            return ()
        names: list[str] = []
        while marks and marks[0][0] <= self.taken:
            names.append(marks.popleft()[1])
        self._mark_octets -= sum(map(len, names))
        return tuple(names)

    def clear(self) -> Cleared:
        """Throw away what is queued. Marks reached but not yet asked for stay for :meth:`reached`.

        What is pushed next starts with a whole sample.
        """
        names: list[str] = []
        while self.marks and self.marks[-1][0] > self.taken:
            names.append(self.marks.pop()[1])
        self._mark_octets -= sum(map(len, names))
        discarded = self.queued_ms
        self._pieces.clear()
        self._start = 0
        self._half_sample = b""
        self._pushed = self.taken
        return Cleared(self.played_ms, discarded, tuple(reversed(names)))
