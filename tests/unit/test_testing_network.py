"""The network in memory: seeded, in order where it must be, and out of order where it may."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.testing.network import Network, Stream, Weather

A, B = ("192.0.2.1", 5060), ("198.51.100.2", 5060)


def carried(seed: int, weather: Weather, count: int = 1000) -> list[int]:
    """The numbers of the datagrams that arrive, in order."""
    network = Network(Clock(), seed=seed, weather=weather)
    arrived: list[int] = []
    network.bind(B, lambda data, source: arrived.append(int(data)))
    sender = network.bind(A, lambda data, source: None)
    for number in range(count):
        sender.send(b"%d" % number, B)
    network.run(1.0)
    return arrived


class DatagramTests(SynchronousTestCase):
    def test_fair_weather(self) -> None:
        self.assertEqual(carried(1, Weather()), list(range(1000)))

    def test_loss_duplication_and_order(self) -> None:
        """About as much as asked for, and the same for the same seed."""
        lost = carried(1, Weather(loss=0.3))
        self.assertTrue(650 < len(lost) < 750)
        self.assertTrue(1050 < len(carried(1, Weather(duplication=0.1))) < 1150)
        late = carried(1, Weather(delay=(0.001, 0.1)))
        self.assertEqual((sorted(late), late == sorted(late)), (list(range(1000)), False))
        self.assertEqual((lost, lost == carried(2, Weather(loss=0.3))), (carried(1, Weather(loss=0.3)), False))

    def test_eaten(self) -> None:
        network = Network(Clock())
        arrived: list[bytes] = []
        socket = network.bind(B, lambda data, source: arrived.append(data))
        network.eats = lambda data, source, to: data == b"1" and source == A and to == B
        sender = network.bind(A, lambda data, source: None)
        for number in range(3):
            sender.send(b"%d" % number, B)
        network.run(1.0)
        self.assertEqual((arrived, network.lost), ([b"0", b"2"], 1))
        socket.close()
        sender.send(b"3", B)
        network.run(1.0)
        self.assertEqual(len(arrived), 2)
        self.assertRaises(ValueError, network.bind, A, lambda data, source: None)


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = Network(Clock(), weather=Weather(loss=0.9, delay=(0.01, 5.0)))
        self.heard: list[bytes] = []
        self.closed: list[str] = []
        self.theirs: list[Stream] = []
        self.network.listen(B, self.accept)
        ours = self.network.connect(A[0], B)
        assert ours is not None
        self.ours = ours
        self.ours.lost = lambda: self.closed.append("ours")

    def accept(self, stream: Stream) -> None:
        self.theirs.append(stream)
        stream.received = self.heard.append
        stream.lost = lambda: self.closed.append("theirs")

    def test_bytes_arrive_in_order_whatever_the_weather(self) -> None:
        for number in range(100):
            self.assertTrue(self.ours.send(b"%d" % number))
        self.network.run(1.0)
        self.assertEqual(self.heard, [b"%d" % number for number in range(100)])

    def test_close(self) -> None:
        """What was sent before arrives, then the other end hears of it; nothing goes through any more."""
        self.ours.send(b"last")
        self.ours.close()
        self.assertFalse(self.ours.send(b"late"))
        self.network.run(1.0)
        self.assertEqual((self.heard, self.closed, self.theirs[0].send(b"x")), ([b"last"], ["theirs"], False))

    def test_nobody_listens(self) -> None:
        self.network.unlisten(B)
        self.assertIsNone(self.network.connect(A[0], B))


class TimeTests(SynchronousTestCase):
    def test_each_call_at_its_own_time(self) -> None:
        clock = Clock()
        network, times = Network(clock), []
        for delay in (0.3, 0.1):
            clock.callLater(delay, lambda: times.append(clock.seconds()))
        self.assertFalse(network.run(0.2))
        self.assertEqual((times, clock.seconds()), ([0.1], 0.2))
        self.assertTrue(network.run(5.0, until=lambda: len(times) == 2))
        self.assertEqual((times, clock.seconds()), ([0.1, 0.3], 0.3))

    def test_endless_stories_fail(self) -> None:
        clock = Clock()

        def again() -> None:
            clock.callLater(0.001, again)

        again()
        self.assertRaises(RuntimeError, Network(clock).run, 1.0, limit=100)
