"""Whatever two bridged phones can, and however one of them tells its presses, the other gets each once, in order."""

from __future__ import annotations

import random
from typing import Any

from stellar_gw.control.messages import Codec, DigitReceived, Pressed, SendDigits, Source
from stellar_gw.media.codec import CODECS
from stellar_gw.media.dtmf import DIGITS, Digit, DtmfReceiver
from stellar_gw.media.inband import InbandDetector
from stellar_gw.media.pcm import pcm_from_ulaw
from stellar_gw.media.resample import Resampler
from stellar_gw.media.source import tone
from tests.unit.bridge_case import BridgeTestCase
from tests.unit.worker_world import EVENTS, G722, PCMA, PCMU

WIDE = Codec(name="telephone-event", payload_type=97, clock=16000)
WIDEST = Codec(name="telephone-event", payload_type=96, clock=48000)
KNOWN: tuple[tuple[Codec, ...], ...] = ((EVENTS,), (EVENTS, WIDE), (WIDE,), (WIDEST, EVENTS), ())
CALLS = 40
PRESSES = 8
SOUND = tone((300,), 16000, 1000)
AUDIO = {16000: SOUND, 8000: Resampler(16000, 8000).resample(SOUND)}


class AnyWayTests(BridgeTestCase):
    """One of many calls, by its seed."""

    def begin(self, seed: int) -> None:
        self.choose = choose = random.Random(seed)
        self.setUp()
        self.mine, self.others = self.anything(), self.anything()
        self.set_up(self.mine, self.others)
        self.bridge()
        known = self.mine["dtmf_receive"]
        self.events = choose.choice(known) if known else None
        self.ways = choose.choice(("events", "info", "both")) if known else "info"
        self.ptime = choose.choice((10, 20, 30, 60))
        self.encoder = CODECS[self.mine["send"].name].encoder()
        self.answers = CODECS[self.others["send"].name].encoder()
        self.caller.sender.payload_type = self.mine["send"].payload_type
        self.target.sender.payload_type = self.others["send"].payload_type
        self.due = self.at = 0

    def anything(self) -> dict[str, Any]:
        codec, events = self.choose.choice((PCMU, PCMA, G722)), self.choose.choice(KNOWN)
        return {
            "send": codec,
            "receive": (codec,),
            "ptime": self.choose.choice((10, 20, 30, 50, 60)),
            "dtmf_receive": events,
            "dtmf_send": events[0] if events else None,
        }

    def frames(self, count: int) -> None:
        """Both talk; the caller in packets of its own length."""
        rate = CODECS[self.mine["send"].name].rate
        for _ in range(count):
            self.due += 20
            while self.due >= self.ptime:
                self.due -= self.ptime
                octets = 2 * rate * self.ptime // 1000
                self.at = self.at if self.at + octets <= len(AUDIO[rate]) else 0
                self.caller.say(self.encoder.encode(AUDIO[rate][self.at : self.at + octets]), self.rtp)
                self.at += octets
            self.target.say(self.answers.silence(20), self.target_rtp)
            self.world.tick()

    def press(self, code: int, frames: int) -> None:
        """In packets of 20 ms, some of them lost; by INFO before, while or after the key is down."""
        told = {"events": -1, "info": 0}.get(self.ways, self.choose.choice((0, 1, frames - 1, frames)))
        sender, events, began = self.caller.sender, self.events, self.caller.sender.timestamp
        for frame in range(1, frames + 2):
            if told == frame - 1:
                self.done(Pressed(request=0, call="c-1", digit=DIGITS[code], duration_ms=20 * frames))
            if frame > frames:
                break
            if events is None or self.ways == "info":
                self.frames(1)
                continue
            last = frame == frames
            for repeated in range(3 if last else 1):
                flags, duration = 0x8A if last else 0x0A, events.clock // 50 * frame
                payload = bytes((code, flags)) + duration.to_bytes(2, "big")
                packet = sender.packet_at(began, payload, events.payload_type, frame == 1)
                if repeated == 2 or self.choose.random() > 0.1:
                    self.caller.send(packet, self.rtp)
            sender.timestamp = (sender.timestamp + 160) & 0xFFFFFFFF
            self.world.tick()

    def heard(self) -> str:
        """By the target: as events where it knows them, as tones otherwise."""
        send, events = self.others["send"], self.others["dtmf_send"]
        codec = CODECS[send.name]
        decoder, detector, receiver = codec.decoder(), InbandDetector(codec.rate), DtmfReceiver()
        if events is not None:
            receiver = DtmfReceiver(events.clock)
        found: list[Digit] = []
        for packet in self.target.packets:
            if events is not None and packet.payload_type == events.payload_type:
                found += receiver.received(packet, 0.0)
            elif events is None:
                found += detector.heard(decoder.decode(packet.payload))
        return "".join(digit.digit for digit in found)

    def test_each_once(self) -> None:
        """Codecs, packet times, clocks and ways as they come: told, and heard, is what was pressed."""
        wrong = {}
        for seed in range(CALLS):
            self.begin(seed)
            self.frames(30)
            pressed = ""
            for _ in range(PRESSES):
                code, frames = self.choose.randrange(16), self.choose.choice((3, 5, 8, 20))
                pressed += DIGITS[code]
                self.press(code, frames)
                self.frames(self.choose.choice((15, 30, 50)))
            self.frames(100)
            told = "".join(event.digit for event in self.world.told() if isinstance(event, DigitReceived))
            if (told, self.heard()) != (pressed, pressed):
                wrong[seed, self.ways] = pressed, told, self.heard(), self.mine, self.others
        self.assertEqual(wrong, {})


