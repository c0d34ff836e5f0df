"""What is wrong with a file, gathered in any order and told in the file's order."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import define, field, frozen

from stellar_gw.errors import ConfigError, Where

MOST = 50
"""Problems told of one file; more would scroll the first ones away."""


def printable(text: str, limit: int = 60) -> str:
    """One line of plain characters, cut to size: what a file says may be anything."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:limit])
    return shown + "..." if len(text) > limit else shown


@frozen(eq=False)
class Place:
    """Where a value stands: its keys from the top, its line, and where its own keys stand."""

    path: str
    line: int
    keys: Mapping[str, Place] = field(factory=dict, repr=False)

    def key(self, name: str) -> Place:
        """A key's place; the mapping's own where the key is not written."""
        return self.keys.get(name) or Place(f"{self.path}.{name}" if self.path else name, self.line)


NOWHERE = Place("", 0)
"""The place of a record that no file holds."""


@define
class Problems:
    """The errors and warnings of one file.

    :ivar file: as the user named it.
    """

    file: str
    _errors: list[tuple[int, str]] = field(factory=list, init=False)
    _warnings: list[tuple[int, str]] = field(factory=list, init=False)

    def error(self, place: Place, text: str) -> None:
        self._errors.append((place.line, self._line(place, text)))

    def warn(self, place: Place, text: str) -> None:
        self._warnings.append((place.line, self._line(place, text)))

    def where(self, place: Place) -> Where:
        return Where(self.file, place.line)

    def _line(self, place: Place, text: str) -> str:
        return f"{self.file}:{place.line}: {place.path}: {text}" if place.path else f"{self.file}:{place.line}: {text}"

    @property
    def warnings(self) -> tuple[str, ...]:
        return _in_order(self._warnings)

    def stop_if_any(self) -> None:
        """:raise ConfigError: if there was an error."""
        if not self._errors:
            return
        lines = _in_order(self._errors)
        if len(lines) > MOST:
            lines = (*lines[:MOST], f"{self.file}: and {len(lines) - MOST} more")
        raise ConfigError(*lines)


def _in_order(noted: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for _, text in sorted(noted, key=lambda each: each[0])))
