"""The one HTTP request that the gateway makes: against servers of every temper, on loopback."""

from __future__ import annotations

import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.trial.unittest import TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS

from stellar_gw.gateway.http_client import MAX_ANSWER, HttpAnswer, HttpClient, HttpFailed
from stellar_gw.net.resolver import Unresolvable
from stellar_gw.testing.certificates import Authority

reactor: Any = _reactor
HOST = "127.0.0.1"


class Answer(BaseHTTPRequestHandler):
    """Answers by the path."""

    asked: ClassVar[list[tuple[str, str, str, bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.path, self.headers["Host"], self.headers["X-Own"] or "", body))
        if self.path == "/long":
            octets = b"a" * (MAX_ANSWER + 1)
        elif self.path == "/moved":
            self.send_response(307)
            self.send_header("Location", "/fine")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        else:
            octets = b"fine"
        self.send_response(200)
        self.send_header("Content-Length", str(len(octets) + (10 if self.path == "/cut" else 0)))
        self.end_headers()
        try:
            self.wfile.write(octets)
        except ConnectionError:
            return

    def log_message(self, format: str, *args: Any) -> None: ...


def addresses(host: str) -> Deferred[tuple[str, ...]]:
    """A host of two addresses, the first of which refuses; any other is not known."""
    if host == "two.example":
        return succeed(("127.0.0.9", HOST))
    return succeed((host,)) if host == HOST else fail(Unresolvable(f"{host} has no address in DNS"))


class HttpClientTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        Answer.asked.clear()

    def serve(self, context: ssl.SSLContext | None = None) -> int:
        server = ThreadingHTTPServer((HOST, 0), Answer)
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        port: int = server.server_address[1]
        return port

    def identity(self) -> tuple[ssl.SSLContext, BrowserLikePolicyForHTTPS]:
        """A server's certificate, and a client that believes its authority."""
        folder = Path(self.mktemp())
        folder.mkdir()
        certificate, ca = Authority.create().write(folder, HOST)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        return context, BrowserLikePolicyForHTTPS(trustRootFromCertificates([Certificate.loadPEM(ca.read_bytes())]))

    async def told(self, url: str, policy: BrowserLikePolicyForHTTPS | None = None, timeout: float = 5.0) -> str:
        """The answer, or the code of its failure."""
        try:
            answer = await HttpClient(reactor, addresses, policy).post(url, [("X-Own", "ä")], b"a=1", timeout)
        except HttpFailed as error:
            return error.code
        self.assertIsInstance(answer, HttpAnswer)
        return f"{answer.status} {answer.body.decode()}"

    async def test_answers(self) -> None:
        """Any status is an answer, redirects are not followed, and long or cut bodies are none."""
        origin = f"http://{HOST}:{self.serve()}"
        told = {path: await self.told(origin + path) for path in ("/fine", "/moved", "/long", "/cut")}
        self.assertEqual(told, {"/fine": "200 fine", "/moved": "307 ", "/long": "oversize", "/cut": "protocol"})
        self.assertEqual([path for path, *_ in Answer.asked], list(told))
        self.assertEqual(Answer.asked[0][1:], (origin.removeprefix("http://"), "ä".encode().decode("latin-1"), b"a=1"))

    async def test_nobody_there(self) -> None:
        """Each way of not being there has its code; the next address of a host is tried."""
        port = self.serve()
        with socket.create_server((HOST, 0)) as silent:
            quiet = silent.getsockname()[1]
            told = [
                await self.told(f"http://two.example:{port}/fine"),
                await self.told("http://two.example:9/"),
                await self.told("http://nowhere.example/"),
                await self.told(f"http://{HOST}:{quiet}/", timeout=0.2),
            ]
        self.assertEqual(told, ["200 fine", "refused", "dns", "timeout"])

    async def test_urls_that_are_none(self) -> None:
        """What cannot be asked is told at once."""
        urls = (
            "http://a b/",
            "http:///x",
            "http://h:0/",
            "http://h:99999/",
            "http://user@h/",
            "http://h/ä",
            "ftp://h/",
        )
        self.assertEqual([await self.told(url) for url in urls], ["invalid_url"] * len(urls))

    async def test_certificates(self) -> None:
        """A server is believed by an authority that is known, in the name that was asked for, and by nothing else."""
        context, known = self.identity()
        port = self.serve(context)
        told = [
            await self.told(f"https://{HOST}:{port}/fine", known),
            await self.told(f"https://{HOST}:{port}/fine"),
            await self.told(f"https://two.example:{port}/fine", known),
        ]
        self.assertEqual(told, ["200 fine", "tls", "tls"])
        self.assertEqual(len(Answer.asked), 1)
