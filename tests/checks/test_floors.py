"""Imports go down only (docs: the floors), and no process loads what it must not."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = "stellar_gw"

FLOORS = {
    "service": 6, "tap": 6, "cli": 6,
    "console": 5, "phone": 5, "rehearsal": 5, "testing": 5,
    "net": 4, "gateway": 4, "worker": 4, "agent": 4, "fastpath": 4,
    "call": 3,
    "directory": 2, "config": 2,
    "sip": 1, "media": 1, "dialects": 1, "control": 1,
    "between": 0, "compiled": 0, "errors": 0, "fsm": 0, "loading": 0, "patience": 0, "terminal": 0,
}  # fmt: skip
"""Room to floor; a room is a folder, or a file at the top."""

SIDEWAYS = {
    ("gateway", "net"), ("worker", "agent"), ("config", "directory"), ("directory", "config"), ("tap", "service"),
    ("cli", "service"), ("testing", "phone"), ("rehearsal", "phone"),
}  # fmt: skip
"""Pairs (importer, imported) on one floor that may know each other."""

FORBIDDEN_IN_CORES = {
    "asyncio", "concurrent", "multiprocessing", "picows", "sched", "select", "selectors", "signal", "socket",
    "ssl", "subprocess", "threading", "time", "twisted", "uvloop", "websockets",
}  # fmt: skip
"""Floor 1 is protocol cores: no Twisted, no I/O, no clocks, no threads."""


@frozen
class Import:
    """One import statement's target, absolute."""

    module: str
    line: int


def imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterable[Import]:
    """Every import in the tree, at whatever depth, type-checking ones too; relative ones made absolute.

    ``from a import b`` yields both ``a.b`` candidates' common part and ``a.b``, for b may be a module.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            path = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Import(f"{path}.{alias.name}", node.lineno) for alias in node.names)


def faults(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What one module's imports do wrong, one line each."""
    room = _room(module)
    found = []
    for each in imports(ast.parse(source), module, is_package=is_package):
        target = _room(each.module)
        if each.module.split(".")[0] != PACKAGE:
            if room in FLOORS and FLOORS[room] == 1 and each.module.split(".")[0] in FORBIDDEN_IN_CORES:
                found.append(f"{module}:{each.line}: a protocol core imports {each.module}")
        elif target == room or target == "__version__":
            continue
        elif room not in FLOORS or target not in FLOORS:
            found.append(f"{module}:{each.line}: {room if room not in FLOORS else target} has no floor")
        elif FLOORS[target] > FLOORS[room]:
            found.append(f"{module}:{each.line}: imports upward, {each.module}")
        elif FLOORS[target] == FLOORS[room] and (room, target) not in SIDEWAYS and FLOORS[room]:
            found.append(f"{module}:{each.line}: imports sideways, {each.module}")
    return found


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def modules() -> dict[str, Path]:
    """Module name to file, of the whole package."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


class FloorsTests(SynchronousTestCase):
    def test_every_import_goes_down(self) -> None:
        """No module imports from a higher floor, nor from another room of its own except where allowed."""
        found = []
        for module, path in modules().items():
            if module != PACKAGE:
                found += faults(path.read_text("utf-8"), module, is_package=path.name == "__init__.py")
        self.assertEqual(found, [])

    def test_the_check_sees_what_it_should(self) -> None:
        """Upward, sideways, relative, nested and type-checking imports are all found; downward ones are not."""
        source = (
            "from __future__ import annotations\n"
            "from typing import TYPE_CHECKING\n"
            "import stellar_gw.errors\n"
            "from stellar_gw import __version__, fsm\n"
            "from stellar_gw.sip import uri\n"
            "from . import guard\n"
            "if TYPE_CHECKING:\n"
            "    from stellar_gw.net.flows import Flows\n"
            "def late():\n"
            "    from ..service import Gateway\n"
            "    import stellar_gw.cellar\n"
        )
        self.assertEqual(
            faults(source, "stellar_gw.call.calls"),
            [
                "stellar_gw.call.calls:8: imports upward, stellar_gw.net.flows.Flows",
                "stellar_gw.call.calls:10: imports upward, stellar_gw.service.Gateway",
                "stellar_gw.call.calls:11: cellar has no floor",
            ],
        )

    def test_rooms_of_one_floor_are_strangers(self) -> None:
        """On one floor only the allowed pairs know each other, and in the allowed direction."""
        self.assertEqual(faults("from stellar_gw.net import flows\n", "stellar_gw.gateway.driver"), [])
        self.assertEqual(
            faults("from ..gateway import driver\n", "stellar_gw.net", is_package=True)
            + faults("from ..gateway import driver\n", "stellar_gw.net.flows")
            + faults("from stellar_gw.media import rtp\n", "stellar_gw.sip.sdp"),
            [
                "stellar_gw.net:1: imports sideways, stellar_gw.gateway.driver",
                "stellar_gw.net.flows:1: imports sideways, stellar_gw.gateway.driver",
                "stellar_gw.sip.sdp:1: imports sideways, stellar_gw.media.rtp",
            ],
        )

    def test_cores_are_pure(self) -> None:
        """A protocol core that imports Twisted, a socket or a clock is found."""
        self.assertEqual(
            faults("import struct\nfrom time import monotonic\nimport twisted.logger\n", "stellar_gw.sip.core"),
            [
                "stellar_gw.sip.core:2: a protocol core imports time.monotonic",
                "stellar_gw.sip.core:3: a protocol core imports twisted.logger",
            ],
        )


class LoadedTests(SynchronousTestCase):
    """What a fresh interpreter has loaded once a process's modules are imported."""

    def loaded(self, names: Iterable[str], forbidden: Iterable[str]) -> str:
        """Import the modules in a process of its own; return which forbidden packages came with them."""
        program = (
            "import importlib, sys\n"
            f"for name in {sorted(names)!r}: importlib.import_module(name)\n"
            f"print(sorted(bad for bad in {sorted(forbidden)!r} if bad in sys.modules))\n"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_the_gateway_loads_no_media_libraries(self) -> None:
        """The gateway process never loads picows, uvloop or numpy."""
        rooms = {"service", "tap", "net", "gateway", "call", "directory", "config", "sip", "control", "errors", "fsm"}
        names = [name for name in modules() if _room(name) in rooms]
        self.assertIn("stellar_gw.sip.flow", names)
        self.assertEqual(self.loaded(names, ["picows", "uvloop", "numpy", "pylibsrtp"]), "[]")

    def test_a_worker_loads_no_signalling(self) -> None:
        """A media worker never loads the SIP floor, nor the gateway's rooms."""
        rooms = {"worker", "agent", "media", "dialects", "control"}
        names = [name for name in modules() if _room(name) in rooms]
        self.assertIn("stellar_gw.worker.uvloop_reactor", names)
        forbidden = [f"{PACKAGE}.{room}" for room in ("sip", "net", "gateway", "call", "directory", "config")]
        self.assertEqual(self.loaded(names, forbidden), "[]")

    def test_the_helper_loads_little(self) -> None:
        """What runs with a capability is small: no Twisted, and none of the rooms but the messages and itself."""
        names = [name for name in modules() if _room(name) == "fastpath"]
        self.assertIn("stellar_gw.fastpath.main", names)
        rooms = FLOORS.keys() - {"control", "errors", "fastpath"}
        forbidden = ["twisted", "numpy", "ssl", "asyncio", *(f"{PACKAGE}.{room}" for room in rooms)]
        self.assertEqual(self.loaded(names, forbidden), "[]")

    def test_the_check_sees_what_is_loaded(self) -> None:
        """The same check finds numpy where it is imported."""
        self.assertEqual(self.loaded(["numpy"], ["numpy", "picows"]), "['numpy']")
