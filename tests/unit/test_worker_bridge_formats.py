"""Two legs bridged in a worker that differ in what they can: digits, comfort noise, codecs."""

from __future__ import annotations

from stellar_gw.control import messages
from stellar_gw.control.messages import Codec
from stellar_gw.media.analysis import level_dbfs
from stellar_gw.media.dtmf import DtmfReceiver
from stellar_gw.media.pcm import pcm_from_ulaw, ulaw_from_pcm
from stellar_gw.media.rtp import RtpPacket, timestamp_delta
from stellar_gw.media.source import dtmf_tones
from tests.unit.bridge_case import BridgeTestCase, Step, steps
from tests.unit.worker_world import EVENTS, PCMA, PCMU, Phone, start_agent

REGULAR = Step(1, 160)
MARKED = Step(1, 160, marker=True)
QUIET = b"\xff" * 160
SAID = {"caller": b"\x11" * 160, "target": b"\x22" * 160}


class DigitTests(BridgeTestCase):
    def press(self, phone: Phone, port: int, code: int, payload_type: int, frames: int = 5) -> None:
        """An event in packets of 20 ms, its end three times, at the phone's own timestamp."""
        began = phone.sender.timestamp
        for frame in range(1, frames + 1):
            ends = 3 if frame == frames else 1
            for _ in range(ends):
                flags = 0x8A if frame == frames else 0x0A
                payload = bytes((code, flags)) + (160 * frame).to_bytes(2, "big")
                phone.send(phone.sender.packet_at(began, payload, payload_type, frame == 1), port)
            phone.sender.timestamp += 160
            self.world.tick()

    def heard(self, phone: Phone, payload_type: int, clock: int = 8000) -> list[tuple[str, int]]:
        receiver = DtmfReceiver(clock)
        return [
            (digit.digit, digit.duration_ms)
            for packet in phone.packets
            if packet.payload_type == payload_type
            for digit in receiver.received(packet, 0.0)
        ]

    def told(self) -> list[tuple[str, str, int]]:
        events = [event for event in self.world.told() if isinstance(event, messages.DigitReceived)]
        return [(event.leg, event.digit, event.duration_ms) for event in events]

    def test_passed_on(self) -> None:
        """Events are passed on under the other leg's payload type, in its sequence, and told to the gateway once."""
        events = Codec(name="telephone-event", payload_type=96)
        self.set_up(target={"dtmf_send": events, "dtmf_receive": (events,)})
        self.bridge()
        self.talk(5)
        self.target.datagrams.clear()
        self.press(self.caller, self.rtp, 5, EVENTS.payload_type)
        self.talk(5)
        packets = self.target.packets
        self.assertEqual([packet.payload_type for packet in packets], [96] * 7 + [0] * 5)
        self.assertEqual([step.numbers for step in steps(packets)], [1] * 11)
        self.assertEqual(len({packet.timestamp for packet in packets[:7]}), 1)
        self.assertEqual(timestamp_delta(packets[7].timestamp, packets[0].timestamp), 800)
        self.assertEqual((self.heard(self.target, 96), self.told()), ([("5", 100)], [("caller", "5", 100)]))

    def test_beside_audio(self) -> None:
        """Where audio goes on beside an event, each keeps its own time, and nothing is marked that was not."""
        self.set_up()
        self.bridge()
        self.talk(5)
        self.target.datagrams.clear()
        began = self.caller.sender.timestamp
        for frame in range(1, 11):
            event = bytes((5, 0x8A if frame == 10 else 0x0A)) + (160 * frame).to_bytes(2, "big")
            self.talk(1)
            self.caller.send(self.caller.sender.packet_at(began, event, EVENTS.payload_type, frame == 1), self.rtp)
            self.world.tick()
        packets = self.target.packets
        audio, events = ([each for each in packets if each.payload_type == kind] for kind in (0, 101))
        self.assertEqual([step.samples for step in steps(audio)], [160] * 9)
        self.assertEqual({timestamp_delta(each.timestamp, audio[0].timestamp) for each in events}, {0})
        self.assertEqual([packet.marker for packet in packets], [False, True, *[False] * 18])

    def test_another_clock(self) -> None:
        """Events of another clock rate are sent anew in the peer's, as long as they were."""
        events = Codec(name="telephone-event", payload_type=96, clock=16000)
        self.set_up(target={"dtmf_send": events, "dtmf_receive": (events,)})
        self.bridge()
        self.talk(5)
        self.press(self.caller, self.rtp, 7, EVENTS.payload_type, frames=8)
        self.talk(20)
        self.assertEqual((self.heard(self.target, 96, 16000), self.told()), ([("7", 160)], [("caller", "7", 160)]))
        self.assertEqual(self.target.packets[-1].payload, SAID["caller"])

    def test_another_clock_beside_a_common_one(self) -> None:
        """Events of the clock that the peer does not have are sent anew, those that it has are passed on."""
        wide = Codec(name="telephone-event", payload_type=97, clock=48000)
        self.set_up(caller={"dtmf_receive": (EVENTS, wide)})
        self.bridge()
        self.talk(5)
        for kind, code, duration in ((97, 3, 4800), (EVENTS.payload_type, 4, 800)):
            event = bytes((code, 0x8A)) + duration.to_bytes(2, "big")
            self.caller.send(self.caller.sender.packet_at(self.caller.sender.timestamp, event, kind), self.rtp)
            self.caller.sender.timestamp += 800
            self.world.tick(20)
            self.talk(5)
        self.assertEqual(self.heard(self.target, 101), [("3", 100), ("4", 100)])
        self.assertEqual(self.told(), [("caller", "3", 100), ("caller", "4", 100)])

    def test_by_info(self) -> None:
        """A digit that is told by SIP INFO alone is sent on as an event, whether the caller knows events or not."""
        for media in ({}, {"dtmf_send": None, "dtmf_receive": ()}):
            self.setUp()
            self.set_up(caller=media)
            self.bridge()
            self.talk(50)
            for digit in "99":
                self.world.ask(messages.Pressed(request=0, call="c-1", digit=digit, duration_ms=200))
                self.talk(60)
            self.assertEqual(self.heard(self.target, 101), [("9", 200)] * 2)
            self.assertEqual(self.told(), [("caller", "9", 200)] * 2)
            self.assertEqual(self.target.packets[-1].payload, SAID["caller"])

    def test_by_info_and_events(self) -> None:
        """One that comes both ways, in whatever order, reaches the other leg once."""
        self.set_up()
        self.bridge()
        self.talk(50)
        for digit in (5, 6):
            self.world.ask(messages.Pressed(request=0, call="c-1", digit=str(digit), duration_ms=100))
            self.talk(5)
            self.press(self.caller, self.rtp, digit, EVENTS.payload_type)
            self.talk(60)
        self.assertEqual(self.heard(self.target, 101), [("5", 100), ("6", 100)])
        self.assertEqual(self.told(), [("caller", "5", 100), ("caller", "6", 100)])

    def test_fast_typing_in_another_clock(self) -> None:
        """Each is sent anew, those too that come while one before is still being sent."""
        wide = Codec(name="telephone-event", payload_type=97, clock=48000)
        self.set_up(caller={"dtmf_receive": (EVENTS, wide)})
        self.bridge()
        self.talk(5)
        for code, frames in ((1, 20), (2, 3), (3, 3), (4, 20)):
            self.press(self.caller, self.rtp, code, 97, frames)
            self.talk(3)
        self.talk(60)
        self.assertEqual([digit for digit, _ in self.heard(self.target, 101)], ["1", "2", "3", "4"])
        self.assertEqual(self.target.packets[-1].payload, SAID["caller"])

    def test_pressed_while_digits_of_ours_are_sent(self) -> None:
        """An event that cannot be passed on at its beginning is sent anew, once, however long it lasts."""
        self.set_up()
        self.bridge()
        self.talk(50)
        self.done(messages.SendDigits(request=0, call="c-1", leg="target", digits="12"))
        self.press(self.caller, self.rtp, 3, EVENTS.payload_type, frames=3)
        self.talk(3)
        self.press(self.caller, self.rtp, 4, EVENTS.payload_type, frames=40)
        self.talk(60)
        self.press(self.caller, self.rtp, 5, EVENTS.payload_type)
        self.talk(10)
        self.assertEqual([digit for digit, _ in self.heard(self.target, 101)], ["1", "2", "3", "4", "5"])

    def test_one_after_the_other(self) -> None:
        """A digit that waits for events of its press, which then are of another clock, is not overtaken by the next."""
        wide = Codec(name="telephone-event", payload_type=97, clock=48000)
        self.set_up(caller={"dtmf_receive": (EVENTS, wide)})
        self.bridge()
        self.talk(50)
        for code in (3, 7):
            self.world.ask(messages.Pressed(request=0, call="c-1", digit=str(code), duration_ms=60))
            self.press(self.caller, self.rtp, code, 97, frames=3)
            self.talk(5)
        self.talk(60)
        self.assertEqual([digit for digit, _ in self.heard(self.target, 101)], ["3", "7"])

    def test_info_long_before_events(self) -> None:
        """Of a leg that has sent events INFO is not waited for: those of the press come, however late."""
        self.set_up()
        self.bridge()
        self.talk(50)
        for digit in (5, 6):
            self.press(self.caller, self.rtp, digit, EVENTS.payload_type)
            self.talk(120)
            self.world.ask(messages.Pressed(request=0, call="c-1", digit=str(digit), duration_ms=100))
            self.talk(30)
            self.press(self.caller, self.rtp, digit, EVENTS.payload_type)
            self.talk(60)
        self.assertEqual(self.heard(self.target, 101), [("5", 100)] * 2 + [("6", 100)] * 2)

    def test_info_after_a_re_invite(self) -> None:
        """Behind a leg that is agreed on anew may be another phone, which tells its presses by INFO alone."""
        self.set_up()
        self.bridge()
        self.talk(50)
        self.press(self.caller, self.rtp, 5, EVENTS.payload_type)
        self.talk(50)
        self.media("caller")
        self.world.ask(messages.Pressed(request=0, call="c-1", digit="6", duration_ms=100))
        self.talk(60)
        self.assertEqual(self.heard(self.target, 101), [("5", 100), ("6", 100)])

    def test_as_tones(self) -> None:
        """A peer that knows no events hears tones, and then the other leg again, in one stream."""
        self.set_up(target={"dtmf_send": None, "dtmf_receive": ()})
        self.bridge()
        self.talk(5)
        self.press(self.caller, self.rtp, 1, EVENTS.payload_type, frames=8)
        self.talk(20)
        payloads = [packet.payload for packet in self.target.packets]
        tones = [payload for payload in payloads if payload not in (SAID["caller"], QUIET)]
        self.assertEqual((len(tones), payloads[-1]), (8, SAID["caller"]))
        self.assertEqual({step.numbers for step in steps(self.target.packets)}, {1})

    def test_long_press(self) -> None:
        """A key held for three seconds is one event all the way."""
        self.set_up()
        self.bridge()
        self.talk(5)
        self.press(self.caller, self.rtp, 11, EVENTS.payload_type, frames=150)
        self.talk(2)
        self.assertEqual((self.heard(self.target, 101), self.told()), ([("#", 3000)], [("caller", "#", 3000)]))


