"""Reaching the first address of a name that answers, with a resolver of the test's own."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Coroutine
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent import dial as dialling
from stellar_gw.agent.dial import dial
from stellar_gw.agent.failure import connect_failure
from stellar_gw.agent.request import Endpoint

WHERE = Endpoint(True, "agents.example", 443, "wss://agents.example")


class FakeLoop(asyncio.SelectorEventLoop):
    """Resolves every name to the addresses given, and connects to none but the good ones.

    :ivar silent: addresses that never answer.
    :ivar tried: in order.
    """

    def __init__(self, *hosts: str) -> None:
        super().__init__()
        self.hosts = hosts
        self.silent: set[str] = set()
        self.refusing: set[str] = set()
        self.tried: list[str] = []
        self.two_tried = asyncio.Event()

    async def getaddrinfo(self, host: object, port: object, **_: object) -> list[Any]:
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in self.hosts
        ]

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.tried.append(address[0])
        if len(self.tried) == 2:
            self.two_tried.set()
        if address[0] in self.silent:
            await asyncio.Event().wait()
        if address[0] in self.refusing:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")


class DialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(dialling, "STAGGER", 0.001)

    def dialled(self, loop: FakeLoop) -> Any:
        """The socket's family, or the error."""

        async def run() -> Any:
            before = asyncio.all_tasks()
            try:
                with await dial(loop, "agents.example", 443) as connection:
                    return connection.family
            except OSError as error:
                return connect_failure(WHERE, error).code
            finally:
                self.assertEqual(asyncio.all_tasks(), before)

        return self.run_on(loop, run())

    def run_on(self, loop: FakeLoop, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return loop.run_until_complete(asyncio.wait_for(work, 10))
        finally:
            loop.close()

    def test_families_take_turns(self) -> None:
        """A family whose addresses are all silent delays the call by one stagger, not by each address."""
        loop = FakeLoop("2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2")
        loop.silent = {"2001:db8::1", "2001:db8::2"}
        self.assertEqual(self.dialled(loop), socket.AF_INET)
        self.assertEqual(loop.tried, ["2001:db8::1", "192.0.2.1"])

    def test_refused_goes_on_at_once(self) -> None:
        """An address that refuses is followed by the next; if all do, the first error counts."""
        loop = FakeLoop("192.0.2.1", "192.0.2.2")
        loop.refusing = {"192.0.2.1"}
        self.assertEqual(self.dialled(loop), socket.AF_INET)
        loop = FakeLoop("192.0.2.1", "2001:db8::1", "192.0.2.2")
        loop.refusing = set(loop.hosts)
        self.assertEqual(self.dialled(loop), "refused")
        self.assertEqual(loop.tried, list(loop.hosts))

    def test_a_name_without_addresses(self) -> None:
        """A name that does not resolve is a failure of DNS, with the resolver's reason."""
        loop = FakeLoop()
        self.assertEqual(self.dialled(loop), "dns")
        failure = connect_failure(WHERE, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        self.assertEqual(
            failure.message, "wss://agents.example: the host name does not resolve (Name or service not known)"
        )

    def test_too_many_addresses(self) -> None:
        """Of a name's addresses eight are tried."""
        loop = FakeLoop(*(f"192.0.2.{number}" for number in range(1, 100)))
        loop.refusing = set(loop.hosts)
        self.assertEqual(self.dialled(loop), "refused")
        self.assertEqual(len(loop.tried), 8)

    def test_cancelled(self) -> None:
        """Cancelling it ends the attempts under way."""
        loop = FakeLoop("192.0.2.1", "192.0.2.2")
        loop.silent = set(loop.hosts)

        async def run() -> bool:
            before = asyncio.all_tasks()
            task = asyncio.ensure_future(dial(loop, "agents.example", 443))
            await loop.two_tried.wait()
            task.cancel()
            await asyncio.wait([task])
            return task.cancelled() and asyncio.all_tasks() == before

        self.assertTrue(self.run_on(loop, run()))
