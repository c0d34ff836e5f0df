"""Calls to agents of every temper: what an agent is told, what it may do, and how its failures reach the caller."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.pcm import ulaw_from_pcm
from stellar_gw.media.source import Tone
from stellar_gw.phone.report import CallReport
from stellar_gw.phone.rtp import RATE
from stellar_gw.sip.values import parse_name_addr
from stellar_gw.testing.agents import AgentCall, AgentServer, Behaviour, closing, listen, tone
from stellar_gw.testing.ports import free_port
from tests.integration.call_support import CallTestCase, heard, pause, reactor, until
from tests.integration.gateway_support import BOT, DOMAIN, HOST, NOBODY, READBACK, Silent


def mu_law_tone(hertz: int, seconds: float) -> bytes:
    return ulaw_from_pcm(Tone((hertz,), 8000).take(int(8000 * seconds)))


class AgentCallTestCase(CallTestCase):
    def start_with(self, behaviour: Behaviour) -> AgentServer:
        agent = AgentServer(behaviour)
        self.enterContext(agent)
        self.start(bot=agent.url)
        return agent


class ContextTests(AgentCallTestCase):
    async def test_what_an_agent_is_told(self) -> None:
        """The start message carries everything that is known of the call; the request our headers and secrets."""
        agent = self.start_with(listen)
        caller = parse_name_addr(f'"Ann de Vries" <sip:+31612345678@{DOMAIN}>')
        call = self.place_by_digest(
            BOT, "tls", codecs=("PCMA",), duration=0.5, from_=caller,
            headers=(
                ("X-Case-Id", "case 42"),
                ("X-Customer", "Björn"),
                ("Accept-Language", "de;q=0.3, nl-BE, en;q=0.8"),
                ("P-Asserted-Identity", "<sip:+31612345678@carrier.example;verstat=TN-Validation-Passed>"),
                ("Privacy", "id"),
                ("Diversion", "<sip:+31201230000@pbx.example>;reason=no-answer"),
                ("User-to-User", "3031;encoding=hex"),
                ("Identity", "eyJhbGciOiJFUzI1NiJ9.e30.c2ln;info=<https://cert.example/1>;alg=ES256"),
                ("Remote-Party-ID", "<sip:+31600000000@carrier.example>;party=calling"),
            ),
        )  # fmt: skip
        report = await call.ended
        heard_by_agent, ending = agent.call(), await self.ending(report)
        record = await self.record(report)
        host = f"{HOST}:{self.gateway.ports['tls']}"
        contact = heard_by_agent.start["customParameters"].pop("contact")
        self.assertEqual(
            heard_by_agent.start["customParameters"],
            {
                "from": "+31612345678",
                "from_number": "+31612345678",
                "from_uri": f"sip:+31612345678@{DOMAIN}",
                "from_display": "Ann de Vries",
                "to": BOT,
                "to_number": BOT,
                "to_uri": f"sip:{BOT}@{HOST}",
                "call_id": record["call_id"],
                "tenant": "acme",
                "connector": "bot",
                "agent": "bot",
                "environment": "production",
                "version": "1",
                "language": "nl-BE",
                "accept_language": "de;q=0.3, nl-BE, en;q=0.8",
                "user_agent": "stellar-gw-call",
                "p_asserted_identity": "<sip:+31612345678@carrier.example;verstat=TN-Validation-Passed>",
                "remote_party_id": "<sip:+31600000000@carrier.example>;party=calling",
                "privacy": "id",
                "diversion": "<sip:+31201230000@pbx.example>;reason=no-answer",
                "history_info": "",
                "diverted_from": "+31201230000",
                "diversion_reason": "no-answer",
                "user_to_user": "3031;encoding=hex",
                "verstat": "TN-Validation-Passed",
                "attestation": "",
                "identity": "eyJhbGciOiJFUzI1NiJ9.e30.c2ln;info=<https://cert.example/1>;alg=ES256",
                "codec": "PCMA",
                "tls": "true",
                "srtp": "false",
                "X-Case-Id": "case 42",
                "X-Customer": "Björn",
                "company": "Acme",
            },
        )
        self.assertTrue(contact.startswith("sip:") and HOST in contact, contact)
        self.assertEqual(
            (heard_by_agent.headers["Authorization"], heard_by_agent.headers["X-Call-Id"]),
            ("Bearer s3cret-token", record["call_id"]),
        )
        self.assertEqual((record["to"].partition(";")[0], ending[2]), (f"sip:{BOT}@{host}", "caller_hangup"))

    async def test_by_phone_number(self) -> None:
        """A trunk's call to a phone number, dialled without the plus, is told with what was dialled."""
        agent = self.start_with(listen)
        report = await self.place("31201230000", duration=0.5).ended
        told = agent.call().start["customParameters"]
        self.assertEqual(
            (told["to"], told["connector"], told["tls"], (await self.record(report))["admitted"].partition(" (")[0]),
            ("31201230000", "main-line", "false", "admitted as provider trunk"),
        )


