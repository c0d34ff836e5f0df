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
    return _read(accept_language, refused=False)


def _read(accept_language: str, *, refused: bool) -> tuple[str, ...]:
    found: list[tuple[float, int, str]] = []
    for position, item in enumerate(accept_language.split(",")[:_MOST_RANGES]):
        match = _RANGE.match(item.strip())
        if match is None:
            continue
        quality = min(1.0, float(match[2])) if match[2] else 1.0
        if (quality == 0.0) is refused:
            found.append((-quality, position, match[1]))
    return tuple(text for _, _, text in sorted(found))


def detect_language(accept_language: str, spoken: Sequence[str]) -> str:
    """The caller's language for an agent.

    :param spoken: the languages the agent has; empty when it did not say, then the caller's best counts.
    :return: one of ``spoken`` by lookup (RFC 4647 3.4: ``nl-NL`` finds ``nl``), where nothing fits its first that the
        caller does not refuse (q=0), or else its first; empty where neither side says anything.
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
    refused = tuple(text.lower() for text in _read(accept_language, refused=True))
    return next((each for each in spoken if not _within(each.lower(), refused)), spoken[0])


def _within(language: str, ranges: Sequence[str]) -> bool:
    """Whether a range has the language in it (RFC 4647 3.3.1)."""
    return any(language == text or language.startswith(f"{text}-") for text in ranges)
