"""The HTTP side of a real gateway: pages, Twilio's REST calls on a call that is up, webhooks, and hostile clients."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode

from attrs import define, field
from twisted.internet.threads import deferToThread

from stellar_gw.console.web import MAX_BODY
from stellar_gw.dialects.twilio import account_sid
from stellar_gw.dialects.twilio_webhook import signature
from stellar_gw.testing.agents import AgentServer, listen
from tests.integration.call_support import CallTestCase, until
from tests.integration.gateway_support import AUTH_TOKEN, BOT, ECHO, HOST, NOBODY

ACCOUNT = account_sid("acme")


@define
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.body)
        return told


class HttpTestCase(CallTestCase):
    async def ask(
        self, method: str, path: str, form: Mapping[str, str] | None = None, *, token: str = "", user: str = ACCOUNT
    ) -> Answered:
        """One request to the gateway, from a thread: the phones go on."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
        if token:
            headers["Authorization"] = "Basic " + b64encode(f"{user}:{token}".encode()).decode()
        body = None if form is None else urlencode(form)
        answered: Answered = await deferToThread(_request, self.gateway.ports["http"], method, path, body, headers)
        return answered

    async def update(self, sid: str, token: str = AUTH_TOKEN, **form: str) -> Answered:
        return await self.ask("POST", f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json", form, token=token)

    def open_socket(self) -> socket.socket:
        connection = socket.create_connection((HOST, self.gateway.ports["http"]), timeout=10)
        self.addCleanup(connection.close)
        return connection


def _request(port: int, method: str, path: str, body: str | None, headers: dict[str, str]) -> Answered:
    connection = HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return Answered(
            response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        )
    finally:
        connection.close()


class PageTests(HttpTestCase):
    async def test_pages(self) -> None:
        """Health, readiness and metrics of a gateway that has carried a call; and what is not there."""
        self.start()
        await self.record(await self.place(ECHO, duration=0.5).ended)
        paths = ("/healthz", "/readyz", "/nothing", "/metrics/x", "/2010-04-01", "/")
        told = {path: await self.ask("GET", path) for path in paths}
        self.assertEqual(
            {path: (each.status, each.json.get("status", each.json.get("message"))) for path, each in told.items()},
            {
                "/healthz": (200, "ok"),
                "/readyz": (200, "ready"),
                "/nothing": (404, "not found"),
                "/metrics/x": (404, "not found"),
                "/2010-04-01": (401, 401),
                "/": (404, "not found"),
            },
        )  # fmt: skip
        self.assertEqual(
            told["/readyz"].json, {"status": "ready", "reasons": [], "calls": 0, "workers": {"wanted": 1, "up": 1}}
        )
        metrics = await self.ask("GET", "/metrics")
        self.assertIn(
            b'stellar_gw_calls_ended_total{cause="caller_hangup",connector="echo",tenant="acme"} 1.0', metrics.body
        )
        self.assertIn(b"stellar_gw_workers_up 1.0", metrics.body)
        self.assertIn(b'stellar_gw_rtp_loss_ratio_count{direction="received"} 1.0', metrics.body)
        self.assertTrue(metrics.headers["content-type"].startswith("text/plain; version="))
        posted, head = await self.ask("POST", "/metrics", {}), await self.ask("HEAD", "/healthz")
        self.assertEqual((posted.status, posted.headers["allow"], head.status, head.body), (405, "GET, HEAD", 200, b""))
        for answered in (*told.values(), metrics, posted):
            shown = {name: answered.headers.get(name) for name in ("server", "cache-control", "x-content-type-options")}
            self.assertEqual(
                shown, {"server": "stellar-gw", "cache-control": "no-store", "x-content-type-options": "nosniff"}
            )

    async def test_hostile_clients(self) -> None:
        """Bodies that are too long, announced or not, and lines without end are cut off; nobody else notices."""
        self.start()
        place = f"POST /2010-04-01/Accounts/{ACCOUNT}/Calls/x.json HTTP/1.1\r\nHost: x\r\n".encode()
        announced, chunked, endless = self.open_socket(), self.open_socket(), self.open_socket()
        announced.sendall(place + b"Content-Length: 1073741824\r\n\r\n")
        piece = b"%x\r\n%s\r\n" % (8192, b"a" * 8192)
        _send(chunked, place + b"Transfer-Encoding: chunked\r\n\r\n" + piece * (MAX_BODY // 8192 + 2))
        _send(endless, b"GET /" + b"a" * 100_000)
        told = [(await deferToThread(_read, each))[:12] for each in (announced, chunked, endless)]
        self.assertEqual(told[:2], [b"HTTP/1.1 413"] * 2)
        self.assertIn(told[2], (b"HTTP/1.1 400", b""))  # cut off while it still spoke
        self.assertEqual((await self.ask("GET", "/healthz")).status, 200)


def _send(connection: socket.socket, octets: bytes) -> None:
    try:
        connection.sendall(octets)
    except (BrokenPipeError, ConnectionResetError):
        return


def _read(connection: socket.socket) -> bytes:
    received = b""
    try:
        while part := connection.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


class RestTests(HttpTestCase):
    async def test_what_an_agent_does_to_its_call(self) -> None:
        """Its sids come with the start; then the call is looked at, sent digits, not transferred, and ended."""
        agent = AgentServer(listen)
        self.enterContext(agent)
        self.start(bot=agent.url)
        call = self.place(BOT, duration=60.0)
        await until(lambda: agent.calls and agent.calls[0].media > 5)
        start = agent.call().start
        self.assertEqual(start["accountSid"], ACCOUNT)
        sid = start["callSid"]
        path = f"/2010-04-01/Accounts/{ACCOUNT}/Calls/{sid}.json"
        seen = (await self.ask("GET", path, token=AUTH_TOKEN)).json
        self.assertEqual(
            {name: seen[name] for name in ("sid", "account_sid", "status", "direction", "duration", "uri")},
            {"sid": sid, "account_sid": ACCOUNT, "status": "in-progress", "direction": "inbound", "duration": None,
             "uri": path},
        )  # fmt: skip
        strangers = [
            await self.ask("GET", path),
            await self.ask("GET", path, token="0123456789abcdef-wrong"),
            await self.ask("GET", path, token=AUTH_TOKEN, user=account_sid("globex")),
            await self.update("CA" + "0" * 32, Status="completed"),
        ]
        self.assertEqual(
            [(each.status, each.json["code"]) for each in strangers],
            [(401, 20003), (401, 20003), (401, 20003), (404, 20404)],
        )
        digits = await self.update(sid, Twiml='<Response><Play digits="1w2"/></Response>')
        refused = [
            await self.update(sid, Twiml="<Response><Dial>+31201234567</Dial></Response>"),
            await self.update(sid, Twiml="<Response><Refer><Sip>sip:a@b</Sip></Refer></Response>"),
            await self.update(sid, Twiml="<Response><Reject/></Response>"),
            await self.update(sid, Twiml="<Response><Gather/></Response>"),
            await self.update(sid, Url="https://x.example/"),
            await self.update(sid, Status="ringing"),
            await self.update(sid),
        ]
        self.assertEqual((digits.status, digits.json["status"]), (200, "in-progress"))
        self.assertEqual(
            [(each.status, each.json["code"]) for each in refused],
            [(400, 21220), (400, 21220), (400, 21220), (400, 12100), (400, 21205), (400, 20001), (400, 20001)],
        )
        await until(lambda: call.rtp.digits_heard == "12")
        ended = await self.update(sid, Status="completed")
        report = await call.ended
        record = await self.record(report)
        again = await self.update(sid, Status="completed")
        late = await self.update(sid, Twiml="<Response><Hangup/></Response>")
        self.assertEqual((ended.status, ended.json["status"]), (200, "completed"))
        self.assertEqual((again.status, again.json["status"], late.status), (200, "completed", 400))
        self.assertEqual((record["cause"], record["ended_by"]), ("agent_hangup", "agent"))
        self.assertNotIn(AUTH_TOKEN, self.gateway.log)


@define
class Webhook:
    """A voice webhook: answers everything with one document.

    :ivar asked: path, headers and fields of each request.
    """

    document: str = ""
    status: int = 200
    delay: threading.Event | None = None
    asked: list[tuple[str, dict[str, str], list[tuple[str, str]]]] = field(factory=list)
    url: str = ""

    def serve(self, test: HttpTestCase) -> Webhook:
        webhook = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                webhook.asked.append((self.path, dict(self.headers.items()), parse_qsl(body, keep_blank_values=True)))
                if webhook.delay is not None:
                    webhook.delay.wait(10)
                octets = webhook.document.encode()
                with contextlib.suppress(ConnectionError):  # the gateway may have given up
                    self.send_response(webhook.status)
                    self.send_header("Content-Type", "text/xml")
                    self.send_header("Content-Length", str(len(octets)))
                    self.end_headers()
                    self.wfile.write(octets)

            def log_message(self, format: str, *args: Any) -> None: ...

        server = ThreadingHTTPServer((HOST, 0), Answer)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        test.addCleanup(server.server_close)
        test.addCleanup(server.shutdown)
        self.url = f"http://{HOST}:{server.server_address[1]}/voice?x=1"
        return self


class WebhookTests(HttpTestCase):
    async def test_a_call_by_webhook(self) -> None:
        """The webhook is asked with a signature, its stream gets the call, and the parameters come with the start."""
        agent = AgentServer(listen)
        self.enterContext(agent)
        webhook = Webhook().serve(self)
        webhook.document = (
            f'<Response><Say>Hello</Say><Connect><Stream url="{agent.url}">'
            '<Parameter name="plan" value="gold"/></Stream></Connect></Response>'
        )
        self.start(bot=webhook.url)
        report = await self.place(BOT, duration=1.0, headers=(("X-Case-Id", "42"),)).ended
        record = await self.record(report)
        (path, headers, fields) = webhook.asked[0]
        start = agent.call().start
        self.assertEqual((len(webhook.asked), path), (1, "/voice?x=1"))
        self.assertEqual(headers["X-Twilio-Signature"], signature(AUTH_TOKEN, webhook.url, fields))
        self.assertEqual(headers["Authorization"], "Bearer s3cret-token")
        self.assertNotIn("Authorization", agent.call().headers)  # another port: none of its business
        told = dict(fields)
        self.assertEqual(
            (told["CallSid"], told["AccountSid"], told["To"], told["SipHeader_X-Case-Id"]),
            (start["callSid"], ACCOUNT, BOT, "42"),
        )
        self.assertEqual(start["customParameters"]["plan"], "gold")
        self.assertEqual((report.status, record["cause"]), (200, "caller_hangup"))
        self.assertGreater(agent.call().media, 20)

    async def test_webhooks_that_give_no_stream(self) -> None:
        """A rejection is the agent's own; what is wrong with a webhook is told, and the caller gets 480."""
        webhook = Webhook('<Response><Reject reason="busy"/></Response>').serve(self)
        self.start(bot=webhook.url, nobody="ws://127.0.0.1:9/ws")
        told = []
        for document, status in (
            (webhook.document, 200),
            ("<Response><Hangup/></Response>", 200),
            ("<Response><Say>Hello</Say></Response>", 200),
            ("moved", 302),
            ("x" * 70_000, 200),
        ):
            webhook.document, webhook.status = document, status
            report = await self.place(BOT).ended
            record = await self.record(report, "refusals")
            told.append((report.status, record["check"]))
        self.assertEqual(
            told,
            [
                (486, "agent_rejected"),
                (603, "agent_rejected"),
                (480, "agent_protocol"),
                (480, "agent_http_302"),
                (480, "agent_oversize"),
            ],
        )
        self.assertNotIn("x=1", self.gateway.log)  # what may be a secret

    async def test_a_webhook_that_does_not_answer(self) -> None:
        """It is given up in the agent's 3 s; a caller who leaves before takes the request along."""
        webhook = Webhook(delay=threading.Event()).serve(self)
        assert webhook.delay is not None
        self.addCleanup(webhook.delay.set)
        self.start(bot=webhook.url)
        leaving = self.place(BOT)
        await until(lambda: webhook.asked)
        leaving.hang_up()
        first = await self.record(await leaving.ended)
        report = await self.place(BOT).ended
        record = await self.record(report)
        self.assertEqual((first["cause"], report.status, record["cause"]), ("cancelled", 480, "agent_unavailable"))
        self.assertLess(record["ended"] - record["started"], 4.0)
        metrics = (await self.ask("GET", "/metrics")).body
        failures = [
            line for line in metrics.decode().splitlines() if line.startswith("stellar_gw_agent_failures_total{")
        ]
        labels = 'agent="bot",code="timeout",established="no",tenant="acme"'
        self.assertEqual(failures, [f"stellar_gw_agent_failures_total{{{labels}}} 1.0"])

    async def test_nobody_there(self) -> None:
        """A webhook that refuses the connection is an agent that is not there."""
        self.start(bot="http://127.0.0.1:9/voice")
        report = await self.place(BOT).ended
        record = await self.record(report, "refusals")
        self.assertEqual((report.status, record["check"]), (480, "agent_refused"))
        self.assertEqual((await self.place(NOBODY).ended).status, 480)
