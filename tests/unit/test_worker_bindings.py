"""Who hears whom: the agent muted, hold music, tones, and commands that make no sense."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from stellar_gw.control import messages
from stellar_gw.control.messages import Binding, Failed, Rebind, StopAgent
from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.codec import codec_named
from stellar_gw.media.source import tone
from stellar_gw.media.wav import WavWriter
from stellar_gw.worker.sounds import MAX_FILE, MAX_KEPT, SoundError, Sounds
from tests.unit.bridge_case import BridgeTestCase, steps
from tests.unit.worker_world import G722, PCMA, FakeLink, Phone

QUIET = b"\xff" * 160


class BindingTestCase(BridgeTestCase):
    def says(self, link: FakeLink, event: str, **fields: Any) -> None:
        link.events.link_received(json.dumps({"event": event, "streamSid": self.stream, **fields}))

    def up(self) -> FakeLink:
        link = self.set_up()
        self.stream = json.loads(link.take()[1])["streamSid"]
        return link

    def events(self, link: FakeLink) -> list[str]:
        return [json.loads(frame)["event"] if frame.startswith("{") else frame for frame in link.take()]

    def wav(self, hertz: int, rate: int = 8000, ms: int = 1000) -> str:
        path: str = self.mktemp()
        with open(path, "wb") as file:
            writer = WavWriter(file, rate)
            writer.write(tone((hertz,), rate, ms))
            writer.close()
        return path

    def hertz(self, phone: Phone, codec: str = "PCMU", packets: int = 40) -> float:
        known = codec_named(codec)
        assert known is not None
        decoder = known.decoder()
        pcm = b"".join(decoder.decode(packet.payload) for packet in phone.packets)
        heard = dominant_tone(pcm[-packets * known.pcm_octets(20) :], known.rate)
        return 0.0 if heard is None else heard.hertz


class AgentTests(BindingTestCase):
    def test_muted(self) -> None:
        """In a bridge nobody hears the agent and it hears nobody; time passes for it, and its marks return."""
        link = self.up()
        self.talk(2)
        self.bridge()
        self.talk(20)
        self.forget()
        link.take()
        self.says(link, "media", media={"payload": base64.b64encode(b"\x21" * 1600).decode()})
        self.says(link, "mark", mark={"name": "m"})
        self.talk(5)
        early = self.events(link)
        self.talk(25)
        payloads = {packet.payload for phone in (self.caller, self.target) for packet in phone.packets}
        self.assertEqual((early, self.events(link)), ([], ["mark"]))
        self.assertEqual(payloads, {b"\x11" * 160, b"\x22" * 160})
        self.assertEqual(self.statistics()["caller"].agent_audio_ms, 0)

    def test_back(self) -> None:
        """When the bridge is over, caller and agent hear each other as before."""
        link = self.up()
        self.bridge()
        self.talk(20)
        self.unbridge()
        self.forget()
        link.take()
        self.says(link, "media", media={"payload": base64.b64encode(b"\x21" * 480).decode()})
        self.talk(5)
        self.assertEqual([packet.payload for packet in self.caller.packets[-5:]], [b"\x21" * 160] * 3 + [QUIET] * 2)
        self.assertEqual(self.events(link), ["media"] * 5)
        self.assertEqual({packet.payload for packet in self.target.packets[-5:]}, {QUIET})

    def test_with_the_target(self) -> None:
        """The agent may talk with the target while the caller waits (a transfer with consultation)."""
        link = self.up()
        self.done(
            Rebind(
                request=0,
                call="c-1",
                bindings=(
                    Binding(leg="caller", source="silence"),
                    Binding(leg="target", source="agent", agent_hears=True),
                ),
            )
        )
        self.says(link, "media", media={"payload": base64.b64encode(b"\x21" * 160).decode()})
        self.talk(2)
        media = [json.loads(frame) for frame in link.take() if frame.startswith("{")]
        heard = {base64.b64decode(frame["media"]["payload"]) for frame in media if frame["event"] == "media"}
        self.assertEqual(heard, {b"\x22" * 160})
        self.assertEqual([packet.payload for packet in self.target.packets], [b"\x21" * 160, QUIET])
        self.assertEqual([packet.payload for packet in self.caller.packets], [QUIET] * 2)
        self.assertEqual(self.statistics()["target"].agent_audio_ms, 20)

    def test_listens_in(self) -> None:
        """An agent may hear a leg of a bridge without being heard."""
        link = self.up()
        self.bridge()
        self.bind("caller", "leg", peer="target", agent_hears=True)
        self.talk(10)
        self.assertEqual(self.events(link), ["media"] * 10)
        self.assertEqual({packet.payload for packet in self.target.packets}, {b"\x11" * 160})

    def test_whoever_hears_says_nothing_by_it(self) -> None:
        """Whether the agent hears a leg makes no gap in what the leg hears of another, coded anew."""
        self.set_up(target={"send": PCMA, "receive": (PCMA,)})
        self.target.sender.payload_type = PCMA.payload_type
        self.bridge()
        self.talk(20)
        self.forget()
        for hears in (True, False, True):
            self.bind("caller", "leg", peer="target", agent_hears=hears)
            self.talk(10)
        self.done(StopAgent(request=0, call="c-1"))
        self.talk(10)
        self.assertEqual([packet.payload for packet in self.caller.packets if packet.payload == QUIET], [])
        self.assertEqual(len(self.caller.packets), 40)

    def test_music_goes_on(self) -> None:
        """The same for a file that is heard."""
        self.up()
        path = self.wav(500, ms=4000)
        for hears in (True, False):
            self.bind("caller", "file", file=path, once=True, agent_hears=hears)
            self.talk(105)
        self.world.settle()
        played = [event for event in self.world.told() if isinstance(event, messages.Played)]
        self.assertEqual(len(played), 1)

    def test_leaves(self) -> None:
        """The agent is told and gone, the bridge goes on; no event follows, and a second time changes nothing."""
        link = self.up()
        self.bridge()
        self.talk(10)
        self.world.told()
        for _ in range(2):
            self.done(StopAgent(request=0, call="c-1"))
        self.talk(10)
        self.assertEqual((self.events(link), self.world.told()), (["stop", "close 1000"], []))
        self.assertEqual(len(self.caller.packets), 20)

    def test_leaves_alone(self) -> None:
        """Without a bridge the caller hears silence once the agent has left."""
        link = self.up()
        self.says(link, "media", media={"payload": base64.b64encode(b"\x21" * 1600).decode()})
        self.talk(2)
        self.done(StopAgent(request=0, call="c-1"))
        self.talk(2)
        self.assertEqual([packet.payload for packet in self.caller.packets], [b"\x21" * 160] * 2 + [QUIET] * 2)
        self.assertEqual(self.statistics()["caller"].agent_audio_ms, 40)

    def test_digits(self) -> None:
        """A muted agent's digits are not sent; the digits of a leg that it does not hear are not told to it."""
        link = self.up()
        self.bridge()
        self.talk(3)
        self.world.carrier._sessions["c-1"].agent.send_digits("5")
        self.talk(10)
        link.take()
        self.caller.send(self.caller.sender.packet_at(9, b"\x05\x8a\x03\x20", 101), self.rtp)
        self.talk(1)
        self.assertEqual({packet.payload_type for packet in self.caller.packets}, {0})
        self.assertEqual(self.events(link), [])


