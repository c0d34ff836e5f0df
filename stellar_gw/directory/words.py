"""How faults of a directory name what there is instead."""

from __future__ import annotations

from collections.abc import Iterable

from stellar_gw.loading import printable


def choice(names: Iterable[str]) -> str:
    """``a, b or c``; words for none where there is nothing to choose from."""
    listed = list(names)
    return " or ".join(filter(None, [", ".join(listed[:-1]), *listed[-1:]])) or "one that exists, and there is none"


def unknown(kind: str, name: str, known: Iterable[str], where: str = "") -> str:
    """As in: agent 'receptoin' not in tenant acme (reception, concierge)."""
    there = list(known)
    listed = ", ".join(there[:10]) + (", ..." if len(there) > 10 else "") or "none"
    return f"{kind} '{printable(name)}' not{where or ' known'} ({listed})"
