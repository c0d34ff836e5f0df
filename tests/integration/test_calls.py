"""The test phone calls a real gateway: every transport, codec and kind of agent, judged by what was heard."""

from __future__ import annotations

import socket
import struct
from importlib.resources import files

from twisted.internet.defer import gatherResults
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.resample import Resampler
from stellar_gw.media.wav import read_wav
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.plan import playable
from stellar_gw.phone.report import CallReport, Sound
from stellar_gw.phone.rtp import RATE
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.offer_answer import CODECS
from stellar_gw.testing.agents import AgentServer, Heard, tone
from tests.integration.call_support import CallTestCase, heard, pause, until
from tests.integration.gateway_support import (
    BOT,
    ECHO,
    GREETING,
    HOST,
    READBACK,
    TONE,
    TRUNK,
    USER,
    soon,
    start_gateway,
)
from tests.integration.sound import ENOUGH, keys_in, recognised

GREETING_PCM = read_wav(files("stellar_gw.agent").joinpath("greeting.wav").read_bytes()).at(RATE)


class AudioTests(CallTestCase):
    """Five calls at a time, one to each kind of agent; one codec after the other."""

    async def check(self, transport: Transport) -> None:
        agent = AgentServer(tone)
        self.enterContext(agent)
        self.start(bot=agent.url)
        for codec in CODECS:
            bot_call = await self.check_codec(transport, codec)
            self.assertEqual(agent.calls[-1].start["customParameters"]["codec"], codec)
            self.check_agent(agent.calls[-1], bot_call)
        self.assertEqual((len(agent.calls), self.gateway.records("refusals")), (len(CODECS), []))

    async def check_codec(self, transport: Transport, codec: str) -> PhoneCall:
        """:return: the call to the Twilio agent."""
        calls = {
            number: self.place_by_digest(
                number, transport, codecs=(codec,), duration=3.0, digits="27" if number == READBACK else ""
            )
            for number in (ECHO, TONE, READBACK, GREETING, BOT)
        }
        reports: list[CallReport] = await gatherResults([call.ended for call in calls.values()])
        for report, (number, call) in zip(reports, calls.items(), strict=True):
            await self.check_report(transport, codec, report)
            await self.check_sound(number, call, report)
        return calls[BOT]

    async def check_report(self, transport: str, codec: str, report: CallReport) -> None:
        media = report.media
        assert media is not None
        self.assertEqual(
            (report.status, report.problem, media.codec, media.telephone_event, media.packets_lost, media.duplicates),
            (200, "", codec, True, 0, 0),
        )
        self.assertTrue(media.mos is not None and media.mos > 4.0, media.mos)
        record = await self.record(report)
        self.assertEqual(
            (record["transport"], record["codec"], record["caller"], record["cause"], record["status"]),
            (transport, codec, USER, "caller_hangup", 200),
        )
        (leg,) = record["legs"]
        self.assertEqual((leg["codec"], leg["packets_lost"], leg["packets_rejected"]), (codec, 0, 0))
        # Without loss either way; what the gateway sent while our BYE was under way is nobody's.
        self.assertTrue(leg["packets_received"] >= media.packets_sent - 3 > 50, (leg, media))
        self.assertGreater(media.packets_received, 50)

    async def check_sound(self, number: str, call: PhoneCall, report: CallReport) -> None:
        """What the agent behind the number says is what the phone heard."""
        assert report.media is not None
        if number == ECHO:
            self.assertGreater(recognised(bytes(call.rtp.sent.kept), heard(call)), ENOUGH)
            self.assertIsNotNone(report.media.echo.delay_ms)
        elif number in (TONE, BOT):
            self.assertGreater(tone_ms(heard(call), RATE, 440), 1500)
        elif number == READBACK:
            self.assertEqual(keys_in(heard(call)), "27")
            self.assertEqual((await self.record(report))["legs"][0]["digits"], "27")
        else:
            self.assertGreater(recognised(GREETING_PCM[: 4 * RATE], heard(call)), ENOUGH)  # its first two seconds

    def check_agent(self, talk: Heard, call: PhoneCall) -> None:
        """The agent heard what the phone said."""
        self.assertTrue(talk.ended.wait(5.0))
        self.assertEqual((talk.events[:2], talk.events[-1], talk.close_code), (["connected", "start"], "stop", 1000))
        came = Resampler(8000, RATE).resample(pcm_from_ulaw(bytes(talk.audio)))
        self.assertGreater(recognised(bytes(call.rtp.sent.kept), came), ENOUGH)

    async def test_udp(self) -> None:
        """Over UDP."""
        await self.check("udp")

    async def test_tcp(self) -> None:
        """Over TCP."""
        await self.check("tcp")

    async def test_tls(self) -> None:
        """Over TLS, the gateway's certificate verified."""
        await self.check("tls")