class RefusalTests(BindingTestCase):
    def refused(self, *bindings: Binding) -> str:
        reply = self.world.ask(Rebind(request=7, call="c-1", bindings=bindings))
        assert isinstance(reply, Failed)
        self.assertEqual((reply.request, reply.code), (7, "bad_request"))
        return reply.message

    def test_nonsense(self) -> None:
        """What makes no sense is refused with a reason, and the bridge that is there goes on."""
        self.set_up()
        self.bridge()
        self.talk(5)
        told = [
            self.refused(Binding(leg="nobody", source="silence")),
            self.refused(Binding(leg="caller", source="leg", peer="nobody")),
            self.refused(Binding(leg="caller", source="leg", peer="caller")),
            self.refused(Binding(leg="caller", source="leg")),
            self.refused(Binding(leg="caller", source="agent"), Binding(leg="target", source="agent")),
            self.refused(
                Binding(leg="caller", source="silence", agent_hears=True),
                Binding(leg="target", source="silence", agent_hears=True),
            ),
            self.refused(Binding(leg="caller", source="silence"), Binding(leg="caller", source="tone")),
            self.refused(Binding(leg="caller", source="tone", tone="do re mi")),
            self.refused(
                Binding(leg="target", source="silence"), Binding(leg="caller", source="file", file="/nowhere")
            ),
        ]
        self.talk(5)
        self.assertEqual(len(set(told)), 9, told)
        self.assertEqual({packet.payload for packet in self.caller.packets}, {b"\x22" * 160})
        self.assertEqual({packet.payload for packet in self.target.packets}, {b"\x11" * 160})

    def test_no_agent(self) -> None:
        """A leg cannot be bound to an agent that was never started."""
        self.media("caller")
        self.assertIn("agent", self.refused(Binding(leg="caller", source="agent")))

    def test_unknown_call(self) -> None:
        """A call that is not here is told so."""
        self.assertEqual(self.world.ask(messages.bridge("nobody")).code, "unknown_call")

    def test_repeated(self) -> None:
        """The same command again changes nothing: no packet is marked, no music begins anew."""
        self.set_up()
        self.bridge()
        self.bind("target", "file", file=(path := self.wav(440)))
        self.talk(10)
        before = [leg.audio for leg in self.world.carrier._sessions["c-1"].legs.values()]
        self.bind("target", "file", file=path)
        self.bind("caller", "leg", peer="target")
        self.talk(10)
        self.assertEqual([leg.audio for leg in self.world.carrier._sessions["c-1"].legs.values()], before)
        self.assertEqual([step.marker for step in steps(self.caller.packets)], [False] * 19)


