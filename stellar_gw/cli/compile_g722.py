"""The library that codes G.722 once more, from its own sources, with more of the compiler's optimisation.

It asks for ``-O2`` itself; with ``-O3`` a frame costs a quarter less, and every octet is the same (the ITU's vectors,
which the suite puts to it compiled). Nothing of the installation is touched: media workers prefer it to what is
installed, for as long as that is of the version that it was made from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from stellar_gw.compiled import suffix

LIBRARY = "G722"
LIMIT = 120.0
"""Seconds: it takes ten, most of them pip's."""


class NotMade(Exception):
    """The message says why."""


def installed() -> Path:
    """The library's extension module.

    :raise NotMade: there is none.
    """
    spec = find_spec(LIBRARY)
    if spec is None or spec.origin is None:
        raise NotMade(f"the package {LIBRARY} is not installed")
    return Path(spec.origin)


def make(scratch: Path, compiler: str) -> Path:
    """Have pip fetch the sources of the version that is installed, and build them.

    :param scratch: a folder to work in.
    :param compiler: a C compiler's command.
    :return: the extension module.
    :raise NotMade: the sources cannot be had (pip asks the package index), or cannot be compiled, or unpacked.
    """
    try:
        return _unpacked(_wheel(scratch, compiler), scratch)
    except PackageNotFoundError:
        raise NotMade(f"the package {LIBRARY} is not installed") from None
    except (OSError, zipfile.BadZipFile) as error:
        raise NotMade(f"it could not be built ({reason_of(error)})") from None


def reason_of(error: Exception) -> str:
    """What went wrong with a file, in a few words."""
    if isinstance(error, shutil.Error) and isinstance(error.args[0], list):  # of a whole folder: the first that failed
        return str(error.args[0][0][-1])
    return str(getattr(error, "strerror", None) or error)


def _wheel(scratch: Path, compiler: str) -> Path:
    wrapper = scratch / "cc"
    wrapper.write_text(f'#!/bin/sh\nexec {compiler} "$@" -O3\n')  # the last one counts, and the library's comes before
    wrapper.chmod(0o700)
    wanted = f"{LIBRARY}=={version(LIBRARY)}"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--quiet",
        "--no-cache-dir",
        "--no-deps",
    ]
    command = [*pip, "--no-binary", LIBRARY, "--wheel-dir", str(scratch), wanted]
    environ = {**os.environ, "CC": str(wrapper)}
    try:
        done = subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        raise NotMade(f"pip did not build {wanted} within {LIMIT:g} s") from None
    wheel = next(scratch.glob("*.whl"), None)
    if done.returncode or wheel is None:
        said = done.stderr.splitlines()
        lines = [line for line in said if line.startswith("ERROR")] or said
        raise NotMade(f"pip could not build {wanted} ({lines[-1] if lines else 'it did not say why'})")
    return wheel


def _unpacked(wheel: Path, scratch: Path) -> Path:
    name = f"{LIBRARY}{suffix()}"
    with zipfile.ZipFile(wheel) as archive:
        if name not in archive.namelist():
            raise NotMade(f"{wheel.name} has no {name}")
        return Path(archive.extract(name, scratch / "g722"))
