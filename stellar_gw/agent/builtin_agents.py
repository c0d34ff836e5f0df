"""The built-in agents: what a caller hears without any agent of their own, to try a trunk or a phone.

=============== ==================================================================================
``echo``        the caller's audio back
``tone``        440 Hz until the caller hangs up
``greeting``    a greeting, then what option ``then`` says: ``echo`` (the default) or ``hangup``;
                option ``file`` names a WAV file to play instead of the one shipped
``readback``    each digit pressed comes back as its own tones; ``#`` ends the call
``transfer``    440 Hz, and after a second the caller is sent on to the tenant's transfer that option
                ``to`` names, by option ``method`` (``auto``, ``refer`` or ``invite``)
=============== ==================================================================================

No clock: an agent that plays keeps two seconds ahead by marks, so the caller's own pace is its pace.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from itertools import repeat
from typing import Final, Protocol

from stellar_gw.dialects.builtin import BUILTIN_AGENTS, RATE, Digit, DoHangup, DoMark, DoTransfer, MarkReached, ToAgent
from stellar_gw.dialects.contract import Frame
from stellar_gw.dialects.wire import encode
from stellar_gw.errors import StellarError
from stellar_gw.media.source import Tone, dtmf_tones, tone
from stellar_gw.media.wav import WavError, read_wav

MAX_GREETING: Final = 120
"""Seconds: the worker reads and converts a greeting in one go while its other calls wait."""

_MAX_FILE: Final = 32 << 20
_PIECE: Final = "piece"


class InvalidOptionError(StellarError):
    """No such built-in agent, or an option that it cannot use; says which there are."""


class BuiltinAgent(Protocol):
    """An agent on the far side of :class:`stellar_gw.dialects.builtin.BuiltinDialect`; returns what it says."""

    def begin(self) -> list[Frame]:
        """The link is up."""

    def hear(self, pcm: bytes) -> list[Frame]:
        """The caller's audio, 16 kHz."""

    def learn(self, message: ToAgent) -> list[Frame]:
        """Anything else."""


def make_agent(name: str, options: Mapping[str, str]) -> BuiltinAgent:
    """A built-in agent by name.

    :raise InvalidOptionError: for an unknown name or option, or a file that cannot be played.
    """
    known = BUILTIN_AGENTS.get(name)
    if known is None:
        raise InvalidOptionError(f"no built-in agent {name[:40]!r}; there are {', '.join(BUILTIN_AGENTS)}")
    for option in options:
        if option not in known:
            raise InvalidOptionError(f"builtin:{name} has no option {option[:40]!r}; {_known_options(known)}")
    if name == "echo":
        return Echo()
    if name == "tone":
        return Playing(repeat(Tone((440,), RATE).take(RATE)), None)
    if name == "readback":
        return Readback()
    if name == "transfer":
        if not options.get("to"):
            raise InvalidOptionError("builtin:transfer needs option to: the name of one of the tenant's transfers")
        return SendOn(options["to"], options.get("method", "auto"))
    then = options.get("then", "echo")
    if then not in ("echo", "hangup"):
        raise InvalidOptionError(f"builtin:greeting: then is {then[:40]!r}, must be echo or hangup")
    pcm = greeting(options.get("file", ""))
    pieces = (pcm[place : place + 2 * RATE] for place in range(0, len(pcm), 2 * RATE))
    return Playing(pieces, Echo() if then == "echo" else HangUp())


def greeting(path: str) -> bytes:
    """A WAV file's audio at :data:`RATE`; the shipped greeting where there is no path.

    :raise InvalidOptionError: if it cannot be read or played, or is longer than :data:`MAX_GREETING`.
    """
    try:
        if not path:
            return _shipped()
        status = os.stat(path)
        if status.st_size > _MAX_FILE:
            raise InvalidOptionError(f"builtin:greeting: {path} has more than {_MAX_FILE} octets")
        return _from_file(path, status.st_mtime_ns, status.st_size)
    except OSError as error:
        raise InvalidOptionError(f"builtin:greeting: {path} cannot be read: {error.strerror}") from None
    except WavError as error:
        raise InvalidOptionError(f"builtin:greeting: {path}: {error}") from None


