"""Each phone system's session timer, told in time that is played: our own refreshes, and what ends without theirs."""

from __future__ import annotations

import re
from random import Random

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.call.calls import Calls
from stellar_gw.call.events import CallEnded, CallEvent
from stellar_gw.gateway.capabilities import capabilities
from stellar_gw.gateway.driver import Driver
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Flow, Transport
from stellar_gw.sip.headers import Headers
from stellar_gw.sip.message import Request, Response, response_to
from stellar_gw.sip.parser import parse_message
from stellar_gw.testing.media_plane import FakeMediaPlane
from tests.story.test_sample_mutations import SAMPLES, TRUNK, OneWay, config, samples

SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.250\r\ns=-\r\nc=IN IP4 192.0.2.250\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
    "a=rtpmap:0 PCMU/8000\r\n"
)
METHODS = {"teams-direct-routing": "INVITE", "twilio": "INVITE"}
"""Whose Allow has no UPDATE."""
WITHOUT = ("genesys-sip-server-delayed", "voxbone", "webex-calling-direct")
"""Who knows no session timer."""
THEIRS = {"mitel-mivoice-business": 90}
"""Who refreshes itself, and the interval, seconds."""


class BothWays(OneWay):
    """Wherever a Contact leads, it is the flow that the call came on."""

    flow: Flow

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        return succeed(self.flow)


class Played:
    """A gateway, and a script that has called it by a sample, and answers whatever it asks.

    :ivar ok: the 200 to the INVITE.
    :ivar asked: the requests that have come since, and when.
    """

    def __init__(self, head: str, body: str, transport: Transport) -> None:
        self.clock, self._way, random = Clock(), BothWays(), Random(1)
        listeners = {name: each.listener(each.bind) for name, each in config().listeners.items()}
        core = SipCore(listeners, user_agent="stellar-gw", rng=random.randbytes, able=capabilities(config().sip))
        self._driver = Driver(core, self.clock, self._way)
        plane = FakeMediaPlane(self.clock)
        self.events: list[CallEvent] = []
        calls = Calls(
            config(),
            listeners=listeners,
            signalling=self._driver,
            plane=plane,
            clock=self.clock,
            wall=self.clock.seconds,
            rng=random.randbytes,
            tell=self.events.append,
        )
        self._driver.connect(calls)
        plane.listener = calls.heard
        port = 5061 if transport == "tls" else 5060
        self._flow = self._way.flow = Flow(1, transport, transport, ("203.0.113.10", port), (TRUNK, 5060))
        self.asked: list[tuple[float, Request]] = []
        self._seen: set[bytes] = set()
        self._offerless = not body
        # Its refreshes are answered by the description that it came with.
        self._description = body or SDP
        self._driver.received(f"{head}\r\n\r\n{body}".encode(), self._flow)
        self.ok = self._establish(head)

    def _establish(self, head: str) -> Response:
        for _ in range(100):
            self.clock.advance(0.01)
            for packet in self._new():
                message = parse_message(packet, stream=False)
                if isinstance(message, Response) and "100rel" in message.require:
                    rack = ("RAck", f"{message.headers.first('RSeq')} {message.cseq}")
                    self._send(message, "PRACK", message.cseq.number + 1, "", rack)
                if isinstance(message, Response) and message.cseq.method == "INVITE" and message.status == 200:
                    self._send(message, "ACK", message.cseq.number, SDP if self._offerless else "")
                    return message
        raise AssertionError("no 200")

    def _send(self, response: Response, method: str, number: int, body: str, *headers: tuple[str, str]) -> None:
        assert response.contact is not None
        kind = [("Content-Type", "application/sdp")] if body else []
        request = Request(
            method,
            response.contact.uri,
            Headers(
                [
                    ("Via", f"SIP/2.0/UDP {TRUNK};branch=z9hG4bK{method}{number}"),
                    ("From", str(response.from_)),
                    ("To", str(response.to)),
                    ("Call-ID", response.call_id),
                    ("CSeq", f"{number} {method}"),
                    *headers,
                    *kind,
                ]
            ),
            body.encode(),
        )
        self._driver.received(request.to_bytes(), self._flow)

    def _new(self) -> list[bytes]:
        packets, self._way.sent[:] = list(self._way.sent), []
        return packets

    def run(self, seconds: float) -> None:
        """Let time pass, and answer each request once."""
        for _ in range(round(seconds)):
            self.clock.advance(1.0)
            for packet in self._new():
                message = parse_message(packet, stream=False)
                if not isinstance(message, Request) or message.method == "ACK":
                    continue
                if packet not in self._seen:
                    self._seen.add(packet)
                    self.asked.append((self.clock.seconds(), message))
                self._driver.received(self._answer(message).to_bytes(), self._flow)

    def _answer(self, request: Request) -> Response:
        headers = [("Contact", f"<sip:{TRUNK}>")]
        if expires := request.headers.first("Session-Expires"):
            headers += [("Require", "timer"), ("Session-Expires", expires)]
        if not request.body:
            return response_to(request, 200, "", headers)
        headers.append(("Content-Type", "application/sdp"))
        return response_to(request, 200, "", headers, self._description.encode())

    @property
    def ended(self) -> list[str]:
        return [event.record.cause for event in self.events if isinstance(event, CallEnded)]


def origin(body: bytes) -> str:
    found = re.search(rb"(?m)^o=[^\r\n]*", body)
    return found[0].decode() if found is not None else ""


class RefreshTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not SAMPLES.is_dir():
            raise SkipTest(f"{SAMPLES} is not there")

    def played(self, name: str) -> Played:
        transport, head, body = samples()[name]
        return Played(head, body, transport)

    def test_we_refresh_at_half_the_interval(self) -> None:
        """By UPDATE where the system's Allow has it, else by the same offer once more; an hour later it is up."""
        for name in samples().keys() - {*WITHOUT, *THEIRS}:
            call = self.played(name)
            self.assertEqual(call.ok.headers.first("Session-Expires"), "1800;refresher=uas", name)
            call.run(3700)
            method = METHODS.get(name, "UPDATE")
            self.assertEqual([request.method for _, request in call.asked], [method] * 4, name)
            first = call.asked[0][0]
            self.assertTrue(899 <= first <= 903, (name, first))
            for _, request in call.asked:
                self.assertEqual(request.headers.first("Session-Expires"), "1800;refresher=uac", name)
                if request.body:
                    self.assertEqual(origin(request.body), origin(call.ok.body), name)
            self.assertEqual(call.ended, [], name)

    def test_who_refreshes_itself_and_does_not_is_hung_up_on(self) -> None:
        """MiVoice Business says that it does, every 90 s at the latest."""
        for name, interval in THEIRS.items():
            if name not in samples():
                continue
            call = self.played(name)
            self.assertEqual(call.ok.headers.first("Session-Expires"), f"{interval};refresher=uac")
            call.run(interval + 5)
            self.assertEqual([request.method for _, request in call.asked], ["BYE"])
            self.assertEqual(call.ended, ["dialog_lost"])

    def test_who_knows_no_timer_is_left_alone(self) -> None:
        for name in samples().keys() & set(WITHOUT):
            call = self.played(name)
            call.run(3700)
            self.assertEqual((call.ok.headers.first("Session-Expires"), call.asked, call.ended), (None, [], []), name)