class NoiseTests(BridgeTestCase):
    def noise(self) -> list[tuple[int, int]]:
        """Payload types at the caller, and how the numbers go on, when the target sends comfort noise in between."""
        self.bridge()
        self.talk(3)
        self.caller.datagrams.clear()
        for kind in (0, 13, 0, 0):
            sender = self.target.sender
            self.target.send(
                sender.packet_at(sender.timestamp, b"\x40" if kind else SAID["target"], kind), self.target_rtp
            )
            sender.timestamp += 160
            self.world.tick()
        packets = self.caller.packets
        return [(packet.payload_type, packet.sequence_number - packets[0].sequence_number) for packet in packets]

    def test_both_have_it(self) -> None:
        """Comfort noise is passed on to a peer that named it, under its number."""
        self.set_up(caller={"comfort_noise": 98})
        self.assertEqual(self.noise(), [(0, 0), (98, 1), (0, 2), (0, 3)])

    def test_one_has_it(self) -> None:
        """Where the peer did not name it, it is left out, and does not look lost."""
        self.set_up()
        self.assertEqual(self.noise(), [(0, 0), (0, 1), (0, 2)])

    def test_coded_anew(self) -> None:
        """Where the legs' codecs differ it is made audible: the target's pause has the level that it says."""
        self.set_up(target={"send": PCMA, "receive": (PCMA,)})
        self.bridge()
        self.target.sender.payload_type = 8
        self.talk(20, target=b"\x35" * 160)
        self.target.send(self.target.sender.packet_at(self.target.sender.timestamp, b"\x32", 13), self.target_rtp)
        self.talk(50, target=None)
        levels = [level_dbfs(pcm_from_ulaw(packet.payload)) for packet in self.caller.packets[-20:]]
        self.assertTrue(all(-53 < level < -47 for level in levels), levels)


