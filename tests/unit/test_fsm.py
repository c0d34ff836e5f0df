"""fsm.py: sealed machines ignore and count what peers send, and their drawings are up to date."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from automat import TypeMachineBuilder
from twisted.trial.unittest import SynchronousTestCase

import stellar_gw
from stellar_gw.errors import LocalProtocolError
from stellar_gw.fsm import Sealed, draw, machines, seal

ROOT = Path(__file__).resolve().parents[2]


class Door(Protocol):
    def push(self) -> None: ...
    def knock(self, times: int) -> None: ...
    def lock(self) -> None: ...


def creak(_: Door, out: list[str]) -> None:
    out.append("creak")


def seal_door() -> Sealed[Door, list[str]]:
    builder = TypeMachineBuilder[Door, list[str]](Door, list)
    closed, opened = builder.state("Closed"), builder.state("Opened")
    closed.upon(Door.push).to(opened)(creak)
    closed.upon(Door.lock).loop().returns(None)
    return seal(builder, name="Door", remote=[Door.knock, Door.push])


class SealTests(SynchronousTestCase):
    def test_remote_inputs_without_a_row_are_ignored_and_counted(self) -> None:
        """A peer may knock and push whenever it likes: nothing happens, nothing raises, all is counted."""
        doors = seal_door()
        out: list[str] = []
        door = doors(out)
        door.knock(3)
        door.push()
        door.push()
        door.push()
        self.assertEqual(
            (out, doors.state(door), dict(doors.ignored)),
            (["creak"], "Opened", {("Closed", "knock"): 1, ("Opened", "push"): 2}),
        )

    def test_local_inputs_without_a_row_raise(self) -> None:
        """Our own code asking for the impossible is told so, and the machine stays where it was."""
        doors = seal_door()
        door = doors([])
        door.push()
        error = self.assertRaises(LocalProtocolError, door.lock)
        self.assertEqual((str(error), doors.state(door)), ("Door: lock is not possible in state Opened", "Opened"))

    def test_machine_can_start_in_any_state(self) -> None:
        builder = TypeMachineBuilder[Door, list[str]](Door, list)
        closed, opened = builder.state("Closed"), builder.state("Opened")
        closed.upon(Door.push).to(opened).returns(None)
        opened.upon(Door.push).to(closed).returns(None)
        doors = seal(builder, name="Door")
        door = doors([], opened)
        door.push()
        self.assertEqual(doors.state(door), "Closed")

    def test_drawing_is_sorted_and_leaves_filled_rows_out(self) -> None:
        self.assertEqual(
            seal_door().dot(),
            (
                'digraph "Door" {\n'
                "  node [shape=box, style=rounded];\n"
                '  "" [shape=point]; "" -> "Closed";\n'
                '  "Closed";\n'
                '  "Opened";\n'
                '  "Closed" -> "Closed" [label="lock"];\n'
                '  "Closed" -> "Opened" [label="push / creak"];\n'
                "}\n"
            ),
        )

    def test_automat_is_the_pinned_one(self) -> None:
        """fsm.py reaches into Automat, so the version it was written for is installed and pinned."""
        self.assertEqual(version("automat"), "25.4.16")
        self.assertIn("automat==25.4.16", (ROOT / "setup.cfg").read_text())


class DrawingTests(SynchronousTestCase):
    package = Path(stellar_gw.__file__).parent

    def test_drawings_are_current(self) -> None:
        """docs/machines/ shows the machines as they are; if not, run ``python -m stellar_gw.fsm``."""
        if not (ROOT / "setup.cfg").exists():
            self.skipTest("not run from the source folder: no docs/machines to compare")
        drawn = {path.stem: path.read_text() for path in (ROOT / "docs" / "machines").glob("*.dot")}
        self.assertEqual(drawn, {machine.name: machine.dot() for machine in machines(self.package)})

    def test_drawing_removes_what_is_no_more(self) -> None:
        """A drawing whose machine is gone goes too."""
        with tempfile.TemporaryDirectory() as name:
            stale = Path(name) / "Gone.dot"
            stale.write_text("digraph {}")
            drawn = draw(self.package, Path(name))
            self.assertEqual(sorted(Path(name).iterdir()), drawn)
            self.assertNotIn(stale, drawn)
