"""What the gateway tells systemd (sd_notify(3)): ready, reloading, stopping, alive."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping

from twisted.logger import Logger

LONGEST_STATUS = 200

_log = Logger()
_not_printable = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Notifier:
    """Sends datagrams to the service manager's socket, and never waits for it; without one, does nothing.

    :param environ: ``NOTIFY_SOCKET`` names the socket (``@``: an abstract one), ``WATCHDOG_USEC`` and
        ``WATCHDOG_PID`` say whether a watchdog waits for us.
    :param pid: ours.
    :param seconds: CLOCK_MONOTONIC.
    :ivar watchdog: seconds within which :meth:`alive` must come; None: nobody waits for it.
    """

    def __init__(
        self, environ: Mapping[str, str], *, pid: int | None = None, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._complained = False
        self.watchdog = _watchdog(environ, pid) if self._address else None

    def ready(self, status: str = "") -> None:
        """Up, or done reloading."""
        self._send("READY=1", *_status(status))

    def reloading(self) -> None:
        """A reload has begun; :meth:`ready` ends it, whether it worked or not."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._seconds() * 1_000_000)}")

    def stopping(self, status: str = "") -> None:
        self._send("STOPPING=1", *_status(status))

    def alive(self, status: str = "") -> None:
        """Feed the watchdog; ``systemctl status`` shows the status."""
        self._send("WATCHDOG=1", *_status(status))

    def _send(self, *assignments: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto("\n".join(assignments).encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:
            # Once: the watchdog says the same every few seconds.
            if not self._complained:
                self._complained = True
                _log.warn("cannot tell systemd {what}: {error}", what=assignments[0], error=str(error))
        else:
            self._complained = False


def _address(name: str) -> str:
    """:return: as ``sendto`` wants it; empty where there is no socket, or one of a family that is not ours."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _watchdog(environ: Mapping[str, str], pid: int | None) -> float | None:
    """As sd_watchdog_enabled(3) reads it."""
    text, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit()) or int(text) == 0 or (whose and pid is not None and whose != str(pid)):
        return None
    return int(text) / 1_000_000


def _status(text: str) -> tuple[str, ...]:
    """One assignment to a line: a line break in a status would begin another."""
    return (f"STATUS={_not_printable.sub(' ', text)[:LONGEST_STATUS]}",) if text else ()
