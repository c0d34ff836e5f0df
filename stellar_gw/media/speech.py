"""Whether somebody speaks, by the energy of what is heard: for turn latencies, and for agents that cannot tell.

Theory of operation. The level of each 20 ms is held against a floor that follows the quietest of late: at once
downwards, slowly upwards, so that a noisy line becomes its own silence. Speech begins when the level stands well
above the floor for some frames in a row, so that a click is none, and has ended when it has been down for the hangover;
the end is then dated back to the last loud frame.
"""

from __future__ import annotations

from math import log10
from typing import Literal

from attrs import define, field

from stellar_gw.media.pcm import rms

FRAME_MS = 20
QUIETEST = -75.0
"""dBFS; digital silence counts as this."""

Change = Literal["", "started", "ended"]


@define
class SpeechDetector:
    """One direction of a call.

    :ivar margin: dB above the floor that count as speech.
    :ivar least: dBFS below which nothing does.
    :ivar start_ms: of speech in a row before it counts; ``end_ms`` of silence before it has ended.
    :ivar speaking: as of the last frame.
    :ivar quiet_ms: since the last loud frame; when ``ended`` is returned, how long ago the speech ended.
    """

    margin: float = 12.0
    least: float = -48.0
    start_ms: int = 60
    end_ms: int = 400
    rise: float = 0.06
    """dB a frame by which the floor comes up: 3 dB a second."""
    speaking: bool = field(default=False, init=False)
    quiet_ms: int = field(default=0, init=False)
    _floor: float = field(default=-60.0, init=False)
    _loud_ms: int = field(default=0, init=False)

    def heard(self, level: float) -> Change:
        """The level of the next 20 ms, in dBFS."""
        loud = level > max(self._floor + self.margin, self.least)
        self._floor = level if level < self._floor else min(self._floor + self.rise, -30.0)
        if loud:
            self.quiet_ms = 0
            self._loud_ms += FRAME_MS
            if not self.speaking and self._loud_ms >= self.start_ms:
                self.speaking = True
                return "started"
            return ""
        self._loud_ms = 0
        self.quiet_ms += FRAME_MS
        if self.speaking and self.quiet_ms >= self.end_ms:
            self.speaking = False
            return "ended"
        return ""


def level(pcm: bytes) -> float:
    """The level of 16-bit PCM in dBFS, :data:`QUIETEST` at the least."""
    value = rms(pcm)
    return QUIETEST if value < 1 else max(QUIETEST, 20.0 * log10(value / 32768.0))
