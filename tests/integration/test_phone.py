"""Two test phones call each other over real sockets on loopback."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import random
import subprocess
import sys
from array import array
from pathlib import Path
from shutil import which
from typing import cast

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SkipTest, TestCase

from stellar_gw.media.analysis import tone_ms
from stellar_gw.media.source import Recording
from stellar_gw.media.wav import read_wav
from stellar_gw.net.lookup import DnsLookup
from stellar_gw.net.resolver import Resolver
from stellar_gw.net.tls import ClientTls, Identity, ServerTls
from stellar_gw.phone.call import PhoneCall
from stellar_gw.phone.endpoint import Endpoint
from stellar_gw.phone.phone import Phone
from stellar_gw.phone.plan import AnswerPlan, CallPlan, Playable, playable
from stellar_gw.phone.report import EXIT_AUDIO, EXIT_OK, EXIT_REFUSED, EXIT_UNREACHABLE, CallReport
from stellar_gw.phone.rtp import RATE
from stellar_gw.phone.runner import RunReactor
from stellar_gw.sip.digest import DigestChallenge, authorization_for, ha1
from stellar_gw.sip.events import Event, RequestReceived
from stellar_gw.sip.flow import Transport
from stellar_gw.sip.timers import Timers
from stellar_gw.sip.uri import SipUri, parse_uri
from stellar_gw.testing.ports import free_port

reactor = cast(RunReactor, _reactor)
HOST = "127.0.0.1"


def make_certificate(folder: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "phone test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "phone.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


class PhoneTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.taken: list[PhoneCall] = []

    def phone(self, transport: Transport, answer: AnswerPlan | None = None, **more: object) -> Phone:
        """An open phone, closed after the test."""
        server_tls = client_tls = None
        if transport == "tls":
            if not (path := self.folder / "phone.pem").exists():
                make_certificate(self.folder)
            server_tls = ServerTls(Identity(certificate=str(path)), reactor.seconds) if answer else None
            client_tls = ClientTls(reactor.seconds, ca_file=str(path))
        made = Phone(reactor, transport, HOST, answer=answer, client_tls=client_tls, **more)  # type: ignore[arg-type]
        made.open(server_tls=server_tls)
        made.incoming = self.taken.append
        self.addCleanup(made.stop)
        return made

    def uri(self, called: Phone) -> SipUri:
        transport = called.endpoint.transport
        params = "" if transport == "udp" else f";transport={transport}"
        uri = parse_uri(f"sip:600@{HOST}:{called.address[1]}{params}")
        assert isinstance(uri, SipUri)
        return uri

    async def call(self, transport: Transport, plan: CallPlan | None = None, answer: AnswerPlan | None = None,
                   ) -> tuple[CallReport, CallReport]:  # fmt: skip
        """One whole call; the reports of who called and who was called."""
        called = self.phone(transport, answer or AnswerPlan(play=playable("tone:700"), duration=0))
        plan = plan or CallPlan(to=self.uri(called), play=playable("tone:440"), duration=1.2)
        there = self.phone(transport).place(evolve(plan, to=self.uri(called)))
        here = await there.ended
        return here, await self.taken[0].ended

    async def check_audio(self, transport: Transport, codec: str) -> None:
        plan = CallPlan(to=SipUri(host=HOST), play=playable("tone:440"), duration=1.2, codecs=(codec,))
        here, there = await self.call(transport, plan)
        assert here.media is not None and there.media is not None
        self.assertEqual(
            [
                (here.status, here.cause, here.ended_by, here.problem, here.media.codec),
                (there.status, there.cause, there.ended_by, there.problem, there.media.codec),
            ],
            [(200, "bye", "local", "", codec), (200, "bye", "remote", "", codec)],
        )
        self.assertEqual([round(media.heard.tone_hz or 0, -1) for media in (here.media, there.media)], [700.0, 440.0])
        self.assertEqual([media.packets_lost for media in (here.media, there.media)], [0, 0])
        self.assertTrue(all(media.heard.tone_share > 0.9 for media in (here.media, there.media)))

    async def test_udp(self) -> None:
        """Over UDP with G.722 each phone hears the other's tone."""
        await self.check_audio("udp", "G722")

    async def test_tcp(self) -> None:
        """Over TCP with PCMU each phone hears the other's tone, and the BYE uses the call's connection."""
        await self.check_audio("tcp", "PCMU")

    async def test_tls(self) -> None:
        """Over TLS with PCMA, the certificate verified, each phone hears the other's tone."""
        await self.check_audio("tls", "PCMA")

    async def test_ladder_and_times(self) -> None:
        """The ladder holds every message of the call, down to the answer to the BYE; times are in order."""
        here, _ = await self.call("udp")
        self.assertEqual(
            [(rung.sent, rung.start_line.split(" sip:")[0]) for rung in here.ladder],
            [
                (True, "INVITE"),
                (False, "SIP/2.0 100 Trying [INVITE]"),
                (False, "SIP/2.0 180 Ringing [INVITE]"),
                (False, "SIP/2.0 200 OK [INVITE]"),
                (True, "ACK"),
                (True, "BYE"),
                (False, "SIP/2.0 200 OK [BYE]"),
            ],
        )
        times = [here.trying_ms, here.ringing_ms, here.answered_ms]
        self.assertEqual(times, sorted(time for time in times if time is not None))

    async def test_delayed_offer(self) -> None:
        """An INVITE without SDP gets its offer in the 200, and answers it in the ACK."""
        plan = CallPlan(to=SipUri(host=HOST), play=playable("tone:440"), duration=1.2, delayed_offer=True)
        here, there = await self.call("udp", plan)
        assert here.media is not None and there.media is not None
        self.assertEqual((here.media.codec, there.media.codec), ("G722", "G722"))
        self.assertTrue(here.media.heard.tone_share > 0.9 and there.media.heard.tone_share > 0.9)

    async def test_digits(self) -> None:
        """Digits pressed on one side are heard on the other."""
        plan = CallPlan(to=SipUri(host=HOST), digits="12#", digits_after=0.1, duration=1.5)
        _, there = await self.call("udp", plan)
        assert there.media is not None
        self.assertEqual(there.media.digits_heard, "12#")

    async def test_hold_and_resume(self) -> None:
        """On hold the called phone hears silence, then audio again; nothing ends by it."""
        plan = CallPlan(to=SipUri(host=HOST), play=playable("tone:440"), duration=2.2, hold_after=0.4, hold_for=0.8)
        here, there = await self.call("udp", plan)
        assert here.media is not None and there.media is not None
        self.assertEqual(
            (sum(1 for rung in here.ladder if rung.start_line.startswith("INVITE")), here.media.direction),
            (3, "sendrecv"),
        )
        heard = tone_ms(bytes(self.taken[0].rtp.sent.kept), RATE, 700)
        self.assertTrue(900 <= heard <= 1600, f"{heard} ms of the called phone's tone were sent, expected about 1400")

    async def test_refusal(self) -> None:
        """A final status that refuses is reported with its meaning."""
        here, there = await self.call("udp", answer=AnswerPlan(status=486))
        self.assertEqual(
            (here.status, here.problem, here.answered, here.media, there.status),
            (486, "486 Busy Here: busy", False, None, 486),
        )

    async def test_nobody_answers(self) -> None:
        """A phone that rings too long is cancelled: 487."""
        plan = CallPlan(to=SipUri(host=HOST), ring_timeout=0.3)
        here, there = await self.call("udp", plan, AnswerPlan(ring_for=10.0))
        self.assertEqual(
            (here.status, here.problem, there.cause, there.ended_by),
            (487, "nobody answered within 0.3 s", "cancelled", "remote"),
        )

    async def test_no_codec_in_common(self) -> None:
        """Codecs without a common one end in 488."""
        plan = CallPlan(to=SipUri(host=HOST), codecs=("PCMA",))
        here, _ = await self.call("udp", plan, AnswerPlan(codecs=("PCMU",)))
        self.assertEqual((here.status, here.problem), (488, "488 Not Acceptable Here: no audio in common"))

    async def test_round_trip_by_rtcp(self) -> None:
        """Reports of both sides give loss and round trip, on loopback a few milliseconds at most."""
        plan = CallPlan(to=SipUri(host=HOST), play=playable("tone:440"), duration=0)
        called = self.phone("udp", AnswerPlan(play=playable("tone:700"), duration=0))
        call = self.phone("udp").place(evolve(plan, to=self.uri(called)))
        await call.answered
        for _ in range(200):
            if call.rtp.round_trip is not None:
                break
            await pause(0.1)
        call.hang_up()
        report = await call.ended
        assert report.media is not None and report.media.round_trip_ms is not None
        self.assertTrue(report.media.round_trip_ms < 50 and report.media.remote_loss == 0.0)
        self.assertTrue(report.media.mos is not None and report.media.mos > 4)

    async def test_nothing_there(self) -> None:
        """Over UDP no answer, over TCP a refused connection: both say so in one line."""
        quick = Timers(t1=0.01)
        silent = self.phone("udp", AnswerPlan())
        port = silent.address[1]
        await silent.stop()
        there = SipUri(user="600", host=HOST, port=port)
        udp = await self.phone("udp", timers=quick).place(CallPlan(to=there)).ended
        tcp_uri = parse_uri(f"sip:600@{HOST}:{port};transport=tcp")
        assert isinstance(tcp_uri, SipUri)
        tcp = await self.phone("tcp").place(CallPlan(to=tcp_uri)).ended
        self.assertEqual(
            [(report.status, report.problem) for report in (udp, tcp)],
            [
                (0, "no answer from 127.0.0.1 over UDP within 1 s"),
                (0, f"127.0.0.1:{port} over TCP: connection refused: nothing listens there"),
            ],
        )

    async def test_untrusted_certificate(self) -> None:
        """A certificate that nobody vouches for is refused, with the option that helps."""
        called = self.phone("tls", AnswerPlan())
        caller = Phone(reactor, "tls", HOST, client_tls=ClientTls(reactor.seconds))
        caller.open()
        self.addCleanup(caller.stop)
        report = await caller.place(CallPlan(to=self.uri(called))).ended
        self.assertEqual(
            (report.status, "certificate verify failed" in report.problem, report.fix),
            (0, True, "give its CA by --tls-ca FILE, or trust anybody by --insecure"),
        )


