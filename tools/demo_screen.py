"""What the demonstration looks like: a ladder between phone and gateway, level meters, and a table.

Plain text where there is no terminal or NO_COLOR is set, ASCII where the terminal's encoding has no box drawings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TextIO

from attrs import define, field

from stellar_gw.media.analysis import level_dbfs
from stellar_gw.phone.ladder import Rung
from stellar_gw.terminal import Palette

SHAFT: Final = 50
"""Columns between the two life lines."""
_METER: Final = 16
_MARGIN: Final = 12
_BOXES = {"|": "│", "-": "─", ">": "▶", "<": "◀", "#": "█", ".": "░", "ok": "✓", "bad": "✗", "...": "…", "=": "━"}
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@define
class Screen:
    """One stream, written line by line; below them a line that is rewritten, on a terminal."""

    stream: TextIO
    palette: Palette = field(init=False)
    _rewrites: bool = field(init=False)
    _boxes: bool = field(init=False)
    _status: str = field(default="", init=False)

    def __attrs_post_init__(self) -> None:
        self.palette = Palette.of(self.stream)
        self._rewrites = self.palette.coloured
        try:
            "".join(_BOXES.values()).encode(self.stream.encoding or "ascii")
            self._boxes = True
        except (UnicodeEncodeError, LookupError):
            self._boxes = False

    @property
    def live(self) -> bool:
        """Whether levels can be shown many times a second: they are rewritten in place."""
        return self._rewrites

    def sign(self, name: str) -> str:
        """A drawing, or the ASCII that stands for it."""
        return _BOXES[name] if self._boxes else {"ok": "ok", "bad": "BAD", "=": "="}.get(name, name)

    # --- lines ----------------------------------------------------------------------------------

    def line(self, text: str = "") -> None:
        """A line that stays."""
        if not self._boxes:
            text = text.encode("ascii", "replace").decode()
        if self._status:
            self.stream.write("\r\x1b[K")
        self.stream.write(f"{text}\n{self._status}")
        self.stream.flush()

    def status(self, text: str) -> None:
        """Below all lines until the next one; an ordinary line where nothing can be rewritten. Empty: none."""
        if not self._rewrites:
            if text:
                self.line(text)
            return
        if text or self._status:
            self.stream.write(f"\r\x1b[K{text}")
            self.stream.flush()
        self._status = text

    def title(self, text: str) -> None:
        self.line()
        self.line(self.palette.bold(text))

    # --- the ladder: life lines after the margin, SHAFT columns apart ------------------------------

    def heads(self, remote: str) -> None:
        """Who stands at the two life lines."""
        self.line(self.palette.dim(f"{'':{_MARGIN - 2}}phone{'':{SHAFT - 5}}gateway {remote}"))

    def rung(self, rung: Rung) -> None:
        """One SIP message."""
        label, paint = self._label(rung.start_line)
        room = SHAFT - 8
        if len(label) > room:
            label = label[: room - len(self.sign("..."))] + self.sign("...")
        dash, edge = self.sign("-"), self.palette.dim(self.sign("|"))
        if rung.sent:
            arrow = f"{dash * 2} {label} ".ljust(SHAFT - 1, dash) + self.sign(">")
        else:
            arrow = self.sign("<") + f" {label} {dash * 2}".rjust(SHAFT - 1, dash)
        size = self.palette.dim(f"{rung.octets:5} octets")
        self.line(f"{rung.at_ms / 1000:7.3f} s   {edge}{paint(arrow)}{edge}{size}")

    def _label(self, start_line: str) -> tuple[str, Callable[[str], str]]:
        """What a message says in a few words, and its colour: by class of the status, or a request's."""
        if not start_line.startswith("SIP/2.0 "):
            return start_line.removesuffix(" SIP/2.0").partition(";")[0], self.palette.cyan  # parameters: no room
        label = start_line.removeprefix("SIP/2.0 ").partition(" [")[0]
        colours = {"1": self.palette.yellow, "2": self.palette.green, "3": self.palette.yellow}
        return label, colours.get(label[:1], self.palette.red)

    def levels(self, seconds: float, sent: bytes, heard: bytes) -> None:
        """Meters of the last half second of audio each way."""
        text = f"sent {self._meter(sent)}  heard {self._meter(heard)}"
        edge = self.palette.dim(self.sign("|"))
        self.status(f"{seconds:7.1f} s   {edge} {text}")

    def _meter(self, pcm: bytes) -> str:
        """From -60 to 0 dBFS."""
        level = level_dbfs(pcm)
        full = max(0, min(_METER, round((level + 60) / 60 * _METER)))
        bar = self.palette.green(self.sign("#") * full) + self.palette.dim(self.sign(".") * (_METER - full))
        return f"{bar} {level:4.0f} dB"

    def beyond(self, text: str) -> None:
        """What somebody behind the gateway says."""
        self.line(f"{'':{_MARGIN}}{self.palette.dim(self.sign('|'))} {self.palette.yellow(text)}")

    # --- the table ------------------------------------------------------------------------------

    def table(self, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        """A column for each head, the rows' names before them; a row without any value is left out."""
        rows = [row for row in rows if any(row[1])]
        first = max(width(name) for name, _ in rows)
        columns = list(zip(heads, *(values for _, values in rows), strict=True))
        widths = [max(map(width, column)) for column in columns]

        def laid(cells: Sequence[str]) -> str:
            return "  ".join(cell + " " * (room - width(cell)) for cell, room in zip(cells, widths, strict=True))

        self.line(self.palette.bold(f"  {'':{first}}  {laid(heads)}".rstrip()))
        self.line(self.palette.dim("  " + self.sign("=") * (first + sum(widths) + 2 * len(widths))))
        for name, values in rows:
            self.line(f"  {self.palette.dim(f'{name:{first}}')}  {laid([value or '-' for value in values])}".rstrip())


def width(text: str) -> int:
    """Columns on the terminal."""
    return len(_ESCAPES.sub("", text))
