"""``stellar-gw-compile``: compile what every packet passes, for less CPU in the media workers (docs/media.rst).

mypyc (of the mypy package) makes extension modules of the very sources; nothing is written by hand twice. It needs
``pip install 'stellar-gw[compile]'``, a C compiler and Python's headers. The library for G.722 is built once more
beside them (:mod:`stellar_gw.cli.compile_g722`). Workers take what was made from their next
start on, for as long as the sources stay what they were (:mod:`stellar_gw.compiled`).
"""

from __future__ import annotations

import argparse
import ast
import errno
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from stellar_gw.cli import compile_g722
from stellar_gw.compiled import FOLDER, MODULES, PACKAGE, digest, suffix, usable, write_list
from stellar_gw.terminal import Palette

LIMIT = 900.0
"""Seconds for the compilers; a quiet machine needs one of them."""
SETTINGS = """[mypy]
strict = True
follow_imports = silent
ignore_missing_imports = True
explicit_package_bases = True
namespace_packages = True
untyped_calls_exclude = twisted
"""
"""Only what is compiled is judged: the whole is checked where it is developed."""


MISSING = 2
"""The exit status where the tools are not here."""


class CannotCompile(Exception):
    """The message says why, and what mends it."""


class NoTools(CannotCompile):
    """Something is not installed."""


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout, folder: Path = FOLDER) -> int:
    """:return: 0 where the modules are compiled now, or removed as asked; 2 where something is missing here, else 1."""
    options = _parser().parse_args(arguments)
    palette = Palette.of(out)
    if options.remove:
        return _remove(folder, out, palette)
    if set(MODULES) <= usable(folder)[0].keys() and not options.again:
        out.write(
            f"{palette.green('ok')}     {len(MODULES)} modules are compiled already, from the sources as they are\n"
        )
        return 0
    started = time.monotonic()
    try:
        compiler = _check_tools()
        out.write(f"compiling {len(MODULES)} modules and G.722 (about a minute)\n")
        out.flush()
        left_out = _compile(folder, compiler)
    except CannotCompile as error:
        out.write(f"{palette.red('error')}  {error}\n")
        return MISSING if isinstance(error, NoTools) else 1
    except OSError as error:
        out.write(f"{palette.red('error')}  it cannot be compiled here ({compile_g722.reason_of(error)})\n")
        return 1
    seconds = time.monotonic() - started
    if left_out:
        out.write(f"{palette.yellow('note')}   G.722 stays as it was installed, which costs a third more: {left_out}\n")
        out.write("       once that is mended: stellar-gw-compile --again\n")
    out.write(f"{palette.green('ok')}     compiled in {seconds:.0f} s; media workers use it from their next start\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stellar-gw-compile", description="Compile what every packet passes: less CPU in media workers."
    )
    parser.add_argument("--again", action="store_true", help="even where nothing has changed since the last time")
    parser.add_argument("--remove", action="store_true", help="have media workers run interpreted again")
    return parser


def _remove(folder: Path, out: TextIO, palette: Palette) -> int:
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        out.write(f"{palette.red('error')}  {error.filename} cannot be removed ({error.strerror})\n")
        return 1
    out.write(f"{palette.green('ok')}     removed: media workers run interpreted from their next start\n")
    return 0


def _check_tools() -> str:
    """:return: the C compiler."""
    if find_spec("mypyc") is None or find_spec("setuptools") is None:
        raise NoTools(f"mypyc is not here; to have it: {sys.executable} -m pip install 'stellar-gw[compile]'")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise NoTools(f"there is no C compiler ({compiler}); on Debian: apt-get install gcc libc6-dev")
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        raise NoTools("Python.h is not here; on Debian: apt-get install python3-dev")
    return compiler


