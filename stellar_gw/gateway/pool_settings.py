"""What a pool of media workers is made of: its settings, its slices of ports, its socket."""

from __future__ import annotations

import socket
from pathlib import Path

from attrs import field, frozen

from stellar_gw.errors import StellarError
from stellar_gw.gateway.worker_process import WorkerCommand

LONGEST_SOCKET_PATH = 107
"""Octets of a UNIX socket's path (unix(7))."""


@frozen(kw_only=True)
class PoolSettings:
    """Times in seconds.

    :ivar workers: how many.
    :ivar ports: first UDP port, and the one after the last; cut into one slice for each worker.
    :ivar bind: what workers bind RTP sockets to: one address, or one of each IP version, the usual one first.
    :ivar runtime: folder of the control socket; made, and closed to others, where it does not exist.
    :ivar dscp: code point of the RTP we send (46: expedited forwarding).
    :ivar quarantine: for which a port rests before another leg gets it.
    :ivar no_media: without RTP and RTCP, before a leg's media count as lost; ``no_media_on_hold`` while on hold.
    :ivar fast_path: the socket of the kernel fast path's helper; empty for none.
    :ivar max_load: the share of a core's time, 0 to 1, that a worker may need; one that needs more, and is late with
        packets, gets no more calls. 0 for no limit.
    :ivar ping_interval: between a ping's answer and the next ping. With ``ping_timeout`` it is the longest that
        a hung worker goes unnoticed: 2 s.
    :ivar request_timeout: for any command; a call in set-up cannot wait longer.
    :ivar start_timeout: from the start of a process to its Hello.
    :ivar stop_timeout: how long workers may take to end before they are killed.
    :ivar backoff: first and longest delay before a worker that fell at the start is replaced.
    """

    workers: int
    ports: tuple[int, int]
    bind: tuple[str, ...]
    runtime: str
    dscp: int = 46
    quarantine: float = 5.0
    recordings: str = ""
    no_media: float = 30.0
    no_media_on_hold: float = 3600.0
    fast_path: str = ""
    max_load: float = 0.9
    ping_interval: float = 0.5
    ping_timeout: float = 1.5
    request_timeout: float = 2.0
    start_timeout: float = 15.0
    stop_timeout: float = 3.0
    backoff: tuple[float, float] = (0.5, 30.0)
    command: WorkerCommand = field(factory=WorkerCommand)

    @property
    def socket(self) -> str:
        return str(Path(self.runtime) / "workers.sock")


def prepare_socket(path: str) -> None:
    """Make the socket's folder, and remove what a gateway left behind that is gone.

    :raise StellarError: if the folder cannot be used, the path is too long, or another gateway listens there.
    """
    if len(path.encode()) > LONGEST_SOCKET_PATH:
        raise StellarError(
            f"the control socket's path {path} is longer than {LONGEST_SOCKET_PATH} octets: "
            "choose a shorter runtime folder"
        )
    folder = Path(path).parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as reason:
        raise StellarError(f"the runtime folder {folder} cannot be used: {reason}") from reason
    if not Path(path).exists():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except OSError:
            Path(path).unlink(missing_ok=True)
            return
    raise StellarError(f"another gateway listens on {path}: end it, or give this one a runtime folder of its own")
