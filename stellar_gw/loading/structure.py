"""Records from nodes: cattrs walks the attrs classes, the rules read the values, every fault has its line.

A class's fields are its keys; the ones named ``place`` and ``where`` are filled with the node's own. What a
field's type says is what the value must be: ``str``, ``bool``, a ``Literal``, an ``Annotated`` with a rule,
``tuple[..., ...]``, ``dict[..., ...]``, or another class. A class whose ``SHORT`` names one of its fields may be
written as that field's value alone.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import ClassValidationError, Converter, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from stellar_gw.loading.documents import Items, Node, Scalar, Table
from stellar_gw.loading.problems import Place, Problems, printable
from stellar_gw.loading.references import References
from stellar_gw.loading.rules import FilePath, Rule, one_of

Record = TypeVar("Record")

OURS = frozenset({"place", "where"})
"""Fields of a class that are not keys of the file."""

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class _ReportedError(Exception):
    """The fault is noted in the problems already; this only ends the value."""


class _Plain(Rule):
    """What a field of type ``str`` must be: one line of text."""

    must = "a text without line breaks or control characters"

    def read(self, text: str) -> str:
        if not text.isprintable():
            raise ValueError
        return text


class Structure:
    """Reads nodes as records.

    :param references: what ``${...}`` in a value stands for.
    :param problems: where every fault goes, with its line.
    """

    def __init__(self, references: References, problems: Problems) -> None:
        self._references, self._problems = references, problems
        self._converter = converter = Converter(detailed_validation=True)
        converter.register_structure_hook_factory(attrs.has, self._make_record_hook)
        converter.register_structure_hook(str, lambda node, _: self._value(node, _Plain()))
        converter.register_structure_hook(bool, self._boolean)
        converter.register_structure_hook_func(_is(Literal), self._choice)
        converter.register_structure_hook_func(_is(tuple), self._items)
        converter.register_structure_hook_func(_is(dict), self._table)
        converter.register_structure_hook_func(_is(Annotated), self._ruled)

    def read(self, node: Node, record: type[Record]) -> Record:
        """:raise ConfigError: with everything that is wrong with the file so far."""
        try:
            return self._converter.structure(node, record)
        except _ReportedError:
            self._problems.stop_if_any()
            raise

    def _fail(self, node: Node, text: str) -> _ReportedError:
        self._problems.error(node.place, text)
        return _ReportedError()

    # --- single values --------------------------------------------------------------------------

    def _value(self, node: Node, rule: Rule) -> Any:
        scalar = self._scalar(node, rule.must)
        try:
            if isinstance(rule, FilePath):
                return self._references.path(rule.read(scalar.text))
            text = self._references.expand(scalar.text, secret=rule.secret, alter=rule.alter)
        except ValueError as error:
            raise self._fail(node, str(error) or f"must be {rule.must}") from None
        if rule.redacted and text == scalar.text:
            self._references.keep_secret(text)
        try:
            return rule.read(text)
        except ValueError as error:
            raise self._fail(node, _fault(scalar, text, rule, str(error))) from None

    def _scalar(self, node: Node, must: str) -> Scalar:
        if not isinstance(node, Scalar):
            raise self._fail(node, f"is a {'mapping' if isinstance(node, Table) else 'list'}, must be {must}")
        return node

    def _ruled(self, node: Node, kind: Any) -> Any:
        return self._value(node, get_args(kind)[1])

    def _boolean(self, node: Node, _: Any) -> bool:
        return _BOOLEANS[self._one_of(node, ("true", "false"), _BOOLEANS, str.lower)]

    def _choice(self, node: Node, kind: Any) -> str:
        return self._one_of(node, get_args(kind), get_args(kind), str)

    def _one_of(self, node: Node, told: tuple[str, ...], allowed: Collection[str], fold: Callable[[str], str]) -> str:
        scalar = self._scalar(node, one_of(told))
        try:
            text = fold(self._references.expand(scalar.text))
        except ValueError as error:
            raise self._fail(node, str(error)) from None
        if text not in allowed:
            raise self._fail(node, f"is '{printable(scalar.text)}', must be {one_of(told)}")
        return text

    # --- collections ----------------------------------------------------------------------------

    def _items(self, node: Node, kind: Any) -> tuple[Any, ...]:
        if not isinstance(node, Items):
            what = "a mapping" if isinstance(node, Table) else "a single value"
            raise self._fail(node, f"is {what}, must be a list, such as [one, two]")
        return tuple(self._each([(value, get_args(kind)[0]) for value in node.values]))

    def _table(self, node: Node, kind: Any) -> dict[str, Any]:
        if not isinstance(node, Table):
            raise self._not_a_mapping(node, "of names")
        key_kind, value_kind = get_args(kind)
        for name in node.entries if get_origin(key_kind) is Annotated else ():
            rule = get_args(key_kind)[1]
            try:
                rule.read(name)
            except ValueError:
                self._problems.error(node.place.key(name), f"the name '{printable(name)}' must be {rule.must}")
        values = self._each([(self._given(value, value_kind), value_kind) for value in node.entries.values()])
        return dict(zip(node.entries, values, strict=True))

    def _given(self, value: Node, kind: Any) -> Node:
        """A record without any keys may be left empty: ``acme:``."""
        if isinstance(value, Scalar) and value.absent and (attrs.has(kind) or get_origin(kind) is dict):
            return Table(value.place)
        return value

    def _each(self, wanted: list[tuple[Node, Any]]) -> list[Any]:
        found, failed = [], False
        for value, kind in wanted:
            try:
                found.append(self._converter.structure(value, kind))
            except _ReportedError:
                failed = True
        if failed:
            raise _ReportedError
        return found

    def _not_a_mapping(self, node: Node, of: str) -> _ReportedError:
        # The text is not told: a password is easily written one level too high.
        what = "a list" if isinstance(node, Items) else "a single value"
        return self._fail(node, f"is {what}, must be a mapping {of}")

    # --- records --------------------------------------------------------------------------------

    def _make_record_hook(self, kind: type[Any]) -> Callable[[Node, Any], Any]:
        fields = {each.name for each in attrs.fields(kind)}
        own_fields: Any = {name: override(omit=True) for name in fields & OURS}
        inner = make_dict_structure_fn(
            kind,
            self._converter,
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
            **own_fields,
        )
        keys = [each.name for each in attrs.fields(kind) if each.name not in OURS]
        short: str = getattr(kind, "SHORT", "")

        def hook(node: Node, _: Any) -> Any:
            if short and isinstance(node, Scalar):
                node = Table(node.place, {short: node})
            if not isinstance(node, Table):
                raise self._not_a_mapping(node, f"with the keys {one_of(keys)}")
            given = {
                name: value
                for name, value in node.entries.items()
                if name not in keys or not (isinstance(value, Scalar) and value.absent)
            }
            try:
                record = inner(given, kind)
            except ClassValidationError as group:
                for fault in group.exceptions:
                    self._report(node, keys, fault)
                raise _ReportedError from None
            own = {"place": node.place, "where": self._problems.where(node.place)}
            return attrs.evolve(record, **{name: own[name] for name in fields & OURS})

        return hook

    def _report(self, node: Table, keys: list[str], fault: Exception) -> None:
        """One of the faults that cattrs gathered of one record; what is none of the file's goes on as it is."""
        if isinstance(fault, ForbiddenExtraKeysError):
            for name in fault.extra_fields:
                self._unknown_key(node, name, keys)
        elif isinstance(fault, KeyError):
            name = str(fault.args[0])
            self._problems.error(node.place.key(name), "is empty" if name in node.entries else "is missing")
        elif not isinstance(fault, _ReportedError):
            raise fault

    def _unknown_key(self, node: Table, name: str, keys: list[str]) -> None:
        near = difflib.get_close_matches(name[:64], keys, 1)
        value = node.entries[name]
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(keys)}"
        # {letmein99} in place of {password: letmein99} is a mapping whose key is the secret.
        bare = isinstance(value, Scalar) and value.absent and not near
        shown = "holds a word that is no key" if bare else f"unknown key '{printable(name)}'"
        self._problems.error(Place(node.place.path, value.place.line), f"{shown}; {hint}")


def _is(form: object) -> Callable[[Any], bool]:
    """Whether a type is ``form[...]``."""
    return lambda kind: get_origin(kind) is form


def _fault(scalar: Scalar, text: str, rule: Rule, said: str) -> str:
    """What is wrong with a value, told by its spelling in the file and never by what a reference stood for.

    :param said: the rule's own words, which quote the text unless it is secret.
    """
    if said and (rule.secret or text == scalar.text):
        return said
    shown = "has an unusable value" if rule.secret else f"is '{printable(scalar.text)}'"
    return f"{shown}, must be {rule.must}"
