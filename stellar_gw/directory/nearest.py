"""What a mistyped user part was perhaps meant to be, found in a time that says nothing of how much there is.

A search through the connectors would take longer the more there are, and only for what does not exist: whoever dials
and measures could tell that from what exists for others. So both the known and the mistyped are looked up by
themselves with one character left out, which finds one that is missing, added, wrong, or swapped with its neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stellar_gw.directory.records import Connector

LONGEST = 32
"""Characters of what is looked up."""
INDEXED = 2000
"""Connectors of a tenant that have an index; the others are no hint."""
_SHORTEST = 2
"""Characters that must be left, or everything would be near to everything."""


class Nearest:
    """:param connectors: of one tenant."""

    def __init__(self, connectors: Iterable[Connector]) -> None:
        self._found: dict[str, Connector] = {}
        for connector, _ in zip(connectors, range(INDEXED), strict=False):
            for part in _parts(connector.identifier or connector.number):
                self._found.setdefault(part, connector)

    def __call__(self, user: str) -> Connector | None:
        """The connector that is one slip away from a dialled user part."""
        return next((self._found[part] for part in _parts(user) if part in self._found), None)


def _parts(text: str) -> Iterator[str]:
    text = text.removeprefix("+").lower()[:LONGEST]
    if len(text) >= _SHORTEST:
        yield text
    if len(text) > _SHORTEST:
        for place in range(len(text)):
            yield text[:place] + text[place + 1 :]
