"""Sound for calls: noise that is recognised when it comes back, and keys found in what was heard."""

from __future__ import annotations

import random
from array import array

from stellar_gw.media.analysis import find, level_dbfs, tone_ms
from stellar_gw.media.source import dtmf_frequencies
from stellar_gw.phone.rtp import RATE

__all__ = ["ENOUGH", "RATE", "keys_in", "noise", "recognised"]

ENOUGH = 0.25
"""Of :func:`recognised`: nothing of what was not said is ever found, and an idle machine finds 0.8 and more."""


def noise(seconds: float) -> bytes:
    """PCM at :data:`RATE` that every codec carries and that is like itself at one delay only: smoothed noise."""
    source, level, samples = random.Random(5), 0.0, array("h")
    for _ in range(int(RATE * seconds)):
        level += 0.35 * (source.gauss(0, 9000) - level)
        samples.append(max(-32768, min(32767, round(level))))
    return samples.tobytes()


def recognised(said: bytes, heard: bytes) -> float:
    """How much of what was said is in what was heard: the share of its audible pieces of 300 ms.

    A machine that is held up leaves gaps, so one long piece would tell little. The last of what was said may have
    had no time to arrive.
    """
    piece = 2 * RATE * 300 // 1000
    pieces = [said[place : place + piece] for place in range(0, len(said) - 2 * piece, piece)]
    pieces = [each for each in pieces if level_dbfs(each) > -45]
    return sum(find(each, heard, RATE).correlation > 0.75 for each in pieces) / max(1, len(pieces))


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
