"""What a call has said and heard, kept for measuring it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

RATE = 16000
"""Samples a second of all audio in the phone, whatever codec is in force."""


@define
class Recording:
    """PCM at :data:`RATE` from one moment on, kept up to a limit, and passed on without one.

    :ivar limit: octets that are kept for analysis.
    :ivar sink: takes everything, in order (a WAV file).
    """

    limit: int
    sink: Callable[[bytes], None] | None = None
    kept: bytearray = field(factory=bytearray, init=False, repr=False)
    octets: int = field(default=0, init=False)
    _tail: bytes = field(default=b"", init=False, repr=False)

    def add(self, pcm: bytes) -> None:
        self.octets += len(pcm)
        self.kept += pcm[: max(0, self.limit - len(self.kept))]
        self._tail = (self._tail + pcm)[-RATE:]
        if self.sink is not None:
            self.sink(pcm)

    def pad(self, seconds: float) -> None:
        """Silence up to ``seconds`` after the beginning; an hour at once, at most."""
        missing = min(int(seconds * RATE) * 2 - self.octets, 7200 * RATE)
        while missing > 0:
            self.add(bytes(min(missing, RATE)))
            missing -= RATE

    @property
    def seconds(self) -> float:
        return self.octets / 2 / RATE

    @property
    def tail(self) -> bytes:
        """The last half second."""
        return self._tail
