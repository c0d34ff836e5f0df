"""What the contract suite of agent links is made of: a loop, a recorder of events, a link under watch."""

from __future__ import annotations

import asyncio
import datetime
import functools
import gc
import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.agent.link import Connector, Link, LinkClosed, LinkLimits, Target
from stellar_gw.agent.reading import Rota
from stellar_gw.agent.tls import client_tls
from stellar_gw.agent.ws_link import WsConnector
from stellar_gw.dialects.contract import Frame
from stellar_gw.testing.raw_agent import RawAgent, Script
from stellar_gw.testing.sansio_link import SansIoConnector

LIMITS = LinkLimits(connect_timeout=5.0, ping_interval=60.0, ping_timeout=60.0, close_timeout=5.0)
"""Patient ones: a test that needs a limit to be hit makes that one short."""


class Recorder:
    """Keeps what a link tells, in order, and notices being told from inside a call of ours."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.inside_a_call = False
        self.result: LinkClosed | None = None
        self.on_opened: Callable[[], None] = lambda: None
        self.on_received: Callable[[Frame], None] = lambda frame: None
        self._changed = asyncio.Event()

    def _tell(self, what: object) -> None:
        self.told.append("told inside a call" if self.inside_a_call else what)
        self._changed.set()

    def link_opened(self, connect_ms: float) -> None:
        self._tell("opened" if 0 < connect_ms < 10_000 else f"opened after {connect_ms} ms")
        self.on_opened()

    def link_received(self, frame: Frame) -> None:
        self._tell(frame)
        self.on_received(frame)

    def link_closed(self, closed: LinkClosed) -> None:
        self.result = closed
        self._tell((closed.code, closed.established, closed.clean))

    async def until(self, count: int) -> list[object]:
        """The first ``count`` things told, or all once the link is closed."""
        while len(self.told) < count and self.result is None:
            self._changed.clear()
            await self._changed.wait()
        return self.told

    async def closed(self) -> list[object]:
        """Everything told, once the link is closed."""
        return await self.until(1 << 30)


class WatchedLink:
    """Calls a link and lets the recorder know while it does."""

    def __init__(self, link: Link, recorder: Recorder) -> None:
        self._link = link
        self._recorder = recorder

    def _call(self, call: Callable[[], None]) -> None:
        self._recorder.inside_a_call = True
        try:
            call()
        finally:
            self._recorder.inside_a_call = False

    def send(self, frame: Frame) -> None:
        self._call(lambda: self._link.send(frame))

    def close(self, code: int = 1000, reason: str = "") -> None:
        self._call(lambda: self._link.close(code, reason))

    def abort(self) -> None:
        self._call(self._link.abort)


Test = Callable[[Any], Coroutine[Any, Any, None]]


def on_loop(test: Test) -> Callable[[Any], None]:
    """Run a test on the case's loop, for 20 s at most; nothing may be left for the loop to complain of."""

    @functools.wraps(test)
    def run(case: LinkCase) -> None:
        loop = case.new_loop()
        complaints: list[str] = []
        loop.set_exception_handler(lambda _, context: complaints.append(repr(context)))

        async def bounded() -> None:
            async with asyncio.timeout(20):
                try:
                    await test(case)
                finally:
                    for agent in case.agents:
                        await agent.stop()

        try:
            loop.run_until_complete(bounded())
            gc.collect()
            loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        case.assertEqual(complaints, [])

    return run


class LinkCase(SynchronousTestCase):
    """One implementation on one kind of loop; a mixin brings the tests."""

    connector_class: ClassVar[type[WsConnector] | type[SansIoConnector]]
    loop_factory: ClassVar[Callable[[], asyncio.AbstractEventLoop]]

    def setUp(self) -> None:
        self.agents: list[RawAgent] = []
        self.recorder = Recorder()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return type(self).loop_factory()

    async def agent(self, script: Script, tls: ssl.SSLContext | None = None) -> RawAgent:
        """A running agent; ``self.port`` is its port."""
        agent = RawAgent(script)
        self.agents.append(agent)
        self.port = await agent.start(tls)
        return agent

    def connect(
        self,
        url: str = "",
        *headers: tuple[str, str],
        limits: LinkLimits = LIMITS,
        subprotocol: str = "",
        tls: ssl.SSLContext | None = None,
        rota: Rota | None = None,
    ) -> WatchedLink:
        """A link to ``url``, by default to the last agent started."""
        connector: Connector = type(self).connector_class(asyncio.get_running_loop(), tls or no_tls(), rota)
        target = Target(
            url=url or f"ws://127.0.0.1:{self.port}/ws?token=hush",
            headers=headers,
            subprotocol=subprotocol,
        )
        self.recorder.inside_a_call = True
        link = connector.connect(target, self.recorder, limits)
        self.recorder.inside_a_call = False
        return WatchedLink(link, self.recorder)


@functools.cache
def no_tls() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class PicowsOnUvloop(LinkCase):
    connector_class = WsConnector
    loop_factory = staticmethod(uvloop.new_event_loop)


class PicowsOnAsyncio(LinkCase):
    connector_class = WsConnector
    loop_factory = staticmethod(asyncio.SelectorEventLoop)


class SansIoOnAsyncio(LinkCase):
    connector_class = SansIoConnector
    loop_factory = staticmethod(asyncio.SelectorEventLoop)


class SansIoOnUvloop(LinkCase):
    connector_class = SansIoConnector
    loop_factory = staticmethod(uvloop.new_event_loop)


if TYPE_CHECKING:
    Base = LinkCase
else:
    Base = object
"""Of a suite: trial runs it by :func:`on_every_link` only."""


def on_every_link(module: str, *suites: type[Base]) -> dict[str, type[LinkCase]]:
    """Each suite with either implementation on either loop, by name: a module's test cases."""
    kinds = (PicowsOnUvloop, PicowsOnAsyncio, SansIoOnUvloop, SansIoOnAsyncio)
    return {
        (name := f"{suite.__name__}{kind.__name__}Tests"): type(name, (suite, kind), {"__module__": module})
        for suite in suites
        for kind in kinds
    }


class Authority:
    """A certificate authority of the test's own, and contexts made with it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"stellar-gw test authority {id(self)}")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))

    def client(self) -> ssl.SSLContext:
        """Trusts this authority besides the system's."""
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            Path(file.name).write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
            return client_tls(file.name)

    def server(self, *names: str) -> ssl.SSLContext:
        """An agent's context, its certificate being for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([_general_name(name) for name in names]))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            Path(file.name).write_bytes(
                certificate.public_bytes(serialization.Encoding.PEM)
                + key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
            context.load_cert_chain(file.name)
        return context

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, hashes.SHA256())
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
