"""Whether somebody speaks, by the energy of what is heard: for turn latencies, and for agents that cannot tell.

Theory of operation. The amplitude of each 20 ms is held against a floor that follows the quietest of late: quickly
downwards, slowly upwards, so that a noisy line becomes its own silence. Speech begins when the amplitude stands well
above the floor for some frames in a row, so that a click is none, and has ended when it has been down for the hangover;
the end is then dated back to the last loud frame.

Everything is linear, for one of these runs for each call and 20 ms. What it finds, and what it takes for speech that is
none, is in docs/media.rst.
"""

from __future__ import annotations

from typing import Final, Literal

FRAME_MS: Final = 20
FULL_SCALE: Final = 32768.0

Change = Literal["", "started", "ended"]


def amplitude(dbfs: float) -> float:
    """Of a level in dB below full scale, as :func:`stellar_gw.media.pcm.rms` counts it."""
    return float(FULL_SCALE * 10 ** (dbfs / 20))


MARGIN: Final = amplitude(12.0) / FULL_SCALE
"""How many times above the floor speech is: 12 dB."""
LEAST: Final = amplitude(-48.0)
"""Nothing below it is speech."""
LOWEST: Final = LEAST / MARGIN
"""A floor below it would change nothing: digital silence is no measure of a line's noise."""
HIGHEST: Final = amplitude(-30.0)
FIRST: Final = amplitude(-36.0)
"""Before anything was heard: a noisy line is not taken for speech at its beginning, and a clear voice is."""
RISE: Final = amplitude(0.06) / FULL_SCALE
"""By which the floor comes up each frame: 3 dB a second."""
FALL: Final = amplitude(-3.0) / FULL_SCALE
"""By which it goes down each frame at the most, so that a lost packet or two leave it alone."""
START_MS: Final = 60
"""Of loud frames in a row until it counts."""
END_MS: Final = 400
"""Of quiet ones until it has ended: pauses for breath and stops between syllables are shorter."""


class SpeechDetector:
    """One direction of a call.

    :ivar speaking: as of the last frame.
    :ivar quiet_ms: since the last loud frame; when ``ended`` is returned, how long ago the speech ended.
    """

    __slots__ = ("_floor", "_loud_ms", "quiet_ms", "speaking")

    def __init__(self) -> None:
        self.speaking = False
        self.quiet_ms = 0
        self._floor = FIRST
        self._loud_ms = 0

    def heard(self, value: float) -> Change:
        """The amplitude (root mean square) of the next 20 ms, 0 to 32768."""
        floor = self._floor
        if value > floor:
            if floor < HIGHEST:
                self._floor = floor * RISE
            if value > floor * MARGIN:
                self.quiet_ms = 0
                if self.speaking:
                    return ""
                self._loud_ms += FRAME_MS
                if self._loud_ms < START_MS:
                    return ""
                self.speaking = True
                return "started"
        elif floor > LOWEST:
            self._floor = max(value, floor * FALL, LOWEST)
        self._loud_ms = 0
        self.quiet_ms += FRAME_MS
        if self.speaking and self.quiet_ms >= END_MS:
            self.speaking = False
            return "ended"
        return ""

    def interrupted(self) -> None:
        """The other side has taken the turn: what was being said has ended."""
        self.speaking = False
        self._loud_ms = 0
