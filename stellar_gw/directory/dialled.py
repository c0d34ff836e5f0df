"""What a dialled user part could stand for: phone systems write numbers in many ways (RFC 3966, and habit)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stellar_gw.directory.records import Rewrite

_SEPARATORS = str.maketrans("", "", "-.()")
_KEYS = re.compile("[0-9*#]+")
_DIGITS = re.compile(r"\+?([0-9]{1,64})")


def dialled_digits(user: str) -> str:
    """The digits of a dialled number, without ``+`` and visual separators (RFC 3966 5.1.1); else empty."""
    found = _DIGITS.fullmatch(user.translate(_SEPARATORS)) if user[:1] in "+0123456789(" else None
    return found[1] if found else ""


def is_dialled(identifier: str) -> bool:
    """Whether a telephone's keys can dial it: such identifiers are unique over the installation."""
    return bool(_KEYS.fullmatch(identifier))


def forms(user: str, rewrite: Rewrite) -> Iterator[str]:
    """A user part as it came, then with the longest prefix of the caller's rules replaced."""
    yield user
    plain = user.translate(_SEPARATORS) if dialled_digits(user) else user
    for prefix, instead in sorted(rewrite, key=lambda rule: -len(rule[0])):
        if plain.startswith(prefix) and len(plain) > len(prefix):
            yield instead + plain[len(prefix) :]
            return


def spellings(dialled: str, prefixes: Sequence[str]) -> tuple[str, ...]:
    """Everything that a connector is dialled by: its identifier or number, and that after each prefix."""
    return (dialled, *(prefix + dialled.removeprefix("+") for prefix in prefixes))
