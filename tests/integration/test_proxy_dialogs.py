"""SIPp behind Kamailio, which takes it by UDP and the gateway by TCP: everything that goes on inside a dialog."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.gateway_process import wait_until
from tests.integration.baresip_support import Baresip
from tests.integration.gateway_support import ECHO, HOST, NOBODY, READBACK, TRUNK, Silent, soon
from tests.integration.kamailio_support import MISSING
from tests.integration.proxy_support import Proxy, start_behind
from tests.integration.sipp_support import (
    OFFER,
    Result,
    Sipp,
    ack_refusal,
    answered,
    awaits,
    bye,
    invite,
    pause,
    receive,
    reinvite,
    request,
    scenario,
    sdp,
    talk,
)
from tests.integration.sound import ENOUGH, RATE, noise, recognised
from tests.integration.test_transfers_sipp import ALLOW, TERMINATED, notify, refer

TIMER = ("Supported: timer", "Session-Expires: 90;refresher=uac")


class DialogTests(SynchronousTestCase):
    skip = MISSING or None

    def setUp(self) -> None:
        self.silent = Silent(self)
        self.proxy = Proxy("127.0.0.12", "tcp")
        nobody = {'url: "ws://127.0.0.1:9/ws"}': f'url: "{self.silent.url}"}}'}
        self.gateway = start_behind(
            self, {"edge": self.proxy}, transfers=['to: "sip:200@127.0.0.2", method: refer'], more_changes=nobody
        )

    def test_side_by_side(self) -> None:
        """Refreshes, REFER, CANCEL, refused changes, the last hop, and OPTIONS: each as without a proxy."""
        checks = (self.refreshes, self.refer, self.cancel, self.refused_change, self.last_hop, self.options)
        callers = [(check, Sipp(self, self.gateway)) for check in checks]
        with ThreadPoolExecutor(5) as pool:
            calls = [
                pool.submit(self.telephone),
                pool.submit(self.telephone_hung_up_on),
                *(pool.submit(check, sipp) for check, sipp in callers),
            ]
            for call in calls:
                call.result()

    def baresip(self, name: str) -> Baresip:
        """A telephone in front of the proxy, by TLS; neither its messages nor its audio come from where it says."""
        at = f"{self.proxy.host}:{self.proxy.ports['tls']}"
        return Baresip(self.gateway, name, transport="tls", codec="G722", play=noise(12.0), host=TRUNK, at=at)

    def telephone_hung_up_on(self) -> None:
        """The gateway's BYE finds the connection of a telephone that is not where its Contact says."""
        with self.baresip("readback") as phone:
            phone.dial(READBACK)
            phone.wait_for("CALL_ESTABLISHED")
            wait_until(lambda: False, 0.4)
            phone.command("sndcode", "#")
            phone.wait_for("CALL_CLOSED")
        soon(lambda: self.records("readback"), "the record")
        [record] = self.records("readback")
        self.assertEqual((record["cause"], record["ended_by"]), ("agent_hangup", "agent"))
        self.assertEqual(self.proxy.passed(record["sip_call_id"]), {f"ACK from {HOST}", f"BYE from {HOST}"})

    def records(self, connector: str) -> list[dict[str, Any]]:
        return [
            record
            for record in self.gateway.records()
            if "baresip" in record["user_agent"] and record["connector"] == connector
        ]

    def telephone(self) -> None:
        """Held, resumed, hung up, and its noise came back."""
        with self.baresip("echo") as phone:
            phone.dial(ECHO)
            phone.wait_for("CALL_ESTABLISHED")
            for command, after in (("hold", 1.5), ("resume", 0.4)):
                wait_until(lambda: False, after)
                phone.command(command)
            wait_until(lambda: False, 0.4)
            phone.command("hangup")
            phone.wait_for("CALL_CLOSED")
        # What it hears after a hold it does not write down.
        self.assertGreater(recognised(phone.said[: 2 * RATE], phone.heard), ENOUGH)
        soon(lambda: self.records("echo"), "the record")
        [record] = self.records("echo")
        self.assertEqual((record["cause"], record["caller"], record["codec"]), ("caller_hangup", "edge", "G722"))
        # Its audio is from another address than it says, which the proxy has put right.
        self.assertLess(record["legs"][0]["packets_rejected"], 20)
        methods = "ACK", "INVITE", "BYE"
        # Its connection is from no address in particular.
        self.assertEqual(self.proxy.passed(record["sip_call_id"]), {f"{method} from {HOST}" for method in methods})

    def run_steps(self, sipp: Sipp, *steps: str, to: str = ECHO) -> Result:
        """One call by these steps; all of them came true."""
        result = sipp.run(scenario(*steps), to=to, at=f"{self.proxy.host}:{self.proxy.ports['udp']}")
        self.assertEqual(result.ok, (0, 1, 0), f"{result.errors}\n{result.received()}")
        return result

    def ending(self, result: Result) -> tuple[Any, ...]:
        record = self.gateway.record(result.call_id)
        return record["status"], record["cause"], record["ended_by"], record["caller"]

    def passed(self, result: Result) -> set[str]:
        return self.proxy.passed(result.call_id)

    def refreshes(self, sipp: Sipp) -> None:
        """Session timers are agreed on through the proxy, and refreshed by UPDATE and by re-INVITE."""
        update = request("UPDATE", cseq=2, headers=TIMER) + receive(200)
        again = request("INVITE", sdp(version=2), cseq=3, headers=TIMER) + receive(100, optional=True) + receive(200)
        opened = invite(headers=TIMER) + receive(180, optional=True) + receive(200) + request("ACK")
        result = self.run_steps(sipp, opened, update, again, request("ACK", cseq=3), bye(4))
        answers = [result.one("200 INVITE"), result.one("200 UPDATE"), result.one("200 INVITE", 1)]
        self.assertEqual([each.header("Session-Expires") for each in answers], ["90;refresher=uac"] * 3)
        routes = re.findall(r"<sip:([\d.]+:\d+)[^>]*;lr", answers[0].text)
        ports = self.proxy.inside_port, self.proxy.ports["udp"]  # one for each side of the proxy
        self.assertEqual(routes, [f"{self.proxy.host}:{port}" for port in ports])
        self.assertEqual(
            (self.ending(result), self.passed(result)),
            (
                (200, "caller_hangup", "caller", "edge"),
                {f"{method} from {TRUNK}" for method in ("ACK", "UPDATE", "INVITE", "BYE")},
            ),
        )

    def refer(self, sipp: Sipp) -> None:
        """The gateway's REFER goes through the proxy, and the NOTIFYs and its BYE too."""
        call = answered().replace("Max-Forwards: 70\n", f"Max-Forwards: 70\n{ALLOW}\n", 1)
        steps = refer("202 Accepted"), notify("100 Trying", "active;expires=60", 2), notify("200 OK", TERMINATED, 3)
        result = self.run_steps(sipp, call, talk(), *steps, awaits("BYE"), to="700")
        [transfer] = self.gateway.record(result.call_id)["transfers"]
        self.assertEqual(
            (transfer["result"], result.one("REFER").header("Refer-To"), self.passed(result)),
            (
                "transferred",
                "<sip:200@127.0.0.2>",
                {f"ACK from {TRUNK}", f"REFER from {HOST}", f"NOTIFY from {TRUNK}", f"BYE from {HOST}"},
            ),
        )

    def cancel(self, sipp: Sipp) -> None:
        """CANCEL while it rings goes through the proxy: 487, and the agent is given up."""
        result = self.run_steps(
            sipp, invite(), receive(180), pause(200),
            request("CANCEL", branch="INVITE", dialog=False), receive(200), receive(487), ack_refusal(),
            to=NOBODY,
        )  # fmt: skip
        self.assertEqual((self.ending(result), self.silent.left()), ((487, "cancelled", "caller", "edge"), True))

    def refused_change(self, sipp: Sipp) -> None:
        """A re-INVITE that cannot be taken is 488 through the proxy, and the call goes on."""
        result = self.run_steps(
            sipp, answered(), reinvite(sdp(codecs="18")), receive(488), ack_refusal(cseq=2, dialog=True), bye(3)
        )
        self.assertEqual(self.passed(result), {f"{method} from {TRUNK}" for method in ("ACK", "INVITE", "BYE")})
        self.assertEqual(self.ending(result), (200, "caller_hangup", "caller", "edge"))

    def last_hop(self, sipp: Sipp) -> None:
        """The last hop is the gateway's own; a request that may not go even there is the proxy's to refuse."""
        last = answered().replace("Max-Forwards: 70", "Max-Forwards: 1", 1)
        self.assertEqual(self.ending(self.run_steps(sipp, last, bye()))[0], 200)
        none = request("INVITE", OFFER, dialog=False).replace("Max-Forwards: 70", "Max-Forwards: 0")
        refused = self.run_steps(sipp, none, receive(100, optional=True), receive(483), ack_refusal())
        self.assertNotIn(refused.call_id, {record["sip_call_id"] for record in self.gateway.records()})

    def options(self, sipp: Sipp) -> None:
        """OPTIONS for the gateway's domain is answered by the gateway, and finds its way back."""
        result = self.run_steps(sipp, request("OPTIONS", dialog=False, uri="sip:sip.acme.example") + receive(200))
        self.assertEqual(result.one("200 OPTIONS").header("Server"), "stellar-gw")