def _compile(folder: Path, compiler: str) -> str:
    """:return: why G.722 is not among what was made; empty where it is.

    In a copy of the package, beside which no other one lies: mypy takes an installation's libraries for our own
    files where it works among them. And what is edited meanwhile is not taken for what was compiled."""
    with tempfile.TemporaryDirectory(prefix="stellar-gw-compile-") as name:
        scratch = Path(name)
        (scratch / "mypy.ini").write_text(SETTINGS)
        copy = scratch / "tree" / PACKAGE.name
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", f"{FOLDER.name}*"))
        command = [sys.executable, "-c", "from stellar_gw.cli.compile import build; build()", name]
        try:
            done = subprocess.run(
                command, cwd=copy.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT
            )
        except subprocess.TimeoutExpired:
            raise CannotCompile(f"the compilers did not end within {LIMIT:g} s") from None
        made = sorted((scratch / "made").rglob(f"*{suffix()}"))
        if done.returncode or len(made) <= len(MODULES):
            raise CannotCompile(f"the compilers failed:\n{(done.stdout + done.stderr)[-4000:].rstrip()}")
        result = scratch / "result"
        result.mkdir()
        files = {}
        for file in made:
            module = str(file.relative_to(scratch / "made")).removesuffix(suffix()).replace("/", ".")
            files[module] = f"{module}{suffix()}"
            shutil.copyfile(file, result / files[module])
        made_from = {str(source.relative_to(copy)): digest(source) for source in sources(copy)}
        left_out = ""
        try:
            library = compile_g722.installed()
            made_from[str(library)] = _add_g722(compile_g722.make(scratch, compiler), library, result)
        except compile_g722.NotMade as reason:
            left_out = str(reason)
        else:
            files[compile_g722.LIBRARY] = library.name
        write_list(result, files, made_from)
        _put(result, folder)
        return left_out


def _add_g722(made: Path, library: Path, result: Path) -> str:
    """:return: the digest of what is installed, so that another version of it is not shadowed.

    :raise NotMade: it cannot be copied.
    """
    try:
        shutil.copyfile(made, result / library.name)
        return digest(library)
    except OSError as error:
        (result / library.name).unlink(missing_ok=True)  # there may be a part of it
        raise compile_g722.NotMade(f"it could not be copied ({compile_g722.reason_of(error)})") from None


def _put(result: Path, folder: Path) -> None:
    """In the folder's place, so that a worker that starts meanwhile finds the one or the other whole."""
    new, old = (folder.with_name(f"{folder.name}.{which}") for which in ("new", "old"))
    try:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(result, new)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        hint = "; run it as who installed this" if error.errno in (errno.EACCES, errno.EPERM) else ""
        raise CannotCompile(f"{folder} cannot be written ({compile_g722.reason_of(error)}){hint}") from None
    shutil.rmtree(old, ignore_errors=True)


def source_of(module: str, package: Path = PACKAGE) -> Path:
    return package.parent / (module.replace(".", "/") + ".py")


def sources(package: Path = PACKAGE) -> list[Path]:
    """The modules' own, and all that these import of ours, and so on: its constants and types are compiled in."""
    found: set[Path] = set()
    waiting = [source_of(module, package) for module in MODULES]
    while waiting:
        source = waiting.pop()
        if source not in found and source.is_file():
            found.add(source)
            waiting += _imports(source, package)
    return sorted(found)


def _imports(source: Path, package: Path) -> Iterator[Path]:
    """Files that its imports may mean; a name that is imported from a package may be a module of it."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, f"{node.module}.__init__", *(f"{node.module}.{each.name}" for each in node.names)]
        elif isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        else:
            continue
        yield from (source_of(name, package) for name in names if name.split(".")[0] == package.name)


def build() -> None:
    """In a process of its own, for compilers print and exit: from the folder it is in, into ``made`` in ``argv[1]``."""
    from mypyc.build import mypycify
    from setuptools import setup

    scratch = Path(sys.argv[1])
    files = [f"{module.replace('.', '/')}.py" for module in MODULES]
    settings = ["--config-file", str(scratch / "mypy.ini"), "--cache-dir", str(scratch / "cache")]
    extensions = mypycify([*settings, *files], opt_level="3", debug_level="0", target_dir=str(scratch / "c"))
    setup(
        name="stellar-gw-compiled",
        script_args=["build_ext", "--build-lib", str(scratch / "made"), "--build-temp", str(scratch / "temp")],
        ext_modules=extensions,
    )


if __name__ == "__main__":
    sys.exit(main())
