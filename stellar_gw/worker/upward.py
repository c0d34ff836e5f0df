"""Links from a part up to what owns it, which do not keep the owner: a released call is gone at once, with its legs.

Two that keep each other are only found by the collector, whose look at everything halts a worker with a thousand calls
for a tenth of a second, packets and all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec
from weakref import WeakMethod

_P = ParamSpec("_P")


def upward(method: Callable[_P, None]) -> Callable[_P, None]:
    """A bound method of the owner's, for its part to call; nothing happens once the owner is gone."""
    owner = WeakMethod(method)

    def call(*arguments: _P.args, **named: _P.kwargs) -> None:
        bound = owner()
        if bound is not None:
            bound(*arguments, **named)

    return call
