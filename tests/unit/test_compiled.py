"""Compiled modules are used as long as they are those of the sources that are there, and never else."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw import compiled
from stellar_gw.cli import compile as compiler
from stellar_gw.cli import compile_g722


class UsableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.folder = self.root / "_compiled"
        self.folder.mkdir(parents=True)
        self.source = self.root / "intake.py"
        self.source.write_text("TURN = 256\n")
        self.file = self.folder / f"gw.intake{compiled.suffix()}"
        self.file.write_bytes(b"machine code")
        compiled.write_list(self.folder, {"gw.intake": self.file.name}, {"intake.py": compiled.digest(self.source)})

    def usable(self) -> tuple[dict[str, Path], str]:
        files, why_not = compiled.usable(self.folder, self.root)
        return dict(files), why_not

    def test_unchanged(self) -> None:
        self.assertEqual(self.usable(), ({"gw.intake": self.file}, ""))

    def test_never_compiled(self) -> None:
        shutil.rmtree(self.folder)
        self.assertEqual(self.usable(), ({}, ""))

    def test_an_edited_source(self) -> None:
        self.source.write_text("TURN = 255\n")
        self.assertEqual(self.usable(), ({}, "intake.py has changed since"))

    def test_a_source_that_is_gone(self) -> None:
        self.source.unlink()
        self.assertEqual(self.usable(), ({}, "intake.py is missing"))

    def test_another_version_of_a_library(self) -> None:
        """What was built once more from a library's own sources goes by what is installed."""
        library = Path(self.mktemp()).absolute()
        library.write_bytes(b"version 1")
        compiled.write_list(self.folder, {"G722": self.file.name}, {str(library): compiled.digest(library)})
        self.assertEqual(self.usable(), ({"G722": self.file}, ""))
        library.write_bytes(b"version 2")
        self.assertEqual(self.usable(), ({}, f"{library.name} has changed since"))

    def test_a_module_that_was_cut_off(self) -> None:
        """A disk that was full, say: loading it would crash the worker again and again."""
        self.file.write_bytes(b"machine")
        self.assertEqual(self.usable(), ({}, f"{self.file.name} has changed since"))

    def test_a_module_that_is_gone(self) -> None:
        self.file.unlink()
        self.assertEqual(self.usable(), ({}, f"{self.file.name} is missing"))

    def test_another_python(self) -> None:
        noted = json.loads((self.folder / compiled.LIST).read_text())
        noted["suffix"] = ".cpython-399-vax.so"
        (self.folder / compiled.LIST).write_text(json.dumps(noted))
        self.assertEqual(self.usable(), ({}, "they are for another Python (.cpython-399-vax.so)"))

    def test_a_broken_list(self) -> None:
        rest = '"sources": {}, "suffix": ""'
        lists = ("", "[]", "{", '{"files": 1}', '{"files": {}, "sources": 3, "suffix": ""}', "\xff")
        for broken in (*lists, f'{{"files": {{"a": "b.so"}}, {rest}}}', f'{{"files": {{"a": 1}}, {rest}}}'):
            with self.subTest(broken):
                (self.folder / compiled.LIST).write_text(broken, encoding="latin-1")
                files, why_not = self.usable()
                self.assertEqual(files, {})
                self.assertIn("cannot be read", why_not)


class SourcesTests(SynchronousTestCase):
    def test_whatever_can_be_compiled_in_is_watched(self) -> None:
        """A constant of a module that is imported becomes machine code: its change must be noticed, too."""
        names = {str(source.relative_to(compiled.PACKAGE)) for source in compiler.sources()}
        # By itself, imported, from a package, and by way of another.
        wanted = {"worker/hearing.py", "media/workspace.py", "control/messages.py", "control/leg_messages.py"}
        self.assertLessEqual(wanted, names)

    def test_every_module_is_there(self) -> None:
        self.assertEqual([name for name in compiled.MODULES if not compiler.source_of(name).is_file()], [])
        self.assertEqual(sorted(compiled.MODULES), list(compiled.MODULES))


