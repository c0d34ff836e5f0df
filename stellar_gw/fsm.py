"""State machines: Automat's tables, sealed against hostile inputs and drawn for the documentation.

Theory of operation. A machine is an Automat ``TypeMachineBuilder`` table: inputs are the methods of a
``Protocol``, actions are functions that append effects to the machine's data and never raise. Three things
about Automat are worth knowing:

- The state has already changed when the actions of a row run.
- An action that raises leaves the machine in its new state, and inputs that waited for it are lost without
  a word. So actions only append effects; whoever drives the machine carries them out afterwards.
- There are no guards: whoever drives the machine classifies first (``receive_1xx``, ``receive_2xx``).

A peer can send anything at any time, so :func:`seal` gives each state a row for every *remote* input that
has none: nothing happens, and it is counted. A *local* input without a row still raises
:class:`~stellar_gw.errors.LocalProtocolError`, for it is a bug of ours.

This file alone touches Automat's insides (version pinned in setup.cfg). ``python -m stellar_gw.fsm`` draws
every machine of the package to ``docs/machines/*.dot``.
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from automat import TypeMachineBuilder
from automat._core import Automaton
from automat._typed import InputImplementer, TypedState, TypeMachine

from stellar_gw.errors import LocalProtocolError

Inputs = TypeVar("Inputs")
Data = TypeVar("Data")
_Row = tuple[Any, str, Any, Sequence[Any]]


class _Ignored:
    """The output of a filled row: count and do nothing else."""

    name = "ignored"

    def __init__(self, counter: Counter[tuple[str, str]], row: tuple[str, str]) -> None:
        self._counter, self._row = counter, row

    def __call__(self, *args: object, **kwargs: object) -> None:
        self._counter[self._row] += 1


class _Table(Automaton[Any, str, Any]):
    """The same automaton with its rows in a dict: Automat itself searches all of them at every input."""

    def __init__(self, name: str, automaton: Automaton[Any, str, Any]) -> None:
        super().__init__(automaton.initialState)
        self._name = name
        self._transitions = set(automaton.allTransitions())
        self._by_input = {(state, symbol): (after, outputs) for state, symbol, after, outputs in self._transitions}

    def outputForInput(self, inState: Any, inputSymbol: str) -> tuple[Any, Sequence[Any]]:  # noqa: N802, N803 - Automat's
        row = self._by_input.get((inState, inputSymbol))
        if row is None:
            raise LocalProtocolError(f"{self._name}: {inputSymbol} is not possible in state {inState.name}")
        return row


class Sealed(Generic[Inputs, Data]):
    """A factory of machines, made by :func:`seal`.

    :ivar name: names the drawing.
    :ivar ignored: how often which remote input came in a state that has no use for it: (state, input) -> times.
    """

    def __init__(self, name: str, machine: TypeMachine[Inputs, Data], ignored: Counter[tuple[str, str]]) -> None:
        self.name = name
        self.ignored = ignored
        self._automaton = _Table(name, machine.__automat_automaton__)
        self._machine = TypeMachine(machine.__automat_type__, self._automaton)

    def __call__(self, data: Data, state: TypedState[Inputs, Data] | None = None) -> Inputs:
        """Make a machine around ``data``, in its initial state or in ``state``."""
        machine = self._machine(data) if state is None else self._machine(data, state)
        return cast(Inputs, machine)

    def state(self, machine: Inputs) -> str:
        """Name the state that a machine is in."""
        implementer = cast("InputImplementer[Inputs, Data]", machine)
        return str(implementer.__automat_transitioner__._state.name)

    def states(self) -> list[str]:
        """All states by name, sorted."""
        return sorted(state.name for state in self._automaton.states())

    def dot(self) -> str:
        """Draw it (graphviz): one sorted line for each row, filled rows left out."""
        rows = (row for row in self._automaton.allTransitions() if not _is_filled(row))
        edges = sorted(
            f"  {_quote(old.name)} -> {_quote(new.name)} [label={_quote(_label(symbol, outputs))}];"
            for old, symbol, new, outputs in rows
        )
        states = [f"  {_quote(name)};" for name in self.states()]
        start = [f'  "" [shape=point]; "" -> {_quote(self._automaton.initialState.name)};']
        head = [f"digraph {_quote(self.name)} {{", "  node [shape=box, style=rounded];"]
        return "\n".join([*head, *start, *states, *edges, "}"]) + "\n"


def seal(
    builder: TypeMachineBuilder[Inputs, Data],
    *,
    name: str,
    remote: Iterable[Callable[..., None]] = (),
) -> Sealed[Inputs, Data]:
    """Build a machine in which no peer can raise anything.

    :param name: CamelCase; the file name of its drawing.
    :param remote: the methods of the input protocol that a peer, not our own code, causes.
    """
    automaton = builder._automaton
    ignored: Counter[tuple[str, str]] = Counter()
    declared = {(state, symbol) for state, symbol, _, _ in automaton.allTransitions()}
    states = automaton.states()
    for method in remote:
        builder._checkMembership(method)
        for state in states:
            if (state, method.__name__) not in declared:
                output = _Ignored(ignored, (state.name, method.__name__))
                automaton.addTransition(state, method.__name__, state, (cast(Any, output),))
    return Sealed(name, builder.build(), ignored)


def _is_filled(row: _Row) -> bool:
    return any(isinstance(output, _Ignored) for output in row[3])


def _label(symbol: str, outputs: Sequence[Any]) -> str:
    names = [output.name for output in outputs if not output.name.startswith("returns(")]
    return f"{symbol} / {', '.join(names)}" if names else symbol


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def machines(package: Path) -> Iterator[Sealed[Any, Any]]:
    """Find every sealed machine below a package's folder, sorted by name; only files that seal one are imported."""
    found: dict[str, Sealed[Any, Any]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.name == "fsm.py" or "seal(" not in path.read_text(encoding="utf-8"):
            continue
        parts = (package.name, *path.relative_to(package).with_suffix("").parts)
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for thing in vars(module).values():
            if isinstance(thing, Sealed) and found.setdefault(thing.name, thing) is not thing:
                raise LocalProtocolError(f"two machines are named {thing.name}")
    yield from (found[name] for name in sorted(found))


def draw(package: Path, folder: Path) -> list[Path]:
    """Write each machine to ``folder/Name.dot``, take away drawings of machines that are no more."""
    drawings = {folder / f"{machine.name}.dot": machine.dot() for machine in machines(package)}
    folder.mkdir(parents=True, exist_ok=True)
    for stale in set(folder.glob("*.dot")) - set(drawings):
        stale.unlink()
    for path, text in drawings.items():
        path.write_text(text, encoding="utf-8")
    return sorted(drawings)


def main() -> None:
    """Draw the machines of this package to docs/machines/ (of the source folder that it is run from)."""
    here = Path(__file__).resolve().parent
    # By its package name, not as __main__: machines are instances of that module's Sealed.
    drawn = importlib.import_module("stellar_gw.fsm").draw(here, here.parent / "docs" / "machines")
    sys.stdout.write("".join(f"{path}\n" for path in drawn))


if __name__ == "__main__":
    main()
