"""The short way of an agent's audio to its caller does what the long way does, only sooner."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stellar_gw.control.messages import Allocate, Binding, Rebind, Record, Release, SendDigits, StopAgent
from stellar_gw.media.rtp import RtpPacket, parse_rtp
from stellar_gw.worker.leg import Leg
from tests.unit.test_worker_bridge_srtp import keys, phone_with
from tests.unit.test_worker_session import CallTestCase
from tests.unit.worker_world import G722, PCMA, PCMU, set_media

_happenings = st.sampled_from(
    ["", "", "", "", "", "says", "says much", "marks", "clears", "digits", "late", "silent", "codec", "hold", "target",
     "rings", "back", "recorded", "gone", "ptime"]
)  # fmt: skip


class SpeakingTests(CallTestCase):
    @property
    def leg(self) -> Leg:
        return self.world.carrier._sessions["c-1"].legs["caller"]

    def happen(self, link: Any, what: str, place: int) -> None:
        octets = bytes([0x10 + place % 64]) * (1600 if what == "says much" else 200)
        if what in ("says", "says much"):
            self.says(link, "media", media={"payload": base64.b64encode(octets).decode()})
        elif what == "marks":
            self.says(link, "mark", mark={"name": f"m-{place}"})
        elif what == "clears":
            self.says(link, "clear")
        elif what == "digits":
            self.world.ask(SendDigits(request=0, call="c-1", digits="5"))
        elif what == "late":
            self.world.clock.advance(0.02)
            self.world.pacer.expired(4 * 5)
        elif what in ("codec", "hold", "ptime"):
            changes: dict[str, dict[str, Any]] = {
                "codec": {"send": PCMA, "receive": (PCMA, G722, PCMU)},
                "hold": {"direction": "recvonly"},
                "ptime": {"ptime": 40},
            }
            self.world.ask(set_media(**self.keys, **changes[what]))
        elif what == "target":
            self.world.ask(Allocate(request=0, call="c-1", leg="target"))
        elif what == "rings":
            self.world.ask(Rebind(request=0, call="c-1", bindings=(Binding(leg="caller", source="tone"),)))
        elif what == "back":
            self.world.ask(
                Rebind(request=0, call="c-1", bindings=(Binding(leg="caller", source="agent", agent_hears=True),))
            )
        elif what == "recorded":
            self.world.ask(Record(request=0, call="c-1"))
        elif what == "gone":
            self.world.ask(StopAgent(request=0, call="c-1"))

    def outcome(self, happenings: list[str], *, secure: bool, long: bool) -> tuple[Any, ...]:
        """What the caller and the agent were sent, and all numbers, when this happens, a thing each 100 ms."""
        self.setUp()
        self.keys: dict[str, Any] = dict(keys(1, 2)) if secure else {}
        link = self.set_up(**self.keys)
        if long:
            self.patch(self.leg, "speaking", lambda due, played: None)
        sealed = phone_with(1, 2)
        self.taken = 0
        for place, what in enumerate(["", ""] + happenings + [""] * 3):
            self.happen(link, what, place)
            for _ in range(5):
                packet: bytes | None = self.phone.sender.packet(b"\x42" * 160, 160)
                if secure:
                    packet = sealed.protect(packet or b"")
                if what != "silent":
                    self.phone.send(packet or b"", self.rtp)
                self.world.tick()
                self.taken += self.world.pacer.speaking
        released = self.world.ask(Release(request=0, call="c-1"))
        datagrams = self.phone.datagrams
        heard = [parse_rtp(sealed.unprotect(each) or b"" if secure else each) for each in datagrams if each[1] < 192]
        return heard, link.take(), [replace(leg, jitter_ms=0.0) for leg in released.legs], released.conversation

    @settings(max_examples=60, derandomize=True, deadline=None)
    @given(st.lists(_happenings, min_size=1, max_size=16), st.booleans())
    @example(["says much", "", "digits", "", "", "says"], False)
    @example(["says much", "silent", "silent", "", "late", ""], True)
    @example(["says", "codec", "", "says much", "hold", "", "codec", "", "ptime", ""], True)
    @example(["says", "target", "", "rings", "", "back", "says", "recorded", "says", "gone", ""], False)
    def test_same(self, happenings: list[str], secure: bool) -> None:
        """Whatever happens, both ways send the same packets to the caller and the same messages to the agent."""
        short = self.outcome(happenings, secure=secure, long=False)
        self.assertEqual(short, self.outcome(happenings, secure=secure, long=True))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_taken(self) -> None:
        """An undisturbed call speaks the short way, but for one frame each half second."""
        heard = self.outcome(["says much"] * 20, secure=False, long=False)[0]
        self.assertGreater(self.taken, 100)
        self.assertTrue(all(isinstance(packet, RtpPacket) for packet in heard))
