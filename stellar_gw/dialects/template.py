"""URLs and header values with places to fill: ``wss://agents.example/{agent}/{version}?call={call_id}``.

A place is ``{name}`` with a name of :mod:`stellar_gw.dialects.context`, ``{header:X-Case-Id}`` for a header of the
call (empty where it has none), or ``{variable}`` of the environment. ``{{`` and ``}}`` are the braces themselves.

What a caller can influence never decides where a connection goes: in a URL such places may stand in path and
query only, and they are percent-encoded there (RFC 3986 2.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import quote

from stellar_gw.dialects.context import NAMES, Context, facts, header_values
from stellar_gw.errors import StellarError

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_HEADER: Final = re.compile(r"[Xx]-[A-Za-z0-9-]{1,64}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_AUTHORITY: Final = re.compile(r"[a-z]+://[^/?#]*")

_OURS: Final = frozenset({"tenant", "agent", "environment", "version"})
"""Names whose values the configuration alone decides; the environment's variables are such too."""

_CALLERS: Final = frozenset(NAMES) - _OURS


class TemplateError(StellarError):
    """A template or what was to fill it; the message names the place, never a value."""


def escape(text: str) -> str:
    """Text that stands for itself in a template, such as a secret that may hold braces."""
    return text.replace("{", "{{").replace("}", "}}")


def check(template: str, variables: Iterable[str] = (), *, url: bool = False) -> None:
    """Look at a template before there is a call.

    :param variables: names of the environment's variables.
    :param url: whether it is a URL; else a header value.
    :raise TemplateError: for an unknown name (the known ones listed), a brace without its other, or a place that
        lets the caller choose the host.
    """
    known = frozenset(variables)
    for position, name in _places(template):
        if name.startswith("header:"):
            if not _HEADER.fullmatch(name[len("header:") :]):
                raise TemplateError(f"{{{_shown(name)}}}: only X-* headers of the call can be used")
        elif name not in NAMES and name not in known:
            raise TemplateError(f"{{{_shown(name)}}} is unknown; there are {_listed(known)}")
        if url and (name in _CALLERS or name.startswith("header:")) and position < _path_start(template):
            raise TemplateError(f"{{{_shown(name)}}} comes from the caller and cannot be part of a host name")


def fill_url(template: str, context: Context) -> str:
    """A URL for this call, the values percent-encoded.

    :raise TemplateError: as :func:`check` does, or because a value would climb the path (``..``).
    """
    check(template, context.variables, url=True)

    def encoded(name: str, value: str) -> str:
        if value in (".", ".."):
            # Unreserved characters, so no encoding saves them: a server would take them for path segments.
            raise TemplateError(f"{{{_shown(name)}}} is a path segment of dots")
        return quote(value, safe="")

    return _fill(template, context, encoded)


def fill_header(template: str, context: Context) -> str:
    """A header value for this call.

    :raise TemplateError: as :func:`check` does, or because a value holds a control character.
    """
    check(template, context.variables)

    def as_is(name: str, value: str) -> str:
        if _CONTROL.search(value):
            raise TemplateError(f"{{{_shown(name)}}} holds a control character, which no header can")
        return value

    return _fill(template, context, as_is)


def fill_text(template: str, context: Context) -> str:
    """A text for people or models; a line's end in what the caller sent becomes a space.

    :raise TemplateError: as :func:`check` does.
    """
    check(template, context.variables)
    own = _OURS.union(set(context.variables) - _CALLERS)
    return _fill(template, context, lambda name, value: value if name in own else _CONTROL.sub(" ", value))


def _fill(template: str, context: Context, use: Callable[[str, str], str]) -> str:
    values = {**context.variables, **facts(context)}
    headers = {name.lower(): value for name, value in header_values(context).items()}
    parts: list[str] = []
    for literal, name in _parse(template):
        if name is None:
            parts.append(literal)
        elif name.startswith("header:"):
            parts.append(use(name, headers.get(name[len("header:") :].lower(), "")))
        else:
            parts.append(use(name, values[name]))
    return "".join(parts)


def _parse(template: str) -> Iterator[tuple[str, str | None]]:
    """Literal text with None, or an empty string with the name of a place."""
    for token in _TOKEN.finditer(template):
        text = token[0]
        if text in ("{{", "}}"):
            yield text[0], None
        elif text in ("{", "}"):
            raise TemplateError(f"a {text} without its other; write {text}{text} for the character itself")
        elif token[1] is not None:
            yield "", token[1]
        else:
            yield text, None


def _places(template: str) -> Iterator[tuple[int, str]]:
    """Each place's offset and name."""
    list(_parse(template))  # complains of braces
    for token in _TOKEN.finditer(template):
        if token[1] is not None:
            yield token.start(), token[1]


def _path_start(template: str) -> int:
    """Offset of the first character after the authority."""
    authority = _AUTHORITY.match(template)
    return authority.end() if authority else len(template)


def _shown(name: str) -> str:
    """A name for an error message: it may be part of a secret that was not meant as a template."""
    return name if re.fullmatch(r"[A-Za-z0-9_:.-]{1,80}", name) else "..."


def _listed(variables: frozenset[str]) -> str:
    return ", ".join([*NAMES, "header:X-...", *sorted(variables)])
