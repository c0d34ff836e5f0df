"""IPv6 on the wire: a gateway that has nothing else, and one that has both and joins one to the other."""

from __future__ import annotations

import socket
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import tone_ms
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import AnswerPlan, playable
from stellar_gw.phone.report import CallReport
from stellar_gw.sip.flow import Transport
from stellar_gw.testing.agents import AgentServer, tone
from tests.integration.baresip_support import Baresip
from tests.integration.call_support import SOUND, CallTestCase, heard, reactor
from tests.integration.gateway_support import BOT, ECHO, HOST, TONE, TRUNK, RealGateway, start_with, uri_host
from tests.integration.name_server import MISSING as NO_NAME_SERVER
from tests.integration.name_server import NameServer
from tests.integration.sipp_support import SCENARIOS, Sipp
from tests.integration.sound import ENOUGH, RATE, noise, recognised

SIX = "::1"
TARGET_HZ = 700


def missing() -> str:
    """Why nothing of this can be tried here; empty: it can."""
    try:
        with closing(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)) as probe:
            probe.bind((SIX, 0))
    except OSError:
        return "this machine has no IPv6 on loopback (::1)"
    return ""


class OnlySixTests(CallTestCase):
    """A gateway that has IPv6 only."""

    skip = missing() or None
    host = SIX

    async def test_calls(self) -> None:
        """By digest over each transport, plain and SRTP, the echo comes back; records have addresses in brackets."""
        with AgentServer(tone, host=SIX) as agent:
            self.start(bot=agent.url)
            wanted: list[tuple[str, Transport, str]] = [
                (ECHO, "udp", "off"), (ECHO, "tcp", "off"), (ECHO, "tls", "off"), (ECHO, "udp", "optional"),
                (ECHO, "tls", "required"), (BOT, "udp", "off"),
            ]  # fmt: skip
            calls = [self.place_by_digest(number, transport, srtp=srtp) for number, transport, srtp in wanted]
            reports: list[CallReport] = await gatherResults([call.ended for call in calls])
        for report, call, (number, transport, srtp) in zip(reports, calls, wanted, strict=True):
            assert report.media is not None
            self.assertEqual((report.status, report.problem, report.transport), (200, "", transport))
            if number == ECHO:
                self.assertGreater(recognised(SOUND, heard(call)), ENOUGH, (transport, srtp))
            else:
                self.assertGreater(tone_ms(heard(call), RATE, 440), 1000)
            record = await self.record(report)
            self.assertRegex(record["source"], r"\A\[::1\]:\d+\Z")
            [leg] = record["legs"]
            self.assertEqual(
                (record["transport"], record["cause"], bool(leg["srtp"]), leg["packets_lost"], leg["packets_rejected"]),
                (transport, "caller_hangup", srtp != "off", 0, 0),
            )
        with urllib.request.urlopen(f"http://[::1]:{self.gateway.places[SIX, 'http']}/healthz", timeout=5) as answer:
            self.assertEqual(answer.status, 200)


class Both(CallTestCase):
    """A gateway that listens on either, and knows its callers of [::1] by a range."""

    skip = missing() or None

    def start_both(self, transfers: tuple[str, ...] = (), dns: str = "") -> None:
        named = "".join(f'      t{number}: {{to: "{to}", method: invite}}\n' for number, to in enumerate(transfers))
        numbers = "".join(
            f'      to-t{number}: {{identifier: "70{number}", agent: "builtin:transfer", options: {{to: t{number}}}}}\n'
            for number in range(len(transfers))
        )
        self.gateway = start_both(
            self,
            ("  acme:\n", f"  acme:\n    private_targets: true\n    transfers: {'' if named else '{}'}\n{named}"),
            ("    connectors:\n", f"    connectors:\n{numbers}"),
            ("http: {", f"dns: {{servers: [{dns}]}}\nhttp: {{"),
        )

    def from_(self, host: str, number: str, transport: Transport = "udp", seconds: float = 2.0) -> PhoneCall:
        """Call from the trunk, or from [::1], to the gateway's own address of the same kind."""
        self.host = host
        return self.phone(transport, TRUNK if host == HOST else SIX).place(
            self.plan(number, transport, duration=seconds)
        )


def start_both(test: SynchronousTestCase, *changes: tuple[str, str]) -> RealGateway:
    """A gateway that has both IP versions."""
    listeners = "".join(
        f'  {kind}-six: {{transport: {kind}, bind: "[::1]:0"{more}}}\n'
        for kind, more in (("udp", ""), ("tcp", ""), ("tls", ", certificate: tls.pem"))
    )
    return start_with(
        test,
        ("media: {", f"{listeners}media: {{"),
        ('bind: "127.0.0.1", workers', 'bind: "::", workers'),
        ("allowed_ips: [127.0.0.2]", 'allowed_ips: [127.0.0.2, "::/64"]'),
        *changes,
    )


