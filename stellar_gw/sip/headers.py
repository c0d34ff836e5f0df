"""A message's headers: an ordered multimap that no value can break out of (RFC 3261 7.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar, cast

from stellar_gw.errors import LocalProtocolError
from stellar_gw.sip.grammar import fit_for_a_line, is_token
from stellar_gw.sip.header_names import KNOWN, canonical_name

T = TypeVar("T")
_NOT_YET = object()
_NONE: list[str] = []  # never changed, never handed out


class Headers:
    """Headers in their order. Names are case-insensitive, compact forms are the long ones.

    Values are unfolded and stripped. What is parsed from them is remembered until they change.
    """

    __slots__ = ("_index", "_items", "_parsed")
    _items: list[tuple[str, str]]
    _index: dict[str, list[str]] | None
    _parsed: dict[str, object]

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        """
        :raise LocalProtocolError: CR, LF or NUL in a value, or a name that is no token; of every changing
            method too.
        """
        self._items = [(_sound_name(name)[0], _sound_value(name, value)) for name, value in items]
        self._index = None
        self._parsed = {}

    @classmethod
    def sound(cls, items: list[tuple[str, str]], index: dict[str, list[str]] | None = None) -> Headers:
        """Headers of items that are known to be canonical and sound, such as another message's; not copied.

        :param index: their values by lower-case long name, if it is there already.
        """
        headers = cls.__new__(cls)
        headers._items, headers._index, headers._parsed = items, index, {}
        return headers

    def first(self, name: str) -> str | None:
        values = self._values(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """The values of all lines of that name, in order; lists are not cut at their commas."""
        return list(self._values(name))

    def add(self, name: str, value: str) -> None:
        """Append a line."""
        name, key = _sound_name(name)
        self._items.append((name, _sound_value(name, value)))
        self._changed(key)

    def prepend(self, name: str, value: str) -> None:
        """Put a line before all others."""
        name, key = _sound_name(name)
        self._items.insert(0, (name, _sound_value(name, value)))
        self._changed(key)

    def replace(self, name: str, *values: str) -> None:
        """Put these lines where the first of that name stood (at the end if there was none), and remove the others."""
        name, key = _sound_name(name)
        lines = [(name, _sound_value(name, value)) for value in values]
        kept: list[tuple[str, str]] = []
        at = None
        for item in self._items:
            if canonical_name(item[0])[1] != key:
                kept.append(item)
            elif at is None:
                at = len(kept)
        if at is None:
            at = len(kept)
        kept[at:at] = lines
        self._items = kept
        self._changed(key)

    def remove(self, name: str) -> None:
        """Remove every line of that name; none is fine."""
        key = canonical_name(name)[1]
        self._items = [item for item in self._items if canonical_name(item[0])[1] != key]
        self._changed(key)

    def copy(self) -> Headers:
        headers = self.sound(self._items.copy())
        headers._parsed = self._parsed.copy()
        return headers

    def parsed(self, key: str, parse: Callable[[list[str]], T]) -> T:
        """What ``parse`` makes of the values of one name, remembered until one of them changes.

        :param key: the long name in lower case; always with the same ``parse``.
        """
        result = self._parsed.get(key, _NOT_YET)
        if result is _NOT_YET:
            self._parsed[key] = result = parse((self._index or self._indexed()).get(key, _NONE))
        return cast(T, result)

    def _values(self, name: str) -> list[str]:
        known = KNOWN.get(name)
        key = known[1] if known is not None else canonical_name(name)[1]
        return (self._index or self._indexed()).get(key, _NONE)

    def _indexed(self) -> dict[str, list[str]]:
        index: dict[str, list[str]] = {}
        for name, value in self._items:
            index.setdefault(canonical_name(name)[1], []).append(value)
        self._index = index
        return index

    def _changed(self, key: str) -> None:
        self._index = None
        self._parsed.pop(key, None)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._values(name))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == other._items if isinstance(other, Headers) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable; the way the language asks for it

    def __repr__(self) -> str:
        """Names only: values may be secrets."""
        return f"Headers({', '.join(name for name, _ in self._items)})"


def _sound_name(name: str) -> tuple[str, str]:
    known = KNOWN.get(name)
    if known is not None:
        return known
    if not is_token(name):
        raise LocalProtocolError(f"a header's name must be a token, not {name!r}")
    return canonical_name(name)


def _sound_value(name: str, value: str) -> str:
    return fit_for_a_line(value, name).strip(" \t")
