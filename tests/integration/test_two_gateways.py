"""One gateway's agents send their callers on to the connectors of another: ours on both sides of every feature.

A phone calls A; A's agent transfers it by INVITE; B answers as any phone system would. B knows A by its address, C,
which is the same otherwise, by a password only, and it takes three calls at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.protocol import DatagramProtocol

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.source import tone
from stellar_gw.media.wav import WavWriter
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import AnswerPlan, playable
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.message import Request, Response
from stellar_gw.sip.parser import parse_message
from stellar_gw.testing.certificates import Authority
from stellar_gw.testing.ports import free_port
from tests.integration.call_support import CallTestCase, heard, pause, reactor, until
from tests.integration.gateway_support import ECHO, NOBODY, READBACK, TRUNK, USER, RealGateway, start_with
from tests.integration.sound import RATE, keys_in
from tests.integration.transfer_support import FIRST_NUMBER, start_with_transfers

AT_B, AT_C, AT_BETWEEN = "127.0.0.3", "127.0.0.4", "127.0.0.5"
PROMPT_HZ, FIRST_HZ, STEP_HZ = 400, 520, 60
"""The prompt is a tone, and each caller says one of its own; A's agents have 440 Hz."""
HEARD = 400
"""Milliseconds of a tone: a dozen calls share a busy machine, which leaves gaps."""
BUSY, SECURE, PROMPT, SENDS_ON, REFERS, UNKNOWN = "611", "612", "613", "614", "615", "619"


@frozen(kw_only=True)
class Case:
    """One call, and what comes of its transfer.

    :ivar to: what A's transfer dials at B, or at C; ``between`` is B by way of :class:`Between`.
    :ivar conduct: the phone's, where it differs.
    :ivar srtp: ``outbound.srtp`` of A's way.
    :ivar code: of the transfer in A's record; None: it was bridged.
    :ivar ended_by: whose BYE ended the bridge.
    """

    to: str = ECHO
    at: str = "b"
    over: Transport = "udp"
    srtp: str = "off"
    phone: Transport = "udp"
    conduct: dict[str, Any] = field(factory=dict)
    code: str | None = None
    ended_by: str = "caller"


def codec(name: str, **more: Any) -> dict[str, Any]:
    return {"codecs": (name,), **more}


CASES = {
    "UDP, G.722": Case(conduct=codec("G722")),
    "TCP, PCMU, hold and resume": Case(over="tcp", conduct=codec("PCMU", duration=0)),
    "mutual TLS, PCMA, SRTP on both sides": Case(
        over="tls", srtp="required", phone="tls", conduct=codec("PCMA", srtp="required")
    ),
    "SRTP if it can be, plain caller": Case(over="tls", srtp="opportunistic", conduct=codec("PCMU")),
    "SRTP caller, plain target": Case(over="tcp", phone="tls", conduct=codec("G722", srtp="required")),
    "100rel": Case(conduct={"headers": (("Require", "100rel"),)}),
    "digits through both, B ends": Case(to=READBACK, conduct={"duration": 0}, ended_by="target"),
    "B's fallback": Case(to=PROMPT, conduct={"duration": 0}, ended_by="target"),
    "session timers": Case(at="between"),
    "B sends on, by INVITE": Case(to=SENDS_ON, conduct={"duration": 5.0}),
    "B cannot ask us by REFER": Case(to=REFERS),
    "by digest, UDP": Case(at="c", conduct={"duration": 0}),
    "by digest, TCP": Case(at="c", over="tcp", conduct={"duration": 0}),
    "by digest, TLS": Case(at="c", over="tls", srtp="required", conduct={"duration": 0}),
    "404": Case(to=UNKNOWN, code="not_found"),
    "480": Case(to=NOBODY, code="unreachable"),
    "486": Case(to=BUSY, code="busy"),
    "488": Case(to=SECURE, code="not_acceptable"),
    "503": Case(at="c", code="unreachable"),
}


def own_hz(name: str) -> int:
    """What a case's caller says."""
    return FIRST_HZ + STEP_HZ * list(CASES).index(name)


class Between(DatagramProtocol):
    """Passes datagrams on between A, which sends the first, and B.

    :ivar messages: what passed, in order.
    """

    def __init__(self, b: tuple[str, int]) -> None:
        self._b, self._a = b, ("", 0)
        self.messages: list[Request | Response] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.messages.append(parse_message(datagram, stream=False))
        if addr != self._b:
            self._a = addr
        assert self.transport is not None
        self.transport.write(datagram, self._a if addr == self._b else self._b)


