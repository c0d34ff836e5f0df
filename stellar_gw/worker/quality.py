"""How good the caller's connection is, for an agent that can make something of it: speak up, ask again, apologise."""

from __future__ import annotations

from typing import Final, Literal

from stellar_gw.control.messages import LegStatistics
from stellar_gw.dialects.contract import Facts
from stellar_gw.media.codec import codec_named
from stellar_gw.media.emodel import quality

INTERVAL: Final = 5.0
"""Seconds that are judged at a time."""
BUFFERED_MS: Final = 60.0
"""From mouth to ear besides the network: a packet, and what the phone buffers."""
GOOD: Final = 3.6
FAIR: Final = 2.58
"""MOS of R = 70 and R = 50: some users, and nearly all, are dissatisfied below (ITU-T G.107 Annex B)."""

State = Literal["good", "fair", "poor"]


class QualityWatch:
    """One call's, both ways; a state is told when it has changed, and good is what everything begins with.

    :ivar due: when to look again, in seconds of the caller's clock.
    """

    def __init__(self) -> None:
        self.due = 0.0
        self._before: LegStatistics | None = None
        self._state: State = "good"

    def look(self, leg: LegStatistics | None, now: float) -> Facts | None:
        """What to tell; None where nothing has changed.

        :param leg: that the agent hears, None for none.
        """
        self.due = now + INTERVAL
        before, self._before = self._before, leg
        codec = None if leg is None else codec_named(leg.codec)
        if leg is None or codec is None or before is None or before.leg != leg.leg:
            return None
        received = leg.packets_received - before.packets_received
        lost = max(0, leg.packets_lost - before.packets_lost) + leg.packets_late - before.packets_late
        if received + lost <= 0:
            return None  # on hold, or silence suppressed: nothing is known
        loss = min(1.0, lost / (received + lost))
        round_trip = max(0.0, leg.round_trip_ms)
        mos = min(quality(codec.name, share, round_trip / 2 + BUFFERED_MS).mos for share in (loss, leg.remote_loss))
        state: State = "good" if mos >= GOOD else "fair" if mos >= FAIR else "poor"
        if state == self._state:
            return None
        self._state = state
        told: dict[str, str | int | float | bool] = {
            "state": state,
            "mos": round(mos, 1),
            "loss": round(loss, 4),
            "remote_loss": round(leg.remote_loss, 4),
            "jitter_ms": round(leg.jitter_ms, 1),
        }
        if leg.round_trip_ms >= 0:
            told["round_trip_ms"] = round(leg.round_trip_ms, 1)
        return told