class ChangedInItsMidstTests(BridgeTestCase):
    """A key is down while something else is agreed on, or said."""

    def event(self, events: Codec, ms: int, *, end: bool = False) -> None:
        payload = bytes((5, 0x8A if end else 0x0A)) + (ms * events.clock // 1000).to_bytes(2, "big")
        packet = self.caller.sender.packet_at(self.caller.sender.timestamp, payload, events.payload_type)
        self.caller.send(packet, self.rtp)
        self.world.tick()

    def told(self) -> list[str]:
        """What the target hears, by the end of half a second."""
        self.talk(25)
        receiver, now = DtmfReceiver(), 0.0
        digits: list[Digit] = []
        for packet in self.target.packets:
            now += 0.02
            digits += receiver.received(packet, now) if packet.payload_type == EVENTS.payload_type else ()
            digits += receiver.advance(now)
        return [digit.digit for digit in digits]

    def test_another_clock(self) -> None:
        """The target, which knows the old one, hears one press."""
        self.set_up()
        self.bridge()
        self.talk(10)
        self.event(EVENTS, 20)
        self.event(EVENTS, 40)
        self.media("caller", dtmf_send=WIDEST, dtmf_receive=(WIDEST,))
        self.event(WIDEST, 60)
        self.event(WIDEST, 80, end=True)
        self.assertEqual(self.told(), ["5"])

    def test_another_codec(self) -> None:
        """The same where its audio is coded anew from then on."""
        self.set_up(caller={"receive": (PCMU, PCMA)})
        self.bridge()
        self.talk(10)
        self.event(EVENTS, 20)
        self.event(EVENTS, 40)
        self.caller.sender.payload_type = PCMA.payload_type
        self.caller.send(self.caller.sender.packet(b"\xd5" * 160, 0), self.rtp)
        self.event(EVENTS, 60)
        self.event(EVENTS, 80, end=True)
        self.assertEqual(self.told(), ["5"])


class AnotherAudioTests(BridgeTestCase):
    """A target that knows no telephone events gets its keys as tones, whatever it hears before and after."""

    def begin(self) -> None:
        self.link = self.set_up(target={"dtmf_send": None, "dtmf_receive": ()})

    def press(self, digits: str) -> None:
        self.done(SendDigits(request=0, call="c-1", leg="target", digits=digits))

    def heard(self) -> str:
        """By the target, since this was asked last."""
        detector = InbandDetector(8000)
        found = [
            digit.digit for packet in self.target.packets for digit in detector.heard(pcm_from_ulaw(packet.payload))
        ]
        self.forget()
        return "".join(found)

    def test_each_once(self) -> None:
        """Keys that wait when a leg is to hear something else come first, each once, and none of them comes later."""
        changes: tuple[tuple[Source, Source], ...] = (
            ("silence", "leg"),
            ("tone", "leg"),
            ("leg", "silence"),
            ("leg", "tone"),
            ("leg", "agent"),
        )
        sources: tuple[Source, ...] = ("silence", "leg", "silence")
        for before, after in changes:
            self.setUp()
            self.begin()
            self.hears(before)
            self.talk(10)
            self.press("59")
            self.talk(4)
            self.hears(after)
            self.talk(60)
            self.assertEqual(self.heard(), "59", (before, after))
            for source in sources:
                self.hears(source)
                self.talk(40)
            self.assertEqual(self.heard(), "", (before, after))

    def test_however_short(self) -> None:
        """A press whose length nobody told, or of which little came, is a tone that can be told all the same."""
        self.begin()
        self.bridge()
        self.talk(10)
        self.done(Pressed(request=0, call="c-1", digit="5", duration_ms=0))
        self.talk(50)
        self.caller.send(self.caller.sender.packet_at(self.caller.sender.timestamp, b"\x09\x0a\x00\x50", 101), self.rtp)
        self.caller.sender.skip(1600)
        self.talk(50)
        self.assertEqual(self.heard(), "59")

    def test_told_as_the_bridge_ends(self) -> None:
        """A press that still waits for events, which may tell of it too, is sent when the bridge ends."""
        for known in ((), (EVENTS,)):
            self.setUp()
            self.set_up(target={"dtmf_send": known[0] if known else None, "dtmf_receive": known})
            self.bridge()
            self.talk(10)
            self.done(Pressed(request=0, call="c-1", digit="5", duration_ms=100))
            self.talk(3)
            self.unbridge()
            self.talk(30)
            events = [packet for packet in self.target.packets if packet.payload_type == EVENTS.payload_type]
            told = [digit.digit for packet in events for digit in DtmfReceiver().received(packet, 0.0)]
            self.assertEqual((told[:1], self.heard()), (["5"], "") if known else ([], "5"))

    def test_events_behind_tones(self) -> None:
        """Where events are agreed on while tones wait, later digits do not overtake them."""
        self.begin()
        self.bridge()
        self.talk(10)
        self.press("59")
        self.talk(2)
        self.media("target")
        self.press("1")
        self.talk(60)
        event = next(at for at, packet in enumerate(self.target.packets) if packet.payload_type == EVENTS.payload_type)
        del self.target.datagrams[event:]
        self.assertEqual(self.heard(), "59")

    def hears(self, source: Source) -> None:
        if source == "agent":
            self.bind("caller", "silence")
        self.bind(
            "target", source, peer="caller" if source == "leg" else "", tone="400/5000" if source == "tone" else ""
        )
