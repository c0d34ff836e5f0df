"""A peer on G.722 decodes all it is sent with one decoder, which remembers: nothing that changes may come as a bang."""

from __future__ import annotations

import base64
import json
import re
from itertools import groupby, product
from pathlib import Path

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.control.messages import Binding, Rebind
from stellar_gw.media.analysis import dominant_tone
from stellar_gw.media.codec import G722 as CODEC
from stellar_gw.media.inband import InbandDetector
from stellar_gw.media.pcm import pcm_from_ulaw, rms, ulaw_from_pcm
from stellar_gw.media.source import tone
from tests.unit.bridge_case import BridgeTestCase, Step, steps
from tests.unit.worker_world import EVENTS, G722, FakeLink, Phone

ROOT = Path(__file__).resolve().parents[2]
FRAME = 640
LOUD = 8000
"""A little above the peak of a tone of -13 dBFS, and far below that of a bang."""


def peak_of(pcm: bytes) -> int:
    return int(np.abs(np.frombuffer(pcm, "<i2").astype(int)).max())


class BangTests(SynchronousTestCase):
    def test_what_a_decoder_remembers(self) -> None:
        """One that another encoder has fed makes a bang of the next one's beginning, as docs/media.rst has it."""
        heard = [[CODEC.encoder().encode(tone((hertz,), 16000, 1000)) for hertz in (300, 660, 900, 1500, 2500)]] * 2
        peaks, ends = [], []
        for before, after in product(*heard):
            fed, fresh = CODEC.decoder(), CODEC.decoder()
            fed.decode(before)
            pcm, right = fed.decode(after), fresh.decode(after)
            peaks.append(peak_of(pcm))
            wrong = np.frombuffer(pcm, "<i2").astype(int) - np.frombuffer(right, "<i2").astype(int)
            # Until nothing of 10 ms is wrong by more than a tenth of the tone's level.
            errors = np.sqrt(np.mean(wrong.reshape(-1, 160) ** 2.0, axis=1))
            ends.append(10 + 10 * int(np.flatnonzero(errors > 0.1 * rms(right))[-1]))
        page = re.sub(r"\s+", " ", (ROOT / "docs" / "media.rst").read_text("utf-8"))
        self.assertEqual(max(peaks), 32768)
        self.assertIn(f"first {min(ends)} to {max(ends)} ms, up to full scale", page)


