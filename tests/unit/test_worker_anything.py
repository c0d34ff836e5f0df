"""Whatever is agreed on, pressed and said in a call of two legs, each hears one stream, and can open all of it."""

from __future__ import annotations

from random import Random
from typing import Any

from stellar_gw.control.messages import Codec, SendDigits
from stellar_gw.media.latch import COMFORT_NOISE
from stellar_gw.media.rtp import RtpPacket, is_rtcp, parse_rtp, sequence_delta, timestamp_delta
from stellar_gw.media.srtp import Srtp
from tests.unit.bridge_case import BridgeTestCase
from tests.unit.test_worker_bridge_srtp import keys, phone_with
from tests.unit.worker_world import G722, HOST, PCMA, PCMU, Phone

CALLS = 150
STEPS = 90


def _step(chance: Random) -> dict[str, Any]:
    """Of a call: an exchange of offer and answer, a change of bindings, digits, a jump of a stream, or some audio."""
    leg, kind = chance.choice(["caller", "target"]), chance.random()
    if kind < 0.06:
        return {
            "leg": leg,
            "key": chance.choice([0, 0, 1, 1, 2, 3]),  # of the peer's; 0: plain RTP
            "send": chance.choice([PCMU, Codec(name="PCMU", payload_type=96), PCMA, G722]),
            "direction": chance.choice(["sendrecv"] * 5 + ["sendonly", "recvonly", "inactive"]),
            "ptime": chance.choice([10, 20, 20, 20, 30, 60]),
            "events": chance.choice([(101, 8000), (97, 8000), (97, 16000), (101, 48000), None]),
            "comfort_noise": chance.choice([None, 13]),
            "deaf": chance.choice([0, 0, 5, 40]),  # datagrams that the peer misses after a change of keys
            "late": chance.choice([0, 0, 10]),  # packets that it then still sends under its old key
        }
    if kind < 0.12:
        return {"bridge": True}
    if kind < 0.15:
        return {"digits": leg}
    if kind < 0.17:
        jump = {"numbers": chance.choice([0, 3, 5000]), "timestamps": chance.choice([0, 5000, 2**31])}
        return {"leg": leg, "ssrc": chance.choice([0, 1]), **jump}
    what = ["say"] * 16 + ["press", "press", "lose", "twice", "other", "noise"]
    said = [(chance.choice(what), chance.choice([160] * 8 + [80, 240])) for _ in range(2)]
    return {"said": said, "ticks": chance.choice([1] * 20 + [2, 60])}


class _Side:
    """A phone, and what it has agreed on."""

    def __init__(self, leg: str, phone: Phone, port: int) -> None:
        self.leg, self.phone, self.port = leg, phone, port
        self.media: dict[str, Any] = {"send": PCMU, "events": (101, 8000), "comfort_noise": None}
        self.key = 0
        self._sending: dict[int, Srtp] = {0: Srtp()}
        self._hearing = Srtp()
        self._ours = 0 if leg == "caller" else 100
        self._deaf = 0
        self._late = 0, Srtp()
        self.repeated = 0
        self.heard: list[RtpPacket] = []

    def agree(self, media: dict[str, Any]) -> dict[str, Any]:
        """What the worker is told of it: the keys are ours anew where the peer's is (RFC 3711 9.1)."""
        self.media = media
        codec, events = media["send"], media["events"]
        told = {name: media[name] for name in ("send", "direction", "ptime", "comfort_noise")}
        told["receive"] = (codec, *(each for each in (PCMU, PCMA, G722) if each.name != codec.name))
        told["dtmf_send"] = None
        if events is not None:
            told["dtmf_send"] = Codec(name="telephone-event", payload_type=events[0], clock=events[1])
        told["dtmf_receive"] = () if events is None else (told["dtmf_send"],)
        if media["key"] != self.key:
            self._late = (media["late"] if self.key and media["key"] else 0), self._sending[self.key]
            self.key, self._deaf = media["key"], media["deaf"]
            self._ours += 1
            peer = phone_with(self._ours, 200 + self.key) if self.key else Srtp()
            # What it hears begins with each key of ours; what it sends under a key that comes back goes on.
            self._hearing = peer
            self._sending.setdefault(self.key, peer)
        return {**told, **keys(self._ours, 200 + self.key)} if self.key else told

    def say(self, what: str, octets: int) -> list[bytes]:
        sender, events = self.phone.sender, self.media["events"]
        sender.payload_type = self.media["send"].payload_type
        if what == "press" and events is not None:
            packet = sender.packet_at(sender.timestamp, b"\x05\x8a\x00\xa0", events[0])
        elif what == "noise":
            packet = sender.packet_at(sender.timestamp, b"\x28", COMFORT_NOISE)
        elif what == "other":
            packet = sender.packet_at(sender.timestamp, b"\x33" * octets, PCMA.payload_type)
        else:
            packet = sender.packet(b"\x42" * octets, octets)
        late, old = self._late
        srtp = old if late else self._sending[self.key]
        self._late = max(0, late - 1), old
        sealed = srtp.protect(packet) if self.key else packet
        if sealed is None or what == "lose":
            return []
        twice = what == "twice"
        self.repeated += twice and self.key > 0
        return [sealed] * (2 if twice else 1)

    def listen(self) -> int:
        """Open what came; how much of it cannot be, or is of a payload type that was not agreed on."""
        events = self.media["events"]
        agreed = {self.media["send"].payload_type, self.media["comfort_noise"], events and events[0]}
        missed = 0
        for datagram in self.phone.datagrams:
            if self._deaf > 0:
                self._deaf -= 1
            elif not is_rtcp(datagram):
                packet = parse_rtp(self._hearing.unprotect(datagram) or b"")
                self.heard += [packet] if packet is not None else []
                missed += packet is None or packet.payload_type not in agreed
        self.phone.datagrams.clear()
        return missed


