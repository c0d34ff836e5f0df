"""WAV files: read whole from bytes, written piece by piece to a file handed in."""

from __future__ import annotations

import struct
from typing import BinaryIO

from attrs import field, frozen

from stellar_gw.errors import StellarError
from stellar_gw.media.pcm import mono_from_stereo, pcm_from_alaw, pcm_from_ulaw, pcm_from_unsigned_8
from stellar_gw.media.resample import Resampler

MAX_FILE = 64 << 20
"""Octets of a file to read."""
MAX_RECORDING = (1 << 32) - 64
"""Octets of audio that the format's 32-bit lengths can count."""

_PCM, _ALAW, _ULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_UNKNOWN_LENGTH = 0xFFFFFFFF
_FORMAT = struct.Struct("<HHIIHH")
_CHUNK = struct.Struct("<4sI")


class WavError(StellarError):
    """A file that is no WAV file which the gateway can play; says what it is and what it must be."""


@frozen
class Wav:
    """:ivar pcm: 16 bits, mono, at ``rate``."""

    rate: int
    pcm: bytes = field(repr=lambda pcm: f"<{len(pcm)} octets>")

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate

    def at(self, rate: int) -> bytes:
        """The PCM at another rate, from the first sample to the last."""
        if rate == self.rate:
            return self.pcm
        try:
            resampler = Resampler(self.rate, rate)
        except ValueError as error:
            raise WavError(f"{error}; convert the file to {rate} Hz") from None
        pcm = resampler.resample(self.pcm) + resampler.flush()
        start = 2 * round(resampler.delay * rate)
        return pcm[start : start + len(self.pcm) // 2 * rate // self.rate * 2]


def read_wav(data: bytes) -> Wav:
    """A file's contents: PCM of 8 or 16 bits, or G.711; one or two channels, which are mixed.

    A length of the data chunk that exceeds the file (a recording that was cut off) ends with the file.

    :raise WavError: anything else, or more than 64 MiB.
    """
    if len(data) > MAX_FILE:
        raise WavError(f"the file has {len(data)} octets, at most {MAX_FILE} can be played")
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("not a WAV file: it must begin with RIFF and WAVE")
    place = 12
    form: tuple[int, int, int, int] | None = None
    while place + 8 <= len(data):
        name, length = _CHUNK.unpack_from(data, place)
        body = data[place + 8 : place + 8 + length]
        if name == b"fmt ":
            form = _read_format(body)
        elif name == b"data":
            if form is None:
                raise WavError("the WAV file's audio comes before its format")
            return _decode(body, *form)
        place += 8 + length + length % 2
    raise WavError("the WAV file has no audio: there is no data chunk")


def _read_format(body: bytes) -> tuple[int, int, int, int]:
    """Format, channels, rate, bits."""
    if len(body) < 16:
        raise WavError("the WAV file's format chunk is cut off")
    form, channels, rate, _, _, bits = _FORMAT.unpack_from(body)
    if form == _EXTENSIBLE and len(body) >= 26:
        form = int.from_bytes(body[24:26], "little")
    if (form, bits) not in ((_PCM, 8), (_PCM, 16), (_ALAW, 8), (_ULAW, 8)):
        raise WavError(f"the WAV file has format {form} with {bits} bits; it must be PCM of 8 or 16 bits, or G.711")
    if channels not in (1, 2):
        raise WavError(f"the WAV file has {channels} channels; it must have 1 or 2")
    if not 1000 <= rate <= 384000:
        raise WavError(f"the WAV file has {rate} samples a second; it must have 1000 to 384000")
    return form, channels, rate, bits


def _decode(body: bytes, form: int, channels: int, rate: int, bits: int) -> Wav:
    body = body[: len(body) - len(body) % (channels * bits // 8)]
    if form == _ULAW:
        body = pcm_from_ulaw(body)
    elif form == _ALAW:
        body = pcm_from_alaw(body)
    elif bits == 8:
        body = pcm_from_unsigned_8(body)
    if channels == 2:
        body = mono_from_stereo(body)
    return Wav(rate, body)


class WavWriter:
    """A WAV file that grows; the lengths in its header are put right when it is closed.

    A file that was never closed says that its length is unknown, which players take for "to the end".

    :ivar octets: of audio written.
    """

    def __init__(self, file: BinaryIO, rate: int, channels: int = 1, limit: int = MAX_RECORDING) -> None:
        """:param file: opened for writing, at its beginning; it is not closed here.
        :param limit: octets of audio; what exceeds it is dropped.
        """
        self._file = file
        self._limit = min(limit, MAX_RECORDING)
        self.octets = 0
        form = _FORMAT.pack(_PCM, channels, rate, 2 * channels * rate, 2 * channels, 16)
        self._form = _CHUNK.pack(b"fmt ", len(form)) + form
        file.write(self._header(_UNKNOWN_LENGTH))

    def _header(self, octets: int) -> bytes:
        size = min(4 + len(self._form) + 8 + octets, _UNKNOWN_LENGTH)
        return _CHUNK.pack(b"RIFF", size) + b"WAVE" + self._form + _CHUNK.pack(b"data", octets)

    @property
    def full(self) -> bool:
        """The limit is reached."""
        return self.octets >= self._limit

    def write(self, pcm: bytes) -> None:
        """Add 16-bit PCM; of two channels: left and right in turn."""
        room = self._limit - self.octets
        if len(pcm) > room:
            pcm = pcm[: room - room % 2]
        self._file.write(pcm)
        self.octets += len(pcm)

    def close(self) -> None:
        """Put the lengths right, if the file can seek."""
        if self._file.seekable():
            self._file.seek(0)
            self._file.write(self._header(self.octets))
            self._file.seek(0, 2)
        self._file.flush()
