"""The audio codecs by the names of their rtpmaps: PCMU and PCMA (ITU-T G.711), G722 (ITU-T G.722, 64 kbit/s).

PCM is ``bytes``: signed 16 bits, little-endian, mono, at :attr:`Codec.rate` samples a second.
All three carry 8 octets a millisecond and have an RTP clock of 8000 Hz, so an RTP packet holds as
many timestamp units as payload octets, for G.722 with its 16000 samples a second too (RFC 3551 4.5.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from attrs import field, frozen

from stellar_gw.errors import LocalProtocolError
from stellar_gw.media.g722 import G722Decoder, G722Encoder
from stellar_gw.media.pcm import alaw_from_pcm, pcm_from_alaw, pcm_from_ulaw, ulaw_from_pcm

OCTETS_PER_MS = 8
CLOCK = 8000


class Decoder(Protocol):
    """One direction of one stream: payloads must come in order."""

    @property
    def rate(self) -> int:
        """PCM samples a second."""

    def decode(self, payload: bytes) -> bytes:
        """Payload of any length to PCM; any octets are valid."""

    def silence(self, ms: int) -> bytes:
        """PCM silence in place of a loss."""


class Encoder(Protocol):
    """One direction of one stream: frames must come in order."""

    @property
    def rate(self) -> int:
        """PCM samples a second."""

    def encode(self, pcm: bytes) -> bytes:
        """PCM to payload.

        :raise LocalProtocolError: ``pcm`` is not a whole number of samples, or of sample pairs for G.722.
        """

    def silence(self, ms: int) -> bytes:
        """The payload of silence that follows what was encoded before."""


@frozen
class _G711Decoder:
    rate: int
    decode: Callable[[bytes], bytes]

    def silence(self, ms: int) -> bytes:
        return bytes(2 * OCTETS_PER_MS * ms)


@frozen
class _G711Encoder:
    rate: int
    _encode: Callable[[bytes], bytes]
    _zero: bytes

    def encode(self, pcm: bytes) -> bytes:
        if len(pcm) % 2:
            raise LocalProtocolError(f"{len(pcm)} octets of PCM are not a whole number of 16-bit samples")
        return self._encode(pcm)

    def silence(self, ms: int) -> bytes:
        return self._zero * (OCTETS_PER_MS * ms)


@frozen
class Codec:
    """What is fixed about a codec.

    :ivar name: encoding name, upper case.
    :ivar payload_type: the static one (RFC 3551 6).
    :ivar rate: PCM samples a second.
    :ivar clock: RTP clock rate in Hz.
    :ivar remembers: what it makes of a frame depends on those before, so that a decoder must have heard what its
        encoder has coded: another's frames in between, or an encoder begun anew, are heard as a bang.
    """

    name: str
    payload_type: int
    rate: int
    decoder: Callable[[], Decoder] = field(repr=False, eq=False)
    encoder: Callable[[], Encoder] = field(repr=False, eq=False)
    clock: int = CLOCK
    remembers: bool = False

    def silence(self, ms: int) -> bytes:
        """The payload of ``ms`` of silence, as an encoder that has heard nothing yet writes it."""
        return self.encoder().silence(ms)

    def samples(self, ms: int) -> int:
        """RTP timestamp units of ``ms``."""
        return ms * self.clock // 1000

    def pcm_octets(self, ms: int) -> int:
        """Octets of PCM of ``ms``."""
        return 2 * self.rate * ms // 1000


def _g711(
    name: str, payload_type: int, decode: Callable[[bytes], bytes], encode: Callable[[bytes], bytes], zero: bytes
) -> Codec:
    """G.711 has no state: one decoder and one encoder serve all streams."""
    decoder, encoder = _G711Decoder(8000, decode), _G711Encoder(8000, encode, zero)
    return Codec(name, payload_type, 8000, lambda: decoder, lambda: encoder)


PCMU = _g711("PCMU", 0, pcm_from_ulaw, ulaw_from_pcm, b"\xff")
PCMA = _g711("PCMA", 8, pcm_from_alaw, alaw_from_pcm, b"\xd5")
G722 = Codec("G722", 9, 16000, G722Decoder, G722Encoder, remembers=True)

G711 = {"mulaw": PCMU, "alaw": PCMA}
"""By the names that dialects have for their companding."""

CODECS = {codec.name: codec for codec in (G722, PCMU, PCMA)}
"""By name, the best first."""


def codec_named(name: str) -> Codec | None:
    """The codec of an rtpmap's encoding name, in any case (RFC 3551 3); None where we have none."""
    return CODECS.get(name.upper())
