"""``${cred:name}``, ``${file:path}`` and ``${env:NAME}``: the one way to write a secret.

``cred`` is a file in ``$CREDENTIALS_DIRECTORY`` (systemd's LoadCredential=), ``file`` a path relative to the
configuration file, ``env`` a variable of the process. A reference may be a whole value or a part of one
(``Bearer ${cred:agent}``); ``$${`` stands for the two characters themselves.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from stellar_gw.loading.problems import printable

MAX_SECRET = 1 << 16
SHORTEST_REDACTED = 4
"""Characters; taking shorter texts out of a log would leave no log."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_FORM = re.compile(r"(cred|file|env):(.+)", re.DOTALL)
_CREDENTIAL = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")


class References:
    """Looks references up, and remembers what they stood for so that logs can leave it out.

    :ivar readable_by_all: the ``${file:}`` secrets that every user of the machine may read.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._secrets: set[str] = set()
        self.readable_by_all: list[str] = []

    @property
    def secrets(self) -> frozenset[str]:
        return frozenset(self._secrets)

    def keep_secret(self, text: str) -> None:
        """Add a text that logs must leave out."""
        if len(text) >= SHORTEST_REDACTED:
            self._secrets.add(text)

    def expand(self, spelling: str, *, secret: bool = False, alter: Callable[[str], str] | None = None) -> str:
        """The text that a value stands for.

        :param secret: whether what comes from the environment is a secret here; the others always are.
        :param alter: what each reference's text goes through before it takes its place.
        :raise ValueError: naming the reference that leads nowhere, never a secret's text.
        """

        def look_up(found: re.Match[str]) -> str:
            if found[0] == "$${":
                return "${"
            kind, name = _split(found)
            if kind == "env":
                text = self._variable(name)
            else:
                path = self._credential(name) if kind == "cred" else self._folder / name
                text = self._contents(path, f"${{{kind}:{printable(name)}}}", own=kind == "cred")
            if secret or kind != "env":
                self.keep_secret(text)
            return alter(text) if alter else text

        return _REFERENCE.sub(look_up, spelling)

    def path(self, spelling: str) -> str:
        """The absolute path that a value names; a reference to a file stands for the file's own path.

        :raise ValueError: as :meth:`expand`.
        """
        found = _REFERENCE.fullmatch(spelling)
        if found and found[0] != "$${":
            kind, name = _split(found)
            if kind == "cred":
                return str(self._credential(name))
            if kind == "file":
                return str((self._folder / name).absolute())
        return str((self._folder / self.expand(spelling)).absolute())

    def _variable(self, name: str) -> str:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"${{env:{printable(name)}}} is not the name of an environment variable")
        text = self._environ.get(name)
        if text is None:
            raise ValueError(f"${{env:{name}}} is not set in the environment")
        if not text:
            raise ValueError(f"${{env:{name}}} is empty")
        return text

    def _credential(self, name: str) -> Path:
        if not _CREDENTIAL.fullmatch(name) or name in (".", ".."):
            raise ValueError(f"${{cred:{printable(name)}}} is not the name of a credential (letters, digits, . _ -)")
        folder = self._environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ValueError(
                f"${{cred:{name}}} needs $CREDENTIALS_DIRECTORY, which is not set: write "
                f"LoadCredential={name}:/path in the unit, or name a folder with a file {name} in it"
            )
        return Path(folder) / name

    def _contents(self, path: Path, reference: str, *, own: bool) -> str:
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{reference} is not a regular file")
            with path.open("rb") as file:
                data = file.read(MAX_SECRET + 1)
        except OSError as error:
            hint = f"; is there a LoadCredential={path.name}: line in the unit?" if own else ""
            raise ValueError(f"{reference} cannot be read: {error.strerror or 'unusable path'}{hint}") from None
        if len(data) > MAX_SECRET:
            raise ValueError(f"{reference} is longer than {MAX_SECRET} octets")
        try:
            text = data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ValueError(f"{reference} is not UTF-8 text") from None
        if not text:
            raise ValueError(f"{reference} is empty")
        if not own and status.st_mode & stat.S_IROTH:
            self.readable_by_all.append(reference)
        return text


def _split(found: re.Match[str]) -> tuple[str, str]:
    form = _FORM.fullmatch(found[1] or "")
    if form is None:
        raise ValueError("'${' must begin ${cred:name}, ${file:path} or ${env:NAME}; write $${ for the characters")
    if "\0" in form[2]:
        raise ValueError("a reference holds a NUL character")
    return form[1], form[2]
