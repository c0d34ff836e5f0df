"""Links from a part up to what owns it, which do not keep the owner: a released call is gone at once, with its legs.

Two that keep each other are only found by the collector, whose look at everything halts a worker with a thousand calls
for a tenth of a second, packets and all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakMethod

_T = TypeVar("_T", bound=Callable[..., None])


def upward(method: _T) -> _T:
    """A bound method of the owner's, for its part to call; nothing happens once the owner is gone."""
    owners: Any = WeakMethod(method)

    def call(*arguments: Any, **named: Any) -> None:
        bound = owners()
        if bound is not None:
            bound(*arguments, **named)

    return call  # type: ignore[return-value]
