"""Whole calls in a worker: commands in, RTP and agent frames out, over a network in memory."""

from __future__ import annotations

import base64
import json
from itertools import pairwise
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.control.messages import (
    Allocate,
    Answered,
    Done,
    Early,
    Failed,
    LegStatistics,
    Release,
    Released,
    SendDigits,
    StopAgent,
    Tell,
)
from stellar_gw.dialects.contract import Facts
from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.codec import CODECS
from stellar_gw.media.dtmf import DtmfReceiver
from stellar_gw.media.inband import InbandDetector
from stellar_gw.media.rtp import RtpSender, sequence_delta, timestamp_delta
from stellar_gw.worker.session import MediaSession
from tests.unit.worker_world import (
    EVENTS,
    G722,
    HOST,
    PCMA,
    PCMU,
    PHONE,
    SIX,
    FakeLink,
    Phone,
    World,
    set_media,
    start_agent,
)


class CallTestCase(SynchronousTestCase):
    """One call to a Twilio agent.

    :ivar inband: look for digits in the caller's audio.
    """

    inband = False

    def setUp(self) -> None:
        self.world = World()
        self.phone = Phone(self.world.network)
        self.rtp = self.world.ask(Allocate(request=1, call="c-1")).rtp_port

    def set_up(self, **media: Any) -> FakeLink:
        """Media agreed, the agent there, the call answered."""
        self.assertEqual(self.world.ask(set_media(**media)), Done(request=0))
        link = self.agent()
        self.assertEqual(self.world.ask(Answered(request=0, call="c-1")), Done(request=0))
        return link

    def agent(self) -> FakeLink:
        self.assertEqual(self.world.ask(start_agent(inband=self.inband)), Done(request=0))
        link = self.world.connector.links[0]
        link.events.link_opened(2.0)
        self.stream = json.loads(link.take()[1])["streamSid"]
        return link

    def says(self, link: FakeLink, event: str, **fields: Any) -> None:
        link.events.link_received(json.dumps({"event": event, "streamSid": self.stream, **fields}))

    def speaks(self, link: FakeLink, audio: bytes) -> None:
        self.says(link, "media", media={"payload": base64.b64encode(audio).decode()})

    def heard(self, link: FakeLink) -> list[bytes]:
        """The media messages sent to the agent."""
        sent = [json.loads(frame) for frame in link.take() if frame.startswith("{")]
        return [base64.b64decode(frame["media"]["payload"]) for frame in sent if frame["event"] == "media"]

    def payloads(self) -> list[bytes]:
        return [packet.payload for packet in self.phone.packets if packet.payload_type < 96]


