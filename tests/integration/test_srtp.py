"""SRTP from end to end: the test phone and baresip call a real gateway, forgers try to, and what is heard decides."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any, cast

from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import find, tone_ms
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.resample import Resampler
from stellar_gw.phone.report import CallReport
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.srtp import SUITES
from stellar_gw.testing.agents import AgentServer, tone
from tests.integration.baresip_support import Baresip
from tests.integration.call_support import CallTestCase, heard, pause, until
from tests.integration.gateway_support import (
    BOT,
    ECHO,
    TRUNK,
    RealGateway,
    soon,
    start_gateway,
    start_with,
)
from tests.integration.sound import ENOUGH, RATE, noise, recognised

AES_80, GCM_128, GCM_256 = SUITES
AES_32 = "AES_CM_128_HMAC_SHA1_32"
AGENT_HZ = 440


class SrtpCallTestCase(CallTestCase):
    def check_echo(self, report: CallReport, suite: str) -> dict[str, Any]:
        """The echo came back through SRTP both ways, without loss; the record says so.

        :return: the one leg of the record.
        """
        media = report.media
        assert media is not None
        self.assertEqual(
            (report.status, report.problem, media.srtp, media.unauthenticated, media.packets_lost),
            (200, "", suite, 0, 0),
        )
        self.assertGreater(media.echo.correlation, 0.6)
        record = self.gateway.record(report.call_id)
        leg: dict[str, Any] = record["legs"][0]
        self.assertEqual((record["srtp"], leg["srtp"], record["cause"]), (suite, suite, "caller_hangup"))
        self.assertTrue(leg["packets_received"] >= media.packets_sent - 3 > 60, (leg, media))
        return leg


class PhoneTests(SrtpCallTestCase):
    async def test_every_suite_over_tls(self) -> None:
        """Required and optional, each suite alone: what was said comes back, and nothing was refused."""
        self.gateway = start_with(
            self, ("media: {ports", f"media: {{srtp_suites: [{AES_80}, {AES_32}, {GCM_128}, {GCM_256}], ports")
        )
        wanted = [(suite, wish) for suite in (*SUITES, AES_32) for wish in ("optional", "required")]
        calls = [
            self.place_by_digest(ECHO, "tls", codecs=("PCMU",), srtp=wish, srtp_suites=(suite,))
            for suite, wish in wanted
        ]
        reports: list[CallReport] = await gatherResults([call.ended for call in calls])
        for report, (suite, _) in zip(reports, wanted, strict=True):
            leg = self.check_echo(report, suite)
            self.assertEqual((leg["packets_rejected"], leg["packets_unauthenticated"]), (0, 0))
        kept = [path.read_bytes() for path in self.gateway.records_folder.glob("*.jsonl")]
        self.assertEqual([b"inline:" in text for text in (self.gateway.log.encode(), *kept)], [False] * (1 + len(kept)))

    async def test_over_udp_with_one_port(self) -> None:
        """Optional over UDP, RTCP beside RTP: reports pass both ways. G.722, our own preference of suites."""
        self.start()
        call = self.place(ECHO, srtp="optional", rtcp_mux=True, codecs=("G722",), duration=0)
        await call.answered
        # A round trip takes two reports, whose times are drawn by lot: 2 to 10 s (RFC 3550 6.3).
        await until(lambda: call.rtp.round_trip is not None)
        call.hang_up()
        report: CallReport = await call.ended
        self.check_echo(report, AES_80)
        assert report.media is not None
        self.assertTrue(report.media.rtcp_mux and report.media.round_trip_ms is not None, report.media)

    async def test_our_offer(self) -> None:
        """An INVITE without SDP is offered SRTP; the phone's answer takes it, or leaves it."""
        self.start()
        calls = [self.place(ECHO, codecs=("PCMU",), delayed_offer=True, srtp=wish) for wish in ("optional", "off")]
        taken, left = await gatherResults([call.ended for call in calls])
        self.check_echo(taken, AES_80)
        assert left.media is not None
        self.assertEqual((left.status, left.media.srtp, self.gateway.record(left.call_id)["srtp"]), (200, "", ""))
        self.assertGreater(left.media.echo.correlation, 0.6)

    async def test_hold_and_resume(self) -> None:
        """Through two re-INVITEs the keys stay, and with them everything that is counted under them."""
        agent = AgentServer(tone)
        self.enterContext(agent)
        self.start(bot=agent.url)
        call = self.place(BOT, "tls", codecs=("PCMU",), srtp="required", duration=4.0, hold_after=1.0, hold_for=1.0)
        report: CallReport = await call.ended
        assert report.media is not None
        self.assertEqual((report.media.srtp, report.media.unauthenticated, report.media.packets_lost), (AES_80, 0, 0))
        self.assertGreater(tone_ms(heard(call), RATE, AGENT_HZ), 2200)
        (leg,) = self.gateway.record(report.call_id)["legs"]
        self.assertEqual((leg["packets_unauthenticated"], leg["packets_lost"]), (0, 0))
        self.assertEqual(agent.calls[0].start["customParameters"].get("codec"), "PCMU")

    async def test_required(self) -> None:
        """Plain calls and keys without TLS are refused with 488, each with what to do; SRTP over TLS is taken."""
        self.gateway = start_with(self, ("tenants: [acme]}", "tenants: [acme], srtp: required}"))
        wanted: tuple[tuple[Transport, str], ...] = (("tls", "off"), ("udp", "required"), ("tls", "required"))
        calls = [self.place(ECHO, transport, codecs=("PCMU",), srtp=wish) for transport, wish in wanted]
        plain, clear, good = await gatherResults([call.ended for call in calls])
        self.check_echo(good, AES_80)
        records = [self.gateway.record(report.call_id, "refusals") for report in (plain, clear)]
        self.assertEqual(
            [(report.status, record["check"]) for report, record in zip((plain, clear), records, strict=True)],
            [(488, "srtp_plain"), (488, "srtp_signalling")],
        )
        self.assertIn("Turn SRTP on", records[0]["fix"])