class HoldTests(CallTestCase):
    async def test_hold_and_resume(self) -> None:
        """On hold the caller is sent nothing; resumed, it hears the agent again; the call goes on throughout."""
        self.start()
        call = self.place(TONE, codecs=("G722",), duration=0)
        await call.answered
        await pause(1.0)
        call.hold()
        await until(lambda: call.rtp.negotiated is not None and call.rtp.negotiated.direction == "sendonly")
        await pause(0.3)  # what was under way has come
        before = call.rtp.reception.packets
        await pause(1.0)
        self.assertEqual(call.rtp.reception.packets, before)
        call.resume()
        await until(lambda: call.rtp.reception.packets > before + 50)
        call.hang_up()
        report = await call.ended
        self.assertEqual(await self.ending(report), (200, "local", "caller_hangup", "caller"))
        self.assertEqual(sum(rung.start_line.startswith("INVITE") for rung in report.ladder), 3)
        recorded = heard(call)
        resumed = recorded[-2 * RATE :]
        self.assertGreater(tone_ms(resumed, RATE, 440), 400)
        silent = len(recorded) // 2 / RATE * 1000 - tone_ms(recorded, RATE, 440)
        self.assertGreater(silent, 1000)


class ManyTests(CallTestCase):
    async def test_one_phone_many_calls(self) -> None:
        """Twenty calls at a time over one TLS connection: each hears its own tone back, and nobody else's."""
        self.start()
        phone = self.phone("tls")
        tones = [300 + 70 * number for number in range(20)]
        calls = [
            phone.place(self.plan(ECHO, "tls", codecs=("PCMA",), duration=2.5, play=playable(f"tone:{hertz}")))
            for hertz in tones
        ]
        reports: list[CallReport] = await gatherResults([call.ended for call in calls])
        found = [report.media.heard for report in reports if report.media is not None]
        wrong = [(sound, hertz) for sound, hertz in zip(found, tones, strict=True) if not is_tone(sound, hertz)]
        self.assertEqual(wrong, [])
        await until(lambda: len(self.gateway.records()) == 20)
        records = self.gateway.records()
        self.assertEqual(
            (len(records), {record["cause"] for record in records}, len({record["source"] for record in records})),
            (20, {"caller_hangup"}, 1),
        )


def is_tone(sound: Sound, hertz: float) -> bool:
    return sound.tone_hz is not None and abs(sound.tone_hz - hertz) < 10 and sound.tone_share > 0.5


class TrafficClassTests(SynchronousTestCase):
    timeout = 60

    def test_dscp(self) -> None:
        """SIP is sent as CS3 and RTP as EF, as the packets themselves say (RFC 4594 4.1)."""
        gateway = start_gateway(self)
        sip, rtp = (self.listening_socket() for _ in range(2))
        gateway_sip = (HOST, gateway.ports["udp"])
        offer = (
            f"v=0\r\no=- 1 1 IN IP4 {TRUNK}\r\ns=-\r\nc=IN IP4 {TRUNK}\r\nt=0 0\r\n"
            f"m=audio {rtp.getsockname()[1]} RTP/AVP 0\r\n"
        )
        sip.sendto(self.request(sip, gateway_sip, "INVITE", 1, "", offer), gateway_sip)
        classes, ok = set(), ""
        while not ok.startswith("SIP/2.0 200"):
            data, kind = received(sip)
            classes.add(kind)
            ok = data.decode()
        to_tag = ok.lower().split("\r\nto:")[1].split("\r\n")[0].partition(";tag=")[2]
        sip.sendto(self.request(sip, gateway_sip, "ACK", 1, to_tag), gateway_sip)
        sound = {received(rtp)[1] for _ in range(10)}
        sip.sendto(self.request(sip, gateway_sip, "BYE", 2, to_tag), gateway_sip)
        classes.add(received(sip)[1])
        self.assertEqual((classes, sound), ({24}, {46}))
        soon(lambda: gateway.records(), "the call's record")

    def listening_socket(self) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(made.close)
        made.bind((TRUNK, 0))
        made.settimeout(5.0)
        made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        return made

    def request(
        self, sip: socket.socket, gateway: tuple[str, int], method: str, cseq: int, to_tag: str, body: str = ""
    ) -> bytes:
        place = f"{TRUNK}:{sip.getsockname()[1]}"
        lines = [
            f"{method} sip:{TONE}@{gateway[0]}:{gateway[1]} SIP/2.0",
            f"Via: SIP/2.0/UDP {place};branch=z9hG4bK{method}{cseq}",
            f"From: <sip:probe@{TRUNK}>;tag=p",
            f"To: <sip:{TONE}@{gateway[0]}>" + (f";tag={to_tag}" if to_tag else ""),
            "Call-ID: dscp",
            f"CSeq: {cseq} {method}",
            f"Contact: <sip:probe@{place}>",
            "Max-Forwards: 70",
            *(["Content-Type: application/sdp"] if body else []),
            f"Content-Length: {len(body)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def received(from_: socket.socket) -> tuple[bytes, int]:
    """A datagram and its traffic class (DSCP)."""
    data, extra, _, _ = from_.recvmsg(65535, socket.CMSG_SPACE(struct.calcsize("i")))
    for level, kind, value in extra:
        if (level, kind) == (socket.IPPROTO_IP, socket.IP_TOS):
            return data, value[0] >> 2
    return data, -1
