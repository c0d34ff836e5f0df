"""Three machines in one: a gateway between two phones, each a network namespace, joined by veth pairs.

::

    phone "a" 10.77.1.2 --- 10.77.1.1 gateway 10.77.2.1 --- 10.77.2.2 phone "b"

Needs root, and the commands ``ip`` and ``sysctl``.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

GATEWAY = {"a": "10.77.1.1", "b": "10.77.2.1"}
"""The gateway's address as each phone sees it."""
PHONE = {"a": "10.77.1.2", "b": "10.77.2.2"}
_NEW_NETWORK = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def unavailable() -> str:
    """Why there can be none; empty where there can."""
    if os.geteuid():
        return "network namespaces need root"
    missing = [command for command in ("ip", "sysctl") if shutil.which(command) is None]
    if missing:
        return f"{' and '.join(missing)} is not installed (tools/peers.sh)"
    name = f"sgw-try-{os.getpid()}"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if not tried.returncode:
        # In a chroot, say, they can be made, and not be entered.
        tried = subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], capture_output=True, text=True)
        subprocess.run(["ip", "netns", "del", name], capture_output=True)
    return f"network namespaces cannot be used: {tried.stderr.strip()}" if tried.returncode else ""


class Machines:
    """
    :param forwards: the gateway's kernel forwards packets.
    """

    def __init__(self, *, forwards: bool = True) -> None:
        self._names = {each: f"sgw-{os.getpid()}-{each}" for each in ("gateway", "a", "b")}
        for name in self._names.values():
            self._run("ip", "netns", "add", name)
            self._run("ip", "-n", name, "link", "set", "lo", "up")
        for each in ("a", "b"):
            self._join(each)
        settings = [f"net.ipv4.ip_forward={int(forwards)}"]
        for each in ("all", "to-a", "to-b"):
            settings += [f"net.ipv4.conf.{each}.rp_filter=1", f"net.ipv4.conf.{each}.send_redirects=0"]
        self._run(*self.command("gateway"), "sysctl", "-q", "-w", *settings)

    def _join(self, phone: str) -> None:
        gateway, name = self._names["gateway"], self._names[phone]
        self._run("ip", "-n", gateway, "link", "add", f"to-{phone}", "type", "veth", "peer", "eth0", "netns", name)
        for where, device, address in ((gateway, f"to-{phone}", GATEWAY[phone]), (name, "eth0", PHONE[phone])):
            self._run("ip", "-n", where, "addr", "add", f"{address}/24", "dev", device)
            self._run("ip", "-n", where, "link", "set", device, "up")
        self._run("ip", "-n", name, "route", "add", "default", "via", GATEWAY[phone])

    def command(self, machine: str) -> tuple[str, ...]:
        """What a command is to begin with, to run on that machine."""
        return ("ip", "netns", "exec", self._names[machine])

    def run(self, machine: str, *command: str) -> str:
        """What it prints.

        :raise CalledProcessError: it failed.
        """
        return self._run(*self.command(machine), *command)

    def socket(self, machine: str, address: tuple[str, int]) -> socket.socket:
        """A UDP socket of that machine's, bound."""
        made: list[socket.socket | OSError] = []

        def enter() -> None:
            # Of this thread alone; a socket stays where it was made.
            try:
                with Path(f"/run/netns/{self._names[machine]}").open("rb") as there:
                    if _libc.setns(there.fileno(), _NEW_NETWORK):
                        raise OSError(ctypes.get_errno(), "setns")
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.bind(address)
                made.append(sock)
            except OSError as reason:
                made.append(reason)

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        (sock,) = made
        if isinstance(sock, OSError):
            raise sock
        return sock

    def close(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def _run(self, *command: str) -> str:
        return _checked(command)


def _checked(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