class BridgeTests(Both):
    def names(self, zone: str) -> NameServer:
        folder = Path(self.mktemp())
        folder.mkdir()
        names = NameServer(folder, zone)
        self.addCleanup(names.stop)
        names.start()
        return names

    async def test_across(self) -> None:
        """A caller of either is joined to a target of the other, by its address and by a name: both hear each other."""
        taken: dict[str, list[PhoneCall]] = {}
        ports = {}
        for host in (SIX, TRUNK):
            phone = Phone(reactor, "udp", host, answer=AnswerPlan(duration=0, play=playable(f"tone:{TARGET_HZ}")))
            phone.open()
            self.addCleanup(phone.stop)
            phone.incoming = taken.setdefault(host, []).append
            ports[host] = phone.address[1]
        transfers = [f"sip:desk@[{SIX}]:{ports[SIX]}", f"sip:desk@{TRUNK}:{ports[TRUNK]}"]
        if NO_NAME_SERVER:
            self.start_both(tuple(transfers))
        else:
            names = self.names("desk.gw.example. 60 IN AAAA ::1")
            transfers.append(f"sip:desk@desk.gw.example:{ports[SIX]}")
            self.start_both(tuple(transfers), f'"{names.address[0]}:{names.port}"')
        across = [(HOST, SIX), (SIX, TRUNK), (HOST, SIX)][: len(transfers)]
        calls = [self.from_(caller, f"70{number}", seconds=4.0) for number, (caller, _) in enumerate(across)]
        reports: list[CallReport] = await gatherResults([call.ended for call in calls])
        there = [call for each in taken.values() for call in each]
        await gatherResults([call.ended for call in there])
        for report, call, (caller, target) in zip(reports, calls, across, strict=True):
            record = await self.record(report)
            case = f"{caller} -> {target}: {record}"
            self.assertEqual([each["result"] for each in record["transfers"]], ["bridged"], case)
            self.assertGreater(tone_ms(heard(call), RATE, TARGET_HZ), 1000, case)
            own = TRUNK if caller == HOST else SIX
            self.assertEqual([address_of(leg) for leg in record["legs"]], [own, target], case)
        self.assertEqual(len(there), len(calls))
        self.assertEqual([call for call in there if recognised(SOUND, heard(call)) <= ENOUGH], [])


def address_of(leg: dict[str, Any]) -> str:
    """Where a leg of a record was heard from, without the port."""
    return str(leg["latched"]).rpartition(":")[0].strip("[]")


class PeerTests(SynchronousTestCase):
    """Phone systems that are not ours."""

    skip = missing() or None
    timeout = 90

    def setUp(self) -> None:
        self.gateway = start_both(self)

    def test_sipp(self) -> None:
        """SIPp over UDP and TCP, and with RTP of the other IP version than its signalling: its offer's decides."""
        sipp = Sipp(self, self.gateway)
        cases = [
            (SIX, SIX, "u1", "IN IP6 ::1"),
            (SIX, SIX, "t1", "IN IP6 ::1"),
            (SIX, TRUNK, "u1", "IN IP4 127.0.0.1"),
            (TRUNK, SIX, "u1", "IN IP6 ::1"),
        ]
        for source, media, transport, connection in cases:
            host = SIX if source == SIX else HOST
            result = sipp.run(
                SCENARIOS / "caller.xml",
                "-d",
                "500",
                to=ECHO,
                source=source,
                media=media,
                transport=transport,
                host=host,
            )
            case = f"{source}, RTP from {media}, over {transport}"
            self.assertEqual(result.ok, (0, 1, 0), case + result.errors)
            answer = result.one("200 INVITE")
            self.assertIn(f"c={connection}\n", answer.body, case)
            place = self.gateway.places[host, "tcp" if transport == "t1" else "udp"]
            self.assertIn(f"@{uri_host(host)}:{place}", answer.header("Contact"), case)
            [leg] = self.gateway.record(result.call_id)["legs"]
            self.assertGreater(leg["packets_received"], 15, case)
            self.assertEqual(address_of(leg), media, case)

    def test_baresip(self) -> None:
        """baresip hears the agent over UDP and TCP; it is known by its range."""
        with ExitStack() as stack:
            phones = {
                transport: stack.enter_context(
                    Baresip(self.gateway, transport, transport=transport, codec="PCMU", play=noise(8.0), host=SIX)
                )
                for transport in ("udp", "tcp")
            }
            for phone in phones.values():
                phone.dial(TONE)
            for phone in phones.values():
                phone.wait_for("CALL_ESTABLISHED")
            for phone in phones.values():
                phone.wait_to_hear(0.8)
            for phone in phones.values():
                phone.command("hangup")
            for phone in phones.values():
                phone.wait_for("CALL_CLOSED")
        records = self.gateway.wait_for_records(2)
        self.assertEqual(
            sorted((each["transport"], each["admitted"], address_of(each["legs"][0])) for each in records),
            [(transport, "admitted as provider trunk (allowed IP ::/64)", SIX) for transport in ("tcp", "udp")],
        )
        for transport, phone in phones.items():
            self.assertGreater(tone_ms(phone.heard, RATE, 440), 400, transport)
