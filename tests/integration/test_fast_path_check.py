"""The gateway looks at the fast path's helper before it takes a call, and says what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase

from stellar_gw.control.fastpath import VERSION, Refused, Welcome, encode_frame
from stellar_gw.errors import StellarError
from stellar_gw.gateway.fastpath import check_helper
from tests.integration.gateway_support import start_with
from tests.integration.worker_support import runtime_folder

reactor: Any = installed_reactor


class Says(Protocol):
    """A helper's first word; none: it hangs up."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def connectionMade(self) -> None:
        assert self.transport is not None
        if self._octets:
            self.transport.write(self._octets)
        else:
            self.transport.loseConnection()


class CheckTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.path = str(Path(runtime_folder(self)) / "helper.sock")

    async def wrong(self, octets: bytes | None = None) -> str:
        """What is said of a helper that says this; of none at all without."""
        if octets is not None:
            factory = Factory.forProtocol(lambda: Says(octets))
            factory.noisy = False
            port = reactor.listenUNIX(self.path, factory)
            self.addCleanup(port.stopListening)
        try:
            await check_helper(reactor, self.path, (10000, 20000))
        except StellarError as reason:
            return str(reason)
        return ""

    async def test_sound(self) -> None:
        """A helper of this version, for these ports and more, is welcome."""
        self.assertEqual(await self.wrong(encode_frame(Welcome(version=VERSION, ports=(10000, 20001)))), "")

    async def test_none(self) -> None:
        """Without a helper the line says what to start, or to set."""
        said = await self.wrong()
        self.assertRegex(said, f"^media.fast_path is nftables, and its helper cannot be used at {self.path}: .* Start ")
        self.assertIn("or set media.fast_path: off", said)

    async def test_other_ports(self) -> None:
        """A helper for other ports is named, and both ranges with it."""
        said = await self.wrong(encode_frame(Welcome(version=VERSION, ports=(10000, 19000))))
        self.assertIn("it was started for ports 10000 to 18999, and media.ports are 10000 to 19999", said)

    async def test_other_version(self) -> None:
        """A helper that another release left running cannot be used."""
        said = await self.wrong(encode_frame(Welcome(version=VERSION + 1, ports=(10000, 20000))))
        self.assertIn("it is of another version of stellar-gw", said)

    async def test_hangs_up(self) -> None:
        """A helper that turns this user away has its reasons in its own log."""
        self.assertIn("it closes the connection: its log says why", await self.wrong(b""))

    async def test_something_else(self) -> None:
        """What speaks another language is no helper."""
        self.assertIn("what listens there is something else", await self.wrong(b"\0\0\0\3abc"))
        self.flushLoggedErrors()

    async def test_wrong_message(self) -> None:
        """Nor is what says something else first."""
        said = await self.wrong(encode_frame(Refused(request=1, bridge=1, reason="no")))
        self.assertIn("it is of another version of stellar-gw", said)


class GatewayTests(SynchronousTestCase):
    def test_does_not_start(self) -> None:
        """A gateway that is to use the fast path and finds no helper ends, and its last words say what to do."""
        changes = "workers: 1,", "workers: 1, fast_path: nftables, fast_path_socket: /nowhere/helper.sock,"
        said = str(self.assertRaises(RuntimeError, start_with, self, changes))
        self.assertIn("media.fast_path is nftables, and its helper cannot be used at /nowhere/helper.sock: ", said)
        self.assertIn(
            "Start stellar-gw-fastpath.service, whose log says what it lacks, or set media.fast_path: off", said
        )
