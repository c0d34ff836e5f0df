"""How a call sounded, from what was measured: the E-model (ITU-T G.107, and G.107.1 for wideband).

    R      = R0 - Is - Id - Ie,eff + A                           G.107 (7-1)
    Ie,eff = Ie + (95 - Ie) Ppl / (Ppl / BurstR + Bpl)           G.107 (7-29)
    Idd    = 25 ((1 + X^6)^(1/6) - 3 (1 + (X/3)^6)^(1/6) + 2),   G.107 (7-27)
             X = log2(Ta / 100), for Ta above 100 ms, else 0
    MOS    = 1 + 0.035 R + R (R - 60) (100 - R) 7e-6             G.107 Annex B

Assumed: all other inputs have G.107's default values, so that R0 - Is comes to 93.2 for narrowband
and 129 for wideband; there is no echo (Id = Idd) and no advantage factor (A = 0); losses are random
(BurstR = 1) and nobody hides them (the Bpl of G.711 without concealment, 4.3: ITU-T G.113 Appendix I;
taken for G.722, too, for which G.113 gives no value without concealment). Ie is 0 for G.711, and 13 on
the wideband scale for G.722 at 64 kbit/s (G.113 Appendix IV). A wideband R is divided by 1.29 before
it becomes a MOS; the two scales' figures must not be compared with each other.
"""

from __future__ import annotations

from math import log2
from typing import Literal

from attrs import frozen

Scale = Literal["narrowband", "wideband"]


@frozen
class Quality:
    """:ivar r: the rating factor, up to 93.2 (narrowband) or 116 (wideband, G.722).
    :ivar mos: conversational quality, 1 to 4.5: MOS-CQEN or MOS-CQEW (ITU-T P.800.1).
    """

    r: float
    mos: float
    scale: Scale


@frozen
class _Impairment:
    scale: Scale
    r0: float
    ie: float
    bpl: float


_CODECS = {
    "PCMU": _Impairment("narrowband", 93.2, 0.0, 4.3),
    "PCMA": _Impairment("narrowband", 93.2, 0.0, 4.3),
    "G722": _Impairment("wideband", 129.0, 13.0, 4.3),
}


def delay_impairment(one_way_ms: float) -> float:
    """Idd (G.107 7-27) of the delay from mouth to ear."""
    if one_way_ms <= 100:
        return 0.0
    x = log2(one_way_ms / 100)
    return float(25 * ((1 + x**6) ** (1 / 6) - 3 * (1 + (x / 3) ** 6) ** (1 / 6) + 2))


def mos_of(r: float) -> float:
    """MOS of a narrowband R (G.107 Annex B)."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    # The cubic dips below 1 for R under 6.5; the scale begins at 1.
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def quality(codec: str, loss: float, one_way_ms: float) -> Quality:
    """Estimate one direction's conversational quality.

    :param codec: PCMU, PCMA or G722.
    :param loss: fraction of packets lost or too late, 0 to 1.
    :param one_way_ms: from mouth to ear: half the round trip, a packet's length, and what the receiver buffers.
    :raise KeyError: a codec without known impairment.
    """
    known = _CODECS[codec]
    percent = 100 * min(1.0, max(0.0, loss))
    ie_effective = known.ie + (95 - known.ie) * percent / (percent + known.bpl)
    r = known.r0 - delay_impairment(one_way_ms) - ie_effective
    return Quality(r, mos_of(r / 1.29 if known.scale == "wideband" else r), known.scale)
