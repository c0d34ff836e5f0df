"""A worker without a process: in-memory sockets, a clock of its own, agents that write down what they are told."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock

from stellar_gw.agent.link import LinkClosed, LinkEvents, LinkLimits, Target
from stellar_gw.control import messages
from stellar_gw.dialects.contract import AgentEvent, Audio, AudioFormat, Facts, Frame, Malformed
from stellar_gw.media.rtp import RtpPacket, RtpSender, parse_rtp
from stellar_gw.testing.datagram import DatagramNetwork
from stellar_gw.worker.carrier import Carrier
from stellar_gw.worker.fastpath import FastPath
from stellar_gw.worker.pacer import SLOTS, Pacer
from stellar_gw.worker.port_contracts import Clocks
from stellar_gw.worker.port_pair import PortPairs
from stellar_gw.worker.recording import Disk, Recorder
from stellar_gw.worker.sounds import Sounds
from stellar_gw.worker.surroundings import Surroundings

HOST = "192.0.2.1"
SIX = "2001:db8::1"
PHONE = ("198.51.100.7", 4000)
PCMU = messages.Codec(name="PCMU", payload_type=0)
PCMA = messages.Codec(name="PCMA", payload_type=8)
G722 = messages.Codec(name="G722", payload_type=9)
EVENTS = messages.Codec(name="telephone-event", payload_type=101)
WALL = 1_700_000_000.0


class Phone(DatagramProtocol):
    """A peer's RTP and RTCP sockets in one: it keeps what comes and sends what it is told."""

    noisy = False

    def __init__(self, network: DatagramNetwork, address: tuple[str, int] = PHONE) -> None:
        self.datagrams: list[bytes] = []
        self.sender = RtpSender(0xABCD, 100, 8000, 0)
        self.address = address
        self._socket = network.listen(self, *address)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        self.datagrams.append(datagram)

    @property
    def packets(self) -> list[RtpPacket]:
        return [packet for packet in map(parse_rtp, self.datagrams) if packet is not None]

    def send(self, datagram: bytes, port: int) -> None:
        self._socket.write(datagram, (HOST, port))

    def say(self, payload: bytes, port: int) -> None:
        """One packet of audio."""
        self.send(self.sender.packet(payload, len(payload)), port)


@define
class FakeDialect:
    """Frames are text: what happened, in words. The agent says its events itself."""

    audio_format: AudioFormat
    heard: list[bytes] = field(factory=list)

    def opened(self) -> Sequence[Frame]:
        return ("opened",)

    def audio(self, payload: bytes, timestamp_ms: int) -> Sequence[Frame]:
        self.heard.append(payload)
        return (f"audio {len(payload)} at {timestamp_ms}",)

    def digit(self, digit: str, duration_ms: int) -> Sequence[Frame]:
        return (f"digit {digit} {duration_ms}",)

    def mark_reached(self, name: str, *, cleared: bool, played_ms: int) -> Sequence[Frame]:
        return (f"mark {name} {'cleared' if cleared else 'played'} {played_ms}",)

    def cleared(self, played_ms: int, discarded_ms: int) -> Sequence[Frame]:
        return (f"cleared {played_ms} {discarded_ms}",)

    def told(self, kind: str, detail: Facts) -> Sequence[Frame]:
        return (f"told {kind} {detail}",)

    def outcome(self, ask: str, state: str, *, final: bool, detail: Mapping[str, str]) -> Sequence[Frame]:
        return [f"outcome {ask} {state} {final} {detail.get('code', '-')}"]

    def complaint(self, malformed: Malformed) -> Sequence[Frame]:
        return [f"complaint {malformed.code} {malformed.ask}".rstrip()]

    def stopped(self, cause: str, by: str, *, duration_ms: int = 0, agent_audio_ms: int = 0) -> Sequence[Frame]:
        return [f"stopped {cause} {by}"]

    def received(self, frame: Frame) -> Sequence[AgentEvent]:
        raise NotImplementedError("the tests' agents hand their events in")