class AnythingTests(BridgeTestCase):
    def begin(self, number: int) -> dict[str, _Side]:
        """A call of which our numbers soon wrap, and the caller's too."""
        self.setUp()
        self.set_up()
        self.bridged = False
        self.caller.sender.sequence_number = 0x10000 - 20
        for leg in self.world.carrier._sessions["c-1"].legs.values():
            leg.port.sender.sequence_number = number
        sides = (_Side("caller", self.caller, self.rtp), _Side("target", self.target, self.target_rtp))
        return {side.leg: side for side in sides}

    def take(self, step: dict[str, Any], sides: dict[str, _Side]) -> None:
        if "key" in step:
            self.media(step["leg"], **sides[step["leg"]].agree(step))
        elif "bridge" in step:
            (self.unbridge if self.bridged else self.bridge)()
            self.bridged = not self.bridged
        elif "digits" in step:
            self.world.ask(SendDigits(request=0, call="c-1", leg=step["digits"], digits="5"))
        elif "ssrc" in step:
            sender = sides[step["leg"]].phone.sender
            sender.ssrc ^= step["ssrc"]
            sender.sequence_number = (sender.sequence_number + step["numbers"]) & 0xFFFF
            sender.timestamp = (sender.timestamp + step["timestamps"]) & 0xFFFFFFFF
        else:
            for side, (what, octets) in zip(sides.values(), step["said"], strict=True):
                for datagram in side.say(what, octets):
                    self.world.network.carry(datagram, side.phone.address, (HOST, side.port))
            self.world.tick(step["ticks"])

    def test_one_stream_that_opens(self) -> None:
        """Keys come and go, streams jump and wrap, bridges open and close; nothing raises, and of what comes only
        replays are refused."""
        for number in range(CALLS):
            chance = Random(number)
            sides = self.begin(chance.choice([5, 65300, 65480, 65520]))
            for _ in range(STEPS):
                self.take(_step(chance), sides)
                self.world.settle()
                self.assertEqual([side.listen() for side in sides.values()], [0, 0], number)
            for side in sides.values():
                self.one_stream(side.heard)
            unauthentic = {leg: found.packets_unauthenticated for leg, found in self.statistics().items()}
            self.assertEqual(unauthentic, {side.leg: side.repeated for side in sides.values()}, number)
        self.assertEqual(self.flushLoggedErrors(), [])

    def one_stream(self, heard: list[RtpPacket]) -> None:
        """One SSRC, no number twice, and what is ahead of all others no earlier than they are."""
        self.assertLessEqual(len({packet.ssrc for packet in heard}), 1)
        self.assertEqual(len({packet.sequence_number for packet in heard}), len(heard))
        last: RtpPacket | None = None
        for packet in heard:
            if len(packet.payload) == 4:  # an event, whose timestamp is its beginning's
                continue
            if last is None or sequence_delta(packet.sequence_number, last.sequence_number) > 0:
                self.assertGreaterEqual(0 if last is None else timestamp_delta(packet.timestamp, last.timestamp), 0)
                last = packet
