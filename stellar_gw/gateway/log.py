"""The gateway's log: one line for each event, for people or for machines, and nothing in it that must not be.

Text, on a terminal in colours::

    2026-11-23 14:31:28.123 info  call c-7K3F2Q answered, G722

In systemd's journal the time is left out, and the level goes before the line (sd-daemon(3)). JSON::

    {"time":"2026-11-23T14:31:28.123Z","level":"info","logger":"stellar_gw.gateway.report","message":"...",...}

with ``call_id`` and every other field of the event that is plain data. A traceback follows a text line indented,
and is a field of a JSON line. What callers send cannot break a line, colour it, or look like another.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO, cast

from twisted.logger import ILogObserver, LogEvent, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from stellar_gw.call.events import AuthenticationFailed

Format = Literal["text", "json"]

LONGEST_MESSAGE = 4096
LONGEST_FIELD = 1024
LONGEST_QUOTED = 128
"""Characters; more is cut, and says so."""
LONGEST_TRACEBACK = 60
"""Lines, the last ones."""
SHORTEST_SECRET = 4
"""A shorter secret would tear words apart that have nothing to do with it."""

_LEVELS = ("debug", "info", "warn", "error", "critical")
_COLOURS = {"debug": "2", "warn": "33", "error": "31", "critical": "1;31"}
_PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
_OURS = "stellar_gw"


# --- what must not be shown ---------------------------------------------------------------------

# C0, C1, line and paragraph separators, direction overrides, surrogates of broken UTF-8.
_unsafe = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_number = re.compile(r"(?:(?<![\w.+-])\+?|(?<=%2[Bb]))(\d{3,28})(\d{4})(?![\w])(?!\.\d)")
_credentials = re.compile(r"(?i)\b((?:proxy-)?authorization)\s*[:=]\s*[^\r\n]+")
_digest_response = re.compile(r"(?i)\b(response|cnonce)=\"?[0-9a-z+/=]{8,}\"?")
_sdes_key = re.compile(r"(?i)\binline:[a-z0-9+/=|:^]+")
_x_header = re.compile(r"(?i)(?<![\w-])(x-[\w-]{1,64})\s*:\s*[^\r\n]+")


def printable(text: str) -> str:
    """Text on one line that does to a terminal nothing but show: everything else as ``\\x1b``, ``\\u2028``."""
    return _unsafe.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


class Redaction:
    """Takes out of a text what nobody may read in a log.

    Always: the secrets of the configuration, credentials, SRTP keys, values of ``X-`` headers. Telephone
    numbers keep their last four digits unless ``whole_numbers`` (a trace that somebody asked for).
    """

    def __init__(self, secrets: Iterable[str] = (), *, whole_numbers: bool = False) -> None:
        self._whole_numbers = whole_numbers
        self.replace(secrets)

    def replace(self, secrets: Iterable[str]) -> None:
        """Take the secrets of another configuration, after a reload."""
        # By how they begin: a thousand passwords must not make a line a thousand times as dear.
        self._secrets: dict[str, list[str]] = {}
        for secret in {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}:
            self._secrets.setdefault(secret[:SHORTEST_SECRET], []).append(secret)

    def _without_secrets(self, text: str) -> str:
        pieces = {text[place : place + SHORTEST_SECRET] for place in range(len(text) - SHORTEST_SECRET + 1)}
        there = [s for piece in pieces & self._secrets.keys() for s in self._secrets[piece] if s in text]
        # The longest first, so that one that contains another goes whole.
        for secret in sorted(there, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    def __call__(self, text: str) -> str:
        if self._secrets:
            text = self._without_secrets(text)
        text = _credentials.sub(r"\1: ***", text)
        text = _digest_response.sub(r"\1=***", text)
        text = _sdes_key.sub("inline:***", text)
        text = _x_header.sub(r"\1: ***", text)
        return text if self._whole_numbers else _number.sub(r"***\2", text)


# --- lines --------------------------------------------------------------------------------------


@implementer(ILogObserver)
class LogWriter:
    """Writes events as lines.

    :param write: takes one line with its end, at once; an error of it is swallowed, for a log that cannot be
        written must not end a call.
    :param journal: lines go to systemd's journal, which has the time and wants the level as a prefix.
    :param level: the least important that is written; Twisted's own chatter needs ``warn``, or ``debug`` here.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        form: Format,
        *,
        journal: bool = False,
        level: str = "info",
        redaction: Redaction | None = None,
        colours: bool = False,
    ) -> None:
        self._write, self._form, self._journal, self._colours = write, form, journal, colours
        self._least = _LEVELS.index(level)
        self.redaction = redaction or Redaction(whole_numbers=level == "debug")

    def __call__(self, event: LogEvent) -> None:
        level = _level(event)
        importance = _LEVELS.index(level)
        ours = str(event.get("log_namespace", "")).startswith(_OURS)
        if importance < self._least or (not ours and self._least and importance < _LEVELS.index("warn")):
            return
        lines = [self._json(event, level)] if self._form == "json" else self._text(event, level)
        prefix = f"<{_PRIORITIES[level]}>" if self._journal else ""
        try:
            self._write("".join(f"{prefix}{line}\n" for line in lines))
        except (OSError, ValueError):
            return

    def _message(self, event: LogEvent) -> str:
        try:
            message = formatEvent(event) or ""
        except Exception as error:
            message = f"an event that cannot be formatted ({type(error).__name__})"
        if not message and isinstance(event.get("log_failure"), Failure):
            message = cast(Failure, event["log_failure"]).getErrorMessage()
        return self._safe(message, LONGEST_MESSAGE)

    def _safe(self, text: str, longest: int) -> str:
        """Redacted before it is cut: half a secret is one still."""
        return _cut(printable(self.redaction(text.rstrip("\n"))), longest)

    def _text(self, event: LogEvent, level: str) -> list[str]:
        head = ""
        if not self._journal:
            head = f"{_time(event).strftime('%Y-%m-%d %H:%M:%S.%f')[:-3]} {level:5} "
        lines = [head + self._message(event), *(f"    | {line}" for line in self._trace(event))]
        if self._colours and level in _COLOURS:
            lines = [f"\x1b[{_COLOURS[level]}m{line}\x1b[0m" for line in lines]
        return lines

    def _json(self, event: LogEvent, level: str) -> str:
        stamp = _time(event).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        line: dict[str, object] = {
            "time": stamp,
            "level": level,
            "logger": str(event.get("log_namespace", "")),
            "message": self._message(event),
        }
        if "call_id" in event:
            line["call_id"] = self._plain(event["call_id"])
        for key, value in event.items():
            if key not in line and not key.startswith("log_") and key not in _NOT_FIELDS:
                line[key] = self._plain(value)
        trace = self._trace(event)
        if trace:
            line["traceback"] = trace
        return json.dumps(line, ensure_ascii=False, separators=(",", ":"))

    def _plain(self, value: object) -> object:
        if value is None or isinstance(value, bool | int | float):
            return value
        try:
            return self._safe(str(value), LONGEST_FIELD)
        except Exception as error:
            return f"not printable ({type(error).__name__})"

    def _trace(self, event: LogEvent) -> list[str]:
        failure = event.get("log_failure")
        if not isinstance(failure, Failure):
            return []
        lines = failure.getTraceback().splitlines()
        if len(lines) > LONGEST_TRACEBACK:
            lines = ["...", *lines[-LONGEST_TRACEBACK:]]
        return [self._safe(line, LONGEST_FIELD) for line in lines]


