"""A bridged call whose packets the kernel may pass on: when a whole worker asks for that, and when it has it back."""

from __future__ import annotations

from typing import Any

from stellar_gw.control import messages
from stellar_gw.control.fastpath import (
    OVERHEAD,
    CloseBridge,
    Closed,
    Counts,
    OpenBridge,
    Opened,
    Tally,
)
from stellar_gw.control.messages import Codec, MediaLost, Pressed, Record, SendDigits
from stellar_gw.worker.fastpath import FastPath
from stellar_gw.worker.tap import Tap
from tests.unit.bridge_case import BridgeTestCase
from tests.unit.helper_case import PlaysHelper
from tests.unit.test_worker_bridge_srtp import keys, phone_with
from tests.unit.worker_world import PCMA, PCMU, World, set_media

LONG = 400
"""Frames of 20 ms in which the worker has asked, if it ever will."""


class OffloadedCallCase(PlaysHelper, BridgeTestCase):
    """A worker whose helper is a test."""

    def make_world(self) -> World:
        fast_path = FastPath()
        world = World(fast_path=fast_path, recordings=self.mktemp())
        fast_path._reactor = world.clock
        self.attach(fast_path)
        return world

    def in_kernel(self, **media: Any) -> int:
        """The bridge's number, once the kernel passes packets on."""
        self.set_up(caller=media)
        self.bridge()
        self.talk(100)
        [request] = self.asked()
        assert isinstance(request, OpenBridge)
        self.say(Opened(request=request.request, bridge=request.bridge))
        self.forget()
        self.world.told()
        return request.bridge

    def count(self, bridge: int, received: int, sent: int) -> None:
        """The helper's word, of packets of 160 octets that each leg's peer sent and was sent."""
        legs = Tally(received, (160 + OVERHEAD) * received, sent, (160 + OVERHEAD) * sent)
        self.say(Counts(bridges=((bridge, legs, legs),)))


class AskedForTests(OffloadedCallCase):
    def test_a_calm_bridge(self) -> None:
        """Two plain legs of one payload type, each latched: the kernel is asked once, for just these addresses."""
        self.in_kernel()
        self.talk(LONG, caller=None, target=None)
        self.assertEqual(self.asked(), [])

    def test_never(self) -> None:
        """Not where a leg is on SRTP, of another payload type, not heard, listened to, recorded, or on ICE."""
        ice = messages.Ice(ufrag="ours", password="p" * 22)
        lax = Codec(name="PCMU", payload_type=100)
        cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            "nothing is wrong": ({}, {}),
            "the caller's SRTP": (keys(1, 2), {}),
            "the target's SRTP": ({}, keys(1, 2)),
            "another number": ({}, {"send": lax, "receive": (lax,)}),
            "another codec": ({}, {"send": PCMA, "receive": (PCMA,)}),
            "hold": ({"direction": "sendonly"}, {}),
            "ICE": ({"ice": ice}, {}),
        }
        asked = {}
        for name, (caller, target) in cases.items():
            self.setUp()
            self.set_up(caller, target)
            self.bridge()
            ends = (self.caller, self.rtp, caller), (self.target, self.target_rtp, target)
            for phone, _, media in ends:
                phone.sender.payload_type = media.get("send", PCMU).payload_type
            seals = [phone_with(1, 2) if "srtp_send" in media else None for _, _, media in ends]
            for _ in range(LONG):
                for (phone, port, _), seal in zip(ends, seals, strict=True):
                    datagram = phone.sender.packet(b"\x11" * 160, 160)
                    phone.send(datagram if seal is None else seal.protect(datagram) or b"", port)
                self.world.tick()
            asked[name] = len(self.asked())
            legs = [leg.statistics() for leg in self.world.carrier._sessions["c-1"].legs.values()]
            self.assertEqual([(leg.packets_received, leg.packets_rejected) for leg in legs], [(LONG, 0)] * 2, name)
        self.assertEqual(asked, {name: int(name == "nothing is wrong") for name in cases})

    def test_never_while_somebody_listens(self) -> None:
        """Nor while it is recorded, or tapped, or an agent hears one of the two."""
        asked = {}
        for name in ("nobody", "recording", "tap", "agent"):
            self.setUp()
            self.set_up()
            self.bridge()
            port = self.world.carrier._sessions["c-1"].legs["target"].port
            if name == "recording":
                self.done(Record(request=0, call="c-1"))
            elif name == "tap":
                port.tap(Tap(set_media(), self.world.clock.seconds()))
            elif name == "agent":
                self.bind("caller", "leg", peer="target", agent_hears=True)
            self.talk(LONG)
            asked[name] = len(self.asked())
        self.assertEqual(asked, {"nobody": 1, "recording": 0, "tap": 0, "agent": 0})


