"""What is due in the midst of work that may take long, and is done by whoever is at that work."""

from __future__ import annotations

from collections.abc import Callable

Between = Callable[[], None]
"""Called between two pieces of the work, for what cannot wait for all of it. It must not raise."""


def nothing() -> None:
    """Where nothing is ever due."""
