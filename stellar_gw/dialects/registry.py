"""The dialects by name: ours, and those that other packages offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stellar_gw.dialects.context import Context
from stellar_gw.dialects.contract import Dialect, DialectPlugin
from stellar_gw.errors import StellarError
from stellar_gw.loading.plugins import load, offered

GROUP: Final = "stellar_gw.dialects"
"""The entry points' group."""

OURS: Final = {
    "twilio": "stellar_gw.dialects.twilio:PLUGIN",
    "native": "stellar_gw.dialects.native:PLUGIN",
    "vonage": "stellar_gw.dialects.native:VONAGE",
    "openai": "stellar_gw.dialects.openai_realtime:PLUGIN",
    "audiosocket": "stellar_gw.dialects.audiosocket:PLUGIN",
    "builtin": "stellar_gw.dialects.builtin:PLUGIN",
}
"""Named here too, so that they are found in a source folder that was never installed."""


class UnknownDialectError(StellarError):
    """No dialect of that name, or it cannot be loaded; the message says which."""


def dialect_names() -> tuple[str, ...]:
    """The names a configuration may use; ours first, and nobody can take their place."""
    return (*OURS, *sorted(name for name in offered(GROUP) if name not in OURS))


def find_dialect(name: str) -> DialectPlugin:
    """
    :raise UnknownDialectError: if there is none of that name, or it cannot be used.
    """
    place = OURS.get(name) or offered(GROUP).get(name)
    if place is None:
        raise UnknownDialectError(f"no dialect {name[:40]!r}; there are {', '.join(dialect_names())}")
    try:
        plugin = load(place)
    except ImportError as error:
        raise UnknownDialectError(f"dialect {name} cannot be loaded from {place}: {error}") from error
    if not isinstance(plugin, DialectPlugin):
        raise UnknownDialectError(f"dialect {name}: {place} is no DialectPlugin")
    return plugin


def make_dialect(name: str, context: Context, options: Mapping[str, str]) -> Dialect:
    """A dialect for one call.

    :param options: of the agent.
    :raise StellarError: if there is none of that name, or the options make no sense.
    """
    return find_dialect(name).make(context, options)
