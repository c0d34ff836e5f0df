"""Compiled modules are used as long as they are those of the sources that are there, and never else."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import NoReturn

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
            "\nnote   G.722 stays as it was installed, which costs a third more: pip could not build it\n"
            "       once that is mended: stellar-gw-compile --again\n",
            said,
        )

    def test_g722_without_an_index(self) -> None:
        """pip's own words say why."""
        empty = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": ""}
        self.patch(os, "environ", {**os.environ, **empty})
        scratch = Path(self.mktemp())
        scratch.mkdir()
        why = self.assertRaises(compile_g722.NotMade, compile_g722.make, scratch, "cc")
        self.assertIn(f"pip could not build G722=={version('G722')} (ERROR: No matching distribution", str(why))

    def test_g722_on_a_disk_that_is_full(self) -> None:
        """Whatever goes wrong from the first file to the last, one line says what, and nothing is raised."""
        full = OSError(errno.ENOSPC, "No space left on device")

        def fails(*_: object, **__: object) -> NoReturn:
            raise full

        def built(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            wheel = Path(command[command.index("--wheel-dir") + 1]) / "g722.whl"
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.writestr(f"G722{compiled.suffix()}", b"machine code")
            return subprocess.CompletedProcess(command, 0, "", "")

        def cut_off(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            done = built(command)
            wheel = Path(command[command.index("--wheel-dir") + 1]) / "g722.whl"
            wheel.write_bytes(wheel.read_bytes()[:40])
            return done

        def unknown(name: str) -> NoReturn:
            raise PackageNotFoundError(name)

        said = {}
        for name, where, what, by in (
            ("the compiler's command", Path, "write_text", fails),
            ("no pip", subprocess, "run", fails),
            ("unpacked", zipfile.ZipFile, "extract", fails),
            ("a wheel cut off", subprocess, "run", cut_off),
            ("no version", compile_g722, "version", unknown),
        ):
            scratch = Path(self.mktemp())
            scratch.mkdir()
            with ExitStack() as patches:
                for target, attribute, instead in ((subprocess, "run", built), (where, what, by)):
                    patches.callback(self.patch(target, attribute, instead).restore)
                said[name] = str(self.assertRaises(compile_g722.NotMade, compile_g722.make, scratch, "cc"))
        self.assertEqual(
            said,
            {
                "the compiler's command": "it could not be built (No space left on device)",
                "no pip": "it could not be built (No space left on device)",
                "unpacked": "it could not be built (No space left on device)",
                "a wheel cut off": "it could not be built (File is not a zip file)",
                "no version": "the package G722 is not installed",
            },
        )

    def compiled_with(self, g722: Callable[[Path, str], Path]) -> tuple[int, str, Path]:
        """A compiler that makes a file of each module, and this for G.722."""

        def compilers(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
            made = Path(command[-1]) / "made"
            for module in (*compiled.MODULES, "x__mypyc"):
                file = made / f"{module.replace('.', '/')}{compiled.suffix()}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(b"machine code")
            return subprocess.CompletedProcess(command, 0, "", "")

        self.patch(compiler, "_check_tools", lambda: "cc")
        self.patch(subprocess, "run", compilers)
        self.patch(compile_g722, "make", g722)
        out, folder = StringIO(), Path(self.mktemp())
        return compiler.main([], out, folder), out.getvalue(), folder

    def test_g722_that_cannot_be_copied(self) -> None:
        """The rest is used, and nothing is left of what was copied in part."""
        copy = shutil.copyfile

        def full(source: Path, to: Path, **how: bool) -> object:
            if Path(source).name != "built":
                return copy(source, to, **how)
            to.write_bytes(b"mach")
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(shutil, "copyfile", full)
        status, said, folder = self.compiled_with(lambda scratch, command: scratch / "built")
        self.assertIn("costs a third more: it could not be copied (No space left on device)\n", said)
        self.assertEqual((status, set(compiled.usable(folder)[0])), (0, {*compiled.MODULES, "x__mypyc"}))
        self.assertEqual([file.name for file in folder.iterdir() if file.name.startswith("G722")], [])

    def test_a_disk_that_is_full(self) -> None:
        """One line, and what was compiled before stays."""

        def full(*_: object, **__: object) -> NoReturn:
            raise shutil.Error([("from", "to", "[Errno 28] No space left on device: 'to'")])

        self.patch(shutil, "copytree", full)
        status, said, folder = self.compiled_with(lambda scratch, command: scratch)
        self.assertEqual((status, folder.exists()), (1, False))
        self.assertEqual(
            said.splitlines()[1:], ["error  it cannot be compiled here ([Errno 28] No space left on device: 'to')"]
        )

    def test_put_in_place(self) -> None:
        """What was there stays whole until what is new is; nothing else is left behind, even where that fails."""
        parent = Path(self.mktemp())
        (parent / "result").mkdir(parents=True)
        folder = parent / "_compiled"
        for content in ("one", "two"):
            (parent / "result" / "file").write_text(content)
            compiler._put(parent / "result", folder)
            self.assertEqual((folder / "file").read_text(), content)
        (parent / "result" / "link").symlink_to("nowhere")  # cannot be copied, whoever one is
        why = self.assertRaises(compiler.CannotCompile, compiler._put, parent / "result", folder)
        self.assertEqual((folder / "file").read_text(), "two")
        self.assertIn(f"{folder} cannot be written (", str(why))
        self.assertNotIn("None", str(why))
        self.assertEqual(sorted(each.name for each in parent.iterdir()), ["_compiled", "result"])

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