class ListeningAgentTests(BridgeTestCase):
    def test_tones_are_not_sent_twice(self) -> None:
        """A key that an agent finds in the audio of a bridged caller goes to the target in the audio alone."""
        self.media("caller", dtmf_send=None, dtmf_receive=())
        self.media("target")
        self.done(start_agent(inband=True))
        self.world.connector.links[0].events.link_opened(2.0)
        for leg in ("caller", "target"):
            self.done(messages.Answered(request=0, call="c-1", leg=leg))
        self.bridge()
        self.bind("target", "leg", peer="caller")
        self.bind("caller", "leg", peer="target", agent_hears=True)
        self.talk(5)
        pressed = ulaw_from_pcm(dtmf_tones("5", 8000, 100, 100))
        for at in range(0, len(pressed), 160):
            self.talk(1, caller=pressed[at : at + 160])
        self.talk(30)
        told = [event for event in self.world.told() if isinstance(event, messages.DigitReceived)]
        self.assertEqual([(event.leg, event.digit, event.way) for event in told], [("caller", "5", "inband")])
        self.assertEqual({packet.payload_type for packet in self.target.packets}, {0})


class TranscodingTests(BridgeTestCase):
    def test_g711(self) -> None:
        """PCMU on one side and PCMA on the other hear each other's samples, each in its own codec."""
        self.set_up(target={"send": PCMA, "receive": (PCMA,)})
        self.target.sender.payload_type = 8
        self.bridge()
        self.talk(30, caller=b"\x1f" * 160, target=b"\x35" * 160)
        self.assertEqual(
            {(packet.payload_type, packet.payload) for packet in self.target.packets[-20:]}, {(8, b"\x35" * 160)}
        )
        self.assertEqual(
            {(packet.payload_type, packet.payload) for packet in self.caller.packets[-20:]}, {(0, b"\x1f" * 160)}
        )
        for phone in (self.caller, self.target):
            self.assertEqual(set(steps(phone.packets)), {REGULAR})

    def test_codec_changes(self) -> None:
        """A peer that changes its codec in mid-bridge is understood from its next packet on, and back again."""
        self.set_up(target={"receive": (PCMU, PCMA)})
        self.bridge()
        self.talk(20)
        self.target.sender.payload_type = 8
        self.talk(30, target=b"\x35" * 160)
        self.target.sender.payload_type = 0
        self.talk(60)
        packets: list[RtpPacket] = self.caller.packets
        payloads = [packet.payload for packet in packets]
        self.assertEqual({packet.payload_type for packet in packets}, {0})
        self.assertEqual((payloads[19], payloads[45], payloads[-1]), (SAID["target"], b"\x1f" * 160, SAID["target"]))
        self.assertEqual({step.numbers for step in steps(packets)}, {1})
        self.assertTrue(self.world.carrier._sessions["c-1"]._slow)

    def test_re_invite(self) -> None:
        """A re-INVITE may make coding anew necessary, and another one needless."""
        self.set_up()
        self.bridge()
        self.talk(20)
        self.media("target", send=PCMA, receive=(PCMA,))
        self.target.sender.payload_type = 8
        self.talk(30, caller=b"\x1f" * 160, target=b"\x35" * 160)
        anew = (self.target.packets[-1].payload, self.caller.packets[-1].payload)
        self.media("target")
        self.target.sender.payload_type = 0
        self.talk(30)
        self.assertEqual(anew, (b"\x35" * 160, b"\x1f" * 160))
        self.assertEqual(
            (self.target.packets[-1].payload, self.caller.packets[-1].payload), (SAID["caller"], SAID["target"])
        )
        for phone in (self.caller, self.target):
            self.assertEqual({step.numbers for step in steps(phone.packets)}, {1})

    def test_digits(self) -> None:
        """Digits go through a bridge that codes anew."""
        self.set_up(target={"send": PCMA, "receive": (PCMA,)})
        self.bridge()
        self.talk(20)
        for duration, flags in ((160, 10), (800, 0x8A), (800, 0x8A), (800, 0x8A)):
            payload = bytes((9, flags)) + duration.to_bytes(2, "big")
            self.caller.send(self.caller.sender.packet_at(99_000, payload, 101), self.rtp)
        self.talk(20)
        receiver = DtmfReceiver()
        events = [packet for packet in self.target.packets if packet.payload_type == 101]
        digits = [digit for packet in events for digit in receiver.received(packet, 0.0)]
        self.assertEqual([(digit.digit, digit.duration_ms) for digit in digits], [("9", 100)])
