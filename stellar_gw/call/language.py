"""Which language a caller wants, from Accept-Language (RFC 3261 20.3, RFC 4647 3.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RANGE = re.compile(r"(\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8}){0,7})\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?\s*\Z")
_MOST_RANGES = 32


def language_ranges(accept_language: str) -> tuple[str, ...]:
    """The ranges of an Accept-Language value, best first; equal q keeps the header's order.

    Ranges that cannot be read, and those with q=0, are left out; nothing is raised.
    """
    found: list[tuple[float, int, str]] = []
    for position, item in enumerate(accept_language.split(",")[:_MOST_RANGES]):
        match = _RANGE.match(item.strip())
        if match is None:
            continue
        quality = min(1.0, float(match[2])) if match[2] else 1.0
        if quality > 0.0:
            found.append((-quality, position, match[1]))
    return tuple(text for _, _, text in sorted(found))


def detect_language(accept_language: str, spoken: Sequence[str]) -> str:
    """The caller's language for an agent.

    :param spoken: the languages the agent has; empty when it did not say, then the caller's best counts.
    :return: one of ``spoken`` by lookup (RFC 4647 3.4: ``nl-NL`` finds ``nl``), its first where nothing fits;
        empty where neither side says anything.
    """
    ranges = [text for text in language_ranges(accept_language) if text != "*"]
    if not spoken:
        return ranges[0] if ranges else ""
    available = {language.lower(): language for language in spoken}
    for wanted in ranges:
        parts = wanted.lower().split("-")
        while parts:
            if (language := available.get("-".join(parts))) is not None:
                return language
            parts.pop()
            if parts and len(parts[-1]) == 1:  # a singleton goes with what it introduced
                parts.pop()
    return spoken[0]