class TakenAwayTests(OffloadedCallCase):
    def test_at_once(self) -> None:
        """The kernel is told to stop before the command that changes something is answered, whatever it changes."""
        commands: dict[str, messages.Request] = {
            "re-INVITE": set_media(),
            "hold": set_media(direction="sendonly"),
            "digits of ours": SendDigits(request=0, call="c-1", leg="target", digits="5"),
            "a digit by INFO": Pressed(request=0, call="c-1", digit="5"),
            "recording": Record(request=0, call="c-1"),
            "music": messages.Rebind(
                request=0, call="c-1", bindings=(messages.Binding(leg="target", source="tone", tone="ringback"),)
            ),
            "back to the agent": messages.unbridge("c-1"),
            "an agent that listens": messages.Rebind(
                request=0,
                call="c-1",
                bindings=(messages.Binding(leg="caller", source="leg", peer="target", agent_hears=True),),
            ),
        }
        asked = {}
        for name, command in commands.items():
            self.setUp()
            bridge = self.in_kernel()
            self.done(command)
            asked[name] = self.asked() == [CloseBridge(request=bridge, bridge=bridge)]
        self.assertEqual(asked, dict.fromkeys(commands, True))

    def test_by_a_tap(self) -> None:
        """Whoever begins to listen hears every packet from then on."""
        bridge = self.in_kernel()
        port = self.world.carrier._sessions["c-1"].legs["caller"].port
        tap = Tap(set_media(), self.world.clock.seconds())
        port.tap(tap)
        self.assertEqual(self.asked(), [CloseBridge(request=bridge, bridge=bridge)])
        self.talk(10)
        self.assertEqual(len(tap), 20)

    def test_by_a_digit(self) -> None:
        """A telephone event comes up, for it is of another payload type; what follows it does, too."""
        bridge = self.in_kernel()
        began = self.caller.sender.timestamp
        self.caller.send(self.caller.sender.packet_at(began, b"\x05\x0a\x00\xa0", 101), self.rtp)
        self.world.settle()
        self.assertEqual(self.asked(), [CloseBridge(request=bridge, bridge=bridge)])
        self.talk(3)
        self.assertEqual([packet.payload_type for packet in self.target.packets], [101, 0, 0, 0])


class CountedTests(OffloadedCallCase):
    def test_alive(self) -> None:
        """As long as the kernel counts packets of both nobody takes the call for dead; then it is as any other."""
        bridge = self.in_kernel()
        for second in range(1, 121):
            self.world.tick(50)
            self.count(bridge, 50 * second, 50 * second)
        alive = self.world.told(), self.asked()
        for _ in range(3):
            self.world.tick(50)
            self.count(bridge, 6000, 6000)
        taken_back = self.asked()
        self.world.tick(50 * 26)
        patient = self.world.told()
        self.world.tick(50 * 3)
        lost = [(event.leg, event.ever) for event in self.world.told() if isinstance(event, MediaLost)]
        self.assertEqual(
            (alive, taken_back, patient, lost),
            (([], []), [CloseBridge(request=bridge, bridge=bridge)], [], [("caller", True), ("target", True)]),
        )

    def test_record(self) -> None:
        """What the kernel passed on is in each leg's numbers, the last of it, too, which comes with the end."""
        bridge = self.in_kernel()
        before = {leg: len(phone.datagrams) for leg, phone in (("caller", self.caller), ("target", self.target))}
        self.count(bridge, 500, 480)
        released = self.world.ask(messages.Release(request=0, call="c-1"))
        legs = Tally(510, 200 * 510, 490, 200 * 490)
        self.say(Closed(request=bridge, bridge=bridge, legs=(legs, legs)))
        [numbers] = [self.successResultOf(released).legs]
        self.assertEqual(before, {"caller": 0, "target": 0})
        for leg in numbers:
            found = leg.packets_in_kernel, leg.packets_received, leg.octets_received, leg.packets_lost
            self.assertEqual(found, (510, 610, 160 * 610, 0), leg.leg)
            self.assertTrue(490 + 100 <= leg.packets_sent <= 490 + 205, leg)
            self.assertEqual(leg.octets_sent, 160 * leg.packets_sent)
