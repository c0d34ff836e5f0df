"""When a bridge goes to the kernel, and when it comes back, without a kernel and without sockets."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.control.fastpath import CloseBridge, Closed, Counts, FastLeg, OpenBridge, Opened, Refused, Tally
from stellar_gw.worker.fastpath import PATIENCE, FastPath
from stellar_gw.worker.offload import AGAIN, CALM, GRACE, Offload
from tests.unit.helper_case import PlaysHelper


class FakePort:
    """What an offload needs of a port; both ends of the bridge have the payload type 0."""

    def __init__(self, number: int) -> None:
        self.end: tuple[FastLeg, int] | None = (
            FastLeg(local=("192.0.2.1", number), remote=("198.51.100.7", number)),
            0,
        )
        self.offload: Offload | None = None
        self.told: list[str] = []
        self.tallies: list[Tally] = []

    def fast_end(self, other: FakePort) -> tuple[FastLeg, int] | None:
        return self.end

    def handed_over(self, other: FakePort) -> None:
        self.told.append("handed over")

    def taken_back(self, now: float) -> None:
        self.told.append("taken back")

    def passed(self, tally: Tally, now: float) -> None:
        self.tallies.append(tally)


class OffloadTests(PlaysHelper, SynchronousTestCase):
    """A call with two ports, and the helper at the other end of a connection."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.fast_path = FastPath()
        self.fast_path._reactor = self.clock
        self.offload = Offload(self.fast_path, self.clock.seconds)
        self.ports = FakePort(10000), FakePort(10002)
        self.attach(self.fast_path)

    def calm(self, looks: int = CALM) -> list[OpenBridge | CloseBridge]:
        for _ in range(looks):
            self.clock.advance(0.2)
            self.offload.at_ease(cast(Any, self.ports))
        return self.asked()

    def open(self) -> int:
        """The bridge's number, once the kernel passes packets on."""
        (request,) = self.calm()
        self.say(Opened(request=request.request, bridge=request.bridge))
        self.assertTrue(self.offload.open)
        return request.bridge

    def told(self) -> list[str]:
        self.assertEqual(self.ports[0].told, self.ports[1].told)
        return self.ports[0].told

    def test_opened(self) -> None:
        """After a second in which nothing happened the helper is asked, once, for both legs."""
        self.assertEqual(self.calm(CALM - 1), [])
        (request,) = self.calm(1)
        legs = tuple(port.end[0] for port in self.ports if port.end is not None)
        self.assertEqual(request, OpenBridge(request=1, bridge=1, payload_type=0, legs=(legs[0], legs[1])))
        self.assertEqual((self.calm(), self.told(), self.offload.open), ([], [], False))
        self.say(Opened(request=1, bridge=1))
        self.assertEqual((self.told(), self.offload.open), (["handed over"], True))
        self.assertEqual([port.offload for port in self.ports], [self.offload, self.offload])

    def test_not_alike(self) -> None:
        """Legs of two payload types, or one that the kernel could not serve, stay in user space."""
        for end in (None, (FastLeg(local=("192.0.2.1", 10002), remote=("198.51.100.7", 1)), 8)):
            self.ports[1].end = end
            self.assertEqual(self.calm(3 * CALM), [])

    def test_no_helper(self) -> None:
        """Without a helper nothing is asked for, and with it again it is."""
        self.channel.connectionLost()
        self.assertEqual(self.calm(3 * CALM), [])
        self.attach(self.fast_path)
        self.assertEqual(len(self.calm()), 1)

    def test_ended(self) -> None:
        """An end takes the ports back at once, and the kernel is asked again after a pause that doubles."""
        pause = AGAIN[0]
        for _ in range(3):
            bridge = self.open()
            self.offload.end()
            self.assertEqual([port.offload for port in self.ports], [None, None])
            self.assertEqual(self.asked(), [CloseBridge(request=bridge, bridge=bridge)])
            self.say(Closed(request=bridge, bridge=bridge, legs=(Tally(), Tally())))
            looks = int(pause / 0.2) - 1
            self.assertEqual(self.calm(looks), [])
            self.clock.advance(0.4)
            pause *= 2
        self.assertEqual(self.told(), ["handed over", "taken back"] * 3)

    def test_ended_before_it_began(self) -> None:
        """What is ended while the helper is being asked never takes packets away."""
        self.calm()
        self.offload.end()
        self.assertEqual(self.asked(), [CloseBridge(request=1, bridge=1)])
        self.say(Opened(request=1, bridge=1))
        self.say(Closed(request=1, bridge=1, legs=(Tally(), Tally())))
        self.assertEqual((self.told(), self.offload.open), ([], False))

    def test_refused(self) -> None:
        """A refusal leaves all as it was."""
        self.calm()
        self.say(Refused(request=1, bridge=1, reason="no"))
        self.assertEqual((self.told(), [port.offload for port in self.ports]), ([], [None, None]))

    def test_came_up(self) -> None:
        """Packets that had been queued change nothing; later ones, and those of another payload type, end it."""
        for kind, after, stays in ((0, GRACE / 2, True), (101, GRACE / 2, False), (0, 2 * GRACE, False)):
            self.setUp()
            self.open()
            self.clock.advance(after)
            self.offload.came_up(kind, self.clock.seconds())
            self.assertEqual(self.offload.open, stays)

    def test_counted(self) -> None:
        """Ports are told what is new, every second and at the end."""
        bridge = self.open()
        self.say(Counts(bridges=((bridge, Tally(10, 2000, 8, 1600), Tally(8, 1600, 10, 2000)), (99, Tally(), Tally()))))
        self.offload.end()
        last = Tally(15, 3000, 9, 1800), Tally(9, 1800, 15, 3000)
        self.say(Closed(request=bridge, bridge=bridge, legs=last))
        self.assertEqual(self.ports[0].tallies, [Tally(10, 2000, 8, 1600), Tally(5, 1000, 1, 200)])
        self.assertEqual(self.ports[1].tallies, [Tally(8, 1600, 10, 2000), Tally(1, 200, 5, 1000)])

    def test_not_counted(self) -> None:
        """Where the kernel could not be asked, so that the helper tells of nothing, or of what came in alone, nothing
        that was counted is lost, and the bridge stays open."""
        bridge = self.open()
        self.say(Counts(bridges=((bridge, Tally(10, 2000, 8, 1600), Tally(8, 1600, 10, 2000)),)))
        self.say(Counts(bridges=((bridge, Tally(10, 2000), Tally(8, 1600)),)))
        self.assertTrue(self.offload.open)
        self.say(Counts(bridges=((bridge, Tally(15, 3000, 9, 1800), Tally(9, 1800, 15, 3000)),)))
        self.offload.end()
        self.say(Closed(request=bridge, bridge=bridge, legs=(Tally(), Tally())))
        self.assertEqual(self.ports[0].tallies, [Tally(10, 2000, 8, 1600), Tally(), Tally(5, 1000, 1, 200), Tally()])

    def test_silent(self) -> None:
        """A peer of whom nothing comes for two counts may have moved: user space is to look for it."""
        bridge = self.open()
        for target, stays in ((50, True), (100, True), (150, False)):
            self.say(Counts(bridges=((bridge, Tally(50, 0, 50, 0), Tally(target, 0, 50, 0)),)))
            self.assertEqual(self.offload.open, stays)

    def test_not_let_out(self) -> None:
        """Packets that come in and never go out end it, and it is not soon tried again."""
        bridge = self.open()
        self.say(Counts(bridges=((bridge, Tally(50, 0, 0, 0), Tally(50, 0, 0, 0)),)))
        self.assertFalse(self.offload.open)
        self.say(Closed(request=bridge, bridge=bridge, legs=(Tally(50), Tally(50))))
        self.asked()
        self.assertEqual(self.calm(int((AGAIN[1] - 1) / 0.2)), [])

    def test_helper_gone(self) -> None:
        """With the helper's end the kernel passes nothing on, and the ports are taken back."""
        self.open()
        self.channel.connectionLost()
        self.assertEqual((self.told(), self.offload.open), (["handed over", "taken back"], False))

    def test_settled(self) -> None:
        """Whoever needs the last numbers waits for them; nobody waits where there are none."""
        self.assertIsNone(self.offload.settled())
        bridge = self.open()
        waiting = self.offload.settled()
        assert waiting is not None
        self.assertNoResult(waiting)
        self.say(Closed(request=bridge, bridge=bridge, legs=(Tally(1), Tally(2))))
        self.successResultOf(waiting)
        self.assertEqual((self.ports[0].tallies, self.ports[1].tallies), ([Tally(1)], [Tally(2)]))

    def test_helper_hangs(self) -> None:
        """A helper that does not answer is cut off, so that nobody waits for long."""
        self.open()
        waiting = self.offload.settled()
        assert waiting is not None
        self.clock.pump([PATIENCE / 8] * 8)
        self.successResultOf(waiting)
        self.assertFalse(self.fast_path.available)

    def test_held_up(self) -> None:
        """A helper whose answer a worker that was held up has not read yet is not cut off."""
        bridge = self.open()
        waiting = self.offload.settled()
        assert waiting is not None
        self.clock.advance(2 * PATIENCE)
        self.say(Closed(request=bridge, bridge=bridge, legs=(Tally(1), Tally(2))))
        self.successResultOf(waiting)
        self.assertEqual((self.ports[0].tallies, self.fast_path.available), ([Tally(1)], True))

    def test_rubbish(self) -> None:
        """What the helper cannot have meant ends the connection and touches no call."""
        self.open()
        self.channel.dataReceived(b"\0\0\0\3abc")
        self.assertEqual(self.told(), ["handed over", "taken back"])
        self.assertFalse(self.fast_path.available)
