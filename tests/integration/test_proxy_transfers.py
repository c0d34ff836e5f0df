"""Transfers by INVITE to people behind a proxy, and what calls come to while it is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stellar_gw.media.analysis import tone_ms
from stellar_gw.net.tls import Identity, ServerTls
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.phone import IncomingCall, Phone
from stellar_gw.phone.plan import AnswerPlan, playable
from stellar_gw.sip.flow import Transport
from stellar_gw.testing.certificates import Authority
from tests.integration.call_support import SOUND, heard, reactor
from tests.integration.gateway_support import HOST, TRUNK
from tests.integration.proxy_support import Proxy, ProxyCase, start_behind
from tests.integration.sound import RATE, recognised

TARGET_HZ = 700
HEARD = 0.1
"""Of what was said: five calls share a busy machine; of other noise nothing is ever found."""


class TransferTests(ProxyCase):
    def desk(self, transport: Transport = "udp", **conduct: Any) -> tuple[Phone, list[PhoneCall]]:
        """A phone that answers and plays a tone, and the calls that it takes."""
        plan = AnswerPlan(**{"ring_for": 0.2, "duration": 0, "play": playable(f"tone:{TARGET_HZ}"), **conduct})
        phone = Phone(reactor, transport, TRUNK, answer=plan)
        server = None
        if transport == "tls":
            certificate, _ = self.authority.write(self.folder, TRUNK)
            server = ServerTls(Identity(certificate=str(certificate)), reactor.seconds)
        phone.open(server_tls=server)
        self.addCleanup(phone.stop)
        taken: list[PhoneCall] = []
        phone.incoming = taken.append
        return phone, taken

    async def test_targets(self) -> None:
        """People behind the proxy answer, hold, hang up, are hung up on, are busy, or ring until the caller leaves."""
        self.authority, self.folder = Authority.create(), Path(self.mktemp())
        self.folder.mkdir()
        tcp, tls = Proxy("127.0.0.12", "tcp"), Proxy("127.0.0.14", "tls")
        desks = {
            "caller ends": self.desk(),
            "target ends": self.desk("tcp", duration=3.0, hold_after=1.0, hold_for=0.6),
            "by TLS": self.desk("tls"),
            "busy": self.desk(status=486),
            "rings": self.desk(ring_for=20.0),
        }
        transfers = []
        for case, (phone, _) in desks.items():
            transport = "tcp" if case == "target ends" else "tls" if case == "by TLS" else "udp"
            way = "tls-edge" if case in ("by TLS", "target ends") else "edge"
            uri = f"sip:desk@{TRUNK}:{phone.address[1]};transport={transport}"
            transfers.append(f'to: "{uri}", via: {way}, method: invite')
        self.gateway = start_behind(self, {"edge": tcp, "tls-edge": tls}, transfers=transfers, authority=self.authority)
        calls = {
            case: self.through(tcp, str(700 + number), duration={"target ends": 0, "rings": 2.5}.get(case, 4.0))
            for number, case in enumerate(desks)
        }
        records = {case: await self.record(await call.ended) for case, call in calls.items()}
        results = {case: record["transfers"][0]["code"] for case, record in records.items()}
        self.assertEqual(results, {**dict.fromkeys(desks), "busy": "busy", "rings": "cancelled"})
        self.assertEqual(
            [records[case]["ended_by"] for case in ("caller ends", "target ends", "by TLS")],
            ["caller", "target", "caller"],
        )
        for case in ("caller ends", "target ends", "by TLS"):
            [there] = desks[case][1]
            await there.ended
            assert isinstance(there, IncomingCall)
            # The phone's 70, less the proxy, the gateway, and the proxy again.
            self.assertEqual(there.request.max_forwards, 67, case)
            self.assertGreater(tone_ms(heard(calls[case]), RATE, TARGET_HZ), 800, case)
            self.assertGreater(recognised(SOUND, heard(there)), HEARD, case)
            proxy = tcp if case == "caller ends" else tls
            expected = {f"ACK from {HOST}", f"BYE from {TRUNK if case == 'target ends' else HOST}"}
            if case == "target ends":
                expected |= {f"ACK from {TRUNK}", f"INVITE from {TRUNK}"}
            self.assertEqual(proxy.passed(there.call_id), expected, case)
        # The target's hold and resume reach the caller by the other proxy.
        held = tcp.passed(records["target ends"]["sip_call_id"])
        self.assertEqual(held, {f"ACK from {TRUNK}", *(f"{method} from {HOST}" for method in ("INVITE", "ACK", "BYE"))})
