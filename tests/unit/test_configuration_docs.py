"""docs/configuration.rst names every key with its default, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import attrs
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.config.load import FileShape
from stellar_gw.loading import rules
from stellar_gw.loading.structure import OURS

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/configuration.rst"
TOP = "The whole file"


def sections(shape: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every section's title, and its keys as the page is to write them."""
    hints = get_type_hints(shape, include_extras=True)
    fields = [each for each in attrs.fields(shape) if each.name not in OURS]
    yield path or TOP, sorted(entry(each, hints[each.name]) for each in fields)
    for each in fields:
        kind = hints[each.name]
        below = f"{path}.{each.name}" if path else each.name
        if attrs.has(kind):
            yield from sections(kind, below)
        elif get_origin(kind) is dict and attrs.has(get_args(kind)[1]):
            yield from sections(get_args(kind)[1], f"{below}.NAME")


def entry(field: Any, kind: Any) -> str:
    """As in ``calls (default 0)``."""
    if attrs.has(kind):
        return str(field.name)
    if field.default is attrs.NOTHING:
        return f"{field.name} (required)"
    default = field.default.factory() if hasattr(field.default, "factory") else field.default
    if default in ("", None):
        return f"{field.name} (optional)"
    return f"{field.name} (default {written(default, kind)})"


def written(default: Any, kind: Any) -> str:
    if default in ((), {}):
        return "empty"
    rule = get_args(kind)[1] if get_origin(kind) is Annotated else None
    if isinstance(rule, rules.Seconds):
        return rules.duration(default)
    if isinstance(rule, rules.Ports):
        return f"{default[0]}-{default[1]}"
    if isinstance(default, tuple):
        return ", ".join(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def page() -> dict[str, list[str]]:
    """The same of the page."""
    found: dict[str, list[str]] = {}
    title = ""
    lines = PAGE.read_text("utf-8").splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch("-{3,}", below):
            title = line
        elif (term := re.fullmatch(r"(``[a-z0-9_]+``(?:, ``[a-z0-9_]+``)*)( \(.*\))?", line)) is not None:
            found.setdefault(title, []).extend(name.strip("`") + (term[2] or "") for name in term[1].split(", "))
    return {title: sorted(keys) for title, keys in found.items()}


class ReferenceTests(SynchronousTestCase):
    def test_the_page_says_what_the_records_say(self) -> None:
        """Section by section: the same keys, the same defaults, the same ones required."""
        self.assertEqual(page(), dict(sections(FileShape)))

    def test_links_lead_somewhere(self) -> None:
        """Every section that another one points to is there."""
        titles = set(page())
        links = set(re.findall(r"See ([A-Za-z_.]+)_\.", PAGE.read_text("utf-8")))
        self.assertEqual(links - titles, set())
        self.assertTrue(links)