class AudioTests(CallTestCase):
    def test_both_ways(self) -> None:
        """PCMU passes untouched, both ways; silence is sent while the agent says nothing."""
        link = self.set_up()
        self.world.tick(2)
        self.speaks(link, b"\x21" * 240)
        self.world.tick(3)
        self.phone.say(b"\x42" * 160, self.rtp)
        self.world.settle()
        quiet = b"\xff" * 160
        self.assertEqual(self.payloads(), [quiet, quiet, b"\x21" * 160, b"\x21" * 80 + b"\xff" * 80, quiet])
        self.assertEqual(self.heard(link), [b"\x42" * 160])
        self.assertEqual(self.world.told(), [messages.AgentReady(generation=7, call="c-1", connect_ms=2.0)])

    def test_regular(self) -> None:
        """Packets follow one another by 1 and by 160, with one SSRC, and only the first is marked."""
        self.set_up()
        self.world.tick(50)
        packets = self.phone.packets
        self.assertEqual(
            {
                (
                    sequence_delta(b.sequence_number, a.sequence_number),
                    timestamp_delta(b.timestamp, a.timestamp),
                    b.ssrc ^ a.ssrc,
                    b.marker,
                )
                for a, b in pairwise(packets)
            },
            {(1, 160, 0, False)},
        )
        self.assertEqual((len(packets), packets[0].marker), (50, True))

    def test_before_answer(self) -> None:
        """Before the answer nothing is sent either way, and the agent's words wait."""
        self.world.ask(set_media())
        link = self.agent()
        self.speaks(link, b"\x21" * 160)
        self.phone.say(b"\x42" * 160, self.rtp)
        self.world.tick(5)
        self.assertEqual((self.phone.datagrams, link.take()), ([], []))
        self.world.ask(Answered(request=0, call="c-1"))
        self.world.tick()
        self.assertEqual(self.payloads(), [b"\x21" * 160])

    def test_an_agent_is_heard_early(self) -> None:
        """Asked for early media, the caller hears the agent before the answer, and nobody the caller; marks return."""
        self.world.ask(set_media())
        link = self.agent()
        self.assertEqual(self.world.ask(Early(request=0, call="c-1", source="agent")), Done(request=0))
        self.speaks(link, b"\x21" * 160)
        self.says(link, "mark", mark={"name": "m"})
        self.phone.say(b"\x42" * 160, self.rtp)
        self.world.tick(2)
        self.assertEqual(self.payloads(), [b"\x21" * 160, b"\xff" * 160])
        self.assertEqual([json.loads(frame)["event"] for frame in link.take()], ["mark"])
        self.world.ask(Answered(request=0, call="c-1"))
        self.phone.say(b"\x42" * 160, self.rtp)
        self.world.tick()
        self.assertEqual(self.heard(link), [b"\x42" * 160])
        self.assertEqual(len(self.payloads()), 3)

    def test_a_ringing_tone_until_the_answer(self) -> None:
        """The agent's words wait meanwhile, none is lost; a request that comes late changes nothing."""
        self.world.ask(set_media())
        link = self.agent()
        early = Early(request=0, call="c-1", source="ringback")
        self.assertEqual(self.world.ask(early), Done(request=0))
        self.speaks(link, b"\x21" * 160)
        self.world.tick(25)
        tone = dominant_tone(CODECS["PCMU"].decoder().decode(b"".join(self.payloads())), 8000)
        assert tone is not None
        self.assertEqual((round(tone.hertz), tone.share > 0.9, len(self.payloads())), (425, True, 25))
        self.world.ask(Answered(request=0, call="c-1"))
        self.assertEqual(self.world.ask(early), Done(request=0))
        self.world.tick(2)
        self.assertEqual(self.payloads()[25:], [b"\x21" * 160, b"\xff" * 160])

    def test_early_media_of_a_call_that_comes_to_nothing(self) -> None:
        """Nothing is sent after the release, and the ports are closed."""
        self.world.ask(set_media())
        self.agent()
        self.world.ask(Early(request=0, call="c-1", source="ringback"))
        self.world.tick(2)
        self.world.ask(messages.Release(request=0, call="c-1", cause="cancelled", by="caller"))
        self.world.tick(5)
        self.assertEqual((len(self.payloads()), len(self.world.pacer)), (2, 0))

    def test_media_after_answer(self) -> None:
        """With a delayed offer media are agreed after the 200: audio flows from then on."""
        self.agent()
        self.world.ask(Answered(request=0, call="c-1"))
        self.world.tick(5)
        self.assertEqual(self.phone.datagrams, [])
        self.world.ask(set_media())
        self.world.tick(2)
        self.assertEqual(self.payloads(), [b"\xff" * 160] * 2)

    def test_transcoded(self) -> None:
        """A caller on PCMA and an agent on mu-law hear each other's samples, not each other's octets."""
        link = self.set_up(send=PCMA, receive=(PCMA, PCMU))
        self.phone.sender.payload_type = 8
        self.phone.say(b"\x35" * 160, self.rtp)
        self.world.settle()
        self.assertEqual(self.heard(link), [b"\x1f" * 160])
        self.speaks(link, b"\x1f" * 160)
        self.world.tick()
        self.assertEqual((self.payloads(), self.phone.packets[0].payload_type), ([b"\x35" * 160], 8))

    def test_caller_changes_codec(self) -> None:
        """The caller may switch among the negotiated payload types at any packet."""
        link = self.set_up(send=PCMA, receive=(PCMA, PCMU))
        for kind, octet in ((0, 0x1F), (8, 0x35), (0, 0x1F)):
            self.phone.sender.payload_type = kind
            self.phone.say(bytes([octet]) * 160, self.rtp)
        self.world.settle()
        self.assertEqual(self.heard(link), [b"\x1f" * 160] * 3)

    def test_g722_frames(self) -> None:
        """A caller on G.722 is heard at the agent's 8 kHz in whole frames of 20 ms, and gets 160 octets each."""
        link = self.set_up(send=G722, receive=(G722,))
        self.phone.sender.payload_type = 9
        for _ in range(10):
            self.phone.say(b"\xfa" * 160, self.rtp)
        self.world.tick(10)
        self.assertEqual([len(frame) for frame in self.heard(link)], [160] * 10)
        self.assertEqual({(packet.payload_type, len(packet.payload)) for packet in self.phone.packets}, {(9, 160)})

    def test_caller_ptime(self) -> None:
        """Packets of 30 ms from the caller reach the agent as frames of 20 ms."""
        link = self.set_up()
        for _ in range(4):
            self.phone.say(b"\x42" * 240, self.rtp)
        self.world.settle()
        self.assertEqual(self.heard(link), [b"\x42" * 160] * 6)

    def test_our_ptime(self) -> None:
        """ptime groups what we send: 10, 30, 40 and 60 ms take as many octets a second as 20, and marks stay exact."""
        for ptime in (10, 30, 40, 60):
            self.setUp()
            link = self.set_up(ptime=ptime)
            self.speaks(link, b"\x21" * 480)
            self.says(link, "mark", mark={"name": "m"})
            marked = 0
            for _ in range(6):
                self.world.tick()
                if any('"mark"' in frame for frame in link.take()):
                    marked = sum(map(len, self.payloads()))
            self.assertEqual([len(payload) for payload in self.payloads()], [8 * ptime] * (120 // ptime))
            self.assertEqual(
                (b"".join(self.payloads())[:480], b"\x21" in b"".join(self.payloads())[480:]), (b"\x21" * 480, False)
            )
            self.assertEqual(marked, -(-60 // ptime) * ptime * 8)

    def test_held_up(self) -> None:
        """After a stall the time that is gone is gone in the timestamps too, and the next packet is marked."""
        self.set_up()
        self.world.tick()
        self.world.pacer.expired(4 * 100)
        self.world.settle()
        first, *late = self.phone.packets
        frames = [(timestamp_delta(packet.timestamp, first.timestamp) // 160, packet.marker) for packet in late]
        self.assertEqual(frames, [(98, True), (99, False), (100, False)])

    def test_lost_packet(self) -> None:
        """A lost packet is replaced by a guess as long, once it has been waited for in vain."""
        link = self.set_up()
        self.phone.say(b"\x01" * 160, self.rtp)
        self.phone.sender.packet(b"lost" * 40, 160)
        self.phone.say(b"\x03" * 160, self.rtp)
        self.world.tick(5)
        first, guess, third = self.heard(link)
        self.assertEqual((first, guess[:80], third[32:]), (b"\x01" * 160, b"\x01" * 80, b"\x03" * 128))
        self.assertEqual((len(guess), guess[-1] != 0x01, len(third)), (160, True, 160))

    def test_sources_beside_each_other(self) -> None:
        """Of two SSRCs of audio at once the agent hears one, and as much of it as time passes; the short way is taken
        again once one is alone."""
        link = self.set_up()
        music = RtpSender(0xFEED, 7, 3_000_000_000, 0)
        for both in [True] * 200 + [False] * 50:
            if both:
                self.phone.say(b"\x42" * 160, self.rtp)
            self.phone.send(music.packet(b"\x33" * 160, 160), self.rtp)
            self.world.tick()
        heard = self.heard(link)
        self.assertEqual({len(payload) for payload in heard}, {160})
        self.assertEqual(b"".join(payload[:1] for payload in heard), b"\x42" + b"\x33" * 250)
        port = self.world.carrier._sessions["c-1"].legs["caller"].port
        self.assertTrue(port._short_way.open)


class HoldTests(CallTestCase):
    def test_hold(self) -> None:
        """On hold (we are sendonly) the caller is not heard but hears; inactive: neither; then all goes on."""
        link = self.set_up()
        self.world.tick()
        seen = []
        for direction in ("sendonly", "inactive", "recvonly", "sendrecv"):
            self.world.ask(set_media(direction=direction))
            before = len(self.phone.packets)
            self.phone.say(b"\x42" * 160, self.rtp)
            self.world.tick()
            seen.append((direction, len(self.heard(link)), len(self.phone.packets) - before))
        self.assertEqual(seen, [("sendonly", 0, 1), ("inactive", 0, 0), ("recvonly", 1, 0), ("sendrecv", 1, 1)])

    def test_time_passes_on_hold(self) -> None:
        """What the agent says while nothing may be sent passes unheard: marks fire, but it is not counted as sent."""
        link = self.set_up()
        self.world.ask(set_media(direction="inactive"))
        self.speaks(link, b"\x21" * 320)
        self.says(link, "mark", mark={"name": "m"})
        self.world.tick(2)
        self.assertEqual([json.loads(frame)["event"] for frame in link.take()], ["mark"])
        released = self.world.ask(Release(request=0, call="c-1"))
        self.assertEqual(released.legs[0].agent_audio_ms, 0)

    def test_nowhere(self) -> None:
        """Port 0 means: send nothing, not even RTCP."""
        self.set_up(remote=(PHONE[0], 0), remote_rtcp=(PHONE[0], 0))
        self.world.tick(1000)
        self.assertEqual(self.phone.datagrams, [])

    def test_no_address(self) -> None:
        """Whose SDP names no address, but a domain, is sent nothing until it is heard, and then where it is."""
        self.set_up(remote=("0.0.0.0", PHONE[1]), remote_rtcp=("0.0.0.0", PHONE[1] + 1), signalling_host=PHONE[0])
        self.world.tick(100)
        before = len(self.phone.datagrams)
        for _ in range(10):
            self.phone.say(b"\x42" * 160, self.rtp)
            self.world.tick()
        self.assertEqual((before, len(self.phone.packets)), (0, 7))  # four in sequence lock

    def test_moved(self) -> None:
        """A re-INVITE with another address moves the audio there at once."""
        self.set_up()
        self.phone.say(b"\x42" * 160, self.rtp)
        self.world.tick()
        there = Phone(self.world.network, ("198.51.100.9", 6000))
        self.world.ask(set_media(remote=there.address, remote_rtcp=("198.51.100.9", 6001)))
        self.world.tick(3)
        self.assertEqual((len(self.phone.packets), len(there.packets)), (1, 3))

    def test_changed_codec(self) -> None:
        """A re-INVITE with another codec changes what we send, in the same stream."""
        link = self.set_up()
        self.world.tick()
        self.world.ask(set_media(send=PCMA, receive=(PCMA,)))
        self.speaks(link, b"\x1f" * 160)
        self.world.tick()
        first, second = self.phone.packets
        self.assertEqual(
            (second.payload_type, second.payload, sequence_delta(second.sequence_number, first.sequence_number)),
            (8, b"\x35" * 160, 1),
        )


class DigitTests(CallTestCase):
    def test_to_the_caller(self) -> None:
        """The agent's digits go out as telephone events in place of audio."""
        self.set_up()
        session: MediaSession = self.world.carrier._sessions["c-1"]
        session.agent.send_digits("5")
        self.world.tick(20)
        receiver = DtmfReceiver()
        digits = [
            digit
            for packet in self.phone.packets
            if packet.payload_type == 101
            for digit in receiver.received(packet, 0.0)
        ]
        self.assertEqual([(digit.digit, digit.duration_ms) for digit in digits], [("5", 160)])
        self.assertEqual([packet.payload_type for packet in self.phone.packets][-1], 0)

    def test_as_agreed_on_anew(self) -> None:
        """A re-INVITE may bring another number for telephone events, and another clock: digits go out by these."""
        self.set_up()
        session = self.world.carrier._sessions["c-1"]
        found = []
        for number, clock in ((101, 8000), (96, 8000), (97, 16000), (97, 48000)):
            self.world.ask(
                set_media(dtmf_send=messages.Codec(name="telephone-event", payload_type=number, clock=clock))
            )
            self.phone.datagrams.clear()
            session.agent.send_digits("5")
            self.world.tick(20)
            receiver = DtmfReceiver(clock)
            events = [packet for packet in self.phone.packets if packet.payload_type == number]
            digits = [digit for packet in events for digit in receiver.received(packet, 0.0)]
            found += [(digit.digit, digit.duration_ms) for digit in digits]
        self.assertEqual(found, [("5", 160)] * 4)

    def test_agreed_on_anew_while_some_wait(self) -> None:
        """A re-INVITE takes none of those that are queued, nor the one that it falls into."""
        found = {}
        for number, clock in ((101, 8000), (96, 8000), (101, 16000), (97, 48000)):
            for ticks in (0, 1, 4, 7, 9, 11, 13, 40):
                self.setUp()
                self.set_up()
                self.world.carrier._sessions["c-1"].agent.send_digits("1234")
                self.world.tick(ticks)
                receiver = DtmfReceiver(8000)
                events = [packet for packet in self.phone.packets if packet.payload_type == 101]
                digits = [digit for packet in events for digit in receiver.received(packet, 0.0)]
                self.phone.datagrams.clear()
                anew = messages.Codec(name="telephone-event", payload_type=number, clock=clock)
                self.world.ask(set_media(dtmf_send=anew))
                self.world.tick(60)
                receiver = DtmfReceiver(clock)
                events = [packet for packet in self.phone.packets if packet.payload_type == number]
                digits += [digit for packet in events for digit in receiver.received(packet, 0.0)]
                # An event whose end was said before is told twice, by two receivers that know nothing of each other.
                told = {digit.timestamp: (digit.digit, digit.duration_ms) for digit in digits}
                found[number, clock, ticks] = [told[timestamp] for timestamp in sorted(told)]
        all_of_them = [("1", 160), ("2", 160), ("3", 160), ("4", 160)]
        self.assertEqual({place: digits for place, digits in found.items() if digits != all_of_them}, {})

    def test_no_more_events_while_some_wait(self) -> None:
        """Digits that are queued go out as tones where the phone has no telephone events any more."""
        self.set_up()
        self.world.carrier._sessions["c-1"].agent.send_digits("1234")
        self.world.tick(13)  # "1" is over and "2" has begun
        self.world.ask(set_media(dtmf_send=None))
        self.phone.datagrams.clear()
        self.world.tick(60)
        heard = CODECS["PCMU"].decoder().decode(b"".join(self.payloads()))
        self.assertEqual([digit.digit for digit in InbandDetector(8000).heard(heard + bytes(640))], ["3", "4"])

    def test_many_wait_for_tones(self) -> None:
        """As many as can wait, be they short, become tones that can be told, as far as a minute holds them."""
        self.set_up()
        leg = self.world.carrier._sessions["c-1"].legs["caller"]
        self.assertEqual(leg.send_digits("12" * 120, 40), "")
        leg.speak(None)
        asked: list[str] = []
        sound = leg.audio.sound

        def counted(digits: str, duration_ms: int) -> None:
            asked.append(digits)
            sound(digits, duration_ms)

        self.patch(leg.audio, "sound", counted)
        self.world.ask(set_media(dtmf_send=None))
        self.assertLessEqual(len(asked), 4)  # each copies all that wait
        self.phone.datagrams.clear()
        self.world.tick(100)
        heard = CODECS["PCMU"].decoder().decode(b"".join(self.payloads()))
        self.assertEqual("".join(digit.digit for digit in InbandDetector(8000).heard(heard))[:10], "1212121212")

    def test_other_codec_while_tones_wait(self) -> None:
        """Tones that are queued go on in the new codec, be its rate another one."""
        self.set_up(dtmf_send=None)
        self.world.carrier._sessions["c-1"].agent.send_digits("1234")
        self.world.tick(13)
        self.world.ask(set_media(dtmf_send=None, send=G722, receive=(G722,)))
        self.phone.datagrams.clear()
        self.world.tick(60)
        heard = CODECS["G722"].decoder().decode(b"".join(self.payloads()))
        self.assertEqual([digit.digit for digit in InbandDetector(16000).heard(heard + bytes(1280))], ["2", "3", "4"])

    def test_as_tones(self) -> None:
        """A peer without telephone events hears tones."""
        self.set_up(dtmf_send=None)
        self.world.carrier._sessions["c-1"].agent.send_digits("5")
        self.world.tick(20)
        loud = [packet.payload_type == 0 and set(packet.payload) != {0xFF} for packet in self.phone.packets]
        self.assertEqual(loud, [True] * 8 + [False] * 12)

    def test_nonsense(self) -> None:
        """What is no digit is not sent, and the call goes on."""
        self.set_up()
        self.world.carrier._sessions["c-1"].agent.send_digits("call me")
        self.world.tick(2)
        self.assertEqual({packet.payload_type for packet in self.phone.packets}, {0})

    def test_on_hold(self) -> None:
        """Digits that nobody would hear are refused, not swallowed; they are sent again once the phone is back."""
        for events in (EVENTS, None):
            self.setUp()
            self.set_up(dtmf_send=events)
            agent = self.world.carrier._sessions["c-1"].agent
            for terms in ({"direction": "recvonly"}, {"remote": ("0.0.0.0", 4000)}, {}):
                self.assertEqual(self.world.ask(set_media(dtmf_send=events, **terms)), Done(request=0))
                refused = agent.send_digits("5")
                self.assertEqual(refused, "the phone system takes no audio at the moment" if terms else "", terms)

    def test_asked_for_beside_the_link(self) -> None:
        """The gateway's command sends digits as the agent's own message does, and is refused what is no digit."""
        self.set_up()
        asked = [self.world.ask(SendDigits(request=0, call="c-1", digits=digits)) for digits in ("5", "call me")]
        self.world.tick(20)
        events = [packet for packet in self.phone.packets if packet.payload_type == 101]
        self.assertEqual({packet.payload[0] for packet in events}, {5})
        self.assertEqual(
            asked,
            [
                Done(request=0),
                Failed(request=0, code="bad_digits", message="digits are 0-9, *, #, A-D, at most 256"),
            ],
        )

    def test_from_the_caller(self) -> None:
        """A caller's digit reaches agent and gateway, once."""
        link = self.set_up()
        for duration, end in ((160, 0), (320, 0), (800, 0x80), (800, 0x80), (800, 0x80)):
            payload = bytes((7, end | 10)) + duration.to_bytes(2, "big")
            self.phone.send(self.phone.sender.packet_at(8000, payload, EVENTS.payload_type), self.rtp)
        self.world.settle()
        self.assertEqual([json.loads(frame)["dtmf"]["digit"] for frame in link.take()], ["7"])
        self.assertEqual(
            self.world.told()[1:],
            [messages.DigitReceived(generation=7, call="c-1", leg="caller", digit="7", duration_ms=100)],
        )


class TurnTests(CallTestCase):
    """How long the caller waits."""

    def talks(self, frames: int, payload: bytes = b"\x90" * 160) -> None:
        for _ in range(frames):
            self.phone.say(payload, self.rtp)
            self.world.tick()

    def test_a_turn(self) -> None:
        """From the caller's last loud packet to the agent's first that is not silent; told, and part of the numbers."""
        link = self.set_up()
        self.world.told()
        self.talks(5, b"\xff" * 160)
        self.talks(25)
        self.talks(25, b"\xff" * 160)
        self.speaks(link, b"\xff" * 480 + b"\x90" * 480)
        self.talks(10, b"\xff" * 160)
        # The last loud packet came with the 30th tick; the first sound left with the 59th, after the caller's.
        self.assertEqual(self.world.told(), [messages.AgentTurned(generation=7, call="c-1", wait_ms=580.0)])
        self.assertEqual(
            self.world.ask(Release(request=0, call="c-1")).conversation,
            messages.ConversationStatistics(
                heard_ms=1300, agent_audio_ms=120, turns=1, p50_ms=580, p95_ms=580, max_ms=580, caller_ms=500,
                agent_ms=60,
            ),
        )  # fmt: skip

    def test_a_barge_in(self) -> None:
        """Who begins to speak while the agent is heard, interrupts it."""
        link = self.set_up()
        self.speaks(link, b"\x90" * 16000)
        self.talks(20, b"\xff" * 160)
        self.talks(10)
        self.says(link, "clear")
        self.talks(10)
        said = self.world.ask(Release(request=0, call="c-1")).conversation
        self.assertEqual((said.barge_ins, said.turns, said.agent_ms, said.caller_ms), (1, 0, 600, 400))


class EndTests(CallTestCase):
    def test_release(self) -> None:
        """Release tells the agent, closes link and ports, and returns the statistics; again it returns the same."""
        link = self.set_up()
        self.phone.say(b"\x42" * 160, self.rtp)
        self.speaks(link, b"\x21" * 160)
        self.world.tick(2)
        link.take()
        release = Release(request=3, call="c-1", cause="caller_hangup", by="caller")
        released = self.world.ask(release)
        self.world.settle()
        self.assertEqual(
            released,
            Released(
                request=3,
                legs=(
                    LegStatistics(
                        leg="caller",
                        codec="PCMU",
                        packets_received=1,
                        octets_received=160,
                        packets_sent=2,
                        octets_sent=320,
                        latched=f"{PHONE[0]}:{PHONE[1]}",
                        agent_audio_ms=20,
                    ),
                ),
                conversation=messages.ConversationStatistics(heard_ms=20, agent_audio_ms=20, agent_ms=20),
            ),
        )
        self.assertEqual(self.world.ask(release), released)
        self.assertEqual(
            [json.loads(frame)["event"] if frame[0] == "{" else frame for frame in link.take()], ["stop", "close 1000"]
        )
        self.assertEqual(
            (len(self.world.pacer), len(self.world.carrier), list(self.world.network.sockets)), (0, 0, [PHONE])
        )
        before = len(self.phone.datagrams)
        self.world.tick(5)
        self.assertEqual(len(self.phone.datagrams), before)

    def test_release_unknown(self) -> None:
        """Releasing what is not there is no failure."""
        self.assertEqual(self.world.ask(Release(request=4, call="nobody")), Released(request=4))

    def test_release_leg(self) -> None:
        """Releasing one leg of two leaves the call; releasing the last ends it, and it may be allocated anew."""
        self.world.ask(Allocate(request=0, call="c-1", leg="target"))
        self.world.ask(Release(request=0, call="c-1", leg="target"))
        self.assertEqual(len(self.world.carrier), 1)
        self.world.ask(Release(request=0, call="c-1", leg="caller"))
        self.assertEqual(len(self.world.carrier), 0)
        self.assertIsInstance(self.world.ask(Allocate(request=0, call="c-1")), messages.Allocated)

    def test_released_for_good(self) -> None:
        """A released call does not come back by an allocation that was under way."""
        self.world.ask(Release(request=0, call="c-1"))
        late = self.world.ask(Allocate(request=9, call="c-1"))
        self.assertEqual(late, Failed(request=9, code="unknown_call", message="call c-1 was released"))

    def test_agent_hangs_up(self) -> None:
        """The agent's close 1000 is its hangup, told once what it said has been heard."""
        link = self.set_up()
        self.speaks(link, b"\x21" * 320)
        link.ends("closed_1000", clean=True)
        self.world.told()
        told = []
        for _ in range(3):
            self.world.tick()
            told.append(self.world.told())
        self.assertEqual(told, [[], [messages.AgentHangup(generation=7, call="c-1")], []])

    def test_agent_breaks_off(self) -> None:
        """Any other end is a failure; the caller hears silence until the gateway releases the call."""
        link = self.set_up()
        self.world.told()
        link.ends("closed_1011")
        self.world.tick(3)
        self.assertEqual(
            self.world.told(),
            [
                messages.AgentFailed(
                    generation=7, call="c-1", code="closed_1011", message="it was closed_1011", established=True
                )
            ],
        )
        self.assertEqual(self.payloads(), [b"\xff" * 160] * 3)

    def test_two_agents(self) -> None:
        """Starting the agent again starts no second one."""
        self.set_up()
        self.assertEqual(self.world.ask(start_agent()), Done(request=0))
        self.assertEqual(len(self.world.connector.links), 1)

    def test_broken_tick(self) -> None:
        """A call whose audio cannot be sent is told as failed, and only that one; its release still works."""
        link = self.set_up()
        self.world.told()
        self.world.carrier._sessions["c-1"].legs["caller"].port.advance = self._explode  # type: ignore[method-assign]
        self.world.tick(3)
        self.assertEqual(
            [(event.code, event.established) for event in self.world.told() if isinstance(event, messages.AgentFailed)],
            [("media_failure", True)],
        )
        self.assertEqual(link.take()[-1], "close 1000")
        self.assertIsInstance(self.world.ask(Release(request=0, call="c-1")), Released)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_broken_without_an_agent(self) -> None:
        """So is a call whose agent has left, where its audio cannot be sent or a socket fails; it is told once."""
        for breaks in ("tick", "socket"):
            self.setUp()
            self.set_up()
            self.assertEqual(self.world.ask(StopAgent(request=0, call="c-1", cause="transferred")), Done(request=0))
            self.world.told()
            port = self.world.carrier._sessions["c-1"].legs["caller"].port
            if breaks == "tick":
                port.advance = self._explode  # type: ignore[method-assign]
            else:
                port.stopProtocol()
                port.rtcp.stopProtocol()
            self.world.tick(3)
            told = [event for event in self.world.told() if isinstance(event, messages.AgentFailed)]
            self.assertEqual([event.code for event in told], ["media_failure"], breaks)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def _explode(self) -> None:
        raise ZeroDivisionError


class CommandTests(SynchronousTestCase):
    def test_ports(self) -> None:
        """Each leg has an even port and the one above, both on the worker's address; asked again, the same ones."""
        world = World()
        first = world.ask(Allocate(request=1, call="c-1"))
        self.assertEqual((first.rtp_port % 2, first.rtcp_port - first.rtp_port), (0, 1))
        self.assertEqual(sorted(world.network.sockets), [(HOST, first.rtp_port), (HOST, first.rtcp_port)])
        self.assertEqual(world.ask(Allocate(request=1, call="c-1")), first)

    def test_versions(self) -> None:
        """A leg's sockets are of the IP version that is asked for, or of the usual one."""
        world = World(bind=(HOST, SIX))
        usual, six = (
            world.ask(Allocate(request=1, call="c-1", leg=leg, version=version))
            for leg, version in (("a", 0), ("b", 6))
        )
        self.assertEqual(
            sorted(world.network.sockets),
            sorted(
                [*((HOST, usual.rtp_port + more) for more in (0, 1)), *((SIX, six.rtp_port + more) for more in (0, 1))]
            ),
        )

    def test_missing_version(self) -> None:
        """Where RTP is bound to IPv4 alone, an IPv6 leg is refused, and nothing is kept of it."""
        world = World()
        self.assertEqual(
            world.ask(Allocate(request=1, call="c-1", version=6)),
            Failed(request=1, code="bad_request", message="RTP sockets are bound to no IPv6 address"),
        )
        self.assertEqual((len(world.carrier), world.network.sockets), (0, {}))

    def test_another_version(self) -> None:
        """A leg that is asked for again by another version gets other sockets, until it is up."""
        world = World(bind=(HOST, SIX))
        world.ask(Allocate(request=1, call="c-1", version=4))
        world.ask(set_media())
        six = world.ask(Allocate(request=2, call="c-1", version=6))
        world.settle()
        self.assertEqual(sorted(world.network.sockets), [(SIX, six.rtp_port), (SIX, six.rtcp_port)])
        world.ask(set_media(remote=("2001:db8::9", 4000)))
        world.ask(Answered(request=3, call="c-1"))
        self.assertEqual(world.ask(Allocate(request=2, call="c-1", version=4)), six)

    def test_taken_port(self) -> None:
        """A pair that another program sits on is passed over, whichever of the two it has."""
        for taken in (10000, 10001):
            world = World(ports=(10000, 10004))
            world.network.listen(DatagramProtocol(), HOST, taken)
            self.assertEqual(world.ask(Allocate(request=1, call="c-1")).rtp_port, 10002)
            world.settle()
            self.assertEqual(
                sorted(port for host, port in world.network.sockets if host == HOST), [taken, 10002, 10003]
            )

    def test_exhausted(self) -> None:
        """When all are taken the refusal names the range; a released pair rests 5 s before it is used again."""
        world = World(ports=(10000, 10002))
        world.ask(Allocate(request=1, call="c-1"))
        refused = Failed(
            request=2, code="no_ports", message="all pairs of RTP ports from 10000 to 10001 are taken or resting"
        )
        self.assertEqual(world.ask(Allocate(request=2, call="c-2")), refused)
        world.ask(Release(request=3, call="c-1"))
        world.settle()
        world.clock.advance(4.9)
        self.assertEqual(world.ask(Allocate(request=2, call="c-2")), refused)
        world.clock.advance(0.2)
        self.assertEqual(world.ask(Allocate(request=4, call="c-2")).rtp_port, 10000)

    def test_nothing_leaks(self) -> None:
        """A thousand calls in a range of five pairs leave no socket, no port and no call behind."""
        world = World(ports=(10000, 10010), quarantine=0.0)
        for number in range(1000):
            self.assertIsInstance(world.ask(Allocate(request=0, call=f"c-{number}")), messages.Allocated)
            world.ask(Release(request=0, call=f"c-{number}"))
            world.settle()
        self.assertEqual((world.network.sockets, len(world.carrier), len(world.pacer)), ({}, 0, 0))

    def test_ping(self) -> None:
        """The answer tells what the worker has done since it was started."""
        world = World()
        began = world.clock.seconds()
        world.ask(Allocate(request=0, call="c-1"))
        world.ask(set_media())
        world.ask(Answered(request=0, call="c-1"))
        world.tick(50)
        world.pacer.expired(3)
        world.pacer.expired(4 * 25)
        now = world.clock.seconds()
        self.assertEqual(
            world.ask(messages.Ping(request=7)),
            messages.Pong(request=7, at=now, worked=now / 4, turns=200 + 3 + 12, late=150 + 2 + 11, skipped=22),
        )
        self.assertAlmostEqual(now - began, 1.0)

    def test_listing(self) -> None:
        """Calls are listed in pages of 256."""
        world = World(ports=(10000, 12000))
        calls = sorted(f"c-{number}" for number in range(300))
        for call in calls:
            world.ask(Allocate(request=0, call=call))
        first = world.ask(messages.ListCalls(request=1))
        second = world.ask(messages.ListCalls(request=2, after=first.calls[-1]))
        self.assertEqual((first.calls, first.more), (tuple(calls[:256]), True))
        self.assertEqual((second.calls, second.more), (tuple(calls[256:]), False))

    def test_drain(self) -> None:
        """Draining refuses new calls, lets a call have new legs, and says when the last has ended."""
        world = World()
        world.ask(Allocate(request=0, call="c-1"))
        self.assertEqual(world.ask(messages.Drain(request=1)), Done(request=1))
        self.assertEqual(
            world.ask(Allocate(request=2, call="c-2")),
            Failed(request=2, code="draining", message="the worker takes no new calls"),
        )
        self.assertIsInstance(world.ask(Allocate(request=3, call="c-1", leg="target")), messages.Allocated)
        self.assertEqual(world.idle, 0)
        world.ask(Release(request=4, call="c-1"))
        self.assertEqual(world.idle, 1)

    def test_drain_empty(self) -> None:
        """Without calls draining is over at once."""
        world = World()
        world.ask(messages.Drain(request=1))
        self.assertEqual(world.idle, 1)

    def test_configured_once(self) -> None:
        """The same configuration again is fine, another one is refused."""
        world = World()
        known = world.configured[0]
        self.assertEqual(world.ask(known), Done(request=0))
        other = messages.Configure(request=8, bind=(HOST,), ports=(1, 2))
        self.assertEqual(world.ask(other), Failed(request=8, code="bad_request", message="a worker is configured once"))

    def test_patience(self) -> None:
        """How long a silent leg is borne is configured: one time in talk, another on hold."""
        self.assertEqual((self._silent_for(no_media=7.0), self._silent_for("sendonly", no_media_on_hold=11.0)), (7, 11))

    def _silent_for(self, direction: str = "sendrecv", **configure: float) -> int:
        """Whole seconds until a leg that hears nothing counts as dead."""
        world = World(**configure)  # type: ignore[arg-type]  # as they come
        world.ask(Allocate(request=0, call="c-1"))
        world.ask(set_media(direction=direction))
        world.ask(Answered(request=0, call="c-1"))
        world.tick(50 * 13)
        return next(int(event.seconds) for event in world.told() if isinstance(event, messages.MediaLost))

    def test_no_patience(self) -> None:
        """A limit of nothing is refused: every leg would be dead at once."""
        refused = World(no_media=0.0)
        self.assertEqual((refused.configured, refused.ask(Allocate(request=1, call="c")).code), ([], "bad_request"))

    def test_failures(self) -> None:
        """Each refusal is a reply under the request's own number, and changes nothing."""
        world = World()
        world.ask(Allocate(request=0, call="c-1"))
        replies = [
            world.ask(Answered(request=1, call="nobody")),
            world.ask(set_media(leg="nobody")),
            world.ask(set_media(send=messages.Codec(name="OPUS", payload_type=96))),
            world.ask(start_agent(dialect="klingon")),
            world.ask(start_agent(leg="nobody")),
            world.ask(Allocate(request=6, call="c-2", version=6)),
        ]
        self.assertEqual(
            [(reply.request, reply.code) for reply in replies],
            [
                (1, "unknown_call"),
                (0, "bad_request"),
                (0, "bad_request"),
                (0, "bad_request"),
                (0, "bad_request"),
                (6, "bad_request"),
            ],
        )
        self.assertEqual((len(world.carrier), world.connector.links), (1, []))

    def test_exception(self) -> None:
        """An exception fails the request that met it, and is logged."""
        world = World()
        world.ask(Allocate(request=0, call="c-1"))

        def explode(kind: str, detail: Facts) -> None:
            raise ZeroDivisionError

        self.patch(world.carrier._sessions["c-1"].agent, "tell", explode)
        reply = world.ask(Tell(request=5, call="c-1", kind="limit"))
        self.assertEqual((reply.request, reply.code), (5, "internal"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_link_limits(self) -> None:
        """URL, headers, options and times reach the connector as the gateway gave them."""
        world = World()
        world.ask(Allocate(request=0, call="c-1"))
        world.ask(
            start_agent(
                url=messages.Secret("wss://agents.example/x?k=1"),
                headers=(("Authorization", messages.Secret("Bearer x")),),
                options={"then": "echo"},
                connect_timeout=1.5,
                ping_interval=2.0,
                ping_timeout=2.5,
            )
        )
        link = world.connector.links[0]
        self.assertEqual(
            (link.target.url, link.target.headers, link.target.options),
            ("wss://agents.example/x?k=1", (("Authorization", "Bearer x"),), {"then": "echo"}),
        )
        self.assertEqual(
            (link.limits.connect_timeout, link.limits.ping_interval, link.limits.ping_timeout), (1.5, 2.0, 2.5)
        )