class DigestTests(TestCase):
    """The phone against a server that asks for credentials."""

    timeout = 20

    def setUp(self) -> None:
        self.asked: list[str] = []
        lookup = DnsLookup(reactor)
        self.addCleanup(lookup.stop)
        self.server = Endpoint(
            reactor, "udp", HOST, Resolver(reactor, lookup),
            handle=self.judge, watch=lambda *_: None, random=os.urandom,
        )  # fmt: skip
        self.server.open()
        self.addCleanup(self.server.stop)
        self.phone = Phone(reactor, "udp", HOST)
        self.phone.open()
        self.addCleanup(self.phone.stop)

    def judge(self, event: Event) -> None:
        """Busy for who knows the password, 401 with a reference for the others."""
        if not isinstance(event, RequestReceived):
            return
        shown = authorization_for(event.request.headers.all("Authorization"), "acme")
        self.asked.append(shown.username if shown else "")
        if shown is not None and shown.matches(ha1("freepbx-hq", "acme", "secret-12"), "INVITE"):
            self.server.core.respond(event.request, event.flow, 486)
            return
        challenge = str(DigestChallenge(realm="acme", nonce=f"n{len(self.asked)}"))
        headers = [("WWW-Authenticate", challenge), ("Warning", '399 acme "ref 7K3F2Q"')]
        self.server.core.respond(event.request, event.flow, 401, headers=headers)

    async def call_as(self, user: str, password: str) -> CallReport:
        to = SipUri(user="600", host=HOST, port=self.server.address[1])
        return await self.phone.place(CallPlan(to=to, user=user, password=password)).ended

    async def test_right_password(self) -> None:
        """A challenge is answered, once."""
        report = await self.call_as("freepbx-hq", "secret-12")
        self.assertEqual((report.status, report.problem, self.asked), (486, "486 Busy Here: busy", ["", "freepbx-hq"]))

    async def test_wrong_password(self) -> None:
        """A wrong password is named, with the gateway's reference; it is not tried again and again."""
        report = await self.call_as("freepbx-hq", "guess-123")
        self.assertEqual(
            (report.status, report.reference, report.problem, self.asked),
            (
                401, "7K3F2Q", "401 Unauthorized: wrong user name or password for freepbx-hq", ["", "freepbx-hq"],
            ),
        )  # fmt: skip
        self.assertIn("stellar-gw-why 7K3F2Q", report.fix)

    async def test_no_credentials(self) -> None:
        """Without credentials the report says which options give them."""
        report = await self.call_as("", "")
        self.assertEqual(
            (report.problem, report.fix.partition(";")[0], self.asked),
            ("401 Unauthorized: credentials are wanted", "give --user and --password-file", [""]),
        )


