"""Sound for calls: noise that is recognised when it comes back, and keys found in what was heard."""

from __future__ import annotations

import random
from array import array

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.source import dtmf_frequencies
from stellar_gw.phone.rtp import RATE

__all__ = ["RATE", "keys_in", "noise"]


def noise(seconds: float) -> bytes:
    """PCM at :data:`RATE` that every codec carries and that is like itself at one delay only: smoothed noise."""
    source, level, samples = random.Random(5), 0.0, array("h")
    for _ in range(int(RATE * seconds)):
        level += 0.35 * (source.gauss(0, 9000) - level)
        samples.append(max(-32768, min(32767, round(level))))
    return samples.tobytes()


def keys_in(pcm: bytes) -> str:
    """The keys whose two tones are there together, in order, each for 40 ms or more."""
    block = 2 * RATE * 40 // 1000
    found, last = "", ""
    for place in range(0, len(pcm) - block + 1, block // 2):
        piece = pcm[place : place + block]
        key = next((key for key in "0123456789*#" if all(_there(piece, hertz) for hertz in dtmf_frequencies(key))), "")
        found += key if key != last else ""
        last = key
    return found


def _there(pcm: bytes, hertz: int) -> bool:
    return tone_ms(pcm, RATE, hertz, share=0.3) > 0
