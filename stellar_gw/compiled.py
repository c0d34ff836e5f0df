"""What every packet passes, compiled by mypyc where somebody asked for it: the same Python for less CPU.

``stellar-gw-compile`` (:mod:`stellar_gw.cli.compile`) puts extension modules into one folder, with a list of the
sources that they were made from, all that these import of ours included. A media worker takes them in place of their
sources as long as every one of these, and of what was made, is what it was, octet for octet, and Python is the same;
otherwise it runs interpreted, as without them, and says so. So an edited file, or an upgrade, is never shadowed by what
was compiled before it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent
FOLDER = PACKAGE / "_compiled"
LIST = "compiled.json"
MODULES = (
    "stellar_gw.agent.messages",
    "stellar_gw.agent.reading",
    "stellar_gw.dialects.native",
    "stellar_gw.dialects.twilio",
    "stellar_gw.media.concealment",
    "stellar_gw.media.g722",
    "stellar_gw.media.pcm",
    "stellar_gw.media.playout",
    "stellar_gw.media.resample",
    "stellar_gw.media.rtp",
    "stellar_gw.media.speech",
    "stellar_gw.media.srtp_in_place",
    "stellar_gw.media.turns",
    "stellar_gw.worker.agent_audio",
    "stellar_gw.worker.caller_audio",
    "stellar_gw.worker.conversation",
    "stellar_gw.worker.due",
    "stellar_gw.worker.hearing",
    "stellar_gw.worker.intake",
    "stellar_gw.worker.pacer",
    "stellar_gw.worker.shortcut",
    "stellar_gw.worker.speaking",
)
"""Those on the way of every packet; a module that is in none of these ways gains nothing."""


def suffix() -> str:
    """Of extension modules, by the Python and the machine that they are for."""
    return str(sysconfig.get_config_var("EXT_SUFFIX"))


def digest(source: Path) -> str:
    return hashlib.sha256(source.read_bytes()).hexdigest()


def write_list(folder: Path, files: Mapping[str, str], sources: Mapping[str, str]) -> None:
    """Note what is in a folder, and what it was made from.

    :param files: file names in the folder by names of modules.
    :param sources: digests by paths below the package, or absolute ones, as they were when they were compiled.
    """
    made = {name: [file, digest(folder / file)] for name, file in files.items()}
    noted = {"suffix": suffix(), "files": made, "sources": dict(sources)}
    (folder / LIST).write_text(json.dumps(noted, indent=1, sort_keys=True) + "\n")


def usable(folder: Path = FOLDER, root: Path = PACKAGE) -> tuple[Mapping[str, Path], str]:
    """The compiled modules by name, or none and why not.

    :return: nothing and an empty reason where nothing was ever compiled.
    """
    try:
        noted = json.loads((folder / LIST).read_bytes())
        files = {str(name): folder / str(file) for name, (file, _) in noted["files"].items()}
        made = {folder / str(file): str(known) for file, known in noted["files"].values()}
        sources = {root / str(source): str(known) for source, known in noted["sources"].items()}
        made_for = str(noted["suffix"])
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        return {}, f"the list {folder / LIST} cannot be read ({type(error).__name__})"
    if made_for != suffix():
        return {}, f"they are for another Python ({made_for})"
    try:
        for file, known in (*sources.items(), *made.items()):
            if not file.is_file():
                return {}, f"{file.name} is missing"
            if digest(file) != known:
                return {}, f"{file.name} has changed since"
    except OSError as error:
        return {}, f"{error.filename} cannot be read ({error.strerror})"
    return files, ""


class _Finder(MetaPathFinder):
    """Finds these modules in these files, before anybody looks for their sources."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(fullname)
        return None if file is None else spec_from_file_location(fullname, file)


def prefer(folder: Path = FOLDER) -> str:
    """Import compiled modules from now on, where they can be used; call it before anything imports them.

    :return: what runs now, in words for a log.
    """
    files, why_not = usable(folder)
    if files:
        finder = _Finder(files)
        sys.meta_path.insert(0, finder)
        try:
            for name in files:
                if "." not in name:  # what they share, which is all of them
                    importlib.import_module(name)
        except ImportError as error:
            sys.meta_path.remove(finder)
            why_not = f"they cannot be loaded ({error})"
        else:
            return "compiled"
    return f"interpreted, in spite of compiled modules: {why_not}; run stellar-gw-compile" if why_not else "interpreted"
