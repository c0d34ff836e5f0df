"""YAML as nodes that keep their spelling and know their place.

Built from PyYAML's events rather than its composed nodes: aliases, depth and size are refused before
anything is made of them, nothing recurses, and no scalar is resolved (``safe_load`` makes 31201234567 of
``+31201234567``, 42798 of ``0123456`` and False of ``no``, and lets the last of two equal keys win).
No message quotes the file: a line that does not parse may hold a password.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

import yaml
from attrs import define, field, frozen

from stellar_gw.errors import ConfigError
from stellar_gw.loading.problems import Place, Problems, printable

MAX_FILE = 1 << 20
MAX_DEPTH = 20
MAX_NODES = 100_000
MAX_KEY = 256

_QUOTED = re.compile(r"'(<[a-z ]+>|.)'|'[^']*'|\"[^\"]*\"")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: a reload reads a large directory while calls are up."""


@frozen(eq=False)
class Scalar:
    """A single value, spelt as in the file. Plain (unquoted) and empty means: not given."""

    place: Place
    text: str = field(repr=False)
    plain: bool

    @property
    def absent(self) -> bool:
        return self.plain and not self.text


@frozen(eq=False)
class Items:
    place: Place
    values: list[Node] = field(factory=list)


@frozen(eq=False)
class Table:
    place: Place
    entries: dict[str, Node] = field(factory=dict)


Node = Scalar | Items | Table


def read_file(path: str) -> str:
    """A configuration file's text.

    :raise ConfigError: if it cannot be read, is no regular file, is longer than 1 MiB, or is not UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            if not stat.S_ISREG(Path(path).stat().st_mode):
                raise ConfigError(f"{path}: is not a regular file")
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{printable(path, 200)}: cannot be read: {_reason(error)}") from None
    return decode(data, path)


def decode(data: bytes, file: str) -> str:
    """:raise ConfigError: if it is longer than 1 MiB or not UTF-8."""
    if len(data) > MAX_FILE:
        raise ConfigError(f"{file}: is longer than {MAX_FILE} octets")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{line}: is not UTF-8 text") from None


def parse(text: str, problems: Problems) -> Table:
    """The file's mapping.

    :raise ConfigError: where the text is no YAML, or is YAML that a configuration may not use. Duplicate
        keys are noted in ``problems``, so that they are told with all the rest.
    """
    builder = _Builder(problems)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.reader.ReaderError as error:
        raise ConfigError(
            f"{problems.file}:{_line_of(text, error)}: holds a control character, which YAML forbids"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        bare = re.search(r"[:,{\[]\s*\$\{", text.split("\n")[min(line, text.count("\n") + 1) - 1])
        hint = '; put ${...} in quotes, as in "${cred:name}"' if bare else ""
        raise ConfigError(f"{problems.file}:{line}: is not YAML: {_without_quotes(error)}{hint}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{problems.file}:{builder.line}: is not YAML ({type(error).__name__})") from None
    return builder.table()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or "its name is not usable"


def _line_of(text: str, error: yaml.reader.ReaderError) -> int:
    found = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return text.count("\n", 0, found.start() if found else 0) + 1


def _without_quotes(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's words without what they quote of the file, except one character or a token's kind."""
    words = _QUOTED.sub(lambda found: found[0] if found[1] else "a word", str(error.problem or "syntax error"))
    return printable(" ".join(words.split()), 120)


@define
class _Open:
    """A mapping or list whose end has not come; ``key`` is the mapping's key that waits for a value."""

    node: Table | Items
    key: str | None = None
    key_place: Place | None = None
    skip: bool = False


class _Builder:
    """Turns events into nodes; the stack of open collections is the only recursion."""

    def __init__(self, problems: Problems) -> None:
        self.line = 1
        self._problems = problems
        self._stack: list[_Open] = []
        self._root: Table | None = None
        self._nodes = 0
        self._documents = 0

    def table(self) -> Table:
        return self._root or Table(Place("", 1))

    def take(self, event: yaml.Event) -> None:
        self.line = event.start_mark.line + 1 if event.start_mark else self.line
        if isinstance(event, yaml.AliasEvent):
            self._refuse("aliases (*name) are not supported: write the value out")
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse("a second YAML document begins here; a configuration is one")
            return
        if isinstance(event, yaml.NodeEvent):
            self._check(event)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _refuse(self, text: str) -> None:
        raise ConfigError(f"{self._problems.file}:{self.line}: {text}")

    def _check(self, event: yaml.NodeEvent) -> None:
        if event.anchor is not None:
            self._refuse("anchors (&name) are not supported: write the value out")
        if getattr(event, "tag", None) is not None:
            self._refuse("tags (!name) are not supported; a value that begins with ! must be in quotes")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES} values")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.node, Table) and top.key is None:
            self._key(top, event)
            return
        scalar = Scalar(self._place(), event.value, plain=event.style is None or event.style == "")
        if top is None:
            if not scalar.absent:
                self._refuse("the file must be a mapping, as in 'domain: sip.example.com'")
            return
        self._put(scalar)

    def _key(self, top: _Open, event: yaml.ScalarEvent) -> None:
        node, name = top.node, event.value
        assert isinstance(node, Table)
        if event.style in (None, "") and name == "<<":
            self._refuse("merge keys (<<) are not supported: write the keys out")
        if len(name) > MAX_KEY:
            self._refuse(f"a key is longer than {MAX_KEY} characters")
        path = f"{node.place.path}.{printable(name, 64)}" if node.place.path else printable(name, 64)
        top.key, top.skip = name, name in node.entries
        top.key_place = Place(path, self.line, {})
        if top.skip:
            first = node.place.keys[name].line
            self._problems.error(top.key_place, f"given twice, first in line {first}; keep one")

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        if len(self._stack) >= MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} deep")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.node, Table) and top.key is None:
            self._refuse("a key must be a single value, not a list or a mapping")
        mapping = isinstance(event, yaml.MappingStartEvent)
        if top is None and not mapping:
            self._refuse("the file must be a mapping, not a list")
        place = self._place()
        node: Table | Items = Table(place) if mapping else Items(place)
        if top is None:
            assert isinstance(node, Table)
            self._root = node
        else:
            self._put(node)
        self._stack.append(_Open(node))

    def _place(self) -> Place:
        """The place of the value that comes now: its key's, or its index in a list."""
        if not self._stack:
            return Place("", self.line, {})
        top = self._stack[-1]
        if isinstance(top.node, Items):
            return Place(f"{top.node.place.path}[{len(top.node.values)}]", self.line, {})
        assert top.key_place is not None
        return top.key_place

    def _put(self, value: Node) -> None:
        top = self._stack[-1]
        if isinstance(top.node, Items):
            top.node.values.append(value)
            return
        assert top.key is not None and top.key_place is not None
        if not top.skip:
            top.node.entries[top.key] = value
            keys = top.node.place.keys
            assert isinstance(keys, dict)
            keys[top.key] = top.key_place
        top.key = top.key_place = None
