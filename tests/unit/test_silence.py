"""What happens when a caller's media stops."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.leg.silence import Silence
from stellar_gw.call.machine import Ending
from stellar_gw.call.timers import Timers
from stellar_gw.call.usages import Heard
from stellar_gw.control.messages import MediaLost
from stellar_gw.sip.events import ResponseReceived


class SilenceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.probes: list[float] = []
        self.endings: list[tuple[float, Ending]] = []
        self.timers = Timers(self.clock)
        self.silence = Silence(
            timers=self.timers,
            probe=self.probe,
            give_up=lambda ending: self.endings.append((self.clock.seconds(), ending)),
            interval=30.0,
            longest=300.0,
        )

    def probe(self, heard: Heard) -> None:
        self.probes.append(self.clock.seconds())
        self.heard = heard

    def lost(self, ever: bool) -> None:
        self.silence.began(MediaLost(generation=1, call="c-1", leg="caller", seconds=30.0, ever=ever))

    def answer(self) -> None:
        self.heard(ResponseReceived(len(self.probes), None))

    def causes(self) -> list[tuple[float, str]]:
        return [(at, ending.cause) for at, ending in self.endings]

    def test_a_call_without_any_media_ends_at_once(self) -> None:
        self.lost(ever=False)
        self.assertEqual((self.causes(), self.probes), ([(0.0, "no_media")], []))

    def test_a_silent_peer_that_answers_is_asked_every_30_s_and_kept_300(self) -> None:
        self.lost(ever=True)
        for _ in range(12):
            self.answer()
            self.clock.advance(30.0)
        self.assertEqual(self.probes[:4], [0.0, 30.0, 60.0, 90.0])
        self.assertEqual(self.causes(), [(300.0, "no_media")])

    def test_media_that_comes_again_ends_the_asking(self) -> None:
        self.lost(ever=True)
        self.answer()
        self.silence.over()
        self.clock.advance(1000.0)
        self.assertEqual((self.probes, self.causes()), ([0.0], []))

    def test_a_second_silence_has_its_300_seconds_anew(self) -> None:
        self.lost(ever=True)
        self.answer()
        self.clock.advance(20.0)
        self.silence.over()
        self.lost(ever=True)
        self.answer()
        self.clock.pump([30.0] * 9)
        self.assertEqual(self.causes(), [])
        self.clock.advance(30.0)
        self.assertEqual(self.causes(), [(320.0, "no_media")])