class OneDecoderTests(BridgeTestCase):
    """Caller and target on G.722, an agent on mu-law; whoever speaks says a tone of -13 dBFS."""

    def begin(self, **target: object) -> FakeLink:
        link = self.set_up({"send": G722, "receive": (G722,)}, {"send": G722, "receive": (G722,), **target})
        self.encode(link)
        return link

    def encode(self, link: FakeLink) -> None:
        link_frames = [json.loads(frame) for frame in link.take() if frame.startswith("{")]
        self.stream = next(frame["streamSid"] for frame in link_frames if "streamSid" in frame)
        self.encoders = {phone: CODEC.encoder() for phone in (self.caller, self.target)}
        for phone in self.encoders:
            phone.sender.payload_type = G722.payload_type
        self.place = 0

    def agent_says(self, link: FakeLink, ms: int) -> None:
        audio = base64.b64encode(ulaw_from_pcm(tone((660,), 8000, ms))).decode()
        link.events.link_received(json.dumps({"event": "media", "streamSid": self.stream, "media": {"payload": audio}}))

    def both(self, frames: int, silent: bool = False) -> None:
        """The caller says 300 Hz, the target 900 Hz, each by its own encoder."""
        for _ in range(frames):
            for phone, port, hertz in ((self.caller, self.rtp, 300), (self.target, self.target_rtp, 900)):
                at = FRAME * (self.place % 50)
                pcm = bytes(FRAME) if silent else tone((hertz,), 16000, 1040)[at : at + FRAME]
                phone.say(self.encoders[phone].encode(pcm), port)
            self.place += 1
            self.world.tick()

    def heard(self, phone: Phone) -> tuple[list[int], int]:
        """What the phone has heard by its one decoder: tones in Hz of each 100 ms, and the largest sample."""
        payloads = [packet.payload for packet in phone.packets if packet.payload_type == G722.payload_type]
        pcm = CODEC.decoder().decode(b"".join(payloads))
        found = [dominant_tone(pcm[at : at + 3200], 16000) for at in range(0, len(pcm) - 3199, 3200)]
        hertz = [round(each.hertz, -1) if each is not None and each.share > 0.9 else 0 for each in found]
        return [int(each) for each, _ in groupby(hertz) if each], int(
            np.abs(np.frombuffer(pcm, "<i2").astype(int)).max()
        )

    def test_agent_music_agent(self) -> None:
        """From an agent to a tone, and back, however loud the agent was: each is heard as loud as it is."""
        link = self.begin()
        agent = Binding(leg="caller", source="agent", agent_hears=True)
        for binding in (agent, Binding(leg="caller", source="tone", tone="400/5000"), agent):
            self.done(Rebind(request=0, call="c-1", bindings=(binding,)))
            if binding is agent:
                self.agent_says(link, 1000)
            self.both(50)
        tones, peak = self.heard(self.caller)
        self.assertEqual((tones, peak < LOUD), ([660, 400, 660], True), (tones, peak))

    def test_agent_bridge_agent(self) -> None:
        """After a bridge whose packets were passed on the agent follows, 40 ms of silence before it."""
        link = self.begin()
        self.both(10, silent=True)
        self.bridge()
        self.both(50)
        self.caller.datagrams.clear()
        self.both(25)
        self.agent_says(link, 1000)
        self.unbridge()
        self.both(30)
        packets = self.caller.packets
        self.assertEqual(set(steps(packets)), {Step(1, 160), Step(1, 160, marker=True)})
        decoder = CODEC.decoder()
        pcm = [decoder.decode(packet.payload) for packet in packets][25:]
        follows = b"".join(pcm[2:])
        loudest = 1.2 * peak_of(tone((660,), 16000, 1000))
        self.assertEqual((peak_of(b"".join(pcm[:2])) < LOUD, peak_of(follows) <= loudest), (True, True))
        found = dominant_tone(follows, 16000)
        self.assertTrue(found is not None and round(found.hertz) == 660 and found.share > 0.95, found)

    def test_no_longer_than_that(self) -> None:
        """The silence is 40 ms also where packets of ours are longer."""
        for ptime in (10, 30, 50, 60):
            self.setUp()
            link = self.set_up({"send": G722, "receive": (G722,), "ptime": ptime}, {"send": G722, "receive": (G722,)})
            self.encode(link)
            self.bridge()
            self.both(50)
            self.agent_says(link, 1000)
            self.caller.datagrams.clear()
            self.unbridge()
            self.both(30)
            pcm = CODEC.decoder().decode(b"".join(packet.payload for packet in self.caller.packets))
            quiet = next(ms for ms in range(1000) if peak_of(pcm[32 * ms : 32 * ms + 32]) > 1000)
            self.assertTrue(38 <= quiet <= 44, (ptime, quiet))

    def test_digits_as_tones(self) -> None:
        """In a bridge to a peer without telephone events every digit is a tone that can be told, and no bang."""
        self.begin(dtmf_send=None, dtmf_receive=())
        self.bridge()
        self.both(30)
        for code in (5, 9, 1, 1, 0):
            began = self.caller.sender.timestamp
            for flags, duration in ((10, 160), (0x8A, 800), (0x8A, 800), (0x8A, 800)):
                payload = bytes((code, flags)) + duration.to_bytes(2, "big")
                self.caller.send(self.caller.sender.packet_at(began, payload, EVENTS.payload_type), self.rtp)
            self.both(40)
        decoder, detector = CODEC.decoder(), InbandDetector(16000)
        pcm = [decoder.decode(packet.payload) for packet in self.target.packets]
        self.assertEqual("".join(digit.digit for each in pcm for digit in detector.heard(each)), "59110")

    def test_another_phone(self) -> None:
        """The agent hears a phone that another one has taken the place of from a decoder of its own."""
        link = self.begin()
        self.both(50)
        link.take()
        self.encoders[self.caller] = CODEC.encoder()
        self.caller.sender.ssrc += 1
        self.both(25)
        frames = [json.loads(frame) for frame in link.take() if frame.startswith("{")]
        heard = [base64.b64decode(frame["media"]["payload"]) for frame in frames if frame["event"] == "media"]
        pcm = pcm_from_ulaw(b"".join(heard))
        found = dominant_tone(pcm, 8000)
        self.assertTrue(found is not None and round(found.hertz) == 300 and found.share > 0.99, found)
        self.assertLess(peak_of(pcm), LOUD)

    def test_another_number(self) -> None:
        """A phone whose codec gets another payload type goes on with its encoder, and so does our decoder."""
        link = self.begin()
        self.both(50)
        link.take()
        for kind in (109, 9, 110):
            again = messages.Codec(name="G722", payload_type=kind)
            self.media("caller", send=again, receive=(again,))
            self.caller.sender.payload_type = kind
            self.both(15)
        frames = [json.loads(frame) for frame in link.take() if frame.startswith("{")]
        heard = [base64.b64decode(frame["media"]["payload"]) for frame in frames if frame["event"] == "media"]
        pcm = pcm_from_ulaw(b"".join(heard))
        found = dominant_tone(pcm, 8000)
        self.assertTrue(found is not None and round(found.hertz) == 300 and found.share > 0.999, found)
        self.assertLess(peak_of(pcm), LOUD)
