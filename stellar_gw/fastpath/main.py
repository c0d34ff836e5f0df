"""The helper: ``python -m stellar_gw.fastpath.main --socket PATH --ports FIRST-LAST --user NAME``.

Needs CAP_NET_ADMIN in the network namespace of the media workers, and nothing else (conf/stellar-gw-fastpath.service).
"""

from __future__ import annotations

import argparse
import os
import pwd
import re
import signal
import socket
import sys
from contextlib import suppress
from errno import EAFNOSUPPORT, EEXIST, ENOENT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT
from pathlib import Path
from types import FrameType

from stellar_gw.errors import StellarError
from stellar_gw.fastpath.bridges import Bridges
from stellar_gw.fastpath.netlink import Netlink, NetlinkError
from stellar_gw.fastpath.ruleset import table
from stellar_gw.fastpath.server import Server

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class ThisMachine:
    """Its addresses, as the kernel says (:class:`stellar_gw.fastpath.bridges.Addresses`)."""

    def ours(self, host: str) -> bool:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind((host, 0))
            except OSError:
                return False
        return True

    def reachable(self, host: str) -> str:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((host, 9))
                source: str = probe.getsockname()[0]
            except OSError as reason:
                return reason.strerror or str(reason)
        # Whoever sends to itself does so from the same address.
        return "an address of this machine's" if source == host else ""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _run(options.socket, options.ports, _users(options.user), options.dscp)
    except StellarError as reason:
        _log(f"the fast path cannot be had: {reason}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stellar_gw.fastpath.main", description="Lets the kernel pass the RTP of bridged calls on."
    )
    parser.add_argument("--socket", required=True, help="where media workers find it (media.fast_path_socket)")
    parser.add_argument(
        "--ports", required=True, type=_ports, help="first and last RTP port, as in 10000-19999 (media.ports)"
    )
    parser.add_argument("--user", default="", help="whose processes may ask, besides its own user's: name or number")
    parser.add_argument("--dscp", type=int, choices=range(64), default=46, metavar="0-63", help="media.dscp (46)")
    return parser


def _ports(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})-(\d{1,5})", text, re.ASCII)
    first, end = (int(found[1]), int(found[2]) + 1) if found else (0, 0)
    if not 0 < first < end <= 65536 or first % 2:
        raise argparse.ArgumentTypeError(f"{text} is no range as 10000-19999 is one, the first even")
    return first, end


def _users(name: str) -> set[int]:
    """:raise StellarError: if there is no such user."""
    if not name:
        return {os.geteuid()}
    try:
        return {os.geteuid(), int(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid}
    except KeyError:
        raise StellarError(f"there is no user {name}") from None


def _run(path: str, ports: tuple[int, int], users: set[int], dscp: int) -> None:
    """:raise StellarError: if it cannot do its work."""
    netlink = _kernel(ports, dscp)
    bridges = Bridges(netlink, ThisMachine(), ports)
    server = Server(path, bridges, ports, users, _log)
    ending = []

    def end(number: int, frame: FrameType | None) -> None:
        ending.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    _log(f"ready on {path}, for ports {ports[0]} to {ports[1] - 1}")
    _notify("READY=1")
    try:
        while not ending:
            server.turn()
    finally:
        server.close()
        Path(path).unlink(missing_ok=True)
        netlink.close()


def _kernel(ports: tuple[int, int], dscp: int) -> Netlink:
    """Our table is there, and is gone with this process, however that ends.

    :raise StellarError: what is missing.
    """
    try:
        forwards = FORWARDING.read_text("ascii").strip() == "1"
    except OSError as reason:
        raise StellarError(f"{FORWARDING} cannot be read: {reason.strerror}") from None
    if not forwards:
        raise StellarError("the kernel forwards no packets: set net.ipv4.ip_forward=1 (sysctl), for this network")
    try:
        netlink = Netlink()
        netlink.change(table(ports, (ports[1] - ports[0]) // 4 + 1, dscp))
    except NetlinkError as reason:
        raise StellarError(_missing(reason.number, str(reason))) from None
    except OSError as reason:
        raise StellarError(_missing(reason.errno or 0, str(reason))) from None
    return netlink


def _missing(number: int, text: str) -> str:
    if number == EPERM:
        return "CAP_NET_ADMIN is missing (AmbientCapabilities=CAP_NET_ADMIN in the unit), or another helper runs"
    if number == EEXIST:
        return "there is a table stellar_fastpath already: another helper runs, or somebody has restored its table"
    if number in (EOPNOTSUPP, ENOENT, EPROTONOSUPPORT, EAFNOSUPPORT):
        return f"this kernel has no nf_tables, or not all that is needed of it (Linux 5.12 or newer): {text}"
    return f"the kernel refuses the table: {text}"


def _notify(state: str) -> None:
    """Tell systemd (sd_notify(3)), where it wants to know."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(state.encode("ascii"), "\0" + path[1:] if path.startswith("@") else path)


def _log(line: str) -> None:
    print(f"stellar-gw fast path: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