class TwoGatewaysTests(CallTestCase):
    def setUp(self) -> None:
        self.authority = Authority.create()
        desk = Phone(reactor, "udp", TRUNK, answer=AnswerPlan(duration=0))
        desk.open()
        self.addCleanup(desk.stop)
        self.at_desk: list[PhoneCall] = []
        desk.incoming = self.at_desk.append
        self.b = self.other(AT_B, desk, "  a: {allowed_ips: [127.0.0.1, 127.0.0.5], tenants: [acme]}\n")
        self.c = self.other(AT_C, desk, "")
        self.between = Between((AT_B, self.b.ports["udp"]))
        port = free_port(AT_BETWEEN)
        self.addCleanup(reactor.listenUDP(port, self.between, AT_BETWEEN, 65535).stopListening)
        self.between_at = f"{AT_BETWEEN}:{port};transport=udp"
        self.gateway = start_with_transfers(
            self,
            [self.transfer(case) for case in CASES.values()],
            sip="trusted_ca: ca.pem, ",
            more_changes={"trunk_providers:\n": "trunk_providers:\n" + "".join(map(self.provider, CASES, range(99)))},
            authority=self.authority,
        )

    def other(self, host: str, desk: Phone, provider: str) -> RealGateway:
        """A gateway that is called."""
        folder = Path(self.mktemp())
        folder.mkdir()
        prompt = folder.absolute() / "prompt.wav"
        with prompt.open("wb") as file:
            writer = WavWriter(file, RATE)
            writer.write(tone((PROMPT_HZ,), RATE, 3200))
            writer.close()
        there = f"sip:desk@{TRUNK}:{desk.address[1]}"
        connectors = (
            f'      busy: {{identifier: "{BUSY}", agent: nobody, unavailable_status: 486}}\n'
            f'      secure: {{identifier: "{SECURE}", agent: "builtin:echo", srtp: required}}\n'
            f'      prompt: {{identifier: "{PROMPT}", agent: nobody, fallback: {{play: "{prompt}"}}}}\n'
            f'      sends: {{identifier: "{SENDS_ON}", agent: "builtin:transfer", options: {{to: desk}}}}\n'
            f'      refers: {{identifier: "{REFERS}", agent: "builtin:transfer", options: {{to: refers}}}}\n'
        )
        return start_with(
            self,
            ("domain: sip.acme.example", f"domain: b.gw.example\naliases: [{AT_BETWEEN}]"),
            ("trunk_providers:\n", f"trunk_providers:\n{provider}"),
            (", certificate: tls.pem}", ", certificate: tls.pem, client_ca: ca.pem}"),
            ("    connectors:\n", f"    connectors:\n{connectors}"),
            (
                "  acme:\n",
                f'  acme:\n    private_targets: true\n    transfers:\n      desk: {{to: "{there}"}}\n'
                f'      refers: {{to: "{there}", method: refer}}\n',
            ),
            ("limits: {", f"limits: {{calls: {3 if host == AT_C else 0}, "),
            authority=self.authority,
            host=host,
        )

    def there(self, case: Case) -> tuple[RealGateway, str]:
        if case.at == "between":
            return self.b, self.between_at
        gateway, host = (self.b, AT_B) if case.at == "b" else (self.c, AT_C)
        return gateway, f"{host}:{gateway.ports[case.over]};transport={case.over}"

    def transfer(self, case: Case) -> str:
        number = next(number for number, each in enumerate(CASES.values()) if each is case)
        return f'to: "sip:{case.to}@{self.there(case)[1]}", via: way{number}, method: invite'

    def provider(self, name: str, number: int) -> str:
        """A's way to B for one case."""
        case = CASES[name]
        outbound = f'to: "sip:{self.there(case)[1]}", srtp: {case.srtp}'
        outbound += ", client_certificate: tls.pem" if case.over == "tls" else ""
        outbound += ', username: freepbx-hq, password: "correct horse"' if case.at == "c" else ""
        return f"  way{number}: {{allowed_ips: [127.9.0.{number + 1}], tenants: [acme], outbound: {{{outbound}}}}}\n"

    async def test_every_feature(self) -> None:
        """Codecs, SRTP, transports, hold, digits, timers, digest, fallback, a second transfer, and every refusal."""
        calls = {name: self.call(number, case) for number, (name, case) in enumerate(CASES.items()) if name != "503"}
        await until(lambda: self.c.media_sockets() == 6)
        calls["503"] = self.call(list(CASES).index("503"), CASES["503"])
        await self.once_told("TCP, PCMU, hold and resume", "bridged")
        calls["TCP, PCMU, hold and resume"].hold()
        await self.once_told("digits through both, B ends", "bridged")
        calls["digits through both, B ends"].send_digits("59")
        calls["TCP, PCMU, hold and resume"].resume()
        await pause(1.0)
        calls["TCP, PCMU, hold and resume"].hang_up()
        await until(lambda: "59" in keys_in(heard(calls["digits through both, B ends"])[-8 * RATE :]))
        calls["digits through both, B ends"].send_digits("#")
        for name in ("by digest, UDP", "by digest, TCP", "by digest, TLS"):
            await self.once_told(name, "bridged")
        await self.once_told("503", "failed")
        for name in ("by digest, UDP", "by digest, TCP", "by digest, TLS"):
            calls[name].hang_up()
        records = {name: await self.record(await call.ended) for name, call in calls.items()}
        self.assertEqual(
            {name: (record["transfers"][0]["code"], record["ended_by"]) for name, record in records.items()},
            {name: (case.code, case.ended_by) for name, case in CASES.items()},
        )
        for name, case in CASES.items():
            if case.code is None:
                self.check(name, case, calls[name], records[name])
        self.check_more(calls, records)

    def call(self, number: int, case: Case) -> PhoneCall:
        sound = playable(f"tone:{own_hz(list(CASES)[number])}")
        return self.place(str(FIRST_NUMBER + number), case.phone, **{"duration": 4.0, "play": sound, **case.conduct})

    async def once_told(self, name: str, what: str) -> None:
        """Wait until A's log says what came of a case's transfer."""
        number = list(CASES).index(name)
        await until(lambda: f"transfer t{number} {what}" in self.gateway.log)

    def check(self, name: str, case: Case, call: PhoneCall, record: dict[str, Any]) -> None:
        """What both records say of one bridge, and what its caller heard."""
        there = self.record_there(case, record)
        [mine] = [leg for leg in record["legs"] if leg["leg"] == "target"]
        encrypted = case.over == "tls"
        self.assertEqual(
            (there["caller"], there["transport"], bool(there["srtp"]), bool(mine["srtp"]), there["codec"]),
            (USER if case.at == "c" else "a", case.over, encrypted, encrypted, mine["codec"]),
            name,
        )
        if case.to == ECHO:
            self.assertGreater(tone_ms(heard(call), RATE, own_hz(name)), HEARD, name)

    def record_there(self, case: Case, record: dict[str, Any]) -> dict[str, Any]:
        return self.there(case)[0].record(record["transfers"][0]["sip_call_id"])

    def check_more(self, calls: dict[str, PhoneCall], records: dict[str, dict[str, Any]]) -> None:
        """What single cases are about."""
        theirs = {
            name: self.record_there(CASES[name], record) for name, record in records.items() if CASES[name].code is None
        }
        self.assertGreater(tone_ms(heard(calls["B's fallback"]), RATE, PROMPT_HZ), HEARD)
        self.assertIn("59", keys_in(heard(calls["digits through both, B ends"])))
        pressed = [legs["digits through both, B ends"]["legs"][0]["digits"] for legs in (records, theirs)]
        self.assertEqual([pressed[0][:2], pressed[1]], ["59", "59#"], pressed)  # B may be faster than the end of #
        [at_desk] = self.at_desk
        self.assertGreater(tone_ms(heard(at_desk), RATE, own_hz("B sends on, by INVITE")), HEARD)
        self.assertEqual(theirs["B sends on, by INVITE"]["transfers"][0]["result"], "bridged")
        stayed = theirs["B cannot ask us by REFER"]["call_id"]
        self.assertIn(f"call {stayed}: transfer refers failed: the caller's phone system does not take", self.b.log)
        # The call, its hold and its end of hold; by TCP nothing comes twice.
        held = theirs["TCP, PCMU, hold and resume"]["ladder"]
        self.assertEqual(sum("<- " in line and " INVITE " in line for line in held), 3)
        self.assertEqual(
            {
                (each.headers.first("Session-Expires"), each.headers.first("Supported"))
                for each in self.between.messages
                if each.cseq.method == "INVITE" and (isinstance(each, Request) or each.status == 200)
            },
            {("1800", "100rel, timer"), ("1800;refresher=uas", "100rel, timer")},
        )
        self.assertTrue(any(" PRACK " in line for line in records["100rel"]["ladder"]))