@lru_cache(maxsize=1)
def _shipped() -> bytes:
    return read_wav(files("stellar_gw.agent").joinpath("greeting.wav").read_bytes()).at(RATE)


@lru_cache(maxsize=8)
def _from_file(path: str, modified: int, size: int) -> bytes:
    """Kept until the file changes: every call plays it."""
    with open(path, "rb") as file:
        wav = read_wav(file.read(_MAX_FILE))
    if wav.seconds > MAX_GREETING:
        raise InvalidOptionError(f"builtin:greeting: {path} lasts {wav.seconds:.0f} s, at most {MAX_GREETING} s")
    return wav.at(RATE)


def _known_options(known: tuple[str, ...]) -> str:
    return f"there are {', '.join(known)}" if known else "it has none"


class SendOn:
    """440 Hz, and once the caller was heard for a second it is sent on."""

    def __init__(self, to: str, method: str) -> None:
        self._wanted = DoTransfer(to, method)
        self._tone = Playing(repeat(Tone((440,), RATE).take(RATE)), None)
        self._heard = 0

    def begin(self) -> list[Frame]:
        return self._tone.begin()

    def hear(self, pcm: bytes) -> list[Frame]:
        before, self._heard = self._heard, self._heard + len(pcm)
        return [encode(self._wanted)] if before < 2 * RATE <= self._heard else []

    def learn(self, message: ToAgent) -> list[Frame]:
        return self._tone.learn(message)


class Echo:
    """The caller's audio back."""

    def begin(self) -> list[Frame]:
        return []

    def hear(self, pcm: bytes) -> list[Frame]:
        return [pcm]

    def learn(self, message: ToAgent) -> list[Frame]:
        return []


class HangUp:
    """The end of the call."""

    def begin(self) -> list[Frame]:
        return [encode(DoHangup())]

    def hear(self, pcm: bytes) -> list[Frame]:
        return []

    def learn(self, message: ToAgent) -> list[Frame]:
        return []


class Playing:
    """Audio in pieces of a second, then another agent.

    :param pieces: PCM; a second of whole Hz can be repeated without a seam.
    :param then: takes over when the last piece has been heard; None where there is no last.
    """

    def __init__(self, pieces: Iterator[bytes], then: BuiltinAgent | None) -> None:
        self._pieces = pieces
        self._then = then
        self._ahead = 0
        self._done = False

    def begin(self) -> list[Frame]:
        return [*self._piece(), *self._piece()] or self._go_on()

    def hear(self, pcm: bytes) -> list[Frame]:
        return self._then.hear(pcm) if self._done and self._then is not None else []

    def learn(self, message: ToAgent) -> list[Frame]:
        if self._done:
            return self._then.learn(message) if self._then is not None else []
        if not isinstance(message, MarkReached) or message.name != _PIECE:
            return []
        self._ahead -= 1
        return self._piece() or self._go_on()

    def _piece(self) -> list[Frame]:
        pcm = next(self._pieces, None)
        if pcm is None:
            return []
        self._ahead += 1
        return [pcm, encode(DoMark(_PIECE))]

    def _go_on(self) -> list[Frame]:
        if self._ahead or self._then is None:
            return []
        self._done = True
        return self._then.begin()


class Readback:
    """Digits come back as their own tones, a short beep says that it is ready; ``#`` ends the call."""

    def begin(self) -> list[Frame]:
        return [tone((1000,), RATE, 200)]

    def hear(self, pcm: bytes) -> list[Frame]:
        return []

    def learn(self, message: ToAgent) -> list[Frame]:
        if not isinstance(message, Digit):
            return []
        if message.digit == "#":
            return [encode(DoHangup())]
        try:
            return [dtmf_tones(message.digit, RATE)]
        except ValueError:  # a flash hook (RFC 4733 3.2, event 16) has no tones
            return []
