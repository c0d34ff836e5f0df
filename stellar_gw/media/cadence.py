"""Tones that repeat, as a telephone network plays them: parts of some frequencies, each for some time (ITU-T E.180).

Written as parts of ``Hz+Hz/milliseconds``, 0 Hz for a pause: ``440+480/2000,0/4000`` rings as in North America.
"""

from __future__ import annotations

from functools import lru_cache

from stellar_gw.errors import StellarError
from stellar_gw.media.source import tone

NAMED = {"ringback": "425/1000,0/4000", "busy": "425/500,0/500", "congestion": "425/250,0/250"}
"""As most of the world hears them (ITU-T E.180 Supplement 2)."""
MAX_PARTS = 16
MAX_FREQUENCIES = 4
MAX_MS = 20_000
"""Of all parts together."""
MIN_HERTZ, MAX_HERTZ = 50, 3800
LEVEL = -16.0
"""dB below a sine of full scale, all frequencies of a part together about -13 dBm0."""


class CadenceError(StellarError):
    """Text that is no cadence; says what a cadence is."""


@lru_cache(maxsize=32)
def cadence(text: str, rate: int) -> bytes:
    """PCM of one round; repeat it.

    :param text: a name in :data:`NAMED`, or parts.
    :param rate: samples a second.
    :raise CadenceError: if it is neither, or longer than 20 s.
    """
    parts = [_part(part) for part in NAMED.get(text, text).split(",", MAX_PARTS)]
    if len(parts) > MAX_PARTS or not 0 < sum(ms for _, ms in parts) <= MAX_MS:
        raise _error()
    return b"".join(
        tone(frequencies, rate, ms, LEVEL) if frequencies else bytes(2 * (rate * ms // 1000))
        for frequencies, ms in parts
    )


def _part(text: str) -> tuple[tuple[int, ...], int]:
    """Frequencies, none for a pause, and milliseconds."""
    tones, _, duration = text.strip().partition("/")
    frequencies = tuple(_number(each) for each in tones.split("+", MAX_FREQUENCIES))
    ms = _number(duration)
    if frequencies == (0,):
        return (), ms
    if len(frequencies) > MAX_FREQUENCIES or not all(MIN_HERTZ <= each <= MAX_HERTZ for each in frequencies):
        raise _error()
    return frequencies, ms


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        raise _error()
    return int(text)


def _error() -> CadenceError:
    return CadenceError(
        f"a tone is one of {', '.join(sorted(NAMED))}, or up to {MAX_PARTS} parts of Hz and milliseconds, "
        f"{MAX_MS // 1000} s together, such as 440+480/2000,0/4000"
    )
