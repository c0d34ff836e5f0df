"""What a worker makes of a caller's packets: any length, pauses with comfort noise, digits told in several ways."""

from __future__ import annotations

import base64
import json
from itertools import permutations
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.control.messages import Done, Failed, Pressed, Release
from stellar_gw.dialects.contract import AudioFormat
from stellar_gw.media.analysis import dominant_tone, level_dbfs
from stellar_gw.media.codec import CODECS
from stellar_gw.media.playout import Encoding, PlayoutFlood
from stellar_gw.media.rtp import RtpPacket
from stellar_gw.media.source import dtmf_tones, tone
from stellar_gw.worker.agent_audio import AgentAudio
from stellar_gw.worker.caller_audio import CallerAudio
from stellar_gw.worker.port_digits import BURST, RATE
from tests.unit.test_worker_session import CallTestCase
from tests.unit.worker_world import EVENTS, PCMA, PCMU, FakeLink, set_media

LAWS: Final[tuple[Encoding, ...]] = ("mulaw", "alaw")
CN = messages.Codec(name="CN", payload_type=118, clock=16000)


def digits(link: FakeLink) -> str:
    """What the agent was told."""
    told = [json.loads(frame) for frame in link.take() if frame.startswith("{")]
    return "".join(each["dtmf"]["digit"] for each in told if each["event"] == "dtmf")


