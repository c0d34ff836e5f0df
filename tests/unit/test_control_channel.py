"""Both ends of the control channel, joined in memory or fed by hand."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from stellar_gw.call.ports import WorkerFailed
from stellar_gw.control import messages
from stellar_gw.control.codec import decode_for_gateway, decode_for_worker, encode
from stellar_gw.control.messages import Answered, Done, Failed, Hello, Ping
from stellar_gw.gateway.channel import HELLO_TIMEOUT, WorkerChannel
from stellar_gw.worker.channel import GatewayChannel

HELLO = Hello(version=messages.VERSION, worker=1, generation=7, pid=4711)


def framed(frame: bytes) -> bytes:
    return struct.pack("!I", len(frame)) + frame


def frames(octets: bytes) -> list[bytes]:
    found = []
    while octets:
        size = struct.unpack_from("!I", octets)[0]
        found.append(octets[4 : 4 + size])
        octets = octets[4 + size :]
    return found


class Owner:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def hello(self, channel: WorkerChannel, hello: Hello) -> None:
        self.told.append(hello)

    def event(self, channel: WorkerChannel, event: messages.Event) -> None:
        self.told.append(event)
        if isinstance(event, messages.MediaBack):
            raise ZeroDivisionError

    def closed(self, channel: WorkerChannel, reason: str) -> None:
        self.told.append(reason)


class GatewayEndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.owner = Owner()
        self.channel = WorkerChannel(self.clock, self.owner)
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def worker_says(self, *said: messages.Message) -> None:
        for message in said:
            self.channel.dataReceived(framed(encode(message)))

    def sent(self) -> list[messages.Message]:
        sent = [decode_for_worker(frame) for frame in frames(self.transport.value())]
        self.transport.clear()
        return list(sent)

    def lose(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))

    def code(self, answer: Deferred[messages.Reply]) -> str:
        return str(self.failureResultOf(answer, WorkerFailed).value.code)

    def test_answers(self) -> None:
        """Requests are numbered; replies find theirs in any order, and a refusal is a failure with its code."""
        self.worker_says(HELLO)
        first = self.channel.ask(Ping(request=0), 2.0)
        second = self.channel.ask(Answered(request=0, call="c-1"), 2.0)
        self.assertEqual(self.sent(), [Ping(request=1), Answered(request=2, call="c-1")])
        self.worker_says(Failed(request=2, code="unknown_call", message="no call"), Done(request=1), Done(request=1))
        self.assertEqual(self.successResultOf(first), Done(request=1))
        self.assertEqual(self.code(second), "unknown_call")
        self.assertEqual((self.owner.told, self.clock.getDelayedCalls()), ([HELLO], []))

    def test_timeout(self) -> None:
        """A request that is not answered fails when its time is up; the late reply is nobody's."""
        self.worker_says(HELLO)
        answer = self.channel.ask(Ping(request=0), 2.0)
        self.clock.pump([0.125] * 15)
        self.assertNoResult(answer)
        self.clock.advance(0.125)
        self.assertEqual(self.code(answer), "timeout")
        self.worker_says(Done(request=1))

    def test_held_up(self) -> None:
        """Time in which this process was held up is not held against the worker, whenever it was."""
        self.worker_says(HELLO)
        answers = [self.channel.ask(Ping(request=0), 2.0)]
        self.clock.advance(60.0)
        self.clock.pump([0.125] * 15)
        self.assertNoResult(answers[0])
        self.clock.advance(0.125)
        answers.append(self.channel.ask(Ping(request=0), 2.0))
        self.clock.pump([0.125] * 3)
        self.clock.advance(1.5)
        self.clock.pump([0.125] * 15)
        self.assertNoResult(answers[1])
        self.clock.advance(0.125)
        self.assertEqual([self.code(answer) for answer in answers], ["timeout", "timeout"])

    def test_closed(self) -> None:
        """When the channel closes, what waits fails at once, and what comes later too; the owner is told last."""
        self.worker_says(HELLO)
        answer = self.channel.ask(Ping(request=0), 2.0)
        self.lose()
        self.assertEqual((self.code(answer), self.code(self.channel.ask(Ping(request=0), 2.0))), ("lost", "lost"))
        self.assertEqual(self.owner.told, [HELLO, "it closed the control channel"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        """Who has cancelled is not told any more, whether the reply comes or the channel closes."""
        self.worker_says(HELLO)
        first, second = self.channel.ask(Ping(request=0), 2.0), self.channel.ask(Ping(request=0), 2.0)
        for answer in (first, second):
            answer.addErrback(lambda _: None)
        first.addErrback(lambda _: second.cancel())
        first.cancel()
        self.worker_says(Done(request=1))
        second.cancel()
        self.lose()
        self.assertEqual(self.channel.outstanding, 0)

    def test_cancelled_by_another(self) -> None:
        """One failure that cancels another request while the channel closes does no harm."""
        self.worker_says(HELLO)
        first, second = self.channel.ask(Ping(request=0), 2.0), self.channel.ask(Ping(request=0), 2.0)
        second.addErrback(lambda _: None)
        first.addErrback(lambda _: second.cancel())
        self.lose()
        self.assertEqual(self.owner.told[-1], "it closed the control channel")

    def test_too_long(self) -> None:
        """A request that no worker would accept fails, and nothing is sent."""
        self.worker_says(HELLO)
        answer = self.channel.ask(messages.Tell(request=0, call="c-1", kind="x" * messages.MAX_FRAME), 2.0)
        self.assertEqual((self.code(answer), self.sent()), ("bad_request", []))

    def test_events(self) -> None:
        """Events of the worker's generation reach the owner, others do not; one the owner fails on costs nothing."""
        self.worker_says(HELLO)
        mine = messages.MediaBack(generation=7, call="c-1", leg="caller")
        self.worker_says(mine, messages.MediaBack(generation=6, call="c-1", leg="caller"))
        self.worker_says(messages.AgentHangup(generation=7, call="c-1"))
        self.assertEqual(self.owner.told, [HELLO, mine, messages.AgentHangup(generation=7, call="c-1")])
        self.assertFalse(self.transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_no_hello(self) -> None:
        """Whoever says nothing within 10 s is cut off."""
        self.clock.pump([HELLO_TIMEOUT / 8] * 7)
        self.assertFalse(self.transport.disconnected)
        self.clock.advance(HELLO_TIMEOUT / 8)
        self.assertTrue(self.transport.disconnected)

    def test_misbehaviour(self) -> None:
        """Anything before Hello, another version, a second Hello, a frame that is none or too long: cut off."""
        said = {
            "its first frame was Done, not Hello": [encode(Done(request=1))],
            "it speaks version 99 of the control protocol, we speak 1": [
                encode(msgspec.structs.replace(HELLO, version=99))
            ],
            "it said Hello twice": [encode(HELLO), encode(HELLO)],
            "it sent a frame that is no message: Invalid value - at `$.type`": [encode(HELLO), encode(Ping(request=1))],
        }
        for reason, sent in said.items():
            self.setUp()
            for frame in sent:
                self.channel.dataReceived(framed(frame))
            self.assertTrue(self.transport.disconnected, reason)
            self.lose()
            self.assertEqual(self.owner.told[-1], reason)

    def test_frame_too_long(self) -> None:
        """A frame longer than any of ours is cut off as soon as its length is known."""
        self.channel.dataReceived(struct.pack("!I", messages.MAX_FRAME + 1))
        self.assertTrue(self.transport.disconnected)

    @settings(max_examples=300, derandomize=True, deadline=None)
    @given(st.lists(st.binary(max_size=40), max_size=5))
    def test_any_octets(self, pieces: list[bytes]) -> None:
        """No octets raise anything."""
        self.setUp()
        for piece in pieces:
            self.channel.dataReceived(piece)
        self.lose()
        self.assertEqual(len(self.owner.told), 1)


class WorkerEndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.requests: list[messages.Request] = []
        self.changes: list[bool] = []
        self.channel = GatewayChannel(HELLO, self._handle, lambda _, connected: self.changes.append(connected))
        self.transport = StringTransport()
        self.channel.makeConnection(self.transport)

    def _handle(self, request: messages.Request) -> messages.Reply:
        self.requests.append(request)
        return Done(request=request.request)

    def sent(self) -> list[messages.Message]:
        return [decode_for_gateway(frame) for frame in frames(self.transport.value())]

    def test_hello(self) -> None:
        """Hello is the first frame; being connected, and not any more, is told."""
        self.assertEqual((self.sent(), self.changes), ([HELLO], [True]))
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.changes, [True, False])

    def test_requests(self) -> None:
        """Requests are handled in order, however their octets arrive, and answered."""
        octets = framed(encode(Ping(request=1))) + framed(encode(Answered(request=2, call="c-1")))
        for octet in octets:
            self.channel.dataReceived(bytes([octet]))
        self.assertEqual(self.requests, [Ping(request=1), Answered(request=2, call="c-1")])
        self.assertEqual(self.sent()[1:], [Done(request=1), Done(request=2)])

    def test_no_request(self) -> None:
        """A frame that is no request but has an id is refused by it, and the channel goes on."""
        self.channel.dataReceived(framed(msgspec.msgpack.encode({"type": "Dance", "request": 5})))
        self.channel.dataReceived(framed(encode(Ping(request=6))))
        self.assertEqual(
            self.sent()[1:],
            [Failed(request=5, code="bad_request", message="Invalid value - at `$.type`"), Done(request=6)],
        )

    def test_junk(self) -> None:
        """A frame without an id, or one too long, ends the channel."""
        for octets in (framed(b"\xc1"), struct.pack("!I", messages.MAX_FRAME + 1)):
            self.setUp()
            self.channel.dataReceived(octets)
            self.assertTrue(self.transport.disconnected)

    def test_event_too_long(self) -> None:
        """An event that does not fit is dropped and logged; the channel goes on."""
        self.channel.emit(
            messages.AgentAsked(
                generation=7, call="c-1", ask="t1", verb="transfer", parameters={"x": "y" * messages.MAX_FRAME}
            )
        )
        self.channel.emit(messages.AgentHangup(generation=7, call="c-1"))
        self.assertEqual(self.sent()[1:], [messages.AgentHangup(generation=7, call="c-1")])
