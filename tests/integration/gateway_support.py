"""What the tests of whole calls share: a real gateway on loopback, with agents of every kind behind it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.gateway_process import GatewayProcess, wait_until
from stellar_gw.testing.ports import PortBlock, take_ports

HOST = "127.0.0.1"
TRUNK = "127.0.0.2"
"""Callers from here are a trunk provider's and need no password."""
DOMAIN = "sip.acme.example"
USER, PASSWORD = "freepbx-hq", "correct horse"
AUTH_TOKEN = "0123456789abcdef-token"
"""Of the agent behind ``BOT``: for its REST calls, and in the signatures of its webhook."""
ECHO, TONE, READBACK, GREETING, CLOSED, BOT, NOBODY = "600", "601", "602", "603", "604", "999", "998"
RECORDED_ECHO, RECORDED_TONE = "605", "606"
"""What callers dial; behind ``BOT`` and ``NOBODY`` are Twilio agents, at the URLs that a test names."""

CONFIGURATION = """\
domain: sip.acme.example
listeners:
  udp: {bind: "@host:0"}
  tcp: {bind: "@host:0"}
  tls: {bind: "@host:0", certificate: tls.pem}
media: {ports: @ports, bind: "@media", workers: 1, quarantine: 500ms}
sip: {t1: @t1}
agent: {ping_interval: @ping, ping_timeout: @ping}
limits: {requests: 10000, burst: 10000}
records: {directory: "{records}"}
http: {bind: "@host:0"}
trunk_providers:
  trunk: {allowed_ips: [127.0.0.2], tenants: [acme]}
tenants:
  acme:
    credentials:
      freepbx-hq: {password: "correct horse"}
    agents:
      bot:
        environments:
          production:
            dialect: twilio
            url: "@bot"
            resumes: @resumes
            headers: {Authorization: "Bearer ${env:BOT_TOKEN}", X-Call-Id: "{call_id}"}
            variables: {company: Acme}
            secrets: {auth_token: "${env:AUTH_TOKEN}"}
      nobody:
        environments:
          production: {dialect: twilio, url: "@nobody"}
    connectors:
      echo: {identifier: "600", agent: "builtin:echo"}
      tone: {identifier: "601", agent: "builtin:tone"}
      readback: {identifier: "602", agent: "builtin:readback"}
      greeting: {identifier: "603", agent: "builtin:greeting"}
      closed: {identifier: "604", agent: "builtin:echo", enabled: false}
      recorded-echo: {identifier: "605", agent: "builtin:echo", record: true}
      recorded-tone: {identifier: "606", agent: "builtin:tone", record: true}
      bot: {identifier: "999", agent: bot@prompt}
      nobody: {identifier: "998", agent: nobody@prompt}
      main-line: {type: phone, number: "+31201230000", provider: trunk, agent: bot}
"""


def uri_host(host: str) -> str:
    """An address as URIs and configurations write it."""
    return f"[{host}]" if ":" in host else host