class SippTests(TestCase):
    """A peer that is not ours: SIPp's UAS, which sends our RTP back."""

    timeout = 30

    def setUp(self) -> None:
        found = which("sipp")
        if found is None:
            raise SkipTest("sipp is not installed (Debian: apt install sip-tester)")
        self.port = free_port()
        folder = Path(self.mktemp())
        folder.mkdir()
        arguments = ["-sn", "uas", "-i", HOST, "-p", str(self.port), "-mp", str(free_port()), "-rtp_echo", "-nostdin"]
        self.sipp = subprocess.Popen([found, *arguments], cwd=folder, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)  # fmt: skip
        self.addCleanup(self.end)

    def end(self) -> None:
        self.sipp.kill()
        self.sipp.wait()

    async def test_echo(self) -> None:
        """Noise comes back through PCMU, recognised by correlation, a few milliseconds later."""
        phone = Phone(reactor, "udp", HOST)
        phone.open()
        self.addCleanup(phone.stop)
        noise = random.Random(1)
        pcm = array("h", [round(noise.gauss(0, 2000)) for _ in range(RATE)]).tobytes()
        play = Playable(lambda: Recording(pcm, RATE, repeat=True))
        # An INVITE sent before SIPp listens is repeated after 0.5 s (timer A).
        to = SipUri(user="600", host=HOST, port=self.port)
        report = await phone.place(CallPlan(to=to, play=play, duration=2.5, codecs=("PCMU",))).ended
        assert report.media is not None
        self.assertEqual((report.status, report.problem, report.media.codec), (200, "", "PCMU"))
        self.assertGreater(report.media.echo.correlation, 0.9)


