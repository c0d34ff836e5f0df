"""An agent that resumes is connected once more when its link breaks; the caller hears something meanwhile."""

from __future__ import annotations

import json
import wave
from pathlib import Path

from stellar_gw.control import messages
from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.codec import CODECS
from stellar_gw.worker.resumption import STABLE, WITHIN
from tests.unit.test_worker_session import CallTestCase
from tests.unit.worker_world import FakeLink, set_media, start_agent


class ResumptionTests(CallTestCase):
    def resuming(self, filler: str = "", dialect: str = "native") -> FakeLink:
        self.world.ask(set_media())
        self.world.ask(start_agent(dialect=dialect, resumes=True, filler=filler))
        link = self.world.connector.links[0]
        link.events.link_opened(2.0)
        self.world.ask(messages.Answered(request=0, call="c-1"))
        self.world.told()
        return link

    def told(self) -> list[str]:
        return [type(event).__name__ for event in self.world.told()]

    def test_resumed(self) -> None:
        """A second link within 2 s: the agent is told that it resumes, and has caller and numbers again."""
        link = self.resuming()
        self.world.tick(5)
        link.ends("closed_1012")
        again = self.world.connector.links[1]
        self.assertEqual((again.limits.connect_timeout, self.told()), (WITHIN, ["AgentLost"]))
        self.world.clock.advance(0.5)
        again.events.link_opened(3.0)
        [resumed] = self.world.told()
        assert isinstance(resumed, messages.AgentResumed)
        opened = json.loads(again.take()[0])["call"]
        self.assertEqual((resumed.gap_ms, opened["resumed"], opened["state"]), (500.0, True, "answered"))
        self.phone.say(b"\x42" * 160, self.rtp)
        self.world.tick(2)
        self.assertIn("640 octets", again.take())
        again.events.link_received(b"\x11\x22" * 16000)
        self.phone.datagrams.clear()
        self.world.tick(3)
        self.assertEqual([len(set(packet.payload)) for packet in self.phone.packets[1:]], [1, 1])

    def test_what_is_heard_meanwhile(self) -> None:
        """Comfort noise or a file, then the agent again; nothing that the old link had queued."""
        path = Path(self.mktemp())
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(b"\x00\x20" * 8000)
        for filler, distinct in (("", 2), (str(path), 1)):
            self.setUp()
            link = self.resuming(filler)
            link.events.link_received(b"\x11\x22" * 160000)
            self.world.tick(3)
            link.ends("lost")
            self.phone.datagrams.clear()
            self.world.tick(10)
            heard = {len(set(packet.payload)) >= distinct for packet in self.phone.packets[2:]}
            self.assertEqual(heard, {True}, filler)
            self.world.connector.links[1].events.link_opened(1.0)
            self.world.tick(3)
            self.phone.datagrams.clear()
            self.world.tick(5)
            self.assertEqual({packet.payload for packet in self.phone.packets}, {b"\xff" * 160})

    def test_not_resumed(self) -> None:
        """One try: its failure is the agent's, and names both reasons."""
        link = self.resuming()
        link.ends("lost")
        self.world.connector.links[1].ends("refused", established=False)
        self.world.tick(5)
        lost, failed = self.world.told()
        assert isinstance(failed, messages.AgentFailed)
        self.assertEqual((type(lost), failed.code, failed.established), (messages.AgentLost, "refused", True))
        self.assertEqual(failed.message, "it was lost; and it could not be connected again: it was refused")
        self.assertEqual(len(self.world.connector.links), 2)

    def test_too_often(self) -> None:
        """A link that breaks again soon is not tried again; one that has lasted is."""
        for seconds, links in ((5.0, 2), (STABLE + 1, 3)):
            self.setUp()
            self.resuming().ends("lost")
            self.world.connector.links[1].events.link_opened(1.0)
            self.world.clock.advance(seconds)
            self.world.connector.links[1].ends("lost")
            self.assertEqual(len(self.world.connector.links), links)

    def test_those_that_do_not(self) -> None:
        """An agent that never said it could, one that hung up, and one that was never there."""
        link = self.set_up()
        link.ends("lost")
        self.assertEqual(len(self.world.connector.links), 1)
        self.setUp()
        self.resuming().ends("closed_1000", clean=True)
        self.world.tick(2)
        self.assertEqual((len(self.world.connector.links), self.told()), (1, ["AgentHangup"]))
        self.setUp()
        self.world.ask(set_media())
        self.world.ask(start_agent(dialect="native", resumes=True))
        self.world.connector.links[0].ends("refused", established=False)
        self.assertEqual((len(self.world.connector.links), self.told()), (1, ["AgentFailed"]))

    def test_the_call_ends_meanwhile(self) -> None:
        """The new link is closed, whatever becomes of it, and nothing more is told."""
        self.resuming().ends("lost")
        self.world.ask(messages.Release(request=0, call="c-1"))
        again = self.world.connector.links[1]
        self.assertEqual(again.take(), ["close 1000"])
        again.events.link_opened(1.0)
        again.ends("cancelled", established=False)
        self.assertNotIn("AgentResumed", self.told())

    def test_twilio(self) -> None:
        """Its start message says so, too."""
        self.resuming(dialect="twilio").ends("lost")
        again = self.world.connector.links[1]
        again.events.link_opened(1.0)
        start = json.loads(again.take()[1])["start"]
        self.assertEqual(start["customParameters"]["resumed"], "true")

    def test_what_the_old_link_asked_for_is_not_told_on_the_new_one(self) -> None:
        """Nor do its marks return, and what arrives late from it is not heard."""
        link = self.resuming()
        link.events.link_received('{"action":"transfer","id":"t1","to":"support"}')
        link.events.link_received(b"\x11\x22" * 16000)
        link.events.link_received('{"action":"notify","payload":"old"}')
        link.ends("lost")
        link.take()
        again = self.world.connector.links[1]
        again.events.link_opened(3.0)
        again.take()
        link.events.link_received('{"action":"clear"}')
        self.world.ask(messages.Outcome(request=0, call="c-1", ask="t1", state="done"))
        self.world.tick(5)
        self.assertEqual((link.take(), again.take()), ([], []))
        again.events.link_received('{"action":"transfer","id":"t1","to":"support"}')
        self.world.ask(messages.Outcome(request=0, call="c-1", ask="t1", state="done"))
        self.assertEqual([json.loads(frame)["event"] for frame in again.take()], ["call:transfer"])

    def test_while_it_rings(self) -> None:
        """A ringing tone goes on to the answer, and what the agent says on its new link waits for it."""
        self.world.ask(set_media())
        self.world.ask(start_agent(dialect="native", resumes=True))
        link = self.world.connector.links[0]
        link.events.link_opened(2.0)
        self.world.ask(messages.Early(request=0, call="c-1", source="ringback"))
        self.world.tick(10)
        link.ends("lost")
        self.world.tick(10)
        again = self.world.connector.links[1]
        again.events.link_opened(3.0)
        again.events.link_received(b"\x00\x20" * 1600)
        self.world.tick(10)
        pcm = CODECS["PCMU"].decoder().decode(b"".join(packet.payload for packet in self.phone.packets))
        tone = dominant_tone(pcm, 8000)
        self.assertTrue(tone is not None and round(tone.hertz) == 425 and tone.share > 0.9, tone)
        self.world.ask(messages.Answered(request=0, call="c-1"))
        self.phone.datagrams.clear()
        self.world.tick(8)
        said = [packet.payload != b"\xff" * 160 for packet in self.phone.packets]
        self.assertEqual(said, [True] * 6 + [False] * 2)

    def test_between_ready_and_answered(self) -> None:
        """An agent that is lost in the moment in which its call is answered is connected anew like any other."""
        self.world.ask(set_media())
        self.world.ask(start_agent(dialect="native", resumes=True))
        link = self.world.connector.links[0]
        link.events.link_opened(2.0)
        link.ends("lost")
        self.world.ask(messages.Answered(request=0, call="c-1"))
        again = self.world.connector.links[1]
        again.events.link_opened(3.0)
        again.take()
        self.phone.say(b"\x42" * 160, self.rtp)
        self.world.tick(2)
        self.assertEqual(self.told(), ["AgentReady", "AgentLost", "AgentResumed"])
        self.assertIn("640 octets", again.take())