class PreferTests(SynchronousTestCase):
    def prefer(self, folder: Path) -> str:
        """In a process of its own: what is imported then stays."""
        program = (
            "import sys; from pathlib import Path; from stellar_gw.compiled import prefer; "
            "print(prefer(Path(sys.argv[1]))); import stellar_gw.worker.hearing as hearing; print(hearing.__file__)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder.resolve())],
            capture_output=True,
            text=True,
            check=True,
            cwd=compiled.PACKAGE.parent,
        )
        return done.stdout

    def test_without(self) -> None:
        source = importlib.import_module("stellar_gw.worker.hearing").__file__
        self.assertEqual(self.prefer(Path(self.mktemp())), f"interpreted\n{source}\n")

    def test_stale(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        noted = {"suffix": compiled.suffix(), "files": {}, "sources": {"errors.py": ""}}
        (folder / compiled.LIST).write_text(json.dumps(noted))
        source = importlib.import_module("stellar_gw.worker.hearing").__file__
        self.assertEqual(
            self.prefer(folder),
            "interpreted, in spite of compiled modules: errors.py has changed since; run stellar-gw-compile\n"
            f"{source}\n",
        )

    def test_not_loadable(self) -> None:
        """Made on a machine with another C library, say: the worker runs, and says what is wrong."""
        folder = Path(self.mktemp())
        folder.mkdir()
        files = {"x__mypyc": f"x__mypyc{compiled.suffix()}"}
        (folder / files["x__mypyc"]).write_bytes(b"no machine code")
        compiled.write_list(folder, files, {})
        runs, source = self.prefer(folder).splitlines()
        self.assertIn("interpreted, in spite of compiled modules: they cannot be loaded (", runs)
        self.assertEqual(source, importlib.import_module("stellar_gw.worker.hearing").__file__)


class CommandTests(SynchronousTestCase):
    def run_it(self, *arguments: str) -> tuple[int, str]:
        out = StringIO()
        folder = Path(self.mktemp())
        return compiler.main(arguments, out, folder), out.getvalue()

    def test_no_compiler(self) -> None:
        self.patch(sysconfig, "get_config_var", lambda name: "no-such-cc -O2" if name == "CC" else ".so")
        self.assertEqual(
            self.run_it(), (2, "error  there is no C compiler (no-such-cc); on Debian: apt-get install gcc libc6-dev\n")
        )

    def test_no_headers(self) -> None:
        self.patch(shutil, "which", lambda name: f"/usr/bin/{name}")
        self.patch(sysconfig, "get_path", lambda name: "/nowhere")
        self.assertEqual(self.run_it(), (2, "error  Python.h is not here; on Debian: apt-get install python3-dev\n"))

    def test_one_module_more(self) -> None:
        """What was made before a module was added to the list is made again."""
        asked: list[Path] = []
        self.patch(compiler, "_check_tools", lambda: "cc")
        self.patch(compiler, "_compile", lambda folder, command: asked.append(folder))
        folder = Path(self.mktemp())
        for modules, already in ((compiled.MODULES, True), (compiled.MODULES[1:], False)):
            self.patch(compiler, "usable", lambda _, names=modules: (dict.fromkeys(names, folder), ""))
            out = StringIO()
            self.assertEqual((compiler.main([], out, folder), "already" in out.getvalue()), (0, already))
        self.assertEqual(asked, [folder])

    def test_g722_left_out(self) -> None:
        """Where its sources cannot be had, the rest is compiled, and one line says what is missing."""
        self.patch(compiler, "_check_tools", lambda: "cc")
        self.patch(compiler, "_compile", lambda folder, command: "pip could not build it")
        status, said = self.run_it()
        self.assertEqual(status, 0)
        self.assertIn(
            "\nnote   G.722 stays as it was installed, which costs a third more: pip could not build it\n", said
        )

    def test_g722_without_an_index(self) -> None:
        """pip's own words say why."""
        empty = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": ""}
        self.patch(os, "environ", {**os.environ, **empty})
        scratch = Path(self.mktemp())
        scratch.mkdir()
        why = self.assertRaises(compile_g722.NotMade, compile_g722.make, scratch, "cc")
        self.assertIn(f"pip could not build G722=={version('G722')} (ERROR: No matching distribution", str(why))

    def test_no_mypyc(self) -> None:
        self.patch(compiler, "find_spec", lambda name: None)
        self.assertEqual(
            self.run_it(),
            (2, f"error  mypyc is not here; to have it: {sys.executable} -m pip install 'stellar-gw[compile]'\n"),
        )

    def test_removed(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / compiled.LIST).write_text("{}")
        self.assertEqual(compiler.main(["--remove"], StringIO(), folder), 0)
        self.assertFalse(folder.exists())

    def test_not_removed(self) -> None:
        folder, out = Path(self.mktemp()), StringIO()
        folder.write_text("no folder")
        self.assertEqual(compiler.main(["--remove"], out, folder), 1)
        self.assertEqual(out.getvalue(), f"error  {folder} cannot be removed (Not a directory)\n")