class TalkTests(AgentCallTestCase):
    async def test_marks_and_clear(self) -> None:
        """A mark comes back when what was before it has been heard; clear silences at once and returns the rest."""
        times: dict[str, float] = {}

        async def script(call: AgentCall) -> None:
            await call.started()
            await call.play(mu_law_tone(440, 0.5))
            await call.say("mark", mark={"name": "half"})
            await call.play(mu_law_tone(440, 30.0))
            await call.say("mark", mark={"name": "long"})
            times["began"] = time.monotonic()
            while not call.heard.digits and await call.next() is not None:
                if call.heard.marks and "half" not in times:
                    times["half"] = time.monotonic()
            await call.say("clear")
            await call.play(mu_law_tone(700, 0.5))
            await call.say("mark", mark={"name": "bye"})
            while "bye" not in call.heard.marks and await call.next() is not None:
                pass
            await call.connection.close(1000)

        agent = self.start_with(script)
        call = self.place(BOT, codecs=("PCMU",), duration=0, digits="5", digits_after=1.5)
        report = await call.ended
        self.assertEqual((agent.call().marks, agent.call().digits), (["half", "long", "bye"], "5"))
        # The call is answered when the agent is there, so its clock starts a moment before the caller's.
        self.assertTrue(0.45 < times["half"] - times["began"] < 3.0, times)
        long, short = (tone_ms(heard(call), RATE, hertz) for hertz in (440, 700))
        self.assertTrue(1000 <= long <= 3500 and 240 <= short <= 520, f"{long} ms of 440 Hz, {short} ms of 700 Hz")
        self.assertEqual(await self.ending(report), (200, "remote", "agent_hangup", "agent"))

    async def test_digits_to_an_agent(self) -> None:
        """Every key that is pressed reaches the agent once, in order, while both sides talk."""
        agent = self.start_with(tone)
        call = self.place(BOT, codecs=("G722",), duration=0, digits="0123456789*#", digits_after=0.3)
        await call.answered
        await until(lambda: "#" in agent.call().digits)
        call.hang_up()
        report = await call.ended
        self.assertTrue(agent.call().ended.wait(5.0))
        self.assertEqual(
            (agent.call().digits, (await self.record(report))["legs"][0]["digits"]), ("0123456789*#", "0123456789*#")
        )

    async def test_hung_up_by_key(self) -> None:
        """The built-in agent hangs up at #: BYE, and the record says that the agent did it."""
        self.start()
        report = await self.place(READBACK, duration=0, digits="#", digits_after=0.5).ended
        self.assertEqual(await self.ending(report), (200, "remote", "agent_hangup", "agent"))


class EndTests(AgentCallTestCase):
    async def test_agent_says_good_bye(self) -> None:
        """An agent that closes with 1000 has hung up; what it said before is heard to its end."""

        async def script(call: AgentCall) -> None:
            await call.started()
            await call.play(mu_law_tone(440, 1.0))
            await call.connection.close(1000)

        self.start_with(script)
        call = self.place(BOT, duration=0)
        report = await call.ended
        self.assertEqual(await self.ending(report), (200, "remote", "agent_hangup", "agent"))
        self.assertGreater(tone_ms(heard(call), RATE, 440), 600)

    async def test_agent_fails(self) -> None:
        """An agent that closes with 1011 has failed: BYE, and the record has its code and its words."""
        self.start_with(closing(1011, "the model failed"))
        report = await self.place(BOT, duration=0).ended
        self.assertEqual(await self.ending(report), (200, "remote", "agent_lost", "agent"))
        reason = (await self.record(report))["reason"]
        self.assertTrue("1011" in reason and "the model failed" in reason and "bot/production" in reason, reason)

    async def test_agent_is_cut_off(self) -> None:
        """Some calls, and the agent's process is gone: each caller gets BYE at once."""
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.start(bot=stack.enter_context(AgentServer(tone)).url)
        calls = [self.place(BOT, duration=0) for _ in range(5)]
        for call in calls:
            await call.answered
        await pause(0.5)
        stack.close()
        reports = [await call.ended for call in calls]
        self.assertEqual({await self.ending(report) for report in reports}, {(200, "remote", "agent_lost", "agent")})


class Refusing(Protocol):
    """An HTTP server that takes nobody."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        self.transport.loseConnection()


class AbsenceTests(AgentCallTestCase):
    """The caller gets 480, soon, and the operator a record that says why."""

    async def refused(self, nobody: str) -> tuple[CallReport, dict[str, Any]]:
        self.start(nobody=nobody)
        began = time.monotonic()
        report = await self.place(NOBODY).ended
        self.assertLess(time.monotonic() - began, 5.0)
        refusal = await self.record(report, "refusals")
        self.assertEqual(
            (report.status, report.reference, refusal["status"], (await self.record(report))["cause"]),
            (480, refusal["reference"], 480, "agent_unavailable"),
        )
        return report, refusal

    async def test_nobody_listens(self) -> None:
        """Nothing listens at the agent's URL."""
        _, refusal = await self.refused(f"ws://{HOST}:{free_port()}/ws")
        self.assertEqual((refusal["check"], refusal["fix"]), ("agent_refused", "Start the agent, or correct its url"))

    async def test_wrong_token(self) -> None:
        """The agent's server answers 401 to the upgrade."""
        port = await TCP4ServerEndpoint(reactor, 0, interface=HOST).listen(Factory.forProtocol(Refusing))
        self.addCleanup(port.stopListening)
        address = port.getHost()
        assert isinstance(address, IPv4Address)
        _, refusal = await self.refused(f"ws://{HOST}:{address.port}/ws")
        self.assertEqual(refusal["check"], "agent_http_401")
        self.assertIn("Authorization", refusal["fix"])

    async def test_silence(self) -> None:
        """The agent's port takes the connection and says nothing: given up after 3 s, before the phone system does."""
        agent = Silent(self)
        report, refusal = await self.refused(agent.url)
        self.assertEqual(refusal["check"], "agent_timeout")
        finals = [rung.at_ms for rung in report.ladder if rung.start_line.startswith("SIP/2.0 480")]
        self.assertTrue(2900 < finals[0] < 4000, finals)
        self.assertTrue(agent.left())
