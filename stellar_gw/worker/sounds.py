"""WAV files for legs to hear: read in a thread, kept while there is room, shared by all calls."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from collections.abc import Callable

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from stellar_gw.errors import StellarError
from stellar_gw.media.resample import Resampler
from stellar_gw.media.source import Recording
from stellar_gw.media.wav import Wav, WavError, read_wav
from stellar_gw.worker.leg_audio import Sound

MAX_FILE = 16 << 20
"""Octets; 17 minutes of PCM at 8 kHz."""
MAX_KEPT = 8
"""Files that are kept, the least recently wanted is forgotten first."""
_log = Logger()
InThread = Callable[[Callable[[], Wav]], "Deferred[Wav]"]


class SoundError(StellarError):
    """A file that cannot be played; says what it is and what it must be."""


@define(eq=False)
class SoundFile:
    """One file.

    :ivar wav: None until it is read, and if it cannot be.
    """

    path: str
    wav: Wav | None = field(default=None, init=False)
    failed: str = field(default="", init=False)


class FileSource:
    """A leg's own place in a file, which begins once the file is read; a :class:`media.source.Source`.

    :param repeat: over and over.
    """

    def __init__(self, file: SoundFile, repeat: bool = True) -> None:
        self._file = file
        self._repeat = repeat
        self._recording: Recording | None = None
        self._find()

    @property
    def rate(self) -> int:
        return 8000 if self._recording is None else self._recording.rate

    @property
    def ended(self) -> bool:
        """There is nothing yet, or nothing at all."""
        return not self._find()

    def _find(self) -> bool:
        if self._recording is None and self._file.wav is not None:
            self._recording = Recording(self._file.wav.pcm, self._file.wav.rate, self._repeat)
        return self._recording is not None and not self._recording.ended

    def take(self, samples: int) -> bytes:
        return bytes(2 * samples) if self._recording is None else self._recording.take(samples)


class Prompt(Sound):
    """A file, once.

    :param told: called when it is over, with the reason why it was not heard, or an empty one.
    """

    def __init__(self, file: SoundFile, told: Callable[[str], None]) -> None:
        super().__init__(FileSource(file, repeat=False))
        self._file = file
        self._told: Callable[[str], None] | None = told

    def _pcm(self, ms: int) -> bytes | None:
        pcm = super()._pcm(ms)
        if pcm is None and self._told is not None and (self._file.wav is not None or self._file.failed):
            told, self._told = self._told, None
            told(self._file.failed)
        return pcm


class Sounds:
    """
    :param in_thread: calls a function in another thread, and fires with its result.
    """

    def __init__(self, in_thread: InThread) -> None:
        self._in_thread = in_thread
        self._files: OrderedDict[tuple[str, int, int], SoundFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._files)

    def open(self, path: str) -> SoundFile:
        """A file, read already or soon; a changed file is read anew.

        :raise SoundError: if there is no such file, or it is too long.
        """
        try:
            found = os.stat(path)
        except (OSError, ValueError) as reason:
            raise SoundError(f"the sound file {path} cannot be read: {_words(reason)}") from None
        if not stat.S_ISREG(found.st_mode):
            raise SoundError(f"the sound file {path} is no file")
        if found.st_size > MAX_FILE:
            raise SoundError(f"the sound file {path} has {found.st_size} octets: at most {MAX_FILE} can be played")
        key = (path, found.st_mtime_ns, found.st_size)
        known = self._files.get(key)
        if known is not None:
            self._files.move_to_end(key)
            return known
        file = self._files[key] = SoundFile(path)
        if len(self._files) > MAX_KEPT:
            self._files.popitem(last=False)
        self._in_thread(lambda: _read(path)).addCallbacks(
            lambda wav: setattr(file, "wav", wav), lambda reason: self._failed(key, file, reason)
        )
        return file

    def _failed(self, key: tuple[str, int, int], file: SoundFile, reason: Failure) -> None:
        file.failed = _words(reason.value or SoundError("an unknown reason"))
        _log.error(
            "the sound file {path} cannot be played, silence takes its place: {reason}",
            path=file.path,
            reason=file.failed,
        )
        if self._files.get(key) is file:
            del self._files[key]  # whoever wants it next tries again


def _words(reason: BaseException) -> str:
    return (reason.strerror or str(reason)) if isinstance(reason, OSError) else str(reason)


def _read(path: str) -> Wav:
    """In a thread: slow disks must not delay anybody's audio.

    :raise WavError, OSError: the file is not what it should be.
    """
    with open(path, "rb") as file:
        wav = read_wav(file.read(MAX_FILE + 1))
    if not wav.pcm:
        raise WavError("the WAV file has no audio")
    try:
        for rate in (8000, 16000):
            Resampler(wav.rate, rate)
    except ValueError as reason:
        raise WavError(f"{reason}; convert the file to 8000 or 16000 Hz") from None
    return wav
