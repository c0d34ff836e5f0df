"""What is left of something only for the collector of circles, which halts a process while it looks at everything."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Callable


def circles(act: Callable[[], object]) -> Counter[str]:
    """What only the collector of circles can free after something is done: ours, by class or function."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        act()
        gc.collect()
        left = (each for each in gc.garbage if type(each) not in weakref.ProxyTypes)
        return Counter(name for each in left if (name := _name(each)).startswith("stellar_gw."))
    finally:
        gc.garbage.clear()
        gc.set_debug(0)
        gc.enable()


def _name(thing: object) -> str:
    return f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
