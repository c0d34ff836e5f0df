"""The helper of the fast path: what it does for whom, with a kernel that only writes down."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from errno import EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT
from io import StringIO
from pathlib import Path
from shutil import rmtree
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.fastpath import (
    MAX_FRAME,
    VERSION,
    CloseBridge,
    Closed,
    Counts,
    FastLeg,
    FastPathFrameError,
    OpenBridge,
    Opened,
    Refused,
    Tally,
    Welcome,
    decode_for_helper,
    decode_from_helper,
    encode_frame,
)
from stellar_gw.fastpath import main as fast_path_main
from stellar_gw.fastpath.bridges import Bridges, RefusedError
from stellar_gw.fastpath.main import main
from stellar_gw.fastpath.netlink import (
    DELETE_ELEMENT,
    NEW_ELEMENT,
    Command,
    NetlinkError,
    attribute,
    attributes,
    nested,
)
from stellar_gw.fastpath.server import Server

PORTS = (10000, 10100)
OURS = ("192.0.2.1", "192.0.2.2")


def bridge(number: int = 1, **changes: Any) -> OpenBridge:
    port = 10000 + 4 * (number - 1)
    legs = (
        FastLeg(local=(OURS[0], port), remote=("198.51.100.7", 4000 + number)),
        FastLeg(local=(OURS[1], port + 2), remote=("198.51.100.8", 6000 + number)),
    )
    return msgspec.structs.replace(OpenBridge(request=number, bridge=number, payload_type=0, legs=legs), **changes)


class FakeKernel:
    """Maps of keys, each with the same counters; ``changes`` counts what was done to them."""

    def __init__(self) -> None:
        self.maps: dict[str, set[bytes]] = {}
        self.changes = 0
        self.fails = 0

    def change(self, commands: Sequence[Command]) -> None:
        if self.fails:
            raise NetlinkError(self.fails)
        after = {name: set(keys) for name, keys in self.maps.items()}
        for command in commands:
            name, keys = self._named(command.body)
            known = after.setdefault(name, set())
            if command.kind == NEW_ELEMENT:
                if known & keys:
                    raise NetlinkError(EEXIST)
                known |= keys
            elif command.kind == DELETE_ELEMENT:
                if keys - known:
                    raise NetlinkError(ENOENT)
                known -= keys
        self.maps = after
        self.changes += 1

    def ask(self, kind: int, body: bytes, *, all_of_it: bool) -> list[bytes]:
        name, keys = self._named(body)
        known = self.maps.get(name, set())
        if keys - known:
            raise NetlinkError(ENOENT)
        counted = nested(2, attribute(1, (2000).to_bytes(8, "big")), attribute(2, (10).to_bytes(8, "big")))
        counter = nested(7, attribute(1, "counter"), counted)
        return [nested(3, nested(1, nested(1, attribute(1, key)), counter)) for key in (known if all_of_it else keys)]

    def _named(self, body: bytes) -> tuple[str, set[bytes]]:
        found = dict(attributes(body))
        elements = [dict(attributes(element)) for _, element in attributes(found.get(3, b""))]
        return found[2].rstrip(b"\0").decode(), {dict(attributes(element[1]))[1] for element in elements}

    @property
    def count(self) -> int:
        return sum(map(len, self.maps.values()))


class FakeAddresses:
    def ours(self, host: str) -> bool:
        return host in OURS

    def reachable(self, host: str) -> str:
        return "an address of this machine's" if host in OURS else ""


class BridgesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.kernel = FakeKernel()
        self.bridges = Bridges(self.kernel, FakeAddresses(), PORTS)

    def refused(self, request: OpenBridge, owner: str = "w") -> str:
        before = self.kernel.count
        error = self.assertRaises(RefusedError, self.bridges.open, owner, request)
        self.assertEqual(self.kernel.count, before)
        return str(error)

    def leg(self, **changes: Any) -> OpenBridge:
        """A bridge whose first leg is another."""
        one, two = bridge().legs
        return bridge(legs=(msgspec.structs.replace(one, **changes), two))

    def test_only_ours(self) -> None:
        """Nothing is made for ports, addresses and peers that are not a call's."""
        self.assertEqual(
            [
                self.refused(self.leg(local=(OURS[0], 5060))),
                self.refused(self.leg(local=(OURS[0], 10001))),
                self.refused(self.leg(local=(OURS[0], 10100))),
                self.refused(self.leg(local=(OURS[0], 10002))),
                self.refused(self.leg(local=("203.0.113.9", 10000))),
                self.refused(self.leg(local=("0.0.0.0", 10000))),
                self.refused(self.leg(local=("127.0.0.1", 10000))),
                self.refused(self.leg(local=("2001:db8::1", 10000))),
                self.refused(self.leg(remote=(OURS[1], 4000))),
                self.refused(self.leg(remote=("127.0.0.1", 4000))),
                self.refused(self.leg(remote=("224.0.0.1", 4000))),
                self.refused(self.leg(remote=("255.255.255.255", 4000))),
                self.refused(self.leg(remote=("0.0.0.0", 4000))),
                self.refused(self.leg(remote=("phone.example", 4000))),
                self.refused(self.leg(remote=("198.51.100.7", 0))),
                self.refused(self.leg(remote=("198.51.100.7", 65536))),
                self.refused(bridge(payload_type=128)),
                self.refused(bridge(payload_type=-1)),
            ],
            [
                "5060 is no RTP port of 10000 to 10099",
                "10001 is no RTP port of 10000 to 10099",
                "10100 is no RTP port of 10000 to 10099",
                "both legs have the same port",
                "203.0.113.9 is no address of this machine's",
                "0.0.0.0 is no address of this machine's",
                "127.0.0.1 is no address of this machine's",
                "'2001:db8::1' is no IPv4 address",
                "192.0.2.2: an address of this machine's",
                "127.0.0.1 is no address of another machine's",
                "224.0.0.1 is no address of another machine's",
                "255.255.255.255 is no address of another machine's",
                "0.0.0.0 is no address of another machine's",
                "'phone.example' is no IPv4 address",
                "a remote port is none",
                "a remote port is none",
                "the payload type is none",
                "the payload type is none",
            ],
        )

    def test_not_anothers(self) -> None:
        """A port is one bridge's, and a bridge its owner's: nobody else opens, or closes, what is taken."""
        self.bridges.open("w", bridge())
        self.assertEqual(
            [self.refused(bridge()), self.refused(bridge(), owner="v"), self.refused(bridge(bridge=2))],
            ["the bridge is open already", "port 10000 is another bridge's", "port 10000 is another bridge's"],
        )
        self.assertRaises(RefusedError, self.bridges.close, "v", 1)
        self.assertEqual((len(self.bridges), self.kernel.count), (1, 8))

    def test_closed(self) -> None:
        """A bridge's end says what has passed, and leaves nothing; its ports are free again."""
        self.bridges.open("w", bridge())
        self.assertEqual(self.bridges.close("w", 1), (Tally(10, 2000, 10, 2000), Tally(10, 2000, 10, 2000)))
        self.assertEqual(self.kernel.count, 0)
        self.bridges.open("v", bridge())

    def test_forgotten(self) -> None:
        """A connection's end takes all its bridges, few changes for many, and nobody else's."""
        for number in range(1, 11):
            self.bridges.open("w" if number < 10 else "v", bridge(number))
        before = self.kernel.changes
        self.bridges.forget("w")
        self.assertEqual((len(self.bridges), self.kernel.count, self.kernel.changes - before), (1, 8, 2))

    def test_taken_by_somebody_else(self) -> None:
        """Elements that are gone already keep none of the others in place."""
        self.bridges.open("w", bridge())
        self.kernel.maps["leaving"].pop()
        self.bridges.close("w", 1)
        self.assertEqual(self.kernel.count, 0)

    def test_kernel_refuses(self) -> None:
        """What the kernel will not do is refused, and leaves no trace."""
        self.kernel.fails = ENOENT
        self.assertEqual(self.refused(bridge()), "the kernel refuses it: No such file or directory")
        self.kernel.fails = 0
        self.bridges.open("w", bridge())


class FrameTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """Every message comes out as it went in."""
        for request in (bridge(), CloseBridge(request=2, bridge=1)):
            self.assertEqual(decode_for_helper(encode_frame(request)[4:]), request)
        for answer in (
            Welcome(version=VERSION, ports=PORTS),
            Opened(request=1, bridge=1),
            Closed(request=1, bridge=1, legs=(Tally(1, 2, 3, 4), Tally())),
            Refused(request=1, bridge=1, reason="no"),
            Counts(bridges=((1, Tally(1, 2, 3, 4), Tally()),)),
        ):
            self.assertEqual(decode_from_helper(encode_frame(answer)[4:]), answer)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.binary(max_size=100))
    def test_anything(self, frame: bytes) -> None:
        """What is no message is one specific error."""
        for decode in (decode_for_helper, decode_from_helper):
            try:
                decode(frame)
            except FastPathFrameError:
                pass


class ServerTests(SynchronousTestCase):
    """The socket itself; each turn does what is there to do."""

    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix="sgw-")
        self.addCleanup(rmtree, folder, ignore_errors=True)
        self.path = str(Path(folder) / "helper.sock")
        self.kernel = FakeKernel()
        self.logged: list[str] = []

    def server(self, *users: int) -> Server:
        bridges = Bridges(self.kernel, FakeAddresses(), PORTS)
        server = Server(self.path, bridges, PORTS, users or (os.geteuid(),), self.logged.append)
        self.addCleanup(server.close)
        server.turn()
        return server

    def connect(self, server: Server) -> socket.socket:
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.addCleanup(ours.close)
        ours.settimeout(10)
        ours.connect(self.path)
        server.turn()
        return ours

    def hear(self, ours: socket.socket) -> Any:
        length = int.from_bytes(ours.recv(4, socket.MSG_WAITALL), "big")
        return decode_from_helper(ours.recv(length, socket.MSG_WAITALL))

    def test_asked(self) -> None:
        """A worker is welcomed, and each of its requests answered; when it goes, so do its bridges."""
        server = self.server()
        ours = self.connect(server)
        ours.sendall(encode_frame(bridge()) + encode_frame(bridge()) + encode_frame(CloseBridge(request=3, bridge=9)))
        server.turn()
        self.assertEqual(
            [self.hear(ours) for _ in range(4)],
            [
                Welcome(version=VERSION, ports=PORTS),
                Opened(request=1, bridge=1),
                Refused(request=1, bridge=1, reason="the bridge is open already"),
                Refused(request=3, bridge=9, reason="there is no such bridge"),
            ],
        )
        self.assertEqual(self.kernel.count, 8)
        ours.close()
        server.turn()
        self.assertEqual(self.kernel.count, 0)
        self.assertRegex(self.logged[-1], "the rules of 1 bridges are gone")

    def test_other_users(self) -> None:
        """Nobody else's process gets so much as a welcome, and the log says whose it was."""
        server = self.server(os.geteuid() + 1)
        ours = self.connect(server)
        self.assertEqual(ours.recv(1), b"")
        self.assertEqual(self.logged, [f"process {os.getpid()} is turned away: user {os.geteuid()} may not ask"])

    def test_rubbish(self) -> None:
        """A frame that is no request, or too long, ends its connection and no other."""
        server = self.server()
        good = self.connect(server)
        for rubbish in (b"\0\0\0\3abc", (MAX_FRAME + 1).to_bytes(4, "big"), encode_frame(Opened(request=1, bridge=1))):
            bad = self.connect(server)
            self.hear(bad)
            bad.sendall(rubbish)
            server.turn()
            self.assertEqual(bad.recv(1), b"")
        good.sendall(encode_frame(bridge()))
        server.turn()
        self.assertEqual([type(self.hear(good)) for _ in range(2)], [Welcome, Opened])

    def test_in_pieces(self) -> None:
        """A request may come octet by octet."""
        server = self.server()
        ours = self.connect(server)
        for octet in encode_frame(bridge()):
            ours.sendall(bytes((octet,)))
            server.turn()
        self.assertEqual([type(self.hear(ours)) for _ in range(2)], [Welcome, Opened])

    def test_socket_is_closed_to_others(self) -> None:
        """The socket's mode lets its user and group connect, and nobody else."""
        self.server()
        self.assertEqual(Path(self.path).stat().st_mode & 0o777, 0o660)


