"""G.722 at 64 kbit/s (ITU-T G.722 mode 1) by the package ``G722``: 16000 samples a second, 2 in each octet."""

from __future__ import annotations

from array import array

import G722

from stellar_gw.errors import LocalProtocolError


class G722Decoder:
    """One stream's decoder: payloads in order; the state adapts to the signal."""

    rate = 16000

    def __init__(self) -> None:
        self._state = G722.G722(16000, 64000)

    def decode(self, payload: bytes) -> bytes:
        pcm: bytes = self._state.decode(payload).tobytes()
        return pcm

    def silence(self, ms: int) -> bytes:
        return bytes(32 * ms)


class G722Encoder:
    """One stream's encoder: frames in order; the state adapts to the signal."""

    rate = 16000

    def __init__(self) -> None:
        self._state = G722.G722(16000, 64000)

    def encode(self, pcm: bytes) -> bytes:
        if len(pcm) % 4:
            raise LocalProtocolError(f"{len(pcm)} octets of PCM are not a whole number of sample pairs (G.722)")
        # An array, as fast as numpy's: the package takes each octet of plain bytes for a sample.
        payload: bytes = self._state.encode(array("h", pcm))
        return payload

    def silence(self, ms: int) -> bytes:
        return self.encode(bytes(32 * ms))
