"""Comfort noise: what a peer sends instead of audio while nobody speaks (RFC 3389), made audible."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

LOUDEST = 40
"""-dBov; louder noise than -40 dBov would be no comfort, and is made as loud as that."""
FAINTEST = 90
"""-dBov; below this there is nothing left in 16 bits."""
_SAMPLES = 1 << 14


class ComfortNoise:
    """One stream's noise: white, at the level of the peer's last packet. Until one has come it is silence.

    The spectrum that a packet may describe besides (RFC 3389 3.2) is not followed: who listens here is looking for
    the end of speech, not for comfort.
    """

    def __init__(self) -> None:
        self._table = b""
        self._place = 0

    def received(self, payload: bytes) -> None:
        """A packet: its first octet is the level in -dBov, 0 to 127 (RFC 3389 3.1); an empty one says nothing."""
        if payload:
            self._table = _table(max(payload[0] & 0x7F, LOUDEST))

    def take(self, samples: int) -> bytes:
        """16-bit PCM, at any rate."""
        octets = 2 * samples
        if not self._table:
            return bytes(octets)
        piece = self._table[self._place : self._place + octets]
        while len(piece) < octets:
            piece += self._table[: octets - len(piece)]
        self._place = (self._place + octets) % len(self._table)
        return piece


@lru_cache(maxsize=FAINTEST - LOUDEST)
def _table(level: int) -> bytes:
    """Two seconds of noise at 8 kHz, over again for ever; empty where it cannot be heard."""
    if level >= FAINTEST:
        return b""
    # 0 dBov is the power of a square wave of full scale.
    deviation = 32768 * 10 ** (-level / 20)
    noise = np.random.default_rng(3389).normal(0.0, deviation, _SAMPLES)
    return np.clip(np.rint(noise), -32768, 32767).astype("<i2").tobytes()