class SoundTests(BindingTestCase):
    def test_hold_music(self) -> None:
        """A leg hears a file over and over, in its own codec, and then the other leg again, in one stream."""
        self.set_up(target={"send": PCMA, "receive": (PCMA,)})
        for phone, leg, codec in ((self.caller, "caller", "PCMU"), (self.target, "target", "PCMA")):
            self.bind(leg, "file", file=self.wav(440, 16000, 300))
            self.talk(100)
            self.assertApproximates(self.hertz(phone, codec), 440, 3)
        self.bridge()
        self.talk(10)
        self.assertEqual({step.numbers for step in steps(self.caller.packets)}, {1})
        self.assertEqual({step.samples for step in steps(self.caller.packets)}, {160})

    def test_any_rate(self) -> None:
        """Files of usual and of odd rates sound right, to G.722 too."""
        for rate in (8000, 11025, 22050, 44100, 48000):
            self.setUp()
            self.set_up(caller={"send": G722, "receive": (G722,)})
            self.bind("caller", "file", file=self.wav(440, rate, 2000))
            self.talk(60)
            self.assertApproximates(self.hertz(self.caller, "G722"), 440, 3, str(rate))

    def test_ringback(self) -> None:
        """A tone has its cadence, and begins again."""
        self.set_up()
        self.bind("caller", "tone", tone="425/200,0/200")
        self.talk(80)
        quiet = [packet.payload == QUIET for packet in self.caller.packets]
        self.assertEqual(quiet, ([False] * 10 + [True] * 10) * 4)

    def test_read_later(self) -> None:
        """While a file is being read silence is sent; then it begins at its beginning."""
        self.set_up()
        reading: Deferred[Any] = Deferred()
        waiting: list[Any] = []

        def in_thread(read: Any) -> Deferred[Any]:
            waiting.append(read)
            return reading

        self.world.sounds._in_thread = in_thread
        self.bind("caller", "file", file=self.wav(440))
        self.talk(5)
        reading.callback(waiting[0]())
        self.talk(50)
        self.assertEqual({packet.payload for packet in self.caller.packets[:5]}, {QUIET})
        self.assertApproximates(self.hertz(self.caller), 440, 3)

    def test_broken_file(self) -> None:
        """A file that turns out to be no WAV file is silence and a line in the log; the call goes on."""
        self.set_up()
        Path(path := self.mktemp()).write_bytes(b"RIFF....no wave at all")
        self.bind("caller", "file", file=path)
        self.talk(5)
        self.assertEqual({packet.payload for packet in self.caller.packets}, {QUIET})
        self.assertEqual(len(self.world.sounds), 0)


class SoundsTests(BindingTestCase):
    def test_kept(self) -> None:
        """A file is read once, anew when it has changed, and only so many are kept."""
        read: list[Any] = []

        def in_thread(function: Any) -> Deferred[Any]:
            read.append(function())
            done: Deferred[Any] = Deferred()
            done.callback(read[-1])
            return done

        sounds = Sounds(in_thread)
        path = self.wav(440)
        first = sounds.open(path)
        self.assertIs(sounds.open(path), first)
        Path(path).write_bytes(Path(self.wav(500, ms=1100)).read_bytes())
        self.assertIsNot(sounds.open(path), first)
        for _ in range(MAX_KEPT + 3):
            sounds.open(self.wav(440))
        self.assertEqual((len(read), len(sounds)), (MAX_KEPT + 5, MAX_KEPT))

    def test_refused(self) -> None:
        """What is no file, or too long, is refused before anything is read."""
        sounds = Sounds(lambda _: self.fail("read"))
        long = self.mktemp()
        with open(long, "wb") as file:
            file.truncate(MAX_FILE + 1)
        for path, word in (("/nowhere/x.wav", "No such file"), ("/", "no file"), (long, "at most"), ("a\0b", "null")):
            with self.assertRaises(SoundError) as caught:
                sounds.open(path)
            self.assertIn(word, str(caught.exception))
