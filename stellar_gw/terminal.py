"""Colours where a terminal has them, plain text elsewhere (https://no-color.org)."""

from __future__ import annotations

import os
from typing import TextIO

from attrs import frozen


@frozen
class Palette:
    """Wraps text in escape sequences, or does not."""

    coloured: bool

    @classmethod
    def of(cls, stream: TextIO) -> Palette:
        """What a stream can show."""
        return cls(stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb")

    def bold(self, text: str) -> str:
        return self._in("1", text)

    def dim(self, text: str) -> str:
        return self._in("2", text)

    def red(self, text: str) -> str:
        return self._in("31", text)

    def green(self, text: str) -> str:
        return self._in("32", text)

    def yellow(self, text: str) -> str:
        return self._in("33", text)

    def cyan(self, text: str) -> str:
        return self._in("36", text)

    def _in(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.coloured else text
