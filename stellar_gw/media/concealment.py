"""What stands in for lost audio. Today that is silence; a better guess takes this class's place."""

from __future__ import annotations

from stellar_gw.media.codec import Decoder


class Concealment:
    """One decoder's concealment: it sees all audio that came, and is asked for what did not."""

    def __init__(self, decoder: Decoder, clock: int = 8000) -> None:
        """:param clock: RTP clock rate in Hz, in which gaps are measured."""
        self._decoder = decoder
        self._clock = clock

    def decode(self, payload: bytes) -> bytes:
        """PCM of a payload that came."""
        return self._decoder.decode(payload)

    def conceal(self, samples: int) -> bytes:
        """PCM in place of ``samples`` of the RTP clock."""
        return bytes(2 * (samples * self._decoder.rate // self._clock))
