"""A full run's logs: no password, no token, no header of a caller's, no whole number in them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from stellar_gw.testing.agents import AgentServer
from tests.integration.fault_support import FaultCase, HurtGateway, MeasuredCall, Stranger, request
from tests.integration.gateway_support import BOT, DOMAIN, PASSWORD, TRUNK, USER

TOKEN = "s3cret-token"
CUSTOMER = "Zebra-4711-Okapi"
CALLER, CALLED = "+31612345678", "+31201230000"
WRONG = "wrong horse battery"


class SecretsTests(FaultCase):
    def full_run(self, gateway: HurtGateway) -> None:
        """Calls by digest, by address and over TLS, to agents that are there and not; refused ones; a reload."""
        password = gateway.folder / "password"
        password.write_text(f"{PASSWORD}\n")
        wrong = gateway.folder / "wrong"
        wrong.write_text(f"{WRONG}\n")
        caller = ("--from", f"sip:{CALLER}@{DOMAIN}", "--header", f"X-Customer: {CUSTOMER}", "--duration", "1")
        by_digest = (*caller, "--user", USER, "--password-file", str(password))
        self.call(gateway, 200, *by_digest, to=BOT)
        self.call(gateway, 200, *by_digest, "--tls-ca", str(gateway.ca), to=BOT)
        self.call(gateway, 200, *caller, "--bind", TRUNK, to=CALLED)
        self.call(gateway, 480, *by_digest, to="998")
        self.call(gateway, 404, *by_digest, to="+31207654321")
        self.call(gateway, 401, *caller, "--user", USER, "--password-file", str(wrong), to=BOT)
        with Stranger(gateway.sip) as stranger:
            stranger.ask(request("INVITE", stranger, headers=f'Authorization: Digest username="a{PASSWORD}\r\n'))
            stranger.ask(request("MESSAGE", stranger, headers=f"X-Customer: {CUSTOMER}\r\n"))

    def call(self, gateway: HurtGateway, status: int, *options: str, to: str) -> None:
        transport = "tls" if "--tls-ca" in options else "udp"
        self.assertEqual(MeasuredCall(self, gateway, *options, to=to, transport=transport).report()["status"], status)

    def test_info(self) -> None:
        """At the usual level: nothing; while the agent has its token and the header, and the records whole numbers."""
        with AgentServer() as agent:
            gateway = self.start(bot=agent.url)
            self.full_run(gateway)
            self.check_heard(agent, gateway)
            self.assertEqual(gateway.stop(), 0)
        self.check_silent(gateway, masked=True)
        self.assertIn("***5678", gateway.log)

    def test_debug(self) -> None:
        """At level debug numbers are whole, for who asked for them; secrets are as absent as ever."""
        with AgentServer() as agent:
            gateway = self.start({"records: {": "log: {level: debug}\nrecords: {"}, bot=agent.url)
            self.full_run(gateway)
            self.assertEqual(gateway.stop(), 0)
        self.check_silent(gateway, masked=False)
        self.assertIn(CALLER, gateway.log)

    def check_heard(self, agent: AgentServer, gateway: HurtGateway) -> None:
        """What must not be in logs has reached those that it is for."""
        start: dict[str, Any] = agent.call(2).start
        self.assertEqual({call.headers.get("Authorization") for call in agent.calls}, {f"Bearer {TOKEN}"})
        self.assertIn(CUSTOMER, str(start))
        record = gateway.wait_for_records(4)[2]
        self.assertEqual((record["from"], record["to"].partition("@")[0]), (f"sip:{CALLER}@{DOMAIN}", f"sip:{CALLED}"))

    def check_silent(self, gateway: HurtGateway, *, masked: bool) -> None:
        secrets = {PASSWORD, PASSWORD.replace(" ", "%20"), TOKEN, CUSTOMER, WRONG}
        secrets |= {
            hasher(f"{USER}:{DOMAIN}:{password}".encode()).hexdigest()
            for hasher in (hashlib.md5, hashlib.sha256)
            for password in (PASSWORD, WRONG)
        }
        if masked:
            secrets |= {CALLER[1:], CALLED[1:], "31207654321"}
        places = (gateway.log_path, *self.files_but_records(gateway))
        found = {
            (path.name, secret)
            for path in places
            for secret in secrets
            if secret in path.read_text(encoding="utf-8", errors="replace")
        }
        self.assertEqual(found, set())

    def files_but_records(self, gateway: HurtGateway) -> list[Path]:
        """The records hold what callers said, and never what is ours to keep; everything else holds neither."""
        for path in gateway.records_folder.glob("*.jsonl"):
            text = path.read_text(encoding="utf-8")
            self.assertEqual([secret for secret in (PASSWORD, WRONG, TOKEN) if secret in text], [], path)
        ours = {"conf.yaml", "password", "wrong"}
        return [path for path in gateway.folder.glob("*") if path.is_file() and path.name not in ours]