class CommandTests(SynchronousTestCase):
    def test_ports(self) -> None:
        """A range that is none is an error of usage."""
        for ports in ("1-x", "20000-10000", "10001-10100", "0-10", "10000-70000"):
            with redirect_stderr(StringIO()) as said:
                self.assertRaises(SystemExit, main, ["--socket", "/nowhere/s", "--ports", ports])
            self.assertIn(f"--ports: {ports} is no range as 10000-19999 is one", said.getvalue())

    def test_unknown_user(self) -> None:
        """Nobody's name is said, in one line."""
        with redirect_stderr(StringIO()) as said:
            status = main(["--socket", "/nowhere/s", "--ports", "10000-10099", "--user", "nobody-here"])
        self.assertEqual(
            (status, said.getvalue()),
            (1, "stellar-gw fast path: the fast path cannot be had: there is no user nobody-here\n"),
        )

    def starts(self, error: Exception) -> str:
        """What a helper says that ends because its kernel answers like this."""

        class Kernel:
            def change(self, commands: Sequence[Command]) -> None:
                raise error

        forwards = Path(self.mktemp())
        forwards.write_text("1\n")
        self.patch(fast_path_main, "FORWARDING", forwards)
        self.patch(fast_path_main, "Netlink", Kernel)
        with redirect_stderr(StringIO()) as said:
            status = main(["--socket", "/nowhere/s", "--ports", "10000-10099"])
        self.assertEqual((status, said.getvalue().count("\n")), (1, 1))
        return said.getvalue()

    def test_what_a_kernel_lacks(self) -> None:
        """One line says whether it is a capability, another helper, the kernel's age, or something else, and which."""
        words = {
            NetlinkError(EPERM): "CAP_NET_ADMIN is missing ",
            NetlinkError(EEXIST): "there is a table stellar_fastpath already: another helper runs",
            NetlinkError(EOPNOTSUPP): "Linux 5.12 or newer): Operation not supported",
            NetlinkError(ENOENT): "this kernel has no nf_tables, or not all that is needed of it",
            OSError(EPROTONOSUPPORT, "Protocol not supported"): "this kernel has no nf_tables",
            NetlinkError(EINVAL): "the kernel refuses the table: Invalid argument",
        }
        begin = "stellar-gw fast path: the fast path cannot be had: "
        for error, expected in words.items():
            said = self.starts(error)
            self.assertEqual((said[: len(begin)], expected in said), (begin, True), said)
