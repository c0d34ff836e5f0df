"""Kamailio in front of the gateway: what phones do through it, over two transports, in both directions."""

from __future__ import annotations

from stellar_gw.phone.call import PhoneCall
from stellar_gw.sip.flow import Transport
from stellar_gw.testing.certificates import Authority
from tests.integration.call_support import until
from tests.integration.gateway_support import ECHO, HOST, READBACK, TRUNK, USER
from tests.integration.proxy_support import Proxy, ProxyCase, start_behind

TALK = {f"{method} from {TRUNK}" for method in ("ACK", "INVITE", "BYE")}


class CallTests(ProxyCase):
    async def test_every_way_in(self) -> None:
        """Phones by UDP, TCP and TLS, the gateway by TCP, mutual TLS and UDP; admitted by the proxy's address or by
        digest through it. ACK, hold, resume and BYE from either end follow the Record-Route of their own side."""
        tcp, tls, udp = Proxy("127.0.0.12", "tcp"), Proxy("127.0.0.14", "tls"), Proxy("127.0.0.16", "udp")
        stranger = Proxy("127.0.0.18", "tls", Authority.create("nobody that we know"))
        self.gateway = start_behind(
            self,
            {"edge": tcp, "tls-edge": tls, "stranger": stranger},
            [udp],
            [f'to: "sip:desk@{TRUNK}:9", via: stranger, method: invite'],
        )
        refused, sent_on = self.through(stranger, ECHO), self.through(tcp, "700", duration=3.0)
        ways: list[tuple[Proxy, Transport, str]] = [
            (tcp, "udp", "edge"), (tcp, "tls", "edge"), (tls, "udp", "tls-edge"), (tls, "tls", "tls-edge"),
            (udp, "tcp", USER), (udp, "tls", USER),
        ]  # fmt: skip
        cases = []
        for proxy, transport, caller in ways:
            digest, srtp = caller == USER, "required" if transport == proxy.inside == "tls" else "off"
            talk = self.through(proxy, ECHO, transport, digest=digest, srtp=srtp, hold_after=0.6, hold_for=0.4)
            keys = self.through(proxy, READBACK, transport, digest=digest, digits="7#", digits_after=0.5, duration=0)
            cases.append((f"{transport} -> {proxy.inside}", proxy, caller, talk, keys))
        for case, proxy, caller, talk, keys in cases:
            report = await talk.ended
            record = await self.record(report)
            self.assertEqual(
                (report.status, record["caller"], record["transport"], record["source"].partition(":")[0],
                 record["cause"], proxy.passed(report.call_id)),
                (200, caller, proxy.inside, proxy.host, "caller_hangup",
                 TALK),
                case,
            )  # fmt: skip
            [leg] = record["legs"]
            self.assertTrue(leg["packets_received"] > 5 and leg["packets_sent"] > 5, (case, leg))
            report = await keys.ended
            record = await self.record(report)
            self.assertEqual(
                (report.status, report.ended_by, record["cause"], proxy.passed(report.call_id)),
                (200, "remote", "agent_hangup", {f"ACK from {TRUNK}", f"BYE from {HOST}"}),
                case,
            )

        await self.check_stranger(stranger, refused, sent_on)

    async def check_stranger(self, stranger: Proxy, refused: PhoneCall, sent_on: PhoneCall) -> None:
        """A proxy at a trunk's address whose certificate nobody we know has issued has no say, and gets no call."""
        report = await refused.ended
        self.assertEqual((report.status, stranger.process.log.count("in dialog")), (408, 0))
        [transfer] = (await self.record(await sent_on.ended))["transfers"]
        self.assertEqual((transfer["result"], transfer["code"]), ("failed", "unreachable"))
        self.assertIn("certificate verify failed", transfer["reason"])
        self.assertNotIn(report.call_id, {record["sip_call_id"] for record in self.gateway.records()})


class LostTests(ProxyCase):
    async def test_a_proxy_that_comes_back(self) -> None:
        """Calls outlive the proxy that they came through: once it is back, BYE finds its way by a new connection from
        either end, by TLS with the proxy's name verified; what ends meanwhile is over all the same, and calls come in.
        """
        proxies = Proxy("127.0.0.12", "tcp"), Proxy("127.0.0.14", "tls")
        self.gateway = start_behind(self, {"edge": proxies[0], "tls-edge": proxies[1]})
        calls = [(proxy, [self.through(proxy, number, duration=0) for number in (ECHO, READBACK, READBACK)])
                 for proxy in proxies]  # fmt: skip
        for _, (talks, stays, leaves) in calls:
            for call in (talks, stays, leaves):
                await call.answered
        await until(lambda: all(proxy.passed(call.call_id) for proxy, three in calls for call in three))
        for proxy, (_, _, leaves) in calls:
            proxy.process.stop()
            leaves.send_digits("#")
        await until(lambda: len(self.gateway.records()) == 2)
        for proxy, (talks, stays, _) in calls:
            proxy.process.start()
            talks.hang_up()
            stays.send_digits("#")
        for proxy, (talks, stays, leaves) in calls:
            endings = [(await self.ending(await call.ended), proxy.passed(call.call_id)) for call in (talks, stays)]
            self.assertEqual(
                endings,
                [
                    ((200, "local", "caller_hangup", "caller"), {f"ACK from {TRUNK}", f"BYE from {TRUNK}"}),
                    ((200, "remote", "agent_hangup", "agent"), {f"ACK from {TRUNK}", f"BYE from {HOST}"}),
                ],
                proxy.inside,
            )
            leaves.hang_up()
            self.assertEqual(await self.ending(await leaves.ended), (200, "local", "agent_hangup", "agent"))
            again = await self.through(proxy, ECHO, duration=0.5).ended
            self.assertEqual(await self.ending(again), (200, "local", "caller_hangup", "caller"))
