"""Objects that other packages offer by entry point, found by name and imported only when they are used."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points
from typing import Any


@cache
def offered(group: str) -> dict[str, str]:
    """What the installed packages offer: name to ``module:attribute``; nothing is imported."""
    return {point.name: point.value for point in entry_points(group=group)}


def load(place: str) -> Any:
    """The object at ``module:attribute``.

    :raise ImportError: there is no such module, or it has no such attribute.
    """
    module, _, attribute = place.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError as error:
        raise ImportError(f"{module} has no {attribute}") from error