class FakeLink:
    """A link that writes down what is sent; the test says what the agent does."""

    def __init__(self, target: Target, events: LinkEvents, limits: LinkLimits) -> None:
        self.target, self.limits = target, limits
        self.events = events
        self.sent: list[str] = []

    def send(self, frame: Frame) -> None:
        self.sent.append(frame if isinstance(frame, str) else f"{len(frame)} octets")

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.sent.append(f"close {code} {reason}".strip())

    def abort(self) -> None:
        self.sent.append("abort")

    def take(self) -> list[str]:
        sent, self.sent = self.sent, []
        return sent

    def ends(self, code: str = "lost", *, clean: bool = False, established: bool = True) -> None:
        self.events.link_closed(LinkClosed(code, f"it was {code}", established, clean))


class Connector:
    def __init__(self) -> None:
        self.links: list[FakeLink] = []

    def connect(self, target: Target, events: LinkEvents, limits: LinkLimits) -> FakeLink:
        link = FakeLink(target, events, limits)
        self.links.append(link)
        return link


def audio(ms: int, octet: int = 0x55) -> Audio:
    """Mu-law audio that is recognised by its octet."""
    return Audio(bytes([octet]) * (8 * ms))


class World:
    """One worker's carrier on a network in memory. Time goes in ticks of 20 ms.

    Recordings have no thread: ``recorder.work()`` does what it would do.
    """

    def __init__(
        self,
        ports: tuple[int, int] = (10000, 10100),
        quarantine: float = 5.0,
        bind: tuple[str, ...] = (HOST,),
        disk: Disk | None = None,
        recorder: Recorder | None = None,
        fast_path: FastPath | None = None,
        **configure: Any,
    ) -> None:
        self.clock = Clock()
        self.network = DatagramNetwork(self.clock)
        self.connector = Connector()
        self.events: list[messages.Event] = []
        self.idle = 0
        self.pacer = Pacer()
        chance = random.Random(7)
        clocks = Clocks(
            now=self.clock.seconds,
            wall=lambda: WALL + self.clock.seconds(),
            random=lambda: 0.5,
            number=chance.getrandbits,
        )
        self.recorder = recorder or Recorder(clocks, lambda told: told(), lambda run: None, disk)
        self.sounds = Sounds(maybeDeferred)
        self.configured: list[messages.Configure] = []
        self.carrier = Carrier(
            Surroundings(
                ports=PortPairs(self.network, clocks, chance),
                pacer=self.pacer,
                connector=self.connector,
                emit=self.events.append,
                now=self.clock.seconds,
                worked=lambda: self.clock.seconds() / 4,
                sounds=self.sounds,
                recorder=self.recorder,
                generation=7,
                fast_path=fast_path or FastPath(),
            ),
            self.configured.append,
            self._idle,
        )
        self.ask(messages.Configure(request=0, bind=bind, ports=ports, quarantine=quarantine, **configure))

    def _idle(self) -> None:
        self.idle += 1

    def ask(self, request: messages.Request) -> Any:
        return self.carrier.handle(request)

    def tick(self, count: int = 1) -> None:
        """So many frames pass; what was sent arrives."""
        for _ in range(count):
            self.clock.advance(0.02)
            self.pacer.expired(SLOTS)
            self.settle()

    def settle(self) -> None:
        """What is under way arrives."""
        self.clock.advance(0)

    def told(self) -> list[messages.Event]:
        told = list(self.events)
        self.events.clear()
        return told


def set_media(call: str = "c-1", **changes: Any) -> messages.SetMedia:
    fields: dict[str, Any] = {
        "remote": PHONE,
        "remote_rtcp": (PHONE[0], PHONE[1] + 1),
        "send": PCMU,
        "receive": (PCMU,),
        "dtmf_send": EVENTS,
        "dtmf_receive": (EVENTS,),
        **changes,
    }
    return messages.SetMedia(request=0, call=call, **fields)


def start_agent(call: str = "c-1", dialect: str = "twilio", **changes: Any) -> messages.StartAgent:
    context = messages.CallContext(
        call_id=call,
        tenant="acme",
        connector="c",
        agent="a",
        environment="production",
        version="1",
        from_uri="sip:a@example.net",
    )
    fields: dict[str, Any] = {"url": messages.Secret("wss://agents.example/ws"), "context": context, **changes}
    return messages.StartAgent(request=0, call=call, dialect=dialect, **fields)