_NOT_FIELDS = frozenset(("isError", "message", "time", "system", "format", "failure", "why", "level", "logger"))
"""What Twisted adds for its older observers, and what would hide a field of ours."""


def _level(event: LogEvent) -> str:
    name = getattr(event.get("log_level"), "name", "")
    return name if name in _LEVELS else "info"


def _time(event: LogEvent) -> datetime:
    try:
        return datetime.fromtimestamp(float(event.get("log_time", 0.0))).astimezone()
    except (OverflowError, OSError, ValueError, TypeError):
        return datetime.fromtimestamp(0.0).astimezone()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text) - longest} more)"


def log_writer(
    stream: TextIO,
    environ: Mapping[str, str],
    *,
    level: str = "info",
    form: Literal["auto", "text", "json"] = "auto",
    secrets: Iterable[str] = (),
) -> LogWriter:
    """The log as ``log:`` of the configuration asks for it.

    :param stream: where it goes: standard error.
    :param environ: ``JOURNAL_STREAM``: systemd's journal reads; ``NO_COLOR``, ``TERM``: what a terminal can show.
    """
    terminal = stream.isatty()
    colours = terminal and not environ.get("NO_COLOR") and environ.get("TERM", "") != "dumb"
    if form == "auto":
        form = "text" if terminal else "json"

    def write(line: str) -> None:
        # What a stream's encoding does not have must not end the log.
        encoding = stream.encoding or "utf-8"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()

    redaction = Redaction(secrets, whole_numbers=level == "debug")
    journal = _is_journal(stream, environ)
    return LogWriter(write, form, journal=journal, level=level, redaction=redaction, colours=colours)


def _is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """As systemd.exec(5) says to find out: the variable is inherited, the stream may lead elsewhere by now."""
    try:
        stat = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


# --- for fail2ban -------------------------------------------------------------------------------


def security_line(event: AuthenticationFailed) -> str:
    """The line that conf/fail2ban reads: the address is the socket's, and what a peer sent is quoted and last."""
    return (
        f"stellar-gw security: event=auth_failed ip={event.source} port={event.port} transport={event.transport} "
        f"reason={_token(event.reason)} callid={quoted(event.sip_call_id)} user={quoted(event.username)}"
    )


def quoted(text: str) -> str:
    """In double quotes, which nothing inside can end, printable ASCII only."""
    safe = "".join(_inside(character) for character in text[:LONGEST_QUOTED])
    return f'"{safe}"'


def _inside(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    if 0x20 <= code < 0x7F:
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _token(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text)[:40] or "unknown"