def pause(seconds: float) -> Deferred[None]:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    return done


def tone_in(path: Path, hertz: float) -> int:
    """Milliseconds of a tone in a WAV file."""
    wav = read_wav(path.read_bytes())
    return tone_ms(wav.pcm, wav.rate, hertz)


class CommandTests(TestCase):
    """The command as a process of its own, calling a phone in this one."""

    timeout = 60

    async def run_command(self, answer: AnswerPlan, *arguments: str) -> tuple[int, str, str]:
        called = Phone(reactor, "udp", HOST, answer=answer)
        called.open()
        self.addCleanup(called.stop)
        command = ["-m", "stellar_gw.cli.call", f"sip:600@{HOST}:{called.address[1]}", *arguments]
        out, said, code = await getProcessOutputAndValue(sys.executable, command, env=None, path=None)
        return code, out.decode(), said.decode()

    async def test_a_good_call(self) -> None:
        """Ladder, levels, report and verdict; what was heard lies in the WAV file."""
        path = Path(self.mktemp() + ".wav")
        code, out, said = await self.run_command(
            AnswerPlan(play=playable("tone:700"), duration=0), "--duration", "1.5", "--expect-tone", "700",
            "--record", str(path),
        )  # fmt: skip
        self.assertEqual((code, said), (EXIT_OK, ""))
        for piece in ("--> INVITE", "<-- SIP/2.0 200 OK [INVITE]", "audio: sent [", "negotiated    G722", "\nOK\n"):
            self.assertIn(piece, out)
        self.assertGreater(tone_in(path, 700), 1000)

    async def test_json(self) -> None:
        """--json prints one object and nothing else."""
        code, out, said = await self.run_command(
            AnswerPlan(play=playable("tone:700"), duration=0), "--duration", "0.6", "--json"
        )
        found = json.loads(out)
        self.assertEqual(
            (code, said, found["status"], found["verdict"], found["media"]["codec"]), (EXIT_OK, "", 200, "OK", "G722")
        )

    async def test_verdicts(self) -> None:
        """The exit status tells a refusal from audio that is not what it must be."""
        busy = await self.run_command(AnswerPlan(status=486), "--quiet")
        expected = await self.run_command(AnswerPlan(status=486), "--quiet", "--expect", "486")
        wrong = await self.run_command(AnswerPlan(play=playable("tone:700"), duration=0), "--duration", "0.6",
                                       "--quiet", "--expect-tone", "440")  # fmt: skip
        self.assertEqual([result[0] for result in (busy, expected, wrong)], [EXIT_REFUSED, EXIT_OK, EXIT_AUDIO])
        self.assertIn("FAILED: 486 Busy Here: busy", busy[1])
        self.assertIn("FAILED: the tone of 440 Hz was not heard, but mostly 700 Hz", wrong[1])

    async def test_many(self) -> None:
        """--count places many calls and sums them up."""
        code, out, _ = await self.run_command(
            AnswerPlan(play=playable("tone:700"), duration=0),
            "--count",
            "10",
            "--rate",
            "20",
            "--duration",
            "0.5",
            "--quiet",
        )
        self.assertEqual(code, EXIT_OK)
        self.assertIn("calls         10, answered 10 (10 x 200)", out)
        self.assertIn("OK: 10 calls", out)

    async def test_unresolvable(self) -> None:
        """A name that leads nowhere is one line and status 3, without a traceback."""
        command = ["-m", "stellar_gw.cli.call", "sip:600@nowhere.invalid", "--quiet"]
        out, said, code = await getProcessOutputAndValue(sys.executable, command, env=None, path=None)
        self.assertEqual((code, said), (EXIT_UNREACHABLE, b""))
        self.assertIn(b"FAILED: nowhere.invalid ", out)
