"""Two phones in one call of a worker without a process, and what they see of each other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control import messages
from stellar_gw.control.messages import Allocate, Answered, Done
from stellar_gw.media.rtp import RtpPacket, sequence_delta, timestamp_delta
from tests.unit.worker_world import FakeLink, Phone, World, set_media, start_agent

CALLER = ("198.51.100.7", 4000)
TARGET = ("198.51.100.8", 6000)


@frozen
class Step:
    """From one packet to the next."""

    numbers: int
    samples: int
    marker: bool = False


def steps(packets: Sequence[RtpPacket]) -> list[Step]:
    """How each packet follows the one before; of one SSRC, or it is an error."""
    assert len({packet.ssrc for packet in packets}) == 1
    return [
        Step(
            sequence_delta(later.sequence_number, earlier.sequence_number),
            timestamp_delta(later.timestamp, earlier.timestamp),
            later.marker,
        )
        for earlier, later in pairwise(packets)
    ]


class BridgeTestCase(SynchronousTestCase):
    """A call with an agent, a caller and a target, all of it up."""

    def setUp(self) -> None:
        self.world = self.make_world()
        self.caller = Phone(self.world.network, CALLER)
        self.target = Phone(self.world.network, TARGET)
        self.target.sender.ssrc, self.target.sender.sequence_number = 0xBEEF, 40000
        self.rtp = self.world.ask(Allocate(request=0, call="c-1")).rtp_port
        self.target_rtp = self.world.ask(Allocate(request=0, call="c-1", leg="target")).rtp_port

    def make_world(self) -> World:
        return World()

    def set_up(self, caller: dict[str, Any] | None = None, target: dict[str, Any] | None = None) -> FakeLink:
        """Media agreed on both legs, the agent there and heard by the caller."""
        self.media("caller", **(caller or {}))
        self.media("target", **(target or {}))
        self.done(start_agent())
        link = self.world.connector.links[0]
        link.events.link_opened(2.0)
        self.done(Answered(request=0, call="c-1"))
        self.done(Answered(request=0, call="c-1", leg="target"))
        return link

    def done(self, request: messages.Request) -> None:
        self.assertEqual(self.world.ask(request), Done(request=request.request))

    def media(self, leg: str, **changes: Any) -> None:
        host, port = CALLER if leg == "caller" else TARGET
        fields: dict[str, Any] = {"remote": (host, port), "remote_rtcp": (host, port + 1), **changes}
        self.done(set_media(leg=leg, **fields))

    def bridge(self) -> None:
        self.done(messages.bridge("c-1"))

    def unbridge(self) -> None:
        self.done(messages.unbridge("c-1"))

    def bind(self, leg: str, source: messages.Source, **changes: Any) -> None:
        binding = messages.Binding(leg=leg, source=source, **changes)
        self.done(messages.Rebind(request=0, call="c-1", bindings=(binding,)))

    def talk(self, frames: int = 1, caller: bytes | None = b"\x11" * 160, target: bytes | None = b"\x22" * 160) -> None:
        """Both say something in each of so many frames of 20 ms."""
        for _ in range(frames):
            if caller is not None:
                self.caller.say(caller, self.rtp)
            if target is not None:
                self.target.say(target, self.target_rtp)
            self.world.tick()

    def forget(self) -> None:
        """What was sent so far is of no interest."""
        self.caller.datagrams.clear()
        self.target.datagrams.clear()

    def statistics(self) -> dict[str, messages.LegStatistics]:
        """Ends the call."""
        released = self.world.ask(messages.Release(request=0, call="c-1"))
        return {leg.leg: leg for leg in released.legs}