FORGER = """
import os, socket, sys, time
host, port, ssrc, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
sender = socket.socket(fileno=0)
began, sent = time.monotonic(), 0
while sent < 30000:
    while sent < min(30000, (time.monotonic() - began) * 10000):
        number = (number + 1) & 0xFFFF
        if sent % 10 == 9:  # a DTLS record
            packet = bytes([20 + sent % 44, 254, 253]) + os.urandom(60)
        else:
            packet = b"\\x80\\0" + number.to_bytes(2, "big") + os.urandom(4) + ssrc.to_bytes(4, "big") + os.urandom(170)
        try:
            sender.sendto(packet, (host, port))
        except BlockingIOError:
            break
        sent += 1
    time.sleep(0.002)
print(time.monotonic() - began)
"""


class ForgeryTests(SrtpCallTestCase):
    async def test_ten_thousand_a_second(self) -> None:
        """30,000 in 3 s, from the caller's very address, in its SSRC and about its sequence numbers, with DTLS records
        among them: what the caller says comes back all the time."""
        self.start()
        call = self.place(ECHO, "tls", codecs=("PCMU",), srtp="required", duration=0.0)
        await call.answered
        await pause(0.5)
        assert call.rtp.negotiated is not None
        host, port = call.rtp.negotiated.remote
        sender = call.rtp.sender
        forger = subprocess.Popen(
            [sys.executable, "-c", FORGER, host, str(port), str(sender.ssrc), str(sender.sequence_number)],
            stdin=cast(Any, call.rtp)._rtp.transport.fileno(),
            stdout=subprocess.PIPE,
        )
        self.addCleanup(forger.wait)
        self.addCleanup(forger.kill)
        took = float((await deferToThread(forger.communicate))[0])
        await pause(0.5)
        call.hang_up()
        report: CallReport = await call.ended
        self.assertTrue(2.9 < took < 10.0, f"the forger took {took} s")
        leg = self.check_echo(report, AES_80)
        self.assertEqual(leg["latched"], f"{TRUNK}:{call.rtp.rtp_port}")
        # All that the socket's buffer held were looked at, and refused.
        self.assertTrue(15_000 < leg["packets_unauthenticated"] <= 27_000, leg)
        self.assertTrue(leg["packets_unauthenticated"] < leg["packets_rejected"] <= 30_000, leg)
        # The middle of the flood alone; in short pieces, as the jitter buffer may change its delay within a long one.
        said, came = (pcm[2 * RATE : 6 * RATE] for pcm in (bytes(call.rtp.sent.kept), heard(call)))
        self.assertGreater(recognised(said, came), ENOUGH)


class BaresipTests(SynchronousTestCase):
    """baresip with ``mediaenc=srtp`` and ``srtp-mand``: echo and agent, heard both ways."""

    timeout = 120
    TALK = 3.0

    def check(self, transport: str) -> None:
        self.enterContext(agent := AgentServer(tone))
        gateway = start_gateway(self, bot=agent.url)
        sound = noise(self.TALK + 6.0)
        wanted = [(encryption, number) for encryption in ("srtp", "srtp-mand") for number in (ECHO, BOT)]
        with ExitStack() as stack:
            phones = [
                stack.enter_context(
                    Baresip(
                        gateway, f"{encryption}-{number}", transport=transport, codec="PCMA", play=sound,
                        encryption=encryption,
                    )
                )
                for encryption, number in wanted
            ]  # fmt: skip
            for phone, (_, number) in zip(phones, wanted, strict=True):
                phone.dial(number)
            for phone in phones:
                phone.wait_for("CALL_ESTABLISHED")
            time.sleep(self.TALK)
            for phone in phones:
                phone.command("hangup")
            for phone in phones:
                phone.wait_for("CALL_CLOSED")
        self.check_records(gateway, len(wanted))
        for phone, (encryption, number) in zip(phones, wanted, strict=True):
            if number == ECHO:
                came_back = find(phone.said, bytes(2 * RATE) + phone.heard, RATE)
                self.assertGreater(came_back.correlation, 0.8, encryption)
            else:
                self.assertGreater(tone_ms(phone.heard, RATE, AGENT_HZ), self.TALK * 1000 - 600, encryption)
        soon(lambda: len(agent.calls) == 2, "both calls of the agent")
        for call in agent.calls:
            self.assertTrue(call.ended.wait(5.0))
            came = bytes(2 * RATE) + Resampler(8000, RATE).resample(pcm_from_ulaw(bytes(call.audio)))
            self.assertGreater(max(find(phone.said, came, RATE).correlation for phone in phones), 0.8)

    def check_records(self, gateway: RealGateway, count: int) -> None:
        records = gateway.wait_for_records(count)
        self.assertEqual([(record["srtp"], record["cause"]) for record in records], [(AES_80, "caller_hangup")] * count)
        legs = [leg for record in records for leg in record["legs"]]
        # baresip begins with an RTCP packet in clear (APP "PING") and ends with one (BYE).
        self.assertTrue(all(leg["packets_unauthenticated"] <= 2 for leg in legs), legs)
        self.assertTrue(all(min(leg["packets_received"], leg["packets_sent"]) > 130 for leg in legs), legs)
        self.assertEqual(gateway.records("refusals"), [])

    def test_udp(self) -> None:
        """Over UDP."""
        self.check("udp")

    def test_tls(self) -> None:
        """Over TLS."""
        self.check("tls")
