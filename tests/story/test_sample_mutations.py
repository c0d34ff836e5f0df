"""Every phone system's INVITE, written in a thousand other ways: what becomes of it is the same."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from random import Random

import msgspec
from attrs import define, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from stellar_gw.call.calls import Calls
from stellar_gw.call.ports import NoWay
from stellar_gw.config import Config, parse_config
from stellar_gw.gateway.capabilities import capabilities
from stellar_gw.gateway.driver import Driver
from stellar_gw.sip.core import SipCore
from stellar_gw.sip.events import FlowNeeded
from stellar_gw.sip.flow import Flow, Transport, Way
from stellar_gw.sip.message import Response
from stellar_gw.sip.parser import parse_message
from stellar_gw.sip.uri import Uri
from stellar_gw.sip.values import parse_name_addrs
from stellar_gw.testing.media_plane import FakeMediaPlane
from tests.configurations import certificate
from tests.story.mutations import mutated

SAMPLES = Path(__file__).parents[3] / "shared" / "platforms"
TRUNK = "192.0.2.250"
CONFIGURATION = """\
domain: sip.stellar.example
aliases: [203.0.113.10]
listeners:
  udp: {bind: "203.0.113.10:5060"}
  tcp: {bind: "203.0.113.10:5060"}
  tls: {bind: "203.0.113.10:5061", certificate: tls.pem}
trunk_providers:
  trunk: {allowed_ips: [192.0.2.250], tenants: [acme]}
tenants:
  acme:
    credentials: {freepbx-hq: {password: "correct horse"}}
    connectors:
      desk: {identifier: "8004417290", agent: "builtin:echo"}
      device: {identifier: "17205550100*11115", agent: "builtin:echo"}
      line: {type: phone, number: "+12025550143", provider: trunk, agent: "builtin:echo"}
      other: {type: phone, number: "+442079460143", provider: trunk, agent: "builtin:echo"}
"""


@cache
def config() -> Config:
    return parse_config(CONFIGURATION.replace("tls.pem", certificate()), "conf.yaml", {})


def samples() -> dict[str, tuple[Transport, str, str]]:
    """Transport, head and body of each INVITE by its name."""
    found: dict[str, tuple[Transport, str, str]] = {}
    for path in sorted(SAMPLES.glob("*.txt")):
        head, _, body = path.read_bytes().decode().partition("\r\n\r\n")
        via = re.search(r"(?im)^via\s*:\s*SIP/2.0/(\w+)", head)
        if head.startswith("INVITE") and via is not None:
            transports: dict[str, Transport] = {"UDP": "udp", "TCP": "tcp", "TLS": "tls"}
            found[path.stem] = (transports[via[1]], head, body)
    return found


@define
class OneWay:
    """Flows to which everything can be sent, and no way to anywhere else."""

    sent: list[bytes] = field(factory=list)

    def send(self, packet: bytes, flow: Flow) -> bool:
        self.sent.append(packet)
        return True

    def open_for(self, needed: FlowNeeded) -> Deferred[Flow]:
        return fail(NoWay("there is none"))

    def route(self, uri: Uri, *, tls_name: str = "", client_certificate: str = "") -> Deferred[tuple[Way, ...]]:
        return fail(NoWay("there is none"))

    def open(self, way: Way, listener: str = "") -> Deferred[Flow]:
        return fail(NoWay("there is none"))

    def mark_failed(self, way: Way, seconds: float = 60.0) -> None:
        pass


@frozen
class Outcome:
    """What a phone system and an agent see of an INVITE.

    :ivar answers: the statuses.
    :ivar routes: the Record-Route of the last, item by item.
    :ivar audio: its m-line and attributes, the keys left out.
    :ivar told: what the agent is told.
    """

    answers: tuple[int, ...]
    routes: tuple[str, ...]
    audio: tuple[str, ...]
    told: dict[str, object]


def outcome(invite: bytes, transport: Transport) -> Outcome:
    """What a gateway makes of an INVITE from the trunk, until the agent is there and the call answered."""
    clock, way, random = Clock(), OneWay(), Random(1)
    listeners = {name: each.listener(each.bind) for name, each in config().listeners.items()}
    core = SipCore(listeners, user_agent="stellar-gw", rng=random.randbytes, able=capabilities(config().sip))
    driver = Driver(core, clock, way)
    plane = FakeMediaPlane(clock)
    calls = Calls(
        config(),
        listeners=listeners,
        signalling=driver,
        plane=plane,
        clock=clock,
        wall=lambda: 1_000_000.0 + clock.seconds(),
        rng=random.randbytes,
        tell=lambda _: None,
    )
    driver.connect(calls)
    plane.listener = calls.heard
    port = 5061 if transport == "tls" else 5060
    driver.received(invite, Flow(1, transport, transport, ("203.0.113.10", port), (TRUNK, 5060)))
    clock.pump([0.01] * 20)
    answers = [message for packet in way.sent if isinstance(message := parse_message(packet, stream=False), Response)]
    last = answers[-1]
    return Outcome(
        answers=tuple(dict.fromkeys(message.status for message in answers)),
        routes=tuple(map(str, parse_name_addrs(last.headers.all("Record-Route")))),
        audio=_audio(last.body.decode()),
        told=_told(plane),
    )


def _audio(body: str) -> tuple[str, ...]:
    found = re.search(r"m=audio .*?(?=\r\nm=|\Z)", body, re.DOTALL)
    lines = found[0].split("\r\n") if found is not None else []
    return tuple(re.sub(r"audio \d+|inline:\S+", "", line) for line in lines if line)


def _told(plane: FakeMediaPlane) -> dict[str, object]:
    if not plane.sessions:
        return {}
    told = msgspec.structs.asdict(plane.sessions[0].context)
    told["call_id"] = ""
    told["headers"] = sorted((name.lower(), value) for name, value in told["headers"])
    return told


class MutationTests(SynchronousTestCase):
    def setUp(self) -> None:
        if not SAMPLES.is_dir():
            raise SkipTest(f"{SAMPLES} is not there")
        self.samples = samples()

    def plain(self, name: str) -> Outcome:
        transport, head, body = self.samples[name]
        return outcome(f"{head}\r\n\r\n{body}".encode(), transport)

    def test_each_sample_as_it_is(self) -> None:
        """Answered, or rung at until a PRACK comes; otherwise its mutations would say little."""
        waits = {"mitel-mivoice-business": (100, 180)}
        for name in self.samples:
            plain = self.plain(name)
            self.assertEqual(plain.answers, waits.get(name, (100, 180, 200)), name)
            self.assertTrue(plain.audio and plain.told, name)

    def test_a_thousand_other_ways_to_write_them(self) -> None:
        """Order, case, folding, compact forms, lists, parameters, unknown headers, attributes and m-lines."""
        names = sorted(self.samples)
        plain = {name: self.plain(name) for name in names}

        @settings(max_examples=1000, derandomize=True, deadline=None)
        @given(st.sampled_from(names), st.integers(0, 1 << 32))
        def same(name: str, seed: int) -> None:
            transport, head, body = self.samples[name]
            data = mutated(head, body, Random(seed))
            self.assertEqual(outcome(data, transport), plain[name], data.decode())

        same()