class RealGateway(GatewayProcess):
    """A gateway with the configuration above; its authority's certificate is ``ca`` for phones to believe.

    :param bot: URL of the agent behind :data:`BOT`.
    :param nobody: URL of the agent behind :data:`NOBODY`; nothing listens there by default.
    :param resumes: ``true`` where the agent behind :data:`BOT` may be connected anew.
    :param prompt: a WAV file that both connectors fall back on; empty for none.
    :param t1: as ``sip.t1`` is written.
    :param host: where it listens.
    :param ping: from ping to ping, and for an agent's pong.
    """

    def __init__(
        self,
        folder: Path,
        block: PortBlock,
        *,
        bot: str = "",
        nobody: str = "",
        resumes: str = "false",
        prompt: str = "",
        t1: str = "500ms",
        host: str = HOST,
        ping: str = "5s",
    ) -> None:
        self._block = block
        unused = "ws://127.0.0.1:9/ws"
        places = {
            "@host": uri_host(host),
            "@media": host,
            "@ports": block.range,
            "@t1": t1,
            "@ping": ping,
            "@bot": bot or unused,
            "@nobody": nobody or unused,
            "@resumes": resumes,
            "@prompt": f', fallback: {{play: "{prompt}"}}' if prompt else "",
        }
        text = CONFIGURATION
        for place, value in places.items():
            text = text.replace(place, value)
        super().__init__(text, folder, environ={"BOT_TOKEN": "s3cret-token", "AUTH_TOKEN": AUTH_TOKEN})
        self.ca = Authority.create().write(self.folder, DOMAIN, host)[1]

    def media_sockets(self) -> int:
        """How many RTP and RTCP ports its workers hold open, as the kernel says."""
        tables = [Path(path).read_text().splitlines()[1:] for path in ("/proc/net/udp", "/proc/net/udp6")]
        rows = [row.split() for table in tables for row in table]
        ports = {row[9]: int(row[1].partition(":")[2], 16) for row in rows}
        held = [ports.get(inode, 0) for pid in self.workers for inode in _socket_inodes(pid)]
        return sum(self._block.first <= port <= self._block.last for port in held)

    def record(self, call_id: str, name: str = "cdr") -> dict[str, Any]:
        """The one record of a SIP Call-ID.

        :raise AssertionError: there is none within 5 s, or there are two.
        """

        def found() -> list[dict[str, Any]]:
            return [record for record in self.records(name) if record["sip_call_id"] == call_id]

        wait_until(found, 5.0)
        (record,) = found()
        return record


def _socket_inodes(pid: int) -> Iterator[str]:
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kind, _, inode = str(link.readlink()).partition(":")
            if kind == "socket":
                yield inode.strip("[]")


def start_gateway(test: SynchronousTestCase, **settings: str) -> RealGateway:
    """A gateway for one test; after it nothing may be left: no call, no open port, no traceback."""
    return start_with(test, authority=None, **settings)


def start_with(
    test: SynchronousTestCase, *changes: tuple[str, str], authority: Authority | None = None, **settings: str
) -> RealGateway:
    """A gateway whose configuration differs from the usual one.

    :param authority: issues its certificate, and is its ``ca.pem``; by default one of its own.
    """
    block = take_ports()
    test.addCleanup(block.release)
    folder = Path(test.mktemp())
    folder.mkdir(parents=True)
    gateway = changed(RealGateway(folder, block, **settings), *changes)
    if authority is not None:
        authority.write(gateway.folder, DOMAIN, settings.get("host", HOST))
    test.addCleanup(gateway.stop)
    gateway.start()
    test.addCleanup(check_nothing_left, test, gateway)
    return gateway


def changed(gateway: RealGateway, *changes: tuple[str, str]) -> RealGateway:
    """The same, its configuration rewritten: each text that is to be replaced stands in it once."""
    text = gateway.path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    gateway.path.write_text(text)
    return gateway


def check_nothing_left(test: SynchronousTestCase, gateway: RealGateway) -> None:
    """All ports are closed; told to stop it stops at once, since it carries no call; nothing went wrong inside."""
    closed = wait_until(lambda: gateway.media_sockets() == 0, 5.0)
    test.assertTrue(closed, f"{gateway.media_sockets()} media sockets are open after the last call")
    test.assertEqual((gateway.stop(), gateway.log.count("Traceback")), (0, 0), gateway.log[-3000:])
    test.assertNotIn("draining", gateway.log)


class Silent:
    """A TCP port that takes connections and says nothing: an agent that never answers the upgrade.

    :param test: after which it is closed; None: with the process.
    :ivar url: where it listens.
    """

    def __init__(self, test: SynchronousTestCase | None) -> None:
        self._server = socket.create_server((HOST, 0))
        self._server.settimeout(5.0)
        if test is not None:
            test.addCleanup(self._server.close)
        self.url = f"ws://{HOST}:{self._server.getsockname()[1]}/ws"

    def left(self) -> bool:
        """Whether the one who connected has closed the connection, within 5 s."""
        connection, _ = self._server.accept()
        with connection:
            connection.settimeout(5.0)
            try:
                while connection.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            except TimeoutError:
                return False
        return True


def soon(true: Callable[[], object], what: str, timeout: float = 10.0) -> None:
    """Wait until it is true.

    :raise AssertionError: it does not come true.
    """
    if not wait_until(true, timeout):
        raise AssertionError(f"not within {timeout:g} s: {what}")