class PacketTimeTests(CallTestCase):
    def test_any_packet_time_both_ways(self) -> None:
        """Packets of 10 to 60 ms, in each codec: the caller's tone arrives, and so does the agent's."""
        wrong = {}
        for name, codec in CODECS.items():
            mine = messages.Codec(name=name, payload_type=codec.payload_type)
            for ptime in (10, 20, 30, 40, 50, 60):
                self.setUp()
                link = self.set_up(send=mine, receive=(mine,), ptime=ptime)
                octets = codec.encoder().encode(tone([440], codec.rate, 600))
                self.phone.sender.payload_type = codec.payload_type
                for at in range(0, len(octets), 8 * ptime):
                    self.phone.say(octets[at : at + 8 * ptime], self.rtp)
                self.speaks(link, CODECS["PCMU"].encoder().encode(tone([660], 8000, 600)))
                self.world.tick(30)
                there = CODECS["PCMU"].decoder().decode(b"".join(self.heard(link)))
                back = codec.decoder().decode(b"".join(self.payloads()))
                lengths = {len(payload) for payload in self.payloads()}
                tones = dominant_tone(there, 8000), dominant_tone(back, codec.rate)
                hertz = [round(found.hertz) if found and found.share > 0.95 else 0 for found in tones]
                if (hertz, lengths) != ([440, 660], {8 * ptime}) or len(there) < 2 * 8 * 580:
                    wrong[name, ptime] = hertz, lengths, len(there)
        self.assertEqual(wrong, {})

    def test_packet_time_changes(self) -> None:
        """Whenever it is agreed anew, between packets or in the midst of one, digits go out and audio goes on."""
        wrong = {}
        for before, after in permutations((10, 20, 30, 40, 50, 60), 2):
            for ticks in range(before // 10):
                self.setUp()
                self.set_up(ptime=before)
                self.world.tick(5 + ticks)
                self.world.ask(set_media(ptime=after))
                self.world.carrier._sessions["c-1"].agent.send_digits("5")
                self.phone.datagrams.clear()
                self.world.tick(60)
                kinds = [packet.payload_type for packet in self.phone.packets]
                lengths = {len(payload) for payload in self.payloads()}
                count = 800 // after
                # 160 ms of tone, its end twice more; then, at the latest after 80 ms of pause, audio.
                if (kinds.count(101), kinds[-count:], lengths) != (10, [0] * count, {8 * after}):
                    wrong[before, after, ticks] = kinds
        self.assertEqual(wrong, {})


class UntouchedTests(SynchronousTestCase):
    def test_g711_passes_untouched_to_who_speaks_the_same(self) -> None:
        """Both ways, mu-law and A-law: every octet; and to who speaks the other law it is the same sound."""
        every = bytes(range(256))[:160], bytes(range(96, 256))
        found = {}
        for codec in (PCMU, PCMA):
            for law in LAWS:
                audio_format = AudioFormat(law, 8000)
                caller = CallerAudio(audio_format, [codec])
                agent = AgentAudio(audio_format)
                agent.send_as(codec)
                agent.playout.push(b"".join(every))
                packets = [RtpPacket(codec.payload_type, False, 1, 0, 1, payload) for payload in every]
                there, back = caller.frames(packets), [agent.payload(20), agent.payload(20)]
                found[codec.name, law] = tuple(there) == every, tuple(back) == every, agent.payload(20)[0]
        self.assertEqual(
            found,
            {
                ("PCMU", "mulaw"): (True, True, 0xFF),
                ("PCMU", "alaw"): (False, False, 0xFE),  # A-law has no zero
                ("PCMA", "mulaw"): (False, False, 0xD5),
                ("PCMA", "alaw"): (True, True, 0xD5),
            },
        )

    def test_one_law_is_the_other_ones_sound(self) -> None:
        """A tone from a PCMA caller to a mu-law agent and back, and the other way round."""
        for codec, law, other in zip((PCMA, PCMU), LAWS, ("PCMU", "PCMA"), strict=True):
            sound = CODECS[codec.name].encoder().encode(tone([440], 8000, 400))
            caller = CallerAudio(AudioFormat(law, 8000), [codec])
            there = caller.frames([RtpPacket(codec.payload_type, False, 1, 0, 1, sound)])
            agent = AgentAudio(AudioFormat(law, 8000))
            agent.send_as(codec)
            agent.playout.push(b"".join(there))
            back = b"".join(agent.payload(20) for _ in range(20))
            for pcm in (CODECS[other].decoder().decode(b"".join(there)), CODECS[codec.name].decoder().decode(back)):
                heard = dominant_tone(pcm, 8000)
                self.assertTrue(heard is not None and round(heard.hertz) == 440 and heard.share > 0.9, (codec, law))


class PauseTests(CallTestCase):
    def test_a_caller_with_silence_suppression(self) -> None:
        """After a comfort noise packet the agent hears noise of its level, by the clock, until audio comes again."""
        link = self.set_up(noise_receive=(CN,))
        loud = CODECS["PCMU"].encoder().encode(tone([440], 8000, 20))
        for _ in range(10):
            self.phone.say(loud, self.rtp)
            self.world.tick()
        self.phone.sender.payload_type = CN.payload_type
        self.phone.send(self.phone.sender.packet(b"\x32", 0), self.rtp)
        self.world.tick(50)
        self.phone.sender.payload_type = 0
        self.phone.sender.skip(50 * 160)
        self.phone.say(b"\x21" * 160, self.rtp)
        self.world.settle()
        frames = self.heard(link)
        levels = [round(level_dbfs(CODECS["PCMU"].decoder().decode(frame))) for frame in frames]
        self.assertEqual((len(frames), frames[-1]), (61, b"\x21" * 160))
        self.assertTrue(all(-53 <= level <= -47 for level in levels[11:60]), levels)
        self.assertEqual(self.world.ask(Release(request=0, call="c-1")).legs[0].packets_received, 12)


class DigitTests(CallTestCase):
    def event(self, code: int) -> None:
        """100 ms of a key as telephone events; of the end one packet comes."""
        for flags, duration in ((10, 160), (0x8A, 800)):
            payload = bytes((code, flags)) + duration.to_bytes(2, "big")
            self.phone.send(self.phone.sender.packet_at(self.phone.sender.timestamp, payload, 101), self.rtp)
        self.phone.sender.skip(800)
        self.world.settle()

    def inform(self, digit: str) -> None:
        told = Pressed(request=5, call="c-1", digit=digit, duration_ms=160)
        self.assertEqual(self.world.ask(told), Done(request=5))

    def test_by_info(self) -> None:
        """A digit that signalling tells reaches the agent, the gateway and the record."""
        link = self.set_up()
        self.world.told()
        self.inform("5")
        self.inform("d")
        received = [
            messages.DigitReceived(generation=7, call="c-1", leg="caller", digit=digit, duration_ms=160, way="info")
            for digit in "5D"
        ]
        self.assertEqual((digits(link), self.world.told()), ("5D", received))
        self.assertEqual(self.world.ask(Release(request=0, call="c-1")).legs[0].digits, "5D")

    def test_told_twice(self) -> None:
        """Events and INFO of one press are one digit, whichever comes first; the same key again is another."""
        link = self.set_up()
        self.event(5)
        self.inform("5")
        self.inform("6")
        self.event(6)
        self.world.tick(20)
        self.event(5)
        self.inform("5")
        self.assertEqual(digits(link), "565")

    def test_as_tones(self) -> None:
        """Where it is asked for, digits are found in the audio of any codec, through a loss, and told once."""
        for name, untouched in (("PCMU", True), ("PCMA", False), ("G722", False)):
            for inband in (True, False):
                codec = CODECS[name]
                mine = messages.Codec(name=name, payload_type=codec.payload_type)
                self.setUp()
                self.inband = inband
                link = self.set_up(send=mine, receive=(mine,))
                self.world.told()
                octets = codec.encoder().encode(dtmf_tones("4711*", codec.rate, 90, 90) + bytes(codec.rate // 5))
                self.phone.sender.payload_type = codec.payload_type
                for at in range(0, len(octets), 160):
                    packet = self.phone.sender.packet(octets[at : at + 160], 160)
                    if at != 160 * 2:
                        self.phone.send(packet, self.rtp)
                    if at == 160 * 20:
                        self.inform("7")
                    self.world.tick()
                ways = [event.way for event in self.world.told() if isinstance(event, messages.DigitReceived)]
                frames = [json.loads(frame) for frame in link.take() if frame.startswith("{")]
                pressed = "".join(frame["dtmf"]["digit"] for frame in frames if frame["event"] == "dtmf")
                self.assertEqual((pressed, set(ways)), ("4711*", {"inband"}) if inband else ("7", {"info"}), name)
                if untouched:
                    audio = [frame["media"]["payload"] for frame in frames if frame["event"] == "media"]
                    self.assertEqual(b"".join(map(base64.b64decode, audio[4:])), octets[4 * 160 :])

    def test_nonsense(self) -> None:
        """A press of a leg that is not there, and of no key, are refused."""
        self.set_up()
        cases = (("55", "caller"), ("", "caller"), ("5", "x"))
        wrong = [Pressed(request=5, call="c-1", digit=digit, leg=leg) for digit, leg in cases]
        replies = [self.world.ask(each) for each in wrong]
        self.assertEqual([reply.code for reply in replies if isinstance(reply, Failed)], ["bad_request"] * 3)
        self.assertIsInstance(self.world.ask(Pressed(request=5, call="c-2", digit="5")), Failed)

    def test_renumbered(self) -> None:
        """A key that is down while events get another number or clock is one press, of its whole length, and so
        is one whose end is repeated under the new number."""
        again = messages.Codec(name="telephone-event", payload_type=96)
        wide = messages.Codec(name="telephone-event", payload_type=97, clock=16000)
        for after in (again, wide):
            self.setUp()
            link = self.set_up()
            self.send_event(1, EVENTS, 100, end=True)
            self.agree(after)
            self.send_event(1, after, 100, end=True)
            self.send_event(2, after, 60, end=False, begin=True)
            self.agree(EVENTS)
            self.send_event(2, EVENTS, 140, end=True)
            pressed = [event for event in self.world.told() if isinstance(event, messages.DigitReceived)]
            self.assertEqual([(event.digit, event.duration_ms) for event in pressed], [("1", 100), ("2", 140)], after)
            self.assertEqual(digits(link), "12")

    def test_cut_off_by_an_agreement(self) -> None:
        """A press whose end would have come by a number that is gone, or by a phone that holds, has ended."""
        for terms in ({"dtmf_send": None, "dtmf_receive": ()}, {"direction": "sendonly"}, {"direction": "inactive"}):
            self.setUp()
            self.set_up()
            self.send_event(3, EVENTS, 80, end=False)
            self.world.ask(set_media(**terms))
            self.world.tick(20)
            pressed = [event for event in self.world.told() if isinstance(event, messages.DigitReceived)]
            self.assertEqual([(event.digit, event.duration_ms) for event in pressed], [("3", 80)], terms)

    def agree(self, events: messages.Codec | None) -> None:
        known = () if events is None else (events,)
        self.assertIsInstance(self.world.ask(set_media(dtmf_send=events, dtmf_receive=known)), messages.Done)

    def send_event(self, code: int, events: messages.Codec, ms: int, *, end: bool, begin: bool = False) -> None:
        """One packet of an event, which began where the stream is."""
        if begin:
            self.phone.sender.skip(1600)
        payload = bytes((code, 0x8A if end else 0x0A)) + (ms * events.clock // 1000).to_bytes(2, "big")
        packet = self.phone.sender.packet_at(self.phone.sender.timestamp, payload, events.payload_type)
        self.phone.send(packet, self.rtp)
        self.world.settle()

    def test_faster_than_anybody(self) -> None:
        """Of presses without end a few hundred are told, then no more than keys can be pressed."""
        link = self.set_up()
        for second in range(4):
            for _ in range(1000):
                self.event(5)
            self.world.tick(50)
            told = len([event for event in self.world.told() if isinstance(event, messages.DigitReceived)])
            self.assertEqual((told, len(digits(link))), ((BURST, BURST) if second == 0 else (RATE, RATE)))
        self.world.tick(500)
        self.event(6)
        self.assertEqual(digits(link), "6")

    def test_more_tones_than_there_is_room_for(self) -> None:
        """Where an agent's digits are refused none of them is heard."""
        audio = AgentAudio(AudioFormat("pcm", 16000))
        room = 2 * 16 * 500
        audio.playout.push(bytes(audio.playout.capacity - room))
        queued = audio.playout.queued_ms
        self.assertRaises(PlayoutFlood, audio.sound, "123")
        self.assertEqual(audio.playout.queued_ms, queued)
        audio.sound("12")
        self.assertEqual(audio.playout.queued_ms, queued + 480)

    def test_other_clock_rates(self) -> None:
        """Events of 16 and 48 kHz beside those of 8 kHz, each by its own number; ours go out in the agreed clock."""
        wide = messages.Codec(name="telephone-event", payload_type=97, clock=16000)
        link = self.set_up(dtmf_send=wide, dtmf_receive=(EVENTS, wide))
        for kind, clock, code in ((97, 16000, 1), (101, 8000, 2), (97, 16000, 3)):
            payload = bytes((code, 0x8A)) + (clock // 10).to_bytes(2, "big")
            self.phone.send(self.phone.sender.packet_at(self.phone.sender.timestamp, payload, kind), self.rtp)
            self.phone.sender.skip(1600)
        self.world.settle()
        self.world.carrier._sessions["c-1"].agent.send_digits("5")
        self.world.tick(20)
        sent = [packet for packet in self.phone.packets if packet.payload_type == 97]
        lengths = [int.from_bytes(packet.payload[2:], "big") for packet in sent]
        self.assertEqual((digits(link), lengths), ("123", [*range(320, 2560, 320), 2560, 2560, 2560]))
        self.assertEqual({packet.timestamp for packet in sent}, {sent[0].timestamp})
