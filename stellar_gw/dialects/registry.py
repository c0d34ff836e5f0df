"""The dialects by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stellar_gw.dialects.builtin import BuiltinDialect
from stellar_gw.dialects.context import Context
from stellar_gw.dialects.contract import Dialect
from stellar_gw.dialects.twilio import TwilioDialect
from stellar_gw.errors import StellarError

DIALECTS: Final = ("twilio", "builtin")
"""The names a configuration may use."""


class UnknownDialectError(StellarError):
    """No dialect of that name; the message names those there are."""


def make_dialect(name: str, context: Context, options: Mapping[str, str]) -> Dialect:
    """A dialect for one call.

    :param options: of the agent; neither dialect has any of its own (a built-in agent's are its link's).
    :raise UnknownDialectError: if there is none of that name.
    """
    if name == "twilio":
        return TwilioDialect(context)
    if name == "builtin":
        return BuiltinDialect(context)
    raise UnknownDialectError(f"no dialect {name[:40]!r}; there are {', '.join(DIALECTS)}")
